//! Many seeds on several threads, until time or patience ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fairlane_types::OrderRule;

use crate::check::{Rule, Violation};
use crate::crypto::Tier;
use crate::engine::{Nanos, Owner, Purpose, Stream};
use crate::marks::Marks;
use crate::scenario::{Profile, Report, Scenario};

/// What a swarm runs.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// First seed; the others follow.
    pub first: u64,
    /// Ends after so many seeds.
    pub seeds: Option<u64>,
    /// Ends when the caller's clock says so, ms.
    pub budget_ms: Option<u64>,
    /// Threads. A run never sees another.
    pub jobs: usize,
    /// Which faults.
    pub profile: Profile,
    /// The order rule of all seeds, instead of what each draws.
    pub rule: Option<OrderRule>,
    /// Committee sizes, in turn.
    pub sizes: Vec<usize>,
    /// Virtual time of a seed, s, with faults all along; `None` leaves it to the seed: a few
    /// seconds.
    pub seconds: Option<u64>,
    /// Real or ideal cryptography.
    pub tier: Tier,
    /// Seeds that run twice, for equal traces, per mille.
    pub recheck_per_mille: u64,
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub scenario: Scenario,
    /// What came of it.
    pub report: Report,
}

/// What a swarm found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Seeds that ran twice.
    pub rechecked: u64,
    /// The runs that failed, by seed.
    pub failures: Vec<Failure>,
    /// Rare events over all runs.
    pub marks: Marks,
    /// Events handled over all runs.
    pub events: u64,
    /// Virtual time of all runs, ms.
    pub virtual_ms: u64,
    /// Wall time, as the caller's clock says.
    pub wall_ms: u64,
}

impl Summary {
    /// Seeds per hour at this pace.
    #[must_use]
    pub fn per_hour(&self) -> u64 {
        self.seeds.saturating_mul(3_600_000) / self.wall_ms.max(1)
    }

    /// One line of JSON: the last line of `simnet swarm`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let missed: Vec<_> = self
            .marks
            .missed()
            .map(|mark| format!("\"{}\"", mark.name()))
            .collect();
        format!(
            "{{\"swarm\":{{\"seeds\":{},\"violations\":{},\"seeds_per_hour\":{},\"rechecked\":{},\"marks_missed\":[{}]}}}}",
            self.seeds,
            self.failures.len(),
            self.per_hour(),
            self.rechecked,
            missed.join(",")
        )
    }

    fn add(&mut self, done: &Done) {
        self.seeds += 1;
        self.rechecked += u64::from(done.rechecked);
        self.events += done.report.stats.events;
        self.virtual_ms += done.report.stats.virtual_ms;
        self.marks.merge(&done.report.marks);
        if !done.report.passed() {
            self.failures.push(Failure {
                scenario: done.scenario.clone(),
                report: done.report.clone(),
            });
        }
    }
}

struct Done {
    scenario: Scenario,
    report: Report,
    rechecked: bool,
}

impl Swarm {
    /// The run of a seed.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        let turn = seed % (self.sizes.len() as u64).max(1);
        let n = self.sizes.get(turn as usize).copied().unwrap_or(4);
        let few = 20 + seed % 41;
        // One to three a second in a long run, so that some are always under way.
        let orders = self.seconds.map_or(few, |seconds| few * seconds / 20 + 1);
        Scenario {
            rule: self.rule,
            seconds: self.seconds,
            tier: self.tier,
            ..Scenario::new(n, seed, orders as usize, self.profile)
        }
    }

    /// Runs until a limit is reached or `stop` is set. `elapsed_ms` is the caller's clock;
    /// `watch` sees every report and what was found so far, one at a time.
    pub fn run(
        &self,
        stop: &AtomicBool,
        elapsed_ms: impl Fn() -> u64 + Sync,
        watch: impl FnMut(&Report, &Summary) + Send,
    ) -> Summary {
        let next = AtomicU64::new(0);
        let shared = Mutex::new((Summary::default(), watch));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let over = self.seeds.is_some_and(|seeds| index >= seeds)
                    || self.budget_ms.is_some_and(|budget| elapsed_ms() >= budget)
                    || stop.load(Ordering::Relaxed);
                if over {
                    return;
                }
                let done = self.one(self.first.wrapping_add(index));
                // A watcher that panicked on another thread ends the swarm there.
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let (summary, watch) = &mut *shared;
                summary.add(&done);
                summary.wall_ms = elapsed_ms();
                watch(&done.report, summary);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let (mut summary, _) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.wall_ms = elapsed_ms();
        summary
            .failures
            .sort_by_key(|failure| failure.scenario.seed);
        summary
    }

    fn one(&self, seed: u64) -> Done {
        let scenario = self.scenario(seed);
        let mut report = scenario.run();
        let mut draw = Stream::new(seed, Owner::World, Purpose::Test);
        let rechecked = draw.chance(self.recheck_per_mille);
        if rechecked {
            let again = scenario.run();
            if again != report {
                let what = format!(
                    "run twice, the traces differ: {:032x} and {:032x}",
                    report.trace_hash, again.trace_hash
                );
                report.violations.push(Violation {
                    at: Nanos(0),
                    rule: Rule::Determinism,
                    node: 0,
                    what,
                });
            }
        }
        Done {
            scenario,
            report,
            rechecked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_find_the_same_and_stop_when_asked() {
        let swarm = |jobs| Swarm {
            first: 7,
            seeds: Some(6),
            budget_ms: None,
            jobs,
            profile: Profile::Crash,
            rule: None,
            sizes: vec![4],
            seconds: None,
            tier: Tier::Ideal,
            recheck_per_mille: 500,
        };
        let stop = AtomicBool::new(false);
        let one = swarm(1).run(&stop, || 1, |_, _| {});
        let two = swarm(2).run(&stop, || 1, |_, _| {});
        assert_eq!(one.seeds, 6);
        assert!((1..6).contains(&one.rechecked), "{}", one.rechecked);
        assert_eq!(one.to_json(), two.to_json());
        assert_eq!(one.events, two.events);
        let stopped = swarm(2).run(
            &stop,
            || 1,
            |_, summary| {
                if summary.seeds == 2 {
                    stop.store(true, Ordering::Relaxed);
                }
            },
        );
        assert!((2..5).contains(&stopped.seeds), "{}", stopped.seeds);
    }

    #[test]
    fn long_seeds_last_as_long_as_was_said_and_hold_every_rule() {
        let swarm = Swarm {
            rule: None,
            first: 1,
            seeds: Some(2),
            budget_ms: None,
            jobs: 1,
            profile: Profile::Swarm,
            sizes: vec![4],
            seconds: Some(12),
            tier: Tier::Ideal,
            recheck_per_mille: 1_000,
        };
        let summary = swarm.run(&AtomicBool::new(false), || 1, |_, _| {});
        assert!(summary.failures.is_empty(), "{:?}", summary.failures);
        assert_eq!(summary.rechecked, 2);
        assert!(summary.virtual_ms >= 2 * 10_800, "{}", summary.virtual_ms);
    }
}
