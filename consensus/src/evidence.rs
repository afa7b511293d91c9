//! Self-contained proof that a member broke a rule (PROTOCOL §8).

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    BlockHeader, ChainId, Commit, Committee, Epoch, MemberId, SigCheck, Skip, View, Vote,
};

use crate::message::Signed;

/// Two signed statements of one member in one view that no honest member makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// Who.
    pub signer: MemberId,
    /// What.
    pub offence: Offence,
}

/// What the two statements are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Offence {
    /// Two different votes in a view (C1).
    DoubleVote(Signed<Vote>, Signed<Vote>),
    /// Two different commit votes in a view (C1 and C3).
    DoubleCommit(Signed<Commit>, Signed<Commit>),
    /// Committed to a view and skipped it (C2).
    CommitAndSkip(Signed<Commit>, Signed<Skip>),
    /// Two headers for a view (C6).
    DoubleProposal(Box<Signed<BlockHeader>>, Box<Signed<BlockHeader>>),
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The accused is not in the committee.
    #[error("member {0} is not in the committee")]
    NotMember(MemberId),
    /// Equal statements, or different views or epochs: no contradiction.
    #[error("the statements do not contradict each other")]
    NoContradiction,
    /// Headers of another chain or of another proposer.
    #[error("a header is not this member's on this chain")]
    Foreign,
    /// A signature does not verify.
    #[error("a signature in the evidence does not verify")]
    Signature,
}

impl Evidence {
    /// Epoch and view of the offence: one record is kept for each, per signer.
    #[must_use]
    pub fn place(&self) -> (Epoch, View) {
        match &self.offence {
            Offence::DoubleVote(a, _) => (a.statement.epoch, a.statement.view),
            Offence::DoubleCommit(a, _) | Offence::CommitAndSkip(a, _) => {
                (a.statement.epoch, a.statement.view)
            }
            Offence::DoubleProposal(a, _) => (a.statement.epoch, a.statement.view),
        }
    }

    /// Checks that the statements contradict each other, and returns the two signatures to
    /// verify; both must pass.
    ///
    /// # Errors
    /// [`EvidenceError`], all but `Signature`.
    pub fn checks(
        &self,
        chain: ChainId,
        committee: &Committee,
    ) -> Result<[SigCheck; 2], EvidenceError> {
        let key = committee
            .key(self.signer)
            .ok_or(EvidenceError::NotMember(self.signer))?;
        let contradict = |yes: bool| yes.then_some(()).ok_or(EvidenceError::NoContradiction);
        match &self.offence {
            Offence::DoubleVote(a, b) => {
                let (x, y) = (&a.statement, &b.statement);
                contradict(x != y && (x.epoch, x.view) == (y.epoch, y.view))?;
                Ok([
                    x.check(key, chain, a.signature),
                    y.check(key, chain, b.signature),
                ])
            }
            Offence::DoubleCommit(a, b) => {
                let (x, y) = (&a.statement, &b.statement);
                contradict(x != y && (x.epoch, x.view) == (y.epoch, y.view))?;
                Ok([
                    x.check(key, chain, a.signature),
                    y.check(key, chain, b.signature),
                ])
            }
            Offence::CommitAndSkip(a, b) => {
                let (x, y) = (&a.statement, &b.statement);
                contradict((x.epoch, x.view) == (y.epoch, y.view))?;
                Ok([
                    x.check(key, chain, a.signature),
                    y.check(key, chain, b.signature),
                ])
            }
            Offence::DoubleProposal(a, b) => {
                let (x, y) = (&a.statement, &b.statement);
                contradict(x != y && (x.epoch, x.view) == (y.epoch, y.view))?;
                for header in [x, y] {
                    if header.chain != chain || header.proposer != self.signer {
                        return Err(EvidenceError::Foreign);
                    }
                }
                Ok([
                    x.check(key, chain, a.signature),
                    y.check(key, chain, b.signature),
                ])
            }
        }
    }

    /// Verifies the whole, as a third party does.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self, chain: ChainId, committee: &Committee) -> Result<(), EvidenceError> {
        for check in self.checks(chain, committee)? {
            check.verify().map_err(|_| EvidenceError::Signature)?;
        }
        Ok(())
    }
}
