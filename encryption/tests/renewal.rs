//! A fresh encryption key made with a resharing of the old one (PROTOCOL §6; THREATS A18, A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::ceremonies::{
    Held, change, deal_on, dealt_on, finish, generate, judged, opens, over_both_schemes,
    point_bytes, public, seal,
};
use common::{label, quorums};
use fairlane_encryption::{
    Ceremony, CommitteeKeys, CtError, Deal, DealError, DealtKey, ReceiverSecret, Suite,
    ThresholdScheme, threshold,
};
use fairlane_types::{MemberId, Scheme, encode};

/// Four members that made their keys.
fn first(scheme: Scheme) -> Held {
    generate(scheme, 4, true)
}

fn renewal(old: &Held, n: usize, seed: u64) -> (Ceremony, Vec<ReceiverSecret>) {
    change(old, n, seed, true)
}

/// The old key opens what was sealed to it, the fresh one what is sealed to that, each with any
/// t shares; the certificate key stays. Nothing of the old key is dealt on by the next change.
#[test]
fn each_epoch_has_its_key_and_the_one_before() {
    over_both_schemes(each_epoch_has_its_key_and_the_one_before_with);
}

fn each_epoch_has_its_key_and_the_one_before_with(scheme: Scheme) {
    let mut held = first(scheme);
    for (n, seed) in [(7, 21), (4, 22)] {
        let next = dealt_on(&held, renewal(&held, n, seed));
        let (old, new) = (&held.keys, &next.keys);
        let former = new.former.as_ref().unwrap();
        assert_eq!(
            (former.id(), public(former)),
            (old.encryption.id(), public(&old.encryption))
        );
        assert_ne!(former.sharing(), old.encryption.sharing());
        assert_ne!(new.encryption.id(), old.encryption.id());
        assert_eq!(new.encryption.id(), new.encryption.sharing());
        let certificate = |keys: &CommitteeKeys| *keys.certificate.as_ref().unwrap().public_key();
        assert_eq!(certificate(old), certificate(new));
        let (before, after) = (seal(&old.encryption), seal(&new.encryption));
        for quorum in quorums(n, threshold(n)) {
            assert!(next.opens(&after, &quorum));
            let former_shares = quorum
                .iter()
                .map(|m| next.shares[*m].former.as_ref().unwrap());
            assert!(opens(former, &former_shares.collect::<Vec<_>>(), &before));
        }
        // Neither ciphertext is one of the other key.
        let foreign = Suite::check(&new.encryption, &label(1), &before);
        assert_eq!(foreign.unwrap_err(), CtError::BadProof);
        held = next;
    }
}

/// Two dealers draw from other randomness: another key comes of it, whoever the rest are.
#[test]
fn every_dealer_that_counts_changes_the_key() {
    over_both_schemes(every_dealer_that_counts_changes_the_key_with);
}

fn every_dealer_that_counts_changes_the_key_with(scheme: Scheme) {
    let old = first(scheme);
    let (ceremony, secrets) = renewal(&old, 4, 5);
    let key = |seeds: [u64; 3]| {
        let deals = seeds.iter().enumerate();
        let deals: Vec<_> = deals
            .map(|(d, s)| deal_on(&ceremony, &old.shares[d], *s))
            .collect();
        let deals = judged(&ceremony, deals);
        finish(&ceremony, &deals, &secrets).keys.encryption.id()
    };
    let made = [[1, 2, 3], [9, 2, 3], [1, 9, 3], [1, 2, 9]].map(key);
    let distinct: std::collections::BTreeSet<_> = made.iter().collect();
    assert_eq!(distinct.len(), made.len());
}

/// A false contribution makes the whole dealing bad, by its bytes alone.
#[test]
fn a_false_contribution_is_refused() {
    over_both_schemes(a_false_contribution_is_refused_with);
}

fn a_false_contribution_is_refused_with(scheme: Scheme) {
    let old = first(scheme);
    let (ceremony, _) = renewal(&old, 4, 6);
    let own = encode(&deal_on(&ceremony, &old.shares[1], 1));
    let verdict = |bytes: &[u8]| {
        let deal: Deal = borsh::from_slice(bytes).unwrap();
        ceremony.verify(MemberId(1), deal).map(|_| ())
    };
    assert_eq!(verdict(&own), Ok(()));
    let cut = Deal::encoded_len(scheme, 4, true, false);
    assert_eq!(own.len(), Deal::encoded_len(scheme, 4, true, true));
    // In its proof of possession, in an opened seed, in the last entry of the last slot.
    let commitments = point_bytes(scheme) * threshold(4);
    let possession = DealError::Possession(DealtKey::Fresh);
    let encryption = DealError::Encryption(DealtKey::Fresh);
    let last = own.len() - 32;
    for (at, why) in [
        (cut + commitments, possession),
        (cut + commitments + 64 + 32, encryption),
        (last, encryption),
    ] {
        let mut bytes = own.clone();
        bytes[at] ^= 1;
        assert_eq!(verdict(&bytes), Err(why), "at {at}");
    }
    // Somebody else's, that of another change, and the dealt-on share in its place.
    let other = encode(&deal_on(&ceremony, &old.shares[2], 1));
    let (later, _) = renewal(&old, 4, 7);
    let later = encode(&deal_on(&later, &old.shares[1], 1));
    let dealt_on = &own[3..3 + own.len() - cut];
    for part in [&other[cut..], &later[cut..], dealt_on] {
        let bytes = [&own[..cut], part].concat();
        assert_eq!(verdict(&bytes), Err(possession));
    }
    // Without one, and where none is wanted.
    let mut none = own[..cut].to_vec();
    none[2] &= !0x40;
    assert_eq!(verdict(&none), Err(DealError::Keys));
    let (kept, _) = change(&old, 4, 6, false);
    let whole: Deal = borsh::from_slice(&own).unwrap();
    let refused = kept.verify(MemberId(1), whole).unwrap_err();
    assert_eq!(refused, DealError::Keys);
}
