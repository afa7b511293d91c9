//! The binary as a user meets it: exit codes, streams, JSON.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_replica::{Store, Write, meta};
use fairlane_types::{Epoch, encode};

fn fairlane(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairlane"))
        .args(args)
        .env_remove("FAIRLANE_HOME")
        .env_remove("FAIRLANE_MEMBERS")
        .env_remove("FAIRLANE_GENESIS")
        .output()
        .unwrap()
}

fn code(args: &[&str]) -> i32 {
    let output = fairlane(args);
    let code = output.status.code().unwrap();
    if code != 0 {
        assert!(
            !output.stderr.is_empty(),
            "{args:?} fails without a word on stderr"
        );
    }
    code
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn wrong_command_lines_are_2_and_say_so_on_stderr() {
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["nonsense"]), 2);
    assert_eq!(code(&["devnet", "--members", "two"]), 2);
    assert_eq!(code(&["submit", "--to", "127.0.0.1:1", "--trader", "a"]), 2);
    let bad = [
        "submit",
        "--to",
        "127.0.0.1:1",
        "--trader",
        "a",
        "{\"op\":\"dance\"}",
    ];
    assert_eq!(code(&bad), 2);
    assert_eq!(code(&["status", "--to", "ftp://x"]), 2);
    assert!(fairlane(&["nonsense"]).stdout.is_empty());
}

#[test]
fn what_is_missing_before_the_start_is_3() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    assert_eq!(code(&["node", "--home", text(&nowhere)]), 3);
    assert_eq!(code(&["config", "check", "--home", text(&nowhere)]), 3);
    assert_eq!(code(&["verify", "x", "--genesis", text(&nowhere)]), 3);
    assert_eq!(code(&["devnet", "--orders", text(&nowhere)]), 3);
    assert_eq!(code(&["devnet", "--home", text(folder.path())]), 3);
}

/// With too few files a node would end in the middle of something.
#[test]
fn too_few_open_files_are_3_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net");
    assert_eq!(code(&["testnet", "init", "--dealer", "-o", text(&net)]), 0);
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 700 && exec \"$0\" node --home \"$1\""])
        .args([env!("CARGO_BIN_EXE_fairlane"), text(&net.join("member-0"))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("needs 728 at least"), "{said}");
}

#[test]
fn who_is_not_there_is_4() {
    assert_eq!(code(&["status", "--to", "127.0.0.1:1"]), 4);
    assert_eq!(code(&["follow", "--to", "127.0.0.1:1"]), 4);
    let submit = [
        "submit",
        "--to",
        "127.0.0.1:1",
        "--trader",
        "a",
        "{\"op\":\"cancel_all\"}",
    ];
    assert_eq!(code(&submit), 4);
    let output = fairlane(&["--json", "follow", "--to", "127.0.0.1:1"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["error"]["exit"], "unreachable");
}

#[test]
fn a_wrong_sample_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.jsonl");
    let good = "{\"at_ms\":0,\"trader\":\"a\",\"op\":\"cancel_all\"}\n";
    std::fs::write(&file, format!("{good}{{\"at_ms\":1}}\n")).unwrap();
    let output = fairlane(&["devnet", "--orders", text(&file)]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("line 2"), "{stderr}");
}

#[test]
fn a_testnet_is_made_once_and_passes_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net");
    let make = ["--json", "testnet", "init", "-n", "4", "-o", text(&net)];
    let output = fairlane(&make);
    assert!(output.status.success());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["testnet"]["members"].as_array().unwrap().len(), 4);
    assert_eq!(code(&make), 3, "nothing is overwritten");
    let home = net.join("member-2");
    let check = fairlane(&["--json", "config", "check", "--home", text(&home)]);
    let line: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(line["config"]["ok"], true);
    let show = fairlane(&["config", "show", "--home", text(&home)]);
    assert!(String::from_utf8_lossy(&show.stdout).contains("listen_api = "));
    // A key that does not belong there, and an unknown key of the configuration.
    let config = home.join("config.toml");
    let old = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("colour = \"red\"\n{old}")).unwrap();
    let bad = fairlane(&["config", "check", "--home", text(&home)]);
    assert_eq!(bad.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("line 1"));
}

