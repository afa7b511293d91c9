//! Key generation without a dealer, resharing and refresh (THREATS A18, A19, A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::ceremonies::{
    Held, change, deal_on, dealt_on, fresh, generate, judged, over_both_schemes, passes,
    point_bytes, public, receivers, renamed, seal,
};
use common::{ENTROPY, block, cases, finalized, ids, label, quorums, rng};
use fairlane_encryption::{
    Ceremony, CombineError, CommitteeKeys, CommitteeShares, Deal, DealError, DealtKey, KEPT,
    KeyError, ReceiverKey, ReceiverSecret, SLOTS, Suite, SuiteKey, ThresholdScheme,
    deal_suite_insecure, threshold,
};
use fairlane_types::{Digest, Epoch, MemberId, Scheme, encode};
use proptest::prelude::*;

fn reshare(old: &Held, n: usize, seed: u64) -> Held {
    dealt_on(old, change(old, n, seed, false))
}

#[test]
fn committees_make_keys_that_work() {
    over_both_schemes(committees_make_keys_that_work_with);
}

fn committees_make_keys_that_work_with(scheme: Scheme) {
    for n in [1, 4, 7] {
        let held = generate(scheme, n, false);
        let key = &held.keys.encryption;
        assert!(held.keys.certificate.is_none() && held.shares[0].certificate.is_none());
        let bytes = seal(key);
        for quorum in quorums(n, threshold(n)) {
            assert!(held.opens(&bytes, &quorum));
        }
        // The key is an ordinary one: it loads, and is what a genesis would carry.
        let again = SuiteKey::from_bytes(scheme, &key.to_bytes()).unwrap();
        assert_eq!(again, *key);
        assert_eq!(again.id(), again.sharing());
    }
}

#[test]
fn only_the_first_needed_dealings_count() {
    over_both_schemes(only_the_first_needed_dealings_count_with);
}

fn only_the_first_needed_dealings_count_with(scheme: Scheme) {
    let (ceremony, secrets) = fresh(scheme, 4, 4, false);
    assert_eq!(ceremony.needed(), 3);
    let deals: Vec<_> = (0..4)
        .map(|dealer| {
            ceremony
                .deal(MemberId(dealer), &mut rng(dealer.into()))
                .unwrap()
        })
        .collect();
    let deals = judged(&ceremony, deals);
    let key = ceremony.keys(&deals).unwrap();
    assert_eq!(ceremony.keys(&deals[..3]).unwrap(), key);
    assert_ne!(ceremony.keys(&deals[1..]).unwrap(), key);
    // A dealer counts once, however often it deals.
    let again = ceremony.deal(MemberId(0), &mut rng(77)).unwrap();
    let again = ceremony.verify(MemberId(0), again).unwrap();
    let with_again = [&deals[..1], &[again], &deals[1..]].concat();
    assert_eq!(ceremony.keys(&with_again).unwrap(), key);
    let short = CombineError::NotEnough { have: 2, need: 3 };
    assert_eq!(ceremony.keys(&deals[..2]).unwrap_err(), short);
    // Nobody reads another's share, and who is no receiver gets none.
    let wrong = ceremony
        .shares(&deals, MemberId(1), &secrets[0])
        .unwrap_err();
    assert_eq!(wrong, CombineError::IndexRange(MemberId(1)));
    let wrong = ceremony
        .shares(&deals, MemberId(9), &secrets[0])
        .unwrap_err();
    assert_eq!(wrong, CombineError::IndexRange(MemberId(9)));
    // A dealing of another ceremony does not count.
    let (_, keys) = receivers(4, 4);
    let other = Ceremony::fresh(scheme, Digest([2; 32]), Epoch(1), keys, false).unwrap();
    assert_eq!(
        other.keys(&deals).unwrap_err(),
        CombineError::Mixed(MemberId(0))
    );
}

/// Every kind of bad dealing is refused, for the same reason by everybody, as the check
/// has no secret and no randomness.
#[test]
fn bad_dealings_are_refused() {
    over_both_schemes(bad_dealings_are_refused_with);
}

