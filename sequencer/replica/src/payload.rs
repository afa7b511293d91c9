//! The payload that consensus orders is a cut of the lanes.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus as consensus;
use fairlane_mempool::Cut;
use fairlane_types::Digest;

/// A cut as the payload of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct CutPayload(pub Cut);

impl consensus::Payload for CutPayload {
    fn digest(&self) -> Digest {
        self.0.digest()
    }
}

/// A final block as stored in [`Table::Blocks`](crate::Table::Blocks).
pub type FinalBlock = consensus::FinalBlock<CutPayload>;
/// A safety record as stored in [`Table::Safety`](crate::Table::Safety).
pub type SafetyRecord = consensus::SafetyRecord<CutPayload>;
