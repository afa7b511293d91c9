//! S1, S2, S5 and S11: the chain of final blocks, the lanes under it, and the order that
//! the rule gives for them, recomputed here from what went over the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_mempool::{Batch, Cut};
use fairlane_types::{
    BatchDigest, BlockHeader, BlockId, Combining, CtId, Genesis, Height, Label, MemberId, Outcome,
    Seq, SequencedBlock,
};

use crate::crypto::Beacons;
use crate::marks::Mark;
use crate::workload::Trade;

use super::facts::Final;
use super::{Arrival, Expected, Notes, Rule, Step};

#[derive(Debug)]
pub struct Order {
    genesis_time: u64,
    window: u64,
    /// The most slices that a list is dealt into.
    slices_max: usize,
    batches: BTreeMap<BatchDigest, Arc<Batch>>,
    /// Where those are, in memory that they keep: many members store the same one.
    places: BTreeSet<usize>,
    /// Public part of every order, and the point U of its ciphertext.
    labels: BTreeMap<CtId, (Label, [u8; 32])>,
    cuts: BTreeMap<BlockId, (BlockHeader, Cut)>,
    /// Final blocks from height 1, with what must come out of each.
    chain: Vec<(BlockId, Cut, Expected)>,
    time_ms: u64,
    /// Per member the final blocks on its disk.
    durable: Vec<BTreeMap<Height, BlockId>>,
    rule: Arrival,
    /// What breaks ties.
    beacons: Beacons,
    /// Where the beacon does: D(c) by index of the final block, in the order of its shares.
    listed: BTreeMap<usize, Vec<CtId>>,
    /// Final stamps per lane, to see lanes disagree.
    stamps: BTreeMap<CtId, Vec<Option<u64>>>,
    disagree: bool,
}

impl Order {
    pub fn new(genesis: &Genesis, n: usize, trades: &[Trade], beacons: Beacons) -> Self {
        let mut order = Self {
            genesis_time: genesis.time.0,
            window: u64::from(genesis.lanes.window_batches),
            // Half as many as members where two combine a slice, else the whole list is one.
            slices_max: match genesis.encryption.combining {
                Some(Combining::Sharded) => n.div_ceil(2),
                Some(Combining::AllToAll) => 1,
                None if n >= 16 => n.div_ceil(2),
                None => 1,
            },
            batches: BTreeMap::new(),
            places: BTreeSet::new(),
            labels: BTreeMap::new(),
            cuts: BTreeMap::new(),
            chain: Vec::new(),
            time_ms: genesis.time.0,
            durable: vec![BTreeMap::new(); n],
            rule: Arrival::new(n, (n - 1) / 3, &genesis.order),
            beacons,
            listed: BTreeMap::new(),
            stamps: BTreeMap::new(),
            disagree: false,
        };
        order.expect(trades);
        order
    }

    /// What traders will send.
    pub fn expect(&mut self, trades: &[Trade]) {
        for trade in trades {
            self.learn(&trade.envelope);
        }
    }

    /// The public part of an order.
    pub fn learn(&mut self, envelope: &fairlane_types::Envelope) {
        let mut point = [0; 32];
        if let Some(bytes) = envelope.ciphertext.get(1..33) {
            point.copy_from_slice(bytes);
        }
        self.labels
            .entry(envelope.id())
            .or_insert_with(|| (envelope.label.clone(), point));
    }

    pub fn proposed(&mut self, header: &BlockHeader, cut: &Cut) {
        self.cuts
            .entry(header.id())
            .or_insert_with(|| (header.clone(), cut.clone()));
    }

    /// The header of a block that somebody proposed.
    pub fn header(&self, block: &BlockId) -> Option<&BlockHeader> {
        self.cuts.get(block).map(|(header, _)| header)
    }

    /// Final blocks.
    pub const fn height(&self) -> usize {
        self.chain.len()
    }

    /// Per lane the last batch with entries that the newest final block adds, if any.
    pub fn new_heads(&self) -> Vec<(MemberId, Seq)> {
        let mut newest = self.chain.iter().rev().map(|(_, cut, _)| cut);
        let Some(cut) = newest.next() else {
            return Vec::new();
        };
        let before = newest.next();
        let mut heads = Vec::new();
        for (lane, head) in cut.heads.iter().enumerate() {
            let lane = MemberId(lane as u8);
            let old = before.map_or(Seq(0), |cut| cut.head(lane).seq);
            let (mut seq, mut digest) = (head.seq, head.digest);
            while seq > old
                && let Some(batch) = self.batches.get(&digest)
            {
                if !batch.entries.is_empty() {
                    heads.push((lane, seq));
                    break;
                }
                (seq, digest) = (seq.prev(), batch.parent);
            }
        }
        heads
    }

