//! What members do wrong: faults that are counted, and evidence that convicts.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus as consensus;
use fairlane_encryption::{ShareError, Suite, SuiteKey, ThresholdScheme};
use fairlane_mempool::{LaneFault, LaneFork};
use fairlane_types::{ChainId, Committee, Epoch, MemberId};

use crate::share_message::{ShareFault, ShareMessage, list_digest_of};

/// A member sent something that no honest member sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// About consensus.
    #[error("consensus: {0:?}")]
    Consensus(consensus::PeerFault),
    /// About lanes.
    #[error("lanes: {0}")]
    Lane(LaneFault),
    /// About decryption shares.
    #[error("shares: {0}")]
    Share(ShareFault),
    /// A share of an attestation that is none.
    #[error("a false share of an attestation")]
    Attestation,
    /// A share of a beacon, or a beacon, that is none.
    #[error("a false beacon, or share of one")]
    Beacon,
    /// A dealing that is not its sender's, or comes where nobody deals.
    #[error("a dealing out of place")]
    Dealing,
    /// A signature over another encryption key than the dealings give.
    #[error("a false signature over the encryption key")]
    KeyMade,
    /// A change of committee that is none, or that no quorum approved.
    #[error("a false change of committee")]
    Change,
    /// A signature over another start of the next epoch than follows from the log.
    #[error("a false signature over the start of the next epoch")]
    Handover,
    /// More than it may ask for.
    #[error("a request over its limits")]
    Request,
}

impl Fault {
    /// Short name for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Consensus(_) => "consensus",
            Self::Lane(_) => "lane",
            Self::Share(_) => "share",
            Self::Attestation => "attestation",
            Self::Beacon => "beacon",
            Self::Dealing => "dealing",
            Self::KeyMade => "key_made",
            Self::Change => "change",
            Self::Handover => "handover",
            Self::Request => "request",
        }
    }
}

/// Shares that their maker signed for a list, and that are false for it (D5).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FalseShares {
    /// Who made them.
    pub member: MemberId,
    /// What was signed.
    pub message: ShareMessage,
    /// The list U_k that the message commits to.
    pub points: Vec<Vec<u8>>,
}

/// A self-contained proof of misbehaviour that anyone can check who knows the committee
/// (PROTOCOL §8).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two statements that exclude each other.
    Consensus(consensus::Evidence),
    /// Two batches with one number in one lane.
    LaneFork(LaneFork),
    /// False decryption shares.
    FalseShares(Box<FalseShares>),
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceFault {
    /// The statements are not signed by whom they accuse, or do not contradict.
    #[error("the evidence does not convict: {0}")]
    Unproven(String),
    /// The shares accused are right.
    #[error("the shares accused are right")]
    Innocent,
}

impl Evidence {
    /// Checks it, and names the offender. The encryption keys of the epoch, its own and a former
    /// one, are needed where shares are accused; contradictions are proven without one.
    ///
    /// # Errors
    /// [`EvidenceFault`].
    pub fn verify(
        &self,
        chain: ChainId,
        epoch: Epoch,
        committee: &Committee,
        keys: &[&SuiteKey],
    ) -> Result<MemberId, EvidenceFault> {
        let unproven = |reason: String| EvidenceFault::Unproven(reason);
        match self {
            Self::Consensus(evidence) => {
                evidence
                    .verify(chain, committee)
                    .map_err(|e| unproven(e.to_string()))?;
                Ok(evidence.signer)
            }
            Self::LaneFork(fork) => fork
                .verify(committee, chain)
                .map_err(|e| unproven(e.to_string())),
            Self::FalseShares(shares) => shares.verify(chain, epoch, committee, keys),
        }
    }

    /// What it is about, as in the API.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Consensus(_) => "contradiction",
            Self::LaneFork(_) => "lane_fork",
            Self::FalseShares(_) => "false_shares",
        }
    }

    /// Whom it accuses; [`verify`](Self::verify) tells whether rightly.
    #[must_use]
    pub const fn accused(&self) -> MemberId {
        match self {
            Self::Consensus(evidence) => evidence.signer,
            Self::LaneFork(fork) => fork.first.header.lane,
            Self::FalseShares(shares) => shares.member,
        }
    }

    /// Key in [`Table::Evidence`](crate::Table::Evidence): one record per offence.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        fairlane_types::encode(&match self {
            Self::Consensus(evidence) => {
                let (_, view) = evidence.place();
                (0u8, evidence.signer, view.0)
            }
            Self::LaneFork(fork) => (1, fork.first.header.lane, fork.first.header.seq.0),
            Self::FalseShares(shares) => (2, shares.member, shares.message.height.0),
        })
    }
}

impl FalseShares {
    fn verify(
        &self,
        chain: ChainId,
        epoch: Epoch,
        committee: &Committee,
        keys: &[&SuiteKey],
    ) -> Result<MemberId, EvidenceFault> {
        let unproven = |reason: &str| EvidenceFault::Unproven(reason.to_owned());
        let public = committee
            .key(self.member)
            .ok_or_else(|| unproven("no such member"))?;
        self.message
            .signature_check(public, chain, epoch)
            .verify()
            .map_err(|_| unproven("the shares are not signed by the accused"))?;
        if self.message.list != list_digest_of(self.points.iter().cloned()) {
            return Err(unproven("the shares are for another list"));
        }
        let (block, orders) = (self.message.batch.block(), self.points.len());
        for key in keys {
            let batch = self.message.batch.clone();
            let verdict = Suite::accept(key, block, orders, self.member, batch)
                .and_then(|shares| key.verify_shares_of(&self.points, &shares));
            match verdict {
                // Shares for another key prove nothing against this one.
                Err(ShareError::WrongKey) => {}
                Err(_) => return Ok(self.member),
                Ok(()) => return Err(EvidenceFault::Innocent),
            }
        }
        Err(unproven("the shares are for none of these keys"))
    }
}
