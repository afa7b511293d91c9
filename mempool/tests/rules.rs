//! Directed tests, named after the rules of PROTOCOL §1 and ORDERING "Lane rules".

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::*;
use fairlane_mempool::{
    AdmissionError, Cut, FinalCut, Head, Holdings, Input, LaneFault, LaneMessage, Lanes, Pressure,
    Quota, Record, Recovered, Stage, Ticket, To, Wanted,
};
use fairlane_types::{
    BatchDigest, BlockId, Digest, Envelope, EnvelopeError, KeyId, LANE_NONE, MemberId, Micros,
    Millis, Seq,
};

const N: usize = 4;

fn solo() -> Solo {
    Solo::new(config(0, N))
}

fn batch(batch: &Arc<fairlane_mempool::Batch>) -> LaneMessage {
    LaneMessage::Batch(batch.clone())
}

/// A cut with the given heads.
fn cut(heads: &[(usize, Seq, BatchDigest)]) -> Cut {
    let mut cut = Cut::genesis(N);
    for (lane, seq, digest) in heads {
        cut.heads[*lane] = Head {
            seq: *seq,
            digest: *digest,
        };
    }
    cut
}

fn genesis_time() -> Millis {
    Millis(T0 / 1_000)
}

#[test]
fn m1_nothing_is_said_before_it_is_durable() {
    let mut solo = solo();
    solo.hold_writes = true;
    solo.submit(1, plain(1));
    solo.run(10_000);
    assert!(solo.said().is_empty() && solo.accepted.is_empty());
    assert_eq!(solo.lanes.status(&plain(1).id()), Some(Stage::Received));
    solo.write();
    assert_eq!(solo.said().len(), 1);
    let receipt = &solo.accepted[&Ticket(1)];
    assert_eq!((receipt.seq, receipt.entry), (Seq(1), 0));
    assert_eq!(solo.lanes.status(&plain(1).id()), Some(Stage::Laned));
    // Own batches that are not durable are not served either.
    solo.submit(2, plain(2));
    solo.run(10_000);
    solo.sent.clear();
    let ask = LaneMessage::GetBatches {
        lane: MemberId(0),
        from: Seq(1),
        to: Seq(2),
        head: BatchDigest::default(),
    };
    solo.receive(2, ask);
    assert!(
        matches!(&solo.sent[..], [(To::One(MemberId(2)), LaneMessage::Batches(b))] if b.len() == 1)
    );
}

#[test]
fn m2_what_is_acknowledged_is_written_before_the_batch_that_says_so() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let first = lane.push(T0, &[(&plain(1), true)]);
    solo.hold_writes = true;
    solo.receive(1, batch(&first));
    solo.run(100_000);
    let at = |wanted: &dyn Fn(&Record) -> bool| solo.records.iter().position(wanted).unwrap();
    let ack = at(&|r| matches!(r, Record::Ack(ack) if ack.digest == first.digest()));
    let own = at(&|r| matches!(r, Record::Batch { batch, .. } if batch.lane == MemberId(0)));
    assert!(ack < own, "one sync covers both");
    assert!(solo.said().is_empty() && !solo.unwritten.is_empty());
    // Nor is anything else told of a batch that is not durable.
    solo.receive(2, LaneMessage::GetHeads(Seq(1)));
    let told = |solo: &Solo| {
        let heads = |(_, m): &&(To, LaneMessage)| matches!(m, LaneMessage::Heads { .. });
        solo.sent.iter().filter(heads).count()
    };
    assert_eq!(told(&solo), 0);
    solo.write();
    assert_eq!(solo.acknowledged()[1], Seq(1));
    solo.receive(2, LaneMessage::GetHeads(Seq(1)));
    assert_eq!(told(&solo), 1);
}

#[test]
fn m1_a_fork_is_evidence_and_mutes_the_lane() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let other = Arc::new(lane.draft(T0 - 5, &[], Holdings::default()));
    let first = lane.push(T0 - 9, &[(&plain(1), true)]);
    solo.receive(1, batch(&first));
    solo.receive(1, batch(&other));
    assert_eq!(solo.forks.len(), 1);
    assert_eq!(solo.forks[0].verify(&committee(N), CHAIN), Ok(MemberId(1)));
    assert!(solo.faults.contains(&(MemberId(1), LaneFault::Fork)));
    // Nothing more of it is acknowledged, and evidence comes once.
    let second = lane.push(T0, &[(&plain(2), true)]);
    solo.receive(1, batch(&second));
    solo.receive(1, batch(&other));
    solo.run(100_000);
    assert_eq!(solo.acknowledged()[1], Seq(1));
    assert_eq!(solo.forks.len(), 1);
    // Echo goes on: nobody is censored for it.
    assert_eq!(solo.lanes.status(&plain(2).id()), Some(Stage::Laned));
}

#[test]
fn m2_only_what_is_held_in_full_is_acknowledged() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let (a, b) = (plain(1), plain(2));
    let first = lane.push(T0, &[(&a, true), (&b, false)]);
    solo.receive(1, batch(&first));
    solo.run(15_000);
    assert!(!solo.records.iter().any(|r| matches!(r, Record::Ack(_))));
    // Echo does not wait for the rest of the batch (L3).
    assert_eq!(solo.lanes.status(&a.id()), Some(Stage::Laned));
    solo.hold_writes = true;
    solo.receive(1, LaneMessage::Payloads(vec![Arc::new(b.clone())]));
    solo.run(30_000);
    let acked = |r: &&Record| matches!(r, Record::Ack(ack) if ack.lane == MemberId(1) && ack.seq == Seq(1) && ack.digest == first.digest());
    assert_eq!(solo.records.iter().filter(acked).count(), 1);
    assert!(
        solo.acknowledged().is_empty(),
        "the batch that says so is durable first"
    );
    while !solo.unwritten.is_empty() {
        solo.write();
    }
    solo.run(30_000);
    while !solo.unwritten.is_empty() {
        solo.write();
    }
    assert_eq!(solo.acknowledged()[1], Seq(1));
}

