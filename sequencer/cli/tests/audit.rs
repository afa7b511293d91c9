//! The audit on a real committee's records: it passes what is right, and sees every kind of
//! tampering (F6).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use fairlane_client::Pin;
use fairlane_encryption::SuiteKey;
use fairlane_node::blind::{self, BlindRecordsError};
use fairlane_node::home::Home;
use fairlane_node::known_key::KnownKey;
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_replica::audit::{
    Auditor, BlindError, BlindReceipt, Case, CaseError, Start, Step, Violation,
};
use fairlane_replica::{Store, Table, Write, height_key};
use fairlane_types::{
    Genesis, Height, MemberId, Micros, Outcome, Position, Receipt, SeededRng, SequencedBlock,
    decode, encode,
};
use rand_core::Rng;
use serde_json::Value;
use tempfile::TempDir;

const ORDERS: usize = 60;
/// Blocks between commitments: few, so that a short chain has some.
const INTERVAL: &str = "8";

fn fairlane(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairlane"))
        .args(args)
        .env_remove("FAIRLANE_HOME")
        .env_remove("FAIRLANE_MEMBERS")
        .env_remove("FAIRLANE_GENESIS")
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The last line of stdout as JSON.
fn last(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().last();
    serde_json::from_str(line.unwrap_or_else(|| panic!("{output:?}"))).unwrap()
}

/// A committee that traded and stopped.
fn net() -> &'static Path {
    static NET: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, net) = NET.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let orders = folder.path().join("orders.jsonl");
        let sample = include_str!("../../../examples/orders.jsonl");
        let lines: Vec<_> = sample.lines().take(ORDERS).collect();
        std::fs::write(&orders, lines.join("\n")).unwrap();
        let net = folder.path().join("net");
        let (orders, home) = (text(&orders), text(&net));
        let output = fairlane(&[
            "devnet",
            "--json",
            "--exit",
            "--snapshot-interval",
            INTERVAL,
            "--orders",
            orders,
            "--home",
            home,
        ]);
        assert!(output.status.success(), "{output:?}");
        (folder, net)
    });
    net
}

/// The key that the members made, and their word for it.
fn known(genesis: &Genesis) -> KnownKey {
    let home = Home::open(member(net(), 0)).unwrap();
    let reader = RocksStore::read_only(&home.data_path()).unwrap();
    KnownKey::read(genesis, &reader).unwrap().unwrap()
}

fn key(genesis: &Genesis) -> SuiteKey {
    known(genesis).key
}

fn member(net: &Path, member: u8) -> PathBuf {
    net.join(format!("member-{member}"))
}

/// A copy of a member's folder, to be tampered with.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every step of a member's records.
fn steps(home: &Path) -> (Genesis, Vec<Step>) {
    let home = Home::open(home).unwrap();
    let genesis = home.genesis().unwrap();
    let reader = RocksStore::read_only(&home.data_path()).unwrap();
    let mut auditor = Auditor::new(&genesis, key(&genesis), None, Start::Genesis).unwrap();
    let mut steps = Vec::new();
    let (_, last) = reader.emitted_range().unwrap().unwrap();
    for height in 1..=last.0 {
        let get = |table, key: &[u8]| reader.get(table, key);
        let step = Step::read(Height(height), auditor.cut(), get).unwrap();
        auditor.step(&step).unwrap();
        steps.push(step);
    }
    (genesis, steps)
}

/// What an audit from genesis finds first.
fn first_violation(genesis: &Genesis, steps: &[Step]) -> Option<Violation> {
    let mut auditor = Auditor::new(genesis, key(genesis), None, Start::Genesis).unwrap();
    steps.iter().find_map(|step| auditor.step(step).err())
}

/// The first block with two orders that were decrypted.
fn pair(steps: &[Step]) -> usize {
    let opened = |step: &Step| {
        let items = step.sequenced.items.iter();
        items
            .filter(|item| matches!(item.outcome, Outcome::Opened { .. }))
            .count()
    };
    steps.iter().position(|step| opened(step) >= 2).unwrap()
}

