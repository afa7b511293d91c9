//! What members say to each other about lanes. Everything from outside is bounded in
//! count before it costs anything; the transport bounds the bytes of a frame.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BatchDigest, CtId, Envelope, MEMBERS_MAX, MemberId, Seq};

use crate::{Batch, Limits};

/// Most batches in one answer.
pub const BATCHES_MAX: usize = 64;
/// Most payloads asked for in one request.
pub const PAYLOADS_MAX: usize = 256;
/// Bytes after which an answer is cut short; the asker asks for the rest.
pub const ANSWER_BYTES: usize = 1 << 20;

/// A message between members.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LaneMessage {
    /// A fresh batch, from its owner.
    Batch(Arc<Batch>),
    /// Asks for a range of a lane (M4).
    GetBatches {
        /// The lane.
        lane: MemberId,
        /// First batch wanted.
        from: Seq,
        /// Last batch wanted.
        to: Seq,
        /// Digest of batch `to`; zero when the asker does not care which.
        head: BatchDigest,
    },
    /// Answer to `GetBatches`: a prefix of the range.
    Batches(Vec<Arc<Batch>>),
    /// Asks for payloads by id (L6, D6).
    GetPayloads(Vec<CtId>),
    /// Answer to `GetPayloads`.
    Payloads(Vec<Arc<Envelope>>),
    /// Asks for the digests behind the holdings of the receiver's own batch `seq`, because
    /// their hash does not fit the asker's lanes (a fork, or a lie).
    GetHeads(Seq),
    /// Answer to `GetHeads`.
    Heads {
        /// The answerer's own batch.
        seq: Seq,
        /// One digest per lane.
        digests: Vec<BatchDigest>,
    },
}

impl LaneMessage {
    /// Largest encoding of any message: what a transport must let pass.
    #[must_use]
    pub const fn wire_bytes_max(limits: &Limits) -> usize {
        // An answer ends with the item that crosses ANSWER_BYTES.
        ANSWER_BYTES + limits.batch_wire_bytes() + 64
    }

    /// Whether the counts are within the limits.
    #[must_use]
    pub fn bounded(&self) -> bool {
        match self {
            Self::Batch(_) | Self::GetHeads(_) => true,
            Self::GetBatches { from, to, .. } => {
                from.0 >= 1 && from <= to && to.0 - from.0 < BATCHES_MAX as u64
            }
            Self::Batches(batches) => batches.len() <= BATCHES_MAX,
            Self::GetPayloads(ids) => !ids.is_empty() && ids.len() <= PAYLOADS_MAX,
            Self::Payloads(payloads) => payloads.len() <= PAYLOADS_MAX,
            Self::Heads { digests, .. } => digests.len() <= MEMBERS_MAX,
        }
    }
}
