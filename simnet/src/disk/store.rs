//! [`SimStore`]: an ordered map with RocksDB's crash semantics. Commits reach the log in
//! order; a crash finds a prefix of them that includes every synced one. It passes the
//! suite that the node's RocksDB store passes (`tests/store.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fairlane_replica::{Row, Store, StoreError, Table, Write};

use crate::engine::Stream;

use super::Change;

type Map = BTreeMap<Key, Arc<[u8]>>;

/// Bytes of a key that lie next to each other in the tree: most comparisons need nothing
/// else, and most keys have no more.
const HEAD_BYTES: usize = 16;

/// A key, ordered as its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The first bytes, big-endian, filled up with zeros.
    head: u128,
    /// How many bytes are in the head: of two keys with one head, the shorter is first.
    filled: u8,
    rest: Box<[u8]>,
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES));
        let mut head = [0; HEAD_BYTES];
        head[..first.len()].copy_from_slice(first);
        Self {
            head: u128::from_be_bytes(head),
            filled: first.len() as u8,
            rest: rest.into(),
        }
    }
}

impl Key {
    fn len(&self) -> usize {
        usize::from(self.filled) + self.rest.len()
    }

    fn bytes(&self) -> Vec<u8> {
        let head = self.head.to_be_bytes();
        [&head[..usize::from(self.filled)], &self.rest].concat()
    }
}

/// Number of a commit, from 1; a sync covers all up to a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(pub u64);

/// A table, a key, and the value it had.
type Former = (Table, Key, Option<Arc<[u8]>>);

/// A commit that a crash may lose.
#[derive(Clone, Debug)]
struct Unsynced {
    /// What undoes it: the former values, oldest change first.
    undo: Vec<Former>,
    /// What became durable when it is synced, for the checkers.
    changes: Vec<Change>,
}

/// The simulated store.
#[derive(Clone, Debug, Default)]
pub struct SimStore {
    tables: [Map; Table::ALL.len()],
    /// The unsynced commits, oldest first.
    unsynced: VecDeque<Unsynced>,
    last: Commit,
    /// Bytes of live keys and values, and the room there is.
    bytes: u64,
    budget: Option<u64>,
    /// Keys whose bytes rotted.
    rotten: BTreeSet<(Table, Vec<u8>)>,
    /// After a failed commit nothing is accepted (the node stops).
    broken: bool,
}

