//! Lanes and cuts: batches by their cadence, heads that a quorum has acknowledged, leaders
//! in turn; and what lanes of liars do.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_mempool::{CutDelta, FinalEntry, LaneDelta};
use fairlane_types::{BlockId, Domain, MemberId, Micros, Millis};

use super::Experiment;
use super::search::Behaviour;
use super::traffic::{Role, START, Traffic, place_of};
use crate::engine::{Owner, Purpose, Stream};

/// What bad lanes, leaders or clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Nothing.
    None,
    /// The attacker's orders get the earliest stamp that the lane can still give, the
    /// victims' come 100 ms late.
    Predate,
    /// Pre-dating, and a lane that lags by 150 ms so that it can reach further back.
    Lag,
    /// Every batch in reverse order.
    Reverse,
    /// Victims 100 ms late.
    Delay,
    /// Victims never.
    Omit,
    /// Pre-dating, and victims never.
    PredateOmit,
    /// No batch after the first second.
    Stall,
    /// Leaders of bad members leave out the f honest lanes nearest to the victims; lanes
    /// as in pre-dating.
    LeaveOut,
    /// Clocks 10 s behind.
    ClockBehind,
    /// Clocks 10 s ahead: by L2 a batch is acknowledged only 10 s later.
    ClockAhead,
    /// Clients alone make cycles without end.
    Condorcet,
    /// What a search puts together; has no name of its own on the command line.
    Tuned(Behaviour),
}

impl Attack {
    /// Those that have a name.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Predate,
        Self::Lag,
        Self::Reverse,
        Self::Delay,
        Self::Omit,
        Self::PredateOmit,
        Self::Stall,
        Self::LeaveOut,
        Self::ClockBehind,
        Self::ClockAhead,
        Self::Condorcet,
    ];

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Predate => "predate",
            Self::Lag => "lag",
            Self::Reverse => "reverse",
            Self::Delay => "delay",
            Self::Omit => "omit",
            Self::PredateOmit => "predate-omit",
            Self::Stall => "stall",
            Self::LeaveOut => "leave-out",
            Self::ClockBehind => "clock-behind",
            Self::ClockAhead => "clock-ahead",
            Self::Condorcet => "condorcet",
            Self::Tuned(_) => "tuned",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    const fn predates(self) -> bool {
        match self {
            Self::Predate | Self::Lag | Self::PredateOmit | Self::LeaveOut => true,
            Self::Tuned(behaviour) => behaviour.early,
            _ => false,
        }
    }

    const fn reverses(self) -> bool {
        match self {
            Self::Reverse => true,
            Self::Tuned(behaviour) => behaviour.reverse,
            _ => false,
        }
    }

    /// What bad leaders do.
    const fn leaves_out(self) -> bool {
        match self {
            Self::LeaveOut => true,
            Self::Tuned(behaviour) => behaviour.leave_out,
            _ => false,
        }
    }

    /// When a bad lane takes an order in that came at a time, if it does.
    fn records(self, role: Role, at: u64) -> Option<u64> {
        match (self, role) {
            (Self::Omit | Self::PredateOmit, Role::Victim(_)) => None,
            (Self::Tuned(behaviour), Role::Victim(_)) => {
                (!behaviour.omit).then_some(at + behaviour.late_us)
            }
            (Self::Delay | Self::Predate | Self::Lag | Self::LeaveOut, Role::Victim(_)) => {
                Some(at + LATE_US)
            }
            _ => Some(at),
        }
    }

    /// When a bad lane begins to pass on an order that came at a time, if it does: no
    /// sooner than it records it, since members take its batches in only with what is in them.
    pub(super) fn echoes(self, role: Role, at: u64) -> Option<u64> {
        match self {
            Self::Stall if at > STALL_US => None,
            // L2: nobody looks at such a batch for ten seconds, and here not at all.
            Self::ClockAhead => None,
            _ => self.records(role, at),
        }
    }
}

/// A lane that stops does so then, µs.
const STALL_US: u64 = START + 1_000_000;
/// How late a bad lane records a victim, µs.
const LATE_US: u64 = 100_000;
/// Cuts go on for so long after the last order, µs.
const DRAIN_US: u64 = 3_000_000;
/// A clock that is off, µs.
const CLOCK_US: u64 = 10_000_000;

/// A sealed batch.
struct Sealed {
    /// When it is sent.
    at_us: u64,
    head: u64,
    entries: Vec<(u64, usize)>,
}

/// Bad lanes: those of the members nearest to the victims (place 0).
pub(super) fn bad(experiment: &Experiment) -> Vec<usize> {
    by_distance(experiment)
        .into_iter()
        .take(experiment.bad)
        .collect()
}

fn by_distance(experiment: &Experiment) -> Vec<usize> {
    let mut near: Vec<usize> = (0..experiment.members).collect();
    near.sort_by_key(|i| experiment.matrix.one_way_us(0, place_of(experiment, *i)));
    near
}

