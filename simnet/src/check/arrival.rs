//! S11: the rules written a second time, from ORDERING.md, over plain lanes: `arrival`, what
//! all share, `shuffle` and `majority` (`strong` and the baselines have their own extraction). It
//! keeps everything for ever and sorts everything every time: slow, short and independent of the
//! code it judges.
//!
//! Settled where ORDERING.md leaves room: every effective head is raised to the floor at
//! every cut, and what a lane adds later counts as later than that; an order expires by its label alone; what is first recorded more than
//! TTL_max after its expiry gets no outcome; of two orders with one nonce and equal keys
//! the lower id wins. Stamps span at most 2³² µs: when a head goes beyond that, what is
//! older than 2³¹ µs counts as that old (ORDERING.md, data layout).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{CtId, Digest, Label, OrderParams, OrderRule, PublicKey};

use super::baseline::{Recorded, in_turn};
use super::strong::{self, Seen, tie};

/// What one final block adds, as raw stamps.
#[derive(Clone, Debug)]
pub struct Step {
    /// What breaks ties: the final block's id, or its beacon.
    pub seed: Digest,
    /// Its finalized time, ms.
    pub time_ms: u64,
    /// What lanes gained.
    pub lanes: Vec<Gain>,
}

/// A group of equal keys is cut here, by id: one set of shares holds no more.
const BLOCK_MAX: usize = 8_192;

/// Width of a bucket of rule `shuffle`, µs.
const SHUFFLE_US: u64 = 10_000;

/// What one lane gained: the lane, the stamp of its new head, its new entries with their
/// stamps.
pub type Gain = (usize, u64, Vec<(CtId, u64)>);

/// What must come out at that block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Expired ones with the bound of their key.
    pub expired: BTreeMap<CtId, u64>,
    /// Ones whose nonce belongs to another order.
    pub duplicates: BTreeMap<CtId, u64>,
    /// D(c) in order, with keys.
    pub ordered: Vec<(CtId, u64)>,
    /// Orders in the largest strong cycle.
    pub cycle_max: usize,
    /// Recorded long after their expiry: no item, and they count as expired.
    pub stale: Vec<CtId>,
}

#[derive(Clone, Debug)]
struct Live {
    label: Label,
    /// Effective stamp per lane.
    stamps: Vec<Option<u64>>,
    solid_ms: Option<u64>,
    key: Option<u64>,
}

/// The rule's state.
#[derive(Clone, Debug)]
pub struct Arrival {
    f: usize,
    /// The key is the stamp of this rank, counted from 0.
    rank: usize,
    params: OrderParams,
    /// Finalized time of the cut before.
    before_ms: u64,
    /// No stamp counts as older than this.
    base: u64,
    heads: Vec<u64>,
    live: BTreeMap<CtId, Live>,
    seen: BTreeSet<CtId>,
    /// Accounts and nonces that were used up, until when they are remembered.
    nonces: BTreeMap<(PublicKey, u64), u64>,
}

impl Arrival {
    /// Before the first block.
    #[must_use]
    pub fn new(n: usize, f: usize, params: &OrderParams) -> Self {
        let median = params.rule == OrderRule::Majority;
        Self {
            f,
            rank: if median { n / 2 } else { f },
            params: params.clone(),
            before_ms: 0,
            base: 0,
            heads: vec![0; n],
            live: BTreeMap::new(),
            seen: BTreeSet::new(),
            nonces: BTreeMap::new(),
        }
    }

    /// Orders in lanes that have no outcome.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes in a final block; `label` knows the public part of every order in lanes.
    pub fn step(&mut self, step: &Step, label: impl Fn(&CtId) -> Option<Label>) -> Expected {
        let now = step.time_ms;
        self.nonces.retain(|_, until| *until >= now);
        let stale = self.ingest(step, label);
        let mut expected = Expected {
            stale,
            ..Expected::default()
        };
        self.expire(now, &mut expected);
        self.freeze(now);
        self.extract(step, &mut expected);
        // Whoever shares a nonce with what was just emitted leaves with it.
        self.drop_duplicates(&mut expected);
        self.before_ms = now;
        expected
    }

