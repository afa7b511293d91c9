//! The events of a run with changing committees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::{ReceiverSecret, SuiteKey, deal_suite_insecure};
use fairlane_replica::{
    Effect, EpochBase, Event, JobId, JobResult, LoadId, Message, Peers, Reply, Row, Sharing, Table,
    Ticket, epoch_key, height_key,
};
use fairlane_types::{
    CertificateParams, ChainId, CommitteeChange, CtId, EncryptionParams, Epoch, Genesis, Height,
    MemberId, Millis, NextCommittee, OrderParams, Outcome, QuorumWord, ReceiverBytes, Scheme,
    SecretKey, SequencedBlock, Signer as _, decode,
};

use crate::cpu::CpuModel;
use crate::crypto::{Crypto, Sealing, Tier};
use crate::disk::Values;
use crate::engine::{MICROSECOND, MILLISECOND, Nanos, Owner, Purpose, Queue, Stream, Trace};
use crate::scenario::START;
use crate::workload::{Kind, Trade, Workload, trades};

use super::machine::{Machine, committee_of};
use super::{Epochs, EpochsReport};

/// The end of a run that does not get there.
const PATIENCE_MS: u64 = 90_000;
/// An operator looks this often whether a machine belongs to a later epoch.
const POLL_NS: u64 = 250 * MILLISECOND;
/// Traders ask again for what is not in the sequence.
const RETRY_NS: u64 = 400 * MILLISECOND;
/// A change is handed in so long after its committee took over.
const TERM_NS: u64 = 700 * MILLISECOND;
/// No faults begin after this.
const FAULTS_MS: u64 = 12_000;

#[derive(Debug)]
enum Happening {
    Boot(usize),
    Crash(usize, u64),
    Unlink(usize, u64),
    Link(usize),
    Connect(usize, usize),
    Deliver {
        from: usize,
        to: usize,
        epoch: Epoch,
        message: Arc<Message>,
    },
    Timer(usize, u32),
    Stored(usize, u32),
    Loaded(usize, u32, LoadId, Vec<Row>),
    Computed(usize, u32, JobId, Box<JobResult>),
    Open,
    Submit(usize, usize),
    Retry(usize),
    Change(usize),
    Cross(usize, u32, Arc<EpochBase>),
    Poll(usize),
}

pub(super) struct Run<'a> {
    plan: &'a Epochs,
    rng: Stream,
    now: Nanos,
    queue: Queue<Happening>,
    trace: Trace,
    machines: Vec<Machine>,
    cpu: CpuModel,
    values: Values,
    /// Who has which identity.
    by_key: BTreeMap<fairlane_types::PublicKey, usize>,
    sequence: Vec<SequencedBlock>,
    /// Per machine the next height that it emits.
    next: Vec<u64>,
    trades: Vec<Trade>,
    by_id: BTreeMap<CtId, usize>,
    settled: BTreeSet<usize>,
    /// Orders and the honest machines that acknowledged them.
    acknowledged: BTreeMap<usize, BTreeSet<usize>>,
    refused: BTreeSet<usize>,
    changed: BTreeMap<u64, Nanos>,
    report: EpochsReport,
}

impl<'a> Run<'a> {
    pub fn new(plan: &'a Epochs) -> Self {
        let mut rng = Stream::new(plan.seed, Owner::World, Purpose::Plan);
        let mut secret = Stream::new(plan.seed, Owner::World, Purpose::Keys);
        let keys: Vec<_> = (0..plan.machines())
            .map(|_| {
                let identity = Arc::new(SecretKey::from_seed(secret.bytes32()));
                let receiver = Arc::new(ReceiverSecret::generate(&mut secret));
                (identity, receiver)
            })
            .collect();
        let first = &plan.committees[0];
        let (genesis, shares) = first_genesis(plan, first, &keys, &mut secret, &mut rng);
        let by_key = keys.iter().enumerate();
        let by_key = by_key
            .map(|(machine, (id, _))| (id.public(), machine))
            .collect();
        let machines = keys.into_iter().enumerate().map(|(index, keys)| {
            let share = first.iter().position(|machine| *machine == index);
            let share = share.and_then(|place| shares.get(place).cloned());
            Machine::new(index, plan.seed, &genesis, keys, share)
        });
        let machines: Vec<_> = machines.collect();
        Self {
            plan,
            rng,
            now: Nanos(0),
            queue: Queue::default(),
            trace: Trace::default(),
            next: vec![1; machines.len()],
            machines,
            cpu: CpuModel::default(),
            values: Values::default(),
            by_key,
            sequence: Vec::new(),
            trades: Vec::new(),
            by_id: BTreeMap::new(),
            settled: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            refused: BTreeSet::new(),
            changed: BTreeMap::new(),
            report: EpochsReport {
                seed: plan.seed,
                ..EpochsReport::default()
            },
        }
    }

