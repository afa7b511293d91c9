//! Any t open, t−1 do not; shares are released for final blocks only (D1); proofs bind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, World, block, finalized, ids, label, quorums, rng};
use fairlane_encryption::{
    CombineError, EncryptionKey, KeyError, KeyShare, Opened, OpeningError, Plain, ShareError, Tdh2,
    ThresholdScheme, deal_insecure, resolve, threshold,
};
use fairlane_types::{Epoch, MemberId, encode};

#[test]
fn every_quorum_up_to_ten_members_opens() {
    for n in 1..=10 {
        let mut world = World::new(n, 3);
        let sets = world.all_shares();
        for quorum in quorums(n, threshold(n)) {
            let combiner = Tdh2::combiner(&world.key, &ids(&quorum)).unwrap();
            let used: Vec<_> = quorum.iter().map(|member| &sets[*member]).collect();
            let points = Tdh2::combine(&combiner, &used).unwrap();
            let opened = Tdh2::open(&world.key, &world.list, &points, &ENTROPY);
            for (k, plain) in opened.into_iter().enumerate() {
                let Plain { payload, opening } = plain.expect("opens");
                assert_eq!(payload, world.payloads[k]);
                let (label, bytes) = (label(k as u64), &world.bytes[k]);
                let verified = Tdh2::verify_opening(&world.key, &label, bytes, &opening, &payload);
                assert_eq!(verified, Ok(()));
            }
        }
    }
}

#[test]
fn large_committees_open() {
    for n in [22, 23, 64, 100, 256] {
        let mut world = World::new(n, 2);
        let t = threshold(n);
        let sets: Vec<_> = (n - t..n).map(|member| world.shares(member)).collect();
        let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
        let resolved = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
        assert_eq!((resolved.missing, resolved.liars.len()), (0, 0));
        for (outcome, payload) in resolved.outcomes.iter().zip(&world.payloads) {
            assert!(matches!(outcome, Some(Opened::Plain(plain)) if plain.payload == *payload));
        }
    }
}

#[test]
fn one_share_short_never_opens() {
    for n in [4, 7, 10] {
        let mut world = World::new(n, 2);
        let t = threshold(n);
        let sets = world.all_shares();
        for few in quorums(n, t - 1) {
            let refused = Tdh2::combiner(&world.key, &ids(&few)).unwrap_err();
            assert_eq!(
                refused,
                CombineError::NotEnough {
                    have: t - 1,
                    need: t
                }
            );
            let held: Vec<_> = few
                .iter()
                .map(|m| (MemberId(*m as u8), &sets[*m]))
                .collect();
            let resolved = resolve::<Tdh2, _>(&world.key, &world.list, &held, &ENTROPY).unwrap();
            assert_eq!(resolved.missing, 1);
            assert!(resolved.outcomes.iter().all(Option::is_none));
            // A share repeated under a missing member's name does not stand for it.
            let absent = (0..n).find(|m| !few.contains(m)).unwrap();
            let mut forged = sets[few[0]].batch().clone();
            forged.member = MemberId(absent as u8);
            let forged = world.accept(forged);
            let combiner =
                Tdh2::combiner(&world.key, &ids(&[&few[..], &[absent]].concat())).unwrap();
            let used: Vec<_> = few.iter().map(|m| &sets[*m]).chain([&forged]).collect();
            let points = Tdh2::combine(&combiner, &used).unwrap();
            let opened = Tdh2::open(&world.key, &world.list, &points, &ENTROPY);
            assert!(opened.iter().all(Option::is_none));
        }
    }
}

#[test]
fn seals_open_for_their_block_only() {
    let mut world = World::new(4, 2);
    let sealed = Tdh2::shares(&world.secrets[0], world.block, &world.list, &mut world.rng);
    assert_eq!(sealed.block(), world.block);
    let sealed = sealed.take(&finalized(block(0xb2))).unwrap_err();
    assert!(sealed.take(&finalized(world.block)).is_ok());
    let one = Tdh2::prove_one(
        &world.secrets[0],
        world.block,
        &world.list[0],
        &mut world.rng,
    );
    let one = one.take(&finalized(block(0xb2))).unwrap_err();
    assert!(one.take(&finalized(world.block)).is_ok());
}

