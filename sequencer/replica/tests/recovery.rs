//! What a restart finds on disk, row by row.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use fairlane_mempool::fair;
use fairlane_mempool::{BatchHeader, Cut, CutDelta, FinalEntry, LaneDelta, LaneFork, SignedHeader};
use fairlane_replica::{
    CutPayload, Evidence, FinalBlock, RecoverError, Recovered, Snapshot, Store, Table, Write,
    birth, height_key, late_key, meta, payload_key,
};
use fairlane_types::{
    BlockHeader, BlockId, Digest, EncryptionParams, Envelope, Epoch, Genesis, Height, KeyId,
    LANE_NONE, Label, MemberId, Micros, Millis, Position, Root, SUITE_TDH2, Scheme, SecretKey, Seq,
    SequencedBlock, View, encode,
};

use crate::common::{CHAIN, Memory, identity};

const NOW: Millis = Millis(1_000_000);

/// Nothing is opened here.
fn genesis() -> Genesis {
    let (key, none) = (KeyId::default(), Vec::new());
    common::genesis(EncryptionParams::dealt(Scheme::Tdh2, key, none))
}

fn envelope(nonce: u64) -> Envelope {
    let sender = SecretKey::from_seed([99; 32]);
    let label = Label {
        suite: SUITE_TDH2,
        chain: CHAIN,
        key_id: KeyId::default(),
        sender: sender.public(),
        nonce,
        expiry: NOW.plus(60_000),
        fee: 0,
        lane: LANE_NONE,
        reserved: [0; 19],
    };
    Envelope::sign(label, vec![nonce as u8; 64], &sender)
}

/// A folder with a snapshot at height 4, where `live` are in lane 1 and without outcome.
fn folder(genesis: &Genesis, live: &[Envelope]) -> Memory {
    let mut rule = fair::rule(4, 1, &genesis.order);
    let entries = live.iter().enumerate().map(|(i, envelope)| FinalEntry {
        ct_id: envelope.id(),
        stamp: Micros(i as u64 + 1),
        order: Some(Arc::new(envelope.clone())),
    });
    let emission = rule.on_cut(&CutDelta {
        block: BlockId::default(),
        time: NOW,
        lanes: vec![LaneDelta {
            lane: MemberId(1),
            head: Micros(9),
            entries: entries.collect(),
        }],
    });
    assert!(emission.ordered.is_empty());
    let snapshot = Snapshot {
        height: Height(4),
        order: rule.snapshot(),
    };
    let block = FinalBlock {
        header: BlockHeader {
            chain: CHAIN,
            epoch: Epoch(0),
            view: View(5),
            height: Height(4),
            parent_view: View(4),
            parent: BlockId::default(),
            proposer: MemberId(0),
            time: NOW,
            payload: Digest::default(),
        },
        payload: CutPayload::of(Cut::genesis(4)),
        certificate: None,
    };
    let sequenced = |height| SequencedBlock {
        chain: CHAIN,
        epoch: Epoch(0),
        height: Height(height),
        block: BlockId::default(),
        time: NOW,
        parent_root: Root::default(),
        first_position: Position(0),
        items: Vec::new(),
        state: None,
        root: Root::default(),
    };
    let mut writes = birth(genesis, MemberId(0));
    let put = |table, key: &[u8], value| Write::put(table, key.to_vec(), value);
    writes.push(put(Table::Meta, meta::SNAPSHOT, encode(&snapshot)));
    writes.push(put(Table::Blocks, &height_key(Height(4)), encode(&block)));
    for height in 3..5 {
        let row = encode(&sequenced(height).sealed());
        writes.push(put(Table::Sequence, &height_key(Height(height)), row));
    }
    for envelope in live {
        let key = payload_key(&envelope.id());
        writes.push(put(Table::Payloads, &key, encode(envelope)));
    }
    let mut memory = Memory::default();
    memory.commit(&writes, true).unwrap();
    memory
}

#[test]
fn what_the_order_rule_holds_is_held_again() {
    // Neither is in this member's own lane: it was down when they came.
    let (genesis, live) = (genesis(), [envelope(1), envelope(2)]);
    let memory = folder(&genesis, &live);
    let recovered = Recovered::read(&memory, &genesis, MemberId(0)).unwrap();
    assert!(recovered.voting);
    assert_eq!(recovered.snapshot, Some(Height(4)));
    assert_eq!(recovered.first, Height(3));
    assert_eq!(recovered.order.live(), 2);
    let mut held: Vec<_> = recovered.lanes.payloads.iter().map(|e| e.id()).collect();
    held.sort_unstable();
    let mut want: Vec<_> = live.iter().map(Envelope::id).collect();
    want.sort_unstable();
    assert_eq!(held, want);
}

#[test]
fn an_order_left_out_as_stale_is_not_taken_up_again() {
    let (genesis, live) = (genesis(), [envelope(1), envelope(2)]);
    let mut memory = folder(&genesis, &live);
    let late = late_key(&live[0].id());
    let write = Write::put(Table::Index, late, encode(&Height(4)));
    memory.commit(&[write], true).unwrap();
    let recovered = Recovered::read(&memory, &genesis, MemberId(0)).unwrap();
    let held: Vec<_> = recovered.lanes.payloads.iter().map(|e| e.id()).collect();
    assert_eq!(held, [live[1].id()]);
}

#[test]
fn m1_a_forked_lane_stays_muted() {
    let genesis = genesis();
    let mut memory = folder(&genesis, &[]);
    let signed = |stamp| {
        let header = BatchHeader {
            epoch: Epoch(0),
            lane: MemberId(2),
            seq: Seq(7),
            parent: Default::default(),
            stamp: Micros(stamp),
            entries: Digest::default(),
            payloads: Digest::default(),
            holdings: Digest::default(),
        };
        SignedHeader {
            header,
            signature: header.sign(&identity(2), CHAIN),
        }
    };
    let fork = Evidence::LaneFork(LaneFork {
        first: signed(1),
        second: signed(2),
    });
    let write = Write::put(Table::Evidence, fork.key(), encode(&fork));
    memory.commit(&[write], true).unwrap();
    let recovered = Recovered::read(&memory, &genesis, MemberId(0)).unwrap();
    assert_eq!(recovered.lanes.forked, [MemberId(2)]);
}

#[test]
fn a_snapshot_that_does_not_decode_names_the_row() {
    let genesis = genesis();
    let mut memory = folder(&genesis, &[]);
    let broken = Snapshot {
        height: Height(4),
        order: vec![1, 2, 3],
    };
    let write = Write::put(Table::Meta, meta::SNAPSHOT.to_vec(), encode(&broken));
    memory.commit(&[write], true).unwrap();
    let error = Recovered::read(&memory, &genesis, MemberId(0)).unwrap_err();
    assert!(
        matches!(error, RecoverError::Corrupt { table: "meta", .. }),
        "{error}"
    );
}
