//! The key of the epoch before: who may still seal to it, what becomes of orders that come too
//! late, and that a chain which rests comes past its time (PROTOCOL §6, THREATS A21).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use std::sync::Arc;

use common::{KEY, Puppet, Solo, T0, config, label, sender_key};
use fairlane_mempool::fair::{FairOrder, LaneOrder};
use fairlane_mempool::{
    AdmissionError, Cut, CutDelta, FinalEntry, Input, LaneDelta, LaneMessage, Stage, Ticket,
};
use fairlane_types::{
    BlockId, CtId, Digest, Envelope, EnvelopeError, Epoch, KeyId, LANE_NONE, Label, MemberId,
    Micros, Millis, OrderParams,
};

const N: usize = 4;
const FORMER: KeyId = KeyId(Digest([8; 32]));
/// Its last time.
const UNTIL: u64 = T0 / 1_000 + 5_000;

fn sealed_to(key: KeyId, nonce: u64, expiry: u64) -> Envelope {
    let sender = sender_key(1);
    let label = Label {
        key_id: key,
        ..label(sender.public(), nonce, expiry, LANE_NONE)
    };
    let mut ciphertext = vec![0; common::CIPHERTEXT];
    ciphertext[1..9].copy_from_slice(&nonce.to_le_bytes());
    Envelope::sign(label, ciphertext, &sender)
}

fn solo() -> Solo {
    let mut config = config(0, N);
    config.former = Some((FORMER, Millis(UNTIL)));
    Solo::new(config)
}

/// At the edge: in the last quarter of the key's time, what would outlive it is to be sealed
/// again. What other lanes recorded, or what came along from the epoch before, is recorded as it
/// is.
#[test]
fn orders_of_a_former_key_are_taken_while_it_outlives_them() {
    let mut solo = solo();
    solo.run(3_800_000);
    solo.submit(1, sealed_to(FORMER, 1, UNTIL));
    solo.submit(2, sealed_to(FORMER, 2, UNTIL + 1));
    solo.submit(3, sealed_to(KEY, 3, UNTIL + 1));
    let unknown = KeyId(Digest([7; 32]));
    solo.submit(4, sealed_to(unknown, 4, UNTIL));
    let until = Millis(UNTIL);
    assert_eq!(solo.refused[&Ticket(2)], AdmissionError::OldKey { until });
    let foreign = AdmissionError::Envelope(EnvelopeError::UnknownKey(unknown));
    assert_eq!(solo.refused[&Ticket(4)], foreign);
    solo.run(10_000);
    assert_eq!(solo.accepted.len(), 2);
    let late = sealed_to(FORMER, 5, UNTIL + 60_000);
    let mut lane = Puppet::new(1);
    let batch = lane.push(solo.now, &[(&late, true)]);
    solo.receive(1, LaneMessage::Batch(batch));
    solo.run(30_000);
    assert_eq!(solo.lanes.status(&late.id()), Some(Stage::Laned));
    assert!(solo.faults.is_empty());
}

/// Before: who left hands on what it acknowledged, whatever its label says.
#[test]
fn orders_that_outlive_a_former_key_are_taken_while_most_of_its_time_is_left() {
    let mut solo = solo();
    let far = UNTIL + 100_000;
    solo.run(3_700_000);
    solo.submit(1, sealed_to(FORMER, 1, far));
    solo.run(10_000);
    assert_eq!(solo.accepted.len(), 1);
    // Whichever of the two times is later decides.
    let (cut, time) = (Cut::genesis(N), Millis(T0 / 1_000 + 3_751));
    solo.step(Input::Finalized { cut, time });
    solo.submit(2, sealed_to(FORMER, 2, far));
    let until = Millis(UNTIL);
    assert_eq!(solo.refused[&Ticket(2)], AdmissionError::OldKey { until });
}

/// Once its clock is past the key's time, a member lets heads advance until finalized time is
/// too; not before, and not after.
#[test]
fn a_chain_that_rests_comes_past_the_time_of_the_key() {
    let mut solo = solo();
    solo.step(Input::Start);
    solo.run(4_990_000);
    assert!(solo.said().is_empty(), "it rests");
    solo.run(111_000);
    let said = solo.said().len();
    assert!((4..=6).contains(&said), "{said}: one every 20 ms");
    let time = Millis(UNTIL + 1);
    let cut = Cut::genesis(N);
    solo.step(Input::Finalized { cut, time });
    solo.run(25_000);
    let said = solo.said().len();
    solo.run(5_000_000);
    assert_eq!(solo.said().len(), said, "it rests again");
}

