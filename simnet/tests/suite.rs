//! The fixed seeds, fresh ones, and what was kept from failures. A failing seed prints the
//! line that runs it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fairlane_simnet::faults::from_toml;
use fairlane_simnet::marks::{Mark, Marks};
use fairlane_simnet::{Profile, Report, Scenario};

/// Fixed seeds for n = 4 and for n = 7.
const SEEDS: [(usize, u64); 2] = [(4, 130), (7, 110)];

fn scenario(n: usize, seed: u64) -> Scenario {
    Scenario::new(n, seed, 20 + (seed % 41) as usize, Profile::Swarm)
}

/// Runs scenarios on two threads; one run never sees another.
fn run_all(scenarios: &[Scenario]) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) =
                    scenarios.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let report = scenario.run();
                    if !report.passed() {
                        println!("{report}");
                    }
                    reports.lock().expect("no run panicked").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("no run panicked")
}

fn assert_all_pass(reports: &[Report]) {
    let failed: Vec<_> = reports.iter().filter(|report| !report.passed()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} runs failed",
        failed.len(),
        reports.len()
    );
}

#[test]
fn fixed_seeds_hold_every_rule_and_meet_every_rare_event() {
    let scenarios: Vec<_> = SEEDS
        .into_iter()
        .flat_map(|(n, seeds)| (0..seeds).map(move |seed| scenario(n, seed)))
        .collect();
    let reports = run_all(&scenarios);
    let mut marks = Marks::default();
    for report in &reports {
        marks.merge(&report.marks);
    }
    for (mark, count) in marks.hits() {
        println!("{:18} {count}", mark.name());
    }
    assert_all_pass(&reports);
    let missed: Vec<_> = marks.missed().map(Mark::name).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
    // S15: every twentieth again, the same to the last event.
    for scenario in scenarios.iter().step_by(20) {
        let again = scenario.run();
        assert!(reports.contains(&again), "{again}");
    }
    let orders: u64 = reports.iter().map(|report| report.stats.items).sum();
    assert!(orders > 5_000, "{orders}");
}

#[test]
fn fresh_seeds_hold_every_rule() {
    let base = fresh_base();
    println!("fresh seeds from 0x{base:x} (FAIRLANE_SIM_SEED)");
    let scenarios: Vec<_> = (0..12)
        .map(|i| scenario(if i % 3 == 2 { 7 } else { 4 }, base.wrapping_add(i)))
        .collect();
    assert_all_pass(&run_all(&scenarios));
}

/// `FAIRLANE_SIM_SEED`, or the commit that is checked out.
fn fresh_base() -> u64 {
    if let Ok(text) = std::env::var("FAIRLANE_SIM_SEED") {
        let digits = text.trim_start_matches("0x");
        return u64::from_str_radix(digits, 16).expect("FAIRLANE_SIM_SEED is a hexadecimal number");
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../.git/");
    let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).ok();
    let head = read("HEAD").unwrap_or_default();
    let commit = match head.trim().strip_prefix("ref: ") {
        Some(reference) => read(reference).unwrap_or_default(),
        None => head,
    };
    u64::from_str_radix(commit.get(..15).unwrap_or(""), 16).unwrap_or(0x5eed_0000)
}

#[test]
fn a_seed_gives_the_same_trace_again() {
    for (n, profile) in [
        (4, Profile::Swarm),
        (7, Profile::Swarm),
        (4, Profile::Calm),
        (4, Profile::Crash),
    ] {
        for seed in [3, 40] {
            let scenario = Scenario::new(n, seed, 30, profile);
            let (first, second) = (scenario.run(), scenario.run());
            assert_eq!(first, second, "{}", scenario.replay());
            let other = Scenario::new(n, seed + 1_000, 30, profile).run();
            assert_ne!(first.trace_hash, other.trace_hash);
        }
    }
}

/// Every file in `regressions/` is a run that failed once.
#[test]
fn what_failed_once_passes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let scenarios: Vec<_> = paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            println!("{}", path.display());
            from_toml(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    assert!(scenarios.len() >= 6);
    assert_all_pass(&run_all(&scenarios));
}
