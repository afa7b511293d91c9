//! A committee of real processes, a load of real orders, and what must hold afterwards.
#![allow(dead_code)] // each test program uses its own part of this

pub mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairlane_client::wire::ErrorCode;
use fairlane_client::{ClientError, Committee, FanOut, Member, Pin, SealOptions, Sealer};
use fairlane_node::config::{Config, Overrides};
use fairlane_node::home::Home;
use fairlane_node::testnet::{self, InitOptions, Testnet};
use fairlane_types::{
    CtId, Envelope, Height, MemberId, Millis, Outcome, Scheme, SecretKey, SeededRng, SequencedBlock,
};
use tempfile::TempDir;

/// Nothing here takes longer unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Delays with which the members of a fan-out hear an order, ms.
const DELAYS_MS: [u64; 4] = [0, 3, 7, 12];

/// One committee at a time: the machine is what they share.
static MACHINE: Mutex<()> = Mutex::new(());
/// Ports are not used twice, so that nothing of one test reaches another.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);
/// Below those that the system gives to clients.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Members as child processes.
pub struct Cluster {
    pub testnet: Testnet,
    pub committee: Committee,
    pub ops: Vec<Member>,
    children: Vec<Option<Child>>,
    liar: Option<usize>,
    /// Arguments of every command on a home.
    with: Vec<String>,
    /// Kept for its drop.
    _dir: TempDir,
    _machine: MutexGuard<'static, ()>,
}

/// The program `name`, beside the test's own binaries.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_fairlane-liar")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace",
        path.display()
    );
    path
}

impl Cluster {
    /// Starts `n` members, one of them a liar if asked, and waits until all are ready.
    pub async fn start(n: usize, liar: Option<usize>) -> Self {
        Self::start_with(n, liar, Scheme::Tdh2).await
    }

    /// The same with an encryption scheme.
    pub async fn start_with(n: usize, liar: Option<usize>, scheme: Scheme) -> Self {
        Self::start_as(n, liar, |options| options.scheme = scheme).await
    }

    /// The same with other options.
    pub async fn start_as(
        n: usize,
        liar: Option<usize>,
        change: impl FnOnce(&mut InitOptions),
    ) -> Self {
        let (testnet, dir) = homes(n, change);
        let pin = Pin::new(testnet.genesis.clone()).unwrap();
        let mut cluster = Self::over(pin, testnet, dir, liar);
        cluster.start_all().await;
        cluster
    }

    /// Starts `n` members that make their key; member `late` is killed before there is one
    /// and stays down.
    pub async fn start_making_a_key(n: usize, late: usize) -> Self {
        Self::start_making_a_key_with(n, Some(late), Vec::new(), |_| {}).await
    }

    /// The same with other options and more arguments to commands; nobody need be late.
    pub async fn start_making_a_key_with(
        n: usize,
        late: Option<usize>,
        with: Vec<String>,
        change: impl FnOnce(&mut InitOptions),
    ) -> Self {
        let (testnet, dir) = homes(n, |options| {
            options.dealer = false;
            change(options);
        });
        let mut cluster = Self::over(unkeyed(n), testnet, dir, None);
        cluster.with = with;
        for member in 0..n {
            cluster.spawn(member);
        }
        if let Some(late) = late {
            cluster.kill(late);
        }
        cluster.makes_its_key(late).await;
        cluster
    }

    /// Starts `n` members that make their key, one of them a liar, and waits until they have it.
    pub async fn start_with_made_key(n: usize, liar: usize) -> Self {
        let (testnet, dir) = homes(n, |options| options.dealer = false);
        let mut cluster = Self::over(unkeyed(n), testnet, dir, Some(liar));
        for member in 0..n {
            cluster.spawn(member);
        }
        cluster.makes_its_key(None).await;
        cluster
    }

    /// Starts members whose homes were made apart, with the passphrase of their key files, and
    /// waits until they have made their key.
    pub async fn start_founded(testnet: Testnet, dir: TempDir, passphrase: PathBuf) -> Self {
        let n = testnet.members.len();
        let mut cluster = Self::over(unkeyed(n), testnet, dir, None);
        let file = passphrase.to_str().unwrap().to_owned();
        cluster.with = vec!["--passphrase-file".to_owned(), file];
        for member in 0..n {
            cluster.spawn(member);
        }
        cluster.makes_its_key(None).await;
        cluster
    }

