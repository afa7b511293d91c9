//! Hostile bytes: decoders refuse or accept, never panic, and accept one encoding only.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use borsh::{BorshDeserialize, BorshSerialize};
use common::{World, finalized, label, rng};
use fairlane_encryption::{
    DleqProof, EncryptionKey, KeyShare, Opened, OrderShare, Plain, SHARES_MAX, ShareBatch, Tdh2,
    ThresholdScheme, deal_insecure,
};
use fairlane_types::{Epoch, MemberId, encode};
use proptest::prelude::*;

/// What decodes encodes to the same bytes.
fn decodes_canonically<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) {
    if let Ok(value) = borsh::from_slice::<T>(bytes) {
        assert_eq!(encode(&value), bytes);
    }
}

fn every_decoder(world: &World, bytes: &[u8]) {
    decodes_canonically::<EncryptionKey>(bytes);
    decodes_canonically::<KeyShare>(bytes);
    decodes_canonically::<ShareBatch>(bytes);
    decodes_canonically::<OrderShare>(bytes);
    decodes_canonically::<DleqProof>(bytes);
    decodes_canonically::<Plain>(bytes);
    decodes_canonically::<Opened>(bytes);
    let _ = Tdh2::check(&world.key, &label(0), bytes);
    let _ = Tdh2::check(&world.key, bytes, bytes);
    let _ = Tdh2::check_batch(&world.key, &[(bytes, bytes)], &[0; 32]);
    let _ = Tdh2::verify_opening(&world.key, &label(0), bytes, &[0; 32], bytes);
    if let Ok(batch) = borsh::from_slice::<ShareBatch>(bytes) {
        let (block, orders, from) = (batch.block, world.list.len(), batch.member);
        if let Ok(shares) = Tdh2::accept(&world.key, block, orders, from, batch) {
            let _ = Tdh2::verify_shares(&world.key, &world.list, &shares);
        }
    }
    if let Ok(share) = borsh::from_slice::<OrderShare>(bytes) {
        let _ = Tdh2::verify_one(
            &world.key,
            share.block,
            &world.list[0],
            share.member,
            &share,
        );
    }
}

/// One valid encoding of every type.
fn samples(world: &mut World) -> Vec<Vec<u8>> {
    let token = finalized(world.block);
    let batch = world.shares(1).batch().clone();
    let order = Tdh2::prove_one(
        &world.secrets[2],
        world.block,
        &world.list[0],
        &mut world.rng,
    );
    let plain = Plain {
        payload: b"payload".to_vec(),
        opening: [3; 32],
    };
    vec![
        encode(&world.key),
        encode(&world.secrets[0]),
        encode(&batch.proof),
        encode(&batch),
        encode(&order.take(&token).unwrap()),
        encode(&Opened::Plain(plain.clone())),
        encode(&Opened::Malformed),
        encode(&plain),
        world.bytes[0].clone(),
    ]
}

#[test]
fn valid_encodings_round_trip() {
    let mut world = World::new(7, 3);
    let samples = samples(&mut world);
    let key: EncryptionKey = borsh::from_slice(&samples[0]).unwrap();
    assert_eq!(key, world.key);
    let share: KeyShare = borsh::from_slice(&samples[1]).unwrap();
    assert!(share.belongs_to(&key).is_ok());
    assert_eq!(*share.expose_secret(), *world.secrets[0].expose_secret());
    assert_eq!(samples[1].len(), 65);
    let batch: ShareBatch = borsh::from_slice(&samples[3]).unwrap();
    assert_eq!(encode(&batch), samples[3]);
    assert!(Tdh2::verify_shares(&key, &world.list, &world.accept(batch)).is_ok());
    let order: OrderShare = borsh::from_slice(&samples[4]).unwrap();
    assert_eq!(samples[4].len(), 161);
    assert!(Tdh2::verify_one(&key, world.block, &world.list[0], MemberId(2), &order).is_ok());
    for sample in &samples {
        every_decoder(&world, sample);
    }
}

#[test]
fn truncated_encodings_are_refused() {
    let mut world = World::new(4, 2);
    for (index, sample) in samples(&mut world).into_iter().enumerate() {
        for len in 0..sample.len() {
            every_decoder(&world, &sample[..len]);
        }
        let longer = [&sample[..], &[0]].concat();
        match index {
            0 => assert!(borsh::from_slice::<EncryptionKey>(&longer).is_err()),
            1 => assert!(borsh::from_slice::<KeyShare>(&longer).is_err()),
            3 => assert!(borsh::from_slice::<ShareBatch>(&longer).is_err()),
            _ => every_decoder(&world, &longer),
        }
    }
}

/// A length prefix costs no memory that the bytes behind it do not pay for.
#[test]
fn length_prefixes_are_bounded() {
    let mut world = World::new(4, 2);
    let bytes = encode(world.shares(1).batch());
    for count in [3_u32, SHARES_MAX as u32, SHARES_MAX as u32 + 1, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[65..69].copy_from_slice(&count.to_le_bytes());
        assert!(borsh::from_slice::<ShareBatch>(&bytes).is_err());
    }
    for n in [0_u16, 3, 257, u16::MAX] {
        let mut bytes = encode(&world.key);
        bytes[8..10].copy_from_slice(&n.to_le_bytes());
        assert!(borsh::from_slice::<EncryptionKey>(&bytes).is_err());
    }
}

/// A key that does not hang together must not load, whatever bit is off.
#[test]
fn keys_with_a_flipped_bit_do_not_load() {
    let (key, _) = deal_insecure(Epoch(1), 4, &mut rng(1)).unwrap();
    let bytes = encode(&key);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The epoch is free, but it is in the id.
        match borsh::from_slice::<EncryptionKey>(&bytes) {
            Ok(other) => assert!(bit < 64 && other.id() != key.id()),
            Err(_) => assert!(bit >= 64),
        }
    }
}

proptest! {
    #![proptest_config(common::cases(300))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let world = World::new(4, 1);
        every_decoder(&world, &bytes);
        // With a header that leads further in.
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        bytes.resize(467, 0x55);
        bytes[161..163].copy_from_slice(&304_u16.to_le_bytes());
        every_decoder(&world, &bytes);
    }

    #[test]
    fn mutated_encodings(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut world = World::new(4, 2);
        let samples = samples(&mut world);
        let mut bytes = pick.get(&samples).clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        every_decoder(&world, &bytes);
    }
}