/// What `config check` says of a home, and what `doctor` says of it.
fn checked(home: &Path) -> (serde_json::Value, String) {
    let check = fairlane(&["--json", "config", "check", "--home", text(home)]);
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
    let line: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let doctor = fairlane(&["--json", "doctor", "--home", text(home)]);
    let lines = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let found = lines.lines().find(|line| line.contains("\"home\""));
    let found: serde_json::Value = serde_json::from_str(found.unwrap()).unwrap();
    assert_ne!(found["result"], "bad", "{found}");
    (line["config"].clone(), found["found"].to_string())
}

/// A unit checks a home before each start: one whose node would start and wait passes.
#[test]
fn homes_that_wait_for_their_epoch_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let (net, joiner) = (folder.path().join("net"), folder.path().join("joiner"));
    assert_eq!(code(&["testnet", "init", "-n", "4", "-o", text(&net)]), 0);
    let genesis = net.join("genesis.json");
    let join = ["committee", "join", "--genesis", text(&genesis)];
    let place = ["-o", text(&joiner), "--port", "7990", "--epoch", "1"];
    let from = ["--from", "http://127.0.0.1:1"];
    assert_eq!(code(&[&join[..], &place, &from].concat()), 0);
    let (config, found) = checked(&joiner);
    assert_eq!(config["waits"], "no member of this epoch");
    assert!(config["member"].is_null() && found.contains("no member of this epoch"));

    // A backup of the next epoch's key.
    let restored = net.join("member-1");
    let key = |name: &str| restored.join(name);
    std::fs::rename(key("receiver.key"), key("receiver-1.key")).unwrap();
    assert_eq!(checked(&restored).0["waits"], "no key for this epoch here");

    // One that stopped between two epochs.
    let left = net.join("member-2");
    let mut store = RocksStore::open(&StoreOptions {
        path: left.join("data"),
        reserve_bytes: 1 << 20,
    })
    .unwrap();
    let row = Write::meta(meta::LEFT, encode(&Epoch(0)));
    store.commit(&[row], true).unwrap();
    drop(store);
    assert_eq!(checked(&left).0["waits"], "this epoch is left");
    assert!(checked(&net.join("member-3")).0["waits"].is_null());

    // Whoever waits must know somebody to ask, and be able to read its keys.
    let path = joiner.join("config.toml");
    let old = std::fs::read_to_string(&path).unwrap();
    let mut alone: toml::Table = toml::from_str(&old).unwrap();
    assert!(alone.remove("join").is_some());
    std::fs::write(&path, toml::to_string(&alone).unwrap()).unwrap();
    for verb in [&["config", "check"][..], &["node"]] {
        let refused = fairlane(&[verb, &["--home", text(&joiner)]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{verb:?}: {said}");
        assert!(said.contains("names no member"), "{verb:?}: {said}");
    }
    std::fs::write(&path, old).unwrap();
    std::fs::write(joiner.join("receiver-1.key"), "torn").unwrap();
    let check = ["config", "check", "--home", text(&joiner)];
    assert_eq!(code(&check), 3);
}

#[test]
fn version_completions_and_tables_are_printed() {
    let output = fairlane(&["version", "--json"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(line["version"].is_string());
    let script = fairlane(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&script.stdout).contains("devnet"));
    let table = fairlane(&["docs", "error-codes"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("`wrong_chain`"));
    // Not a terminal: no colour.
    assert!(!String::from_utf8_lossy(&fairlane(&["doctor"]).stdout).contains('\x1b'));
}

#[test]
fn a_file_that_is_no_sequence_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net");
    assert_eq!(code(&["testnet", "init", "-o", text(&net)]), 0);
    let genesis = net.join("genesis.json");
    let file = folder.path().join("file");
    std::fs::write(&file, "hello\n").unwrap();
    let verify = ["verify", text(&file), "--genesis", text(&genesis)];
    assert_eq!(code(&verify), 2);
    let empty = format!("fairlane sequence 1 {}\n", "0".repeat(64));
    std::fs::write(&file, empty).unwrap();
    assert_eq!(code(&verify), 5, "another chain's file");
}
