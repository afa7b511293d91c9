//! What comes of a ceremony.

use crate::{CertificateKey, CertificateSecret, SuiteKey, SuiteSecret};

/// The public keys of one committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeKeys {
    /// What orders are encrypted to.
    pub encryption: SuiteKey,
    /// What the sequence is attested with, on a chain with certificates.
    pub certificate: Option<CertificateKey>,
    /// The encryption key before this one, dealt on with the making of this one.
    pub former: Option<SuiteKey>,
}

/// One member's shares of the keys of its committee.
#[derive(Debug)]
pub struct CommitteeShares {
    /// Of the encryption key.
    pub encryption: SuiteSecret,
    /// Of the certificate key, on a chain with certificates.
    pub certificate: Option<CertificateSecret>,
    /// Of the encryption key before this one.
    pub former: Option<SuiteSecret>,
}
