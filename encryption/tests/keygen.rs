//! Key generation without a dealer, resharing and refresh (THREATS A18, A19, A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, SENDER, block, cases, finalized, ids, label, quorums, rng};
use fairlane_encryption::{
    Ceremony, CombineError, Deal, DealError, DealtKey, EncryptionKey, KEPT, KeyError, KeyShare,
    Opened, ParsedCiphertext, ReceiverKey, ReceiverSecret, SLOTS, Tdh2, ThresholdScheme,
    VerifiedDeal, deal_insecure, resolve, threshold,
};
use fairlane_types::{Digest, Epoch, MemberId, encode};
use proptest::prelude::*;

/// A committee's secrets for dealings.
fn receivers(n: usize, seed: u64) -> (Vec<ReceiverSecret>, Vec<ReceiverKey>) {
    let mut rng = rng(seed);
    let secrets: Vec<_> = (0..n).map(|_| ReceiverSecret::generate(&mut rng)).collect();
    let keys = secrets.iter().map(ReceiverSecret::key).collect();
    (secrets, keys)
}

/// A key with the shares of some members.
struct Held {
    key: EncryptionKey,
    shares: Vec<KeyShare>,
}

fn judged(ceremony: &Ceremony, deals: Vec<Deal>) -> Vec<VerifiedDeal> {
    deals
        .into_iter()
        .map(|deal| ceremony.verify(deal.dealer, deal).unwrap())
        .collect()
}

fn finish(ceremony: &Ceremony, deals: &[VerifiedDeal], secrets: &[ReceiverSecret]) -> Held {
    let key = ceremony.keys(deals).unwrap().encryption;
    let shares = secrets
        .iter()
        .enumerate()
        .map(|(member, secret)| {
            let (again, shares) = ceremony
                .shares(deals, MemberId(member as u8), secret)
                .unwrap();
            assert_eq!(again.encryption, key);
            assert!(again.certificate.is_none() && shares.certificate.is_none());
            shares.encryption
        })
        .collect();
    Held { key, shares }
}

fn generate(n: usize) -> Held {
    let (secrets, keys) = receivers(n, n as u64);
    let ceremony = Ceremony::fresh(Digest([1; 32]), Epoch(1), keys, false).unwrap();
    let dealers = ceremony.needed();
    let deals = (0..dealers)
        .map(|dealer| {
            ceremony
                .deal(MemberId(dealer as u8), &mut rng(dealer as u64))
                .unwrap()
        })
        .collect();
    finish(&ceremony, &judged(&ceremony, deals), &secrets)
}

/// Deals `old` on to a committee; dealers are the last t of the old one.
fn reshare(old: &Held, n: usize, seed: u64) -> Held {
    let (secrets, keys) = receivers(n, seed);
    let ceremony = Ceremony::reshare(
        Digest([seed as u8; 32]),
        Epoch(seed),
        keys,
        old.key.clone(),
        None,
    )
    .unwrap();
    let first = old.shares.len() - ceremony.needed();
    let deals = old.shares[first..]
        .iter()
        .map(|share| ceremony.deal_share(share, None, &mut rng(seed)).unwrap())
        .collect();
    finish(&ceremony, &judged(&ceremony, deals), &secrets)
}

fn seal(key: &EncryptionKey) -> Vec<u8> {
    Tdh2::encrypt(key, &label(1), b"an order", &SENDER, &mut rng(9)).unwrap()
}

/// Whether every given quorum opens the ciphertext to the order.
fn opens(held: &Held, bytes: &[u8], quorum: &[usize]) -> bool {
    let list: Vec<ParsedCiphertext> = vec![Tdh2::check(&held.key, &label(1), bytes).unwrap()];
    let token = finalized(block(1));
    let sets: Vec<_> = quorum
        .iter()
        .map(|member| {
            let sealed = Tdh2::shares(&held.shares[*member], block(1), &list, &mut rng(3));
            sealed.take(&token).unwrap()
        })
        .collect();
    for set in &sets {
        assert!(Tdh2::verify_shares(&held.key, &list, set).is_ok());
    }
    let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
    let resolved = resolve::<Tdh2, _>(&held.key, &list, &sets, &ENTROPY).unwrap();
    assert!(resolved.liars.is_empty());
    matches!(&resolved.outcomes[0], Some(Opened::Plain(plain)) if plain.payload == b"an order")
}

