//! Many seeds, many faults.

use super::byzantine::Liar;
use super::net::{Net, Plant, Weather};
use crate::Marks;
use fairlane_types::MemberId;

/// One seeded story: faults for a while, then fair weather; safety always, progress after.
pub(crate) fn story(seed: u64, plant: Option<Plant>) -> Net {
    tell(seed, plant).0
}

/// The story, and how long it took to come to five more heights after it, µs.
fn tell(seed: u64, plant: Option<Plant>) -> (Net, u64) {
    let n = if seed.is_multiple_of(3) { 7 } else { 4 };
    let mut dice = super::Rng::new(seed ^ 0x5eed);
    let f = (n - 1) / 3;
    let mut liars = Vec::new();
    if seed.is_multiple_of(2) {
        for i in 0..f {
            let liar = Liar::ALL[dice.below(Liar::ALL.len() as u64) as usize];
            let member = (dice.below(u64::from(n) / u64::from(f)) as u8) * f + i;
            liars.push((member.min(n - 1), liar));
        }
        liars.dedup_by_key(|(m, _)| *m);
    }
    let mut net = Net::new(seed, n, &liars, u8::from(dice.percent(30)));
    net.plant = plant;
    net.start_all();
    for _ in 0..dice.between(3, 8) {
        net.weather = Weather {
            delay: (500, dice.between(2_000, 120_000)),
            loss: if dice.percent(50) { dice.below(30) } else { 0 },
            duplicate: if dice.percent(50) { dice.below(40) } else { 0 },
            fetching: if dice.percent(40) { dice.below(100) } else { 0 },
            fetch_max: dice.between(5_000, 2_000_000),
            deaf: if dice.percent(40) {
                let mut wide = || u128::from(dice.next()) << 64 | u128::from(dice.next());
                wide() & wide() & wide()
            } else {
                0
            },
        };
        for group in &mut net.groups {
            *group = u8::from(dice.percent(25));
        }
        if dice.percent(40) {
            net.groups.iter_mut().for_each(|g| *g = 0);
        }
        for index in 0..net.processes.len() {
            if dice.percent(20) {
                net.crash(index);
                let delay = dice.between(1, 800_000);
                net.restart_after(index, delay);
            }
        }
        if dice.percent(10) {
            for index in 0..net.processes.len() {
                net.crash(index);
                net.restart_after(index, 50_000);
            }
        }
        net.run(dice.between(50_000, 1_500_000));
    }
    net.heal();
    if plant.is_some() {
        net.run(10_000_000);
        return (net, 0);
    }
    net.expect_sound(&format!("seed {seed}, {liars:?}"));
    let recovery = net.expect_progress(5, 120_000_000, &format!("seed {seed}, {liars:?}"));
    // Honest members blame liars only, whatever the network does.
    let lies = |member: &MemberId| liars.iter().any(|(m, _)| m == &member.0);
    for process in net.processes.iter().filter(|p| p.liar.is_none()) {
        for (peer, fault) in &process.faults {
            assert!(
                lies(peer),
                "seed {seed}: honest {peer} is blamed: {fault:?}"
            );
        }
    }
    for evidence in &net.all_evidence {
        assert!(lies(&evidence.signer), "seed {seed}: {evidence:?}");
    }
    (net, recovery)
}

#[test]
fn swarm_agrees_and_recovers() {
    let seeds: u64 = std::env::var("SWARM_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(400);
    let first: u64 = std::env::var("SWARM_FIRST")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let mut hit: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    let mut recoveries = Vec::new();
    for seed in first..first + seeds {
        let (net, recovery) = tell(seed, None);
        recoveries.push(recovery / 1_000);
        for process in net.processes.iter().filter(|p| p.liar.is_none()) {
            let Some(core) = &process.core else { continue };
            for (name, count) in Marks::iter(core.marks()) {
                *hit.entry(name).or_default() += count;
            }
        }
    }
    recoveries.sort_unstable();
    let at = |percent: usize| recoveries[(recoveries.len() - 1) * percent / 100];
    println!(
        "recovery, ms: median {}, p90 {}, most {}",
        at(50),
        at(90),
        at(100)
    );
    // Every path that matters was taken by some seed, or the swarm proves little.
    for (name, count) in &hit {
        println!("{name}: {count}");
    }
    if seeds >= 400 {
        for (name, count) in hit {
            assert!(count > 0, "no seed reached `{name}`");
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [2, 3, 11] {
        let gist = |net: &Net| {
            let told = (0..net.processes.len()).map(|i| (net.height(i), net.core(i).view()));
            (net.now, told.collect::<Vec<_>>())
        };
        let (a, b) = (story(seed, None), story(seed, None));
        assert_eq!(gist(&a), gist(&b));
        for (x, y) in a.processes.iter().zip(&b.processes) {
            assert_eq!(x.core, y.core);
        }
    }
}
