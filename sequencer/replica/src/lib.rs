//! The pure replica: lanes → consensus → fair order → decryption → emission, composed
//! into one state machine without I/O, clock, threads or randomness.

mod class;
mod keys;
mod store;

pub use class::Class;
pub use keys::{height_key, height_of, index_key, Emitted};
pub use store::{Row, Store, StoreError, Table, Write};
