//! Independent checkers: they watch what members say, store, emit and answer, and restate
//! the rules without calling the code that they judge. They run at every event.

mod arrival;
mod baseline;
mod decoded;
mod facts;
mod lanes;
mod order;
mod progress;
mod sequence;
mod shares;
mod states;
mod strong;
mod votes;

use fairlane_replica::ReplicaStatus;
use fairlane_types::{CtId, Envelope, Genesis, Receipt, SequencedBlock};

use crate::crypto::Beacons;
use crate::disk::Change;
use crate::engine::Nanos;
use crate::marks::{Mark, Marks};
use crate::workload::Trade;

pub use arrival::{Arrival, Expected, Gain, Step};
use decoded::Decoded;
use facts::Final;
pub use facts::{Durable, Fact, durable, facts};
use lanes::Lanes;
use order::Order;
use progress::Progress;
use sequence::Sequence;
pub use states::{false_state_of, state_of};
use votes::Votes;

/// Most violations that are kept; one is enough to fail a run.
const VIOLATIONS_MAX: usize = 16;

/// Most heights that may be on their way to plaintext at a member: a run has no more views.
const OPENING_MAX: usize = 16_384;

/// The rules that are checked, by their names in SIMNET.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// S1, S2: one chain of final blocks, without gaps.
    Agreement,
    /// S3: one statement per (view, kind); C2, C5: no commit or vote with a skip.
    Contradiction,
    /// S4, C3: q votes behind every commit, q commits behind every final certificate.
    Quorum,
    /// S2, S3, C4: who votes for a block, or takes it for final, has a notarized parent
    /// and skips of every view between.
    Grounds,
    /// S5: what is final was held by its voters.
    Availability,
    /// S6: the same sequence of blocks everywhere, gapless, with the roots it should have;
    /// what is attested is a root of it.
    Sequence,
    /// S16: a certified state is the one of the sequence, whatever f members sign.
    State,
    /// S7: the plaintext that the trader sealed, or the one right outcome.
    Plaintext,
    /// One encryption key for all who made it, and that one signed by a quorum.
    OneKey,
    /// S8: no share for anything that is not final at its sender.
    EarlyShare,
    /// S9: what was acknowledged is in the sequence.
    Lost,
    /// S10: nothing is in the sequence twice.
    Twice,
    /// S11: the order is the one that the rule gives.
    FairOrder,
    /// S12: durable before said.
    PersistFirst,
    /// S13: a restart contradicts nothing that was said before it.
    Restart,
    /// M1: one batch per number of a lane.
    LaneFork,
    /// A receipt says what the lane says, and the same again when asked again.
    Receipt,
    /// M6: nothing leaves a disk that some member still needs.
    Retention,
    /// S14: what a member holds stays within its limits.
    Bounds,
    /// L4: views that end without a final block, after healing.
    Views,
    /// L5: what an honest lane recorded becomes final within a few blocks.
    Censored,
    /// S15: run twice, a seed does the same.
    Determinism,
    /// Progress after healing.
    Liveness,
    /// The replica asked to stop, or met corruption, without a reason in the plan.
    Halt,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Nanos,
    /// Which rule.
    pub rule: Rule,
    /// By which member.
    pub node: usize,
    /// How.
    pub what: String,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} member {}: {:?}: {}",
            self.at, self.node, self.rule, self.what
        )
    }
}

/// What every checker may do: report, and mark what it saw.
#[derive(Debug)]
pub struct Notes {
    now: Nanos,
    violations: Vec<Violation>,
    marks: Marks,
}

impl Notes {
    fn break_rule(&mut self, rule: Rule, node: usize, what: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation {
                at: self.now,
                rule,
                node,
                what: what.into(),
            });
        }
    }
    fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }
}

/// All checkers of a run.
#[derive(Debug)]
pub struct Judge {
    notes: Notes,
    honest: Vec<bool>,
    decoded: Decoded,
    votes: Votes,
    lanes: Lanes,
    order: Order,
    sequence: Sequence,
    progress: Progress,
}

impl Judge {
    /// Checkers for a committee of which `honest` are; `trades` is all that traders send.
    #[must_use]
    pub fn new(genesis: &Genesis, honest: Vec<bool>, trades: &[Trade], beacons: Beacons) -> Self {
        let n = honest.len();
        Self {
            notes: Notes {
                now: Nanos(0),
                violations: Vec::new(),
                marks: Marks::default(),
            },
            decoded: Decoded::default(),
            votes: Votes::new(&honest),
            lanes: Lanes::new(n),
            order: Order::new(genesis, n, trades, beacons),
            sequence: Sequence::new(n, trades),
            progress: Progress::new(n),
            honest,
        }
    }

