//! A member around the boundary of its epoch (PROTOCOL §6): a boundary block that a later one
//! proves, and what the member said above it, where no more blocks are stored (C7).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fairlane_consensus::{
    self as consensus, Blocks, Justify, LeaderSchedule, Payload as _, Statement,
};
use fairlane_encryption::deal_suite_insecure;
use fairlane_mempool::Cut;
use fairlane_replica::{
    CryptoContext, CutPayload, Effect, EpochStep, Event, FinalBlock, Message, Peers, Recovered,
    Replica, ReplicaConfig, Sharing, Store, Table, TimerId, Write, birth, height_key, run_job,
};
use fairlane_types::{
    BlockHeader, Certificate, CertificateKind, Commit, Committee, Digest, EncryptionParams, Epoch,
    Genesis, Height, MemberId, Micros, Millis, Planted, Scheme, SeededRng, SignerSet, View, Vote,
    decode,
};

use crate::common::{CHAIN, Memory, genesis, identity};

const EPOCH: Epoch = Epoch(0);
/// Height, and view, of the boundary block.
const BOUNDARY: u64 = 2;
/// Empty blocks above it.
const ABOVE: u64 = 3;
/// More timers than the member needs to come to anything here.
const TIMERS_MAX: usize = 64;

type Said = consensus::Message<CutPayload>;

/// A member with its disk, its timers, and what came out of it.
struct Member {
    genesis: Genesis,
    keys: CryptoContext,
    store: Memory,
    replica: Replica,
    now: Micros,
    timers: BTreeMap<TimerId, Micros>,
    /// Whom it asked for final blocks, and from which height on.
    asked: Vec<(MemberId, Height)>,
    emitted: Vec<Height>,
    committed: BTreeSet<View>,
    skipped: BTreeSet<View>,
    /// Below which view it deleted what it had said, and the view of the last block stored then.
    forgotten: Vec<(View, View)>,
}

fn replica(genesis: &Genesis, keys: &CryptoContext, store: &Memory) -> Replica {
    let recovered = Recovered::read(store, genesis, keys.me).unwrap();
    let config = ReplicaConfig {
        genesis: genesis.clone(),
        me: keys.me,
        identity: Arc::clone(&keys.identity),
        archive: false,
        planted: Planted::NONE,
    };
    Replica::new(config, recovered).unwrap()
}

impl Member {
    /// It has nothing but the genesis, and leads no view in which the others propose here.
    fn new() -> Self {
        let mut rng = SeededRng::new(&[1; 32], b"boundary");
        let (key, mut shares) = deal_suite_insecure(Scheme::Tdh2, EPOCH, 4, &mut rng).unwrap();
        let genesis = genesis(EncryptionParams::dealt(
            Scheme::Tdh2,
            key.id(),
            key.to_bytes(),
        ));
        let committee = genesis.validate().unwrap();
        let me = leader(BOUNDARY + ABOVE + 1);
        let share = shares.swap_remove(me.index());
        let keys = CryptoContext {
            chain: CHAIN,
            epoch: EPOCH,
            committee,
            me,
            identity: Arc::new(identity(me.0)),
            sharing: Sharing::known(Arc::new(key), Arc::new(share), None),
            ceremony: None,
        };
        let mut store = Memory::default();
        store.commit(&birth(&genesis, me), true).unwrap();
        let mut member = Self {
            replica: replica(&genesis, &keys, &store),
            genesis,
            keys,
            store,
            now: Micros(1_000_000),
            timers: BTreeMap::new(),
            asked: Vec::new(),
            emitted: Vec::new(),
            committed: BTreeSet::new(),
            skipped: BTreeSet::new(),
            forgotten: Vec::new(),
        };
        member.step(Event::Start);
        member
    }

    /// It dies, and goes on from its disk.
    fn restart(&mut self) {
        self.replica = replica(&self.genesis, &self.keys, &self.store);
        self.timers.clear();
        self.asked.clear();
        self.step(Event::Start);
    }

