//! Reading the database from any thread.

use std::path::Path;
use std::sync::Arc;

use borsh::BorshDeserialize;
use fairlane_encryption::{
    ATTESTATION_BYTES, Attestation, Beacon, STATE_ATTESTATION_BYTES, StateAttestation,
};
use fairlane_replica::{
    Emitted, Row, StoreError, Table, beacon_key, height_key, height_of, index_key, late_key,
};
use fairlane_types::{CtId, Height, SequencedBlock};
use rocksdb::ReadOptions;
use rocksdb::checkpoint::Checkpoint;

use super::fault::undecodable;
use super::rocks::Database;

/// Largest emitted block that is decoded from disk; far above what genesis limits allow.
const BLOCK_BYTES_MAX: usize = 512 << 20;
/// Rows read at once by a full check.
const CHECK_ROWS_MAX: usize = 4_096;
/// Bytes read at once by a full check.
const CHECK_BYTES_MAX: usize = 16 << 20;

/// What the committee signed at a height, as a row of its own table.
trait Signed: BorshDeserialize {
    const WHAT: &'static str;
    const BYTES: usize;
}

impl Signed for Attestation {
    const WHAT: &'static str = "an attestation";
    /// Length of an attestation's row.
    const BYTES: usize = ATTESTATION_BYTES;
}

impl Signed for StateAttestation {
    const WHAT: &'static str = "an attested state";
    /// Length of an attested state's row.
    const BYTES: usize = STATE_ATTESTATION_BYTES;
}

/// Reads the database while the node runs; cheap to clone. Every call may block on the
/// disk: async code calls it from `spawn_blocking`. The database closes when the last
/// reader and the writer are gone.
#[derive(Clone)]
pub struct StoreReader {
    inner: Arc<Database>,
}

/// Sizes of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// The table.
    pub table: Table,
    /// Keys, as estimated by RocksDB.
    pub keys: u64,
    /// Bytes in table files.
    pub disk_bytes: u64,
    /// Bytes in memory buffers, not yet in table files.
    pub memory_bytes: u64,
}

/// Sizes of the database and of the disk it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStats {
    /// One entry per table.
    pub tables: Vec<TableStats>,
    /// Bytes free on the disk.
    pub free_bytes: u64,
    /// Bytes that are never used.
    pub reserve_bytes: u64,
    /// Background errors of RocksDB since it was opened.
    pub background_errors: u64,
    /// Whether RocksDB holds writes back because compaction is behind.
    pub write_stopped: bool,
}

impl StoreReader {
    pub(crate) fn new(inner: Arc<Database>) -> Self {
        Self { inner }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Ready when the database is closed, that is when its last holder is gone. A process
    /// must not end before: RocksDB's threads would outlive what they use.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.inner.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.inner.table(table)?;
        self.inner
            .db
            .get_cf(family, key)
            .map_err(|e| self.inner.error(&e))
    }