#[test]
fn m2_holdings_certify() {
    let mut solo = solo();
    let (mut one, mut two, three) = (Puppet::new(1), Puppet::new(2), Puppet::new(3));
    let first = one.push(T0, &[]);
    let head = (Seq(1), first.digest());
    let none = (Seq(0), BatchDigest::default());
    // Holdings come before what they speak of: understood when it is there.
    let says = Holdings::of(&[none, head, none, none]);
    let ack = Arc::new(two.draft(T0, &[], says.clone()));
    two.tip = (ack.seq, ack.digest());
    solo.hold_writes = true;
    solo.receive(2, batch(&ack));
    let parent = Cut::genesis(N);
    let only = [MemberId(1)];
    let certified = |solo: &Solo| {
        let built = solo.lanes.build_cut(&parent, genesis_time(), &only);
        built.cut.heads[1].seq
    };
    assert_eq!(certified(&solo), Seq(0), "what is not here cannot be cut");
    // The owner, two, and we who hold it.
    solo.receive(1, batch(&first));
    assert_eq!(certified(&solo), Seq(1));
    let second = one.push(T0, &[]);
    solo.receive(1, batch(&second));
    assert_eq!(certified(&solo), Seq(1), "owner and one more are no quorum");
    let says = Holdings::of(&[none, (Seq(2), second.digest()), none, none]);
    let ack = Arc::new(three.draft(T0, &[], says));
    solo.receive(3, batch(&ack));
    assert_eq!(certified(&solo), Seq(2));
    // A liar's holdings are asked about once, and what it says must fit.
    let lie = Holdings {
        seqs: vec![Seq(0), Seq(1), Seq(0), Seq(0)],
        heads: Digest([5; 32]),
    };
    let lie = Arc::new(two.draft(T0, &[], lie));
    solo.receive(2, batch(&lie));
    let asks = solo
        .sent
        .iter()
        .filter(|(_, m)| matches!(m, LaneMessage::GetHeads(Seq(2))));
    assert_eq!(asks.count(), 1);
    solo.receive(
        2,
        LaneMessage::Heads {
            seq: Seq(2),
            digests: vec![BatchDigest::default(); N],
        },
    );
    assert!(solo.faults.contains(&(MemberId(2), LaneFault::Heads)));
}

#[test]
fn m2_empty_batches_trigger_nothing() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    for i in 0..5 {
        let next = lane.push(T0 + i, &[]);
        solo.receive(1, batch(&next));
    }
    solo.run(1_000_000);
    assert!(solo.said().is_empty());
    let acks = solo.records.iter().filter(|r| matches!(r, Record::Ack(_)));
    assert_eq!(
        acks.count(),
        5,
        "they are acknowledged with whatever comes next"
    );
}

#[test]
fn m3_a_batch_is_sealed_by_interval_or_by_size() {
    let mut config = config(0, N);
    config.lanes.batch_entries_max = 3;
    let mut solo = Solo::new(config);
    solo.run(100_000);
    solo.submit(1, plain(1));
    solo.run(4_900);
    assert!(solo.said().is_empty());
    solo.run(100);
    assert_eq!(solo.said().len(), 1);
    for i in 2..=4 {
        solo.submit(i, plain(i));
    }
    assert_eq!(solo.said().len(), 2, "full at once");
    assert_eq!(solo.said()[1].entries.len(), 3);
}

#[test]
fn m4_a_full_window_grows_the_next_batch_and_drops_nothing() {
    let mut config = config(0, N);
    config.lanes.window_batches = 4;
    config.lanes.batch_entries_max = 2;
    config.lanes.window_entries = 40;
    let mut solo = Solo::new(config);
    for i in 0..60 {
        solo.submit(i, plain(i));
        solo.run(1_000);
    }
    let said = solo.said();
    assert_eq!(said.len(), 4, "the window is full");
    let laned: usize = said.iter().map(|b| b.entries.len()).sum();
    assert_eq!(solo.accepted.len(), laned);
    let over = |e: &AdmissionError| matches!(e, AdmissionError::OverCapacity { retry_after_ms } if *retry_after_ms > 0);
    assert_eq!(solo.refused.len(), 20);
    assert!(solo.refused.values().all(over));
    // Finality makes room.
    let last = &said[3];
    let cut = cut(&[(0, last.seq, last.digest())]);
    solo.step(Input::Finalized {
        cut,
        time: genesis_time(),
    });
    solo.run(10_000);
    assert!(solo.said()[4].entries.len() > 2, "the next batch has grown");
    solo.run(100_000);
    let receipts = solo.accepted.len() + solo.refused.len();
    assert!(receipts > 30);
}

#[test]
fn m4_what_was_refused_is_pulled_by_range() {
    let mut config = config(0, N);
    config.lanes.window_batches = 4;
    let mut solo = Solo::new(config);
    let mut lane = Puppet::new(1);
    let batches: Vec<_> = (0..10).map(|i| lane.push(T0 + i, &[])).collect();
    for b in &batches {
        solo.receive(1, batch(b));
    }
    let acks = |solo: &Solo| {
        solo.records
            .iter()
            .filter(|r| matches!(r, Record::Ack(_)))
            .count()
    };
    assert_eq!(acks(&solo), 4);
    solo.run(100_000);
    assert!(solo.sent.is_empty(), "no room, nothing asked");
    let cut = cut(&[(1, Seq(4), batches[3].digest())]);
    solo.step(Input::Finalized {
        cut,
        time: genesis_time(),
    });
    let (from, to) = (Seq(5), Seq(8));
    assert!(
        matches!(&solo.sent[..], [(To::One(MemberId(1)), LaneMessage::GetBatches { lane: MemberId(1), from: f, to: t, .. })] if *f == from && *t == to)
    );
    solo.receive(1, LaneMessage::Batches(batches[4..8].to_vec()));
    assert_eq!(acks(&solo), 8);
}

