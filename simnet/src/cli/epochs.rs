//! `epochs`.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::epochs::{Epochs, EpochsReport};

use super::EpochsArgs;

/// What the seeds gave together.
#[derive(Default)]
struct Total {
    failed: u64,
    rechecked: u64,
    epochs: u64,
    acknowledged: u64,
    carried: u64,
    fetched: u64,
    passed_through: u64,
    crashes: u64,
    torn: u64,
    erased: u64,
    renewed: u64,
    resealed: u64,
    opened_late: u64,
    mixed: u64,
    forgotten: u64,
    refused: u64,
    lies: u64,
    released: u64,
}

/// Seed after seed; false if a rule was broken.
pub(super) fn run(args: &EpochsArgs) -> bool {
    let next = AtomicU64::new(args.first);
    let end = args.first.saturating_add(args.seeds);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let plan = Epochs::of_seed(seed).with_scheme(args.scheme);
                    let report = plan.run();
                    // One seed in sixteen runs twice and must go the same way.
                    let again = seed.is_multiple_of(16).then(|| plan.run());
                    let same = again.as_ref().map(|a| a.trace_hash == report.trace_hash);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&mut total, args, &report, same);
                }
            });
        }
    });
    let t = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{{\"epochs\":{{\"seeds\":{},\"failed\":{},\"rechecked\":{},\"switches\":{},\"acknowledged\":{},\"carried\":{},\"fetched\":{},\"passed_through\":{},\"crashes\":{},\"torn\":{},\"erased\":{},\"renewed\":{},\"resealed\":{},\"opened_late\":{},\"mixed\":{},\"forgotten\":{},\"dealings_refused\":{},\"lies\":{},\"released\":{}}}}}",
        args.seeds,
        t.failed,
        t.rechecked,
        t.epochs,
        t.acknowledged,
        t.carried,
        t.fetched,
        t.passed_through,
        t.crashes,
        t.torn,
        t.erased,
        t.renewed,
        t.resealed,
        t.opened_late,
        t.mixed,
        t.forgotten,
        t.refused,
        t.lies,
        t.released,
    );
    t.failed == 0
}

fn add(total: &mut Total, args: &EpochsArgs, report: &EpochsReport, same: Option<bool>) {
    let failed = !report.passed() || same == Some(false);
    total.failed += u64::from(failed);
    total.rechecked += u64::from(same.is_some());
    total.epochs += report.epoch;
    total.acknowledged += report.acknowledged as u64;
    total.carried += report.carried as u64;
    total.fetched += report.fetched as u64;
    total.passed_through += report.passed_through as u64;
    total.crashes += report.crashes as u64;
    total.torn += report.torn as u64;
    total.erased += report.erased as u64;
    total.renewed += report.renewed;
    total.resealed += report.resealed as u64;
    total.opened_late += report.opened_late as u64;
    total.mixed += report.mixed as u64;
    total.forgotten += report.forgotten as u64;
    total.refused += report.dealings_refused;
    total.lies += report.lies;
    total.released += report.released as u64;
    if failed {
        eprint!("{report}");
        if same == Some(false) {
            eprintln!("  run twice, it went two ways");
        }
        let (seed, scheme) = (report.seed, args.scheme.name());
        eprintln!("  again: simnet epochs --first {seed} --seeds 1 --scheme {scheme}");
    } else if !args.json {
        print!("{report}");
    }
}
