//! What a light client, or a contract on another chain, checks instead of a committee's
//! many signatures: the root of the sequence at a height under one threshold signature
//! (PROTOCOL §5). The chained root covers every block below it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    ChainId, Epoch, Genesis, Handover, HandoverError, Height, KeyActivation, KeySource, Root,
};

use crate::{
    CERTIFICATE_KEY_BYTES, CertificateKey, CertificateSecret, Subject, ThresholdCertificate,
};

/// Length of an encoded attestation, in bytes.
pub const ATTESTATION_BYTES: usize = 8 + 8 + 32 + crate::CERTIFICATE_BYTES;

/// The committee's word for the root of the sequence up to a height. 144 bytes encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    /// Epoch.
    pub epoch: Epoch,
    /// Last height that the root covers.
    pub height: Height,
    /// The chained root there.
    pub root: Root,
    /// The signature.
    pub certificate: ThresholdCertificate,
}

impl Attestation {
    /// What is signed.
    #[must_use]
    pub const fn subject(&self, chain: ChainId) -> Subject {
        Subject::Attest {
            chain,
            epoch: self.epoch,
            height: self.height,
            root: self.root,
        }
    }

    /// Whether the committee that holds `key` attested this root on `chain`.
    #[must_use]
    pub fn verify(&self, key: &[u8; CERTIFICATE_KEY_BYTES], chain: ChainId) -> bool {
        self.certificate.verify(key, &self.subject(chain))
    }
}

/// Why the certificate key of a chain cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateKeyError {
    /// It does not decode.
    #[error("the certificate key: {0}")]
    Decode(#[from] fairlane_types::DecodeError),
    /// It is for another number of members.
    #[error("the certificate key is for {got} members, the committee has {want}")]
    Members {
        /// Of the key.
        got: usize,
        /// Of the committee.
        want: usize,
    },
    /// An epoch goes on with another one.
    #[error("the certificate key is not the one by which the chain is known")]
    Changed,
}

/// The certificate key of a chain: from its genesis where that has a dealt one, else from
/// the members' word, which is taken as verified. `None` on a chain without certificates, and
/// while the members are making the key.
///
/// # Errors
/// [`CertificateKeyError`].
pub fn certificate_key(
    genesis: &Genesis,
    activation: Option<&KeyActivation>,
) -> Result<Option<CertificateKey>, CertificateKeyError> {
    let bytes = match (&genesis.certificates, activation) {
        (None, _) => return Ok(None),
        (Some(params), _) if params.source != KeySource::Ceremony => &params.public_key,
        (Some(_), None) => return Ok(None),
        (Some(_), Some(activation)) => &activation.keys.certificate,
    };
    let key: CertificateKey = fairlane_types::decode(bytes, crate::SUITE_KEY_BYTES_MAX)?;
    let (got, want) = (key.n(), genesis.members.len());
    if got == want {
        Ok(Some(key))
    } else {
        Err(CertificateKeyError::Members { got, want })
    }
}

/// Why a hand-over is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnwardError {
    /// It does not lead on from the epoch before.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// It leads to another certificate key.
    #[error(transparent)]
    Certificates(#[from] CertificateKeyError),
}

/// Whether a hand-over leads on from the epoch of `before`: a quorum of that committee signed
/// it, and the certificate key is still the one by which the chain is known, which never changes
/// (decision 54). So those who know it are not led astray by a committee that left, though
/// it can sign another hand-over (A21). Where the key of the epoch before came of a ceremony, its
/// genesis does not have it: `known` is it, or nothing is compared.
///
/// # Errors
/// [`OnwardError`].
pub fn leads_on(
    handover: &Handover,
    before: &Genesis,
    known: Option<&[u8; CERTIFICATE_KEY_BYTES]>,
) -> Result<(), OnwardError> {
    handover.verify(before)?;
    Ok(keeps_certificate_key(before, known, &handover.genesis)?)
}

fn keeps_certificate_key(
    before: &Genesis,
    known: Option<&[u8; CERTIFICATE_KEY_BYTES]>,
    next: &Genesis,
) -> Result<(), CertificateKeyError> {
    let was = certificate_key(before, None)?.map(|key| *key.public_key());
    let was = was.or(known.copied());
    let is = certificate_key(next, None)?.map(|key| *key.public_key());
    let goes_on = before.certificates.is_some() == next.certificates.is_some();
    if goes_on && (was.is_none() || was == is) {
        Ok(())
    } else {
        Err(CertificateKeyError::Changed)
    }
}

/// The public certificate key and this member's share of it.
#[derive(Clone, Debug)]
pub struct CertificateKeys {
    /// The key.
    pub key: std::sync::Arc<CertificateKey>,
    /// The share.
    pub secret: std::sync::Arc<CertificateSecret>,
}
