//! The deterministic simulator: virtual time, seeded networks, disks, clocks and faults
//! around the same replica that the node runs.
//!
//! A [`Scenario`] names a committee, a seed and a profile of faults; everything else
//! follows from the seed. Running it gives a [`Report`]: the verdict of independent
//! checkers, the rare events that were met, and a hash over the whole trace that is the
//! same whenever the scenario is run again.

pub mod bundle;
pub mod byz;
pub mod check;
pub mod cli;
pub mod costs;
pub mod cpu;
pub mod crypto;
pub mod disk;
pub mod engine;
pub mod epochs;
pub mod fairness;
pub mod faults;
pub mod machine;
pub mod marks;
pub mod member;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod net;
pub mod report;
pub mod research;
mod scenario;
pub mod shrink;
pub mod speed;
pub mod swarm;
pub mod workload;
mod world;

pub use scenario::{Line, Options, Planted, Profile, Report, Scenario, Settled, Stats};
pub use world::World;
