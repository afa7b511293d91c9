//! A committee whose homes were made apart, each by its own operator's commands, with encrypted key
//! files, on a chain that is no experiment: `fairlane ceremony prepare`, `genesis`, `adopt`
//! (PROTOCOL §6). It makes its key, takes orders, and is killed; nobody ever had two members' secrets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cluster, Load, complete, free_ports, program};
use fairlane_node::config::{Config, Overrides};
use fairlane_node::home::Home;
use fairlane_node::testnet::{Member, Testnet};
use fairlane_types::{MemberId, Scheme};
use tempfile::TempDir;

const N: usize = 4;
const CHAIN: &str = "90210";
const ORDERS: usize = 200;
/// Per second.
const RATE: usize = 60;
/// The same where an order costs a member some 8 ms.
const FEW: usize = 60;
const FEW_RATE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_who_show_each_other_no_secret_run_a_committee() {
    founders_run_a_committee(Scheme::Tdh2, ORDERS, RATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_may_choose_the_second_scheme() {
    founders_run_a_committee(Scheme::BaekZheng, FEW, FEW_RATE).await;
}

async fn founders_run_a_committee(scheme: Scheme, orders: usize, rate: usize) {
    let (testnet, dir, passphrase) = founded(scheme);
    assert!(!testnet.genesis.experiment);
    assert_eq!(testnet.genesis.encryption.scheme, scheme);
    let mut cluster = Cluster::start_founded(testnet, dir, passphrase).await;
    let load = Load::start(&cluster, orders, rate);
    load.until_acknowledged(orders / 3).await;
    cluster.kill(1);
    cluster.spawn(1);
    cluster.ready(1).await;
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
    assert!(sent.acknowledged.len() >= orders / 2, "{:?}", sent.refused);
    for member in 0..N {
        let log = cluster.whole_log(member);
        assert!(!log.contains("experiment"), "{log}");
    }
}

/// Homes as operators make them.
fn founded(scheme: Scheme) -> (Testnet, TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let passphrase = at("passphrase");
    std::fs::write(&passphrase, "a long one, for a test\n").unwrap();
    only_ours(&passphrase);
    let secret = ["--passphrase-file", text(&passphrase)];
    let base = free_ports(N);
    let homes: Vec<PathBuf> = (0..N).map(|i| at(&format!("operator-{i}"))).collect();
    let cards: Vec<PathBuf> = homes.iter().map(|home| home.join("card.json")).collect();
    for (index, home) in homes.iter().enumerate() {
        let port = (base + 10 * index as u16).to_string();
        let args = ["ceremony", "prepare", "--chain", CHAIN, "-o", text(home)];
        let place = ["--port", &port, "--reserve-mb", "64"];
        fairlane(&[&args[..], &place, &secret].concat());
    }
    let founding = at("founding.json");
    let scheme = ["--scheme", scheme.name()];
    let args = [&["ceremony", "genesis", "--chain", CHAIN][..], &scheme].concat();
    let cards: Vec<&str> = cards.iter().map(|card| text(card)).collect();
    let told = fairlane(&[&args[..], &["-o", text(&founding)], &cards].concat());
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let hash = told["founding"]["hash"].as_str().unwrap();
    let members = homes.iter().enumerate().map(|(index, home)| {
        let args = ["ceremony", "adopt", "--home", text(home), text(&founding)];
        fairlane(&[&args[..], &["--hash", hash], &secret].concat());
        let home = Home::open(home).unwrap();
        let config = Config::load(&home, Overrides::default()).unwrap();
        let id = MemberId(index as u8);
        Member { id, home, config }
    });
    let members: Vec<Member> = members.collect();
    let testnet = Testnet {
        genesis: members[0].home.genesis().unwrap(),
        committee_key: None,
        genesis_path: members[0].home.genesis_path(),
        members,
    };
    (testnet, dir, passphrase)
}

fn only_ours(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `fairlane`, wants it to succeed, and returns what it says to programs.
fn fairlane(args: &[&str]) -> String {
    let mut command = Command::new(program("fairlane"));
    let output = command.arg("--json").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