/// Puts links, positions and roots right from a block on: what a forger would do.
fn reseal(blocks: &mut [&mut SequencedBlock]) {
    for at in 1..blocks.len() {
        let (root, next) = (blocks[at - 1].root, blocks[at - 1].next_position());
        let block = &mut *blocks[at];
        block.parent_root = root;
        block.first_position = next;
        for (i, item) in block.items.iter_mut().enumerate() {
            item.position = next.plus(i as u64);
        }
        *block = block.clone().sealed();
    }
}

fn reseal_steps(steps: &mut [Step], from: usize) {
    let first = &mut steps[from].sequenced;
    for (i, item) in first.items.iter_mut().enumerate() {
        item.position = first.first_position.plus(i as u64);
    }
    *first = first.clone().sealed();
    let mut blocks: Vec<_> = steps[from..].iter_mut().map(|s| &mut s.sequenced).collect();
    reseal(&mut blocks);
}

#[test]
fn honest_records_hold_on_every_member() {
    let mut roots = Vec::new();
    for id in 0..4 {
        let output = fairlane(&["audit", "--json", "--home", text(&member(net(), id))]);
        assert!(output.status.success(), "{output:?}");
        let audit = &last(&output)["audit"];
        assert_eq!(audit["ok"], true);
        assert_eq!(audit["violations"], 0);
        // The members' observations of prices are orders too.
        assert!(audit["opened"].as_u64() >= Some(ORDERS as u64), "{audit}");
        assert_eq!(audit["openings_unchecked"], 0);
        roots.push((audit["height"].clone(), audit["root"].clone()));
    }
    // Members stop at heights of their own; equal heights have equal roots.
    for (height, root) in &roots {
        assert!(roots.iter().all(|(h, r)| h != height || r == root));
    }
}

