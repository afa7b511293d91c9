//! What a member keeps secret is not printed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../../types/tests/common/printed.rs"]
mod printed;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use fairlane_node::backup::{Backup, Part};
use fairlane_node::epochs::Present;
use fairlane_node::home::EncryptionKeys;
use fairlane_node::passphrase::Passphrase;
use fairlane_node::testnet::{InitOptions, Testnet, init};
use fairlane_replica::{CryptoContext, FormerSharing, Sharing};
use fairlane_types::{Digest, Epoch, MemberId, Scheme, encode};
use printed::hidden;
use zeroize::Zeroizing;

const PASSPHRASE: &[u8] = b"correct horse battery staple";

fn passphrase() -> Passphrase {
    Passphrase::new(Zeroizing::new(PASSPHRASE.to_vec()), Path::new("here")).unwrap()
}

fn testnet(change: impl FnOnce(&mut InitOptions)) -> (Testnet, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.reserve_mb = 1;
    change(&mut options);
    (init(&options, |_| {}).unwrap(), dir)
}

#[test]
fn debug_shows_no_passphrase() {
    let passphrase = Arc::new(passphrase());
    hidden("a passphrase", PASSPHRASE, &passphrase);
    let (net, _dir) = testnet(|options| options.reserve_mb = 2);
    let home = net.members[0].home.clone();
    let home = home.with_passphrase(Some(Arc::clone(&passphrase)));
    hidden("a passphrase", PASSPHRASE, &home);
    let mut options = InitOptions::new("nowhere", 4);
    options.passphrase = Some(passphrase);
    hidden("a passphrase", PASSPHRASE, &options);
}

/// A home of a dealer's committee, and what a running member makes of it.
#[test]
fn debug_shows_no_share_from_a_dealer() {
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        let (net, _dir) = testnet(|options| options.scheme = scheme);
        let home = &net.members[1].home;
        let present = Present::of(home).unwrap();
        let seed = *home.identity().unwrap().seed();
        let keys = home.keys(&net.genesis).unwrap();
        let EncryptionKeys::Dealt(key, share) = &keys.encryption else {
            panic!("a dealer made it")
        };
        let share_bytes = encode(share.as_ref());
        // Behind whose share it is of what.
        let share_bytes = &share_bytes[share_bytes.len() - 32..];
        let certificates = keys.certificates.clone().unwrap();
        let signing = certificates.secret.expose_secret();
        let backup = Backup::of(home, &present).unwrap();
        let sharing = Sharing {
            key: Arc::clone(key),
            share: Arc::clone(share),
            certificates: Some(certificates),
            former: Some(FormerSharing::new(Arc::clone(key), Some(Arc::clone(share)))),
        };
        let running = CryptoContext {
            chain: net.genesis.chain,
            epoch: Epoch(0),
            committee: net.genesis.validate().unwrap(),
            me: keys.me,
            identity: Arc::new(home.identity().unwrap()),
            sharing: Arc::new(OnceLock::from(sharing)),
            ceremony: None,
        };
        for value in [&keys as &dyn std::fmt::Debug, &backup, &running, &net] {
            hidden("a seed", &seed, value);
            hidden("a share", share_bytes, value);
            hidden("a share of the certificate key", &*signing, value);
        }
    }
}

/// A home whose keys are made, and the shares that are kept in later epochs.
#[test]
fn debug_shows_no_receiver_key() {
    let (net, _dir) = testnet(|options| options.dealer = false);
    let home = &net.members[2].home;
    let present = Present::of(home).unwrap();
    let keys = home.keys(&net.genesis).unwrap();
    assert!(matches!(keys.encryption, EncryptionKeys::Ceremony(_)));
    let backup = Backup::of(home, &present).unwrap();
    assert!(matches!(backup.part, Part::Receivers(_)));
    let secret = *home.receiver(Epoch(0)).unwrap().expose_secret();
    hidden("a receiver key", &secret, &keys);
    hidden("a receiver key", &secret, &backup);
    let kept: Vec<u8> = (0..90).map(|n| (n * 29 + 7) as u8).collect();
    let seed = *home.identity().unwrap().seed();
    // As a backup of a later epoch has it.
    let (next, none) = (vec![(2_u64, secret)], Vec::<u8>::new());
    let body = (
        Digest([1; 32]),
        Epoch(1),
        MemberId(2),
        seed,
        kept.clone(),
        next,
        none,
    );
    let backup = Backup::parse(&encode(&body)).unwrap();
    assert!(matches!(backup.part, Part::Kept(..)));
    hidden("kept shares", &kept, &backup);
    hidden("a receiver key", &secret, &backup);
    hidden("a seed", &seed, &backup);
}