/// Final cuts with the time at which they are final, µs.
pub(super) fn cuts(experiment: &Experiment, traffic: &Traffic, seed: u64) -> Vec<(u64, CutDelta)> {
    let n = experiment.members;
    let f = (n - 1) / 3;
    let (matrix, liars) = (experiment.matrix, bad(experiment));
    let mut rng = Stream::new(seed, Owner::World, Purpose::Byzantine);
    let until = traffic.end_us + DRAIN_US;
    let lanes: Vec<Vec<Sealed>> = (0..n)
        .map(|lane| {
            seal(
                experiment,
                traffic,
                lane,
                liars.contains(&lane),
                until,
                &mut rng,
            )
        })
        .collect();
    let certified: Vec<Vec<u64>> = (0..n)
        .map(|lane| {
            (0..n)
                .map(|leader| to_leader(experiment, lane, leader))
                .collect()
        })
        .collect();
    // C1 to C8: proposal, vote, commit vote. q-th smallest delays, three times.
    let finality = 3 * quorum_delay(experiment);
    let honest: Vec<usize> = by_distance(experiment)
        .into_iter()
        .filter(|lane| !liars.contains(lane))
        .collect();
    let mut next = vec![0; n];
    let mut heads = vec![0; n];
    let mut out = Vec::new();
    for (count, at_us) in (START..until).step_by(matrix.cut_us() as usize).enumerate() {
        let leader = count % n;
        let leaves_out = experiment.attack.leaves_out() && liars.contains(&leader);
        let mut deltas = Vec::new();
        for (lane, batches) in lanes.iter().enumerate() {
            if leaves_out && honest.iter().take(f).any(|out| *out == lane) {
                continue;
            }
            let mut entries = Vec::new();
            let begun = next[lane];
            while let Some(batch) = batches.get(next[lane])
                && batch.at_us + certified[lane][leader] <= at_us
            {
                entries.extend(batch.entries.iter().map(|(stamp, order)| {
                    let sent = &traffic.orders[*order];
                    FinalEntry {
                        ct_id: sent.ct_id,
                        stamp: Micros(*stamp),
                        order: Some(Arc::clone(&sent.envelope)),
                    }
                }));
                heads[lane] = batch.head;
                next[lane] += 1;
            }
            if next[lane] > begun {
                deltas.push(LaneDelta {
                    lane: MemberId(lane as u8),
                    head: Micros(heads[lane]),
                    entries,
                });
            }
        }
        let mut sorted = heads.clone();
        sorted.sort_unstable();
        let delta = CutDelta {
            block: BlockId(
                Domain::BlockHeader.hash(&[seed, count as u64].map(u64::to_le_bytes).concat()),
            ),
            time: Millis(sorted[n - 1 - f] / 1_000),
            lanes: deltas,
        };
        out.push((at_us + finality, delta));
    }
    out
}

/// Until a batch of a lane is known to the leader as certified: q members have it, say so
/// in their next batch, and that has come.
fn to_leader(experiment: &Experiment, lane: usize, leader: usize) -> u64 {
    let matrix = experiment.matrix;
    let (from, to) = (place_of(experiment, lane), place_of(experiment, leader));
    let mut through: Vec<u64> = (0..experiment.members)
        .map(|by| {
            let by = place_of(experiment, by);
            matrix.one_way_us(from, by) + matrix.batch_us() / 2 + matrix.one_way_us(by, to)
        })
        .collect();
    through.sort_unstable();
    through[experiment.members - (experiment.members - 1) / 3 - 1]
}

/// Until a message of a typical member has reached a quorum.
fn quorum_delay(experiment: &Experiment) -> u64 {
    let n = experiment.members;
    let mut all: Vec<u64> = (0..n)
        .map(|from| {
            let from = place_of(experiment, from);
            let to = (0..n).map(|to| experiment.matrix.one_way_us(from, place_of(experiment, to)));
            let mut to: Vec<u64> = to.collect();
            to.sort_unstable();
            to[n - (n - 1) / 3 - 1]
        })
        .collect();
    all.sort_unstable();
    all[n / 2]
}

/// All batches of a lane.
fn seal(
    experiment: &Experiment,
    traffic: &Traffic,
    lane: usize,
    liar: bool,
    until: u64,
    rng: &mut Stream,
) -> Vec<Sealed> {
    let attack = if liar {
        experiment.attack
    } else {
        Attack::None
    };
    // Honest clocks are within the skew, to both sides.
    let skew = rng.below(2 * experiment.skew_us + 1) as i64 - experiment.skew_us as i64;
    let clock = |at: u64| match attack {
        Attack::ClockBehind => at - CLOCK_US,
        Attack::ClockAhead => at + CLOCK_US,
        Attack::Lag => at - 150_000,
        Attack::Tuned(behaviour) => at - behaviour.lag_us,
        _ => at.saturating_add_signed(skew),
    };
    let mut queue: BTreeMap<(u64, usize), usize> = BTreeMap::new();
    for (i, order) in traffic.orders.iter().enumerate() {
        let at = order.arrivals[lane].and_then(|at| attack.records(order.role, at));
        let Some(at) = at else {
            continue;
        };
        queue.insert((at, i), i);
    }
    let interval = experiment.matrix.batch_us();
    let mut at = START + rng.below(interval);
    let (mut batches, mut head) = (Vec::new(), 0);
    while at < until {
        if attack == Attack::Stall && at > STALL_US {
            break;
        }
        let later = queue.split_off(&(at + 1, 0));
        let due = std::mem::replace(&mut queue, later);
        let sealed = clock(at).max(head + 1);
        let mut entries: Vec<(u64, usize)> = due
            .into_iter()
            .map(|((arrived, _), order)| {
                let first = matches!(traffic.orders[order].role, Role::Attacker(..));
                let stamp = if attack.predates() && first {
                    head + 1
                } else {
                    clock(arrived).clamp(head + 1, sealed)
                };
                (stamp, order)
            })
            .collect();
        if attack.reverses() {
            let span = head + 1 + sealed;
            entries
                .iter_mut()
                .for_each(|(stamp, _)| *stamp = span - *stamp);
        }
        entries.sort_unstable();
        head = sealed;
        // L2: nobody acknowledges what comes from the future.
        let held = if attack == Attack::ClockAhead {
            CLOCK_US
        } else {
            0
        };
        batches.push(Sealed {
            at_us: at + held,
            head,
            entries,
        });
        at += interval;
    }
    batches
}
