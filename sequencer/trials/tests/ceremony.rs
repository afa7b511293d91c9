//! A committee of processes that makes its keys: one member is killed before there are any,
//! all are killed at once afterwards, orders sealed to the encryption key come out and are
//! attested under the certificate key (PROTOCOL §6, THREATS A18, A28).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Cluster, Load, complete};

const ORDERS: usize = 300;
/// Per second.
const RATE: usize = 60;
const LATE: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_without_a_dealer_and_survives_kills() {
    let mut cluster = Cluster::start_making_a_key(4, LATE).await;
    let load = Load::start(&cluster, ORDERS, RATE);
    load.until_acknowledged(ORDERS / 6).await;
    // It never dealt, and reads its share of the key from the log.
    cluster.spawn(LATE);
    cluster.ready(LATE).await;
    load.until_acknowledged(ORDERS / 3).await;
    for member in 0..4 {
        cluster.kill(member);
    }
    for member in 0..4 {
        cluster.spawn(member);
    }
    for member in 0..4 {
        cluster.ready(member).await;
    }
    // Now its share is needed: one of the others is gone.
    cluster.kill(0);
    let sent = load.finish().await;
    cluster.spawn(0);
    cluster.ready(0).await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
    assert!(sent.acknowledged.len() >= ORDERS / 2, "{:?}", sent.refused);
    for member in 0..4 {
        let home = cluster.testnet.members[member].home.root();
        for file in ["share.key", "certificate.key"] {
            assert!(!home.join(file).exists(), "{file} lies on the disk");
        }
    }
    // Nobody dealt the key that the sequence is attested with.
    let pin = cluster.committee.pin();
    let certificates = pin.genesis().certificates.as_ref().unwrap();
    assert!(certificates.public_key.is_empty());
    let key = pin.certificate_key().unwrap();
    for member in cluster.committee.members() {
        let attestation = member.attestation(None).await.unwrap();
        assert!(attestation.height.0 > 0 && attestation.verify(key, pin.genesis().chain));
    }
}