/// A node that serves another order than the lanes demand is caught, although its chain of
/// roots is flawless, and the case convinces without the node.
#[test]
fn a_node_that_reorders_is_caught_and_the_case_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("tampered");
    copy(&member(net(), 1), &home);
    let (_, mut steps) = steps(&home);
    let at = pair(&steps);
    let items = &mut steps[at].sequenced.items;
    let last_item = items.len() - 1;
    items.swap(last_item - 1, last_item);
    reseal_steps(&mut steps, at);
    let options = StoreOptions {
        reserve_bytes: 1 << 20,
        ..StoreOptions::new(home.join("data"))
    };
    let mut store = RocksStore::open(&options).unwrap();
    let writes: Vec<_> = (steps[at..].iter())
        .map(|step| {
            let key = height_key(step.sequenced.height);
            Write::put(Table::Sequence, key, encode(&step.sequenced))
        })
        .collect();
    store.commit(&writes, true).unwrap();
    drop(store);

    let case = folder.path().join("case");
    let output = fairlane(&[
        "audit",
        "--json",
        "--home",
        text(&home),
        "--case-out",
        text(&case),
    ]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let audit: Value = (stdout.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line.get("audit").is_some())
        .unwrap();
    assert_eq!(audit["audit"]["violations"], 1);
    let violation = audit["audit"]["violation"].as_str().unwrap().to_owned();
    let height = at + 1;
    assert!(
        violation.contains(&format!("height {height},")),
        "{violation}"
    );

    // Whoever has the genesis sees the same, without the node.
    let genesis = net().join("genesis.json");
    let shown = fairlane(&[
        "audit",
        "--json",
        "--case",
        text(&case),
        "--genesis",
        text(&genesis),
    ]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(last(&shown)["case"]["violation"], violation.as_str());

    // The untampered records make no case.
    let bytes = std::fs::read(&case).unwrap();
    let mut honest: Case = decode(&bytes, bytes.len()).unwrap();
    let (genesis, steps) = self::steps(&member(net(), 1));
    // It begins after the last commitment below.
    let first = honest.steps[0].sequenced.height;
    let from = steps.iter().position(|s| s.sequenced.height == first);
    honest.steps = steps[from.unwrap()..][..honest.steps.len()].to_vec();
    assert_eq!(
        honest.verify(&genesis, key(&genesis)),
        Err(CaseError::Nothing)
    );
    let other = Genesis {
        chain: fairlane_types::ChainId(genesis.chain.0 ^ 1),
        ..genesis.clone()
    };
    assert!(matches!(
        honest.verify(&other, key(&genesis)),
        Err(CaseError::OtherGenesis { .. })
    ));
}

/// Every field that a forger could touch, and what must come of it.
#[test]
fn every_kind_of_tampering_is_seen() {
    type Tamper = fn(&mut Vec<Step>, usize);
    type Seen = fn(&Violation) -> bool;
    let table: [(&str, Tamper, Seen); 15] = [
        (
            "an order left out",
            |steps, at| {
                steps[at].sequenced.items.pop();
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Order { .. }),
        ),
        (
            "an order twice",
            |steps, at| {
                let item = steps[at].sequenced.items[0].clone();
                steps[at].sequenced.items.push(item);
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Order { .. }),
        ),
        (
            "another key",
            |steps, at| {
                steps[at].sequenced.items[0].stamp.0 += 1;
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Order { .. }),
        ),
        (
            "called expired",
            |steps, at| {
                steps[at].sequenced.items[0].outcome = Outcome::Expired;
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Order { .. }),
        ),
        (
            "another payload",
            |steps, at| {
                if let Outcome::Opened { payload, .. } = &mut steps[at].sequenced.items[0].outcome {
                    payload[0] ^= 1;
                }
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Opening { .. }),
        ),
        (
            "another opening",
            |steps, at| {
                if let Outcome::Opened { opening, .. } = &mut steps[at].sequenced.items[0].outcome {
                    opening[31] ^= 1;
                }
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::Opening { .. }),
        ),
        (
            "a root of other content",
            |steps, at| steps[at].sequenced.root.0.0[0] ^= 1,
            |v| matches!(v, Violation::Root { .. }),
        ),
        (
            "another parent root",
            |steps, at| {
                steps[at].sequenced.parent_root.0.0[0] ^= 1;
                reseal_steps(steps, at);
            },
            |v| {
                matches!(
                    v,
                    Violation::Block {
                        field: "parent root",
                        ..
                    }
                )
            },
        ),
        (
            "positions that jump",
            |steps, at| {
                steps[at].sequenced.first_position = Position(999);
                reseal_steps(steps, at);
            },
            |v| {
                matches!(
                    v,
                    Violation::Block {
                        field: "first position",
                        ..
                    }
                )
            },
        ),
        (
            "a state that nobody committed to",
            |steps, at| {
                steps[at].sequenced.state = Some(fairlane_types::Digest([7; 32]));
                reseal_steps(steps, at);
            },
            |v| matches!(v, Violation::State { .. }),
        ),
        (
            "a certificate with a bad signature",
            |steps, at| {
                let step = &mut steps[at];
                let certificate = match (&mut step.block.certificate, &mut step.proof) {
                    (Some(certificate), _) => certificate,
                    (None, Some(proof)) => &mut proof.certificate,
                    (None, None) => unreachable!("every step is proven"),
                };
                certificate.signatures[0].0[0] ^= 1;
            },
            |v| matches!(v, Violation::Certificate { .. }),
        ),
        (
            "a batch that is not in the cut",
            |steps, at| {
                let step = steps[..=at].iter_mut().rfind(|s| !s.batches.is_empty());
                step.unwrap().batches[0].stamp.0 += 1;
            },
            |v| matches!(v, Violation::Lane { .. }),
        ),
        (
            "an entry with another time",
            |steps, at| {
                let mut batches = (steps[..=at].iter_mut()).flat_map(|s| &mut s.batches);
                let batch = batches.rfind(|b| !b.entries.is_empty());
                batch.unwrap().entries[0].back_us += 1;
            },
            |v| matches!(v, Violation::Lane { .. }),
        ),
        (
            "an envelope with another signature",
            |steps, _| {
                // In the first step with an order, so that nobody knows it yet.
                let named = |s: &&mut Step| s.batches.iter().any(|b| !b.entries.is_empty());
                let step = steps.iter_mut().find(named).unwrap();
                let carried = step.batches.iter_mut().flat_map(|b| &mut b.payloads);
                match carried.map(Arc::make_mut).next() {
                    Some(envelope) => envelope.signature.0[0] ^= 1,
                    None => step.envelopes[0].signature.0[0] ^= 1,
                }
            },
            |v| matches!(v, Violation::Envelope { .. }),
        ),
        (
            "a height left out",
            |steps, at| {
                steps.remove(at);
            },
            |v| matches!(v, Violation::Chain { .. }),
        ),
    ];
    let (genesis, steps) = steps(&member(net(), 2));
    assert_eq!(first_violation(&genesis, &steps), None);
    let at = pair(&steps);
    for (name, tamper, seen) in table {
        let mut tampered = steps.clone();
        tamper(&mut tampered, at);
        let found = first_violation(&genesis, &tampered);
        assert!(found.as_ref().is_some_and(seen), "{name}: {found:?}");
    }
}

/// A receipt that its own lane contradicts convicts the member; one that it keeps does not.
#[test]
fn receipts_are_held_against_the_lanes() {
    let home = member(net(), 0);
    let identity = Home::open(&home).unwrap().identity().unwrap();
    let (genesis, steps) = steps(&home);
    let committee = genesis.validate().unwrap();
    let batches = steps.iter().flat_map(|step| &step.batches);
    let batch = (batches.clone())
        .find(|b| b.lane == MemberId(0) && !b.entries.is_empty())
        .unwrap();
    let kept = Receipt {
        chain: genesis.chain,
        epoch: genesis.epoch(),
        ct_id: batch.entries[0].ct_id,
        lane: MemberId(0),
        seq: batch.seq,
        entry: 0,
        stamp: batch.stamp_of(0),
        signature: Default::default(),
    };
    let earlier = Receipt {
        stamp: Micros(kept.stamp.0 - 5_000),
        ..kept.clone()
    };
    let never = Receipt {
        seq: fairlane_types::Seq(1 << 40),
        ..kept.clone()
    };
    let mut auditor = Auditor::new(&genesis, key(&genesis), None, Start::Genesis).unwrap();
    for receipt in [&kept, &earlier, &never] {
        let receipt = receipt.clone().signed(&identity);
        let (chain, epoch) = (genesis.chain, genesis.epoch());
        auditor
            .receipts
            .add(receipt, chain, epoch, &committee)
            .unwrap();
    }
    let unsigned = auditor
        .receipts
        .add(kept, genesis.chain, genesis.epoch(), &committee);
    assert!(unsigned.is_err());
    for step in &steps {
        auditor.step(step).unwrap();
    }
    let book = &auditor.receipts;
    assert_eq!((book.kept(), book.open(), book.contradicted()), (1, 1, 0));
    let [proof] = book.broken() else {
        panic!("{:?}", book.broken());
    };
    assert_eq!(proof.verify(genesis.chain, &committee), Ok(MemberId(0)));
    // Not for another batch, nor with other entries.
    let mut other = proof.clone();
    other.entries.clear();
    assert!(other.verify(genesis.chain, &committee).is_err());
    let mut other = proof.clone();
    other.batch.header.seq = other.batch.header.seq.next();
    assert!(other.verify(genesis.chain, &committee).is_err());
}

/// Every order has a blind-order receipt that holds, offline and in the audit.
#[test]
fn a_blind_order_receipt_shows_that_the_place_came_first() {
    let home = member(net(), 1);
    let folder = tempfile::tempdir().unwrap();
    let genesis = home.join("genesis.json");
    let (_, steps) = steps(&home);
    let items: Vec<_> = steps.iter().flat_map(|s| &s.sequenced.items).collect();
    let mut files = Vec::new();
    for item in [items[0], items[items.len() / 2]] {
        let file = folder.path().join(item.ct_id.to_string());
        let id = item.ct_id.to_string();
        let args = [
            "blind",
            &id,
            "--json",
            "--home",
            text(&home),
            "--out",
            text(&file),
        ];
        let output = fairlane(&args);
        assert!(output.status.success(), "{output:?}");
        let blind = &last(&output)["blind"];
        assert_eq!(blind["lanes"], 3, "{blind}");
        assert!(
            blind["attested"].is_string() || blind["attested"].is_number(),
            "{blind}"
        );
        let verify = fairlane(&[
            "verify",
            "--blind",
            text(&file),
            "--genesis",
            text(&genesis),
        ]);
        assert!(verify.status.success(), "{verify:?}");
        files.push(text(&file).to_owned());
    }
    // Another member's lanes say the same.
    let other = member(net(), 3);
    let output = fairlane(&[
        "audit",
        "--json",
        "--home",
        text(&other),
        "--blind",
        &files.join(","),
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(last(&output)["audit"]["blind"]["kept"], 2);
    let unknown = "00".repeat(32);
    let output = fairlane(&["blind", &unknown, "--home", text(&home)]);
    assert!(!output.status.success());
}

/// Whatever is changed in a blind-order receipt is noticed, and bytes from a stranger are
/// refused without a panic.
#[test]
fn a_tampered_blind_order_receipt_is_caught() {
    type Row = (&'static str, fn(&mut BlindReceipt), fn(&BlindError) -> bool);
    let table: [Row; 12] = [
        (
            "another genesis",
            |r| r.genesis.0[0] ^= 1,
            |e| matches!(e, BlindError::Genesis(_)),
        ),
        (
            "another cut",
            |r| r.cut.heads[0].seq.0 += 1,
            |e| matches!(e, BlindError::Cut),
        ),
        (
            "another time",
            |r| r.header.time.0 += 1,
            |e| matches!(e, BlindError::Certificate(_)),
        ),
        (
            "too few signers",
            |r| {
                let first = r.certificate.signers.iter().next().unwrap();
                r.certificate.signers.0 &= !(1 << first.0);
                r.certificate.signatures.remove(0);
            },
            |e| matches!(e, BlindError::Certificate(_)),
        ),
        (
            "a lane less",
            |r| drop(r.lanes.pop()),
            |e| matches!(e, BlindError::Quorum { .. }),
        ),
        (
            "a lane twice",
            |r| r.lanes[1] = r.lanes[0].clone(),
            |e| matches!(e, BlindError::Quorum { .. }),
        ),
        (
            "an earlier stamp",
            |r| r.lanes[0].entries[0].back_us += 1,
            |e| matches!(e, BlindError::Lane { .. }),
        ),
        (
            "a lane that ends early",
            |r| r.lanes[0].headers.truncate(1),
            |e| matches!(e, BlindError::Lane { .. } | BlindError::Quorum { .. }),
        ),
        (
            "another key",
            |r| r.item.stamp.0 += 1,
            |e| matches!(e, BlindError::Place(_)),
        ),
        (
            "another position",
            |r| r.item.position.0 += 1,
            |e| matches!(e, BlindError::Place(_)),
        ),
        (
            "a place that nobody attested",
            |r| {
                r.item.stamp.0 += 1;
                let items = r.path.root(r.item.leaf()).unwrap();
                // The root of the forged block, as a forger computes it.
                let block = SequencedBlock {
                    items: vec![r.item.clone()],
                    ..r.block.clone()
                };
                if r.path.len == 1 {
                    r.block.root = block.compute_root();
                } else {
                    r.block.root.0.0 = items.0;
                }
            },
            |e| matches!(e, BlindError::Attestation(_) | BlindError::Place(_)),
        ),
        (
            "no attestation",
            |r| r.attested = None,
            |e| matches!(e, BlindError::Attestation(_)),
        ),
    ];
    let home = member(net(), 1);
    let (genesis, steps) = steps(&home);
    let activation = known(&genesis).activation;
    let pin = Pin::activated(genesis, activation).unwrap();
    let check = |receipt: &BlindReceipt| receipt.check(pin.genesis(), pin.committee());
    // In a lane whose path has more than one batch, so that it can end early.
    let reader = RocksStore::read_only(&Home::open(&home).unwrap().data_path()).unwrap();
    let ids = steps
        .iter()
        .flat_map(|s| &s.sequenced.items)
        .map(|item| item.ct_id);
    // What came out right before the committee was stopped is not attested yet.
    let attested = |id| match blind::receipt(pin.genesis(), &reader, id) {
        Err(BlindRecordsError::Unattested(_)) => None,
        receipt => Some(receipt.unwrap()),
    };
    let receipts: Vec<_> = ids.filter_map(attested).collect();
    assert!(receipts.len() > ORDERS / 2, "{} attested", receipts.len());
    for receipt in &receipts {
        check(receipt).unwrap();
    }
    let receipt = receipts.iter().find(|r| r.lanes[0].headers.len() > 1);
    let receipt = receipt.unwrap();
    for (name, tamper, seen) in table {
        let mut tampered = receipt.clone();
        tamper(&mut tampered);
        let found = check(&tampered);
        assert!(found.as_ref().is_err_and(seen), "{name}: {found:?}");
    }
    let bytes = encode(receipt);
    let mut rng = SeededRng::new(&[8; 32], b"mutated blind receipts");
    let mut decoded = 0;
    for _ in 0..2_000 {
        let mut mutated = bytes.clone();
        let place = rng.next_u64() as usize % mutated.len();
        match rng.next_u32() % 3 {
            0 => mutated[place] ^= 1 << (rng.next_u32() % 8),
            1 => mutated[place] = rng.next_u32() as u8,
            _ => mutated.truncate(place.max(1)),
        }
        if let Ok(other) = decode::<BlindReceipt>(&mutated, bytes.len()) {
            decoded += 1;
            // What was not noticed is not part of what is shown: how a certificate was formed.
            if other != *receipt && check(&other).is_ok() {
                let same = BlindReceipt {
                    certificate: receipt.certificate.clone(),
                    ..other
                };
                assert_eq!(same, *receipt);
            }
        }
    }
    assert!(decoded > 300, "{decoded}");
}

/// A checkpoint taken on the way begins another audit with the same end, and a false one
/// begins none.
#[test]
fn an_audit_goes_on_from_a_commitment() {
    let (genesis, steps) = steps(&member(net(), 3));
    let mut auditor = Auditor::new(&genesis, key(&genesis), None, Start::Genesis).unwrap();
    let mut checkpoint = None;
    let mut rest = Vec::new();
    for step in &steps {
        auditor.step(step).unwrap();
        rest.push(step);
        if checkpoint.is_none() {
            checkpoint = auditor.checkpoint();
            rest.clear();
        }
    }
    let Some(Start::At(at)) = checkpoint else {
        panic!(
            "{} heights, and none commits to the order state",
            steps.len()
        );
    };
    // Something is left for the second one.
    assert!(rest.len() > 1, "{} of {}", rest.len(), steps.len());
    let mut second = Auditor::new(&genesis, key(&genesis), None, Start::At(at.clone())).unwrap();
    for step in rest {
        second.step(step).unwrap();
    }
    assert_eq!(second.root(), auditor.root());
    let mut false_order = at.clone();
    false_order.order.push(0);
    assert!(Auditor::new(&genesis, key(&genesis), None, Start::At(false_order)).is_err());
    let mut false_heads = at;
    false_heads
        .heads
        .iter_mut()
        .flatten()
        .for_each(|h| h.stamp.0 += 1);
    assert!(Auditor::new(&genesis, key(&genesis), None, Start::At(false_heads)).is_err());
}

/// Bytes from a stranger: refused or judged, never a panic.
#[test]
fn mutated_cases_never_panic() {
    let (genesis, steps) = steps(&member(net(), 0));
    let at = pair(&steps);
    let case = Case {
        genesis: genesis.hash(),
        handovers: Vec::new(),
        activation: known(&genesis).activation,
        start: Start::Genesis,
        steps: steps[..=at].to_vec(),
    };
    let bytes = encode(&case);
    let mut rng = SeededRng::new(&[7; 32], b"mutated cases");
    let mut decoded = 0;
    for _ in 0..300 {
        let mut mutated = bytes.clone();
        for _ in 0..=rng.next_u32() % 3 {
            let place = rng.next_u64() as usize % mutated.len();
            match rng.next_u32() % 3 {
                0 => mutated[place] ^= 1 << (rng.next_u32() % 8),
                1 => mutated[place] = rng.next_u32() as u8,
                _ => mutated.truncate(place),
            }
            if mutated.is_empty() {
                break;
            }
        }
        if let Ok(case) = decode::<Case>(&mutated, mutated.len().max(1)) {
            decoded += 1;
            let verdict = case.verify(&genesis, key(&genesis));
            assert!(
                verdict != Err(CaseError::Nothing) || mutated == bytes || honest(&case, &steps)
            );
        }
    }
    assert!(decoded > 10, "{decoded}");
}

/// Mutations of what an audit does not look at (holdings of certificates not used).
fn honest(case: &Case, steps: &[Step]) -> bool {
    case.steps
        .iter()
        .zip(steps)
        .all(|(a, b)| a.sequenced == b.sequenced)
}
