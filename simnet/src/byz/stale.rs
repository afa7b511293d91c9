//! Old truth: certificates of long ago sent again, and proposals that stand on an old
//! parent as if nothing had happened since (C4).

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_replica::{Effect, Message};
use fairlane_types::{BlockHeader, BlockId, Certificate, CertificateKind};

use super::{Act, Behaviour, Heard, Scene, broadcast, consensus_of};

/// Certificates and headers that are remembered.
const REMEMBERED_MAX: usize = 128;

/// Uses what is out of date.
#[derive(Debug, Default)]
pub struct Stale {
    /// Proposals stand on old parents; else old certificates go round.
    proposals: bool,
    certificates: Vec<Certificate>,
    headers: Vec<(BlockId, BlockHeader)>,
}

impl Stale {
    /// Sends old certificates.
    #[must_use]
    pub fn certificates() -> Self {
        Self::default()
    }

    /// Proposes on old parents.
    #[must_use]
    pub fn parents() -> Self {
        Self {
            proposals: true,
            ..Self::default()
        }
    }

    fn learn(&mut self, message: &Message) {
        match consensus_of(message) {
            Some(consensus::Message::Certificate(certificate))
                if self.certificates.len() < REMEMBERED_MAX =>
            {
                self.certificates.push(certificate.clone());
            }
            Some(consensus::Message::Proposal(proposal)) if self.headers.len() < REMEMBERED_MAX => {
                let header = proposal.block.header.clone();
                self.headers.push((header.id(), header));
            }
            _ => {}
        }
    }

    /// An old notarized block, at least two views behind.
    fn old_parent(&self, scene: &mut Scene<'_>, view: u64) -> Option<(BlockHeader, Certificate)> {
        let known: Vec<_> = self
            .certificates
            .iter()
            .filter(|c| c.kind == CertificateKind::Notarization && c.view.0 + 2 <= view)
            .filter_map(|c| {
                let (_, header) = self.headers.iter().find(|(id, _)| *id == c.block)?;
                Some((header.clone(), c.clone()))
            })
            .collect();
        scene.rng.pick(&known).cloned()
    }
}

impl Behaviour for Stale {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        self.learn(message);
        match consensus_of(message) {
            Some(consensus::Message::Proposal(proposal)) if self.proposals => {
                let view = proposal.block.header.view.0;
                let Some((parent, certificate)) = self.old_parent(scene, view) else {
                    return vec![Act::Effect(effect)];
                };
                scene.lied();
                let mut other = proposal.clone();
                let header = &mut other.block.header;
                header.parent = certificate.block;
                header.parent_view = parent.view;
                header.height = parent.height.next();
                other.justify.parent = Some(certificate);
                other.justify.skips.clear();
                let (key, chain) = (&scene.keys.identity, scene.keys.chain);
                other.signature = other.block.header.sign(key, chain);
                let other = consensus::Message::Proposal(other);
                vec![Act::Effect(Effect::Send {
                    to: *to,
                    message: Arc::new(Message::Consensus(Box::new(other))),
                })]
            }
            Some(consensus::Message::Vote(_)) if !self.proposals => {
                let mut acts = vec![Act::Effect(effect)];
                if let Some(old) = scene.rng.pick(&self.certificates).cloned() {
                    scene.lied();
                    let old = consensus::Message::Certificate(old);
                    acts.push(broadcast(Message::Consensus(Box::new(old))));
                }
                acts
            }
            _ => vec![Act::Effect(effect)],
        }
    }

    fn hear(&mut self, _: &mut Scene<'_>, heard: &Heard<'_>, _: &mut Vec<Act>) -> bool {
        self.learn(heard.message);
        true
    }
}
