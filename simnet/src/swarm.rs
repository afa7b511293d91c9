//! Many seeds, until time or patience ends.

use crate::marks::Marks;
use crate::scenario::{Profile, Report, Scenario};

/// What a swarm found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Reports of the runs that failed.
    pub failures: Vec<Report>,
    /// Rare events over all runs.
    pub marks: Marks,
    /// Events handled over all runs.
    pub events: u64,
    /// Wall time, as the caller's clock says.
    pub wall_ms: u64,
}

impl Summary {
    /// One line of JSON, as `sim swarm --json` prints it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let missed: Vec<_> = self
            .marks
            .missed()
            .map(|mark| format!("\"{}\"", mark.name()))
            .collect();
        let per_hour = self.seeds * 3_600_000 / self.wall_ms.max(1);
        format!(
            "{{\"swarm\":{{\"seeds\":{},\"violations\":{},\"seeds_per_hour\":{per_hour},\"marks_missed\":[{}]}}}}",
            self.seeds,
            self.failures.len(),
            missed.join(",")
        )
    }
}

/// Runs seeds from `first` on while `elapsed_ms`, the caller's clock, is below the budget;
/// committees of 4 and 7 take turns. `watch` sees every report.
pub fn swarm(
    first: u64,
    budget_ms: u64,
    profile: Profile,
    mut elapsed_ms: impl FnMut() -> u64,
    mut watch: impl FnMut(&Report),
) -> Summary {
    let mut summary = Summary::default();
    let mut seed = first;
    while elapsed_ms() < budget_ms {
        let n = if seed.is_multiple_of(2) { 4 } else { 7 };
        let report = Scenario::new(n, seed, 20 + (seed % 41) as usize, profile).run();
        watch(&report);
        summary.seeds += 1;
        summary.events += report.stats.events;
        summary.marks.merge(&report.marks);
        if !report.passed() {
            summary.failures.push(report);
        }
        seed = seed.wrapping_add(1);
    }
    summary.wall_ms = elapsed_ms();
    summary
}
