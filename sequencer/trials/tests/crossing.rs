//! Members between epochs whose sources lie (PROTOCOL §6): only the word of its own committee
//! takes a member out of its epoch.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::proxy::Proxy;
use common::{Cluster, Load, complete};
use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::Resting;
use fairlane_types::{
    ActiveKeys, BlockId, Digest, EpochStart, Genesis, Handover, Height, KeyId, MemberId,
    NextCommittee, NextMember, Position, QuorumWord, ReceiverBytes, Root, SecretKey, encode,
};

/// A member looks for later epochs every second.
const SOME_LOOKS: Duration = Duration::from_secs(8);

/// Hand-over of `genesis` to four others, signed by whom it does not name.
fn forged(genesis: &Genesis) -> Handover {
    let strangers: Vec<_> = (101..105).map(|i| SecretKey::from_seed([i; 32])).collect();
    let member = |key: &SecretKey| NextMember {
        identity: key.public(),
        receiver: ReceiverBytes([7; 32]),
        quic: "127.0.0.1:1".to_owned(),
        api: "http://127.0.0.1:2".to_owned(),
    };
    let epoch = genesis.epoch().next();
    let next = NextCommittee {
        chain: genesis.chain,
        epoch,
        members: strangers.iter().map(member).collect(),
    };
    let start = EpochStart {
        epoch,
        origin: genesis.origin(),
        before: genesis.hash(),
        height: Height(5),
        block: BlockId::default(),
        root: Root::default(),
        position: Position(0),
        committee: next.digest(),
        memory: Digest::default(),
        dealings: Digest::default(),
    };
    let keys = ActiveKeys {
        encryption: genesis.encryption.public_key.clone(),
        certificate: Vec::new(),
    };
    let key = genesis.encryption.key_id.unwrap_or(KeyId::default());
    let genesis_next = genesis.next(&next, start, genesis.time.plus(1), (key, &keys));
    let mut word = QuorumWord::default();
    for (id, stranger) in strangers.iter().enumerate().take(3) {
        let signature = Handover::sign(stranger, genesis.epoch(), &genesis_next);
        word.add(MemberId(id as u8), signature);
    }
    Handover {
        genesis: genesis_next,
        word,
    }
}

/// Adds an address to those that a member asks.
fn join(cluster: &Cluster, member: usize, url: &str) {
    let home = &cluster.testnet.members[member].home;
    let mut config = Config::load(home, Overrides::default()).unwrap();
    config.join.push(url.to_owned());
    std::fs::write(home.config_path(), config.to_toml().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_epoch_that_nobody_signed_takes_no_member_out_of_its_own() {
    let mut cluster = Cluster::start(4, None).await;
    let handover = encode(&forged(&cluster.testnet.genesis));
    let api = cluster.testnet.members[0].config.listen_api;
    let liar = Proxy::start(api, move |path, status, body| {
        if path.starts_with("/v1/info") {
            let text = String::from_utf8(body).unwrap();
            let told = text.replace("\"epoch\":\"0\"", "\"epoch\":\"99\"");
            assert_ne!(text, told);
            return (200, told.into_bytes());
        }
        match path.starts_with("/v1/epochs/") && status == 404 {
            true => (200, handover.clone()),
            false => (status, body),
        }
    })
    .await;
    for member in 0..4 {
        cluster.kill(member);
        join(&cluster, member, &liar.url);
        cluster.spawn(member);
    }
    for member in 0..4 {
        cluster.ready(member).await;
    }
    tokio::time::sleep(SOME_LOOKS).await;
    for member in 0..4 {
        let log = cluster.whole_log(member);
        let doubt = "says that this epoch is over, shows nothing";
        assert!(log.contains(doubt), "member {member} was not told\n{log}");
        cluster.ready(member).await;
    }
    let sent = Load::start(&cluster, 100, 50).finish().await;
    assert_eq!(sent.acknowledged.len(), 100);
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    for member in 0..4 {
        cluster.kill(member);
        let home = &cluster.testnet.members[member].home;
        let config = Config::load(home, Overrides::default()).unwrap();
        let standing = Resting::open(home, &config).unwrap().standing().unwrap();
        assert!(standing.runs(), "member {member} has left its epoch");
    }
}
