//! Stories on a seeded network of members.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::net::{Faults, Net};
use common::{Rng, T0, order};
use fairlane_types::{CtId, LANE_NONE};

/// Submits `count` orders over time to random members, then lets the net rest.
fn traffic(net: &mut Net, count: u64, rng: &mut Rng, mut meanwhile: impl FnMut(&mut Net, u64)) {
    for i in 0..count {
        let expiry = T0 / 1_000 + 60_000 + rng.below(20_000);
        let lane = if rng.chance(500) {
            LANE_NONE
        } else {
            rng.below(net.n as u64) as u8
        };
        let envelope = order(rng.below(5), i, expiry, lane, i);
        let copies = 1 + rng.below(net.n as u64);
        for _ in 0..copies {
            let node = rng.below(net.n as u64) as usize;
            net.submit(node, i, envelope.clone());
        }
        let pause = rng.below(4_000);
        net.run(pause);
        meanwhile(net, i);
    }
}

fn settle(net: &mut Net) -> Vec<CtId> {
    for _ in 0..40 {
        net.catch_up();
        net.run(250_000);
    }
    let ordered = net.check_agreement();
    net.check_acknowledged(&ordered);
    ordered
}

#[test]
fn a_quiet_network_orders_everything_and_rests() {
    let mut net = Net::new(4, 1, Faults::default(), &[]);
    let mut rng = Rng(11);
    traffic(&mut net, 300, &mut rng, |_, _| {});
    let ordered = settle(&mut net);
    assert_eq!(ordered.len(), 300);
    assert_eq!(net.said_too_early, 0);
    assert!(net.nodes.iter().all(|node| node.faults.is_empty()));
    // L4: silence when idle.
    let said = net.said.clone();
    net.run(10_000_000);
    assert_eq!(said, net.said);
    assert_eq!(net.nodes[0].fair_live(), 0);
}

impl common::net::Node {
    fn fair_live(&self) -> usize {
        fairlane_mempool::fair::FairOrder::live(&self.fair)
    }
}

#[test]
fn loss_and_reordering_are_made_good() {
    for seed in 0..12 {
        let faults = Faults {
            loss_per_mille: 150,
            delay_us: (500, 40_000),
            store_us: (100, 8_000),
            ..Faults::default()
        };
        let mut net = Net::new(4, seed, faults, &[]);
        let mut rng = Rng(seed + 100);
        traffic(&mut net, 120, &mut rng, |_, _| {});
        let ordered = settle(&mut net);
        assert_eq!(ordered.len(), 120, "seed {seed}");
        assert_eq!(net.said_too_early, 0);
        assert!(net.nodes.iter().all(|node| node.faults.is_empty()));
    }
}

/// Loss, reordering, crashes of single members, and of all at once with a pause.
fn crash_story(n: usize, seed: u64) {
    let faults = Faults {
        loss_per_mille: seed % 4 * 40,
        delay_us: (500, 10_000 + seed % 3 * 20_000),
        store_us: (500, 9_000),
        skew_us: 500 + seed % 5 * 4_000,
        ..Faults::default()
    };
    let mut net = Net::new(n, seed, faults, &[]);
    let mut rng = Rng(seed + 500);
    let mut crashes = Rng(seed + 900);
    traffic(&mut net, 150, &mut rng, |net, _| {
        if crashes.chance(60) {
            let node = crashes.below(n as u64) as usize;
            net.crash(node);
            net.run(crashes.below(60_000));
            net.start(node);
        }
        if crashes.chance(8) {
            (0..n).for_each(|node| net.crash(node));
            net.run(crashes.below(3_000_000));
            (0..n).for_each(|node| net.start(node));
        }
    });
    let ordered = settle(&mut net);
    assert!(net.accepted.len() > 50, "seed {seed}");
    assert_eq!(net.said_too_early, 0, "seed {seed}");
    for node in &net.nodes {
        assert!(
            node.forks.is_empty() && node.faults.is_empty(),
            "seed {seed}"
        );
        assert_eq!(
            node.height,
            net.blocks.len(),
            "seed {seed}: everybody is there"
        );
    }
    assert!(ordered.len() <= 150);
    // L4: and all rest.
    let said = net.said.clone();
    net.run(1_000_000);
    assert_eq!(said, net.said, "seed {seed}: silence when idle");
}

#[test]
fn crashes_lose_nothing_that_was_acknowledged() {
    (0..20).for_each(|seed| crash_story(4, seed));
    (0..3).for_each(|seed| crash_story(7, seed));
}

