//! The committee gives itself new shares under load, again and again and a new key at last, and is killed −9 at each
//! step of that: when the change counts and dealings are missing, when the next key is dealt, when the boundary
//! is final, and when the epoch is over (PROTOCOL §6, THREATS A20, A27). One member, or all at once,
//! as when the power fails; then what lies in the clear on any disk is final there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fairlane_client::{ClientError, Member};
use fairlane_node::home::Home;
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_node::testnet::{self, InitOptions};
use fairlane_replica::{Store, Table};
use fairlane_types::{Genesis, Height, Outcome, SequencedBlock, decode};

use crate::common::{PATIENCE, free_ports};
use crate::traders::{RATE, Sent, trade};
use crate::{KEY_GRACE_MS, Machine, decide, first_four, outcomes_of, sequence};

const MEMBERS: [usize; 4] = [0, 1, 2, 3];
/// Changes after which every step must have been hit.
const CHANGES_MAX: u64 = 24;
/// Between two looks: shorter than any step.
const LOOK: Duration = Duration::from_millis(1);
const RESERVE_MB: u64 = 64;
/// Largest row of the sequence here, in bytes.
const ROW_BYTES_MAX: usize = 16 << 20;
/// How every payload of the trader begins.
const PAYLOAD: &[u8] = b"order ";

/// How far a member is with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Decided,
    Dealt,
    Bounded,
    Over,
}

/// When somebody is killed, and whether all are. Who is killed earlier than at the boundary, alone, is
/// so in other trials.
const ROUNDS: [(Step, bool); 6] = [
    (Step::Decided, true),
    (Step::Dealt, true),
    (Step::Over, true),
    (Step::Bounded, false),
    (Step::Over, false),
    (Step::Bounded, true),
];

impl Machine {
    /// The step of the change to an epoch that it is in, if it is in any.
    async fn step(&self, epoch: u64) -> Option<Step> {
        let status = match self.ops.status().await {
            Ok(status) => status,
            // Between two epochs nobody listens at its address.
            Err(ClientError::Unreachable { .. }) => return Some(Step::Over),
            Err(_) => return None,
        };
        if status.epoch >= epoch {
            return Some(Step::Over);
        }
        let change = status.change?;
        Some(match change.boundary {
            Some(_) => Step::Bounded,
            None if change.dealings >= change.needed => Step::Dealt,
            None => Step::Decided,
        })
    }