#[test]
fn received_batches_must_fit() {
    let mut world = World::new(4, 3);
    let batch = world.shares(1).batch().clone();
    let accept = |block, orders, from, batch: &fairlane_encryption::ShareBatch| {
        Tdh2::accept(&world.key, block, orders, MemberId(from), batch.clone()).map(|_| ())
    };
    assert_eq!(accept(world.block, 3, 1, &batch), Ok(()));
    assert_eq!(accept(block(9), 3, 1, &batch), Err(ShareError::WrongBlock));
    assert_eq!(
        accept(world.block, 3, 2, &batch),
        Err(ShareError::WrongMember(MemberId(1)))
    );
    for orders in [0, 2, 4] {
        let refused = ShareError::WrongLength {
            got: 3,
            want: orders,
        };
        assert_eq!(accept(world.block, orders, 1, &batch), Err(refused));
    }
    let mut stranger = batch.clone();
    stranger.member = MemberId(4);
    assert_eq!(
        accept(world.block, 3, 4, &stranger),
        Err(ShareError::WrongMember(MemberId(4)))
    );
    for bad in [[0; 32], [0xff; 32]] {
        let mut batch = batch.clone();
        batch.shares[2] = bad;
        assert_eq!(
            accept(world.block, 3, 1, &batch),
            Err(ShareError::BadEncoding(2))
        );
    }
    let (foreign, _) = deal_insecure(Epoch(9), 4, &mut rng(3)).unwrap();
    let refused = Tdh2::accept(&foreign, world.block, 3, MemberId(1), batch).unwrap_err();
    assert_eq!(refused, ShareError::WrongKey);
}

/// A proof for one (key, block, member, list) verifies for no other.
#[test]
fn batch_proofs_do_not_replay() {
    let mut world = World::new(4, 3);
    let shares = world.shares(1);
    assert_eq!(
        Tdh2::verify_shares(&world.key, &world.list, &shares)
            .unwrap()
            .len(),
        3
    );
    let batch = shares.batch().clone();
    let verify = |world: &World, batch| {
        let shares = world.accept(batch);
        Tdh2::verify_shares(&world.key, &world.list, &shares).map(|_| ())
    };
    // Another member.
    let mut other = batch.clone();
    other.member = MemberId(2);
    assert_eq!(verify(&world, other), Err(ShareError::BadBatchProof));
    // Another block.
    let home = world.block;
    world.block = block(0xcc);
    let mut other = batch.clone();
    other.block = world.block;
    assert_eq!(verify(&world, other), Err(ShareError::BadBatchProof));
    world.block = home;
    // Another order of the list, shares moved along.
    world.list.swap(0, 2);
    let mut other = batch.clone();
    other.shares.swap(0, 2);
    assert_eq!(verify(&world, other), Err(ShareError::BadBatchProof));
    world.list.swap(0, 2);
    // A part of the list.
    let part = World {
        list: world.list[..2].to_vec(),
        ..World::new(4, 0)
    };
    let mut other = batch.clone();
    other.shares.truncate(2);
    assert_eq!(verify(&part, other), Err(ShareError::BadBatchProof));
    // Another key: same secrets under another epoch's key id.
    let members = (0..4)
        .map(|m| *world.key.verification_key(MemberId(m)).unwrap())
        .collect();
    let renamed = EncryptionKey::new(Epoch(4), *world.key.y(), members).unwrap();
    assert_ne!(renamed.id(), world.key.id());
    assert_eq!(
        Tdh2::verify_shares(&renamed, &world.list, &shares).unwrap_err(),
        ShareError::WrongKey
    );
    // Every bit of the proof counts.
    for bit in 0..64 * 8 {
        let mut bytes = encode(&batch);
        let at = bytes.len() - 64 + bit / 8;
        bytes[at] ^= 1 << (bit % 8);
        if let Ok(batch) = borsh::from_slice(&bytes) {
            assert_eq!(verify(&world, batch), Err(ShareError::BadBatchProof));
        }
    }
}

/// The batch proof names a false share anywhere, and shares that cancel in a plain sum.
#[test]
fn false_shares_are_found_anywhere() {
    let mut world = World::new(4, 9);
    let honest = world.shares(0).batch().clone();
    for k in 0..9 {
        let mut batch = honest.clone();
        batch.shares[k] = batch.shares[(k + 1) % 9];
        let shares = world.accept(batch);
        let refused = Tdh2::verify_shares(&world.key, &world.list, &shares).unwrap_err();
        assert_eq!(refused, ShareError::BadBatchProof);
    }
    let shift = common::dec(&honest.shares[0]);
    let mut batch = honest;
    batch.shares[3] = common::enc(common::dec(&batch.shares[3]) + shift);
    batch.shares[4] = common::enc(common::dec(&batch.shares[4]) - shift);
    let shares = world.accept(batch);
    assert!(Tdh2::verify_shares(&world.key, &world.list, &shares).is_err());
}

