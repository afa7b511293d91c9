//! What is measured during a run: when each order reached each stage, what was said and
//! computed, and the views. It watches and changes nothing.

use std::collections::BTreeMap;

use fairlane_mempool::AdmissionError;
use fairlane_replica::{Table, height_of};
use fairlane_types::{CtId, Outcome, SequencedBlock};

use super::lab::Lab;
use super::meter::Meter;
use super::traffic::Role;
use crate::check::Fact;
use crate::disk::Change;
use crate::engine::{Nanos, SECOND};
use crate::faults::Fault;
use crate::machine::{Slot, Thread};
use crate::workload::Trade;

/// Most spans and instants that are kept for a trace.
const TRACE_MAX: usize = 400_000;

/// Stages of an order, in the words of the API. All times since the start of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderRecord {
    /// Who sent it.
    pub role: Role,
    /// Number of the sender.
    pub sender: usize,
    /// Region of the sender.
    pub region: usize,
    /// The f+1 members nearest to the sender, the nearest first, and how much longer the
    /// way to each is, nanoseconds.
    pub near: Vec<(usize, u64)>,
    /// The order that it runs in front of.
    pub victim: Option<usize>,
    /// Whether it trades in the direction of its victim.
    pub right_side: bool,
    /// It left the sender.
    pub sent: Option<Nanos>,
    /// It reached the first member.
    pub received: Option<Nanos>,
    /// The first member gave its receipt.
    pub acknowledged: Option<Nanos>,
    /// A quorum of lanes had it.
    pub laned: Option<Nanos>,
    /// Its block was final at the nearest member, or at another near one if that was
    /// earlier with its longer way.
    pub final_near: Option<Nanos>,
    /// It was opened there.
    pub opened_near: Option<Nanos>,
    /// Its block was final on the first disk.
    pub final_first: Option<Nanos>,
    /// It was opened at the first member.
    pub opened_first: Option<Nanos>,
    /// The client that follows the feed had checked it.
    pub delivered: Option<Nanos>,
    /// Place in the sequence.
    pub position: Option<u64>,
    /// What became of it, in the words of the API; `refused` if no member took it.
    pub outcome: &'static str,
    /// Lanes that have it, a bit each.
    lanes: u128,
    refusals: u32,
}

/// A view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewRecord {
    /// Who proposed.
    pub leader: Option<usize>,
    /// When its proposal left.
    pub proposed: Option<Nanos>,
    /// Height of the proposal.
    pub height: u64,
    /// When the first member gave it up.
    pub skipped: Option<Nanos>,
    /// Members that gave it up.
    pub skips: u64,
}

/// Messages of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Copies sent.
    pub messages: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// Jobs of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// Jobs.
    pub jobs: u64,
    /// Signatures, envelopes, orders in them.
    pub items: u64,
    /// Time on a core, nanoseconds.
    pub busy_ns: u64,
}

/// What threads of one kind did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threaded {
    /// Time on cores, nanoseconds.
    pub busy_ns: u64,
    /// Things done.
    pub tasks: u64,
    /// Times that they had to be woken for it.
    pub wakes: u64,
}

/// Where something for the trace happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// Proposals, skips, final blocks.
    Consensus,
    /// Messages.
    Net,
    /// Jobs of cryptography.
    Crypto,
    /// Commits to disk.
    Disk,
    /// Faults.
    Fault,
}

/// A span, or an instant if it has no length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Member; `None` is the whole run.
    pub node: Option<usize>,
    /// Where.
    pub track: Track,
    /// What.
    pub name: String,
    /// When.
    pub start: Nanos,
    /// How long, nanoseconds.
    pub length_ns: u64,
}

