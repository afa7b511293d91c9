//! Rule `strong` against the slow oracle, and its promises F1, F2, F3 and F5, on random
//! histories with lanes that stall, lie, leave out and replay.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../mempool/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::story::Story;
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_simnet::check::{Arrival, Step};
use fairlane_types::{
    BlockId, CtId, Envelope, Label, MemberId, Micros, Millis, OrderParams, OrderRule,
};

fn step(delta: &CutDelta, labels: &mut BTreeMap<CtId, Label>) -> Step {
    let mut lanes = Vec::new();
    for lane in &delta.lanes {
        for entry in &lane.entries {
            if let Some(order) = &entry.order {
                labels.insert(entry.ct_id, order.label.clone());
            }
        }
        let entries = lane.entries.iter().map(|e| (e.ct_id, e.stamp.0));
        lanes.push((lane.lane.index(), lane.head.0, entries.collect()));
    }
    Step {
        seed: delta.block.0,
        time_ms: delta.time.0,
        lanes,
    }
}

#[derive(Default)]
struct Counts {
    ordered: usize,
    outcomes: usize,
    cycles: usize,
}

/// One history; at random cuts the rule is taken down to bytes and set up again.
fn run(seed: u64, cuts: usize, rule: OrderRule, counts: &mut Counts) {
    let mut story = Story::new(seed, false);
    story.params.rule = rule;
    let (n, f) = (story.n, story.f);
    let mut rule = LaneOrder::new(n, f, &story.params);
    let mut oracle = Arrival::new(n, f, &story.params);
    let (mut labels, mut outcomes) = (BTreeMap::new(), BTreeSet::new());
    for at in 0..cuts {
        let delta = story.cut(&|id| outcomes.contains(id));
        if story.rng.chance(100) {
            let bytes = rule.snapshot();
            rule = LaneOrder::restore(n, f, &story.params, &bytes).unwrap();
            assert_eq!(rule.snapshot(), bytes);
        }
        let got = rule.on_cut(&delta);
        let step = step(&delta, &mut labels);
        let want = oracle.step(&step, |id| labels.get(id).cloned());
        let ordered: Vec<_> = got.ordered.iter().map(|o| (o.ct_id, o.key.0)).collect();
        assert_eq!(
            ordered, want.ordered,
            "{:?} seed {seed} cut {at}",
            story.params.rule
        );
        if got.cycle_max > 1 || want.cycle_max > 1 {
            assert_eq!(got.cycle_max, want.cycle_max, "seed {seed} cut {at}");
        }
        let keyed = |list: &[fairlane_mempool::fair::Ordered]| -> BTreeMap<CtId, u64> {
            list.iter().map(|o| (o.ct_id, o.key.0)).collect()
        };
        assert_eq!(keyed(&got.expired), want.expired, "seed {seed} cut {at}");
        assert_eq!(
            keyed(&got.duplicates),
            want.duplicates,
            "seed {seed} cut {at}"
        );
        counts.cycles += usize::from(got.cycle_max > 1);
        counts.ordered += got.ordered.len();
        for order in (got.expired.iter())
            .chain(&got.duplicates)
            .chain(&got.ordered)
        {
            assert!(outcomes.insert(order.ct_id), "seed {seed}: two outcomes");
        }
    }
    counts.outcomes += outcomes.len();
}

/// Histories to try: so many, or more if the environment asks for more.
fn cases(least: u64) -> u64 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(0).max(least)
}

#[test]
fn strong_agrees_with_the_oracle() {
    let mut counts = Counts::default();
    for seed in 0..cases(2_500) {
        run(seed, 24, OrderRule::Strong, &mut counts);
    }
    for seed in 100_000..100_020 {
        run(seed, 120, OrderRule::Strong, &mut counts);
    }
    let Counts {
        ordered,
        outcomes,
        cycles,
    } = counts;
    // The histories are not empty, and cycles occur.
    assert!(
        ordered > 8_000 && cycles > 20,
        "{ordered} {outcomes} {cycles}"
    );
}

#[test]
fn the_other_rules_agree_with_the_oracle() {
    for rule in OrderRule::ALL {
        if rule == OrderRule::Strong {
            continue; // above
        }
        let mut counts = Counts::default();
        for seed in 0..cases(500) {
            run(seed, 24, rule, &mut counts);
        }
        assert!(counts.ordered > 1_000, "{rule:?} {}", counts.ordered);
    }
}

