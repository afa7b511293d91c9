//! Certificates and evidence: what convinces without the member that serves it.

use fairlane_types::{BlockHeader, Certificate, Digest, Height};
use serde::{Deserialize, Serialize};

use super::blocks::WireError;
use super::number::dec;

/// `GET /v1/evidence`: proofs of misbehaviour that a member keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBody {
    /// Hash of the genesis that the accused are members of.
    pub genesis: Digest,
    /// As in [`EpochBody::activation`](super::EpochBody::activation).
    #[serde(default, with = "hex::serde")]
    pub activation: Vec<u8>,
    /// At most 64, one an offence.
    pub evidence: Vec<EvidenceRecord>,
}

/// One proof; it convicts by itself, whoever hands it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRecord {
    /// `contradiction`, `lane_fork` or `false_shares`.
    pub kind: String,
    /// Member accused.
    pub accused: u8,
    /// The proof, borsh.
    #[serde(with = "hex::serde")]
    pub proof: Vec<u8>,
}

/// `GET /v1/certs/{height}`: q commit signatures on a block, and the headers down from it
/// to the height asked for (a block may be final through a descendant).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertBody {
    /// The height asked for.
    #[serde(with = "dec")]
    pub height: u64,
    /// The certificate, borsh.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// Headers from the certified block down to the one asked for, borsh.
    pub headers: Vec<String>,
    /// Members that signed.
    pub signers: Vec<u8>,
}

impl CertBody {
    /// From the parts.
    #[must_use]
    pub fn new(height: Height, certificate: &Certificate, headers: &[BlockHeader]) -> Self {
        Self {
            height: height.0,
            certificate: fairlane_types::encode(certificate),
            headers: headers
                .iter()
                .map(|header| hex::encode(fairlane_types::encode(header)))
                .collect(),
            signers: certificate.signers.iter().map(|member| member.0).collect(),
        }
    }

    /// The parts.
    ///
    /// # Errors
    /// [`WireError`] when they do not decode.
    pub fn parts(&self) -> Result<(Certificate, Vec<BlockHeader>), WireError> {
        let wrong = |error: String| WireError(format!("certificate of {}: {error}", self.height));
        let certificate: Certificate = fairlane_types::decode(&self.certificate, 64 << 10)
            .map_err(|e| wrong(e.to_string()))?;
        let headers = self
            .headers
            .iter()
            .map(|text| {
                let bytes = hex::decode(text).map_err(|e| wrong(e.to_string()))?;
                fairlane_types::decode(&bytes, 4 << 10).map_err(|e| wrong(e.to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok((certificate, headers))
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{BlockId, CertificateKind, Epoch, Signature, SignerSet, View};

    use super::*;

    #[test]
    fn certificates_read_back() {
        let certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: Epoch(0),
            view: View(1),
            height: Height(1),
            block: BlockId::default(),
            signers: SignerSet(0b111),
            dirty: SignerSet(0),
            signatures: vec![Signature::default(); 3],
        };
        let body = CertBody::new(Height(1), &certificate, &[]);
        assert_eq!(body.signers, [0, 1, 2]);
        assert_eq!(body.parts(), Ok((certificate, vec![])));
        let bad = CertBody {
            certificate: vec![1],
            ..body
        };
        assert!(bad.parts().is_err());
    }
}
