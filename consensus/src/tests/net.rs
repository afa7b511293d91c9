//! The network: processes, links, disks and faults, driven by one seeded generator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fairlane_types::{
    BlockId, Height, MemberId, Micros, Millis, Mutant, Planted, SigCheck, SignerSet, View,
};

use super::byzantine::Liar;
use super::oracle::Oracle;
use super::{CHAIN, Cut, Rng, bad_ones, config, ideal, key, origin};
use crate::{
    Blocks, CheckId, Core, FinalBlock, Input, Message, Output, RecordId, Recovered, SafetyRecord,
    Statement, Timer, To, Verdict,
};

/// What the network does to messages; times in µs, chances in percent.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: (u64, u64),
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    /// Payloads that must be fetched before they can be judged.
    pub(crate) fetching: u64,
    /// Longest such fetch.
    pub(crate) fetch_max: u64,
    /// Kinds of message (see [`kind`]) that a receiver does not get: bit 6·receiver + kind.
    pub(crate) deaf: u128,
}

impl Weather {
    pub(crate) const FAIR: Self = Self {
        delay: (1_000, 8_000),
        loss: 0,
        duplicate: 0,
        fetching: 0,
        fetch_max: 0,
        deaf: 0,
    };
}

/// Mistakes of the driver, planted to see that the oracle sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Restarts forget own statements (C1, C2, C5).
    ForgetOnRestart,
    /// Statements leave before their record is durable (C7).
    SayBeforeRecorded,
    /// A rule broken in the core.
    Core(Mutant),
}

enum Write {
    Record(RecordId, SafetyRecord<Cut>),
    Final(Vec<FinalBlock<Cut>>),
    Prune(View),
}

/// One running copy of a member, with its disk.
pub(crate) struct Process {
    pub(crate) id: MemberId,
    pub(crate) member: bool,
    pub(crate) core: Option<Core<Cut>>,
    pub(crate) liar: Option<Liar>,
    // disk
    pub(crate) chain: Vec<FinalBlock<Cut>>,
    pub(crate) records: Vec<SafetyRecord<Cut>>,
    unsynced: VecDeque<Write>,
    durable: RecordId,
    // of this life
    life: u64,
    timers: BTreeMap<Timer, Micros>,
    waiting: Vec<(RecordId, Statement<Cut>)>,
    syncing: bool,
    /// Heights told to the application, in memory.
    told: Height,
    pub(crate) faults: BTreeSet<(MemberId, String)>,
    pub(crate) evidence: Vec<crate::Evidence>,
    pub(crate) halted: bool,
}

/// The kinds that a receiver can be deaf to.
fn kind(message: &Message<Cut>) -> u32 {
    match message {
        Message::Proposal(_) => 0,
        Message::Vote(_) => 1,
        Message::Commit(_) => 2,
        Message::Skip(_) => 3,
        Message::Certificate(_) => 4,
        _ => 5,
    }
}

/// Whether a message from one member to another passes.
pub(crate) type Filter = Box<dyn FnMut(MemberId, MemberId, &Message<Cut>) -> bool>;

enum Event {
    Deliver(usize, MemberId, Message<Cut>),
    Own(usize, u64, Message<Cut>),
    Timer(usize, u64, Timer, Micros),
    Verified(usize, u64, CheckId, Vec<SigCheck>),
    Payload(usize, u64, BlockId, Verdict),
    Built(usize, u64, View),
    Synced(usize, u64, usize),
    Restart(usize),
}

pub(crate) struct Net {
    pub(crate) rng: Rng,
    pub(crate) now: Micros,
    pub(crate) n: u8,
    pub(crate) processes: Vec<Process>,
    pub(crate) weather: Weather,
    /// Group of each process; messages do not cross groups.
    pub(crate) groups: Vec<u8>,
    pub(crate) oracle: Oracle,
    pub(crate) plant: Option<Plant>,
    /// Told to every core at its start.
    pub(crate) proposable: bool,
    pub(crate) all_evidence: Vec<crate::Evidence>,
    /// Messages that the test wants to see or stop.
    pub(crate) filter: Option<Filter>,
    queue: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
    nonce: u64,
}

