//! `swarm`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use signal_hook::consts::SIGINT;

use super::{SimError, SwarmArgs, tier};
use crate::bundle;
use crate::swarm::{Summary, Swarm};

/// Without a limit.
const BUDGET_MS_DEFAULT: u64 = 60_000;
/// A line of progress after so long, ms.
const PROGRESS_MS: u64 = 5_000;
/// Failures that get a folder; more of them say nothing new.
const BUNDLES_MAX: usize = 16;

pub(super) fn run(args: &SwarmArgs, version: &str) -> Result<bool, SimError> {
    let unlimited = args.budget.is_none() && args.seeds.is_none();
    let swarm = Swarm {
        first: args.first,
        seeds: args.seeds,
        budget_ms: args.budget.or(unlimited.then_some(BUDGET_MS_DEFAULT)),
        jobs: usize::from(args.jobs),
        profile: args.profile.into(),
        rule: args.rule.map(Into::into),
        sizes: args.members.clone(),
        seconds: args.seconds_per_seed,
        tier: tier(args.ideal),
        recheck_per_mille: args.recheck,
    };
    let stop = Arc::new(AtomicBool::new(false));
    // The second Ctrl-C ends the process. Where there are no handlers the first one does.
    let second = signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&stop));
    if second.is_ok() {
        let _ = signal_hook::flag::register(SIGINT, Arc::clone(&stop));
    }
    let start = Instant::now();
    let elapsed = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut shown = 0;
    let summary = swarm.run(&stop, elapsed, |report, summary| {
        if !report.passed() {
            eprintln!("{report}");
        }
        for line in &report.suspicious {
            eprintln!("suspicious in {}: {line}", report.replay);
        }
        if summary.wall_ms >= shown + PROGRESS_MS {
            shown = summary.wall_ms;
            eprintln!("{}", progress(summary));
        }
    });
    for failure in summary.failures.iter().take(BUNDLES_MAX) {
        let folder = args.out.join(format!("seed-{:x}", failure.scenario.seed));
        bundle::write(&folder, &failure.scenario, version).map_err(|error| SimError::File {
            path: folder.clone(),
            error,
        })?;
        eprintln!("{} in {}", failure.scenario.replay(), folder.display());
    }
    if !args.json {
        println!("{}", progress(&summary));
        for (mark, count) in summary.marks.hits() {
            println!("  {:22} {count}", mark.name());
        }
    }
    println!("{}", summary.to_json());
    let missed = summary.marks.missed().next().is_some();
    Ok(summary.failures.is_empty() && !(args.require_marks && missed))
}

fn progress(summary: &Summary) -> String {
    format!(
        "{} s: {} seeds, {} failed, {} an hour, {} rechecked, {} rare events to go",
        summary.wall_ms / 1_000,
        summary.seeds,
        summary.failures.len(),
        summary.per_hour(),
        summary.rechecked,
        summary.marks.missed().count()
    )
}
