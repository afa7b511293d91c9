//! Shared by the tests: keys, orders, one driven member (`Solo`), hand-made batches.
#![allow(dead_code)]

pub mod net;
pub mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_mempool::{
    Batch, CheckId, Config, Emitted, Entry, Flaw, Holdings, Input, LaneFault, LaneFork,
    LaneMessage, Lanes, Output, Pressure, Quota, Record, Ticket, To, WriteId,
};
use fairlane_types::{
    BatchDigest, ChainId, Committee, CtId, Digest, Envelope, Epoch, KeyId, LANE_NONE, Label,
    LaneParams, MemberId, Micros, Millis, PublicKey, Receipt, SUITE_TDH2, SecretKey, Seq,
    Signature,
};

pub const CHAIN: ChainId = ChainId(7);
pub const EPOCH: Epoch = Epoch(0);
pub const KEY: KeyId = KeyId(Digest([9; 32]));
/// Virtual time starts here.
pub const T0: u64 = 1_700_000_000_000_000;
pub const CIPHERTEXT: usize = 64;

/// splitmix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

pub fn member_key(i: usize) -> SecretKey {
    SecretKey::from_seed([i as u8 + 1; 32])
}

pub fn sender_key(i: u64) -> SecretKey {
    let mut seed = [200; 32];
    seed[..8].copy_from_slice(&i.to_le_bytes());
    SecretKey::from_seed(seed)
}

pub fn committee(n: usize) -> Committee {
    Committee::new((0..n).map(|i| member_key(i).public()).collect()).unwrap()
}

pub fn config(me: usize, n: usize) -> Config {
    Config {
        me: MemberId(me as u8),
        chain: CHAIN,
        epoch: EPOCH,
        committee: committee(n),
        lanes: LaneParams::default(),
        ttl_max: Millis(120_000),
        genesis_time: Millis(T0 / 1_000),
        suite: SUITE_TDH2,
        keys: vec![KEY],
        former: None,
        ciphertext_lens: vec![CIPHERTEXT, 300],
        quota: Quota::default(),
        observer: false,
        planted: fairlane_types::Planted::NONE,
    }
}

pub fn label(sender: PublicKey, nonce: u64, expiry: u64, lane: u8) -> Label {
    Label {
        suite: SUITE_TDH2,
        chain: CHAIN,
        key_id: KEY,
        sender,
        nonce,
        expiry: Millis(expiry),
        fee: 0,
        lane,
        reserved: [0; 19],
    }
}

/// An order of sender `sender`; `salt` makes the ciphertext.
pub fn order(sender: u64, nonce: u64, expiry_ms: u64, lane: u8, salt: u64) -> Envelope {
    let key = sender_key(sender);
    let mut ciphertext = vec![0; CIPHERTEXT];
    ciphertext[1..9].copy_from_slice(&salt.to_le_bytes());
    Envelope::sign(
        label(key.public(), nonce, expiry_ms, lane),
        ciphertext,
        &key,
    )
}

/// An order that nobody objects to.
pub fn plain(nonce: u64) -> Envelope {
    order(1, nonce, T0 / 1_000 + 60_000, LANE_NONE, nonce)
}

/// What a verification job finds; a ciphertext starting with 0xbd has a bad proof.
pub fn flaws(envelopes: &[(CtId, Arc<Envelope>)]) -> Vec<(usize, Flaw)> {
    let mut bad = Vec::new();
    for (i, (id, envelope)) in envelopes.iter().enumerate() {
        assert_eq!(*id, envelope.id());
        if envelope.signature_check().verify().is_err() {
            bad.push((i, Flaw::Signature));
        } else if envelope.ciphertext[0] == 0xbd {
            bad.push((i, Flaw::Proof));
        }
    }
    bad
}

/// A hand-made lane, honest or not.
pub struct Puppet {
    pub id: MemberId,
    pub tip: (Seq, BatchDigest),
}

impl Puppet {
    pub fn new(id: u8) -> Self {
        Self {
            id: MemberId(id),
            tip: (Seq(0), BatchDigest::default()),
        }
    }

    /// The next batch, not yet part of the lane.
    pub fn draft(&self, stamp: u64, orders: &[(&Envelope, bool)], holdings: Holdings) -> Batch {
        let entries = orders.iter().map(|(order, _)| Entry {
            ct_id: order.id(),
            back_us: 0,
        });
        let payloads = orders.iter().filter(|(_, carried)| *carried);
        sign(Batch {
            epoch: EPOCH,
            lane: self.id,
            seq: self.tip.0.next(),
            parent: self.tip.1,
            stamp: Micros(stamp),
            entries: entries.collect(),
            payloads: payloads
                .map(|(order, _)| Arc::new((*order).clone()))
                .collect(),
            holdings,
            signature: Signature::default(),
        })
    }

    pub fn push(&mut self, stamp: u64, orders: &[(&Envelope, bool)]) -> Arc<Batch> {
        let batch = self.draft(stamp, orders, Holdings::default());
        self.tip = (batch.seq, batch.digest());
        Arc::new(batch)
    }
}

pub fn sign(mut batch: Batch) -> Batch {
    let key = member_key(batch.lane.index());
    batch.signature = batch.header().sign(&key, CHAIN);
    batch
}

