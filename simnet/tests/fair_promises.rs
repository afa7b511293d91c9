//! F1 and F3 as they are promised, stated over all that lanes ever said, on random histories
//! with lanes that stall, lie, leave out and replay. Nothing here knows how the rule searches:
//! stamps come from the cuts, "before" is counted lane by lane, cycles by reachability.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../mempool/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::story::Story;
use common::{T0, label};
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, CtId, Digest, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams, OrderRule,
    PublicKey, Signature,
};

/// What lanes said of an order, and what came of it.
struct Said {
    /// Effective stamps (L1, L2).
    stamps: Vec<Option<u64>>,
    /// Cut in which some lane had it first.
    seen: usize,
    /// Cut in which a quorum had it.
    solid: Option<usize>,
    /// Cut in which it was ordered, and its place.
    place: Option<(usize, usize)>,
}

/// A whole history under a rule.
struct History {
    f: usize,
    /// No stamp counts as older (ORDERING.md, data layout).
    base: u64,
    said: Vec<Said>,
    /// Cuts that reported a strong cycle.
    cycles: Vec<bool>,
}

impl History {
    fn run(seed: u64, cuts: usize, rule: OrderRule) -> Self {
        let mut story = Story::new(seed, !seed.is_multiple_of(3));
        story.params.rule = rule;
        let (n, params) = (story.n, story.params.clone());
        Self::of(n, &params, (0..cuts).map(|_| story.cut(&|_| false)))
    }

    /// What comes of these cuts.
    fn of(n: usize, params: &OrderParams, cuts: impl Iterator<Item = CutDelta>) -> Self {
        let f = (n - 1) / 3;
        let mut rule = LaneOrder::new(n, f, params);
        let mut out = Self {
            f,
            base: 0,
            said: Vec::new(),
            cycles: Vec::new(),
        };
        let mut names: BTreeMap<CtId, usize> = BTreeMap::new();
        let (mut heads, mut place) = (vec![0; n], 0);
        for (at, delta) in cuts.enumerate() {
            out.record(
                &mut names,
                &mut heads,
                at,
                &delta,
                params.back_dating_max_ms * 1_000,
            );
            let emission = rule.on_cut(&delta);
            out.cycles.push(emission.cycle_max > 1);
            for order in &emission.ordered {
                out.said[names[&order.ct_id]].place = Some((at, place));
                place += 1;
            }
        }
        out
    }

    fn record(
        &mut self,
        names: &mut BTreeMap<CtId, usize>,
        heads: &mut [u64],
        at: usize,
        delta: &CutDelta,
        back_us: u64,
    ) {
        let n = heads.len();
        let newest = delta.lanes.iter().map(|lane| lane.head.0).max();
        let newest = newest.unwrap_or(0);
        if newest.saturating_sub(self.base) >= u64::from(u32::MAX) {
            self.base = newest - (1 << 31);
        }
        let mut known = heads.to_vec();
        known.sort_unstable();
        let floor = known[n - 1 - self.f].saturating_sub(back_us);
        let floor = floor.max(self.base);
        for lane in &delta.lanes {
            let i = lane.lane.index();
            // Later than all that the lane had said.
            let least = floor.max(heads[i] + 1);
            heads[i] = heads[i].max(lane.head.0);
            for entry in &lane.entries {
                let stamp = entry.stamp.0.max(least);
                heads[i] = heads[i].max(stamp);
                let name = *names.entry(entry.ct_id).or_insert_with(|| {
                    self.said.push(Said {
                        stamps: vec![None; n],
                        seen: at,
                        solid: None,
                        place: None,
                    });
                    self.said.len() - 1
                });
                let said = &mut self.said[name];
                said.stamps[i].get_or_insert(stamp);
                if said.stamps.iter().flatten().count() >= n - self.f {
                    said.solid.get_or_insert(at);
                }
            }
        }
        for head in heads {
            *head = (*head).max(floor);
        }
    }

    /// Lanes that have x before y.
    fn w(&self, x: usize, y: usize) -> usize {
        let pairs = self.said[x].stamps.iter().zip(&self.said[y].stamps);
        let at = |stamp: &Option<u64>| stamp.map_or(u64::MAX, |stamp| stamp.max(self.base));
        pairs.filter(|(x, y)| at(x) < at(y)).count()
    }

    /// Pairs (x, y) of which x strongly precedes y.
    fn strong(&self) -> Vec<Vec<bool>> {
        let all = 0..self.said.len();
        let solid = |x: usize| self.said[x].solid.is_some();
        let precedes = |x, y| {
            x != y && solid(x) && solid(y) && self.w(y, x) <= self.f && self.w(x, y) > self.f
        };
        (all.clone())
            .map(|x| all.clone().map(|y| precedes(x, y)).collect())
            .collect()
    }

    /// Which pairs are in one strong cycle.
    fn together(&self) -> Vec<Vec<bool>> {
        let mut reach = self.strong();
        let n = reach.len();
        for via in 0..n {
            let on = reach[via].clone();
            for row in reach.iter_mut().filter(|row| row[via]) {
                for (to, there) in row.iter_mut().zip(&on) {
                    *to |= there;
                }
            }
        }
        let both = |x: usize, y: usize| reach[x][y] && reach[y][x];
        (0..n)
            .map(|x| (0..n).map(|y| both(x, y)).collect())
            .collect()
    }

    /// Whether x came out before y; nothing if one did not.
    fn came_first(&self, x: usize, y: usize) -> Option<bool> {
        let (x, y) = (self.said[x].place?, self.said[y].place?);
        Some(x.1 < y.1)
    }

