//! How a member's own lane relates to the final order: a figure for operators, no part of
//! the rule. It is fed with every final block and what that emits, and says nothing about
//! what other members saw.
//!
//! An order is compared with the [`NEIGHBOURS`] that came out before it, so pairs that came
//! out further apart are not counted. Memory is bounded by [`OWN_MAX`] and the committee.

use std::collections::{BTreeMap, VecDeque};

use fairlane_types::{CtId, MemberId, Micros};

use super::Emission;
use crate::CutDelta;

/// Upper ends of the gap buckets, ms; one more bucket holds what is beyond.
pub const GAP_MS: [u64; 6] = [1, 5, 10, 20, 50, 100];
/// An order is compared with so many before it.
pub const NEIGHBOURS: usize = 64;
/// Own entries that are remembered; the oldest give way.
pub const OWN_MAX: usize = 1 << 16;
/// A lane that lags further counts as lagging by this, µs: one that has stopped would hide
/// all else.
pub const LAG_MAX_US: u64 = 1_000_000;

/// Pairs of orders by how far apart the own lane recorded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Pairs compared.
    pub seen: u64,
    /// Pairs that came out the other way round.
    pub inverted: u64,
}

/// How far lanes lag in the blocks of a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadLag {
    /// Its final blocks that add to lanes.
    pub blocks: u64,
    /// Over these blocks, the mean over all lanes of how far the final head is behind the
    /// newest one, summed up, µs.
    pub lag_us: u64,
}

/// Counts since start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveCounts {
    /// By the buckets of [`GAP_MS`]; the last one is beyond them.
    pub pairs: [Pairs; GAP_MS.len() + 1],
    /// Orders that came out and were in the own lane.
    pub compared: u64,
    /// Orders that came out and were not in the final part of the own lane.
    pub unknown: u64,
    /// Orders before which one came out that the own lane recorded later.
    pub displaced: u64,
    /// By how much later the latest of these was, summed up, µs.
    pub displaced_us: u64,
    /// Blocks with a strong cycle.
    pub cycles: u64,
    /// Orders in the largest strong cycle; 0 if there was none.
    pub cycle_max: u64,
    /// By leader.
    pub leaders: Vec<HeadLag>,
}

/// Compares the own lane with the final order.
#[derive(Clone, Debug)]
pub struct ReceiveOrder {
    me: MemberId,
    /// When the own lane recorded what has no outcome.
    own: BTreeMap<CtId, Micros>,
    /// The same, oldest first; may hold ids that have left.
    oldest: VecDeque<CtId>,
    /// Own stamps of what came out last, oldest first.
    recent: VecDeque<Micros>,
    /// Latest own stamp of what came out.
    latest: Micros,
    heads: Vec<Micros>,
    counts: ReceiveCounts,
}

impl ReceiveOrder {
    /// For member `me` of a committee of `n`.
    #[must_use]
    pub fn new(n: usize, me: MemberId) -> Self {
        Self {
            me,
            own: BTreeMap::new(),
            oldest: VecDeque::new(),
            recent: VecDeque::with_capacity(NEIGHBOURS),
            latest: Micros(0),
            heads: vec![Micros(0); n],
            counts: ReceiveCounts {
                leaders: vec![HeadLag::default(); n],
                ..ReceiveCounts::default()
            },
        }
    }

    /// Counts since start.
    #[must_use]
    pub const fn counts(&self) -> &ReceiveCounts {
        &self.counts
    }

    /// A final block of a leader, and what it emits.
    pub fn observe(&mut self, leader: MemberId, delta: &CutDelta, emission: &Emission) {
        self.ingest(delta);
        self.heads(leader, delta);
        for order in &emission.ordered {
            match self.own.remove(&order.ct_id) {
                Some(at) => self.compare(at),
                None => self.counts.unknown += 1,
            }
        }
        let left = emission.expired.iter().chain(&emission.duplicates);
        for order in left.chain(&emission.stale) {
            self.own.remove(&order.ct_id);
        }
        if emission.cycle_max > 1 {
            self.counts.cycles += 1;
            self.counts.cycle_max = self.counts.cycle_max.max(emission.cycle_max as u64);
        }
    }

