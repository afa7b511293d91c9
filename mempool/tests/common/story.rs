//! Random histories of lanes: clients that send to some, lanes that stall, lie, replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, CtId, Domain, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams, OrderRule,
    PublicKey, Signature, TieSource,
};

use super::{Rng, label};

/// One order as the scenario knows it.
pub struct Known {
    pub id: CtId,
    pub envelope: Arc<Envelope>,
    /// Lanes that will record it, and when they saw it.
    pub to: Vec<(usize, u64)>,
}

/// A random history: honest and hostile lanes, clients that send to some.
pub struct Story {
    pub rng: Rng,
    pub n: usize,
    pub f: usize,
    pub params: OrderParams,
    pub now: u64,
    pub heads: Vec<u64>,
    pub queues: Vec<BTreeMap<(u64, u64), usize>>,
    pub orders: Vec<Known>,
    pub time: u64,
    pub counter: u64,
    /// Stalled until, per lane.
    pub stalled: Vec<u64>,
    pub hostile: BTreeSet<usize>,
    pub tame: bool,
}

impl Story {
    pub fn new(seed: u64, tame: bool) -> Self {
        let mut rng = Rng(seed);
        let n = [4, 4, 5, 7, 10][rng.below(5) as usize];
        let f = (n - 1) / 3;
        let hostile = (0..rng.below(f as u64 + 1))
            .map(|_| rng.below(n as u64) as usize)
            .collect();
        let params = OrderParams {
            rule: OrderRule::Arrival,
            tie: TieSource::BlockId,
            ttl_max_ms: [50, 400, 120_000][rng.below(3) as usize],
            back_dating_max_ms: [1, 30, 250][rng.below(3) as usize],
            grace_ms: [1, 40, 100][rng.below(3) as usize],
            decrypt_max: [1, 3, 2_000][rng.below(3) as usize],
            snapshot_interval: 8,
            ..OrderParams::default()
        };
        let start = 1_700_000_000_000_000;
        Self {
            rng,
            n,
            f,
            params,
            now: start,
            heads: vec![0; n],
            queues: vec![BTreeMap::new(); n],
            orders: Vec::new(),
            time: start / 1_000,
            counter: 0,
            stalled: vec![0; n],
            hostile,
            tame,
        }
    }

    pub fn arrivals(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.counter += 1;
            let sender = self.rng.below(3) as u8;
            let nonce = if self.tame {
                self.counter
            } else {
                self.rng.below(6)
            };
            let ahead = match self.rng.below(5) {
                _ if self.tame => 100_000,
                0 => self.rng.below(40),
                1 => 0,
                _ => self.rng.below(2_000),
            };
            let late = if self.rng.chance(50) && !self.tame {
                self.rng.below(3_000)
            } else {
                0
            };
            let expiry = (self.now / 1_000 + ahead).saturating_sub(late);
            let envelope = Arc::new(Envelope {
                label: label(PublicKey([sender; 32]), nonce, expiry, LANE_NONE),
                ciphertext: self.counter.to_le_bytes().to_vec(),
                signature: Signature::default(),
            });
            // A client sends to a subset; echo brings it to most others.
            let mut to = Vec::new();
            for lane in 0..self.n {
                let honest = !self.hostile.contains(&lane);
                if self
                    .rng
                    .chance(if self.tame && honest { 1_000 } else { 850 })
                {
                    // Coarse stamps, so that keys tie.
                    let at = self.now + self.rng.below(30) * 500;
                    to.push((lane, at));
                }
            }
            let index = self.orders.len();
            for (lane, at) in &to {
                self.counter += 1;
                self.queues[*lane].insert((*at, self.counter), index);
            }
            let id = envelope.id();
            self.orders.push(Known { id, envelope, to });
        }
    }

    pub fn cut(&mut self, left: &dyn Fn(&CtId) -> bool) -> CutDelta {
        self.now += match self.rng.below(40) {
            0 if !self.tame => self.rng.below(600_000),
            1 if !self.tame && self.rng.chance(60) => self.rng.below(8_000_000_000),
            _ => self.rng.below(20) * 1_000,
        };
        self.arrivals();
        let mut lanes = Vec::new();
        for lane in 0..self.n {
            if self.rng.chance(20) && (!self.tame || self.hostile.contains(&lane)) {
                self.stalled[lane] = self.now + self.rng.below(400_000);
            }
            if self.now < self.stalled[lane] || self.rng.chance(200) {
                continue;
            }
            let hostile = self.hostile.contains(&lane);
            let mut head = self.now.saturating_sub(self.rng.below(5) * 500);
            if hostile && self.rng.chance(300) {
                head = self.heads[lane] + self.rng.below(1_000);
            }
            head = head.max(self.heads[lane]);
            let mut last = self.heads[lane];
            let mut entries = Vec::new();
            while let Some(entry) = self.queues[lane].first_entry() {
                let (at, _) = *entry.key();
                if at > head && !hostile {
                    break;
                }
                let index = entry.remove();
                // Hostile lanes stamp as they like and leave out what they like.
                let stamp = if hostile {
                    last + self.rng.below(1 + (head - last) / 2)
                } else {
                    at.max(last)
                };
                last = stamp;
                if !(hostile && self.rng.chance(150)) {
                    entries.push(self.entry(index, stamp, left));
                    if self.rng.chance(30) {
                        entries.push(self.entry(index, stamp, left));
                    }
                }
            }
            if hostile && self.rng.chance(200) && !self.orders.is_empty() {
                // A replay of anything.
                let index = self.rng.below(self.orders.len() as u64) as usize;
                entries.push(self.entry(index, last, left));
            }
            self.heads[lane] = head;
            let lane = MemberId(lane as u8);
            let head = Micros(head);
            lanes.push(LaneDelta {
                lane,
                head,
                entries,
            });
        }
        let mut heads = self.heads.clone();
        heads.sort_unstable();
        self.time = self.time.max(heads[self.n - 1 - self.f] / 1_000);
        self.counter += 1;
        CutDelta {
            block: BlockId(Domain::BlockHeader.hash(&self.counter.to_le_bytes())),
            time: Millis(self.time),
            lanes,
        }
    }

    pub fn entry(&mut self, index: usize, stamp: u64, left: &dyn Fn(&CtId) -> bool) -> FinalEntry {
        let known = &self.orders[index];
        // The pool may drop the bytes of what has its outcome.
        let keep = !left(&known.id) || self.rng.chance(500);
        FinalEntry {
            ct_id: known.id,
            stamp: Micros(stamp),
            order: keep.then(|| known.envelope.clone()),
        }
    }
}