impl Net {
    /// `liars` are Byzantine members; `observers` more processes that only follow.
    pub(crate) fn new(seed: u64, n: u8, liars: &[(u8, Liar)], observers: u8) -> Self {
        let byzantine = liars.iter().map(|(m, _)| MemberId(*m)).collect();
        let mut net = Self {
            rng: Rng::new(seed),
            now: Micros(1_000_000),
            n,
            processes: Vec::new(),
            weather: Weather::FAIR,
            groups: Vec::new(),
            oracle: Oracle::new(n.into(), byzantine, &origin().header),
            plant: None,
            proposable: true,
            all_evidence: Vec::new(),
            filter: None,
            queue: BTreeMap::new(),
            sequence: 0,
            nonce: 0,
        };
        for member in 0..n {
            let liar = liars.iter().find(|(m, _)| *m == member).map(|(_, l)| *l);
            net.spawn(MemberId(member), true, liar);
            if liar == Some(Liar::Twins) {
                net.spawn(MemberId(member), true, liar);
            }
        }
        for observer in 0..observers {
            net.spawn(MemberId(n + observer), false, None);
        }
        net
    }

    fn spawn(&mut self, id: MemberId, member: bool, liar: Option<Liar>) {
        self.processes.push(Process {
            id,
            member,
            core: None,
            liar,
            chain: vec![origin()],
            records: Vec::new(),
            unsynced: VecDeque::new(),
            durable: RecordId(0),
            life: 0,
            timers: BTreeMap::new(),
            waiting: Vec::new(),
            syncing: false,
            told: Height(0),
            faults: BTreeSet::new(),
            evidence: Vec::new(),
            halted: false,
        });
        self.groups.push(0);
    }

    pub(crate) fn start_all(&mut self) {
        for index in 0..self.processes.len() {
            self.start(index);
        }
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((self.now.plus(delay), self.sequence), event);
    }

    // ---- processes ------------------------------------------------------------------

    pub(crate) fn start(&mut self, index: usize) {
        let plant = self.plant;
        let process = &mut self.processes[index];
        if process.core.is_some() || process.liar == Some(Liar::Silent) {
            return;
        }
        let me = process.member.then_some(process.id.0);
        let mut records = process.records.clone();
        if plant == Some(Plant::ForgetOnRestart) {
            records.retain(|r| matches!(r, SafetyRecord::Certified(_)));
        }
        let tip = process.chain.last().unwrap().clone();
        process.told = tip.header.height;
        let recovered = Recovered { tip, records };
        let mut config = config(self.n, me, true);
        if let Some(Plant::Core(mutant)) = plant {
            config.planted = Planted::new(mutant);
        }
        let core = match Core::restore(config, recovered) {
            Ok(core) => core,
            // A liar's disk may contradict itself; an honest member's must not.
            Err(_) if process.liar.is_some() => return,
            Err(error) => {
                let what = format!("restore of {}: {error}", process.id);
                self.oracle.violations.push(("restore", what));
                return;
            }
        };
        process.core = Some(core);
        process.life += 1;
        self.step(index, Input::Start);
        self.step(index, Input::Proposable(self.proposable));
    }

    /// kill −9: a random prefix of what was not synced survives.
    pub(crate) fn crash(&mut self, index: usize) {
        let keep = self
            .rng
            .below(self.processes[index].unsynced.len() as u64 + 1);
        self.write_out(index, keep as usize);
        let process = &mut self.processes[index];
        process.core = None;
        process.unsynced.clear();
        process.waiting.clear();
        process.timers.clear();
        process.syncing = false;
        process.durable = RecordId(0);
    }

    pub(crate) fn restart_after(&mut self, index: usize, delay: u64) {
        self.at(delay, Event::Restart(index));
    }

