//! Four whole nodes on the loopback: orders in, the same sequence out; restarts, an
//! observer, wrong folders.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fairlane_encryption::{Suite, ThresholdScheme};
use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::Resting;
use fairlane_node::failure::Failure;
use fairlane_node::handle::{NodeHandle, Reply, RequestError, Stage};
use fairlane_node::home::encryption_key;
use fairlane_node::node::{Ended, Node, NodeOptions, StartError};
use fairlane_node::testnet::{InitOptions, Testnet, init};
use fairlane_types::{
    CtId, Envelope, Genesis, Height, LANE_NONE, Label, Millis, Outcome, SUITE_TDH2, SecretKey,
    SequencedBlock,
};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const WAIT: Duration = Duration::from_secs(60);

struct Running {
    handle: NodeHandle,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<Result<Ended, Failure>>,
}

impl Running {
    async fn stop(self) -> Result<(), Failure> {
        let Self {
            handle,
            shutdown,
            ended,
        } = self;
        let _ended_already = shutdown.send(());
        let ended = tokio::time::timeout(WAIT, ended)
            .await
            .expect("stops in time")
            .unwrap();
        // The database closes with its last reader.
        drop(handle);
        ended.map(|_| ())
    }
}

/// A run of ports that were free a moment ago, another one for every test of this
/// process, and below those that systems give to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..200 {
        let attempt = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id()
            .wrapping_mul(131)
            .wrapping_add(attempt * 977))
            % 12_000;
        let base = 20_000 + (offset as u16 / 50) * 50;
        let free = (0..4).all(|member| {
            let port = base + member * 10;
            UdpSocket::bind(("127.0.0.1", port)).is_ok()
                && (1..3).all(|n| TcpListener::bind(("127.0.0.1", port + n)).is_ok())
        });
        if free {
            return base;
        }
    }
    panic!("no free ports");
}

fn testnet(dir: &Path) -> Testnet {
    testnet_with(dir, |_| {})
}

fn testnet_with(dir: &Path, change: impl FnOnce(&mut Genesis)) -> Testnet {
    let mut options = InitOptions::new(dir.join("net"), 4);
    options.port = free_port();
    options.reserve_mb = 16;
    init(&options, |genesis| {
        genesis.consensus.max_interval_ms = 200;
        // A busy machine is no fault of the members.
        genesis.consensus.delay_min_ms = 100;
        genesis.lanes.future_ms = 200;
        change(genesis);
    })
    .unwrap()
}

fn options(net: &Testnet, member: usize) -> NodeOptions {
    let mut options = NodeOptions::new(net.members[member].home.root());
    options.crypto_threads = Some(1);
    options
}

