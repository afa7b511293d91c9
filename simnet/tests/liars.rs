//! Every way to misbehave, alone among honest members and f at a time: no rule breaks, the
//! run stays live, and what can be proven is proven.

use fairlane_simnet::byz::NAMES;
use fairlane_simnet::faults::Plan;
use fairlane_simnet::marks::{Mark, Marks};
use fairlane_simnet::{Profile, Scenario};

fn run(n: usize, seed: u64, liars: Vec<(usize, &'static str)>) -> Marks {
    let mut scenario = Scenario::new(n, seed, 25, Profile::Swarm);
    scenario.plan = Some(Plan::default());
    scenario.liars = Some(liars);
    let report = scenario.run();
    assert!(report.passed(), "liars {:?}: {report}", scenario.liars);
    report.marks
}

#[test]
fn one_liar_of_each_kind_breaks_nothing() {
    for (index, name) in NAMES.into_iter().enumerate() {
        let mut marks = Marks::default();
        for seed in 0..3 {
            marks.merge(&run(4, 500 + seed, vec![(index % 4, name)]));
        }
        let must = match name {
            "wrong-shares" | "foreign-shares" => Some(Mark::ShareBlame),
            "lane-fork" => Some(Mark::ForkEvidence),
            "garbage" => Some(Mark::PeerFault),
            "two-faced" | "equivocate" => Some(Mark::VoteEvidence),
            _ => None,
        };
        if let Some(mark) = must {
            assert!(marks.count(mark) > 0, "{name} was never found out");
        }
    }
}

#[test]
fn two_liars_of_seven_break_nothing() {
    for (index, name) in NAMES.into_iter().enumerate() {
        let other = NAMES[(index + 3) % NAMES.len()];
        run(7, 600 + index as u64, vec![(1, name), (5, other)]);
    }
}
