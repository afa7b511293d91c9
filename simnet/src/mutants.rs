//! The mutant matrix: every rule broken in turn, and what notices. The model explores the
//! consensus core; seeded runs have the whole replica in them. The same trials with no rule
//! broken are the baseline: they must find nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use fairlane_model::{Scope, explore, wander};
use fairlane_types::{Mutant, Planted};

use crate::faults::{Fault, Plan};
use crate::scenario::{Profile, Scenario};

/// Seeds for a mutant that the model noticed already.
const SEEDS_AGAIN: u64 = 2;

/// What noticed a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The trial.
    pub trial: &'static str,
    /// The rule that was seen broken.
    pub rule: String,
    /// States of the model, or seeds, until then.
    pub effort: u64,
}

/// A mutant and its killers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The mutant.
    pub mutant: Mutant,
    /// By the model; not asked where the rule is not one of the consensus core.
    pub model: Option<Kill>,
    /// By the checkers of whole runs.
    pub simnet: Option<Kill>,
}

impl Row {
    /// Whether anything noticed.
    #[must_use]
    pub const fn is_killed(&self) -> bool {
        self.model.is_some() || self.simnet.is_some()
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let kill = |kill: &Option<Kill>, unit: &str| match kill {
            None => "null".to_owned(),
            Some(Kill {
                trial,
                rule,
                effort,
            }) => format!("{{\"trial\":\"{trial}\",\"rule\":\"{rule}\",\"{unit}\":{effort}}}"),
        };
        format!(
            "{{\"mutant\":\"{}\",\"breaks\":\"{}\",\"model\":{},\"simnet\":{}}}",
            self.mutant.name(),
            self.mutant.rule(),
            kill(&self.model, "states"),
            kill(&self.simnet, "seeds")
        )
    }
}

impl core::fmt::Display for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kill = |kill: &Option<Kill>, unit: &str| match kill {
            None => "-".to_owned(),
            Some(kill) => format!("{} ({}, {} {unit})", kill.rule, kill.trial, kill.effort),
        };
        write!(
            f,
            "{:20} {:4} {:52} {}",
            self.mutant.name(),
            self.mutant.rule(),
            kill(&self.model, "states"),
            kill(&self.simnet, "seeds")
        )
    }
}

/// Scopes of the model, cheapest first.
fn scopes() -> Vec<(&'static str, Scope)> {
    let forged = |views, leads| Scope {
        forgeries: true,
        ..Scope::new(views, leads)
    };
    let crashing = |leads| Scope {
        crashes: 1,
        ..Scope::new(1, leads)
    };
    vec![
        ("one view, crashes, liar leads", crashing(1)),
        ("one view, crashes", crashing(2)),
        ("two views", Scope::new(2, 3)),
        ("two views, forgeries", forged(2, 2)),
    ]
}

/// Random walks, where a rule needs more views to break than can be explored.
const WALK: (&str, Scope) = (
    "walks of three views, forgeries",
    Scope {
        forgeries: true,
        ..Scope::new(3, 3)
    },
);
/// States visited by the walks.
const WALK_STATES: usize = 30_000;

/// A whole run by seed.
type Run = fn(u64) -> Scenario;

/// Whole runs by kind.
const RUNS: [(&str, Run); 3] = [
    ("swarm", |seed| {
        let n = if seed % 3 == 2 { 7 } else { 4 };
        Scenario::new(n, seed, 20 + (seed % 41) as usize, Profile::Swarm)
    }),
    ("restarts", restarts),
    ("liars", |seed| {
        let mut scenario = Scenario::new(4, seed, 30, Profile::Swarm);
        scenario.plan = Some(Plan::default());
        scenario.liars = Some(vec![((seed % 4) as usize, "wrong-shares")]);
        scenario
    }),
];

/// Members crash all the time, so that some do between a word and its finality.
fn restarts(seed: u64) -> Scenario {
    let mut plan = Plan::default();
    for i in 0..60 {
        let at = 30 + i * 23 + seed;
        let node = (i % 4) as usize;
        plan.push(at, Fault::Crash(node));
        plan.push(at + 4, Fault::Restart(node));
    }
    let mut scenario = Scenario::new(4, seed, 20, Profile::Calm);
    scenario.plan = Some(plan);
    scenario
}