/// Watches a run.
#[derive(Clone, Debug)]
pub struct Recorder {
    quorum: u32,
    honest: Vec<bool>,
    ids: BTreeMap<CtId, usize>,
    /// Attackers' orders per victim that opening sets off.
    reactions: BTreeMap<usize, Vec<usize>>,
    waiting: Vec<Option<super::traffic::Reaction>>,
    /// Orders.
    pub orders: Vec<OrderRecord>,
    /// When each member had each height on disk.
    pub finals: Vec<BTreeMap<u64, Nanos>>,
    /// When each height was emitted first, and its number of items.
    pub emitted: BTreeMap<u64, (Nanos, usize)>,
    /// Views.
    pub views: BTreeMap<u64, ViewRecord>,
    /// By type of message.
    pub spoken: BTreeMap<&'static str, Spoken>,
    /// Bytes sent per member.
    pub sent_bytes: Vec<u64>,
    /// By kind of job.
    pub worked: BTreeMap<&'static str, Worked>,
    /// Time on a core per member, nanoseconds.
    pub busy_ns: Vec<u64>,
    /// Commits to disk per member, and the time they took, nanoseconds.
    pub disk: Vec<(u64, u64)>,
    /// Why orders were refused, and how often.
    pub refusals: BTreeMap<String, u64>,
    /// Faults of the plan, as they were carried out.
    pub faults: Vec<(Nanos, String)>,
    /// Spans for a trace.
    pub spans: Vec<Span>,
    /// Spans that found no room.
    pub spans_dropped: u64,
    /// By kind of thread.
    pub threads: BTreeMap<&'static str, Threaded>,
    /// Rows committed.
    pub rows: u64,
    /// Takes the time of jobs and steps.
    pub meter: Option<Meter>,
    trace: bool,
}

impl Recorder {
    /// For the orders of a run.
    #[must_use]
    pub fn new(lab: &Lab, n: usize, trades: &[Trade]) -> Self {
        let mut reactions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let is_liar = |member: usize| lab.options.liars.iter().any(|(liar, _)| *liar == member);
        let orders = lab
            .intents
            .iter()
            .enumerate()
            .map(|(index, intent)| {
                if let (Some(victim), Some(_)) = (intent.victim, &intent.reaction) {
                    reactions.entry(victim).or_default().push(index);
                }
                let victim = intent.victim.and_then(|victim| lab.intents.get(victim));
                OrderRecord {
                    role: intent.role,
                    sender: intent.sender,
                    region: intent.region,
                    near: intent.near.clone(),
                    victim: intent.victim,
                    right_side: victim.is_some_and(|victim| victim.side == intent.side),
                    sent: intent.reaction.is_none().then_some(intent.sent),
                    received: None,
                    acknowledged: None,
                    laned: None,
                    final_near: None,
                    opened_near: None,
                    final_first: None,
                    opened_first: None,
                    delivered: None,
                    position: None,
                    outcome: "nowhere",
                    lanes: 0,
                    refusals: 0,
                }
            })
            .collect();
        Self {
            quorum: (n - (n - 1) / 3) as u32,
            honest: (0..n).map(|member| !is_liar(member)).collect(),
            ids: trades.iter().map(|trade| (trade.id, trade.index)).collect(),
            reactions,
            waiting: lab
                .intents
                .iter()
                .map(|intent| intent.reaction.clone())
                .collect(),
            orders,
            finals: vec![BTreeMap::new(); n],
            emitted: BTreeMap::new(),
            views: BTreeMap::new(),
            spoken: BTreeMap::new(),
            sent_bytes: vec![0; n],
            worked: BTreeMap::new(),
            busy_ns: vec![0; n],
            disk: vec![(0, 0); n],
            refusals: BTreeMap::new(),
            faults: Vec::new(),
            spans: Vec::new(),
            spans_dropped: 0,
            threads: BTreeMap::new(),
            rows: 0,
            meter: lab.processor_ns.map(Meter::new),
            trace: lab.trace,
        }
    }

    /// An order reached a member.
    pub fn arrived(&mut self, now: Nanos, trade: usize, _node: usize) {
        self.orders[trade].received.get_or_insert(now);
    }

