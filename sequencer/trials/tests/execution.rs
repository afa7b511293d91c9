//! The clearing house, and a rollup's own execution, in a process of its own over the resumable
//! feed: kill −9 of it, or of the member that feeds it, at any point, and it goes on at the next
//! height to the same roots.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Cluster, PATIENCE, program};
use fairlane_client::wire::Wait;
use fairlane_client::{AttestedAccount, Member, SealOptions, Sealer, check_attested_account, dev};
use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_execution::{NOTICE_HEIGHTS, Reject};
use fairlane_node::executor::write_genesis;
use fairlane_node::oracle::{MockFeed, OracleConfig};
use fairlane_replica::STATE_HEIGHTS;
use fairlane_types::{Height, Millis, Order, OrderAction, Outcome, SeededRng, Side, TimeInForce};
use tempfile::TempDir;

const MIDDLE: u64 = 100_000;
const TRADERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn genesis() -> ExecutionGenesis {
    ExecutionGenesis {
        insurance: 1 << 30,
        ..ExecutionGenesis::plain(
            vec![MarketParams {
                funding_heights: 20,
                ..MarketParams::plain(MIDDLE, MatchingRule::PriceTime)
            }],
            TRADERS
                .map(|name| (dev::trader_key(name).public(), 1 << 40))
                .to_vec(),
        )
    }
}

/// The process, and what each of its lives said.
struct Follower {
    program: PathBuf,
    folder: TempDir,
    arguments: Vec<String>,
    lives: Vec<PathBuf>,
    child: Option<Child>,
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

/// The members' public addresses.
fn addresses(cluster: &Cluster) -> Vec<String> {
    let members = cluster.testnet.members.iter();
    members.map(|m| m.config.listen_api.to_string()).collect()
}

impl Follower {
    fn of(program: PathBuf, folder: TempDir, arguments: &[&[String]]) -> Self {
        Self {
            program,
            folder,
            arguments: arguments.concat(),
            lives: Vec::new(),
            child: None,
        }
    }

    /// The clearing house.
    fn clearing(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let member = cluster.testnet.members[0].home.root();
        let arguments = [
            "--json".to_owned(),
            "exec".to_owned(),
            "follow".to_owned(),
            "--home".to_owned(),
            text(folder.path().join("exec")),
            "--execution".to_owned(),
            text(member.join("execution.toml")),
            "--genesis".to_owned(),
            text(cluster.testnet.genesis_path.clone()),
            "--to".to_owned(),
            addresses(cluster).join(","),
            "--save-every".to_owned(),
            "4".to_owned(),
        ];
        Self::of(program("fairlane"), folder, &[&arguments])
    }

    /// The client's example of another execution.
    fn tally(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [
            text(cluster.testnet.genesis_path.clone()),
            text(folder.path().join("state")),
            "0".to_owned(),
        ];
        let example = program("examples/own_execution");
        Self::of(example, folder, &[&arguments, &addresses(cluster)])
    }

    fn spawn(&mut self) {
        let said = self
            .folder
            .path()
            .join(format!("life-{}", self.lives.len()));
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(File::create(&said).unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.lives.push(said);
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Of each life: the height it began from, and the roots it came to. A line cut off by
    /// a kill is left out.
    fn said(&self) -> Vec<(u64, BTreeMap<u64, String>)> {
        let life = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let (mut from, mut roots) = (0, BTreeMap::new());
            for line in whole.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let number = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
                if let Some(start) = line.get("from") {
                    from = number(&start["height"]);
                }
                if let Some(done) = line.get("executed") {
                    let root = done["state_root"].as_str().unwrap().to_owned();
                    roots.insert(number(&done["height"]), root);
                }
            }
            (from, roots)
        };
        self.lives.iter().map(life).collect()
    }

    /// What all lives came to: each from where it was saved, at the next height, without a gap,
    /// and where one did again what another had done, to the same root.
    fn roots(&self) -> BTreeMap<u64, String> {
        let mut roots: BTreeMap<u64, String> = BTreeMap::new();
        for (life, (from, said)) in self.said().iter().enumerate() {
            let heights: Vec<u64> = said.keys().copied().collect();
            assert_eq!(heights.first(), Some(&(from + 1)), "life {life}");
            assert_eq!(
                heights.len() as u64,
                heights.last().unwrap() - from,
                "life {life}"
            );
            assert!(life == 0 || *from > 0, "life {life} began again");
            for (height, root) in said {
                let before = roots.insert(*height, root.clone());
                assert!(
                    before.is_none_or(|b| b == *root),
                    "two roots at height {height}"
                );
            }
        }
        roots
    }

    fn reached(&self) -> u64 {
        let last = self.said().pop();
        last.and_then(|(_, roots)| roots.into_keys().last())
            .unwrap_or(0)
    }

