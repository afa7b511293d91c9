//! Members make their keys over their own log, under faults and liars: all make the same, a
//! quorum says so, what is sealed comes out, and what came out is attested (PROTOCOL §6).

use fairlane_simnet::marks::Mark;
use fairlane_simnet::{Profile, Scenario};

fn ceremony(n: usize, seed: u64, profile: Profile) -> Scenario {
    let mut scenario = Scenario::new(n, seed, 12, profile);
    scenario.ceremony = Some(true);
    scenario
}

/// Seeds of every profile, with members that crash, lose their disks, are cut off, or deal
/// falsely.
#[test]
fn a_key_is_made_and_orders_come_out() {
    let (mut refused, mut attested) = (0, 0);
    for (n, seeds) in [(4, 0..10), (7, 10..12)] {
        for seed in seeds {
            let profile = [
                Profile::Swarm,
                Profile::Calm,
                Profile::Crash,
                Profile::Faults,
            ][seed as usize % 4];
            let scenario = ceremony(n, 900 + seed, profile);
            let certified = scenario.options().attest_ms.is_some();
            let report = scenario.run();
            assert!(report.passed(), "{report}");
            assert_eq!(report.marks.count(Mark::KeyMade), 1, "{report}");
            refused += report.marks.count(Mark::DealingRefused);
            if certified {
                assert!(report.marks.count(Mark::Attested) > 0, "{report}");
                attested += 1;
            }
        }
    }
    assert!(attested > 0, "no seed makes a certificate key");
    println!("dealings refused at {refused} members");
}

/// A false dealer is at work: its dealings do not count, and the key is made without them.
#[test]
fn a_false_dealer_changes_nothing() {
    let mut refused = 0;
    for seed in 0..6 {
        let mut scenario = ceremony(4, 950 + seed, Profile::Calm);
        scenario.liars = Some(vec![(seed as usize % 4, "false-dealer")]);
        let certified = scenario.options().attest_ms.is_some();
        let report = scenario.run();
        assert!(report.passed(), "{report}");
        assert!(report.lies.iter().any(|(.., lies)| *lies > 0));
        refused += report.marks.count(Mark::DealingRefused);
        assert_eq!(certified, report.marks.count(Mark::Attested) > 0);
    }
    assert!(refused > 0, "no false dealing became final");
}

/// Run twice, a ceremony goes the same way.
#[test]
fn a_ceremony_is_deterministic() {
    let scenario = ceremony(4, 977, Profile::Swarm);
    let (one, two) = (scenario.run(), scenario.run());
    assert_eq!(one.trace_hash, two.trace_hash);
}
