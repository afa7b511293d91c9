//! The laboratory: what it says of the rules, and that every order gets its place.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_simnet::fairness::{Attack, Experiment, FanOut, Matrix, Rule};

fn experiment(rule: &str) -> Experiment {
    Experiment {
        members: 16,
        bad: 1,
        matrix: Matrix::Global,
        rule: Rule::from_name(rule).unwrap(),
        fan_out: FanOut::All,
        attack: Attack::Predate,
        skew_us: 500,
        rate: 200,
        seconds: 10,
    }
}

fn share((hit, all): (u64, u64)) -> f64 {
    assert!(all > 30, "{all}");
    hit as f64 / all as f64
}

#[test]
fn one_liar_of_sixteen_wins_under_arrival_and_not_under_strong() {
    let [arrival, strong] = ["arrival", "strong"].map(|rule| experiment(rule).run(7));
    assert!(share(arrival.attacker_first[0]) > 0.5);
    assert!(share(strong.attacker_first[0]) <= 0.02);
    assert!(share(strong.attacker_first[1]) <= 0.01);
    // Honest pairs of one place.
    assert!(share(strong.inversion[0]) < share(arrival.inversion[0]));
}

/// F5: the bound is ten cuts without an attack, twenty under one.
#[test]
fn f5_every_order_has_its_place_in_time_under_every_attack() {
    for attack in Attack::ALL {
        for fan_out in [FanOut::All, FanOut::One] {
            let mut experiment = experiment("strong");
            (experiment.attack, experiment.bad) = (attack, 5);
            experiment.matrix = Matrix::EuUs;
            experiment.fan_out = fan_out;
            let outcome = experiment.run(8);
            let cuts = outcome.delays.iter().max().unwrap() / Matrix::EuUs.cut_us();
            let (name, unplaced) = (attack.name(), outcome.unplaced);
            assert_eq!(unplaced, 0, "{name}");
            assert!(cuts <= 20, "{name}: {cuts}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let all = ["strong", "majority", "shuffle", "leader", "round-robin"];
    for rule in all {
        let run = || experiment(rule).run(10).to_json();
        assert_eq!(run(), run(), "{rule}");
    }
}
