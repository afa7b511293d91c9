//! `replay` and `shrink`.

use std::path::Path;

use super::{ReplayArgs, ShrinkArgs, SimError, tier};
use crate::bundle;
use crate::faults::{from_toml, to_toml};
use crate::scenario::Scenario;

/// Reads a plan.
fn read(path: &Path) -> Result<Scenario, SimError> {
    let text = std::fs::read_to_string(path).map_err(|error| SimError::File {
        path: path.to_owned(),
        error,
    })?;
    from_toml(&text).map_err(|error| SimError::Plan {
        path: path.to_owned(),
        error,
    })
}

fn save(path: &Path, scenario: &Scenario) -> Result<(), SimError> {
    std::fs::write(path, to_toml(scenario)).map_err(|error| SimError::File {
        path: path.to_owned(),
        error,
    })
}

pub(super) fn replay(args: &ReplayArgs, version: &str) -> Result<bool, SimError> {
    let mut scenario = match (&args.plan, args.seed) {
        (Some(path), _) => read(path)?,
        (None, seed) => Scenario {
            seconds: args.seconds,
            tier: tier(args.ideal),
            rule: args.rule.map(Into::into),
            ..Scenario::new(
                args.members,
                seed.unwrap_or(0),
                args.orders,
                args.profile.into(),
            )
        },
    };
    let options = scenario.options();
    if let Some(path) = &args.save {
        let mut explicit = scenario.clone();
        explicit.plan = Some(options.plan.clone());
        explicit.liars = Some(options.liars.clone());
        explicit.rule = Some(options.rule);
        save(path, &explicit)?;
    }
    if let Some(folder) = &args.bundle {
        bundle::write(folder, &scenario, version).map_err(|error| SimError::File {
            path: folder.clone(),
            error,
        })?;
    }
    println!("{options:#?}\n{}", options.plan);
    scenario.log = args.log;
    let report = scenario.run();
    for line in &report.log {
        println!("{line}");
    }
    println!("{report}");
    for (mark, count) in report.marks.hits() {
        println!("  {:22} {count}", mark.name());
    }
    for (member, name, times) in &report.lies {
        println!("  member {member} lied {times} times: {name}");
    }
    for line in &report.suspicious {
        println!("  suspicious: {line}");
    }
    Ok(report.passed())
}

pub(super) fn shrink(args: &ShrinkArgs) -> Result<bool, SimError> {
    let scenario = read(&args.plan)?;
    let watch = |what: &str, smaller: &Scenario| {
        let events = smaller.plan.as_ref().map_or(0, |plan| plan.faults.len());
        let liars = smaller.liars.as_ref().map_or(0, Vec::len);
        let (n, orders) = (smaller.n, smaller.orders);
        eprintln!("{what}: {events} events, {liars} liars, {n} members, {orders} orders");
    };
    let shrunk = crate::shrink::shrink(&scenario, args.runs, watch).ok_or(SimError::Passes)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.plan.with_extension("min.toml"));
    save(&out, &shrunk.scenario)?;
    println!("{}", to_toml(&shrunk.scenario));
    println!("{}", shrunk.report);
    println!("{} runs; simnet replay {}", shrunk.runs, out.display());
    Ok(true)
}