async fn start(net: &Testnet, member: usize) -> Running {
    // The sockets of a stopped node close a moment after it.
    let begin = async {
        loop {
            match Node::start(options(net, member)).await {
                Ok(node) => return node,
                Err(StartError::Net(_) | StartError::Listen { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(StartError::Home(error)) if error.to_string().contains("another process") => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("member {member}: {error}"),
            }
        }
    };
    let node = tokio::time::timeout(WAIT, begin)
        .await
        .expect("starts in time");
    let handle = node.handle();
    let (shutdown, signal) = oneshot::channel();
    let ended = tokio::spawn(node.run(async move {
        drop(signal.await);
    }));
    Running {
        handle,
        shutdown,
        ended,
    }
}

async fn start_all(net: &Testnet) -> Vec<Running> {
    let mut members = Vec::new();
    for member in 0..net.members.len() {
        members.push(start(net, member).await);
    }
    members
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

fn order(genesis: &Genesis, trader: u8, nonce: u64, payload: &[u8]) -> Envelope {
    order_for(60_000, genesis, trader, nonce, payload)
}

fn order_for(life_ms: u64, genesis: &Genesis, trader: u8, nonce: u64, payload: &[u8]) -> Envelope {
    let key = encryption_key(genesis).unwrap().unwrap();
    let sender = SecretKey::from_seed([trader; 32]);
    let label = Label {
        suite: SUITE_TDH2,
        chain: genesis.chain,
        key_id: key.id(),
        sender: sender.public(),
        nonce,
        expiry: Millis(now_ms() + life_ms),
        fee: 0,
        lane: LANE_NONE,
        reserved: [0; 19],
    };
    let mut rng = UnwrapErr(SysRng);
    let ciphertext =
        Suite::encrypt(&key, &label.to_bytes(), payload, sender.seed(), &mut rng).unwrap();
    Envelope::sign(label, ciphertext, &sender)
}

/// Submits until the member takes it: a committee that has just started may be busy.
async fn submit(handle: &NodeHandle, envelope: &Envelope) {
    let envelope = Arc::new(envelope.clone());
    let taken = async {
        loop {
            match handle.submit(Arc::clone(&envelope)).await.unwrap() {
                Reply::Receipt(receipt) => {
                    assert_eq!(receipt.ct_id, envelope.id());
                    assert_eq!(receipt.lane, handle.me());
                    return;
                }
                Reply::Refused(error) => {
                    let text = error.to_string();
                    assert!(text.contains("retry"), "{text}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Reply::Status(_) => panic!("a status for a submission"),
            }
        }
    };
    tokio::time::timeout(WAIT, taken)
        .await
        .expect("a receipt in time");
}

/// Waits until an order is emitted by a member, and returns its block.
async fn emitted(handle: &NodeHandle, order: CtId) -> SequencedBlock {
    let mut heads = handle.heads();
    let found = async {
        loop {
            heads.borrow_and_update();
            if let Some(place) = handle.reader().emitted(&order).unwrap() {
                return handle.reader().block(place.height).unwrap().unwrap();
            }
            heads.changed().await.expect("the node runs");
        }
    };
    let waited = tokio::time::timeout(WAIT, found).await;
    waited.unwrap_or_else(|_| panic!("not emitted: {:?}", handle.status().borrow().clone()))
}

async fn reach(handle: &NodeHandle, height: Height) {
    let mut heads = handle.heads();
    let reached = tokio::time::timeout(WAIT, heads.wait_for(|head| *head >= height))
        .await
        .is_ok();
    assert!(
        reached,
        "height {height} not reached: {:?}",
        *handle.status().borrow()
    );
}

fn sequence(handle: &NodeHandle, to: Height) -> Vec<SequencedBlock> {
    let blocks = handle
        .reader()
        .blocks(Height(1), to.0 as usize, usize::MAX)
        .unwrap();
    assert_eq!(blocks.len() as u64, to.0);
    for pair in blocks.windows(2) {
        assert!(
            pair[1].follows(&pair[0]),
            "heights are chained without gaps"
        );
    }
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_come_out_the_same_everywhere_and_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet(dir.path());
    let mut members = start_all(&net).await;
    let mut blocks = members[3].handle.blocks();

    let mut orders = Vec::new();
    for n in 0..8_u8 {
        let payload = format!("payload {n}");
        let envelope = order(&net.genesis, 100 + n, 1, payload.as_bytes());
        submit(&members[usize::from(n) % 4].handle, &envelope).await;
        orders.push((envelope, payload));
    }
    let mut last = Height(0);
    for (envelope, payload) in &orders {
        for member in &members {
            let block = emitted(&member.handle, envelope.id()).await;
            let item = block
                .items
                .iter()
                .find(|item| item.ct_id == envelope.id())
                .unwrap();
            let Outcome::Opened {
                payload: opened, ..
            } = &item.outcome
            else {
                panic!("not opened: {:?}", item.outcome);
            };
            assert_eq!(opened, payload.as_bytes());
            last = last.max(block.height);
        }
    }
    let first = tokio::time::timeout(WAIT, blocks.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(first.height >= Height(1));

    // The same order again gives the same receipt or is known to be emitted; the query
    // knows it too.
    let (envelope, _) = &orders[0];
    match members[0].handle.query(envelope.id()).await.unwrap() {
        Reply::Status(Some(Stage::Emitted { .. })) => {}
        other => panic!("{other:?}"),
    }

    // One member restarts in order while the others go on.
    let two = members.remove(2);
    let head = *two.handle.heads().borrow();
    assert_eq!(two.stop().await, Ok(()));
    let envelope = order(&net.genesis, 50, 1, b"while one is away");
    submit(&members[0].handle, &envelope).await;
    last = last.max(emitted(&members[0].handle, envelope.id()).await.height);
    let two = start(&net, 2).await;
    assert!(
        *two.handle.heads().borrow() >= head,
        "the emitted height is known from disk"
    );
    last = last.max(emitted(&two.handle, envelope.id()).await.height);
    members.insert(2, two);

    // All of them restart.
    for member in &members {
        reach(&member.handle, last).await;
    }
    let before = sequence(&members[0].handle, last);
    for member in members {
        assert_eq!(member.stop().await, Ok(()));
    }
    let members = start_all(&net).await;
    for member in &members {
        assert_eq!(sequence(&member.handle, last), before);
    }
    let envelope = order(&net.genesis, 51, 1, b"after all restarted");
    submit(&members[1].handle, &envelope).await;
    for member in &members {
        let block = emitted(&member.handle, envelope.id()).await;
        last = last.max(block.height);
    }
    for member in &members {
        reach(&member.handle, last).await;
    }
    let sequences: Vec<_> = members.iter().map(|m| sequence(&m.handle, last)).collect();
    assert!(sequences.iter().all(|s| *s == sequences[0]));
    for member in members {
        assert!(!member.handle.status().borrow().observer);
        assert_eq!(member.stop().await, Ok(()));
    }
}

/// Waits until a member keeps nothing below a height.
async fn kept_from(handle: &NodeHandle, height: Height) {
    let mut heads = handle.heads();
    let pruned = async {
        loop {
            heads.borrow_and_update();
            let (first, _) = handle.reader().emitted_range().unwrap().unwrap();
            if first > height {
                return;
            }
            heads.changed().await.expect("the node runs");
        }
    };
    let in_time = tokio::time::timeout(WAIT, pruned).await;
    assert!(in_time.is_ok(), "still has {height}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_all_have_emitted_leaves_the_disk_and_what_one_lacks_stays() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet_with(dir.path(), |genesis| {
        genesis.consensus.max_interval_ms = 25;
        genesis.order.ttl_max_ms = 1_000;
        genesis.consensus.retention_ms = 3_000;
        genesis.order.snapshot_interval = 8;
    });
    // One member keeps everything.
    let path = net.members[0].home.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("archive = false", "archive = true");
    std::fs::write(&path, config).unwrap();

    let mut members = start_all(&net).await;
    for member in &members {
        reach(&member.handle, Height(40)).await;
    }
    let three = members.remove(3);
    let away = *three.handle.heads().borrow();
    assert_eq!(three.stop().await, Ok(()));
    let envelope = order_for(900, &net.genesis, 7, 1, b"while one is away");
    submit(&members[1].handle, &envelope).await;
    let last = emitted(&members[1].handle, envelope.id()).await.height;
    // Far longer than the retention in finalized time, which goes on with orders only.
    let until = emitted(&members[1].handle, envelope.id()).await.time;
    for nonce in 2.. {
        let envelope = order_for(900, &net.genesis, 8, nonce, b"time goes on");
        submit(&members[2].handle, &envelope).await;
        let block = emitted(&members[1].handle, envelope.id()).await;
        if block.time > until.plus(5_000) {
            break;
        }
    }
    let (first, head) = members[1].handle.reader().emitted_range().unwrap().unwrap();
    assert!(first <= away.next(), "{first} was pruned, one is at {away}");

    // It finds all that it lacks, and then what all have goes everywhere but in the archive.
    let three = start(&net, 3).await;
    reach(&three.handle, head).await;
    members.push(three);
    for member in &members[1..] {
        kept_from(&member.handle, last).await;
        assert_eq!(member.handle.reader().emitted(&envelope.id()), Ok(None));
    }
    let archive = members[0].handle.reader().emitted_range().unwrap().unwrap();
    assert_eq!(archive.0, Height(1));

    // A restart begins from what is kept.
    for member in members {
        assert_eq!(member.stop().await, Ok(()));
    }
    let members = start_all(&net).await;
    let envelope = order_for(900, &net.genesis, 7, 2, b"after all restarted");
    submit(&members[2].handle, &envelope).await;
    let blocks: Vec<_> = {
        let mut blocks = Vec::new();
        for member in &members {
            blocks.push(emitted(&member.handle, envelope.id()).await);
        }
        blocks
    };
    assert!(blocks.iter().all(|block| *block == blocks[0]));
    for member in members {
        assert_eq!(member.stop().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_without_its_safety_record_is_an_observer() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet(dir.path());
    std::fs::remove_dir_all(net.members[3].home.data_path()).unwrap();
    let members = start_all(&net).await;
    let envelope = order(&net.genesis, 9, 1, b"three of four suffice");
    submit(&members[0].handle, &envelope).await;
    emitted(&members[0].handle, envelope.id()).await;
    // The observer follows, says what it is, and takes no orders (C7).
    emitted(&members[3].handle, envelope.id()).await;
    let mut status = members[3].handle.status();
    // What a watch lends is given back at once: the core waits for it.
    assert!(
        tokio::time::timeout(WAIT, status.wait_for(|s| s.observer))
            .await
            .is_ok()
    );
    let another = Arc::new(order(&net.genesis, 9, 2, b"no"));
    match members[3].handle.submit(another).await.unwrap() {
        Reply::Refused(error) => assert!(error.to_string().contains("observer"), "{error}"),
        other => panic!("{other:?}"),
    }
    for member in members {
        assert_eq!(member.stop().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_member_waits_refuses_while_draining_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet(dir.path());
    let zero = start(&net, 0).await;
    let status = zero.handle.status();
    assert!(!status.borrow().quorum_connected);
    // The same home a second time: the message says what is wrong.
    let second = options(&net, 0);
    let error = Node::start(second).await.err().unwrap().to_string();
    assert!(error.contains("is in use by a running node"), "{error}");

    zero.handle.drain();
    let envelope = Arc::new(order(&net.genesis, 1, 1, b"late"));
    assert_eq!(
        zero.handle.submit(envelope).await,
        Err(RequestError::Draining)
    );
    let handle = zero.handle.clone();
    let mut stopping = handle.stopping();
    assert_eq!(zero.stop().await, Ok(()));
    assert!(*stopping.borrow_and_update());
    assert_eq!(
        handle.query(CtId::default()).await,
        Err(RequestError::Stopped)
    );
}

/// A stopped node has no part that still reads the database: here the last snapshot takes its
/// time, for it is written to a pipe that nobody reads yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stops_after_what_executes() {
    let dir = tempfile::tempdir().unwrap();
    let mut net = InitOptions::new(dir.path().join("net"), 4);
    net.port = free_port();
    net.reserve_mb = 16;
    let market = MarketParams::plain(10_000, MatchingRule::PriceTime);
    net.execution = Some(ExecutionGenesis::plain(vec![market], Vec::new()));
    let net = init(&net, |_| {}).unwrap();
    let pipe = net.members[0].home.root().join("execution.new");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let zero = start(&net, 0).await;
    drop(zero.handle);
    drop(zero.shutdown);
    let mut ended = zero.ended;
    let early = tokio::time::timeout(Duration::from_secs(5), &mut ended).await;
    assert!(early.is_err(), "it ended before what executes");
    let read = tokio::task::spawn_blocking(move || std::fs::read(pipe).unwrap().len());
    ended.await.unwrap().unwrap();
    assert!(read.await.unwrap() > 0, "no snapshot was written");
    let home = &net.members[0].home;
    let config = Config::load(home, Overrides::default()).unwrap();
    Resting::open(home, &config).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_another_member_or_chain_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet(dir.path());
    let (zero, one) = (&net.members[0].home, &net.members[1].home);
    std::fs::remove_dir_all(zero.data_path()).unwrap();
    std::fs::rename(one.data_path(), zero.data_path()).unwrap();
    let error = Node::start(options(&net, 0)).await.err().unwrap();
    assert!(matches!(error, StartError::Recover(_)), "{error}");
    assert!(error.to_string().contains("another member"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_stops_the_start_with_the_folder_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let net = testnet(dir.path());
    let data = net.members[0].home.data_path();
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("MANIFEST")
        {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xFF;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let error = Node::start(options(&net, 0))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("corrupt") && error.contains("snapshot"),
        "{error}"
    );
    assert!(error.contains(&data.display().to_string()), "{error}");
}
