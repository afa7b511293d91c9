//! [`RocksStore`]: the one writer of the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlane_replica::{Row, Store, StoreError, Table, Write};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    LogLevel, Options, WriteBatch, WriteOptions,
};
use tokio::sync::watch;

use super::fault::{store_error, undecodable};
use super::{DISK_RESERVE_BYTES, SpaceGuard, StoreReader};

/// Version of the layout of tables and keys; a folder with a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Key of the format version in [`Table::Meta`] (u32, big-endian).
pub const META_FORMAT_KEY: &[u8] = b"shell/format";

/// Memory for blocks read from tables.
const CACHE_BYTES: usize = 64 << 20;
/// A table's memory buffer, for the tables that carry payloads.
const BUFFER_BYTES_LARGE: usize = 32 << 20;
/// A table's memory buffer, for the others.
const BUFFER_BYTES_SMALL: usize = 4 << 20;
/// All memory buffers together.
const BUFFER_BYTES_ALL: usize = 128 << 20;
/// Replayed at most at start-up; older logs force a flush.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// Table files held open; well below the usual limit of 1,024 for a process.
const FILES_OPEN_MAX: i32 = 400;
/// Threads for flushes and compactions.
const BACKGROUND_JOBS_MAX: i32 = 2;
/// Written back steadily, so that compactions cause no stalls of the log's sync.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// Info logs of RocksDB kept, and their size.
const INFO_LOGS_MAX: usize = 4;
const INFO_LOG_BYTES_MAX: usize = 4 << 20;
/// Overhead of one write in the log, for the space check.
const WRITE_OVERHEAD_BYTES: u64 = 32;
/// A write lands in the log, in a table, and in a compacted table before the old one goes.
const WRITE_AMPLIFICATION: u64 = 3;

/// How to open the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Its folder; made if it is not there.
    pub path: PathBuf,
    /// Space on the disk that is never used.
    pub reserve_bytes: u64,
}

impl StoreOptions {
    /// The defaults for a folder.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            reserve_bytes: DISK_RESERVE_BYTES,
        }
    }
}

/// An open database and its folder, shared by the writer and the readers.
pub(crate) struct Database {
    pub(crate) db: DB,
    pub(crate) path: PathBuf,
    pub(crate) space: SpaceGuard,
    /// Goes after `db`: its receivers learn that the database is closed.
    pub(crate) open: watch::Sender<()>,
}

impl Database {
    pub(crate) fn error(&self, error: &rocksdb::Error) -> StoreError {
        store_error(&self.path, error)
    }

    pub(crate) fn table(&self, table: Table) -> Result<&rocksdb::ColumnFamily, StoreError> {
        self.db.cf_handle(table.name()).ok_or_else(|| {
            StoreError::Failed(format!(
                "{}: no table {}",
                self.path.display(),
                table.name()
            ))
        })
    }
}

/// The database as the writer thread has it; readers are made by [`Self::reader`].
pub struct RocksStore {
    inner: Arc<Database>,
    reader: StoreReader,
    synced: WriteOptions,
    unsynced: WriteOptions,
}

impl RocksStore {
    /// Opens or makes the database, replays its log and checks its format version.
    ///
    /// # Errors
    /// [`StoreError`]: `Failed` when another process has it open or the format is newer,
    /// `Corrupt` when files are damaged, `Full` when the reserve is not free.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let path = &options.path;
        std::fs::create_dir_all(path)
            .map_err(|e| StoreError::Failed(format!("{}: {e}", path.display())))?;
        let space = SpaceGuard::new(path.clone(), options.reserve_bytes);
        space.admit(0)?;

