//! The node: the shell that runs the replica on a real machine.
//!
//! ```text
//!   peers ── net ──► driver::Ingress ─┐                       ┌─► net ──► peers
//!   traders ── api ── NodeHandle ─────┼─► Inbox ──► Driver ───┼─► Writer ──► RocksDB
//!   writer, pool, loader: results ────┘   (core thread)       ├─► Pool (rayon)
//!                                                             └─► NodeHandle ──► api
//! ```
//!
//! The replica decides, everything here carries out. Every queue has a named bound: peers
//! are held back by their own budgets, clients are refused, the core waits for its disk
//! and its pool. The first [`failure`](failure::Failure) of a part stops the node.

pub mod api;
pub mod at_rest;
pub mod backup;
pub mod blind;
pub mod claim;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod driver;
pub mod epochs;
pub mod exec_diff;
pub mod executor;
pub mod failure;
mod files;
pub mod founding;
pub mod handle;
pub mod home;
pub mod inbox;
pub mod key_files;
pub mod known_key;
mod listening;
pub mod net;
pub mod node;
pub mod oracle;
pub mod passphrase;
mod peer_clocks;
pub mod pool;
pub mod process;
mod published;
pub mod receivers;
pub mod store;
pub mod tamper;
pub mod telemetry;
pub mod testnet;
pub mod timers;
pub mod writer;