#[test]
fn m4_no_more_entries_than_the_window_are_stored() {
    let mut config = config(0, N);
    config.lanes.window_entries = 5;
    let mut solo = Solo::new(config);
    let mut lane = Puppet::new(1);
    let mut batches = Vec::new();
    for i in 0..4 {
        let (a, b) = (plain(2 * i), plain(2 * i + 1));
        batches.push(lane.push(T0 + i, &[(&a, true), (&b, true)]));
        solo.receive(1, batch(&batches[i as usize]));
    }
    let acks = |solo: &Solo| {
        let ack = |r: &&Record| matches!(r, Record::Ack(_));
        solo.records.iter().filter(ack).count()
    };
    assert_eq!(acks(&solo), 2);
    solo.step(Input::Finalized {
        cut: cut(&[(1, Seq(2), batches[1].digest())]),
        time: genesis_time(),
    });
    solo.receive(1, LaneMessage::Batches(batches[2..].to_vec()));
    assert_eq!(acks(&solo), 4);
}

#[test]
fn m4_a_gap_is_filled_and_asked_of_others_in_turn() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let batches: Vec<_> = (0..5).map(|i| lane.push(T0 + i, &[])).collect();
    solo.receive(1, batch(&batches[4]));
    solo.run(3_000_000);
    let mut asked: Vec<u8> = (solo.sent.iter())
        .filter_map(|(to, message)| match (to, message) {
            (
                To::One(to),
                LaneMessage::GetBatches {
                    from: Seq(1),
                    to: Seq(4),
                    ..
                },
            ) => Some(to.0),
            _ => None,
        })
        .collect();
    assert_eq!(asked[0], 1, "the owner first");
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [1, 2, 3]);
    solo.receive(3, LaneMessage::Batches(batches[..4].to_vec()));
    let parent = Cut::genesis(N);
    assert_eq!(
        solo.lanes.build_cut(&parent, genesis_time(), &[]).cut.heads[1].seq,
        Seq(5)
    );
}

#[test]
fn m5_every_stateless_fact_has_its_own_error() {
    let mut solo = solo();
    type Change = fn(&mut Envelope);
    let cases: [(Change, EnvelopeError); 7] = [
        (|e| e.label.suite = 9, EnvelopeError::Suite(9)),
        (
            |e| e.label.chain.0 = 8,
            EnvelopeError::WrongChain {
                got: fairlane_types::ChainId(8),
                want: CHAIN,
            },
        ),
        (
            |e| e.label.key_id = KeyId::default(),
            EnvelopeError::UnknownKey(KeyId::default()),
        ),
        (|e| e.label.fee = 1, EnvelopeError::Fee(1)),
        (|e| e.label.lane = 4, EnvelopeError::Lane(4)),
        (|e| e.label.reserved[3] = 1, EnvelopeError::Reserved),
        (
            |e| e.ciphertext.push(0),
            EnvelopeError::Length(CIPHERTEXT + 1),
        ),
    ];
    for (i, (change, want)) in cases.into_iter().enumerate() {
        let mut envelope = plain(1);
        change(&mut envelope);
        solo.submit(i as u64, envelope);
        assert_eq!(
            solo.refused[&Ticket(i as u64)],
            AdmissionError::Envelope(want)
        );
    }
    let mut envelope = plain(1);
    envelope.signature.0[7] ^= 1;
    solo.submit(100, envelope);
    assert_eq!(solo.refused[&Ticket(100)], AdmissionError::BadSignature);
    let key = sender_key(1);
    let mut ciphertext = vec![0; CIPHERTEXT];
    ciphertext[0] = 0xbd;
    let bad = Envelope::sign(
        label(key.public(), 1, T0 / 1_000, LANE_NONE),
        ciphertext,
        &key,
    );
    solo.submit(101, bad);
    assert_eq!(solo.refused[&Ticket(101)], AdmissionError::BadProof);
    solo.run(50_000);
    assert!(solo.said().is_empty());
}

#[test]
fn m5_stateful_facts_are_asked_at_the_edge_only() {
    let mut config = config(0, N);
    config.quota = Quota {
        per_second: 10,
        burst: 3,
    };
    let mut solo = Solo::new(config);
    let now = T0 / 1_000;
    solo.submit(1, order(1, 5, now + 1_000, LANE_NONE, 1));
    solo.submit(2, order(1, 5, now + 1_000, LANE_NONE, 2));
    assert_eq!(solo.refused[&Ticket(2)], AdmissionError::NonceUsed(5));
    solo.submit(3, order(1, 6, now - 1, LANE_NONE, 3));
    assert!(matches!(
        solo.refused[&Ticket(3)],
        AdmissionError::Expired { .. }
    ));
    solo.submit(4, order(1, 6, now + 120_001, LANE_NONE, 3));
    assert!(matches!(
        solo.refused[&Ticket(4)],
        AdmissionError::ExpiryTooFar { .. }
    ));
    solo.submit(5, order(1, 6, now + 120_000, LANE_NONE, 3));
    solo.submit(6, order(1, 7, now + 1_000, LANE_NONE, 4));
    solo.submit(7, order(1, 8, now + 1_000, LANE_NONE, 5));
    assert_eq!(
        solo.refused[&Ticket(7)],
        AdmissionError::OverQuota {
            retry_after_ms: 100
        }
    );
    solo.submit(8, order(2, 8, now + 1_000, LANE_NONE, 5));
    solo.run(10_000);
    assert_eq!(solo.accepted.len(), 4);
    // The same from another lane is echoed: expired, over quota, nonce used.
    let mut lane = Puppet::new(1);
    let late = order(1, 9, now - 1, LANE_NONE, 9);
    let clash = order(1, 5, now + 1_000, LANE_NONE, 10);
    solo.receive(
        1,
        batch(&lane.push(solo.now, &[(&late, true), (&clash, true)])),
    );
    solo.run(30_000);
    assert_eq!(solo.lanes.status(&late.id()), Some(Stage::Laned));
    assert_eq!(solo.lanes.status(&clash.id()), Some(Stage::Laned));
    assert_eq!(solo.acknowledged()[1], Seq(1));
    // After an idle spell finalized time lags; the own clock still says what is far.
    solo.run(600_000_000);
    solo.submit(9, order(3, 1, solo.now / 1_000 + 60_000, LANE_NONE, 11));
    solo.run(10_000);
    assert!(solo.accepted.contains_key(&Ticket(9)));
}

