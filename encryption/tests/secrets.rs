//! Secrets are not printed, and are erased.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;
#[path = "../../types/tests/common/printed.rs"]
mod printed;

use std::fmt::Debug;
use std::sync::Arc;

use common::ceremonies::over_both_schemes;
use common::rig::{Rig, Stage};
use common::{ENTROPY, World, block, ids, rng};
use fairlane_encryption::{
    BaekZheng, Ceremony, CertificateKeys, Encrypting, KeyBatch, KeyPoint, Opened, ReceiverSecret,
    Signing, SuiteSecret, Tdh2, deal_pairing_insecure,
};
use fairlane_types::{Digest, Epoch, MemberId, Scheme, encode};
use printed::{Secrets, hidden};
use zeroize::{Zeroize, ZeroizeOnDrop};

const ORDER: &[u8] = b"sell all of it, at any price";

#[test]
fn debug_shows_no_share_of_a_key() {
    fn holds<S: Debug>(secret: &[u8], share: S) {
        hidden("a share", secret, &share);
    }
    for share in World::new(4, 0).secrets {
        let secret = share.expose_secret();
        hidden("a share", &*secret, &share);
        holds(&*secret, SuiteSecret::Tdh2(share));
    }
    let mut rng = rng(7);
    let (_, shares) = deal_pairing_insecure::<Encrypting, _>(Epoch(0), 4, &mut rng).unwrap();
    for share in shares {
        let secret = share.expose_secret();
        hidden("a share", &*secret, &share);
        holds(&*secret, SuiteSecret::BaekZheng(share));
    }
    let (key, shares) = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, &mut rng).unwrap();
    for share in shares {
        let secret = share.expose_secret();
        let held = CertificateKeys {
            key: Arc::new(key.clone()),
            secret: Arc::new(share),
        };
        hidden("a share", &*secret, &held);
    }
}

/// Of a ceremony: what it is read with, what comes of it, and what travels.
#[test]
fn debug_shows_nothing_of_a_ceremony() {
    over_both_schemes(debug_shows_nothing_of_a_ceremony_with);
}

fn debug_shows_nothing_of_a_ceremony_with(scheme: Scheme) {
    let mut rng = rng(8);
    let receivers: Vec<_> = (0..4).map(|_| ReceiverSecret::generate(&mut rng)).collect();
    let keys = receivers.iter().map(ReceiverSecret::key).collect();
    let ceremony = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(0), keys, true).unwrap();
    let mut deals = Vec::new();
    for dealer in 0..ceremony.needed() {
        let dealer = MemberId(dealer as u8);
        let deal = ceremony.deal(dealer, &mut rng).unwrap();
        // Sealed as it is, a dealing is for its receivers.
        hidden("a dealing", &encode(&deal)[3..], &deal);
        deals.push(ceremony.verify(dealer, deal).unwrap());
    }
    for (member, receiver) in receivers.iter().enumerate() {
        let member = MemberId(member as u8);
        let (_, shares) = ceremony.shares(&deals, member, receiver).unwrap();
        let certificate = shares.certificate.as_ref().unwrap();
        hidden("a receiver", &*receiver.expose_secret(), receiver);
        let secret = match &shares.encryption {
            SuiteSecret::Tdh2(share) => share.expose_secret(),
            SuiteSecret::BaekZheng(share) => share.expose_secret(),
        };
        hidden("a share", &*secret, &shares);
        hidden("a share", &*certificate.expose_secret(), &shares);
        for deal in &deals {
            hidden("a receiver", &*receiver.expose_secret(), deal);
        }
    }
}

/// Shares of orders and what they combine to: whoever has t of them reads the orders.
fn debug_shows_nothing_of_orders<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 0);
    let bytes = stage.encrypt(0, ORDER);
    stage.push(0, bytes, ORDER.to_vec());
    hidden("an order", ORDER, &stage.list);
    let sealed = T::shares(&stage.secrets[0], stage.block, &stage.list, &mut stage.rng);
    let sealed_text = [format!("{sealed:?}"), format!("{sealed:#?}")];
    let one = T::prove_one(
        &stage.secrets[0],
        stage.block,
        &stage.list[0],
        &mut stage.rng,
    );
    let sets = stage.all_shares();
    let share = T::first_share(T::batch(&sets[0]).0);
    hidden("an order's share", &share, &one);
    hidden("an order's share", &share, &(&sets[0], T::batch(&sets[0])));
    for text in sealed_text {
        assert!(
            Secrets::new([("it", &share)])
                .shown(text.as_bytes())
                .is_none()
        );
    }
    let combiner = T::combiner(&stage.key, &ids(&[0, 1, 2])).unwrap();
    let used: Vec<_> = sets[..3].iter().collect();
    let points = T::combine(&combiner, &used).unwrap();
    hidden("a key point", &T::first_point(&points), &points);
    let plain = T::open(&stage.key, &stage.list, &points, &ENTROPY).remove(0);
    let plain = plain.expect("it opens");
    assert_eq!(plain.payload, ORDER);
    let (payload, opening) = (plain.payload.clone(), plain.opening);
    let opened = Opened::Plain(plain);
    hidden("an order", &payload, &opened);
    hidden("an opening", &opening, &opened);
}

#[test]
fn debug_shows_nothing_of_orders_under_tdh2() {
    debug_shows_nothing_of_orders::<Tdh2>();
}

#[test]
fn debug_shows_nothing_of_orders_under_baek_zheng() {
    debug_shows_nothing_of_orders::<BaekZheng>();
}

/// What a combiner tells the others.
#[test]
fn debug_shows_no_point_that_opens_an_order() {
    let point = KeyPoint {
        order: 0,
        point: core::array::from_fn(|n| (n * 29 + 7) as u8),
    };
    hidden("a key point", &point.point, &point);
    let batch = KeyBatch {
        key: World::new(4, 0).key.id(),
        block: block(1),
        member: MemberId(0),
        points: vec![point],
    };
    hidden("a key point", &point.point, &batch);
}

#[test]
fn key_shares_are_erased() {
    fn erased_on_drop<T: ZeroizeOnDrop>(_: &T) {}
    let mut world = World::new(4, 0);
    let share = &mut world.secrets[0];
    erased_on_drop(share);
    share.zeroize();
    assert_eq!(*share.expose_secret(), [0; 32]);
    assert_eq!(encode(share)[33..], [0; 32]);
}

/// Everything a job carries crosses threads.
#[test]
fn jobs_can_carry_everything() {
    fn job<T: Send + Sync + 'static>() {}
    job::<fairlane_encryption::EncryptionKey>();
    job::<fairlane_encryption::KeyShare>();
    job::<fairlane_encryption::ParsedCiphertext>();
    job::<fairlane_encryption::Sealed<fairlane_encryption::Shares>>();
    job::<fairlane_encryption::Combiner>();
    job::<fairlane_encryption::KeyPoints>();
    job::<fairlane_encryption::ProvenShare>();
    job::<fairlane_encryption::Resolution<fairlane_encryption::KeyPoints>>();
}
