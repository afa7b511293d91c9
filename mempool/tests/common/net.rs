//! A seeded network of members with virtual time, disks that lose what is not synced,
//! and a consensus that is played by the harness: it proposes through `build_cut`, votes
//! through `check_cut`, and finalizes what q members find valid.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_mempool::fair::{Emission, FairOrder, LaneOrder};
use fairlane_mempool::{
    Ack, Batch, Cut, FinalCut, Flaw, Input, LaneFault, LaneFork, LaneMessage, Lanes, Output,
    Pressure, Record, Recovered, Ticket, Timer, To, Verdict, Wanted, WriteId,
};
use fairlane_types::{
    BlockId, CtId, Digest, Envelope, MemberId, Micros, Millis, OrderParams, Receipt, Seq,
};

use super::{CHAIN, Rng, T0, config, flaws, member_key};

#[derive(Clone)]
pub struct Faults {
    pub loss_per_mille: u64,
    pub delay_us: (u64, u64),
    pub store_us: (u64, u64),
    /// A broken driver: says `Stored` at once, writes later.
    pub lying_disk: bool,
    pub skew_us: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss_per_mille: 0,
            delay_us: (500, 4_000),
            store_us: (100, 1_000),
            lying_disk: false,
            skew_us: 500,
        }
    }
}

enum Event {
    Deliver(usize, usize, Vec<u8>),
    Input(usize, u64, Box<Input>),
    Wake(usize, u64),
    Written(usize, u64, WriteId, Vec<Record>),
    Round,
    Final(usize, u64),
}

#[derive(Default)]
pub struct Disk {
    pub batches: BTreeMap<(MemberId, Seq), Arc<Batch>>,
    pub payloads: BTreeMap<CtId, Arc<Envelope>>,
    pub acks: BTreeMap<(MemberId, Seq), Ack>,
    /// Snapshot of the order rule: height (blocks consumed), bytes.
    pub snapshot: (usize, Vec<u8>),
}

pub struct Node {
    pub lanes: Option<Lanes>,
    pub fair: LaneOrder,
    pub disk: Disk,
    /// Blocks consumed by the order rule.
    pub height: usize,
    /// Blocks known to be final.
    pub finals: usize,
    pub emissions: Vec<Emission>,
    pub faults: Vec<(MemberId, LaneFault)>,
    pub forks: Vec<LaneFork>,
    pub life: u64,
    wake: u64,
    skew: i64,
    /// The writer is busy until then.
    busy: u64,
}

pub struct Block {
    pub id: BlockId,
    pub time: Millis,
    pub cut: Cut,
}

pub struct Net {
    pub n: usize,
    pub rng: Rng,
    pub now: u64,
    pub faults: Faults,
    pub nodes: Vec<Node>,
    pub blocks: Vec<Block>,
    pub accepted: Vec<(usize, Receipt)>,
    pub refused: usize,
    /// Things said before they were durable.
    pub said_too_early: usize,
    pub said: BTreeMap<usize, usize>,
    /// Members whose lane is proposed certified-only.
    pub certified_only: Vec<MemberId>,
    pub params: OrderParams,
    events: BTreeMap<(u64, u64), Event>,
    counter: u64,
    /// Members that do not run; a test speaks for them.
    pub puppets: BTreeSet<usize>,
    pub round_us: u64,
    pub adjust: fn(&mut fairlane_mempool::Config),
}

impl Net {
    pub fn new(n: usize, seed: u64, faults: Faults, puppets: &[usize]) -> Self {
        Self::adjusted(n, seed, faults, puppets, |_| {})
    }

