//! One suite for every scheme behind the seam: what `ThresholdScheme` promises must hold
//! for TDH2 and for Baek–Zheng alike (THREATS A4–A6, A9, A10; PROTOCOL D1, D5).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use borsh::{BorshDeserialize, BorshSerialize};
use common::rig::{Rig, Stage};
use common::{ENTROPY, block, finalized, ids, label, quorums};
use fairlane_encryption::{
    BaekZheng, CombineError, CtError, EncryptError, Opened, OpeningError, PAYLOAD_MAX, Plain,
    Resolution, ShareError, Tdh2, ThresholdScheme, resolve, threshold,
};
use fairlane_types::{MemberId, encode};
use proptest::prelude::*;

fn run<T: Rig>(stage: &Stage<T>, sets: &[&T::Shares]) -> Resolution<T::KeyPoints> {
    let sets: Vec<_> = sets.iter().map(|set| (T::batch(set).1, *set)).collect();
    resolve::<T, _>(&stage.key, &stage.list, &sets, &ENTROPY).unwrap()
}

fn all_plain<T: Rig>(stage: &Stage<T>, resolution: &Resolution<T::KeyPoints>) -> bool {
    resolution.outcomes.len() == stage.payloads.len()
        && resolution.outcomes.iter().zip(&stage.payloads).all(
            |(outcome, payload)| matches!(outcome, Some(Opened::Plain(plain)) if plain.payload == *payload),
        )
}

fn every_quorum_opens<T: Rig>() {
    for n in [1, 4, 7] {
        let mut stage = Stage::<T>::new(n, 2);
        let sets = stage.all_shares();
        for quorum in quorums(n, threshold(n)) {
            let combiner = T::combiner(&stage.key, &ids(&quorum)).unwrap();
            let used: Vec<_> = quorum.iter().map(|member| &sets[*member]).collect();
            let points = T::combine(&combiner, &used).unwrap();
            let opened = T::open(&stage.key, &stage.list, &points, &ENTROPY);
            for (k, plain) in opened.into_iter().enumerate() {
                let Plain { payload, opening } = plain.expect("opens");
                assert_eq!(payload, stage.payloads[k]);
                let (label, bytes) = (label(k as u64), &stage.bytes[k]);
                let verify = |label: &[u8], bytes: &[u8], opening, payload: &[u8]| {
                    T::verify_opening(&stage.key, label, bytes, opening, payload)
                };
                assert_eq!(verify(&label, bytes, &opening, &payload), Ok(()));
                let wrong = Err(OpeningError::WrongOpening);
                assert_eq!(verify(&label[1..], bytes, &opening, &payload), wrong);
                assert_eq!(verify(&label, bytes, &[7; 32], &payload), wrong);
                assert_eq!(
                    verify(&label, bytes, &opening, b"other"),
                    Err(OpeningError::WrongPayload)
                );
            }
        }
    }
}

fn one_share_short_never_opens<T: Rig>() {
    for n in [4, 7] {
        let mut stage = Stage::<T>::new(n, 1);
        let t = threshold(n);
        let sets = stage.all_shares();
        for few in quorums(n, t - 1).into_iter().take(6) {
            assert_eq!(
                T::combiner(&stage.key, &ids(&few)).unwrap_err(),
                CombineError::NotEnough {
                    have: t - 1,
                    need: t
                }
            );
            let held: Vec<_> = few.iter().map(|m| &sets[*m]).collect();
            let resolution = run(&stage, &held);
            assert_eq!((resolution.missing, &resolution.outcomes[0]), (1, &None));
            // A member's share under the name of one that is missing does not stand for it.
            let absent = (0..n).find(|m| !few.contains(m)).unwrap();
            let forged = T::renamed(&sets[few[0]], MemberId(absent as u8));
            let forged = T::accept(&stage.key, stage.block, 1, MemberId(absent as u8), forged);
            let forged = forged.unwrap();
            let quorum = [&few[..], &[absent]].concat();
            let combiner = T::combiner(&stage.key, &ids(&quorum)).unwrap();
            let used: Vec<_> = held.iter().copied().chain([&forged]).collect();
            let points = T::combine(&combiner, &used).unwrap();
            assert_eq!(T::open(&stage.key, &stage.list, &points, &ENTROPY), [None]);
        }
    }
}

