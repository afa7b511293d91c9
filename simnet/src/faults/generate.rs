//! Plans out of a seed, by swarm testing (Groce et al., ISSTA 2012): every kind of fault
//! is on or off for a whole seed, so that many seeds lack most of them. What is left
//! always allows recovery: the last event heals all and starts everybody.

use crate::engine::{Owner, Purpose, Stream};

use super::{Burst, Fault, Plan};

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appetite {
    /// Members.
    pub n: usize,
    /// Faults fall between the start and this, ms; then all is healed.
    pub until_ms: u64,
}

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64, appetite: &Appetite) -> Plan {
    let mut rng = Stream::new(seed, Owner::World, Purpose::Plan);
    let mut plan = Plan::default();
    let until = appetite.until_ms.max(100);
    // Each kind draws from a stream of its own: taking one out leaves the others alone.
    for (kind, weight) in KINDS.iter().enumerate() {
        let on = rng.chance(*weight);
        let mut own = Stream::new(seed, Owner::Trader(kind), Purpose::Plan);
        if on {
            add(kind, &mut own, appetite, until, &mut plan);
        }
    }
    recover(&mut plan, until);
    plan.sorted()
}

/// A plan over a long time: spells of trouble, each of which ends as a short plan does,
/// with quiet between them. Which kinds of fault there are is drawn once for the seed, and
/// for every spell which of these it has.
#[must_use]
pub fn generate_long(seed: u64, appetite: &Appetite) -> Plan {
    let mut rng = Stream::new(seed, Owner::World, Purpose::Plan);
    let on: Vec<_> = KINDS.iter().map(|weight| rng.chance(*weight)).collect();
    let mut owns: Vec<_> = (0..KINDS.len())
        .map(|kind| Stream::new(seed, Owner::Trader(kind), Purpose::Plan))
        .collect();
    let mut plan = Plan::default();
    let mut begin = rng.between(0, QUIET_MS_MAX);
    while begin + SPELL_MS.0 <= appetite.until_ms {
        let most = SPELL_MS.1.min(appetite.until_ms - begin);
        let until = rng.between(SPELL_MS.0, most);
        let mut spell = Plan::default();
        for (kind, own) in owns.iter_mut().enumerate() {
            // Drawn even where it is off, so that the kinds leave each other alone.
            if own.chance(SPELL_CHANCE) && on[kind] {
                add(kind, own, appetite, until, &mut spell);
            }
        }
        let end = recover(&mut spell, until);
        set_clocks(&mut spell, end);
        for timed in spell.faults {
            plan.push(begin + timed.at.as_millis(), timed.fault);
        }
        begin += end + rng.between(QUIET_MS_MAX / 10, QUIET_MS_MAX);
    }
    if plan.faults.is_empty() {
        recover(&mut plan, appetite.until_ms);
    }
    plan.sorted()
}

/// Steps of clocks are taken back and their rates are right again, or a long run would end
/// with clocks that are off by more than members are made for.
fn set_clocks(spell: &mut Plan, end: u64) {
    let back = spell.faults.iter().filter_map(|timed| match timed.fault {
        Fault::ClockStep(node, ms) => Some(Fault::ClockStep(node, -ms)),
        Fault::Drift(node, _) => Some(Fault::Drift(node, 0)),
        _ => None,
    });
    for fault in back.collect::<Vec<_>>() {
        spell.push(end, fault);
    }
}

/// How long a spell of trouble lasts, ms.
const SPELL_MS: (u64, u64) = (500, 4_000);
/// Longest quiet after a spell, ms.
const QUIET_MS_MAX: u64 = 3_000;
/// Chance that a kind of fault which the seed has is in a spell, per mille.
const SPELL_CHANCE: u64 = 400;

/// Heals all and starts everybody, once everything has happened; says when.
fn recover(plan: &mut Plan, until: u64) -> u64 {
    let last = plan.faults.iter().map(|timed| timed.at.as_millis()).max();
    let end = last.unwrap_or(0).max(until) + 1;
    plan.push(end, Fault::Heal);
    plan.push(end, Fault::RestartAll);
    end
}

/// Probability of each kind per seed, per mille.
const KINDS: [u64; 27] = [
    450, 120, 350, 200, 300, 250, 150, 200, 250, 200, 100, 100, 100, 120, 120, 100, 150, 120, 150,
    100, 100, 100, 100, 120, 100, 60, 200,
];

