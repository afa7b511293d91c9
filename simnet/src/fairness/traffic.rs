//! Orders: who sends what when, and when members get it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_types::{
    ChainId, CtId, Envelope, KeyId, LANE_NONE, Label, Millis, PublicKey, SUITE_TDH2, Signature,
};

use super::{Attack, Experiment, lanes};
use crate::engine::{Owner, Purpose, Stream};

/// Virtual time starts here, µs.
pub const START: u64 = 1_700_000_000_000_000;
/// Gaps between victim and attacker, ms.
pub const GAPS_MS: [u64; 4] = [1, 2, 5, 10];
/// A victim and its attacker come so often, µs.
const PAIR_US: u64 = 30_000;

/// Between two links of a chain, µs.
const LINK_US: u64 = 2_000;

/// To how many members an order goes, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanOut {
    /// All.
    All,
    /// f + 1.
    Some,
    /// f.
    Few,
    /// n − f.
    Quorum,
    /// One.
    One,
}

impl FanOut {
    /// `all`, `some`, `f`, `quorum` or `one`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "some" => Self::Some,
            "f" => Self::Few,
            "quorum" => Self::Quorum,
            "one" => Self::One,
            _ => return None,
        })
    }
}

/// What an order is in the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Honest traffic.
    Trader,
    /// Victim of pair i.
    Victim(usize),
    /// Attacker of pair i, who sends so many ms later.
    Attacker(usize, u64),
    /// Sent with chosen delays, to make cycles.
    Chain,
}

/// One order.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its id.
    pub ct_id: CtId,
    /// Itself.
    pub envelope: Arc<Envelope>,
    /// Role.
    pub role: Role,
    /// Place of its trader.
    pub place: usize,
    /// When it was sent, µs.
    pub at_us: u64,
    /// When each member gets it, µs, if it does.
    pub arrivals: Vec<Option<u64>>,
    /// Whether an honest member gets it: F5 says nothing of what liars keep to themselves.
    pub held: bool,
}

/// All orders of a run.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// In the order of sending.
    pub orders: Vec<Sent>,
    /// Index by id.
    pub index: BTreeMap<CtId, usize>,
    /// When the last one was sent, µs.
    pub end_us: u64,
}

/// Who sends when, with the place; by time.
pub(super) type Plan = Vec<(u64, Role, usize)>;

impl Traffic {
    pub(super) fn make(experiment: &Experiment, seed: u64) -> Self {
        let mut rng = Stream::new(seed, Owner::World, Purpose::Orders);
        let places = experiment.matrix.places() as u64;
        let end_us = START + experiment.seconds * 1_000_000;
        let mut plan: Plan = (0..experiment.rate * experiment.seconds)
            .map(|_| {
                let at = START + rng.below(end_us - START);
                (at, Role::Trader, rng.below(places) as usize)
            })
            .collect();
        for (pair, at) in (START..end_us).step_by(PAIR_US as usize).enumerate() {
            let at = at + rng.below(PAIR_US / 2);
            let gap = GAPS_MS[pair % GAPS_MS.len()];
            plan.push((at, Role::Victim(pair), 0));
            plan.push((at + gap * 1_000, Role::Attacker(pair, gap), 0));
        }
        if experiment.attack == Attack::Condorcet {
            // A new link every few ms, for ever.
            plan.extend(
                (START..end_us)
                    .step_by(4_000)
                    .map(|at| (at, Role::Chain, 0)),
            );
        }
        plan.sort_by_key(|(at, ..)| *at);
        Self::sent(experiment, plan, &mut rng)
    }

    /// The orders of a plan.
    pub(super) fn of(experiment: &Experiment, plan: Plan, seed: u64) -> Self {
        let mut rng = Stream::new(seed, Owner::World, Purpose::Orders);
        Self::sent(experiment, plan, &mut rng)
    }

