//! What a quorum of a committee says together: one signature of each signer.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{CertificateError, ChainId, Committee, Domain, Epoch, MemberId, Signature, SignerSet};

/// Signatures of members over the same words. A list and not a certificate of consensus: it
/// is gathered from operators or at the end of an epoch, and is checked rarely.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct QuorumWord {
    /// Who signed, ascending, and what.
    pub signatures: Vec<MemberSignature>,
}

/// A member's signature.
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
#[serde(deny_unknown_fields)]
pub struct MemberSignature {
    /// The signer.
    pub member: MemberId,
    /// Its signature.
    pub signature: Signature,
}

impl QuorumWord {
    /// Adds a member's signature in its place; a second one of a member is dropped.
    pub fn add(&mut self, member: MemberId, signature: Signature) {
        let place = self.signatures.partition_point(|s| s.member < member);
        if self
            .signatures
            .get(place)
            .is_none_or(|s| s.member != member)
        {
            let signed = MemberSignature { member, signature };
            self.signatures.insert(place, signed);
        }
    }

    /// Who signed.
    #[must_use]
    pub fn signers(&self) -> SignerSet {
        self.signatures.iter().map(|s| s.member).collect()
    }

    /// Whether its shape is that of a word of a committee: a quorum of members of it, each
    /// once, ascending. Nothing is said of the signatures.
    #[must_use]
    pub fn fits(&self, committee: &Committee) -> bool {
        let members = || self.signatures.iter().map(|s| s.member);
        self.signatures.len() >= committee.quorum()
            && members().all(|member| committee.contains(member))
            && members().is_sorted_by(|a, b| a < b)
    }

    /// Whether a quorum of the committee signed `body`.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        domain: Domain,
        chain: ChainId,
        epoch: Epoch,
        body: &[u8],
        committee: &Committee,
    ) -> Result<(), CertificateError> {
        let (have, need) = (self.signatures.len(), committee.quorum());
        if have < need {
            return Err(CertificateError::NoQuorum { have, need });
        }
        if !self.fits(committee) {
            return Err(CertificateError::Signers);
        }
        for MemberSignature { member, signature } in &self.signatures {
            let key = committee.key(*member).ok_or(CertificateError::Signers)?;
            let check = key.check(domain, chain, epoch, body, *signature);
            check.verify().map_err(|_| CertificateError::Signature)?;
        }
        Ok(())
    }
}
