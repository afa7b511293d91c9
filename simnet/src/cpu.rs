//! The cores of a simulated member: jobs are computed for real and take virtual time by a
//! cost table; urgent ones go first, a running one is never interrupted.

use std::collections::VecDeque;

use fairlane_mempool::LaneMessage;
use fairlane_replica::{Event, Job, JobId, JobResult, Message, ShareMessage};

use crate::costs::{self, CostTable};

/// Items of jobs that are verified as one batch, as in the node's pool.
const JOINED_ITEMS_MAX: usize = 128;

/// Cores and what runs on them costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Cores of a member; for jobs only, unless the table says what else takes time.
    pub cores: usize,
    /// Threads of a member's pool, if not as many.
    pub pool: usize,
    /// Cores that all members and the client have together; 0: each has its own.
    pub shared_cores: usize,
    /// Name of the table.
    pub name: String,
    /// What things cost.
    pub table: CostTable,
}

impl Default for CpuModel {
    fn default() -> Self {
        let table = CostTable::named(costs::DEFAULT);
        Self {
            cores: 2,
            pool: 2,
            shared_cores: 0,
            name: costs::DEFAULT.to_owned(),
            table: table.expect("invariant: the shipped table is good (a test reads it)"),
        }
    }
}

impl CpuModel {
    /// What a job takes, in nanoseconds.
    #[must_use]
    pub fn cost_ns(&self, job: &Job) -> u64 {
        let Some(cost) = self.table.jobs.get(job.name()) else {
            return 0;
        };
        // Every slice has a proof and a signature of its own.
        let proofs = match job {
            Job::Shares(job) => job.slices.len() as u64,
            _ => 1,
        };
        let more = cost.base_ns.saturating_mul(proofs.saturating_sub(1));
        cost.of(job.items()).saturating_add(more)
    }

    /// What the replica takes for an input, in nanoseconds.
    #[must_use]
    pub fn step_ns(&self, event: &Event) -> u64 {
        let (name, items) = step_kind(event);
        let cost = self.table.steps.get(name);
        let step = cost.map_or(0, |cost| cost.of(items));
        step.saturating_add(self.table.threads.core_input_ns)
    }
}

fn shares_in(message: &ShareMessage) -> usize {
    message.batch.tdh2().map_or(0, |batch| batch.shares.len())
}

/// The name of an input in cost tables, and the orders in it.
#[must_use]
pub fn step_kind(event: &Event) -> (&'static str, usize) {
    match event {
        Event::Message { message, .. } => {
            let items = match message {
                Message::Lane(LaneMessage::Batch(batch)) => batch.entries.len(),
                Message::Shares(shares) => shares_in(shares),
                Message::Keys(told) => told.batch.points.len(),
                _ => 0,
            };
            (message.name(), items)
        }
        Event::Computed { result, .. } => match result {
            JobResult::Verified { .. } => ("verified", 0),
            JobResult::Envelopes(results) => ("envelopes", results.len()),
            JobResult::Shares(shares) => {
                let shares = shares.iter().flatten();
                ("shares_made", shares.map(|shares| shares_in(shares)).sum())
            }
            JobResult::KeysOpened(opened) => ("keys_opened", opened.as_ref().map_or(0, Vec::len)),
            JobResult::Combined(combined) => ("combined", combined.outcomes.len()),
            _ => ("computed", 0),
        },
        Event::Submit { .. } => ("submit", 0),
        Event::Query { .. } => ("query", 0),
        Event::Timer(_) => ("timer", 0),
        Event::Stored(_) => ("stored", 0),
        Event::Loaded { .. } => ("loaded", 0),
        Event::Connected(_) => ("connected", 0),
        Event::Start
        | Event::Executed(_)
        | Event::StateReached { .. }
        | Event::Change(_)
        | Event::Handed(_) => ("start", 0),
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

    /// The next job with those behind it that are done together with it: as the node's pool
    /// takes them, the more wait, the larger the batches. Each part is a job and its items.
    pub fn take(&mut self) -> Option<(Vec<(JobId, usize)>, Job)> {
        let queue = if self.urgent.is_empty() {
            &mut self.others
        } else {
            &mut self.urgent
        };
        let (id, mut job) = queue.pop_front()?;
        let mut parts = vec![(id, job.items())];
        while let Some((id, next)) = queue.pop_front() {
            let items = next.items();
            match job.join(next, JOINED_ITEMS_MAX) {
                Ok(()) => parts.push((id, items)),
                Err(next) => {
                    queue.push_front((id, next));
                    break;
                }
            }
        }
        Some((parts, job))
    }

    /// Jobs that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.urgent.len() + self.others.len()
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
    fn what_waits_in_line_is_taken_together() {
        let mut cpu = Cpu::default();
        for id in 1..=3 {
            cpu.push(JobId(id), Job::Envelopes(Vec::new()));
        }
        cpu.push(JobId(4), Job::Verify(Vec::new()));
        assert_eq!(cpu.take().unwrap().0, [(JobId(4), 0)]);
        let together: Vec<_> = (1..=3).map(|id| (JobId(id), 0)).collect();
        assert_eq!(cpu.take().unwrap().0, together);
        assert!(cpu.take().is_none() && cpu.waiting() == 0);
    }

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
        assert_eq!(model.cost_ns(&Job::Verify(Vec::new())), 20_000);
    }
}
