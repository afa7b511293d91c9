//! The sequence as the order of an EVM rollup.
//!
//! - [`Slots`] makes EVM blocks of heights: all heights whose finalized time falls into the
//!   same slot of whole seconds.
//! - [`Driver`] has an execution client (op-geth, op-reth, reth with forced transactions) build
//!   exactly those blocks, over the Engine API ([`Engine`], authenticated by [`JwtSecret`]).
//!   It keeps nothing: each EVM block names the root of the sequence it was made from, and
//!   after a restart the client's own head says where to go on.
//! - `Evm` (feature `evm`) runs the sequence in revm inside this process, behind the same
//!   interface `Execution` as the clearing house.
//!
//! A payload of the sequence is a transaction if it is a raw EIP-2718 transaction of a kind
//! that its sender signs. Everything else keeps its place in the sequence and does nothing.

mod driver;
mod engine;
mod error;
#[cfg(feature = "evm")]
mod evm;
mod jwt;
mod payload;
mod slots;
#[cfg(feature = "evm")]
mod world;

pub use driver::{Driver, Fork, Pushed, Rules};
pub use engine::{ANSWER_BYTES_MAX, CALL_MAX, Engine};
pub use error::EngineError;
#[cfg(feature = "evm")]
pub use evm::{BLOCK_GAS, Evm, EvmGenesis, HALTED, INVALID, MALFORMED, REVERTED};
pub use jwt::JwtSecret;
pub use payload::Payload;
pub use slots::{
    BATCH_BYTES_MAX, Batch, SLOT_SECONDS_MAX, Slots, TRANSACTION_BYTES_MAX, is_transaction,
};
