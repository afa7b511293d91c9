//! The encryption key and the certificate key under one dealing: made, reshared and
//! refreshed together (THREATS A18, A19, A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::ceremonies::{
    Held, change, deal_on, dealt_on, finish, fresh, generate, judged, over_both_schemes, receivers,
};
use common::{cases, ceremonies, quorums, rng};
use fairlane_encryption::{
    Ceremony, CertificateShare, CombineError, CommitteeKeys, CommitteeShares, Deal, DealError,
    DealtKey, KeyError, ReceiverSecret, ShareError, Subject, accept_certificate_share, certify,
    deal_pairing_insecure, deal_suite_insecure, sign_attestation, threshold,
};
use fairlane_types::{ChainId, Digest, Epoch, Height, MemberId, Root, Scheme, encode};
use proptest::prelude::*;

const CHAIN: ChainId = ChainId(7);
const ROOT: Root = Root(Digest([3; 32]));

fn resharing(old: &Held, n: usize, seed: u64) -> (Ceremony, Vec<ReceiverSecret>) {
    change(old, n, seed, false)
}

fn subject() -> Subject {
    Subject::Attest {
        chain: CHAIN,
        epoch: Epoch(1),
        height: Height(9),
        root: ROOT,
    }
}

fn signed(held: &Held, member: usize) -> CertificateShare {
    let secret = held.shares[member].certificate.as_ref().unwrap();
    sign_attestation(secret, CHAIN, Epoch(1), Height(9), ROOT)
}

/// The certificate that these members make, as bytes, verified under `public`.
fn certificate(held: &Held, members: &[usize], public: &[u8; 48]) -> Option<[u8; 96]> {
    let key = held.keys.certificate.as_ref().unwrap();
    let accept = |member: &usize| {
        let from = MemberId(*member as u8);
        accept_certificate_share(key, from, &signed(held, *member)).unwrap()
    };
    let shares: Vec<_> = members.iter().map(accept).collect();
    let made = certify(key, &subject(), &shares).unwrap();
    assert!(made.liars.is_empty());
    let certificate = made.certificate?;
    assert!(certificate.verify(public, &subject()));
    Some(certificate.0)
}

fn public(held: &Held) -> [u8; 48] {
    *held.keys.certificate.as_ref().unwrap().public_key()
}

#[test]
fn any_t_members_certify_and_fewer_do_not() {
    over_both_schemes(any_t_members_certify_and_fewer_do_not_with);
}

fn any_t_members_certify_and_fewer_do_not_with(scheme: Scheme) {
    for n in [1, 4, 7] {
        let held = generate(scheme, n, true);
        let (public, t) = (public(&held), threshold(n));
        let first: Vec<usize> = (0..t).collect();
        let unique = certificate(&held, &first, &public).unwrap();
        for quorum in quorums(n, t) {
            assert_eq!(certificate(&held, &quorum, &public), Some(unique));
            assert_eq!(certificate(&held, &quorum[1..], &public), None);
        }
    }
}

/// The public key and its id stay, so a light client notices nothing.
#[test]
fn four_to_seven_to_four_to_four_keeps_both_keys() {
    over_both_schemes(four_to_seven_to_four_to_four_keeps_both_keys_with);
}

fn four_to_seven_to_four_to_four_keeps_both_keys_with(scheme: Scheme) {
    let first = generate(scheme, 4, true);
    let (public, everybody) = (public(&first), [0, 1, 2, 3]);
    let unique = certificate(&first, &everybody, &public).unwrap();
    let mut held = Vec::new();
    // Larger, smaller, and again the same size: no receiver's key is ever the same.
    for (n, seed) in [(7, 21), (4, 22), (4, 23)] {
        let before = held.last().unwrap_or(&first);
        let next = dealt_on(before, resharing(before, n, seed));
        let (old, new) = (&first.keys, &next.keys);
        assert_eq!(
            ceremonies::public(&new.encryption),
            ceremonies::public(&old.encryption)
        );
        assert_eq!(new.encryption.id(), old.encryption.id());
        let (old, new) = (old.certificate.as_ref(), new.certificate.as_ref());
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!((new.public_key(), new.id()), (old.public_key(), old.id()));
        assert_ne!(new.sharing(), old.sharing());
        for quorum in quorums(n, threshold(n)) {
            assert_eq!(certificate(&next, &quorum, &public), Some(unique));
        }
        held.push(next);
    }
}

/// The same committee, with the same receivers' keys, deals itself new shares.
#[test]
fn after_a_refresh_old_shares_do_not_certify_with_new_ones() {
    over_both_schemes(after_a_refresh_old_shares_do_not_certify_with_new_ones_with);
}

