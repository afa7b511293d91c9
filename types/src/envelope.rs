//! What a trader sends: a public label, an opaque ciphertext, and its signature.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    ChainId, CtId, Digest, Domain, Epoch, KeyId, MemberId, Millis, PublicKey, SigCheck, Signature,
    Signer,
};

/// Bytes of an encoded label (ENCRYPTION 6.3).
pub const LABEL_BYTES: usize = 117;
/// Suite `TDH2-R255-SHA512-CHACHA20POLY1305`.
pub const SUITE_TDH2: u8 = 0x01;

/// Suite byte of Baek–Zheng over BLS12-381.
pub const SUITE_BAEK_ZHENG: u8 = 0x02;
/// `label.lane` when the sender names no primary.
pub const LANE_NONE: u8 = 255;
/// Largest ciphertext: the 163-byte frame, σ, the largest size class, the AEAD tag.
pub const CIPHERTEXT_BYTES_MAX: usize = 163 + 32 + 4_096 + 16;

/// The public part of an order, bound to the ciphertext by its proof. Encodes to exactly
/// [`LABEL_BYTES`] with integers in little-endian.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Label {
    /// Encryption suite.
    pub suite: u8,
    /// Chain.
    pub chain: ChainId,
    /// Key the order is encrypted to.
    pub key_id: KeyId,
    /// The account: whoever signs the envelope.
    pub sender: PublicKey,
    /// Any unused number; remembered until `expiry`.
    pub nonce: u64,
    /// Last finalized time at which the order may be decrypted.
    pub expiry: Millis,
    /// Must be 0 for now.
    pub fee: u64,
    /// Primary member that carries the bytes in its lane, or [`LANE_NONE`].
    pub lane: u8,
    /// Must be zero.
    pub reserved: [u8; 19],
}

impl Label {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LABEL_BYTES] {
        let mut bytes = [0; LABEL_BYTES];
        bytes.copy_from_slice(&crate::encode(self));
        bytes
    }
}

/// An encrypted order as submitted and as carried in lanes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    /// Public part.
    pub label: Label,
    /// Sealed part, opaque here.
    pub ciphertext: Vec<u8>,
    /// By `label.sender` over label ‖ ciphertext.
    pub signature: Signature,
}

/// Stateless facts for which an envelope is refused before any cryptography (M5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Unknown suite.
    #[error("suite {0} is not offered on this chain")]
    Suite(u8),
    /// Another chain's order.
    #[error("order is for chain {got}, this is chain {want}")]
    WrongChain {
        /// The label's chain.
        got: ChainId,
        /// This chain.
        want: ChainId,
    },
    /// Not a key of this epoch.
    #[error("order is encrypted to key {0}, which this epoch does not hold")]
    UnknownKey(KeyId),
    /// Fee must be zero.
    #[error("fee must be 0, not {0}")]
    Fee(u64),
    /// The named primary is not a member.
    #[error("lane {0} is not a member of this committee")]
    Lane(u8),
    /// Reserved bytes set.
    #[error("reserved label bytes must be zero")]
    Reserved,
    /// Length is not one of the size classes.
    #[error("ciphertext of {0} bytes fits no size class")]
    Length(usize),
}

impl Envelope {
    /// Assembles and signs.
    #[must_use]
    pub fn sign(label: Label, ciphertext: Vec<u8>, key: &dyn Signer) -> Self {
        let body = Self::body(&label, &ciphertext);
        // The label binds chain and key, so the epoch of the signature is fixed to 0:
        // an order may outlive an epoch switch inside the grace period.
        let signature = key.sign(Domain::Envelope, label.chain, Epoch(0), &body);
        Self {
            label,
            ciphertext,
            signature,
        }
    }

    /// H(label ‖ ciphertext); the signature is excluded so that it cannot be used to
    /// make two ids for one order.
    #[must_use]
    pub fn id(&self) -> CtId {
        CtId(Digest(Self::body(&self.label, &self.ciphertext)))
    }

    /// The check of the sender's signature.
    #[must_use]
    pub fn signature_check(&self) -> SigCheck {
        self.label.sender.check(
            Domain::Envelope,
            self.label.chain,
            Epoch(0),
            &Self::body(&self.label, &self.ciphertext),
            self.signature,
        )
    }

    /// Bytes this envelope occupies in a batch.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        LABEL_BYTES + 4 + self.ciphertext.len() + 64
    }

    /// The member whose lane carries the bytes (L6): the one named, or one picked by id.
    #[must_use]
    pub fn primary(&self, n: usize) -> MemberId {
        if usize::from(self.label.lane) < n {
            return MemberId(self.label.lane);
        }
        let id = self.id();
        let mut head = [0; 8];
        head.copy_from_slice(&id.as_bytes()[..8]);
        MemberId((u64::from_le_bytes(head) % n.max(1) as u64) as u8)
    }

    fn body(label: &Label, ciphertext: &[u8]) -> [u8; 32] {
        let digest = Domain::Ciphertext.hash_gathered(|bytes| {
            bytes.extend_from_slice(&label.to_bytes());
            bytes.extend_from_slice(ciphertext);
        });
        digest.0
    }
}
