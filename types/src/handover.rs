//! The end of an epoch: what the next one starts from, under a quorum's signatures of the
//! committee that leaves (PROTOCOL §6). From the genesis of the first epoch a chain of these
//! leads to the committee and keys of any later one.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    BlockId, CertificateError, Committee, Digest, Domain, Epoch, Genesis, GenesisError, Height,
    MemberId, Position, QuorumWord, Root, SigCheck, Signature, Signer, encode,
};

/// Where an epoch after the first begins.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Hash of the genesis of the first epoch: what clients pin.
    pub origin: Digest,
    /// Hash of the genesis of the epoch before.
    pub before: Digest,
    /// Height of the boundary block, the last one of the epoch before.
    pub height: Height,
    /// The boundary block.
    pub block: BlockId,
    /// Root of the sequence up to it.
    pub root: Root,
    /// Position of the first item of this epoch.
    pub position: Position,
    /// Digest of the [`NextCommittee`](crate::NextCommittee), which has addresses too.
    pub committee: Digest,
    /// Hash of what the order rule remembers: orders that have their outcome, used nonces.
    pub memory: Digest,
    /// Hash of the dealings from which members read their shares.
    pub dealings: Digest,
}

/// The genesis of the next epoch, and the word of the committee before it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// What the next epoch runs on.
    pub genesis: Genesis,
    /// A quorum of the committee that leaves.
    pub word: QuorumWord,
}

/// Why a hand-over does not lead on from an epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// It does not begin where the epoch before ends, or belongs to another chain.
    #[error("the hand-over does not follow the epoch before: {0}")]
    Follow(&'static str),
    /// The new genesis cannot start an epoch.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The signatures.
    #[error(transparent)]
    Word(#[from] CertificateError),
}

impl Handover {
    /// A member's signature over the genesis of the next epoch. `epoch` is the one that ends.
    #[must_use]
    pub fn sign(key: &dyn Signer, epoch: Epoch, genesis: &Genesis) -> Signature {
        let body = encode(&genesis.hash());
        key.sign(Domain::Handover, genesis.chain, epoch, &body)
    }

    /// The check that a member's signature must pass.
    #[must_use]
    pub fn check(
        committee: &Committee,
        member: MemberId,
        epoch: Epoch,
        genesis: &Genesis,
        signature: Signature,
    ) -> Option<SigCheck> {
        let (key, body) = (committee.key(member)?, encode(&genesis.hash()));
        Some(key.check(Domain::Handover, genesis.chain, epoch, &body, signature))
    }

    /// Whether the committee of `before` hands over to this genesis.
    ///
    /// # Errors
    /// [`HandoverError`].
    pub fn verify(&self, before: &Genesis) -> Result<(), HandoverError> {
        let refuse = |what| Err(HandoverError::Follow(what));
        let Some(start) = &self.genesis.start else {
            return refuse("it starts no epoch");
        };
        if self.genesis.chain != before.chain {
            return refuse("another chain");
        }
        if start.epoch != before.epoch().next() {
            return refuse("another epoch");
        }
        if start.before != before.hash() || start.origin != before.origin() {
            return refuse("another genesis");
        }
        if start.height <= before.base() || self.genesis.time < before.time {
            return refuse("it goes back");
        }
        self.genesis.validate()?;
        let committee = before.validate()?;
        let body = encode(&self.genesis.hash());
        let (chain, epoch) = (before.chain, before.epoch());
        self.word
            .verify(Domain::Handover, chain, epoch, &body, &committee)?;
        Ok(())
    }
}