fn seals_and_batches_are_for_one_block<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 2);
    let sealed = T::shares(&stage.secrets[1], stage.block, &stage.list, &mut stage.rng);
    let sealed = sealed.take(&finalized(block(0xb2))).unwrap_err();
    let set = sealed.take(&finalized(stage.block)).unwrap();
    let (batch, from) = T::batch(&set);
    let accept = |block, orders, from, batch: &T::ShareBatch| {
        T::accept(&stage.key, block, orders, from, batch.clone()).map(|_| ())
    };
    assert_eq!(accept(stage.block, 2, from, batch), Ok(()));
    assert_eq!(
        accept(block(9), 2, from, batch),
        Err(ShareError::WrongBlock)
    );
    assert_eq!(
        accept(stage.block, 2, MemberId(2), batch),
        Err(ShareError::WrongMember(MemberId(1)))
    );
    assert_eq!(
        accept(stage.block, 3, from, batch),
        Err(ShareError::WrongLength { got: 2, want: 3 })
    );
    let stranger = T::renamed(&set, MemberId(4));
    assert_eq!(
        accept(stage.block, 2, MemberId(4), &stranger),
        Err(ShareError::WrongMember(MemberId(4)))
    );
    let (foreign, _) = T::deal(4, 77);
    assert_eq!(
        T::accept(&foreign, stage.block, 2, from, batch.clone()).unwrap_err(),
        ShareError::WrongKey
    );
    // Shares of a prefix of the list are not shares of the list.
    let part = T::verify_shares(&stage.key, &stage.list[..1], &set).unwrap_err();
    assert!(matches!(part, ShareError::WrongLength { .. }));
    let mut swapped = stage.list.clone();
    swapped.swap(0, 1);
    assert_eq!(
        T::verify_shares(&stage.key, &swapped, &set).unwrap_err(),
        ShareError::BadBatchProof
    );
}

/// Every order of arrival, every liar, lies of every kind: all opens, the liar is named if
/// it was drawn on before three honest sets were there, and nobody else ever is.
fn liars_are_named_and_change_nothing<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 2);
    let honest = stage.all_shares();
    for liar in 0..4 {
        for kind in 0..T::LIES {
            let batch = T::lie(&honest[liar], kind);
            let from = MemberId(liar as u8);
            let lie = T::accept(&stage.key, stage.block, 2, from, batch).unwrap();
            for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
                let sets: Vec<_> = order
                    .iter()
                    .map(|m| if *m == liar { &lie } else { &honest[*m] })
                    .collect();
                let resolution = run(&stage, &sets);
                assert!(all_plain(&stage, &resolution));
                let met = order[..3].contains(&liar);
                let named: Vec<_> = resolution.liars.iter().map(|(member, _)| *member).collect();
                assert_eq!(named, if met { vec![from] } else { Vec::new() });
            }
            let early = run(
                &stage,
                &[&lie, &honest[(liar + 1) % 4], &honest[(liar + 2) % 4]],
            );
            assert_eq!(early.missing, 1);
            assert!(!early.outcomes.contains(&Some(Opened::Malformed)));
        }
    }
}

