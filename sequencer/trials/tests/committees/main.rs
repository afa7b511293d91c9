//! Committees of processes that change under load, by the operators' own commands: 4 → 7 → 4
//! machines, with a member killed in the middle of each change (PROTOCOL §6, THREATS A20,
//! A21, A27). Afterwards the disks are searched: what read the shares of earlier epochs is on
//! none of them, and what was dealt then is of no use to whoever takes them all. The same with
//! a fresh encryption key in every epoch: orders under way come out under the one that they are
//! sealed to, traders go over to the present one, and no disk has a share of one before. And with
//! f false dealers of each committee, among them four machines and four others: also with keys of
//! scheme baek-zheng, on a chain that is no experiment.

#![allow(clippy::unwrap_used, clippy::panic)]

mod clear;
#[path = "../common/mod.rs"]
mod common;
mod dealers;
mod disks;
mod leavers;
mod steps;
mod traders;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, free_ports, pause, program};
use disks::{gone, holds, none_has, secret, share_needles};
use fairlane_client::Member;
use fairlane_client::wire::ErrorCode;
use fairlane_encryption::ReceiverSecret;
use fairlane_node::home::Home;
use fairlane_node::passphrase::PASSPHRASE_VARIABLE;
use fairlane_node::testnet::{self, InitOptions, Testnet};
use fairlane_replica::{EPOCH_BASE_BYTES_MAX, EpochBase};
use fairlane_types::{
    CommitteeChange, CtId, Epoch, Genesis, Height, KeyId, MemberId, Outcome, SequencedBlock, decode,
};
use traders::{RATE, Sent, by_epoch, check_some_openings, trade};

/// How long a former key opens orders.
const KEY_GRACE_MS: u64 = 20_000;

/// Of key files that are encrypted.
const PASSPHRASE: &str = "correct horse battery staple";

/// A machine: its home, its addresses, its process.
struct Machine {
    home: PathBuf,
    port: u16,
    api: Member,
    ops: Member,
    child: Option<Child>,
    /// It lies while keys are made, from when it is started until the end of that epoch.
    lies: bool,
    /// Its key files are encrypted.
    sealed: bool,
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
            lies: false,
            sealed: false,
        }
    }

    /// A program that works on its home.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        if self.sealed {
            command.env(PASSPHRASE_VARIABLE, PASSPHRASE);
        }
        command
    }

    /// Runs `fairlane` on its home and wants it to succeed.
    fn fairlane(&self, args: &[&str]) {
        let (good, text) = run(self.program("fairlane").args(args));
        assert!(good, "fairlane {args:?}: {text}");
    }

    fn spawn(&mut self) {
        let log = self.home.join("node.log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let (binary, args) = match self.lies {
            true => ("fairlane-liar", &["--lie", "dealings", "--home"][..]),
            false => ("fairlane", &["node", "--home"][..]),
        };
        let child = self
            .program(binary)
            .args(args)
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

    /// Waits until something is so of it, and says what is not if it never is.
    async fn waits_until(&self, lacks: &str, is_so: impl AsyncFn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so().await {
            let log = || self.log();
            assert!(Instant::now() < until, "{} {lacks}\n{}", self.port, log());
            pause().await;
        }
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
        // Who fails may be another one than who says so.
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.port, self.log());
        }
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn run(command: &mut Command) -> (bool, String) {
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.success(), text)
}

/// Runs `fairlane` and wants it to succeed.
fn fairlane(args: &[&str]) {
    let (good, text) = run(Command::new(program("fairlane")).args(args));
    assert!(good, "fairlane {args:?}: {text}");
}