    /// Waits until it is in a step or beyond it, and says where it is.
    async fn reaches(&self, step: Step, epoch: u64) -> Step {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(now) = self.step(epoch).await
                && now >= step
            {
                return now;
            }
            let log = || self.log();
            assert!(Instant::now() < until, "no {step:?}\n{}", log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Final dealings to the first keys, and how many are needed; none once there are keys.
    async fn first_dealings(&self, genesis: &Genesis) -> Option<(u64, u64)> {
        let error = self.api.pin(genesis.clone()).await.err()?.to_string();
        let (before, after) = error.split_once(" of ")?;
        let found = before.rsplit(' ').next()?.parse().ok()?;
        let needed = after.split(' ').next()?.parse().ok()?;
        Some((found, needed))
    }

    /// What lies on its disk. Nobody runs it.
    fn disk(&self) -> Disk {
        let mut clear = BTreeSet::new();
        in_the_clear(&self.home, &mut clear);
        let store = RocksStore::open(&StoreOptions {
            path: Home::open(&self.home).unwrap().data_path(),
            reserve_bytes: RESERVE_MB << 20,
        });
        let store = store.unwrap();
        let rows = |table| store.scan(table, &[], &[0xff; 64], usize::MAX, usize::MAX);
        let blocks = rows(Table::Sequence).unwrap().into_iter();
        let blocks = blocks.map(|(_, row)| decode(&row, ROW_BYTES_MAX).unwrap());
        let last = rows(Table::Blocks).unwrap().pop();
        let height = last.map_or(0, |(key, _)| u64::from_be_bytes(key.try_into().unwrap()));
        Disk {
            port: self.port,
            clear,
            emitted: heights(blocks).into_keys().collect(),
            last_final: Height(height),
        }
    }
}

/// What lies on a machine's disk.
struct Disk {
    port: u16,
    /// Orders in the clear, anywhere.
    clear: BTreeSet<u64>,
    /// Those in its sequence.
    emitted: BTreeSet<u64>,
    /// Up to here it knew durably what is final.
    last_final: Height,
}

/// At which height each order came out.
fn heights(blocks: impl IntoIterator<Item = SequencedBlock>) -> BTreeMap<u64, Height> {
    let mut heights = BTreeMap::new();
    for block in blocks {
        for item in &block.items {
            if let Outcome::Opened { payload, .. } = &item.outcome {
                heights.insert(number(payload).unwrap(), block.height);
            }
        }
    }
    heights
}

/// The number of an order from its payload.
fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(PAYLOAD)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Orders of the trader that lie in the clear in any file below a folder.
fn in_the_clear(folder: &Path, found: &mut BTreeSet<u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_the_clear(&path, found);
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(PAYLOAD.len()).enumerate();
        let at = at.filter(|(_, window)| *window == PAYLOAD);
        found.extend(at.filter_map(|(at, _)| {
            // As it is encoded: behind its length.
            let length = content.get(at.checked_sub(4)?..at)?.try_into().ok()?;
            let end = at.checked_add(u32::from_le_bytes(length) as usize)?;
            number(content.get(at..end)?)
        }));
    }
}

/// All are killed when the first dealing is final, and when all are that the keys need (THREATS A19).
async fn the_first_keys_are_made(machines: &mut [Machine], genesis: &Genesis) {
    let (mut hit, mut unready) = (Vec::new(), false);
    for wanted in [1, 3] {
        for machine in &mut *machines {
            machine.spawn();
        }
        let until = Instant::now() + PATIENCE;
        let seen = loop {
            if let Some((found, needed)) = machines[0].first_dealings(genesis).await
                && found >= wanted.min(needed)
            {
                break Some(found);
            }
            // Nobody listens yet; or there are keys already: these steps are short.
            if let Ok(status) = machines[0].ops.status().await {
                let keyless = status.reasons.iter().any(|why| why == "no-encryption-key");
                unready |= keyless;
                if !keyless {
                    break None;
                }
            }
            let log = || machines[0].log();
            assert!(Instant::now() < until, "no dealing\n{}", log());
            tokio::time::sleep(LOOK).await;
        };
        for machine in &mut *machines {
            machine.kill();
        }
        hit.push(seen);
    }
    println!("first keys: 4 killed at {hit:?} dealings");
    assert!(unready, "it never said that there is no key");
    for machine in &mut *machines {
        machine.spawn();
    }
    for machine in machines {
        machine.ready_in(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_killed_at_each_step_of_a_refresh_and_no_order_is_lost_or_shown_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), MEMBERS.len());
    options.port = free_ports(MEMBERS.len());
    options.reserve_mb = RESERVE_MB;
    options.dealer = false;
    let grace = |genesis: &mut Genesis| genesis.order.key_grace_ms = KEY_GRACE_MS;
    let net = testnet::init(&options, grace).unwrap();
    let mut machines = first_four(&net);
    the_first_keys_are_made(&mut machines, &net.genesis).await;
    let pin = machines[0].api.pin(net.genesis.clone()).await.unwrap();
    let apis: Vec<Member> = machines.iter().map(|machine| machine.api.clone()).collect();
    let (sent, stop) = (
        Arc::new(Mutex::new(Sent::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let load = tokio::spawn(trade(
        Arc::new(Mutex::new(pin)),
        apis,
        RATE,
        (Arc::clone(&sent), Arc::clone(&stop)),
    ));

    let mut missing = ROUNDS.to_vec();
    let (mut epoch, mut disks, mut hidden) = (0, Vec::new(), 0);
    while let Some((step, all)) = missing.first().copied() {
        epoch += 1;
        assert!(epoch <= CHANGES_MAX, "never seen in time: {missing:?}");
        let victim = epoch as usize % MEMBERS.len();
        let killed = match all {
            true => MEMBERS.to_vec(),
            false => vec![victim],
        };
        // A change after one with a fresh key waits until the former one is over.
        let key = match missing.len() {
            1 => "fresh",
            _ => "kept",
        };
        decide((dir.path(), key), &machines, &MEMBERS, &MEMBERS, epoch);
        let hit = machines[victim].reaches(step, epoch).await;
        for machine in &killed {
            machines[*machine].kill();
        }
        if all {
            disks.extend(machines.iter().map(Machine::disk));
            let sent = sent.lock().unwrap();
            let acknowledged = sent.acknowledged.iter().map(|id| sent.sealed[id]);
            let emitted = &disks.last().unwrap().emitted;
            hidden += acknowledged
                .filter(|order| !emitted.contains(order))
                .count();
        }
        for machine in &killed {
            machines[*machine].spawn();
        }
        for machine in &mut machines {
            machine.ready_in(epoch).await;
        }
        println!("epoch {epoch}: {} killed at {hit:?}", killed.len());
        missing.retain(|seen| *seen != (hit, all));
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[0], &sent).await;
    sent.complete(&outcomes_of(&reference));
    for machine in &machines[1..] {
        let theirs = sequence(machine, &sent).await;
        let both = theirs.len().min(reference.len());
        assert_eq!(theirs[..both], reference[..both], "{}", machine.port);
    }
    let epochs: BTreeSet<u64> = reference.iter().map(|block| block.epoch.0).collect();
    assert_eq!(epochs, (0..=epoch).collect());
    nothing_was_shown_early(&disks, &heights(reference));
    assert!(hidden > 0, "no order was under way");
    println!(
        "{} orders acknowledged in {} epochs, all there, each once",
        sent.acknowledged.len(),
        epochs.len()
    );
}

/// What lay in the clear was final before, durably.
fn nothing_was_shown_early(disks: &[Disk], heights: &BTreeMap<u64, Height>) {
    for disk in disks {
        let early = disk.clear.iter().filter(|order| {
            let height = heights.get(order);
            height.is_none_or(|height| *height > disk.last_final)
        });
        let early: Vec<_> = early.collect();
        assert!(early.is_empty(), "{} has {early:?}", disk.port);
        // The log of the database cuts some in two: the search finds most of what is there.
        let found = disk.clear.intersection(&disk.emitted).count();
        let there = disk.emitted.len();
        assert!(
            there > 0 && found * 4 > there * 3,
            "the search is blind: {found} of {there}"
        );
    }
}
