//! The run: one queue of events, all members, the network between them, the traders, the
//! plan of faults, and the checkers that watch.

mod ceremony;
mod execution;
mod faults;
mod frame;
mod happening;
mod links;
mod members;
mod strangers;
mod threads;
mod traders;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fairlane_replica::{CryptoContext, Event, Peers};
use fairlane_types::{CtId, Genesis};

use crate::byz;
use crate::check::Judge;
use crate::cpu::CpuModel;
use crate::crypto::{Beacons, Crypto};
use crate::disk::{DiskModel, Values};
use crate::engine::{
    Key, MICROSECOND, MILLISECOND, Nanos, Owner, Purpose, Queue, SECOND, Stream, Trace,
};
use crate::faults::Plan;
use crate::machine::Machine;
use crate::member::Member;
use crate::net::{Fabric, LinkModel};
use crate::research::Recorder;
use crate::scenario::{Line, Planted, Report, START, Scenario, Settled, Stats, committee, start};
use crate::workload::{Trade, Workload, trades};
use happening::Happening;

/// A broken connection is tried again after this.
const RECONNECT_NS: u64 = 120 * MILLISECOND;
/// A read from disk takes this long.
const LOAD_NS: u64 = 100 * MICROSECOND;
/// A trader that does not ask again gives up on an order that nobody acknowledged so long
/// after the last one was sent.
const ANSWER_NS: u64 = 5 * SECOND;
/// Times that a trader sends an order again.
const ATTEMPTS_MAX: u32 = 200;
/// Suspicious reports that are kept.
const SUSPICIOUS_MAX: usize = 8;

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
    all_keys: Vec<CryptoContext>,
    honest: Vec<bool>,
    /// Stopped for good, because its disk rotted.
    retired: Vec<bool>,
    /// Its disk was lost: it follows and says nothing (C7).
    observer: Vec<bool>,
    cpu: CpuModel,
    /// Where more than jobs takes time.
    machines: Vec<Machine<threads::Task>>,
    crypto: Crypto,
    /// What members' disks hold, shared.
    values: Values,
    judge: Judge,
    plan: Plan,
    liars: Vec<(usize, &'static str)>,
    trades: Vec<Trade>,
    standing: Vec<Standing>,
    settled: Vec<Settled>,
    /// Height up to which `settled` goes.
    settled_to: u64,
    by_id: BTreeMap<CtId, usize>,
    /// Pairs with a reconnection under way.
    connecting: BTreeSet<(usize, usize)>,
    /// What traders will send once the members have made a key.
    awaiting_key: Option<Workload>,
    stats: Stats,
    suspicious: Vec<String>,
    log: VecDeque<Line>,
    choices: Stream,
    /// Measures a run that has a lab.
    recorder: Option<Box<Recorder>>,
}

