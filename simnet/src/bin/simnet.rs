//! `simnet`: run seeds for a while, or one of them again.

use std::process::ExitCode;
use std::time::Instant;

use fairlane_simnet::faults::Plan;
use fairlane_simnet::{Profile, Scenario, swarm};

const USAGE: &str = "\
simnet swarm  [--budget 60s] [--profile swarm] [--first SEED] [--json]
simnet replay --members N --seed SEED --orders K [--profile swarm] [--plan FILE] [--log]
simnet mutants [--seeds N] [--only NAME] [--json]   (built with --features mutants)
profiles: calm, crash, faults, swarm";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = args.first().map(String::as_str);
    let done = match verb {
        Some("swarm") => run_swarm(&args),
        Some("replay") => replay(&args),
        Some("mutants") => mutants(&args),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run_swarm(args: &[String]) -> Result<bool, String> {
    let budget = value(args, "--budget").unwrap_or("60s");
    let budget_ms = span_ms(budget).ok_or_else(|| format!("--budget {budget}: try 60s or 10m"))?;
    let profile = profile(args)?;
    let first = number(args, "--first")?.unwrap_or(0);
    let json = args.iter().any(|arg| arg == "--json");
    let start = Instant::now();
    let elapsed = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let summary = swarm(first, budget_ms, profile, elapsed, |report| {
        if !report.passed() {
            eprintln!("{report}");
        }
        for line in &report.suspicious {
            eprintln!("suspicious in {}: {line}", report.replay);
        }
    });
    if !json {
        println!(
            "{} seeds, {} failed, {} events, {} ms",
            summary.seeds,
            summary.failures.len(),
            summary.events,
            summary.wall_ms
        );
    }
    println!("{}", summary.to_json());
    Ok(summary.failures.is_empty())
}

fn replay(args: &[String]) -> Result<bool, String> {
    let members = number(args, "--members")?.ok_or(USAGE)?;
    let seed = number(args, "--seed")?.ok_or(USAGE)?;
    let orders = number(args, "--orders")?.ok_or(USAGE)?;
    let mut scenario = Scenario::new(members as usize, seed, orders as usize, profile(args)?);
    if let Some(path) = value(args, "--plan") {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        scenario.plan = Some(Plan::parse(&text).map_err(|error| format!("{path}: {error}"))?);
    }
    scenario.log = args.iter().any(|arg| arg == "--log");
    let options = scenario.options();
    println!("{options:#?}\n{}", options.plan);
    let report = scenario.run();
    for line in &report.log {
        println!("{line}");
    }
    println!("{report}");
    for (mark, count) in report.marks.hits() {
        println!("  {} {count}", mark.name());
    }
    for line in &report.suspicious {
        println!("  suspicious: {line}");
    }
    Ok(report.passed())
}

/// Every rule broken in turn; fails if one is not noticed, or the baseline breaks a rule.
#[cfg(feature = "mutants")]
fn mutants(args: &[String]) -> Result<bool, String> {
    use fairlane_simnet::mutants::{SEEDS_MAX, baseline, hunt};
    use fairlane_types::Mutant;

    let seeds = number(args, "--seeds")?.unwrap_or(SEEDS_MAX);
    let json = args.iter().any(|arg| arg == "--json");
    let only = value(args, "--only");
    let names = || Mutant::ALL.iter().copied();
    let chosen: Vec<_> = names()
        .filter(|m| only.is_none_or(|only| m.name() == only))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = names().map(Mutant::name).collect();
        return Err(format!("--only: one of {}", names.join(", ")));
    }
    let (mut killed, mut most) = (0, 1);
    for mutant in &chosen {
        let row = hunt(*mutant, seeds);
        killed += usize::from(row.is_killed());
        most = most.max(row.simnet.as_ref().map_or(0, |kill| kill.effort));
        println!("{}", if json { row.to_json() } else { row.to_string() });
    }
    let (broken, states) = baseline(most);
    for line in &broken {
        eprintln!("baseline: {line}");
    }
    if json {
        println!(
            "{{\"baseline\":{{\"states\":{states},\"seeds\":{most},\"broken\":{}}}}}",
            broken.len()
        );
    } else {
        let found = broken.len();
        println!(
            "{:25} {found} broken in {states} states, {found} in {most} seeds",
            "baseline"
        );
    }
    let total = chosen.len();
    println!("{{\"mutants\":{{\"total\":{total},\"killed\":{killed}}}}}");
    Ok(killed == total && broken.is_empty())
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &[String]) -> Result<bool, String> {
    Err("built without mutants: cargo run --release -p fairlane-simnet --features mutants".into())
}

fn value<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(String::as_str)
}

fn number(args: &[String], name: &str) -> Result<Option<u64>, String> {
    let Some(text) = value(args, name) else {
        return Ok(None);
    };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed
        .map(Some)
        .map_err(|_| format!("{name} {text}: not a number"))
}

fn profile(args: &[String]) -> Result<Profile, String> {
    let name = value(args, "--profile").unwrap_or("swarm");
    Profile::from_name(name).ok_or_else(|| format!("--profile {name}: calm, crash, faults, swarm"))
}

fn span_ms(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}
