//! The disk of a simulated member: a store that loses in a crash what RocksDB may lose,
//! and the writer that stands before it with sync latency and group commit.

mod change;
mod store;
mod writer;

pub use change::{Change, Values};
pub use store::{Commit, SimStore};
pub use writer::{DiskModel, Writer};
