//! An adversary that looks for the worst that lanes can do: hill climbing over behaviours, from
//! the worst one that is known by name. What it finds is reported with other seeds than those it
//! was found with.

use super::{Attack, Experiment, Outcome, merge};
use crate::engine::{Owner, Purpose, Stream};

/// What bad lanes do, in parts that can be combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// The attacker's orders get the earliest stamp that the lane can still give.
    pub early: bool,
    /// Victims never.
    pub omit: bool,
    /// Every batch in reverse order.
    pub reverse: bool,
    /// Bad leaders leave out the f honest lanes nearest to the victims.
    pub leave_out: bool,
    /// Victims so late, µs.
    pub late_us: u64,
    /// The lane's clock is so far behind, µs.
    pub lag_us: u64,
}

/// Longest lateness and lag that are tried, µs: beyond what back-dating allows (L2).
const REACH_US: u64 = 400_000;

/// Named behaviours to begin with.
const KNOWN: [Behaviour; 4] = [
    Behaviour {
        early: true,
        omit: false,
        reverse: false,
        leave_out: false,
        late_us: 100_000,
        lag_us: 0,
    },
    Behaviour {
        early: true,
        omit: false,
        reverse: false,
        leave_out: false,
        late_us: 100_000,
        lag_us: 150_000,
    },
    Behaviour {
        early: true,
        omit: true,
        reverse: false,
        leave_out: false,
        late_us: 0,
        lag_us: 0,
    },
    Behaviour {
        early: true,
        omit: false,
        reverse: false,
        leave_out: true,
        late_us: 100_000,
        lag_us: 0,
    },
];

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The worst behaviour.
    pub behaviour: Behaviour,
    /// Attackers that came first with the seeds of the search.
    pub score: u64,
    /// The best score of a behaviour that has a name.
    pub known: u64,
}

/// Climbs for so many tries, each with two seeds from `first` on.
#[must_use]
pub fn climb(experiment: &Experiment, first: u64, tries: u64) -> Found {
    let score = |behaviour: Behaviour| {
        let experiment = Experiment {
            attack: Attack::Tuned(behaviour),
            ..*experiment
        };
        let runs = (0..2).map(|seed| experiment.run(first.wrapping_add(seed)));
        let Outcome { attacker_first, .. } = merge(runs.collect());
        attacker_first.iter().map(|(hit, _)| hit).sum::<u64>()
    };
    let mut rng = Stream::new(first, Owner::World, Purpose::Search);
    let known = KNOWN.map(|behaviour| (score(behaviour), behaviour));
    let start = known.into_iter().max_by_key(|(score, _)| *score);
    let (best, behaviour) = start.unwrap_or_default();
    let mut found = Found {
        behaviour,
        score: best,
        known: best,
    };
    for _ in 0..tries {
        let next = step(found.behaviour, &mut rng);
        let hits = score(next);
        // Sideways too: plains have edges.
        if hits >= found.score {
            (found.behaviour, found.score) = (next, hits);
        }
    }
    found
}

/// A behaviour with one or two parts changed.
fn step(mut behaviour: Behaviour, rng: &mut Stream) -> Behaviour {
    for _ in 0..=rng.below(2) {
        match rng.below(6) {
            0 => behaviour.early ^= true,
            1 => behaviour.omit ^= true,
            2 => behaviour.reverse ^= true,
            3 => behaviour.leave_out ^= true,
            4 => behaviour.late_us = rng.below(REACH_US),
            _ => behaviour.lag_us = rng.below(REACH_US),
        }
    }
    behaviour
}
