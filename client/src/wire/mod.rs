//! The HTTP contract, shared by the member's API and this client: JSON bodies, binary
//! bodies, stream frames and error codes.
//!
//! JSON: every `u64` is a decimal string (a JavaScript number would lose digits), bytes are
//! lower-case hex, unknown keys are refused. Binary: borsh.

mod attestations;
mod beacon;
mod blocks;
mod error;
mod execution;
mod info;
mod number;
mod orders;
mod proofs;
mod states;
mod stream;

pub use attestations::AttestationBody;
pub use beacon::BeaconBody;
pub use blocks::{BlockBody, ItemBody, ProofBody, WireError};
pub use error::{ApiError, ErrorCode, error_table};
pub use execution::{
    AccountBody, ClaimBody, ExecutedBody, ExecutedItem, ExecutionBody, FillBody, MarketBody,
    PositionBody, ProposalBody,
};
pub use info::{
    ChangeBody, EpochBody, FormerKeyBody, GapBody, Head, InfoBody, Limits, MemberBody,
    ReceiveOrderBody, StatusBody,
};
pub use number::{dec, dec_option};
pub use orders::{EnvelopeBody, LabelBody, OrderBody, OrderWord, ReceiptBody, SubmitBody};
pub use proofs::{CertBody, EvidenceBody, EvidenceRecord};
pub use states::{AttestedAccountBody, StateAttestationBody};
pub use stream::{FRAME_BYTES_MAX, Frame, FrameReadError, FrameReader};

use fairlane_types::Receipt;

/// Media type of every binary body.
pub const BINARY: &str = "application/octet-stream";
/// Media type of JSON bodies.
pub const JSON: &str = "application/json";
/// Media type of the event stream.
pub const EVENTS: &str = "text/event-stream";

/// Largest body of one order, in bytes, whatever its encoding.
pub const ORDER_BODY_BYTES_MAX: usize = 8 << 10;
/// Most envelopes in one batch.
pub const BATCH_MAX: usize = 256;
/// Largest body of a batch, in bytes.
pub const BATCH_BODY_BYTES_MAX: usize = BATCH_MAX * ENVELOPE_BYTES_MAX + 4;
/// Largest encoded envelope, in bytes.
pub const ENVELOPE_BYTES_MAX: usize =
    fairlane_types::LABEL_BYTES + 4 + fairlane_types::CIPHERTEXT_BYTES_MAX + 64;
/// Most blocks in one answer to `GET /v1/blocks?from=&until=`.
pub const BLOCKS_PAGE_MAX: usize = 256;
/// Longest `timeout_ms` of a submission.
pub const WAIT_MS_MAX: u64 = 60_000;
/// `timeout_ms` when none is given.
pub const WAIT_MS_DEFAULT: u64 = 10_000;

/// The answer to one envelope of a batch, in the order of the request. The binary answer
/// is the borsh encoding of `Vec<BatchResult>`.
pub type BatchResult = Result<Receipt, ApiError>;

/// How long `POST /v1/orders` waits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Until the receipt is durable.
    Accepted,
    /// Until its place in the order is final.
    Final,
    /// Until it is emitted: opened, or refused at its place.
    Opened,
}

impl Wait {
    /// Word in the query string.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Final => "final",
            Self::Opened => "opened",
        }
    }
}

impl std::str::FromStr for Wait {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Accepted, Self::Final, Self::Opened]
            .into_iter()
            .find(|wait| wait.word() == text)
            .ok_or_else(|| format!("wait is one of accepted, final, opened, not {text:?}"))
    }
}
