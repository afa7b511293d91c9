//! The committee's one signature on the root of the sequence.

use fairlane_encryption::{Attestation, CERTIFICATE_BYTES, ThresholdCertificate};
use fairlane_types::{Epoch, Height, Root};
use serde::{Deserialize, Serialize};

use super::blocks::WireError;
use super::number::dec;

/// `GET /v1/attestations/{height|latest}`: the first attestation at or above a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Last height that the root covers.
    #[serde(with = "dec")]
    pub height: u64,
    /// The root there.
    pub root: Root,
    /// BLS signature in G2, compressed, of 96 bytes.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
}

impl AttestationBody {
    /// From the parts.
    #[must_use]
    pub fn new(chain: u64, attestation: &Attestation) -> Self {
        Self {
            chain,
            epoch: attestation.epoch.0,
            height: attestation.height.0,
            root: attestation.root,
            certificate: attestation.certificate.0.to_vec(),
        }
    }
}

/// A certificate from its bytes.
pub(super) fn certificate(bytes: Vec<u8>) -> Result<ThresholdCertificate, WireError> {
    let got = bytes.len();
    let bytes = <[u8; CERTIFICATE_BYTES]>::try_from(bytes);
    bytes.map(ThresholdCertificate).map_err(|_| {
        WireError(format!(
            "a certificate has {CERTIFICATE_BYTES} bytes, not {got}"
        ))
    })
}

impl TryFrom<AttestationBody> for Attestation {
    type Error = WireError;
    fn try_from(body: AttestationBody) -> Result<Self, WireError> {
        let certificate = certificate(body.certificate)?;
        Ok(Self {
            epoch: Epoch(body.epoch),
            height: Height(body.height),
            root: body.root,
            certificate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_another_length_is_refused() {
        let attestation = Attestation {
            epoch: Epoch(1),
            height: Height(u64::MAX),
            root: Root::default(),
            certificate: ThresholdCertificate([8; CERTIFICATE_BYTES]),
        };
        let body = AttestationBody::new(3, &attestation);
        let json = serde_json::to_string(&body).unwrap();
        let read: AttestationBody = serde_json::from_str(&json).unwrap();
        assert_eq!(read, body);
        assert_eq!(Attestation::try_from(read), Ok(attestation));
        let short = AttestationBody {
            certificate: vec![8; 95],
            ..body
        };
        assert!(Attestation::try_from(short).is_err());
    }
}
