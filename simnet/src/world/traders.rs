//! Traders: submissions, answers, impatience.

use std::sync::Arc;

use fairlane_replica::{AdmissionError, Event, Reply, Ticket};
use fairlane_types::{Envelope, SequencedBlock};

use crate::check::Rule;
use crate::engine::MILLISECOND;
use crate::marks::Mark;
use crate::member::Asker;
use crate::scenario::{START, Settled};
use crate::workload::Kind;

use super::happening::Happening;
use super::{ATTEMPTS_MAX, World};

/// Members' clocks are off by no more, with all steps, ms.
const CLOCKS_OFF_MS_MAX: u64 = 5_000;

impl World {
    pub(super) fn submit(&mut self, trade: usize, node: usize) {
        if !self.members[node].up() {
            return;
        }
        if self.threaded() {
            self.submit_later(trade, node);
        } else {
            self.submitted(trade, node);
        }
    }

    /// An order was read and is put to the replica.
    pub(super) fn submitted(&mut self, trade: usize, node: usize) {
        let envelope: Arc<Envelope> = Arc::clone(&self.trades[trade].envelope);
        if let Some(recorder) = &mut self.recorder {
            recorder.arrived(self.now, trade, node);
        }
        let member = &mut self.members[node];
        let ticket = Ticket(member.fresh());
        member.tickets.insert(ticket, Asker::Trade(trade));
        self.input(node, Event::Submit { ticket, envelope });
    }

    pub(super) fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let Some(asker) = self.members[node].tickets.remove(&ticket) else {
            self.judge.break_rule(
                Rule::Receipt,
                node,
                "an answer to a request that nobody made, or a second one",
            );
            return;
        };
        let trade = match asker {
            Asker::Trade(trade) => trade,
            Asker::Stranger(burst) => {
                self.stranger_answered(node, burst, &reply);
                return;
            }
        };
        let bad = self.trades[trade].kind == Kind::BadProof;
        match reply {
            Reply::Receipt(receipt) => {
                if self.honest[node] {
                    let key = self.genesis.members[node];
                    let for_it = receipt.ct_id == self.trades[trade].id;
                    if bad || !for_it || !self.crypto.verifies(&receipt.signature_check(&key)) {
                        self.judge
                            .break_rule(Rule::Receipt, node, "a receipt that proves nothing");
                    }
                    self.judge.acknowledged(node, &receipt);
                    self.standing[trade].acknowledged = true;
                    if let Some(recorder) = &mut self.recorder {
                        recorder.acknowledged(self.now, trade, node);
                    }
                }
            }
            Reply::Refused(error) => {
                self.judge.mark(Mark::Refused);
                if let Some(recorder) = &mut self.recorder {
                    recorder.refused(trade, &error);
                }
                if self.honest[node] {
                    self.refused(node, trade, &error);
                }
            }
            Reply::Status(_) => {}
        }
    }

    pub(super) fn refused(&mut self, node: usize, trade: usize, error: &AdmissionError) {
        let id = self.trades[trade].id;
        let kind = self.trades[trade].kind;
        let fits = match error {
            AdmissionError::OverQuota { .. }
            | AdmissionError::OverCapacity { .. }
            | AdmissionError::NoKey => return,
            AdmissionError::Observer if self.observer[node] => return,
            AdmissionError::BadProof => kind == Kind::BadProof,
            AdmissionError::Expired { .. } => self.may_have_expired(trade),
            AdmissionError::NonceUsed(_) => self.nonce_is_shared(trade),
            AdmissionError::ExpiryTooFar { .. } => self.may_be_too_far(trade),
            // A restart gives the receipts of the last TTL_max again, no older ones.
            AdmissionError::AlreadySequenced => {
                self.judge.settled(&id)
                    && (!self.judge.has_receipt(node, &id) || self.is_old(trade))
            }
            _ => false,
        };
        self.standing[trade].refused = true;
        if !fits {
            let what = format!("{kind:?} order {id} refused: {error}");
            self.judge.break_rule(Rule::Receipt, node, what);
        }
    }

    /// By the true clock, give or take what members' clocks are off.
    fn may_have_expired(&self, trade: usize) -> bool {
        let label = &self.trades[trade].envelope.label;
        label.expiry.0 <= START.0 + self.now.as_millis() + CLOCKS_OFF_MS_MAX
    }

    /// The same at the other end: a clock that is behind takes less.
    fn may_be_too_far(&self, trade: usize) -> bool {
        let label = &self.trades[trade].envelope.label;
        let latest = START.0 + self.now.as_millis() + self.genesis.order.ttl_max_ms;
        label.expiry.0 + CLOCKS_OFF_MS_MAX > latest
    }

    /// Whether an order was sent more than TTL_max ago.
    fn is_old(&self, trade: usize) -> bool {
        let first = self.trades[trade]
            .sends
            .iter()
            .map(|(_, at)| at.as_millis())
            .min();
        let age = self.now.as_millis().saturating_sub(first.unwrap_or(0));
        age > self.genesis.order.ttl_max_ms
    }

    pub(super) fn nonce_is_shared(&self, trade: usize) -> bool {
        let label = &self.trades[trade].envelope.label;
        self.trades.iter().any(|other| {
            let theirs = &other.envelope.label;
            other.index != trade && (theirs.sender, theirs.nonce) == (label.sender, label.nonce)
        })
    }

    /// Notes what became of the orders of a block, the first time it is emitted.
    pub(super) fn settle(&mut self, block: &SequencedBlock) {
        if block.height.0 != self.settled_to + 1 {
            return;
        }
        self.settled_to = block.height.0;
        for item in &block.items {
            if let Some(trade) = self.by_id.get(&item.ct_id) {
                self.settled.push(Settled {
                    height: block.height.0,
                    trade: *trade,
                    outcome: item.outcome.word(),
                });
            }
        }
    }

    /// Not in the sequence in time, or a trader who wants to be sure.
    pub(super) fn impatient(&mut self, trade: usize) {
        let standing = &mut self.standing[trade];
        standing.attempts += 1;
        let sure = standing.refused || self.judge.settled(&self.trades[trade].id);
        let done = sure && standing.attempts > 1;
        if done
            || standing.attempts > ATTEMPTS_MAX
            || (sure && (self.recorder.is_some() || !self.choices.chance(300)))
        {
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
}
