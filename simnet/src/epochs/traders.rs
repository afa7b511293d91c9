//! Traders of a run: they ask whoever runs the last epoch, again and again, and hold on to what
//! was acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_replica::{AdmissionError, Event, Reply, Ticket};
use fairlane_types::{EnvelopeError, Item, KeyId, Millis, Outcome, SequencedBlock};

use crate::crypto::{Crypto, Sealing, Tier};
use crate::engine::{MICROSECOND, MILLISECOND};
use crate::scenario::START;
use crate::workload::{Kind, Trade, Workload, trades};

use super::machine::Machine;
use super::run::{Happening, Run};

/// Traders ask again for what is not in the sequence.
const RETRY_NS: u64 = 400 * MILLISECOND;

impl Run<'_> {
    /// Lets traders begin once there is a key.
    pub(super) fn open(&mut self) {
        let machines = self.machines.iter();
        let key = machines
            .filter(|m| m.me.is_some())
            .find_map(|m| m.member.keys.key());
        let Some(key) = key.cloned() else {
            self.push(20 * MILLISECOND, Happening::Open);
            return;
        };
        self.opened_at = self.now;
        self.trades = self.sealed_to(&key);
        self.by_id = self.trades.iter().map(|t| (t.id, t.index)).collect();
        self.sealed.insert(key.id(), self.trades.clone());
        for trade in 0..self.trades.len() {
            let sent = self.trades[trade].sends.iter().map(|(_, at)| at.0).min();
            self.push(sent.unwrap_or_default(), Happening::Retry(trade));
        }
    }

    /// All orders of the run, sealed to a key.
    fn sealed_to(&mut self, key: &SuiteKey) -> Vec<Trade> {
        let workload = Workload {
            n: self.plan.committees[0].len(),
            orders: self.plan.orders,
            span_ms: 1_500 * self.plan.committees.len() as u64,
            start: Millis(START.0 + self.opened_at.as_millis()),
            access_ms: 6,
            life_ms: 90_000,
        };
        let mut crypto = Crypto::new(Tier::Real, Sealing::Ideal, 0);
        let chain = self.machines[0].genesis.chain;
        trades(self.plan.seed, &workload, chain, key, &mut crypto)
    }

    /// A member says that the key is old: its trader seals the order again to that member's key,
    /// with the same nonce.
    fn seal_again(&mut self, trade: usize, machine: usize) {
        let Some(key) = self.machines[machine].member.keys.key().cloned() else {
            return;
        };
        let id = key.id();
        if self.trades[trade].envelope.label.key_id == id || self.burned(trade) {
            return;
        }
        if !self.sealed.contains_key(&id) {
            let sealed = self.sealed_to(&key);
            self.sealed.insert(id, sealed);
        }
        let again = self.sealed[&id][trade].clone();
        self.by_id.insert(again.id, trade);
        let before = std::mem::replace(&mut self.trades[trade], again);
        let acknowledged = self.acknowledged.remove(&trade).unwrap_or_default();
        self.former.push((before.id, trade, acknowledged));
        self.settled.remove(&trade);
        self.report.resealed += 1;
        if trade.is_multiple_of(3) {
            // Nobody else asks again for it.
            self.push(RETRY_NS, Happening::Retry(trade));
        }
    }

    /// What was acknowledged before it was sealed again is in the sequence too, or the other one
    /// has used its nonce, or its key; or whoever acknowledged it can only ask others.
    pub(super) fn lost_before(&self) -> Vec<usize> {
        let last = self.machines.iter().filter(|m| m.me.is_some());
        let last = last.max_by_key(|m| m.genesis.epoch());
        let former = last
            .and_then(|m| m.genesis.former_key())
            .map(|(key, _)| key);
        let mut lost = Vec::new();
        for (id, trade, acknowledged) in &self.former {
            let stays = |machine: &usize| {
                let m = &self.machines[*machine];
                !m.dead && m.me.is_some()
            };
            let sealed = self.sealed.iter().find(|(_, all)| all[*trade].id == *id);
            let open = sealed.is_some_and(|(key, _)| Some(*key) == former);
            if open
                && acknowledged.iter().any(stays)
                && !self.is_recorded(id)
                && !self.burned(*trade)
            {
                lost.push(*trade);
            }
        }
        lost
    }

    /// Which keys a block was opened with.
    pub(super) fn count_keys(&mut self, block: &SequencedBlock) {
        let burnt = |item: &&Item| {
            matches!(
                item.outcome,
                Outcome::Opened { .. } | Outcome::Undecryptable
            )
        };
        let opened = block.items.iter().filter(burnt);
        let keys: BTreeSet<KeyId> = opened.clone().map(|item| item.label.key_id).collect();
        self.report.mixed += usize::from(keys.len() > 1);
        let former = self
            .bases
            .get(&block.epoch)
            .and_then(|base| base.genesis().former_key());
        if let Some((key, until)) = former {
            let late = opened.filter(|item| item.label.key_id == key).count();
            self.report.opened_late += late;
            if late > 0 && block.time > until {
                let height = block.height;
                self.breach(format!(
                    "{late} orders of a key that is over came out at {height}"
                ));
            }
        }
    }

    /// Members that a trader can reach: those of the last epoch that any is in.
    pub(super) fn reachable(&self) -> Vec<usize> {
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

    pub(super) fn retry(&mut self, trade: usize) {
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

    pub(super) fn submit(&mut self, trade: usize, machine: usize) {
        if !self.machines[machine].member.up() {
            return;
        }
        let envelope = Arc::clone(&self.trades[trade].envelope);
        // The ticket names the trade: answers need no table.
        let ticket = Ticket(trade as u64);
        self.step(machine, Event::Submit { ticket, envelope });
    }

    pub(super) fn reply(&mut self, machine: usize, Ticket(trade): Ticket, reply: Reply) {
        let trade = trade as usize;
        match reply {
            Reply::Receipt(receipt) if self.honest(machine) => {
                let m = &self.machines[machine];
                let check = receipt.signature_check(&m.identity.public());
                let good = receipt.epoch == m.genesis.epoch() && check.verify().is_ok();
                // It may have been sealed again while this machine had it.
                let mut former = self.former.iter_mut();
                let former = former.find(|(id, of, _)| (*id, *of) == (receipt.ct_id, trade));
                if receipt.ct_id == self.trades[trade].id && good {
                    self.acknowledged.entry(trade).or_default().insert(machine);
                } else if let Some((.., acknowledged)) = former
                    && good
                {
                    acknowledged.insert(machine);
                } else {
                    self.breach(format!("machine {machine} gave a receipt for nothing"));
                }
            }
            Reply::Refused(fairlane_replica::AdmissionError::BadProof)
                if self.trades[trade].kind != Kind::BadProof && self.honest(machine) =>
            {
                self.breach(format!("machine {machine} refuses good order {trade}"));
            }
            Reply::Refused(AdmissionError::OldKey { .. })
            | Reply::Refused(AdmissionError::Envelope(EnvelopeError::UnknownKey(_)))
                if self.honest(machine) =>
            {
                self.seal_again(trade, machine);
            }
            Reply::Refused(error) if is_final(&error) => {
                self.refused.insert(trade);
            }
            Reply::Refused(_) | Reply::Receipt(_) | Reply::Status(_) => {}
        }
    }

    /// A receipt rests on one disk: it binds while that machine is not gone for good.
    pub(super) fn is_owed(&self, trade: usize) -> bool {
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
}

/// Whether asking again is of no use.
const fn is_final(error: &AdmissionError) -> bool {
    use AdmissionError as E;
    matches!(
        error,
        E::Expired { .. } | E::NonceUsed(_) | E::BadProof | E::AlreadySequenced
    )
}
