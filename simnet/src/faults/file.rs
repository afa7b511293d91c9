//! `plan.toml`: a run as a file that people read, edit and keep.
//!
//! ```toml
//! members = 4
//! seed = "0x2a"
//! orders = 30
//! profile = "swarm"
//! rule = "strong"           # the order rule; left out, the seed draws it
//! delay_ms = 8              # every frame takes as long; left out, the seed draws it
//! seconds = 60              # a long run; left out, a few
//! ideal = true              # ideal cryptography; left out, real
//! patience_ms = 5000        # all is well again so long after healing; left out, 120000
//! events = [                # left out, the seed draws them
//!     "120ms crash 2",
//!     "400ms heal",
//!     "400ms restart-all",
//! ]
//!
//! [liars]                   # left out, the seed draws them; empty, nobody lies
//! 1 = "equivocate"
//! ```

use std::collections::BTreeMap;

use fairlane_types::{MEMBERS_MAX, OrderRule};
use serde::{Deserialize, Serialize};

use crate::byz;
use crate::crypto::Tier;
use crate::scenario::{PATIENCE_MS, Profile, Scenario};

use super::{Plan, PlanError};

/// Fewest members: with fewer, nobody may be faulty.
const MEMBERS_MIN: usize = 4;
/// Most orders of a run.
const ORDERS_MAX: usize = 1_000_000;
/// Longest time to recover in, ms.
const PATIENCE_MS_MAX: u64 = 3_600_000;
/// Longest constant delay of a link, ms.
const DELAY_MS_MAX: u64 = 60_000;
/// Virtual seconds of a long run.
const SECONDS: core::ops::RangeInclusive<u64> = 2..=600;

/// Why a file is no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not TOML, or a key that is missing, unknown or of another type.
    #[error("{0}")]
    Toml(String),
    /// A value that is out of its range.
    #[error("{key} = {value}: {must}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: String,
    },
    /// An event that is none; its `line` counts events from 1.
    #[error("events, {0}")]
    Event(#[from] PlanError),
}

/// A seed: a number, or a string with a decimal or `0x…` number (TOML's numbers are signed).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Seed {
    Text(String),
    Number(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    members: usize,
    seed: Seed,
    orders: usize,
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<OrderRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceremony: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    ideal: bool,
    patience_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    liars: Option<BTreeMap<String, String>>,
}

