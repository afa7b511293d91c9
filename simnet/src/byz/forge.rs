//! Forged certificates: every kind, for the view at hand and for one far ahead, over a
//! quorum of names and the own signature on each line (C12).

use fairlane_consensus as consensus;
use fairlane_replica::{Effect, Message};
use fairlane_types::{
    BlockId, Certificate, CertificateKind, Commit, Digest, Height, SignerSet, View, Vote,
};

use super::{Act, Behaviour, Scene, broadcast, consensus_of};

/// Forges certificates.
#[derive(Debug)]
pub struct Forge;

impl Behaviour for Forge {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let vote = match &effect {
            Effect::Send { message, .. } => match consensus_of(message) {
                Some(consensus::Message::Vote(signed)) => signed.statement.clone(),
                _ => return vec![Act::Effect(effect)],
            },
            _ => return vec![Act::Effect(effect)],
        };
        scene.lied();
        let mut acts = vec![Act::Effect(effect)];
        let kind = *scene
            .rng
            .pick(&[
                CertificateKind::Notarization,
                CertificateKind::Final,
                CertificateKind::Skip,
            ])
            .unwrap_or(&CertificateKind::Final);
        let certificate = forged(scene, &vote, kind);
        let forged = consensus::Message::Certificate(certificate);
        acts.push(broadcast(Message::Consensus(Box::new(forged))));
        acts
    }
}

fn forged(scene: &mut Scene<'_>, vote: &Vote, kind: CertificateKind) -> Certificate {
    let ahead = if scene.rng.chance(300) { 20 } else { 0 };
    let view = View(vote.view.0 + ahead);
    let block = match kind {
        CertificateKind::Skip => BlockId::default(),
        _ if scene.rng.chance(500) => BlockId(Digest(scene.rng.bytes32())),
        _ => vote.block,
    };
    let height = match kind {
        CertificateKind::Final => Height(view.0),
        _ => Height(0),
    };
    // The own signature is true, on the wrong lines too.
    let own = Commit {
        epoch: vote.epoch,
        view,
        height,
        block,
    }
    .sign(&scene.keys.identity, scene.keys.chain);
    let quorum = scene.keys.committee.quorum();
    let mut signers = SignerSet::default();
    let mut members: Vec<_> = scene.keys.committee.ids().collect();
    scene.rng.shuffle(&mut members);
    for member in members.into_iter().take(quorum) {
        signers.insert(member);
    }
    Certificate {
        kind,
        epoch: vote.epoch,
        view,
        height,
        block,
        signers,
        dirty: SignerSet::default(),
        signatures: vec![own; quorum],
    }
}
