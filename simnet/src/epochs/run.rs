//! The events of a run with changing committees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::ReceiverSecret;
use fairlane_replica::{Effect, EpochBase, Event, JobId, JobResult, LoadId, Message, Peers, Row};
use fairlane_types::{
    CtId, Epoch, Handover, Height, KeyId, MemberId, Outcome, SecretKey, SequencedBlock,
};

use crate::cpu::CpuModel;
use crate::disk::Values;
use crate::engine::{MICROSECOND, MILLISECOND, Nanos, Owner, Purpose, Queue, Stream, Trace};
use crate::workload::{Kind, Trade};

use super::early::Released;
use super::first::first_genesis;
use super::machine::Machine;
use super::{Epochs, EpochsReport};

/// The end of a run that does not get there.
const PATIENCE_MS: u64 = 90_000;
/// An operator looks this often whether a machine belongs to a later epoch.
const POLL_NS: u64 = 250 * MILLISECOND;
/// A change is handed in so long after its committee took over.
pub(super) const TERM_NS: u64 = 700 * MILLISECOND;
/// No faults begin after this.
const FAULTS_MS: u64 = 12_000;

#[derive(Debug)]
pub(super) enum Happening {
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
    Kill(usize, u32, u64),
    Poll(usize),
    Leave(usize, u32, Arc<Handover>),
}

