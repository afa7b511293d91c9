//! `config.toml`: where this node listens, where its peers are, and limits of its own.
//! Nothing here is consensus; that is in the genesis.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use fairlane_types::{Committee, MemberId, NextCommittee, NextMember, PublicKey};
use serde::{Deserialize, Serialize};

use crate::api::{ApiLimits, CONNECTIONS_EACH_MAX, CONNECTIONS_MAX, STREAMS_EACH_MAX, STREAMS_MAX};
use crate::home::{Home, HomeError};
use crate::oracle::OracleConfig;
use crate::store::{DISK_RESERVE_BYTES, DISK_RESERVE_BYTES_MIN};

/// Largest configuration file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// UDP address for the other members.
    pub listen_quic: SocketAddr,
    /// TCP address for traders and consumers.
    pub listen_api: SocketAddr,
    /// TCP address for operators; loopback only unless it is guarded otherwise.
    pub listen_ops: SocketAddr,
    /// Log filter.
    #[serde(default = "default_log")]
    pub log: String,
    /// Host and port of every other member, by its id in the first epoch; in later ones, which
    /// bring addresses along, by its identity key where another one counts here.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
    /// APIs of other machines: from there a home that is behind, or is to join, learns of the
    /// next epoch. Those of the present committee come on top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<String>,
    /// The database.
    #[serde(default)]
    pub store: StoreConfig,
    /// The public port.
    #[serde(default, skip_serializing_if = "ApiConfig::is_default")]
    pub api: ApiConfig,
    /// Where prices come from, if this member observes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleConfig>,
}

/// Limits of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Space on the disk that is never used, MiB.
    pub reserve_mb: u64,
    /// Keeps the whole history instead of what genesis asks members to keep.
    pub archive: bool,
}

/// Limits of the public port. Behind a proxy all clients have its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Most open connections.
    pub connections_max: usize,
    /// Most from one address.
    pub connections_each_max: usize,
    /// Most streams at a time.
    pub streams_max: usize,
    /// Most to one address.
    pub streams_each_max: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_each_max: CONNECTIONS_EACH_MAX,
            streams_max: STREAMS_MAX,
            streams_each_max: STREAMS_EACH_MAX,
        }
    }
}

impl ApiConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// All limits of the public port, of which `others` has the rest.
    #[must_use]
    pub fn limits(&self, others: ApiLimits) -> ApiLimits {
        ApiLimits {
            connections_max: self.connections_max,
            connections_each_max: self.connections_each_max,
            streams_max: self.streams_max,
            streams_each_max: self.streams_each_max,
            ..others
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            reserve_mb: DISK_RESERVE_BYTES >> 20,
            archive: false,
        }
    }
}

fn default_log() -> String {
    "info".to_owned()
}

/// What is set outside the file: by flags, then by `FAIRLANE_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `FAIRLANE_LISTEN_QUIC`.
    pub listen_quic: Option<SocketAddr>,
    /// `FAIRLANE_LISTEN_API`.
    pub listen_api: Option<SocketAddr>,
    /// `FAIRLANE_LISTEN_OPS`.
    pub listen_ops: Option<SocketAddr>,
    /// `FAIRLANE_LOG`.
    pub log: Option<String>,
    /// `FAIRLANE_STORE_RESERVE_MB`.
    pub reserve_mb: Option<u64>,
    /// `FAIRLANE_STORE_ARCHIVE`.
    pub archive: Option<bool>,
}

impl Overrides {
    /// What the environment sets; `get` is `std::env::var` but in tests.
    ///
    /// # Errors
    /// The variable that does not parse, and why.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        fn parse<T: std::str::FromStr>(
            name: &str,
            get: &impl Fn(&str) -> Option<String>,
        ) -> Result<Option<T>, String>
        where
            T::Err: std::fmt::Display,
        {
            get(name)
                .map(|text| text.parse().map_err(|e| format!("{name}={text}: {e}")))
                .transpose()
        }
        Ok(Self {
            listen_quic: parse("FAIRLANE_LISTEN_QUIC", &get)?,
            listen_api: parse("FAIRLANE_LISTEN_API", &get)?,
            listen_ops: parse("FAIRLANE_LISTEN_OPS", &get)?,
            log: parse("FAIRLANE_LOG", &get)?,
            reserve_mb: parse("FAIRLANE_STORE_RESERVE_MB", &get)?,
            archive: parse("FAIRLANE_STORE_ARCHIVE", &get)?,
        })
    }

    /// These, and where they are silent, the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            listen_quic: self.listen_quic.or(others.listen_quic),
            listen_api: self.listen_api.or(others.listen_api),
            listen_ops: self.listen_ops.or(others.listen_ops),
            log: self.log.or(others.log),
            reserve_mb: self.reserve_mb.or(others.reserve_mb),
            archive: self.archive.or(others.archive),
        }
    }
}

