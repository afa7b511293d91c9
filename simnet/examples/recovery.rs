//! How long committees take until all is well again after the last fault, by link delay:
//! `cargo run --release -p fairlane-simnet --example recovery -- [SEEDS] [PROFILE]`.

use std::collections::BTreeMap;

use fairlane_simnet::{Profile, Scenario};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seeds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(100);
    let named = args.iter().find_map(|arg| Profile::from_name(arg));
    let profile = named.unwrap_or(Profile::Swarm);
    let mut by_delay: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut failed = 0;
    for seed in 0..seeds {
        let n = if seed % 2 == 0 { 4 } else { 7 };
        let mut scenario = Scenario::new(n, seed, 30, profile);
        scenario.patience_ms = 120_000; // the slow ones are what is looked for
        let report = scenario.run();
        if !report.passed() {
            failed += 1;
            println!("{report}");
        }
        let delay = scenario.options().delay_ms;
        let recovery = report.stats.recovery_ms;
        by_delay.entry(delay).or_default().push(recovery);
        if recovery > 10_000 {
            println!("{recovery} ms: {}", scenario.replay());
        }
    }
    println!("delay  runs    p50      p90      max   (ms)");
    let all = by_delay.values().flatten().copied().collect();
    let rows = by_delay.into_iter().map(|(ms, r)| (ms.to_string(), r));
    for (delay, mut recoveries) in rows.chain([("all".to_owned(), all)]) {
        recoveries.sort_unstable();
        let at = |percent: usize| recoveries[(recoveries.len() - 1) * percent / 100];
        let count = recoveries.len();
        let (median, high, most) = (at(50), at(90), at(100));
        println!("{delay:>5}  {count:>4}  {median:>6}   {high:>6}   {most:>6}");
    }
    println!("{failed} of {seeds} runs failed");
}
