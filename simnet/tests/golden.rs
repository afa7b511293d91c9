//! Traces that were written down: a run does the same in a debug and in a release build, and
//! a change that should change nothing a member does changes no line here.
//!
//! After a change that does, the lines are made anew and looked at:
//! `FAIRLANE_GOLDEN=write cargo test -p fairlane-simnet --test golden`.

use std::fmt::Write as _;

use fairlane_simnet::crypto::Tier;
use fairlane_simnet::speed::SpeedRun;
use fairlane_simnet::{Profile, Scenario};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");

/// The runs: both tiers, faults and liars, short and long, and members far apart.
fn runs() -> Vec<Scenario> {
    let ideal = |scenario| Scenario {
        tier: Tier::Ideal,
        ..scenario
    };
    let far = SpeedRun {
        members: 7,
        seed: 1,
        span_ms: 1_000,
        orders_per_s: 20,
        heads_ms: None,
        batches_ms: None,
    };
    vec![
        Scenario::new(4, 1, 20, Profile::Calm),
        Scenario::new(4, 2, 20, Profile::Swarm),
        Scenario::new(7, 3, 20, Profile::Swarm),
        ideal(Scenario::new(4, 4, 30, Profile::Swarm)),
        ideal(Scenario::new(7, 5, 30, Profile::Liars)),
        ideal(Scenario {
            seconds: Some(12),
            ..Scenario::new(4, 6, 20, Profile::Swarm)
        }),
        far.scenario().expect("the shipped matrix has the regions"),
    ]
}

#[test]
fn traces_are_those_that_were_written_down() {
    let mut lines = String::new();
    for scenario in runs() {
        let report = scenario.run();
        assert!(report.passed(), "{report}");
        let (hash, events) = (report.trace_hash, report.stats.events);
        writeln!(lines, "{hash:032x} {events:7} {}", report.replay).expect("a string has room");
    }
    if std::env::var_os("FAIRLANE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(FILE, &lines).expect("the file can be written");
    }
    let written = std::fs::read_to_string(FILE).expect("the file is there");
    assert!(
        lines == written,
        "traces changed; if that was meant, see the head of this test:\n{lines}"
    );
}