fn delta(time: u64, lanes: usize, orders: &[&Envelope]) -> CutDelta {
    let entry = |order: &&Envelope| FinalEntry {
        ct_id: order.id(),
        stamp: Micros(time * 1_000 - 900),
        order: Some(Arc::new((*order).clone())),
    };
    let lane = |lane: usize| LaneDelta {
        lane: MemberId(lane as u8),
        head: Micros(time * 1_000),
        entries: match lane < lanes {
            true => orders.iter().map(entry).collect(),
            false => Vec::new(),
        },
    };
    CutDelta {
        block: BlockId::default(),
        time: Millis(time),
        lanes: (0..N).map(lane).collect(),
    }
}

/// In time they come out like any other. Later they expire, at the same height for everybody,
/// whatever their labels say; a restart changes nothing.
#[test]
fn orders_of_a_former_key_expire_with_it() {
    let params = OrderParams::default();
    let ids = |list: &[fairlane_mempool::fair::Ordered]| -> Vec<CtId> {
        list.iter().map(|order| order.ct_id).collect()
    };
    let rule = || {
        let mut rule = LaneOrder::new(N, 1, &params);
        rule.expire_key(Some((FORMER, Millis(UNTIL))));
        rule
    };
    let far = UNTIL + 60_000;
    let (old, new) = (sealed_to(FORMER, 1, far), sealed_to(KEY, 2, far));
    let mut in_time = rule();
    let mut found = ids(&in_time
        .on_cut(&delta(UNTIL - 200, N, &[&old, &new]))
        .ordered);
    found.extend(ids(&in_time.on_cut(&delta(UNTIL, N, &[])).ordered));
    let mut both = [old.id(), new.id()];
    both.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, both);

    // Recorded in time by too few lanes, and by a quorum only when the key is over.
    let mut late = rule();
    let _ = late.on_cut(&delta(UNTIL - 200, 1, &[&old, &new]));
    let mut again = LaneOrder::restore(N, 1, &params, &late.snapshot()).unwrap();
    again.expire_key(Some((FORMER, Millis(UNTIL))));
    let out = late.on_cut(&delta(UNTIL + 1, 0, &[]));
    assert_eq!((ids(&out.expired), out.ordered.len()), (vec![old.id()], 0));
    assert_eq!(again.on_cut(&delta(UNTIL + 1, 0, &[])), out);
    assert_eq!(again.digest(), late.digest());
    // What comes after that leaves at once; the present key is not concerned.
    let third = sealed_to(FORMER, 3, far);
    let out = late.on_cut(&delta(UNTIL + 300, N, &[&third, &new]));
    assert_eq!(ids(&out.expired), [third.id()]);
    let mut found = ids(&out.ordered);
    found.extend(ids(&late.on_cut(&delta(UNTIL + 600, N, &[])).ordered));
    assert_eq!(found, [new.id()]);
}

/// A smaller committee takes over orders that name a lane which it does not have, from lanes and
/// at its edges. On a chain that had no committee before, whoever sends one is told.
#[test]
fn orders_that_name_a_lane_of_a_larger_committee_are_recorded() {
    let sender = sender_key(1);
    let named = |lane: u8, nonce| {
        let label = label(sender.public(), nonce, UNTIL, lane);
        let mut ciphertext = vec![0; common::CIPHERTEXT];
        ciphertext[1..9].copy_from_slice(&nonce.to_le_bytes());
        Envelope::sign(label, ciphertext, &sender)
    };
    let (over, none) = (named(6, 1), named(120, 2));
    let mut first = solo();
    first.submit(1, over.clone());
    let refused = AdmissionError::Envelope(EnvelopeError::Lane(6));
    assert_eq!(first.refused[&Ticket(1)], refused);

    let mut later = config(0, N);
    later.epoch = Epoch(1);
    let mut later = Solo::new(later);
    later.submit(1, over.clone());
    later.submit(2, none.clone());
    let refused = AdmissionError::Envelope(EnvelopeError::Lane(120));
    assert_eq!(later.refused[&Ticket(2)], refused);
    later.run(10_000);
    assert_eq!(later.accepted.len(), 1);

    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let batch = lane.push(solo.now, &[(&over, true)]);
    solo.receive(1, LaneMessage::Batch(batch));
    solo.run(30_000);
    assert_eq!(solo.lanes.status(&over.id()), Some(Stage::Laned));
    assert!(solo.faults.is_empty());
    // No committee has such a lane.
    let batch = lane.push(solo.now, &[(&none, true)]);
    solo.receive(1, LaneMessage::Batch(batch));
    solo.run(30_000);
    assert!(!solo.faults.is_empty());
}