pub(super) struct Run<'a> {
    pub(super) plan: &'a Epochs,
    pub(super) rng: Stream,
    pub(super) now: Nanos,
    pub(super) queue: Queue<Happening>,
    pub(super) trace: Trace,
    pub(super) machines: Vec<Machine>,
    pub(super) cpu: CpuModel,
    pub(super) values: Values,
    /// Who has which identity.
    pub(super) by_key: BTreeMap<fairlane_types::PublicKey, usize>,
    pub(super) sequence: Vec<SequencedBlock>,
    /// Per machine the next height that it emits.
    pub(super) next: Vec<u64>,
    pub(super) trades: Vec<Trade>,
    pub(super) by_id: BTreeMap<CtId, usize>,
    pub(super) settled: BTreeSet<usize>,
    /// What is in the sequence: of an order that was sealed again maybe both.
    recorded: BTreeSet<CtId>,
    /// Orders that came out as what was sealed, or as undecryptable: their nonce is used.
    burned: BTreeSet<usize>,
    /// Orders as they were before they were sealed again, and who acknowledged them.
    pub(super) former: Vec<(CtId, usize, BTreeSet<usize>)>,
    /// All orders, sealed to one key each.
    pub(super) sealed: BTreeMap<KeyId, Vec<Trade>>,
    /// Orders and the honest machines that acknowledged them.
    pub(super) acknowledged: BTreeMap<usize, BTreeSet<usize>>,
    pub(super) refused: BTreeSet<usize>,
    pub(super) changed: BTreeMap<u64, Nanos>,
    /// What honest machines sent shares of.
    pub(super) released: Released,
    /// What later epochs began with, with the dealings.
    pub(super) bases: BTreeMap<Epoch, Arc<EpochBase>>,
    /// Where machines are killed while they cross.
    pub(super) torn: Stream,
    /// When traders began.
    pub(super) opened_at: Nanos,
    pub(super) report: EpochsReport,
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
            recorded: BTreeSet::new(),
            burned: BTreeSet::new(),
            former: Vec::new(),
            sealed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            refused: BTreeSet::new(),
            changed: BTreeMap::new(),
            released: Released::default(),
            bases: BTreeMap::new(),
            torn: Stream::new(plan.seed, Owner::World, Purpose::Crash),
            opened_at: Nanos(0),
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
        if self.plan.liars.is_empty() && self.rng.chance(300) {
            let machine = self.rng.below(self.machines.len() as u64) as usize;
            let at = self.rng.between(300, FAULTS_MS / 3) * MILLISECOND;
            self.push(at, Happening::Crash(machine, 0));
        }
    }

    pub(super) fn honest(&self, machine: usize) -> bool {
        self.plan.liars.iter().all(|(liar, _)| *liar != machine)
    }

    /// Whether an order came out, under whichever key.
    pub(super) fn burned(&self, trade: usize) -> bool {
        self.burned.contains(&trade)
    }

    /// Whether an order is in the sequence.
    pub(super) fn is_recorded(&self, id: &CtId) -> bool {
        self.recorded.contains(id)
    }

    pub(super) fn breach(&mut self, what: String) {
        let what = format!("{} {what}", self.now);
        self.report.violations.push(what);
    }

    pub(super) fn push(&mut self, after: u64, happening: Happening) {
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
            Happening::Kill(machine, life, span) if alive(machine, life) => {
                self.crash(machine, span);
            }
            Happening::Poll(machine) => {
                self.poll(machine);
                self.forward(machine);
                self.push(POLL_NS, Happening::Poll(machine));
            }
            Happening::Leave(machine, life, word) if alive(machine, life) => {
                self.leave(machine, &word);
            }
            // Of an earlier life.
            _ => {}
        }
    }

    pub(super) fn boot(&mut self, machine: usize) {
        let m = &self.machines[machine];
        if m.dead || m.member.up() {
            return;
        }
        self.settle(machine);
        let m = &mut self.machines[machine];
        if m.me.is_none() || m.has_left() {
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

    pub(super) fn step(&mut self, machine: usize, event: Event) {
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
            Effect::EpochEnded(base) if self.has_the_last_word(machine) => {
                self.last_word(machine, &base.handover);
            }
            Effect::EpochEnded(base) => {
                let after = self.rng.between(1, 150) * MILLISECOND;
                let known = self.bases.entry(base.epoch());
                known.or_insert_with(|| Arc::clone(&base));
                self.push(after, Happening::Cross(machine, life, base));
            }
            Effect::KeyOver => self.key_over(machine),
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
        let lie = self.plan.liars.iter().find(|(liar, _)| *liar == from);
        let lie = lie.map(|(_, lie)| *lie);
        let genesis = &self.machines[from].genesis;
        let message = match lie {
            None => {
                self.revealed(from, &message);
                message
            }
            Some(lie) => {
                let key = self.machines[from].identity.as_ref();
                let told = lie.instead(&message, (key, genesis.chain, genesis.epoch()));
                let other = told
                    .as_ref()
                    .is_none_or(|told| !Arc::ptr_eq(told, &message));
                self.report.lies += u64::from(other);
                match told {
                    Some(message) => message,
                    None => return,
                }
            }
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
        let few = lie.and_then(|lie| lie.few(&message, genesis.members.len()));
        let few = few.unwrap_or(receivers.len());
        self.report.lies += u64::from(few < receivers.len());
        for to in receivers.into_iter().take(few) {
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
            if !self.recorded.insert(item.ct_id) {
                self.breach(format!("order {trade} is in the sequence twice"));
            }
            let burns = matches!(
                item.outcome,
                Outcome::Opened { .. } | Outcome::Undecryptable
            );
            if burns && !self.burned.insert(trade) {
                self.breach(format!("order {trade} came out under two keys"));
            }
            // The one that was sealed first may have left without shares: the other counts.
            if burns || item.ct_id == self.trades[trade].id {
                self.settled.insert(trade);
            }
            if let Outcome::Opened { payload, .. } = &item.outcome
                && *payload != self.trades[trade].payload
            {
                self.breach(format!("order {trade} came out with another payload"));
            }
        }
        self.count_keys(block);
        self.sequence.push(block.clone());
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
                    && tip > m.genesis.base().0 + 2
                    && (m.genesis.former_key().is_none() || !m.has_former_share()))
        });
        let nothing_lost = || self.lost_before().is_empty();
        !self.trades.is_empty() && there && !self.trades.iter().any(owed) && nothing_lost()
    }

    fn verdict(mut self, live: bool) -> EpochsReport {
        if self.report.violations.is_empty() {
            self.search_disks();
            self.judge_released();
        }
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
        for trade in self.lost_before() {
            self.breach(format!(
                "order {trade} was acknowledged under a former key and is lost"
            ));
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
