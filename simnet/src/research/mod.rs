//! The simulator for researchers: scenarios as files, workloads, sweeps and measurements.
//!
//! A scenario file ([`file`]) becomes a [`Plan`]: settings, lists to sweep through, seeds,
//! and claims. Each of its runs becomes a [`Lab`], which the simulated world takes instead
//! of what a seed would decide, and a [`Recorder`] that measures. The checkers watch these
//! runs like all others. What comes out ([`Metrics`], orders, traces) is written by
//! [`row`] and drawn by [`crate::report`].
//!
//! The same scenario, seed and version give the same figures on every machine, whatever
//! the number of threads.

pub mod arrivals;
pub mod expect;
pub mod file;
pub mod folder;
pub mod keys;
mod lab;
pub mod meter;
pub mod metrics;
mod outputs;
#[cfg(feature = "parquet")]
mod parquet;
pub mod place;
mod record;
pub mod row;
pub mod runner;
pub mod settings;
pub mod shipped;
mod traffic;
mod value;
pub mod verbs;

pub use lab::{Lab, Matrices};
pub use meter::Meter;
pub use metrics::{METRICS, Metrics};
pub use record::{OrderRecord, Recorder, Span, Spoken, Track, ViewRecord, Worked};
pub use row::Row;
pub use settings::{Plan, Run, Settings};
pub use traffic::{Intent, Reaction, Role};
pub use value::Value;