#[test]
fn a23_under_load_new_orders_are_refused_and_known_ones_answered() {
    let mut solo = solo();
    solo.submit(1, plain(1));
    solo.run(10_000);
    let receipt = solo.accepted[&Ticket(1)].clone();
    assert_eq!(solo.lanes.held(), 1);
    solo.pressure = Pressure {
        room: 0,
        wait_ms: 1_750,
    };
    solo.submit(2, plain(2));
    solo.submit(3, plain(1));
    solo.run(10_000);
    assert_eq!(
        solo.refused[&Ticket(2)],
        AdmissionError::OverCapacity {
            retry_after_ms: 1_750
        }
    );
    assert_eq!(solo.accepted[&Ticket(3)], receipt);
    assert_eq!(solo.lanes.held(), 1);
}

/// A11: whoever comes first does not fill the edge. The shell says how much room is left; here
/// it is what 8 orders leave.
#[test]
fn a11_one_sender_leaves_room_for_the_next() {
    const ROOM: usize = 8;
    let mut solo = solo();
    let mut ticket = 0;
    let mut fill = |solo: &mut Solo, sender: u64| {
        let before = solo.accepted.len();
        for nonce in 0..20 {
            ticket += 1;
            solo.pressure.room = ROOM.saturating_sub(solo.lanes.held());
            solo.submit(
                ticket,
                order(sender, nonce, T0 / 1_000 + 1_000, LANE_NONE, 3),
            );
            solo.run(10_000);
        }
        solo.accepted.len() - before
    };
    assert_eq!(fill(&mut solo, 1), 4);
    assert_eq!(fill(&mut solo, 2), 2);
    assert_eq!(fill(&mut solo, 3), 1);
    let refused = |error: &AdmissionError| matches!(error, AdmissionError::OverCapacity { .. });
    assert!(solo.refused.values().all(refused));
    // What has its outcome makes room again.
    let (first, of) = (order(1, 0, T0 / 1_000 + 1_000, LANE_NONE, 3), &mut solo);
    of.step(Input::Emitted(vec![emitted(&first, true)]));
    assert_eq!(fill(of, 4), 1);
}

/// Many senders at once, as many as there is room for: what waits for its check is counted by who
/// asks for room, and must not be refused for having been counted.
#[test]
fn a11_what_was_let_in_to_be_checked_is_not_refused_for_filling_the_room() {
    const ROOM: usize = 6;
    let mut solo = solo();
    solo.hold_checks = true;
    for sender in 0..8 {
        let waiting = usize::try_from(sender).unwrap();
        solo.pressure.room = ROOM.saturating_sub(waiting);
        solo.submit(sender, order(sender, 1, T0 / 1_000 + 1_000, LANE_NONE, 3));
    }
    while let Some((check, bad)) = solo.unchecked.pop() {
        solo.step(Input::Verified { check, bad });
    }
    solo.run(10_000);
    assert_eq!((solo.accepted.len(), solo.refused.len()), (6, 2));
}

#[test]
fn a11_many_at_once_of_one_sender_are_counted_when_they_are_checked() {
    let mut solo = solo();
    solo.hold_checks = true;
    solo.pressure.room = 2;
    for nonce in 0..6 {
        let envelope = order(1, nonce, T0 / 1_000 + 1_000, LANE_NONE, 3);
        solo.submit(nonce, envelope);
    }
    while let Some((check, bad)) = solo.unchecked.pop() {
        solo.step(Input::Verified { check, bad });
    }
    solo.run(10_000);
    assert_eq!((solo.accepted.len(), solo.refused.len()), (2, 4));
}

#[test]
fn m5_the_same_order_gets_the_same_receipt() {
    let mut solo = solo();
    let envelope = plain(1);
    solo.submit(1, envelope.clone());
    solo.submit(2, envelope.clone()); // while pending
    solo.run(10_000);
    solo.submit(3, envelope.clone());
    let receipt = solo.accepted[&Ticket(1)].clone();
    assert!(solo.accepted.values().all(|r| *r == receipt));
    assert_eq!(solo.accepted.len(), 3);
    // After its outcome.
    solo.step(Input::Emitted(vec![emitted(&envelope, true)]));
    solo.step(Input::Emitted(vec![emitted(&envelope, true)])); // told twice
    solo.submit(4, envelope.clone());
    assert_eq!(solo.accepted[&Ticket(4)], receipt);
    assert_eq!(solo.lanes.status(&envelope.id()), None);
    // After a restart, before and after its outcome is known again.
    let recovered = recovered(&solo);
    let mut again = Solo::of(Lanes::restore(config(0, N), recovered));
    again.submit(5, envelope.clone());
    assert_eq!(again.accepted[&Ticket(5)], receipt);
    again.step(Input::Emitted(vec![emitted(&envelope, true)]));
    again.submit(6, envelope.clone());
    assert_eq!(again.accepted[&Ticket(6)], receipt);
    again.submit(7, order(1, 1, T0 / 1_000 + 1_000, LANE_NONE, 77));
    assert_eq!(again.refused[&Ticket(7)], AdmissionError::NonceUsed(1));
}

fn recovered(solo: &Solo) -> Recovered {
    let mut recovered = Recovered {
        cut: Cut::genesis(N),
        stamps: vec![Micros(0); N],
        time: genesis_time(),
        ..Recovered::default()
    };
    for record in &solo.records {
        match record {
            Record::Batch { batch, .. } => recovered.batches.push(batch.clone()),
            Record::Payload { envelope, .. } => recovered.payloads.push(envelope.clone()),
            Record::Ack(ack) => recovered.acks.push(*ack),
        }
    }
    recovered
}

