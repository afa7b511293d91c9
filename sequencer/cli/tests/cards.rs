//! Cards and changes of committee, as far as no member has to run: what they say of where
//! members are, what a joiner listens on, and keys that are whole or not there.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Net {
    folder: tempfile::TempDir,
}

impl Net {
    fn new() -> Self {
        let net = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let out = net.path("net");
        good(&["testnet", "init", "-n", "4", "-o", text(&out)]);
        net
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `committee join` into a folder of this name, for epoch 1: nobody is asked.
    fn join(&self, name: &str, more: &[&str]) -> Output {
        let (genesis, out) = (self.path("net/genesis.json"), self.path(name));
        let args = [
            "committee",
            "join",
            "--genesis",
            text(&genesis),
            "-o",
            text(&out),
        ];
        let rest = ["--epoch", "1", "--port", "7800", "--from", "127.0.0.1:1"];
        let disk = ["--reserve-mb", "64"];
        run(&[&args[..], &rest, &disk, more].concat())
    }

    /// `committee card` of a member.
    fn card(&self, member: usize, quic: &str, api: &str) -> Output {
        let home = self.path(&format!("net/member-{member}"));
        let out = self.path(&format!("card-{member}.json"));
        let args = ["committee", "card", "--home", text(&home), "-o", text(&out)];
        run(&[&args[..], &["--quic", quic, "--api", api]].concat())
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairlane"))
        .args(args)
        .env_clear()
        .output()
        .unwrap()
}

fn good(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {stderr}");
    stderr
}

/// Ends with this code and says this.
fn ends(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(says), "{says:?} is not in: {stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn value(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_joiner_listens_for_operators_on_loopback_and_its_card_says_where_it_is() {
    let net = Net::new();
    ends(&net.join("a", &["--host", "0.0.0.0"]), 2, "0.0.0.0:7800");
    assert!(!net.path("a").exists(), "nothing was made");
    let quic = ["--host", "0.0.0.0", "--quic", "m4.example:7800"];
    ends(&net.join("a", &quic), 2, "http://0.0.0.0:7801");
    let all = [&quic[..], &["--api", "http://m4.example:80"]].concat();
    let output = net.join("a", &all);
    ends(&output, 0, "");
    assert!(output.stderr.is_empty(), "{output:?}");
    let member = &value(&net.path("a/card.json"))["member"];
    assert_eq!(member["quic"], "m4.example:7800");
    assert_eq!(member["api"], "http://m4.example:80");
    let config: toml::Table = fs::read_to_string(net.path("a/config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let listens = ["listen_quic", "listen_api", "listen_ops"].map(|key| config[key].as_str());
    let expected = ["0.0.0.0:7800", "0.0.0.0:7801", "127.0.0.1:7802"];
    assert_eq!(listens, expected.map(Some));
    // On one machine it needs no more, but is told.
    ends(
        &net.join("b", &[]),
        0,
        "members on other machines cannot reach",
    );
    let member = &value(&net.path("b/card.json"))["member"];
    assert_eq!(member["quic"], "127.0.0.1:7800");
    assert_eq!(member["api"], "http://127.0.0.1:7801");
}

#[test]
fn addresses_of_nobody_are_refused_in_cards_and_in_changes() {
    let net = Net::new();
    let nobody = "where to listen, not where it is";
    ends(&net.card(0, "0.0.0.0:1", "http://a.example:1"), 2, nobody);
    ends(&net.card(0, "a.example:1", "http://[::]:1"), 2, nobody);
    ends(
        &net.card(0, "a.example", "http://a.example:1"),
        2,
        "host:port",
    );
    ends(
        &net.card(0, "a.example:1", "ftp://a.example:1"),
        2,
        "ftp://",
    );
    assert!(!net.path("card-0.json").exists());
    for member in 0..4 {
        let output = net.card(
            member,
            &format!("m{member}.example:1"),
            "http://m.example:2",
        );
        ends(&output, 0, "");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    let cards: Vec<_> = (0..4)
        .map(|member| value(&net.path(&format!("card-{member}.json"))))
        .collect();
    let members: Vec<_> = cards.iter().map(|card| card["member"].clone()).collect();
    let next = json!({ "chain": cards[0]["chain"], "epoch": cards[0]["epoch"], "members": members, "key": "fresh" });
    let change = json!({ "next": next, "approved": { "signatures": [] } });
    let approve = |change: &Value| {
        let (file, home) = (net.path("change.json"), net.path("net/member-1"));
        fs::write(&file, change.to_string()).unwrap();
        run(&["committee", "approve", "--home", text(&home), text(&file)])
    };
    let output = approve(&change);
    ends(&output, 0, "");
    assert!(output.stderr.is_empty(), "{output:?}");
    let signed = value(&net.path("change.json"));
    assert_eq!(
        signed["approved"]["signatures"].as_array().unwrap().len(),
        1
    );
    let mut local = change.clone();
    local["next"]["members"][2]["quic"] = "127.0.0.1:7800".into();
    ends(&approve(&local), 0, "member 2 says 127.0.0.1:7800");
    let mut wrong = change;
    wrong["next"]["members"][2]["api"] = "http://0.0.0.0:7801".into();
    ends(&approve(&wrong), 2, "member 2");
    let signed = value(&net.path("change.json"));
    assert_eq!(signed, wrong, "nothing was signed");
}

/// Runs a verb that is killed when a file of it gets longer than so many blocks, as by a machine
/// that stops.
fn killed_at(blocks: usize, args: &[&str]) {
    let shell = format!("ulimit -f {blocks}; exec \"$@\"");
    let killed = Command::new("sh")
        .args(["-c", &shell, "sh", env!("CARGO_BIN_EXE_fairlane")])
        .args(args)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
}

/// A home is there with all that belongs to it, or not at all: stopped at the first byte of a key,
/// and after the keys, what makes it leaves nothing at its place and works when it is run again.
#[test]
fn a_stop_while_a_home_is_made_leaves_no_half_home() {
    let net = Net::new();
    let (genesis, backup) = (net.path("net/genesis.json"), net.path("backup"));
    let (member, secret) = (net.path("net/member-0"), net.path("secret"));
    fs::write(&secret, "correct horse battery").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let opens = ["--backup-passphrase-file", text(&secret)];
    let write = [
        "keys",
        "backup",
        "--home",
        text(&member),
        "-o",
        text(&backup),
    ];
    good(&[&write[..], &opens].concat());
    let generate = ["keys", "generate", "--passphrase-file", text(&secret), "-o"];
    let join = [
        "committee",
        "join",
        "--genesis",
        text(&genesis),
        "--epoch",
        "1",
    ];
    let join = [
        &join[..],
        &["--from", "127.0.0.1:1", "--port", "9000"],
        &["--reserve-mb", "1", "-o"],
    ]
    .concat();
    let restore = ["keys", "restore", "--plain", "--backup", text(&backup)];
    let restore = [
        &restore[..],
        &opens,
        &["--genesis", text(&genesis), "--home"],
    ]
    .concat();
    let homes = net.path("homes");
    for (verb, args, stops) in [
        ("generate", &generate[..], &[0][..]),
        ("join", &join[..], &[0, 1][..]),
        ("restore", &restore[..], &[0, 1][..]),
    ] {
        let home = homes.join(verb);
        let args = [args, &[text(&home)]].concat();
        for blocks in stops {
            killed_at(*blocks, &args);
            let left: Vec<_> = fs::read_dir(&homes).unwrap().map(Result::unwrap).collect();
            let begun = format!(".{verb}.fairlane-begun");
            let names = left.iter().map(|entry| entry.file_name());
            let half: Vec<_> = names
                .filter(|name| text(name.as_ref()).contains(verb))
                .collect();
            assert_eq!(half, [begun.as_str()], "{verb} was stopped in the middle");
        }
        good(&args);
        assert!(home.join("identity.key").exists());
        ends(&run(&args), 3, "exists already");
    }
    let names = fs::read_dir(&homes).unwrap().count();
    assert_eq!(names, 3, "nothing is left beside them");
    good(&["keys", "verify", "--home", text(&homes.join("restore"))]);
}

/// The process is killed at its first byte into any file, as by a machine that stops.
#[test]
fn a_stop_while_a_key_is_written_leaves_no_half_key() {
    let net = Net::new();
    let (home, secret) = (net.path("net/member-0"), net.path("secret"));
    fs::write(&secret, "correct horse battery").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let backup = net.path("backup");
    let opens = ["--backup-passphrase-file", text(&secret)];
    let write = ["keys", "backup", "--home", text(&home), "-o", text(&backup)];
    good(&[&write[..], &opens].concat());
    let keys = ["identity.key", "receiver.key"].map(|name| home.join(name));
    for key in &keys {
        fs::remove_file(key).unwrap();
    }
    let read = [
        "keys",
        "restore",
        "--home",
        text(&home),
        "--plain",
        "--backup",
    ];
    let restore = [&read[..], &[text(&backup)], &opens].concat();
    killed_at(0, &restore);
    let begun = fs::read_dir(&home).unwrap();
    let begun = begun.filter(|file| text(&file.as_ref().unwrap().path()).ends_with(".key.new"));
    assert_eq!(begun.count(), 1, "it came as far as a key");
    assert!(keys.iter().all(|key| !key.exists()));
    good(&restore);
    good(&["keys", "verify", "--home", text(&home)]);
}

/// Verbs of clients hold keys and orders in plain as well.
#[test]
fn no_verb_leaves_a_core_dump() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fairlane"))
        .args(["status", "--to", &address])
        .env_clear()
        .spawn()
        .unwrap();
    // It asks, and is never answered.
    let (_connection, _) = listener.accept().unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
}