fn add(kind: usize, rng: &mut Stream, appetite: &Appetite, until: u64, plan: &mut Plan) {
    let n = appetite.n as u64;
    let node = |rng: &mut Stream| rng.below(n) as usize;
    let when = |rng: &mut Stream| rng.between(20, until * 3 / 4);
    match kind {
        0 => {
            for _ in 0..rng.between(1, 3) {
                let (who, at) = (node(rng), when(rng));
                plan.push(at, Fault::Crash(who));
                plan.push(at + rng.between(1, until / 2), Fault::Restart(who));
            }
        }
        1 => {
            let at = when(rng);
            plan.push(at, Fault::CrashAll);
            plan.push(at + rng.between(1, 300), Fault::RestartAll);
        }
        2 => {
            for _ in 0..rng.between(1, 2) {
                let at = when(rng);
                let mut members: Vec<_> = (0..appetite.n).collect();
                rng.shuffle(&mut members);
                members.truncate(rng.between(1, n / 2) as usize);
                members.sort_unstable();
                plan.push(at, Fault::Partition(members));
                // Around the idle timeout of a connection: some survive, some do not.
                let span = if rng.chance(300) { 2_500 } else { 700 };
                plan.push(at + rng.between(20, span), Fault::Heal);
            }
        }
        3 => {
            let at = when(rng);
            for _ in 0..rng.between(1, n) {
                let (from, to) = (node(rng), node(rng));
                if from != to {
                    plan.push(at, Fault::Block(from, to));
                }
            }
            plan.push(at + rng.between(50, 2_500), Fault::Heal);
        }
        4 => {
            for _ in 0..rng.between(1, 6) {
                let (a, b) = (node(rng), node(rng));
                if a != b {
                    plan.push(when(rng), Fault::Reset(a, b));
                }
            }
        }
        5 => plan.push(when(rng), Fault::Loss(rng.between(5, 200))),
        6 => {
            let (who, at) = (node(rng), when(rng));
            plan.push(at, Fault::Slow(who, rng.between(2, 20)));
        }
        7 => {
            let (who, at) = (node(rng), when(rng));
            plan.push(at, Fault::SlowDisk(who, rng.between(5, 200)));
        }
        8 => {
            for _ in 0..rng.between(1, 3) {
                plan.push(when(rng), Fault::Pause(node(rng), rng.between(10, 1_500)));
            }
        }
        9 => {
            let who = node(rng);
            plan.push(when(rng), Fault::DiskBudget(who, rng.between(0, 200_000)));
        }
        10 => {
            let (who, at) = (node(rng), when(rng));
            plan.push(at, Fault::LoseDisk(who));
            plan.push(at + rng.between(1, until / 2), Fault::Restart(who));
        }
        11 => {
            let (who, at) = (node(rng), when(rng));
            for i in 0..rng.between(1, 12) {
                plan.push(at + i, Fault::Rot(who));
            }
            let crash = at + rng.between(20, until / 4);
            plan.push(crash, Fault::Crash(who));
            plan.push(crash + 30, Fault::Restart(who));
        }
        12 => {
            let by = rng.between(1, 400) as i64;
            let by = if rng.chance(500) { by } else { -by };
            plan.push(when(rng), Fault::ClockStep(node(rng), by));
        }
        13..=18 => add_network(kind, rng, appetite, until, plan),
        _ => add_node(kind, rng, appetite, until, plan),
    }
}

/// Members in random order.
fn shuffled(n: usize, rng: &mut Stream) -> Vec<usize> {
    let mut members: Vec<_> = (0..n).collect();
    rng.shuffle(&mut members);
    members
}

fn add_network(kind: usize, rng: &mut Stream, appetite: &Appetite, until: u64, plan: &mut Plan) {
    let n = appetite.n;
    let at = rng.between(20, until * 3 / 4);
    let members = shuffled(n, rng);
    let first = members.first().copied().unwrap_or(0);
    match kind {
        13 => {
            plan.push(at, Fault::Isolate(first));
            plan.push(at + rng.between(20, 2_500), Fault::Heal);
        }
        14 => {
            // At least one member reaches both groups.
            let (one, rest) = members.split_at(rng.between(1, n as u64 / 2) as usize);
            let two = &rest[..rest.len() - 1];
            plan.push(at, Fault::Split(one.to_vec(), two.to_vec()));
            plan.push(at + rng.between(20, 1_500), Fault::Heal);
        }
        15 => {
            let side = members[..rng.between(1, n as u64 / 2) as usize].to_vec();
            plan.push(at, Fault::Deaf(side));
            plan.push(at + rng.between(20, 1_500), Fault::Heal);
        }
        16 => {
            // Swizzle-clog (FoundationDB): one by one, and back in another order.
            let mut some = members[..rng.between(1, n as u64 - 1) as usize].to_vec();
            let mut at = at;
            for member in &some {
                plan.push(at, Fault::Clog(*member));
                at += rng.between(1, 120);
            }
            rng.shuffle(&mut some);
            for member in &some {
                at += rng.between(1, 200);
                plan.push(at, Fault::Unclog(*member));
            }
        }
        17 => {
            plan.push(at, Fault::Spike(rng.between(2, 20)));
            plan.push(at + rng.between(20, 600), Fault::Restore);
        }
        _ => {
            if rng.chance(500) {
                plan.push(at, Fault::Bandwidth(first, rng.between(20_000, 2_000_000)));
            }
            for (from, to) in members.iter().zip(members.iter().skip(1)) {
                let loss = rng.between(10, 300);
                plan.push(at, Fault::LinkLoss(*from, *to, loss));
            }
        }
    }
}