#[test]
fn m6_what_left_memory_comes_from_disk() {
    let mut solo = solo();
    let mut parent = Cut::genesis(N);
    for round in 0..100 {
        solo.submit(round, plain(round));
        solo.run(6_000);
        let tip = solo.said().last().unwrap().clone();
        let next = cut(&[(0, tip.seq, tip.digest())]);
        solo.step(Input::Finalized {
            cut: next.clone(),
            time: genesis_time(),
        });
        let block = FinalCut {
            block: BlockId::default(),
            time: genesis_time(),
            parent,
            cut: next.clone(),
        };
        let mut out = Vec::new();
        let delta = solo
            .lanes
            .take_final(Micros(solo.now), &block, &mut out)
            .unwrap();
        assert_eq!(delta.lanes[0].entries.len(), 1);
        solo.step(Input::Emitted(vec![emitted(&plain(round), true)]));
        parent = next;
    }
    let batches = solo.said()[..2].to_vec();
    solo.sent.clear();
    solo.receive(
        2,
        LaneMessage::GetBatches {
            lane: MemberId(0),
            from: Seq(1),
            to: Seq(50),
            head: BatchDigest::default(),
        },
    );
    solo.receive(2, LaneMessage::GetPayloads(vec![plain(3).id()]));
    let [(load, wanted), (_, Wanted::Payloads(ids))] = &solo.loads[..] else {
        panic!("{:?}", solo.loads);
    };
    assert!(matches!(wanted, Wanted::Batches { from: Seq(1), to, .. } if to.0 < 50));
    assert_eq!(ids, &[plain(3).id()]);
    let load = *load;
    solo.step(Input::Loaded {
        load,
        batches,
        payloads: vec![],
    });
    assert!(
        matches!(&solo.sent[..], [(To::One(MemberId(2)), LaneMessage::Batches(b))] if b.len() == 2)
    );
}

#[test]
fn l1_own_stamps_never_decrease_even_if_the_clock_does() {
    let mut solo = solo();
    for i in 0..10 {
        solo.submit(i, plain(i));
        solo.run(6_000);
        if i == 4 {
            solo.now -= 3_000_000;
            solo.wake = Some(solo.now);
        }
    }
    solo.run(50_000);
    let mut last = Micros(0);
    for batch in solo.said() {
        for i in 0..batch.entries.len() {
            assert!(batch.stamp_of(i) >= last);
            last = batch.stamp_of(i);
        }
        assert!(batch.stamp >= last);
        last = batch.stamp;
    }
    assert_eq!(
        solo.accepted.len(),
        10,
        "a clock that steps back stops nothing"
    );
    // Nor across a restart.
    let mut again = Solo::of(Lanes::restore(config(0, N), recovered(&solo)));
    again.now = T0 - 10_000_000;
    again.submit(100, plain(100));
    again.run(30_000);
    let next = again.said().last().unwrap().clone();
    assert!(next.stamp >= last && next.stamp_of(0) >= last);
}

#[test]
fn l1_a_lane_whose_stamps_decrease_is_faulty() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0, &[])));
    solo.receive(1, batch(&lane.push(T0 - 1, &[])));
    let stamps = LaneFault::Batch(fairlane_mempool::BatchFault::Stamps);
    assert_eq!(solo.faults, [(MemberId(1), stamps)]);
    let mut lane = Puppet::new(2);
    let mut early = (*lane.push(T0, &[(&plain(1), true), (&plain(2), true)])).clone();
    early.entries[1].back_us = 9;
    solo.receive(2, LaneMessage::Batch(Arc::new(sign(early))));
    assert_eq!(solo.faults.len(), 2);
}

#[test]
fn l2_the_future_is_held_back_until_it_comes() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0 + 105_000, &[(&plain(1), true)])));
    solo.run(99_000);
    assert!(!solo.records.iter().any(|r| matches!(r, Record::Ack(_))));
    // L3: echo does not wait.
    assert_eq!(solo.lanes.status(&plain(1).id()), Some(Stage::Laned));
    solo.run(2_000);
    assert!(solo.records.iter().any(|r| matches!(r, Record::Ack(_))));
    // The same for what expires too far ahead: recorded by nobody until it does not.
    let now = solo.now / 1_000;
    let far = order(1, 9, now + 240_000 + 500, LANE_NONE, 9);
    let mut lane = Puppet::new(2);
    solo.receive(2, batch(&lane.push(solo.now, &[(&far, true)])));
    solo.run(400_000);
    assert_eq!(solo.lanes.status(&far.id()), Some(Stage::Received));
    solo.run(300_000);
    assert_eq!(solo.lanes.status(&far.id()), Some(Stage::Laned));
    assert_eq!(solo.acknowledged()[2], Seq(1));
}

#[test]
fn l3_and_l6_echo_once_and_carry_bytes_as_primary_only() {
    let mut solo = solo();
    let now = T0 / 1_000 + 60_000;
    let (mine, theirs) = (order(1, 1, now, 0, 1), order(1, 2, now, 1, 2));
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0, &[(&mine, true), (&theirs, true)])));
    solo.submit(1, theirs.clone());
    solo.run(30_000);
    let said = solo.said();
    let ids: Vec<_> = said
        .iter()
        .flat_map(|b| &b.entries)
        .map(|e| e.ct_id)
        .collect();
    assert_eq!(ids, [mine.id(), theirs.id()]);
    let carried: Vec<_> = said
        .iter()
        .flat_map(|b| &b.payloads)
        .map(|p| p.id())
        .collect();
    assert_eq!(carried, [mine.id()]);
    assert!(solo.accepted.contains_key(&Ticket(1)));
    // What the lane says it holds is on disk with it.
    let beside = |r: &Record| matches!(r, Record::Payload { ct_id, .. } if *ct_id == theirs.id());
    let in_batch = |r: &Record| matches!(r, Record::Batch { batch, .. } if batch.payloads.iter().any(|p| p.id() == theirs.id()));
    assert!(solo.records.iter().any(|r| beside(r) || in_batch(r)));
}

