//! Validity of ciphertexts (ENCRYPTION 6.5; THREATS A4, A5).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, Recipe, World, enc, hs, label, lp, rng};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use fairlane_encryption::{
    CtError, EncryptError, HEADER_BYTES, PAYLOAD_MAX, ParsedCiphertext, SIZE_CLASSES, Tdh2,
    ThresholdScheme, ciphertext_bytes, deal_insecure,
};
use fairlane_types::Epoch;
use proptest::prelude::*;

/// What single checks and a batch check say about the same items; asserted to agree.
fn check_both(world: &World, items: &[(Vec<u8>, Vec<u8>)]) -> Vec<Option<CtError>> {
    let error = |result: Result<ParsedCiphertext, CtError>| result.err();
    let batch: Vec<_> = Tdh2::check_batch(&world.key, items, &ENTROPY)
        .into_iter()
        .map(error)
        .collect();
    let single: Vec<_> = items
        .iter()
        .map(|(label, bytes)| error(Tdh2::check(&world.key, label, bytes)))
        .collect();
    assert_eq!(batch, single);
    batch
}

#[test]
fn every_length_encrypts_to_its_class() {
    let mut world = World::new(4, 0);
    for len in [0, 1, 200, 255, 256, 511, 512, 1023, 1024, PAYLOAD_MAX] {
        let bytes = world.encrypt(1, &vec![0xab; len]);
        let class = SIZE_CLASSES.into_iter().find(|class| len < *class).unwrap();
        assert_eq!(bytes.len(), ciphertext_bytes(class));
        assert!(Tdh2::check(&world.key, &label(1), &bytes).is_ok());
    }
    let long = vec![0; PAYLOAD_MAX + 1];
    let refused = EncryptError::PayloadTooLong {
        got: PAYLOAD_MAX + 1,
        limit: PAYLOAD_MAX,
    };
    let result = Tdh2::encrypt(&world.key, &label(1), &long, &[0; 32], &mut rng(1));
    assert_eq!(result, Err(refused));
}

#[test]
fn two_encryptions_share_nothing() {
    let mut world = World::new(4, 0);
    let (first, second) = (world.encrypt(1, b"same"), world.encrypt(1, b"same"));
    for part in (1..HEADER_BYTES - 2).step_by(32) {
        assert_ne!(first[part..part + 32], second[part..part + 32]);
    }
    assert_ne!(first[HEADER_BYTES..], second[HEADER_BYTES..]);
}

