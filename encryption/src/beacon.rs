//! The beacon of a block (PROTOCOL §5): a value that nobody knows before the block is final
//! and nobody chooses, out of the committee's one signature on it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, ChainId, Digest, Epoch, Height};

use crate::{CERTIFICATE_KEY_BYTES, Subject, ThresholdCertificate};

/// The committee's signature on a final block. 144 bytes encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Beacon {
    /// Epoch.
    pub epoch: Epoch,
    /// Height of the block.
    pub height: Height,
    /// The final block.
    pub block: BlockId,
    /// The signature; there is only one that is valid.
    pub certificate: ThresholdCertificate,
}

impl Beacon {
    /// What is signed.
    #[must_use]
    pub const fn subject(&self, chain: ChainId) -> Subject {
        Subject::Beacon {
            chain,
            epoch: self.epoch,
            height: self.height,
            block: self.block,
        }
    }

    /// Whether the committee that holds `key` signed this block on `chain`.
    #[must_use]
    pub fn verify(&self, key: &[u8; CERTIFICATE_KEY_BYTES], chain: ChainId) -> bool {
        self.certificate.verify(key, &self.subject(chain))
    }

    /// What breaks ties. Verify the beacon first.
    #[must_use]
    pub fn value(&self) -> Digest {
        self.certificate.beacon()
    }
}
