//! `speed`.

use rustix::time::{ClockId, clock_gettime};

use super::{SimError, SpeedArgs};
use crate::speed::SpeedRun;

pub(super) fn run(args: &SpeedArgs) -> Result<bool, SimError> {
    let run = SpeedRun {
        members: args.members,
        seed: args.seed,
        span_ms: args.span,
        orders_per_s: args.rate,
        heads_ms: args.heads,
        batches_ms: args.batches,
    };
    let speed = run.measure(thread_ns)?;
    if !speed.report.passed() {
        eprintln!("{}", speed.report);
    }
    if !args.json {
        let stats = &speed.report.stats;
        println!(
            "{} members, {} ms of virtual time, {} orders in {} blocks, {} events, {} frames, {} MB",
            speed.members,
            stats.virtual_ms,
            stats.items,
            stats.heights,
            stats.events,
            stats.frames,
            stats.bytes / 1_000_000
        );
        println!(
            "{} ms of processor time, {} ms before it to make keys and seal orders; trace {:032x}",
            speed.run_ns / 1_000_000,
            speed.setup_ns / 1_000_000,
            speed.report.trace_hash
        );
        if let Some(peak) = peak_kib() {
            println!("{} MB of memory at the most", peak / 1_024);
        }
    }
    println!("{}", speed.to_json());
    Ok(speed.report.passed())
}

/// Processor time of this thread, in nanoseconds.
pub(super) fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let ns = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(ns).unwrap_or(0)
}

/// The most memory that this process had, in KiB, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
