//! Shares before finality (A2): made and sent as soon as this member votes for a block,
//! with a token from a certificate that the whole committee's keys forge. As the conduct
//! of an honest member it is a planted bug that S8 must catch.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_encryption::SuiteParsed;
use fairlane_mempool::LaneMessage;
use fairlane_replica::{Effect, Job, JobResult, Message, Peers, ShareSlice, SharesJob};
use fairlane_types::{
    Certificate, CertificateKind, Commit, CtId, Envelope, Height, SignerSet, Vote,
};

use super::{Act, Behaviour, Scene, broadcast, consensus_of};

/// Releases shares with its votes.
#[derive(Debug, Default)]
pub struct EarlyShares {
    seen: BTreeMap<CtId, Arc<Envelope>>,
    height: Height,
}

impl Behaviour for EarlyShares {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let mut acts = Vec::new();
        if let Effect::Send {
            to: Peers::All,
            message,
        } = &effect
        {
            if let Message::Lane(LaneMessage::Batch(batch)) = message.as_ref() {
                for envelope in &batch.payloads {
                    self.seen.insert(envelope.id(), Arc::clone(envelope));
                }
            }
            if let Some(consensus::Message::Vote(signed)) = consensus_of(message) {
                acts.extend(self.release(scene, &signed.statement));
            }
        }
        acts.push(Act::Effect(effect));
        acts
    }
}

impl EarlyShares {
    fn release(&mut self, scene: &mut Scene<'_>, vote: &Vote) -> Vec<Act> {
        let Some(key) = scene.keys.key().map(Arc::clone) else {
            return Vec::new();
        };
        let list: Vec<Arc<SuiteParsed>> = std::mem::take(&mut self.seen)
            .into_values()
            .filter_map(|e| scene.crypto.parse(&key, &e))
            .collect();
        if list.is_empty() {
            return Vec::new();
        }
        self.height = self.height.next();
        let height = self.height;
        let commit = Commit {
            epoch: vote.epoch,
            view: vote.view,
            height,
            block: vote.block,
        };
        let mut signers = SignerSet::default();
        let quorum = scene.keys.committee.quorum();
        let signatures = scene
            .all
            .iter()
            .take(quorum)
            .map(|keys| {
                signers.insert(keys.me);
                commit.sign(&keys.identity, keys.chain)
            })
            .collect();
        let certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: vote.epoch,
            view: vote.view,
            height,
            block: vote.block,
            signers,
            dirty: SignerSet::default(),
            signatures,
        };
        let job = Job::Shares(Box::new(SharesJob {
            height,
            block: vote.block,
            slices: vec![ShareSlice {
                key: key.id(),
                list,
            }],
            certificate,
            path: Vec::new(),
        }));
        match scene.crypto.run(scene.keys, &job, &scene.rng.bytes32()) {
            JobResult::Shares(Some(shares)) => {
                scene.lied();
                let shares = shares.into_iter().map(Message::Shares);
                shares.map(broadcast).collect()
            }
            _ => Vec::new(),
        }
    }
}