    pub fn batch(&mut self, batch: &Arc<Batch>) {
        let place = Arc::as_ptr(batch).addr();
        if self.places.contains(&place) {
            return;
        }
        let digest = batch.digest();
        if self.batches.contains_key(&digest) {
            return;
        }
        self.places.insert(place);
        for envelope in &batch.payloads {
            self.learn(envelope);
        }
        self.batches.insert(digest, Arc::clone(batch));
    }

    /// How far a batch is beyond its lane's last final head.
    pub fn ahead(&self, batch: &Batch) -> u64 {
        let head = self
            .chain
            .last()
            .map_or(Seq(0), |(_, cut, _)| cut.head(batch.lane).seq);
        batch.seq.0.saturating_sub(head.0)
    }

    /// Slices that a list of so many orders is dealt into: of 8 at least, if there are so many.
    pub fn slices(&self, orders: usize) -> usize {
        (orders / 8).clamp(1, self.slices_max)
    }

    pub const fn window(&self) -> u64 {
        self.window
    }

    /// The block that is final at `height` on a member's disk.
    pub fn durable(&self, node: usize, height: Height) -> Option<BlockId> {
        self.durable[node].get(&height).copied()
    }

    /// The points U of D(c) at a height, in the order of its shares.
    pub fn points(&self, height: Height) -> Option<Vec<[u8; 32]>> {
        let index = usize::try_from(height.0.checked_sub(1)?).ok()?;
        let (_, _, expected) = self.chain.get(index)?;
        let point = |id: &CtId| self.labels.get(id).map(|(_, point)| *point);
        match self.listed.get(&index) {
            Some(ids) => ids.iter().map(point).collect(),
            None => expected.ordered.iter().map(|(id, _)| point(id)).collect(),
        }
    }

    pub fn forgot(&mut self, node: usize) {
        self.durable[node].clear();
    }

    /// A block is final on a member's disk.
    pub fn finalized(&mut self, node: usize, block: &Final, notes: &mut Notes) {
        let (height, id) = (block.header.height, block.header.id());
        if height.0 == 0 {
            return;
        }
        self.proposed(&block.header, &block.cut);
        if self.durable[node]
            .insert(height, id)
            .is_some_and(|old| old != id)
        {
            notes.break_rule(
                Rule::Agreement,
                node,
                format!("changed its final block {height}"),
            );
        }
        let index = (height.0 - 1) as usize;
        if let Some((known, ..)) = self.chain.get(index) {
            if *known != id {
                notes.break_rule(
                    Rule::Agreement,
                    node,
                    format!("another final block at {height}"),
                );
            }
            return;
        }
        if index > self.chain.len() {
            notes.break_rule(
                Rule::Agreement,
                node,
                format!("final block {height} above a gap"),
            );
            return;
        }
        if let Some((parent, ..)) = self.chain.last()
            && block.header.parent != *parent
        {
            notes.break_rule(
                Rule::Agreement,
                node,
                format!("final block {height} has another parent"),
            );
            return;
        }
        self.extend(node, block, notes);
    }