/// Runs `fairlane` and wants it to refuse, for a reason.
fn refused(args: &[&str], why: &str) {
    let (good, text) = run(Command::new(program("fairlane")).args(args));
    assert!(!good && text.contains(why), "fairlane {args:?}: {text}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The whole sequence of a machine, as far as `orders` need it.
async fn sequence(machine: &Machine, sent: &Sent) -> Vec<SequencedBlock> {
    let until = Instant::now() + PATIENCE;
    let acknowledged = sent.acknowledged.iter().map(|id| sent.sealed[id]);
    let (mut blocks, mut open) = (
        Vec::<SequencedBlock>::new(),
        BTreeSet::from_iter(acknowledged),
    );
    while !open.is_empty() {
        let next = Height(blocks.len() as u64 + 1);
        match machine.api.block_at(next).await {
            Ok(block) => {
                if let Some(last) = blocks.last() {
                    assert!(block.follows(last), "block {next} does not follow");
                }
                for item in &block.items {
                    if matches!(item.outcome, Outcome::Opened { .. }) {
                        open.remove(&sent.sealed[&item.ct_id]);
                    }
                }
                blocks.push(block);
            }
            Err(error) => {
                assert!(
                    Instant::now() < until,
                    "missing at {next} of {}: {:?}\n{error}\n{}",
                    machine.port,
                    sent.what_became_of(&open, &outcomes_of(&blocks)),
                    machine.log()
                );
                pause().await;
            }
        }
    }
    blocks
}

/// A machine's card for the epoch after the one that its home is in, beside the last one.
fn card(machine: &Machine) -> PathBuf {
    let quic = format!("127.0.0.1:{}", machine.port);
    let api = format!("http://127.0.0.1:{}", machine.port + 1);
    let (home, card) = (&machine.home, machine.home.join("card.json"));
    let args = ["committee", "card", "--home", text(home), "--quic", &quic];
    machine.fairlane(&[&args[..], &["--api", &api, "-o", text(&card)]].concat());
    card
}

/// `fairlane committee propose` with these cards, to a machine.
fn propose(dir: &Path, to: &Machine, key: &str, cards: &[PathBuf], out: &Path) -> Vec<String> {
    let genesis = dir.join("net/genesis.json");
    let to = format!("http://127.0.0.1:{}", to.port + 1);
    let mut args = vec!["committee", "propose", "--genesis", text(&genesis), "--to"];
    args.push(&to);
    args.extend(cards.iter().map(|card| text(card)));
    args.extend(["--key", key, "-o", text(out)]);
    args.into_iter().map(str::to_owned).collect()
}

/// Operators decide on the machines `next`, approved by the first of `present`.
fn decide(
    (dir, key): (&Path, &str),
    machines: &[Machine],
    present: &[usize],
    next: &[usize],
    epoch: u64,
) {
    let change = dir.join(format!("change-{epoch}.json"));
    let cards: Vec<_> = next.iter().map(|m| card(&machines[*m])).collect();
    let args = propose(dir, &machines[present[0]], key, &cards, &change);
    fairlane(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let quorum = present.len() - (present.len() - 1) / 3;
    for machine in &present[..quorum] {
        let home = text(&machines[*machine].home);
        machines[*machine].fairlane(&["committee", "approve", "--home", home, text(&change)]);
    }
    let ops = format!("http://127.0.0.1:{}", machines[present[1]].port + 2);
    fairlane(&["committee", "submit", "--ops", &ops, text(&change)]);
}

async fn epoch_base(machine: &Machine, epoch: u64) -> EpochBase {
    let bytes = machine
        .api
        .epoch_base(Epoch(epoch), EPOCH_BASE_BYTES_MAX)
        .await
        .unwrap();
    decode(&bytes, EPOCH_BASE_BYTES_MAX).unwrap()
}

/// Somebody kept what was dealt in `base`, and takes all disks: no secret on them opens it,
/// and no machine hands the dealings out any more.
async fn nothing_to_steal(machines: &[Machine], base: &EpochBase) {
    let mut tried = 0;
    for machine in machines {
        let home = Home::open(&machine.home).unwrap();
        for epoch in home.receiver_epochs().unwrap() {
            let secret = home.receiver(epoch).unwrap();
            for member in 0..base.next.members.len() {
                let share = base.sharing(MemberId(member as u8), &secret);
                let port = machine.port;
                assert!(share.is_err(), "{port} has a share of {}", base.epoch());
                tried += 1;
            }
        }
    }
    println!("{tried} secrets open nothing of {}", base.epoch());
    for machine in &machines[3..] {
        let mut served = epoch_base(machine, base.epoch().0).await;
        // A quorum signed; which one a machine heard first is its own.
        served.handover.word = base.handover.word.clone();
        assert_eq!(served, base.clone().stripped());
    }
}

/// A member lost its machine and has a backup of its keys, made in epoch 2: in an empty folder
/// it goes through the epochs before, for which it has no keys, and serves in its own again.
async fn a_backup_leads_to_its_own_epoch(
    dir: &Path,
    machine: &mut Machine,
    from: &Machine,
    fresh: bool,
) {
    let (passphrase, backup) = (dir.join("passphrase"), dir.join("backup"));
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&passphrase, private).unwrap();
    let sealed = ["--backup-passphrase-file", text(&passphrase)];
    let home = ["--home", text(&machine.home)];
    let out = ["-o", text(&backup)];
    fairlane(&[&["keys", "backup"][..], &home, &out, &sealed].concat());
    machine.kill();
    let (new, genesis) = (dir.join("restored"), dir.join("net/genesis.json"));
    let home = ["--home", text(&new), "--plain", "--genesis", text(&genesis)];
    let file = ["--backup", text(&backup)];
    fairlane(&[&["keys", "restore"][..], &file, &home, &sealed].concat());
    let config = std::fs::read_to_string(machine.home.join("config.toml")).unwrap();
    let join = format!("join = [\"http://127.0.0.1:{}\"]\n", from.port + 1);
    let old = config.lines().filter(|line| !line.starts_with("join"));
    let config = old.fold(join, |text, line| text + line + "\n");
    std::fs::write(new.join("config.toml"), config).unwrap();
    // By then the receiver key of an epoch with a fresh key is erased, and its shares are kept.
    let epochs = || {
        let home = Home::open(&new).unwrap();
        (
            home.receiver_epochs().unwrap(),
            home.shares_epochs().unwrap(),
        )
    };
    let want = match fresh {
        true => (Vec::new(), vec![Epoch(2)]),
        false => (vec![Epoch(2)], Vec::new()),
    };
    assert_eq!(epochs(), want);
    machine.home.clone_from(&new);
    machine.spawn();
    let until = Instant::now() + PATIENCE;
    while machine.ops.status().await.map_or(0, |status| status.epoch) < 2 {
        assert!(Instant::now() < until, "it is not back\n{}", machine.log());
        pause().await;
    }
    assert_eq!(epochs(), want);
}

/// Neither an old card, nor one with the old key in a new one, nor a change with one that
/// operators approved all the same.
async fn a_used_receiver_key_is_refused(dir: &Path, machines: &[Machine], base: &EpochBase) {
    let (old, new) = (dir.join("old.json"), dir.join("new.json"));
    std::fs::copy(machines[3].home.join("card.json"), &old).unwrap();
    let change = dir.join("refused.json");
    let mut cards: Vec<_> = machines[3..].iter().map(card).collect();
    cards[0].clone_from(&old);
    let args = propose(dir, &machines[0], "kept", &cards, &change);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    refused(&args, "a card for epoch 1, not for epoch 2");
    let text = std::fs::read_to_string(&old).unwrap();
    std::fs::write(&new, text.replace("\"epoch\": 1", "\"epoch\": 2")).unwrap();
    cards[0].clone_from(&new);
    let args = propose(dir, &machines[0], "kept", &cards, &change);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    refused(&args, "was used in epoch 1 already");

    cards[0] = machines[3].home.join("card.json");
    let args = propose(dir, &machines[0], "kept", &cards, &change);
    fairlane(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let json = std::fs::read(&change).unwrap();
    let mut approved: CommitteeChange = serde_json::from_slice(&json).unwrap();
    approved.next.members[0].receiver = base.next.members[3].receiver;
    std::fs::write(&change, serde_json::to_vec(&approved).unwrap()).unwrap();
    let home = machines[0].home.to_str().unwrap();
    let change = change.to_str().unwrap();
    refused(
        &["committee", "approve", "--home", home, change],
        "was used in epoch 1 already",
    );
    for (member, machine) in machines.iter().enumerate().take(5) {
        let identity = Home::open(&machine.home).unwrap().identity().unwrap();
        let signature = approved.next.approve(&identity);
        approved.approved.add(MemberId(member as u8), signature);
    }
    let error = machines[1].ops.change_committee(&approved).await;
    assert_eq!(error.unwrap_err().code(), Some(ErrorCode::ReceiverReused));
}

/// After its grace nothing on the disks gives a share of a former key, and the members go on,
/// started anew or not.
async fn former_shares_go(machines: &mut [Machine], secrets: &[(u16, ReceiverSecret)]) {
    let base = epoch_base(&machines[0], 2).await;
    gone(machines, secrets).await;
    none_has(
        machines,
        &share_needles(&base, secrets, true),
        "a former share",
    )
    .await;
    let kept = share_needles(&base, secrets, false);
    for machine in &*machines {
        let home = Home::open(&machine.home).unwrap();
        let found = holds(&machine.home, &kept);
        assert_eq!(found, Some(home.shares_path(Epoch(2))));
        assert!(home.receiver_epochs().unwrap().is_empty());
    }
    machines[1].kill();
    machines[1].spawn();
    machines[1].ready_in(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_become_seven_and_four_again_and_no_order_is_lost() {
    committees_change("kept").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_keys_take_over_under_load_and_the_ones_before_go() {
    committees_change("fresh").await;
}

fn first_four(net: &Testnet) -> Vec<Machine> {
    let machines = net.members.iter().map(|member| {
        let port = member.config.listen_quic.port();
        Machine::new(member.home.root().to_owned(), port)
    });
    machines.collect()
}

/// Machines that join a later epoch, on the ports after those of the first.
fn join(dir: &Path, machines: &mut Vec<Machine>, joiners: Range<u16>) {
    let api = |machine: &Machine| format!("http://127.0.0.1:{}", machine.port + 1);
    let from = format!("{},{}", api(&machines[0]), api(&machines[3]));
    for joiner in joiners {
        let home = dir.join(format!("joiner-{joiner}"));
        let port = machines[0].port + joiner * 10;
        let (genesis, port_word) = (dir.join("net/genesis.json"), port.to_string());
        let args = [
            "committee",
            "join",
            "--genesis",
            text(&genesis),
            "-o",
            text(&home),
        ];
        let more = ["--port", &port_word, "--from", &from, "--reserve-mb", "64"];
        let mut machine = Machine::new(home.clone(), port);
        machine.sealed = machines[0].sealed;
        machine.fairlane(&[&args[..], &more].concat());
        machine.spawn();
        machines.push(machine);
    }
}

/// Everything that comes out of a sequence, each once.
fn outcomes_of(blocks: &[SequencedBlock]) -> BTreeMap<CtId, Outcome> {
    let mut outcomes: BTreeMap<CtId, Outcome> = BTreeMap::new();
    for item in blocks.iter().flat_map(|block| &block.items) {
        let twice = outcomes.insert(item.ct_id, item.outcome.clone());
        assert!(twice.is_none(), "order {} is there twice", item.ct_id);
    }
    outcomes
}

async fn committees_change(key: &str) {
    let fresh = key == "fresh";
    let dir = tempfile::tempdir().unwrap();
    let base = free_ports(7);
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.port = base;
    options.reserve_mb = 64;
    options.dealer = false;
    let grace = |genesis: &mut Genesis| genesis.order.key_grace_ms = KEY_GRACE_MS;
    let net = testnet::init(&options, grace).unwrap();
    let mut machines = first_four(&net);
    for machine in &mut machines {
        machine.spawn();
    }
    for machine in &mut machines {
        machine.ready_in(0).await;
    }
    join(dir.path(), &mut machines, 4..7);
    let pin = machines[0].api.pin(net.genesis.clone()).await.unwrap();
    let first_key = pin.key().id();
    let committee_key = *pin.certificate_key().unwrap();
    let apis: Vec<Member> = machines.iter().map(|machine| machine.api.clone()).collect();
    let (sent, stop) = (
        Arc::new(Mutex::new(Sent::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let load = tokio::spawn(trade(
        Arc::new(Mutex::new(pin)),
        apis,
        RATE,
        (Arc::clone(&sent), Arc::clone(&stop)),
    ));

    let (first, all, last) = ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6]);
    let of_zero: Vec<_> = (machines[..4].iter())
        .map(|machine| secret(machine, 0))
        .collect();
    let mut started = Instant::now();
    decide((dir.path(), key), &machines, &first, &all, 1);
    machines[2].kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    machines[2].spawn();
    for machine in &mut machines {
        machine.ready_in(1).await;
    }
    println!("four became seven in {:?}", started.elapsed());
    let of_one: Vec<_> = (machines.iter())
        .map(|machine| secret(machine, 1))
        .collect();
    gone(&machines, &of_zero).await;
    let base = epoch_base(&machines[6], 1).await;
    for (member, (machine, secret)) in of_one.iter().enumerate() {
        let me = MemberId(member as u8);
        assert!(base.sharing(me, secret).is_ok(), "{machine} has its share");
    }
    a_used_receiver_key_is_refused(dir.path(), &machines, &base).await;

    started = Instant::now();
    decide((dir.path(), key), &machines, &all, &last, 2);
    machines[5].kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    machines[5].spawn();
    for machine in last {
        machines[machine].ready_in(2).await;
    }
    println!("seven became four in {:?}", started.elapsed());
    let of_two: Vec<_> = (machines[3..].iter())
        .map(|machine| secret(machine, 2))
        .collect();
    gone(&machines, &of_one).await;
    nothing_to_steal(&machines, &base).await;
    if fresh {
        // Shares of the key of epoch 1, as they were in that epoch, and as they were dealt on.
        none_has(
            &machines,
            &share_needles(&base, &of_one, false),
            "a share of epoch 1",
        )
        .await;
        none_has(
            &machines,
            &share_needles(&base, &of_one, true),
            "a share of epoch 0",
        )
        .await;
        former_shares_go(&mut machines[3..], &of_two).await;
        println!(
            "all shares of former keys gone after {:?}",
            started.elapsed()
        );
    }
    // Those who left wait for another call, and nobody needs them.
    for machine in &mut machines[..3] {
        machine.kill();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();

    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[3], &sent).await;
    let again = sent.complete(&outcomes_of(&reference));
    let keys: BTreeMap<u64, BTreeSet<KeyId>> = by_epoch(&reference);
    println!("{again} orders sealed again; keys by epoch: {keys:?}");
    for machine in [4, 5, 6] {
        let theirs = sequence(&machines[machine], &sent).await;
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
    assert_eq!(pin.key().id() != first_key, fresh);
    // It checks what was sealed to any key so far.
    let used: BTreeSet<_> = keys.into_values().flatten().collect();
    assert_eq!(used.len() > 1, fresh);
    assert!(used.iter().all(|key| pin.key_of(key).is_some()));
    check_some_openings(&pin, &machines[3], &reference).await;
    let last: Vec<&Machine> = machines[3..].iter().collect();
    a_file_over_all_epochs_verifies(dir.path(), &last, &reference);
    // The one key of the first epoch still vouches for the sequence.
    let attested = machines[4].api.attestation(None).await.unwrap();
    assert_eq!(attested.epoch.0, 2);
    assert!(attested.verify(&committee_key, net.genesis.chain));
    let (before, rest) = machines.split_at_mut(4);
    a_backup_leads_to_its_own_epoch(dir.path(), &mut before[3], &rest[0], fresh).await;
    println!(
        "{} orders acknowledged, all there, each once",
        sent.acknowledged.len()
    );
}

/// `fairlane follow` into a file, from the first block on or from where it ended before.
fn follow(dir: &Path, machines: &[&Machine]) -> Command {
    let (genesis, file) = (dir.join("net/genesis.json"), dir.join("sequence"));
    let to = machines.iter();
    let to = to.map(|m| format!("http://127.0.0.1:{}", m.port + 1));
    let to = to.collect::<Vec<_>>().join(",");
    let mut command = Command::new(program("fairlane"));
    command.args(["follow", "--genesis", text(&genesis), "--to", &to]);
    command.args(["--out", text(&file)]);
    command.args(["--cursor", text(&dir.join("cursor"))]);
    command
}

/// It follows as long as this lives: members that joined have no envelopes of earlier epochs.
struct Recorder(Child);

impl Recorder {
    fn start(dir: &Path, machines: &[&Machine]) -> Self {
        let mut command = follow(dir, machines);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `follow` and `verify` from the first genesis on: hand-overs are in the file, and every
/// opening is proven under the key of its order.
fn a_file_over_all_epochs_verifies(dir: &Path, machines: &[&Machine], blocks: &[SequencedBlock]) {
    let found = verified(dir, machines, blocks, &[]);
    assert_eq!(found["opened"], found["openings_checked"], "{found}");
}

/// What `verify` finds in such a file.
fn verified(
    dir: &Path,
    machines: &[&Machine],
    blocks: &[SequencedBlock],
    accept: &[&str],
) -> serde_json::Value {
    let (genesis, file) = (dir.join("net/genesis.json"), dir.join("sequence"));
    let (genesis, file) = (text(&genesis), text(&file));
    let until = blocks.last().unwrap().height.to_string();
    let (good, said) = run(follow(dir, machines).args(["--until", &until]));
    assert!(good, "{said}");
    let done = Command::new(program("fairlane"))
        .args(["verify", file, "--genesis", genesis, "--json"])
        .args(accept)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let mut json: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    let found = json["verify"].take();
    assert!(found["opened"].as_u64().unwrap() > 50, "{text}");
    found
}
