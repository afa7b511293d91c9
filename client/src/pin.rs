//! What a client trusts: the genesis file. Committee and encryption key follow from it, so
//! that no member can serve false ones.

use std::path::Path;

use fairlane_encryption::{CERTIFICATE_KEY_BYTES, CertificateKeyError, SuiteKey, certificate_key};
use fairlane_types::{
    Committee, DecodeError, Digest, GENESIS_BYTES_MAX, Genesis, GenesisError, Root,
};

/// A checked genesis.
#[derive(Clone, Debug)]
pub struct Pin {
    genesis: Genesis,
    hash: Digest,
    committee: Committee,
    key: SuiteKey,
    certificate_key: Option<[u8; CERTIFICATE_KEY_BYTES]>,
}

/// Why a genesis file cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Over the limit.
    #[error("a genesis file of {0} bytes is over the limit of {GENESIS_BYTES_MAX}")]
    TooLong(usize),
    /// Not a genesis file.
    #[error("not a genesis file: {0}")]
    Json(#[from] serde_json::Error),
    /// A parameter is wrong.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The encryption key does not decode.
    #[error("encryption.public_key: {0}")]
    Key(#[from] DecodeError),
    /// The key is not the one named, or is for another committee size.
    #[error("encryption.public_key is not the key of encryption.key_id for these members")]
    KeyMismatch,
    /// The certificate key cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateKeyError),
    /// Not the genesis asked for.
    #[error("genesis hash is {got}, expected {want}")]
    Hash {
        /// The file's.
        got: Digest,
        /// The one asked for.
        want: Digest,
    },
}

impl Pin {
    /// Checks a genesis.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn new(genesis: Genesis) -> Result<Self, PinError> {
        let committee = genesis.validate()?;
        let (scheme, bytes) = (genesis.encryption.scheme, &genesis.encryption.public_key);
        let key = SuiteKey::from_bytes(scheme, bytes)?;
        if key.id() != genesis.encryption.key_id || key.n() != committee.n() {
            return Err(PinError::KeyMismatch);
        }
        let certificates = certificate_key(&genesis)?;
        Ok(Self {
            hash: genesis.hash(),
            genesis,
            committee,
            key,
            certificate_key: certificates.map(|key| *key.public_key()),
        })
    }

    /// Parses and checks a genesis file's text.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PinError> {
        if bytes.len() > GENESIS_BYTES_MAX {
            return Err(PinError::TooLong(bytes.len()));
        }
        Self::new(serde_json::from_slice(bytes)?)
    }

    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(path: &Path) -> Result<Self, PinError> {
        let bytes = std::fs::read(path).map_err(|error| PinError::Read {
            path: path.display().to_string(),
            error,
        })?;
        Self::from_json(&bytes)
    }

    /// Refuses any other genesis than the one with this hash.
    ///
    /// # Errors
    /// [`PinError::Hash`].
    pub fn expect(self, want: Digest) -> Result<Self, PinError> {
        if self.hash == want {
            Ok(self)
        } else {
            Err(PinError::Hash {
                got: self.hash,
                want,
            })
        }
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }
    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }
    /// The committee.
    #[must_use]
    pub fn committee(&self) -> &Committee {
        &self.committee
    }
    /// The encryption key.
    #[must_use]
    pub fn key(&self) -> &SuiteKey {
        &self.key
    }
    /// The key of attestations, on a chain that has one.
    #[must_use]
    pub const fn certificate_key(&self) -> Option<&[u8; CERTIFICATE_KEY_BYTES]> {
        self.certificate_key.as_ref()
    }
    /// The root before the first block.
    #[must_use]
    pub fn first_parent(&self) -> Root {
        Root::default()
    }
}
