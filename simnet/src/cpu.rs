//! The cores of a simulated member: jobs are computed for real and take virtual time by a
//! cost table; urgent ones go first, a running one is never interrupted.

use std::collections::VecDeque;

use fairlane_replica::{Job, JobId};

use crate::engine::MICROSECOND;

/// Cores and what jobs cost on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Cores for jobs.
    pub cores: usize,
    /// Per kind of job: name, fixed cost, cost per item, in nanoseconds.
    pub costs: Vec<(&'static str, u64, u64)>,
}

impl Default for CpuModel {
    fn default() -> Self {
        // One core of a Zen 4 machine, rounded up (ENCRYPTION.md, benches).
        Self {
            cores: 2,
            costs: vec![
                ("verify_signatures", 20 * MICROSECOND, 20 * MICROSECOND),
                ("verify_envelopes", 40 * MICROSECOND, 70 * MICROSECOND),
                ("make_shares", 60 * MICROSECOND, 40 * MICROSECOND),
                ("combine", 120 * MICROSECOND, 45 * MICROSECOND),
                ("attest", 900 * MICROSECOND, 0),
                ("certify", 1_500 * MICROSECOND, 400 * MICROSECOND),
                ("check_attestation", 1_200 * MICROSECOND, 0),
                ("beacon", 1_000 * MICROSECOND, 0),
                ("check_beacon", 1_200 * MICROSECOND, 0),
                ("deal", 14_000 * MICROSECOND, 0),
                ("judge_dealing", 12_000 * MICROSECOND, 0),
                ("conclude_ceremony", 500 * MICROSECOND, 300 * MICROSECOND),
            ],
        }
    }
}

impl CpuModel {
    /// What a job takes, in nanoseconds.
    #[must_use]
    pub fn cost_ns(&self, job: &Job) -> u64 {
        let (_, base, item) = self
            .costs
            .iter()
            .find(|(name, ..)| *name == job.name())
            .copied()
            .unwrap_or(("", 50 * MICROSECOND, 50 * MICROSECOND));
        base + item * job.items() as u64
    }
}

/// Jobs that wait for a core.
#[derive(Debug, Default)]
pub struct Cpu {
    running: usize,
    urgent: VecDeque<(JobId, Job)>,
    others: VecDeque<(JobId, Job)>,
}

impl Cpu {
    /// Queues a job.
    pub fn push(&mut self, id: JobId, job: Job) {
        if job.urgent() {
            self.urgent.push_back((id, job));
        } else {
            self.others.push_back((id, job));
        }
    }

    /// The next job, if a core is free: it runs from now on.
    pub fn start(&mut self, cores: usize) -> Option<(JobId, Job)> {
        if self.running >= cores.max(1) {
            return None;
        }
        let next = self
            .urgent
            .pop_front()
            .or_else(|| self.others.pop_front())?;
        self.running += 1;
        Some(next)
    }

    /// A job is done.
    pub const fn finish(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The process died.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_jobs_go_first_and_cores_are_limited() {
        let mut cpu = Cpu::default();
        cpu.push(JobId(1), Job::Envelopes(Vec::new()));
        cpu.push(JobId(2), Job::Envelopes(Vec::new()));
        cpu.push(JobId(3), Job::Verify(Vec::new()));
        assert_eq!(cpu.start(2).unwrap().0, JobId(3));
        assert_eq!(cpu.start(2).unwrap().0, JobId(1));
        assert!(cpu.start(2).is_none());
        cpu.finish();
        assert_eq!(cpu.start(2).unwrap().0, JobId(2));
        let model = CpuModel::default();
        assert_eq!(model.cost_ns(&Job::Verify(Vec::new())), 20 * MICROSECOND);
    }
}
