//! A planted bug's failing plan, made small: what is left still fails the same way, and
//! most of what was there is gone.

use fairlane_simnet::check::Rule;
use fairlane_simnet::faults::{Fault, Plan, from_toml, to_toml};
use fairlane_simnet::shrink::shrink;
use fairlane_simnet::{Planted, Profile, Scenario};

/// Members crash all the time, and much else happens that has nothing to do with it.
fn noisy(seed: u64) -> Scenario {
    let mut plan = Plan::default();
    for i in 0..40 {
        let at = 30 + i * 23 + seed;
        let node = (i % 4) as usize;
        plan.push(at, Fault::Crash(node));
        plan.push(at + 4, Fault::Restart(node));
        plan.push(at + 5, Fault::ClockStep(node, 3));
        plan.push(at + 6, Fault::Spike(2));
        plan.push(at + 9, Fault::Restore);
    }
    plan.push(1_500, Fault::Heal);
    plan.push(1_500, Fault::RestartAll);
    let mut scenario = Scenario::new(4, seed, 20, Profile::Calm);
    scenario.plan = Some(plan.sorted());
    scenario.planted = Some(Planted::SafetyForgotten);
    scenario
}

#[test]
fn a_planted_bug_shrinks_to_a_few_events() {
    let fails = |scenario: &Scenario| {
        let report = scenario.run();
        report.violations.first().map(|v| v.rule) == Some(Rule::Restart)
    };
    let scenario = (0..40)
        .map(noisy)
        .find(fails)
        .expect("a forgotten safety record is noticed in one of forty seeds");
    let mut steps = 0;
    let shrunk = shrink(&scenario, 300, |_, _| steps += 1).expect("it fails");
    let plan = shrunk
        .scenario
        .plan
        .clone()
        .expect("everything is explicit");
    println!("{} runs, {steps} steps\n{plan}", shrunk.runs);
    assert!(plan.faults.len() <= 12, "{plan}");
    assert!(shrunk.scenario.orders <= scenario.orders);
    assert_eq!(shrunk.report.violations[0].rule, Rule::Restart);
    assert!(fails(&shrunk.scenario));
    // And it is a file that fails as well, given the bug.
    let mut read = from_toml(&to_toml(&shrunk.scenario)).unwrap();
    read.planted = Some(Planted::SafetyForgotten);
    assert!(fails(&read));
}

#[test]
fn a_run_that_passes_does_not_shrink() {
    let mut scenario = noisy(1);
    scenario.planted = None;
    assert!(shrink(&scenario, 10, |_, _| {}).is_none());
}
