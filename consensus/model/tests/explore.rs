//! Every state of a small scope, in fewer orders of a larger one, random walks beyond it, and
//! planted bugs that must be found. `FAIRLANE_MODEL_VIEWS=4` explores four views as well.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_model::{Order, Report, Reveal, Scope, explore, wander};
use fairlane_types::{Mutant, Planted};

fn sound(report: &Report) {
    println!("{report}");
    assert!(report.found.is_none(), "{report}");
    assert!(
        report.missed.is_empty(),
        "never reached: {:?}",
        report.missed
    );
}

fn broken(scope: Scope, rule: &str) {
    let report = explore(scope, 2);
    println!("{report}");
    let found = report
        .found
        .as_ref()
        .unwrap_or_else(|| panic!("not found: {report}"));
    assert_eq!(found.rule, rule);
}

#[test]
fn two_views_hold_every_rule_whoever_leads() {
    for liar_leads in 1..=3 {
        sound(&explore(Scope::new(2, liar_leads), 2));
    }
}

#[test]
fn forged_and_stale_certificates_change_nothing() {
    let mut scope = Scope::new(2, 2);
    scope.forgeries = true;
    sound(&explore(scope, 2));
}

#[test]
fn a_crash_of_each_member_contradicts_nothing() {
    for liar_leads in 1..=2 {
        let mut scope = Scope::new(1, liar_leads);
        scope.crashes = 1;
        sound(&explore(scope, 2));
    }
}

#[test]
fn three_views_hold_every_rule_whoever_leads() {
    for liar_leads in 1..=4 {
        sound(&explore(
            Scope::new(3, liar_leads).ordered(Order::Layered),
            2,
        ));
    }
}

#[test]
fn more_views_when_asked_for() {
    let views = std::env::var("FAIRLANE_MODEL_VIEWS");
    let views = views.ok().and_then(|text| text.parse().ok());
    for views in 4..=views.unwrap_or(3) {
        for liar_leads in 1..=4 {
            sound(&explore(
                Scope::new(views, liar_leads).ordered(Order::Layered),
                2,
            ));
        }
    }
}

#[test]
fn random_walks_of_eight_views_hold_every_rule() {
    for liar_leads in 1..=4 {
        let scope = Scope::new(8, liar_leads).ordered(Order::Forthcoming);
        let report = wander(scope, 7, 1_000);
        println!("{report}");
        assert!(report.found.is_none(), "{report}");
        assert!(report.depth > 30, "{report}");
    }
}

#[test]
fn random_walks_of_eight_views_find_planted_bugs() {
    for mutant in [
        Mutant::IgnoreGaps,
        Mutant::ShortCommits,
        Mutant::CommitAfterSkip,
        Mutant::OrphanFinal,
    ] {
        let scope = Scope {
            planted: Planted::new(mutant),
            ..Scope::new(8, 3).ordered(Order::Forthcoming)
        };
        let report = wander(scope, 7, 5_000);
        println!("{report}");
        assert!(report.found.is_some(), "{mutant:?}: {report}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let planted = |mutant, scope: Scope| Scope {
        planted: Planted::new(mutant),
        ..scope
    };
    let two = Scope::new(2, 2);
    let crash = Scope {
        crashes: 1,
        ..Scope::new(1, 2)
    };
    broken(planted(Mutant::IgnoreGaps, two), "grounds");
    broken(planted(Mutant::ShortCommits, two), "conduct");
    broken(planted(Mutant::ShortSkips, two), "grounds");
    broken(planted(Mutant::CommitAfterSkip, two), "conduct");
    broken(planted(Mutant::ForgetCommits, crash), "conduct");
    // Found in fewer orders too, but for those of an order that is left out.
    for mutant in [
        Mutant::IgnoreGaps,
        Mutant::ShortCommits,
        Mutant::CommitAfterSkip,
        Mutant::OrphanFinal,
    ] {
        let three = Scope::new(3, 2).ordered(Order::Layered);
        let report = explore(planted(mutant, three), 2);
        assert!(report.found.is_some(), "{mutant:?}: {report}");
    }
}

/// PROTOCOL D3: without the clean-vote rule shares with commit votes open what can still be
/// abandoned, with all leaders honest and nothing but delays.
#[test]
fn d3_without_clean_votes_an_order_is_readable_and_can_be_abandoned() {
    let mut scope = Scope::new(2, 3);
    scope.reveal = Reveal::WithCommit;
    broken(scope, "secrecy");
}

#[test]
fn d3_with_clean_votes_what_is_readable_is_irrevocable() {
    for liar_leads in 1..=3 {
        let mut scope = Scope::new(2, liar_leads);
        scope.reveal = Reveal::WithCleanCommit;
        sound(&explore(scope, 2));
    }
}
