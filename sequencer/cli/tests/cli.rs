//! The binary as a user meets it: exit codes, streams, JSON.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

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
