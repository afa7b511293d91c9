//! A committee's decision who is to follow it (PROTOCOL §6): proposed and approved by its
//! operators, carried by a block, in force from the next epoch on.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    CertificateError, ChainId, Committee, CommitteeError, Digest, Domain, Epoch, PublicKey,
    QuorumWord, ReceiverBytes, Signature, Signer, encode,
};

/// Longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// Who a member of the next committee is, and where the others find it.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct NextMember {
    /// Identity key.
    pub identity: PublicKey,
    /// Key for dealings.
    pub receiver: ReceiverBytes,
    /// Where it listens for members, host:port (UDP).
    pub quic: String,
    /// Where its API is, `http://host:port`: from there members that are behind go on.
    pub api: String,
}

impl NextMember {
    fn fits(&self) -> bool {
        self.quic.len() <= ADDRESS_BYTES_MAX && self.api.len() <= ADDRESS_BYTES_MAX
    }
}

/// What a change of committee does with the encryption key.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NextKey {
    /// It is dealt on. Whoever has t shares of a later committee reads what was sealed to it in
    /// any epoch.
    Kept,
    /// The next epoch has another one. That of this epoch is dealt on for the orders under way,
    /// and gone soon after.
    Fresh,
}

/// The committee that is to follow, in the order of member ids.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct NextCommittee {
    /// Chain.
    pub chain: ChainId,
    /// The epoch it begins; the one before it decides.
    pub epoch: Epoch,
    /// The encryption key of that epoch.
    pub key: NextKey,
    /// The members.
    pub members: Vec<NextMember>,
}

impl NextCommittee {
    /// The members as a committee.
    ///
    /// # Errors
    /// [`CommitteeError`] names what is wrong.
    pub fn committee(&self) -> Result<Committee, CommitteeError> {
        Committee::new(self.members.iter().map(|member| member.identity).collect())
    }

    /// What a hand-over names it by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Domain::CommitteeChange.hash_of(self)
    }

    /// The epoch that decides; `None` for the first one, which nobody decides.
    #[must_use]
    pub fn decided_in(&self) -> Option<Epoch> {
        self.epoch.0.checked_sub(1).map(Epoch)
    }

    /// A present member's approval.
    #[must_use]
    pub fn approve(&self, key: &dyn Signer) -> Signature {
        let epoch = self.decided_in().unwrap_or_default();
        key.sign(Domain::CommitteeChange, self.chain, epoch, &encode(self))
    }
}

/// A next committee that a quorum of the present one approved.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct CommitteeChange {
    /// Who follows.
    pub next: NextCommittee,
    /// Approvals.
    pub approved: QuorumWord,
}

impl CommitteeChange {
    /// Whether it could be one of `committee` in `epoch`, by its shape alone.
    #[must_use]
    pub fn fits(&self, chain: ChainId, epoch: Epoch, committee: &Committee) -> bool {
        self.next.chain == chain
            && self.next.decided_in() == Some(epoch)
            && self.next.members.iter().all(NextMember::fits)
            && self.next.committee().is_ok()
            && self.approved.fits(committee)
    }

    /// Whether a quorum of the present committee approved it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, committee: &Committee) -> Result<(), CertificateError> {
        let epoch = self.next.decided_in().ok_or(CertificateError::Signers)?;
        let (chain, body) = (self.next.chain, encode(&self.next));
        self.approved
            .verify(Domain::CommitteeChange, chain, epoch, &body, committee)
    }
}
