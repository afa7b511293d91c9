//! The beacon of a block: what broke its ties.

use fairlane_encryption::Beacon;
use fairlane_types::{BlockId, Digest, Epoch, Height};
use serde::{Deserialize, Serialize};

use super::attestations::certificate;
use super::blocks::WireError;
use super::number::dec;

/// `GET /v1/beacons/{height}`: the committee's signature on a final block in which something
/// was tied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeaconBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Height of the block.
    #[serde(with = "dec")]
    pub height: u64,
    /// The final block.
    pub block: BlockId,
    /// BLS signature in G2, compressed, of 96 bytes.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// What ties were broken with: a hash of the signature.
    pub value: Digest,
}

impl BeaconBody {
    /// From the parts.
    #[must_use]
    pub fn new(chain: u64, beacon: &Beacon) -> Self {
        Self {
            chain,
            epoch: beacon.epoch.0,
            height: beacon.height.0,
            block: beacon.block,
            certificate: beacon.certificate.0.to_vec(),
            value: beacon.value(),
        }
    }
}

impl TryFrom<BeaconBody> for Beacon {
    type Error = WireError;
    fn try_from(body: BeaconBody) -> Result<Self, WireError> {
        let certificate = certificate(body.certificate)?;
        let beacon = Self {
            epoch: Epoch(body.epoch),
            height: Height(body.height),
            block: body.block,
            certificate,
        };
        if beacon.value() != body.value {
            return Err(WireError(
                "the beacon is not the hash of its signature".to_owned(),
            ));
        }
        Ok(beacon)
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{CERTIFICATE_BYTES, ThresholdCertificate};

    use super::*;

    #[test]
    fn it_reads_back_and_another_value_is_refused() {
        let beacon = Beacon {
            epoch: Epoch(1),
            height: Height(u64::MAX),
            block: BlockId::default(),
            certificate: ThresholdCertificate([8; CERTIFICATE_BYTES]),
        };
        let body = BeaconBody::new(3, &beacon);
        let json = serde_json::to_string(&body).unwrap();
        let read: BeaconBody = serde_json::from_str(&json).unwrap();
        assert_eq!(read, body);
        assert_eq!(Beacon::try_from(read), Ok(beacon));
        let other = BeaconBody {
            value: Digest::default(),
            ..body.clone()
        };
        assert!(Beacon::try_from(other).is_err());
        let short = BeaconBody {
            certificate: vec![8; 95],
            ..body
        };
        assert!(Beacon::try_from(short).is_err());
    }
}
