//! The cut: one head per lane, the payload that consensus orders; the verdict on a
//! proposed one, and what a final one adds.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    BatchDigest, BlockId, CtId, Digest, Domain, Envelope, MEMBERS_MAX, MemberId, Micros, Millis,
    Seq,
};

/// The last batch of a lane inside a cut; `Seq(0)` with the zero digest is "none yet".
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct Head {
    /// Number in the lane.
    pub seq: Seq,
    /// Digest of that batch.
    pub digest: BatchDigest,
}

/// One head per lane, in the order of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Cut {
    /// The heads.
    pub heads: Vec<Head>,
}

impl Cut {
    /// Largest encoding, in bytes.
    pub const BYTES_MAX: usize = 4 + MEMBERS_MAX * 40;

    /// The cut before the first batch of any lane.
    #[must_use]
    pub fn genesis(n: usize) -> Self {
        Self {
            heads: vec![Head::default(); n],
        }
    }

    /// What a block header commits to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Domain::Payload.hash_of(self)
    }

    /// The head of a lane; "none yet" for a lane that does not exist.
    #[must_use]
    pub fn head(&self, lane: MemberId) -> Head {
        self.heads.get(lane.index()).copied().unwrap_or_default()
    }
}

/// A cut that a leader may propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltCut {
    /// The cut.
    pub cut: Cut,
    /// Its finalized time (C13).
    pub time: Millis,
    /// Whether any head moves (C10).
    pub advances: bool,
}

/// Why a proposed cut can never be voted for: its proposer is faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutFault {
    /// Not one head per member.
    #[error("the cut does not have one head per member")]
    Width,
    /// A head moves back, or changes without moving.
    #[error("lane {0} moves back or changes in place")]
    MovesBack(MemberId),
    /// More batches, entries or bytes of a lane than one cut may add.
    #[error("lane {0} adds more than one cut may take")]
    OverLimit(MemberId),
    /// Finalized time is not what the heads say (C13).
    #[error("time is {got}, the heads say {want}")]
    Time {
        /// In the header.
        got: Millis,
        /// By C13.
        want: Millis,
    },
}

/// What a voter thinks of a proposed cut ("Payload validity" in PROTOCOL §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every new head is held in full, and acknowledged here or by q members.
    Valid,
    /// Never votable.
    Invalid(CutFault),
    /// Not decidable yet: these lanes lack batches, payloads or acknowledgements.
    Missing(Vec<MemberId>),
}

/// A final block, as far as lanes and order are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalCut {
    /// The block.
    pub block: BlockId,
    /// Its finalized time.
    pub time: Millis,
    /// Cut of its parent.
    pub parent: Cut,
    /// Its cut.
    pub cut: Cut,
}

/// An entry that became final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalEntry {
    /// The ciphertext.
    pub ct_id: CtId,
    /// When the lane recorded it.
    pub stamp: Micros,
    /// Its label and bytes; absent only for a ciphertext that has its outcome already, so
    /// that the order rule skips it as seen.
    pub order: Option<Arc<Envelope>>,
}

/// What one lane gained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneDelta {
    /// The lane.
    pub lane: MemberId,
    /// Stamp of its new head: nothing below it will come.
    pub head: Micros,
    /// Its new entries in order.
    pub entries: Vec<FinalEntry>,
}

/// What a final block adds to the lanes: the input of the order rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutDelta {
    /// The block; breaks ties.
    pub block: BlockId,
    /// Finalized time.
    pub time: Millis,
    /// Lanes whose head moved, in ascending order.
    pub lanes: Vec<LaneDelta>,
}