fn after_a_refresh_old_shares_do_not_certify_with_new_ones_with(scheme: Scheme) {
    let old = generate(scheme, 4, true);
    let public = public(&old);
    // The seed of the first receivers.
    let (ceremony, secrets) = resharing(&old, 4, 4);
    let deals = old.shares[..3].iter().map(|s| deal_on(&ceremony, s, 1));
    let new = finish(&ceremony, &judged(&ceremony, deals), &secrets);
    assert!(certificate(&new, &[0, 1, 3], &public).is_some());

    let key = new.keys.certificate.as_ref().unwrap();
    // An old share is refused under its own name; renamed, it is a lie that is found.
    let stale = signed(&old, 2);
    let refused = accept_certificate_share(key, MemberId(2), &stale);
    assert_eq!(refused.unwrap_err(), ShareError::WrongKey);
    let renamed = CertificateShare {
        key: key.sharing(),
        ..stale
    };
    let mixed = [signed(&new, 0), signed(&new, 1), renamed, signed(&new, 3)];
    let accept = |share: &CertificateShare| accept_certificate_share(key, share.member, share);
    let mixed: Vec<_> = mixed.iter().map(|share| accept(share).unwrap()).collect();
    let made = certify(key, &subject(), &mixed[..3]).unwrap();
    assert_eq!((made.certificate, made.missing), (None, 1));
    assert_eq!(made.liars, [MemberId(2)]);
    let made = certify(key, &subject(), &mixed).unwrap();
    assert!(made.certificate.is_some() && made.liars == [MemberId(2)]);
}

/// f dealers at their worst, in any place of the log: what they deal is refused, and the
/// others' keys work.
#[test]
fn f_bad_dealers_of_seven_change_nothing() {
    over_both_schemes(f_bad_dealers_of_seven_change_nothing_with);
}

fn f_bad_dealers_of_seven_change_nothing_with(scheme: Scheme) {
    let (ceremony, secrets) = fresh(scheme, 7, 70, true);
    assert_eq!(ceremony.needed(), 5);
    let deal = |dealer: u8| ceremony.deal(MemberId(dealer), &mut rng(dealer.into()));
    let mut deals: Vec<Deal> = (0..7).map(|dealer| deal(dealer).unwrap()).collect();
    let half = ceremony.encoded_len() / 2;
    for (bad, at) in [(0, half + 4_000), (3, 9_000)] {
        let mut bytes = encode(&deals[bad]);
        bytes[at] ^= 1;
        deals[bad] = borsh::from_slice(&bytes).unwrap();
    }
    let verdicts: Vec<_> = deals
        .into_iter()
        .map(|deal| ceremony.verify(deal.dealer, deal))
        .collect();
    let bad = [DealtKey::Certificate, DealtKey::Encryption].map(DealError::Encryption);
    let why: Vec<_> = verdicts.iter().filter_map(|v| v.as_ref().err()).collect();
    assert_eq!(why, bad.iter().collect::<Vec<_>>());
    let good: Vec<_> = verdicts.into_iter().flatten().collect();
    let held = finish(&ceremony, &good, &secrets);
    let public = public(&held);
    assert!(certificate(&held, &[0, 1, 2, 3, 4], &public).is_some());
    let short = CombineError::NotEnough { have: 4, need: 5 };
    assert_eq!(ceremony.keys(&good[1..]).unwrap_err(), short);
}

/// Two good halves are not one good dealing unless they are of one dealer and ceremony.
#[test]
fn a_bad_half_makes_the_whole_dealing_bad() {
    over_both_schemes(a_bad_half_makes_the_whole_dealing_bad_with);
}

