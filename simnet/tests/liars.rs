//! Every way to misbehave, alone among honest members and f at a time: no rule breaks, the
//! run stays live, the liar really lied, and what can be proven is proven.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fairlane_simnet::byz::NAMES;
use fairlane_simnet::faults::Plan;
use fairlane_simnet::marks::{Mark, Marks};
use fairlane_simnet::{Profile, Scenario};

type Liars = Vec<(usize, &'static str)>;

/// Marks and lies of a run that must pass.
fn run(n: usize, seed: u64, liars: Liars) -> (Marks, u64) {
    // Lies about a state are told where there are certificates, in every eighth seed, and high
    // enough.
    let states = liars.iter().any(|(_, name)| *name == "false-states");
    let seed = if states { seed * 8 } else { seed };
    let mut scenario = Scenario::new(n, seed, 25, Profile::Swarm);
    scenario.seconds = states.then_some(10);
    scenario.plan = Some(Plan::default());
    // Lies about a key are told where a key is made.
    let dealers = liars.iter().any(|(_, name)| *name == "false-dealer");
    scenario.ceremony = dealers.then_some(true);
    scenario.liars = Some(liars);
    let report = scenario.run();
    assert!(report.passed(), "liars {:?}: {report}", scenario.liars);
    let lies = report.lies.iter().map(|(.., times)| times).sum();
    (report.marks, lies)
}

/// Two names at a time, on two threads.
fn for_each_name(check: impl Fn(usize, &'static str) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = NAMES.get(index) else { return };
                    let check = std::panic::AssertUnwindSafe(|| check(index, name));
                    if std::panic::catch_unwind(check).is_err() {
                        failed.lock().expect("no other panics").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("all are done");
    assert!(failed.is_empty(), "{failed:?}");
}

/// What gives a liar away, where something must.
fn proof_of(name: &str) -> Option<Mark> {
    Some(match name {
        "wrong-shares" | "foreign-shares" => Mark::ShareBlame,
        "lane-fork" | "two-faced-acks" => Mark::ForkEvidence,
        "garbage" | "forged-certificates" | "replay" => Mark::PeerFault,
        "two-faced" | "equivocate" | "fork-voter" => Mark::VoteEvidence,
        _ => return None,
    })
}

#[test]
fn one_liar_of_each_kind_lies_and_breaks_nothing() {
    for_each_name(|index, name| {
        let (mut marks, mut lies) = (Marks::default(), 0);
        for seed in 0..3 {
            let (more, lied) = run(4, 500 + seed, vec![(index % 4, name)]);
            marks.merge(&more);
            lies += lied;
        }
        println!("{name:22} {lies} lies");
        assert!(lies > 0, "{name} never lied");
        if let Some(mark) = proof_of(name) {
            assert!(marks.count(mark) > 0, "{name} was never found out");
        }
    });
}

#[test]
fn two_liars_of_seven_break_nothing() {
    for_each_name(|index, name| {
        let other = NAMES[(index + 7) % NAMES.len()];
        run(7, 600 + index as u64, vec![(1, name), (5, other)]);
    });
}
