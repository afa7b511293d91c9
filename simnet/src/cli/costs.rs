//! `costs`: writes a cost table for this machine.
//!
//! Jobs and steps are timed in simulated committees that carry the load of `fairlane bench`
//! at several rates. What the threads around them take follows from the processor time of
//! real processes at two rates or more, less what jobs and steps account for: a straight
//! line (least squares) through, say, frames and orders against the network's time.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;

use super::loopback::{self, Bench};
use crate::costs::{CostTable, Disk};
use crate::research::meter::{ProcessorNs, Samples};
use crate::research::{Lab, Recorder, Settings, Value, shipped};
use crate::scenario::{Profile, Scenario};

/// Rates at which jobs and steps are timed, orders per second.
const RATES: [u64; 4] = [20, 200, 600, 1_200];
/// How long each, in seconds.
const SECONDS: u64 = 3;
/// The threads' costs change what is batched, which changes them: they are fitted so often.
const ROUNDS: usize = 3;
/// A sync takes between half and twice its median, evenly: its mean over its median.
const SYNC_MEAN: f64 = 1.25;

/// `costs`.
#[derive(Clone, Debug, Args)]
pub struct CostsArgs {
    /// Lines of `fairlane bench --json` of four members, at two rates or more.
    #[arg(long, value_name = "FILE")]
    bench: Option<String>,
    /// Keep the jobs and steps of this table, shipped or a file, and fit only the threads.
    #[arg(long, value_name = "TABLE")]
    keep: Option<String>,
    /// The machine, and when.
    #[arg(long, default_value = "")]
    about: String,
    /// File to write; stdout if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
}

pub(super) fn run(args: &CostsArgs, processor_ns: ProcessorNs) -> Result<bool, String> {
    let mut table = match &args.keep {
        Some(name) => CostTable::named(name)?,
        None => time_jobs_and_steps(processor_ns)?,
    };
    table.about.clone_from(&args.about);
    if let Some(path) = &args.bench {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let benches = loopback::benches(&text)?;
        for _ in 0..ROUNDS {
            fit_threads(&mut table, &benches)?;
        }
    }
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    let head = "# Written by `simnet costs`: what a node takes on the machine named below, in\n\
                # nanoseconds of processor time.\n";
    match &args.out {
        Some(path) => std::fs::write(path, format!("{head}{text}"))
            .map_err(|error| format!("{path}: {error}"))?,
        None => print!("{head}{text}"),
    }
    Ok(true)
}

/// The shipped scenario `loopback` at a rate.
pub(super) fn loopback(rate: u64, seconds: u64) -> Result<Settings, String> {
    let text = shipped::scenario("loopback").ok_or("no scenario `loopback`")?;
    let plan = crate::research::file::parse("loopback.toml", text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())?;
    let mut settings = plan.settings;
    settings.set("workload.rate", Value::Float(rate as f64));
    settings.set("workload.duration", Value::Text(format!("{seconds}s")));
    Ok(settings)
}

fn observe(lab: Lab, seed: u64) -> Result<Recorder, String> {
    let mut scenario = Scenario::new(lab.n, seed, lab.intents.len(), Profile::Calm);
    scenario.patience_ms = lab.patience_ms;
    scenario.tier = lab.tier();
    scenario.lab = Some(Arc::new(lab));
    let (report, record) = scenario.observe();
    if !report.passed() {
        return Err(format!("{report}"));
    }
    record.ok_or_else(|| "the run was not recorded".to_owned())
}

fn time_jobs_and_steps(processor_ns: ProcessorNs) -> Result<CostTable, String> {
    let mut table = CostTable::default();
    let mut jobs = BTreeMap::<_, Samples>::new();
    let mut steps = BTreeMap::<_, Samples>::new();
    for rate in RATES {
        let mut settings = loopback(rate, SECONDS)?;
        settings.set("crypto.costs", Value::Text("zen4".into()));
        let mut lab = Lab::new(&settings, rate, &shipped::matrix)?;
        lab.processor_ns = Some(processor_ns);
        let record = observe(lab, rate)?;
        let Some(meter) = &record.meter else { continue };
        for (of, into) in [(&meter.jobs, &mut jobs), (&meter.steps, &mut steps)] {
            for (name, samples) in of {
                into.entry(*name).or_default().join(samples);
            }
        }
    }
    let lines = |of: BTreeMap<&'static str, Samples>| {
        let lines = of.into_iter();
        lines
            .map(|(name, samples)| (name.to_owned(), samples.cost()))
            .collect()
    };
    table.jobs = lines(jobs);
    table.steps = lines(steps);
    // The ceremony is not part of that load.
    let known = CostTable::named(crate::costs::DEFAULT)?;
    for (name, cost) in known.jobs {
        table.jobs.entry(name).or_insert(cost);
    }
    Ok(table)
}

/// What a simulated run of one of the benches did, of one thread of each kind, all members.
struct Done {
    orders: f64,
    /// Times that the core thread and the network's were woken.
    core: f64,
    network: f64,
    inputs: f64,
    /// Frames sent and received, and orders submitted.
    frames: f64,
    commits: f64,
    rows: f64,
    jobs: f64,
    blocks: f64,
    /// What steps and jobs account for, ns.
    steps_ns: f64,
    jobs_ns: f64,
}