    /// A member gave its receipt.
    pub fn acknowledged(&mut self, now: Nanos, trade: usize, _node: usize) {
        self.orders[trade].acknowledged.get_or_insert(now);
    }

    /// A member refused an order.
    pub fn refused(&mut self, trade: usize, error: &AdmissionError) {
        let order = &mut self.orders[trade];
        order.refusals += 1;
        if order.outcome == "nowhere" {
            order.outcome = "refused";
        }
        let reason = match error {
            AdmissionError::OverQuota { .. } => "over quota".to_owned(),
            AdmissionError::OverCapacity { .. } => "over capacity".to_owned(),
            other => other.to_string().chars().take(60).collect(),
        };
        *self.refusals.entry(reason).or_default() += 1;
    }

    /// A member sends a message: so many copies, so many bytes in all.
    pub fn said(
        &mut self,
        now: Nanos,
        node: usize,
        name: &'static str,
        copies: u64,
        bytes: u64,
        fact: Option<&Fact>,
    ) {
        let spoken = self.spoken.entry(name).or_default();
        spoken.messages += copies;
        spoken.bytes += bytes;
        self.sent_bytes[node] += bytes;
        match fact {
            Some(Fact::Proposal { header, .. }) => {
                let (number, height) = (header.view.0, header.height.0);
                let view = self.views.entry(number).or_default();
                view.leader.get_or_insert(node);
                view.proposed.get_or_insert(now);
                view.height = height;
                self.instant(now, node, Track::Consensus, || {
                    format!("propose view {number}")
                });
            }
            // What a liar gives up says nothing about the view.
            Some(Fact::Skip { view: number }) if self.honest[node] => {
                let view = self.views.entry(number.0).or_default();
                view.skipped.get_or_insert(now);
                view.skips += 1;
                self.instant(now, node, Track::Consensus, || {
                    format!("skip view {number}")
                });
            }
            Some(Fact::Batch(batch)) if batch.lane.index() == node => {
                for entry in &batch.entries {
                    let Some(index) = self.ids.get(&entry.ct_id) else {
                        continue;
                    };
                    let order = &mut self.orders[*index];
                    order.lanes |= 1 << node;
                    if order.lanes.count_ones() >= self.quorum {
                        order.laned.get_or_insert(now);
                    }
                }
            }
            _ => {}
        }
        self.instant(now, node, Track::Net, || name.to_owned());
    }

    /// Changes are durable at a member.
    pub fn durable(&mut self, now: Nanos, node: usize, changes: &[Change]) {
        self.rows += changes.len() as u64;
        for change in changes {
            if let Change::Put {
                table: Table::Blocks,
                key,
                ..
            } = change
                && let Some(height) = height_of(key)
            {
                self.finals[node].entry(height.0).or_insert(now);
                self.instant(now, node, Track::Consensus, || format!("final {height}"));
            }
        }
    }

    /// A member emits a block: the orders that this sets off, to whom, and when they get
    /// there.
    pub fn emitted(
        &mut self,
        now: Nanos,
        node: usize,
        block: &SequencedBlock,
    ) -> Vec<(usize, usize, Nanos)> {
        let height = block.height.0;
        let fresh = !self.emitted.contains_key(&height);
        let items = block.items.len();
        self.emitted.entry(height).or_insert((now, items));
        let mut set_off = Vec::new();
        let final_here = self.finals[node].get(&height).copied();
        for item in &block.items {
            let Some(index) = self.ids.get(&item.ct_id).copied() else {
                continue;
            };
            let order = &mut self.orders[index];
            if fresh {
                order.position = Some(item.position.0);
                order.outcome = outcome(&item.outcome);
                order.opened_first = Some(now);
                order.final_first = final_here;
            }
            let near = order.near.iter().find(|(member, _)| *member == node);
            if let Some((_, extra)) = near {
                earliest(&mut order.opened_near, Some(now.plus(*extra)));
                earliest(&mut order.final_near, final_here.map(|at| at.plus(*extra)));
            }
            for attack in self.reactions.get(&index).cloned().unwrap_or_default() {
                let told = |reaction: &super::traffic::Reaction| reaction.member == node;
                if !self.waiting[attack].as_ref().is_some_and(told) {
                    continue;
                }
                if let Some(reaction) = self.waiting[attack].take() {
                    self.orders[attack].sent = Some(now);
                    let sends = reaction.sends.into_iter();
                    set_off.extend(sends.map(|(to, after)| (attack, to, now.plus(after))));
                }
            }
        }
        self.instant(now, node, Track::Consensus, || {
            format!("emit {height} with {items}")
        });
        set_off
    }

