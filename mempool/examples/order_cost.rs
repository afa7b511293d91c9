//! Cost of the order rules; run with `--release`. Rule `strong` is compared with a count of
//! all pairs of live orders at every cut, on the same lanes in the same run.
//!
//! Arguments that are numbers are sizes of the committee; others are parts of the names of
//! loads. Without any, all are run. `--no-pairs` leaves out the count of all pairs. `--check` runs
//! what the aims are about, whatever else is asked, and fails if one is missed. The last column is the start of a hash of the order that came out: two builds that give different
//! ones are not the same rule.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use common::{Rng, label};
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{
    BlockId, CtId, Digest, Domain, Envelope, LANE_NONE, MemberId, Micros, Millis, OrderParams,
    OrderRule, PublicKey, Signature,
};
use rustix::time::{ClockId, clock_gettime};

const START: u64 = 1_700_000_000_000_000;
/// Every run is repeated so often, and the least processor time of each cut counts: what else
/// the machine does only ever adds to it.
const REPEAT: usize = 5;
/// Between two cuts.
const CUT_US: u64 = 80_000;
/// Loads of the aims, with delays like eu-us.
const STEADY: &str = "2,000/s";
const BURST: &str = "5,000 in 100 ms";
/// Aims of rule `strong`: members, and µs per order at [`STEADY`].
const EACH_US: [(usize, f64); 2] = [(16, 10.0), (100, 20.0)];
/// No cut takes so long under either load, ms.
const WORST_MS: f64 = 20.0;

/// One way between four places, µs: us-east-1, us-west-2, eu-west-1, eu-central-1. Half of
/// the median round trips that cloudping.co gives.
const WAN: [[u64; 4]; 4] = [
    [2_753, 32_112, 34_839, 46_452],
    [32_112, 1_585, 59_210, 71_303],
    [34_839, 59_210, 1_589, 13_611],
    [46_452, 71_303, 13_611, 2_021],
];
/// No place of this earth: each is near one fourth of the lanes and sees the rest in the
/// order of a ring, so that orders sent within 25 ms of each other form cycles.
const RING: [[u64; 4]; 4] = [
    [2_000, 27_000, 52_000, 77_000],
    [27_000, 52_000, 77_000, 2_000],
    [52_000, 77_000, 2_000, 27_000],
    [77_000, 2_000, 27_000, 52_000],
];

/// How far lanes are from those who send.
#[derive(Clone, Copy)]
enum Places {
    /// Who sends is in one of four places, a lane in the place of its number.
    Four([[u64; 4]; 4]),
    /// Every order reaches every lane after a time of its own, up to so long: rows that are like
    /// no other.
    Scattered(u64),
}

/// What is sent when, µs, and how far lanes are.
struct Load {
    name: String,
    places: Places,
    times: Vec<u64>,
    cuts: u64,
}

/// Lanes and cuts of a committee whose members are in four places in turn.
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
        let place = rng.below(4) as usize;
        for (lane, entries) in lanes.iter_mut().enumerate() {
            let way = match load.places {
                Places::Four(delays) => {
                    let way = delays[place][lane % 4];
                    way + rng.below(300 + way / 50)
                }
                Places::Scattered(longest) => rng.below(longest),
            };
            entries.push((at + way, i));
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

/// Processor time of this thread, s.
fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// What a run cost.
struct Cost {
    emitted: usize,
    /// µs per order.
    each: f64,
    /// ms of the slowest cut.
    worst: f64,
    /// Orders in the largest cycle.
    cycle: usize,
    /// Of the ids in their order.
    order: Digest,
}

fn run(n: usize, rule: OrderRule, deltas: &[CutDelta]) -> Cost {
    let params = OrderParams {
        rule,
        ..OrderParams::default()
    };
    let mut least = vec![f64::INFINITY; deltas.len()];
    let (mut order, mut cycle) = (Vec::new(), 0);
    for _ in 0..REPEAT {
        let mut rule = LaneOrder::new(n, (n - 1) / 3, &params);
        order.clear();
        cycle = 0;
        for (delta, least) in deltas.iter().zip(&mut least) {
            let begin = cpu_s();
            let emission = rule.on_cut(delta);
            *least = least.min(cpu_s() - begin);
            order.extend(emission.ordered.iter().map(|order| order.ct_id));
            cycle = cycle.max(emission.cycle_max);
        }
    }
    let spent: f64 = least.iter().sum();
    let ids: Vec<u8> = order.iter().flat_map(|id| *id.as_bytes()).collect();
    Cost {
        emitted: order.len(),
        each: spent * 1e6 / order.len() as f64,
        worst: least.into_iter().fold(0.0, f64::max) * 1e3,
        cycle,
        order: Domain::Snapshot.hash(&ids),
    }
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
        let begin = cpu_s();
        for x in live.values() {
            for y in live.values() {
                sum += x.iter().zip(y).filter(|(x, y)| x < y).count();
            }
        }
        spent += cpu_s() - begin;
        for order in rule.on_cut(delta).ordered {
            live.remove(&order.ct_id);
            emitted += 1;
        }
    }
    std::hint::black_box(sum);
    spent * 1e6 / f64::from(emitted)
}

