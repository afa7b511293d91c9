//! What a client trusts, over the end of an epoch.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use fairlane_client::{Pin, PinError};
use fairlane_encryption::{
    CertificateKey, CertificateKeyError, SuiteKey, deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_types::{
    ActiveKeys, BlockId, CertificateParams, ChainId, Digest, EncryptionParams, Epoch, EpochStart,
    Genesis, Handover, Height, MemberId, Millis, NextCommittee, NextKey, NextMember, Position,
    QuorumWord, ReceiverBytes, Root, Scheme, SecretKey, SeededRng, encode,
};

const N: usize = 4;

fn rng(seed: u8) -> SeededRng {
    SeededRng::new(&[seed; 32], b"pin")
}

fn identities(from: u8) -> Vec<SecretKey> {
    let seeds = (from..).take(N);
    seeds.map(|seed| SecretKey::from_seed([seed; 32])).collect()
}

fn certificates(epoch: u64, seed: u8) -> CertificateKey {
    let (key, _) = deal_pairing_insecure(Epoch(epoch), N, &mut rng(seed)).unwrap();
    key
}

fn first(members: &[SecretKey]) -> (Genesis, SuiteKey) {
    let (key, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), N, &mut rng(1)).unwrap();
    let genesis = Genesis {
        chain: ChainId(3),
        time: Millis(1_000),
        experiment: true,
        start: None,
        members: members.iter().map(SecretKey::public).collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes()),
        certificates: Some(CertificateParams::dealt(encode(&certificates(0, 2)))),
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    };
    (genesis, key)
}

/// The committee of `before` hands over to another one, with this certificate key.
fn handed_over(before: &Genesis, by: &[SecretKey], key: &SuiteKey, certificate: &[u8]) -> Handover {
    let newcomers = identities(50);
    let members = newcomers.iter().map(|identity| NextMember {
        identity: identity.public(),
        receiver: ReceiverBytes([9; 32]),
        quic: "host:1".to_owned(),
        api: "http://host:2".to_owned(),
    });
    let next = NextCommittee {
        chain: before.chain,
        epoch: before.epoch().next(),
        key: NextKey::Kept,
        members: members.collect(),
    };
    let start = EpochStart {
        epoch: next.epoch,
        origin: before.origin(),
        before: before.hash(),
        height: Height(10),
        block: BlockId::default(),
        root: Root::default(),
        position: Position(3),
        committee: next.digest(),
        memory: Digest::default(),
        dealings: Digest::default(),
    };
    let keys = ActiveKeys {
        encryption: key.to_bytes(),
        certificate: certificate.to_vec(),
    };
    let genesis = before.next(&next, start, Millis(1_005), (key.id(), &keys), None);
    let mut word = QuorumWord::default();
    for (member, identity) in by.iter().enumerate().take(3) {
        let signature = Handover::sign(identity, before.epoch(), &genesis);
        word.add(MemberId(member as u8), signature);
    }
    Handover { genesis, word }
}

/// A21: a quorum of a committee that left long ago signs another way on, with keys of its own.
/// Who knows the certificate key of the chain does not take it.
#[test]
fn a_hand_over_to_another_certificate_key_is_refused() {
    let old = identities(1);
    let (genesis, key) = first(&old);
    let pin = Pin::new(genesis.clone()).unwrap();
    let good = handed_over(&genesis, &old, &key, &encode(&certificates(0, 2)));
    good.verify(&genesis).unwrap();
    let next = pin.handed_over(good).unwrap();
    assert_eq!(next.certificate_key(), pin.certificate_key());

    let other = handed_over(&genesis, &old, &key, &encode(&certificates(1, 77)));
    other.verify(&genesis).unwrap();
    let error = pin.handed_over(other).unwrap_err();
    let changed = |error| matches!(error, PinError::Certificates(CertificateKeyError::Changed));
    assert!(changed(error));

    let mut without = handed_over(&genesis, &old, &key, &[]).genesis;
    without.certificates = None;
    let mut word = QuorumWord::default();
    for (member, identity) in old.iter().enumerate().take(3) {
        let signature = Handover::sign(identity, Epoch(0), &without);
        word.add(MemberId(member as u8), signature);
    }
    let genesis = without;
    assert!(changed(
        pin.handed_over(Handover { genesis, word }).unwrap_err()
    ));
}
