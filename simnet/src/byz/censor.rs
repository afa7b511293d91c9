//! A leader that decides what gets in (A16): it never lets one lane advance, or only some
//! lanes, others each time. Its blocks are valid, and it votes for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_consensus::{self as consensus, Proposal};
use fairlane_mempool::{Cut, LaneMessage};
use fairlane_replica::{CutPayload, Effect, Message};
use fairlane_types::{BatchDigest, BlockId, Micros, Millis};

use super::{Act, Behaviour, Heard, Scene, consensus_of};

/// Cuts that are remembered: parents are among the newest.
const CUTS_MAX: usize = 256;

/// Leaves lanes out of its proposals.
#[derive(Debug, Default)]
pub struct Censor {
    /// Every lane is left out by chance, not one always.
    shuffle: bool,
    /// Cuts and times by block, the oldest first in `age`.
    cuts: BTreeMap<BlockId, (Cut, Millis)>,
    age: std::collections::VecDeque<BlockId>,
    stamps: BTreeMap<BatchDigest, Micros>,
    /// What went out instead of a block of the replica.
    instead: BTreeMap<BlockId, BlockId>,
}

impl Censor {
    /// Leaves out one lane, always the same.
    #[must_use]
    pub fn of_one() -> Self {
        Self::default()
    }

    /// Leaves out every other lane, by chance.
    #[must_use]
    pub fn of_some() -> Self {
        Self {
            shuffle: true,
            ..Self::default()
        }
    }

    fn learn(&mut self, message: &Message) {
        match message {
            Message::Lane(LaneMessage::Batch(batch)) => {
                self.stamps.insert(batch.digest(), batch.stamp);
            }
            Message::Lane(LaneMessage::Batches(batches)) => {
                for batch in batches {
                    self.stamps.insert(batch.digest(), batch.stamp);
                }
            }
            Message::Consensus(message) => {
                if let consensus::Message::Proposal(proposal) = message.as_ref() {
                    let block = &proposal.block;
                    self.remember(block.id(), &block.payload.cut, block.header.time);
                }
            }
            _ => {}
        }
    }

    fn remember(&mut self, id: BlockId, cut: &Cut, time: Millis) {
        if self.cuts.insert(id, (cut.clone(), time)).is_none() {
            self.age.push_back(id);
            if self.age.len() > CUTS_MAX
                && let Some(oldest) = self.age.pop_front()
            {
                self.cuts.remove(&oldest);
            }
        }
    }

    /// C13 for a cut, if every head's batch was seen.
    fn time(&self, scene: &Scene<'_>, parent: Millis, cut: &Cut) -> Option<Millis> {
        let stamp = |head: &fairlane_mempool::Head| match head.seq.0 {
            0 => Some(Micros(0)),
            _ => self.stamps.get(&head.digest).copied(),
        };
        let mut stamps = cut.heads.iter().map(stamp).collect::<Option<Vec<_>>>()?;
        stamps.sort_unstable_by(|a, b| b.cmp(a));
        let newest = stamps.get(scene.keys.committee.f())?;
        Some(parent.max(newest.as_millis()))
    }

    fn censored(
        &mut self,
        scene: &mut Scene<'_>,
        proposal: &Proposal<CutPayload>,
    ) -> Option<Proposal<CutPayload>> {
        let n = scene.keys.committee.n();
        let header = &proposal.block.header;
        let genesis = (Cut::genesis(n), scene.genesis.time);
        let (before, time) = match header.height.0 {
            1 => genesis,
            _ => self.cuts.get(&header.parent)?.clone(),
        };
        let victim = (scene.keys.me.index() + 1) % n;
        let mut cut = proposal.block.payload.cut.clone();
        for (lane, head) in cut.heads.iter_mut().enumerate() {
            let out = if self.shuffle {
                scene.rng.chance(500)
            } else {
                lane == victim
            };
            if out {
                *head = *before.heads.get(lane)?;
            }
        }
        if cut == proposal.block.payload.cut || cut == before {
            return None;
        }
        let mut other = proposal.clone();
        other.block.header.time = self.time(scene, time, &cut)?;
        other.block.header.payload = cut.digest();
        other.block.payload = CutPayload::of(cut);
        let (key, chain) = (&scene.keys.identity, scene.keys.chain);
        other.signature = other.block.header.sign(key, chain);
        Some(other)
    }

    /// The own words about a block that nobody else has are about the other one instead.
    fn own_words(
        &self,
        scene: &Scene<'_>,
        message: &consensus::Message<CutPayload>,
    ) -> Option<consensus::Message<CutPayload>> {
        let (key, chain) = (&scene.keys.identity, scene.keys.chain);
        let mut message = message.clone();
        match &mut message {
            consensus::Message::Vote(signed) => {
                signed.statement.block = *self.instead.get(&signed.statement.block)?;
                signed.signature = signed.statement.sign(key, chain);
            }
            consensus::Message::Commit(signed) => {
                signed.statement.block = *self.instead.get(&signed.statement.block)?;
                signed.signature = signed.statement.sign(key, chain);
            }
            _ => return None,
        }
        Some(message)
    }
}

impl Behaviour for Censor {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        self.learn(message);
        let other = match consensus_of(message) {
            Some(consensus::Message::Proposal(proposal)) => {
                let id = proposal.block.id();
                self.censored(scene, proposal).map(|other| {
                    scene.lied();
                    let block = &other.block;
                    self.instead.insert(id, block.id());
                    self.remember(block.id(), &block.payload.cut.clone(), block.header.time);
                    consensus::Message::Proposal(other)
                })
            }
            Some(words) => self.own_words(scene, words),
            None => None,
        };
        match other {
            Some(other) => vec![Act::Effect(Effect::Send {
                to: *to,
                message: Arc::new(Message::Consensus(Box::new(other))),
            })],
            None => vec![Act::Effect(effect)],
        }
    }

    fn hear(&mut self, _: &mut Scene<'_>, heard: &Heard<'_>, _: &mut Vec<Act>) -> bool {
        self.learn(heard.message);
        true
    }
}