    async fn until(&mut self, height: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.reached() < height {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", log());
            assert!(
                Instant::now() < deadline,
                "height {height} is not reached\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Sends orders that trade, for about a second.
async fn trade(cluster: &Cluster, first: u64) {
    let pin = cluster.committee.pin();
    let mut rng = SeededRng::new(&[5; 32], &first.to_le_bytes());
    for n in first..first + 12 {
        let name = TRADERS[(n % 4) as usize];
        let order = Order::new(OrderAction::Place {
            market: 0,
            side: if n % 2 == 0 { Side::Buy } else { Side::Sell },
            price_ticks: if n % 2 == 0 { MIDDLE + 50 } else { MIDDLE - 50 },
            lots: 1 + n % 7,
            tif: TimeInForce::Gtc,
            reduce_only: false,
            cloid: n,
        });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let options = SealOptions {
            nonce: n,
            expiry: Millis(now.unwrap().as_millis() as u64 + 60_000),
            lane: None,
        };
        let sealer = Sealer::new(pin, dev::trader_key(name));
        let envelope = sealer.seal(&order, options, &mut rng).unwrap();
        cluster
            .committee
            .submit_to_any(&envelope, 1 + n as usize % 3)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_it_goes_on_to_the_roots_of_the_members() {
    let mut cluster = Cluster::start_as(4, None, |options| {
        options.execution = Some(genesis());
        options.oracle = Some(OracleConfig::mock(MockFeed {
            middles: vec![MIDDLE],
            swing_ppm: 2_000,
            period_ms: 20_000,
            noise_ppm: 50,
        }));
    })
    .await;
    let members = cluster.committee.members().to_vec();
    let deadline = Instant::now() + PATIENCE;
    while members[1].markets().await.unwrap()[0].oracle != "fresh" {
        assert!(Instant::now() < deadline, "the members make no price");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut follower = Follower::clearing(&cluster);
    follower.spawn();
    for round in 0..6u64 {
        trade(&cluster, 100 * round).await;
        let before = follower.reached();
        // Wherever it is by now: reading, applying or saving.
        follower.until(before + 1 + round % 3).await;
        if round % 2 == 0 {
            follower.kill();
            follower.spawn();
        } else {
            // The member that feeds it first.
            cluster.kill(0);
            follower.until(before + 8).await;
            cluster.spawn(0);
            cluster.ready(0).await;
        }
    }
    let head = cluster.head(1).await.expect("it answers");
    follower.until(head.0).await;
    follower.kill();

    let roots = follower.roots();
    // The members keep the results of their last heights, member 0 those since its restart.
    let (mut compared, mut fills) = (0, 0);
    for (height, root) in roots.range(head.0.saturating_sub(60)..=head.0) {
        for member in &members {
            if let Ok(done) = member.executed(Height(*height)).await {
                assert_eq!(done.state_root.to_string(), *root, "height {height}");
                fills += done.receipts.iter().map(|r| r.fills.len()).sum::<usize>();
                compared += 1;
            }
        }
    }
    assert!(
        compared > 30 && fills > 0,
        "{compared} roots compared, {fills} fills"
    );
    // An account, proven under a state that f+1 members signed.
    let account = cluster
        .committee
        .account(&dev::trader_key("alice").public())
        .await
        .unwrap();
    assert!(account.signed_by.len() >= 2 && !account.account.positions.is_empty());
    // And under one that the committee signed as one, at each member, whatever it missed.
    for member in &members {
        let proven = attested(&cluster, member, "alice").await;
        assert!(!proven.account.positions.is_empty());
        assert!(proven.state.height.0.is_multiple_of(STATE_HEIGHTS));
    }
    cluster.nobody_contradicts().await;
}

/// Another execution than the clearing house, as a rollup would bring it: killed with −9, and
/// the member that feeds it, it ends with what the sequence says. The members made their key, so
/// that the genesis has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_of_ones_own_goes_on_to_what_the_sequence_says() {
    let mut cluster = Cluster::start_making_a_key_with(4, None, Vec::new(), |_| {}).await;
    let mut tally = Follower::tally(&cluster);
    tally.spawn();
    for round in 0..4u64 {
        trade(&cluster, 100 * round).await;
        let before = tally.reached();
        tally.until(before + 1 + round).await;
        // It saves when an attestation covers what it did; before the first one a new life would
        // rightly begin again.
        let deadline = Instant::now() + PATIENCE;
        while !tally.folder.path().join("state").exists() {
            assert!(Instant::now() < deadline, "it saves nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if round == 2 {
            cluster.kill(0);
        }
        tally.kill();
        tally.spawn();
    }
    cluster.spawn(0);
    cluster.ready(0).await;
    // An order makes the committee attest what is before it.
    trade(&cluster, 400).await;
    let head = cluster.head(1).await.unwrap().0;
    tally.until(head).await;
    tally.kill();
    // Once more, to its end: at the head it has nothing to do but to say what it holds.
    let reached = tally.reached();
    tally.arguments[2] = reached.to_string();
    let done = Command::new(&tally.program)
        .args(&tally.arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let roots = tally.roots();
    let same = |line: &serde_json::Value| {
        let height = line["height"].as_str().unwrap().parse().unwrap();
        height == 0 || roots[&height] == line["state_root"].as_str().unwrap()
    };
    assert!(same(&lines[0]["from"]), "{said}");
    let again = lines.iter().filter_map(|line| line.get("executed"));
    assert!(again.clone().all(same), "{said}");

    let mut wanted: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let sequence = cluster.blocks(1, Height(reached)).await;
    for item in sequence.iter().flat_map(|block| &block.items) {
        let Outcome::Opened { payload, .. } = &item.outcome else {
            continue;
        };
        let row = wanted.entry(item.label.sender.to_string()).or_default();
        *row = (row.0 + 1, hex::encode(payload));
    }
    let rows = lines.iter().filter_map(|line| {
        let sender = line.get("sender")?.as_str()?.to_owned();
        let last = line["last"].as_str()?.to_owned();
        Some((sender, (line["orders"].as_u64()?, last)))
    });
    let rows: BTreeMap<_, _> = rows.collect();
    assert_eq!(rows, wanted);
    let orders: u64 = wanted.values().map(|(orders, _)| orders).sum();
    assert!(wanted.len() == TRADERS.len() && orders >= 48, "{wanted:?}");
    cluster.nobody_contradicts().await;
}

/// An account as one member shows it, checked with nothing but the committee's key.
async fn attested(cluster: &Cluster, member: &Member, trader: &str) -> AttestedAccount {
    let pin = cluster.committee.pin();
    let (key, chain) = (dev::trader_key(trader).public(), pin.genesis().chain);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match member.attested_account(&key).await {
            Ok(body) => {
                let committee = pin.certificate_key().unwrap();
                return check_attested_account(committee, chain, &key, body).unwrap();
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

/// A member whose execution goes another way than the committee's: it says so, executes no
/// further and shows nothing as attested; it goes on ordering with the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_to_another_state_stops_executing_and_goes_on_ordering() {
    let mut cluster =
        Cluster::start_as(4, None, |options| options.execution = Some(genesis())).await;
    let members = cluster.committee.members().to_vec();
    trade(&cluster, 0).await;
    attested(&cluster, &members[0], "alice").await;
    cluster.kill(3);
    let folder = cluster.testnet.members[3].home.root().to_owned();
    let mut other = genesis();
    other.insurance += 1;
    std::fs::remove_file(folder.join("execution.toml")).unwrap();
    write_genesis(&cluster.testnet.members[3].home, &other).unwrap();
    drop(std::fs::remove_file(folder.join("execution.snapshot")));
    cluster.spawn(3);
    cluster.ready(3).await;
    trade(&cluster, 100).await;
    let deadline = Instant::now() + PATIENCE;
    let stopped = loop {
        let status = cluster.ops[3].status().await.unwrap();
        if let Some(stopped) = status.execution.unwrap().stopped {
            break stopped;
        }
        assert!(Instant::now() < deadline, "it goes on executing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        stopped.contains("the committee signed state root"),
        "{stopped}"
    );
    let diverged = cluster.metric(3, "fairlane_execution_diverged", "").await;
    assert!(diverged > 0.5, "no metric");
    assert!(
        members[3]
            .attested_account(&dev::trader_key("alice").public())
            .await
            .is_err()
    );
    // The others execute, all four order.
    let head = cluster.head(3).await.unwrap();
    trade(&cluster, 200).await;
    let proven = attested(&cluster, &members[1], "bob").await;
    assert!(proven.state.height > head && cluster.head(3).await.unwrap() > head);
    cluster.nobody_contradicts().await;
}

/// All of market 0's parameters, with an initial margin.
fn change(initial_ppm: u32, step_ppm: u32) -> String {
    format!(
        "[market]\nmarket = 0\n[market.params]\nmark_ticks = {MIDDLE}\nrule = \"price_time\"\n\
         initial_ppm = {initial_ppm}\nmaintenance_ppm = 25000\nstep_ppm = {step_ppm}\n\
         band_ppm = 100000\ntaker_fee_ppm = 500\nmaker_fee_ppm = 100\n\
         liquidation_fee_ppm = 5000\nliquidation_block_ppm = 200000\n\
         funding_heights = 20\nfunding_cap_ppm = 500\n"
    )
}

/// `fairlane exec change` by a member: exit code, and what it said.
fn say(cluster: &Cluster, member: usize, height: u64, change: &str) -> (Option<i32>, String) {
    let home = cluster.testnet.members[member].home.root();
    let file = home.join("change.toml");
    std::fs::write(&file, change).unwrap();
    let addresses = cluster.testnet.members.iter();
    let addresses: Vec<_> = addresses.map(|m| m.config.listen_api.to_string()).collect();
    let mut command = Command::new(program("fairlane"));
    command.args(["--json", "exec", "change"]);
    command.arg("--home").arg(home).arg("--genesis");
    command.arg(&cluster.testnet.genesis_path);
    command.args(["--to", &addresses.join(","), "--height"]);
    let done = command.arg(height.to_string()).arg(file).output().unwrap();
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    (done.status.code(), said)
}

/// Buys as many lots as 5 % margin lets the trader, and 100 % does not; gives the code of each
/// member that has the result.
async fn overreach(cluster: &Cluster, nonce: u64) -> Vec<u16> {
    let order = Order::new(OrderAction::Place {
        market: 0,
        side: Side::Buy,
        price_ticks: MIDDLE,
        lots: 20_000_000,
        tif: TimeInForce::Gtc,
        reduce_only: false,
        cloid: nonce,
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let options = SealOptions {
        nonce,
        expiry: Millis(now.unwrap().as_millis() as u64 + 60_000),
        lane: None,
    };
    let mut rng = SeededRng::new(&[6; 32], &nonce.to_le_bytes());
    let sealer = Sealer::new(cluster.committee.pin(), dev::trader_key("dave"));
    let envelope = sealer.seal(&order, options, &mut rng).unwrap();
    let members = cluster.committee.members();
    let answer = members[0]
        .submit_and_wait(&envelope, Wait::Opened, PATIENCE)
        .await
        .unwrap();
    let (at, position) = (answer.order.height.unwrap(), answer.order.position.unwrap());
    let deadline = Instant::now() + PATIENCE;
    let mut codes = Vec::new();
    for member in members {
        let done = loop {
            match member.executed(Height(at)).await {
                Ok(done) => break done,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let found = done.receipts.iter().find(|r| r.position == position);
        codes.push(found.unwrap().code);
    }
    codes
}

/// Three of four members say one change, over the command line; it is known before it holds,
/// survives kill −9, and holds at all members from its height on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_a_market_together() {
    let mut cluster = Cluster::start_as(4, None, |options| {
        options.execution = Some(genesis());
        options.oracle = Some(OracleConfig::mock(MockFeed {
            middles: vec![MIDDLE],
            swing_ppm: 2_000,
            period_ms: 20_000,
            noise_ppm: 50,
        }));
    })
    .await;
    let members = cluster.committee.members().to_vec();
    let deadline = Instant::now() + PATIENCE;
    while members[0].markets().await.unwrap()[0].oracle != "fresh" {
        assert!(Instant::now() < deadline, "the members make no price");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(overreach(&cluster, 1).await, [0; 4]);
    let near = cluster.head(0).await.unwrap().0;
    let height = near + 2 * NOTICE_HEIGHTS;
    let full = change(1_000_000, 10_000);
    let (code, said) = say(&cluster, 3, near + 1, &full);
    assert!(code == Some(1) && said.contains("too near"), "{said}");
    let (code, said) = say(&cluster, 3, height, &change(1_000_000, 30_000));
    assert!(code == Some(1) && said.contains("cannot have"), "{said}");
    for (member, voices) in [(0, "[0]"), (1, "[0,1]"), (2, "[0,1,2]")] {
        let (code, said) = say(&cluster, member, height, &full);
        assert!(code == Some(0) && said.contains(voices), "{said}");
        assert_eq!(said.contains("\"agreed\":true"), member == 2, "{said}");
    }
    cluster.kill(1);
    cluster.spawn(1);
    cluster.ready(1).await;
    let deadline = Instant::now() + PATIENCE;
    for member in &members {
        while cluster.head(0).await.unwrap().0 <= height + 1 {
            let open = member.changes().await.unwrap();
            assert!(
                open.iter().all(|p| p.agreed && p.height == height),
                "{open:?}"
            );
            assert!(Instant::now() < deadline, "height {height} does not come");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let margin = Reject::Margin.code();
    assert_eq!(overreach(&cluster, 2).await, [margin; 4]);
    for member in &members {
        assert_eq!(member.changes().await.unwrap(), []);
    }
    let account = cluster
        .committee
        .account(&dev::trader_key("dave").public())
        .await
        .unwrap();
    assert!(account.signed_by.len() >= 2);
    cluster.nobody_contradicts().await;
}