#[test]
fn single_order_proofs_bind() {
    let mut world = World::new(4, 2);
    let token = finalized(world.block);
    let prove = |world: &mut World, member: usize, k: usize| {
        let secret = &world.secrets[member];
        let sealed = Tdh2::prove_one(secret, world.block, &world.list[k], &mut world.rng);
        sealed.take(&token).unwrap()
    };
    let share = prove(&mut world, 1, 0);
    let verify = |block, k: usize, from, share: &fairlane_encryption::OrderShare| {
        Tdh2::verify_one(&world.key, block, &world.list[k], MemberId(from), share)
            .map(|proven| proven.member())
    };
    assert_eq!(verify(world.block, 0, 1, &share), Ok(MemberId(1)));
    assert_eq!(
        verify(world.block, 1, 1, &share),
        Err(ShareError::BadBatchProof)
    );
    assert_eq!(verify(block(7), 0, 1, &share), Err(ShareError::WrongBlock));
    assert_eq!(
        verify(world.block, 0, 2, &share),
        Err(ShareError::WrongMember(MemberId(1)))
    );
    let mut moved = share.clone();
    moved.block = block(7);
    assert_eq!(
        verify(block(7), 0, 1, &moved),
        Err(ShareError::BadBatchProof)
    );
    let mut renamed = share.clone();
    renamed.member = MemberId(2);
    assert_eq!(
        verify(world.block, 0, 2, &renamed),
        Err(ShareError::BadBatchProof)
    );
    renamed.member = MemberId(200);
    assert_eq!(
        verify(world.block, 0, 200, &renamed),
        Err(ShareError::WrongMember(MemberId(200)))
    );
    let mut other = share.clone();
    other.share = [0; 32];
    assert_eq!(
        verify(world.block, 0, 1, &other),
        Err(ShareError::BadEncoding(0))
    );
    // A batch proof over one order is no single-order proof.
    let mut lone = World::new(4, 1);
    let batch = lone.shares(1).batch().clone();
    let posed = fairlane_encryption::OrderShare {
        key: batch.key,
        block: batch.block,
        member: batch.member,
        share: batch.shares[0],
        proof: batch.proof,
    };
    let result = Tdh2::verify_one(&lone.key, lone.block, &lone.list[0], MemberId(1), &posed);
    assert_eq!(result.unwrap_err(), ShareError::BadBatchProof);
}

#[test]
fn mixed_share_sets_do_not_combine() {
    let mut world = World::new(4, 2);
    let sets = world.all_shares();
    let combiner = Tdh2::combiner(&world.key, &ids(&[0, 1, 2])).unwrap();
    let combine = |sets: &[&fairlane_encryption::Shares]| {
        Tdh2::combine(&combiner, sets).map(|points| points.len())
    };
    assert_eq!(combine(&[&sets[0], &sets[1], &sets[2]]), Ok(2));
    let mixed = |member| Err(CombineError::Mixed(MemberId(member)));
    assert_eq!(combine(&[&sets[1], &sets[0], &sets[2]]), mixed(1));
    assert_eq!(combine(&[&sets[0], &sets[1], &sets[3]]), mixed(3));
    assert_eq!(
        combine(&[&sets[0], &sets[1]]),
        Err(CombineError::NotEnough { have: 2, need: 3 })
    );
    let all: Vec<_> = sets.iter().collect();
    assert_eq!(
        combine(&all),
        Err(CombineError::TooMany { have: 4, need: 3 })
    );
    world.block = block(0xb2);
    let elsewhere = world.shares(2);
    assert_eq!(combine(&[&sets[0], &sets[1], &elsewhere]), mixed(2));
    let shorter = World::new(4, 1).shares(2);
    assert_eq!(combine(&[&sets[0], &sets[1], &shorter]), mixed(2));
}

#[test]
fn openings_prove_exactly_one_payload() {
    let mut world = World::new(4, 2);
    let sets = world.all_shares();
    let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
    let resolved = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
    let Some(Opened::Plain(plain)) = &resolved.outcomes[1] else {
        panic!("opens")
    };
    let verify = |label: &[u8], bytes: &[u8], opening, payload: &[u8]| {
        Tdh2::verify_opening(&world.key, label, bytes, opening, payload)
    };
    let (label1, bytes) = (label(1), &world.bytes[1]);
    assert_eq!(
        verify(&label1, bytes, &plain.opening, &plain.payload),
        Ok(())
    );
    let wrong = Err(OpeningError::WrongOpening);
    assert_eq!(
        verify(&label(2), bytes, &plain.opening, &plain.payload),
        wrong
    );
    assert_eq!(
        verify(&label1, &world.bytes[0], &plain.opening, &plain.payload),
        wrong
    );
    assert_eq!(verify(&label1, bytes, &[0; 32], &plain.payload), wrong);
    assert_eq!(
        verify(&label1, bytes, &plain.opening, b"another"),
        Err(OpeningError::WrongPayload)
    );
    let mut torn = bytes.clone();
    *torn.last_mut().unwrap() ^= 1;
    assert_eq!(
        verify(&label1, &torn, &plain.opening, &plain.payload),
        wrong
    );
    assert!(matches!(
        verify(&label1, &bytes[1..], &plain.opening, &plain.payload),
        Err(OpeningError::Ciphertext(_))
    ));
}