    pub fn adjusted(
        n: usize,
        seed: u64,
        faults: Faults,
        puppets: &[usize],
        adjust: fn(&mut fairlane_mempool::Config),
    ) -> Self {
        let mut rng = Rng(seed);
        let params = OrderParams::default();
        let f = (n - 1) / 3;
        let nodes = (0..n)
            .map(|_| Node {
                lanes: None,
                fair: LaneOrder::new(n, f, &params),
                disk: Disk::default(),
                height: 0,
                finals: 0,
                emissions: Vec::new(),
                faults: Vec::new(),
                forks: Vec::new(),
                life: 0,
                wake: 0,
                busy: 0,
                skew: rng.below(2 * faults.skew_us + 1) as i64 - faults.skew_us as i64,
            })
            .collect();
        let mut net = Self {
            n,
            rng,
            now: T0,
            faults,
            nodes,
            blocks: Vec::new(),
            accepted: Vec::new(),
            refused: 0,
            said_too_early: 0,
            said: BTreeMap::new(),
            certified_only: Vec::new(),
            params,
            events: BTreeMap::new(),
            counter: 0,
            puppets: puppets.iter().copied().collect(),
            round_us: 20_000,
            adjust,
        };
        for node in 0..n {
            net.nodes[node].disk.snapshot = (0, net.nodes[node].fair.snapshot());
            if !net.puppets.contains(&node) {
                net.start(node);
            }
        }
        net.at(10_000, Event::Round);
        net
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.counter += 1;
        self.events.insert((self.now + delay, self.counter), event);
    }

    fn clock(&self, node: usize) -> Micros {
        Micros((self.now as i64 + self.nodes[node].skew) as u64)
    }

    fn parent_cut(&self, height: usize) -> (Cut, Millis) {
        match height {
            0 => (Cut::genesis(self.n), Millis(T0 / 1_000)),
            h => (self.blocks[h - 1].cut.clone(), self.blocks[h - 1].time),
        }
    }