#[test]
fn l4_heads_advance_until_the_outcome_and_then_rest() {
    let mut solo = solo();
    solo.submit(1, plain(1));
    solo.run(205_000);
    let said = solo.said().len();
    assert!((9..=12).contains(&said), "{said}: one every 20 ms");
    solo.step(Input::Emitted(vec![emitted(&plain(1), true)]));
    solo.run(25_000);
    let said = solo.said().len();
    solo.run(5_000_000);
    assert_eq!(solo.said().len(), said);
    // A stall does not fill the window with empty batches.
    solo.submit(2, plain(2));
    solo.run(60_000_000);
    assert!(solo.said().len() <= said + 33);
}

#[test]
fn l6_missing_bytes_are_asked_of_the_owner_then_of_others() {
    let mut solo = solo();
    let mut lane = Puppet::new(2);
    let wanted = order(1, 1, T0 / 1_000 + 60_000, 3, 1);
    solo.receive(2, batch(&lane.push(T0, &[(&wanted, false)])));
    assert!(
        solo.sent.is_empty(),
        "the primary's batch usually brings them"
    );
    solo.run(2_000_000);
    let asked: Vec<u8> = (solo.sent.iter())
        .filter_map(|(to, message)| match (to, message) {
            (To::One(to), LaneMessage::GetPayloads(ids)) if ids == &[wanted.id()] => Some(to.0),
            _ => None,
        })
        .collect();
    assert_eq!(asked[0], 2);
    assert!(asked.contains(&1) && asked.contains(&3));
    // A bad copy is its bearer's fault, not the lane's; the next one is asked.
    let mut bad = wanted.clone();
    bad.signature.0[0] ^= 1;
    solo.receive(1, LaneMessage::Payloads(vec![Arc::new(bad)]));
    assert_eq!(solo.faults, [(MemberId(1), LaneFault::Payload)]);
    solo.receive(3, LaneMessage::Payloads(vec![Arc::new(wanted.clone())]));
    solo.run(30_000);
    assert_eq!(solo.acknowledged()[2], Seq(1));
}

#[test]
fn a_held_order_does_not_excuse_a_forged_copy_in_a_batch() {
    let mut solo = solo();
    solo.submit(1, plain(1));
    let mut forged = plain(1);
    forged.signature.0[0] ^= 1;
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0, &[(&forged, true)])));
    solo.run(50_000);
    // Whether a batch is valid must not depend on what else a member holds.
    assert_eq!(solo.faults, [(MemberId(1), LaneFault::Order)]);
    assert!(!solo.records.iter().any(|r| matches!(r, Record::Ack(_))));
    assert!(solo.accepted.contains_key(&Ticket(1)));
}

#[test]
fn a_voter_has_acknowledged_or_knows_a_quorum_that_did() {
    use fairlane_mempool::Verdict;
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let other = Arc::new(lane.draft(T0 - 5, &[], Holdings::default()));
    let first = lane.push(T0, &[]);
    let (parent, t) = (Cut::genesis(N), genesis_time());
    let judge = |solo: &Solo, seq, batch: &fairlane_mempool::Batch| {
        let next = cut(&[(1, Seq(seq), batch.digest())]);
        solo.lanes.check_cut(&parent, t, &next, t)
    };
    let missing = Verdict::Missing(vec![MemberId(1)]);
    assert_eq!(judge(&solo, 1, &first), missing);
    solo.receive(1, batch(&first));
    assert_eq!(judge(&solo, 1, &first), Verdict::Valid);
    // M1: a muted lane is held and not acknowledged; a quorum of others is needed.
    solo.receive(1, batch(&other));
    let second = lane.push(T0, &[]);
    solo.receive(1, batch(&second));
    assert_eq!(judge(&solo, 2, &second), missing);
    let none = (Seq(0), BatchDigest::default());
    for (member, want) in [(2, missing), (3, Verdict::Valid)] {
        let says = Holdings::of(&[none, (Seq(2), second.digest()), none, none]);
        let ack = Arc::new(Puppet::new(member).draft(T0, &[], says));
        solo.receive(member, batch(&ack));
        assert_eq!(judge(&solo, 2, &second), want, "{member}");
    }
}

#[test]
fn a_batch_with_an_invalid_order_is_never_acknowledged() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let mut forged = plain(1);
    forged.signature.0[0] ^= 1;
    solo.receive(
        1,
        batch(&lane.push(T0, &[(&forged, true), (&plain(2), true)])),
    );
    assert_eq!(solo.faults, [(MemberId(1), LaneFault::Order)]);
    solo.run(1_000_000);
    assert_eq!(solo.lanes.status(&forged.id()), None);
    assert!(!solo.records.iter().any(|r| matches!(r, Record::Ack(_))));
    // The good one in it is not censored, and the lane does not keep others awake.
    assert_eq!(solo.lanes.status(&plain(2).id()), Some(Stage::Laned));
    solo.step(Input::Emitted(vec![emitted(&plain(2), true)]));
    solo.run(50_000);
    let said = solo.said().len();
    solo.run(1_000_000);
    assert_eq!(solo.said().len(), said);
}