    fn sent(experiment: &Experiment, plan: Plan, rng: &mut Stream) -> Self {
        let end_us = plan.last().map_or(START, |(at, ..)| *at);
        let liars = lanes::bad(experiment);
        let orders: Vec<Sent> = (plan.into_iter().enumerate())
            .map(|(i, (at_us, role, place))| {
                let envelope = envelope(i as u64, at_us);
                let arrivals = match role {
                    Role::Chain => chain(experiment, at_us),
                    _ => arrivals(experiment, &liars, (role, place), at_us, rng),
                };
                let honest =
                    |(member, at): (usize, &Option<u64>)| at.is_some() && !liars.contains(&member);
                let held = arrivals.iter().enumerate().any(honest);
                Sent {
                    ct_id: envelope.id(),
                    envelope: Arc::new(envelope),
                    role,
                    place,
                    at_us,
                    arrivals,
                    held,
                }
            })
            .collect();
        let index = (orders.iter().enumerate())
            .map(|(i, order)| (order.ct_id, i))
            .collect();
        Self {
            orders,
            index,
            end_us,
        }
    }
}

fn envelope(i: u64, at_us: u64) -> Envelope {
    let mut sender = [0; 32];
    sender[..8].copy_from_slice(&i.to_le_bytes());
    Envelope {
        label: Label {
            suite: SUITE_TDH2,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey(sender),
            nonce: 0,
            expiry: Millis(at_us / 1_000 + 60_000),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        },
        ciphertext: i.to_le_bytes().to_vec(),
        signature: Signature::default(),
    }
}

/// Place of a member.
pub(super) fn place_of(experiment: &Experiment, member: usize) -> usize {
    member % experiment.matrix.places()
}

/// One way with what is added to it, µs.
pub(super) fn delay(experiment: &Experiment, from: usize, to: usize, rng: &mut Stream) -> u64 {
    let base = experiment.matrix.one_way_us(from, to);
    let spread = experiment.matrix.jitter_us(base) as f64;
    base + (rng.normal().abs() * spread) as u64
}

/// When members hear of an order: from the trader, or from a lane that has it (L3). What a liar
/// passes on it also records: an echo is an entry of its lane.
fn arrivals(
    experiment: &Experiment,
    liars: &[usize],
    (role, place): (Role, usize),
    at_us: u64,
    rng: &mut Stream,
) -> Vec<Option<u64>> {
    let (n, matrix) = (experiment.members, experiment.matrix);
    let f = (n - 1) / 3;
    let to = match experiment.fan_out {
        FanOut::All => n,
        FanOut::Some => f + 1,
        FanOut::Few => f.max(1),
        FanOut::Quorum => n - f,
        FanOut::One => 1,
    };
    let mut near: Vec<usize> = (0..n).collect();
    near.sort_by_key(|i| matrix.one_way_us(place, place_of(experiment, *i)));
    let direct: Vec<(usize, u64)> = (near.iter().take(to))
        .map(|i| {
            (
                *i,
                at_us + delay(experiment, place, place_of(experiment, *i), rng),
            )
        })
        .collect();
    (0..n)
        .map(|i| {
            if let Some((_, at)) = direct.iter().find(|(to, _)| *to == i) {
                return Some(*at);
            }
            let echoes = direct.iter().filter_map(|(by, at)| {
                let (from, to) = (place_of(experiment, *by), place_of(experiment, i));
                let way = rng.below(matrix.batch_us()) + delay(experiment, from, to, rng);
                let at = if liars.contains(by) {
                    experiment.attack.echoes(role, *at)?
                } else {
                    *at
                };
                Some(at + way)
            });
            echoes.min()
        })
        .collect()
}

/// A link of a chain of cycles. Four links, each a quarter of the members further, are a
/// cycle: every one is before the next in three quarters of the lanes.
fn chain(experiment: &Experiment, at_us: u64) -> Vec<Option<u64>> {
    let n = experiment.members as u64;
    let turn = (at_us - START) / LINK_US * (n / 4);
    (0..n)
        .map(|i| Some(at_us + LINK_US * ((i + turn) % n)))
        .collect()
}
