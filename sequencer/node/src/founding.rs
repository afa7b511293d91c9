//! The first committee of a chain, by operators of whom none knows another one's secrets (PROTOCOL §6).
//! Each makes a home and hands out its card; the cards become one founding file; each home takes that
//! in once it has found itself in it. The members make both keys when they run.

use std::path::Path;

use fairlane_encryption::Ceremony;
use fairlane_execution::params::ExecutionGenesis;
use fairlane_types::{
    CertificateParams, ChainId, Combining, Digest, EncryptionParams, Epoch, Genesis, KeySource,
    MemberId, Millis, NextMember, OrderParams, Scheme,
};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Overrides};
use crate::executor;
use crate::files::{check_owner, write_new, write_over};
use crate::home::{Home, HomeError};

/// Largest founding file that is read, in bytes.
pub const FOUNDING_BYTES_MAX: u64 = 8 << 20;

/// What all founders start from: the genesis, and what it leaves to each node's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// The genesis.
    pub genesis: Genesis,
    /// The members' cards, in the order of their ids.
    pub members: Vec<NextMember>,
    /// Text of `execution.toml`, where members execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

/// What founders agree on beside who they are.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Chain id.
    pub chain: ChainId,
    /// Finalized time of height 0.
    pub time: Millis,
    /// Unsafe things are allowed.
    pub experiment: bool,
    /// The rule.
    pub order: OrderParams,
    /// Encryption scheme.
    pub scheme: Scheme,
    /// Who combines, if not what follows from the size.
    pub combining: Option<Combining>,
}

impl Founding {
    /// From the members' cards.
    ///
    /// # Errors
    /// What [`check`](Self::check) says.
    pub fn new(
        terms: Terms,
        members: Vec<NextMember>,
        execution: Option<&ExecutionGenesis>,
    ) -> Result<Self, String> {
        let receivers = members.iter().map(|member| member.receiver).collect();
        let genesis = Genesis {
            chain: terms.chain,
            time: terms.time,
            experiment: terms.experiment,
            start: None,
            members: members.iter().map(|member| member.identity).collect(),
            encryption: EncryptionParams {
                combining: terms.combining,
                ..EncryptionParams::ceremony(terms.scheme, receivers)
            },
            certificates: Some(CertificateParams::ceremony()),
            lanes: Default::default(),
            consensus: Default::default(),
            order: terms.order,
        };
        let execution = execution.map(toml::to_string).transpose();
        let founding = Self {
            genesis,
            members,
            execution: execution.map_err(|error| error.to_string())?,
        };
        founding.check()?;
        Ok(founding)
    }

