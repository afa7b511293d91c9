//! The deterministic simulator: virtual time, seeded networks, disks, clocks and faults
//! around the same replica that the node runs.

pub mod disk;
pub mod engine;
pub mod net;