#[test]
fn a_driver_that_says_stored_too_early_is_caught() {
    let faults = Faults {
        lying_disk: true,
        ..Faults::default()
    };
    let mut net = Net::new(4, 3, faults, &[]);
    traffic(&mut net, 30, &mut Rng(3), |_, _| {});
    net.run(1_000_000);
    assert!(net.said_too_early > 0);
}

#[test]
fn a_silent_member_stops_nobody() {
    let mut net = Net::new(4, 5, Faults::default(), &[]);
    net.crash(2);
    let mut rng = Rng(5);
    for i in 0..100 {
        let envelope = order(1, i, T0 / 1_000 + 60_000, (i % 4) as u8, i);
        for node in [0, 1] {
            net.submit(node, i, envelope.clone());
        }
        net.run(rng.below(3_000));
    }
    assert_eq!(settle(&mut net).len(), 100);
    // It comes back after all of it, far behind.
    net.start(2);
    assert_eq!(settle(&mut net).len(), 100);
    assert_eq!(net.nodes[2].height, net.blocks.len());
}

/// Member 3 is a puppet that forks its lane: one version to members 0 and 1, another to
/// member 2. With its own signature that is a quorum for the first.
#[test]
fn a_lane_fork_is_proven_and_its_certified_side_becomes_final() {
    use fairlane_mempool::{Holdings, LaneMessage};
    use fairlane_types::MemberId;
    use std::sync::Arc;

    for seed in 0..10 {
        let mut net = Net::new(4, seed, Faults::default(), &[3]);
        net.round_us = 30_000;
        let mut puppet = common::Puppet::new(3);
        let shared = puppet.push(net.now, &[]);
        for to in 0..3 {
            net.inject(3, to, &LaneMessage::Batch(shared.clone()));
        }
        net.run(5_000);
        let expiry = T0 / 1_000 + 60_000;
        let (x, y) = (order(1, 1, expiry, 3, 1), order(1, 2, expiry, 3, 2));
        let right = Arc::new(puppet.draft(net.now, &[(&x, true)], Holdings::default()));
        let left = Arc::new(puppet.draft(net.now + 1, &[(&y, true)], Holdings::default()));
        for to in [0, 1] {
            net.inject(3, to, &LaneMessage::Batch(right.clone()));
        }
        net.inject(3, 2, &LaneMessage::Batch(left.clone()));
        let mut rng = Rng(seed);
        for i in 0..40 {
            net.submit(
                rng.below(3) as usize,
                i,
                order(7, i, expiry, (i % 3) as u8, i),
            );
            net.run(5_000);
        }
        // Until all have seen both, nobody proposes it but as certified.
        net.certified_only = vec![MemberId(3)];
        let ordered = settle(&mut net);
        // Nothing of either version is lost: honest members echo what they hold.
        assert_eq!(ordered.len(), 42, "seed {seed}");
        assert!(
            net.nodes[2].forks.iter().all(|fork| {
                fork.verify(&common::committee(4), common::CHAIN) == Ok(MemberId(3))
            })
        );
        assert!(net.nodes[..3].iter().any(|node| !node.forks.is_empty()));
        let head = net.blocks.last().unwrap().cut.heads[3];
        assert_eq!(head.digest, right.digest(), "the certified side is final");
        assert!(
            net.nodes[..3]
                .iter()
                .all(|node| node.height == net.blocks.len())
        );
    }
}

/// Everything else stalls while consensus does; then all of it comes out.
#[test]
fn a_stall_of_consensus_loses_nothing() {
    let mut net = Net::adjusted(4, 9, Faults::default(), &[], |config| {
        config.lanes.window_batches = 8;
        config.lanes.window_entries = 120;
        config.lanes.batch_entries_max = 10;
    });
    net.round_us = 4_000_000;
    net.run(20_000);
    let expiry = T0 / 1_000 + 60_000;
    let mut rng = Rng(2);
    for i in 0..400 {
        net.submit(
            rng.below(4) as usize,
            i,
            order(i, 1, expiry, (i % 4) as u8, i),
        );
        net.run(2_000);
    }
    assert!(net.refused > 0, "the edge says so when the window is full");
    net.round_us = 20_000;
    net.run(4_000_000);
    let ordered = settle(&mut net);
    assert!(ordered.len() + net.refused >= 400);
    assert!(net.nodes.iter().all(|node| node.faults.is_empty()));
}
