//! How fast the simulator is: one run of a documented workload, and virtual time over
//! processor time. The caller reads the clock; nothing in the engine does.

use std::sync::Arc;

use crate::crypto::Tier;
use crate::net::{Matrix, MatrixError, Placement};
use crate::scenario::{Profile, Report, Scenario};
use crate::world::World;

/// The matrix of the workload.
pub const MATRIX: &str = "aws-2026";

/// Where the members are, in turn: ten regions on six continents.
pub const REGIONS: [&str; 10] = [
    "us-west-1",
    "us-east-1",
    "eu-west-1",
    "ap-northeast-1",
    "eu-north-1",
    "ap-south-1",
    "sa-east-1",
    "eu-central-1",
    "ap-northeast-2",
    "ap-southeast-2",
];

/// A run without faults whose speed is measured: ideal cryptography, the whole path from
/// sealed order to emitted plaintext, every message encoded and decoded, every checker on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeedRun {
    /// Members.
    pub members: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Orders are sent within this span of virtual time, ms; the run ends soon after.
    pub span_ms: u64,
    /// Orders per second of virtual time, over the whole committee.
    pub orders_per_s: u64,
    /// How often heads of lanes advance, instead of the default, ms (L4).
    pub heads_ms: Option<u64>,
    /// How long a batch waits for more, instead of the default, ms (M3).
    pub batches_ms: Option<u64>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// What came of the run.
    pub report: Report,
    /// Members.
    pub members: usize,
    /// Processor time of building the world: keys, and sealing of all orders, ns.
    pub setup_ns: u64,
    /// Processor time of the run, ns.
    pub run_ns: u64,
}

impl SpeedRun {
    /// As a scenario.
    ///
    /// # Errors
    /// [`MatrixError`] if the shipped matrix lacks a region.
    pub fn scenario(&self) -> Result<Scenario, MatrixError> {
        let orders = self.orders_per_s.saturating_mul(self.span_ms) / 1_000;
        let orders = usize::try_from(orders).unwrap_or(usize::MAX);
        let placement = Placement::in_turn(Matrix::shipped(MATRIX)?, &REGIONS, self.members)?;
        Ok(Scenario {
            steady_ms: Some(self.span_ms),
            heads_ms: self.heads_ms,
            batches_ms: self.batches_ms,
            tier: Tier::Ideal,
            placement: Some(Arc::new(placement)),
            ..Scenario::new(self.members, self.seed, orders, Profile::Calm)
        })
    }

    /// Runs it; `processor_ns` reads the processor time of this thread.
    ///
    /// # Errors
    /// As [`scenario`](Self::scenario).
    pub fn measure(&self, processor_ns: impl Fn() -> u64) -> Result<Speed, MatrixError> {
        let scenario = self.scenario()?;
        let begin = processor_ns();
        let world = World::new(&scenario);
        let built = processor_ns();
        let report = world.run();
        Ok(Speed {
            report,
            members: self.members,
            setup_ns: built.saturating_sub(begin),
            run_ns: processor_ns().saturating_sub(built),
        })
    }
}

impl Speed {
    /// Seconds of virtual time per second of processor time.
    #[must_use]
    pub fn realtime_factor(&self) -> f64 {
        let virtual_ns = self.report.stats.virtual_ms as f64 * 1e6;
        virtual_ns / self.run_ns.max(1) as f64
    }

    /// Events of the queue per second of processor time.
    #[must_use]
    pub fn events_per_cpu_s(&self) -> f64 {
        self.report.stats.events as f64 * 1e9 / self.run_ns.max(1) as f64
    }

    /// The last line of the verb.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"speed\":{{\"members\":{},\"realtime_factor\":{:.2},\"events_per_cpu_s\":{:.0}}}}}",
            self.members,
            self.realtime_factor(),
            self.events_per_cpu_s()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn factors_follow_from_the_clock_that_was_read() {
        let run = SpeedRun {
            members: 4,
            seed: 1,
            span_ms: 2_000,
            orders_per_s: 10,
            heads_ms: None,
            batches_ms: None,
        };
        // A clock on which building and running take a second each.
        let clock = Cell::new(0);
        let read = || clock.replace(clock.get() + 1_000_000_000);
        let speed = run.measure(read).unwrap();
        assert!(speed.report.passed(), "{}", speed.report);
        let stats = speed.report.stats;
        assert_eq!(
            (speed.setup_ns, speed.run_ns),
            (1_000_000_000, 1_000_000_000)
        );
        assert!(stats.virtual_ms >= run.span_ms && stats.items > 10);
        let seconds = stats.virtual_ms as f64 / 1e3;
        assert!((speed.realtime_factor() - seconds).abs() < 1e-9);
        assert!((speed.events_per_cpu_s() - stats.events as f64).abs() < 1e-6);
    }
}
