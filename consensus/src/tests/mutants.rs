//! Planted bugs: each must be seen by the oracle, or the swarm proves nothing.

use super::byzantine::Liar;
use super::net::{Net, Plant};
use super::swarm::story;
use fairlane_types::Mutant;

/// Seeds until the oracle sees the bug, and the rule it names.
fn hunt(plant: Plant, rules: &[&str]) {
    for seed in 1..=300 {
        let net = story(seed, Some(plant));
        if let Some((rule, what)) = net.oracle.violations.first() {
            assert!(rules.contains(rule), "{plant:?} was seen as {rule}: {what}");
            return;
        }
    }
    panic!("{plant:?} survived 300 seeds");
}

#[test]
fn mutant_forgetting_on_restart_is_caught() {
    hunt(Plant::ForgetOnRestart, &["C1", "C2", "C5", "C6"]);
}

#[test]
fn mutant_saying_before_recording_is_caught() {
    hunt(Plant::SayBeforeRecorded, &["C7"]);
}

#[test]
fn mutant_quorum_off_by_one_is_caught() {
    hunt(
        Plant::Core(Mutant::ShortVotes),
        &[
            "C3",
            "C4",
            "final",
            "agreement",
            "ancestry",
            "lemma",
            "halt",
        ],
    );
}

#[test]
fn mutant_commit_after_skip_is_caught() {
    hunt(Plant::Core(Mutant::CommitAfterSkip), &["C2", "restore"]);
}

#[test]
fn mutant_vote_after_skip_is_caught() {
    hunt(Plant::Core(Mutant::VoteAfterSkip), &["C5"]);
}

#[test]
fn mutant_voting_over_gaps_is_caught() {
    // Needs a leader that builds on an old parent: view 2's block is notarized, and the
    // leader of view 3 pretends not to know.
    for seed in 1..=300 {
        let member = (seed % 4) as u8;
        let mut net = Net::new(seed, 4, &[(member, Liar::Forker)], 0);
        net.plant = Some(Plant::Core(Mutant::IgnoreGaps));
        net.weather.loss = 10;
        net.start_all();
        net.run(3_000_000);
        if let Some((rule, what)) = net.oracle.violations.first() {
            assert!(["C4", "lemma"].contains(rule), "seen as {rule}: {what}");
            return;
        }
    }
    panic!("voting over gaps survived 300 seeds");
}

/// Negative control: with more liars than f, disagreement is reachable and is seen.
#[test]
fn more_than_f_liars_are_detected() {
    for seed in 1..=200 {
        let liars = [(0, Liar::Twins), (1, Liar::Twins), (2, Liar::Equivocator)];
        let mut net = Net::new(seed, 4, &liars, 2);
        net.start_all();
        // Twins and followers are split into two halves that hear different things.
        for index in 0..net.processes.len() {
            net.groups[index] = (index % 2) as u8;
        }
        net.run(3_000_000);
        net.heal();
        net.run(3_000_000);
        if !net.oracle.violations.is_empty() {
            return;
        }
    }
    panic!("three liars of four never did any harm");
}
