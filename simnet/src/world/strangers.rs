//! Clients that come in bursts: floods, cancel storms, one nonce many times, orders that
//! have expired, duplicates, questions (THREATS A11, A20, A22, A29).

use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_replica::{Event, Reply, Ticket};
use fairlane_types::{
    Envelope, LANE_NONE, Label, Millis, Order, OrderAction, SUITE_TDH2, SecretKey, Side,
    TimeInForce,
};

use crate::check::Rule;
use crate::engine::MILLISECOND;
use crate::faults::Burst;
use crate::marks::Mark;
use crate::member::Asker;
use crate::scenario::START;

use super::World;
use super::happening::Happening;

/// Expired ones are so old that no clock takes them for fresh, ms.
const LONG_AGO_MS: u64 = 60_000;

impl World {
    /// Carries out a burst at a member; what it does not reach it does not reach.
    pub(super) fn burst(&mut self, burst: Burst, node: usize, count: u64) {
        match burst {
            Burst::Duplicates => self.duplicates(node, count),
            Burst::Queries => self.queries(node, count),
            Burst::Flood | Burst::OneNonce | Burst::Cancels | Burst::Expired => {
                let sender = SecretKey::from_seed(self.choices.bytes32());
                // Before there is a key nobody can make an order.
                let Some(key) = self.encryption_key() else {
                    return;
                };
                for index in 0..count {
                    let to = match burst {
                        Burst::OneNonce => (node + index as usize) % self.members.len(),
                        _ => node,
                    };
                    let envelope = self.stranger_order(burst, &key, &sender, index);
                    self.ask(to, burst, |ticket| Event::Submit { ticket, envelope });
                }
            }
        }
    }

    fn ask(&mut self, node: usize, burst: Burst, event: impl FnOnce(Ticket) -> Event) {
        let member = &mut self.members[node];
        if !member.up() || member.paused_until > self.now {
            return;
        }
        let ticket = Ticket(member.fresh());
        member.tickets.insert(ticket, Asker::Stranger(burst));
        self.input(node, event(ticket));
    }

    fn stranger_order(
        &mut self,
        burst: Burst,
        encryption: &SuiteKey,
        key: &SecretKey,
        index: u64,
    ) -> Arc<Envelope> {
        let now = START.0 + self.now.as_millis();
        let expiry = match burst {
            Burst::Expired => now - LONG_AGO_MS,
            _ => now + self.genesis.order.ttl_max_ms * 3 / 4,
        };
        let label = Label {
            suite: SUITE_TDH2,
            chain: self.genesis.chain,
            key_id: encryption.id(),
            sender: key.public(),
            nonce: match burst {
                Burst::OneNonce => 1,
                _ => index + 1,
            },
            expiry: Millis(expiry),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let action = match burst {
            Burst::Cancels => OrderAction::Cancel {
                market: 0,
                cloid: index,
            },
            _ => OrderAction::Place {
                market: 0,
                side: Side::Buy,
                price_ticks: 100_000,
                lots: index + 1,
                tif: TimeInForce::Gtc,
                reduce_only: false,
                cloid: index,
            },
        };
        let payload = Order::new(action).to_bytes();
        let ciphertext =
            self.crypto
                .seal(encryption, &label, &payload, key.seed(), &mut self.choices);
        let signer = self.crypto.signer(*key.seed());
        let envelope = Arc::new(Envelope::sign(label, ciphertext, &signer));
        self.crypto.signed(&envelope);
        self.judge.stranger(&envelope, &payload);
        envelope
    }

    /// Orders of the run that left already, each from several clients at once.
    fn duplicates(&mut self, node: usize, count: u64) {
        let sent: Vec<_> = self
            .trades
            .iter()
            .filter(|trade| trade.sends.iter().any(|(_, at)| *at <= self.now))
            .map(|trade| trade.index)
            .collect();
        for index in 0..count {
            let Some(trade) = self.choices.pick(&sent).copied() else {
                return;
            };
            let at = self.now.plus(index % 3 * MILLISECOND);
            self.queue.push(at, 2, Happening::Submit { trade, node });
        }
    }

    fn queries(&mut self, node: usize, count: u64) {
        for _ in 0..count {
            let Some(trade) = self.choices.pick(&self.trades) else {
                return;
            };
            let ct_id = trade.id;
            self.ask(node, Burst::Queries, |ticket| Event::Query {
                ticket,
                ct_id,
            });
        }
    }

    pub(super) fn stranger_answered(&mut self, node: usize, burst: Burst, reply: &Reply) {
        let honest = self.honest[node];
        match (burst, reply) {
            (Burst::Queries, Reply::Status(_)) => self.judge.mark(Mark::QueryAnswered),
            (Burst::Expired, Reply::Refused(_)) => self.judge.mark(Mark::ExpiredRefused),
            (Burst::Flood | Burst::Cancels | Burst::OneNonce, Reply::Receipt(receipt)) => {
                let key = self.genesis.members[node];
                if honest && !self.crypto.verifies(&receipt.signature_check(&key)) {
                    let what = "a receipt that proves nothing";
                    self.judge.break_rule(Rule::Receipt, node, what);
                }
                self.judge.acknowledged(node, receipt);
            }
            (Burst::Flood | Burst::Cancels | Burst::OneNonce, Reply::Refused(_)) => {
                self.judge.mark(Mark::Refused);
            }
            _ if honest => {
                let what = format!("{} answered with {reply:?}", burst.name());
                self.judge.break_rule(Rule::Receipt, node, what);
            }
            _ => {}
        }
    }
}
