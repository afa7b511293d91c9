//! Members between epochs whose sources lie (PROTOCOL §6): only the word of its own committee
//! takes a member out of its epoch.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::proxy::Proxy;
use common::{Cluster, Load, complete, fairlane, free_ports, program};
use fairlane_client::wire::Frame;
use fairlane_encryption::SuiteKey;
use fairlane_mempool::fair;
use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::{Present, Resting};
use fairlane_node::home::Home;
use fairlane_node::node::{Ended, Node, NodeOptions};
use fairlane_node::store::RocksStore;
use fairlane_replica::audit::{Auditor, Start as AuditStart, Step, Violation};
use fairlane_replica::{EPOCH_BASE_BYTES_MAX, EpochBase};
use fairlane_types::{
    ActiveKeys, BlockId, Digest, Domain, Epoch, EpochStart, Genesis, Handover, Height, MemberId,
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
    cluster.kill_all();
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
    let copy = cluster.testnet.genesis_path.with_file_name("epoch-0");
    let home = cluster.testnet.members[0].home.root();
    let copied = Command::new("cp").arg("-a").args([home, &copy]).status();
    assert!(copied.unwrap().success());
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
    an_audit_goes_over_the_boundary(&mut cluster, &copy, outcomes.len());
}

/// `fairlane audit` in each of the epochs, with nothing but the first genesis, and from the lanes of
/// the one into the other; not where a quorum handed over something else.
fn an_audit_goes_over_the_boundary(cluster: &mut Cluster, copy: &Path, orders: usize) {
    cluster.kill(1);
    let home = cluster.testnet.members[1].home.root().to_owned();
    let (genesis, folders) = (cluster.testnet.genesis_path.clone(), [copy, home.as_path()]);
    let audit = |args: &[&str]| {
        let mut command = Command::new(program("fairlane"));
        command.args(["audit", "--json"]).args(args);
        let done = command.arg("--genesis").arg(&genesis).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let json = serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap_or_default();
        (done.status.code(), json["audit"].clone(), said)
    };
    let [first, second] = folders.map(|folder| folder.to_str().unwrap());
    let (code, of_first, said) = audit(&["--home", first]);
    assert_eq!((code, &of_first["ok"]), (Some(0), &true.into()), "{said}");
    let (code, of_second, said) = audit(&["--home", second]);
    assert_eq!((code, &of_second["ok"]), (Some(0), &true.into()), "{said}");
    assert!(!said.contains("word"), "{said}");
    let height = |json: &serde_json::Value| json["height"].as_u64().unwrap();
    let begun = of_second["from"].as_u64().unwrap();
    assert_eq!(
        begun,
        height(&of_first) + 1,
        "an epoch is audited from its beginning"
    );
    let (code, both, said) = audit(&["--home", first, "--then", second]);
    assert_eq!((code, &both["ok"]), (Some(0), &true.into()), "{said}");
    assert!(both["orders"].as_u64().unwrap() >= orders as u64, "{both}");
    assert_eq!(both["root"], of_second["root"]);
    assert_eq!(audit(&["--home", second, "--then", first]).0, Some(3));
    let (_, known, _) = audit(&["--home", first, "--then", second, "--until", "1"]);
    assert_eq!(height(&known), 1);

    // Other remembered orders, under a quorum's true signatures.
    let reader = RocksStore::read_only(&Home::open(copy).unwrap().data_path()).unwrap();
    let get = |table, key: &[u8]| reader.get(table, key);
    let before = &cluster.testnet.genesis;
    let key = SuiteKey::from_bytes(before.encryption.scheme, &before.encryption.public_key);
    let mut auditor = Auditor::new(before, key.unwrap(), None, AuditStart::Genesis).unwrap();
    while auditor.height().0 < height(&of_first) {
        let step = Step::read(auditor.height().next(), auditor.cut(), get).unwrap();
        auditor.step(&step).unwrap();
    }
    let present = Present::of(&Home::open(&home).unwrap()).unwrap();
    let base = present.base.unwrap();
    let key = |base: &EpochBase| {
        let params = &base.genesis().encryption;
        SuiteKey::from_bytes(params.scheme, &params.public_key).unwrap()
    };
    assert!(auditor.cross(&base, key(&base)).is_ok());
    let mut other = base.clone();
    other.memory = fair::rule(4, 1, &before.order).memory();
    let unsigned = auditor.cross(&other, key(&other));
    assert!(
        matches!(unsigned, Err(Violation::Boundary { .. })),
        "{unsigned:?}"
    );
    let start = other.handover.genesis.start.as_mut().unwrap();
    start.memory = Domain::Snapshot.hash(&other.memory);
    other.handover.word = QuorumWord::default();
    for member in 0..3 {
        let identity = cluster.testnet.members[member].home.identity().unwrap();
        let signature = Handover::sign(&identity, before.epoch(), &other.handover.genesis);
        other.handover.word.add(MemberId(member as u8), signature);
    }
    other.verify(before, None).unwrap();
    let signed = auditor.cross(&other, key(&other)).unwrap_err().to_string();
    assert!(signed.contains("another remembered orders"), "{signed}");
}