    fn write_out(&mut self, index: usize, count: usize) {
        let process = &mut self.processes[index];
        for write in process.unsynced.drain(..count) {
            match write {
                Write::Record(id, record) => {
                    // The codec is what reaches the disk.
                    let bytes = fairlane_types::encode(&record);
                    let back = fairlane_types::decode(&bytes, 1 << 20).unwrap();
                    process.records.push(back);
                    process.durable = id;
                }
                Write::Final(blocks) => process.chain.extend(blocks),
                Write::Prune(upto) => process.records.retain(|r| r.view() > upto),
            }
        }
    }

    pub(crate) fn honest(&self, index: usize) -> bool {
        self.processes[index].liar.is_none()
    }

    pub(crate) fn step(&mut self, index: usize, input: Input<Cut>) {
        let Some(core) = self.processes[index].core.as_mut() else {
            return;
        };
        let mut out = Vec::new();
        core.step(self.now, input, &mut out);
        for output in out {
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output<Cut>) {
        let life = self.processes[index].life;
        match output {
            Output::Record { id, record } => {
                self.processes[index]
                    .unsynced
                    .push_back(Write::Record(id, record));
                self.sync_soon(index);
            }
            Output::Say { after, statement } => {
                if self.plant == Some(Plant::SayBeforeRecorded) {
                    return self.release(index, after, statement);
                }
                self.processes[index].waiting.push((after, statement));
                self.release_durable(index);
            }
            Output::Send { to, message } => self.send(index, to, message),
            Output::Verify { check, sigs } => {
                assert!(!sigs.is_empty());
                let delay = self.rng.between(20, 400);
                self.at(delay, Event::Verified(index, life, check, sigs));
            }
            Output::SetTimer { timer, at } => {
                self.processes[index].timers.insert(timer, at);
                let delay = at.minus(self.now.0).0;
                self.at(delay, Event::Timer(index, life, timer, at));
            }
            Output::CheckPayload {
                block,
                header,
                payload,
                parent,
            } => {
                use crate::Payload;
                assert_eq!(header.id(), block);
                assert_eq!(header.payload, payload.digest());
                assert_eq!(header.parent, parent.id());
                let mut delay = self.rng.between(50, 500);
                if self.rng.percent(self.weather.fetching) {
                    let missing = SignerSet::from_iter([MemberId(self.n - 1)]);
                    let verdict = Verdict::Fetching { missing };
                    self.at(delay, Event::Payload(index, life, block, verdict));
                    delay += self.rng.between(1_000, self.weather.fetch_max);
                }
                let invalid = payload.bytes == b"invalid";
                let verdict = if invalid {
                    Verdict::Invalid
                } else {
                    Verdict::Valid
                };
                self.at(delay, Event::Payload(index, life, block, verdict));
            }
            Output::BuildPayload { view, .. } => {
                let delay = self.rng.between(50, 500);
                self.at(delay, Event::Built(index, life, view));
            }
            Output::Finalized(blocks) => {
                for block in &blocks {
                    let process = &mut self.processes[index];
                    if process.liar.is_none() {
                        assert_eq!(block.header.height, process.told.next(), "a gap");
                        process.told = block.header.height;
                        let id = process.id;
                        self.oracle.final_block(id, block);
                    }
                }
                self.processes[index]
                    .unsynced
                    .push_back(Write::Final(blocks));
                self.sync_soon(index);
            }
            Output::Prune { upto } => {
                self.processes[index].unsynced.push_back(Write::Prune(upto));
            }
            Output::Serve { to, from, count } => {
                let chain = &self.processes[index].chain;
                let start = chain.iter().position(|b| b.header.height == from);
                if let Some(start) = start {
                    let message = Message::Blocks(Blocks::collect(chain[start..].to_vec(), count));
                    self.send(index, To::One(to), message);
                }
            }
            Output::Evidence(evidence) => {
                let committee = super::committee(self.n);
                let checks = evidence.checks(CHAIN, &committee).unwrap();
                assert!(bad_ones(&checks).is_empty(), "false evidence");
                if self.honest(index) {
                    self.processes[index].evidence.push((*evidence).clone());
                    self.all_evidence.push(*evidence);
                }
            }
            Output::Fault { peer, fault } => {
                self.processes[index]
                    .faults
                    .insert((peer, format!("{fault:?}")));
            }
            Output::Halt(halt) => {
                let process = &mut self.processes[index];
                process.halted = true;
                if process.liar.is_none() {
                    let what = format!("{} halts: {}", process.id, halt.reason);
                    self.oracle.violations.push(("halt", what));
                }
            }
        }
    }

    fn sync_soon(&mut self, index: usize) {
        let process = &mut self.processes[index];
        if process.syncing {
            return;
        }
        process.syncing = true;
        let (life, count) = (process.life, process.unsynced.len());
        let delay = self.rng.between(100, 3_000);
        self.at(delay, Event::Synced(index, life, count));
    }

    fn release_durable(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let durable = process.durable;
        let (ready, rest): (Vec<_>, Vec<_>) = process
            .waiting
            .drain(..)
            .partition(|(id, _)| *id <= durable);
        process.waiting = rest;
        for (after, statement) in ready {
            self.release(index, after, statement);
        }
    }

    /// A statement leaves its member: signed, broadcast, fed back.
    fn release(&mut self, index: usize, after: RecordId, statement: Statement<Cut>) {
        let process = &self.processes[index];
        let id = process.id;
        if process.liar.is_none() {
            let durable = after <= process.durable;
            self.oracle.says(id, &statement, durable);
        } else if let Statement::Proposal { block, .. } = &statement {
            self.oracle.header(&block.header);
        }
        let message = self.sign(id, statement.clone());
        if let Some(liar) = process.liar {
            liar.speak(self, index, statement, message.clone());
        } else {
            self.send(index, To::All, message.clone());
        }
        let life = self.processes[index].life;
        self.at(0, Event::Own(index, life, message));
    }

    pub(crate) fn sign(&self, id: MemberId, statement: Statement<Cut>) -> Message<Cut> {
        let check = statement.check(&key(id), CHAIN, fairlane_types::Signature::default());
        statement.with(ideal(&check))
    }

    // ---- links ----------------------------------------------------------------------

    pub(crate) fn send(&mut self, from: usize, to: To, message: Message<Cut>) {
        for index in 0..self.processes.len() {
            let id = self.processes[index].id;
            let meant = match to {
                To::All => id != self.processes[from].id,
                To::One(peer) => id == peer && index != from,
            };
            if meant {
                self.transmit(from, index, message.clone());
            }
        }
    }

    pub(crate) fn transmit(&mut self, from: usize, to: usize, message: Message<Cut>) {
        let (sender, receiver) = (self.processes[from].id, self.processes[to].id);
        if self.groups[from] != self.groups[to] {
            return;
        }
        if let Some(filter) = self.filter.as_mut()
            && !filter(sender, receiver, &message)
        {
            return;
        }
        let deaf = 6 * u32::from(receiver.0) + kind(&message);
        if self.weather.deaf >> deaf.min(127) & 1 == 1 || self.rng.percent(self.weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.percent(self.weather.duplicate));
        for _ in 0..copies {
            let (low, high) = self.weather.delay;
            let delay = self.rng.between(low, high);
            self.at(delay, Event::Deliver(to, sender, message.clone()));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.groups.iter_mut().for_each(|g| *g = 0);
        self.weather = Weather::FAIR;
        for index in 0..self.processes.len() {
            self.start(index);
        }
    }

    // ---- time -----------------------------------------------------------------------

    /// Runs for so many µs; stops early on a violation.
    pub(crate) fn run(&mut self, span: u64) {
        let end = self.now.plus(span);
        self.run_until(end, |_| false);
    }

    /// Runs until `done` or `end`; whether it was done.
    pub(crate) fn run_until(&mut self, end: Micros, done: impl Fn(&Self) -> bool) -> bool {
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > end || !self.oracle.violations.is_empty() {
                break;
            }
            let Some(((at, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = at;
            self.happen(event);
            if done(self) {
                return true;
            }
        }
        if self.oracle.violations.is_empty() {
            self.now = self.now.max(end);
        }
        done(self)
    }

    fn happen(&mut self, event: Event) {
        let alive = |net: &Self, index: usize, life: u64| {
            net.processes[index].life == life && net.processes[index].core.is_some()
        };
        match event {
            Event::Deliver(to, from, message) => {
                // Every message crosses the wire in its encoding.
                let bytes = fairlane_types::encode(&message);
                let back = fairlane_types::decode(&bytes, 1 << 20).unwrap();
                assert_eq!(message, back);
                self.step(to, Input::Message { from, message });
            }
            Event::Own(index, life, message) if alive(self, index, life) => {
                let from = self.processes[index].id;
                self.step(index, Input::Message { from, message });
            }
            Event::Timer(index, life, timer, at)
                if alive(self, index, life)
                    && self.processes[index].timers.get(&timer) == Some(&at) =>
            {
                self.processes[index].timers.remove(&timer);
                self.step(index, Input::Timer(timer));
            }
            Event::Verified(index, life, check, sigs) if alive(self, index, life) => {
                let bad = bad_ones(&sigs);
                self.step(index, Input::Verified { check, bad });
            }
            Event::Payload(index, life, block, verdict) if alive(self, index, life) => {
                self.step(index, Input::PayloadChecked { block, verdict });
            }
            Event::Built(index, life, view) if alive(self, index, life) => {
                self.nonce += 1;
                let payload = Cut {
                    nonce: self.nonce,
                    bytes: vec![1; (self.nonce % 5) as usize],
                };
                let time = Millis(self.now.0 / 1_000);
                let built = Input::PayloadBuilt {
                    view,
                    payload,
                    time,
                };
                self.step(index, built);
            }
            Event::Synced(index, life, count) if alive(self, index, life) => {
                self.write_out(index, count);
                self.processes[index].syncing = false;
                if !self.processes[index].unsynced.is_empty() {
                    self.sync_soon(index);
                }
                self.release_durable(index);
            }
            Event::Restart(index) => self.start(index),
            _ => {} // of a former life
        }
    }

    // ---- views of the state ---------------------------------------------------------

    pub(crate) fn core(&self, index: usize) -> &Core<Cut> {
        self.processes[index].core.as_ref().expect("it is up")
    }
    pub(crate) fn height(&self, index: usize) -> u64 {
        self.processes[index].told.0
    }
    /// The lowest height told among honest processes, observers included.
    pub(crate) fn lowest(&self) -> u64 {
        let honest = (0..self.processes.len()).filter(|i| self.honest(*i));
        honest.map(|i| self.height(i)).min().unwrap_or(0)
    }
    pub(crate) fn expect_sound(&self, what: &str) {
        assert!(
            self.oracle.violations.is_empty(),
            "{what}: {:?}",
            self.oracle.violations
        );
    }
    /// Everybody honest finalizes `more` blocks within `span` µs.
    /// Returns how long it took, µs.
    pub(crate) fn expect_progress(&mut self, more: u64, span: u64, what: &str) -> u64 {
        let start = self.now;
        let goal = self.oracle.highest().0 + more;
        let end = self.now.plus(span);
        let done = self.run_until(end, |net| net.lowest() >= goal);
        self.expect_sound(what);
        let state: Vec<_> = self
            .processes
            .iter()
            .map(|p| {
                let view = p.core.as_ref().map(|c| c.view());
                (p.id, p.told, view)
            })
            .collect();
        assert!(done, "{what}: no progress to {goal}: {state:?}");
        self.now.minus(start.0).0
    }
}