/// Orders sent evenly within 100 ms, which all come out within a second.
fn burst(count: u64) -> (Vec<u64>, u64) {
    ((0..count).map(|i| i * 100_000 / count).collect(), 12)
}

/// 2,000 a second for 5 s.
fn steady() -> (Vec<u64>, u64) {
    ((0..10_000).map(|i| i * 500).collect(), 66)
}

fn loads() -> Vec<Load> {
    let times = [
        (STEADY, steady()),
        ("500 in 100 ms", burst(500)),
        ("1,000 in 100 ms", burst(1_000)),
        ("2,000 in 100 ms", burst(2_000)),
        (BURST, burst(5_000)),
    ];
    let places = [
        ("", Places::Four(WAN)),
        ("ring, ", Places::Four(RING)),
        ("scattered, ", Places::Scattered(80_000)),
        ("wide, ", Places::Scattered(200_000)),
    ];
    let mut loads = Vec::new();
    for (place, places) in places {
        for (name, (times, cuts)) in &times {
            loads.push(Load {
                name: format!("{place}{name}"),
                places,
                times: times.clone(),
                cuts: *cuts,
            });
        }
    }
    loads
}

/// What the aims say of a run that misses them.
fn missed(n: usize, load: &str, cost: &Cost) -> Vec<String> {
    let mut out = Vec::new();
    for (_, aim) in EACH_US.iter().filter(|(size, _)| *size == n) {
        if load == STEADY && cost.each > *aim {
            out.push(format!(
                "n = {n}, {load}: {:.1} µs an order, not {aim}",
                cost.each
            ));
        }
    }
    if cost.worst >= WORST_MS {
        out.push(format!(
            "n = {n}, {load}: a cut of {:.1} ms, not below {WORST_MS}",
            cost.worst
        ));
    }
    out
}

fn main() -> ExitCode {
    let (mut sizes, mut parts) = (Vec::new(), Vec::new());
    let (mut with_pairs, mut check) = (true, false);
    let mut misses = Vec::new();
    for arg in std::env::args().skip(1) {
        match arg.parse::<usize>() {
            Ok(n) => sizes.push(n),
            Err(_) if arg == "--no-pairs" => with_pairs = false,
            Err(_) if arg == "--check" => check = true,
            Err(_) => parts.push(arg),
        }
    }
    let mut loads = loads();
    if check {
        // Nothing else asked for may make it check less.
        with_pairs = false;
        parts.clear();
        sizes = EACH_US.map(|(n, _)| n).to_vec();
        loads.retain(|load| [STEADY, BURST].contains(&load.name.as_str()));
    }
    if sizes.is_empty() {
        sizes = vec![4, 16, 31, 100];
    }
    loads.retain(|load| parts.is_empty() || parts.iter().any(|part| load.name.contains(part)));
    println!(
        "| n | load | `arrival` µs | `strong` µs | worst cut ms | all pairs / `strong` | cycle | order |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for n in sizes {
        for load in &loads {
            let deltas = deltas(n, load);
            let arrival = run(n, OrderRule::Arrival, &deltas);
            let strong = run(n, OrderRule::Strong, &deltas);
            let sent = load.times.len();
            assert!(strong.emitted == sent && arrival.emitted == sent);
            if check {
                misses.extend(missed(n, &load.name, &strong));
            }
            let pairs = if with_pairs {
                all_pairs(n, &deltas) / strong.each
            } else {
                f64::NAN
            };
            println!(
                "| {n} | {} | {:.1} | {:.1} | {:.1} | {:.0} | {} | {:.8} |",
                load.name,
                arrival.each,
                strong.each,
                strong.worst,
                pairs,
                strong.cycle,
                strong.order.to_string(),
            );
        }
    }
    misses.iter().for_each(|miss| eprintln!("missed: {miss}"));
    if misses.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
