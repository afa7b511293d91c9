//! A violation with all that is needed to see it again.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::SuiteKey;
use fairlane_types::{Digest, Genesis, Handover, KeyActivation};

use super::{Auditor, Start, Step, Violation};

/// The order state at the last height that committed to it, and the steps from there to
/// the one that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Case {
    /// Hash of the genesis of the chain's first epoch.
    pub genesis: Digest,
    /// The hand-overs from there to the epoch that it is about.
    pub handovers: Vec<Handover>,
    /// The members' word for the encryption key, where the genesis does not name it.
    pub activation: Option<KeyActivation>,
    /// Where it begins.
    pub start: Start,
    /// Every height after that; the last one is broken.
    pub steps: Vec<Step>,
}

/// Why a case shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// It is about another chain.
    #[error("the case is about genesis {got}, not {want}")]
    OtherGenesis {
        /// In the case.
        got: Digest,
        /// Trusted.
        want: Digest,
    },
    /// Its beginning is not what it says.
    #[error("the case cannot be begun: {0}")]
    Start(String),
    /// A step before the last breaks a rule already.
    #[error("an earlier step breaks a rule: {0}")]
    Early(Violation),
    /// Everything in it holds.
    #[error("every step of it holds: nothing is shown")]
    Nothing,
}

impl Case {
    /// Runs it again, with the genesis of its epoch, to which the hand-overs lead, and the
    /// encryption key that is trusted for it.
    ///
    /// # Errors
    /// [`CaseError`] when it shows no violation.
    pub fn verify(&self, genesis: &Genesis, key: SuiteKey) -> Result<Violation, CaseError> {
        let want = genesis.origin();
        if self.genesis != want {
            let got = self.genesis;
            return Err(CaseError::OtherGenesis { got, want });
        }
        let mut auditor = Auditor::new(genesis, key, self.activation.as_ref(), self.start.clone())
            .map_err(|error| CaseError::Start(error.to_string()))?;
        let last = self.steps.len().saturating_sub(1);
        for (index, step) in self.steps.iter().enumerate() {
            match auditor.step(step) {
                Ok(()) => {}
                Err(violation) if index == last => return Ok(violation),
                Err(violation) => return Err(CaseError::Early(violation)),
            }
        }
        Err(CaseError::Nothing)
    }
}
