//! Everything that comes from outside: decoders are canonical and never panic, evidence
//! cannot be forged, and a member survives whatever a peer sends.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use common::*;
use fairlane_mempool::{
    Ack, Batch, BatchFault, Cut, Entry, Head, Holdings, Input, LaneFork, LaneMessage, Limits,
    SignedHeader,
};
use fairlane_types::{BatchDigest, CtId, Digest, MemberId, Micros, Seq, decode, encode};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

fn batches() -> Vec<Batch> {
    let mut lane = Puppet::new(1);
    let empty = lane.push(T0, &[]);
    let full = lane.push(
        T0 + 9,
        &[(&plain(1), true), (&plain(2), false), (&plain(3), true)],
    );
    let heads = [(Seq(300), BatchDigest(Digest([3; 32]))); 4];
    let holds = lane.draft(T0 + 20, &[(&plain(4), false)], Holdings::of(&heads));
    vec![(*empty).clone(), (*full).clone(), holds]
}

fn messages() -> Vec<LaneMessage> {
    let all: Vec<_> = batches().into_iter().map(Arc::new).collect();
    vec![
        LaneMessage::Batch(all[1].clone()),
        LaneMessage::Batch(all[2].clone()),
        LaneMessage::GetBatches {
            lane: MemberId(1),
            from: Seq(1),
            to: Seq(9),
            head: BatchDigest::default(),
        },
        LaneMessage::Batches(all),
        LaneMessage::GetPayloads(vec![plain(1).id(), plain(2).id()]),
        LaneMessage::Payloads(vec![Arc::new(plain(1))]),
        LaneMessage::GetHeads(Seq(4)),
        LaneMessage::Heads {
            seq: Seq(1),
            digests: vec![BatchDigest::default(); 4],
        },
    ]
}

fn fork() -> LaneFork {
    let lane = Puppet::new(2);
    let half = |stamp| {
        let batch = lane.draft(stamp, &[], Holdings::default());
        SignedHeader {
            header: batch.header(),
            signature: batch.signature,
        }
    };
    LaneFork {
        first: half(T0),
        second: half(T0 + 1),
    }
}

/// Decoding never panics, and what decodes has exactly these bytes.
fn canonical<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> bool {
    match decode::<T>(bytes, LIMIT) {
        Ok(value) => {
            assert_eq!(encode(&value), bytes);
            true
        }
        Err(_) => false,
    }
}

fn all_types(bytes: &[u8]) {
    let _ = canonical::<Batch>(bytes);
    let _ = canonical::<LaneMessage>(bytes);
    let _ = canonical::<Holdings>(bytes);
    let _ = canonical::<Cut>(bytes);
    let _ = canonical::<Head>(bytes);
    let _ = canonical::<Entry>(bytes);
    let _ = canonical::<Ack>(bytes);
    let _ = canonical::<LaneFork>(bytes);
}

