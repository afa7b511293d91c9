//! Keys for dealings serve for one epoch, and dealings leave the disk with it (PROTOCOL §6,
//! THREATS A21).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use fairlane_consensus::Payload as _;
use fairlane_encryption::{Ceremony, CommitteeKeys, ReceiverSecret, deal_suite_insecure};
use fairlane_mempool::Cut;
use fairlane_replica::{
    CryptoContext, CutPayload, Dealing, Effect, EpochBase, Event, Fault, FinalBlock, Job,
    JobResult, Message, OpenJob, Recovered, Replica, ReplicaConfig, Sharing, Store, Table, Write,
    birth, carried_key, current_epoch, entering, epoch_key, has_left, height_key, run_job,
    used_receivers,
};
use fairlane_types::{
    ActiveKeys, BlockHeader, BlockId, CommitteeChange, Digest, EncryptionParams, Epoch, EpochStart,
    Genesis, Handover, Height, KeyId, MemberId, Micros, Millis, NextCommittee, NextKey, NextMember,
    Planted, Position, QuorumWord, ReceiverBytes, ReceiverReuse, Root, Scheme, SeededRng,
    SequencedBlock, Signature, View, decode, encode,
};

use crate::common::{CHAIN, Memory, genesis, identity};

/// A receiver key of a member in an epoch.
fn receiver(epoch: u64, member: u8) -> ReceiverBytes {
    let mut rng = SeededRng::new(&[member; 32], &epoch.to_le_bytes());
    ReceiverBytes(*ReceiverSecret::generate(&mut rng).key().bytes())
}

fn committee(epoch: u64) -> NextCommittee {
    let member = |i: u8| NextMember {
        identity: identity(i).public(),
        receiver: receiver(epoch, i),
        quic: String::new(),
        api: String::new(),
    };
    NextCommittee {
        chain: CHAIN,
        epoch: Epoch(epoch),
        key: NextKey::Kept,
        members: (0..4).map(member).collect(),
    }
}

/// The epoch after `before`, which ends at a height with a root.
fn base(before: &Genesis, height: Height, root: Root) -> EpochBase {
    let next = committee(before.epoch().0 + 1);
    let start = EpochStart {
        epoch: next.epoch,
        origin: before.origin(),
        before: before.hash(),
        height,
        block: BlockId::default(),
        root,
        position: Position(0),
        committee: next.digest(),
        memory: Digest::default(),
        dealings: Digest::default(),
    };
    let keys = ActiveKeys::default();
    EpochBase {
        handover: Handover {
            genesis: before.next(&next, start, Millis(1), (KeyId::default(), &keys), None),
            word: QuorumWord::default(),
        },
        next,
        memory: Vec::new(),
        old_keys: ActiveKeys::default(),
        dealings: vec![dealing(9)],
    }
}

fn dealing(tag: u8) -> Dealing {
    Dealing {
        dealer: MemberId(0),
        deal: vec![tag; 700],
        signature: Signature([0; 64]),
    }
}

fn final_block(height: u64, dealing: Option<Dealing>) -> FinalBlock {
    let payload = CutPayload {
        dealing: dealing.map(Arc::new),
        ..CutPayload::of(Cut::genesis(4))
    };
    let header = BlockHeader {
        chain: CHAIN,
        epoch: Epoch(0),
        view: View(height),
        height: Height(height),
        parent_view: View(height - 1),
        parent: BlockId::default(),
        proposer: MemberId(0),
        time: Millis(0),
        payload: payload.digest(),
    };
    FinalBlock {
        header,
        payload,
        certificate: None,
    }
}

fn emitted(height: u64) -> SequencedBlock {
    let block = SequencedBlock {
        chain: CHAIN,
        epoch: Epoch(0),
        height: Height(height),
        block: BlockId::default(),
        time: Millis(0),
        parent_root: Root::default(),
        first_position: Position(0),
        items: Vec::new(),
        state: None,
        root: Root::default(),
    };
    block.sealed()
}

fn receivers_of(epoch: u64) -> EncryptionParams {
    EncryptionParams::ceremony(Scheme::Tdh2, (0..4).map(|i| receiver(epoch, i)).collect())
}