/// An empty D(c) is a block like any other.
#[test]
fn empty_lists_work() {
    let mut world = World::new(4, 0);
    let sets = world.all_shares();
    assert!(sets.iter().all(fairlane_encryption::Shares::is_empty));
    for set in &sets {
        assert!(
            Tdh2::verify_shares(&world.key, &world.list, set)
                .unwrap()
                .is_empty()
        );
    }
    let sets: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
    let resolved = resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap();
    assert_eq!((resolved.outcomes.len(), resolved.missing), (0, 0));
}

#[test]
fn keys_must_be_consistent() {
    for n in [1, 4, 7, 100] {
        let (key, shares) = deal_insecure(Epoch(1), n, &mut rng(8)).unwrap();
        let member = |m: usize| *key.verification_key(MemberId(m as u8)).unwrap();
        let members: Vec<_> = (0..n).map(member).collect();
        let new = |y, members| EncryptionKey::new(Epoch(1), y, members).map(|key| key.id());
        assert_eq!(new(*key.y(), members.clone()), Ok(key.id()));
        let base = common::enc(curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT);
        assert_eq!(new(base, members.clone()), Err(KeyError::Inconsistent));
        for m in [0, n / 2, n - 1] {
            let mut members = members.clone();
            members[m] = base;
            assert_eq!(new(*key.y(), members.clone()), Err(KeyError::Inconsistent));
            members[m] = [0; 32];
            assert_eq!(new(*key.y(), members.clone()), Err(KeyError::Identity));
            members[m] = [0xff; 32];
            assert_eq!(new(*key.y(), members), Err(KeyError::NonCanonicalPoint));
        }
        assert_eq!(new([0; 32], members.clone()), Err(KeyError::Identity));
        for (m, share) in shares.iter().enumerate() {
            let secret = share.expose_secret();
            assert!(KeyShare::new(&key, MemberId(m as u8), &secret).is_ok());
            if n > 1 {
                let other = MemberId(((m + 1) % n) as u8);
                let refused = KeyShare::new(&key, other, &secret).unwrap_err();
                assert_eq!(refused, KeyError::ShareMismatch { member: other });
            }
        }
        let zero = KeyShare::new(&key, MemberId(0), &[0; 32]).unwrap_err();
        assert_eq!(zero, KeyError::BadScalar);
        let long = KeyShare::new(&key, MemberId(0), &[0xff; 32]).unwrap_err();
        assert_eq!(long, KeyError::BadScalar);
    }
    for n in [0, 257] {
        assert_eq!(
            deal_insecure(Epoch(1), n, &mut rng(8)).unwrap_err(),
            KeyError::Members { got: n }
        );
    }
}

/// A third party that knows only the points U_k reaches the verdict of the members.
#[test]
fn third_parties_verify_from_points_alone() {
    let mut world = World::new(4, 3);
    let list: Vec<[u8; 32]> = world.list.iter().map(|ct| *ct.u()).collect();
    let shares = world.shares(1);
    let verify =
        |list: &[[u8; 32]], shares| fairlane_encryption::verify_shares_of(&world.key, list, shares);
    assert_eq!(verify(&list, &shares), Ok(()));
    let refused = ShareError::WrongLength { got: 3, want: 2 };
    assert_eq!(verify(&list[..2], &shares), Err(refused));
    let swapped = [list[1], list[0], list[2]];
    assert_eq!(verify(&swapped, &shares), Err(ShareError::BadBatchProof));
    let no_point = [list[0], [0xff; 32], list[2]];
    assert_eq!(verify(&no_point, &shares), Err(ShareError::BadEncoding(1)));
    let mut batch = shares.batch().clone();
    batch.shares.swap(0, 2);
    assert_eq!(
        verify(&list, &world.accept(batch)),
        Err(ShareError::BadBatchProof)
    );
}