/// A number as people write it: decimal, or hexadecimal behind `0x`.
#[must_use]
pub fn parse_seed(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The run that a file describes.
///
/// # Errors
/// [`FileError`] says what is wrong and what would be right.
pub fn from_toml(text: &str) -> Result<Scenario, FileError> {
    let file: File = toml::from_str(text).map_err(|error| FileError::Toml(error.to_string()))?;
    let value = |key, value: &dyn core::fmt::Display, must: &str| FileError::Value {
        key,
        value: value.to_string(),
        must: must.to_owned(),
    };
    if !(MEMBERS_MIN..=MEMBERS_MAX).contains(&file.members) {
        let must = format!("{MEMBERS_MIN} to {MEMBERS_MAX}");
        return Err(value("members", &file.members, &must));
    }
    if file.orders > ORDERS_MAX {
        return Err(value("orders", &file.orders, "at most 1000000"));
    }
    let seed = match &file.seed {
        Seed::Number(seed) => *seed,
        Seed::Text(text) => parse_seed(text)
            .ok_or_else(|| value("seed", text, "a number, such as 42 or \"0x2a\""))?,
    };
    let profile = Profile::from_name(&file.profile).ok_or_else(|| {
        let names: Vec<_> = Profile::ALL.iter().map(|p| p.name()).collect();
        value(
            "profile",
            &file.profile,
            &format!("one of {}", names.join(", ")),
        )
    })?;
    let mut scenario = Scenario::new(file.members, seed, file.orders, profile);
    if let Some(OrderRule::Leader | OrderRule::RoundRobin) = file.rule {
        let must = "strong, arrival, majority or shuffle: baselines have no checker";
        return Err(value("rule", &"a baseline", must));
    }
    scenario.rule = file.rule;
    scenario.ceremony = file.ceremony;
    if let Some(delay_ms) = file.delay_ms {
        if delay_ms > DELAY_MS_MAX {
            return Err(value("delay_ms", &delay_ms, "at most 60000"));
        }
        scenario.delay_ms = Some(delay_ms);
    }
    if let Some(seconds) = file.seconds {
        if !SECONDS.contains(&seconds) {
            return Err(value("seconds", &seconds, "2 to 600"));
        }
        scenario.seconds = Some(seconds);
    }
    if file.ideal {
        scenario.tier = Tier::Ideal;
    }
    if let Some(patience_ms) = file.patience_ms {
        if patience_ms > PATIENCE_MS_MAX {
            return Err(value("patience_ms", &patience_ms, "at most 3600000"));
        }
        scenario.patience_ms = patience_ms;
    }
    if let Some(events) = &file.events {
        let plan = Plan::parse(&events.join("\n"))?;
        if let Some(timed) = plan.faults.iter().find(|t| !t.fault.fits(file.members)) {
            let must = format!("members are numbered from 0 to {}", file.members - 1);
            return Err(value("events", &timed.fault, &must));
        }
        scenario.plan = Some(plan);
    }
    if let Some(liars) = &file.liars {
        let liars = liars.iter().map(|(member, name)| {
            let member = member.parse().ok().filter(|m| *m < file.members);
            let known = byz::NAMES.iter().find(|known| *known == name);
            match (member, known) {
                (Some(member), Some(name)) => Ok((member, *name)),
                (None, _) => Err(value("liars", name, "keys are members, numbered from 0")),
                (_, None) => {
                    let names = format!("one of {}", byz::NAMES.join(", "));
                    Err(value("liars", name, &names))
                }
            }
        });
        scenario.liars = Some(liars.collect::<Result<_, _>>()?);
    }
    Ok(scenario)
}

/// The file that describes a run. What the scenario leaves to the seed is left out.
#[must_use]
pub fn to_toml(scenario: &Scenario) -> String {
    let events = scenario.plan.as_ref().map(|plan| {
        let text = plan.to_string();
        text.lines().map(str::to_owned).collect()
    });
    let liars = scenario.liars.as_ref().map(|liars| {
        let line = |(member, name): &(usize, &str)| (member.to_string(), (*name).to_owned());
        liars.iter().map(line).collect()
    });
    let file = File {
        members: scenario.n,
        seed: Seed::Text(format!("0x{:x}", scenario.seed)),
        orders: scenario.orders,
        profile: scenario.profile.name().to_owned(),
        rule: scenario.rule,
        ceremony: scenario.ceremony,
        delay_ms: scenario.delay_ms,
        seconds: scenario.seconds,
        ideal: scenario.tier == Tier::Ideal,
        patience_ms: (scenario.patience_ms != PATIENCE_MS).then_some(scenario.patience_ms),
        events,
        liars,
    };
    toml::to_string_pretty(&file).expect("invariant: strings and small numbers encode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose, Stream};

    fn explicit(n: usize, seed: u64) -> Scenario {
        let mut scenario = Scenario::new(n, seed, 20, Profile::Swarm);
        let options = scenario.options();
        scenario.plan = Some(options.plan);
        scenario.liars = Some(options.liars);
        scenario
    }

    #[test]
    fn a_run_reads_back() {
        for seed in 0..200 {
            let n = if seed % 2 == 0 { 4 } else { 7 };
            let mut scenario = explicit(n, seed | 1 << 63);
            scenario.delay_ms = (seed % 3 == 0).then_some(seed);
            scenario.seconds = (seed % 5 == 0).then_some(2 + seed);
            if seed % 7 == 0 {
                scenario.tier = Tier::Ideal;
            }
            scenario.rule = (seed % 5 == 0).then_some(OrderRule::Strong);
            scenario.patience_ms = if seed % 5 == 0 { seed } else { PATIENCE_MS };
            let text = to_toml(&scenario);
            let back = from_toml(&text).unwrap();
            assert_eq!(to_toml(&back), text);
            let liars = |s: &Scenario| {
                let mut liars = s.options().liars;
                liars.sort_unstable();
                liars
            };
            assert_eq!(back.patience_ms, scenario.patience_ms);
            assert_eq!(back.options().plan, scenario.options().plan);
            assert_eq!(back.rule, scenario.rule);
            assert_eq!(liars(&back), liars(&scenario));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let head = "seed = 1\norders = 5\nprofile = \"calm\"\n";
        let refused = |text: &str| from_toml(text).unwrap_err().to_string();
        let four = format!("members = 4\n{head}");
        assert!(from_toml(&four).is_ok());
        assert!(refused(&format!("members = 3\n{head}")).contains(&format!("4 to {MEMBERS_MAX}")));
        assert!(from_toml(&format!("{four}rule = \"majority\"")).is_ok());
        assert!(refused(&format!("{four}rule = \"leader\"")).contains("baseline"));
        assert!(refused(&format!("{four}rule = \"first\"")).contains("first"));
        assert!(refused(&format!("{four}surprise = 1")).contains("surprise"));
        assert!(refused(&format!("{four}patience_ms = 9999999")).contains("3600000"));
        assert!(refused(&format!("{four}events = [\"5ms crash 4\"]")).contains("0 to 3"));
        assert!(refused(&format!("{four}events = [\"5ms explode\"]")).contains("explode"));
        assert!(refused(&format!("{four}[liars]\n1 = \"nice\"")).contains("equivocate"));
        assert!(refused(&format!("{four}[liars]\n9 = \"slow\"")).contains("keys"));
        assert!(refused(&format!("{four}seconds = 1")).contains("seconds"));
        assert!(refused("members = \"x\"").contains("members"));
    }

    /// Hostile text, and true text with a few characters changed: an error or a run, never
    /// a panic, and never a run that has members it does not have.
    #[test]
    fn mutated_files_are_refused_or_run() {
        let mut rng = Stream::new(11, Owner::World, Purpose::Test);
        let mut read = 0;
        for seed in 0..400 {
            let mut bytes = to_toml(&explicit(4, seed)).into_bytes();
            for _ in 0..rng.between(1, 2) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.below(128) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, rng.between(32, 126) as u8),
                }
            }
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            if let Ok(scenario) = from_toml(&text) {
                read += 1;
                let options = scenario.options();
                assert!(options.plan.faults.iter().all(|t| t.fault.fits(scenario.n)));
                assert!(options.liars.iter().all(|(liar, _)| *liar < scenario.n));
            }
        }
        assert!(read > 20, "{read}");
    }
}
