//! Runs of a scenario, several at a time, each on its own thread. Results come in the
//! order of the runs whatever the number of threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use super::lab::{Lab, Matrices};
use super::record::Recorder;
use super::row::Row;
use super::settings::{Plan, Run};
use crate::scenario::{Profile, Scenario};

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    /// What is kept.
    pub row: Row,
    /// What was measured, for files of its own.
    pub record: Recorder,
    /// What it was made of.
    pub lab: Arc<Lab>,
}

/// Which part of the runs is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Shard {
    /// Reads `1/4`: the first of four.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a shard is i/k with 1 ≤ i ≤ k, for example 1/4");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let index: u64 = index.parse().map_err(|_| wrong())?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        if index == 0 || index > count {
            return Err(wrong());
        }
        Ok(Self {
            index: index - 1,
            count,
        })
    }

    /// From the environment of an array job: Slurm's `SLURM_ARRAY_TASK_ID`, `_MIN` and
    /// `_COUNT`, or `JOB_COMPLETION_INDEX` of a Kubernetes indexed job with `JOB_COMPLETIONS`
    /// beside it (Kubernetes itself does not tell how many there are).
    ///
    /// # Errors
    /// Which variable is no number, or missing.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let number = |name: &str| match var(name) {
            None => Ok(None),
            Some(text) => {
                let number = text.trim().parse::<u64>();
                number
                    .map(Some)
                    .map_err(|_| format!("{name}={text} is no number"))
            }
        };
        let need = |name: &str| number(name)?.ok_or_else(|| format!("{name} is not set"));
        let shard = if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let index = id
                .checked_sub(first)
                .ok_or("SLURM_ARRAY_TASK_ID is below its minimum")?;
            let count = need("SLURM_ARRAY_TASK_COUNT")?;
            Self { index, count }
        } else if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            let count = need("JOB_COMPLETIONS")?;
            Self { index, count }
        } else {
            return Ok(None);
        };
        if shard.index >= shard.count {
            return Err(format!(
                "task {} of {}: none is left",
                shard.index, shard.count
            ));
        }
        Ok(Some(shard))
    }

    /// Whether a run is ours.
    #[must_use]
    pub const fn has(&self, run: &Run) -> bool {
        run.index % self.count == self.index
    }
}

/// One run.
///
/// # Errors
/// What its settings ask for and cannot be, in words.
pub fn one(plan: &Plan, run: &Run, matrices: &Matrices<'_>) -> Result<Outcome, String> {
    let began = Instant::now();
    let lab = Arc::new(Lab::new(&run.settings, run.seed, matrices)?);
    let mut scenario = Scenario::new(lab.n, run.seed, lab.intents.len(), Profile::Calm);
    scenario.patience_ms = lab.patience_ms;
    scenario.tier = lab.tier();
    scenario.lab = Some(Arc::clone(&lab));
    let (report, record) = scenario.observe();
    let record = record.ok_or("the run was not recorded")?;
    let mut row = Row::new(plan, run, &lab, &report, &record);
    row.wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Outcome { row, record, lab })
}

/// All `runs` on so many threads; `done` gets every outcome in the order of the runs, as
/// soon as it and all before it are there, and may end the whole with an error.
///
/// # Errors
/// The first error of a run, or of `done`.
pub fn many(
    plan: &Plan,
    runs: &[Run],
    jobs: usize,
    matrices: &Matrices<'_>,
    mut done: impl FnMut(Outcome) -> Result<(), String>,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let jobs = jobs.clamp(1, runs.len().max(1));
    // A slow run holds back those after it: no more wait than threads can finish at once.
    let (sender, receiver) = mpsc::sync_channel(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let sender = sender.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(at) else { break };
                    let outcome = one(plan, run, matrices);
                    if sender.send((at, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        let mut result = Ok(());
        for (at, outcome) in receiver {
            early.insert(at, outcome);
            while let Some(outcome) = early.remove(&due) {
                due += 1;
                if result.is_ok() {
                    result = outcome.and_then(&mut done);
                }
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read() {
        assert_eq!(Shard::parse("2/4"), Ok(Shard { index: 1, count: 4 }));
        for bad in ["0/4", "5/4", "1", "a/b", "1/0"] {
            assert!(Shard::parse(bad).is_err(), "{bad}");
        }
        let env = |pairs: &'static [(&str, &str)]| {
            Shard::from_env(|name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(env(&[]), Ok(None));
        let slurm = env(&[
            ("SLURM_ARRAY_TASK_ID", "3"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "8"),
        ]);
        assert_eq!(slurm, Ok(Some(Shard { index: 2, count: 8 })));
        let indexed = env(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "5")]);
        assert_eq!(indexed, Ok(Some(Shard { index: 0, count: 5 })));
        assert!(env(&[("JOB_COMPLETION_INDEX", "0")]).is_err());
        assert!(env(&[("SLURM_ARRAY_TASK_ID", "x")]).is_err());
        assert!(env(&[("JOB_COMPLETION_INDEX", "5"), ("JOB_COMPLETIONS", "5")]).is_err());
    }
}
