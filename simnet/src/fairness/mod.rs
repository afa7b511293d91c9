//! The laboratory of fair order: lanes and cuts as members, leaders, clients and liars
//! would make them, through the real rule, cut by cut. There is no consensus and no
//! network code in it, so a run of minutes of traffic takes a second.

mod lanes;
pub mod leak;
pub mod market;
mod matrix;
mod measure;
pub mod search;
mod traffic;

pub use lanes::Attack;
pub use matrix::Matrix;
pub use measure::{Outcome, merge};
pub use traffic::{FanOut, Traffic};

use fairlane_mempool::fair::{FairOrder, LaneOrder, Precedence};
use fairlane_types::{OrderParams, OrderRule};

/// A rule by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// As genesis names it.
    Genesis(OrderRule),
    /// `strong` with that meaning of precedence.
    Strong(Precedence),
}

impl Rule {
    /// `strong`, `dissent`, `strict`, `hybrid`, `arrival`, `majority`, `shuffle`, `leader`
    /// or `round-robin`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "strong" => Self::Genesis(OrderRule::Strong),
            "dissent" => Self::Strong(Precedence::Dissent),
            "strict" => Self::Strong(Precedence::Strict),
            "hybrid" => Self::Strong(Precedence::Hybrid),
            "arrival" => Self::Genesis(OrderRule::Arrival),
            "majority" => Self::Genesis(OrderRule::Majority),
            "shuffle" => Self::Genesis(OrderRule::Shuffle),
            "leader" => Self::Genesis(OrderRule::Leader),
            "round-robin" => Self::Genesis(OrderRule::RoundRobin),
            _ => return None,
        })
    }

    fn start(self, n: usize, f: usize) -> Box<dyn FairOrder> {
        let mut params = OrderParams::default();
        match self {
            Self::Genesis(rule) => {
                params.rule = rule;
                Box::new(LaneOrder::new(n, f, &params))
            }
            Self::Strong(precedence) => Box::new(LaneOrder::strong(n, f, &params, precedence)),
        }
    }
}

/// One experiment.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Members, spread over the regions in turn.
    pub members: usize,
    /// Lanes that lie: those of the members nearest to the victims.
    pub bad: usize,
    /// Where members and traders are.
    pub matrix: Matrix,
    /// The rule.
    pub rule: Rule,
    /// To how many members an order is sent.
    pub fan_out: FanOut,
    /// What the bad lanes do.
    pub attack: Attack,
    /// Honest clocks are off by up to this, µs.
    pub skew_us: u64,
    /// Orders per second.
    pub rate: u64,
    /// Traffic, seconds.
    pub seconds: u64,
}

impl Experiment {
    /// Runs one seed.
    #[must_use]
    pub fn run(&self, seed: u64) -> Outcome {
        let f = (self.members - 1) / 3;
        let traffic = Traffic::make(self, seed);
        let cuts = lanes::cuts(self, &traffic, seed);
        let mut rule = self.rule.start(self.members, f);
        let mut places = Vec::new();
        let mut cycle_max = 0;
        for (at_us, delta) in &cuts {
            let emission = rule.on_cut(delta);
            cycle_max = cycle_max.max(emission.cycle_max);
            places.extend(emission.ordered.iter().map(|order| (order.ct_id, *at_us)));
        }
        measure::measure(&traffic, &places, cycle_max)
    }
}
