//! `fairlane-engine` between a live committee and an execution client on loopback: kill −9
//! of the driver again and again, calls whose answers are lost, and a member that goes away.
//! The client's chain is the sequence, each transaction once, by calls in the right order.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../../../adapters/evm/tests/mock/mod.rs"]
#[allow(dead_code)]
mod mock;

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Cluster, PATIENCE, program};
use fairlane_client::{SealOptions, Sealer, dev};
use fairlane_types::{Height, Millis, Outcome, SeededRng};
use mock::{Break, Manner, Mock, SECRET};
use tempfile::TempDir;

/// Kills of the driver.
const KILLS: usize = 4;
/// Sender of what makes time go on.
const TICKER: u8 = 50;

struct Driver {
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    ticks: u8,
}

impl Driver {
    fn new(cluster: &Cluster, engine: std::net::SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jwt = folder.path().join("jwt.hex");
        std::fs::write(&jwt, hex::encode(SECRET)).unwrap();
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let key = cluster.committee.pin().certificate_key().unwrap();
        let mut arguments: Vec<String> = [
            ("--committee-key", hex::encode(key)),
            ("--engine", format!("http://{engine}")),
            ("--jwt-secret", text(&jwt)),
            ("--cursor", text(&folder.path().join("cursor"))),
            ("--fee-recipient", "fe".repeat(20)),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        for member in &cluster.testnet.members {
            arguments.extend(["--to".to_owned(), member.config.listen_api.to_string()]);
        }
        Self {
            folder,
            arguments,
            child: None,
            ticks: 0,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn spawn(&mut self) {
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(program("fairlane-engine"));
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {}", self.log());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the client has more than so many blocks. Finalized time rests while
    /// nothing is ordered, and a slot with it: something is.
    async fn beyond(&mut self, cluster: &Cluster, mock: &Mock, blocks: usize) {
        let deadline = Instant::now() + PATIENCE;
        while mock.chain().len() <= blocks {
            send(cluster, TICKER, self.ticks..self.ticks + 1).await;
            self.ticks += 1;
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "no block\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Seals transactions of the client on loopback: the sender's next nonces, and one that is
/// invalid.
async fn send(cluster: &Cluster, sender: u8, nonces: std::ops::Range<u8>) {
    let pin = cluster.committee.pin();
    let mut rng = SeededRng::new(&[sender; 32], &[nonces.start]);
    for nonce in nonces {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let expiry = Millis(now.unwrap().as_millis() as u64 + 60_000);
        for (n, payload) in [[2, sender, nonce], [2, sender, 200]].iter().enumerate() {
            let options = SealOptions {
                nonce: u64::from(nonce) * 2 + n as u64,
                expiry,
                lane: None,
            };
            let trader = dev::trader_key(&format!("rollup {sender}"));
            let sealer = Sealer::new(pin, trader);
            let envelope = sealer.seal_bytes(payload, options, &mut rng).unwrap();
            let sent = cluster.committee.submit_to_any(&envelope, 1).await;
            sent.unwrap();
        }
        // One sender's transactions are in the order that it sent them in.
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_call_the_clients_chain_is_the_sequence() {
    let mut cluster = Cluster::start(4, None).await;
    let mock = Mock::new(Manner::Refuses);
    let mut driver = Driver::new(&cluster, mock.serve().await);
    driver.spawn();
    for kill in 0..KILLS {
        send(&cluster, kill as u8, 0..6).await;
        let blocks = mock.chain().len();
        let calls = mock.state().total;
        // Some call from here on is lost on its way, or its answer is.
        mock.state().breaks = match kill % 2 {
            0 => Break::Before(calls + 2 + kill as u64),
            _ => Break::After(calls + 2 + kill as u64),
        };
        if kill == 2 {
            cluster.kill(0);
        }
        driver.beyond(&cluster, &mock, blocks).await;
        driver.kill();
        driver.spawn();
    }
    cluster.spawn(0);
    cluster.ready(0).await;
    let blocks = 1 + mock.chain().len();
    driver.beyond(&cluster, &mock, blocks).await;
    driver.kill();

    let chain = mock.chain();
    let until = cluster.head(1).await.unwrap();
    let sequence = cluster.blocks(1, until).await;
    // Every block names a root of the sequence, and they ascend to beyond the last order.
    let heights: Vec<Height> = chain[1..]
        .iter()
        .map(|block| {
            let named = |b: &&fairlane_types::SequencedBlock| {
                format!("0x{}", hex::encode(b.root.0.0)) == block.beacon_root
            };
            let found = sequence.iter().find(named);
            found.expect("a root of the sequence").height
        })
        .collect();
    assert!(heights.is_sorted_by(|a, b| a < b), "{heights:?}");
    let reached = *heights.last().unwrap();
    // The valid ones of the sequence up to there, each once, in its order.
    let mut next = std::collections::BTreeMap::new();
    let wanted: Vec<Vec<u8>> = sequence
        .iter()
        .filter(|block| block.height <= reached)
        .flat_map(|block| &block.items)
        .filter_map(|item| match &item.outcome {
            Outcome::Opened { payload, .. } => Some(payload.clone()),
            _ => None,
        })
        .filter(|payload| {
            let next: &mut u8 = next.entry(payload[1]).or_default();
            let valid = payload[2] == *next;
            *next += u8::from(valid);
            valid
        })
        .collect();
    let made: Vec<Vec<u8>> = chain.iter().flat_map(|b| b.transactions.clone()).collect();
    assert_eq!(made, wanted);
    assert!(made.len() >= 6 * KILLS, "{} transactions", made.len());
    // No payload is told before it was fetched, none chosen before it was told.
    let mut state = "choose";
    for call in mock.take_calls() {
        state = match (call.as_str(), state) {
            ("eth_getBlockByNumber", _) => "choose",
            ("engine_forkchoiceUpdatedV3+", _) => "get",
            ("engine_getPayloadV4", "get") => "tell",
            ("engine_newPayloadV4", "tell") => "choose",
            ("engine_forkchoiceUpdatedV3", "choose") => "choose",
            (call, state) => panic!("{call} where it was to {state}"),
        };
    }
    cluster.nobody_contradicts().await;
}