fn bad_dealings_are_refused_with(scheme: Scheme) {
    let (_, keys) = receivers(4, 4);
    let new = |id: u8, epoch, keys: &[ReceiverKey]| {
        Ceremony::fresh(scheme, Digest([id; 32]), Epoch(epoch), keys.to_vec(), false).unwrap()
    };
    let ceremony = new(1, 1, &keys);
    let deal = ceremony.deal(MemberId(1), &mut rng(1)).unwrap();
    assert!(ceremony.verify(MemberId(1), deal.clone()).is_ok());
    let refused = |ceremony: &Ceremony, from, deal: &Deal| {
        ceremony.verify(MemberId(from), deal.clone()).unwrap_err()
    };
    // In another's name, by a stranger, for another chain, epoch or committee.
    assert_eq!(refused(&ceremony, 2, &deal), DealError::Dealer(MemberId(1)));
    let mut renamed = deal.clone();
    renamed.dealer = MemberId(2);
    assert_eq!(
        refused(&ceremony, 2, &renamed),
        DealError::Possession(DealtKey::Encryption)
    );
    renamed.dealer = MemberId(4);
    assert_eq!(
        refused(&ceremony, 4, &renamed),
        DealError::Dealer(MemberId(4))
    );
    assert_eq!(
        refused(&new(2, 1, &keys), 1, &deal),
        DealError::Possession(DealtKey::Encryption)
    );
    assert_eq!(
        refused(&new(1, 2, &keys), 1, &deal),
        DealError::Possession(DealtKey::Encryption)
    );
    let mut swapped = keys.clone();
    swapped.swap(0, 3);
    assert_eq!(
        refused(&new(1, 1, &swapped), 1, &deal),
        DealError::Possession(DealtKey::Encryption)
    );
    let (_, seven) = receivers(7, 7);
    assert_eq!(
        refused(&new(1, 1, &seven), 1, &deal),
        DealError::Receivers { got: 4, want: 7 }
    );
    // Any altered 32 bytes of it.
    let bytes = encode(&deal);
    let slot = 32 * (1 + 3 + 4);
    let proof_at = 3 + point_bytes(scheme) * 3;
    let slots_at = proof_at + 32 * (2 + 1 + (SLOTS - KEPT));
    assert_eq!(bytes.len(), slots_at + KEPT * slot);
    assert_eq!(bytes.len(), ceremony.encoded_len());
    let places = [
        4,
        4 + point_bytes(scheme),
        proof_at,
        proof_at + 32,
        proof_at + 64,
        proof_at + 96,
        proof_at + 96 + 71 * 32,
    ];
    let in_slots = (0..slot / 32).map(|part| slots_at + 17 * slot + part * 32);
    for at in places.into_iter().chain(in_slots) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        if let Ok(altered) = borsh::from_slice::<Deal>(&bytes) {
            assert!(ceremony.verify(MemberId(1), altered).is_err(), "byte {at}");
        }
    }
    // A constant term of zero.
    let mut zero = bytes.clone();
    zero[3..3 + point_bytes(scheme)].fill(0);
    if scheme == Scheme::BaekZheng {
        zero[3] = 0xc0;
    }
    let zero: Deal = borsh::from_slice(&zero).unwrap();
    let key = DealtKey::Encryption;
    let nothing = DealError::Commitment { key, at: 0 };
    assert_eq!(refused(&ceremony, 1, &zero), nothing);
    // Two halves of two valid dealings.
    let other = encode(&ceremony.deal(MemberId(1), &mut rng(2)).unwrap());
    let mixed = [&bytes[..slots_at], &other[slots_at..]].concat();
    let mixed: Deal = borsh::from_slice(&mixed).unwrap();
    assert_eq!(
        refused(&ceremony, 1, &mixed),
        DealError::Encryption(DealtKey::Encryption)
    );
}

#[test]
fn four_to_seven_to_four_keeps_the_key() {
    over_both_schemes(four_to_seven_to_four_keeps_the_key_with);
}