impl Config {
    /// Reads `config.toml` of a home and applies overrides.
    ///
    /// # Errors
    /// [`HomeError`] with file and line.
    pub fn load(home: &Home, overrides: Overrides) -> Result<Self, HomeError> {
        let path = home.config_path();
        let length = std::fs::metadata(&path)
            .map_err(|e| HomeError::io(&path, &e))?
            .len();
        if length > CONFIG_BYTES_MAX {
            return Err(HomeError::content(
                &path,
                format!("longer than {CONFIG_BYTES_MAX} bytes"),
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| HomeError::io(&path, &e))?;
        let mut config = Self::parse(&path, &text)?;
        config.apply(overrides);
        config.check(&path)?;
        Ok(config)
    }

    /// Parses a configuration; unknown keys are refused.
    ///
    /// # Errors
    /// [`HomeError::Content`] with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, HomeError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| {
                let before = text.get(..span.start).unwrap_or(text);
                before.matches('\n').count() + 1
            });
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            HomeError::content(path, format!("{line}{}", error.message()))
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// What the serializer says; it does not for this type.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    fn apply(&mut self, overrides: Overrides) {
        let Overrides {
            listen_quic,
            listen_api,
            listen_ops,
            log,
            reserve_mb,
            archive,
        } = overrides;
        self.listen_quic = listen_quic.unwrap_or(self.listen_quic);
        self.listen_api = listen_api.unwrap_or(self.listen_api);
        self.listen_ops = listen_ops.unwrap_or(self.listen_ops);
        self.store.reserve_mb = reserve_mb.unwrap_or(self.store.reserve_mb);
        self.store.archive = archive.unwrap_or(self.store.archive);
        if let Some(log) = log {
            self.log = log;
        }
    }

    /// Checks what its types leave open.
    ///
    /// # Errors
    /// [`HomeError::Content`] names it.
    pub fn check(&self, path: &Path) -> Result<(), HomeError> {
        if self.reserve_bytes() < DISK_RESERVE_BYTES_MIN {
            let least = DISK_RESERVE_BYTES_MIN >> 20;
            let reason = format!("store.reserve_mb must be at least {least}");
            return Err(HomeError::content(path, reason));
        }
        if let Some(oracle) = &self.oracle {
            oracle
                .check()
                .map_err(|reason| HomeError::content(path, reason))?;
        }
        for (name, address) in &self.peers {
            if name.parse::<u8>().is_err() && name.parse::<PublicKey>().is_err() {
                let reason = format!(
                    "peers.{name}: a peer is named by its member id, as in \"2\", or by its \
                     identity key"
                );
                return Err(HomeError::content(path, reason));
            }
            let port = address
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                let reason = format!("peers.{name} = \"{address}\": expected host:port");
                return Err(HomeError::content(path, reason));
            }
        }
        Ok(())
    }

    /// Bytes that stay free on the disk.
    #[must_use]
    pub const fn reserve_bytes(&self) -> u64 {
        self.store.reserve_mb.saturating_mul(1 << 20)
    }

    /// Addresses of the members of a later epoch: as the change of committee says, or as this
    /// file says of their keys.
    #[must_use]
    pub fn later_peers(&self, next: &NextCommittee) -> BTreeMap<MemberId, String> {
        let members = next.members.iter().enumerate();
        let address = |(id, member): (usize, &NextMember)| {
            let here = self.peers.get(&member.identity.to_string());
            (MemberId(id as u8), here.unwrap_or(&member.quic).clone())
        };
        members.map(address).collect()
    }

    /// Addresses of the members that this one dials or is dialled by.
    ///
    /// # Errors
    /// [`HomeError::Content`] when one is missing that must be dialled, or is no member.
    pub fn peer_addresses(
        &self,
        path: &Path,
        me: MemberId,
        committee: &Committee,
    ) -> Result<BTreeMap<MemberId, String>, HomeError> {
        let mut addresses = BTreeMap::new();
        for (name, address) in &self.peers {
            if name.parse::<PublicKey>().is_ok() {
                continue;
            }
            let member = name
                .parse()
                .map(MemberId)
                .ok()
                .filter(|m| committee.contains(*m));
            let member = member.ok_or_else(|| {
                let reason = format!("peers.{name} is not a member; there are {}", committee.n());
                HomeError::content(path, reason)
            })?;
            addresses.insert(member, address.clone());
        }
        // The lower id dials.
        match committee
            .ids()
            .find(|id| *id > me && !addresses.contains_key(id))
        {
            Some(missing) => Err(HomeError::content(
                path,
                format!("peers.{missing} is missing: member {me} dials all higher ids"),
            )),
            None => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "listen_quic = \"127.0.0.1:1\"\nlisten_api = \"127.0.0.1:2\"\n\
                        listen_ops = \"127.0.0.1:3\"\n\n[peers]\n1 = \"host:9\"\n2 = \"[::1]:9\"\n";

    fn parse(text: &str) -> Result<Config, HomeError> {
        let path = Path::new("net/config.toml");
        let config = Config::parse(path, text)?;
        config.check(path)?;
        Ok(config)
    }

    #[test]
    fn a_configuration_reads_back_what_it_writes() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.log, "info");
        assert_eq!(config.reserve_bytes(), DISK_RESERVE_BYTES);
        assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_with_file_and_line() {
        let unknown = format!("{GOOD}[store]\nreserve_gb = 1\n");
        let error = parse(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("net/config.toml: line 9") && error.contains("reserve_gb"),
            "{error}"
        );
        let error = parse(&GOOD.replace("127.0.0.1:2", "nowhere"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
        let error = parse(&format!("{GOOD}x = \"host:1\"\n"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("peers.x"), "{error}");
        let error = parse(&format!("{GOOD}3 = \"host\"\n"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("host:port"), "{error}");
        let error = parse(&format!("{GOOD}[store]\nreserve_mb = 0\n"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("reserve_mb"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn a_changed_file_is_refused_with_its_name_or_valid(
            at in 0.0..1.0_f64,
            length in 0..20_usize,
            piece in "(|0|-1|=|\\[|\"|'''|18446744073709551616|\\PC{0,6})",
        ) {
            let mut text: Vec<char> = GOOD.chars().collect();
            let from = (text.len() as f64 * at) as usize;
            let to = (from + length).min(text.len());
            text.splice(from..to, piece.chars());
            match parse(&text.into_iter().collect::<String>()) {
                Ok(config) => assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config),
                Err(error) => assert!(error.to_string().contains("net/config.toml"), "{error}"),
            }
        }
    }

    #[test]
    fn flags_go_before_the_environment_and_both_before_the_file() {
        let env = |name: &str| match name {
            "FAIRLANE_LISTEN_API" => Some("127.0.0.1:20".to_owned()),
            "FAIRLANE_LOG" => Some("debug".to_owned()),
            _ => None,
        };
        let env = Overrides::from_env(env).unwrap();
        let flags = Overrides {
            log: Some("warn".to_owned()),
            ..Overrides::default()
        };
        let mut config = parse(GOOD).unwrap();
        config.apply(flags.or(env));
        assert_eq!(config.listen_api.port(), 20);
        assert_eq!(config.log, "warn");
        assert_eq!(config.listen_ops.port(), 3);
        let error = Overrides::from_env(|_| Some("?".to_owned())).unwrap_err();
        assert!(error.starts_with("FAIRLANE_LISTEN_QUIC=?"), "{error}");
    }

    #[test]
    fn every_member_that_is_to_be_dialled_needs_an_address() {
        let keys = (0..4).map(|n| fairlane_types::PublicKey([n; 32])).collect();
        let committee = Committee::new(keys).unwrap();
        let path = Path::new("config.toml");
        let config = parse(&format!("{GOOD}3 = \"host:1\"\n")).unwrap();
        assert_eq!(
            config
                .peer_addresses(path, MemberId(0), &committee)
                .unwrap()
                .len(),
            3
        );
        let config = parse(GOOD).unwrap();
        let error = config
            .peer_addresses(path, MemberId(0), &committee)
            .unwrap_err();
        assert!(error.to_string().contains("peers.3 is missing"), "{error}");
        assert!(config.peer_addresses(path, MemberId(3), &committee).is_ok());
        let config = parse(&format!("{GOOD}7 = \"host:1\"\n")).unwrap();
        assert!(
            config
                .peer_addresses(path, MemberId(3), &committee)
                .is_err()
        );
    }
}
