//! The committee gives its key on under load, again and again: to itself, to four other machines and back, and a
//! new key at last. Machines are killed −9 at each step of that: when the change counts and dealings are missing,
//! when the next key is dealt, when the boundary is final, and when the epoch is over (PROTOCOL §6, THREATS A20,
//! A27). One member, or those who leave and those who come all at once, as when the power fails; then what lies in
//! the clear on any disk is final there. Where the key goes to others, one of those who deal it is false.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fairlane_client::{ClientError, Member};
use fairlane_node::testnet::{self, InitOptions};
use fairlane_types::Genesis;

use crate::clear::{RESERVE_MB, disks_of, heights, nothing_was_shown_early};
use crate::common::{PATIENCE, free_ports};
use crate::traders::{RATE, Sent, trade};
use crate::{KEY_GRACE_MS, Machine, decide, first_four, join, outcomes_of, sequence};

/// Machines that follow each other.
const COMMITTEES: [[usize; 4]; 2] = [[0, 1, 2, 3], [4, 5, 6, 7]];
/// Changes after which every step must have been hit.
const CHANGES_MAX: u64 = 24;
/// Between two looks: shorter than any step.
const LOOK: Duration = Duration::from_millis(1);

/// How far a member is with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Decided,
    Dealt,
    Bounded,
    Over,
}

/// A change in which machines are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    at: Step,
    /// All of both committees are killed, or one of those who leave.
    all: bool,
    /// The other machines are next, and one of the dealers is false.
    moves: bool,
}

const fn round(at: Step, all: bool, moves: bool) -> Round {
    Round { at, all, moves }
}

/// Who is killed earlier than at the boundary, alone, is so in other trials.
const ROUNDS: [Round; 8] = [
    round(Step::Decided, true, false),
    round(Step::Dealt, true, true),
    round(Step::Over, true, false),
    round(Step::Bounded, false, true),
    round(Step::Over, false, false),
    round(Step::Bounded, true, true),
    round(Step::Decided, true, true),
    round(Step::Over, true, true),
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
async fn machines_are_killed_at_each_step_of_a_change_and_no_order_is_lost_or_shown_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.port = free_ports(8);
    options.reserve_mb = RESERVE_MB;
    options.dealer = false;
    let grace = |genesis: &mut Genesis| genesis.order.key_grace_ms = KEY_GRACE_MS;
    let net = testnet::init(&options, grace).unwrap();
    let mut machines = first_four(&net);
    the_first_keys_are_made(&mut machines, &net.genesis).await;
    join(dir.path(), &mut machines, 4..8);
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
    let mut present = COMMITTEES[0];
    while let Some(Round { at, all, moves }) = missing.first().copied() {
        epoch += 1;
        assert!(epoch <= CHANGES_MAX, "never seen in time: {missing:?}");
        let next = match moves {
            true => COMMITTEES[usize::from(present == COMMITTEES[0])],
            false => present,
        };
        let turn = epoch as usize % present.len();
        let (victim, liar) = (present[turn], present[(turn + 1) % present.len()]);
        let killed: Vec<usize> = match all {
            true => (0..machines.len()).collect(),
            false => vec![victim],
        };
        for machine in next {
            machines[machine].follows_to(epoch - 1).await;
        }
        if moves {
            machines[liar].turns(true);
            machines[liar].ready_in(epoch - 1).await;
        }
        // A change after one with a fresh key waits until the former one is over.
        let key = match missing.len() {
            1 => "fresh",
            _ => "kept",
        };
        decide((dir.path(), key), &machines, &present, &next, epoch);
        let hit = machines[victim].reaches(at, epoch).await;
        for machine in &killed {
            machines[*machine].kill();
        }
        if all {
            disks.extend(disks_of(&machines));
            let sent = sent.lock().unwrap();
            let acknowledged = sent.acknowledged.iter().map(|id| sent.sealed[id]);
            let emitted: BTreeSet<u64> = disks[disks.len() - machines.len()..]
                .iter()
                .flat_map(|disk| disk.emitted.iter().copied())
                .collect();
            hidden += acknowledged
                .filter(|order| !emitted.contains(order))
                .count();
        }
        for machine in &killed {
            machines[*machine].spawn();
        }
        for machine in next {
            machines[machine].ready_in(epoch).await;
        }
        if moves {
            machines[liar].turns(false);
        }
        let to = if moves { "others" } else { "themselves" };
        println!("epoch {epoch}, to {to}: {} killed at {hit:?}", killed.len());
        present = next;
        missing.retain(|seen| *seen != round(hit, all, moves));
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[present[0]], &sent).await;
    sent.complete(&outcomes_of(&reference));
    for machine in &present[1..] {
        let theirs = sequence(&machines[*machine], &sent).await;
        let both = theirs.len().min(reference.len());
        assert_eq!(theirs[..both], reference[..both], "machine {machine}");
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