/// Orders of a hand-made history: nonce i, far from expiring.
fn orders(count: u64) -> Vec<Arc<Envelope>> {
    (0..count)
        .map(|i| Arc::new(common::order(1, i, common::T0 / 1_000 + 60_000, 255, i)))
        .collect()
}

/// One cut with all that the lanes have up to their heads, in ms after the start.
fn cut(at: u8, orders: &[Arc<Envelope>], lanes: &[(u64, Vec<(usize, u64)>)]) -> CutDelta {
    let micros = |ms: u64| Micros(common::T0 + ms * 1_000);
    CutDelta {
        block: BlockId(fairlane_types::Digest([at; 32])),
        time: Millis(common::T0 / 1_000 + u64::from(at)),
        lanes: (lanes.iter().enumerate())
            .map(|(lane, (head, entries))| LaneDelta {
                lane: MemberId(lane as u8),
                head: micros(*head),
                entries: (entries.iter())
                    .map(|(order, ms)| FinalEntry {
                        ct_id: orders[*order].id(),
                        stamp: micros(*ms),
                        order: Some(Arc::clone(&orders[*order])),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn emitted(rule: &mut LaneOrder, orders: &[Arc<Envelope>], delta: &CutDelta) -> Vec<usize> {
    let place = |id: &CtId| orders.iter().position(|order| order.id() == *id).unwrap();
    let emission = rule.on_cut(delta);
    emission.ordered.iter().map(|o| place(&o.ct_id)).collect()
}

fn strong() -> (LaneOrder, OrderParams) {
    let params = OrderParams {
        rule: OrderRule::Strong,
        ..OrderParams::default()
    };
    (LaneOrder::new(4, 1, &params), params)
}

/// F1 where `arrival` fails: one lane near the trader pre-dates.
#[test]
fn f1_one_liar_does_not_turn_what_three_lanes_say() {
    let orders = orders(2);
    let lanes = vec![
        (100, vec![(0, 10), (1, 12)]),
        (100, vec![(0, 20), (1, 22)]),
        (100, vec![(0, 30), (1, 32)]),
        (100, vec![(1, 1), (0, 90)]),
    ];
    // AOI: 20 and 12.
    let delta = cut(1, &orders, &lanes);
    assert_eq!(emitted(&mut strong().0, &orders, &delta), [0, 1]);
    let arrival = OrderParams::default();
    let mut arrival = LaneOrder::new(
        4,
        1,
        &OrderParams {
            rule: OrderRule::Arrival,
            ..arrival
        },
    );
    assert_eq!(emitted(&mut arrival, &orders, &delta), [1, 0]);
}

/// The example of decision 6: F3 under `strong`.
#[test]
fn f3_what_was_nowhere_comes_later() {
    let orders = orders(2);
    let (mut rule, _) = strong();
    let first = vec![
        (2, vec![(1, 1)]),
        (100, vec![(1, 100)]),
        (100, vec![(1, 100)]),
        (0, vec![]),
    ];
    assert!(emitted(&mut rule, &orders, &cut(1, &orders, &first)).is_empty());
    let second = vec![
        (200, vec![(0, 3)]),
        (200, vec![(0, 101)]),
        (200, vec![(0, 101)]),
        (200, vec![(0, 3), (1, 102)]),
    ];
    assert_eq!(
        emitted(&mut rule, &orders, &cut(2, &orders, &second)),
        [1, 0]
    );
}

/// F2 inside a cycle that the root would cut: r, x, y, z are 0 to 3. Every honest lane has
/// x before any has y; r < x < y < z < r by three lanes of four.
#[test]
fn f2_holds_across_the_root_cut() {
    let orders = orders(4);
    let lanes = vec![
        (300, vec![(1, 100), (2, 200), (3, 210), (0, 220)]),
        (300, vec![(0, 10), (1, 100), (2, 200), (3, 210)]),
        (300, vec![(3, 5), (0, 10), (1, 100), (2, 200)]),
        (300, vec![(2, 201), (3, 202), (0, 203), (1, 204)]),
    ];
    let got = emitted(&mut strong().0, &orders, &cut(1, &orders, &lanes));
    let place = |x: usize| got.iter().position(|y| *y == x).unwrap();
    assert_eq!(got.len(), 4);
    assert!(place(1) < place(2), "{got:?}");
}
