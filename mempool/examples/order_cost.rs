//! Cost of the order rule per order and per lane entry; run with `--release`.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Rng, label};
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, Digest, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams, PublicKey,
    Signature,
};

/// 5,000 orders per second for 20 s, spread of 30 ms over the lanes, a cut every 50 ms.
fn run(n: usize) -> (f64, f64) {
    let (rate, spread_us, cut_us, cuts) = (5_000, 30_000, 50_000, 400);
    let f = (n - 1) / 3;
    let mut rng = Rng(n as u64);
    let mut rule = LaneOrder::new(n, f, &OrderParams::default());
    let start = 1_700_000_000_000_000;
    let mut lanes: Vec<Vec<(u64, usize)>> = vec![Vec::new(); n];
    let mut orders = Vec::new();
    for i in 0..rate * cuts * cut_us / 1_000_000 {
        let at = start + i * 1_000_000 / rate;
        let envelope = Arc::new(Envelope {
            label: label(PublicKey([i as u8; 32]), i, at / 1_000 + 30_000, LANE_NONE),
            ciphertext: i.to_le_bytes().to_vec(),
            signature: Signature::default(),
        });
        for lane in &mut lanes {
            lane.push((at + rng.below(spread_us), orders.len()));
        }
        orders.push((envelope.id(), envelope));
    }
    for lane in &mut lanes {
        lane.sort_unstable();
    }
    let mut at = vec![0; n];
    let (mut entries, mut emitted, mut spent) = (0, 0, 0.0);
    for c in 1..=cuts {
        let head = start + c * cut_us;
        let delta = CutDelta {
            block: BlockId(Digest([c as u8; 32])),
            time: Millis(head / 1_000),
            lanes: (0..n)
                .map(|lane| {
                    let from = at[lane];
                    while at[lane] < lanes[lane].len() && lanes[lane][at[lane]].0 <= head {
                        at[lane] += 1;
                    }
                    let entries = lanes[lane][from..at[lane]]
                        .iter()
                        .map(|(stamp, i)| FinalEntry {
                            ct_id: orders[*i].0,
                            stamp: Micros(*stamp),
                            order: Some(orders[*i].1.clone()),
                        });
                    LaneDelta {
                        lane: MemberId(lane as u8),
                        head: Micros(head),
                        entries: entries.collect(),
                    }
                })
                .collect(),
        };
        entries += delta.lanes.iter().map(|l| l.entries.len()).sum::<usize>();
        let begin = Instant::now();
        emitted += rule.on_cut(&delta).ordered.len();
        spent += begin.elapsed().as_secs_f64();
    }
    assert!(emitted as f64 > 0.99 * orders.len() as f64 - 500.0);
    (spent * 1e6 / emitted as f64, spent * 1e6 / entries as f64)
}

fn main() {
    for n in [4, 16, 100] {
        let (order, entry) = run(n);
        println!("n = {n}: {order:.2} µs per order, {entry:.3} µs per lane entry");
    }
}
