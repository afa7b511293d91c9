//! Keys at rest, on the real binary (THREATS A26): what opens, what is refused, who may run.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASSPHRASE: &str = "correct horse battery";
const PASSPHRASE_NEW: &str = "staple and more";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlane"));
    command.args(args).env_clear();
    // Any free port will do: nobody is called.
    for name in ["QUIC", "API", "OPS"] {
        command.env(format!("FAIRLANE_LISTEN_{name}"), "127.0.0.1:0");
    }
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Fails with this code, and says this on stderr.
fn refused(args: &[&str], code: i32, says: &str) {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(says), "{args:?}: {stderr}");
    assert!(!stderr.contains(PASSPHRASE), "{stderr}");
}

fn json(args: &[&str]) -> serde_json::Value {
    let output = run(&[&["--json"], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A committee with encrypted keys, and files with passphrases.
struct World {
    folder: tempfile::TempDir,
}

/// Who makes the encryption key: its members read it with `receiver.key`, a dealer leaves
/// them `share.key`.
#[derive(Clone, Copy)]
enum Maker {
    Members,
    Dealer,
}

impl World {
    fn new(maker: Maker) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        private(&world.path("right"), &format!("{PASSPHRASE}\n"));
        private(&world.path("new"), PASSPHRASE_NEW);
        private(&world.path("wrong"), "correct horse");
        let net = world.path("net");
        let right = world.path("right");
        let init = [
            "testnet",
            "init",
            "-o",
            text(&net),
            "--passphrase-file",
            text(&right),
        ];
        let made = match maker {
            Maker::Members => json(&init),
            Maker::Dealer => json(&[&init[..], &["--dealer"]].concat()),
        };
        assert_eq!(made["testnet"]["key_files"], "encrypted");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self, member: usize) -> PathBuf {
        self.path("net").join(format!("member-{member}"))
    }

    fn refused(&self, verb: &[&str], home: &Path, passphrase: &str, code: i32, says: &str) {
        let file = self.path(passphrase);
        let args = ["--home", text(home), "--passphrase-file", text(&file)];
        refused(&[verb, &args].concat(), code, says);
    }
}

/// A running node; killed when dropped.
struct Running(Child);

impl Running {
    /// Starts a node and waits until it says so.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let mut started = false;
        for line in lines {
            seen.push(line.unwrap());
            started = seen.last().unwrap().contains("node started");
            if started {
                break;
            }
        }
        let log = seen.join("\n");
        assert!(started, "{log}");
        assert!(!log.contains(PASSPHRASE), "{log}");
        assert!(!log.contains("plain keys"), "{log}");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_opens_its_keys_with_a_passphrase_from_any_of_three_places() {
    let world = World::new(Maker::Members);
    let home = world.home(0);
    let node = ["node", "--home", text(&home)];
    refused(&node, 3, "is encrypted: give its passphrase");

    let right = world.path("right");
    let with_flag = [&node[..], &["--passphrase-file", text(&right)]].concat();
    let running = Running::start(&mut command(&with_flag));
    // Core dumps are off.
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.0.id())).unwrap();
    let cores = limits.lines().find(|line| line.contains("core file size"));
    let cores: Vec<_> = cores.unwrap().split_whitespace().collect();
    assert_eq!(cores[4..6], ["0", "0"], "{limits}");
    // kill −9 leaves nothing behind that holds up the next start.
    drop(running);
    drop(Running::start(
        command(&node).env("FAIRLANE_PASSPHRASE", PASSPHRASE),
    ));
    let credentials = world.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(&right, credentials.join("passphrase")).unwrap();
    drop(Running::start(
        command(&node).env("CREDENTIALS_DIRECTORY", &credentials),
    ));
}

#[test]
fn wrong_passphrases_damaged_files_and_loose_modes_are_refused() {
    let foreign = "not the receiver key of member 1";
    refusals(&World::new(Maker::Members), "receiver.key", foreign);
    refusals(&World::new(Maker::Dealer), "share.key", "share of member 2");
}

/// `part` is the file with a member's part of the encryption key, `foreign` what is said of
/// another member's.
fn refusals(world: &World, part: &str, foreign: &str) {
    let home = world.home(1);
    for verb in [
        &["node"][..],
        &["keys", "verify"],
        &["keys", "show"],
        &["config", "check"],
    ] {
        world.refused(
            verb,
            &home,
            "wrong",
            3,
            "wrong passphrase, or the key file was altered",
        );
        world.refused(verb, &home, "nowhere", 3, "is missing");
    }
    let verify = ["keys", "verify"];
    private(&world.path("empty"), "\n");
    world.refused(&verify, &home, "empty", 3, "the passphrase is empty");
    fs::set_permissions(world.path("new"), fs::Permissions::from_mode(0o644)).unwrap();
    world.refused(&verify, &home, "new", 3, "chmod 600");

    let share = home.join(part);
    let whole = fs::read(&share).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&share, damaged).unwrap();
    world.refused(
        &["node"],
        &home,
        "right",
        3,
        &format!("{part}: wrong passphrase, or the key file"),
    );
    fs::write(&share, &whole[..whole.len() / 2]).unwrap();
    world.refused(&["node"], &home, "right", 3, part);
    // Another member's share, in order and under the same passphrase.
    fs::copy(world.home(2).join(part), &share).unwrap();
    world.refused(&["node"], &home, "right", 3, foreign);
    // A share in the place of the identity.
    let identity = home.join("identity.key");
    let seed = fs::read(&identity).unwrap();
    fs::write(&identity, &whole).unwrap();
    world.refused(&["node"], &home, "right", 3, "another kind of key");
    fs::write(&identity, seed).unwrap();
    fs::write(&share, &whole).unwrap();
    fs::set_permissions(&share, fs::Permissions::from_mode(0o644)).unwrap();
    world.refused(&["node"], &home, "right", 3, "chmod 600");
    fs::set_permissions(&share, fs::Permissions::from_mode(0o600)).unwrap();
    let right = world.path("right");
    let good = [
        "keys",
        "verify",
        "--home",
        text(&home),
        "--passphrase-file",
        text(&right),
    ];
    assert_eq!(json(&good)["verified"]["key_files"], "encrypted");
}

