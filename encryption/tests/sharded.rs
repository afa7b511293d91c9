//! Sharded combining gives what all-to-all gives, and no combiner has a say in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, Recipe, World, block, cases, dec, enc, finalized, ids, label};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use fairlane_encryption::{
    CombinerSchedule, KeyBatch, Opened, ParsedCiphertext, Plain, ShareError, Tdh2, ThresholdScheme,
    places, resolve, slices, threshold,
};
use fairlane_types::{Digest, Epoch, MemberId, encode};
use proptest::prelude::*;

fn schedule(beacon: u8, n: usize) -> CombinerSchedule {
    CombinerSchedule::new(&Digest([beacon; 32]), Epoch(3), n).unwrap()
}

/// The list of a slice.
fn list_of(world: &World, slice: usize, dealt: usize) -> Vec<ParsedCiphertext> {
    let places = places(slice, dealt, world.list.len());
    places.map(|k| world.list[k].clone()).collect()
}

/// What a combiner of a slice sends: it gets shares of it from t members, opens, tells.
fn combined(world: &mut World, (slice, dealt): (usize, usize), combiner: MemberId) -> KeyBatch {
    let n = world.secrets.len();
    let list = list_of(world, slice, dealt);
    let quorum: Vec<usize> = (0..threshold(n))
        .map(|at| (combiner.index() + at) % n)
        .collect();
    let token = finalized(world.block);
    let sets: Vec<_> = quorum
        .iter()
        .map(|m| {
            let sealed = Tdh2::shares(&world.secrets[*m], world.block, &list, &mut world.rng);
            sealed.take(&token).unwrap()
        })
        .collect();
    let quorum = Tdh2::combiner(&world.key, &ids(&quorum)).unwrap();
    let points = Tdh2::combine(&quorum, &sets).unwrap();
    let opened = Tdh2::open(&world.key, &list, &points, &ENTROPY);
    let opened = opened.iter().map(Option::is_some);
    KeyBatch::new(&world.key, world.block, combiner, &points, opened)
}

/// Liars that spoil different orders in different rounds: every order opens, and in no round all
/// of them do. What the last sets combine to would make an honest combiner a liar.
#[test]
fn what_is_told_opens_all_that_it_names() {
    let mut world = World::new(10, 2);
    let honest = world.all_shares();
    let lie = |member: usize, order: usize| {
        let mut batch = honest[member].batch().clone();
        batch.shares[order] = enc(dec(&batch.shares[order]) + G);
        world.accept(batch)
    };
    let (first, second) = (lie(0, 1), lie(7, 0));
    for (last, all_at_once) in [(&second, false), (&honest[7], true)] {
        let mut sets: Vec<_> = vec![(MemberId(0), &first)];
        sets.extend((1..7).map(|m| (MemberId(m), &honest[usize::from(m)])));
        sets.push((MemberId(7), last));
        let found = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
        let plain = |outcome: &Option<Opened>| matches!(outcome, Some(Opened::Plain(_)));
        assert!(found.outcomes.iter().all(plain) && found.missing == 0);
        assert_eq!(found.points.is_some(), all_at_once);
        if let Some(points) = found.points {
            let me = MemberId(3);
            let opened = [true, true].into_iter();
            let batch = KeyBatch::new(&world.key, world.block, me, &points, opened);
            let opened = batch.open(&world.key, world.block, &world.list, me, &ENTROPY);
            assert!(opened.unwrap().iter().all(|(_, plain)| plain.is_some()));
        }
    }
}

#[test]
fn sharded_is_all_to_all() {
    for (n, orders) in [(1, 5), (4, 23), (7, 30), (16, 40)] {
        let mut world = World::new(n, orders);
        let sets = world.all_shares();
        let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
        let all = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
        let schedule = schedule(9, n);
        let mut sharded: Vec<Vec<Plain>> = vec![Vec::new(); orders];
        let dealt = slices(n, orders);
        for slice in 0..dealt {
            let list = list_of(&world, slice, dealt);
            let combiners: Vec<MemberId> = schedule.candidates(slice).take(2).collect();
            for from in combiners {
                let batch = combined(&mut world, (slice, dealt), from);
                let again: KeyBatch = borsh::from_slice(&encode(&batch)).unwrap();
                assert_eq!(again, batch);
                let opened = again.open(&world.key, world.block, &list, from, &ENTROPY);
                for (place, plain) in opened.unwrap() {
                    sharded[slice + place * dealt].push(plain.unwrap());
                }
            }
        }
        for (outcome, plains) in all.outcomes.into_iter().zip(sharded) {
            let Some(Opened::Plain(want)) = outcome else {
                panic!("opens")
            };
            assert_eq!(plains.len(), if n == 1 { 1 } else { 2 });
            assert!(plains.iter().all(|plain| *plain == want));
        }
    }
}