fn add_node(kind: usize, rng: &mut Stream, appetite: &Appetite, until: u64, plan: &mut Plan) {
    let n = appetite.n as u64;
    let who = rng.below(n) as usize;
    let at = rng.between(20, until * 3 / 4);
    match kind {
        19 => {
            // A crash loop: each life is shorter than what a member needs to catch up.
            let mut at = at;
            for _ in 0..rng.between(3, 10) {
                plan.push(at, Fault::Crash(who));
                at += rng.between(1, 40);
                plan.push(at, Fault::Restart(who));
                at += rng.between(1, 80);
            }
        }
        20 => plan.push(at, Fault::SlowCpu(who, rng.between(2, 50))),
        21 => {
            let ppm = rng.between(200, 20_000) as i64;
            let ppm = if rng.chance(500) { ppm } else { -ppm };
            plan.push(at, Fault::Drift(who, ppm));
        }
        22 => plan.push(at, Fault::DiskStall(who, rng.between(20, 1_500))),
        23 => {
            plan.push(at, Fault::SyncError(who));
            plan.push(at + rng.between(1, until / 2), Fault::Restart(who));
        }
        24 => plan.push(at, Fault::Burst(Burst::Queries, who, rng.between(10, 200))),
        25 => plan.push(at, Fault::Burst(Burst::Flood, who, rng.between(20, 120))),
        _ => {
            let burst = *rng
                .pick(&[
                    Burst::OneNonce,
                    Burst::Cancels,
                    Burst::Expired,
                    Burst::Duplicates,
                ])
                .unwrap_or(&Burst::Expired);
            plan.push(at, Fault::Burst(burst, who, rng.between(2, 12)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over a minute there is trouble in every quarter of it, and every spell ends healed.
    #[test]
    fn a_long_plan_has_spells_all_along() {
        let appetite = Appetite {
            n: 4,
            until_ms: 60_000,
        };
        let mut quarters = [0; 4];
        for seed in 0..200 {
            let plan = generate_long(seed, &appetite);
            assert_eq!(plan, generate_long(seed, &appetite));
            assert_eq!(Plan::parse(&plan.to_string()).unwrap(), plan);
            let heals = |t: &&crate::faults::Timed| matches!(t.fault, Fault::RestartAll);
            assert!(plan.faults.iter().filter(heals).count() >= 8, "{plan}");
            for timed in &plan.faults {
                let quarter = timed.at.as_millis() / 15_000;
                quarters[quarter.min(3) as usize] += 1;
            }
            let last = &plan.faults[plan.faults.len().saturating_sub(20)..];
            assert!(last.iter().any(|t| t.fault == Fault::Heal));
            assert!(last.iter().any(|t| t.fault == Fault::RestartAll));
        }
        let all: usize = quarters.iter().sum();
        assert!(quarters.iter().all(|count| count * 6 > all), "{quarters:?}");
    }

    #[test]
    fn a_plan_repeats_differs_and_reads_back() {
        let appetite = Appetite {
            n: 7,
            until_ms: 2_000,
        };
        let mut distinct = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let plan = generate(seed, &appetite);
            assert_eq!(plan, generate(seed, &appetite));
            let text = plan.to_string();
            assert_eq!(Plan::parse(&text).unwrap(), plan, "{text}");
            let last: Vec<_> = plan
                .faults
                .iter()
                .rev()
                .take(2)
                .map(|t| t.fault.clone())
                .collect();
            assert!(plan.faults.windows(2).all(|w| w[0].at <= w[1].at));
            assert!(!last.is_empty());
            distinct.insert(text);
        }
        assert!(distinct.len() > 200, "{}", distinct.len());
        // Every kind of event is in some plan.
        let all: String = distinct.into_iter().collect();
        for word in [
            "crash ",
            "crash-all",
            "restart ",
            "restart-all",
            "partition",
            "isolate",
            "split",
            "deaf",
            "block",
            "clog",
            "unclog",
            "heal",
            "reset",
            "loss",
            "link-loss",
            "spike",
            "restore",
            "bandwidth",
            "pause",
            "slow ",
            "slow-cpu",
            "slow-disk",
            "clock-step",
            "drift",
            "disk-stall",
            "disk-budget",
            "sync-error",
            "lose-disk",
            "rot",
            "flood",
            "cancels",
            "one-nonce",
            "expired",
            "duplicates",
            "queries",
        ] {
            assert!(all.contains(&format!("ms {word}")), "{word}");
        }
        let error = Plan::parse("5ms crash 1 # why\n7ms explode").unwrap_err();
        assert_eq!(error.line, 2);
    }
}
