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

    /// Looks at a founding file, and takes it in if it shows a hash.
    fn adopt(&self, index: usize, founding: &str, more: &[&str]) -> Output {
        let seen = self.adopt_as(index, founding, &[&["--json"], more].concat());
        if !seen.status.success() {
            return seen;
        }
        assert!(!self.home(index).join("execution.toml").exists() || self.adopted(index));
        let told: Value = serde_json::from_slice(&seen.stdout).unwrap();
        let hash = told["seen"]["hash"].as_str().unwrap();
        self.adopt_as(index, founding, &[&["--hash", hash], more].concat())
    }

    fn adopt_as(&self, index: usize, founding: &str, more: &[&str]) -> Output {
        let (home, founding) = (self.home(index), self.path(founding));
        let args = ["ceremony", "adopt", "--home", text(&home), text(&founding)];
        run(&[&args[..], more].concat())
    }

    fn adopted(&self, index: usize) -> bool {
        self.home(index).join("genesis.json").exists()
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
    assert!(!founders.adopted(1));
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
    // Until it has run it may be founded again.
    ends(&founders.adopt(2, "f.json", &[]), 0, "member 2");
    fs::remove_dir_all(home.join("data")).unwrap();
    ends(&founders.adopt(2, "f.json", &[]), 3, "data is missing");
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
    ends(&twice, 2, "same identity key");
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
    let refused = founders.adopt_as(1, "f.json", &["--hash", &other]);
    ends(&refused, 5, "do not run with it");
    let short = founders.adopt_as(1, "f.json", &["--hash", "12"]);
    ends(&short, 2, "--hash");
    // A look writes nothing.
    ends(
        &founders.adopt_as(1, "f.json", &[]),
        0,
        "nothing is written",
    );
    assert!(!founders.adopted(1));
    ends(&founders.adopt(1, "f.json", &[]), 0, "member 1");
}

/// What a middleman may choose: addresses, a time to come, parameters.
#[test]
fn what_the_cards_do_not_say_is_shown_or_refused() {
    let founders = Founders::four();
    let made = founders.genesis(&[0, 1, 2, 3], "f.json", &["--experiment"]);
    ends(&made, 0, "✔");
    let change = |name: &str, change: fn(&mut Value)| {
        fs::copy(founders.path("f.json"), founders.path(name)).unwrap();
        edit(&founders.path(name), change);
    };
    change("moved.json", |f| {
        f["members"][2]["quic"] = "m2.example:7720".into();
    });
    let moved = founders.adopt(2, "moved.json", &[]);
    ends(&moved, 5, "other addresses");
    let hash = |name: &str| {
        let seen = founders.adopt_as(1, name, &["--json"]);
        let told: Value = serde_json::from_slice(&seen.stdout).unwrap();
        told["seen"]["hash"].as_str().unwrap().to_owned()
    };
    assert_ne!(hash("moved.json"), hash("f.json"), "where members are");
    change("later.json", |f| {
        let time = &mut f["genesis"]["time"];
        *time = (time.as_u64().unwrap() + 3_600_000).into();
    });
    ends(&founders.adopt(1, "later.json", &[]), 5, "ahead");
    change("bare.json", |f| f["genesis"]["certificates"] = Value::Null);
    ends(&founders.adopt(1, "bare.json", &[]), 3, "both keys");
    change("blind.json", |f| {
        f["members"][2]["quic"] = "\u{1b}[2Ka:7720".into();
    });
    let blind = founders.adopt(1, "blind.json", &[]);
    ends(&blind, 2, "is not host:port");
    change("other.json", |f| {
        f["genesis"]["order"]["key_grace_ms"] = 60_000.into();
    });
    let seen = founders.adopt_as(1, "other.json", &[]);
    ends(&seen, 0, "order.key_grace_ms = 60000");
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
