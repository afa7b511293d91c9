//! One member sends wrong, empty, duplicate and foreign shares first, at load, of a dealt key, of
//! one that the members made, and of the second scheme: output is complete and identical, and the liar
//! is named by every honest member with evidence that anyone can check (THREATS A6, A7).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Cluster, Load, complete, program};
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_replica::{Evidence, Store, Table};
use fairlane_types::{MemberId, Scheme, decode};

const ORDERS: usize = 2_000;
/// Orders, and those a second, where each costs a member some 8 ms.
const FEW: usize = 60;
const FEW_RATE: usize = 5;
const LIAR: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_changes_nothing_and_is_named_by_all() {
    let mut cluster = Cluster::start(4, Some(LIAR)).await;
    let load = Load::above_half_of_the_maximum(&cluster, ORDERS).await;
    lies_come_to_nothing(&mut cluster, load, ORDERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_with_a_share_of_a_made_key_is_named_by_all() {
    let mut cluster = Cluster::start_with_made_key(4, LIAR).await;
    let load = Load::above_half_of_the_maximum(&cluster, ORDERS).await;
    lies_come_to_nothing(&mut cluster, load, ORDERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_of_the_second_scheme_is_named_by_all() {
    let mut cluster = Cluster::start_with(4, Some(LIAR), Scheme::BaekZheng).await;
    let load = Load::start(&cluster, FEW, FEW_RATE);
    lies_come_to_nothing(&mut cluster, load, FEW).await;
}

async fn lies_come_to_nothing(cluster: &mut Cluster, load: Load, orders: usize) {
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    assert_eq!(sent.acknowledged.len() - sent.warm_up, orders);

    for member in (0..4).filter(|m| *m != LIAR) {
        let share = |peer: usize| format!("peer=\"{peer}\"");
        let named = cluster
            .metric(member, "fairlane_peer_faults_total", &share(LIAR))
            .await;
        assert!(named > 0.0, "member {member} does not name the liar");
        for honest in (0..4).filter(|m| *m != LIAR) {
            let blamed = cluster
                .metric(member, "fairlane_peer_faults_total", &share(honest))
                .await;
            assert_eq!(blamed, 0.0, "member {member} blames {honest}");
        }
    }

    // Offline, as anyone would: what a member answers, and the program that checks it.
    let body = cluster.get(0, "/v1/evidence").await;
    let file = cluster.testnet.genesis_path.with_file_name("evidence.json");
    std::fs::write(&file, &body).unwrap();
    let verify = |file: &std::path::Path| {
        std::process::Command::new(program("fairlane"))
            .args(["verify", "--json", "--evidence"])
            .arg(file)
            .arg("--genesis")
            .arg(&cluster.testnet.genesis_path)
            .output()
            .unwrap()
    };
    let answer = verify(&file);
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert_eq!(
        answer.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    assert!(text.contains(&format!("\"member\":{LIAR}")), "{text}");
    // The same proof against somebody else, or altered, convicts nobody.
    let text = String::from_utf8(body).unwrap();
    let at = text.rfind("\"}").unwrap() - 1;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    let altered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    std::fs::write(&file, altered).unwrap();
    assert_eq!(verify(&file).status.code(), Some(5));

    // And from the database of each honest member.
    let genesis = cluster.testnet.genesis.clone();
    let committee = genesis.validate().unwrap();
    let key = cluster.committee.pin().key().clone();
    for member in (0..4).filter(|m| *m != LIAR) {
        cluster.kill(member);
        let path = cluster.testnet.members[member].home.data_path();
        let store = RocksStore::open(&StoreOptions {
            path,
            reserve_bytes: 0,
        })
        .unwrap();
        let rows = store
            .scan(Table::Evidence, &[], &[0xff; 64], 10_000, 1 << 30)
            .unwrap();
        assert!(!rows.is_empty(), "member {member} kept no evidence");
        for (_, row) in rows {
            let evidence: Evidence = decode(&row, 1 << 24).unwrap();
            let offender = evidence.verify(genesis.chain, genesis.epoch(), &committee, &[&key]);
            assert_eq!(offender, Ok(MemberId(LIAR as u8)));
        }
    }
}