    fn ingest(&mut self, step: &Step, label: impl Fn(&CtId) -> Option<Label>) -> Vec<CtId> {
        let mut stale = Vec::new();
        let n = self.heads.len();
        let newest = step.lanes.iter().map(|(_, head, _)| *head).max();
        let newest = newest.unwrap_or(0);
        if newest.saturating_sub(self.base) >= u64::from(u32::MAX) {
            self.base = newest.saturating_sub(1 << 31);
        }
        // L2: back-dating is bounded by the (f+1)-th largest head before this cut.
        let mut heads = self.heads.clone();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        let floor = heads[self.f]
            .saturating_sub(self.params.back_dating_max_ms * 1_000)
            .max(self.base);
        for (lane, head, entries) in &step.lanes {
            // What a lane adds is later than all that it had.
            let least = floor.max(self.heads[*lane] + 1);
            let stamps = entries.iter().map(|(_, stamp)| (*stamp).max(least));
            self.heads[*lane] = stamps.fold(self.heads[*lane].max(*head), u64::max);
            for (id, stamp) in entries {
                if self.seen.contains(id) {
                    continue;
                }
                let Some(label) = label(id) else { continue };
                let forgotten = label.expiry.0 + self.params.ttl_max_ms < self.before_ms;
                if forgotten && !self.live.contains_key(id) {
                    stale.push(*id);
                    continue;
                }
                let live = self.live.entry(*id).or_insert_with(|| Live {
                    label,
                    stamps: vec![None; n],
                    solid_ms: None,
                    key: None,
                });
                // L1: the first occurrence in a lane counts.
                live.stamps[*lane].get_or_insert((*stamp).max(least));
                if live.stamps.iter().flatten().count() >= n - self.f {
                    live.solid_ms.get_or_insert(step.time_ms);
                }
            }
        }
        for head in &mut self.heads {
            *head = (*head).max(floor);
        }
        stale
    }