    /// One event, and all that comes of it.
    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.replica.step(self.now, event, &mut effects);
            for effect in effects {
                events.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                self.store.commit(&writes, durable).unwrap();
                self.look_at(&writes);
                return durable.then_some(Event::Stored(id));
            }
            Effect::Compute { id, job } => {
                let result = run_job(&self.keys, &job, &[7; 32]);
                return Some(Event::Computed { id, result });
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                let rows = self.store.scan(table, &from, &to, rows_max, bytes_max);
                let rows = rows.unwrap();
                return Some(Event::Loaded { id, rows });
            }
            Effect::SetTimer { id, at } => drop(self.timers.insert(id, at)),
            Effect::Send { to, message } => {
                if let Message::Consensus(said) = message.as_ref() {
                    self.says(to, said);
                }
            }
            Effect::Emit(block) => self.emitted.push(block.height),
            other => panic!("{other:?}"),
        }
        None
    }

    fn look_at(&mut self, writes: &[Write]) {
        for write in writes {
            if let Write::DeleteRange {
                table: Table::Safety,
                to,
                ..
            } = write
            {
                let below = u64::from_be_bytes(to.as_slice().try_into().unwrap());
                let stored = self.last_stored();
                self.forgotten.push((View(below), stored.header.view));
            }
        }
    }

    /// Others hear this of it.
    fn says(&mut self, to: Peers, said: &Said) {
        match (to, said) {
            (Peers::One(peer), Said::GetBlocks { from, .. }) => self.asked.push((peer, *from)),
            (_, Said::Commit(commit)) => drop(self.committed.insert(commit.statement.view)),
            (_, Said::Skip(skip)) => drop(self.skipped.insert(skip.skip.statement.view)),
            _ => {}
        }
    }

    fn last_stored(&self) -> FinalBlock {
        let (from, to) = (height_key(Height(0)), height_key(Height(u64::MAX)));
        let rows = self
            .store
            .scan(Table::Blocks, &from, &to, usize::MAX, usize::MAX);
        let (_, row) = rows.unwrap().pop().unwrap();
        decode(&row, 1 << 20).unwrap()
    }

    fn hear(&mut self, from: MemberId, said: Said) {
        let message = Message::Consensus(Box::new(said));
        self.step(Event::Message { from, message });
    }

    fn hear_certificate(&mut self, certificate: Certificate) {
        let from = self.keys.committee.ids().find(|id| *id != self.keys.me);
        self.hear(from.unwrap(), Said::Certificate(certificate));
    }

    /// Time passes until its next timer.
    fn wait(&mut self) {
        let next = self.timers.iter().min_by_key(|(_, at)| **at);
        let (id, at) = next.map(|(id, at)| (*id, *at)).unwrap();
        self.timers.remove(&id);
        self.now = self.now.max(at);
        self.step(Event::Timer(id));
    }

    /// It asks for the final blocks from here on, and gets the next `count` of the chain.
    fn gets(&mut self, chain: &[FinalBlock], from: u64, count: u16) {
        for _ in 0..TIMERS_MAX {
            if let Some((peer, height)) = self.asked.pop() {
                assert_eq!(height, Height(from));
                let above = chain.iter().filter(|block| block.header.height >= height);
                let blocks = Blocks::collect(above.cloned(), count);
                return self.hear(peer, Said::Blocks(blocks));
            }
            self.wait();
        }
        panic!("it never asked");
    }
}

fn leader(view: u64) -> MemberId {
    let committee = Committee::new((0..4).map(|i| identity(i).public()).collect()).unwrap();
    LeaderSchedule::new(CHAIN, EPOCH, &committee).leader(View(view))
}

/// A chain with the boundary in it: a block in each view, without a certificate.
fn chain() -> Vec<FinalBlock> {
    let cut = Cut::genesis(4);
    let payload = CutPayload::of(cut.clone());
    let (base, time) = (Height(0), Millis(0));
    let mut below = consensus::genesis(CHAIN, EPOCH, base, Default::default(), time, payload);
    let mut chain = Vec::new();
    for height in 1..=BOUNDARY + ABOVE {
        let mut payload = CutPayload::of(cut.clone());
        if height >= BOUNDARY {
            payload.step = Some(EpochStep::Boundary(Digest([9; 32])));
        }
        let header = BlockHeader {
            chain: CHAIN,
            epoch: EPOCH,
            view: View(height),
            height: Height(height),
            parent_view: below.header.view,
            parent: below.id(),
            proposer: leader(height),
            time,
            payload: payload.digest(),
        };
        below = FinalBlock {
            header,
            payload,
            certificate: None,
        };
        chain.push(below.clone());
    }
    chain
}

