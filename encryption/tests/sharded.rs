//! Sharded combining gives what all-to-all gives, and no combiner has a say in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, Recipe, World, block, cases, dec, enc, finalized, ids, label};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use fairlane_encryption::{
    CombinerSchedule, KeyBatch, Opened, ParsedCiphertext, Plain, ShareError, Tdh2, ThresholdScheme,
    resolve, threshold,
};
use fairlane_types::{Digest, Epoch, MemberId, encode};
use proptest::prelude::*;

fn schedule(beacon: u8, n: usize) -> CombinerSchedule {
    CombinerSchedule::new(&Digest([beacon; 32]), Epoch(3), n).unwrap()
}

/// What member `combiner` sends: it gets shares of its slice from t members, opens, tells.
fn combined(world: &mut World, schedule: &CombinerSchedule, combiner: usize) -> KeyBatch {
    let n = world.secrets.len();
    let me = MemberId(combiner as u8);
    let slice = schedule.slice(me, world.list.len());
    let list: Vec<ParsedCiphertext> = slice.iter().map(|k| world.list[*k].clone()).collect();
    let quorum: Vec<usize> = (0..threshold(n)).map(|at| (combiner + at) % n).collect();
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
    KeyBatch::new(&world.key, world.block, me, &slice, &points, &opened)
}

#[test]
fn sharded_is_all_to_all() {
    for (n, orders) in [(1, 5), (4, 23), (16, 40)] {
        let mut world = World::new(n, orders);
        let sets = world.all_shares();
        let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
        let all = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
        let schedule = schedule(9, n);
        let mut sharded: Vec<Vec<Plain>> = vec![Vec::new(); orders];
        for combiner in 0..n {
            let batch = combined(&mut world, &schedule, combiner);
            let again: KeyBatch = borsh::from_slice(&encode(&batch)).unwrap();
            assert_eq!(again, batch);
            let from = MemberId(combiner as u8);
            let opened = again.open(&world.key, world.block, &world.list, from, &ENTROPY);
            for (place, plain) in opened.unwrap() {
                sharded[place].push(plain.unwrap());
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
fn every_order_has_two_combiners_and_the_work_is_even() {
    for n in [2, 4, 16, 100] {
        let schedule = schedule(1, n);
        let mut work = vec![0; n];
        for order in 0..10 * n {
            let [first, second] = schedule.combiners(order);
            assert_ne!(first, second);
            work[first.index()] += 1;
            work[second.index()] += 1;
        }
        assert!(work.iter().all(|orders| *orders == 20), "{work:?}");
        for member in 0..n {
            let slice = schedule.slice(MemberId(member as u8), 10 * n);
            assert_eq!(slice.len(), 20);
        }
        assert_ne!(schedule, self::schedule(2, if n == 2 { 3 } else { n }));
    }
    assert!(CombinerSchedule::new(&Digest([0; 32]), Epoch(0), 0).is_err());
    assert!(CombinerSchedule::new(&Digest([0; 32]), Epoch(0), 257).is_err());
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
    let good = combined(&mut world, &schedule(9, 4), 2);
    assert!(good.points.iter().all(|point| point.order != 6));
    for (k, point) in good.points.iter().enumerate() {
        let mut point = *point;
        if k > 0 {
            point.point = enc(dec(&point.point) + G);
        }
        batch.points.push(point);
    }
    batch.points.push(fairlane_encryption::KeyPoint {
        order: 6,
        point: enc(wrong),
    });
    let open = |batch: &KeyBatch, from| {
        batch.open(
            &world.key,
            world.block,
            &world.list,
            MemberId(from),
            &ENTROPY,
        )
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
        let batch = combined(&mut world, &schedule(9, 4), 1);
        let mut bytes = encode(&batch);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [bytes, noise] {
            if let Ok(batch) = borsh::from_slice::<KeyBatch>(&bytes) {
                prop_assert_eq!(encode(&batch), bytes);
                let from = batch.member;
                let _ = batch.open(&world.key, world.block, &world.list, from, &ENTROPY);
            }
        }
    }
}
