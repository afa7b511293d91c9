//! Running the checker, and what came of it.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, UniformChooser};

use crate::guise::Origin;
use crate::rules;
use crate::scope::Scope;
use crate::system::{Action, State, System};

/// A rule that was broken, and how it came to it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The rule.
    pub rule: &'static str,
    /// One line an action.
    pub trace: Vec<String>,
}

/// What an exploration came by.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its bounds.
    pub scope: Scope,
    /// Distinct states.
    pub states: usize,
    /// States generated, doubles included.
    pub generated: usize,
    /// Longest path.
    pub depth: usize,
    /// Distinct states of single members.
    pub members: usize,
    /// Local steps that cores computed.
    pub steps: usize,
    /// Wall time.
    pub time: Duration,
    /// The first broken rule, if there is one.
    pub found: Option<Found>,
    /// What should have been reached and was not.
    pub missed: Vec<&'static str>,
}

impl core::fmt::Display for Report {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} views, liar leads {}, {} crashes: {} states ({} generated, {} of single members, \
             {} core steps), depth {}, {:.1} s",
            self.scope.views,
            self.scope.liar_leads,
            self.scope.crashes,
            self.states,
            self.generated,
            self.members,
            self.steps,
            self.depth,
            self.time.as_secs_f64()
        )?;
        if let Some(found) = &self.found {
            write!(f, "\nbroken: {}", found.rule)?;
            for line in &found.trace {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

/// Every state of the scope, breadth first: a broken rule comes with a shortest path.
#[must_use]
pub fn explore(scope: Scope, threads: usize) -> Report {
    let start = Instant::now();
    let checker = System::new(scope)
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    report(scope, &checker, start.elapsed())
}

/// Random walks from the start, each to its end, until so many states were visited.
#[must_use]
pub fn wander(scope: Scope, seed: u64, states: usize) -> Report {
    let start = Instant::now();
    let checker = System::new(scope)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(states)
        .spawn_simulation(seed, UniformChooser)
        .join();
    report(scope, &checker, start.elapsed())
}

fn report(scope: Scope, checker: &impl Checker<System>, time: Duration) -> Report {
    let (members, steps) = checker.model().counts();
    let discoveries = checker.discoveries();
    let broken = rules::ALL.iter().find_map(|(name, _)| {
        let path = discoveries.get(name)?;
        let trace = trace(checker.model(), path.clone().into_vec());
        Some(Found { rule: name, trace })
    });
    let missed = rules::reached(&scope)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !discoveries.contains_key(name));
    Report {
        scope,
        states: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        members,
        steps,
        time,
        found: broken,
        missed: missed.collect(),
    }
}

/// The path, one line for each time that a member speaks. Which of its possible states a
/// member was in is decided from the end: it must have been one that leads there.
fn trace(system: &System, path: Vec<(State, Option<Action>)>) -> Vec<String> {
    let breaches = path.last().map(|(state, _)| {
        let breaches = state.members.iter().filter_map(|m| m.breach);
        breaches.map(str::to_owned).collect::<Vec<_>>()
    });
    let mut wanted: [Option<u128>; 3] = [None; 3];
    let mut lines = Vec::new();
    for (state, action) in path.iter().rev() {
        let Some(Action { at, nth }) = *action else {
            continue;
        };
        let moves = system.moves(state, at);
        let Some(taken) = moves.get(nth) else {
            continue;
        };
        let fits = |(to, _): &&(u128, Origin)| wanted[at].is_none_or(|wanted| wanted == *to);
        if let Some((_, origin)) = taken.how.iter().find(fits) {
            wanted[at] = Some(origin.from);
            lines.push(format!("member {}: {:?}", taken.to.id, origin.path));
        }
    }
    lines.reverse();
    lines.extend(breaches.unwrap_or_default());
    lines
}