fn mutate(mut bytes: Vec<u8>, edits: &[(u8, u16, u8)]) -> Vec<u8> {
    for (kind, at, value) in edits {
        let at = usize::from(*at) % (bytes.len() + 1);
        match kind % 4 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, *value),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(u8, u16, u8)>> {
    prop::collection::vec(any::<(u8, u16, u8)>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        all_types(&bytes);
    }

    #[test]
    fn mutated_messages(which in 0usize..8, edits in edits()) {
        let bytes = mutate(encode(&messages()[which]), &edits);
        all_types(&bytes);
    }

    #[test]
    fn mutated_batches(which in 0usize..3, edits in edits()) {
        let original = &batches()[which];
        let bytes = mutate(encode(original), &edits);
        all_types(&bytes);
        if let Ok(batch) = decode::<Batch>(&bytes, LIMIT) && batch != *original {
            // Another batch has another header, or another signature.
            let limits = Limits::new(&config(0, 4).lanes);
            if batch.check_shape(EPOCH, 4, &limits).is_ok() && batch.payload_ids().is_ok() {
                let (a, b) = (batch.header(), original.header());
                prop_assert!(a != b || batch.signature != original.signature);
            }
        }
    }

    #[test]
    fn mutated_evidence_proves_nothing(edits in edits()) {
        let bytes = mutate(encode(&fork()), &edits);
        all_types(&bytes);
        if let Ok(evidence) = decode::<LaneFork>(&bytes, LIMIT) && evidence != fork() {
            prop_assert!(evidence.verify(&committee(4), CHAIN).is_err());
        }
    }

    #[test]
    fn holdings_round_trip(seqs in prop::collection::vec(any::<u64>(), 0..=100)) {
        let heads: Vec<_> = seqs.iter().map(|s| (Seq(*s), BatchDigest(Digest([*s as u8; 32])))).collect();
        let holdings = Holdings::of(&heads);
        prop_assert!(canonical::<Holdings>(&encode(&holdings)));
    }

    #[test]
    fn cuts_round_trip(seqs in prop::collection::vec(any::<u64>(), 0..=100)) {
        let heads = seqs.iter().map(|s| Head { seq: Seq(*s), digest: BatchDigest::default() });
        let cut = Cut { heads: heads.collect() };
        let bytes = encode(&cut);
        prop_assert!(bytes.len() <= Cut::BYTES_MAX);
        prop_assert_eq!(decode::<Cut>(&bytes, Cut::BYTES_MAX).unwrap(), cut);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A member takes any sequence of mutated messages, jobs answered truthfully, without
    /// a panic, and never acknowledges or holds an order that is not valid.
    #[test]
    fn a_member_survives_its_peers(
        story in prop::collection::vec((0usize..8, edits(), 1u8..5, 0u64..40_000), 1..30),
    ) {
        let mut solo = Solo::new(config(0, 4));
        for (which, edits, from, pause) in story {
            let bytes = encode(&messages()[which]);
            let bytes = if pause % 3 == 0 { bytes } else { mutate(bytes, &edits) };
            if let Ok(message) = decode::<LaneMessage>(&bytes, LIMIT) {
                solo.receive(from, message);
            }
            solo.run(pause);
        }
        for batch in solo.said() {
            for entry in &batch.entries {
                let held = solo.lanes.envelope(&entry.ct_id).unwrap();
                prop_assert!(held.signature_check().verify().is_ok());
            }
        }
    }

    /// Answers to jobs, writes and reads that nobody asked for do nothing.
    #[test]
    fn stray_answers(ids in prop::collection::vec(any::<u64>(), 1..20)) {
        use fairlane_mempool::{CheckId, Flaw, LoadId, WriteId};
        let mut solo = Solo::new(config(0, 4));
        for id in ids {
            solo.step(Input::Stored(WriteId(id)));
            solo.step(Input::Verified { check: CheckId(id), bad: vec![(id as usize, Flaw::Proof)] });
            solo.step(Input::Loaded { load: LoadId(id), batches: vec![], payloads: vec![] });
            solo.step(Input::Signed { seq: Seq(id), signature: Default::default() });
            let cut = Cut { heads: vec![Head::default(); (id % 6) as usize] };
            solo.step(Input::Parent(cut.clone()));
            solo.step(Input::Finalized { cut, time: Default::default() });
        }
        prop_assert!(solo.sent.is_empty());
    }
}

#[test]
fn valid_encodings_are_canonical() {
    for message in messages() {
        assert!(canonical::<LaneMessage>(&encode(&message)));
    }
    for batch in batches() {
        assert!(canonical::<Batch>(&encode(&batch)));
        let limits = Limits::new(&config(0, 4).lanes);
        assert_eq!(batch.check_shape(EPOCH, 4, &limits), Ok(()));
        assert!(encode(&batch).len() <= limits.batch_wire_bytes());
    }
    assert!(canonical::<LaneFork>(&encode(&fork())));
    assert_eq!(fork().verify(&committee(4), CHAIN), Ok(MemberId(2)));
    let honest = LaneFork {
        second: fork().first,
        ..fork()
    };
    assert!(honest.verify(&committee(4), CHAIN).is_err());
}

#[test]
fn the_header_commits_to_everything() {
    let batch = &batches()[1];
    type Change = fn(&mut Batch);
    let changes: [Change; 9] = [
        |b| b.epoch.0 += 1,
        |b| b.lane.0 += 1,
        |b| b.seq = b.seq.next(),
        |b| b.parent = BatchDigest::default(),
        |b| b.stamp = Micros(1),
        |b| b.entries.swap(0, 1),
        |b| b.entries[0].back_us += 1,
        |b| Arc::make_mut(&mut b.payloads[0]).signature.0[0] ^= 1,
        |b| b.holdings.seqs = vec![Seq(1); 4],
    ];
    for change in changes {
        let mut other = batch.clone();
        change(&mut other);
        assert_ne!(other.digest(), batch.digest());
    }
}

#[test]
fn limits_come_before_work() {
    let limits = Limits::new(&config(0, 4).lanes);
    let batch = batches()[1].clone();
    let check = |change: fn(&mut Batch)| {
        let mut batch = batch.clone();
        change(&mut batch);
        batch.check_shape(EPOCH, 4, &limits)
    };
    assert_eq!(check(|b| b.epoch.0 = 3), Err(BatchFault::Epoch));
    assert_eq!(check(|b| b.lane = MemberId(4)), Err(BatchFault::Lane));
    assert_eq!(check(|b| b.seq = Seq(0)), Err(BatchFault::Seq));
    let line = Entry {
        ct_id: CtId::default(),
        back_us: 0,
    };
    let many = Batch {
        entries: vec![line; 4_001],
        ..batch.clone()
    };
    assert_eq!(
        many.check_shape(EPOCH, 4, &limits),
        Err(BatchFault::Entries)
    );
    let stray = Batch {
        entries: vec![line],
        payloads: vec![Arc::new(plain(1))],
        ..batch.clone()
    };
    assert_eq!(stray.payload_ids(), Err(BatchFault::StrayPayload));
    assert_eq!(
        check(|b| b.holdings.seqs = vec![Seq(0); 3]),
        Err(BatchFault::Holdings)
    );
    assert_eq!(check(|b| b.entries[2].back_us = 5), Err(BatchFault::Stamps));
    let mut solo = Solo::new(config(0, 4));
    solo.receive(2, LaneMessage::GetPayloads(vec![CtId::default(); 257]));
    let to = Seq(1_000_000);
    solo.receive(
        2,
        LaneMessage::GetBatches {
            lane: MemberId(0),
            from: Seq(1),
            to,
            head: BatchDigest::default(),
        },
    );
    assert_eq!(solo.faults.len(), 2);
    assert!(solo.loads.is_empty());
}
