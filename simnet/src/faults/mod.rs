//! Faults as an explicit plan: generated from a seed first, then run. A plan can be
//! printed, edited, kept and run again.

mod file;
mod generate;
mod plan;

pub use file::{FileError, from_toml, parse_seed, to_toml};
pub use generate::{Appetite, generate, generate_long};
pub use plan::{BURST_MAX, Burst, Fault, Plan, PlanError, Timed};