    /// Whether it can begin a chain whose keys nobody deals.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let genesis = &self.genesis;
        genesis.validate().map_err(|error| error.to_string())?;
        let source = genesis.encryption.source;
        let certificates = genesis.certificates.as_ref().map(|c| c.source);
        let made = Some(KeySource::Ceremony);
        if genesis.start.is_some() || Some(source) != made || certificates != made {
            return Err("it is not the start of a chain whose members make both keys".to_owned());
        }
        // A key that is no point would be noticed by the nodes only.
        Ceremony::of_genesis(genesis).map_err(|error| error.to_string())?;
        let identities = self.members.iter().map(|member| &member.identity);
        let receivers = self.members.iter().map(|member| &member.receiver);
        if !identities.eq(&genesis.members) || !receivers.eq(&genesis.encryption.receivers) {
            return Err("the genesis has other keys than the members' cards".to_owned());
        }
        for (id, member) in self.members.iter().enumerate() {
            let before = self.members.iter().take(id);
            let at = before.into_iter().position(|other| {
                other.quic == member.quic
                    || other.api == member.api
                    || other.receiver == member.receiver
            });
            if let Some(at) = at {
                let what = "have the same address or receiver key";
                return Err(format!("members {at} and {id} {what}"));
            }
        }
        self.execution().map(drop)
    }

    /// What members execute, if they do.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn execution(&self) -> Result<Option<ExecutionGenesis>, String> {
        let text = self.execution.as_deref();
        text.map(executor::parse_genesis).transpose()
    }

    /// What tells its `execution.toml` from another.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn execution_digest(&self) -> Result<Option<Digest>, String> {
        let execution = self.execution()?;
        Ok(execution.as_ref().map(executor::digest_of))
    }

    /// What tells it from any other: genesis, addresses, what is executed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn hash(&self) -> Result<Digest, String> {
        let all = (self.genesis.hash(), &self.members, self.execution_digest()?);
        let bytes = fairlane_types::encode(&all);
        Ok(Digest(blake3::derive_key("fairlane founding file", &bytes)))
    }

    /// One from its bytes, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let founding: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        founding.check()?;
        Ok(founding)
    }

    /// Writes it; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write(&self, path: &Path) -> Result<(), HomeError> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|error| HomeError::content(path, error))?;
        write_new(path, 0o644, format!("{text}\n").as_bytes())
    }

    /// The member that a home is in it, by both of its keys. Whoever put the cards together could
    /// have written another receiver key beside an identity, and would read that member's dealings.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn member_of(&self, home: &Home) -> Result<MemberId, HomeError> {
        let identity = home.identity()?.public();
        let me = crate::home::member_of(home, &self.genesis, &identity)?;
        let receiver = *home.receiver(Epoch(0))?.key().bytes();
        match self.members.get(me.index()) {
            Some(member) if member.receiver.0 == receiver => Ok(me),
            _ => Err(HomeError::content(
                &home.receiver_path(Epoch(0)),
                "the founding file has another receiver key for this member: do not run with it",
            )),
        }
    }

    /// Makes a home the member's that it is in it. `genesis.json` comes last: until it is there the
    /// same call goes on where it was stopped. A home that has never run may take in another one.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn take_in(&self, home: &Home) -> Result<MemberId, HomeError> {
        let wrong = |reason: String| HomeError::content(home.root(), reason);
        self.check().map_err(wrong)?;
        // Its node runs as the owner of the folder, and has to write there.
        check_owner(&home.genesis_path())?;
        let me = self.member_of(home)?;
        home.at_rest(&self.genesis)?;
        let execution = self.execution_to_write(home)?;
        let mut config = Config::load(home, Overrides::default())?;
        home.write_founding(&self.genesis, me, config.reserve_bytes())?;
        let members = self.members.iter().enumerate();
        let others = members.filter(|(id, _)| *id != me.index());
        config.join = others.clone().map(|(_, other)| other.api.clone()).collect();
        config.peers = others
            .map(|(id, other)| (id.to_string(), other.quic.clone()))
            .collect();
        let path = home.config_path();
        let text = config.to_toml();
        let text = text.map_err(|error| HomeError::content(&path, error))?;
        write_over(&path, 0o644, text.as_bytes())?;
        if let Some(text) = execution {
            write_new(&executor::genesis_path(home), 0o644, text.as_bytes())?;
        }
        let genesis = crate::home::genesis_text(&home.genesis_path(), &self.genesis)?;
        write_over(&home.genesis_path(), 0o644, genesis.as_bytes())?;
        Ok(me)
    }

    /// Its `execution.toml`, unless that is there already. Another one is never run by mistake.
    fn execution_to_write(&self, home: &Home) -> Result<Option<&str>, HomeError> {
        let path = executor::genesis_path(home);
        let found = executor::read_genesis(&path)?;
        let ours = self
            .execution()
            .map_err(|error| HomeError::content(home.root(), error))?;
        match found {
            None => Ok(self.execution.as_deref()),
            same if same == ours => Ok(None),
            Some(_) => Err(HomeError::content(
                &path,
                "it is not what the founding file says; move it away",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::ReceiverSecret;
    use fairlane_types::{ReceiverBytes, SecretKey};
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;
    use fairlane_replica::{Store, Table, Write, meta};

    use crate::store::{RocksStore, StoreOptions};
    use crate::testnet::write_config;

    const RESERVE_MB: u64 = 64;

    /// A home before its chain, and its card.
    fn prepared(dir: &Path, index: u8) -> (Home, NextMember) {
        let home = Home::create(dir.join(format!("founder-{index}"))).unwrap();
        let identity = SecretKey::from_seed([index + 1; 32]);
        home.write_identity(&identity).unwrap();
        let receiver = ReceiverSecret::generate(&mut UnwrapErr(SysRng));
        home.write_receiver(Epoch(0), &receiver).unwrap();
        let listen = |port: u16| format!("127.0.0.1:{}", 7_700 + u16::from(index) * 10 + port);
        let text = format!(
            "listen_quic = \"{}\"\nlisten_api = \"{}\"\nlisten_ops = \"{}\"\n[store]\nreserve_mb = {RESERVE_MB}\n",
            listen(0),
            listen(1),
            listen(2)
        );
        let config = Config::parse(&home.config_path(), &text).unwrap();
        write_config(&home, &config).unwrap();
        home.write_birth_of_founder(RESERVE_MB << 20).unwrap();
        let card = NextMember {
            identity: identity.public(),
            receiver: ReceiverBytes(*receiver.key().bytes()),
            quic: listen(0),
            api: format!("http://{}", listen(1)),
        };
        (home, card)
    }

    fn founding(cards: &[NextMember]) -> Founding {
        let terms = Terms {
            chain: ChainId(9),
            time: Millis(1),
            experiment: true,
            order: OrderParams::default(),
            scheme: Scheme::Tdh2,
            combining: None,
        };
        Founding::new(terms, cards.to_vec(), None).unwrap()
    }

    fn four(dir: &Path) -> (Vec<Home>, Vec<NextMember>) {
        (0..4).map(|index| prepared(dir, index)).unzip()
    }

    #[test]
    fn a_home_becomes_the_member_that_it_finds_itself_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let (homes, cards) = four(dir.path());
        let founding = founding(&cards);
        for (index, home) in homes.iter().enumerate() {
            assert_eq!(founding.take_in(home).unwrap(), MemberId(index as u8));
            assert_eq!(home.genesis().unwrap(), founding.genesis);
            let config = Config::load(home, Overrides::default()).unwrap();
            assert_eq!(config.store.reserve_mb, RESERVE_MB, "what was there stays");
            assert_eq!(config.peers.len(), 3);
            assert!(!config.peers.contains_key(&index.to_string()));
            for (id, place) in &config.peers {
                assert_eq!(*place, cards[id.parse::<usize>().unwrap()].quic);
            }
            assert_eq!(founding.take_in(home), Ok(MemberId(index as u8)), "again");
        }
    }

    /// A stop at any point, or another founding file before the first start.
    #[test]
    fn until_it_runs_a_home_may_take_in_again() {
        let dir = tempfile::tempdir().unwrap();
        let (homes, cards) = four(dir.path());
        let (home, first) = (&homes[0], founding(&cards));
        first.take_in(home).unwrap();
        std::fs::remove_file(home.genesis_path()).unwrap();
        first.take_in(home).unwrap();
        let mut other = first.clone();
        other.genesis.order.key_grace_ms += 1;
        assert_ne!(other.hash(), first.hash());
        other.take_in(home).unwrap();
        assert_eq!(home.genesis().unwrap(), other.genesis);
        let options = StoreOptions {
            path: home.data_path(),
            reserve_bytes: RESERVE_MB << 20,
        };
        let mut store = RocksStore::open(&options).unwrap();
        let of = store.get(Table::Meta, meta::GENESIS).unwrap();
        assert_eq!(of, Some(fairlane_types::encode(&other.genesis.hash())));
        // As its first start writes.
        let started = Write::meta(meta::BIRTH, b"started".to_vec());
        store.commit(&[started], true).unwrap();
        drop(store);
        std::fs::remove_file(home.genesis_path()).unwrap();
        for founding in [&first, &other] {
            let error = founding.take_in(home).unwrap_err().to_string();
            assert!(error.contains("has run"), "{error}");
        }
        assert!(!home.genesis_path().exists());
    }

    /// C7: a copy of the keys is no second birth.
    #[test]
    fn a_home_without_its_database_is_not_born_again() {
        let dir = tempfile::tempdir().unwrap();
        let (homes, cards) = four(dir.path());
        let founding = founding(&cards);
        std::fs::remove_dir_all(homes[1].data_path()).unwrap();
        let gone = founding.take_in(&homes[1]);
        assert!(matches!(gone, Err(HomeError::Missing(path)) if path == homes[1].data_path()));
        let options = StoreOptions {
            path: homes[2].data_path(),
            reserve_bytes: RESERVE_MB << 20,
        };
        let mut store = RocksStore::open(&options).unwrap();
        let unborn = Write::delete(Table::Meta, meta::BIRTH.to_vec());
        store.commit(&[unborn], true).unwrap();
        drop(store);
        let error = founding.take_in(&homes[2]).unwrap_err().to_string();
        assert!(error.contains("observer"), "{error}");
    }

    /// What was executed in a test is not what the founders agreed on.
    #[test]
    fn another_execution_is_not_left_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (homes, cards) = four(dir.path());
        let path = executor::genesis_path(&homes[0]);
        std::fs::write(&path, "markets = 1").unwrap();
        assert!(founding(&cards).take_in(&homes[0]).is_err());
        assert!(!homes[0].genesis_path().exists());
    }

    #[test]
    fn another_receiver_key_beside_an_identity_is_found_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (homes, mut cards) = four(dir.path());
        let theirs = ReceiverSecret::generate(&mut UnwrapErr(SysRng));
        cards[2].receiver = ReceiverBytes(*theirs.key().bytes());
        let founding = founding(&cards);
        for (index, home) in homes.iter().enumerate() {
            assert_eq!(founding.take_in(home).is_ok(), index != 2);
        }
        let error = founding.take_in(&homes[2]).unwrap_err().to_string();
        assert!(error.contains("another receiver key"), "{error}");
        assert!(!homes[2].genesis_path().exists());
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_, cards) = four(dir.path());
        let good = founding(&cards);
        let bytes = serde_json::to_vec(&good).unwrap();
        assert_eq!(Founding::parse(&bytes).unwrap(), good);
        type Spoil = fn(&mut Founding);
        let spoilt: [(Spoil, &str); 8] = [
            (|f| f.members.swap(0, 1), "other keys"),
            (|f| drop(f.members.pop()), "other keys"),
            (|f| f.members[1].quic = f.members[0].quic.clone(), "0 and 1"),
            (
                |f| {
                    f.members[3].receiver = f.members[2].receiver;
                    f.genesis.encryption.receivers[3] = f.members[2].receiver;
                },
                "2 and 3",
            ),
            (
                |f| f.genesis.encryption.source = KeySource::Reshared,
                "first epoch",
            ),
            (|f| f.genesis.certificates = None, "both keys"),
            (
                |f| {
                    f.members[3].receiver = ReceiverBytes([0xff; 32]);
                    f.genesis.encryption.receivers[3] = ReceiverBytes([0xff; 32]);
                },
                "",
            ),
            (|f| f.execution = Some("markets = 1".to_owned()), "markets"),
        ];
        for (spoil, says) in spoilt {
            let mut bad = good.clone();
            spoil(&mut bad);
            let error = Founding::parse(&serde_json::to_vec(&bad).unwrap()).unwrap_err();
            assert!(error.contains(says), "{says:?} is not in {error}");
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(Founding::parse(&bytes[..cut]).is_err());
        }
    }
}
