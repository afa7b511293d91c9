//! The run: one queue of events, all members, the network between them, the traders, the
//! plan of faults, and the checkers that watch.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlane_replica::{
    AdmissionError, Class, Effect, Event, Evidence, Job, JobId, JobResult, LoadId, Message, Peers,
    Reply, Row, Store as _, Table, Ticket, TimerId, Write, WriteId, run_job,
};
use fairlane_types::{Envelope, Genesis, MemberId, Micros};

use crate::byz::{self, Act, Scene};
use crate::check::{Judge, Rule, facts};
use crate::cpu::CpuModel;
use crate::disk::DiskModel;
use crate::engine::{MICROSECOND, MILLISECOND, Nanos, Queue, Trace};
use crate::faults::{Fault, Plan};
use crate::marks::Mark;
use crate::member::Member;
use crate::net::{Arrival, Fabric, LinkModel, Released, Sent};
use crate::scenario::{Planted, Report, Scenario, Stats, committee, start};
use crate::workload::{Kind, Trade, Workload, trades};

/// A broken connection is tried again after this.
const RECONNECT_NS: u64 = 120 * MILLISECOND;
/// A read from disk takes this long.
const LOAD_NS: u64 = 100 * MICROSECOND;
/// Times that a trader sends an order again.
const ATTEMPTS_MAX: u32 = 200;
/// Suspicious reports that are kept.
const SUSPICIOUS_MAX: usize = 8;

/// An event of the run; whatever belongs to a member names the life it belongs to.
#[derive(Debug)]
enum Happening {
    Fault(usize),
    Boot(usize),
    Connect(usize, usize),
    Frame {
        from: usize,
        to: usize,
        class: Class,
        sent: Sent,
        bytes: Arc<[u8]>,
    },
    Timer {
        node: usize,
        life: u32,
        id: TimerId,
        setting: u64,
    },
    Stored {
        node: usize,
        life: u32,
    },
    Early {
        node: usize,
        life: u32,
        id: WriteId,
    },
    Loaded {
        node: usize,
        life: u32,
        id: LoadId,
        rows: Vec<Row>,
    },
    Computed {
        node: usize,
        life: u32,
        id: JobId,
        result: Box<JobResult>,
    },
    Submit {
        trade: usize,
        node: usize,
    },
    Impatient {
        trade: usize,
    },
}

/// What a trader knows of an order.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    acknowledged: bool,
    /// Refused for good.
    refused: bool,
    attempts: u32,
}

/// A run under way.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    genesis: Genesis,
    queue: Queue<Happening>,
    now: Nanos,
    trace: Trace,
    fabric: Fabric<Happening>,
    members: Vec<Member>,
    all_keys: Vec<fairlane_replica::CryptoContext>,
    honest: Vec<bool>,
    cpu: CpuModel,
    judge: Judge,
    plan: Plan,
    trades: Vec<Trade>,
    standing: Vec<Standing>,
    /// Pairs with a reconnection under way.
    connecting: BTreeSet<(usize, usize)>,
    stats: Stats,
    suspicious: Vec<String>,
    choices: crate::engine::Stream,
}

