//! An equivocating leader (C6): two valid-looking proposals for one view, each for half of
//! the committee. The second leaves one lane where an earlier proposal had it.

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_mempool::Cut;
use fairlane_replica::{CutPayload, Effect, Message, Peers};

use super::{Act, Behaviour, Scene, consensus_of, send};

/// Proposes twice.
#[derive(Debug, Default)]
pub struct Equivocate {
    /// The last cut that anyone proposed here.
    last: Option<Cut>,
}

impl Behaviour for Equivocate {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send {
            to: Peers::All,
            message,
        } = &effect
        else {
            return vec![Act::Effect(effect)];
        };
        let Some(consensus::Message::Proposal(proposal)) = consensus_of(message) else {
            return vec![Act::Effect(effect)];
        };
        let cut = proposal.block.payload.cut.clone();
        let before = self
            .last
            .replace(cut.clone())
            .unwrap_or_else(|| Cut::genesis(cut.heads.len()));
        let mut other = proposal.clone();
        let lane = scene.rng.below(cut.heads.len() as u64) as usize;
        let mut heads = cut.heads;
        heads[lane] = before.heads[lane];
        let payload = CutPayload::of(Cut { heads });
        other.block.header.payload = payload.cut.digest();
        other.block.payload = payload;
        if other.block == proposal.block {
            // Nothing to leave out: another time makes another block, though no valid one.
            other.block.header.time = other.block.header.time.next();
        }
        other.signature = other
            .block
            .header
            .sign(&scene.keys.identity, scene.keys.chain);
        let other = consensus::Message::Proposal(other);
        let other = Arc::new(Message::Consensus(Box::new(other)));
        scene.lied();
        let first = Arc::clone(message);
        let mut acts = scene.split(&first, &other);
        // One member gets both: it can convict.
        if let Some(to) = scene.others().first() {
            acts.push(send(*to, &first));
            acts.push(send(*to, &other));
        }
        acts
    }
}