    fn expire(&mut self, now: u64, expected: &mut Expected) {
        let old: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| now > live.label.expiry.0)
            .map(|(id, live)| (*id, self.bound(live)))
            .collect();
        for (id, bound) in old {
            self.live.remove(&id);
            self.seen.insert(id);
            expected.expired.insert(id, bound);
        }
        self.drop_duplicates(expected);
    }

    fn drop_duplicates(&mut self, expected: &mut Expected) {
        let used: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| self.nonces.contains_key(&account(&live.label)))
            .map(|(id, live)| (*id, self.bound(live)))
            .collect();
        for (id, bound) in used {
            self.live.remove(&id);
            self.seen.insert(id);
            expected.duplicates.insert(id, bound);
        }
    }

    fn freeze(&mut self, now: u64) {
        let (rank, heads, grace) = (self.rank, &self.heads, self.params.grace_ms);
        let base = self.base;
        for live in self.live.values_mut().filter(|live| live.key.is_none()) {
            let Some(solid) = live.solid_ms else { continue };
            let mut stamps: Vec<_> = live.stamps.iter().flatten().copied().collect();
            stamps.sort_unstable();
            // What is older than the base counts as the base, also if it came before that.
            let key = stamps[rank].max(base);
            let open = live
                .stamps
                .iter()
                .zip(heads)
                .any(|(stamp, head)| stamp.is_none() && *head < key);
            if !open || now >= solid + grace {
                live.key = Some(key);
            }
        }
    }

    /// Lower bound of a key: absent lanes count with their heads.
    fn bound(&self, live: &Live) -> u64 {
        live.key.unwrap_or_else(|| {
            let mut stamps: Vec<_> = live
                .stamps
                .iter()
                .zip(&self.heads)
                .map(|(stamp, head)| stamp.unwrap_or(*head))
                .collect();
            stamps.sort_unstable();
            stamps[self.rank].max(self.base)
        })
    }

    fn extract(&mut self, step: &Step, expected: &mut Expected) {
        let mut heads = self.heads.clone();
        heads.sort_unstable();
        let watermark = self
            .live
            .values()
            .filter(|live| live.key.is_none())
            .map(|live| self.bound(live))
            .chain([heads[self.rank]])
            .min()
            .unwrap_or(0);
        match self.params.rule {
            OrderRule::Strong => return self.extract_strong(step, watermark, expected),
            OrderRule::Leader | OrderRule::RoundRobin => {
                return self.extract_baseline(step, expected);
            }
            OrderRule::Arrival | OrderRule::Majority | OrderRule::Shuffle => {}
        }
        let width = match self.params.rule {
            OrderRule::Shuffle => SHUFFLE_US,
            _ => 1,
        };
        // Buckets by their first instant; nothing more can come into these.
        let mut ready: BTreeMap<u64, Vec<(u64, CtId)>> = BTreeMap::new();
        for (id, live) in &self.live {
            let Some(key) = live.key else { continue };
            let bucket = key / width;
            if (bucket + 1) * width - 1 < watermark {
                ready.entry(bucket).or_default().push((key, *id));
            }
        }
        let mut stamps = BTreeMap::new();
        for mut ids in ready.into_values() {
            // A bucket comes out whole or not at all.
            if expected.ordered.len() >= self.params.decrypt_max as usize {
                break;
            }
            ids.sort_unstable();
            let mut winners = Vec::new();
            for (key, id) in ids {
                if expected.ordered.len() + winners.len() >= BLOCK_MAX {
                    break;
                }
                let Some(live) = self.live.get(&id) else {
                    continue;
                };
                // The others stay in the table, for `drop_duplicates`.
                if let Entry::Vacant(slot) = self.nonces.entry(account(&live.label)) {
                    slot.insert(live.label.expiry.0);
                    winners.push((tie(&step.seed, &id), id, key));
                    stamps.insert(id, live.stamps.clone());
                    self.live.remove(&id);
                    self.seen.insert(id);
                }
            }
            winners.sort_unstable();
            let winners = winners.into_iter().map(|(_, id, key)| (id, key));
            expected.ordered.extend(winners);
        }
        if self.params.rule == OrderRule::Majority {
            expected.ordered = by_majority(&expected.ordered, &stamps);
        }
    }
}

/// Each in turn goes before the longest run at the end of the list of which more lanes say
/// that it was first, and before no more than 256.
fn by_majority(
    by_median: &[(CtId, u64)],
    stamps: &BTreeMap<CtId, Vec<Option<u64>>>,
) -> Vec<(CtId, u64)> {
    let lanes_for = |x: &CtId, y: &CtId| {
        let (x, y) = (&stamps[x], &stamps[y]);
        let both = x.iter().zip(y);
        both.filter(|(x, y)| x.is_some_and(|x| y.is_none_or(|y| x < y)))
            .count()
    };
    let mut list: Vec<(CtId, u64)> = Vec::new();
    for item in by_median {
        let beats =
            |other: &&(CtId, u64)| lanes_for(&item.0, &other.0) > lanes_for(&other.0, &item.0);
        let passed = list.iter().rev().take(256).take_while(beats).count();
        list.insert(list.len() - passed, *item);
    }
    list
}

impl Arrival {
    fn extract_strong(&mut self, step: &Step, watermark: u64, expected: &mut Expected) {
        let seen = |(id, live): (&CtId, &Live)| Seen {
            id: *id,
            key: live.key,
            // What is older than the base counts as the base.
            stamps: live
                .stamps
                .iter()
                .map(|t| t.map(|t| t.max(self.base)))
                .collect(),
            nonce: account(&live.label),
        };
        let live = self.live.iter().map(seen).collect();
        let heads: Vec<u64> = self
            .heads
            .iter()
            .map(|head| (*head).max(self.base))
            .collect();
        // A quarter of D_max where a cut has more entries than D_max orders in all lanes.
        let most = self.params.decrypt_max as usize;
        let entries: usize = step.lanes.iter().map(|(.., entries)| entries.len()).sum();
        let burst = entries > most * self.heads.len();
        let most = if burst { most.div_ceil(4) } else { most };
        let (ordered, cycle) = strong::extract(live, &heads, self.f, watermark, most, |id| {
            tie(&step.seed, id)
        });
        self.place(ordered, expected);
        expected.cycle_max = cycle;
    }

