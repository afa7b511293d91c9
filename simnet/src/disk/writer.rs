//! The writer in front of a store: store effects queue up, and one group commit at a time
//! appends all that waits and syncs it if any of it must be durable. What is durable is
//! reported in the order of the effects, as the boundary promises; for the rest nobody
//! waits, and an idle disk takes it at once.

use fairlane_replica::StoreError;

use crate::costs::Disk;
use crate::engine::{MICROSECOND, Nanos, Stream};

use super::{Change, Commit, SimStore};

/// How long the disk takes, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskModel {
    /// Median of a sync.
    pub sync_ns: u64,
    /// One sync in a thousand of these takes twenty times as long.
    pub stall_per_mille: u64,
    /// The append before a sync.
    pub append_ns: u64,
}

impl Default for DiskModel {
    fn default() -> Self {
        // 0.2 ms: a quiet NVMe disk with one sync per group.
        Self {
            sync_ns: 200 * MICROSECOND,
            stall_per_mille: 2,
            append_ns: 20 * MICROSECOND,
        }
    }
}

impl DiskModel {
    /// As a cost table has it.
    #[must_use]
    pub fn of(measured: Option<Disk>) -> Self {
        let known = Self::default();
        measured.map_or(known, |disk| Self {
            sync_ns: disk.sync_ns,
            append_ns: disk.append_ns,
            ..known
        })
    }
}

#[derive(Debug)]
struct Pending<I> {
    id: I,
    changes: Vec<Change>,
    durable: bool,
}

/// The queue before a store and the group that is being committed; `I` names effects.
#[derive(Debug)]
pub struct Writer<I> {
    model: DiskModel,
    /// Factor on every latency: a slow disk.
    slow: u64,
    waiting: Vec<Pending<I>>,
    group: Vec<I>,
    /// What the running group syncs once it is done.
    syncs: Option<Commit>,
    busy: bool,
}

impl<I> Writer<I> {
    /// An idle writer.
    #[must_use]
    pub const fn new(model: DiskModel) -> Self {
        Self {
            model,
            slow: 1,
            waiting: Vec::new(),
            group: Vec::new(),
            syncs: None,
            busy: false,
        }
    }

    /// Makes every latency `factor` times as long.
    pub fn slow_down(&mut self, factor: u64) {
        self.slow = factor.max(1);
    }

    /// Queues a store effect.
    pub fn push(&mut self, id: I, changes: Vec<Change>, durable: bool) {
        self.waiting.push(Pending {
            id,
            changes,
            durable,
        });
    }

    /// Appends what waits if the disk is idle; says when it is synced, if it must be.
    ///
    /// # Errors
    /// [`StoreError`]: the member stops.
    pub fn start(
        &mut self,
        now: Nanos,
        store: &mut SimStore,
        rng: &mut Stream,
    ) -> Result<Option<Nanos>, StoreError> {
        if self.busy || self.waiting.is_empty() {
            return Ok(None);
        }
        let mut last = Commit(0);
        for pending in self.waiting.drain(..) {
            last = store.append(pending.changes)?;
            if pending.durable {
                self.group.push(pending.id);
            }
        }
        if self.group.is_empty() {
            return Ok(None);
        }
        self.busy = true;
        self.syncs = Some(last);
        // Between half and twice the median, with a rare stall.
        let sync = self.model.sync_ns / 2 + rng.below(self.model.sync_ns.saturating_mul(3) / 2 + 1);
        let mut span = self.model.append_ns + sync;
        if rng.chance(self.model.stall_per_mille) {
            span = span.saturating_mul(20);
        }
        Ok(Some(now.plus(span.saturating_mul(self.slow))))
    }

    /// The running group is synced: what to report, in order, and what became durable.
    pub fn finish(&mut self, store: &mut SimStore) -> (Vec<I>, Vec<Change>) {
        let durable = self
            .syncs
            .take()
            .map_or_else(Vec::new, |commit| store.sync(commit));
        self.busy = false;
        (std::mem::take(&mut self.group), durable)
    }

    /// The process died: nothing waits any more. The store decides what is left of the
    /// group.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.group.clear();
        self.syncs = None;
        self.busy = false;
    }

    /// Whether something waits and nothing is being committed.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        !self.busy && !self.waiting.is_empty()
    }

    /// Rows that wait.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.waiting.iter().map(|waits| waits.changes.len()).sum()
    }

    /// Number of store effects that wait or run.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting.len() + self.group.len()
    }
    /// Whether the writer is idle.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose};
    use fairlane_replica::{Store as _, Table, Write};

    fn put(key: u8) -> Vec<Change> {
        vec![Write::put(Table::Safety, vec![key], vec![key]).into()]
    }

    #[test]
    fn one_group_commits_all_that_waited_and_reports_in_order() {
        let mut rng = Stream::new(3, Owner::Node(0), Purpose::Disk);
        let (mut store, mut writer) = (SimStore::new(), Writer::new(DiskModel::default()));
        writer.push(1u8, put(1), true);
        let done = writer
            .start(Nanos(0), &mut store, &mut rng)
            .unwrap()
            .unwrap();
        assert!(done > Nanos(100 * MICROSECOND));
        writer.push(2, put(2), false);
        writer.push(3, put(3), true);
        // The disk is busy: what came later waits for the next group.
        assert_eq!(writer.start(Nanos(1), &mut store, &mut rng).unwrap(), None);
        assert_eq!(store.synced(), Commit(0));
        assert_eq!(writer.finish(&mut store).0, [1]);
        assert_eq!(store.synced(), Commit(1));
        assert!(writer.start(done, &mut store, &mut rng).unwrap().is_some());
        // One sync covers all that came before it; nobody waits for 2.
        assert_eq!(writer.finish(&mut store).0, [3]);
        assert_eq!(store.synced(), Commit(3));
        assert!(writer.is_empty());
        writer.push(4, put(4), false);
        assert_eq!(writer.start(done, &mut store, &mut rng).unwrap(), None);
        assert!(writer.is_empty());
        assert_eq!(store.get(Table::Safety, &[4]).unwrap(), Some(vec![4]));
        assert_eq!(store.synced(), Commit(3));
    }

    #[test]
    fn a_crash_before_the_sync_may_lose_the_group_and_never_more() {
        for seed in 0..50 {
            let mut rng = Stream::new(seed, Owner::Node(0), Purpose::Crash);
            let (mut store, mut writer) = (SimStore::new(), Writer::new(DiskModel::default()));
            writer.push(1u8, put(1), true);
            writer.start(Nanos(0), &mut store, &mut rng).unwrap();
            writer.finish(&mut store);
            writer.push(2, put(2), true);
            writer.start(Nanos(9), &mut store, &mut rng).unwrap();
            writer.push(3, put(3), true);
            writer.reset();
            store.crash(&mut rng);
            assert_eq!(store.get(Table::Safety, &[1]).unwrap(), Some(vec![1]));
            assert_eq!(store.get(Table::Safety, &[3]).unwrap(), None);
        }
    }
}
