//! `fairlane ceremony`, as far as no member has to run: what each verb refuses, and that a home is
//! a member's only with its own keys in the genesis.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

struct Founders {
    folder: tempfile::TempDir,
}

impl Founders {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, "correct horse\n").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// Four homes with plain key files, for chain 7.
    fn four() -> Self {
        let founders = Self::new();
        for index in 0..4 {
            ends(&founders.prepare(index, "7", &["--plain"]), 0, "✔");
        }
        founders
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self, index: usize) -> PathBuf {
        self.path(&format!("home-{index}"))
    }

    fn prepare(&self, index: usize, chain: &str, more: &[&str]) -> Output {
        let (home, port) = (self.home(index), (7_700 + 10 * index).to_string());
        let args = ["ceremony", "prepare", "--chain", chain, "-o", text(&home)];
        let disk = ["--port", &port, "--reserve-mb", "64"];
        run(&[&args[..], &disk, more].concat())
    }

    fn genesis(&self, of: &[usize], out: &str, more: &[&str]) -> Output {
        let cards: Vec<PathBuf> = of.iter().map(|i| self.home(*i).join("card.json")).collect();
        let cards: Vec<&str> = cards.iter().map(|card| text(card)).collect();
        let out = self.path(out);
        let args = ["ceremony", "genesis", "--chain", "7", "-o", text(&out)];
        run(&[&args[..], more, &cards].concat())
    }

    fn adopt(&self, index: usize, founding: &str, more: &[&str]) -> Output {
        let (home, founding) = (self.home(index), self.path(founding));
        let args = ["ceremony", "adopt", "--home", text(&home), text(&founding)];
        run(&[&args[..], more].concat())
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairlane"))
        .args(args)
        .env_clear()
        .output()
        .unwrap()
}