fn four_to_seven_to_four_keeps_the_key_with(scheme: Scheme) {
    let first = generate(scheme, 4, false);
    let key = &first.keys.encryption;
    let bytes = seal(key);
    let second = reshare(&first, 7, 21);
    let third = reshare(&second, 4, 22);
    for (held, n) in [(&second, 7), (&third, 4)] {
        let next = &held.keys.encryption;
        assert_eq!((public(next), next.id()), (public(key), key.id()));
        assert_ne!(next.sharing(), key.sharing());
        for quorum in quorums(n, threshold(n)) {
            assert!(held.opens(&bytes, &quorum));
        }
        let again = SuiteKey::from_bytes(scheme, &next.to_bytes()).unwrap();
        assert_eq!((again.id(), again.sharing()), (key.id(), next.sharing()));
        // What is encrypted later is the same to a sender that has the first key only.
        assert!(held.opens(&seal(next), &(0..threshold(n)).collect::<Vec<_>>()));
        assert_eq!(seal(next), seal(key));
    }
    // A dealt key is reshared as well.
    let (encryption, shares) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng(2)).unwrap();
    let share = |encryption| CommitteeShares {
        encryption,
        certificate: None,
        former: None,
    };
    let dealt = Held {
        keys: CommitteeKeys {
            encryption,
            certificate: None,
            former: None,
        },
        shares: shares.into_iter().map(share).collect(),
    };
    let bytes = seal(&dealt.keys.encryption);
    assert!(reshare(&dealt, 4, 23).opens(&bytes, &[0, 1, 3]));
}

#[test]
fn refreshed_shares_do_not_mix_with_old_ones() {
    over_both_schemes(refreshed_shares_do_not_mix_with_old_ones_with);
}

fn refreshed_shares_do_not_mix_with_old_ones_with(scheme: Scheme) {
    let old = generate(scheme, 4, false);
    let bytes = seal(&old.keys.encryption);
    let new = reshare(&old, 4, 31);
    assert!(old.opens(&bytes, &[0, 1, 2]) && new.opens(&bytes, &[0, 1, 2]));
    let key = &new.keys.encryption;
    for shares in &old.shares {
        let member = shares.encryption.member();
        let stale = passes(key, &shares.encryption);
        assert_eq!(stale, Err(KeyError::ShareMismatch { member }));
    }
    // t−1 old shares and one new: renamed to pass for a quorum, they give another point.
    let list = vec![Suite::check(key, &label(1), &bytes).unwrap()];
    let token = finalized(block(1));
    let make = |held: &Held, member: usize| {
        let secret = &held.shares[member].encryption;
        let sealed = Suite::shares(secret, block(1), &list, &mut rng(3));
        sealed.take(&token).unwrap().batch()
    };
    for fresh in 1..3 {
        let batches = (0..3).map(|member| make(if member < fresh { &new } else { &old }, member));
        let sets: Vec<_> = batches
            .enumerate()
            .map(|(member, batch)| {
                let batch = renamed(batch, key.sharing());
                Suite::accept(key, block(1), 1, MemberId(member as u8), batch).unwrap()
            })
            .collect();
        let combiner = Suite::combiner(key, &ids(&[0, 1, 2])).unwrap();
        let points = Suite::combine(&combiner, &sets).unwrap();
        assert_eq!(Suite::open(key, &list, &points, &ENTROPY), [None]);
        assert!(Suite::verify_shares(key, &list, &sets[2]).is_err());
    }
    // Under their own name they are of another sharing.
    let stale = Suite::accept(key, block(1), 1, MemberId(0), make(&old, 0));
    assert!(stale.is_err());
}

/// Old members cannot deal anything but their shares on.
#[test]
fn resharing_holds_dealers_to_their_shares() {
    over_both_schemes(resharing_holds_dealers_to_their_shares_with);
}

