//! A committee of processes that makes its keys: one member is killed before there are any,
//! all are killed at once afterwards, orders sealed to the encryption key come out and are
//! attested under the certificate key (PROTOCOL §6, THREATS A18, A28).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use common::{Cluster, Load, PATIENCE, complete, pause, program};
use fairlane_client::wire::ErrorCode;
use fairlane_replica::audit::{BLIND_BYTES_MAX, BlindReceipt};
use fairlane_types::{CtId, Digest, decode};

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
    cluster.kill_all();
    cluster.start_all().await;
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
    blind_receipts_are_served(&cluster, &sent.acknowledged).await;
    a_file_of_attested_blocks_can_be_verified_under_the_genesis(&cluster).await;
}

/// `/v1/orders/{id}/blind` of every member shows that places came before openings; of an
/// order that has none it says so, and says whether it is worth asking again.
async fn blind_receipts_are_served(cluster: &Cluster, orders: &BTreeSet<CtId>) {
    let pin = cluster.committee.pin();
    for (member, id) in cluster.committee.members().iter().zip(orders) {
        // The last ones wait for their attestation.
        let deadline = Instant::now() + PATIENCE;
        let bytes = loop {
            match member.blind(*id).await {
                Ok(bytes) => break bytes,
                Err(error) => assert!(error.is_retryable() && Instant::now() < deadline, "{error}"),
            }
            pause().await;
        };
        let receipt: BlindReceipt = decode(&bytes, BLIND_BYTES_MAX).unwrap();
        assert_eq!(receipt.ct_id(), *id);
        let check = |receipt: &BlindReceipt| receipt.check(pin.genesis(), pin.committee());
        check(&receipt).unwrap();
        let mut other = receipt.clone();
        other.item.position.0 += 1;
        assert!(check(&other).is_err());
        let stranger = member.blind(CtId(Digest([9; 32]))).await.unwrap_err();
        assert_eq!(stranger.code(), Some(ErrorCode::NotFound));
        assert!(stranger.is_retryable());
    }
}

/// Followed with the committee's key alone, the file names who made the encryption key, so
/// that whoever has the genesis verifies it.
async fn a_file_of_attested_blocks_can_be_verified_under_the_genesis(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("attested.seq");
    let key = hex::encode(cluster.committee.pin().certificate_key().unwrap());
    let members = cluster.testnet.members.iter();
    let members: Vec<_> = members.map(|m| m.config.listen_api.to_string()).collect();
    let head = cluster.head(0).await.unwrap();
    let until = (head.0 / 2).to_string();
    let fairlane = |arguments: &[&str]| {
        let output = Command::new(program("fairlane"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (file, to) = (file.to_str().unwrap(), members.join(","));
    fairlane(&[
        "follow",
        "--committee-key",
        &key,
        "--to",
        &to,
        "--until",
        &until,
        "--out",
        file,
    ]);
    let genesis = cluster.testnet.genesis_path.to_str().unwrap();
    let verify = ["--json", "verify", "--genesis", genesis, file];
    // It has no envelopes, so that nothing is shown of openings.
    let told = fairlane(&[&verify[..], &["--without-envelopes"]].concat());
    for found in [
        "from_genesis\":true",
        "not_covered\":0",
        "openings_checked\":0",
    ] {
        assert!(told.contains(found), "{told}");
    }
    fairlane(&["verify", "--committee-key", &key, file]);
}