fn a_bad_half_makes_the_whole_dealing_bad_with(scheme: Scheme) {
    let (ceremony, _) = fresh(scheme, 4, 4, true);
    let (_, keys) = receivers(4, 4);
    let deal = |ceremony: &Ceremony, dealer, seed| {
        encode(&ceremony.deal(MemberId(dealer), &mut rng(seed)).unwrap())
    };
    let verdict = |bytes: &[u8]| {
        let deal: Deal = borsh::from_slice(bytes).unwrap();
        ceremony.verify(MemberId(1), deal).map(|_| ())
    };
    let (own, again, other) = (
        deal(&ceremony, 1, 1),
        deal(&ceremony, 1, 2),
        deal(&ceremony, 2, 3),
    );
    let (plain, _) = fresh(scheme, 4, 4, false);
    let later = Ceremony::fresh(scheme, Digest([5; 32]), Epoch(1), keys, true).unwrap();
    let later = deal(&later, 1, 4);
    let cut = plain.encoded_len();
    let with = |second: &[u8]| [&own[..cut], &second[cut..]].concat();
    assert_eq!(verdict(&own), Ok(()));
    // Both are the dealer's own, for this ceremony: it may combine them as it likes.
    assert_eq!(verdict(&with(&again)), Ok(()));
    let stolen = Err(DealError::Possession(DealtKey::Certificate));
    assert_eq!(verdict(&with(&other)), stolen);
    assert_eq!(verdict(&with(&later)), stolen);
    // Without its second half, or where none is wanted.
    let mut halved = own[..cut].to_vec();
    halved[2] &= 0x7f;
    assert_eq!(verdict(&halved), Err(DealError::Keys));
    let whole: Deal = borsh::from_slice(&own).unwrap();
    let whole = plain.verify(MemberId(1), whole).unwrap_err();
    assert_eq!(whole, DealError::Keys);
    let mut zero = own.clone();
    zero[cut] = 0xc0;
    zero[cut + 1..cut + 48].fill(0);
    let key = DealtKey::Certificate;
    assert_eq!(verdict(&zero), Err(DealError::Commitment { key, at: 0 }));
}

#[test]
fn resharing_holds_dealers_to_both_shares() {
    over_both_schemes(resharing_holds_dealers_to_both_shares_with);
}

fn resharing_holds_dealers_to_both_shares_with(scheme: Scheme) {
    let old = generate(scheme, 4, true);
    let (ceremony, _) = resharing(&old, 4, 50);
    let [one, two] = [&old.shares[1], &old.shares[2]];
    let deal = |encryption: &CommitteeShares, certificate: Option<&CommitteeShares>| {
        let certificate = certificate.map(|held| held.certificate.as_ref().unwrap());
        ceremony.deal_share(&encryption.encryption, certificate, &mut rng(1))
    };
    let not_its = DealError::NotItsShare(DealtKey::Certificate);
    assert_eq!(deal(one, Some(two)).unwrap_err(), not_its);
    assert_eq!(deal(one, None).unwrap_err(), DealError::Keys);
    let foreign = generate(scheme, 7, true);
    assert_eq!(deal(one, Some(&foreign.shares[1])).unwrap_err(), not_its);

    // A dealer that puts a fresh secret in the place of its certificate share.
    let (fresh, _) = fresh(scheme, 4, 50, true);
    let own = encode(&deal(one, Some(one)).unwrap());
    let other = encode(&fresh.deal(MemberId(1), &mut rng(2)).unwrap());
    let (_, keys) = receivers(4, 50);
    let cut = Deal::encoded_len(scheme, 4, false, false);
    let forged = [&own[..cut], &other[cut..]].concat();
    let forged: Deal = borsh::from_slice(&forged).unwrap();
    assert_eq!(ceremony.verify(MemberId(1), forged).unwrap_err(), not_its);

    // Keys of two committees are no committee's.
    let (encryption, _) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng(1)).unwrap();
    let (certificate, _) = deal_pairing_insecure(Epoch(0), 7, &mut rng(1)).unwrap();
    let refused = Ceremony::reshare(
        Digest([0; 32]),
        Epoch(1),
        keys,
        encryption,
        Some(certificate),
    );
    let want = KeyError::Holders {
        encryption: 4,
        certificate: 7,
    };
    assert_eq!(refused.unwrap_err(), want);
}

/// A key that a dealer made is freed of it: new shares, the same public key.
#[test]
fn a_dealt_key_is_refreshed() {
    over_both_schemes(a_dealt_key_is_refreshed_with);
}

fn a_dealt_key_is_refreshed_with(scheme: Scheme) {
    let (encryption, shares) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng(5)).unwrap();
    let (key, secrets) = deal_pairing_insecure(Epoch(0), 4, &mut rng(6)).unwrap();
    let keys = CommitteeKeys {
        encryption,
        certificate: Some(key),
        former: None,
    };
    let both = |(encryption, secret)| CommitteeShares {
        encryption,
        certificate: Some(secret),
        former: None,
    };
    let shares = shares.into_iter().zip(secrets).map(both).collect();
    let dealt = Held { keys, shares };
    let refreshed = dealt_on(&dealt, resharing(&dealt, 4, 33));
    let public = public(&dealt);
    let [old, new] = [&dealt, &refreshed].map(|held| certificate(held, &[0, 1, 2], &public));
    assert!(old.is_some() && old == new);
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
        let (ceremony, _) = fresh(scheme, 1, 4, true);
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
