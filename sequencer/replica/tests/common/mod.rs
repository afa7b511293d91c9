//! A committee of four from its first block, and a disk in memory.

use std::collections::BTreeMap;

use fairlane_replica::{Row, Store, StoreError, Table, Write};
use fairlane_types::{ChainId, EncryptionParams, Genesis, Millis, SecretKey};

pub const CHAIN: ChainId = ChainId(5);

/// Every commit is durable.
#[derive(Default)]
pub struct Memory(pub BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Store for Memory {
    fn commit(&mut self, writes: &[Write], _sync: bool) -> Result<(), StoreError> {
        for write in writes {
            match write.clone() {
                Write::Put { table, key, value } => drop(self.0.insert((table, key), value)),
                Write::Delete { table, key } => drop(self.0.remove(&(table, key))),
                Write::DeleteRange { table, from, to } => {
                    self.0
                        .retain(|(t, k), _| *t != table || *k < from || *k >= to);
                }
            }
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        _bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.0.range((table, from.to_vec())..(table, to.to_vec()));
        let rows = rows.map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(rows.take(rows_max).collect())
    }
}

pub fn identity(i: u8) -> SecretKey {
    SecretKey::from_seed([i + 1; 32])
}

pub fn genesis(encryption: EncryptionParams) -> Genesis {
    Genesis {
        chain: CHAIN,
        time: Millis(0),
        experiment: true,
        start: None,
        members: (0..4).map(|i| identity(i).public()).collect(),
        encryption,
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    }
}