fn resharing_holds_dealers_to_their_shares_with(scheme: Scheme) {
    let old = generate(scheme, 4, false);
    let (ceremony, _) = change(&old, 4, 50, false);
    let not_its = DealError::NotItsShare(DealtKey::Encryption);
    // A fresh secret, or another member's share.
    let (fresh, _) = fresh(scheme, 4, 50, false);
    let deal = fresh.deal(MemberId(1), &mut rng(1)).unwrap();
    assert_eq!(ceremony.verify(MemberId(1), deal).unwrap_err(), not_its);
    let mut deal = deal_on(&ceremony, &old.shares[2], 1);
    deal.dealer = MemberId(1);
    assert_eq!(ceremony.verify(MemberId(1), deal).unwrap_err(), not_its);
    assert_eq!(
        ceremony.deal(MemberId(1), &mut rng(1)).unwrap_err(),
        DealError::Dealer(MemberId(1))
    );
    let deal_share = |ceremony: &Ceremony, held: &Held| {
        let deal = ceremony.deal_share(&held.shares[0].encryption, None, &mut rng(1));
        deal.unwrap_err()
    };
    let foreign = generate(scheme, 7, false);
    assert_eq!(deal_share(&ceremony, &foreign), not_its);
    assert_eq!(deal_share(&fresh, &old), not_its);
    // f bad ones among them change nothing: any t good ones give the same key.
    let deals = old.shares.iter().map(|share| deal_on(&ceremony, share, 4));
    let deals = judged(&ceremony, deals);
    let key = |deals| ceremony.keys(deals).unwrap().encryption;
    let keys = [key(&deals[..3]), key(&deals[1..])];
    assert_eq!(public(&keys[0]), public(&keys[1]));
    assert_eq!(keys[0].id(), keys[1].id());
}

/// A chain has one scheme: what is of the other is refused as no key of the ceremony.
#[test]
fn dealings_and_shares_of_the_other_scheme_are_refused() {
    for (scheme, other) in [
        (Scheme::Tdh2, Scheme::BaekZheng),
        (Scheme::BaekZheng, Scheme::Tdh2),
    ] {
        let [(ceremony, _), (foreign, _)] = [scheme, other].map(|s| fresh(s, 4, 4, true));
        assert_eq!(ceremony.scheme(), scheme);
        let deal = foreign.deal(MemberId(1), &mut rng(1)).unwrap();
        assert_eq!(deal.scheme(), other);
        let refused = ceremony.verify(MemberId(1), deal).unwrap_err();
        assert_eq!(refused, DealError::Keys);
        // The flag is not a matter of taste: the parts differ in length.
        let deal = ceremony.deal(MemberId(1), &mut rng(1)).unwrap();
        let mut flipped = encode(&deal);
        flipped[2] ^= 0x20;
        assert!(borsh::from_slice::<Deal>(&flipped).is_err());
        let [held, foreign] = [scheme, other].map(|s| generate(s, 4, false));
        let (ceremony, _) = change(&held, 4, 50, false);
        let share = &foreign.shares[0].encryption;
        assert_eq!(
            ceremony.deal_share(share, None, &mut rng(1)).unwrap_err(),
            DealError::NotItsShare(DealtKey::Encryption)
        );
    }
}

#[test]
fn secrets_of_receivers_are_not_shown() {
    let (secrets, keys) = receivers(1, 1);
    let bytes = secrets[0].expose_secret();
    let text = format!("{:?} {:?}", secrets[0], keys[0]);
    assert!(
        !text.contains(&hex::encode(&bytes[..4])) && !text.contains(&format!("{}, ", bytes[0]))
    );
    assert_eq!(ReceiverSecret::from_bytes(&bytes).unwrap().key(), keys[0]);
    assert_eq!(ReceiverKey::new(*keys[0].bytes()), Ok(keys[0]));
    for bad in [[0; 32], [0xff; 32]] {
        assert_eq!(
            ReceiverSecret::from_bytes(&bad).unwrap_err(),
            KeyError::BadScalar
        );
        assert!(ReceiverKey::new(bad).is_err());
    }
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        let nobody = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(1), Vec::new(), false);
        assert!(nobody.is_err());
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn altered_dealings_decode_to_one_encoding_and_never_verify(
        scheme in prop::sample::select(vec![Scheme::Tdh2, Scheme::BaekZheng]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..3),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (ceremony, _) = fresh(scheme, 1, 4, false);
        let deal = ceremony.deal(MemberId(0), &mut rng(1)).unwrap();
        let mut bytes = encode(&deal);
        for (at, mask) in edits {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(other) = borsh::from_slice::<Deal>(&bytes) {
            prop_assert_eq!(encode(&other), bytes);
            prop_assert!(other == deal || ceremony.verify(MemberId(0), other).is_err());
        }
        prop_assert!(borsh::from_slice::<Deal>(&noise).is_err());
    }
}
