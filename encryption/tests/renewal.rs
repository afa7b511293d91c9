//! A fresh encryption key made with a resharing of the old one (PROTOCOL §6; THREATS A18, A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, SENDER, block, finalized, label, quorums, rng};
use fairlane_encryption::{
    Ceremony, CommitteeKeys, CommitteeShares, CtError, Deal, DealError, DealtKey, EncryptionKey,
    KeyShare, Opened, ParsedCiphertext, ReceiverSecret, Tdh2, ThresholdScheme, VerifiedDeal,
    resolve, threshold,
};
use fairlane_types::{Digest, Epoch, MemberId, encode};

struct Held {
    keys: CommitteeKeys,
    shares: Vec<CommitteeShares>,
}

fn receivers(n: usize, seed: u64) -> Vec<ReceiverSecret> {
    let mut rng = rng(seed);
    (0..n).map(|_| ReceiverSecret::generate(&mut rng)).collect()
}

fn judged(ceremony: &Ceremony, deal: &Deal) -> Result<VerifiedDeal, DealError> {
    let bytes = encode(deal);
    assert_eq!(bytes.len(), ceremony.encoded_len());
    ceremony.verify(deal.dealer, borsh::from_slice(&bytes).unwrap())
}

fn finish(ceremony: &Ceremony, deals: &[Deal], secrets: &[ReceiverSecret]) -> Held {
    let deals: Vec<_> = deals.iter().map(|d| judged(ceremony, d).unwrap()).collect();
    let keys = ceremony.keys(&deals).unwrap();
    let read = |(member, secret)| {
        let (again, shares) = (ceremony.shares(&deals, MemberId(member as u8), secret)).unwrap();
        assert_eq!(again, keys);
        shares
    };
    let shares = secrets.iter().enumerate().map(read).collect();
    Held { keys, shares }
}

/// Four members that made their keys.
fn first() -> Held {
    let secrets = receivers(4, 1);
    let keys = secrets.iter().map(ReceiverSecret::key).collect();
    let ceremony = Ceremony::fresh(Digest([1; 32]), Epoch(0), keys, true).unwrap();
    let deal = |dealer| ceremony.deal(MemberId(dealer), &mut rng(dealer.into()));
    let deals: Vec<_> = (0..3).map(|dealer| deal(dealer).unwrap()).collect();
    finish(&ceremony, &deals, &secrets)
}

fn renewal(old: &Held, n: usize, seed: u64) -> (Ceremony, Vec<ReceiverSecret>) {
    let secrets = receivers(n, seed);
    let keys = secrets.iter().map(ReceiverSecret::key).collect();
    let (id, epoch) = (Digest([seed as u8; 32]), Epoch(seed));
    let (encryption, certificate) = (&old.keys.encryption, &old.keys.certificate);
    let (encryption, certificate) = (encryption.clone(), certificate.clone());
    let ceremony = Ceremony::renew(id, epoch, keys, encryption, certificate).unwrap();
    (ceremony, secrets)
}

fn deal_on(ceremony: &Ceremony, old: &Held, dealer: usize, seed: u64) -> Deal {
    let CommitteeShares {
        encryption,
        certificate,
        ..
    } = &old.shares[dealer];
    let deal = ceremony.deal_share(encryption, certificate.as_ref(), &mut rng(seed));
    deal.unwrap()
}

fn renew(old: &Held, n: usize, seed: u64) -> Held {
    let (ceremony, secrets) = renewal(old, n, seed);
    let dealers = old.shares.len() - ceremony.needed()..old.shares.len();
    let deals: Vec<_> = dealers.map(|d| deal_on(&ceremony, old, d, seed)).collect();
    finish(&ceremony, &deals, &secrets)
}

fn seal(key: &EncryptionKey) -> Vec<u8> {
    Tdh2::encrypt(key, &label(1), b"an order", &SENDER, &mut rng(9)).unwrap()
}

fn opens(key: &EncryptionKey, shares: &[&KeyShare], bytes: &[u8]) -> bool {
    let list: Vec<ParsedCiphertext> = vec![Tdh2::check(key, &label(1), bytes).unwrap()];
    let token = finalized(block(1));
    let make = |share: &&KeyShare| {
        let sealed = Tdh2::shares(share, block(1), &list, &mut rng(3));
        sealed.take(&token).unwrap()
    };
    let sets: Vec<_> = shares.iter().map(make).collect();
    let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
    let resolved = resolve::<Tdh2, _>(key, &list, &sets, &ENTROPY).unwrap();
    assert!(resolved.liars.is_empty() && resolved.missing == 0);
    matches!(&resolved.outcomes[0], Some(Opened::Plain(plain)) if plain.payload == b"an order")
}