/// Whether the rule is one that the model has in it.
fn in_model(mutant: Mutant) -> bool {
    mutant < Mutant::SendFirst
}

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Seeds of each kind of run before a mutant counts as a survivor.
    pub seeds: u64,
    /// One witness is enough: whole runs first, the model where they see nothing.
    pub quick: bool,
    /// Threads.
    pub jobs: usize,
}

/// Tries many mutants on several threads; `watch` sees the rows in the order asked for.
pub fn hunt_all(mutants: &[Mutant], effort: Effort, mut watch: impl FnMut(&Row)) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..effort.jobs.max(1) {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some((index, mutant)) = take(mutants, next) {
                    let _ = send.send((index, hunt(mutant, effort)));
                }
            });
        }
        drop(send);
        let (mut waiting, mut rows) = (BTreeMap::new(), Vec::new());
        for (index, row) in receive {
            waiting.insert(index, row);
            while let Some(row) = waiting.remove(&rows.len()) {
                watch(&row);
                rows.push(row);
            }
        }
        rows
    })
}

fn take(mutants: &[Mutant], next: &AtomicUsize) -> Option<(usize, Mutant)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    mutants.get(index).map(|mutant| (index, *mutant))
}

/// Tries one mutant with everything, up to `seeds` of each kind of run.
#[must_use]
pub fn hunt(mutant: Mutant, effort: Effort) -> Row {
    let planted = Planted::new(mutant);
    let model = || in_model(mutant).then(|| by_model(planted)).flatten();
    // A second witness is welcome, a long search for it is not.
    let few = effort.seeds.min(SEEDS_AGAIN);
    let (model, simnet) = if effort.quick && in_model(mutant) {
        match by_simnet(planted, 1) {
            None => (model(), None),
            seen => (None, seen),
        }
    } else {
        let model = model();
        let seeds = if model.is_some() { few } else { effort.seeds };
        (model, by_simnet(planted, seeds))
    };
    Row {
        mutant,
        model,
        simnet,
    }
}

fn by_model(planted: Planted) -> Option<Kill> {
    let mut states = 0;
    for (trial, scope) in scopes() {
        let report = explore(Scope { planted, ..scope }, 1);
        states += report.states as u64;
        if let Some(found) = report.found {
            return Some(Kill {
                trial,
                rule: found.rule.to_owned(),
                effort: states,
            });
        }
    }
    let (trial, scope) = WALK;
    let report = wander(Scope { planted, ..scope }, 1, WALK_STATES);
    states += report.generated as u64;
    report.found.map(|found| Kill {
        trial,
        rule: found.rule.to_owned(),
        effort: states,
    })
}

fn by_simnet(planted: Planted, seeds: u64) -> Option<Kill> {
    for seed in 0..seeds {
        for (trial, run) in RUNS {
            let mut scenario = run(seed);
            scenario.mutant = planted;
            if let Some(violation) = scenario.run().violations.first() {
                return Some(Kill {
                    trial,
                    rule: format!("{:?}", violation.rule),
                    effort: seed + 1,
                });
            }
        }
    }
    None
}

/// What the unmutated code breaks in the same trials, in words: nothing, or the trials
/// prove nothing. `seeds` is the largest number that any mutant took.
#[must_use]
pub fn baseline(seeds: u64, effort: Effort) -> (Vec<String>, u64) {
    let (mut broken, mut states) = (Vec::new(), 0);
    for (trial, scope) in scopes() {
        let report = explore(scope, effort.jobs.max(1));
        states += report.states as u64;
        if let Some(found) = report.found {
            broken.push(format!("model, {trial}: {}", found.rule));
        }
    }
    let (trial, scope) = WALK;
    let report = wander(scope, 1, WALK_STATES);
    states += report.generated as u64;
    broken.extend(
        report
            .found
            .map(|found| format!("model, {trial}: {}", found.rule)),
    );
    for seed in 0..seeds {
        for (trial, run) in RUNS {
            let report = run(seed).run();
            broken.extend(
                report
                    .violations
                    .iter()
                    .map(|violation| format!("{trial}, seed {seed}: {violation}")),
            );
        }
    }
    (broken, states)
}