#[test]
fn every_slice_has_two_combiners_and_the_work_is_even() {
    for n in [2, 4, 7, 16, 31, 100] {
        let schedule = schedule(1, n);
        let mut work = vec![0; n];
        let mut orders = vec![0; 10 * n];
        let dealt = slices(n, 1_000);
        assert_eq!(dealt, n.div_ceil(2));
        for slice in 0..dealt {
            let all: Vec<MemberId> = schedule.candidates(slice).collect();
            assert_ne!(all[0], all[1]);
            work[all[0].index()] += 1;
            work[all[1].index()] += 1;
            for place in places(slice, dealt, 10 * n) {
                orders[place] += 1;
            }
        }
        // With an odd n one member has two slices.
        let most = work.iter().filter(|slices| **slices != 1).count();
        assert_eq!(most, n % 2, "{work:?}");
        assert!(orders.iter().all(|slices| *slices == 1));
        assert_ne!(schedule, self::schedule(2, if n == 2 { 3 } else { n }));
    }
    assert!(CombinerSchedule::new(&Digest([0; 32]), Epoch(0), 0).is_err());
    assert!(CombinerSchedule::new(&Digest([0; 32]), Epoch(0), 257).is_err());
}

#[test]
fn small_blocks_have_few_slices() {
    let of = |orders| slices(16, orders);
    assert_eq!([0, 1, 15, 16, 63, 64, 9_999].map(of), [1, 1, 1, 2, 7, 8, 8]);
}

/// Whoever of the first is left out, others follow, and in the end everybody.
#[test]
fn candidates_are_all_members() {
    for n in [4, 7, 16, 31, 100] {
        let schedule = schedule(1, n);
        for slice in 0..2 * n {
            let mut all: Vec<u8> = schedule.candidates(slice).map(|m| m.0).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), n, "slice {slice}: {all:?}");
        }
    }
}

/// A combiner that lies, and one that conspires with a sender (A10), are refused.
#[test]
fn lying_combiners_open_nothing() {
    let mut world = World::new(4, 6);
    let honest = Recipe::honest(&world.key, &label(6), b"two-faced", [3; 32], Scalar::ONE);
    let wrong = honest.w + G;
    world.push(6, Recipe { w: wrong, ..honest }.build(), Vec::new());
    let mut batch = KeyBatch {
        key: world.key.id(),
        block: world.block,
        member: MemberId(2),
        points: Vec::new(),
    };
    // Slice 0 of 7 orders: 0, 2, 4 and the bad one.
    let list = list_of(&world, 0, 2);
    let good = combined(&mut world, (0, 2), MemberId(2));
    let orders: Vec<u32> = good.points.iter().map(|point| point.order).collect();
    assert_eq!(orders, [0, 1, 2]);
    for (k, point) in good.points.iter().enumerate() {
        let mut point = *point;
        if k > 0 {
            point.point = enc(dec(&point.point) + G);
        }
        batch.points.push(point);
    }
    batch.points.push(fairlane_encryption::KeyPoint {
        order: 3,
        point: enc(wrong),
    });
    let open = |batch: &KeyBatch, from| {
        batch.open(&world.key, world.block, &list, MemberId(from), &ENTROPY)
    };
    let opened = open(&batch, 2).unwrap();
    let found: Vec<bool> = opened.iter().map(|(_, plain)| plain.is_some()).collect();
    assert!(found[0] && found[1..].iter().all(|found| !found));
    // Out of shape.
    let wrong = ShareError::WrongMember(MemberId(2));
    assert_eq!(open(&batch, 1).unwrap_err(), wrong);
    let other = |change: fn(&mut KeyBatch)| {
        let mut batch = batch.clone();
        change(&mut batch);
        open(&batch, batch.member.0).unwrap_err()
    };
    assert_eq!(
        other(|b| b.member = MemberId(4)),
        ShareError::WrongMember(MemberId(4))
    );
    assert_eq!(other(|b| b.block = block(1)), ShareError::WrongBlock);
    assert_eq!(
        other(|b| b.key = fairlane_types::KeyId(Digest([0; 32]))),
        ShareError::WrongKey
    );
    assert_eq!(
        other(|b| b.points[0].point = [0; 32]),
        ShareError::BadEncoding(0)
    );
    assert!(matches!(
        other(|b| b.points.last_mut().unwrap().order = u32::MAX),
        ShareError::WrongLength { .. }
    ));
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn key_batches_decode_to_one_encoding(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut world = World::new(4, 3);
        let batch = combined(&mut world, (1, 2), MemberId(1));
        let list = list_of(&world, 1, 2);
        let mut bytes = encode(&batch);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [bytes, noise] {
            if let Ok(batch) = borsh::from_slice::<KeyBatch>(&bytes) {
                prop_assert_eq!(encode(&batch), bytes);
                let from = batch.member;
                let _ = batch.open(&world.key, world.block, &list, from, &ENTROPY);
            }
        }
    }
}
