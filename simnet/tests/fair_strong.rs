//! Rule `strong` against the slow oracle, and its promises F1, F2, F3 and F5, on random
//! histories with lanes that stall, lie, leave out and replay.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../mempool/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::story::Story;
use fairlane_mempool::CutDelta;
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_simnet::check::{Arrival, Step};
use fairlane_types::{CtId, Label, OrderRule};

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
        block: delta.block,
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
        assert_eq!(ordered, want.ordered, "seed {seed} cut {at}");
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

#[test]
fn strong_agrees_with_the_oracle() {
    let mut counts = Counts::default();
    for seed in 0..2_500 {
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
fn arrival_agrees_with_the_oracle() {
    let mut counts = Counts::default();
    for seed in 0..500 {
        run(seed, 24, OrderRule::Arrival, &mut counts);
    }
    assert!(counts.ordered > 1_500);
}
