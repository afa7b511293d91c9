//! The database: RocksDB behind [`fairlane_replica::Store`].
//!
//! One column family per [`Table`](fairlane_replica::Table); a commit is one write batch,
//! synced through the write-ahead log when it must be durable. After a crash RocksDB
//! replays the log up to the first torn record, so a prefix of the commits is found that
//! holds every synced one. What the disk returns is checked against checksums; anything
//! that does not fit stops the node (ARCHITECTURE, Errors).

pub mod conformance;
mod fault;
mod reader;
mod rocks;
mod space;

pub use fault::refine;
pub use reader::{StoreReader, StoreStats, TableStats};
pub use rocks::{FORMAT_VERSION, META_FORMAT_KEY, RocksStore, StoreOptions};
pub use space::{DISK_RESERVE_BYTES, DISK_RESERVE_BYTES_MIN, SpaceGuard, free_bytes};
