//! `mutants`.

use super::{MutantsArgs, SimError};

/// Every rule broken in turn; false if one is not noticed, or the baseline breaks a rule.
#[cfg(feature = "mutants")]
pub(super) fn run(args: &MutantsArgs) -> Result<bool, SimError> {
    use crate::mutants::{Effort, baseline, hunt_all};
    use fairlane_types::Mutant;

    let names = || Mutant::ALL.iter().copied();
    let chosen: Vec<_> = names()
        .filter(|m| args.only.as_deref().is_none_or(|only| m.name() == only))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = names().map(Mutant::name).collect();
        return Err(SimError::UnknownMutant(names.join(", ")));
    }
    let effort = Effort {
        seeds: args.seeds,
        quick: args.quick,
        jobs: usize::from(args.jobs),
    };
    let rows = hunt_all(&chosen, effort, |row| {
        println!(
            "{}",
            if args.json {
                row.to_json()
            } else {
                row.to_string()
            }
        );
    });
    let killed = rows.iter().filter(|row| row.is_killed()).count();
    let most = rows.iter().filter_map(|row| row.simnet.as_ref());
    let most = most.map(|kill| kill.effort).max().unwrap_or(1);
    let (broken, states) = baseline(most, effort);
    for line in &broken {
        eprintln!("baseline: {line}");
    }
    let found = broken.len();
    if args.json {
        println!("{{\"baseline\":{{\"states\":{states},\"seeds\":{most},\"broken\":{found}}}}}");
    } else {
        println!(
            "{:25} {found} broken in {states} states and {most} seeds",
            "baseline"
        );
    }
    let total = chosen.len();
    println!("{{\"mutants\":{{\"total\":{total},\"killed\":{killed}}}}}");
    Ok(killed == total && broken.is_empty())
}

#[cfg(not(feature = "mutants"))]
pub(super) const fn run(_: &MutantsArgs) -> Result<bool, SimError> {
    Err(SimError::NoMutants)
}
