//! What a genesis says about keys: the scheme, where the encryption key comes from, who
//! combines, and the key of certificates.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{KeyId, Millis, ReceiverBytes};

/// Where the encryption key comes from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// One party made the key and could have kept it: INSECURE, experiments only.
    InsecureDealer,
    /// The members make it over their own log; nobody ever holds it (PROTOCOL §6).
    Ceremony,
    /// The committee of the epoch before dealt it: on, as it was, or made afresh; then
    /// [`EncryptionParams::former`] is there.
    Reshared,
}

/// Committees of this size and more combine in shards, unless the genesis says otherwise.
pub const SHARDED_FROM: usize = 16;

/// Encryption scheme.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Shoup–Gennaro TDH2 over ristretto255.
    Tdh2,
    /// Baek–Zheng over BLS12-381.
    BaekZheng,
}

impl Scheme {
    /// First byte of its labels and ciphertexts.
    #[must_use]
    pub const fn suite(self) -> u8 {
        match self {
            Self::Tdh2 => crate::SUITE_TDH2,
            Self::BaekZheng => crate::SUITE_BAEK_ZHENG,
        }
    }

    /// Its name in genesis, API and command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tdh2 => "tdh2",
            Self::BaekZheng => "baek-zheng",
        }
    }

    /// The scheme of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tdh2, Self::BaekZheng]
            .into_iter()
            .find(|scheme| scheme.name() == name)
    }
}

/// The encryption key of the epoch before, where this epoch has a fresh one. Its orders are
/// opened for a while, then its shares are erased (PROTOCOL §6, THREATS A21).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerKey {
    /// Identity of the key.
    pub key_id: KeyId,
    /// The key with the verification keys of this epoch's members, in canonical encoding, as
    /// hex.
    #[serde(with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// Last finalized time at which an order that is sealed to it may be decrypted.
    pub until: Millis,
}

/// The threshold encryption key of an epoch: dealt, to be made by the members, or dealt on
/// by those of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionParams {
    /// Scheme.
    pub scheme: Scheme,
    /// Origin of the key.
    pub source: KeySource,
    /// Identity of a key that is there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Such a key with its verification keys in the scheme's canonical encoding, as hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// Unless a dealer made the key: the members' keys for dealings, in the order of their
    /// ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverBytes>,
    /// Who combines; not said, that follows from scheme and size: [`Genesis::sharded`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combining: Option<Combining>,
    /// The key of the epoch before, if this one is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerKey>,
}

/// Who combines the decryption shares of a block (ENCRYPTION 6.7).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Combining {
    /// Every member, all of it.
    AllToAll,
    /// Two members a slice, who tell the others.
    Sharded,
}

impl Combining {
    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllToAll => "all-to-all",
            Self::Sharded => "sharded",
        }
    }
}

impl EncryptionParams {
    /// A dealer's key.
    #[must_use]
    pub const fn dealt(scheme: Scheme, key_id: KeyId, public_key: Vec<u8>) -> Self {
        Self {
            scheme,
            source: KeySource::InsecureDealer,
            key_id: Some(key_id),
            public_key,
            receivers: Vec::new(),
            combining: None,
            former: None,
        }
    }

    /// A key that the members make once they run.
    #[must_use]
    pub const fn ceremony(scheme: Scheme, receivers: Vec<ReceiverBytes>) -> Self {
        Self {
            scheme,
            source: KeySource::Ceremony,
            key_id: None,
            public_key: Vec::new(),
            receivers,
            combining: None,
            former: None,
        }
    }

    /// What does not fit the source of the key.
    pub(crate) fn flaw(&self, members: usize, first: bool) -> Option<&'static str> {
        let sharded = self.combining == Some(Combining::Sharded);
        if sharded && self.scheme == Scheme::BaekZheng {
            return Some("scheme baek-zheng has no sharded combining");
        }
        if let Some(former) = &self.former {
            if self.source != KeySource::Reshared {
                return Some("only a key of a later epoch has encryption.former");
            }
            if Some(former.key_id) == self.key_id {
                return Some("encryption.former is the key itself");
            }
        }
        match self.source {
            KeySource::Reshared if first => Some("the first epoch has no key to go on with"),
            KeySource::InsecureDealer | KeySource::Ceremony if !first => {
                Some("a later epoch goes on with the key of the one before")
            }
            KeySource::Reshared if self.key_id.is_none() || self.receivers.len() != members => {
                Some("a key that was dealt on has encryption.key_id and encryption.receivers")
            }
            KeySource::InsecureDealer if self.key_id.is_none() => {
                Some("a dealt key needs encryption.key_id and encryption.public_key")
            }
            KeySource::InsecureDealer if !self.receivers.is_empty() => {
                Some("a dealt key has no encryption.receivers")
            }
            KeySource::Ceremony if self.key_id.is_some() || !self.public_key.is_empty() => {
                Some("before a ceremony there is no encryption.key_id or encryption.public_key")
            }
            KeySource::Ceremony if self.receivers.len() != members => {
                Some("a ceremony needs one key in encryption.receivers for each member")
            }
            KeySource::InsecureDealer | KeySource::Ceremony | KeySource::Reshared => None,
        }
    }
}

/// The threshold BLS key with which the committee attests the sequence (PROTOCOL §5).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateParams {
    /// Origin of the key.
    pub source: KeySource,
    /// A dealt key, with what verification keys follow from, in canonical encoding, as hex;
    /// empty before a ceremony.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// The root is attested once in so much finalized time, ms.
    #[serde(default = "attest_interval_ms")]
    pub attest_interval_ms: u64,
}

/// Default of [`CertificateParams::attest_interval_ms`].
pub(crate) const fn attest_interval_ms() -> u64 {
    100
}

impl CertificateParams {
    /// A dealer's key with the default interval.
    #[must_use]
    pub const fn dealt(public_key: Vec<u8>) -> Self {
        Self {
            source: KeySource::InsecureDealer,
            public_key,
            attest_interval_ms: attest_interval_ms(),
        }
    }

    /// A key that the members make with the encryption key, with the default interval.
    #[must_use]
    pub const fn ceremony() -> Self {
        Self {
            source: KeySource::Ceremony,
            public_key: Vec::new(),
            attest_interval_ms: attest_interval_ms(),
        }
    }

    /// What does not fit the source of the encryption key: both are made together.
    pub(crate) fn flaw(&self, encryption: KeySource) -> Option<&'static str> {
        match self.source {
            source if source != encryption => {
                Some("certificates.source must be that of the encryption key")
            }
            KeySource::Ceremony if !self.public_key.is_empty() => {
                Some("before a ceremony there is no certificates.public_key")
            }
            KeySource::Reshared if self.public_key.is_empty() => {
                Some("a key that was dealt on is in certificates.public_key")
            }
            KeySource::InsecureDealer | KeySource::Ceremony | KeySource::Reshared => None,
        }
    }
}