/// One member with an obliging driver: jobs and writes are answered at once unless told
/// otherwise; what is said is collected.
pub struct Solo {
    pub lanes: Lanes,
    pub now: u64,
    pub sent: Vec<(To, LaneMessage)>,
    pub accepted: BTreeMap<Ticket, Receipt>,
    pub refused: BTreeMap<Ticket, fairlane_mempool::AdmissionError>,
    pub faults: Vec<(MemberId, LaneFault)>,
    pub forks: Vec<LaneFork>,
    pub ready: Vec<fairlane_types::BlockId>,
    pub advancing: Vec<bool>,
    pub wake: Option<u64>,
    /// What submissions are told of the load.
    pub pressure: Pressure,
    pub records: Vec<Record>,
    pub loads: Vec<(fairlane_mempool::LoadId, fairlane_mempool::Wanted)>,
    /// Writes that are not answered yet, if `hold_writes`.
    pub unwritten: Vec<WriteId>,
    pub hold_writes: bool,
    /// Jobs that are not answered yet, if `hold_checks`.
    pub unchecked: Vec<(CheckId, Vec<(usize, Flaw)>)>,
    pub hold_checks: bool,
}

impl Solo {
    pub fn new(config: Config) -> Self {
        Self::of(Lanes::new(config))
    }

    pub fn of(lanes: Lanes) -> Self {
        let mut solo = Self {
            lanes,
            now: T0,
            sent: Vec::new(),
            accepted: BTreeMap::new(),
            refused: BTreeMap::new(),
            faults: Vec::new(),
            forks: Vec::new(),
            ready: Vec::new(),
            advancing: Vec::new(),
            wake: None,
            pressure: Pressure::default(),
            records: Vec::new(),
            loads: Vec::new(),
            unwritten: Vec::new(),
            hold_writes: false,
            unchecked: Vec::new(),
            hold_checks: false,
        };
        solo.step(Input::Start);
        solo
    }

    pub fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.lanes.step(Micros(self.now), input, &mut out);
        self.handle(out);
    }

    pub fn handle(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Store {
                    id,
                    records,
                    durable,
                } => {
                    self.records.extend(records);
                    if !durable {
                        continue;
                    }
                    if self.hold_writes {
                        self.unwritten.push(id);
                    } else {
                        self.step(Input::Stored(id));
                    }
                }
                Output::Send { to, message } => self.sent.push((to, message)),
                Output::Sign(header) => {
                    let signature = header.sign(&member_key(header.lane.index()), CHAIN);
                    let seq = header.seq;
                    self.step(Input::Signed { seq, signature });
                }
                Output::VerifyBatch { check, signature } => {
                    let bad = signature.verify().is_err();
                    let bad = if bad {
                        vec![(0, Flaw::Signature)]
                    } else {
                        vec![]
                    };
                    self.answer(check, bad);
                }
                Output::VerifyEnvelopes { check, envelopes } => {
                    self.answer(check, flaws(&envelopes));
                }
                Output::SetTimer { at, .. } => self.wake = Some(at.0),
                Output::Accepted { ticket, receipt } => {
                    self.accepted.insert(ticket, receipt);
                }
                Output::Refused { ticket, error } => {
                    self.refused.insert(ticket, error);
                }
                Output::Load { id, wanted } => self.loads.push((id, wanted)),
                Output::Fault { peer, fault } => self.faults.push((peer, fault)),
                Output::Evidence(fork) => self.forks.push(*fork),
                Output::Advancing(on) => self.advancing.push(on),
                Output::CutReady { block } => self.ready.push(block),
            }
        }
    }

    fn answer(&mut self, check: CheckId, bad: Vec<(usize, Flaw)>) {
        if self.hold_checks {
            self.unchecked.push((check, bad));
        } else {
            self.step(Input::Verified { check, bad });
        }
    }

    /// Answers one held write.
    pub fn write(&mut self) {
        if !self.unwritten.is_empty() {
            let id = self.unwritten.remove(0);
            self.step(Input::Stored(id));
        }
    }

    /// Lets time pass; timers fire.
    pub fn run(&mut self, us: u64) {
        let until = self.now + us;
        while let Some(at) = self.wake.filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.wake = None;
            self.step(Input::Timer(fairlane_mempool::Timer::Wake));
        }
        self.now = until;
    }

    pub fn submit(&mut self, ticket: u64, envelope: Envelope) {
        let ticket = Ticket(ticket);
        let pressure = self.pressure;
        self.step(Input::Submit {
            ticket,
            envelope,
            pressure,
        });
    }

    pub fn receive(&mut self, from: u8, message: LaneMessage) {
        let from = MemberId(from);
        self.step(Input::Message { from, message });
    }

    /// Own batches that were said.
    pub fn said(&self) -> Vec<Arc<Batch>> {
        (self.sent.iter())
            .filter_map(|(_, message)| match message {
                LaneMessage::Batch(batch) => Some(batch.clone()),
                _ => None,
            })
            .collect()
    }

    /// Acknowledged heads in the last own batch that has holdings.
    pub fn acknowledged(&self) -> Vec<Seq> {
        (self.said().iter().rev())
            .find(|batch| !batch.holdings.seqs.is_empty())
            .map_or_else(Vec::new, |batch| batch.holdings.seqs.clone())
    }
}

pub fn emitted(envelope: &Envelope, burned: bool) -> Emitted {
    Emitted {
        ct_id: envelope.id(),
        label: envelope.label.clone(),
        burned,
    }
}