impl World {
    /// Everything a scenario says, ready to run.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let options = scenario.options();
        let secret = Stream::new(scenario.seed, Owner::World, Purpose::Tags).bits();
        let mut crypto = Crypto::new(scenario.tier, scenario.sealing, secret);
        let (genesis, keys) = committee(scenario, &options, &crypto);
        let n = scenario.n;
        let workload = Workload {
            n,
            orders: scenario.orders,
            span_ms: options.span_ms,
            start: START,
            access_ms: 6,
            life_ms: genesis.order.ttl_max_ms * 3 / 4,
        };
        let lab = scenario.lab.as_deref();
        let key = keys[0].key().cloned();
        let trades = match (lab, &key) {
            (Some(lab), Some(key)) => lab.trades(genesis.chain, key, &mut crypto),
            (None, Some(key)) => trades(scenario.seed, &workload, genesis.chain, key, &mut crypto),
            (_, None) => Vec::new(),
        };
        let awaiting_key = key.is_none().then_some(workload);
        let recorder = lab.map(|lab| Box::new(Recorder::new(lab, n, &trades)));
        let mut honest = vec![true; n];
        let cpu = lab.map_or_else(CpuModel::default, |lab| lab.cpu.clone());
        let disk = DiskModel::of(cpu.table.disk);
        let mut members: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(index, keys)| {
                Member::new(index, scenario.seed, &genesis, keys.clone(), disk, start())
            })
            .collect();
        for member in &mut members {
            member.planted = scenario.mutant;
        }
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
        let fabric = Fabric::new(n, scenario.seed, |from, to| {
            if let Some(lab) = lab {
                return lab.link(from, to);
            }
            if options.steady {
                return LinkModel::new(delay_ns, delay_ns);
            }
            let placed = scenario.placement.as_ref().and_then(|p| p.link(from, to));
            let mut model = placed.unwrap_or_else(|| LinkModel::new(delay_ns, delay_ns * 3 / 2));
            model.loss_per_mille = options.loss_per_mille;
            model
        });
        let judge = Judge::new(
            &genesis,
            honest.clone(),
            &trades,
            Beacons::new(&genesis, &crypto, &keys),
        );
        let by_id = trades.iter().map(|trade| (trade.id, trade.index)).collect();
        let standing = vec![Standing::default(); trades.len()];
        let choices = Stream::new(scenario.seed, Owner::World, Purpose::Access);
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
            retired: vec![false; n],
            observer: vec![false; n],
            machines: Self::machines(n, &cpu),
            cpu,
            crypto,
            values: Values::default(),
            judge,
            plan: options.plan,
            liars: options.liars,
            trades,
            standing,
            settled: Vec::new(),
            settled_to: 0,
            by_id,
            connecting: BTreeSet::new(),
            awaiting_key,
            stats: Stats::default(),
            suspicious: Vec::new(),
            log: VecDeque::new(),
            choices,
            recorder,
        }
    }

    /// Runs until all is well after the last fault, a rule is broken, or patience ends.
    #[must_use]
    pub fn run(self) -> Report {
        self.observe().0
    }

    /// [`run`](Self::run), with what the recorder of a lab measured.
    #[must_use]
    pub fn observe(mut self) -> (Report, Option<Recorder>) {
        let healed = self.plan.faults.last().map_or(Nanos(0), |timed| timed.at);
        for (index, timed) in self.plan.faults.iter().enumerate() {
            self.queue.push(timed.at, 0, Happening::Fault(index));
        }
        for node in 0..self.members.len() {
            self.queue.push(Nanos(0), 1, Happening::Boot(node));
        }
        let last_send = self.schedule();
        let patience = self.scenario.patience_ms * MILLISECOND;
        let mut calm = healed.max(last_send);
        let mut end = calm.plus(patience);
        if self.plan.faults.is_empty() {
            self.judge.healed();
        }
        let (mut goal, mut live) = (None, false);
        let mut looked = Nanos(0);
        while let Some((key, happening)) = self.queue.pop() {
            if key.time > end || self.judge.failed() {
                break;
            }
            self.now = key.time;
            self.judge.at(self.now);
            self.happen(key, happening);
            if self.awaiting_key.is_some() {
                match self.open_for_orders() {
                    Some(last_send) => {
                        calm = calm.max(last_send);
                        end = calm.plus(patience);
                    }
                    None => continue,
                }
            }
            if self.now >= calm && self.now.since(looked) >= 10 * MILLISECOND {
                looked = self.now;
                self.judge.healed();
                for (node, member) in self.members.iter().enumerate() {
                    if self.honest[node]
                        && let Some(replica) = &member.replica
                    {
                        self.judge.held(node, &replica.status());
                    }
                }
                // Two heights beyond what anyone had when all was healed.
                let goal = *goal.get_or_insert(self.judge.tip() + 2);
                if self.well(goal, self.now.since(calm) > ANSWER_NS) {
                    self.stats.recovery_ms = self.now.since(calm) / MILLISECOND;
                    live = true;
                    break;
                }
            }
        }
        let recorder = self.recorder.take().map(|recorder| *recorder);
        (self.report(live), recorder)
    }

    /// Every order has its answer, and every honest member has emitted what it owes.
    fn well(&self, goal: u64, answers_are_in: bool) -> bool {
        let answered = self
            .trades
            .iter()
            .zip(&self.standing)
            .all(|(trade, standing)| {
                let given_up = trade.patience_ns == 0 && !standing.acknowledged && answers_are_in;
                given_up || standing.refused || self.judge.settled(&trade.id)
            });
        answered
            && (0..self.members.len())
                .filter(|node| self.honest[*node] && !self.retired[*node])
                .all(|node| {
                    self.members[node].up()
                        && self.judge.height(node) >= goal
                        && self.judge.owed(node) == 0
                })
    }

    fn report(mut self, live: bool) -> Report {
        self.check_key();
        let failed = self.judge.failed();
        self.stats.events = self.trace.events();
        self.stats.virtual_ms = self.now.as_millis();
        self.stats.heights = self.judge.tip();
        self.stats.items = self.judge.items() as u64;
        self.stats.acknowledged = self.standing.iter().filter(|s| s.acknowledged).count() as u64;
        let root = self.judge.root();
        self.trace.bytes(&root);
        let lies = self.members.iter().zip(&self.honest);
        let lies = lies.filter(|(_, honest)| !**honest).map(|(member, _)| {
            let named = self.liars.iter().find(|(liar, _)| *liar == member.index);
            (
                member.index,
                named.map_or("", |(_, name)| *name),
                member.lies,
            )
        });
        let lies = lies.collect();
        let need = 2 * ((self.members.len() - 1) / 3) + 1;
        let openable = self.crypto.oracle().map_or_else(Vec::new, |oracle| {
            let when = |settled: &Settled| {
                let envelope = &self.trades[settled.trade].envelope;
                oracle.exposure(envelope)?.reached(need, u128::MAX)
            };
            self.settled.iter().map(when).collect()
        });
        let (violations, marks) = if failed {
            self.judge.stop()
        } else {
            if !live {
                self.explain();
            }
            self.judge.verdict(live)
        };
        Report {
            replay: self.scenario.replay(),
            violations,
            marks,
            trace_hash: self.trace.hash(),
            root,
            settled: self.settled,
            openable,
            stats: self.stats,
            suspicious: self.suspicious,
            log: self.log.into(),
            lies,
        }
    }

    /// A line of the log.
    fn note(&mut self, node: usize, what: impl FnOnce() -> String) {
        if self.scenario.log {
            if self.scenario.log_tail > 0 && self.log.len() >= self.scenario.log_tail {
                self.log.pop_front();
            }
            let (at, what) = (self.now, what());
            self.log.push_back(Line { at, node, what });
        }
    }

    /// Where every member stands, for a report of lost progress.
    fn explain(&mut self) {
        for member in &self.members {
            if let Some(replica) = &member.replica {
                let line = format!("member {} stands at {:?}", member.index, replica.status());
                self.suspicious.push(line);
            }
        }
        for (trade, standing) in self.trades.iter().zip(&self.standing) {
            if !standing.refused && !self.judge.settled(&trade.id) {
                if self.suspicious.len() > SUSPICIOUS_MAX {
                    break;
                }
                let (kind, id) = (trade.kind, trade.id);
                self.suspicious
                    .push(format!("{kind:?} order {id} is nowhere"));
            }
        }
    }

    fn happen(&mut self, key: Key, happening: Happening) {
        if let Some((node, life)) = happening.owner() {
            if life.is_some_and(|life| life != self.members[node].life) {
                return;
            }
            let until = self.members[node].paused_until;
            if until > self.now {
                if let Happening::Timer { node, .. } = happening {
                    self.members[node].alarm = Some(until);
                }
                self.queue.push(until, key.tie, happening);
                return;
            }
        }
        if let Happening::Timer { node, .. } = happening
            && self.members[node].alarm != Some(key.time)
        {
            // An earlier timer was set meanwhile, and has gone off.
            return;
        }
        let (node, kind, content) = happening.digest();
        self.trace.event(self.now, node, kind, content);
        match happening {
            Happening::Fault(index) => {
                let fault = self.plan.faults[index].fault.clone();
                if let Some(recorder) = &mut self.recorder {
                    recorder.fault(self.now, &fault);
                }
                self.fault(&fault);
            }
            Happening::Boot(node) => self.boot(node),
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Frame {
                from,
                to,
                class,
                sent,
                frame,
            } => {
                self.frame(from, to, class, sent, frame);
            }
            Happening::Timer { node, .. } => {
                self.members[node].alarm = None;
                self.timers(node);
            }
            Happening::Stored { node, .. } => self.stored(node),
            Happening::Early { node, id, .. } => self.step(node, Event::Stored(id)),
            Happening::Loaded { node, id, rows, .. } => {
                self.input(node, Event::Loaded { id, rows })
            }
            Happening::Computed {
                node, id, result, ..
            } => {
                self.members[node].cpu.finish();
                self.start_jobs(node);
                self.input(
                    node,
                    Event::Computed {
                        id,
                        result: *result,
                    },
                );
            }
            Happening::Late {
                node, to, message, ..
            } => self.send(node, Peers::One(to), &message),
            Happening::Executed {
                node,
                height,
                roots,
                ..
            } => self.input(node, Event::StateReached { height, roots }),
            Happening::Submit { trade, node } => self.submit(trade, node),
            Happening::Done { at, slot, busy_ns } => self.done(at, slot, busy_ns),
            Happening::Impatient { trade } => self.impatient(trade),
        }
    }
}
