//! What consensus orders: a cut of the lanes, and now and then a dealing of a key ceremony.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus as consensus;
use fairlane_mempool::Cut;
use fairlane_types::{Digest, Domain};

use crate::dealing::Dealing;

/// The payload of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct CutPayload {
    /// The cut.
    pub cut: Cut,
    /// While the committee makes its key, a member's part of it (PROTOCOL §6).
    pub dealing: Option<Arc<Dealing>>,
}

impl CutPayload {
    /// A cut alone.
    #[must_use]
    pub const fn of(cut: Cut) -> Self {
        Self { cut, dealing: None }
    }
}

impl consensus::Payload for CutPayload {
    fn digest(&self) -> Digest {
        let cut = self.cut.digest();
        match &self.dealing {
            None => cut,
            Some(dealing) => Domain::Dealing.hash_of(&(cut, dealing)),
        }
    }
}

/// A final block as stored in [`Table::Blocks`](crate::Table::Blocks).
pub type FinalBlock = consensus::FinalBlock<CutPayload>;
/// A safety record as stored in [`Table::Safety`](crate::Table::Safety).
pub type SafetyRecord = consensus::SafetyRecord<CutPayload>;
