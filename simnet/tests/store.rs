//! The simulated store against the suite that the node's RocksDB store passes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use fairlane_replica::{Row, Store, StoreError, Table, Write};
use fairlane_simnet::disk::SimStore;

// The node's own file, so that both stores answer to the same words; the node itself, and
// RocksDB with it, stay out of the simulator's tree.
#[path = "../../sequencer/node/src/store/conformance.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, dead_code)]
mod conformance;

/// A disk that outlives the processes that open it.
struct Opened(Rc<RefCell<SimStore>>);

impl Store for Opened {
    fn commit(&mut self, writes: &[Write], sync: bool) -> Result<(), StoreError> {
        self.0.borrow_mut().commit(writes, sync)
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.borrow().get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.0.borrow().scan(table, from, to, rows_max, bytes_max)
    }
}

#[test]
fn the_simulated_store_does_what_every_store_must() {
    let mut disks: BTreeMap<String, Rc<RefCell<SimStore>>> = BTreeMap::new();
    conformance::all(|name| {
        let disk = disks.entry(name.to_owned()).or_default();
        // Whoever opens it again finds it as after the worst power cut.
        disk.borrow_mut().crash_hard();
        Opened(Rc::clone(disk))
    });
}
