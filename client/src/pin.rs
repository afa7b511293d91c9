//! What a client trusts: the genesis file. Committee and keys follow from it, so that no
//! member can serve false ones. Where the members made the keys after the genesis, they come
//! with the signatures of a quorum of them.

use std::collections::BTreeMap;
use std::path::Path;

use fairlane_encryption::{
    CERTIFICATE_KEY_BYTES, CertificateKeyError, OnwardError, SuiteKey, certificate_key, leads_on,
};
use fairlane_types::{
    CertificateError, Committee, DecodeError, Digest, GENESIS_BYTES_MAX, Genesis, GenesisError,
    Handover, HandoverError, KeyActivation, KeyId, KeySource, Root,
};

/// A checked genesis.
#[derive(Clone, Debug)]
pub struct Pin {
    genesis: Genesis,
    hash: Digest,
    committee: Committee,
    key: SuiteKey,
    /// Keys of earlier epochs, as far as they were seen: what was sealed to them is checked
    /// with them.
    past: BTreeMap<KeyId, SuiteKey>,
    activation: Option<KeyActivation>,
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
    /// The members made the key after the genesis, and nothing tells which it is.
    #[error(
        "the encryption key of this chain was made by its members: it is not in the genesis, and \
         their signatures over it are missing"
    )]
    NoKey,
    /// The committee's word for its keys does not hold.
    #[error("the activation of the committee's keys: {0}")]
    Activation(#[from] CertificateError),
    /// The certificate key cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateKeyError),
    /// A hand-over to the next committee that does not hold.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Not the genesis asked for.
    #[error("genesis hash is {got}, expected {want}")]
    Hash {
        /// The file's.
        got: Digest,
        /// The one asked for.
        want: Digest,
    },
}

impl From<OnwardError> for PinError {
    fn from(error: OnwardError) -> Self {
        match error {
            OnwardError::Handover(error) => error.into(),
            OnwardError::Certificates(error) => error.into(),
        }
    }
}

impl Pin {
    /// Checks a genesis that names its encryption key.
    ///
    /// # Errors
    /// [`PinError`]; `NoKey` where the members make the key.
    pub fn new(genesis: Genesis) -> Result<Self, PinError> {
        Self::activated(genesis, None)
    }

    /// Checks a genesis, with the committee's word for its key where the members make it.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn activated(
        genesis: Genesis,
        activation: Option<KeyActivation>,
    ) -> Result<Self, PinError> {
        let committee = genesis.validate()?;
        let params = &genesis.encryption;
        let activation = activation.filter(|_| params.source == KeySource::Ceremony);
        let key = match (&activation, params.key_id) {
            (_, Some(id)) => {
                let key = SuiteKey::from_bytes(params.scheme, &params.public_key)?;
                if key.id() != id {
                    return Err(PinError::KeyMismatch);
                }
                key
            }
            (Some(activation), None) if activation.epoch == genesis.epoch() => {
                activation.verify(genesis.chain, &committee)?;
                SuiteKey::from_bytes(params.scheme, &activation.keys.encryption)?
            }
            (_, None) => return Err(PinError::NoKey),
        };
        if key.n() != committee.n() {
            return Err(PinError::KeyMismatch);
        }
        let certificates = certificate_key(&genesis, activation.as_ref())?;
        let mut past = BTreeMap::new();
        if let Some(former) = former_key(&genesis)? {
            past.insert(former.id(), former);
        }
        Ok(Self {
            past,
            hash: genesis.origin(),
            genesis,
            committee,
            key,
            activation,
            certificate_key: certificates.map(|key| *key.public_key()),
        })
    }

    /// The pin of the epoch that a hand-over begins; [`hash`](Self::hash) stays the one of the
    /// first epoch.
    ///
    /// # Errors
    /// [`PinError::Handover`] when the committee of this epoch did not hand over so.
    pub fn handed_over(&self, handover: Handover) -> Result<Self, PinError> {
        leads_on(&handover, &self.genesis, self.certificate_key.as_ref())?;
        let mut next = Self::activated(handover.genesis, None)?;
        let own = (self.key.id(), self.key.clone());
        let known = self.past.iter().map(|(id, key)| (*id, key.clone()));
        for (id, key) in known.chain([own]).filter(|(id, _)| *id != next.key.id()) {
            // The former key is there already, with the verification keys of this epoch.
            next.past.entry(id).or_insert(key);
        }
        Ok(next)
    }

    /// Adds the keys of an earlier epoch, whose genesis led to this one.
    ///
    /// # Errors
    /// [`PinError`] when a key does not decode.
    pub fn remember(&mut self, genesis: &Genesis) -> Result<(), PinError> {
        let params = &genesis.encryption;
        let own = params
            .key_id
            .map(|_| SuiteKey::from_bytes(params.scheme, &params.public_key));
        for key in own.transpose()?.into_iter().chain(former_key(genesis)?) {
            if key.id() != self.key.id() {
                self.past.entry(key.id()).or_insert(key);
            }
        }
        Ok(())
    }

    /// Parses a genesis file's text.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn parse(bytes: &[u8]) -> Result<Genesis, PinError> {
        if bytes.len() > GENESIS_BYTES_MAX {
            return Err(PinError::TooLong(bytes.len()));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Parses and checks a genesis file's text.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PinError> {
        Self::new(Self::parse(bytes)?)
    }

    /// Reads a genesis file; nothing is checked yet.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read_genesis(path: &Path) -> Result<Genesis, PinError> {
        let bytes = std::fs::read(path).map_err(|error| PinError::Read {
            path: path.display().to_string(),
            error,
        })?;
        Self::parse(&bytes)
    }

    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(path: &Path) -> Result<Self, PinError> {
        Self::new(Self::read_genesis(path)?)
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

    /// The genesis of the epoch.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }
    /// Hash of the genesis of the first epoch.
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
    /// The key of this id: that of the epoch, or of an earlier one.
    #[must_use]
    pub fn key_of(&self, id: &KeyId) -> Option<&SuiteKey> {
        match self.key.id() == *id {
            true => Some(&self.key),
            false => self.past.get(id),
        }
    }
    /// The keys that shares of the epoch are of: its own, and the one before if that is still
    /// opened with.
    #[must_use]
    pub fn share_keys(&self) -> Vec<&SuiteKey> {
        let former = self.genesis.former_key();
        let former = former.and_then(|(id, _)| self.past.get(&id));
        core::iter::once(&self.key).chain(former).collect()
    }
    /// The committee's word for its keys, where its members made them.
    #[must_use]
    pub const fn activation(&self) -> Option<&KeyActivation> {
        self.activation.as_ref()
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

/// The former key that a genesis names, checked against its id and the committee.
fn former_key(genesis: &Genesis) -> Result<Option<SuiteKey>, PinError> {
    let params = &genesis.encryption;
    let Some(former) = &params.former else {
        return Ok(None);
    };
    let key = SuiteKey::from_bytes(params.scheme, &former.public_key)?;
    if key.id() != former.key_id || key.n() != genesis.members.len() {
        return Err(PinError::KeyMismatch);
    }
    Ok(Some(key))
}