    /// What traders will send, where it was not known from the start.
    pub fn expect(&mut self, trades: &[Trade]) {
        self.order.expect(trades);
        self.sequence.expect(trades);
    }

    /// An order of a client that is no trader of the run.
    pub fn stranger(&mut self, envelope: &Envelope, payload: &[u8]) {
        self.order.learn(envelope);
        self.sequence.sealed(envelope.id(), payload);
    }

    /// The time of what comes next.
    pub const fn at(&mut self, now: Nanos) {
        self.notes.now = now;
    }

    /// A member says something to at least one other.
    pub fn said(&mut self, node: usize, fact: &Fact) {
        let honest = self.honest[node];
        match fact {
            Fact::Vote { .. } | Fact::Commit { .. } | Fact::Skip { .. } => {
                self.votes.said(node, honest, fact, &mut self.notes);
                if let Fact::Vote { block, .. } = fact
                    && honest
                    && let Some(header) = self.order.header(block)
                {
                    self.votes.grounds(node, header, &mut self.notes);
                }
                // What liars say far ahead is not a view that anyone is in.
                if honest {
                    self.progress.view(fact.view());
                }
            }
            Fact::Proposal { header, cut } => {
                self.votes.said(node, honest, fact, &mut self.notes);
                self.order.proposed(header, cut);
            }
            Fact::Batch(batch) => {
                self.order.batch(batch);
                self.lanes.said(node, honest, batch, &mut self.notes);
                let ahead = self.order.ahead(batch);
                if ahead >= self.order.window() {
                    self.notes.mark(Mark::FullWindow);
                }
            }
            Fact::Shares(shares) if honest => {
                if shares.height.0 <= self.sequence.tip() {
                    self.notes.mark(Mark::LateShares);
                }
                shares::said(node, shares, &self.order, &mut self.notes);
            }
            Fact::Told { height, block } if honest => {
                self.notes.mark(Mark::SliceTold);
                shares::revealed(node, *height, *block, &self.order, &mut self.notes);
            }
            Fact::Shares(_) | Fact::Told { .. } => {}
            Fact::Certificate(certificate) if honest => {
                self.votes.certificate(certificate, &mut self.notes);
            }
            Fact::Certificate(_) => {}
            Fact::Blocks(count) => {
                if *count > 1 {
                    self.notes.mark(Mark::CatchUp);
                }
            }
        }
    }

    /// A change of a member's disk survives any crash from now on.
    pub fn synced(&mut self, node: usize, change: &Change) {
        match self.decoded.read(change) {
            Some(Durable::Safety(record)) => self.votes.durable(node, &record),
            Some(Durable::Final(block)) if self.honest[node] => {
                if let Some(certificate) = &block.certificate {
                    self.votes.certificate(certificate, &mut self.notes);
                }
                self.finalized(node, &block);
            }
            Some(Durable::Batch(batch)) => {
                self.order.batch(&batch);
                self.lanes.durable(node, &batch);
            }
            Some(Durable::Ack(ack)) if self.honest[node] => {
                self.lanes.acknowledged(node, ack, &mut self.notes);
            }
            Some(Durable::Sequenced(block)) => {
                self.sequence.durable(node, &block, self.honest[node]);
            }
            Some(Durable::Attested(found)) if self.honest[node] => {
                let (height, root) = (found.height, found.root);
                self.sequence.attested(node, height, root, &mut self.notes);
            }
            Some(Durable::State(made)) if self.honest[node] => {
                let root = self.sequence.root_at(made.height);
                states::kept(node, &made, root, &mut self.notes);
            }
            Some(Durable::Pruned(below)) => {
                self.sequence
                    .pruned(node, below, &self.honest, &mut self.notes);
            }
            Some(
                Durable::Final(_) | Durable::Ack(_) | Durable::Attested(_) | Durable::State(_),
            )
            | None => {}
        }
    }

    fn finalized(&mut self, node: usize, block: &Final) {
        if block.header.height.0 > 0 {
            self.votes.grounds(node, &block.header, &mut self.notes);
        }
        if block.certificate.is_none() && block.header.height.0 > 0 {
            self.notes.mark(Mark::FinalAsAncestor);
        }
        let known = self.order.height();
        self.order.finalized(node, block, &mut self.notes);
        if self.order.height() > known {
            let heads = self.order.new_heads();
            for (lane, seq) in &heads {
                let few = self.honest.len() / 3 + 1;
                self.lanes.held(*lane, *seq, few, &mut self.notes);
            }
            self.progress.finalized(&block.cut, &mut self.notes);
        }
    }

    /// All is healed: from now on progress is due.
    pub const fn healed(&mut self) {
        self.progress.healed();
    }