/// From one epoch into the next and the one after: the keys of all of them are remembered,
/// and only what the last one began with has dealings.
#[test]
fn dealings_leave_the_disk_and_keys_are_remembered() {
    let origin = genesis(receivers_of(0));
    let mut store = Memory::default();
    store.commit(&birth(&origin, MemberId(0)), true).unwrap();
    let put = |table, height, row| Write::put(table, height_key(Height(height)), row);
    let mut writes = Vec::new();
    for height in 1..=5 {
        let carries = height == 2 || height == 4;
        let block = final_block(height, carries.then(|| dealing(height as u8)));
        writes.push(put(Table::Blocks, height, encode(&block)));
        if carries {
            let key = carried_key(Height(height));
            writes.push(Write::put(Table::Dealings, key, Vec::new()));
        }
    }
    // A dealing above the boundary, one below that was pruned, and what belongs to dealings.
    for height in [1, 9] {
        let key = carried_key(Height(height));
        writes.push(Write::put(Table::Dealings, key, Vec::new()));
    }
    writes.push(put(Table::Dealings, 2, encode(&dealing(2))));
    writes.push(put(Table::Sequence, 4, encode(&emitted(4))));
    store.commit(&writes, true).unwrap();
    let before = Recovered::read(&store, &origin, MemberId(0)).unwrap();
    assert_eq!(before.key.dealings.len(), 1);

    let one = base(&origin, Height(4), emitted(4).root);
    let writes = entering(&store, &origin, &one, MemberId(0)).unwrap();
    store.commit(&writes, true).unwrap();
    let kept = |store: &Memory, height| -> FinalBlock {
        let key = (Table::Blocks, height_key(Height(height)));
        decode(&store.0[&key], 1 << 20).unwrap()
    };
    for height in 1..=4 {
        let (block, was) = (kept(&store, height), final_block(height, None));
        assert_eq!(block.payload, was.payload, "{height} has its cut alone");
    }
    for height in [2, 4] {
        let was = final_block(height, Some(dealing(height as u8)));
        assert_eq!(kept(&store, height).header.id(), was.header.id());
    }
    assert!(!store.0.keys().any(|(table, _)| *table == Table::Dealings));
    assert_eq!(current(&store), one);
    assert!(!has_left(|table, key| store.get(table, key)).unwrap());

    let two = base(one.genesis(), Height(4), emitted(4).root);
    let writes = entering(&store, one.genesis(), &two, MemberId(0)).unwrap();
    store.commit(&writes, true).unwrap();
    assert_eq!(current(&store), two);
    let key = (Table::Epochs, epoch_key(Epoch(1)));
    let past: EpochBase = decode(&store.0[&key], 1 << 20).unwrap();
    assert_eq!(past, one.stripped());

    let get = |table, key: &[u8]| store.get(table, key);
    let used = used_receivers(get, two.genesis()).unwrap();
    assert_eq!(used.check(&committee(3)), Ok(()));
    for epoch in 0..3 {
        let mut next = committee(3);
        next.members[1].receiver = receiver(epoch, 2);
        let identity = identity(1).public();
        let epoch = Epoch(epoch);
        let reuse = ReceiverReuse::Earlier { identity, epoch };
        assert_eq!(used.check(&next), Err(reuse));
    }
}

fn current(store: &Memory) -> EpochBase {
    let base = current_epoch(|table, key| store.get(table, key));
    base.unwrap().unwrap()
}

/// An epoch that is over is entered to go on from there, and never run.
#[test]
fn an_epoch_without_dealings_is_left_as_it_is_entered() {
    let origin = genesis(receivers_of(0));
    let mut store = Memory::default();
    store.commit(&birth(&origin, MemberId(0)), true).unwrap();
    let key = height_key(Height(4));
    let row = Write::put(Table::Sequence, key, encode(&emitted(4)));
    store.commit(&[row], true).unwrap();
    let one = base(&origin, Height(4), emitted(4).root).stripped();
    let writes = entering(&store, &origin, &one, MemberId(0)).unwrap();
    store.commit(&writes, true).unwrap();
    assert!(has_left(|table, key| store.get(table, key)).unwrap());
    let two = base(one.genesis(), Height(4), emitted(4).root);
    let writes = entering(&store, one.genesis(), &two, MemberId(0)).unwrap();
    store.commit(&writes, true).unwrap();
    assert!(!has_left(|table, key| store.get(table, key)).unwrap());
    assert_eq!(current(&store), two);
}

