//! The one thread that writes: everything that waits becomes one commit, synced if any of
//! it must be durable; what is, is reported in order afterwards (boundary rule 2, C7).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use fairlane_replica::{Store, Write, WriteId};

use crate::failure::{Failure, Failures, lock};

/// Effects that wait at most; then the core waits for the disk.
pub const EFFECTS_WAITING_MAX: usize = 16_384;
/// Bytes that wait at most; one effect may go over it.
pub const BYTES_WAITING_MAX: usize = 128 << 20;
/// Bytes of one commit; one effect may go over it.
pub const GROUP_BYTES_MAX: usize = 16 << 20;

/// What is told of progress, in the order of the effects.
pub trait WriterEvents: Send + 'static {
    /// These durable effects, and all before them, are synced.
    fn stored(&self, ids: &[WriteId]);
}

impl<F: Fn(&[WriteId]) + Send + 'static> WriterEvents for F {
    fn stored(&self, ids: &[WriteId]) {
        self(ids);
    }
}

/// Runs when everything handed over before it is applied.
pub type Barrier = Box<dyn FnOnce() + Send>;

enum Entry {
    Store {
        id: WriteId,
        writes: Vec<Write>,
        durable: bool,
        bytes: usize,
    },
    Barrier(Barrier),
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The thread sleeps and was not woken yet.
    asleep: bool,
    /// The core waits for room.
    held_up: bool,
    /// No more effects; the thread ends when the queue is empty.
    closed: bool,
    /// The store failed; nothing is applied any more.
    failed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
}

/// Hands store effects to the writer thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Failure::System`] when there is no thread to be had.
    pub fn start<S: Store + Send + 'static>(
        store: S,
        events: impl WriterEvents,
        failures: &Failures,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            failures: failures.clone(),
        };
        let thread = failures.spawn("fairlane-writer", move || worker.run(store, &events))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Queues a store effect; waits while too much waits already. After a failure of the
    /// store effects are dropped, and the node is stopping.
    pub fn store(&self, id: WriteId, writes: Vec<Write>, durable: bool) {
        let bytes = writes.iter().map(write_bytes).sum();
        self.push(
            Entry::Store {
                id,
                writes,
                durable,
                bytes,
            },
            bytes,
        );
    }

    /// Queues something to run once all effects before it are applied.
    pub fn after(&self, barrier: Barrier) {
        self.push(Entry::Barrier(barrier), 0);
    }

    fn push(&self, entry: Entry, bytes: usize) {
        let mut queue = lock(&self.shared.queue);
        let full = |queue: &Queue| {
            !queue.failed
                && (queue.entries.len() >= EFFECTS_WAITING_MAX || queue.bytes >= BYTES_WAITING_MAX)
        };
        if full(&queue) {
            metrics::counter!("fairlane_writer_full_total").increment(1);
            while full(&queue) {
                queue.held_up = true;
                queue = (self.shared.drained.wait(queue)).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if queue.failed {
            return;
        }
        queue.bytes += bytes;
        queue.entries.push_back(entry);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.shared.filled.notify_one();
        }
    }

    /// Applies what is queued, syncs, closes the store and ends the thread.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread did not end in order");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Worker {
    shared: Arc<Shared>,
    failures: Failures,
}

/// Entries taken together.
#[derive(Default)]
struct Group {
    effects: usize,
    /// The durable ones.
    ids: Vec<WriteId>,
    writes: Vec<Write>,
    barriers: Vec<Barrier>,
    durable: bool,
    bytes: usize,
}

impl Worker {
    fn run<S: Store>(&self, mut store: S, events: &impl WriterEvents) {
        // A panic of the store must not leave the core waiting for room.
        let _on_exit = Fail(&self.shared);
        let mut unsynced = false;
        while let Some(group) = self.next_group() {
            if group.effects > 0 {
                if let Err(error) = commit(&mut store, &group) {
                    self.failures.report(Failure::Store(error));
                    return;
                }
                unsynced = !group.durable;
                if !group.ids.is_empty() {
                    events.stored(&group.ids);
                }
            }
            for barrier in group.barriers {
                barrier();
            }
        }
        if unsynced && let Err(error) = store.commit(&[], true) {
            self.failures.report(Failure::Store(error));
        }
    }

