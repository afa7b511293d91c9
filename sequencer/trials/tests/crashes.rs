//! kill −9 at load on real processes: what was acknowledged comes out, once, the same
//! everywhere (PROTOCOL §7, THREATS A28).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::{Cluster, Load, complete};
use fairlane_types::{BlockHeader, Height, MemberId, decode};

/// Orders in a run, at more than half of the rate that this committee sustains.
const ORDERS: usize = 2_400;

/// Orders acknowledged and not yet emitted anywhere at this moment.
async fn unfinished(cluster: &Cluster, load: &Load, reader: usize) -> usize {
    let acknowledged = load.acknowledged();
    let head = cluster.head(reader).await.unwrap_or(Height(0));
    let blocks = cluster.blocks(reader, head).await;
    let out: BTreeSet<_> = blocks
        .iter()
        .flat_map(|b| &b.items)
        .map(|item| item.ct_id)
        .collect();
    acknowledged.difference(&out).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_at_load_comes_back_and_contradicts_nothing() {
    let mut cluster = Cluster::start(4, None).await;
    let load = Load::above_half_of_the_maximum(&cluster, ORDERS).await;
    load.until_acknowledged(ORDERS / 4).await;
    let before = load.acknowledged();
    cluster.kill(2);
    assert!(!before.is_empty());
    load.until_acknowledged(ORDERS / 2).await;
    // Orders are under way while it is down and when it comes back.
    let under_way = unfinished(&cluster, &load, 0).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
    assert!(
        under_way > 0,
        "nothing was under way when the member came back"
    );
    assert!(
        sent.acknowledged.len() - sent.warm_up > ORDERS * 9 / 10,
        "{} acknowledged",
        sent.acknowledged.len() - sent.warm_up
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_killed_at_once_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(4, None).await;
    let load = Load::above_half_of_the_maximum(&cluster, ORDERS).await;
    load.until_acknowledged(ORDERS / 3).await;
    let under_way = unfinished(&cluster, &load, 0).await;
    let until = cluster.head(0).await.expect("it answers");
    let seen = cluster.blocks(0, until).await;
    cluster.kill_all();
    let before = load.acknowledged();
    cluster.start_all().await;
    let sent = load.finish().await;
    assert!(before.is_subset(&sent.acknowledged));
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    // What was emitted before is emitted still, block for block.
    assert_eq!(cluster.blocks(1, until).await, seen);
    cluster.nobody_contradicts().await;
    assert!(under_way > 0, "nothing was under way at the kill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_leader_is_skipped_and_the_others_go_on() {
    let mut cluster = Cluster::start(4, None).await;
    let load = Load::above_half_of_the_maximum(&cluster, ORDERS).await;
    load.until_acknowledged(ORDERS / 4).await;
    // Leaders rotate: whoever is killed leads one view in four.
    cluster.kill(1);
    let sent = load.finish().await;
    let alive = [0usize, 2, 3];
    // The dead member's absence costs views, not orders.
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let mut missing = sent.acknowledged.clone();
    let mut height = Height(1);
    let mut proposers: BTreeSet<MemberId> = BTreeSet::new();
    while !missing.is_empty() {
        match cluster.committee.members()[0].block_at(height).await {
            Ok(block) => {
                for item in &block.items {
                    missing.remove(&item.ct_id);
                }
                let body = cluster.committee.members()[0]
                    .certificate(height)
                    .await
                    .unwrap();
                for header in &body.headers {
                    let bytes = hex::decode(header).unwrap();
                    proposers.insert(decode::<BlockHeader>(&bytes, 1 << 10).unwrap().proposer);
                }
                height = height.next();
            }
            Err(error) => {
                assert!(
                    std::time::Instant::now() < deadline,
                    "{}: {error}",
                    missing.len()
                );
                common::pause().await;
            }
        }
    }
    let mut skips = 0.0;
    for member in alive {
        let marks = "fairlane_consensus_marks_total";
        skips += cluster.metric(member, marks, "skip_certificates").await;
    }
    assert!(skips >= 1.0, "no skip certificate was formed");
    assert!(proposers.len() >= 3, "only {proposers:?} proposed");
    // It comes back and has it all too.
    cluster.spawn(1);
    cluster.ready(1).await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
}
