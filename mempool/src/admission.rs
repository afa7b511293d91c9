//! What the edge asks of an order (M5): stateless facts here, cryptography by jobs,
//! stateful facts only for direct submissions.

use fairlane_types::{
    ChainId, Committee, Envelope, EnvelopeError, Epoch, KeyId, LANE_NONE, LaneParams, MEMBERS_MAX,
    MemberId, Millis, Planted,
};

/// Why a submission is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The committee has not made its encryption key yet.
    #[error("the committee has no encryption key yet")]
    NoKey,
    /// A stateless fact about the label or the length.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The sender's signature fails.
    #[error("the sender's signature does not verify")]
    BadSignature,
    /// The ciphertext's proof fails.
    #[error("the ciphertext's proof does not verify")]
    BadProof,
    /// Past its expiry at finalized time.
    #[error("expired at {expiry}, finalized time is {time}")]
    Expired {
        /// The label's.
        expiry: Millis,
        /// Finalized time.
        time: Millis,
    },
    /// It is sealed to the key of the epoch before, which is erased before the order expires:
    /// to be sealed again, with the same nonce, to the key of this epoch.
    #[error("sealed to a former key, which opens nothing after {until}; use the present one")]
    OldKey {
        /// Finalized time.
        until: Millis,
    },
    /// Expiry further ahead than TTL_max.
    #[error("expiry {expiry} is later than {latest}, the latest that is taken now")]
    ExpiryTooFar {
        /// The label's.
        expiry: Millis,
        /// The latest that would be taken.
        latest: Millis,
    },
    /// Another order of this sender has this nonce.
    #[error("nonce {0} of this sender is used by another order")]
    NonceUsed(u64),
    /// The sender sends faster than its quota.
    #[error("over the sender's quota, retry in {retry_after_ms} ms")]
    OverQuota {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// This member's lane or checks are full.
    #[error("over capacity, retry in {retry_after_ms} ms")]
    OverCapacity {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The order has its outcome already, and this member gave no receipt for it.
    #[error("the order has its outcome already; ask for its status")]
    AlreadySequenced,
    /// This member may not write to its lane (no safety record, C7).
    #[error("this member is an observer and takes no orders")]
    Observer,
}

/// Token bucket of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Orders per second in the long run.
    pub per_second: u32,
    /// Orders at once.
    pub burst: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            per_second: 1_000,
            burst: 2_000,
        }
    }
}

/// Everything the lanes of one member depend on.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub me: MemberId,
    /// Chain.
    pub chain: ChainId,
    /// Epoch.
    pub epoch: Epoch,
    /// Members.
    pub committee: Committee,
    /// Lane parameters.
    pub lanes: LaneParams,
    /// TTL_max.
    pub ttl_max: Millis,
    /// Finalized time of the genesis block.
    pub genesis_time: Millis,
    /// First byte of labels and ciphertexts on this chain.
    pub suite: u8,
    /// Keys that orders may be encrypted to in this epoch; none until a ceremony has made one.
    pub keys: Vec<KeyId>,
    /// The key of the epoch before, and the last finalized time at which it opens orders.
    pub former: Option<(KeyId, Millis)>,
    /// Ciphertext lengths that belong to a size class.
    pub ciphertext_lens: Vec<usize>,
    /// Quota per sender at this edge.
    pub quota: Quota,
    /// No safety record (C7): hold, check, fetch and serve, but write nothing.
    pub observer: bool,
    /// The rule that is broken on purpose: none, but in tests.
    pub planted: Planted,
}

impl Config {
    /// Until when an edge takes what is sealed to a former key and would outlive it: a quarter of
    /// the key's time is left then for it to come out. Earlier, members that left hand on what they
    /// acknowledged; later, a sender is better told to seal again.
    #[must_use]
    pub fn former_taken_until(&self, until: Millis) -> Millis {
        let grace = until.0.saturating_sub(self.genesis_time.0);
        Millis(until.0.saturating_sub(grace / 4))
    }

    /// The stateless facts that need no cryptography; asked of every order everywhere.
    ///
    /// # Errors
    /// [`EnvelopeError`] names the first that fails.
    pub fn check_envelope(&self, envelope: &Envelope) -> Result<(), EnvelopeError> {
        let label = &envelope.label;
        if !self.ciphertext_lens.contains(&envelope.ciphertext.len()) {
            return Err(EnvelopeError::Length(envelope.ciphertext.len()));
        }
        if label.suite != self.suite {
            return Err(EnvelopeError::Suite(label.suite));
        }
        if label.chain != self.chain {
            return Err(EnvelopeError::WrongChain {
                got: label.chain,
                want: self.chain,
            });
        }
        let former = self.former.is_some_and(|(key, _)| key == label.key_id);
        if !former && !self.keys.contains(&label.key_id) {
            return Err(EnvelopeError::UnknownKey(label.key_id));
        }
        if label.fee != 0 {
            return Err(EnvelopeError::Fee(label.fee));
        }
        // Orders come over from an epoch with more members (PROTOCOL §6).
        if label.lane != LANE_NONE && usize::from(label.lane) >= MEMBERS_MAX {
            return Err(EnvelopeError::Lane(label.lane));
        }
        if label.reserved != [0; 19] {
            return Err(EnvelopeError::Reserved);
        }
        Ok(())
    }
}
