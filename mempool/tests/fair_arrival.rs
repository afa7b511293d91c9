//! Rule `arrival` against a slow reference that knows the whole history, and its promises
//! (ORDERING.md F2, F5, and what follows from them).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::story::{Known, Story};
use common::{Rng, label};
use fairlane_mempool::fair::{Emission, FairOrder, LaneOrder, Ordered};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, CtId, Digest, Domain, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams,
    OrderRule, PublicKey, Signature,
};

/// The rule from the full history, recomputed from nothing at every cut. Stamps are
/// looked up by scanning the cuts; nothing is carried over but what was said.
struct Reference {
    n: usize,
    f: usize,
    params: OrderParams,
    cuts: Vec<CutDelta>,
    /// id → (cut at which it left, ordered).
    left: BTreeMap<CtId, (usize, bool)>,
    /// id → key, from the cut at which it froze.
    keys: BTreeMap<CtId, u64>,
    labels: BTreeMap<CtId, Arc<Envelope>>,
}

impl Reference {
    fn time(&self, cut: usize) -> u64 {
        self.cuts[..=cut]
            .iter()
            .map(|c| c.time.0)
            .max()
            .unwrap_or(0)
    }

    fn base(&self, cut: usize) -> u64 {
        self.cuts[..=cut].iter().fold(0, |base, c| {
            let newest = c.lanes.iter().map(|l| l.head.0).max().unwrap_or(0);
            if newest >= base + u64::from(u32::MAX) {
                newest - (1 << 31)
            } else {
                base
            }
        })
    }

    /// Effective heads after each cut, and per lane what its stamps of the cut count as at
    /// the least (L2, and later than what was there).
    fn heads(&self) -> Vec<(Vec<u64>, Vec<u64>)> {
        let mut all: Vec<(Vec<u64>, Vec<u64>)> = Vec::new();
        for (at, cut) in self.cuts.iter().enumerate() {
            let mut heads = all
                .last()
                .map_or(vec![0; self.n], |(heads, _)| heads.clone());
            let mut sorted = heads.clone();
            sorted.sort_by_key(|h| std::cmp::Reverse(*h));
            let back = self.params.back_dating_max_ms * 1_000;
            let floor = sorted[self.f].saturating_sub(back).max(self.base(at));
            let least: Vec<u64> = heads.iter().map(|h| floor.max(h + 1)).collect();
            for lane in &cut.lanes {
                let at = lane.lane.index();
                let stamps = lane.entries.iter().map(|e| e.stamp.0.max(least[at]));
                heads[at] = stamps.fold(heads[at].max(lane.head.0), u64::max);
            }
            heads.iter_mut().for_each(|h| *h = (*h).max(floor));
            all.push((heads, least));
        }
        all
    }

    /// Per live id: stamp per lane, cut at which it became solid.
    #[allow(clippy::type_complexity)]
    fn live(&self) -> BTreeMap<CtId, (BTreeMap<usize, u64>, Option<usize>)> {
        let floors = self.heads();
        let now = self.cuts.len() - 1;
        let mut live: BTreeMap<CtId, (BTreeMap<usize, u64>, Option<usize>)> = BTreeMap::new();
        for (at, cut) in self.cuts.iter().enumerate() {
            for lane in &cut.lanes {
                for entry in &lane.entries {
                    let id = entry.ct_id;
                    if self.left.contains_key(&id) || self.stale_at(&id, at, &live) {
                        continue;
                    }
                    let (stamps, solid) = live.entry(id).or_default();
                    let least = floors[at].1[lane.lane.index()];
                    let stamp = entry.stamp.0.max(least).max(self.base(now));
                    stamps.entry(lane.lane.index()).or_insert(stamp);
                    if stamps.len() == self.n - self.f && solid.is_none() {
                        *solid = Some(at);
                    }
                }
            }
        }
        live
    }

    fn stale_at<T>(&self, id: &CtId, at: usize, live: &BTreeMap<CtId, T>) -> bool {
        let before = if at == 0 { 0 } else { self.time(at - 1) };
        !live.contains_key(id) && self.expiry(id) + self.params.ttl_max_ms < before
    }

    fn expiry(&self, id: &CtId) -> u64 {
        self.labels[id].label.expiry.0
    }

    fn nonce(&self, id: &CtId) -> (PublicKey, u64) {
        let label = &self.labels[id].label;
        (label.sender, label.nonce)
    }