fn simulate(table: &CostTable, rate: u64, seconds: u64) -> Result<Done, String> {
    let settings = loopback(rate, seconds)?;
    let mut lab = Lab::new(&settings, rate, &shipped::matrix)?;
    lab.cpu.table = table.clone();
    let n = lab.n as f64;
    let record = observe(lab, rate)?;
    let threads = |name: &str| record.threads.get(name).copied().unwrap_or_default();
    let (core, network) = (threads("core"), threads("network"));
    let known = &table.threads;
    let around = core.tasks * known.core_input_ns + core.wakes * known.core_wake_ns;
    let (commits, _) = record
        .disk
        .iter()
        .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let jobs: u64 = record.worked.values().map(|worked| worked.jobs).sum();
    let jobs_ns: u64 = record.worked.values().map(|worked| worked.busy_ns).sum();
    let spoken: u64 = record.spoken.values().map(|spoken| spoken.messages).sum();
    let orders = record.orders.len() as f64;
    Ok(Done {
        orders,
        core: core.wakes as f64,
        network: network.wakes as f64,
        inputs: core.tasks as f64,
        frames: 2.0 * spoken as f64 + orders * n,
        commits: commits as f64,
        rows: record.rows as f64,
        jobs: jobs as f64,
        blocks: record.emitted.len() as f64,
        steps_ns: core.busy_ns as f64 - around as f64,
        jobs_ns: jobs_ns as f64 - jobs as f64 * table.threads.pool_job_ns as f64,
    })
}

fn fit_threads(table: &mut CostTable, benches: &[Bench]) -> Result<(), String> {
    let mut core = Samples2::default();
    let mut network = Samples2::default();
    let mut writer = Samples2::default();
    let mut pool = Samples2::default();
    let mut client = Samples2::default();
    let mut sync_ns = f64::INFINITY;
    for bench in benches {
        let done = simulate(table, bench.offered_per_s, bench.seconds)?;
        // CPU-s per 1,000 orders and member, as ns of all members for the orders simulated.
        let all = |per_1k: f64| per_1k * 1e6 * done.orders * bench.members as f64;
        let weight = 1.0 / all(bench.cpu("core") + bench.cpu("network")).max(1.0);
        let rest = all(bench.cpu("core")) - done.steps_ns;
        core.add(done.core, done.inputs, rest, weight);
        let network_ns = all(bench.cpu("network"));
        network.add(done.network, done.frames, network_ns, weight);
        writer.add(done.commits, done.rows, all(bench.cpu("writer")), weight);
        pool.add(
            done.jobs,
            0.0,
            all(bench.cpu("pool")) - done.jobs_ns,
            weight,
        );
        client.add(
            done.blocks,
            done.orders,
            bench.client * 1e6 * done.orders,
            weight,
        );
        let commit = all(bench.commits_s) - all(bench.cpu("writer"));
        sync_ns = sync_ns.min(commit / done.commits.max(1.0));
    }
    let threads = &mut table.threads;
    (threads.core_wake_ns, threads.core_input_ns) = core.solve();
    (threads.network_wake_ns, threads.network_frame_ns) = network.solve();
    (threads.writer_commit_ns, threads.writer_row_ns) = writer.solve();
    (threads.pool_job_ns, _) = pool.solve();
    (threads.client_block_ns, threads.client_order_ns) = client.solve();
    table.disk = Some(Disk {
        sync_ns: (sync_ns / SYNC_MEAN).max(0.0) as u64,
        append_ns: 0,
    });
    Ok(())
}

/// z = a·x + b·y, a and b not below zero, by weighted least squares.
#[derive(Clone, Copy, Debug, Default)]
struct Samples2 {
    xx: f64,
    xy: f64,
    yy: f64,
    xz: f64,
    yz: f64,
}

impl Samples2 {
    fn add(&mut self, x: f64, y: f64, z: f64, weight: f64) {
        let w = weight * weight;
        self.xx += w * x * x;
        self.xy += w * x * y;
        self.yy += w * y * y;
        self.xz += w * x * z;
        self.yz += w * y * z;
    }

    fn solve(&self) -> (u64, u64) {
        let alone = |z: f64, square: f64| {
            if square > 0.0 {
                (z / square).max(0.0)
            } else {
                0.0
            }
        };
        let determinant = self.xx * self.yy - self.xy * self.xy;
        let (mut a, mut b) = (alone(self.xz, self.xx), 0.0);
        if determinant > 1e-9 * self.xx * self.yy {
            a = (self.xz * self.yy - self.yz * self.xy) / determinant;
            b = (self.yz * self.xx - self.xz * self.xy) / determinant;
            if a < 0.0 {
                (a, b) = (0.0, alone(self.yz, self.yy));
            } else if b < 0.0 {
                (a, b) = (alone(self.xz, self.xx), 0.0);
            }
        }
        (a as u64, b as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_costs_are_told_apart() {
        let mut both = Samples2::default();
        for (frames, orders) in [(100.0, 1.0), (90.0, 60.0), (80.0, 300.0)] {
            both.add(frames, orders, 50.0 * frames + 700.0 * orders, 1e-3);
        }
        let (frame, order) = both.solve();
        assert!((49..=50).contains(&frame) && (699..=700).contains(&order));
        let mut one = Samples2::default();
        one.add(10.0, 0.0, 300.0, 1.0);
        assert_eq!(one.solve(), (30, 0));
        let mut less = Samples2::default();
        less.add(10.0, 0.0, -5.0, 1.0);
        assert_eq!(less.solve(), (0, 0));
    }
}