#[test]
fn one_identity_does_not_run_twice() {
    let world = World::new(Maker::Members);
    let (home, right) = (world.home(2), world.path("right"));
    let node = [
        "node",
        "--home",
        text(&home),
        "--passphrase-file",
        text(&right),
    ];
    let running = Running::start(&mut command(&node));
    refused(&node, 3, "member-2 is in use by a running node");
    // A copy of the folder, as somebody makes who moves a member and forgets the old one.
    let copy = world.path("copy");
    fs::create_dir(&copy).unwrap();
    for file in [
        "genesis.json",
        "config.toml",
        "identity.key",
        "receiver.key",
    ] {
        fs::copy(home.join(file), copy.join(file)).unwrap();
    }
    world.refused(
        &["node"],
        &copy,
        "right",
        3,
        "from another folder is in use",
    );
    // Another member is not held up, and the copy may run once the first is gone.
    let other = world.home(3);
    let node = [
        "node",
        "--home",
        text(&other),
        "--passphrase-file",
        text(&right),
    ];
    drop(Running::start(&mut command(&node)));
    drop(running);
    let node = [
        "node",
        "--home",
        text(&copy),
        "--passphrase-file",
        text(&right),
    ];
    drop(Running::start(&mut command(&node)));
}

#[test]
fn a_backup_brings_the_keys_back_as_an_observer() {
    for maker in [Maker::Members, Maker::Dealer] {
        restores(&World::new(maker));
    }
}

