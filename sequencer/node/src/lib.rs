//! The node: the shell that runs the replica on a real machine.
pub mod store;