/// The verdict of all quorums, from sets and from single shares, on order `k`.
fn single_verdict<T: Rig>(stage: &mut Stage<T>, k: usize) -> Opened {
    let n = stage.secrets.len();
    let sets = stage.all_shares();
    let token = finalized(stage.block);
    let proven: Vec<Vec<T::Proven>> = sets
        .iter()
        .map(|set| T::verify_shares(&stage.key, &stage.list, set).unwrap())
        .collect();
    let ones: Vec<T::Proven> = (0..n)
        .map(|m| {
            let sealed = T::prove_one(
                &stage.secrets[m],
                stage.block,
                &stage.list[k],
                &mut stage.rng,
            );
            let (share, from) = (sealed.take(&token).unwrap(), MemberId(m as u8));
            T::verify_one(&stage.key, stage.block, &stage.list[k], from, &share).unwrap()
        })
        .collect();
    let mut verdicts = Vec::new();
    for quorum in quorums(n, threshold(n)) {
        let from_sets: Vec<_> = quorum.iter().map(|m| &proven[*m][k]).collect();
        let from_ones: Vec<_> = quorum.iter().map(|m| &ones[*m]).collect();
        for shares in [from_sets, from_ones] {
            verdicts.push(T::conclude(&stage.key, &stage.list[k], &shares).unwrap());
        }
        let used: Vec<_> = quorum.iter().map(|m| &sets[*m]).collect();
        let resolution = run(stage, &used);
        assert_eq!((resolution.missing, resolution.liars.len()), (0, 0));
        verdicts.push(resolution.outcomes[k].clone().unwrap());
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
    verdicts[0].clone()
}

/// A10: the body is sealed for another point, and a member tunes its share to combine to
/// that point. Its quorum decrypts, refuses, names it, and ends where all others do.
fn two_faced_ciphertexts_have_one_verdict<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 1);
    let bytes = T::two_faced(&stage.key, &label(1), b"two-faced");
    stage.push(1, bytes, b"two-faced".to_vec());
    assert_eq!(single_verdict(&mut stage, 1), Opened::Malformed);
    let sets = stage.all_shares();
    for quorum in [[0, 1, 3], [0, 2, 3], [1, 2, 3]] {
        let tuned = T::tune(&sets[3], 1, 4, &quorum);
        let tuned = T::accept(&stage.key, stage.block, 2, MemberId(3), tuned).unwrap();
        let mut used: Vec<_> = quorum
            .iter()
            .map(|m| if *m == 3 { &tuned } else { &sets[*m] })
            .collect();
        let combiner = T::combiner(&stage.key, &ids(&quorum)).unwrap();
        let points = T::combine(&combiner, &used).unwrap();
        assert!(
            T::decrypts(&stage.key, &label(1), &stage.bytes[1], &points, 1),
            "the attack does what it should"
        );
        let opened = T::open(&stage.key, &stage.list, &points, &ENTROPY);
        assert!(opened[0].is_some() && opened[1].is_none());
        let rest = (0..4).find(|m| !quorum.contains(m)).unwrap();
        used.push(&sets[rest]);
        let resolution = run(&stage, &used);
        assert_eq!(resolution.outcomes[1], Some(Opened::Malformed));
        assert_eq!(resolution.liars.len(), 1);
        assert_eq!(resolution.liars[0].0, MemberId(3));
    }
    // The other face: a good order that a member would rather close.
    assert!(matches!(single_verdict(&mut stage, 0), Opened::Plain(_)));
}

fn single_shares_bind<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 2);
    let token = finalized(stage.block);
    let sealed = T::prove_one(
        &stage.secrets[1],
        stage.block,
        &stage.list[0],
        &mut stage.rng,
    );
    let share = sealed.take(&token).unwrap();
    let verify = |block, k: usize, from, share: &T::OrderShare| {
        T::verify_one(&stage.key, block, &stage.list[k], MemberId(from), share).map(|_| ())
    };
    assert_eq!(verify(stage.block, 0, 1, &share), Ok(()));
    assert_eq!(
        verify(stage.block, 1, 1, &share),
        Err(ShareError::BadBatchProof)
    );
    assert_eq!(verify(block(7), 0, 1, &share), Err(ShareError::WrongBlock));
    assert_eq!(
        verify(stage.block, 0, 2, &share),
        Err(ShareError::WrongMember(MemberId(1)))
    );
}

