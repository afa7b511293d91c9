//! What a member begins an epoch with (PROTOCOL §6): the word of the committee before it,
//! and the bytes that this word covers. Members of the old committee have it at the
//! boundary; who joins, or was away, asks any of them and checks it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{
    Ceremony, CombineError, CommitteeKeys, DealError, KeyError, ReceiverSecret,
};
use fairlane_types::{
    ActiveKeys, DecodeError, Digest, Domain, Epoch, Genesis, Handover, HandoverError, MemberId,
    NextCommittee, decode,
};

use crate::dealing::Dealing;
use crate::job::Sharing;

/// Largest encoding of a base that is taken from outside, in bytes: what 100 members deal to
/// 100, and the memory of a chain at its limits.
pub const EPOCH_BASE_BYTES_MAX: usize = 256 << 20;

/// The start of an epoch after the first.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochBase {
    /// The genesis of the epoch, signed by the committee before it.
    pub handover: Handover,
    /// The committee, with its members' addresses.
    pub next: NextCommittee,
    /// What the order rule remembers ([`fairlane_mempool::fair::FairOrder::memory`]).
    pub memory: Vec<u8>,
    /// The keys whose shares were dealt on.
    pub old_keys: ActiveKeys,
    /// The dealings that count, in their order.
    pub dealings: Vec<Dealing>,
}

/// Why bytes are no start of an epoch, or give this member no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// The hand-over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// It starts no epoch.
    #[error("it is the genesis of a first epoch")]
    First,
    /// Bytes that the hand-over does not cover.
    #[error("{0} are not those that were handed over")]
    Bytes(&'static str),
    /// An encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A key in it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A dealing.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// The dealings give no share of this key to this receiver.
    #[error("the dealings give this member no share: {0}")]
    Share(#[from] CombineError),
    /// The dealings give another key.
    #[error("the dealings give another key than the one handed over")]
    OtherKey,
}

/// What a hand-over covers of the memory.
pub(crate) fn memory_digest(memory: &[u8]) -> Digest {
    Domain::Snapshot.hash(memory)
}

/// What a hand-over covers of the dealings.
pub(crate) fn dealings_digest(dealings: &[impl BorshSerialize]) -> Digest {
    Domain::Dealing.hash_of(&dealings)
}

impl EpochBase {
    /// The genesis of the epoch.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.handover.genesis
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.handover.genesis.epoch()
    }

    /// Whether the committee of `before` handed all of this over.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn verify(&self, before: &Genesis) -> Result<(), BaseError> {
        self.handover.verify(before)?;
        self.is_covered()
    }

    /// Whether the bytes are those that the hand-over covers.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn is_covered(&self) -> Result<(), BaseError> {
        let start = self.handover.genesis.start.ok_or(BaseError::First)?;
        if start.memory != memory_digest(&self.memory) {
            return Err(BaseError::Bytes("the remembered orders"));
        }
        if start.committee != self.next.digest() {
            return Err(BaseError::Bytes("the committee's addresses"));
        }
        if start.dealings != dealings_digest(&self.dealings) {
            return Err(BaseError::Bytes("the dealings"));
        }
        Ok(())
    }

    /// The keys of the epoch and this member's shares of them.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn sharing(&self, me: MemberId, receiver: &ReceiverSecret) -> Result<Sharing, BaseError> {
        let genesis = &self.handover.genesis;
        let start = genesis.start.ok_or(BaseError::First)?;
        let certificate = &self.old_keys.certificate;
        let certificate = (!certificate.is_empty()).then_some(certificate);
        let old = CommitteeKeys {
            encryption: decode(&self.old_keys.encryption, self.old_keys.encryption.len())?,
            certificate: certificate
                .map(|bytes| decode(bytes, bytes.len()))
                .transpose()?,
        };
        let ceremony = Ceremony::of_change(start.before, &self.next, old)?;
        let mut deals = Vec::with_capacity(self.dealings.len());
        for dealing in &self.dealings {
            let deal = decode(&dealing.deal, dealing.deal.len())?;
            deals.push(ceremony.verified_before(dealing.dealer, deal)?);
        }
        let (keys, shares) = ceremony.shares(&deals, me, receiver)?;
        let made = Sharing::made(keys, shares);
        let certificates = genesis.certificates.as_ref();
        let signed = ActiveKeys {
            encryption: genesis.encryption.public_key.clone(),
            certificate: certificates.map_or_else(Vec::new, |c| c.public_key.clone()),
        };
        // The committee signed these: what is not signed of the base cannot change them.
        if made.public() != signed {
            return Err(BaseError::OtherKey);
        }
        Ok(made)
    }
}