/// A random source that repeats: σ must still differ by sender, label and payload (6.4).
#[test]
fn repeated_randomness_gives_no_two_time_pad() {
    let world = World::new(4, 0);
    let seal = |label: &[u8], payload: &[u8], secret: u8| {
        Tdh2::encrypt(&world.key, label, payload, &[secret; 32], &mut rng(5)).unwrap()
    };
    let base = seal(&label(1), b"payload", 1);
    assert_eq!(seal(&label(1), b"payload", 1), base);
    for other in [
        seal(&label(2), b"payload", 1),
        seal(&label(1), b"payloae", 1),
        seal(&label(1), b"payload", 2),
    ] {
        assert_ne!(other[1..33], base[1..33], "U, and so the body key, differ");
        assert_ne!(other[65..97], base[65..97], "the proof nonce differs");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut world = World::new(4, 0);
    let (label, bytes) = (label(7), world.encrypt(7, b"buy 3 at 100"));
    let flipped = |source: &[u8], bit: usize| {
        let mut copy = source.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    };
    let in_ciphertext = (0..bytes.len() * 8).map(|bit| (label.clone(), flipped(&bytes, bit)));
    let in_label = (0..label.len() * 8).map(|bit| (flipped(&label, bit), bytes.clone()));
    let items: Vec<_> = in_ciphertext.chain(in_label).collect();
    for chunk in items.chunks(512) {
        assert!(check_both(&world, chunk).iter().all(Option::is_some));
    }
}

#[test]
fn truncated_and_extended_are_refused() {
    let mut world = World::new(4, 0);
    let bytes = world.encrypt(1, b"x");
    for len in 0..bytes.len() {
        assert!(Tdh2::check(&world.key, &label(1), &bytes[..len]).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    let refused = Err(CtError::Length(longer.len()));
    assert_eq!(Tdh2::check(&world.key, &label(1), &longer), refused);
    assert_eq!(
        Tdh2::check(&world.key, &label(1), &[]),
        Err(CtError::Suite { got: 0, want: 1 })
    );
}

#[test]
fn errors_name_the_fault() {
    let mut world = World::new(4, 0);
    let bytes = world.encrypt(1, b"x");
    let with = |at: usize, part: &[u8]| {
        let mut copy = bytes.clone();
        copy[at..at + part.len()].copy_from_slice(part);
        Tdh2::check(&world.key, &label(1), &copy).unwrap_err()
    };
    assert_eq!(with(0, &[2]), CtError::Suite { got: 2, want: 1 });
    assert_eq!(with(1, &[0; 32]), CtError::IdentityU);
    for point in 0..4 {
        assert_eq!(
            with(1 + 32 * point, &[0xff; 32]),
            CtError::NonCanonicalPoint
        );
    }
    assert_eq!(with(129, &[0xff; 32]), CtError::NonCanonicalScalar);
    // l itself, the least scalar that is not reduced.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    assert_eq!(
        with(129, &hex::decode(order).unwrap()),
        CtError::NonCanonicalScalar
    );
    assert_eq!(with(161, &[0, 0]), CtError::Length(bytes.len()));
    assert_eq!(with(129, &[0; 32]), CtError::BadProof);
}

/// The restated scheme and the crate accept each other's ciphertexts.
#[test]
fn restated_encryption_is_accepted() {
    let world = World::new(4, 0);
    let recipe = Recipe::honest(
        &world.key,
        &label(1),
        b"hello",
        [3; 32],
        Scalar::from(77_u8),
    );
    let bytes = recipe.build();
    assert!(Tdh2::check(&world.key, &label(1), &bytes).is_ok());
    let good = Tdh2::verify_opening(&world.key, &label(1), &bytes, &[3; 32], b"hello");
    assert_eq!(good, Ok(()));
}

/// Copied key point, rerandomised, wrapped anew, under another label or key (A4).
#[test]
fn related_ciphertexts_are_refused() {
    let mut world = World::new(4, 0);
    let honest = Recipe::honest(
        &world.key,
        &label(1),
        b"hello",
        [3; 32],
        Scalar::from(77_u8),
    );
    let bytes = honest.build();
    let other = world.encrypt(1, b"other");
    let refused = |label: &[u8], bytes: &[u8]| {
        assert_eq!(
            Tdh2::check(&world.key, label, bytes),
            Err(CtError::BadProof)
        );
    };
    // Another label, and another key with the same label.
    refused(&label(2), &bytes);
    let (foreign, _) = deal_insecure(Epoch(4), 4, &mut rng(9)).unwrap();
    assert_eq!(
        Tdh2::check(&foreign, &label(1), &bytes),
        Err(CtError::BadProof)
    );
    // Header of one, body of another.
    refused(
        &label(1),
        &[&bytes[..HEADER_BYTES], &other[HEADER_BYTES..]].concat(),
    );
    refused(
        &label(1),
        &[&other[..HEADER_BYTES], &bytes[HEADER_BYTES..]].concat(),
    );
    // U of the victim with a proof for another exponent: the copier does not know r.
    let mut copied = Recipe {
        r: Scalar::from(5_u8),
        ..honest.clone()
    }
    .build();
    copied[1..33].copy_from_slice(&bytes[1..33]);
    refused(&label(1), &copied);
    // Shifted by a known δ: U' = U + δG, z' = z + eδ would verify if e did not hash U'.
    let delta = Scalar::from(11_u8);
    let (u, ub) = (G * (honest.r + delta), common::hbar() * (honest.r + delta));
    let mut shifted = bytes.clone();
    shifted[1..33].copy_from_slice(&enc(u));
    shifted[33..65].copy_from_slice(&enc(ub));
    shifted[129..161].copy_from_slice((honest.z() + honest.challenge() * delta).as_bytes());
    refused(&label(1), &shifted);
    // The victim's proof re-hashed for another label without its exponent.
    let [u, ub, r, rb] = honest.points();
    let id = honest.key_id;
    let e = hs(
        "FAIRLANE-V1-TDH2-POK",
        &[&id, &lp(&label(2)), &u, &ub, &r, &rb, &lp(&honest.body())],
    );
    let mut relabelled = bytes.clone();
    relabelled[129..161].copy_from_slice((honest.s + e * Scalar::from(4_u8)).as_bytes());
    refused(&label(2), &relabelled);
}

/// One equation right, the other wrong: Ub must have the same exponent as U.
#[test]
fn second_equation_counts() {
    let world = World::new(4, 0);
    let honest = Recipe::honest(
        &world.key,
        &label(1),
        b"hello",
        [3; 32],
        Scalar::from(77_u8),
    );
    let mut bytes = honest.build();
    bytes[33..65].copy_from_slice(&enc(common::hbar() * (honest.r + Scalar::ONE)));
    let parts = |bytes: &[u8], at: usize| bytes[at..at + 32].to_vec();
    let e = hs(
        "FAIRLANE-V1-TDH2-POK",
        &[
            &honest.key_id,
            &lp(&label(1)),
            &parts(&bytes, 1),
            &parts(&bytes, 33),
            &parts(&bytes, 65),
            &parts(&bytes, 97),
            &lp(&honest.body()),
        ],
    );
    bytes[129..161].copy_from_slice((honest.s + e * honest.r).as_bytes());
    assert_eq!(
        Tdh2::check(&world.key, &label(1), &bytes),
        Err(CtError::BadProof)
    );
}

#[test]
fn the_bad_one_is_found_anywhere() {
    let mut world = World::new(4, 0);
    let good: Vec<_> = (0..33)
        .map(|k| (label(k), world.encrypt(k, b"payload")))
        .collect();
    assert!(check_both(&world, &good).iter().all(Option::is_none));
    for bad in 0..good.len() {
        let mut items = good.clone();
        items[bad].1[200] ^= 1;
        let found = Tdh2::check_batch(&world.key, &items, &ENTROPY);
        for (k, result) in found.iter().enumerate() {
            assert_eq!(
                result.as_ref().err(),
                (k == bad).then_some(&CtError::BadProof)
            );
        }
    }
    assert!(Tdh2::check_batch::<Vec<u8>, Vec<u8>>(&world.key, &[], &ENTROPY).is_empty());
}

/// Faults that cancel in an unweighted sum.
#[test]
fn opposite_faults_do_not_cancel() {
    let mut world = World::new(4, 0);
    let mut items: Vec<_> = (0..8)
        .map(|k| (label(k), world.encrypt(k, b"payload")))
        .collect();
    for (k, shift) in [(2, Scalar::ONE), (5, -Scalar::ONE)] {
        let z: [u8; 32] = items[k].1[129..161].try_into().unwrap();
        let shifted = Scalar::from_canonical_bytes(z).unwrap() + shift;
        items[k].1[129..161].copy_from_slice(shifted.as_bytes());
    }
    let bad: Vec<usize> = check_both(&world, &items)
        .iter()
        .enumerate()
        .filter_map(|(k, error)| error.map(|_| k))
        .collect();
    assert_eq!(bad, [2, 5]);
}

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn batch_says_what_singles_say(faults in prop::collection::vec(
        prop::option::weighted(0.3, (0_usize..467, 1_u8..)), 0..40,
    )) {
        let mut world = World::new(4, 0);
        let items: Vec<_> = faults
            .iter()
            .enumerate()
            .map(|(k, fault)| {
                let mut bytes = world.encrypt(k as u64, b"payload");
                if let Some((at, mask)) = fault {
                    bytes[*at] ^= mask;
                }
                (label(k as u64), bytes)
            })
            .collect();
        let found = check_both(&world, &items);
        for (fault, error) in faults.iter().zip(found) {
            prop_assert_eq!(fault.is_some(), error.is_some());
        }
    }
}
