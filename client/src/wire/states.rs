//! The committee's one signature on a state of the execution.

use fairlane_encryption::{StateAttestation, StateRoots};
use fairlane_types::{Digest, Epoch, Height};
use serde::{Deserialize, Serialize};

use super::attestations::certificate;
use super::blocks::WireError;
use super::execution::AccountBody;
use super::number::dec;

/// `GET /v1/states/{height|latest}`: the first attested state at or above a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateAttestationBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// The height.
    #[serde(with = "dec")]
    pub height: u64,
    /// Digest of the execution's genesis.
    pub genesis: Digest,
    /// State root after the height.
    pub state_root: Digest,
    /// Root over what it did.
    pub receipts_root: Digest,
    /// BLS signature in G2, compressed, of 96 bytes.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
}

/// `GET /v1/account/{key}/attested`: an account, and the state that it is proven under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedAccountBody {
    /// The account at the attested height.
    pub account: AccountBody,
    /// The committee's word for the state there.
    pub state: StateAttestationBody,
}

impl StateAttestationBody {
    /// From the parts.
    #[must_use]
    pub fn new(chain: u64, attested: &StateAttestation) -> Self {
        Self {
            chain,
            epoch: attested.epoch.0,
            height: attested.height.0,
            genesis: attested.roots.genesis,
            state_root: attested.roots.state_root,
            receipts_root: attested.roots.receipts_root,
            certificate: attested.certificate.0.to_vec(),
        }
    }
}

impl TryFrom<StateAttestationBody> for StateAttestation {
    type Error = WireError;
    fn try_from(body: StateAttestationBody) -> Result<Self, WireError> {
        let certificate = certificate(body.certificate)?;
        Ok(Self {
            epoch: Epoch(body.epoch),
            height: Height(body.height),
            roots: StateRoots {
                genesis: body.genesis,
                state_root: body.state_root,
                receipts_root: body.receipts_root,
            },
            certificate,
        })
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{CERTIFICATE_BYTES, ThresholdCertificate};

    use super::*;

    #[test]
    fn it_reads_back_and_another_length_is_refused() {
        let digest = |n| Digest([n; 32]);
        let attested = StateAttestation {
            epoch: Epoch(1),
            height: Height(u64::MAX),
            roots: StateRoots {
                genesis: digest(1),
                state_root: digest(2),
                receipts_root: digest(3),
            },
            certificate: ThresholdCertificate([8; CERTIFICATE_BYTES]),
        };
        let body = StateAttestationBody::new(3, &attested);
        let json = serde_json::to_string(&body).unwrap();
        let read: StateAttestationBody = serde_json::from_str(&json).unwrap();
        assert_eq!(read, body);
        assert_eq!(StateAttestation::try_from(read), Ok(attested));
        let short = StateAttestationBody {
            certificate: vec![8; 95],
            ..body
        };
        assert!(StateAttestation::try_from(short).is_err());
    }
}
