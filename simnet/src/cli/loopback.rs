//! `compare`: real processes on one machine (`fairlane bench --json`) beside the same load
//! simulated with a cost table of that machine.

use std::sync::Arc;

use clap::Args;
use serde_json::Value as Json;

use super::costs;
use crate::costs::CostTable;
use crate::research::{Lab, Metrics, shipped};
use crate::scenario::{Profile, Scenario};

/// A line of `fairlane bench --json`.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) members: u64,
    pub(super) offered_per_s: u64,
    pub(super) seconds: u64,
    achieved_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor seconds of the client per 1,000 orders.
    pub(super) client: f64,
    /// Seconds of commits, syncs among them, per 1,000 orders and member.
    pub(super) commits_s: f64,
    line: Json,
}

impl Bench {
    /// Processor seconds per 1,000 orders and member of a kind of thread.
    pub(super) fn cpu(&self, thread: &str) -> f64 {
        let of = |name: &str| self.line["cpu_breakdown"][name].as_f64().unwrap_or(0.0);
        match thread {
            "network" => of("tokio-rt-worker") + of("fairlane"),
            "pool" => of("crypto"),
            "writer" => of("writer") + of("loader") + of("rocksdb:high") + of("rocksdb:low"),
            other => of(other),
        }
    }
}

/// Reads lines of `fairlane bench --json`; others are left out.
pub(super) fn benches(text: &str) -> Result<Vec<Bench>, String> {
    let parsed = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let benches: Vec<_> = parsed.filter_map(|line| bench(&line["bench"])).collect();
    if benches.is_empty() {
        return Err("no line of `fairlane bench --json` with a client's time".to_owned());
    }
    Ok(benches)
}

fn bench(line: &Json) -> Option<Bench> {
    let float = |name: &str| line[name].as_f64();
    Some(Bench {
        members: line["members"].as_u64()?,
        offered_per_s: line["offered_per_s"].as_u64()?,
        seconds: (float("seconds")? as u64).max(1),
        achieved_per_s: float("achieved_per_s")?,
        p50_ms: float("p50_ms")?,
        p99_ms: float("p99_ms")?,
        client: float("client_cpu_s_per_1k_orders")?,
        commits_s: line["job_breakdown"]["store_commits"].as_f64()?,
        line: line.clone(),
    })
}

/// What the same load gives in the simulator.
fn simulated(table: &CostTable, bench: &Bench, seed: u64) -> Result<Metrics, String> {
    let settings = costs::loopback(bench.offered_per_s, bench.seconds)?;
    let mut lab = Lab::new(&settings, seed, &shipped::matrix)?;
    lab.cpu.table = table.clone();
    let cores = lab.cpu.cores;
    let mut scenario = Scenario::new(lab.n, seed, lab.intents.len(), Profile::Calm);
    scenario.patience_ms = lab.patience_ms;
    scenario.tier = lab.tier();
    scenario.lab = Some(Arc::new(lab));
    let (report, record) = scenario.observe();
    let record = record.ok_or("the run was not recorded")?;
    if !report.passed() {
        return Err(format!("{report}"));
    }
    Ok(Metrics::of(&report, &record, cores))
}

/// `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Lines of `fairlane bench --json` of four members.
    #[arg(value_name = "FILE")]
    bench: String,
    /// Cost table of the machine, shipped or a file.
    #[arg(long, default_value = "zen4-node")]
    costs: String,
    /// How far off a median may be: 0.2 is 20 %.
    #[arg(long, default_value_t = 0.2)]
    within: f64,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(args: &CompareArgs) -> Result<bool, String> {
    let table = CostTable::named(&args.costs)?;
    let text =
        std::fs::read_to_string(&args.bench).map_err(|error| format!("{}: {error}", args.bench))?;
    println!(
        "| offered/s | achieved/s, real | simulated | p50 ms, real | simulated | off by | p99 ms, real | simulated |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut close = true;
    for bench in benches(&text)? {
        let metrics = simulated(&table, &bench, args.seed)?;
        let of = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
        let off = of("client_p50_ms") / bench.p50_ms - 1.0;
        close &= off.abs() <= args.within;
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:+.0} % | {:.1} | {:.1} |",
            bench.offered_per_s,
            bench.achieved_per_s,
            of("opened_per_s"),
            bench.p50_ms,
            of("client_p50_ms"),
            off * 100.0,
            bench.p99_ms,
            of("client_p99_ms"),
        );
    }
    Ok(close)
}