    /// Waits for effects; `None` when the queue is closed and empty. Barriers end a group.
    fn next_group(&self) -> Option<Group> {
        let mut queue = lock(&self.shared.queue);
        while queue.entries.is_empty() && !queue.closed {
            queue.asleep = true;
            queue = (self.shared.filled.wait(queue)).unwrap_or_else(PoisonError::into_inner);
            queue.asleep = false;
        }
        let mut group = Group::default();
        while let Some(entry) = queue.entries.pop_front() {
            match entry {
                Entry::Barrier(barrier) => group.barriers.push(barrier),
                Entry::Store { bytes, .. }
                    if !group.barriers.is_empty()
                        || (group.effects > 0 && group.bytes + bytes > GROUP_BYTES_MAX) =>
                {
                    queue.entries.push_front(entry);
                    break;
                }
                Entry::Store {
                    id,
                    writes,
                    durable,
                    bytes,
                } => {
                    queue.bytes -= bytes;
                    group.bytes += bytes;
                    group.effects += 1;
                    if durable {
                        group.ids.push(id);
                    }
                    group.writes.extend(writes);
                    group.durable |= durable;
                }
            }
        }
        if std::mem::take(&mut queue.held_up) {
            self.shared.drained.notify_all();
        }
        (group.effects > 0 || !group.barriers.is_empty()).then_some(group)
    }
}

/// Whatever ends the thread, whoever waits for room goes on.
struct Fail<'a>(&'a Shared);

impl Drop for Fail<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.failed = true;
        queue.entries.clear();
        self.0.drained.notify_all();
    }
}