#[test]
fn payload_validity() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let batches: Vec<_> = (0..3).map(|i| lane.push(T0 + i * 1_000, &[])).collect();
    let mut other = Puppet::new(2);
    let ahead = other.push(T0 + 2_000, &[]);
    let parent = Cut::genesis(N);
    let (t, head) = (genesis_time(), |i: usize| {
        (1, Seq(i as u64 + 1), batches[i].digest())
    });
    let both = cut(&[head(1), (2, Seq(1), ahead.digest())]);
    use fairlane_mempool::{CutFault, Verdict};
    let verdict = solo.lanes.check_cut(&parent, t, &both, t.plus(1));
    assert_eq!(verdict, Verdict::Missing(vec![MemberId(1), MemberId(2)]));
    // Wanted: asked of the leader at once, ready when it is here and acknowledged.
    let (block, mut out) = (BlockId(Digest([1; 32])), Vec::new());
    let now = Micros(solo.now);
    solo.lanes
        .want_cut(now, block, MemberId(3), &parent, &both, &mut out);
    solo.handle(out);
    let to_leader = solo
        .sent
        .iter()
        .filter(|(to, _)| *to == To::One(MemberId(3)));
    assert_eq!(to_leader.count(), 2);
    solo.receive(3, LaneMessage::Batches(batches[..2].to_vec()));
    assert!(solo.ready.is_empty());
    solo.receive(2, batch(&ahead));
    assert_eq!(solo.ready, [block]);
    // C13: the (f+1)-th largest head, in ms.
    assert_eq!(
        solo.lanes.check_cut(&parent, t, &both, t.plus(1)),
        Verdict::Valid
    );
    let late = solo.lanes.check_cut(&parent, t, &both, t.plus(2));
    assert!(matches!(late, Verdict::Invalid(CutFault::Time { .. })));
    let built = solo.lanes.build_cut(&parent, t, &[]);
    assert_eq!(
        (&built.cut, built.time, built.advances),
        (&both, t.plus(1), true)
    );
    // Never back, never changed in place, one head per member, within the limits.
    let back = solo
        .lanes
        .check_cut(&both, t.plus(1), &cut(&[head(0)]), t.plus(1));
    assert_eq!(back, Verdict::Invalid(CutFault::MovesBack(MemberId(1))));
    let mut changed = both.clone();
    changed.heads[1].digest = BatchDigest(Digest([4; 32]));
    let changed = solo.lanes.check_cut(&both, t.plus(1), &changed, t.plus(1));
    assert_eq!(changed, Verdict::Invalid(CutFault::MovesBack(MemberId(1))));
    let wide = Cut::genesis(N + 1);
    assert_eq!(
        solo.lanes.check_cut(&parent, t, &wide, t),
        Verdict::Invalid(CutFault::Width)
    );
    let far = cut(&[(1, Seq(65), BatchDigest(Digest([4; 32])))]);
    let far = solo.lanes.check_cut(&parent, t, &far, t);
    assert_eq!(far, Verdict::Invalid(CutFault::OverLimit(MemberId(1))));
}

#[test]
fn a_cut_takes_no_more_of_a_lane_than_it_may() {
    let mut config = config(0, N);
    config.lanes.cut_entries_max = 5;
    let mut solo = Solo::new(config);
    let mut lane = Puppet::new(1);
    for i in 0..4 {
        let (a, b) = (plain(2 * i), plain(2 * i + 1));
        solo.receive(1, batch(&lane.push(T0 + i, &[(&a, true), (&b, true)])));
    }
    let parent = Cut::genesis(N);
    let built = solo.lanes.build_cut(&parent, genesis_time(), &[]);
    assert_eq!(built.cut.heads[1].seq, Seq(2));
    let next = solo.lanes.build_cut(&built.cut, built.time, &[]);
    assert_eq!(next.cut.heads[1].seq, Seq(4));
    let greedy = solo
        .lanes
        .check_cut(&parent, genesis_time(), &next.cut, next.time);
    let over = fairlane_mempool::CutFault::OverLimit(MemberId(1));
    assert_eq!(greedy, fairlane_mempool::Verdict::Invalid(over));
}

#[test]
fn a_final_digest_replaces_a_forked_view() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0, &[])));
    let mut twin = Puppet::new(1);
    twin.tip = lane.tip;
    let ours = lane.push(T0 + 1, &[(&plain(1), true)]);
    let theirs = twin.push(T0 + 2, &[(&plain(2), true)]);
    let after = twin.push(T0 + 3, &[]);
    solo.receive(1, batch(&ours));
    let head = (1, after.seq, after.digest());
    solo.step(Input::Finalized {
        cut: cut(&[head]),
        time: genesis_time(),
    });
    let block = FinalCut {
        block: BlockId(Digest([3; 32])),
        time: genesis_time(),
        parent: Cut::genesis(N),
        cut: cut(&[head]),
    };
    let mut out = Vec::new();
    assert_eq!(
        solo.lanes.take_final(Micros(solo.now), &block, &mut out),
        None
    );
    solo.handle(out);
    solo.run(60_000);
    // Served in the usual order, or one by one.
    solo.receive(2, LaneMessage::Batches(vec![theirs.clone(), after.clone()]));
    solo.run(60_000);
    solo.receive(2, LaneMessage::Batches(vec![theirs.clone(), after.clone()]));
    assert_eq!(solo.forks.len(), 1);
    assert_eq!(solo.forks[0].verify(&committee(N), CHAIN), Ok(MemberId(1)));
    assert_eq!(solo.ready, [block.block]);
    let mut out = Vec::new();
    let delta = solo
        .lanes
        .take_final(Micros(solo.now), &block, &mut out)
        .unwrap();
    let ids: Vec<_> = delta.lanes[0].entries.iter().map(|e| e.ct_id).collect();
    assert_eq!(ids, [plain(2).id()]);
    // The acknowledgement of the other version stays the only one.
    let acks = solo
        .records
        .iter()
        .filter(|r| matches!(r, Record::Ack(a) if a.seq >= Seq(2)));
    assert_eq!(acks.count(), 1);
}