    fn on_cut(&mut self, delta: &CutDelta) -> Emission {
        for entry in delta.lanes.iter().flat_map(|l| &l.entries) {
            if let Some(order) = &entry.order {
                self.labels.insert(entry.ct_id, order.clone());
            }
        }
        self.cuts.push(delta.clone());
        let now = self.cuts.len() - 1;
        let time = self.time(now);
        let before = if now == 0 { 0 } else { self.time(now - 1) };
        let heads = self.heads()[now].0.clone();
        let nth = |mut values: Vec<u64>, k: usize| {
            values.sort_unstable();
            values.get(k).copied()
        };
        let ordered = |key: u64, id: &CtId, labels: &BTreeMap<CtId, Arc<Envelope>>| Ordered {
            ct_id: *id,
            label: labels[id].label.clone(),
            key: Micros(key),
        };

        // Stale: named in this cut, not live, had no outcome that anyone remembers.
        let live = self.live();
        let mut stale = BTreeMap::new();
        for lane in &delta.lanes {
            for entry in &lane.entries {
                let id = entry.ct_id;
                let forgotten = self.expiry(&id) + self.params.ttl_max_ms < before;
                if forgotten && !live.contains_key(&id) && entry.order.is_some() {
                    let least = self.heads()[now].1[lane.lane.index()];
                    let key = entry.stamp.0.max(least);
                    stale
                        .entry(id)
                        .or_insert_with(|| ordered(key, &id, &self.labels));
                }
            }
        }

        let bound = |id: &CtId| {
            let stamps = &live[id].0;
            let values = (0..self.n).map(|i| stamps.get(&i).copied().unwrap_or(heads[i]));
            nth(values.collect(), self.f).unwrap()
        };
        let used_before: BTreeSet<_> = (self.left.iter())
            .filter(|(id, (_, won))| *won && self.expiry(id) >= time)
            .map(|(id, _)| self.nonce(id))
            .collect();
        let (mut expired, mut duplicates, mut rest) = (vec![], vec![], vec![]);
        for id in live.keys() {
            let key = self.keys.get(id).copied().unwrap_or_else(|| bound(id));
            if self.expiry(id) < time {
                expired.push((key, *id));
            } else if used_before.contains(&self.nonce(id)) {
                duplicates.push((key, *id));
            } else {
                rest.push(*id);
            }
        }

        // Freeze, and the watermark.
        let mut w = nth(heads.clone(), self.f).unwrap();
        let mut keys = self.keys.clone();
        for id in &rest {
            if keys.contains_key(id) {
                continue;
            }
            let (stamps, solid) = &live[id];
            let aoi = nth(stamps.values().copied().collect(), self.f);
            let frozen = solid.is_some_and(|solid| {
                let patience_over = time >= self.time(solid) + self.params.grace_ms;
                let nobody_lower =
                    (0..self.n).all(|i| stamps.contains_key(&i) || heads[i] >= aoi.unwrap());
                patience_over || nobody_lower
            });
            if frozen {
                keys.insert(*id, aoi.unwrap());
            } else {
                w = w.min(bound(id));
            }
        }

        // Emit the smallest keys, group by group.
        let mut won: Vec<(u64, CtId)> = Vec::new();
        let mut nonces = BTreeSet::new();
        loop {
            let done: BTreeSet<_> = won.iter().map(|(_, id)| *id).collect();
            let open =
                (rest.iter()).filter(|id| !done.contains(id) && !nonces.contains(&self.nonce(id)));
            let Some(k) = open
                .filter_map(|id| keys.get(id))
                .filter(|k| **k < w)
                .min()
                .copied()
            else {
                break;
            };
            if won.len() >= self.params.decrypt_max as usize {
                break;
            }
            let mut group: Vec<_> = rest.iter().filter(|id| keys.get(id) == Some(&k)).collect();
            group.sort_unstable();
            group.retain(|id| nonces.insert(self.nonce(id)));
            group.sort_by_key(|id| {
                let bytes = [&delta.block.as_bytes()[..], id.as_bytes()].concat();
                Domain::Tie.hash(&bytes)
            });
            won.extend(group.iter().map(|id| (k, **id)));
        }
        let wins: BTreeSet<_> = won.iter().map(|(_, id)| *id).collect();
        for id in &rest {
            if !wins.contains(id) && nonces.contains(&self.nonce(id)) {
                let key = keys.get(id).copied().unwrap_or_else(|| bound(id));
                duplicates.push((key, *id));
            }
        }
        expired.sort_unstable();
        duplicates.sort_unstable();
        let backlog = rest.iter().any(|id| {
            let open = !wins.contains(id) && !nonces.contains(&self.nonce(id));
            open && keys.get(id).is_some_and(|k| *k < w)
        });
        let list = |ids: &[(u64, CtId)]| -> Vec<Ordered> {
            ids.iter()
                .map(|(key, id)| ordered(*key, id, &self.labels))
                .collect()
        };
        let emission = Emission {
            expired: list(&expired),
            duplicates: list(&duplicates),
            ordered: list(&won),
            stale: stale.into_values().collect(),
            backlog,
            cycle_max: 0,
            ties: Vec::new(),
        };
        for (_, id) in expired.iter().chain(&duplicates) {
            self.left.insert(*id, (now, false));
        }
        for (_, id) in &won {
            self.left.insert(*id, (now, true));
        }
        self.keys = keys;
        emission
    }
}