fn every_altered_byte_is_refused<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 1);
    let (bytes, label) = (stage.bytes[0].clone(), label(0));
    assert!(T::check(&stage.key, &label, &bytes).is_ok());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at * 5 % 8);
        assert!(T::check(&stage.key, &label, &altered).is_err(), "byte {at}");
    }
    for at in (0..label.len()).step_by(7) {
        let mut other = label.clone();
        other[at] ^= 1 << (at % 8);
        let refused = T::check(&stage.key, &other, &bytes).unwrap_err();
        assert_eq!(refused, CtError::BadProof);
    }
    for len in 0..bytes.len() {
        let refused = T::check(&stage.key, &label, &bytes[..len]).unwrap_err();
        assert!(matches!(
            refused,
            CtError::Length(_) | CtError::Suite { .. }
        ));
    }
    // Under another key.
    let (foreign, _) = T::deal(4, 78);
    assert_eq!(
        T::check(&foreign, &label, &bytes).unwrap_err(),
        CtError::BadProof
    );
    // In a batch, the bad one is found wherever it is, and the others pass.
    let payloads: Vec<Vec<u8>> = (0..5).map(|k| vec![k; 10]).collect();
    let good: Vec<_> = payloads
        .iter()
        .map(|payload| (label.clone(), stage.encrypt(0, payload)))
        .collect();
    for bad in 0..good.len() {
        let mut items = good.clone();
        *items[bad].1.last_mut().unwrap() ^= 1;
        let found = T::check_batch(&stage.key, &items, &ENTROPY);
        for (k, result) in found.iter().enumerate() {
            let error = (k == bad).then_some(&CtError::BadProof);
            assert_eq!(result.as_ref().err(), error);
        }
    }
}

fn payload_limits_hold<T: Rig>() {
    let mut stage = Stage::<T>::new(4, 0);
    let longest = stage.encrypt(0, &[7; PAYLOAD_MAX]);
    assert!(T::check(&stage.key, &label(0), &longest).is_ok());
    let got = PAYLOAD_MAX + 1;
    let long = vec![0; got];
    assert_eq!(
        T::encrypt(&stage.key, &label(0), &long, &[1; 32], &mut stage.rng).unwrap_err(),
        EncryptError::PayloadTooLong {
            got,
            limit: PAYLOAD_MAX
        }
    );
    // Fresh randomness each time, and hedged where it repeats.
    assert_ne!(stage.encrypt(0, b"x"), stage.encrypt(0, b"x"));
    let seal = |label: &[u8], payload: &[u8], secret: u8| {
        T::encrypt(
            &stage.key,
            label,
            payload,
            &[secret; 32],
            &mut common::rng(5),
        )
        .unwrap()
    };
    let base = seal(&label(1), b"payload", 1);
    assert_eq!(base, seal(&label(1), b"payload", 1));
    for other in [
        seal(&label(2), b"payload", 1),
        seal(&label(1), b"payloae", 1),
        seal(&label(1), b"payload", 2),
    ] {
        assert_ne!(other[1..33], base[1..33]);
    }
}

fn canonical<V: BorshDeserialize + BorshSerialize>(bytes: &[u8]) {
    if let Ok(value) = borsh::from_slice::<V>(bytes) {
        assert_eq!(encode(&value), bytes);
    }
}