/// The old key opens what was sealed to it, the fresh one what is sealed to that, each with any
/// t shares; the certificate key stays. Nothing of the old key is dealt on by the next change.
#[test]
fn each_epoch_has_its_key_and_the_one_before() {
    let mut held = first();
    for (n, seed) in [(7, 21), (4, 22)] {
        let next = renew(&held, n, seed);
        let (old, new) = (&held.keys, &next.keys);
        let former = new.former.as_ref().unwrap();
        assert_eq!(
            (former.id(), former.y()),
            (old.encryption.id(), old.encryption.y())
        );
        assert_ne!(former.sharing(), old.encryption.sharing());
        assert_ne!(new.encryption.id(), old.encryption.id());
        assert_eq!(new.encryption.id(), new.encryption.sharing());
        let certificate = |keys: &CommitteeKeys| *keys.certificate.as_ref().unwrap().public_key();
        assert_eq!(certificate(old), certificate(new));
        let (before, after) = (seal(&old.encryption), seal(&new.encryption));
        for quorum in quorums(n, threshold(n)) {
            let fresh = quorum.iter().map(|m| &next.shares[*m].encryption);
            assert!(opens(&new.encryption, &fresh.collect::<Vec<_>>(), &after));
            let former_shares = quorum
                .iter()
                .map(|m| next.shares[*m].former.as_ref().unwrap());
            assert!(opens(former, &former_shares.collect::<Vec<_>>(), &before));
        }
        // Neither ciphertext is one of the other key.
        let foreign = Tdh2::check(&new.encryption, &label(1), &before);
        assert_eq!(foreign.unwrap_err(), CtError::BadProof);
        held = next;
    }
}

/// Two dealers draw from other randomness: another key comes of it, whoever the rest are.
#[test]
fn every_dealer_that_counts_changes_the_key() {
    let old = first();
    let (ceremony, secrets) = renewal(&old, 4, 5);
    let key = |seeds: [u64; 3]| {
        let deals = seeds.iter().enumerate();
        let deals: Vec<_> = deals
            .map(|(d, s)| deal_on(&ceremony, &old, d, *s))
            .collect();
        finish(&ceremony, &deals, &secrets).keys.encryption.id()
    };
    let made = [[1, 2, 3], [9, 2, 3], [1, 9, 3], [1, 2, 9]].map(key);
    let distinct: std::collections::BTreeSet<_> = made.iter().collect();
    assert_eq!(distinct.len(), made.len());
}

/// A false contribution makes the whole dealing bad, by its bytes alone.
#[test]
fn a_false_contribution_is_refused() {
    let old = first();
    let (ceremony, _) = renewal(&old, 4, 6);
    let own = encode(&deal_on(&ceremony, &old, 1, 1));
    let verdict = |bytes: &[u8]| {
        let deal: Deal = borsh::from_slice(bytes).unwrap();
        ceremony.verify(MemberId(1), deal).map(|_| ())
    };
    assert_eq!(verdict(&own), Ok(()));
    let cut = Deal::encoded_len(4, true, false);
    assert_eq!(own.len(), Deal::encoded_len(4, true, true));
    // In its proof of possession, in an opened seed, in the last entry of the last slot.
    let commitments = 32 * threshold(4);
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
    let other = encode(&deal_on(&ceremony, &old, 2, 1));
    let (later, _) = renewal(&old, 4, 7);
    let later = encode(&deal_on(&later, &old, 1, 1));
    let dealt_on = &own[3..3 + own.len() - cut];
    for part in [&other[cut..], &later[cut..], dealt_on] {
        let bytes = [&own[..cut], part].concat();
        assert_eq!(verdict(&bytes), Err(possession));
    }
    // Without one, and where none is wanted.
    let mut none = own[..cut].to_vec();
    none[2] &= !0x40;
    assert_eq!(verdict(&none), Err(DealError::Keys));
    let keys = receivers(4, 6).iter().map(ReceiverSecret::key).collect();
    let (encryption, certificate) = (&old.keys.encryption, &old.keys.certificate);
    let (encryption, certificate) = (encryption.clone(), certificate.clone());
    let kept = Ceremony::reshare(Digest([6; 32]), Epoch(6), keys, encryption, certificate);
    let whole: Deal = borsh::from_slice(&own).unwrap();
    let refused = kept.unwrap().verify(MemberId(1), whole).unwrap_err();
    assert_eq!(refused, DealError::Keys);
}
