//! Members between epochs whose sources lie (PROTOCOL §6): only the word of its own committee
//! takes a member out of its epoch.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::proxy::Proxy;
use common::{Cluster, Load, complete, fairlane, free_ports};
use fairlane_client::wire::Frame;
use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::Resting;
use fairlane_node::home::Home;
use fairlane_node::node::{Ended, Node, NodeOptions};
use fairlane_replica::{EPOCH_BASE_BYTES_MAX, EpochBase};
use fairlane_types::{
    ActiveKeys, BlockId, Digest, Epoch, EpochStart, Genesis, Handover, Height, MemberId,
    NextCommittee, NextKey, NextMember, Position, QuorumWord, ReceiverBytes, Root, SecretKey,
    SequencedBlock, decode, encode,
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
        key: NextKey::Kept,
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
    let key = genesis.encryption.key_id.unwrap_or_default();
    let genesis_next = genesis.next(&next, start, genesis.time.plus(1), (key, &keys), None);
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

/// Has a home ask these besides those that it asks already.
fn join(home: &Home, urls: &[&str]) {
    let mut config = Config::load(home, Overrides::default()).unwrap();
    config.join.extend(urls.iter().map(|url| (*url).to_owned()));
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
        join(&cluster.testnet.members[member].home, &[&liar.url]);
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

/// The blocks of a sequence with other times, chained and sealed anew.
fn made_up(blocks: &[SequencedBlock]) -> Vec<SequencedBlock> {
    let (mut all, mut parent) = (blocks.to_vec(), Root::default());
    for block in &mut all {
        block.time = block.time.plus(1);
        block.parent_root = parent;
        *block = block.clone().sealed();
        parent = block.root;
    }
    all
}

/// The blocks of a sequence and some more, which follow them.
fn longer(blocks: &[SequencedBlock]) -> Vec<SequencedBlock> {
    let mut all = blocks.to_vec();
    for _ in 0..3 {
        let last = all.last().unwrap();
        let next = SequencedBlock {
            height: last.height.next(),
            parent_root: last.root,
            first_position: last.next_position(),
            items: Vec::new(),
            ..last.clone()
        };
        all.push(next.sealed());
    }
    all
}

/// A member that serves other blocks from the height asked for on, all it has.
async fn serves(member: SocketAddr, blocks: Vec<SequencedBlock>) -> Proxy {
    Proxy::start(member, move |path, status, body| {
        let Some((_, from)) = path.split_once("/v1/blocks?from=") else {
            return (status, body);
        };
        let from = from.split('&').next().unwrap().parse().unwrap();
        let above = blocks.iter().filter(|block| block.height >= Height(from));
        let frames = above.flat_map(|block| Frame::Block(block.clone()).to_bytes());
        (200, frames.collect())
    })
    .await
}

/// A member that hands on another key than the one that was dealt on: no signature covers it.
async fn hands_on_another_key(member: SocketAddr) -> Proxy {
    Proxy::start(member, |path, status, body| {
        if path != "/v1/epochs/1/base" {
            return (status, body);
        }
        let mut base: EpochBase = decode(&body, EPOCH_BASE_BYTES_MAX).unwrap();
        let last = base.old_keys.encryption.last_mut().unwrap();
        *last ^= 1;
        (200, encode(&base))
    })
    .await
}

/// Four become seven. Without the three that join the next epoch has no quorum, and each of
/// them hears a liar before it hears anybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiners_come_through_whatever_they_are_told_first() {
    // Liars listen at 127.0.0.1: members are asked in the order of their addresses.
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let mut cluster = Cluster::start_as(4, None, |options| options.ip = ip).await;
    let dir = cluster.testnet.genesis_path.parent().unwrap().to_owned();
    let (genesis, host) = (&cluster.testnet.genesis_path, ip.to_string());
    let honest = format!("http://{}", cluster.testnet.members[0].config.listen_api);
    let mut joiners = Vec::new();
    for joiner in 0..3 {
        let (home, port) = (dir.join(format!("joiner-{joiner}")), free_ports(1));
        let (genesis, out) = (genesis.to_str().unwrap(), home.to_str().unwrap());
        let port = port.to_string();
        let args = ["committee", "join", "--genesis", genesis, "-o", out];
        let place = ["--host", &host, "--port", &port, "--reserve-mb", "64"];
        fairlane(&[&args[..], &place, &["--from", &honest]].concat());
        joiners.push(Home::open(home).unwrap());
    }
    let sent = Load::start(&cluster, 100, 100).finish().await;
    for home in joiners {
        cluster.adopt(home);
    }
    cluster.decide(&[0, 1, 2, 3, 4, 5, 6]);
    for member in 0..4 {
        cluster.in_epoch(member, 1).await;
    }
    let member = cluster.testnet.members[0].config.listen_api;
    let handover = cluster.committee.members()[0].handover(Epoch(1)).await;
    let boundary = handover.unwrap().genesis.base();
    let blocks = cluster.blocks(0, boundary).await;
    let liars = [
        serves(member, made_up(&blocks)).await,
        serves(member, longer(&blocks)).await,
        hands_on_another_key(member).await,
    ];
    for (joiner, liar) in (4..7).zip(&liars) {
        join(&cluster.testnet.members[joiner].home, &[&liar.url]);
        cluster.spawn(joiner);
    }
    for member in 0..7 {
        cluster.ready(member).await;
        cluster.in_epoch(member, 1).await;
    }
    for joiner in 4..7 {
        let log = cluster.whole_log(joiner);
        let told =
            log.contains("not the blocks up to the next epoch") || log.contains("cannot follow");
        assert!(told, "joiner {joiner} heard no liar\n{log}");
    }
    let sent = Load::after(sent, &cluster, 50, 50).finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
}

/// All members stop at the same moment, when each has left its epoch and none has entered the
/// next one: nobody is there who could be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_all_stopped_between_two_epochs_go_on() {
    let mut cluster = Cluster::start(4, None).await;
    let mut running = Vec::new();
    for member in 0..4 {
        cluster.kill(member);
    }
    for member in 0..4 {
        let home = cluster.testnet.members[member].home.root();
        let node = Node::start(NodeOptions::new(home)).await.unwrap();
        running.push(tokio::spawn(node.run(std::future::pending())));
    }
    let sent = Load::start(&cluster, 100, 100).finish().await;
    assert!(!sent.acknowledged.is_empty());
    cluster.decide(&[0, 1, 2, 3]);
    for (member, run) in running.into_iter().enumerate() {
        let Ended::Epoch(base) = run.await.unwrap().unwrap() else {
            panic!("member {member} ended otherwise");
        };
        let home = &cluster.testnet.members[member].home;
        let config = Config::load(home, Overrides::default()).unwrap();
        let mut resting = Resting::open(home, &config).unwrap();
        resting.leave(&base.handover).unwrap();
        assert!(resting.standing().unwrap().left);
    }
    for member in 0..4 {
        cluster.spawn(member);
    }
    for member in 0..4 {
        cluster.ready(member).await;
        cluster.in_epoch(member, 1).await;
    }
    let sent = Load::after(sent, &cluster, 50, 50).finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
}