/// Ends with this code and says this.
fn ends(output: &Output, code: i32, says: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{says:?} is not in: {said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn keys_are_encrypted_unless_the_chain_is_an_experiment() {
    let founders = Founders::new();
    ends(&founders.prepare(0, "7", &[]), 2, "--plain");
    assert!(!founders.home(0).exists());
    let file = founders.path("passphrase");
    let secret = ["--passphrase-file", text(&file)];
    ends(&founders.prepare(0, "7", &secret), 0, "✔");
    for index in 1..4 {
        ends(&founders.prepare(index, "7", &["--plain"]), 0, "✔");
    }
    ends(&founders.genesis(&[0, 1, 2, 3], "real.json", &[]), 0, "✔");
    ends(&founders.adopt(0, "real.json", &secret), 0, "member 0");
    ends(&founders.adopt(1, "real.json", &[]), 3, "not encrypted");
    assert!(!founders.home(1).join("genesis.json").exists());
    let experiment = ["--experiment"];
    let made = founders.genesis(&[0, 1, 2, 3], "toy.json", &experiment);
    ends(&made, 0, "experiment");
    ends(&founders.adopt(1, "toy.json", &[]), 0, "member 1");
}

#[test]
fn a_prepared_home_runs_only_once_it_has_a_genesis() {
    let founders = Founders::four();
    let home = founders.home(2);
    let node = run(&["node", "--home", text(&home)]);
    ends(&node, 3, "genesis.json is missing");
    ends(
        &founders.genesis(&[0, 1, 2, 3], "f.json", &["--experiment"]),
        0,
        "✔",
    );
    ends(&founders.adopt(2, "f.json", &[]), 0, "member 2");
    let check = run(&["config", "check", "--home", text(&home)]);
    ends(&check, 0, "");
    let keys = run(&["keys", "verify", "--home", text(&home)]);
    ends(&keys, 0, "member 2");
    ends(&founders.adopt(2, "f.json", &[]), 3, "already");
}

#[test]
fn cards_of_other_chains_epochs_and_addresses_are_refused() {
    let founders = Founders::four();
    ends(&founders.prepare(4, "8", &["--plain"]), 0, "✔");
    ends(
        &founders.genesis(&[0, 1, 2, 4], "f.json", &[]),
        2,
        "chain 8",
    );
    ends(&founders.genesis(&[0, 1, 2], "f.json", &[]), 2, "members");
    let twice = founders.genesis(&[0, 1, 2, 2], "f.json", &[]);
    ends(&twice, 2, "");
    edit(&founders.home(3).join("card.json"), |card| {
        card["epoch"] = 1.into();
    });
    let made = founders.genesis(&[0, 1, 2, 3], "f.json", &[]);
    ends(&made, 2, "ceremony prepare");
    edit(&founders.home(3).join("card.json"), |card| {
        card["epoch"] = 0.into();
        card["member"]["quic"] = "0.0.0.0:7730".into();
    });
    let made = founders.genesis(&[0, 1, 2, 3], "f.json", &[]);
    ends(&made, 2, "where to listen");
    assert!(!founders.path("f.json").exists());
}

/// Whoever puts the cards together changes one: its owner does not run with it.
#[test]
fn a_genesis_with_another_key_or_hash_is_not_taken_in() {
    let founders = Founders::four();
    ends(
        &founders.genesis(&[0, 1, 2, 3], "f.json", &["--experiment"]),
        0,
        "✔",
    );
    let good: Value = serde_json::from_slice(&fs::read(founders.path("f.json")).unwrap()).unwrap();
    let theirs = good["members"][0]["receiver"].clone();
    fs::copy(founders.path("f.json"), founders.path("swapped.json")).unwrap();
    edit(&founders.path("swapped.json"), |founding| {
        founding["members"][1]["receiver"] = theirs.clone();
        founding["genesis"]["encryption"]["receivers"][1] = theirs;
    });
    ends(
        &founders.adopt(1, "swapped.json", &[]),
        3,
        "members 0 and 1",
    );
    // A key of theirs that nobody else has.
    ends(&founders.prepare(5, "7", &["--plain"]), 0, "✔");
    let fifth: Value =
        serde_json::from_slice(&fs::read(founders.home(5).join("card.json")).unwrap()).unwrap();
    let theirs = fifth["member"]["receiver"].clone();
    edit(&founders.path("swapped.json"), |founding| {
        founding["members"][1]["receiver"] = theirs.clone();
        founding["genesis"]["encryption"]["receivers"][1] = theirs;
    });
    let swapped = founders.adopt(1, "swapped.json", &[]);
    ends(&swapped, 3, "another receiver key");
    let stranger = founders.adopt(5, "f.json", &[]);
    ends(&stranger, 3, "no member");
    let other = "00".repeat(32);
    let hash = ["--genesis-hash", other.as_str()];
    ends(&founders.adopt(1, "f.json", &hash), 5, "do not run with it");
    ends(
        &founders.adopt(1, "f.json", &["--genesis-hash", "12"]),
        2,
        "",
    );
    ends(&founders.adopt(1, "f.json", &[]), 0, "member 1");
}

/// What they execute goes along, with the members as oracles.
#[test]
fn an_execution_file_goes_along() {
    let founders = Founders::four();
    let net = founders.path("net");
    ends(&run(&["testnet", "init", "-o", text(&net)]), 0, "✔");
    let sample = net.join("member-0/execution.toml");
    let execution = ["--execution", text(&sample), "--member-prices"];
    let args = [&execution[..], &["--experiment"]].concat();
    let made = founders.genesis(&[0, 1, 2, 3], "f.json", &args);
    ends(&made, 0, "execution.toml");
    for index in 0..4 {
        ends(&founders.adopt(index, "f.json", &[]), 0, "execution.toml");
    }
    let read = |index| fs::read_to_string(founders.home(index).join("execution.toml")).unwrap();
    let card: Value =
        serde_json::from_slice(&fs::read(founders.home(3).join("card.json")).unwrap()).unwrap();
    assert!(read(0).contains(card["member"]["identity"].as_str().unwrap()));
    assert_eq!(read(0), read(3));
    ends(
        &founders.genesis(&[0, 1, 2, 3], "g.json", &["--member-prices"]),
        2,
        "--execution",
    );
}
