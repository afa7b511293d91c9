//! M1, S12 and receipts: what members say about their own lanes.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_mempool::{Ack, Batch};
use fairlane_types::{BatchDigest, CtId, MemberId, Micros, Receipt, Seq};

use crate::marks::Mark;

use super::{Notes, Rule};

/// An entry of a lane: batch number, place in it, stamp.
type Place = (Seq, u32, Micros);

#[derive(Debug)]
pub struct Lanes {
    lives: Vec<u32>,
    /// Own batches that were sent, and in which life first.
    said: Vec<BTreeMap<Seq, (BatchDigest, u32)>>,
    durable: Vec<BTreeSet<BatchDigest>>,
    /// Entries of durable own batches.
    entries: Vec<BTreeMap<CtId, Place>>,
    receipts: BTreeMap<(usize, CtId), Receipt>,
    /// Durable acknowledgements by lane and number.
    acks: Vec<BTreeMap<(MemberId, Seq), BatchDigest>>,
    /// Per lane and number, who ever held the lane up to there, as a bitmap.
    held: BTreeMap<(MemberId, Seq), u128>,
    mute: Vec<bool>,
}

impl Lanes {
    pub fn new(n: usize) -> Self {
        Self {
            lives: vec![0; n],
            said: vec![BTreeMap::new(); n],
            durable: vec![BTreeSet::new(); n],
            entries: vec![BTreeMap::new(); n],
            receipts: BTreeMap::new(),
            acks: vec![BTreeMap::new(); n],
            held: BTreeMap::new(),
            mute: vec![false; n],
        }
    }

    pub fn started(&mut self, node: usize) {
        self.lives[node] += 1;
    }

    /// C7: without its records it may not write to its lane, so nothing that it notes down
    /// as an observer is an acknowledgement.
    pub fn forgot(&mut self, node: usize) {
        self.mute[node] = true;
        self.acks[node].clear();
    }

    pub fn durable(&mut self, node: usize, batch: &Batch) {
        if batch.lane.index() != node || !self.durable[node].insert(batch.digest()) {
            return;
        }
        *self.held.entry((batch.lane, batch.seq)).or_default() |= 1 << node;
        for (index, entry) in batch.entries.iter().enumerate() {
            let place = (batch.seq, index as u32, batch.stamp_of(index));
            self.entries[node].entry(entry.ct_id).or_insert(place);
        }
    }

    /// M2: one digest per (lane, seq), for ever.
    pub fn acknowledged(&mut self, node: usize, ack: Ack, notes: &mut Notes) {
        let place = (ack.lane, ack.seq);
        *self.held.entry(place).or_default() |= 1 << node;
        let first = *self.acks[node].entry(place).or_insert(ack.digest);
        if first != ack.digest {
            let what = format!(
                "two acknowledgements of batch {} of lane {}",
                ack.seq, ack.lane
            );
            notes.break_rule(Rule::Restart, node, what);
        }
    }

    /// M2: what a batch acknowledges is durable before it is said.
    fn holdings(&self, node: usize, batch: &Batch, notes: &mut Notes) {
        for (lane, seq) in batch.holdings.seqs.iter().enumerate() {
            let lane_id = MemberId(lane as u8);
            if lane == node || *seq == Seq(0) || self.acks[node].contains_key(&(lane_id, *seq)) {
                continue;
            }
            let what = format!(
                "batch {} acknowledges {seq} of lane {lane}, not durably",
                batch.seq
            );
            notes.break_rule(Rule::PersistFirst, node, what);
        }
    }

    /// A batch leaves; only the owner's own word counts.
    pub fn said(&mut self, node: usize, honest: bool, batch: &Batch, notes: &mut Notes) {
        if batch.lane.index() != node {
            return;
        }
        let digest = batch.digest();
        let life = self.lives[node];
        let (first, when) = *self.said[node].entry(batch.seq).or_insert((digest, life));
        if !honest {
            if first != digest {
                notes.mark(Mark::LaneFork);
            }
            return;
        }
        if first != digest {
            let rule = if when == life {
                Rule::LaneFork
            } else {
                Rule::Restart
            };
            notes.break_rule(rule, node, format!("two batches {} of its lane", batch.seq));
        }
        if self.mute[node] {
            let what = format!("batch {} without its records", batch.seq);
            notes.break_rule(Rule::Restart, node, what);
        }
        self.holdings(node, batch, notes);
        if !self.durable[node].contains(&digest) {
            let what = format!("batch {} left before it was durable", batch.seq);
            notes.break_rule(Rule::PersistFirst, node, what);
        }
    }

    /// S5: what became final was held by f + 1 honest members, or whoever misses it could
    /// not be sure to find it.
    pub fn held(&self, lane: MemberId, seq: Seq, few: usize, notes: &mut Notes) {
        let later = self.held.range((lane, seq)..=(lane, Seq(u64::MAX)));
        let holders = later.fold(0, |all, (_, holders)| all | holders);
        let count = u128::count_ones(holders) as usize;
        if count < few {
            let what = format!("batch {seq} of its lane is final and {count} members held it");
            notes.break_rule(Rule::Availability, lane.index(), what);
        }
    }

    pub fn has_receipt(&self, node: usize, id: &CtId) -> bool {
        self.receipts.contains_key(&(node, *id))
    }

    pub fn receipt(&mut self, node: usize, receipt: &Receipt, notes: &mut Notes) {
        let place = (receipt.seq, receipt.entry, receipt.stamp);
        match self.entries[node].get(&receipt.ct_id) {
            None => notes.break_rule(
                Rule::PersistFirst,
                node,
                "a receipt before its batch is durable",
            ),
            Some(durable) if *durable != place || receipt.lane.index() != node => {
                let what = format!("a receipt for {place:?} of an order at {durable:?}");
                notes.break_rule(Rule::Receipt, node, what);
            }
            Some(_) => {}
        }
        let first = self
            .receipts
            .entry((node, receipt.ct_id))
            .or_insert_with(|| receipt.clone());
        if first != receipt {
            notes.break_rule(Rule::Receipt, node, "two receipts for one order");
        }
    }
}
