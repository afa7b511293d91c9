//! The crypto pool: costly jobs leave the core (boundary rule 3). Urgent jobs (what
//! consensus waits for) go before the others.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::failure::{Failure, Failures, lock, panic_text};

/// Jobs that wait at most; then the core waits for the pool.
pub const JOBS_WAITING_MAX: usize = 4_096;
/// One of so many jobs taken is the oldest of the others even if urgent ones wait, so that
/// a flood of urgent ones does not starve them.
const FAIR_EVERY: u64 = 8;

/// What the pool runs.
pub trait Work: Send + 'static {
    /// Goes first.
    fn urgent(&self) -> bool;
    /// Kind, for metrics.
    fn name(&self) -> &'static str;
    /// Takes in another job that waits, if both are done faster together.
    ///
    /// # Errors
    /// The other job, when it must run alone.
    fn join(&mut self, other: Self) -> Result<(), Self>
    where
        Self: Sized;
}

struct Waiting<J> {
    job: J,
    since: Instant,
}

struct Queue<J> {
    urgent: VecDeque<Waiting<J>>,
    normal: VecDeque<Waiting<J>>,
    taken: u64,
    /// Threads that sleep and were not woken yet: nobody else is called.
    asleep: usize,
    /// The core waits for room.
    held_up: bool,
    closed: bool,
}

impl<J: Work> Queue<J> {
    fn len(&self) -> usize {
        self.urgent.len() + self.normal.len()
    }

    /// The next job, with those behind it that it can take in: the more waits, the larger
    /// the batches.
    fn take(&mut self) -> Option<Waiting<J>> {
        if self.len() == 0 {
            return None;
        }
        self.taken = self.taken.wrapping_add(1);
        let fair = self.taken.is_multiple_of(FAIR_EVERY) && !self.normal.is_empty();
        let queue = if fair || self.urgent.is_empty() {
            &mut self.normal
        } else {
            &mut self.urgent
        };
        let mut first = queue.pop_front()?;
        while let Some(next) = queue.pop_front() {
            if let Err(job) = first.job.join(next.job) {
                queue.push_front(Waiting { job, ..next });
                break;
            }
        }
        Some(first)
    }
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    filled: Condvar,
    drained: Condvar,
    failures: Failures,
    run: Box<dyn Fn(J) + Send + Sync>,
}

/// A pool of threads for jobs of one type; a panic in a job stops the node. Threads without
/// work sleep: jobs come some hundred times a second and take a millisecond, so whoever
/// looks for more by spinning takes as much processor time as the jobs.
pub struct Pool<J: Work> {
    shared: Arc<Shared<J>>,
}

impl<J: Work> Pool<J> {
    /// A pool that calls `run` for each job; `run` reports the result itself.
    ///
    /// # Errors
    /// [`Failure::System`] when there are no threads to be had.
    pub fn new(
        threads: usize,
        failures: &Failures,
        run: impl Fn(J) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let queue = Queue {
            urgent: VecDeque::new(),
            normal: VecDeque::new(),
            taken: 0,
            asleep: 0,
            held_up: false,
            closed: false,
        };
        let pool = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                filled: Condvar::new(),
                drained: Condvar::new(),
                failures: failures.clone(),
                run: Box::new(run),
            }),
        };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            failures.spawn("fairlane-crypto", move || shared.work())?;
        }
        Ok(pool)
    }

    /// Queues a job; waits while too many wait already.
    pub fn submit(&self, job: J) {
        let mut queue = lock(&self.shared.queue);
        if queue.len() >= JOBS_WAITING_MAX {
            metrics::counter!("fairlane_pool_full_total").increment(1);
            while queue.len() >= JOBS_WAITING_MAX && !queue.closed {
                queue.held_up = true;
                queue = (self.shared.drained.wait(queue)).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if queue.closed {
            return;
        }
        let waiting = Waiting {
            since: Instant::now(),
            job,
        };
        if waiting.job.urgent() {
            queue.urgent.push_back(waiting);
        } else {
            queue.normal.push_back(waiting);
        }
        metrics::gauge!("fairlane_pool_waiting_jobs").set(queue.len() as f64);
        let wake = queue.asleep > 0;
        queue.asleep = queue.asleep.saturating_sub(1);
        drop(queue);
        if wake {
            self.shared.filled.notify_one();
        }
    }

    /// Drops the jobs that wait and takes no more; those that run are let finish, and the
    /// threads end.
    pub fn close(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.urgent.clear();
        queue.normal.clear();
        drop(queue);
        self.shared.filled.notify_all();
        self.shared.drained.notify_all();
    }
}

impl<J: Work> Drop for Pool<J> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<J: Work> Shared<J> {
    fn work(&self) {
        while let Some(waiting) = self.next() {
            self.run_one(waiting);
        }
    }

    /// Waits for a job; `None` once the pool is closed.
    fn next(&self) -> Option<Waiting<J>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            if let Some(waiting) = queue.take() {
                let held_up = std::mem::take(&mut queue.held_up);
                drop(queue);
                if held_up {
                    self.drained.notify_all();
                }
                return Some(waiting);
            }
            queue.asleep += 1;
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run_one(&self, waiting: Waiting<J>) {
        let name = waiting.job.name();
        metrics::histogram!("fairlane_pool_wait_seconds", "job" => name)
            .record(waiting.since.elapsed().as_secs_f64());
        let start = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.run)(waiting.job))) {
            self.failures.report(Failure::Panic {
                part: name,
                message: panic_text(&*panic),
            });
        }
        metrics::histogram!("fairlane_pool_job_seconds", "job" => name)
            .record(start.elapsed().as_secs_f64());
    }
}

