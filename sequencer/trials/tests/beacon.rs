//! A committee of real processes whose ties are broken by the beacon (A15): a member is
//! killed on the way and comes back, all emit the same sequence, every beacon is the
//! committee's one signature, and an audit takes no other.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Cluster, Load, complete, program};
use fairlane_client::{ClientError, wire::ErrorCode};
use fairlane_encryption::SuiteKey;
use fairlane_node::store::RocksStore;
use fairlane_replica::audit::{Auditor, Start, Step, Violation};
use fairlane_types::{Height, OrderRule, Scheme, TieSource};

const ORDERS: usize = 1_200;
/// Orders, and those a second, where each costs a member some 8 ms.
const FEW: usize = 320;
const FEW_RATE: usize = 30;
/// Further loads of a part of these until some are tied.
const ROUNDS_MAX: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_are_broken_by_the_beacon_and_by_nothing_else() {
    ties_are_broken(Scheme::Tdh2, ORDERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ties_of_the_second_scheme_are_broken_by_the_beacon() {
    ties_are_broken(Scheme::BaekZheng, FEW).await;
}

/// Whether a height has a beacon.
async fn is_any_tied(cluster: &Cluster) -> bool {
    let head = cluster.head(0).await.unwrap();
    for height in (1..=head.0).map(Height) {
        if cluster.committee.members()[0].beacon(height).await.is_ok() {
            return true;
        }
    }
    false
}

async fn ties_are_broken(scheme: Scheme, orders: usize) {
    let mut cluster = Cluster::start_as(4, None, |options| {
        options.scheme = scheme;
        // Equal keys are rare in microseconds, and usual in the buckets of this rule.
        options.rule = OrderRule::Shuffle;
        options.tie = TieSource::Beacon;
    })
    .await;
    let load = match scheme {
        Scheme::Tdh2 => Load::above_half_of_the_maximum(&cluster, orders).await,
        Scheme::BaekZheng => Load::start(&cluster, orders, FEW_RATE),
    };
    load.until_acknowledged(orders / 3).await;
    cluster.kill(2);
    load.until_acknowledged(orders / 2).await;
    cluster.spawn(2);
    cluster.ready(2).await;
    let mut sent = load.finish().await;
    // Of few orders few are tied, and by chance none.
    let mut rounds = 0;
    while !is_any_tied(&cluster).await && rounds < ROUNDS_MAX {
        sent = Load::after(sent, &cluster, FEW / 4, FEW_RATE)
            .finish()
            .await;
        rounds += 1;
    }
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;

    // As a client sees it: with nothing but the committee's key.
    let key = *cluster.committee.pin().certificate_key().unwrap();
    let genesis = cluster.testnet.genesis.clone();
    let head = cluster.head(0).await.unwrap();
    let mut beacons = 0;
    for height in (1..=head.0).map(Height) {
        let mut found = None;
        for member in cluster.committee.members() {
            match member.beacon(height).await {
                Ok(beacon) => {
                    assert!(beacon.verify(&key, genesis.chain));
                    assert_eq!(*found.get_or_insert(beacon), beacon);
                }
                // Nothing is tied, or this member has not come so far.
                Err(ClientError::Api(error)) => assert_eq!(error.code, ErrorCode::NotFound),
                Err(error) => panic!("{error}"),
            }
        }
        beacons += u64::from(found.is_some());
    }
    println!("{beacons} of {head} heights have a beacon");
    let fewest = match scheme {
        Scheme::Tdh2 => orders as u64 / 100,
        Scheme::BaekZheng => 0,
    };
    assert!(beacons > fewest && beacons < head.0);

    cluster.kill(1);
    let home = &cluster.testnet.members[1].home;
    let audit = std::process::Command::new(program("fairlane"))
        .args(["audit", "--json", "--home"])
        .arg(home.root())
        .output()
        .unwrap();
    assert_eq!(
        audit.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&audit.stdout),
        String::from_utf8_lossy(&audit.stderr)
    );

    // Without the beacon of a block with ties, or with another block's, nothing holds.
    let auditor = || {
        let key = &genesis.encryption.public_key;
        let key = SuiteKey::from_bytes(genesis.encryption.scheme, key).unwrap();
        Auditor::new(&genesis, key, None, Start::Genesis).unwrap()
    };
    let reader = RocksStore::read_only(&home.data_path()).unwrap();
    let mut honest = auditor();
    let mut steps = Vec::new();
    let (tied, other) = loop {
        let get = |table, key: &[u8]| reader.get(table, key);
        let step = Step::read(honest.height().next(), honest.cut(), get).unwrap();
        let other = steps.iter().find_map(|step: &Step| step.beacon);
        if let (Some(_), Some(other)) = (step.beacon, other) {
            break (step, other);
        }
        honest.step(&step).unwrap();
        steps.push(step);
    };
    for false_one in [None, Some(other)] {
        let mut auditor = auditor();
        for step in &steps {
            auditor.step(step).unwrap();
        }
        let mut step = tied.clone();
        step.beacon = false_one;
        let found = auditor.step(&step);
        assert!(matches!(found, Err(Violation::Beacon { .. })), "{found:?}");
    }
    honest.step(&tied).unwrap();
}
