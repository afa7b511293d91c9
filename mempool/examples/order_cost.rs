//! Cost of the order rules; run with `--release`. Rule `strong` is compared with a count of
//! all pairs of live orders at every cut, on the same lanes in the same run.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::{Rng, label};
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, CtId, Digest, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams, OrderRule,
    PublicKey, Signature,
};

const START: u64 = 1_700_000_000_000_000;
/// Between two cuts.
const CUT_US: u64 = 80_000;

/// What is sent when, µs.
struct Load {
    name: &'static str,
    times: Vec<u64>,
    cuts: u64,
}

/// Lanes as over wide area: every trader is near some lanes and up to 75 ms from others.
fn deltas(n: usize, load: &Load) -> Vec<CutDelta> {
    let mut rng = Rng(n as u64);
    let mut lanes: Vec<Vec<(u64, usize)>> = vec![Vec::new(); n];
    let mut orders = Vec::new();
    for (i, at) in load.times.iter().enumerate() {
        let at = START + at;
        let mut sender = [0; 32];
        sender[..8].copy_from_slice(&(i as u64).to_le_bytes());
        let envelope = Arc::new(Envelope {
            label: label(PublicKey(sender), 0, at / 1_000 + 30_000, LANE_NONE),
            ciphertext: i.to_le_bytes().to_vec(),
            signature: Signature::default(),
        });
        let place = rng.below(4);
        for (lane, entries) in lanes.iter_mut().enumerate() {
            let far = (place + lane as u64) % 4 * 25_000;
            entries.push((at + 2_000 + far + rng.below(1_000), i));
        }
        orders.push((envelope.id(), envelope));
    }
    lanes.iter_mut().for_each(|lane| lane.sort_unstable());
    let mut at = vec![0; n];
    (1..=load.cuts)
        .map(|c| {
            let head = START + c * CUT_US;
            let lanes = (lanes.iter().zip(&mut at).enumerate()).map(|(lane, (all, at))| {
                // A lane is taken in as far as its batches have come to the leader.
                let head = head - (lane as u64 % 4) * 20_000;
                let from = *at;
                while all.get(*at).is_some_and(|(stamp, _)| *stamp <= head) {
                    *at += 1;
                }
                LaneDelta {
                    lane: MemberId(lane as u8),
                    head: Micros(head),
                    entries: (all[from..*at].iter())
                        .map(|(stamp, i)| FinalEntry {
                            ct_id: orders[*i].0,
                            stamp: Micros(*stamp),
                            order: Some(Arc::clone(&orders[*i].1)),
                        })
                        .collect(),
                }
            });
            CutDelta {
                block: BlockId(Digest([c as u8; 32])),
                time: Millis(head / 1_000),
                lanes: lanes.collect(),
            }
        })
        .collect()
}

/// Orders emitted, µs per order, worst cut in ms.
fn run(n: usize, rule: OrderRule, deltas: &[CutDelta]) -> (usize, f64, f64) {
    let params = OrderParams {
        rule,
        ..OrderParams::default()
    };
    let mut rule = LaneOrder::new(n, (n - 1) / 3, &params);
    let (mut emitted, mut spent, mut worst) = (0, 0.0, 0.0f64);
    for delta in deltas {
        let begin = Instant::now();
        emitted += rule.on_cut(delta).ordered.len();
        let took = begin.elapsed().as_secs_f64();
        spent += took;
        worst = worst.max(took);
    }
    (emitted, spent * 1e6 / emitted as f64, worst * 1e3)
}

/// All pairs of live orders at every cut, counted lane by lane: µs per order.
fn all_pairs(n: usize, deltas: &[CutDelta]) -> f64 {
    let params = OrderParams::default();
    let mut rule = LaneOrder::new(n, (n - 1) / 3, &params);
    let mut live: BTreeMap<CtId, Vec<u64>> = BTreeMap::new();
    let (mut emitted, mut spent, mut sum) = (0, 0.0, 0);
    for delta in deltas {
        for lane in &delta.lanes {
            for entry in &lane.entries {
                let row = live.entry(entry.ct_id).or_insert_with(|| vec![u64::MAX; n]);
                row[lane.lane.index()] = entry.stamp.0;
            }
        }
        let begin = Instant::now();
        for x in live.values() {
            for y in live.values() {
                sum += x.iter().zip(y).filter(|(x, y)| x < y).count();
            }
        }
        spent += begin.elapsed().as_secs_f64();
        for order in rule.on_cut(delta).ordered {
            live.remove(&order.ct_id);
            emitted += 1;
        }
    }
    std::hint::black_box(sum);
    spent * 1e6 / f64::from(emitted)
}

fn main() {
    let steady = Load {
        name: "2,000 orders/s",
        times: (0..10_000).map(|i| i * 500).collect(),
        cuts: 66,
    };
    let burst = |count: u64| Load {
        name: if count == 5_000 {
            "burst of 5,000 in 100 ms"
        } else {
            "burst of 1,000 in 100 ms"
        },
        times: (0..count).map(|i| i * 100_000 / count).collect(),
        cuts: 12,
    };
    for n in [4, 16, 100] {
        for load in [&steady, &burst(1_000), &burst(5_000)] {
            let deltas = deltas(n, load);
            let (count, arrival, _) = run(n, OrderRule::Arrival, &deltas);
            let (emitted, strong, worst) = run(n, OrderRule::Strong, &deltas);
            assert!(emitted == load.times.len() && count == emitted, "{emitted}");
            print!(
                "n = {n}, {}: strong {strong:.2} µs per order, worst cut {worst:.1} ms, \
                 arrival {arrival:.2} µs",
                load.name
            );
            if load.times.len() == steady.times.len() {
                let pairs = all_pairs(n, &deltas);
                print!(", all pairs {pairs:.1} µs: ratio {:.1}", pairs / strong);
            }
            println!();
        }
    }
}