/// Hostile bytes at every door of a scheme.
fn decode_all<T: Rig>(stage: &Stage<T>, bytes: &[u8]) {
    canonical::<T::Key>(bytes);
    canonical::<T::ShareBatch>(bytes);
    canonical::<T::OrderShare>(bytes);
    let _ = T::check(&stage.key, &label(0), bytes);
    let _ = T::verify_opening(&stage.key, &label(0), bytes, &[0; 32], bytes);
    for from in [0, 1, 200].map(MemberId) {
        if let Ok(batch) = borsh::from_slice::<T::ShareBatch>(bytes)
            && let Ok(set) = T::accept(&stage.key, stage.block, stage.list.len(), from, batch)
        {
            let _ = T::verify_shares(&stage.key, &stage.list, &set);
        }
        if let Ok(share) = borsh::from_slice::<T::OrderShare>(bytes) {
            let _ = T::verify_one(&stage.key, stage.block, &stage.list[0], from, &share);
        }
    }
}

fn samples<T: Rig>(stage: &mut Stage<T>) -> Vec<Vec<u8>> {
    let set = stage.all_shares().remove(1);
    let sealed = T::prove_one(
        &stage.secrets[1],
        stage.block,
        &stage.list[0],
        &mut stage.rng,
    );
    let one = sealed.take(&finalized(stage.block)).unwrap();
    vec![
        encode(&stage.key),
        encode(T::batch(&set).0),
        encode(&one),
        stage.bytes[0].clone(),
    ]
}

fn mutated_encodings_are_judged<T: Rig>(cases: u32) {
    let mut stage = Stage::<T>::new(4, 1);
    let samples = samples(&mut stage);
    for sample in &samples {
        decode_all(&stage, sample);
        for len in (0..sample.len()).step_by(5) {
            decode_all(&stage, &sample[..len]);
        }
        decode_all(&stage, &[&sample[..], &[0]].concat());
    }
    let strategy = (
        any::<prop::sample::Index>(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    let mut runner = proptest::test_runner::TestRunner::new(common::cases(cases));
    runner
        .run(&strategy, |(pick, edits, noise)| {
            let mut bytes = pick.get(&samples).clone();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            decode_all(&stage, &bytes);
            decode_all(&stage, &noise);
            Ok(())
        })
        .unwrap();
}

macro_rules! suite {
    ($name:ident, $scheme:ty, $cases:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn every_quorum_opens() {
                super::every_quorum_opens::<$scheme>();
            }
            #[test]
            fn one_share_short_never_opens() {
                super::one_share_short_never_opens::<$scheme>();
            }
            #[test]
            fn seals_and_batches_are_for_one_block() {
                super::seals_and_batches_are_for_one_block::<$scheme>();
            }
            #[test]
            fn liars_are_named_and_change_nothing() {
                super::liars_are_named_and_change_nothing::<$scheme>();
            }
            #[test]
            fn two_faced_ciphertexts_have_one_verdict() {
                super::two_faced_ciphertexts_have_one_verdict::<$scheme>();
            }
            #[test]
            fn single_shares_bind() {
                super::single_shares_bind::<$scheme>();
            }
            #[test]
            fn every_altered_byte_is_refused() {
                super::every_altered_byte_is_refused::<$scheme>();
            }
            #[test]
            fn payload_limits_hold() {
                super::payload_limits_hold::<$scheme>();
            }
            #[test]
            fn mutated_encodings_are_judged() {
                super::mutated_encodings_are_judged::<$scheme>($cases);
            }
        }
    };
}

suite!(tdh2, Tdh2, 200);
suite!(baek_zheng, BaekZheng, 120);

/// A ciphertext of one suite is none of the other.
#[test]
fn suites_do_not_mix() {
    let mut old = Stage::<BaekZheng>::new(4, 0);
    let mut new = Stage::<Tdh2>::new(4, 0);
    let (bz, tdh2) = (old.encrypt(0, b"a"), new.encrypt(0, b"a"));
    let wrong = |got, want| CtError::Suite { got, want };
    assert_eq!(
        Tdh2::check(&new.key, &label(0), &bz).unwrap_err(),
        wrong(2, 1)
    );
    assert_eq!(
        BaekZheng::check(&old.key, &label(0), &tdh2).unwrap_err(),
        wrong(1, 2)
    );
}
