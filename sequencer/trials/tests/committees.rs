//! Committees of processes that change under load, by the operators' own commands: 4 → 7 → 4
//! machines, with a member killed in the middle of each change (PROTOCOL §6, THREATS A20,
//! A21, A27).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{PATIENCE, complete_opened, free_ports, pause, program};
use fairlane_client::{Member, Pin, SealOptions, Sealer};
use fairlane_node::testnet::{self, InitOptions};
use fairlane_types::{CtId, Height, Millis, Outcome, SecretKey, SeededRng, SequencedBlock};

/// Orders a second.
const RATE: u64 = 40;

/// A machine: its home, its addresses, its process.
struct Machine {
    home: PathBuf,
    port: u16,
    api: Member,
    ops: Member,
    child: Option<Child>,
}

impl Machine {
    fn new(home: PathBuf, port: u16) -> Self {
        let client = |port: u16| {
            let member = Member::new(&format!("127.0.0.1:{port}")).unwrap();
            member.with_limit(Duration::from_secs(3))
        };
        Self {
            home,
            port,
            api: client(port + 1),
            ops: client(port + 2),
            child: None,
        }
    }

    fn spawn(&mut self) {
        let log = self.home.join("node.log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = Command::new(program("fairlane"))
            .args(["node", "--home"])
            .arg(&self.home)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.home.join("node.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Waits until it is ready in an epoch.
    async fn ready_in(&mut self, epoch: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.as_mut().expect("it runs").try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{} ended: {ended:?}\n{}",
                self.port,
                self.log()
            );
            let status = self.ops.status().await;
            if status.is_ok_and(|status| status.ready && status.epoch >= epoch) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} is not in {epoch}\n{}",
                self.port,
                self.log()
            );
            pause().await;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs `fairlane` and wants it to succeed.
fn fairlane(args: &[&str]) {
    let done = Command::new(program("fairlane"))
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "fairlane {args:?}: {text}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[derive(Default)]
struct Sent {
    payloads: BTreeMap<CtId, Vec<u8>>,
    acknowledged: BTreeSet<CtId>,
}

/// A trader that sends every order to all machines until one acknowledges it.
async fn trade(pin: Pin, apis: Vec<Member>, sent: Arc<Mutex<Sent>>, stop: Arc<AtomicBool>) {
    let mut rng = SeededRng::new(&[9; 32], b"committees");
    let trader = Sealer::new(&pin, SecretKey::from_seed([1; 32]));
    let mut tasks = tokio::task::JoinSet::new();
    for nonce in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let payload = format!("order {nonce}").into_bytes();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let options = SealOptions {
            nonce,
            expiry: Millis(now + 100_000),
            lane: None,
        };
        let envelope = trader.seal_bytes(&payload, options, &mut rng).unwrap();
        sent.lock().unwrap().payloads.insert(envelope.id(), payload);
        let (apis, sent) = (apis.clone(), Arc::clone(&sent));
        tasks.spawn(async move {
            let until = Instant::now() + PATIENCE;
            loop {
                let mut answers = tokio::task::JoinSet::new();
                for api in apis.clone() {
                    let envelope = envelope.clone();
                    answers.spawn(async move { api.submit(&envelope).await });
                }
                let mut taken = false;
                while let Some(answer) = answers.join_next().await {
                    taken |= answer.unwrap().is_ok();
                }
                if taken {
                    sent.lock().unwrap().acknowledged.insert(envelope.id());
                    return;
                }
                assert!(Instant::now() < until, "nobody takes order {nonce}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(1_000 / RATE)).await;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// The whole sequence of a machine, as far as `orders` need it.
async fn sequence(machine: &Machine, orders: &BTreeSet<CtId>) -> Vec<SequencedBlock> {
    let until = Instant::now() + PATIENCE;
    let (mut blocks, mut open) = (Vec::<SequencedBlock>::new(), orders.clone());
    while !open.is_empty() {
        let next = Height(blocks.len() as u64 + 1);
        match machine.api.block_at(next).await {
            Ok(block) => {
                if let Some(last) = blocks.last() {
                    assert!(block.follows(last), "block {next} does not follow");
                }
                for item in &block.items {
                    open.remove(&item.ct_id);
                }
                blocks.push(block);
            }
            Err(error) => {
                let left = open.len();
                assert!(
                    Instant::now() < until,
                    "{left} orders are missing at {next} of {}: {error}\n{}",
                    machine.port,
                    machine.log()
                );
                pause().await;
            }
        }
    }
    blocks
}

/// Operators decide on the machines `next`, approved by the first of `present`.
fn decide(dir: &Path, machines: &[Machine], present: &[usize], next: &[usize], epoch: u64) {
    let genesis = dir.join("net/genesis.json");
    let change = dir.join(format!("change-{epoch}.json"));
    let mut propose = vec!["committee", "propose", "--genesis", text(&genesis), "--to"];
    let to = format!("http://127.0.0.1:{}", machines[present[0]].port + 1);
    propose.push(&to);
    let cards: Vec<_> = next
        .iter()
        .map(|m| machines[*m].home.join("card.json"))
        .collect();
    propose.extend(cards.iter().map(|card| text(card)));
    propose.extend(["-o", text(&change)]);
    fairlane(&propose);
    let quorum = present.len() - (present.len() - 1) / 3;
    for machine in &present[..quorum] {
        let home = text(&machines[*machine].home);
        fairlane(&["committee", "approve", "--home", home, text(&change)]);
    }
    let ops = format!("http://127.0.0.1:{}", machines[present[1]].port + 2);
    fairlane(&["committee", "submit", "--ops", &ops, text(&change)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_become_seven_and_four_again_and_no_order_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let base = free_ports(7);
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.port = base;
    options.reserve_mb = 64;
    options.dealer = false;
    let net = testnet::init(&options, |_| {}).unwrap();
    let mut machines: Vec<Machine> = (net.members.iter())
        .map(|member| {
            let port = member.config.listen_quic.port();
            Machine::new(member.home.root().to_owned(), port)
        })
        .collect();
    for machine in &mut machines {
        let quic = format!("127.0.0.1:{}", machine.port);
        let api = format!("http://127.0.0.1:{}", machine.port + 1);
        let (home, card) = (machine.home.clone(), machine.home.join("card.json"));
        let args = [
            "committee",
            "card",
            "--home",
            text(&home),
            "--quic",
            &quic,
            "--api",
            &api,
        ];
        fairlane(&[&args[..], &["-o", text(&card)]].concat());
        machine.spawn();
    }
    let from = format!(
        "http://127.0.0.1:{},http://127.0.0.1:{}",
        machines[0].port + 1,
        machines[3].port + 1
    );
    for joiner in 4..7_u16 {
        let (home, port) = (
            dir.path().join(format!("joiner-{joiner}")),
            base + joiner * 10,
        );
        let text_port = port.to_string();
        let genesis = dir.path().join("net/genesis.json");
        let args = [
            "committee",
            "join",
            "--genesis",
            text(&genesis),
            "-o",
            text(&home),
        ];
        fairlane(
            &[
                &args[..],
                &["--port", &text_port, "--from", &from, "--reserve-mb", "64"],
            ]
            .concat(),
        );
        let mut machine = Machine::new(home, port);
        machine.spawn();
        machines.push(machine);
    }
    for machine in &mut machines[..4] {
        machine.ready_in(0).await;
    }
    let pin = machines[0].api.pin(net.genesis.clone()).await.unwrap();
    let committee_key = *pin.certificate_key().unwrap();
    let apis: Vec<Member> = machines.iter().map(|machine| machine.api.clone()).collect();
    let (sent, stop) = (
        Arc::new(Mutex::new(Sent::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let load = tokio::spawn(trade(pin, apis, Arc::clone(&sent), Arc::clone(&stop)));

    let (first, all, last) = ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6]);
    let mut started = Instant::now();
    decide(dir.path(), &machines, &first, &all, 1);
    machines[2].kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    machines[2].spawn();
    for machine in &mut machines {
        machine.ready_in(1).await;
    }
    println!("four became seven in {:?}", started.elapsed());

    started = Instant::now();
    decide(dir.path(), &machines, &all, &last, 2);
    machines[5].kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    machines[5].spawn();
    for machine in last {
        machines[machine].ready_in(2).await;
    }
    println!("seven became four in {:?}", started.elapsed());
    // Those who left wait for another call, and nobody needs them.
    for machine in &mut machines[..3] {
        machine.kill();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();

    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[3], &sent.acknowledged).await;
    let mut outcomes: BTreeMap<CtId, Outcome> = BTreeMap::new();
    for item in reference.iter().flat_map(|block| &block.items) {
        let twice = outcomes.insert(item.ct_id, item.outcome.clone());
        assert!(twice.is_none(), "order {} is there twice", item.ct_id);
    }
    complete_opened(&sent.acknowledged, &sent.payloads, &outcomes);
    for machine in [4, 5, 6] {
        let theirs = sequence(&machines[machine], &sent.acknowledged).await;
        let both = theirs.len().min(reference.len());
        assert_eq!(
            theirs[..both],
            reference[..both],
            "machine {machine} has another sequence"
        );
    }
    let epochs: BTreeSet<u64> = reference.iter().map(|block| block.epoch.0).collect();
    assert_eq!(epochs, BTreeSet::from([0, 1, 2]));
    // A client that knows the first genesis only is led to the present committee.
    let pin = machines[4].api.pin(net.genesis.clone()).await.unwrap();
    assert_eq!(pin.genesis().epoch().0, 2);
    assert_eq!(pin.hash(), net.genesis.hash());
    // The one key of the first epoch still vouches for the sequence.
    let attested = machines[4].api.attestation(None).await.unwrap();
    assert_eq!(attested.epoch.0, 2);
    assert!(attested.verify(&committee_key, net.genesis.chain));
    println!(
        "{} orders acknowledged, all there, each once",
        sent.acknowledged.len()
    );
}