    pub fn run(mut self) -> EpochsReport {
        for machine in 0..self.machines.len() {
            self.push(0, Happening::Boot(machine));
            self.push(POLL_NS, Happening::Poll(machine));
        }
        self.push(20 * MILLISECOND, Happening::Open);
        self.push(TERM_NS, Happening::Change(1));
        self.draw_faults();
        let mut looked = Nanos(0);
        while let Some((key, happening)) = self.queue.pop() {
            if key.time.as_millis() > PATIENCE_MS || !self.report.violations.is_empty() {
                break;
            }
            self.now = key.time;
            self.happen(happening);
            if self.now.since(looked) >= 20 * MILLISECOND {
                looked = self.now;
                if self.is_over() {
                    return self.verdict(true);
                }
            }
        }
        self.verdict(false)
    }

    // ---- what goes wrong ----

    fn draw_faults(&mut self) {
        if !self.plan.faults {
            return;
        }
        for _ in 0..self.rng.between(2, 8) {
            let machine = self.rng.below(self.machines.len() as u64) as usize;
            let at = self.rng.between(100, FAULTS_MS / 2) * MILLISECOND;
            let span = self.rng.between(50, 1_500) * MILLISECOND;
            let crash = self.rng.chance(600);
            let fault = if crash {
                Happening::Crash(machine, span)
            } else {
                Happening::Unlink(machine, span)
            };
            self.push(at, fault);
        }
        // One machine, and no more than one of any committee, may be gone for good.
        if self.plan.liar.is_none() && self.rng.chance(300) {
            let machine = self.rng.below(self.machines.len() as u64) as usize;
            let at = self.rng.between(300, FAULTS_MS / 3) * MILLISECOND;
            self.push(at, Happening::Crash(machine, 0));
        }
    }

    fn honest(&self, machine: usize) -> bool {
        self.plan.liar.is_none_or(|(liar, _)| liar != machine)
    }

    fn breach(&mut self, what: String) {
        let what = format!("{} {what}", self.now);
        self.report.violations.push(what);
    }

    fn push(&mut self, after: u64, happening: Happening) {
        self.queue.push(self.now.plus(after), 0, happening);
    }

    // ---- events ----

    fn happen(&mut self, happening: Happening) {
        let alive = |machine: usize, life: u32| self.machines[machine].member.life == life;
        match happening {
            Happening::Boot(machine) => self.boot(machine),
            Happening::Crash(machine, span) => self.crash(machine, span),
            Happening::Unlink(machine, span) => {
                self.machines[machine].linked = false;
                self.push(span, Happening::Link(machine));
            }
            Happening::Link(machine) => {
                self.machines[machine].linked = true;
                self.reconnect(machine);
            }
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Deliver {
                from,
                to,
                epoch,
                message,
            } => self.deliver(from, to, epoch, &message),
            Happening::Timer(machine, life) if alive(machine, life) => self.timers(machine),
            Happening::Stored(machine, life) if alive(machine, life) => self.stored(machine),
            Happening::Loaded(machine, life, id, rows) if alive(machine, life) => {
                self.step(machine, Event::Loaded { id, rows });
            }
            Happening::Computed(machine, life, id, result) if alive(machine, life) => {
                let result = *result;
                self.step(machine, Event::Computed { id, result });
            }
            Happening::Open => self.open(),
            Happening::Submit(trade, machine) => self.submit(trade, machine),
            Happening::Retry(trade) => self.retry(trade),
            Happening::Change(epoch) => self.change(epoch),
            Happening::Cross(machine, life, base) if alive(machine, life) => {
                self.retire(machine);
                self.cross(machine, &base);
            }
            Happening::Poll(machine) => {
                self.poll(machine);
                self.forward(machine);
                self.push(POLL_NS, Happening::Poll(machine));
            }
            // Of an earlier life.
            _ => {}
        }
    }

