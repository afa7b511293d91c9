//! Trader and feed SDK of fairlane.
//!
//! - [`Sealer`]: order → ciphertext → signed [`Envelope`](fairlane_types::Envelope); the
//!   plaintext never leaves this process.
//! - `Member` and `Committee`: submit to one member or to several at once, with checked
//!   receipts (feature `http`).
//! - `Feed`: follow the sequence from any height over any member, across restarts. Blocks come
//!   out once the committee's attestations cover them, so that no member has to be trusted for
//!   what it serves. `Feed::unattested` gives them sooner, on the members' word.
//! - [`AttestedChain`] and `AttestedFeed`: the same with nothing but the committee's key.
//! - [`Kept`]: an execution of your own with its place in the sequence, across kills.
//! - [`ChainVerifier`]: roots and parent links alone. They show that blocks belong together, not
//!   that they are the committee's.
//! - [`sample`]: sample orders, one JSON object a line.
//! - [`wire`]: the HTTP contract, shared with the member's API.

mod account;
mod attested;
mod cursor;
pub mod dev;
mod kept;
mod pin;
pub mod sample;
mod seal;
pub mod sequence_file;
#[cfg(test)]
mod testing;
mod verify;
pub mod wire;

#[cfg(feature = "http")]
mod attested_feed;
#[cfg(feature = "http")]
mod committee;
#[cfg(feature = "http")]
mod feed;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod member;
#[cfg(feature = "http")]
mod sources;

pub use account::{
    AccountError, AttestedAccount, PROOF_BYTES_MAX, ProvenAccount, check_account,
    check_attested_account, check_claims,
};
pub use attested::{AttestedChain, AttestedError};
pub use cursor::{Cursor, CursorError};
pub use kept::{Kept, KeptError};
pub use pin::{Pin, PinError};
pub use seal::{SealError, SealOptions, Sealer};
pub use verify::{
    ChainVerifier, VerifyError, check_opening, check_proof, check_receipt, verify_certificate,
};

#[cfg(feature = "http")]
pub use attested_feed::{AttestedEvent, AttestedFeed};
#[cfg(feature = "http")]
pub use committee::{AccountProblem, Committee, Delivery, FanOut};
#[cfg(feature = "http")]
pub use feed::{Feed, FeedEvent, Start};
#[cfg(feature = "http")]
pub use http::ClientError;
#[cfg(feature = "http")]
pub use member::{Member, Stream};

/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = wire::FRAME_BYTES_MAX;