fn run(seed: u64, cuts: usize) -> (usize, usize) {
    let mut story = Story::new(seed, false);
    let (n, f) = (story.n, story.f);
    let mut rule = LaneOrder::new(n, f, &story.params);
    let mut reference = Reference {
        n,
        f,
        params: story.params.clone(),
        cuts: Vec::new(),
        left: BTreeMap::new(),
        keys: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let (mut emitted, mut outcomes) = (0, BTreeSet::new());
    let mut last_key = Micros(0);
    for at in 0..cuts {
        let delta = story.cut(&|id| outcomes.contains(id));
        if story.rng.chance(100) {
            // Snapshot and restore at any cut.
            let bytes = rule.snapshot();
            let digest = rule.digest();
            rule = LaneOrder::restore(n, f, &story.params, &bytes).unwrap();
            assert_eq!((rule.snapshot(), rule.digest()), (bytes, digest));
        }
        let got = rule.on_cut(&delta);
        let want = reference.on_cut(&delta);
        assert_eq!(got, want, "seed {seed} cut {at}");
        // Exactly one outcome each; keys never go back.
        let all = got
            .expired
            .iter()
            .chain(&got.duplicates)
            .chain(&got.ordered);
        for order in all {
            assert!(outcomes.insert(order.ct_id), "seed {seed}: two outcomes");
        }
        for order in &got.ordered {
            assert!(order.key >= last_key, "seed {seed}: keys go back");
            last_key = order.key;
        }
        emitted += got.ordered.len();
    }
    (emitted, outcomes.len())
}

#[test]
fn agrees_with_the_reference() {
    let (mut ordered, mut outcomes) = (0, 0);
    for seed in 0..6_000 {
        let (o, all) = run(seed, 24);
        ordered += o;
        outcomes += all;
    }
    // The stories are not empty.
    assert!(
        ordered > 20_000 && outcomes > ordered + 10_000,
        "{ordered} {outcomes}"
    );
}

#[test]
fn agrees_with_the_reference_on_long_stories() {
    for seed in 100_000..100_030 {
        run(seed, 150);
    }
}

/// F2: every honest stamp of x below every honest stamp of y ⇒ x first, whatever f lanes
/// do. Honest lanes here are never clamped: they do not stall.
#[test]
fn f2_linearizability() {
    let mut pairs = 0;
    for seed in 0..400 {
        let mut story = Story::new(seed, true);
        story.params.rule = [OrderRule::Arrival, OrderRule::Strong][seed as usize % 2];
        story.params.decrypt_max = 2_000;
        story.params.ttl_max_ms = 120_000;
        story.params.back_dating_max_ms = 250;
        story.params.grace_ms = 100;
        let mut rule = LaneOrder::new(story.n, story.f, &story.params);
        let mut place = BTreeMap::new();
        for _ in 0..60 {
            let delta = story.cut(&|_| false);
            for order in rule.on_cut(&delta).ordered {
                place.insert(order.ct_id, place.len());
            }
        }
        let honest = |known: &Known| -> Vec<u64> {
            let to = known
                .to
                .iter()
                .filter(|(lane, _)| !story.hostile.contains(lane));
            to.map(|(_, at)| *at).collect()
        };
        for x in &story.orders {
            for y in &story.orders {
                let (xs, ys) = (honest(x), honest(y));
                let before = xs.iter().max() < ys.iter().min();
                if before && let (Some(px), Some(py)) = (place.get(&x.id), place.get(&y.id)) {
                    assert!(px < py, "seed {seed}");
                    pairs += 1;
                }
            }
        }
    }
    assert!(pairs > 10_000, "{pairs}");
}

/// F5: once q lanes have an order and q lanes' heads go on, it is emitted soon, with f
/// lanes silent and D_max large; nothing waits for an expiry.
#[test]
fn f5_bounded_delay_with_f_lanes_silent() {
    for seed in 0..200 {
        let mut story = Story::new(seed, true);
        story.params.rule = [OrderRule::Arrival, OrderRule::Strong][seed as usize % 2];
        story.params.decrypt_max = 2_000;
        story.hostile = (0..story.f).collect();
        let mut rule = LaneOrder::new(story.n, story.f, &story.params);
        for _ in 0..20 {
            let _ = rule.on_cut(&story.cut(&|_| false));
        }
        // No more arrivals; the silent ones stay silent, the others go on.
        for _ in 0..30 {
            story.now += 20_000;
            let mut lanes = Vec::new();
            for lane in story.f..story.n {
                let mut entries = Vec::new();
                let due: Vec<_> = std::mem::take(&mut story.queues[lane])
                    .into_iter()
                    .collect();
                for ((at, _), index) in due {
                    let at = at.max(story.heads[lane]).min(story.now);
                    entries.push(story.entry(index, at, &|_| false));
                }
                entries.sort_by_key(|entry| entry.stamp);
                story.heads[lane] = story.now;
                lanes.push(LaneDelta {
                    lane: MemberId(lane as u8),
                    head: Micros(story.now),
                    entries,
                });
            }
            story.counter += 1;
            let _ = rule.on_cut(&CutDelta {
                block: BlockId(Digest([1; 32])),
                time: Millis(story.now / 1_000),
                lanes,
            });
        }
        assert_eq!(rule.live(), 0, "seed {seed}");
    }
}

/// The empty cut of a heartbeat changes nothing but the time.
#[test]
fn heartbeats_emit_only_what_time_allows() {
    let mut story = Story::new(5, true);
    let mut rule = LaneOrder::new(story.n, story.f, &story.params);
    for _ in 0..10 {
        let _ = rule.on_cut(&story.cut(&|_| false));
    }
    let heartbeat = CutDelta {
        block: BlockId::default(),
        time: Millis(0),
        lanes: Vec::new(),
    };
    while rule.on_cut(&heartbeat).backlog {}
    let before = rule.digest();
    assert_eq!(rule.on_cut(&heartbeat), Emission::default());
    assert_eq!(rule.digest(), before);
}

#[test]
fn snapshots_of_other_shapes_are_refused() {
    let params = OrderParams::default();
    let bytes = LaneOrder::new(4, 1, &params).snapshot();
    assert!(LaneOrder::restore(7, 2, &params, &bytes).is_err());
    assert!(LaneOrder::restore(4, 1, &params, &bytes[1..]).is_err());
    let mut rng = Rng(1);
    let mut story = Story::new(77, false);
    let mut rule = LaneOrder::new(story.n, story.f, &story.params);
    for _ in 0..20 {
        let _ = rule.on_cut(&story.cut(&|_| false));
    }
    let bytes = rule.snapshot();
    for _ in 0..2_000 {
        let mut bad = bytes.clone();
        let at = rng.below(bad.len() as u64) as usize;
        bad[at] ^= 1 << rng.below(8);
        // Refused, or another state; never a panic.
        if let Ok(mut other) = LaneOrder::restore(story.n, story.f, &story.params, &bad) {
            assert_eq!(other.snapshot(), bad);
            let _ = other.on_cut(&story.cut(&|_| false));
        }
    }
}

/// Clamped stamps can make thousands of keys equal; shares for a block have a limit.
#[test]
fn a_group_of_equal_keys_is_cut_where_one_share_set_ends() {
    use fairlane_mempool::fair::ORDERS_PER_BLOCK_MAX;
    let (n, count) = (4, ORDERS_PER_BLOCK_MAX + 500);
    let start = 1_700_000_000_000_000u64;
    let orders: Vec<_> = (0..count as u64)
        .map(|i| {
            Arc::new(Envelope {
                label: label(PublicKey([1; 32]), i, start / 1_000 + 60_000, LANE_NONE),
                ciphertext: i.to_le_bytes().to_vec(),
                signature: Signature::default(),
            })
        })
        .collect();
    let delta = |cut: u64, entries: bool| CutDelta {
        block: BlockId(Digest([cut as u8; 32])),
        time: Millis(start / 1_000 + cut),
        lanes: (0..n)
            .map(|lane| LaneDelta {
                lane: MemberId(lane),
                head: Micros(start + cut * 1_000),
                entries: (orders.iter().filter(|_| entries))
                    .map(|order| FinalEntry {
                        ct_id: order.id(),
                        stamp: Micros(start),
                        order: Some(Arc::clone(order)),
                    })
                    .collect(),
            })
            .collect(),
    };
    let mut rule = LaneOrder::new(n.into(), 1, &OrderParams::default());
    let first = rule.on_cut(&delta(1, true));
    assert_eq!(first.ordered.len(), ORDERS_PER_BLOCK_MAX);
    assert!(first.backlog);
    let second = rule.on_cut(&delta(2, false));
    assert_eq!(second.ordered.len(), 500);
    assert!(!second.backlog);
    // Which ones come first depends on ids alone.
    let last = first.ordered.iter().map(|o| o.ct_id).max();
    assert!(second.ordered.iter().all(|o| Some(o.ct_id) > last));
}