impl SimStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a commit to the log without syncing it.
    ///
    /// # Errors
    /// [`StoreError::Full`] over the budget, [`StoreError::Failed`] after an error.
    pub fn append(&mut self, changes: Vec<Change>) -> Result<Commit, StoreError> {
        if self.broken {
            return Err(StoreError::Failed("used after an error".into()));
        }
        let mut undo = Vec::with_capacity(changes.len());
        for change in &changes {
            match change {
                Change::Put { table, key, value } => {
                    let key = Key::from(key.as_slice());
                    self.set(*table, key, Some(Arc::clone(value)), &mut undo);
                }
                Change::Delete { table, key } => {
                    self.set(*table, Key::from(key.as_slice()), None, &mut undo);
                }
                Change::DeleteRange { table, from, to } => {
                    let keys: Vec<_> = if from < to {
                        let (from, to) = (Key::from(from.as_slice()), Key::from(to.as_slice()));
                        let range = self.tables[*table as usize].range(from..to);
                        range.map(|(key, _)| key.clone()).collect()
                    } else {
                        Vec::new()
                    };
                    for key in keys {
                        self.set(*table, key, None, &mut undo);
                    }
                }
            }
        }
        if let Some(room) = self.budget.filter(|room| self.bytes > *room) {
            self.undo(undo);
            self.broken = true;
            return Err(StoreError::Full(format!("{room} bytes are used up")));
        }
        self.unsynced.push_back(Unsynced { undo, changes });
        self.last.0 += 1;
        Ok(self.last)
    }

    /// Makes every commit up to `commit` survive a crash; what became durable by it.
    pub fn sync(&mut self, commit: Commit) -> Vec<Change> {
        let mut durable = Vec::new();
        while self.synced() < commit
            && let Some(unsynced) = self.unsynced.pop_front()
        {
            durable.extend(unsynced.changes);
        }
        durable
    }

    /// The last synced commit.
    #[must_use]
    pub fn synced(&self) -> Commit {
        Commit(self.last.0 - self.unsynced.len() as u64)
    }

    /// A power cut: a random prefix of the log that includes every synced commit stays.
    /// Says how many commits are lost, and what became durable.
    pub fn crash(&mut self, rng: &mut Stream) -> (u64, Vec<Change>) {
        let keep = rng.below(self.unsynced.len() as u64 + 1) as usize;
        self.cut(keep)
    }

    /// The worst power cut: nothing unsynced stays.
    pub fn crash_hard(&mut self) -> (u64, Vec<Change>) {
        self.cut(0)
    }

    /// Limits the room, in bytes of live keys and values; `None` lifts the limit.
    pub const fn set_budget(&mut self, bytes: Option<u64>) {
        self.budget = bytes;
        self.broken = false;
    }

    /// Bytes of live keys and values.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets the bytes of a key rot: reads of it fail from now on, until it is written.
    pub fn rot(&mut self, table: Table, key: Vec<u8>) {
        self.rotten.insert((table, key));
    }

    /// Lets the bytes of a random row rot.
    pub fn rot_any(&mut self, rng: &mut Stream) {
        let tables = Table::ALL.into_iter();
        let rows: Vec<_> = tables
            .flat_map(|table| self.rows(table).map(move |(key, _)| (table, key)))
            .collect();
        if let Some(row) = rng.pick(&rows) {
            self.rotten.insert(row.clone());
        }
    }

    /// Whether any row cannot be read.
    #[must_use]
    pub fn is_rotten(&self) -> bool {
        !self.rotten.is_empty()
    }

    /// Empties a table, past the log (a planted fault, not a write).
    pub fn wipe(&mut self, table: Table) {
        self.tables[table as usize].clear();
    }

    fn rows(&self, table: Table) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
        let rows = self.tables[table as usize].iter();
        rows.map(|(key, value)| (key.bytes(), &**value))
    }

    fn cut(&mut self, keep: usize) -> (u64, Vec<Change>) {
        let mut lost = 0;
        while self.unsynced.len() > keep
            && let Some(unsynced) = self.unsynced.pop_back()
        {
            self.undo(unsynced.undo);
            self.last.0 -= 1;
            lost += 1;
        }
        self.broken = false;
        (lost, self.sync(self.last))
    }

    fn undo(&mut self, undo: Vec<Former>) {
        for (table, key, former) in undo.into_iter().rev() {
            let _ = self.replace(table, key, former);
        }
    }

    fn set(&mut self, table: Table, key: Key, value: Option<Arc<[u8]>>, undo: &mut Vec<Former>) {
        let former = self.replace(table, key.clone(), value);
        undo.push((table, key, former));
    }

    fn replace(&mut self, table: Table, key: Key, value: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        if !self.rotten.is_empty() {
            self.rotten.remove(&(table, key.bytes()));
        }
        let key_bytes = key.len() as u64;
        let map = &mut self.tables[table as usize];
        let former = match value {
            Some(value) => {
                self.bytes += key_bytes + value.len() as u64;
                map.insert(key, value)
            }
            None => map.remove(&key),
        };
        if let Some(former) = &former {
            self.bytes -= key_bytes + former.len() as u64;
        }
        former
    }

    fn check(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if !self.rotten.is_empty() && self.rotten.contains(&(table, key.to_vec())) {
            return Err(StoreError::Corrupt(format!("table {}", table.name())));
        }
        Ok(())
    }
}

