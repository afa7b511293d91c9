//! A member's shares of its epoch's keys, kept by themselves (PROTOCOL §6, THREATS A21).
//!
//! What dealings are read with opens the former key's share too, for as long as anybody has the
//! dealings. So when that key is over, the secret for dealings goes, and these stay.

use std::sync::Arc;

use fairlane_encryption::{
    CertificateKeys, CertificateSecret, SuiteKey, SuiteSecret, certificate_key,
};
use fairlane_types::{Genesis, MemberId, decode, encode};

use crate::epoch_base::BaseError;
use crate::job::{FormerSharing, Sharing};

impl Sharing {
    /// This member's shares of the epoch's own keys, encoded: a secret.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        let certificates = self.certificates.as_ref();
        let certificate = certificates.map(|keys| keys.secret.as_ref());
        encode(&(self.share.as_ref(), certificate))
    }

    /// The keys of an epoch after the first, with the shares of them that a member
    /// [kept](Self::kept); of a former key it has none.
    ///
    /// # Errors
    /// [`BaseError`] when they are not its shares of these keys.
    pub fn of_kept(genesis: &Genesis, me: MemberId, bytes: &[u8]) -> Result<Self, BaseError> {
        let (share, certificate): (SuiteSecret, Option<CertificateSecret>) =
            decode(bytes, bytes.len())?;
        let params = &genesis.encryption;
        let key = SuiteKey::from_bytes(params.scheme, &params.public_key)?;
        share.belongs_to(&key)?;
        if share.member() != me {
            return Err(BaseError::OtherMember(share.member()));
        }
        let signed = certificate_key(genesis, None).map_err(|_| BaseError::OtherKey)?;
        let certificates = match (signed, certificate) {
            (None, None) => None,
            (Some(key), Some(secret)) if secret.member() == me => {
                secret.belongs_to(&key)?;
                let (key, secret) = (Arc::new(key), Arc::new(secret));
                Some(CertificateKeys { key, secret })
            }
            _ => return Err(BaseError::OtherKey),
        };
        let former = match &params.former {
            Some(former) => {
                let key = SuiteKey::from_bytes(params.scheme, &former.public_key)?;
                Some(FormerSharing::new(Arc::new(key), None))
            }
            None => None,
        };
        Ok(Self {
            key: Arc::new(key),
            share: Arc::new(share),
            certificates,
            former,
        })
    }
}
