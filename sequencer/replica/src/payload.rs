//! What consensus orders: a cut of the lanes, and now and then a dealing of a key ceremony
//! or a step towards the next epoch.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus as consensus;
use fairlane_mempool::Cut;
use fairlane_types::{CommitteeChange, Digest, Domain};

use crate::dealing::Dealing;

/// The payload of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct CutPayload {
    /// The cut.
    pub cut: Cut,
    /// While the committee makes its key, a member's part of it (PROTOCOL §6).
    pub dealing: Option<Arc<Dealing>>,
    /// A step towards the next epoch.
    pub step: Option<EpochStep>,
}

/// A step towards the next epoch (PROTOCOL §6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum EpochStep {
    /// Who is to follow. As a dealing it is carried unread and judged once it is final.
    Change(Arc<CommitteeChange>),
    /// The next committee has its shares, which the digest names: the first final block with
    /// it is the last one of the epoch that is emitted. Its descendants repeat its payload.
    Boundary(Digest),
}

impl CutPayload {
    /// Whether the epoch ends with this block or before it.
    #[must_use]
    pub const fn ends(&self) -> bool {
        matches!(self.step, Some(EpochStep::Boundary(_)))
    }

    /// Digest of what rides with the cut, if anything does.
    #[must_use]
    pub fn rider(&self) -> Option<Digest> {
        let rides = self.dealing.is_some() || self.step.is_some();
        rides.then(|| Domain::Dealing.hash_of(&(&self.dealing, &self.step)))
    }

    /// A cut alone.
    #[must_use]
    pub const fn of(cut: Cut) -> Self {
        Self {
            cut,
            dealing: None,
            step: None,
        }
    }
}

/// What a header commits to: the cut, and what rides with it.
#[must_use]
pub fn payload_digest(cut: Digest, rider: Option<Digest>) -> Digest {
    rider.map_or(cut, |rider| Domain::Payload.hash_of(&(cut, rider)))
}

impl consensus::Payload for CutPayload {
    fn digest(&self) -> Digest {
        payload_digest(self.cut.digest(), self.rider())
    }
}

/// A final block as stored in [`Table::Blocks`](crate::Table::Blocks).
pub type FinalBlock = consensus::FinalBlock<CutPayload>;
/// A safety record as stored in [`Table::Safety`](crate::Table::Safety).
pub type SafetyRecord = consensus::SafetyRecord<CutPayload>;