impl Store for SimStore {
    fn commit(&mut self, writes: &[Write], sync: bool) -> Result<(), StoreError> {
        let commit = self.append(writes.iter().cloned().map(Change::from).collect())?;
        if sync {
            self.sync(commit);
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check(table, key)?;
        let value = self.tables[table as usize].get(&Key::from(key));
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        if from >= to {
            return Ok(rows);
        }
        for (key, value) in self.tables[table as usize].range(Key::from(from)..Key::from(to)) {
            if rows.len() >= rows_max || (bytes >= bytes_max && !rows.is_empty()) {
                break;
            }
            let key = key.bytes();
            self.check(table, &key)?;
            bytes += key.len() + value.len();
            rows.push((key, value.to_vec()));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose};

    fn contents(store: &SimStore) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        Table::ALL
            .into_iter()
            .flat_map(|t| store.rows(t).map(move |(k, v)| (t, k, v.to_vec())))
            .collect()
    }

    /// Random commits, syncs and crashes against a list of snapshots: what a crash leaves
    /// is the state after some commit, not before the last synced one.
    /// Short keys, long ones with a common head, and zeros at the end.
    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let mut keys = vec![vec![]];
        for length in [1, 2, 15, 16, 17, 18, 40] {
            for byte in [0, 1, 255] {
                keys.push(vec![byte; length]);
                let mut other = vec![0; length];
                other[length - 1] = byte;
                keys.push(other);
            }
        }
        for a in &keys {
            for b in &keys {
                let (left, right) = (Key::from(a.as_slice()), Key::from(b.as_slice()));
                assert_eq!((left.bytes(), left.len()), (a.clone(), a.len()));
                assert_eq!(left.cmp(&right), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_crash_leaves_a_prefix_that_holds_every_synced_commit() {
        for seed in 0..200 {
            let mut rng = Stream::new(seed, Owner::World, Purpose::Test);
            let mut store = SimStore::new();
            let mut states = vec![contents(&store)];
            let mut synced = 0;
            for _ in 0..120 {
                match rng.below(10) {
                    0 => {
                        store.crash(&mut rng);
                        let now = contents(&store);
                        let at = states.iter().rposition(|state| *state == now).unwrap();
                        assert!(at >= synced, "seed {seed}");
                        states.truncate(at + 1);
                        synced = at;
                        assert_eq!(store.synced(), store.last);
                    }
                    1 => {
                        store.crash_hard();
                        states.truncate(synced + 1);
                        assert_eq!(contents(&store), states[synced]);
                    }
                    kind => {
                        // A counter makes every state distinct.
                        let count = vec![states.len() as u8, (rng.bits() & 0xff) as u8, kind as u8];
                        let mut writes = vec![Write::put(Table::Meta, vec![0], count)];
                        for _ in 0..rng.below(4) {
                            let table = *rng.pick(&Table::ALL).unwrap();
                            let key = vec![1 + rng.below(8) as u8];
                            writes.push(match rng.below(4) {
                                0 => Write::Delete { table, key },
                                1 => Write::DeleteRange {
                                    table,
                                    from: key,
                                    to: vec![1 + rng.below(9) as u8],
                                },
                                _ => Write::put(table, key, vec![rng.below(256) as u8; 3]),
                            });
                        }
                        store.commit(&writes, kind < 4).unwrap();
                        states.push(contents(&store));
                        if kind < 4 {
                            synced = states.len() - 1;
                        }
                    }
                }
                let bytes: usize = contents(&store)
                    .iter()
                    .map(|(_, k, v)| k.len() + v.len())
                    .sum();
                assert_eq!(store.bytes(), bytes as u64);
            }
        }
    }

    #[test]
    fn a_full_disk_applies_nothing_and_stops_the_store() {
        let mut store = SimStore::new();
        store
            .commit(&[Write::put(Table::Meta, vec![1], vec![0; 9])], true)
            .unwrap();
        store.set_budget(Some(15));
        let big = [
            Write::put(Table::Meta, vec![1], vec![1]),
            Write::put(Table::Meta, vec![2], vec![0; 20]),
        ];
        assert!(matches!(
            store.commit(&big, false),
            Err(StoreError::Full(_))
        ));
        assert_eq!(store.get(Table::Meta, &[1]).unwrap(), Some(vec![0; 9]));
        assert!(matches!(
            store.commit(&[], true),
            Err(StoreError::Failed(_))
        ));
        store.set_budget(None);
        store.commit(&big, false).unwrap();
    }

    #[test]
    fn rot_is_found_by_get_and_scan_and_healed_by_a_write() {
        let mut store = SimStore::new();
        for key in 0..4u8 {
            store
                .commit(&[Write::put(Table::Lanes, vec![key], vec![key])], true)
                .unwrap();
        }
        store.rot(Table::Lanes, vec![2]);
        assert!(matches!(
            store.get(Table::Lanes, &[2]),
            Err(StoreError::Corrupt(_))
        ));
        assert!(store.scan(Table::Lanes, &[0], &[9], 9, 99).is_err());
        assert_eq!(
            store.scan(Table::Lanes, &[0], &[2], 9, 99).unwrap().len(),
            2
        );
        store
            .commit(&[Write::put(Table::Lanes, vec![2], vec![7])], false)
            .unwrap();
        assert_eq!(store.get(Table::Lanes, &[2]).unwrap(), Some(vec![7]));
    }

    #[test]
    fn scans_stop_at_rows_and_bytes() {
        let mut store = SimStore::new();
        let writes: Vec<_> = (0..10u8)
            .map(|k| Write::put(Table::Lanes, vec![k], vec![0; 9]))
            .collect();
        store.commit(&writes, false).unwrap();
        let scan = |from: u8, to: u8, rows, bytes| {
            store
                .scan(Table::Lanes, &[from], &[to], rows, bytes)
                .unwrap()
                .len()
        };
        assert_eq!(scan(0, 10, 99, 999), 10);
        assert_eq!(scan(3, 5, 99, 999), 2);
        assert_eq!(scan(0, 10, 4, 999), 4);
        assert_eq!(scan(0, 10, 99, 25), 3);
        assert_eq!(scan(0, 10, 99, 0), 1);
        assert_eq!(scan(5, 5, 99, 99), 0);
        assert_eq!(scan(6, 5, 99, 99), 0);
    }
}
