//! A committee that makes its key: traders can send only after that.

use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_replica::Sharing;
use fairlane_types::{ActiveKeys, Millis};

use crate::check::Rule;
use crate::engine::{MILLISECOND, Nanos};
use crate::marks::Mark;
use crate::scenario::START;
use crate::workload::trades;

use super::happening::Happening;
use super::{Standing, World};

impl World {
    /// The key, once any member has it.
    pub(super) fn encryption_key(&self) -> Option<Arc<SuiteKey>> {
        let known = self.all_keys[0].key();
        let made = self.members.iter().find_map(|member| member.keys.key());
        known.or(made).cloned()
    }

    /// Puts what traders send into the queue; when the last order leaves.
    pub(super) fn schedule(&mut self) -> Nanos {
        let mut last_send = Nanos(0);
        for trade in &self.trades {
            let mut last = Nanos(0);
            for (node, at) in &trade.sends {
                let submit = Happening::Submit {
                    trade: trade.index,
                    node: *node,
                };
                self.queue.push(*at, 2, submit);
                last = last.max(*at);
            }
            last_send = last_send.max(last);
            if trade.patience_ns > 0 {
                let impatient = Happening::Impatient { trade: trade.index };
                self.queue.push(last.plus(trade.patience_ns), 2, impatient);
            }
        }
        last_send
    }

    /// Lets traders begin once an honest member shows a quorum's word for a key; when the
    /// last of their orders leaves.
    pub(super) fn open_for_orders(&mut self) -> Option<Nanos> {
        let honest = (0..self.members.len()).filter(|node| self.honest[*node]);
        let word = honest
            .filter_map(|node| self.members[node].replica.as_ref())
            .find_map(|replica| replica.activation().cloned())?;
        let workload = self.awaiting_key.take()?;
        self.judge.mark(Mark::KeyMade);
        let committee = self.all_keys[0].committee.clone();
        if let Err(error) = word.verify(self.genesis.chain, &committee) {
            let what = format!("an activation that does not hold: {error}");
            self.judge.break_rule(Rule::OneKey, 0, what);
        }
        let key =
            SuiteKey::from_bytes(self.genesis.encryption.scheme, &word.keys.encryption).ok()?;
        let workload = crate::workload::Workload {
            start: Millis(START.0 + self.now.as_millis()),
            ..workload
        };
        let (seed, chain) = (self.scenario.seed, self.genesis.chain);
        let mut made = trades(seed, &workload, chain, &key, &mut self.crypto);
        for trade in &mut made {
            for (_, at) in &mut trade.sends {
                *at = at.plus(self.now.0);
            }
        }
        self.judge.expect(&made);
        self.by_id = made.iter().map(|trade| (trade.id, trade.index)).collect();
        self.standing = vec![Standing::default(); made.len()];
        self.trades = made;
        Some(self.schedule().max(self.now.plus(MILLISECOND)))
    }

    /// At the end: all honest members that made keys made the ones that a quorum signed.
    pub(super) fn check_key(&mut self) {
        let mut first: Option<ActiveKeys> = None;
        for node in 0..self.members.len() {
            let member = &self.members[node];
            let Some(replica) = member.replica.as_ref().filter(|_| self.honest[node]) else {
                continue;
            };
            if replica.status().counters.dealings_refused > 0 {
                self.judge.mark(Mark::DealingRefused);
            }
            let signed = replica.activation().map(|word| word.keys.clone());
            let made = member.keys.ceremony.as_ref();
            let made = made.and_then(|_| member.keys.sharing.get());
            for keys in signed.into_iter().chain(made.map(Sharing::public)) {
                if first.get_or_insert_with(|| keys.clone()) != &keys {
                    self.judge
                        .break_rule(Rule::OneKey, node, "other keys than the others");
                }
            }
        }
    }
}