    /// Whether the one that came out first did so in a cut that reported a cycle. That may be one
    /// by what lanes can still say: of an order that lanes lack, both may still come first.
    fn reported(&self, x: usize, y: usize) -> bool {
        let cuts = [x, y].map(|order| self.said[order].place.map(|(cut, _)| cut));
        cuts.into_iter()
            .flatten()
            .min()
            .is_some_and(|cut| self.cycles[cut])
    }
}

/// What was found of a promise.
#[derive(Debug, Default)]
struct Found {
    kept: u64,
    /// Turned round inside a strong cycle by all that lanes ever said.
    in_cycles: u64,
    /// Turned round otherwise, by a cut that reported a cycle.
    reported: u64,
    broken: Vec<String>,
}

impl Found {
    fn judge(
        &mut self,
        history: &History,
        together: &[Vec<bool>],
        (x, y): (usize, usize),
        seed: u64,
    ) {
        match history.came_first(x, y) {
            None => {}
            Some(true) => self.kept += 1,
            Some(false) if together[x][y] => self.in_cycles += 1,
            Some(false) if history.reported(x, y) => self.reported += 1,
            Some(false) => self.broken.push(format!("seed {seed}: {y} before {x}")),
        }
    }
}

/// Histories to try: so many, or more if the environment asks for more.
fn cases(least: u64) -> u64 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(0).max(least)
}

/// F1: if at most f lanes have y before x, and more have x before y, x comes out first, but
/// for strong cycles. With this, all pairs that all honest lanes recorded in one order are
/// covered, which are counted too.
fn f1(rule: OrderRule, seeds: u64) -> Found {
    let mut found = Found::default();
    for seed in 0..seeds {
        let history = History::run(seed, 40, rule);
        let (strong, together) = (history.strong(), history.together());
        for x in 0..strong.len() {
            for y in (0..strong.len()).filter(|y| strong[x][*y]) {
                found.judge(&history, &together, (x, y), seed);
            }
        }
    }
    found
}

/// F3: what was in no lane when y became solid comes after y.
fn f3(rule: OrderRule, seeds: u64) -> Found {
    let mut found = Found::default();
    for seed in 0..seeds {
        f3_of(&History::run(seed, 40, rule), seed, &mut found);
    }
    found
}

fn f3_of(history: &History, seed: u64, found: &mut Found) {
    let together = history.together();
    for y in 0..history.said.len() {
        let Some(solid) = history.said[y].solid else {
            continue;
        };
        for x in (0..history.said.len()).filter(|x| history.said[*x].seen > solid) {
            found.judge(history, &together, (y, x), seed);
        }
    }
}

/// The history of decision 6, which random ones do not come upon: what each of four lanes adds in
/// each cut, and how far it is then, ms. Order 0 is solid after the first cut, order 1 in no lane.
fn late_insertion(rule: OrderRule) -> History {
    type Added<'a> = (&'a [(usize, u64)], u64);
    let cuts: [[Added; 4]; 3] = [
        [
            (&[(0, 1)], 2),
            (&[(0, 100)], 100),
            (&[(0, 100)], 100),
            (&[], 0),
        ],
        [
            (&[(1, 3)], 110),
            (&[(1, 101)], 110),
            (&[(1, 101)], 110),
            (&[(1, 3), (0, 102)], 110),
        ],
        [(&[], 500), (&[], 500), (&[], 500), (&[], 500)],
    ];
    let at = |ms: u64| Micros(T0 + ms * 1_000);
    let orders = [0_u8, 1].map(|i| {
        Arc::new(Envelope {
            label: label(PublicKey([i; 32]), 0, T0 / 1_000 + 60_000, LANE_NONE),
            ciphertext: vec![i],
            signature: Signature::default(),
        })
    });
    let deltas = cuts.iter().enumerate().map(|(cut, lanes)| CutDelta {
        block: BlockId(Digest([cut as u8; 32])),
        time: Millis(at(lanes[1].1).0 / 1_000),
        lanes: (lanes.iter().enumerate())
            .map(|(lane, (added, head))| LaneDelta {
                lane: MemberId(lane as u8),
                head: at(*head),
                entries: (added.iter())
                    .map(|(order, ms)| FinalEntry {
                        ct_id: orders[*order].id(),
                        stamp: at(*ms),
                        order: Some(Arc::clone(&orders[*order])),
                    })
                    .collect(),
            })
            .collect(),
    });
    let params = OrderParams {
        rule,
        ..OrderParams::default()
    };
    History::of(4, &params, deltas)
}

#[test]
fn f1_strong_receive_order_on_random_histories() {
    let found = f1(OrderRule::Strong, cases(600));
    let Found {
        kept,
        in_cycles,
        reported,
        broken,
    } = &found;
    assert!(broken.is_empty(), "{broken:?}");
    assert!(*kept > 100_000 && *in_cycles > 0, "{found:?}");
    assert!(in_cycles + reported < kept / 1_000, "{found:?}");
    println!("F1: {found:?}");
    // The promise is one that a rule can break.
    assert!(!f1(OrderRule::Arrival, 100).broken.is_empty());
}

#[test]
fn f3_no_late_insertion_on_random_histories() {
    let found = f3(OrderRule::Strong, cases(600));
    assert!(found.broken.is_empty(), "{:?}", found.broken);
    assert!(found.kept > 100_000, "{found:?}");
    println!("F3: {found:?}");
    // The promise is one that a rule can break.
    let [arrival, strong] = [OrderRule::Arrival, OrderRule::Strong].map(|rule| {
        let mut found = Found::default();
        f3_of(&late_insertion(rule), 0, &mut found);
        (found.kept, found.broken.len())
    });
    assert_eq!((arrival, strong), ((0, 1), (1, 0)));
}
