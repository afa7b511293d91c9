//! A whole committee of child processes, end to end.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fairlane_client::wire::{ErrorCode, Wait};
use fairlane_client::{
    Member, Pin, SealOptions, Sealer, check_proof, check_receipt, dev, verify_certificate,
};
use fairlane_encryption::{Signing, deal_pairing_insecure};
use fairlane_types::{Envelope, Epoch, Height, Millis, Order, OrderAction, SeededRng};
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
    let executed = &summary["executed"];
    assert_eq!(executed["same"], true);
    assert!(executed["fills"].as_u64().unwrap() > 0, "{executed}");
    assert!(executed["positions"].as_u64().unwrap() > 1, "{executed}");
    let positions: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["item"]["position"].as_str()?.parse().ok())
        .collect();
    // The members' own observations lie between them.
    assert_eq!(positions.len(), 60);
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
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

/// Runs a committee for as long as `story` lasts.
fn with_devnet(story: impl AsyncFnOnce(Pin, Vec<Member>)) {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = fairlane()
        .args(["devnet", "--json", "--home"])
        .arg(folder.path().join("net"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(devnet.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let banner: Value = serde_json::from_str(&line).unwrap();
    let banner = &banner["devnet"];
    let genesis = Path::new(banner["genesis_file"].as_str().unwrap());
    let genesis = Pin::read_genesis(genesis).unwrap();
    let addresses = banner["api"].as_array().unwrap();
    let members: Vec<_> = addresses
        .iter()
        .map(|address| Member::new(address.as_str().unwrap()).unwrap())
        .collect();
    // Dropped also when the story fails: nothing is left running.
    let _running = Running(devnet);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pin = members[0].pin(genesis).await.unwrap();
        story(pin, members).await;
    });
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn seal(pin: &Pin, nonce: u64, ttl_ms: i64) -> Envelope {
    let sealer = Sealer::new(pin, dev::trader_key("alice"));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let options = SealOptions {
        nonce,
        expiry: Millis((now + ttl_ms) as u64),
        lane: None,
    };
    let mut rng = SeededRng::new(&[9; 32], &nonce.to_le_bytes());
    let order = Order::new(OrderAction::CancelAll { market: None });
    sealer.seal(&order, options, &mut rng).unwrap()
}

#[test]
fn a_real_member_refuses_each_wrong_order_with_its_own_code() {
    with_devnet(async |pin, members| {
        let key = dev::trader_key("alice");
        let member = &members[0];
        let good = seal(&pin, 1, 30_000);
        let receipt = member.submit(&good).await.unwrap();
        check_receipt(&pin, good.id(), &receipt).unwrap();
        assert_eq!(
            member.submit(&good).await.unwrap(),
            receipt,
            "the same again"
        );
        let again = |change: fn(&mut fairlane_types::Label)| {
            let mut label = good.label.clone();
            label.nonce = 77;
            change(&mut label);
            Envelope::sign(label, good.ciphertext.clone(), &key)
        };
        let mut altered = seal(&pin, 2, 30_000);
        altered.ciphertext[200] ^= 1;
        let resigned = {
            let mut envelope = seal(&pin, 3, 30_000);
            envelope.ciphertext[200] ^= 1;
            Envelope::sign(envelope.label, envelope.ciphertext, &key)
        };
        let wrong = [
            ("altered", altered, ErrorCode::BadSignature),
            ("altered and signed", resigned, ErrorCode::BadProof),
            (
                "copied under another label",
                again(|_| {}),
                ErrorCode::BadProof,
            ),
            (
                "another chain",
                again(|l| l.chain.0 ^= 1),
                ErrorCode::WrongChain,
            ),
            (
                "another key",
                again(|l| l.key_id.0.0[0] ^= 1),
                ErrorCode::UnknownKey,
            ),
            (
                "another suite",
                again(|l| l.suite = 9),
                ErrorCode::UnknownSuite,
            ),
            ("a fee", again(|l| l.fee = 1), ErrorCode::BadLabel),
            ("no such lane", again(|l| l.lane = 40), ErrorCode::BadLabel),
            (
                "reserved bytes",
                again(|l| l.reserved[3] = 1),
                ErrorCode::BadLabel,
            ),
            ("expired", seal(&pin, 4, -600_000), ErrorCode::Expired),
            ("too far", seal(&pin, 5, 900_000), ErrorCode::ExpiryTooFar),
            ("a used nonce", seal(&pin, 1, 29_000), ErrorCode::NonceUsed),
        ];
        for (what, envelope, code) in wrong {
            let error = member.submit(&envelope).await.unwrap_err();
            assert_eq!(error.code(), Some(code), "{what}: {error}");
        }
        // The one good order comes out, proven, at every member.
        for member in &members {
            let limit = Duration::from_secs(20);
            let done = member.submit_and_wait(&good, Wait::Opened, limit).await;
            if let Err(error) = done {
                assert_eq!(error.code(), Some(ErrorCode::AlreadySequenced), "{error}");
            }
            let proof = member.proof(good.id()).await.unwrap();
            let (item, root) = check_proof(&pin, good.id(), &proof).unwrap();
            let block = member.block_at(Height(proof.block.height)).await.unwrap();
            assert_eq!((item.ct_id, root), (good.id(), block.root));
            let body = member.certificate(block.height).await.unwrap();
            let (certificate, headers) = body.parts().unwrap();
            verify_certificate(&pin, block.height, block.block, &certificate, &headers).unwrap();
        }
    });
}

/// A light client follows with the committee's key alone (PROTOCOL §5).
#[test]
fn a_light_client_knows_nothing_but_the_committees_key() {
    with_devnet(async |pin, members| {
        let folder = tempfile::tempdir().unwrap();
        let mut sent = Vec::new();
        for nonce in 1..=5 {
            let limit = Duration::from_secs(20);
            let envelope = seal(&pin, nonce, 30_000);
            sent.push(envelope.id().to_string());
            let done = members[1].submit_and_wait(&envelope, Wait::Opened, limit);
            done.await.unwrap();
        }
        // Others may be behind the one that had them all.
        let head = members[1].info().await.unwrap().head.height;
        let to: Vec<_> = members.iter().map(Member::address).collect();
        let file = folder.path().join("attested.seq");
        let key = hex::encode(pin.certificate_key().unwrap());
        let follow = |key: &str, out: &Path| {
            fairlane()
                .args(["follow", "--json", "--committee-key", key])
                .args(["--to", &to.join(","), "--until", &head.to_string()])
                .arg("--out")
                .arg(out)
                .output()
                .unwrap()
        };
        let output = follow(&key, &file);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let orders: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["block"]["items"].as_array())
            .flatten()
            .filter_map(|item| item["id"].as_str())
            .collect();
        assert!(sent.iter().all(|id| orders.contains(&id.as_str())));
        assert!(
            lines
                .iter()
                .any(|line| line["attested"]["height"].is_string())
        );
        let verify = |key: &str, file: &Path| {
            let mut command = fairlane();
            command
                .args(["verify", "--json", "--committee-key", key])
                .arg(file);
            command.output().unwrap()
        };
        let output = verify(&key, &file);
        assert!(output.status.success(), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["verify"]["orders"], orders.len(), "{found}");
        // Another committee's key, and a file that was changed.
        let other = deal_pairing_insecure::<Signing, _>(
            Epoch(0),
            4,
            &mut SeededRng::new(&[8; 32], b"other"),
        );
        let other = hex::encode(other.unwrap().0.public_key());
        assert_eq!(verify(&other, &file).status.code(), Some(5));
        let output = follow(&other, &folder.path().join("other.seq"));
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let changed = folder.path().join("changed.seq");
        std::fs::write(&changed, bytes).unwrap();
        assert_eq!(verify(&key, &changed).status.code(), Some(5));
        let short = fairlane()
            .args(["verify", "--committee-key", "ab"])
            .arg(&file)
            .output();
        assert_eq!(short.unwrap().status.code(), Some(2));
    });
}

/// F6: an outsider with nothing but the genesis audits a running member over its API.
#[test]
fn an_outsider_audits_a_running_member() {
    with_devnet(async |pin, members| {
        let folder = tempfile::tempdir().unwrap();
        let genesis = folder.path().join("genesis.json");
        std::fs::write(&genesis, serde_json::to_vec(pin.genesis()).unwrap()).unwrap();
        let receipts = folder.path().join("receipts.jsonl");
        let mut lines = String::new();
        for nonce in 1..=5 {
            let envelope = seal(&pin, nonce, 30_000);
            let limit = Duration::from_secs(20);
            let done = members[1].submit_and_wait(&envelope, Wait::Opened, limit);
            let body = done.await.unwrap();
            lines.push_str(&serde_json::to_string(&body).unwrap());
            lines.push('\n');
        }
        std::fs::write(&receipts, lines).unwrap();
        let audit = |extra: &[&str]| {
            fairlane()
                .args(["audit", "--json", "--to", members[1].address(), "--genesis"])
                .arg(&genesis)
                .args(extra)
                .output()
                .unwrap()
        };
        let output = audit(&["--receipts", receipts.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let audit_line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = &audit_line["audit"];
        // These, and the members' observations of prices.
        assert_eq!(found["ok"], true);
        assert!(found["orders"].as_u64() >= Some(5), "{found}");
        assert_eq!(found["receipts"]["kept"], 5, "{found}");
        // Without a genesis of the auditor's own a member's word would be all there is.
        let blind = fairlane()
            .args(["audit", "--to", members[1].address()])
            .env_remove("FAIRLANE_GENESIS")
            .output()
            .unwrap();
        assert_eq!(blind.status.code(), Some(2));
    });
}
