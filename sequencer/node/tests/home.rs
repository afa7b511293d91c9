//! Home folders: what is made, what is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fairlane_node::config::{Config, Overrides};
use fairlane_node::home::{self, Home, HomeError, encryption_key, member_of};
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_node::testnet::{InitOptions, init};
use fairlane_types::{
    ChainId, Genesis, GenesisError, KeySource, MemberId, OrderRule, SecretKey, TieSource,
};

fn options(dir: &tempfile::TempDir) -> InitOptions {
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.reserve_mb = 1;
    options
}

/// A genesis that leaves ties to the beacon must be able to: the rule leaves them open, and
/// there is a key to sign it with.
#[test]
fn a_beacon_for_ties_needs_a_rule_and_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.tie = TieSource::Beacon;
    let net = init(&options, |_| {}).unwrap();
    let genesis = net.genesis;
    assert_eq!(genesis.order.tie, TieSource::Beacon);
    let json = serde_json::to_string(&genesis).unwrap();
    assert!(json.contains("\"tie\":\"beacon\""), "{json}");
    let refused = |change: &dyn Fn(&mut Genesis)| {
        let mut genesis = genesis.clone();
        change(&mut genesis);
        matches!(genesis.validate(), Err(GenesisError::Tie(_)))
    };
    assert!(!refused(&|genesis| genesis.order.rule = OrderRule::Shuffle));
    assert!(refused(&|genesis| genesis.order.rule = OrderRule::Majority));
    assert!(refused(&|genesis| genesis.order.rule = OrderRule::Leader));
    assert!(refused(&|genesis| genesis.certificates = None));
}

#[test]
fn a_testnet_is_a_set_of_homes_that_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.chain = Some(ChainId(7));
    let net = init(&options, |genesis| genesis.consensus.max_interval_ms = 250).unwrap();
    assert_eq!(net.members.len(), 4);
    assert!(net.genesis.experiment, "a dealer's keys protect nobody");
    assert_eq!(net.genesis.encryption.source, KeySource::InsecureDealer);
    assert_eq!(net.genesis.consensus.max_interval_ms, 250);
    assert_eq!(home::read_genesis(&net.genesis_path).unwrap(), net.genesis);
    let key = encryption_key(&net.genesis).unwrap().unwrap();
    let committee = net.genesis.validate().unwrap();
    let mut ports = std::collections::BTreeSet::new();
    for member in &net.members {
        let home = Home::open(member.home.root()).unwrap();
        let genesis = home.genesis().unwrap();
        assert_eq!(genesis.hash(), net.genesis.hash());
        let identity = home.identity().unwrap();
        assert_eq!(
            member_of(&home, &genesis, &identity.public()).unwrap(),
            member.id
        );
        assert_eq!(home.share(member.id, &key).unwrap().member(), member.id);
        let config = Config::load(&home, Overrides::default()).unwrap();
        assert_eq!(config, member.config);
        assert_eq!(
            config
                .peer_addresses(&home.config_path(), member.id, &committee)
                .unwrap()
                .len(),
            3
        );
        for address in [config.listen_quic, config.listen_api, config.listen_ops] {
            assert!(address.ip().is_loopback());
            assert!(ports.insert(address.port()));
        }
        for file in [home.identity_path(), home.share_path()] {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        // C7: the birth record is there before the first start.
        let path = home.data_path();
        let store = RocksStore::open(&StoreOptions {
            path,
            reserve_bytes: 1 << 20,
        })
        .unwrap();
        assert!(Home::is_born(&store).unwrap());
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let net = init(&options(&dir), |_| {}).unwrap();
    assert!(matches!(
        init(&options(&dir), |_| {}),
        Err(HomeError::Exists(_))
    ));
    let home = &net.members[0].home;
    let other = SecretKey::from_seed([1; 32]);
    assert!(matches!(
        home.write_identity(&other),
        Err(HomeError::Exists(_))
    ));
    let born = home.write_birth(&net.genesis, MemberId(0), 1 << 20);
    assert!(
        matches!(born, Err(HomeError::Exists(_))),
        "an identity is born once (C7)"
    );
}

#[test]
fn keys_that_others_can_read_are_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let net = init(&options(&dir), |_| {}).unwrap();
    let home = &net.members[0].home;
    let key = encryption_key(&net.genesis).unwrap().unwrap();
    for (path, mode) in [(home.identity_path(), 0o640), (home.share_path(), 0o604)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let error = home.identity().err().unwrap();
    assert!(matches!(error, HomeError::Mode { mode: 0o640, .. }));
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert!(matches!(
        home.share(MemberId(0), &key),
        Err(HomeError::Mode { mode: 0o604, .. })
    ));
}

#[test]
fn damaged_and_exchanged_files_are_named_and_secrets_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let net = init(&options(&dir), |_| {}).unwrap();
    let (zero, one) = (&net.members[0].home, &net.members[1].home);
    let key = encryption_key(&net.genesis).unwrap().unwrap();

    // Another member's share.
    fs::copy(one.share_path(), zero.share_path()).unwrap();
    let error = zero.share(MemberId(0), &key).err().unwrap().to_string();
    assert!(
        error.contains("share.key") && error.contains("member 1"),
        "{error}"
    );

    // A cut key file.
    let text = fs::read_to_string(one.identity_path()).unwrap();
    let secret = text.trim_end().rsplit(' ').next().unwrap().to_owned();
    fs::write(one.identity_path(), &text[..text.len() - 11]).unwrap();
    let error = one.identity().err().unwrap().to_string();
    assert!(
        error.contains("identity.key") && error.contains("32 bytes"),
        "{error}"
    );
    assert!(!error.contains(&secret[..8]), "{error}");

    // A stranger's key.
    let stranger = SecretKey::from_seed([1; 32]).public();
    assert!(member_of(zero, &net.genesis, &stranger).is_err());

    // A genesis with an unknown key, and one out of range.
    let path = zero.genesis_path();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen("\"chain\"", "\"surprise\": 1, \"chain\"", 1),
    )
    .unwrap();
    let error = zero.genesis().unwrap_err().to_string();
    assert!(
        error.contains("surprise") && error.contains("line 2"),
        "{error}"
    );
    fs::write(
        &path,
        text.replacen("\"experiment\": true", "\"experiment\": false", 1),
    )
    .unwrap();
    let error = zero.genesis().unwrap_err().to_string();
    assert!(error.contains("experiment"), "{error}");

    let mut genesis = net.genesis.clone();
    genesis.encryption.public_key[20] ^= 1;
    assert!(encryption_key(&genesis).is_err());

    let error = Home::open(dir.path().join("none")).unwrap_err();
    assert!(matches!(error, HomeError::Missing(_)));
}