    /// Loses everything that is not on disk.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].lanes = None;
        self.nodes[node].life += 1;
    }

    /// Starts, or restarts from disk.
    pub fn start(&mut self, node: usize) {
        let f = (self.n - 1) / 3;
        let mut config = config(node, self.n);
        (self.adjust)(&mut config);
        let (height, bytes) = self.nodes[node].disk.snapshot.clone();
        let fair = LaneOrder::restore(self.n, f, &self.params, &bytes).unwrap();
        assert_eq!(fair.snapshot(), bytes, "restored state has the same bytes");
        let (cut, time) = self.parent_cut(height);
        let disk = &self.nodes[node].disk;
        let mut recovered = Recovered {
            time,
            stamps: (cut.heads.iter().enumerate())
                .map(|(lane, head)| {
                    let key = (MemberId(lane as u8), head.seq);
                    disk.batches.get(&key).map_or(Micros(0), |b| b.stamp)
                })
                .collect(),
            batches: disk.batches.values().cloned().collect(),
            payloads: disk.payloads.values().cloned().collect(),
            acks: disk.acks.values().copied().collect(),
            ..Recovered::default()
        };
        recovered.cut = cut;
        for emission in &self.nodes[node].emissions[..height] {
            recovered.emitted.extend(outcomes(emission));
        }
        let state = &mut self.nodes[node];
        state.lanes = Some(Lanes::restore(config, recovered));
        (state.fair, state.height, state.wake) = (fair, height, 0);
        state.finals = state.finals.max(height);
        let finals = state.finals;
        // Replay what is known to be final before anything is said.
        for height in height..finals {
            let (cut, time) = (self.blocks[height].cut.clone(), self.blocks[height].time);
            self.step(node, Input::Finalized { cut, time });
            self.consume(node);
        }
        self.step(node, Input::Start);
    }

    pub fn submit(&mut self, node: usize, ticket: u64, envelope: Envelope) {
        let ticket = Ticket(ticket);
        let pressure = Pressure::default();
        self.step(
            node,
            Input::Submit {
                ticket,
                envelope,
                pressure,
            },
        );
    }

    pub fn inject(&mut self, from: usize, to: usize, message: &LaneMessage) {
        let bytes = fairlane_types::encode(message);
        let delay = self.faults.delay_us.0;
        self.at(delay, Event::Deliver(from, to, bytes));
    }

    pub fn step(&mut self, node: usize, input: Input) {
        let now = self.clock(node);
        let mut out = Vec::new();
        let Some(lanes) = self.nodes[node].lanes.as_mut() else {
            return;
        };
        lanes.step(now, input, &mut out);
        self.handle(node, out);
    }

    fn handle(&mut self, node: usize, out: Vec<Output>) {
        let life = self.nodes[node].life;
        for output in out {
            match output {
                Output::Store {
                    id,
                    records,
                    durable,
                } => {
                    let (low, high) = self.faults.store_us;
                    // One writer: writes become durable in order.
                    let took = if durable {
                        low + self.rng.below(high - low + 1)
                    } else {
                        1
                    };
                    let busy = &mut self.nodes[node].busy;
                    *busy = (*busy).max(self.now) + took;
                    let delay = *busy - self.now;
                    if self.faults.lying_disk {
                        self.at(50_000, Event::Written(node, life, id, records));
                        if durable {
                            self.step(node, Input::Stored(id));
                        }
                    } else {
                        self.at(delay, Event::Written(node, life, id, records));
                    }
                }
                Output::Send { to, message } => self.send(node, to, message),
                Output::Sign(header) => {
                    let signature = header.sign(&member_key(node), CHAIN);
                    let seq = header.seq;
                    self.step(node, Input::Signed { seq, signature });
                }
                Output::VerifyBatch { check, signature } => {
                    let bad = match signature.verify() {
                        Ok(()) => vec![],
                        Err(_) => vec![(0, Flaw::Signature)],
                    };
                    let delay = self.rng.below(300);
                    let input = Box::new(Input::Verified { check, bad });
                    self.at(delay, Event::Input(node, life, input));
                }
                Output::VerifyEnvelopes { check, envelopes } => {
                    let bad = flaws(&envelopes);
                    let delay = self.rng.below(600);
                    let input = Box::new(Input::Verified { check, bad });
                    self.at(delay, Event::Input(node, life, input));
                }
                Output::SetTimer { at, .. } => {
                    let skewed = (at.0 as i64 - self.nodes[node].skew) as u64;
                    let delay = skewed.saturating_sub(self.now);
                    self.nodes[node].wake += 1;
                    let wake = self.nodes[node].wake;
                    self.at(delay, Event::Wake(node, (life << 32) | wake));
                }
                Output::Accepted { receipt, .. } => self.accepted.push((node, receipt)),
                Output::Refused { .. } => self.refused += 1,
                Output::Load { id, wanted } => {
                    let disk = &self.nodes[node].disk;
                    let (mut batches, mut payloads) = (Vec::new(), Vec::new());
                    match wanted {
                        Wanted::Batches { lane, from, to } => {
                            let range = disk.batches.range((lane, from)..=(lane, to));
                            batches.extend(range.map(|(_, b)| b.clone()));
                        }
                        Wanted::Payloads(ids) => {
                            for id in ids {
                                let carried = || {
                                    (disk.batches.values().flat_map(|b| &b.payloads))
                                        .find(|p| p.id() == id)
                                };
                                payloads.extend(disk.payloads.get(&id).or_else(carried).cloned());
                            }
                        }
                    }
                    let input = Box::new(Input::Loaded {
                        load: id,
                        batches,
                        payloads,
                    });
                    self.at(300, Event::Input(node, life, input));
                }
                Output::Fault { peer, fault } => self.nodes[node].faults.push((peer, fault)),
                Output::Evidence(fork) => self.nodes[node].forks.push(*fork),
                Output::Advancing(_) => {}
                Output::CutReady { .. } => self.consume(node),
            }
        }
    }

    fn send(&mut self, node: usize, to: To, message: LaneMessage) {
        if let LaneMessage::Batch(batch) = &message {
            self.check_durable(node, batch);
        }
        let bytes = fairlane_types::encode(&message);
        let back: LaneMessage = fairlane_types::decode(&bytes, 16 << 20).unwrap();
        assert_eq!(back, message);
        *self.said.entry(node).or_default() += 1;
        let receivers: Vec<usize> = match to {
            To::All => (0..self.n).filter(|m| *m != node).collect(),
            To::One(member) => vec![member.index()],
        };
        for receiver in receivers {
            if self.rng.chance(self.faults.loss_per_mille) {
                continue;
            }
            let (low, high) = self.faults.delay_us;
            let delay = low + self.rng.below(high - low + 1);
            self.at(delay, Event::Deliver(node, receiver, bytes.clone()));
        }
    }

    /// M1, M2, C7: a batch and the acknowledgements in it are durable before they are said.
    fn check_durable(&mut self, node: usize, batch: &Batch) {
        let disk = &self.nodes[node].disk;
        let written = disk
            .batches
            .get(&(batch.lane, batch.seq))
            .map(|b| b.digest());
        let mut early = written != Some(batch.digest());
        for (lane, seq) in batch.holdings.seqs.iter().enumerate() {
            let lane = MemberId(lane as u8);
            if seq.0 > 0 && lane != batch.lane {
                early |= !disk.acks.contains_key(&(lane, *seq));
            }
        }
        self.said_too_early += usize::from(early);
    }

    pub fn run(&mut self, us: u64) {
        let until = self.now + us;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.event(event);
        }
        self.now = until;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Deliver(from, to, bytes) => {
                let message = fairlane_types::decode(&bytes, 16 << 20).unwrap();
                let from = MemberId(from as u8);
                self.step(to, Input::Message { from, message });
            }
            Event::Input(node, life, input) if self.nodes[node].life == life => {
                self.step(node, *input);
            }
            Event::Wake(node, mark) => {
                if mark == (self.nodes[node].life << 32) | self.nodes[node].wake {
                    self.step(node, Input::Timer(Timer::Wake));
                }
            }
            Event::Written(node, life, id, records) if self.nodes[node].life == life => {
                let disk = &mut self.nodes[node].disk;
                for record in records {
                    match record {
                        Record::Batch { batch, .. } => {
                            disk.batches.insert((batch.lane, batch.seq), batch);
                        }
                        Record::Payload { ct_id, envelope } => {
                            disk.payloads.insert(ct_id, envelope);
                        }
                        Record::Ack(ack) => {
                            let before = disk.acks.insert((ack.lane, ack.seq), ack);
                            assert!(before.is_none_or(|b| b == ack), "never two digests");
                        }
                    }
                }
                if !self.faults.lying_disk {
                    self.step(node, Input::Stored(id));
                }
            }
            Event::Input(..) | Event::Written(..) => {}
            Event::Round => {
                self.round();
                self.at(self.round_us, Event::Round);
            }
            Event::Final(node, life) if self.nodes[node].life == life => {
                let height = self.nodes[node].finals;
                if let Some(block) = self.blocks.get(height) {
                    let (cut, time) = (block.cut.clone(), block.time);
                    self.nodes[node].finals += 1;
                    self.step(node, Input::Finalized { cut, time });
                    self.consume(node);
                }
            }
            Event::Final(..) => {}
        }
    }

    /// One view: a random leader proposes, all vote.
    fn round(&mut self) {
        let quorum = self.n - (self.n - 1) / 3;
        let live: Vec<usize> = (0..self.n)
            .filter(|m| self.nodes[*m].lanes.is_some())
            .collect();
        if live.is_empty() {
            return;
        }
        let leader = live[self.rng.below(live.len() as u64) as usize];
        let (parent, parent_time) = self.parent_cut(self.blocks.len());
        let certified_only = self.certified_only.clone();
        let Some(lanes) = &self.nodes[leader].lanes else {
            return;
        };
        let built = lanes.build_cut(&parent, parent_time, &certified_only);
        assert_eq!(built.advances, built.cut != parent);
        if certified_only.is_empty() {
            assert_eq!(lanes.advances(&parent), built.advances);
        }
        if !built.advances {
            return;
        }
        let id = BlockId(Digest(*blake(self.rng.next()).as_bytes()));
        let mut votes = 0;
        for node in live {
            let now = self.clock(node);
            let Some(lanes) = self.nodes[node].lanes.as_mut() else {
                continue;
            };
            match lanes.check_cut(&parent, parent_time, &built.cut, built.time) {
                Verdict::Valid => votes += 1,
                Verdict::Invalid(fault) => panic!("honest leader, {fault}"),
                Verdict::Missing(_) => {
                    assert_ne!(node, leader, "a leader votes for its own cut");
                    let mut out = Vec::new();
                    let leader = MemberId(leader as u8);
                    lanes.want_cut(now, id, leader, &parent, &built.cut, &mut out);
                    self.handle(node, out);
                }
            }
        }
        if votes < quorum {
            return;
        }
        self.blocks.push(Block {
            id,
            time: built.time,
            cut: built.cut,
        });
        for node in 0..self.n {
            let delay = 1_000 + self.rng.below(8_000);
            let life = self.nodes[node].life;
            self.at(delay, Event::Final(node, life));
        }
    }

    /// Runs the order rule on what is final and complete.
    fn consume(&mut self, node: usize) {
        while self.nodes[node].height < self.nodes[node].finals {
            let height = self.nodes[node].height;
            let (parent, _) = self.parent_cut(height);
            let block = &self.blocks[height];
            let block = FinalCut {
                block: block.id,
                time: block.time,
                parent,
                cut: block.cut.clone(),
            };
            let now = self.clock(node);
            let mut out = Vec::new();
            let Some(lanes) = self.nodes[node].lanes.as_mut() else {
                return;
            };
            let delta = lanes.take_final(now, &block, &mut out);
            let state = &mut self.nodes[node];
            let Some(delta) = delta else {
                return self.handle(node, out);
            };
            let emission = state.fair.on_cut(&delta);
            let done = outcomes(&emission);
            match state.emissions.get(height) {
                Some(before) => assert_eq!(*before, emission, "replay emits the same"),
                None => state.emissions.push(emission),
            }
            state.height += 1;
            if state.height.is_multiple_of(8) {
                state.disk.snapshot = (state.height, state.fair.snapshot());
            }
            self.handle(node, out);
            self.step(node, Input::Emitted(done));
        }
    }

    /// A live member that lags learns of all final blocks.
    pub fn catch_up(&mut self) {
        for node in 0..self.n {
            let life = self.nodes[node].life;
            for _ in self.nodes[node].finals..self.blocks.len() {
                self.at(0, Event::Final(node, life));
            }
        }
    }

    /// All members emitted the same; returns the ordered ids.
    pub fn check_agreement(&self) -> Vec<CtId> {
        let mut longest: &[Emission] = &[];
        for node in &self.nodes {
            let common = longest.len().min(node.emissions.len());
            assert_eq!(longest[..common], node.emissions[..common], "same sequence");
            if node.emissions.len() > longest.len() {
                longest = &node.emissions;
            }
        }
        let mut seen = BTreeSet::new();
        let mut ordered = Vec::new();
        for emission in longest {
            for order in (emission.ordered.iter())
                .chain(&emission.expired)
                .chain(&emission.duplicates)
            {
                assert!(seen.insert(order.ct_id), "exactly one outcome");
            }
            ordered.extend(emission.ordered.iter().map(|order| order.ct_id));
        }
        ordered
    }

    /// Every acknowledged order has an outcome, and every receipt is true and unique.
    pub fn check_acknowledged(&self, outcomes: &[CtId]) {
        let have: BTreeSet<_> = outcomes.iter().collect();
        let mut receipts: BTreeMap<(usize, CtId), Receipt> = BTreeMap::new();
        for (node, receipt) in &self.accepted {
            assert!(
                have.contains(&receipt.ct_id),
                "nothing acknowledged is lost"
            );
            let known = receipts
                .entry((*node, receipt.ct_id))
                .or_insert_with(|| receipt.clone());
            assert_eq!(known, receipt, "the same receipt again");
            let disk = &self.nodes[*node].disk;
            let batch = &disk.batches[&(receipt.lane, receipt.seq)];
            let entry = receipt.entry as usize;
            assert_eq!(batch.entries[entry].ct_id, receipt.ct_id);
            assert_eq!(batch.stamp_of(entry), receipt.stamp);
        }
    }
}

fn outcomes(emission: &Emission) -> Vec<fairlane_mempool::Emitted> {
    let burned = emission.ordered.iter().map(|order| (order, true));
    let rest = (emission.expired.iter())
        .chain(&emission.duplicates)
        .chain(&emission.stale)
        .map(|order| (order, false));
    burned
        .chain(rest)
        .map(|(order, burned)| fairlane_mempool::Emitted {
            ct_id: order.ct_id,
            label: order.label.clone(),
            burned,
        })
        .collect()
}

fn blake(seed: u64) -> CtId {
    CtId(fairlane_types::Domain::DevKey.hash(&seed.to_le_bytes()))
}
