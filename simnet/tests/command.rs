//! The binary from outside: exit codes, the last line, and what it writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn simnet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simnet"))
        .args(args)
        .output()
        .expect("the binary runs")
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

#[test]
fn a_swarm_ends_with_its_json_line() {
    let out = folder("swarm");
    let out = out.to_str().expect("a path in UTF-8");
    let run = simnet(&[
        "swarm",
        "--seeds",
        "2",
        "--members",
        "4",
        "--recheck",
        "100%",
        "--out",
        out,
    ]);
    assert_eq!(run.status.code(), Some(0));
    let text = String::from_utf8_lossy(&run.stdout);
    let last = text.lines().last().unwrap_or("");
    let begin = "{\"swarm\":{\"seeds\":2,\"violations\":0,\"seeds_per_hour\":";
    assert!(last.starts_with(begin), "{last}");
    assert!(last.contains("\"rechecked\":2"), "{last}");
    // Two seeds meet few rare events.
    let strict = ["swarm", "--seeds", "1", "--require-marks", "--json"];
    assert_eq!(simnet(&strict).status.code(), Some(1));
}

#[test]
fn a_seed_and_the_plan_saved_from_it_are_the_same_run() {
    let folder = folder("replay");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (plan, bundle) = (path("plan.toml"), path("bundle"));
    let seed = [
        "replay", "--seed", "0x2a", "--save", &plan, "--bundle", &bundle,
    ];
    let hash = |run: &Output| {
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let at = text.find("trace=").expect("a verdict");
        text[at..at + 38].to_owned()
    };
    let (first, again) = (simnet(&seed), simnet(&["replay", &plan]));
    assert_eq!(
        (first.status.code(), again.status.code()),
        (Some(0), Some(0))
    );
    assert_eq!(hash(&first), hash(&again));
    for file in ["plan.toml", "report.txt", "tail.txt", "trace.json"] {
        let written = std::fs::metadata(folder.join("bundle").join(file)).expect(file);
        assert!(written.len() > 100, "{file}");
    }
    // The plan in the bundle is the same run too, and nothing that could shrink.
    let kept = format!("{bundle}/plan.toml");
    assert_eq!(hash(&simnet(&["replay", &kept])), hash(&first));
    assert_eq!(simnet(&["shrink", &kept]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_done_is_usage() {
    let folder = folder("wrong");
    let bad = folder.join("bad.toml");
    std::fs::write(&bad, "members = 4\n").expect("a file");
    let bad = bad.to_string_lossy();
    for args in [
        &["nothing"][..],
        &["swarm", "--budget", "soon"],
        &["replay"],
        &["replay", "no/such/plan.toml"],
        &["replay", &bad],
    ] {
        let run = simnet(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}");
        assert!(!run.stderr.is_empty());
    }
    let help = simnet(&["swarm", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--recheck"));
}