impl World {
    /// Everything a scenario says, ready to run.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let options = scenario.options();
        let (genesis, keys) = committee(scenario, &options);
        let n = scenario.n;
        let workload = Workload {
            n,
            orders: scenario.orders,
            span_ms: options.span_ms,
            start: crate::scenario::START,
            access_ms: 6,
        };
        let trades = trades(scenario.seed, &workload, genesis.chain, &keys[0].key);
        let mut honest = vec![true; n];
        let mut members: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(index, keys)| {
                Member::new(
                    index,
                    scenario.seed,
                    &genesis,
                    keys.clone(),
                    DiskModel::default(),
                    start(),
                )
            })
            .collect();
        for (liar, name) in &options.liars {
            members[*liar].behaviour = byz::behaviour(name);
            honest[*liar] = false;
        }
        if scenario.planted == Some(Planted::SharesBeforeFinal) {
            for member in &mut members {
                member.behaviour = byz::behaviour("early-shares");
            }
        }
        let delay_ns = options.delay_ms * MILLISECOND;
        let fabric = Fabric::new(n, scenario.seed, |_, _| {
            let mut model = LinkModel::new(delay_ns, delay_ns * 3 / 2);
            model.loss_per_mille = options.loss_per_mille;
            model
        });
        let judge = Judge::new(&genesis, honest.clone(), &trades);
        let standing = vec![Standing::default(); trades.len()];
        let choices = crate::engine::Stream::new(
            scenario.seed,
            crate::engine::Owner::World,
            crate::engine::Purpose::Access,
        );
        Self {
            scenario: scenario.clone(),
            genesis,
            queue: Queue::default(),
            now: Nanos(0),
            trace: Trace::default(),
            fabric,
            members,
            all_keys: keys,
            honest,
            cpu: CpuModel::default(),
            judge,
            plan: options.plan,
            trades,
            standing,
            connecting: BTreeSet::new(),
            stats: Stats::default(),
            suspicious: Vec::new(),
            choices,
        }
    }

    /// Runs until all is well after the last fault, a rule is broken, or patience ends.
    #[must_use]
    pub fn run(mut self) -> Report {
        let healed = self.plan.faults.last().map_or(Nanos(0), |timed| timed.at);
        for (index, timed) in self.plan.faults.iter().enumerate() {
            self.queue.push(timed.at, 0, Happening::Fault(index));
        }
        for node in 0..self.members.len() {
            self.queue.push(Nanos(0), 1, Happening::Boot(node));
        }
        let mut last_send = Nanos(0);
        for trade in &self.trades {
            for (node, at) in &trade.sends {
                let submit = Happening::Submit {
                    trade: trade.index,
                    node: *node,
                };
                self.queue.push(*at, 2, submit);
                last_send = last_send.max(*at);
            }
            let first = trade
                .sends
                .iter()
                .map(|(_, at)| *at)
                .max()
                .unwrap_or_default();
            let impatient = Happening::Impatient { trade: trade.index };
            self.queue.push(first.plus(trade.patience_ns), 2, impatient);
        }
        let calm = healed.max(last_send);
        let end = calm.plus(self.scenario.patience_ms * MILLISECOND);
        let (mut goal, mut live) = (None, false);
        let mut looked = Nanos(0);
        while let Some((key, happening)) = self.queue.pop() {
            if key.time > end || self.judge.failed() {
                break;
            }
            self.now = key.time;
            self.judge.at(self.now);
            self.happen(key.tie, happening);
            if self.now >= calm && self.now.since(looked) >= 10 * MILLISECOND {
                looked = self.now;
                // Two heights beyond what anyone had when all was healed.
                let goal = *goal.get_or_insert(self.judge.tip() + 2);
                if self.well(goal) {
                    live = true;
                    break;
                }
            }
        }
        self.report(live)
    }

    /// Every order has its answer, and every honest member has emitted what it owes.
    fn well(&self, goal: u64) -> bool {
        let answered = self
            .standing
            .iter()
            .all(|standing| standing.acknowledged || standing.refused);
        answered
            && (0..self.members.len())
                .filter(|node| self.honest[*node])
                .all(|node| {
                    self.members[node].up()
                        && self.judge.height(node) >= goal
                        && self.judge.owed(node) == 0
                })
    }

    fn report(mut self, live: bool) -> Report {
        let failed = self.judge.failed();
        self.stats.events = self.trace.events();
        self.stats.virtual_ms = self.now.as_millis();
        self.stats.heights = self.judge.tip();
        self.stats.items = self.judge.items() as u64;
        self.stats.acknowledged = self.standing.iter().filter(|s| s.acknowledged).count() as u64;
        let root = self.judge.root();
        self.trace.bytes(&root);
        let (violations, marks) = if failed {
            self.judge.stop()
        } else {
            self.judge.verdict(live)
        };
        Report {
            replay: self.scenario.replay(),
            violations,
            marks,
            trace_hash: self.trace.hash(),
            root,
            stats: self.stats,
            suspicious: self.suspicious,
        }
    }

    fn happen(&mut self, tie: u32, happening: Happening) {
        if let Some((node, life)) = happening.owner() {
            if life.is_some_and(|life| life != self.members[node].life) {
                return;
            }
            let until = self.members[node].paused_until;
            if until > self.now {
                self.queue.push(until, tie, happening);
                return;
            }
        }
        let (node, kind, content) = happening.digest();
        self.trace.event(self.now, node, kind, content);
        match happening {
            Happening::Fault(index) => {
                let fault = self.plan.faults[index].fault.clone();
                self.fault(&fault);
            }
            Happening::Boot(node) => self.boot(node),
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Frame {
                from,
                to,
                class,
                sent,
                bytes,
            } => {
                self.frame(from, to, class, sent, &bytes);
            }
            Happening::Timer {
                node, id, setting, ..
            } => self.timer(node, id, setting),
            Happening::Stored { node, .. } => self.stored(node),
            Happening::Early { node, id, .. } => self.step(node, Event::Stored(id)),
            Happening::Loaded { node, id, rows, .. } => self.step(node, Event::Loaded { id, rows }),
            Happening::Computed {
                node, id, result, ..
            } => {
                self.members[node].cpu.finish();
                self.start_jobs(node);
                self.step(
                    node,
                    Event::Computed {
                        id,
                        result: *result,
                    },
                );
            }
            Happening::Submit { trade, node } => self.submit(trade, node),
            Happening::Impatient { trade } => self.impatient(trade),
        }
    }

    // ---- members ----

    fn boot(&mut self, node: usize) {
        if self.members[node].up() {
            return;
        }
        if self.scenario.planted == Some(Planted::SafetyForgotten) && self.members[node].life > 0 {
            self.members[node].store.wipe(Table::Safety);
        }
        if let Err(error) = self.members[node].start() {
            self.judge
                .break_rule(Rule::Halt, node, format!("does not start: {error}"));
            return;
        }
        self.judge.started(node);
        self.step(node, Event::Start);
        for peer in 0..self.members.len() {
            if peer != node && self.members[peer].up() {
                self.reconnect(node, peer, 5 * MILLISECOND);
            }
        }
    }

    fn crash(&mut self, node: usize) {
        if !self.members[node].up() {
            return;
        }
        let (lost, durable) = self.members[node].crash();
        if lost > 0 {
            self.judge.mark(Mark::LostWrites);
        }
        self.note_durable(node, &durable);
        for peer in 0..self.members.len() {
            if peer != node && self.fabric.disconnect(node, peer) {
                self.judge.mark(Mark::ConnectionLost);
            }
        }
        if self.members.iter().all(|member| !member.up()) {
            self.judge.mark(Mark::AllDown);
        }
    }

    fn step(&mut self, node: usize, event: Event) {
        let effects = self.members[node].step(self.now, event);
        for effect in effects {
            for act in self.acts(node, effect) {
                match act {
                    Act::Effect(effect) => self.effect(node, effect),
                    Act::Raw { to, class, frame } => {
                        self.transmit(node, to.index(), class, &frame.into());
                    }
                }
            }
        }
        self.start_writes(node);
        self.start_jobs(node);
    }

    /// What leaves instead of an effect, at a misbehaving member.
    fn acts(&mut self, node: usize, effect: Effect) -> Vec<Act> {
        let member = &mut self.members[node];
        let Some(behaviour) = &mut member.behaviour else {
            return vec![Act::Effect(effect)];
        };
        let mut scene = Scene {
            keys: &member.keys,
            all: &self.all_keys,
            rng: &mut member.choices,
        };
        behaviour.act(&mut scene, effect)
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(node, to, &message),
            Effect::SetTimer { id, at } => self.set_timer(node, id, at),
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                let life = self.members[node].life;
                if self.scenario.planted == Some(Planted::SendBeforeStored) {
                    self.queue
                        .push(self.now, 3, Happening::Early { node, life, id });
                }
                self.members[node].writer.push(id, writes, durable);
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                let member = &self.members[node];
                let (life, at) = (member.life, self.now.plus(LOAD_NS));
                match member.store.scan(table, &from, &to, rows_max, bytes_max) {
                    Ok(rows) => self.queue.push(
                        at,
                        3,
                        Happening::Loaded {
                            node,
                            life,
                            id,
                            rows,
                        },
                    ),
                    Err(error) => self.judge.break_rule(Rule::Halt, node, error.to_string()),
                }
            }
            Effect::Compute { id, job } => self.members[node].cpu.push(id, job),
            Effect::Emit(block) => {
                self.trace.bytes(&block.root.0.0);
                self.judge.emitted(node, &block);
            }
            Effect::Reply { ticket, reply } => self.reply(node, ticket, reply),
            Effect::Evidence(evidence) => self.evidence(node, &evidence),
            Effect::Fault { peer, fault } => {
                self.judge.mark(Mark::PeerFault);
                if self.honest[node] && self.honest[peer.index()] {
                    self.stats.honest_faults += 1;
                    self.suspect(format!("{} member {node} about {peer}: {fault}", self.now));
                }
            }
            Effect::Halt(reason) => {
                if self.honest[node] {
                    self.judge.break_rule(Rule::Halt, node, reason);
                }
                self.crash(node);
            }
        }
    }

    fn evidence(&mut self, node: usize, evidence: &Evidence) {
        let keys = &self.members[node].keys;
        match evidence.verify(keys.chain, keys.epoch, &keys.committee, &keys.key) {
            Ok(offender) if self.honest[offender.index()] => {
                let what = format!("evidence convicts the honest member {offender}: {evidence:?}");
                self.judge.break_rule(Rule::Contradiction, node, what);
            }
            Ok(_) => self.judge.mark(match evidence {
                Evidence::LaneFork(_) => Mark::ForkEvidence,
                Evidence::FalseShares(_) => Mark::ShareBlame,
                Evidence::Consensus(_) => Mark::VoteEvidence,
            }),
            Err(error) if self.honest[node] => {
                let what = format!("evidence that convicts nobody: {error}");
                self.judge.break_rule(Rule::Contradiction, node, what);
            }
            Err(_) => {}
        }
    }

    fn suspect(&mut self, what: String) {
        if self.suspicious.len() < SUSPICIOUS_MAX {
            self.suspicious.push(what);
        }
    }

    fn set_timer(&mut self, node: usize, id: TimerId, at: Micros) {
        let member = &mut self.members[node];
        let setting = member.fresh();
        member.timers.insert(id, (at, setting));
        let when = member.clock.reach(self.now, at);
        let life = member.life;
        self.queue.push(
            when,
            4,
            Happening::Timer {
                node,
                life,
                id,
                setting,
            },
        );
    }

    fn timer(&mut self, node: usize, id: TimerId, setting: u64) {
        let member = &mut self.members[node];
        let Some((at, last)) = member.timers.get(&id).copied() else {
            return;
        };
        if last != setting {
            return;
        }
        if member.clock.read(self.now) < at {
            // The clock was stepped back meanwhile.
            let when = member
                .clock
                .reach(self.now, at)
                .max(self.now.plus(MICROSECOND));
            let life = member.life;
            self.queue.push(
                when,
                4,
                Happening::Timer {
                    node,
                    life,
                    id,
                    setting,
                },
            );
            return;
        }
        member.timers.remove(&id);
        self.step(node, Event::Timer(id));
    }

    // ---- disk and cores ----

    fn start_writes(&mut self, node: usize) {
        let member = &mut self.members[node];
        let life = member.life;
        match member
            .writer
            .start(self.now, &mut member.store, &mut member.disk)
        {
            Ok(Some(at)) => self.queue.push(at, 3, Happening::Stored { node, life }),
            Ok(None) => {}
            // A full disk stops the member; the plan gives it room again.
            Err(_) => self.crash(node),
        }
    }

    fn stored(&mut self, node: usize) {
        let member = &mut self.members[node];
        let (ids, durable) = member.writer.finish(&mut member.store);
        self.note_durable(node, &durable);
        let early = self.scenario.planted == Some(Planted::SendBeforeStored);
        for id in ids {
            if !early {
                self.step(node, Event::Stored(id));
            }
        }
        self.start_writes(node);
    }

    fn note_durable(&mut self, node: usize, writes: &[Write]) {
        for write in writes {
            self.judge.synced(node, write);
        }
    }

    fn start_jobs(&mut self, node: usize) {
        let cores = self.cpu.cores;
        let member = &mut self.members[node];
        while let Some((id, job)) = member.cpu.start(cores) {
            let at = self.now.plus(self.cpu.cost_ns(&job));
            let result = Box::new(compute(member, &job));
            let life = member.life;
            self.queue.push(
                at,
                3,
                Happening::Computed {
                    node,
                    life,
                    id,
                    result,
                },
            );
        }
    }

    // ---- network ----

    fn send(&mut self, node: usize, to: Peers, message: &Message) {
        if let Some(fact) = facts(message) {
            self.judge.said(node, &fact);
        }
        let frame: Arc<[u8]> = message.to_frame().into();
        let class = message.class();
        match to {
            Peers::One(to) => self.transmit(node, to.index(), class, &frame),
            Peers::All => {
                for to in 0..self.members.len() {
                    self.transmit(node, to, class, &frame);
                }
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, class: Class, frame: &Arc<[u8]>) {
        if from == to || to >= self.members.len() {
            return;
        }
        let was = self.fabric.connected(from, to);
        match self
            .fabric
            .send(self.now, (from, to), class, frame.len() as u64)
        {
            Some(sent) => {
                let bytes = Arc::clone(frame);
                self.queue.push(
                    sent.at,
                    5,
                    Happening::Frame {
                        from,
                        to,
                        class,
                        sent,
                        bytes,
                    },
                );
            }
            None if was => self.lost(from, to),
            None => {}
        }
    }

    fn frame(&mut self, from: usize, to: usize, class: Class, sent: Sent, bytes: &Arc<[u8]>) {
        let size = bytes.len() as u64;
        let arrival = self
            .fabric
            .arrive((from, to), class, sent, size, || Happening::Frame {
                from,
                to,
                class,
                sent,
                bytes: Arc::clone(bytes),
            });
        if arrival != Arrival::Deliver {
            return;
        }
        self.stats.frames += 1;
        self.stats.bytes += size;
        match Message::from_frame(class, bytes) {
            Ok(message) => {
                let from = MemberId(from as u8);
                self.step(to, Event::Message { from, message });
            }
            Err(error) => {
                // As the node's transport does: count it and drop the connection.
                self.judge.mark(Mark::PeerFault);
                if self.honest[from] {
                    self.judge
                        .break_rule(Rule::Halt, from, format!("sent a bad frame: {error}"));
                }
                self.fabric.disconnect(from, to);
                self.lost(from, to);
            }
        }
    }

    /// A connection broke: it is tried again.
    fn lost(&mut self, a: usize, b: usize) {
        self.judge.mark(Mark::ConnectionLost);
        self.reconnect(a, b, RECONNECT_NS);
    }

    fn reconnect(&mut self, a: usize, b: usize, after_ns: u64) {
        let pair = (a.min(b), a.max(b));
        if self.connecting.insert(pair) {
            let at = self.now.plus(after_ns);
            self.queue.push(at, 1, Happening::Connect(pair.0, pair.1));
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.connecting.remove(&(a, b));
        if !self.members[a].up() || !self.members[b].up() {
            // Whoever starts again connects again.
            return;
        }
        let paused = [a, b]
            .iter()
            .any(|i| self.members[*i].paused_until > self.now);
        if !self.fabric.passable(a, b) || paused {
            self.reconnect(a, b, RECONNECT_NS);
            return;
        }
        if self.fabric.connect(a, b) {
            self.step(a, Event::Connected(MemberId(b as u8)));
            self.step(b, Event::Connected(MemberId(a as u8)));
        }
    }

    // ---- traders ----

    fn submit(&mut self, trade: usize, node: usize) {
        if !self.members[node].up() {
            return;
        }
        let envelope: Arc<Envelope> = Arc::clone(&self.trades[trade].envelope);
        let member = &mut self.members[node];
        let ticket = Ticket(member.fresh());
        member.tickets.insert(ticket, trade);
        self.step(node, Event::Submit { ticket, envelope });
    }

    fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let Some(trade) = self.members[node].tickets.remove(&ticket) else {
            self.judge.break_rule(
                Rule::Receipt,
                node,
                "an answer to a request that nobody made, or a second one",
            );
            return;
        };
        let bad = self.trades[trade].kind == Kind::BadProof;
        match reply {
            Reply::Receipt(receipt) => {
                if self.honest[node] {
                    let key = self.genesis.members[node];
                    let for_it = receipt.ct_id == self.trades[trade].envelope.id();
                    if bad || !for_it || receipt.signature_check(&key).verify().is_err() {
                        self.judge
                            .break_rule(Rule::Receipt, node, "a receipt that proves nothing");
                    }
                    self.judge.acknowledged(node, &receipt);
                    self.standing[trade].acknowledged = true;
                }
            }
            Reply::Refused(error) => {
                self.judge.mark(Mark::Refused);
                if self.honest[node] {
                    self.refused(node, trade, &error);
                }
            }
            Reply::Status(_) => {}
        }
    }

    fn refused(&mut self, node: usize, trade: usize, error: &AdmissionError) {
        let id = self.trades[trade].envelope.id();
        let kind = self.trades[trade].kind;
        let fits = match error {
            AdmissionError::OverQuota { .. } | AdmissionError::OverCapacity { .. } => return,
            AdmissionError::BadProof => kind == Kind::BadProof,
            AdmissionError::Expired { .. } => kind == Kind::ShortLived,
            AdmissionError::NonceUsed(_) => self.nonce_is_shared(trade),
            AdmissionError::AlreadySequenced => {
                self.judge.settled(&id) && !self.judge.has_receipt(node, &id)
            }
            _ => false,
        };
        self.standing[trade].refused = true;
        if !fits {
            let what = format!("{kind:?} order {id} refused: {error}");
            self.judge.break_rule(Rule::Receipt, node, what);
        }
    }

    fn nonce_is_shared(&self, trade: usize) -> bool {
        let label = &self.trades[trade].envelope.label;
        self.trades.iter().any(|other| {
            let theirs = &other.envelope.label;
            other.index != trade && (theirs.sender, theirs.nonce) == (label.sender, label.nonce)
        })
    }

    /// No receipt in time, or a trader who wants to be sure.
    fn impatient(&mut self, trade: usize) {
        let standing = &mut self.standing[trade];
        standing.attempts += 1;
        let sure = standing.acknowledged || standing.refused;
        let done = sure && standing.attempts > 1;
        if done || standing.attempts > ATTEMPTS_MAX || (sure && !self.choices.chance(300)) {
            return;
        }
        self.judge.mark(Mark::Resubmitted);
        let n = self.members.len();
        let members: Vec<_> = if sure {
            self.trades[trade]
                .sends
                .iter()
                .map(|(node, _)| *node)
                .collect()
        } else {
            vec![self.choices.below(n as u64) as usize]
        };
        for node in members {
            let at = self.now.plus(self.choices.between(1, 20) * MILLISECOND);
            self.queue.push(at, 2, Happening::Submit { trade, node });
        }
        let at = self.now.plus(self.trades[trade].patience_ns);
        self.queue.push(at, 2, Happening::Impatient { trade });
    }

    // ---- faults ----

    fn fault(&mut self, fault: &Fault) {
        let n = self.members.len();
        match fault {
            Fault::Crash(node) => self.crash(*node),
            Fault::CrashAll => (0..n).for_each(|node| self.crash(node)),
            Fault::Restart(node) => self.boot(*node),
            Fault::RestartAll => {
                for node in 0..n {
                    self.members[node].store.set_budget(None);
                    self.boot(node);
                }
            }
            Fault::Partition(side) => {
                for (from, to) in pairs(n) {
                    if side.contains(&from) != side.contains(&to) {
                        self.fabric.block(self.now, from, to);
                    }
                }
            }
            Fault::Block(from, to) => self.fabric.block(self.now, *from, *to),
            Fault::Heal => self.heal(),
            Fault::Reset(a, b) => {
                if self.fabric.disconnect(*a, *b) {
                    self.lost(*a, *b);
                }
            }
            Fault::Loss(per_mille) => {
                for (from, to) in pairs(n) {
                    self.fabric.model_mut(from, to).loss_per_mille = *per_mille;
                }
            }
            Fault::Slow(node, factor) => {
                for peer in 0..n {
                    for (from, to) in [(*node, peer), (peer, *node)] {
                        let model = self.fabric.model_mut(from, to);
                        model.latency = model.latency.scaled(*factor);
                    }
                }
            }
            Fault::SlowDisk(node, factor) => self.members[*node].writer.slow_down(*factor),
            Fault::Pause(node, ms) => {
                let until = self.now.plus(ms * MILLISECOND);
                let member = &mut self.members[*node];
                member.paused_until = member.paused_until.max(until);
            }
            Fault::ClockStep(node, ms) => self.members[*node].clock.step(ms * 1_000),
            Fault::DiskBudget(node, bytes) => {
                let store = &mut self.members[*node].store;
                let room = store.bytes() + bytes;
                store.set_budget(Some(room));
            }
        }
    }

    fn heal(&mut self) {
        let n = self.members.len();
        for member in &mut self.members {
            member.writer.slow_down(1);
        }
        for (from, to) in pairs(n) {
            self.fabric.restore(from, to);
            match self.fabric.unblock(self.now, from, to) {
                Released::Frames(frames) => {
                    for (_, sent, _, happening) in frames {
                        if let Happening::Frame {
                            from,
                            to,
                            class,
                            bytes,
                            ..
                        } = happening
                        {
                            let again = Happening::Frame {
                                from,
                                to,
                                class,
                                sent,
                                bytes,
                            };
                            self.queue.push(sent.at, 5, again);
                        }
                    }
                }
                Released::Gone => {
                    self.judge.mark(Mark::LongPartition);
                    self.lost(from, to);
                }
            }
        }
    }
}

impl Happening {
    /// The member that handles it, and the life it belongs to.
    const fn owner(&self) -> Option<(usize, Option<u32>)> {
        match self {
            Self::Timer { node, life, .. }
            | Self::Stored { node, life }
            | Self::Early { node, life, .. }
            | Self::Loaded { node, life, .. }
            | Self::Computed { node, life, .. } => Some((*node, Some(*life))),
            Self::Frame { to, .. } => Some((*to, None)),
            Self::Submit { node, .. } => Some((*node, None)),
            Self::Fault(_) | Self::Boot(_) | Self::Connect(..) | Self::Impatient { .. } => None,
        }
    }

    /// Where, what kind, and a word of its content, for the trace.
    fn digest(&self) -> (usize, u32, u64) {
        match self {
            Self::Fault(index) => (0, 1, *index as u64),
            Self::Boot(node) => (*node, 2, 0),
            Self::Connect(a, b) => (*a, 3, *b as u64),
            Self::Frame {
                from,
                to,
                class,
                bytes,
                ..
            } => {
                let head = bytes
                    .iter()
                    .take(64)
                    .fold(bytes.len() as u64, |hash, byte| {
                        hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
                    });
                (
                    *to,
                    4 + (u32::from(class.code()) << 8),
                    head ^ ((*from as u64) << 56),
                )
            }
            Self::Timer { node, setting, .. } => (*node, 5, *setting),
            Self::Stored { node, .. } => (*node, 6, 0),
            Self::Early { node, id, .. } => (*node, 7, id.0),
            Self::Loaded { node, id, rows, .. } => (*node, 8, id.0 ^ ((rows.len() as u64) << 32)),
            Self::Computed { node, id, .. } => (*node, 9, id.0),
            Self::Submit { trade, node } => (*node, 10, *trade as u64),
            Self::Impatient { trade } => (0, 11, *trade as u64),
        }
    }
}

/// Runs a job with the member's keys and seeded entropy.
fn compute(member: &mut Member, job: &Job) -> JobResult {
    let entropy = member.entropy.bytes32();
    run_job(&member.keys, job, &entropy)
}

/// Every directed pair.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n * n)
        .map(move |index| (index / n, index % n))
        .filter(|(a, b)| a != b)
}