    /// Waits until all but one have the key, and goes on with it.
    async fn makes_its_key(&mut self, but: Option<usize>) {
        let there = (0..self.n()).filter(|member| Some(*member) != but);
        for member in there.clone() {
            self.ready(member).await;
        }
        let members = self.committee.members().to_vec();
        let mut pins = Vec::new();
        for member in there {
            // It is ready once it has the keys; a quorum signs them a moment later.
            let until = Instant::now() + PATIENCE;
            pins.push(loop {
                match members[member].pin(self.testnet.genesis.clone()).await {
                    Ok(pin) => break pin,
                    Err(error) => {
                        let early = error.code() == Some(ErrorCode::NoEncryptionKey);
                        assert!(early && Instant::now() < until, "{error}");
                    }
                }
                pause().await;
            });
        }
        let key = pins[0].key().id();
        assert!(pins.iter().all(|pin| pin.key().id() == key), "two keys");
        self.committee = Committee::new(pins.swap_remove(0), members);
    }

    fn over(pin: Pin, testnet: Testnet, dir: TempDir, liar: Option<usize>) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let short = Duration::from_secs(5);
        let client = |address: SocketAddr| {
            let member = Member::new(&address.to_string()).unwrap();
            member.with_limit(short)
        };
        let configs = || testnet.members.iter().map(|member| &member.config);
        let members = configs().map(|config| client(config.listen_api)).collect();
        let ops = configs().map(|config| client(config.listen_ops)).collect();
        Self {
            committee: Committee::new(pin, members),
            ops,
            children: testnet.members.iter().map(|_| None).collect(),
            liar,
            with: Vec::new(),
            testnet,
            _dir: dir,
            _machine: machine,
        }
    }

    /// Takes in a home that was made for a later epoch; its process is not started.
    pub fn adopt(&mut self, home: Home) {
        let config = Config::load(&home, Overrides::default()).unwrap();
        let client = |address: SocketAddr| {
            let member = Member::new(&address.to_string()).unwrap();
            member.with_limit(Duration::from_secs(5))
        };
        let mut members = self.committee.members().to_vec();
        members.push(client(config.listen_api));
        self.committee = Committee::new(self.committee.pin().clone(), members);
        self.ops.push(client(config.listen_ops));
        let id = MemberId(self.children.len() as u8);
        self.children.push(None);
        let member = testnet::Member { id, home, config };
        self.testnet.members.push(member);
    }

    /// Operators decide on the adopted homes and the first members as the next committee.
    pub fn decide(&self, next: &[usize]) {
        let dir = self.testnet.genesis_path.parent().unwrap();
        let change = dir.join("change.json");
        let url = |address: SocketAddr| format!("http://{address}");
        let home = |member: usize| text(self.testnet.members[member].home.root());
        let mut cards = Vec::new();
        for member in next {
            let config = &self.testnet.members[*member].config;
            let (card, quic) = (dir.join(format!("{member}.json")), config.listen_quic);
            self.on_home(&[
                "committee",
                "card",
                "--home",
                &home(*member),
                "--quic",
                &quic.to_string(),
                "--api",
                &url(config.listen_api),
                "-o",
                &text(&card),
            ]);
            cards.push(text(&card));
        }
        let (change, genesis) = (text(&change), text(&self.testnet.genesis_path));
        let first = &self.testnet.members[0].config;
        let to = url(first.listen_api);
        let mut args = vec!["committee", "propose", "--genesis", &genesis, "--to", &to];
        args.extend(cards.iter().map(String::as_str));
        args.extend(["-o", &change]);
        fairlane(&args);
        for member in 0..3 {
            self.on_home(&["committee", "approve", "--home", &home(member), &change]);
        }
        let ops = url(first.listen_ops);
        fairlane(&["committee", "submit", "--ops", &ops, &change]);
    }

    /// Runs `fairlane` on a home and wants it to succeed.
    fn on_home(&self, args: &[&str]) {
        let with = self.with.iter().map(String::as_str);
        fairlane(&args.iter().copied().chain(with).collect::<Vec<_>>());
    }

    /// Waits until the API of a member is one of an epoch.
    pub async fn in_epoch(&self, member: usize, epoch: u64) {
        let until = Instant::now() + PATIENCE;
        let api = &self.committee.members()[member];
        while !api.info().await.is_ok_and(|info| info.epoch == epoch) {
            let log = || self.log(member);
            assert!(
                Instant::now() < until,
                "{member} is not in {epoch}\n{}",
                log()
            );
            pause().await;
        }
    }

    pub fn n(&self) -> usize {
        self.children.len()
    }

    fn log_path(&self, member: usize) -> PathBuf {
        self.testnet.members[member].home.root().join("node.log")
    }

    /// Starts a member's process.
    pub fn spawn(&mut self, member: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(member))
            .unwrap();
        let mut command = if self.liar == Some(member) {
            Command::new(program("fairlane-liar"))
        } else {
            let mut command = Command::new(program("fairlane"));
            command.arg("node");
            command
        };
        let child = command
            .arg("--home")
            .arg(self.testnet.members[member].home.root())
            .arg("--stop-with-stdin")
            .args(&self.with)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children[member] = Some(child);
    }

    /// kill −9, and waits until the process is gone.
    pub fn kill(&mut self, member: usize) {
        let mut child = self.children[member].take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// kill −9 of all, as when the power fails.
    pub fn kill_all(&mut self) {
        for member in 0..self.n() {
            self.kill(member);
        }
    }

    /// Starts all members, and waits until they are ready.
    pub async fn start_all(&mut self) {
        for member in 0..self.n() {
            self.spawn(member);
        }
        for member in 0..self.n() {
            self.ready(member).await;
        }
    }

    /// Waits until a member says that it is ready.
    pub async fn ready(&mut self, member: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let child = self.children[member].as_mut().expect("it runs");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("member {member} ended: {status}\n{}", self.log(member));
            }
            if self.ops[member]
                .status()
                .await
                .is_ok_and(|status| status.ready)
            {
                return;
            }
            assert!(
                Instant::now() < until,
                "member {member}: not ready\n{}",
                self.log(member)
            );
            pause().await;
        }
    }

    /// Waits until a member's process has ended by itself: its exit code and its log.
    pub async fn ended(&mut self, member: usize) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            let child = self.children[member].as_mut().expect("it was started");
            if let Some(status) = child.try_wait().unwrap() {
                self.children[member] = None;
                return (status.code(), self.log(member));
            }
            assert!(
                Instant::now() < until,
                "member {member} goes on\n{}",
                self.log(member)
            );
            pause().await;
        }
    }

    /// A member's log.
    pub fn whole_log(&self, member: usize) -> String {
        std::fs::read_to_string(self.log_path(member)).unwrap_or_default()
    }

    /// The end of a member's log.
    pub fn log(&self, member: usize) -> String {
        let text = self.whole_log(member);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Body of what a member's API answers to a plain GET.
    pub async fn get(&self, member: usize, path: &str) -> Vec<u8> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.testnet.members[member].config.listen_api;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a header");
        assert!(
            answer.starts_with(b"HTTP/1.0 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        answer.split_off(end + 4)
    }

    /// Height of the last block a member has emitted; none while it does not answer.
    pub async fn head(&self, member: usize) -> Option<Height> {
        let info = self.committee.members()[member].info().await.ok()?;
        Some(Height(info.head.height))
    }

    /// A member's value of a metric, summed over its labels that contain `label`.
    pub async fn metric(&self, member: usize, name: &str, label: &str) -> f64 {
        let text = self.ops[member].metrics().await.unwrap();
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Blocks `1..=until` of a member; waits until it has them.
    pub async fn blocks(&self, member: usize, until: Height) -> Vec<SequencedBlock> {
        let deadline = Instant::now() + PATIENCE;
        let mut blocks = Vec::new();
        while blocks.len() < until.0 as usize {
            let height = Height(blocks.len() as u64 + 1);
            match self.committee.members()[member].block_at(height).await {
                Ok(block) => blocks.push(block),
                Err(error) => {
                    let log = || self.log(member);
                    assert!(
                        Instant::now() < deadline,
                        "member {member} has no block {height}: {error}\n{}",
                        log()
                    );
                    pause().await;
                }
            }
        }
        blocks
    }

    /// The sequence that all members agree on, once every order in `orders` is in it:
    /// complete, without doubles, chained, and the same everywhere.
    pub async fn settled(&self, orders: &BTreeSet<CtId>) -> BTreeMap<CtId, Outcome> {
        let deadline = Instant::now() + PATIENCE;
        let mut outcomes = BTreeMap::new();
        let mut last: Option<SequencedBlock> = None;
        let mut height = Height(1);
        let reader = (0..self.n())
            .find(|m| self.liar != Some(*m))
            .expect("someone is honest");
        while !orders.iter().all(|id| outcomes.contains_key(id)) {
            match self.committee.members()[reader].block_at(height).await {
                Ok(block) => {
                    if let Some(last) = &last {
                        assert!(block.follows(last), "block {height} does not follow");
                    }
                    for item in &block.items {
                        let before = outcomes.insert(item.ct_id, item.outcome.clone());
                        assert!(before.is_none(), "order {} is there twice", item.ct_id);
                    }
                    last = Some(block);
                    height = height.next();
                }
                Err(error) => {
                    let missing = orders
                        .iter()
                        .filter(|id| !outcomes.contains_key(id))
                        .count();
                    assert!(
                        Instant::now() < deadline,
                        "{missing} orders are missing at height {height}: {error}\n{}",
                        self.log(reader)
                    );
                    pause().await;
                }
            }
        }
        let common = last.expect("there is an order").height;
        let reference = self.blocks(reader, common).await;
        for member in (0..self.n()).filter(|m| *m != reader) {
            let same = self.blocks(member, common).await == reference;
            assert!(same, "member {member} has another sequence");
        }
        outcomes
    }

    /// No honest member was ever found to contradict itself.
    pub async fn nobody_contradicts(&self) {
        for member in 0..self.n() {
            let evidence = self.metric(member, "fairlane_evidence_total", "").await;
            assert_eq!(evidence, 0.0, "member {member} convicted somebody");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // A member that has ended already needs no killing.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs `fairlane` and wants it to succeed.
pub fn fairlane(args: &[&str]) {
    let done = Command::new(program("fairlane"))
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "fairlane {args:?}: {said}");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What a committee runs with until its key is there, which no request asks for.
fn unkeyed(n: usize) -> Pin {
    let (dealt, _dir) = homes(n, |_| {});
    Pin::new(dealt.genesis).unwrap()
}

/// Homes of a committee on free ports.
fn homes(n: usize, change: impl FnOnce(&mut InitOptions)) -> (Testnet, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), n);
    options.port = free_ports(n);
    options.reserve_mb = 64;
    change(&mut options);
    (testnet::init(&options, |_| {}).unwrap(), dir)
}

/// What is known about the orders sent.
#[derive(Default)]
pub struct Sent {
    /// Every order sent.
    pub all: BTreeSet<CtId>,
    /// Those that at least one member acknowledged.
    pub acknowledged: BTreeSet<CtId>,
    /// What was sealed.
    pub payloads: BTreeMap<CtId, Vec<u8>>,
    /// Refusals by code.
    pub refused: BTreeMap<&'static str, usize>,
    /// When each of them said to try again, ms.
    pub hints_ms: Vec<Option<u32>>,
    /// Receipts seen.
    pub receipts: usize,
    /// Acknowledged orders that only served to measure the maximum rate.
    pub warm_up: usize,
}

/// An open loop: orders leave at their times whatever is answered.
pub struct Load {
    sent: Arc<Mutex<Sent>>,
    task: tokio::task::JoinHandle<()>,
    /// Acknowledged before it began.
    before: usize,
}

/// Orders sent at once to measure what a committee sustains.
const WARM_UP: usize = 1_000;

impl Load {
    /// `count` orders of eight traders at `rate` per second to all members, with unequal
    /// delays that start at another member each time.
    pub fn start(cluster: &Cluster, count: usize, rate: usize) -> Self {
        Self::after(Sent::default(), cluster, count, rate)
    }

    /// Measures first what this committee sustains on this machine, then sends at
    /// somewhat more than half of that.
    pub async fn above_half_of_the_maximum(cluster: &Cluster, count: usize) -> Self {
        let begun = Instant::now();
        // Faster than any committee of this build: all of them wait in line.
        let warm_up = Self::start(cluster, WARM_UP, 20 * WARM_UP).finish().await;
        cluster.settled(&warm_up.acknowledged).await;
        let orders = warm_up.acknowledged.len();
        let most = orders as f64 / begun.elapsed().as_secs_f64();
        let rate = (most * 0.6) as usize;
        println!("{most:.0} orders/s sustained, {rate} offered");
        Self::after(warm_up, cluster, count, rate.max(100))
    }

    /// Goes on from an earlier load.
    pub fn after(mut sent: Sent, cluster: &Cluster, count: usize, rate: usize) -> Self {
        let committee = cluster.committee.clone();
        let n = cluster.n();
        let envelopes = seal(committee.pin(), sent.all.len(), count);
        let before = sent.acknowledged.len();
        sent.warm_up = before;
        let sent = Arc::new(Mutex::new(sent));
        let shared = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let mut open = tokio::task::JoinSet::new();
            for (index, (envelope, payload)) in envelopes.into_iter().enumerate() {
                let due = start + Duration::from_secs_f64(index as f64 / rate as f64);
                tokio::time::sleep_until(due.into()).await;
                let id = envelope.id();
                {
                    let mut sent = lock(&shared);
                    sent.all.insert(id);
                    sent.payloads.insert(id, payload);
                }
                let (committee, shared) = (committee.clone(), Arc::clone(&shared));
                open.spawn(async move {
                    let delays = DELAYS_MS.map(Duration::from_millis);
                    let plan = FanOut::around(index, n, n, &delays);
                    for delivery in committee.submit(&envelope, &plan).await {
                        let mut sent = lock(&shared);
                        match delivery.result {
                            Ok(_) => {
                                sent.acknowledged.insert(id);
                                sent.receipts += 1;
                            }
                            Err(ClientError::Api(error)) => {
                                *sent.refused.entry(error.code.word()).or_default() += 1;
                                sent.hints_ms.push(error.retry_after_ms);
                            }
                            Err(_) => {}
                        }
                    }
                });
            }
            while open.join_next().await.is_some() {}
        });
        Self { sent, task, before }
    }

    /// Orders acknowledged so far.
    pub fn acknowledged(&self) -> BTreeSet<CtId> {
        lock(&self.sent).acknowledged.clone()
    }

    /// Waits until so many orders are acknowledged.
    pub async fn until_acknowledged(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while lock(&self.sent).acknowledged.len() - self.before < count {
            assert!(
                Instant::now() < deadline,
                "fewer than {count} orders are acknowledged"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until every answer is in.
    pub async fn finish(self) -> Sent {
        self.task.await.unwrap();
        std::mem::take(&mut *lock(&self.sent))
    }
}

fn seal(pin: &Pin, first: usize, count: usize) -> Vec<(Envelope, Vec<u8>)> {
    let mut rng = SeededRng::new(&[7; 32], b"trials");
    let traders: Vec<_> = (1..=8)
        .map(|i| Sealer::new(pin, SecretKey::from_seed([i; 32])))
        .collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let expiry = Millis(now + 100_000);
    let sealed = (first..first + count).map(|index| {
        let payload = format!("order {index}").into_bytes();
        let options = SealOptions {
            nonce: index as u64,
            expiry,
            lane: None,
        };
        let trader = &traders[index % traders.len()];
        (
            trader.seal_bytes(&payload, options, &mut rng).unwrap(),
            payload,
        )
    });
    sealed.collect()
}

/// Every acknowledged order is there, opened to what its sender sealed.
pub fn complete(sent: &Sent, outcomes: &BTreeMap<CtId, Outcome>) {
    complete_opened(&sent.acknowledged, &sent.payloads, outcomes);
    for id in outcomes.keys() {
        assert!(sent.all.contains(id), "order {id} was never sent");
    }
}

/// Every order is there, opened to what was sealed.
pub fn complete_opened(
    orders: &BTreeSet<CtId>,
    payloads: &BTreeMap<CtId, Vec<u8>>,
    outcomes: &BTreeMap<CtId, Outcome>,
) {
    for id in orders {
        match outcomes.get(id) {
            Some(Outcome::Opened { payload, .. }) => assert_eq!(payload, &payloads[id]),
            other => panic!("acknowledged order {id} came out as {other:?}"),
        }
    }
}

/// A base port with room for `n` members, unused as far as can be told.
pub fn free_ports(n: usize) -> u16 {
    let span = (n as u16) * 10;
    for _ in 0..200 {
        // By ports, not by calls: committees of different sizes must not overlap, and members
        // that join later take theirs long after this look.
        let taken = NEXT_PORT.fetch_add(u32::from(span), Ordering::Relaxed);
        let offset = (std::process::id() % 60 * 200 + taken) % u32::from(PORTS);
        if offset + u32::from(span) > u32::from(PORTS) {
            continue;
        }
        let base = PORT_FIRST + offset as u16;
        // On no address of this machine: some committees listen at another than 127.0.0.1.
        let free = |port: u16| {
            std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
                && std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok()
        };
        if (base..base + span).all(free) {
            return base;
        }
    }
    panic!("no free ports");
}

/// Between two looks at a condition that is waited for.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
