//! The node: the shell that runs the replica on a real machine.

pub mod clock;
mod driver;
pub mod failure;
pub mod handle;
pub mod inbox;
pub mod net;
mod pending;
pub mod pool;
pub mod store;
pub mod timers;
pub mod writer;