/// Threads for the pool: every core but the one of the core thread, at least one.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    enum Test {
        Hold(mpsc::Receiver<()>),
        Normal(u32),
        Urgent(u32),
        Sum(u32),
        Panic,
    }

    impl Work for Test {
        fn urgent(&self) -> bool {
            matches!(self, Self::Urgent(_))
        }
        fn name(&self) -> &'static str {
            "test"
        }
        fn join(&mut self, other: Self) -> Result<(), Self> {
            match (self, other) {
                (Self::Sum(n), Self::Sum(more)) => *n += more,
                (_, other) => return Err(other),
            }
            Ok(())
        }
    }

    fn pool(threads: usize) -> (Pool<Test>, mpsc::Receiver<u32>, Failures) {
        let (done, results) = mpsc::channel();
        let done = Mutex::new(done);
        let failures = Failures::default();
        let pool = Pool::new(threads, &failures, move |job| {
            let result = match job {
                Test::Hold(gate) => {
                    gate.recv_timeout(WAIT).unwrap();
                    0
                }
                Test::Normal(n) | Test::Urgent(n) | Test::Sum(n) => n,
                Test::Panic => panic!("boom"),
            };
            lock(&done).send(result).unwrap();
        });
        (pool.unwrap(), results, failures)
    }

    #[test]
    fn urgent_jobs_go_first_and_do_not_starve_the_others() {
        let (pool, results, _) = pool(1);
        let (open, gate) = mpsc::channel();
        pool.submit(Test::Hold(gate));
        while lock(&pool.shared.queue).len() > 0 {
            std::thread::yield_now();
        }
        for n in 0..3 {
            pool.submit(Test::Normal(100 + n));
        }
        for n in 1..=9 {
            pool.submit(Test::Urgent(n));
        }
        open.send(()).unwrap();
        let order: Vec<u32> = (0..13)
            .map(|_| results.recv_timeout(WAIT).unwrap())
            .collect();
        // The job that held the thread was the first taken, so the eighth is a fair one.
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 100, 7, 8, 9, 101, 102]);
    }

    #[test]
    fn what_waits_in_line_is_done_together_in_order() {
        let (pool, results, _) = pool(1);
        let (open, gate) = mpsc::channel();
        pool.submit(Test::Hold(gate));
        while lock(&pool.shared.queue).len() > 0 {
            std::thread::yield_now();
        }
        for job in [Test::Sum(1), Test::Sum(2), Test::Normal(10), Test::Sum(4)] {
            pool.submit(job);
        }
        open.send(()).unwrap();
        let order: Vec<u32> = (0..4)
            .map(|_| results.recv_timeout(WAIT).unwrap())
            .collect();
        assert_eq!(order, [0, 3, 10, 4]);
    }

    #[tokio::test]
    async fn a_panic_in_a_job_stops_the_node_with_its_name() {
        let (pool, _results, failures) = pool(2);
        pool.submit(Test::Panic);
        let failure = failures.wait().await;
        assert_eq!(
            failure,
            Failure::Panic {
                part: "test",
                message: "boom".to_owned()
            }
        );
    }

    #[test]
    fn a_full_queue_holds_the_core_back() {
        let (pool, results, _) = pool(1);
        let (open, gate) = mpsc::channel();
        pool.submit(Test::Hold(gate));
        let pushing = std::thread::spawn(move || {
            for n in 0..JOBS_WAITING_MAX as u32 + 50 {
                pool.submit(Test::Normal(n));
            }
            pool
        });
        open.send(()).unwrap();
        for _ in 0..JOBS_WAITING_MAX + 51 {
            results.recv_timeout(WAIT).unwrap();
        }
        drop(pushing.join().unwrap());
    }

    #[test]
    fn closing_drops_what_waits() {
        let (pool, results, _) = pool(1);
        let (open, gate) = mpsc::channel();
        pool.submit(Test::Hold(gate));
        while lock(&pool.shared.queue).len() > 0 {
            std::thread::yield_now();
        }
        pool.submit(Test::Normal(1));
        pool.close();
        open.send(()).unwrap();
        assert_eq!(results.recv_timeout(WAIT), Ok(0));
        pool.submit(Test::Normal(2));
        drop(pool);
        assert!(results.recv_timeout(Duration::from_millis(50)).is_err());
    }
}
