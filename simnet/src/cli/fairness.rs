//! `fairness`.

use super::{FairnessArgs, SimError};
use crate::fairness::search::climb;
use crate::fairness::{Attack, Experiment, FanOut, Matrix, Outcome, Rule, merge};

/// Where seeds for the search begin; those that are reported are far from them.
const SEARCH_FROM: u64 = 1 << 40;
/// Seeds per attack in the search.
const SEARCH_SEEDS: u64 = 2;

/// Inversions, attacks and delays under one rule, as a line of JSON.
pub(super) fn run(args: &FairnessArgs) -> Result<bool, SimError> {
    let unknown = |name: &str| SimError::Unknown(name.to_owned());
    let mut experiment = Experiment {
        members: args.members,
        bad: args.bad.min(args.members),
        matrix: Matrix::from_name(&args.matrix).ok_or_else(|| unknown(&args.matrix))?,
        rule: Rule::from_name(&args.rule).ok_or_else(|| unknown(&args.rule))?,
        fan_out: FanOut::from_name(&args.fan_out).ok_or_else(|| unknown(&args.fan_out))?,
        attack: Attack::None,
        skew_us: args.skew_us,
        rate: args.rate,
        seconds: args.seconds,
    };
    experiment.attack = if args.attack == "climb" {
        let found = climb(&experiment, SEARCH_FROM, args.tries);
        eprintln!("worst: {found:?}");
        Attack::Tuned(found.behaviour)
    } else if args.attack == "search" {
        let found = worst(experiment);
        eprintln!("worst: {}", found.name());
        found
    } else {
        Attack::from_name(&args.attack).ok_or_else(|| unknown(&args.attack))?
    };
    println!("{}", seeds(&experiment, args.first, args.seeds).to_json());
    Ok(true)
}

fn seeds(experiment: &Experiment, first: u64, count: u64) -> Outcome {
    let all = (0..count).map(|i| experiment.run(first.wrapping_add(i)));
    merge(all.collect())
}

/// The attack with which attackers come first most often.
fn worst(mut experiment: Experiment) -> Attack {
    let won = |attack: &Attack| {
        experiment.attack = *attack;
        let outcome = seeds(&experiment, SEARCH_FROM, SEARCH_SEEDS);
        outcome
            .attacker_first
            .iter()
            .map(|(hit, _)| hit)
            .sum::<u64>()
    };
    let found = Attack::ALL.into_iter().max_by_key(won);
    found.unwrap_or(Attack::None)
}