    /// `leader` is the turn of lane 0 for ever; of `round-robin` the block says who begins.
    fn extract_baseline(&mut self, step: &Step, expected: &mut Expected) {
        let n = self.heads.len();
        let recorded = |(id, live): (&CtId, &Live)| Recorded {
            id: *id,
            stamps: (live.stamps.iter())
                .map(|t| t.map(|t| t.max(self.base)))
                .collect(),
            nonce: account(&live.label),
        };
        let live: Vec<_> = self.live.iter().map(recorded).collect();
        let (begin, turns) = match self.params.rule {
            OrderRule::Leader => (0, 1),
            _ => (usize::from(step.seed.0[0]), n),
        };
        let lanes = (begin..begin + turns).map(|lane| lane % n);
        let most = self.params.decrypt_max as usize;
        self.place(in_turn(&live, lanes, most), expected);
    }

    fn place(&mut self, ordered: Vec<(CtId, u64)>, expected: &mut Expected) {
        for (id, _) in &ordered {
            if let Some(live) = self.live.remove(id) {
                self.seen.insert(*id);
                self.nonces
                    .insert(account(&live.label), live.label.expiry.0);
            }
        }
        expected.ordered = ordered;
    }
}

const fn account(label: &Label) -> (PublicKey, u64) {
    (label.sender, label.nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::{ChainId, KeyId, Millis};

    fn id(byte: u8) -> CtId {
        CtId(Digest([byte; 32]))
    }

    fn label(id: &CtId) -> Option<Label> {
        let byte = id.as_bytes()[0];
        Some(Label {
            suite: 1,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey([byte & 0x0f; 32]),
            nonce: u64::from(byte & 0x0f),
            expiry: Millis(if byte == 9 { 3 } else { 100_000 }),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        })
    }

    type Entries = Vec<(u8, u64)>;

    fn step(time_ms: u64, lanes: Vec<(usize, u64, Entries)>) -> Step {
        let lanes = lanes
            .into_iter()
            .map(|(lane, head, e)| (lane, head, e.into_iter().map(|(b, t)| (id(b), t)).collect()))
            .collect();
        Step {
            seed: Digest::default(),
            time_ms,
            lanes,
        }
    }

    /// n = 4: keys are second smallest stamps; lanes disagree about 1 and 2.
    #[test]
    fn orders_by_the_second_smallest_stamp_and_only_below_the_watermark() {
        let mut rule = Arrival::new(4, 1, &OrderParams::default());
        let first = step(
            1,
            vec![
                (0, 100, vec![(1, 10), (2, 11)]),
                (1, 100, vec![(2, 9), (1, 30)]),
                (2, 100, vec![(2, 20), (1, 21)]),
            ],
        );
        // Keys: 1 → 21, 2 → 11; lane 3 has said nothing, so both are open.
        assert_eq!(rule.step(&first, label).ordered, []);
        let second = step(2, vec![(3, 100, vec![(0x11, 50)])]);
        let out = rule.step(&second, label);
        assert_eq!(out.ordered, [(id(2), 11), (id(1), 21)]);
        // 0x11 shares sender and nonce with 1; its key is bounded by heads: 100.
        assert_eq!(out.duplicates, BTreeMap::from([(id(0x11), 100)]));
        assert_eq!(rule.live(), 0);
    }

    #[test]
    fn what_is_expired_leaves_without_being_ordered() {
        let mut rule = Arrival::new(4, 1, &OrderParams::default());
        let lanes = |t| (0..4).map(|lane| (lane, t + 50, vec![(9, t)])).collect();
        let out = rule.step(&step(4, lanes(10)), label);
        assert_eq!(out.ordered, []);
        assert_eq!(out.expired, BTreeMap::from([(id(9), 10)]));
        assert_eq!(rule.step(&step(5, lanes(90)), label), Expected::default());
    }
}
