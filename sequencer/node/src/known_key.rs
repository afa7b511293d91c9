//! The keys of a chain: from the genesis, or from the members' word for the ones they made.

use fairlane_encryption::{CERTIFICATE_KEY_BYTES, SuiteKey, certificate_key};
use fairlane_replica::{StoreError, Table, meta};
use fairlane_types::{Genesis, KeyActivation, decode};

use crate::home::encryption_key;
use crate::store::StoreReader;

/// A chain's keys, and what vouches for them.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The encryption key.
    pub key: SuiteKey,
    /// The public key of certificates, on a chain that has one.
    pub certificate: Option<[u8; CERTIFICATE_KEY_BYTES]>,
    /// A quorum's word for them; none where the genesis names the keys.
    pub activation: Option<KeyActivation>,
}

impl KnownKey {
    /// The keys as far as genesis and disk know them.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when what was written there is no key.
    pub fn read(genesis: &Genesis, reader: &StoreReader) -> Result<Option<Self>, StoreError> {
        let corrupt = |error: String| StoreError::Corrupt(format!("keys of the chain: {error}"));
        let with = |key: SuiteKey, activation: Option<KeyActivation>| {
            let certificate = certificate_key(genesis, activation.as_ref());
            let certificate = certificate.map_err(|error| corrupt(error.to_string()))?;
            Ok(Some(Self {
                key,
                certificate: certificate.map(|key| *key.public_key()),
                activation,
            }))
        };
        if let Some(key) = encryption_key(genesis).map_err(corrupt)? {
            return with(key, None);
        }
        let Some(bytes) = reader.get(Table::Meta, meta::ACTIVATION)? else {
            return Ok(None);
        };
        let activation: KeyActivation =
            decode(&bytes, bytes.len()).map_err(|error| corrupt(error.to_string()))?;
        let key = SuiteKey::from_bytes(genesis.encryption.scheme, &activation.keys.encryption)
            .map_err(|error| corrupt(error.to_string()))?;
        with(key, Some(activation))
    }

    /// The members' word in borsh; empty where the genesis names the keys.
    #[must_use]
    pub fn activation_bytes(&self) -> Vec<u8> {
        self.activation
            .as_ref()
            .map(fairlane_types::encode)
            .unwrap_or_default()
    }
}