        let fresh = !path.join("CURRENT").exists();
        if fresh && has_tables(path)? {
            // RocksDB would take this for an empty folder and start anew over the remains.
            return Err(undecodable(path, "CURRENT", &"the file is missing"));
        }
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let families = family_names(path, fresh)?;
        let families = families.iter().map(|name| family(name, &cache));
        let db = DB::open_cf_descriptors(&database_options(), path, families)
            .map_err(|e| store_error(path, &e))?;
        let inner = Arc::new(Database {
            db,
            path: path.clone(),
            space,
            open: watch::Sender::new(()),
        });

        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let reader = StoreReader::new(Arc::clone(&inner));
        let mut store = Self {
            inner,
            reader,
            synced,
            unsynced: WriteOptions::default(),
        };
        store.check_format(fresh)?;
        Ok(store)
    }

    /// Opens a database for reading only, also while a node runs on it: what was written
    /// up to now is seen, nothing that comes later. Nothing on disk changes.
    ///
    /// # Errors
    /// [`StoreError`]: `Failed` when there is no database, `Corrupt` when it is damaged.
    pub fn read_only(path: &Path) -> Result<StoreReader, StoreError> {
        if !path.join("CURRENT").exists() {
            let what = format!("{}: there is no database", path.display());
            return Err(StoreError::Failed(what));
        }
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let families = family_names(path, false)?;
        let families = families.iter().map(|name| family(name, &cache));
        let mut options = database_options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)
            .map_err(|e| store_error(path, &e))?;
        let inner = Arc::new(Database {
            db,
            path: path.to_owned(),
            space: SpaceGuard::new(path.to_owned(), 0),
            open: watch::Sender::new(()),
        });
        let reader = StoreReader::new(inner);
        check_version(path, reader.get(Table::Meta, META_FORMAT_KEY)?.as_deref())?;
        Ok(reader)
    }

    /// A handle for reading; cheap to clone.
    #[must_use]
    pub fn reader(&self) -> StoreReader {
        self.reader.clone()
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn check_format(&mut self, fresh: bool) -> Result<(), StoreError> {
        let path = &self.inner.path;
        let Some(value) = self.reader.get(Table::Meta, META_FORMAT_KEY)? else {
            // A crash between making the tables and this write leaves an empty database.
            if !fresh && self.inner.db.latest_sequence_number() != 0 {
                return Err(undecodable(path, "the format version", &"it is missing"));
            }
            let version = FORMAT_VERSION.to_be_bytes().to_vec();
            return self.commit(
                &[Write::put(Table::Meta, META_FORMAT_KEY.to_vec(), version)],
                true,
            );
        };
        check_version(path, Some(&value))
    }

    fn batch(&self, writes: &[Write]) -> Result<WriteBatch, StoreError> {
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                Write::Put { table, key, value } => {
                    batch.put_cf(self.inner.table(*table)?, key, value);
                }
                Write::Delete { table, key } => batch.delete_cf(self.inner.table(*table)?, key),
                // An empty or inverted range is an error to RocksDB and nothing to us.
                Write::DeleteRange { table, from, to } if from < to => {
                    batch.delete_range_cf(self.inner.table(*table)?, from, to);
                }
                Write::DeleteRange { .. } => {}
            }
        }
        Ok(batch)
    }
}

impl Store for RocksStore {
    fn commit(&mut self, writes: &[Write], sync: bool) -> Result<(), StoreError> {
        let bytes = writes.iter().map(write_bytes).sum::<u64>();
        self.inner
            .space
            .admit(bytes.saturating_mul(WRITE_AMPLIFICATION))?;
        let batch = self.batch(writes)?;
        let options = if sync { &self.synced } else { &self.unsynced };
        // An empty batch with sync still syncs what was written before it.
        self.inner
            .db
            .write_opt(batch, options)
            .map_err(|e| self.inner.error(&e))?;
        if sync && writes.is_empty() {
            self.inner
                .db
                .flush_wal(true)
                .map_err(|e| self.inner.error(&e))?;
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.reader.scan(table, from, to, rows_max, bytes_max)
    }
}

/// Whether this version reads what is there.
fn check_version(path: &Path, value: Option<&[u8]>) -> Result<(), StoreError> {
    let damaged = |what: &str| undecodable(path, "the format version", &what);
    let value = value.ok_or_else(|| damaged("it is missing"))?;
    let version = <[u8; 4]>::try_from(value)
        .map(u32::from_be_bytes)
        .map_err(|_| damaged("not 4 bytes"))?;
    if version > FORMAT_VERSION {
        return Err(StoreError::Failed(format!(
            "{}: the data was written in format {version}, this version reads up to \
             {FORMAT_VERSION}; start a newer version of fairlane",
            path.display()
        )));
    }
    Ok(())
}

/// Bytes of a write, as an estimate from above for the log.
fn write_bytes(write: &Write) -> u64 {
    let bytes = match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    bytes as u64 + WRITE_OVERHEAD_BYTES
}

/// Every family must be opened, those of a newer version too, to learn its version.
fn family_names(path: &Path, fresh: bool) -> Result<Vec<String>, StoreError> {
    let mut names: Vec<String> = Table::ALL.iter().map(|t| t.name().to_owned()).collect();
    names.push(rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned());
    if !fresh {
        let found = DB::list_cf(&database_options(), path).map_err(|e| store_error(path, &e))?;
        names.extend(found);
        names.sort();
        names.dedup();
    }
    Ok(names)
}

fn has_tables(path: &Path) -> Result<bool, StoreError> {
    let read = |e: std::io::Error| StoreError::Failed(format!("{}: {e}", path.display()));
    for entry in std::fs::read_dir(path).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("MANIFEST") || name.ends_with(".sst") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn family(name: &str, cache: &Cache) -> ColumnFamilyDescriptor {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(match name {
        "payloads" | "lanes" | "sequence" => BUFFER_BYTES_LARGE,
        _ => BUFFER_BYTES_SMALL,
    });
    // Ciphertexts do not compress, and a build without codecs must read every database.
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    ColumnFamilyDescriptor::new(name, options)
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A torn tail is what a crash leaves, and was never reported as stored. Damage with
    // records behind it is not: dropping those silently would take back what was synced,
    // votes among it (C7), so such a log stops the node.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_db_write_buffer_size(BUFFER_BYTES_ALL);
    options.set_max_open_files(FILES_OPEN_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(INFO_LOGS_MAX);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options
}