    /// The client has checked what a block made of these orders.
    pub fn delivered(&mut self, now: Nanos, orders: &[usize]) {
        for order in orders {
            self.orders[*order].delivered.get_or_insert(now);
        }
    }

    /// A thread begins something that takes so long.
    pub fn thread(&mut self, slot: Slot, busy_ns: u64, woken: bool) {
        let thread = self.threads.entry(slot.1.name()).or_default();
        thread.busy_ns += busy_ns;
        thread.tasks += 1;
        thread.wakes += u64::from(woken);
        if !matches!(slot.1, Thread::Pool(_) | Thread::Client) {
            self.busy_ns[slot.0] += busy_ns;
        }
    }

    /// A job begins and will end.
    pub fn job(&mut self, now: Nanos, node: usize, name: &'static str, items: usize, end: Nanos) {
        let busy = end.since(now);
        let worked = self.worked.entry(name).or_default();
        worked.jobs += 1;
        worked.items += items as u64;
        worked.busy_ns += busy;
        self.busy_ns[node] += busy;
        self.span(now, Some(node), Track::Crypto, busy, || {
            format!("{name} {items}")
        });
    }

    /// A commit to disk begins and will end.
    pub fn write(&mut self, now: Nanos, node: usize, end: Nanos) {
        let busy = end.since(now);
        self.disk[node].0 += 1;
        self.disk[node].1 += busy;
        self.span(now, Some(node), Track::Disk, busy, || "commit".to_owned());
    }

    /// A fault of the plan is carried out.
    pub fn fault(&mut self, now: Nanos, fault: &Fault) {
        let text = fault.to_string();
        self.span(now, None, Track::Fault, 0, || text.clone());
        self.faults.push((now, text));
    }

    /// Seconds from the first order to the last that came out.
    #[must_use]
    pub fn active_s(&self) -> f64 {
        let first = self.orders.iter().filter_map(|order| order.sent).min();
        let last = self
            .orders
            .iter()
            .filter_map(|order| order.opened_first)
            .max();
        match (first, last) {
            (Some(first), Some(last)) => last.since(first) as f64 / SECOND as f64,
            _ => 0.0,
        }
    }

    fn instant(&mut self, now: Nanos, node: usize, track: Track, name: impl FnOnce() -> String) {
        self.span(now, Some(node), track, 0, name);
    }

    fn span(
        &mut self,
        start: Nanos,
        node: Option<usize>,
        track: Track,
        length_ns: u64,
        name: impl FnOnce() -> String,
    ) {
        if !self.trace {
            return;
        }
        if self.spans.len() >= TRACE_MAX {
            self.spans_dropped += 1;
            return;
        }
        self.spans.push(Span {
            node,
            track,
            name: name(),
            start,
            length_ns,
        });
    }
}

fn earliest(known: &mut Option<Nanos>, at: Option<Nanos>) {
    *known = match (*known, at) {
        (Some(known), Some(at)) => Some(known.min(at)),
        (known, at) => known.or(at),
    };
}

const fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Opened { .. } => "opened",
        Outcome::Undecryptable => "undecryptable",
        Outcome::Expired => "expired",
        Outcome::DuplicateNonce => "duplicate_nonce",
    }
}
