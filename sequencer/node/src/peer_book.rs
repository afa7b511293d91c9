//! `peers.toml`: addresses of machines by identity key. A committee that changes has other
//! member ids in every epoch; keys stay. Written when a change is approved or a home is made
//! to join, read at every start, over `[peers]` of `config.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fairlane_types::{Committee, Genesis, MemberId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::home::{Home, HomeError, replace};

/// Largest file that is read, in bytes.
const BOOK_BYTES_MAX: u64 = 1 << 20;

/// Where a machine listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddress {
    /// Links, host and port (UDP).
    pub quic: String,
    /// API, `http://host:port`: from there a machine that is behind fetches the next epoch.
    pub api: String,
}

/// Addresses by identity key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerBook(pub BTreeMap<PublicKey, PeerAddress>);

impl PeerBook {
    /// The file of a home.
    #[must_use]
    pub fn path(home: &Home) -> PathBuf {
        home.root().join("peers.toml")
    }

    /// Reads a home's book; empty where there is none.
    ///
    /// # Errors
    /// [`HomeError`] with file and line.
    pub fn load(home: &Home) -> Result<Self, HomeError> {
        let path = Self::path(home);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(HomeError::io(&path, &error)),
            Ok(found) if found.len() > BOOK_BYTES_MAX => {
                let reason = format!("longer than {BOOK_BYTES_MAX} bytes");
                return Err(HomeError::content(&path, reason));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|e| HomeError::io(&path, &e))?;
        toml::from_str(&text).map_err(|error| HomeError::content(&path, error.message()))
    }

    /// Adds addresses to a home's book; known keys get the new ones.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn add(
        home: &Home,
        addresses: impl IntoIterator<Item = (PublicKey, PeerAddress)>,
    ) -> Result<(), HomeError> {
        let path = Self::path(home);
        let mut book = Self::load(home)?;
        book.0.extend(addresses);
        let text = toml::to_string(&book).map_err(|e| HomeError::content(&path, e))?;
        replace(&path, text.as_bytes())
    }

    /// Where the members of a later epoch listen: as the book says, or as `[peers]` of
    /// `config.toml` says of the members of the first epoch. Who has no address is not dialled.
    #[must_use]
    pub fn members(
        &self,
        config: &Config,
        origin: &Genesis,
        committee: &Committee,
    ) -> BTreeMap<MemberId, String> {
        let first = |key: &PublicKey| {
            let id = origin.members.iter().position(|member| member == key)?;
            config.peers.get(&id.to_string()).cloned()
        };
        let found = committee.ids().filter_map(|id| {
            let key = committee.key(id)?;
            let known = self.0.get(key).map(|address| address.quic.clone());
            Some((id, known.or_else(|| first(key))?))
        });
        found.collect()
    }

    /// Where other machines' APIs are.
    pub fn apis(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|address| address.api.as_str())
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::SecretKey;

    use super::*;

    fn address(port: u16) -> PeerAddress {
        PeerAddress {
            quic: format!("127.0.0.1:{port}"),
            api: format!("http://127.0.0.1:{}", port + 1),
        }
    }

    #[test]
    fn what_is_added_is_read_again_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path().join("home")).unwrap();
        assert_eq!(PeerBook::load(&home), Ok(PeerBook::default()));
        let [a, b] = [1, 2].map(|seed| SecretKey::from_seed([seed; 32]).public());
        PeerBook::add(&home, [(a, address(10)), (b, address(20))]).unwrap();
        PeerBook::add(&home, [(a, address(30))]).unwrap();
        let book = PeerBook::load(&home).unwrap();
        assert_eq!(book.0, BTreeMap::from([(a, address(30)), (b, address(20))]));
        std::fs::write(PeerBook::path(&home), "x = 1").unwrap();
        let error = PeerBook::load(&home).unwrap_err().to_string();
        assert!(error.contains("peers.toml"), "{error}");
    }
}
