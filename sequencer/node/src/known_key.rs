//! The encryption key of a chain: from the genesis, or from the members' word for the one
//! they made.

use fairlane_encryption::SuiteKey;
use fairlane_replica::{StoreError, Table, meta};
use fairlane_types::{Genesis, KeyActivation, decode};

use crate::home::encryption_key;
use crate::store::StoreReader;

/// A key, and what vouches for it.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key.
    pub key: SuiteKey,
    /// A quorum's word for it; none where the genesis names the key.
    pub activation: Option<KeyActivation>,
}

impl KnownKey {
    /// The key as far as genesis and disk know it.
    ///
    /// # Errors
    /// [`StoreError`]; `Corrupt` when what was written there is no key.
    pub fn read(genesis: &Genesis, reader: &StoreReader) -> Result<Option<Self>, StoreError> {
        let corrupt = |error: String| StoreError::Corrupt(format!("encryption key: {error}"));
        if let Some(key) = encryption_key(genesis).map_err(corrupt)? {
            let activation = None;
            return Ok(Some(Self { key, activation }));
        }
        let Some(bytes) = reader.get(Table::Meta, meta::ACTIVATION)? else {
            return Ok(None);
        };
        let activation: KeyActivation =
            decode(&bytes, bytes.len()).map_err(|error| corrupt(error.to_string()))?;
        let key = SuiteKey::from_bytes(genesis.encryption.scheme, &activation.public_key)
            .map_err(|error| corrupt(error.to_string()))?;
        let activation = Some(activation);
        Ok(Some(Self { key, activation }))
    }

    /// The members' word in borsh; empty where the genesis names the key.
    #[must_use]
    pub fn activation_bytes(&self) -> Vec<u8> {
        self.activation
            .as_ref()
            .map(fairlane_types::encode)
            .unwrap_or_default()
    }
}