    /// What a member holds, against what it may.
    pub fn held(&mut self, node: usize, status: &ReplicaStatus) {
        if status.held > status.held_max {
            let what = format!("holds {} orders of {}", status.held, status.held_max);
            self.notes.break_rule(Rule::Bounds, node, what);
        }
        if status.opening > OPENING_MAX {
            let what = format!("{} heights on their way to plaintext", status.opening);
            self.notes.break_rule(Rule::Bounds, node, what);
        }
    }

    /// A member's process starts, for the first time or again.
    pub fn started(&mut self, node: usize) {
        self.votes.started(node);
        self.lanes.started(node);
        let offered = self.sequence.started(node, &mut self.notes);
        for block in offered.iter().filter(|_| self.honest[node]) {
            let stale = self.order.emitted(node, block, &mut self.notes);
            self.sequence.left_out(block.height, stale, &mut self.notes);
        }
    }

    /// A member stopped for good: nothing is owed by it any more.
    pub fn retire(&mut self, node: usize) {
        self.honest[node] = false;
        self.sequence.disown(node);
    }

    /// A member lost its disk: from now on it may not speak (C7).
    pub fn forgot(&mut self, node: usize) {
        self.votes.forgot(node);
        self.lanes.forgot(node);
        self.order.forgot(node);
        self.sequence.forgot(node);
    }

    /// A member emits a block.
    pub fn emitted(&mut self, node: usize, block: &SequencedBlock) {
        if self.honest[node] {
            self.sequence.emitted(node, block, &mut self.notes);
            let stale = self.order.emitted(node, block, &mut self.notes);
            self.sequence.left_out(block.height, stale, &mut self.notes);
        }
    }

    /// A member acknowledges an order to a client.
    pub fn acknowledged(&mut self, node: usize, receipt: &Receipt) {
        if self.honest[node] {
            self.lanes.receipt(node, receipt, &mut self.notes);
            self.progress.recorded(node, receipt.seq);
            self.sequence.acknowledged(node, receipt);
        }
    }

    /// Breaks a rule that the shell itself sees broken.
    pub fn break_rule(&mut self, rule: Rule, node: usize, what: impl Into<String>) {
        self.notes.break_rule(rule, node, what);
    }

    /// Marks something that the shell itself sees.
    pub fn mark(&mut self, mark: Mark) {
        self.notes.mark(mark);
    }

    /// Number of acknowledged orders that honest `node` has not emitted.
    #[must_use]
    pub fn owed(&self, node: usize) -> usize {
        self.sequence.owed(node)
    }

    /// Whether a member acknowledged an order before.
    #[must_use]
    pub fn has_receipt(&self, node: usize, id: &CtId) -> bool {
        self.lanes.has_receipt(node, id)
    }

    /// Whether an order has its outcome in the sequence.
    #[must_use]
    pub fn settled(&self, id: &CtId) -> bool {
        self.sequence.contains(id)
    }

    /// Height up to which a member has emitted, as far as its disk remembers.
    #[must_use]
    pub fn height(&self, node: usize) -> u64 {
        self.sequence.height(node)
    }

    /// Height up to which anyone has emitted.
    #[must_use]
    pub const fn tip(&self) -> u64 {
        self.sequence.tip()
    }

    /// Items in the sequence.
    #[must_use]
    pub fn items(&self) -> usize {
        self.sequence.items()
    }

    /// Root of the sequence so far.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        self.sequence.root()
    }

    /// Whether any rule is broken.
    #[must_use]
    pub const fn failed(&self) -> bool {
        !self.notes.violations.is_empty()
    }

    /// The run was stopped because a rule is broken.
    #[must_use]
    pub fn stop(self) -> (Vec<Violation>, Marks) {
        (self.notes.violations, self.notes.marks)
    }

    /// The end of the run: what is owed is lost.
    #[must_use]
    pub fn verdict(mut self, live: bool) -> (Vec<Violation>, Marks) {
        for node in 0..self.honest.len() {
            if !self.honest[node] {
                continue;
            }
            let owed = self.sequence.owed(node);
            if owed > 0 {
                // S9 is about the sequence; where a member is merely behind it is liveness.
                let rule = if self.sequence.lost() {
                    Rule::Lost
                } else {
                    Rule::Liveness
                };
                self.notes.break_rule(
                    rule,
                    node,
                    format!("{owed} acknowledged orders are missing"),
                );
            }
        }
        self.progress.verdict(&mut self.notes);
        if !live {
            let heights: Vec<_> = (0..self.honest.len()).map(|i| self.height(i)).collect();
            self.notes.break_rule(
                Rule::Liveness,
                0,
                format!("no progress after healing: heights {heights:?}"),
            );
        }
        (self.notes.violations, self.notes.marks)
    }
}
