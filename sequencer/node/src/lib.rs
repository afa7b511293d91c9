//! The node: the shell that runs the replica on a real machine.

pub mod clock;
pub mod failure;
pub mod pool;
pub mod store;
pub mod timers;
pub mod writer;
mod pending;
