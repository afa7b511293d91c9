//! A whole committee of child processes, end to end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn fairlane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlane"));
    command
        .env_remove("FAIRLANE_HOME")
        .env_remove("FAIRLANE_MEMBERS");
    command
}

fn orders(folder: &Path, count: usize) -> std::path::PathBuf {
    let file = folder.join("orders.jsonl");
    let sample = include_str!("../../../examples/orders.jsonl");
    let lines: Vec<_> = sample.lines().take(count).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    file
}

/// Processes that run out of a folder, by their command lines.
fn members_of(folder: &Path) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return 0;
    };
    processes
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .filter(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("--stop-with-stdin") && line.contains(folder.to_str().unwrap())
        })
        .count()
}

#[test]
fn every_order_comes_out_once_opened_with_one_root() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("net");
    let output = fairlane()
        .args(["devnet", "--json", "--exit", "--orders"])
        .arg(orders(folder.path(), 60))
        .arg("--home")
        .arg(&home)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!(summary["orders_in"], 60);
    assert_eq!(summary["orders_out"], 60);
    assert_eq!(summary["undecryptable"], 0);
    assert_eq!(summary["same_root"], true);
    assert!(summary["p50_ms"].as_f64().unwrap() > 0.0);
    let positions: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["item"]["position"].as_str()?.parse().ok())
        .collect();
    assert_eq!(positions, (0..60).collect::<Vec<_>>());
    assert_eq!(members_of(folder.path()), 0);
}

#[test]
fn members_end_with_a_parent_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("net");
    let mut devnet = fairlane()
        .args(["devnet", "--json", "--home"])
        .arg(&home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(devnet.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("\"devnet\""), "{line}");
    assert_eq!(members_of(folder.path()), 4);
    devnet.kill().unwrap();
    devnet.wait().unwrap();
    let start = Instant::now();
    while members_of(folder.path()) > 0 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "members outlive their parent"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