#[test]
fn a_driver_that_asks_for_a_final_block_often_does_not_make_a_storm() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let missing = lane.push(T0, &[(&plain(1), true)]);
    let head = (1, missing.seq, missing.digest());
    solo.step(Input::Finalized {
        cut: cut(&[head]),
        time: genesis_time(),
    });
    let block = FinalCut {
        block: BlockId(Digest([3; 32])),
        time: genesis_time(),
        parent: Cut::genesis(N),
        cut: cut(&[head]),
    };
    // Every message, timer and write is an occasion: a thousand within a second.
    for _ in 0..1_000 {
        let mut out = Vec::new();
        let delta = solo.lanes.take_final(Micros(solo.now), &block, &mut out);
        assert_eq!(delta, None);
        solo.handle(out);
        solo.run(1_000);
    }
    let asked = solo
        .sent
        .iter()
        .filter(|(_, message)| matches!(message, LaneMessage::GetBatches { .. }));
    // At once, then after 50 ms, 100 ms, 200 ms, 400 ms.
    assert!((2..=6).contains(&asked.count()), "{:?}", solo.sent);
    solo.receive(2, LaneMessage::Batches(vec![missing]));
    solo.run(1_000);
    assert_eq!(solo.ready, [block.block]);
    let mut out = Vec::new();
    let delta = solo.lanes.take_final(Micros(solo.now), &block, &mut out);
    assert!(delta.is_some());
}

#[test]
fn a_certified_digest_replaces_a_forked_view() {
    let mut solo = solo();
    let (mut lane, mut twin) = (Puppet::new(1), Puppet::new(1));
    let ours = lane.push(T0 + 1, &[(&plain(1), true)]);
    let theirs = twin.push(T0 + 2, &[(&plain(2), true)]);
    solo.receive(1, batch(&ours));
    let none = (Seq(0), BatchDigest::default());
    let says = Holdings::of(&[none, (Seq(1), theirs.digest()), none, none]);
    for member in [2, 3] {
        let other = Puppet::new(member);
        let ack = Arc::new(other.draft(T0, &[], says.clone()));
        solo.receive(member, batch(&ack));
        let digests = vec![none.1, theirs.digest(), none.1, none.1];
        solo.receive(
            member,
            LaneMessage::Heads {
                seq: Seq(1),
                digests,
            },
        );
    }
    solo.receive(2, LaneMessage::Batches(vec![theirs.clone()]));
    assert_eq!(solo.forks.len(), 1);
    let built = solo.lanes.build_cut(&Cut::genesis(N), genesis_time(), &[]);
    let want = Head {
        seq: Seq(1),
        digest: theirs.digest(),
    };
    assert_eq!(built.cut.heads[1], want);
}

#[test]
fn a_liar_does_not_stop_the_repair_of_an_honest_lane() {
    let mut solo = solo();
    let (mut honest, mut liar) = (Puppet::new(1), Puppet::new(2));
    let batches: Vec<_> = (0..4).map(|i| honest.push(T0 + i, &[])).collect();
    solo.receive(1, batch(&batches[0]));
    let none = BatchDigest::default();
    solo.receive(1, batch(&batches[3]));
    solo.sent.clear();
    for i in 0..20 {
        // Consistent holdings over digests that do not exist, again and again.
        let digest = BatchDigest(Digest([i + 1; 32]));
        let heads = [
            (Seq(0), none),
            (Seq(1), digest),
            (Seq(0), none),
            (Seq(0), none),
        ];
        let lie = liar.draft(solo.now, &[], Holdings::of(&heads));
        liar.tip = (lie.seq, lie.digest());
        let seq = lie.seq;
        solo.receive(2, LaneMessage::Batch(Arc::new(lie)));
        let digests = heads.iter().map(|(_, digest)| *digest).collect();
        solo.receive(2, LaneMessage::Heads { seq, digests });
        solo.run(5_000);
    }
    let asked = solo.sent.iter().any(|(to, message)| {
        let range = |from: &Seq, to: &Seq| (*from, *to) == (Seq(2), Seq(3));
        matches!(message, LaneMessage::GetBatches { from, to, .. } if range(from, to))
            && *to == To::One(MemberId(1))
    });
    assert!(asked);
    solo.receive(1, LaneMessage::Batches(batches[1..3].to_vec()));
    let built = solo.lanes.build_cut(&Cut::genesis(N), genesis_time(), &[]);
    assert_eq!(built.cut.heads[1].seq, Seq(4));
    assert!(solo.forks.is_empty());
}

#[test]
fn c7_who_lost_its_memory_writes_nothing() {
    let mut solo = solo();
    let mut own = Puppet::new(0);
    let lost = own.push(T0, &[]);
    solo.step(Input::Finalized {
        cut: cut(&[(0, lost.seq, lost.digest())]),
        time: genesis_time(),
    });
    assert_eq!(solo.faults, [(MemberId(0), LaneFault::LostMemory)]);
    solo.submit(1, plain(1));
    assert_eq!(solo.refused[&Ticket(1)], AdmissionError::Observer);
    // It still follows its own lane.
    solo.receive(2, LaneMessage::Batches(vec![lost.clone()]));
    let mut lane = Puppet::new(1);
    solo.receive(1, batch(&lane.push(T0, &[(&plain(2), true)])));
    solo.run(100_000);
    assert!(solo.said().is_empty());
    assert_eq!(
        solo.lanes
            .build_cut(&Cut::genesis(N), genesis_time(), &[])
            .cut
            .heads[0]
            .seq,
        Seq(1)
    );
}

#[test]
fn advancing_is_told_when_it_changes() {
    let mut solo = solo();
    let mut lane = Puppet::new(1);
    let first = lane.push(T0, &[]);
    solo.receive(1, batch(&first));
    assert_eq!(solo.advancing, [true]);
    let built = solo.lanes.build_cut(&Cut::genesis(N), genesis_time(), &[]);
    solo.step(Input::Parent(built.cut));
    assert_eq!(solo.advancing, [true, false]);
    solo.receive(1, batch(&lane.push(T0, &[])));
    assert_eq!(solo.advancing, [true, false, true]);
}

#[test]
fn primaries_agree_with_the_envelope() {
    for i in 0..50 {
        for lane in [LANE_NONE, 0, 3] {
            let envelope = order(1, i, T0 / 1_000 + 60_000, lane, i);
            for me in 0..N {
                let mut solo = Solo::new(config(me, N));
                solo.submit(1, envelope.clone());
                solo.run(6_000);
                let carried = !solo.said()[0].payloads.is_empty();
                assert_eq!(carried, envelope.primary(N).index() == me);
            }
        }
    }
}