fn certificate(kind: CertificateKind, header: &BlockHeader) -> Certificate {
    let (epoch, view, height, block) = (EPOCH, header.view, header.height, header.id());
    let commit = Commit {
        epoch,
        view,
        height,
        block,
    };
    let vote = Vote {
        epoch,
        view,
        block,
        dirty: true,
    };
    let signers: SignerSet = (0..3).map(MemberId).collect();
    let votes = kind == CertificateKind::Notarization;
    let sign = |member: MemberId| match votes {
        true => vote.sign(&identity(member.0), CHAIN),
        false => commit.sign(&identity(member.0), CHAIN),
    };
    Certificate {
        kind,
        epoch,
        view,
        height,
        block,
        signers,
        dirty: if votes { signers } else { SignerSet::default() },
        signatures: signers.iter().map(sign).collect(),
    }
}

fn make_final(block: &mut FinalBlock) -> Certificate {
    let certificate = certificate(CertificateKind::Final, &block.header);
    block.certificate = Some(certificate.clone());
    certificate
}

/// The run that ends with the boundary has the certificate of the block above it only as a
/// proof: it counts when that block comes, before a restart or after it.
#[test]
fn a_boundary_that_a_later_block_proves_is_emitted() {
    for restarts in [false, true] {
        let mut chain = chain();
        let proof = make_final(&mut chain[BOUNDARY as usize]);
        let mut member = Member::new();
        member.hear_certificate(proof);
        member.gets(&chain, 1, BOUNDARY as u16);
        assert_eq!(member.last_stored(), chain[BOUNDARY as usize - 1]);
        assert_eq!(member.emitted, [], "nothing proves it yet");
        if restarts {
            member.restart();
        }
        member.gets(&chain, BOUNDARY + 1, 1);
        let status = member.replica.status();
        assert_eq!(status.final_height, Height(BOUNDARY + 1));
        let up_to_boundary: Vec<_> = (1..=BOUNDARY).map(Height).collect();
        assert_eq!(member.emitted, up_to_boundary, "restarts: {restarts}");
        assert_eq!(member.last_stored(), chain[BOUNDARY as usize]);
    }
}

/// A member that took part in making the blocks above the boundary final.
fn past_the_boundary() -> Member {
    let mut chain = chain();
    let (ended, above) = chain.split_at_mut(BOUNDARY as usize);
    let mut parent = make_final(&mut ended[BOUNDARY as usize - 1]);
    let mut member = Member::new();
    member.hear_certificate(parent.clone());
    member.gets(ended, 1, BOUNDARY as u16);
    for block in above {
        let from = block.header.proposer;
        let proposal = Statement::Proposal {
            block: block.block(),
            justify: Justify {
                parent: Some(parent),
                skips: Vec::new(),
            },
        };
        member.hear(from, proposal.sign(&identity(from.0), CHAIN));
        member.hear_certificate(certificate(CertificateKind::Notarization, &block.header));
        parent = make_final(block);
        member.hear_certificate(parent.clone());
    }
    let status = member.replica.status();
    assert_eq!(status.final_height, Height(BOUNDARY + ABOVE));
    assert_eq!(status.emitted_height, Height(BOUNDARY));
    let said: BTreeSet<_> = (BOUNDARY + 1..=BOUNDARY + ABOVE).map(View).collect();
    assert_eq!(member.committed, said);
    member
}

#[test]
fn what_was_said_above_the_last_stored_block_is_kept() {
    let member = past_the_boundary();
    assert_eq!(member.last_stored().header.height, Height(BOUNDARY));
    assert!(!member.forgotten.is_empty());
    for (below, stored) in member.forgotten {
        assert!(below <= stored.next(), "{below} with {stored} stored");
    }
}

/// C2: what is final by its commit votes above the boundary must stay so.
#[test]
fn nothing_that_was_committed_above_the_boundary_is_skipped_after_a_restart() {
    let mut member = past_the_boundary();
    member.restart();
    for _ in 0..TIMERS_MAX {
        member.wait();
    }
    assert!(!member.skipped.is_empty(), "it had no reason to speak");
    let both: Vec<_> = member.skipped.intersection(&member.committed).collect();
    assert!(both.is_empty(), "committed and skipped: {both:?}");
}