    fn ingest(&mut self, delta: &CutDelta) {
        let own = delta.lanes.iter().filter(|lane| lane.lane == self.me);
        for entry in own.flat_map(|lane| &lane.entries) {
            // Without its order it has had an outcome.
            if entry.order.is_none() || self.own.contains_key(&entry.ct_id) {
                continue;
            }
            self.own.insert(entry.ct_id, entry.stamp);
            self.oldest.push_back(entry.ct_id);
            if self.oldest.len() > OWN_MAX
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.own.remove(&oldest);
            }
        }
    }

    fn heads(&mut self, leader: MemberId, delta: &CutDelta) {
        for lane in &delta.lanes {
            if let Some(head) = self.heads.get_mut(lane.lane.index()) {
                *head = lane.head.max(*head);
            }
        }
        let Some(lag) = self.counts.leaders.get_mut(leader.index()) else {
            return;
        };
        if delta.lanes.is_empty() {
            return;
        }
        let newest = self.heads.iter().copied().max().unwrap_or_default();
        let behind = self.heads.iter().map(|head| newest.0 - head.0);
        let sum: u64 = behind.map(|us| us.min(LAG_MAX_US)).sum();
        lag.blocks += 1;
        lag.lag_us += sum / self.heads.len() as u64;
    }

    /// The next order in the final order that the own lane recorded at `at`.
    fn compare(&mut self, at: Micros) {
        self.counts.compared += 1;
        for before in &self.recent {
            let gap = before.0.abs_diff(at.0);
            if gap == 0 {
                continue;
            }
            let bucket = GAP_MS.iter().position(|ms| gap < ms * 1_000);
            let pairs = &mut self.counts.pairs[bucket.unwrap_or(GAP_MS.len())];
            pairs.seen += 1;
            pairs.inverted += u64::from(*before > at);
        }
        if self.latest > at {
            self.counts.displaced += 1;
            self.counts.displaced_us += self.latest.0 - at.0;
        }
        self.latest = self.latest.max(at);
        if self.recent.len() == NEIGHBOURS {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fairlane_types::{
        BlockId, ChainId, Digest, Envelope, KeyId, Label, Millis, PublicKey, Signature,
    };

    use super::*;
    use crate::fair::Ordered;
    use crate::{FinalEntry, LaneDelta};

    fn order(i: u16) -> Arc<Envelope> {
        Arc::new(Envelope {
            label: Label {
                suite: 1,
                chain: ChainId(1),
                key_id: KeyId::default(),
                sender: PublicKey([1; 32]),
                nonce: u64::from(i),
                expiry: Millis(0),
                fee: 0,
                lane: 255,
                reserved: [0; 19],
            },
            ciphertext: vec![1],
            signature: Signature::default(),
        })
    }

    /// A lane, its head, and its new entries with their stamps.
    type Gain = (u8, u64, Vec<(u16, u64)>);

    fn delta(lanes: Vec<Gain>) -> CutDelta {
        let entry = |(i, stamp): (u16, u64)| FinalEntry {
            ct_id: order(i).id(),
            stamp: Micros(stamp),
            order: Some(order(i)),
        };
        CutDelta {
            block: BlockId(Digest([0; 32])),
            time: Millis(0),
            lanes: (lanes.into_iter())
                .map(|(lane, head, entries)| LaneDelta {
                    lane: MemberId(lane),
                    head: Micros(head),
                    entries: entries.into_iter().map(entry).collect(),
                })
                .collect(),
        }
    }

    fn emits(orders: &[u16]) -> Emission {
        let ordered = |i: &u16| Ordered {
            ct_id: order(*i).id(),
            label: order(*i).label.clone(),
            key: Micros(0),
        };
        Emission {
            ordered: orders.iter().map(ordered).collect(),
            ..Emission::default()
        }
    }

    #[test]
    fn pairs_of_the_own_lane_count_by_gap() {
        let mut watch = ReceiveOrder::new(4, MemberId(2));
        let own = vec![(1, 10_000), (2, 10_400), (3, 17_000), (4, 900_000)];
        let other = vec![(5, 1), (1, 99)];
        let cut = delta(vec![(0, 900_000, other), (2, 900_000, own)]);
        watch.observe(MemberId(1), &cut, &emits(&[2, 1, 5, 4]));
        watch.observe(MemberId(1), &delta(vec![]), &emits(&[3]));
        let counts = watch.counts();
        let of = |seen, inverted| Pairs { seen, inverted };
        // 2 and 1: 0.4 ms, inverted. 3 against 1 and 2: 7.0 and 6.6 ms. 4 is far from all.
        assert_eq!(counts.pairs[0], of(1, 1));
        assert_eq!(counts.pairs[1], of(0, 0));
        assert_eq!(counts.pairs[2], of(2, 0));
        assert_eq!(counts.pairs[6], of(3, 1));
        assert_eq!((counts.compared, counts.unknown), (4, 1));
        // 1 behind 2, and 3 behind 4.
        assert_eq!((counts.displaced, counts.displaced_us), (2, 400 + 883_000));
        assert_eq!(watch.own.len(), 0);
    }

    #[test]
    fn a_leader_that_leaves_lanes_out_shows_and_a_stopped_lane_does_not_hide_it() {
        let mut watch = ReceiveOrder::new(4, MemberId(0));
        let at = |us: u64, lanes: &[u8]| {
            let lane = |lane: &u8| (*lane, us, vec![]);
            delta(lanes.iter().map(lane).collect())
        };
        // Lane 3 stopped long ago.
        watch.observe(MemberId(0), &at(9_000_000, &[0, 1, 2]), &emits(&[]));
        watch.observe(MemberId(1), &at(9_100_000, &[0, 1]), &emits(&[]));
        watch.observe(MemberId(1), &delta(vec![]), &emits(&[]));
        let lag = |blocks, lag_us| HeadLag { blocks, lag_us };
        let leaders = &watch.counts().leaders;
        assert_eq!(leaders[0], lag(1, 250_000));
        assert_eq!(leaders[1], lag(1, 275_000));
        assert_eq!(leaders[2], lag(0, 0));
    }

    #[test]
    fn what_comes_late_in_the_own_lane_is_forgotten() {
        let mut watch = ReceiveOrder::new(4, MemberId(0));
        for base in 0..3u64 {
            let from = base * 30_000;
            let own = (from..from + 30_000).map(|i| (i as u16, i)).collect();
            let cut = delta(vec![(0, from + 30_000, own)]);
            watch.observe(MemberId(0), &cut, &emits(&[]));
        }
        assert!(watch.own.len() <= OWN_MAX && watch.oldest.len() <= OWN_MAX);
        assert!(watch.own.len() > OWN_MAX / 2);
    }

    #[test]
    fn cycles_are_counted() {
        let mut watch = ReceiveOrder::new(4, MemberId(0));
        for cycle_max in [0, 1, 3, 2] {
            let emission = Emission {
                cycle_max,
                ..Emission::default()
            };
            watch.observe(MemberId(0), &delta(vec![]), &emission);
        }
        assert_eq!((watch.counts().cycles, watch.counts().cycle_max), (2, 3));
    }
}