#[test]
fn committees_make_keys_that_work() {
    for n in [1, 4, 7] {
        let held = generate(n);
        let bytes = seal(&held.key);
        for quorum in quorums(n, threshold(n)) {
            assert!(opens(&held, &bytes, &quorum));
        }
        // The key is an ordinary one: it loads, and is what a genesis would carry.
        let again: EncryptionKey = borsh::from_slice(&encode(&held.key)).unwrap();
        assert_eq!(again, held.key);
        assert_eq!(again.id(), again.sharing());
    }
}

#[test]
fn only_the_first_needed_dealings_count() {
    let (secrets, keys) = receivers(4, 4);
    let ceremony = Ceremony::fresh(Digest([1; 32]), Epoch(1), keys, false).unwrap();
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
    let other = Ceremony::fresh(Digest([2; 32]), Epoch(1), keys, false).unwrap();
    assert_eq!(
        other.keys(&deals).unwrap_err(),
        CombineError::Mixed(MemberId(0))
    );
}

/// Every kind of bad dealing is refused, for the same reason by everybody, as the check
/// has no secret and no randomness.
#[test]
fn bad_dealings_are_refused() {
    let (_, keys) = receivers(4, 4);
    let new = |id: u8, epoch, keys: &[ReceiverKey]| {
        Ceremony::fresh(Digest([id; 32]), Epoch(epoch), keys.to_vec(), false).unwrap()
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
    let slots_at = 3 + 32 * (3 + 2 + 1 + (SLOTS - KEPT));
    assert_eq!(bytes.len(), slots_at + KEPT * slot);
    assert_eq!(bytes.len(), ceremony.encoded_len());
    let places = [
        3,
        3 + 32,
        3 + 96,
        3 + 128,
        3 + 160,
        3 + 192,
        3 + 192 + 71 * 32,
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
    zero[3..35].fill(0);
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
    let first = generate(4);
    let bytes = seal(&first.key);
    let second = reshare(&first, 7, 21);
    let third = reshare(&second, 4, 22);
    for (held, n) in [(&second, 7), (&third, 4)] {
        assert_eq!(held.key.y(), first.key.y());
        assert_eq!(held.key.id(), first.key.id());
        assert_ne!(held.key.sharing(), first.key.sharing());
        for quorum in quorums(n, threshold(n)) {
            assert!(opens(held, &bytes, &quorum));
        }
        let again: EncryptionKey = borsh::from_slice(&encode(&held.key)).unwrap();
        assert_eq!(
            (again.id(), again.sharing()),
            (first.key.id(), held.key.sharing())
        );
        // What is encrypted later is the same to a sender that has the first key only.
        assert!(opens(
            held,
            &seal(&held.key),
            &(0..threshold(n)).collect::<Vec<_>>()
        ));
        assert_eq!(seal(&held.key), seal(&first.key));
    }
    assert_ne!(third.key.sharing(), first.key.sharing());
    // A dealt key is reshared as well.
    let (key, shares) = deal_insecure(Epoch(0), 4, &mut rng(2)).unwrap();
    let dealt = Held { key, shares };
    let bytes = seal(&dealt.key);
    assert!(opens(&reshare(&dealt, 4, 23), &bytes, &[0, 1, 3]));
}

#[test]
fn refreshed_shares_do_not_mix_with_old_ones() {
    let old = generate(4);
    let bytes = seal(&old.key);
    let new = reshare(&old, 4, 31);
    assert!(opens(&old, &bytes, &[0, 1, 2]) && opens(&new, &bytes, &[0, 1, 2]));
    for member in 0..4 {
        let stale = KeyShare::new(
            &new.key,
            MemberId(member as u8),
            &old.shares[member].expose_secret(),
        );
        let member = MemberId(member as u8);
        assert_eq!(stale.unwrap_err(), KeyError::ShareMismatch { member });
    }
    // t−1 old shares and one new: renamed to pass for a quorum, they give another point.
    let list = vec![Tdh2::check(&new.key, &label(1), &bytes).unwrap()];
    let token = finalized(block(1));
    let make = |held: &Held, member: usize| {
        let sealed = Tdh2::shares(&held.shares[member], block(1), &list, &mut rng(3));
        sealed.take(&token).unwrap().batch().clone()
    };
    for fresh in 1..3 {
        let batches = (0..3).map(|member| make(if member < fresh { &new } else { &old }, member));
        let sets: Vec<_> = batches
            .map(|mut batch| {
                batch.key = new.key.sharing();
                Tdh2::accept(&new.key, block(1), 1, batch.member, batch).unwrap()
            })
            .collect();
        let combiner = Tdh2::combiner(&new.key, &ids(&[0, 1, 2])).unwrap();
        let points = Tdh2::combine(&combiner, &sets).unwrap();
        assert_eq!(Tdh2::open(&new.key, &list, &points, &ENTROPY), [None]);
        assert!(Tdh2::verify_shares(&new.key, &list, &sets[2]).is_err());
    }
    // Under their own name they are of another sharing.
    let stale = Tdh2::accept(&new.key, block(1), 1, MemberId(0), make(&old, 0));
    assert!(stale.is_err());
}

/// Old members cannot deal anything but their shares on.
#[test]
fn resharing_holds_dealers_to_their_shares() {
    let old = generate(4);
    let (_, keys) = receivers(4, 50);
    let ceremony = Ceremony::reshare(
        Digest([9; 32]),
        Epoch(2),
        keys.clone(),
        old.key.clone(),
        None,
    )
    .unwrap();
    // A fresh secret, or another member's share.
    let fresh = Ceremony::fresh(Digest([9; 32]), Epoch(2), keys.clone(), false).unwrap();
    let deal = fresh.deal(MemberId(1), &mut rng(1)).unwrap();
    assert_eq!(
        ceremony.verify(MemberId(1), deal).unwrap_err(),
        DealError::NotItsShare(DealtKey::Encryption)
    );
    let mut deal = ceremony
        .deal_share(&old.shares[2], None, &mut rng(1))
        .unwrap();
    deal.dealer = MemberId(1);
    assert_eq!(
        ceremony.verify(MemberId(1), deal).unwrap_err(),
        DealError::NotItsShare(DealtKey::Encryption)
    );
    assert_eq!(
        ceremony.deal(MemberId(1), &mut rng(1)).unwrap_err(),
        DealError::Dealer(MemberId(1))
    );
    let foreign = generate(7);
    assert_eq!(
        ceremony
            .deal_share(&foreign.shares[0], None, &mut rng(1))
            .unwrap_err(),
        DealError::NotItsShare(DealtKey::Encryption)
    );
    assert_eq!(
        fresh
            .deal_share(&old.shares[0], None, &mut rng(1))
            .unwrap_err(),
        DealError::NotItsShare(DealtKey::Encryption)
    );
    // f bad ones among them change nothing: any t good ones give the same key.
    let deals = old
        .shares
        .iter()
        .map(|share| ceremony.deal_share(share, None, &mut rng(4)).unwrap())
        .collect();
    let deals = judged(&ceremony, deals);
    let all = [&deals[..3], &deals[1..]];
    let keys: Vec<_> = all
        .iter()
        .map(|deals| ceremony.keys(deals).unwrap().encryption)
        .collect();
    assert_eq!((keys[0].y(), keys[0].id()), (keys[1].y(), keys[1].id()));
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
    assert!(Ceremony::fresh(Digest([1; 32]), Epoch(1), Vec::new(), false).is_err());
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn altered_dealings_decode_to_one_encoding_and_never_verify(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..3),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (_, keys) = receivers(1, 4);
        let ceremony = Ceremony::fresh(Digest([1; 32]), Epoch(1), keys, false).unwrap();
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