fn approved(next: NextCommittee) -> Arc<CommitteeChange> {
    let mut approved = QuorumWord::default();
    for i in 0..3 {
        approved.add(MemberId(i), next.approve(&identity(i)));
    }
    Arc::new(CommitteeChange { next, approved })
}

/// However many operators approved it: a change with a used receiver key is judged invalid by
/// everybody, and who passes it on is at fault.
#[test]
fn a_change_with_a_used_receiver_key_counts_for_nobody() {
    let mut rng = SeededRng::new(&[1; 32], b"used");
    let (key, shares) = deal_suite_insecure(Scheme::Tdh2, Epoch(1), 4, &mut rng).unwrap();
    let origin = genesis(receivers_of(0));
    let old = CommitteeKeys {
        encryption: key.clone(),
        certificate: None,
        former: None,
    };
    // The genesis of epoch 1, with a key that members have shares of.
    let mut one = base(&origin, Height(4), emitted(4).root);
    one.handover.genesis.encryption.key_id = Some(key.id());
    one.handover.genesis.encryption.public_key = key.to_bytes();
    let genesis = one.genesis().clone();
    let mut store = Memory::default();
    store.commit(&birth(&origin, MemberId(0)), true).unwrap();
    let row = encode(&emitted(4));
    let row = Write::put(Table::Sequence, height_key(Height(4)), row);
    store.commit(&[row], true).unwrap();
    // What the rule remembers where the epoch begins.
    one.memory = encode(&(Millis(1), Vec::<u8>::new(), Vec::<u8>::new()));
    let writes = entering(&store, &origin, &one, MemberId(0)).unwrap();
    store.commit(&writes, true).unwrap();
    let recovered = Recovered::read(&store, &genesis, MemberId(0)).unwrap();
    let used = Arc::new(recovered.key.used.clone());
    let fresh = approved(committee(2));
    let stale: Vec<_> = [(0, 3), (1, 3), (0, 1), (1, 0)]
        .map(|(epoch, whose)| {
            let mut next = committee(2);
            next.members[3].receiver = receiver(epoch, whose);
            approved(next)
        })
        .into();

    let mut shares = shares.into_iter();
    let context = CryptoContext {
        chain: CHAIN,
        epoch: Epoch(1),
        committee: genesis.validate().unwrap(),
        me: MemberId(0),
        identity: Arc::new(identity(0)),
        sharing: Sharing::known(
            Arc::new(key.clone()),
            Arc::new(shares.next().unwrap()),
            None,
        ),
        ceremony: None,
    };
    let opened = |change: &Arc<CommitteeChange>| {
        let job = Job::Open(Box::new(OpenJob {
            change: Arc::clone(change),
            before: genesis.hash(),
            used: Arc::clone(&used),
        }));
        match run_job(&context, &job, &[3; 32]) {
            JobResult::Opened(ceremony) => ceremony,
            other => panic!("{other:?}"),
        }
    };
    let ceremony = opened(&fresh).expect("fresh keys");
    let expected = Ceremony::of_change(genesis.hash(), &fresh.next, old).unwrap();
    assert_eq!(ceremony.encoded_len(), expected.encoded_len());
    for change in &stale {
        assert!(opened(change).is_none());
    }

    let config = ReplicaConfig {
        genesis,
        me: MemberId(0),
        identity: Arc::new(identity(0)),
        archive: false,
        planted: Planted::NONE,
    };
    let mut replica = Replica::new(config, recovered).unwrap();
    let mut step = |event| {
        let mut out = Vec::new();
        replica.step(Micros(2_000), event, &mut out);
        out
    };
    step(Event::Start);
    for change in stale {
        let message = Message::Change(change);
        let from = MemberId(2);
        let out = step(Event::Message { from, message });
        let blamed = |effect: &Effect| matches!(effect, Effect::Fault { peer, fault: Fault::Change } if *peer == from);
        assert!(out.iter().any(blamed), "{out:?}");
    }
    let from = MemberId(2);
    let message = Message::Change(fresh);
    let out = step(Event::Message { from, message });
    let looked_at = |effect: &Effect| {
        matches!(
            effect,
            Effect::Compute {
                job: Job::Verify(_),
                ..
            }
        )
    };
    assert!(out.iter().any(looked_at), "{out:?}");
}
