//! The second scheme on real processes: crashes of one and of all, with keys that the members made,
//! and more orders than it carries. A liar of it is in `liar.rs`, false dealers and a change of
//! committee are in `committees/`.
//! Each order costs a member some 8 ms of processor time, so the loads are small.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Instant;

use common::{Cluster, Load, complete};
use fairlane_node::testnet::InitOptions;
use fairlane_types::{Outcome, Scheme};

/// Orders of a load that the committee carries on two cores.
const ORDERS: usize = 120;
/// Per second.
const RATE: usize = 15;

/// Four members that made their keys.
async fn made() -> Cluster {
    let scheme = |options: &mut InitOptions| options.scheme = Scheme::BaekZheng;
    Cluster::start_making_a_key_with(4, None, Vec::new(), scheme).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_under_load_comes_back() {
    let mut cluster = made().await;
    let load = Load::start(&cluster, ORDERS, RATE);
    load.until_acknowledged(ORDERS / 4).await;
    cluster.kill(2);
    load.until_acknowledged(ORDERS / 2).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
    assert_eq!(sent.acknowledged.len(), ORDERS, "{:?}", sent.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_killed_at_once_lose_nothing_that_was_acknowledged() {
    let mut cluster = made().await;
    let load = Load::start(&cluster, ORDERS, RATE);
    load.until_acknowledged(ORDERS / 3).await;
    cluster.kill_all();
    let before = load.acknowledged();
    cluster.start_all().await;
    let sent = load.finish().await;
    assert!(before.is_subset(&sent.acknowledged));
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
}

/// THREATS A23. What the committee carries is measured first; half more than that is offered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_capacity_orders_are_refused_and_none_acknowledged_is_lost() {
    let cluster = Cluster::start_with(4, None, Scheme::BaekZheng).await;
    // All at once: whatever is let in is worked off as fast as it can be.
    let begun = Instant::now();
    let probe = Load::start(&cluster, ORDERS, 100 * ORDERS).finish().await;
    cluster.settled(&probe.acknowledged).await;
    let most = probe.acknowledged.len() as f64 / begun.elapsed().as_secs_f64();
    let rate = (most * 1.5) as usize + 1;
    let load = Load::after(probe, &cluster, rate * 10, rate);
    let sent = load.finish().await;
    println!(
        "{most:.0} orders/s carried, {rate} offered, refused: {:?}",
        sent.refused
    );

    // What is still on its way is what members said may be: nobody waits for longer.
    let mut on_their_way = 0.0_f64;
    let mut allowed = 0.0;
    for member in 0..cluster.n() {
        let held = cluster.metric(member, "fairlane_orders_held ", "").await;
        on_their_way = on_their_way.max(held);
        allowed += cluster.metric(member, "fairlane_orders_held_max", "").await;
    }
    assert!(
        on_their_way <= allowed,
        "{on_their_way} orders are on their way where {allowed} may be"
    );
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    let expired = outcomes.values().filter(|o| **o == Outcome::Expired);
    assert_eq!(expired.count(), 0);
    cluster.nobody_contradicts().await;
    assert!(
        sent.refused.keys().eq(["over_capacity"].iter()),
        "{:?}",
        sent.refused
    );
    // The hint is what was on its way over what is carried, as measured from outside: by members from
    // their best second of late, here over all of a burst, on a machine that does other things too.
    let mut hints = sent.hints_ms.clone();
    assert!(hints.iter().all(Option::is_some));
    hints.sort_unstable();
    let median_ms = f64::from(hints[hints.len() / 2].unwrap());
    let backlog = allowed / cluster.n() as f64;
    println!("told to wait {median_ms} ms, {backlog} orders may be on their way");
    let carried = backlog / (median_ms / 1_000.0);
    assert!(
        (most / 8.0..most * 8.0).contains(&carried),
        "{median_ms} ms for {backlog} orders, of which {most}/s are carried"
    );
}
