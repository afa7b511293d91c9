//! Ties that are left to the beacon (A15): the set D(c), the state, and whether anything is
//! tied depend on no tie, and what is left open is exactly what the block's id decides
//! otherwise.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::story::Story;
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_types::{CtId, Digest, Domain, OrderRule, TieSource};

#[test]
fn a_beacon_orders_what_the_id_of_the_block_would_and_nothing_else() {
    let (mut tied, mut moved) = (0, 0);
    for rule in [OrderRule::Strong, OrderRule::Arrival, OrderRule::Shuffle] {
        for seed in 0..400 {
            let mut story = Story::new(seed, false);
            let (n, f) = (story.n, story.f);
            story.params.rule = rule;
            let mut by_id = LaneOrder::new(n, f, &story.params);
            story.params.tie = TieSource::Beacon;
            let mut by_beacon = LaneOrder::new(n, f, &story.params);
            let mut left = BTreeSet::new();
            for cut in 0..24 {
                let delta = story.cut(&|id: &CtId| left.contains(id));
                let want = by_id.on_cut(&delta);
                let mut got = by_beacon.on_cut(&delta);
                // The same list to make shares of, and the same state.
                assert_eq!(got.ordered, want.ordered, "{rule:?} {seed} {cut}");
                assert_eq!((&got.expired, &got.stale), (&want.expired, &want.stale));
                assert_eq!(got.duplicates, want.duplicates);
                assert_eq!(by_beacon.snapshot(), by_id.snapshot());
                assert!(want.ties.is_empty(), "nothing is left open by ids");
                let all = (got.expired.iter())
                    .chain(&got.duplicates)
                    .chain(&got.ordered);
                left.extend(all.map(|order| order.ct_id));

                // With the block's id for a beacon nothing moves.
                let mut same = got.clone();
                let places = same.settle(&Digest(*delta.block.as_bytes()));
                assert!(places.into_iter().eq(0..want.ordered.len()));
                assert_eq!(same.ordered, want.ordered);

                let open = !got.ties.is_empty();
                let beacon = Domain::Tie.hash(&seed.to_le_bytes());
                let places = got.settle(&beacon);
                let back = places.iter().zip(&got.ordered);
                assert!(
                    back.into_iter()
                        .all(|(at, order)| want.ordered[*at] == *order)
                );
                let ids = |list: &[fairlane_mempool::fair::Ordered]| {
                    list.iter().map(|o| o.ct_id).collect::<BTreeSet<_>>()
                };
                assert_eq!(ids(&got.ordered), ids(&want.ordered));
                assert!(open || got.ordered == want.ordered);
                assert!(got.ties.is_empty());
                if rule == OrderRule::Arrival {
                    let keys: Vec<_> = got.ordered.iter().map(|order| order.key).collect();
                    assert!(keys.is_sorted(), "{seed} {cut}");
                }
                tied += usize::from(open);
                moved += usize::from(got.ordered != want.ordered);
            }
        }
    }
    assert!(tied > 300 && moved > tied / 4, "{tied} {moved}");
}
