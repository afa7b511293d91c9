//! Sharded combining on real processes: the same faults as without. Committees of four are
//! made to do it; by themselves those of sixteen and more do.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Cluster, Load, complete};
use fairlane_types::Combining;

const ORDERS: usize = 1_200;
const LIAR: usize = 3;

async fn cluster(liar: Option<usize>) -> Cluster {
    Cluster::start_as(4, liar, |options| {
        options.combining = Some(Combining::Sharded);
    })
    .await
}

/// How often a member opened what another combined.
async fn opened(cluster: &Cluster, member: usize) -> f64 {
    let name = "fairlane_pool_job_seconds_count";
    cluster.metric(member, name, "job=\"open_keys\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_combiner_killed_at_load_comes_back_and_nothing_is_lost() {
    let mut cluster = cluster(None).await;
    let load = Load::start(&cluster, ORDERS, 200);
    load.until_acknowledged(ORDERS / 4).await;
    assert!(opened(&cluster, 0).await > 0.0, "nobody told it anything");
    cluster.kill(2);
    load.until_acknowledged(ORDERS / 2).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
    for member in 0..4 {
        assert!(opened(&cluster, member).await > 0.0, "member {member}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_changes_nothing_and_those_who_combined_its_shares_name_it() {
    let cluster = cluster(Some(LIAR)).await;
    let load = Load::start(&cluster, ORDERS, 200);
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    assert_eq!(sent.acknowledged.len(), ORDERS, "{:?}", sent.refused);
    let mut named = 0.0;
    for member in (0..4).filter(|member| *member != LIAR) {
        named += cluster
            .metric(member, "fairlane_false_shares_total", "")
            .await;
        for honest in (0..4).filter(|peer| *peer != LIAR) {
            let label = format!("peer=\"{honest}\"");
            let blamed = cluster
                .metric(member, "fairlane_peer_faults_total", &label)
                .await;
            assert_eq!(blamed, 0.0, "member {member} blames {honest}");
        }
    }
    assert!(named > 0.0, "nobody found the lie");
}