fn commit<S: Store>(store: &mut S, group: &Group) -> Result<(), fairlane_replica::StoreError> {
    let start = Instant::now();
    store.commit(&group.writes, group.durable)?;
    let sync = if group.durable { "yes" } else { "no" };
    metrics::histogram!("fairlane_store_commit_seconds", "sync" => sync)
        .record(start.elapsed().as_secs_f64());
    metrics::histogram!("fairlane_store_group_effects").record(group.effects as f64);
    metrics::histogram!("fairlane_store_group_bytes").record(group.bytes as f64);
    Ok(())
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len() + to.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use fairlane_replica::{Row, StoreError, Table};

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Commit { keys: Vec<u8>, sync: bool },
        Stored(Vec<u64>),
        Barrier(u8),
    }

    /// Tells of its commits; the first waits for the gate; fails on a key of 255.
    struct Spy {
        seen: mpsc::Sender<Seen>,
        gate: Option<mpsc::Receiver<()>>,
    }

    impl Store for Spy {
        fn commit(&mut self, writes: &[Write], sync: bool) -> Result<(), StoreError> {
            if let Some(gate) = self.gate.take() {
                gate.recv_timeout(WAIT).unwrap();
            }
            let keys: Vec<u8> = writes
                .iter()
                .map(|write| match write {
                    Write::Put { key, .. } => key[0],
                    _ => 0,
                })
                .collect();
            if keys.contains(&255) {
                return Err(StoreError::Full("spy".to_owned()));
            }
            self.seen.send(Seen::Commit { keys, sync }).unwrap();
            Ok(())
        }
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
        fn scan(
            &self,
            _: Table,
            _: &[u8],
            _: &[u8],
            _: usize,
            _: usize,
        ) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }
    }

    struct Bench {
        writer: Writer,
        open: mpsc::Sender<()>,
        seen: mpsc::Receiver<Seen>,
        tell: mpsc::Sender<Seen>,
        failures: Failures,
    }

    fn bench() -> Bench {
        let (tell, seen) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        let failures = Failures::default();
        let report = tell.clone();
        let events = move |ids: &[WriteId]| {
            report
                .send(Seen::Stored(ids.iter().map(|id| id.0).collect()))
                .unwrap();
        };
        let spy = Spy {
            seen: tell.clone(),
            gate: Some(gate),
        };
        let writer = Writer::start(spy, events, &failures).unwrap();
        Bench {
            writer,
            open,
            seen,
            tell,
            failures,
        }
    }

    fn put(key: u8) -> Vec<Write> {
        vec![Write::put(Table::Safety, vec![key], vec![])]
    }

    fn next(bench: &Bench) -> Seen {
        bench.seen.recv_timeout(WAIT).unwrap()
    }

    #[test]
    fn reports_come_after_the_sync_in_order_and_what_waits_is_one_commit() {
        let bench = bench();
        bench.writer.store(WriteId(0), put(0), true);
        // Once the queue is empty the writer is inside the first commit, at the gate.
        while !lock(&bench.writer.shared.queue).entries.is_empty() {
            std::thread::yield_now();
        }
        for n in 1..=3 {
            bench.writer.store(WriteId(n.into()), put(n), n == 2);
        }
        let tell = bench.tell.clone();
        bench
            .writer
            .after(Box::new(move || tell.send(Seen::Barrier(9)).unwrap()));
        bench.writer.store(WriteId(4), put(4), false);
        assert!(
            bench.seen.try_recv().is_err(),
            "nothing is reported before the commit"
        );
        bench.open.send(()).unwrap();

        assert_eq!(
            next(&bench),
            Seen::Commit {
                keys: vec![0],
                sync: true
            }
        );
        assert_eq!(next(&bench), Seen::Stored(vec![0]));
        // One durable effect makes the whole group durable.
        assert_eq!(
            next(&bench),
            Seen::Commit {
                keys: vec![1, 2, 3],
                sync: true
            }
        );
        assert_eq!(
            next(&bench),
            Seen::Stored(vec![2]),
            "nobody waits for the others"
        );
        assert_eq!(next(&bench), Seen::Barrier(9));
        assert_eq!(
            next(&bench),
            Seen::Commit {
                keys: vec![4],
                sync: false
            }
        );
        let Bench { writer, seen, .. } = bench;
        writer.close();
        // What was not synced is, at the end.
        assert_eq!(
            seen.try_recv(),
            Ok(Seen::Commit {
                keys: vec![],
                sync: true
            })
        );
    }

    #[tokio::test]
    async fn a_store_error_stops_the_node_and_reports_nothing_of_the_failed_group() {
        let bench = bench();
        bench.open.send(()).unwrap();
        bench.writer.store(WriteId(1), put(1), true);
        assert_eq!(
            next(&bench),
            Seen::Commit {
                keys: vec![1],
                sync: true
            }
        );
        assert_eq!(next(&bench), Seen::Stored(vec![1]));
        bench.writer.store(WriteId(2), put(255), true);
        let failure = bench.failures.wait().await;
        assert_eq!(failure, Failure::Store(StoreError::Full("spy".to_owned())));
        // Later effects neither block nor are applied.
        for n in 0..EFFECTS_WAITING_MAX as u64 * 2 {
            bench.writer.store(WriteId(3 + n), put(3), true);
        }
        let Bench { writer, seen, .. } = bench;
        writer.close();
        assert!(seen.try_recv().is_err());
    }

    #[test]
    fn a_full_queue_holds_the_core_back_until_the_disk_catches_up() {
        let Bench {
            writer, open, seen, ..
        } = bench();
        let count = EFFECTS_WAITING_MAX as u64 + 100;
        let pushing = std::thread::spawn(move || {
            for n in 0..count {
                writer.store(WriteId(n), put(1), true);
            }
            writer
        });
        open.send(()).unwrap();
        let mut stored = 0;
        while stored < count {
            if let Seen::Stored(ids) = seen.recv_timeout(WAIT).unwrap() {
                assert_eq!(ids[0], stored);
                stored += ids.len() as u64;
            }
        }
        pushing.join().unwrap().close();
    }
}