fn restores(world: &World) {
    let (home, right, new) = (world.home(0), world.path("right"), world.path("new"));
    let at = ["--home", text(&home), "--passphrase-file", text(&right)];
    let shown = json(&[&["keys", "show"][..], &at].concat());
    let file = world.path("member-0.backup");
    let out = ["--out", text(&file), "--backup-passphrase-file", text(&new)];
    let backup = [&["keys", "backup"][..], &at, &out].concat();
    assert_eq!(json(&backup)["backup"]["member"], 0);
    refused(&backup, 3, "exists already");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let genesis = home.join("genesis.json");
    let verify = [
        "keys",
        "verify",
        "--backup",
        text(&file),
        "--genesis",
        text(&genesis),
    ];
    let with = |passphrase| [&verify[..], &["--passphrase-file", text(passphrase)]].concat();
    assert_eq!(json(&with(&new))["verified"]["member"], 0);
    refused(&with(&right), 3, "wrong passphrase");
    let other = world.path("other");
    assert!(
        run(&["testnet", "init", "-o", text(&other)])
            .status
            .success()
    );
    let other = other.join("genesis.json");
    let foreign = [
        "keys",
        "verify",
        "--backup",
        text(&file),
        "--genesis",
        text(&other),
    ];
    let foreign = [&foreign[..], &["--passphrase-file", text(&new)]].concat();
    refused(&foreign, 5, "a backup for genesis");

    let back = world.path("back");
    let restore = [
        "keys",
        "restore",
        "--backup",
        text(&file),
        "--backup-passphrase-file",
        text(&new),
        "--home",
        text(&back),
        "--passphrase-file",
        text(&right),
    ];
    refused(&restore, 2, "no genesis.json");
    assert!(!back.exists());
    let restore = [&restore[..], &["--genesis", text(&genesis)]].concat();
    let restored = json(&restore);
    assert_eq!(restored["restored"]["data"], false);
    refused(&restore, 3, "exists already");
    fs::copy(home.join("config.toml"), back.join("config.toml")).unwrap();
    let at = ["--home", text(&back), "--passphrase-file", text(&right)];
    assert_eq!(json(&[&["keys", "show"][..], &at].concat()), shown);
    // It runs, and does not vote (C7).
    let mut child = command(&[&["node"][..], &at].concat())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let log: Vec<_> = log
        .map(Result::unwrap)
        .scan(false, |end, line| {
            let go_on = !*end;
            *end = line.contains("node started");
            go_on.then_some(line)
        })
        .collect();
    let _running = Running(child);
    assert!(log.iter().any(|line| line.contains("observer")), "{log:?}");
}

#[test]
fn passphrases_change_and_plain_keys_are_marked() {
    let world = World::new(Maker::Members);
    let (right, new) = (world.path("right"), world.path("new"));
    let net = world.path("plain");
    let made = json(&["testnet", "init", "-o", text(&net)]);
    assert_eq!(made["testnet"]["key_files"], "plain");
    let home = net.join("member-3");
    let show = ["keys", "show", "--home", text(&home)];
    let shown = json(&show);
    assert_eq!(shown["keys"]["key_files"], "plain");
    let seal = [
        "keys",
        "passphrase",
        "--home",
        text(&home),
        "--new-passphrase-file",
    ];
    json(&[&seal[..], &[text(&right)]].concat());
    refused(&show, 3, "is encrypted");
    let again = [&seal[..], &[text(&new), "--passphrase-file", text(&right)]].concat();
    json(&again);
    refused(&again, 3, "wrong passphrase");
    let shown_now = json(&[&show[..], &["--passphrase-file", text(&new)]].concat());
    assert_eq!(shown_now["keys"]["identity"], shown["keys"]["identity"]);
    assert_eq!(shown_now["keys"]["key_files"], "encrypted");
}

#[test]
fn an_identity_is_made_encrypted_unless_plain_is_asked_for() {
    let world = World::new(Maker::Members);
    let out = world.path("new-member");
    let generate = ["keys", "generate", "-o", text(&out)];
    refused(&generate, 2, "no passphrase");
    assert!(!out.exists());
    let right = world.path("right");
    let sealed = [&generate[..], &["--passphrase-file", text(&right)]].concat();
    let made = json(&sealed);
    assert_eq!(made["keys"]["key_files"], "encrypted");
    assert_eq!(made["keys"]["identity"].as_str().unwrap().len(), 64);
    refused(&sealed, 3, "exists already");
    let plain = world.path("plain-member");
    let made = json(&["keys", "generate", "--plain", "-o", text(&plain)]);
    assert_eq!(made["keys"]["key_files"], "plain");
}
