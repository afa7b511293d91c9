//! With suite 0x02 every part of a dealing lies in one group, and all have one length: what keeps
//! a part of one key from passing for a part of another is what its hashes are bound to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::ceremonies::{Held, change, deal_on, fresh, generate};
use common::rng;
use fairlane_encryption::{
    Ceremony, CertificateKey, CertificateSecret, CommitteeKeys, CommitteeShares, Deal, DealError,
    DealtKey, SuiteKey, SuiteSecret,
};
use fairlane_types::{MemberId, Scheme, encode};

const DEALER: MemberId = MemberId(1);
const ENCRYPTION: DealtKey = DealtKey::Encryption;
const CERTIFICATE: DealtKey = DealtKey::Certificate;
const FRESH: DealtKey = DealtKey::Fresh;

/// Header and parts of a dealing.
fn parts(deal: &Deal) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = encode(deal);
    let part = Deal::encoded_len(Scheme::BaekZheng, 4, false, false) - 3;
    assert_eq!((bytes.len() - 3) % part, 0);
    let parts = bytes[3..].chunks(part).map(<[u8]>::to_vec).collect();
    (bytes[..3].to_vec(), parts)
}

/// The verdicts on a dealing with its parts in other places; `places` names where each comes from.
fn moved(ceremony: &Ceremony, deal: &Deal, places: &[usize]) -> Result<(), DealError> {
    let (header, parts) = parts(deal);
    assert_eq!(places.len(), parts.len());
    let parts: Vec<_> = places.iter().map(|from| parts[*from].clone()).collect();
    let bytes = [header, parts.concat()].concat();
    let deal: Deal = borsh::from_slice(&bytes).unwrap();
    ceremony.verify(DEALER, deal).map(|_| ())
}

/// Keys for orders and for certificates that are one polynomial: the worst that could be dealt on.
fn one_secret_for_both() -> Held {
    let made = generate(Scheme::BaekZheng, 4, false);
    let key = made.keys.encryption.baek_zheng().unwrap();
    let certificate = CertificateKey::new(key.epoch(), 4, key.coefficients().to_vec()).unwrap();
    let shares = made.shares.into_iter().map(|shares| {
        let SuiteSecret::BaekZheng(share) = &shares.encryption else {
            panic!("a share of suite 0x02");
        };
        let secret = share.expose_secret();
        let secret = CertificateSecret::new(&certificate, share.member(), &secret).unwrap();
        CommitteeShares {
            certificate: Some(secret),
            ..shares
        }
    });
    let shares = shares.collect();
    let keys = CommitteeKeys {
        encryption: SuiteKey::BaekZheng(key.clone()),
        certificate: Some(certificate),
        former: None,
    };
    Held { keys, shares }
}

#[test]
fn no_part_of_first_keys_passes_for_the_other() {
    let (ceremony, _) = fresh(Scheme::BaekZheng, 4, 4, true);
    let deal = ceremony.deal(DEALER, &mut rng(1)).unwrap();
    assert_eq!(moved(&ceremony, &deal, &[0, 1]), Ok(()));
    for (places, key) in [
        ([1, 0], ENCRYPTION),
        ([1, 1], ENCRYPTION),
        ([0, 0], CERTIFICATE),
    ] {
        let verdict = moved(&ceremony, &deal, &places);
        assert_eq!(verdict, Err(DealError::Possession(key)), "{places:?}");
    }
}

/// A dealer of two keys with one secret could deal one part for both, if anything let it.
#[test]
fn no_part_that_deals_a_share_on_passes_for_that_of_another_key() {
    let old = one_secret_for_both();
    let (ceremony, _) = change(&old, 4, 50, false);
    let deal = deal_on(&ceremony, &old.shares[DEALER.index()], 1);
    assert_eq!(moved(&ceremony, &deal, &[0, 1]), Ok(()));
    for (places, key) in [
        ([1, 0], ENCRYPTION),
        ([1, 1], ENCRYPTION),
        ([0, 0], CERTIFICATE),
    ] {
        let verdict = moved(&ceremony, &deal, &places);
        assert_eq!(verdict, Err(DealError::Possession(key)), "{places:?}");
    }
    // With two secrets it is not even the dealer's share.
    let old = generate(Scheme::BaekZheng, 4, true);
    let (ceremony, _) = change(&old, 4, 50, false);
    let deal = deal_on(&ceremony, &old.shares[DEALER.index()], 1);
    let verdict = moved(&ceremony, &deal, &[1, 1]);
    assert_eq!(verdict, Err(DealError::NotItsShare(ENCRYPTION)));
    let verdict = moved(&ceremony, &deal, &[0, 0]);
    assert_eq!(verdict, Err(DealError::NotItsShare(CERTIFICATE)));
}

#[test]
fn no_part_of_a_renewal_passes_for_another() {
    let old = one_secret_for_both();
    let (ceremony, _) = change(&old, 4, 50, true);
    let deal = deal_on(&ceremony, &old.shares[DEALER.index()], 1);
    assert_eq!(moved(&ceremony, &deal, &[0, 1, 2]), Ok(()));
    for (places, why) in [
        // The dealt-on parts for the fresh one, and for each other.
        ([0, 1, 0], DealError::Possession(FRESH)),
        ([0, 1, 1], DealError::Possession(FRESH)),
        ([1, 0, 2], DealError::Possession(ENCRYPTION)),
        ([0, 0, 2], DealError::Possession(CERTIFICATE)),
        // A fresh secret is nobody's share.
        ([2, 1, 2], DealError::NotItsShare(ENCRYPTION)),
        ([0, 2, 2], DealError::NotItsShare(CERTIFICATE)),
        ([2, 1, 0], DealError::NotItsShare(ENCRYPTION)),
    ] {
        assert_eq!(moved(&ceremony, &deal, &places), Err(why), "{places:?}");
    }
    // Nor does a part of the first keys, of one dealer and to the same receivers, pass later.
    let (first, _) = fresh(Scheme::BaekZheng, 4, 50, true);
    let (_, made) = parts(&first.deal(DEALER, &mut rng(3)).unwrap());
    let (header, own) = parts(&deal);
    for part in made {
        let bytes = [&header[..], &own[0], &own[1], &part].concat();
        let deal: Deal = borsh::from_slice(&bytes).unwrap();
        let verdict = ceremony.verify(DEALER, deal).unwrap_err();
        assert_eq!(verdict, DealError::Possession(FRESH));
    }
}
