//! What keeps an EVM block from being made.

use fairlane_types::{Height, Root};

/// Why the execution client was not driven on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not an address of an engine.
    #[error("{0:?} is not an http:// address")]
    Address(String),
    /// The secret is not one.
    #[error("the JWT secret in {0} is not 32 bytes in hexadecimal")]
    Secret(String),
    /// Nobody answers, or not in time. To be tried again.
    #[error("the engine cannot be reached: {0}")]
    Unreachable(String),
    /// The engine does not take the token: another secret, or clocks a minute apart.
    #[error("the engine refuses the token; compare the JWT secrets and the clocks")]
    Unauthorized,
    /// The engine is busy with another chain. To be tried again.
    #[error("{method}: the engine is syncing")]
    Syncing {
        /// Call.
        method: &'static str,
    },
    /// The engine refuses a call.
    #[error("{method}: the engine answers {code}: {message}")]
    Refused {
        /// Call.
        method: &'static str,
        /// Its code for the reason.
        code: i64,
        /// Its words for it.
        message: String,
    },
    /// The engine holds a block for invalid that it built or had.
    #[error("{method}: the engine calls the block invalid: {reason}")]
    Invalid {
        /// Call.
        method: &'static str,
        /// Its words for it.
        reason: String,
    },
    /// An answer that is not of this API, or not to this question.
    #[error("{method}: {reason}")]
    Answer {
        /// Call.
        method: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A block that does not follow the one before.
    #[error("height {got} does not follow the sequence root {after:?}")]
    Fork {
        /// Root of the last height that was taken.
        after: Root,
        /// Height of the block.
        got: Height,
    },
    /// The slot is not after the engine's head.
    #[error("slot at {slot} s is not after the engine's head at {head} s")]
    Time {
        /// Start of the slot, seconds.
        slot: u64,
        /// Timestamp of the head, seconds.
        head: u64,
    },
}

impl EngineError {
    /// Whether the same may work later without anyone doing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Syncing { .. })
    }
}