    fn boot(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        if m.dead || m.member.up() || m.me.is_none() {
            return;
        }
        if let Err(error) = m.member.start() {
            self.breach(format!("machine {machine} does not start: {error}"));
            return;
        }
        let last = self.machines[machine].last_emitted();
        self.next[machine] = last.map_or(1, |block| block.height.0 + 1);
        self.step(machine, Event::Start);
        self.reconnect(machine);
    }

    fn crash(&mut self, machine: usize, span: u64) {
        if span == 0 {
            self.machines[machine].dead = true;
        } else {
            self.push(span, Happening::Boot(machine));
        }
        if self.machines[machine].member.up() {
            self.report.crashes += 1;
            self.retire(machine);
        }
    }

    /// Two machines have a link while both are members of the same epoch.
    fn have_link(&self, a: usize, b: usize) -> bool {
        let up = |m: &Machine| m.member.up() && m.linked && m.me.is_some();
        let (a, b) = (&self.machines[a], &self.machines[b]);
        up(a) && up(b) && a.genesis.epoch() == b.genesis.epoch()
    }

    fn reconnect(&mut self, machine: usize) {
        for peer in 0..self.machines.len() {
            if peer != machine && self.have_link(machine, peer) {
                self.push(5 * MILLISECOND, Happening::Connect(machine, peer));
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if !self.have_link(a, b) {
            return;
        }
        let (ida, idb) = (self.machines[a].me, self.machines[b].me);
        if let (Some(ida), Some(idb)) = (ida, idb) {
            self.step(a, Event::Connected(idb));
            self.step(b, Event::Connected(ida));
        }
    }

    fn deliver(&mut self, from: usize, to: usize, epoch: Epoch, message: &Arc<Message>) {
        if !self.have_link(from, to) || self.machines[to].genesis.epoch() != epoch {
            return;
        }
        let Some(id) = self.machines[from].me else {
            return;
        };
        let frame = message.to_frame();
        match Message::from_frame(message.class(), &frame) {
            Ok(message) => self.step(to, Event::Message { from: id, message }),
            Err(error) => self.breach(format!("machine {from} sent a bad frame: {error}")),
        }
    }

    fn step(&mut self, machine: usize, event: Event) {
        let (at, m) = (self.now, &mut self.machines[machine].member);
        self.trace.event(at, machine, 0, u64::from(m.life));
        let effects = m.step(at, event);
        for effect in effects {
            self.effect(machine, effect);
        }
        self.start_writes(machine);
        if let Some(at) = self.machines[machine].wakes(self.now) {
            let life = self.machines[machine].member.life;
            let soonest = self.machines[machine].member.alarm;
            if soonest.is_none_or(|alarm| at < alarm || alarm <= self.now) {
                self.machines[machine].member.alarm = Some(at);
                self.queue.push(at, 0, Happening::Timer(machine, life));
            }
        }
    }

    fn timers(&mut self, machine: usize) {
        self.machines[machine].member.alarm = None;
        while let Some((at, id)) = self.machines[machine].member.next_timer() {
            let m = &mut self.machines[machine].member;
            if m.clock.read(self.now) < at {
                let (life, when) = (m.life, m.clock.reach(self.now, at));
                let when = when.max(self.now.plus(MICROSECOND));
                m.alarm = Some(when);
                self.queue.push(when, 0, Happening::Timer(machine, life));
                return;
            }
            m.timers[id.slot()] = None;
            self.step(machine, Event::Timer(id));
        }
    }

    fn start_writes(&mut self, machine: usize) {
        let m = &mut self.machines[machine].member;
        let life = m.life;
        if let Ok(Some(at)) = m.writer.start(self.now, &mut m.store, &mut m.disk) {
            self.queue.push(at, 0, Happening::Stored(machine, life));
        }
    }

    fn stored(&mut self, machine: usize) {
        let m = &mut self.machines[machine].member;
        let (ids, _) = m.writer.finish(&mut m.store);
        for id in ids {
            self.step(machine, Event::Stored(id));
        }
        self.start_writes(machine);
    }

    fn effect(&mut self, machine: usize, effect: Effect) {
        let life = self.machines[machine].member.life;
        match effect {
            Effect::Send { to, message } => self.send(machine, to, message),
            Effect::SetTimer { id, at } => {
                self.machines[machine].member.timers[id.slot()] = Some((at, id));
            }
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                let changes = writes.into_iter().map(|write| self.values.change(write));
                let changes = changes.collect();
                self.machines[machine]
                    .member
                    .writer
                    .push(id, changes, durable);
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                use fairlane_replica::Store as _;
                let store = &self.machines[machine].member.store;
                match store.scan(table, &from, &to, rows_max, bytes_max) {
                    Ok(rows) => {
                        self.push(MILLISECOND, Happening::Loaded(machine, life, id, rows));
                    }
                    Err(error) => self.breach(format!("machine {machine} cannot read: {error}")),
                }
            }
            Effect::Compute { id, job } => {
                let cost = self.cpu.cost_ns(&job);
                let entropy = self.machines[machine].entropy().bytes32();
                let keys = &self.machines[machine].member.keys;
                let result = Box::new(fairlane_replica::run_job(keys, &job, &entropy));
                self.push(cost, Happening::Computed(machine, life, id, result));
            }
            Effect::Emit(block) => self.emitted(machine, &block),
            Effect::Reply { ticket, reply } => self.reply(machine, ticket, reply),
            Effect::EpochEnded(base) => {
                let after = self.rng.between(1, 150) * MILLISECOND;
                self.push(after, Happening::Cross(machine, life, base));
            }
            Effect::Halt(reason) => {
                if self.honest(machine) {
                    self.breach(format!("machine {machine} halts: {reason}"));
                }
            }
            Effect::Evidence(evidence) => {
                let convicted = evidence.accused();
                let honest = self.machines[machine]
                    .genesis
                    .members
                    .get(convicted.index());
                let accused = honest.and_then(|key| self.by_key.get(key)).copied();
                if accused.is_none_or(|accused| self.honest(accused)) {
                    self.breach(format!(
                        "machine {machine} has evidence against {convicted}"
                    ));
                }
            }
            Effect::Fault { peer, fault } => {
                let accused = self.machines[machine].genesis.members.get(peer.index());
                let accused = accused.and_then(|key| self.by_key.get(key)).copied();
                let about_change = matches!(fault.name(), "change" | "handover" | "dealing");
                if about_change
                    && self.honest(machine)
                    && accused.is_none_or(|accused| self.honest(accused))
                {
                    self.breach(format!("machine {machine} blames honest {peer}: {fault}"));
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: Peers, message: Arc<Message>) {
        let message = match self.plan.liar {
            Some((liar, lie)) if liar == from => match lie.instead(&message) {
                Some(message) => message,
                None => return,
            },
            _ => message,
        };
        let genesis = &self.machines[from].genesis;
        let (epoch, me) = (genesis.epoch(), self.machines[from].me);
        let receivers: Vec<usize> = (genesis.members.iter().enumerate())
            .filter(|(id, _)| match to {
                Peers::All => Some(MemberId(*id as u8)) != me,
                Peers::One(member) => member.index() == *id,
            })
            .filter_map(|(_, key)| self.by_key.get(key).copied())
            .collect();
        for to in receivers {
            if !self.have_link(from, to) {
                continue;
            }
            let after = self.rng.between(2_000, 12_000) * MICROSECOND;
            let message = Arc::clone(&message);
            let deliver = Happening::Deliver {
                from,
                to,
                epoch,
                message,
            };
            self.push(after, deliver);
        }
    }

    // ---- the sequence ----

    fn emitted(&mut self, machine: usize, block: &SequencedBlock) {
        if !self.honest(machine) {
            return;
        }
        let height = block.height.0;
        if height != self.next[machine] {
            let due = self.next[machine];
            self.breach(format!("machine {machine} emitted {height}, {due} was due"));
            return;
        }
        self.next[machine] += 1;
        match self.sequence.get(height as usize - 1) {
            Some(known) if known != block => {
                self.breach(format!("machine {machine} has another block at {height}"));
            }
            Some(_) => {}
            None => self.first(block),
        }
    }

    fn first(&mut self, block: &SequencedBlock) {
        self.trace.bytes(&block.root.0.0);
        let last = self.sequence.last();
        let last_epoch = last.map(|last| last.epoch.0);
        let chained = match last {
            Some(last) => {
                block.parent_root == last.root && block.first_position == last.next_position()
            }
            None => block.height == Height(1),
        };
        if !chained {
            self.breach(format!("height {} does not chain", block.height));
        }
        let epoch = block.epoch.0;
        if last_epoch.is_none_or(|last| last < epoch)
            && let Some(asked) = self.changed.get(&epoch)
        {
            let took = self.now.since(*asked) / MILLISECOND;
            self.report.switches_ms.push(took);
        }
        for item in &block.items {
            let Some(trade) = self.by_id.get(&item.ct_id).copied() else {
                self.breach(format!("{} is nobody's order", item.ct_id));
                continue;
            };
            if !self.settled.insert(trade) {
                self.breach(format!("order {trade} is in the sequence twice"));
            }
            if let Outcome::Opened { payload, .. } = &item.outcome
                && *payload != self.trades[trade].payload
            {
                self.breach(format!("order {trade} came out with another payload"));
            }
        }
        self.sequence.push(block.clone());
    }

    // ---- traders ----

    /// Lets traders begin once there is a key.
    fn open(&mut self) {
        let machines = self.machines.iter();
        let key = machines
            .filter(|m| m.me.is_some())
            .find_map(|m| m.member.keys.key());
        let Some(key) = key.cloned() else {
            self.push(20 * MILLISECOND, Happening::Open);
            return;
        };
        let workload = Workload {
            n: self.plan.committees[0].len(),
            orders: self.plan.orders,
            span_ms: 1_500 * self.plan.committees.len() as u64,
            start: Millis(START.0 + self.now.as_millis()),
            access_ms: 6,
            life_ms: 90_000,
        };
        let mut crypto = Crypto::new(Tier::Real, Sealing::Ideal, 0);
        let chain = self.machines[0].genesis.chain;
        self.trades = trades(self.plan.seed, &workload, chain, &key, &mut crypto);
        self.by_id = self.trades.iter().map(|t| (t.id, t.index)).collect();
        for trade in 0..self.trades.len() {
            let sent = self.trades[trade].sends.iter().map(|(_, at)| at.0).min();
            self.push(sent.unwrap_or_default(), Happening::Retry(trade));
        }
    }

    /// Members that a trader can reach: those of the last epoch that any is in.
    fn reachable(&self) -> Vec<usize> {
        let up = |m: &&Machine| m.member.up() && m.me.is_some();
        let epoch = self
            .machines
            .iter()
            .filter(up)
            .map(|m| m.genesis.epoch())
            .max();
        let all = self.machines.iter().enumerate();
        let in_it = all.filter(|(_, m)| up(m) && Some(m.genesis.epoch()) == epoch);
        in_it.map(|(machine, _)| machine).collect()
    }

    fn retry(&mut self, trade: usize) {
        if self.settled.contains(&trade) || self.refused.contains(&trade) {
            return;
        }
        let mut members = self.reachable();
        self.rng.shuffle(&mut members);
        let count = self.rng.between(1, members.len().max(1) as u64) as usize;
        for machine in members.into_iter().take(count) {
            let after = self.rng.between(1_000, 12_000) * MICROSECOND;
            self.push(after, Happening::Submit(trade, machine));
        }
        // Some are sent once, and rest on what was acknowledged.
        if !trade.is_multiple_of(3) || !self.acknowledged.contains_key(&trade) {
            self.push(RETRY_NS, Happening::Retry(trade));
        }
    }

    fn submit(&mut self, trade: usize, machine: usize) {
        if !self.machines[machine].member.up() {
            return;
        }
        let envelope = Arc::clone(&self.trades[trade].envelope);
        // The ticket names the trade: answers need no table.
        let ticket = Ticket(trade as u64);
        self.step(machine, Event::Submit { ticket, envelope });
    }

    fn reply(&mut self, machine: usize, Ticket(trade): Ticket, reply: Reply) {
        let trade = trade as usize;
        match reply {
            Reply::Receipt(receipt) if self.honest(machine) => {
                let m = &self.machines[machine];
                let check = receipt.signature_check(&m.identity.public());
                let bad = receipt.ct_id != self.trades[trade].id
                    || receipt.epoch != m.genesis.epoch()
                    || check.verify().is_err();
                if bad {
                    self.breach(format!("machine {machine} gave a receipt for nothing"));
                }
                self.acknowledged.entry(trade).or_default().insert(machine);
            }
            Reply::Refused(fairlane_replica::AdmissionError::BadProof)
                if self.trades[trade].kind != Kind::BadProof && self.honest(machine) =>
            {
                self.breach(format!("machine {machine} refuses good order {trade}"));
            }
            Reply::Refused(error) if is_final(&error) => {
                self.refused.insert(trade);
            }
            Reply::Refused(_) | Reply::Receipt(_) | Reply::Status(_) => {}
        }
    }

    // ---- committees ----

    /// The operators of a committee approve the next one and hand it to some members.
    fn change(&mut self, epoch: usize) {
        let Some(next) = self.plan.committees.get(epoch) else {
            return;
        };
        let before = &self.plan.committees[epoch - 1];
        let ready = |m: &usize| {
            let machine = &self.machines[*m];
            machine.member.up() && machine.genesis.epoch().0 + 1 == epoch as u64
        };
        let keyed = before
            .iter()
            .any(|m| self.machines[*m].member.keys.key().is_some());
        if before.iter().filter(|m| ready(m)).count() < 2 || !keyed {
            self.push(100 * MILLISECOND, Happening::Change(epoch));
            return;
        }
        let next = NextCommittee {
            chain: self.machines[0].genesis.chain,
            epoch: Epoch(epoch as u64),
            members: next.iter().map(|m| self.machines[*m].card()).collect(),
        };
        let mut approved = QuorumWord::default();
        let quorum = before.len() - (before.len() - 1) / 3;
        for (id, machine) in before.iter().enumerate().take(quorum) {
            let signature = next.approve(self.machines[*machine].identity.as_ref());
            approved.add(MemberId(id as u8), signature);
        }
        let change = Arc::new(CommitteeChange { next, approved });
        self.changed.entry(epoch as u64).or_insert(self.now);
        let asked: Vec<usize> = before.iter().copied().filter(ready).collect();
        for machine in asked {
            if self.rng.chance(600) {
                self.step(machine, Event::Change(Arc::clone(&change)));
            }
        }
        // Until it is in force operators ask again.
        let entered = |m: &Machine| m.genesis.epoch().0 >= epoch as u64;
        if !self.machines.iter().any(entered) {
            self.push(500 * MILLISECOND, Happening::Change(epoch));
        }
    }

    /// A machine that is behind looks for the next epoch on the disks of others.
    fn poll(&mut self, machine: usize) {
        let m = &self.machines[machine];
        if m.dead || !m.linked {
            return;
        }
        let next = m.genesis.epoch().next();
        let key = epoch_key(next);
        let others = (0..self.machines.len()).filter(|other| *other != machine);
        let mut others: Vec<usize> = others
            .filter(|o| self.machines[*o].linked && !self.machines[*o].dead)
            .collect();
        self.rng.shuffle(&mut others);
        for other in others {
            let (from, to) = (key.clone(), epoch_key(next.next()));
            let rows = self.machines[other].rows(Table::Epochs, &from, &to);
            let Some((_, row)) = rows.first() else {
                continue;
            };
            let Ok(base) = decode::<EpochBase>(row, fairlane_replica::EPOCH_BASE_BYTES_MAX) else {
                continue;
            };
            let (from, to) = (Height(1), base.genesis().base().next());
            let (from, to) = (height_key(from), height_key(to));
            let sequence = self.machines[other].rows(Table::Sequence, &from, &to);
            self.retire(machine);
            let m = &mut self.machines[machine];
            if let Err(error) = m.leave().and_then(|()| m.import(&sequence)) {
                self.breach(format!("machine {machine} cannot import: {error}"));
                return;
            }
            self.report.fetched += 1;
            self.cross(machine, &base);
            return;
        }
    }

    /// A process ends, and with it what it counted.
    fn retire(&mut self, machine: usize) {
        let replica = self.machines[machine].member.replica.as_ref();
        let refused = replica.map(|r| r.status().counters.dealings_refused);
        self.report.dealings_refused += refused.unwrap_or_default();
        self.machines[machine].stop();
    }

    /// Who has left hands what it acknowledged, and nobody has recorded, to those who stay.
    fn forward(&mut self, machine: usize) {
        let m = &self.machines[machine];
        if m.me.is_some() || m.dead || !m.linked {
            return;
        }
        let carried = m.carried.iter().filter_map(|id| self.by_id.get(id));
        let open: Vec<usize> = carried
            .copied()
            .filter(|t| !self.settled.contains(t))
            .collect();
        for trade in open {
            for member in self.reachable() {
                let after = self.rng.between(1_000, 12_000) * MICROSECOND;
                self.push(after, Happening::Submit(trade, member));
            }
        }
    }

    fn cross(&mut self, machine: usize, base: &EpochBase) {
        let m = &mut self.machines[machine];
        match m.leave().and_then(|()| m.cross(base)) {
            Ok(carried) => {
                self.report.carried += carried;
                let epoch = base.epoch().0;
                if epoch > self.report.epoch {
                    self.report.epoch = epoch;
                    self.push(TERM_NS, Happening::Change(epoch as usize + 1));
                }
                self.boot(machine);
            }
            Err(error) => self.breach(format!("machine {machine} cannot cross: {error}")),
        }
    }

    // ---- the end ----

    fn last_epoch(&self) -> u64 {
        self.plan.committees.len() as u64 - 1
    }

    fn is_over(&self) -> bool {
        let owed = |trade: &Trade| {
            let index = trade.index;
            let wanted = trade.kind != Kind::BadProof && !self.refused.contains(&index);
            (wanted || self.is_owed(index)) && !self.settled.contains(&index)
        };
        let tip = self.sequence.len() as u64;
        let last = &self.plan.committees[self.plan.committees.len() - 1];
        let there = last.iter().all(|machine| {
            let m = &self.machines[*machine];
            !self.honest(*machine)
                || m.dead
                || (m.member.up()
                    && m.genesis.epoch().0 == self.last_epoch()
                    && self.next[*machine] + 2 > tip
                    && tip > m.genesis.base().0 + 2)
        });
        !self.trades.is_empty() && there && !self.trades.iter().any(owed)
    }

    /// A receipt rests on one disk: it binds while that machine is not gone for good.
    fn is_owed(&self, trade: usize) -> bool {
        let mut machines = self.acknowledged.get(&trade).into_iter().flatten();
        let expiry = self.trades[trade].envelope.label.expiry;
        // A member that left can hand on only what others still take: not what has expired, or
        // whose nonce is used.
        let expired = expiry.0 < START.0 + self.now.as_millis();
        machines.any(|machine| {
            let m = &self.machines[*machine];
            let may_go_on = !expired && !self.refused.contains(&trade);
            !m.dead && (m.me.is_some() || may_go_on)
        })
    }

    fn verdict(mut self, live: bool) -> EpochsReport {
        for trade in 0..self.trades.len() {
            if self.is_owed(trade)
                && !self.settled.contains(&trade)
                && self.report.violations.is_empty()
            {
                let (kind, id) = (self.trades[trade].kind, self.trades[trade].id);
                let by = self.acknowledged.get(&trade).cloned().unwrap_or_default();
                let stages = by.iter().map(|machine| {
                    let m = &self.machines[*machine];
                    let stage = m.member.replica.as_ref().map(|replica| replica.stage(&id));
                    format!("machine {machine} in {}: {stage:?}", m.genesis.epoch())
                });
                let stages: Vec<_> = stages.collect();
                self.breach(format!(
                    "{kind:?} order {trade} was acknowledged and is lost: {stages:?}"
                ));
            }
        }
        if !live {
            let stands: Vec<_> = (self.machines.iter())
                .map(|m| {
                    let status = m.member.replica.as_ref().map(|r| {
                        let s = r.status();
                        (s.final_height.0, s.emitted_height.0, s.view.0, s.change)
                    });
                    format!("epoch {} {:?} {status:?}", m.genesis.epoch(), m.me)
                })
                .collect();
            let open: Vec<_> = (self.trades.iter())
                .filter(|t| !self.settled.contains(&t.index) && !self.refused.contains(&t.index))
                .map(|t| (t.index, t.kind))
                .collect();
            self.breach(format!(
                "no end in sight: {stands:#?}, open orders {open:?}"
            ));
        }
        let refused = |m: &Machine| {
            let status = m.member.replica.as_ref().map(|r| r.status());
            status.map_or(0, |s| s.counters.dealings_refused)
        };
        let mut report = self.report;
        report.dealings_refused += self.machines.iter().map(refused).sum::<u64>();
        report.heights = self.sequence.len() as u64;
        report.items = self.settled.len();
        report.acknowledged = self.acknowledged.len();
        report.ended = self.now;
        let root = self.sequence.last().map(|block| block.root.0.0);
        self.trace.bytes(&root.unwrap_or_default());
        report.trace_hash = self.trace.hash();
        report
    }
}

/// Whether asking again is of no use.
const fn is_final(error: &fairlane_replica::AdmissionError) -> bool {
    use fairlane_replica::AdmissionError as E;
    matches!(
        error,
        E::Expired { .. } | E::NonceUsed(_) | E::BadProof | E::AlreadySequenced
    )
}

type Keys = (Arc<SecretKey>, Arc<ReceiverSecret>);
type Shares = Vec<Arc<std::sync::OnceLock<Sharing>>>;

fn first_genesis(
    plan: &Epochs,
    first: &[usize],
    keys: &[Keys],
    secret: &mut Stream,
    rng: &mut Stream,
) -> (Genesis, Shares) {
    let n = first.len();
    let (key, shares) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), n, secret)
        .expect("invariant: a committee is small enough to deal to");
    let receivers = first
        .iter()
        .map(|m| ReceiverBytes(*keys[*m].1.key().bytes()));
    let encryption = if plan.ceremony {
        EncryptionParams::ceremony(receivers.collect())
    } else {
        EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes())
    };
    let key: Arc<SuiteKey> = Arc::new(key);
    let sharing = |share| Sharing::known(Arc::clone(&key), Arc::new(share), None);
    let shares = match plan.ceremony {
        true => Vec::new(),
        false => shares.into_iter().map(sharing).collect(),
    };
    let rules = [
        fairlane_types::OrderRule::Strong,
        fairlane_types::OrderRule::Arrival,
    ];
    let genesis = Genesis {
        chain: ChainId(0x6161),
        time: START,
        experiment: true,
        start: None,
        members: first.iter().map(|m| keys[*m].0.public()).collect(),
        encryption,
        // Made with the encryption key, or not at all.
        certificates: plan.ceremony.then(CertificateParams::ceremony),
        lanes: Default::default(),
        consensus: Default::default(),
        order: OrderParams {
            rule: rules[rng.below(2) as usize],
            snapshot_interval: [4, 16, 256][rng.below(3) as usize],
            ..Default::default()
        },
    };
    debug_assert_eq!(committee_of(&genesis).n(), n);
    (genesis, shares)
}
