//! Bugs planted in the shell: a run that cannot fail proves nothing. Each must be caught,
//! and by the right checker.

use std::collections::BTreeSet;

use fairlane_simnet::check::Rule;
use fairlane_simnet::faults::{Fault, Plan};
use fairlane_simnet::marks::Mark;
use fairlane_simnet::{Planted, Profile, Scenario};

/// The rules that seeds `0..seeds` break with a planted bug.
fn broken(planted: Planted, seeds: u64, plan: impl Fn(u64) -> Option<Plan>) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for seed in 0..seeds {
        let mut scenario = Scenario::new(4, seed, 20, Profile::Calm);
        scenario.planted = Some(planted);
        scenario.plan = plan(seed);
        scenario.patience_ms = 8_000;
        let report = scenario.run();
        rules.extend(report.violations.iter().map(|violation| violation.rule));
    }
    rules
}

#[test]
fn shares_before_finality_are_caught() {
    let rules = broken(Planted::SharesBeforeFinal, 2, |_| None);
    assert_eq!(rules, BTreeSet::from([Rule::EarlyShare]));
}

#[test]
fn sending_before_storing_is_caught() {
    let rules = broken(Planted::SendBeforeStored, 2, |_| None);
    assert_eq!(rules, BTreeSet::from([Rule::PersistFirst]));
}

#[test]
fn a_safety_record_forgotten_on_restart_is_caught() {
    // Members crash all the time, so that some do between a commit and its finality.
    let plan = |seed| {
        let mut plan = Plan::default();
        for i in 0..60 {
            let at = 30 + i * 23 + seed;
            let node = (i % 4) as usize;
            plan.push(at, Fault::Crash(node));
            plan.push(at + 4, Fault::Restart(node));
        }
        Some(plan)
    };
    let rules = broken(Planted::SafetyForgotten, 12, plan);
    println!("{rules:?}");
    assert!(rules.contains(&Rule::Restart), "{rules:?}");
}

/// The same restarts with nothing planted break nothing.
#[test]
fn the_same_restarts_alone_break_nothing() {
    for seed in 0..4 {
        let mut plan = Plan::default();
        for i in 0..60 {
            let at = 30 + i * 23 + seed;
            let node = (i % 4) as usize;
            plan.push(at, Fault::Crash(node));
            plan.push(at + 4, Fault::Restart(node));
        }
        let mut scenario = Scenario::new(4, seed, 20, Profile::Calm);
        scenario.plan = Some(plan);
        let report = scenario.run();
        assert!(report.passed(), "{report}");
    }
}

/// More than f liars: what they do together is beyond rescue, and the checkers say so, each
/// the one that should. Half of the committee lies.
#[test]
fn too_many_liars_are_noticed() {
    for (name, expected) in [
        ("no-shares", Rule::Liveness),
        ("silent", Rule::Liveness),
        ("wrong-shares", Rule::Liveness),
        ("false-holdings", Rule::Liveness),
    ] {
        let rules = many_liars([name; 2], 2, &Plan::default());
        let seen = rules.contains(&expected) || rules.contains(&Rule::Lost);
        assert!(seen, "{name}: {rules:?}");
    }
}

/// Safety, not only progress: with two forks' worth of voters two blocks become final.
#[test]
fn forking_coalitions_break_safety_and_are_noticed() {
    for liars in [["twins", "twins"], ["equivocate", "fork-voter"]] {
        // The two honest members do not hear each other, as any asynchrony may have it.
        let mut apart = Plan::default();
        apart.push(1, Fault::Split(vec![2], vec![3]));
        let rules = many_liars(liars, 16, &apart);
        // The first broken rule ends a run; a member that meets a fork stops by itself.
        let safety = [Rule::Agreement, Rule::Availability, Rule::Halt];
        assert!(
            safety.iter().any(|rule| rules.contains(rule)),
            "{liars:?}: {rules:?}"
        );
    }
}

/// Three of four: whatever is final, f + 1 honest members cannot have held it.
#[test]
fn a_committee_of_liars_is_noticed_where_data_is_held() {
    let rules = many_liars(["twins"; 3], 2, &Plan::default());
    assert!(rules.contains(&Rule::Availability), "{rules:?}");
}

/// Three of four sign a false state: whoever keeps the certificate is noticed. One liar of four
/// is not enough for one.
#[test]
fn a_certificate_of_a_false_state_is_noticed() {
    let run = |seed: u64, planted, liars| {
        let mut scenario = Scenario::new(4, 8 * seed, 40, Profile::Swarm);
        // So long that the sequence gets to heights whose states are signed.
        scenario.seconds = Some(10);
        scenario.planted = planted;
        scenario.liars = Some(liars);
        scenario.plan = Some(Plan::default());
        scenario.run()
    };
    for seed in 0..4 {
        let report = run(seed, None, vec![(seed as usize, "false-states")]);
        assert!(report.passed(), "{report}");
        assert!(report.marks.count(Mark::StateAttested) > 0, "{report}");
        let broken = run(seed, Some(Planted::FalseStates), Vec::new()).violations;
        let rules: BTreeSet<_> = broken.iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, BTreeSet::from([Rule::State]));
    }
}

/// The rules that runs of four members break when the first of them lie.
fn many_liars<const N: usize>(liars: [&'static str; N], seeds: u64, plan: &Plan) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for seed in 0..seeds {
        let mut scenario = Scenario::new(4, seed, 20, Profile::Swarm);
        scenario.liars = Some(liars.into_iter().enumerate().collect());
        scenario.plan = Some(plan.clone());
        scenario.patience_ms = 3_000;
        let report = scenario.run();
        rules.extend(report.violations.iter().map(|violation| violation.rule));
    }
    println!("{liars:?}: {rules:?}");
    rules
}
