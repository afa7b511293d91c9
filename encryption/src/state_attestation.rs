//! The committee's one signature on what execution made of the sequence: a state root under
//! the key that signs the sequence's own root, with another domain tag. Whoever has the key
//! alone can check an account's proof against it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{ChainId, Digest, Epoch, Height};

use crate::{CERTIFICATE_KEY_BYTES, Subject, ThresholdCertificate};

/// Length of an encoded state attestation, in bytes.
pub const STATE_ATTESTATION_BYTES: usize = 8 + 8 + 3 * 32 + crate::CERTIFICATE_BYTES;

/// What execution says of itself after a height. 96 bytes encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateRoots {
    /// Digest of what it started from, the `execution.toml`.
    pub genesis: Digest,
    /// State root after the height.
    pub state_root: Digest,
    /// Root over what the height did.
    pub receipts_root: Digest,
}

impl StateRoots {
    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let bytes = fairlane_types::encode(self);
        Digest(blake3::derive_key("FAIRLANE V1 state roots", &bytes))
    }
}

/// The committee's word for the state after a height. 208 bytes encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateAttestation {
    /// Epoch.
    pub epoch: Epoch,
    /// The height.
    pub height: Height,
    /// What was there.
    pub roots: StateRoots,
    /// The signature.
    pub certificate: ThresholdCertificate,
}

impl StateAttestation {
    /// What is signed.
    #[must_use]
    pub fn subject(&self, chain: ChainId) -> Subject {
        Subject::State {
            chain,
            epoch: self.epoch,
            height: self.height,
            state: self.roots.digest(),
        }
    }

    /// Whether the committee that holds `key` signed this state on `chain`.
    #[must_use]
    pub fn verify(&self, key: &[u8; CERTIFICATE_KEY_BYTES], chain: ChainId) -> bool {
        self.certificate.verify(key, &self.subject(chain))
    }
}