    /// Rows of `from..to` as [`fairlane_replica::Store::scan`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.rows(table, from, Some(to), rows_max, bytes_max)
    }

    /// Rows from a key to the end of the table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan_from(
        &self,
        table: Table,
        from: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(table, from, None, rows_max, bytes_max)
    }

    fn rows(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let family = self.inner.table(table)?;
        let mut rows = Vec::new();
        if rows_max == 0 {
            return Ok(rows);
        }
        let mut bytes = 0_usize;
        let mut cursor = self.inner.db.raw_iterator_cf_opt(family, options);
        cursor.seek(from);
        while let Some((key, value)) = cursor.item() {
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() >= rows_max || bytes >= bytes_max {
                break;
            }
            cursor.next();
        }
        cursor.status().map_err(|e| self.inner.error(&e))?;
        Ok(rows)
    }

    /// The first key of a table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn first_key(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
        self.end_key(table, true)
    }

    /// The last key of a table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
        self.end_key(table, false)
    }

    fn end_key(&self, table: Table, first: bool) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.inner.table(table)?;
        let mut cursor = self.inner.db.raw_iterator_cf(family);
        if first {
            cursor.seek_to_first();
        } else {
            cursor.seek_to_last();
        }
        let key = cursor.key().map(<[u8]>::to_vec);
        cursor.status().map_err(|e| self.inner.error(&e))?;
        Ok(key)
    }

    /// The first attestation at or above a height.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn attestation_from(&self, height: Height) -> Result<Option<Attestation>, StoreError> {
        self.signed_from(Table::Attestations, height)
    }

    /// The last attestation at or below a height.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn attestation_until(&self, height: Height) -> Result<Option<Attestation>, StoreError> {
        let family = self.inner.table(Table::Attestations)?;
        let mut cursor = self.inner.db.raw_iterator_cf(family);
        cursor.seek_for_prev(height_key(height));
        let value = cursor.value().map(<[u8]>::to_vec);
        cursor.status().map_err(|e| self.inner.error(&e))?;
        value.map(|value| self.signed(&value)).transpose()
    }

    /// The latest attestation.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn last_attestation(&self) -> Result<Option<Attestation>, StoreError> {
        self.last_signed(Table::Attestations)
    }

    /// The first attested state at or above a height.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn state_attestation_from(
        &self,
        height: Height,
    ) -> Result<Option<StateAttestation>, StoreError> {
        self.signed_from(Table::StateAttestations, height)
    }

    /// The latest attested state.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn last_state_attestation(&self) -> Result<Option<StateAttestation>, StoreError> {
        self.last_signed(Table::StateAttestations)
    }

    /// The beacon of a height, if something was tied there.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn beacon(&self, height: Height) -> Result<Option<Beacon>, StoreError> {
        let value = self.get(Table::Shares, &beacon_key(height))?;
        let decode = |value: Vec<u8>| {
            fairlane_types::decode(&value, value.len())
                .map_err(|error| undecodable(self.path(), "a beacon", &error))
        };
        value.map(decode).transpose()
    }

    fn signed_from<T: Signed>(
        &self,
        table: Table,
        height: Height,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.scan_from(table, &height_key(height), 1, usize::MAX)?;
        let row = rows.first();
        row.map(|(_, value)| self.signed(value)).transpose()
    }

    fn last_signed<T: Signed>(&self, table: Table) -> Result<Option<T>, StoreError> {
        let Some(key) = self.last_key(table)? else {
            return Ok(None);
        };
        // It may have been pruned in between.
        let value = self.get(table, &key)?;
        value.map(|value| self.signed(&value)).transpose()
    }

    fn signed<T: Signed>(&self, value: &[u8]) -> Result<T, StoreError> {
        fairlane_types::decode(value, T::BYTES)
            .map_err(|error| undecodable(self.path(), T::WHAT, &error))
    }

    /// The emitted block of a height.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when it does not decode.
    pub fn block(&self, height: Height) -> Result<Option<SequencedBlock>, StoreError> {
        self.get(Table::Sequence, &height_key(height))?
            .map(|value| self.decode_block(height, &value))
            .transpose()
    }

    /// Emitted blocks from a height on, at most `blocks_max`, stopping once `bytes_max`
    /// bytes are read (at least one block if there is any).
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when one does not decode.
    pub fn blocks(
        &self,
        from: Height,
        blocks_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<SequencedBlock>, StoreError> {
        self.scan_from(Table::Sequence, &height_key(from), blocks_max, bytes_max)?
            .iter()
            .map(|(key, value)| self.decode_block(self.height(key)?, value))
            .collect()
    }

    /// Heights of the first and the last emitted block on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn emitted_range(&self) -> Result<Option<(Height, Height)>, StoreError> {
        let (first, last) = (
            self.first_key(Table::Sequence)?,
            self.last_key(Table::Sequence)?,
        );
        match (first, last) {
            (Some(first), Some(last)) => Ok(Some((self.height(&first)?, self.height(&last)?))),
            _ => Ok(None),
        }
    }

    /// Where an order was emitted, if it was and is not pruned.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when the entry does not decode.
    pub fn emitted(&self, order: &CtId) -> Result<Option<Emitted>, StoreError> {
        self.get(Table::Index, &index_key(order))?
            .map(|value| {
                fairlane_types::decode(&value, value.len())
                    .map_err(|e| undecodable(self.path(), "an index entry", &e))
            })
            .transpose()
    }

    /// The height that left an order out because it came long after its expiry.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when the entry does not decode.
    pub fn left_out(&self, order: &CtId) -> Result<Option<Height>, StoreError> {
        self.get(Table::Index, &late_key(order))?
            .map(|value| {
                fairlane_types::decode(&value, value.len())
                    .map_err(|e| undecodable(self.path(), "an index entry", &e))
            })
            .transpose()
    }

    fn height(&self, key: &[u8]) -> Result<Height, StoreError> {
        height_of(key).ok_or_else(|| undecodable(self.path(), "a height", &"not 8 bytes"))
    }

    fn decode_block(&self, height: Height, value: &[u8]) -> Result<SequencedBlock, StoreError> {
        fairlane_types::decode(value, BLOCK_BYTES_MAX)
            .map_err(|e| undecodable(self.path(), &format!("emitted block {height}"), &e))
    }

    /// Reads every row once, so that every checksum is checked; returns the rows read.
    ///
    /// # Errors
    /// The first [`StoreError`] met.
    pub fn check(&self) -> Result<u64, StoreError> {
        let mut count = 0_u64;
        for table in Table::ALL {
            let mut from = Vec::new();
            loop {
                let rows = self.scan_from(table, &from, CHECK_ROWS_MAX, CHECK_BYTES_MAX)?;
                let Some((last, _)) = rows.last() else { break };
                count += rows.len() as u64;
                from.clone_from(last);
                from.push(0);
            }
        }
        Ok(count)
    }

    /// Makes a consistent copy in a new folder on the same disk (hard links).
    ///
    /// # Errors
    /// [`StoreError`]; `Failed` when the folder exists already.
    pub fn snapshot(&self, to: &Path) -> Result<(), StoreError> {
        Checkpoint::new(&self.inner.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(to))
            .map_err(|e| self.inner.error(&e))
    }

    /// Sizes, for metrics and `db stats`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let db = &self.inner.db;
        let number = |value: Result<Option<u64>, rocksdb::Error>| {
            value
                .map(Option::unwrap_or_default)
                .map_err(|e| self.inner.error(&e))
        };
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let family = self.inner.table(table)?;
            let property = |name: &str| number(db.property_int_value_cf(family, name));
            tables.push(TableStats {
                table,
                keys: property("rocksdb.estimate-num-keys")?,
                disk_bytes: property("rocksdb.total-sst-files-size")?,
                memory_bytes: property("rocksdb.cur-size-all-mem-tables")?,
            });
        }
        Ok(StoreStats {
            tables,
            free_bytes: super::free_bytes(self.path())?,
            reserve_bytes: self.inner.space.reserve_bytes(),
            background_errors: number(db.property_int_value("rocksdb.background-errors"))?,
            write_stopped: number(db.property_int_value("rocksdb.is-write-stopped"))? != 0,
        })
    }

    /// Sets the gauges of [`Self::stats`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish_stats(&self) -> Result<(), StoreError> {
        let stats = self.stats()?;
        for table in &stats.tables {
            let name = table.table.name();
            metrics::gauge!("fairlane_store_keys", "table" => name).set(table.keys as f64);
            metrics::gauge!("fairlane_store_disk_bytes", "table" => name)
                .set(table.disk_bytes as f64);
            metrics::gauge!("fairlane_store_memory_bytes", "table" => name)
                .set(table.memory_bytes as f64);
        }
        metrics::gauge!("fairlane_disk_free_bytes").set(stats.free_bytes as f64);
        metrics::gauge!("fairlane_disk_reserve_bytes").set(stats.reserve_bytes as f64);
        metrics::gauge!("fairlane_store_background_errors").set(stats.background_errors as f64);
        metrics::gauge!("fairlane_store_write_stopped")
            .set(f64::from(u8::from(stats.write_stopped)));
        Ok(())
    }
}
