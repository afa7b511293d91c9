//! The committee's word for the keys that came of a ceremony (PROTOCOL §6): what a client
//! trusts where the genesis names none.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    CertificateError, ChainId, Committee, Domain, Epoch, PublicKey, SigCheck, Signature, Signer,
    SignerSet, encode,
};

/// The public keys that a ceremony made.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ActiveKeys {
    /// Encryption key with verification keys in the scheme's canonical encoding.
    pub encryption: Vec<u8>,
    /// Certificate key in canonical encoding; empty on a chain without certificates.
    pub certificate: Vec<u8>,
}

/// A quorum's signatures over a committee's keys. Each honest member signs the ones that
/// follow from the final dealings, so two of an epoch cannot both be signed by a quorum.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyActivation {
    /// Epoch that the keys are for.
    pub epoch: Epoch,
    /// The keys.
    pub keys: ActiveKeys,
    /// Who signed.
    pub signers: SignerSet,
    /// One signature per signer, in ascending order of members.
    pub signatures: Vec<Signature>,
}

impl KeyActivation {
    /// A member's signature over keys.
    #[must_use]
    pub fn sign(key: &dyn Signer, chain: ChainId, epoch: Epoch, keys: &ActiveKeys) -> Signature {
        key.sign(Domain::KeyActivation, chain, epoch, &encode(keys))
    }

    /// The check that a member's signature over keys must pass.
    #[must_use]
    pub fn check(
        key: &PublicKey,
        chain: ChainId,
        epoch: Epoch,
        keys: &ActiveKeys,
        signature: Signature,
    ) -> SigCheck {
        key.check(
            Domain::KeyActivation,
            chain,
            epoch,
            &encode(keys),
            signature,
        )
    }

    /// Whether a quorum of the committee says so.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, chain: ChainId, committee: &Committee) -> Result<(), CertificateError> {
        let have = self.signers.len();
        if !self.signers.within(committee.n()) || have != self.signatures.len() {
            return Err(CertificateError::Signers);
        }
        if have < committee.quorum() {
            return Err(CertificateError::NoQuorum {
                have,
                need: committee.quorum(),
            });
        }
        for (member, signature) in self.signers.iter().zip(&self.signatures) {
            let key = committee.key(member).ok_or(CertificateError::Signers)?;
            Self::check(key, chain, self.epoch, &self.keys, *signature)
                .verify()
                .map_err(|_| CertificateError::Signature)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{MemberId, SecretKey, decode, encode};

    const CHAIN: ChainId = ChainId(7);

    fn signed() -> (KeyActivation, Committee) {
        let keys: Vec<_> = (1..5)
            .map(|seed| SecretKey::from_seed([seed; 32]))
            .collect();
        let committee = Committee::new(keys.iter().map(SecretKey::public).collect()).unwrap();
        let active = ActiveKeys {
            encryption: b"a key".to_vec(),
            certificate: b"another".to_vec(),
        };
        let signers: SignerSet = [0, 1, 3].map(MemberId).into_iter().collect();
        let sign = |m: MemberId| KeyActivation::sign(&keys[m.index()], CHAIN, Epoch(2), &active);
        let activation = KeyActivation {
            epoch: Epoch(2),
            signatures: signers.iter().map(sign).collect(),
            keys: active,
            signers,
        };
        (activation, committee)
    }

    #[test]
    fn a_quorum_makes_a_key_and_nothing_less() {
        let (activation, committee) = signed();
        let verify = |a: &KeyActivation| a.verify(CHAIN, &committee);
        assert_eq!(verify(&activation), Ok(()));
        let other = activation.verify(ChainId(8), &committee);
        assert_eq!(other, Err(CertificateError::Signature));

        let mut short = activation.clone();
        short.signers = [0, 1].map(MemberId).into_iter().collect();
        assert_eq!(verify(&short), Err(CertificateError::Signers));
        short.signatures.pop();
        let want = CertificateError::NoQuorum { have: 2, need: 3 };
        assert_eq!(verify(&short), Err(want));

        // Bytes moved from one key to the other are another pair of keys.
        let mut moved = activation.clone();
        moved.keys.encryption = b"a ke".to_vec();
        moved.keys.certificate = b"yanother".to_vec();
        assert_eq!(verify(&moved), Err(CertificateError::Signature));

        let mut stranger = activation.clone();
        stranger.signers = [0, 1, 9].map(MemberId).into_iter().collect();
        assert_eq!(verify(&stranger), Err(CertificateError::Signers));
    }

    proptest! {
        /// Whatever bytes are changed, it does not decode, or does not hold.
        #[test]
        fn a_changed_activation_never_holds(at in 0_usize..240, flip in 1_u8..) {
            let (activation, committee) = signed();
            let mut bytes = encode(&activation);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(changed) = decode::<KeyActivation>(&bytes, bytes.len()) {
                prop_assert_ne!(&changed, &activation);
                prop_assert!(changed.verify(CHAIN, &committee).is_err());
            }
        }
    }
}