    fn extend(&mut self, node: usize, block: &Final, notes: &mut Notes) {
        let id = block.header.id();
        let time_ms = block.header.time.0;
        if time_ms < self.time_ms.max(self.genesis_time) {
            notes.break_rule(Rule::Agreement, node, "finalized time runs backwards");
        }
        self.time_ms = time_ms;
        let before = self.chain.last().map(|(_, cut, _)| cut.clone());
        let mut lanes = Vec::new();
        for (lane, head) in block.cut.heads.iter().enumerate() {
            let old = before
                .as_ref()
                .map(|cut| cut.head(MemberId(lane as u8)))
                .unwrap_or_default();
            let mut batches = Vec::new();
            let mut at = *head;
            while at.seq > old.seq {
                let Some(batch) = self.batches.get(&at.digest) else {
                    let what = format!(
                        "batch {} of lane {lane} is final and nobody ever had it",
                        at.seq
                    );
                    notes.break_rule(Rule::Availability, node, what);
                    return;
                };
                batches.push(Arc::clone(batch));
                at = fairlane_mempool::Head {
                    seq: at.seq.prev(),
                    digest: batch.parent,
                };
            }
            if at != old {
                notes.break_rule(
                    Rule::Agreement,
                    node,
                    format!("lane {lane} does not extend its final part"),
                );
                return;
            }
            let Some(newest) = batches.first() else {
                continue;
            };
            let stamp = newest.stamp.0;
            let mut entries = Vec::new();
            for batch in batches.iter().rev() {
                for (index, entry) in batch.entries.iter().enumerate() {
                    entries.push((entry.ct_id, batch.stamp_of(index).0));
                }
            }
            lanes.push((lane, stamp, entries));
        }
        let mut step = Step {
            seed: id.0,
            time_ms,
            lanes,
        };
        self.compare_lanes(&step, notes);
        let labels = &self.labels;
        let label = |id: &CtId| labels.get(id).map(|(label, _)| label.clone());
        // Shares are made in the order of the block's id, whatever breaks ties afterwards.
        let listed = self.beacons.seed(block.header.height, id).map(|seed| {
            let listed = self.rule.clone().step(&step, label);
            step.seed = seed;
            listed
        });
        let expected = self.rule.step(&step, label);
        if !expected.duplicates.is_empty() {
            notes.mark(Mark::DuplicateNonce);
        }
        if let Some(listed) = listed {
            if listed.ordered != expected.ordered {
                notes.mark(Mark::BeaconTie);
            }
            let ids = listed.ordered.iter().map(|(id, _)| *id).collect();
            self.listed.insert(self.chain.len(), ids);
        }
        if !expected.expired.is_empty() {
            notes.mark(Mark::Expired);
        }
        self.chain.push((id, block.cut.clone(), expected));
    }

    /// Two lanes that recorded two orders the other way round.
    fn compare_lanes(&mut self, step: &Step, notes: &mut Notes) {
        if self.disagree {
            return;
        }
        let n = self.durable.len();
        for (lane, _, entries) in &step.lanes {
            for (id, stamp) in entries {
                let row = self.stamps.entry(*id).or_insert_with(|| vec![None; n]);
                row[*lane].get_or_insert(*stamp);
            }
        }
        let rows: Vec<_> = self.stamps.values().collect();
        let before = |a: &[Option<u64>], b: &[Option<u64>]| {
            a.iter()
                .zip(b)
                .any(|(a, b)| matches!((a, b), (Some(a), Some(b)) if a < b))
        };
        self.disagree = rows
            .iter()
            .enumerate()
            .any(|(i, a)| rows[..i].iter().any(|b| before(a, b) && before(b, a)));
        if self.disagree {
            notes.mark(Mark::LanesDisagree);
        }
    }

    /// S11: a block comes out; it must be what the rule says.
    ///
    /// Returns what is left out without an item there.
    pub fn emitted(&self, node: usize, block: &SequencedBlock, notes: &mut Notes) -> &[CtId] {
        let height = block.height;
        let index = height.0.wrapping_sub(1) as usize;
        let Some((id, _, expected)) = self.chain.get(index) else {
            notes.break_rule(
                Rule::Agreement,
                node,
                format!("emitted {height}, which is final on no disk"),
            );
            return &[];
        };
        if *id != block.block {
            notes.break_rule(
                Rule::Agreement,
                node,
                format!("emitted another block at {height}"),
            );
            return &[];
        }
        let mut left_out: Vec<_> = expected
            .expired
            .iter()
            .map(|(id, key)| (*key, *id, "expired"))
            .chain(
                expected
                    .duplicates
                    .iter()
                    .map(|(id, key)| (*key, *id, "duplicate_nonce")),
            )
            .collect();
        left_out.sort_unstable();
        let want = left_out.into_iter().chain(
            expected
                .ordered
                .iter()
                .map(|(id, key)| (*key, *id, "opened")),
        );
        let got = block.items.iter().map(|item| {
            let word = match &item.outcome {
                // Which of the two it is, is the business of S7.
                Outcome::Undecryptable => "opened",
                other => other.word(),
            };
            (item.stamp.0, item.ct_id, word)
        });
        if !want.clone().eq(got.clone()) {
            let what = format!(
                "height {height}: want {:?}, got {:?}",
                want.collect::<Vec<_>>(),
                got.collect::<Vec<_>>()
            );
            notes.break_rule(Rule::FairOrder, node, what);
        }
        &expected.stale
    }
}
