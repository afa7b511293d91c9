//! A home that came out of its committee hands on the orders that it acknowledged and that
//! have no outcome, until so many members of the present one have them that an honest one is
//! among them (PROTOCOL §6). Each member is told on its own: who does not answer holds up
//! nobody, and nothing else waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fairlane_client::Member;
use fairlane_client::wire::{BatchResult, ErrorCode};
use fairlane_node::epochs::{Resting, Standing};
use fairlane_types::{CtId, Envelope, Genesis, MemberId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exit::Outcome;
use crate::seed;

/// Orders in one request.
const BATCH: usize = 64;
/// How long a member is waited for; it waits up to ten seconds itself.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Pause after a request that settled nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// An order is offered until so long after its expiry, ms, by the clock here: others' time may be
/// behind it, or rest.
const OVERDUE_MS: u64 = 60_000;

/// A member of the present committee.
struct Taker {
    id: MemberId,
    api: Member,
    genesis: Arc<Genesis>,
}

/// Starts to hand on what came along into an epoch; it ends with the set that is returned.
pub fn start(resting: &Resting, standing: &Standing) -> Outcome<JoinSet<()>> {
    let mut task = JoinSet::new();
    let orders: Arc<[Envelope]> = resting.carried()?.into();
    let Some(base) = &standing.base else {
        return Ok(task);
    };
    if orders.is_empty() {
        return Ok(task);
    }
    let genesis = Arc::new(standing.genesis.clone());
    let members = base.next.members.iter().zip(0..);
    let takers = members.filter_map(|(member, id)| match Member::new(&member.api) {
        Ok(api) => Some(Taker {
            id: MemberId(id),
            api: api.with_limit(ANSWER_MAX),
            genesis: Arc::clone(&genesis),
        }),
        Err(error) => {
            tracing::warn!(member = id, %error, "no order can be handed to it");
            None
        }
    });
    let takers: Vec<_> = takers.collect();
    // One of them is honest: it has the order, or knows what became of it.
    let needed = (base.next.members.len().saturating_sub(1)) / 3 + 1;
    tracing::info!(
        orders = orders.len(),
        "acknowledged here, without an outcome: handed on"
    );
    task.spawn(hand_on(orders, takers, needed));
    Ok(task)
}

async fn hand_on(orders: Arc<[Envelope]>, takers: Vec<Taker>, needed: usize) {
    let (settled, mut answers) = mpsc::channel(takers.len().max(1));
    let mut offers = JoinSet::new();
    for taker in takers {
        offers.spawn(taker.offer(Arc::clone(&orders), settled.clone()));
    }
    drop(settled);
    let mut open: BTreeMap<CtId, usize> = orders.iter().map(|o| (o.id(), needed)).collect();
    while let Some(ids) = answers.recv().await {
        for id in ids {
            if let Some(lacking) = open.get_mut(&id) {
                *lacking -= 1;
                if *lacking == 0 {
                    open.remove(&id);
                }
            }
        }
        if open.is_empty() {
            tracing::info!("every order that came along is handed on: this node may be stopped");
            return;
        }
    }
    tracing::warn!(orders = open.len(), "not enough members to hand orders to");
}

impl Taker {
    /// Offers all orders until it has settled each, and tells which it has.
    async fn offer(self, orders: Arc<[Envelope]>, settled: mpsc::Sender<Vec<CtId>>) {
        let mut open: Vec<&Envelope> = orders.iter().collect();
        while !open.is_empty() {
            let overdue = seed::now_ms().saturating_sub(OVERDUE_MS);
            let is_over = |order: &&Envelope| order.label.expiry.0 < overdue;
            let over = open.extract_if(.., |order| is_over(order));
            let over: Vec<CtId> = over.map(Envelope::id).collect();
            if !over.is_empty() && settled.send(over).await.is_err() {
                return;
            }
            let later = open.split_off(open.len().min(BATCH));
            let batch: Vec<Envelope> = open.iter().map(|order| (*order).clone()).collect();
            let results = match self.api.submit_batch(&batch).await {
                Ok(results) => results,
                Err(error) => {
                    tracing::debug!(to = self.api.address(), %error, "no orders taken");
                    Vec::new()
                }
            };
            let mut done = Vec::new();
            for (order, result) in batch.iter().zip(&results) {
                if self.settles(order, result) {
                    done.push(order.id());
                }
            }
            let again = std::mem::replace(&mut open, later);
            open.extend(
                again
                    .into_iter()
                    .filter(|order| !done.contains(&order.id())),
            );
            if done.is_empty() {
                tokio::time::sleep(PAUSE).await;
            } else if settled.send(done).await.is_err() {
                return;
            }
        }
    }

    /// Whether it has an order now, or takes it at no time: expired, its nonce used, or in the
    /// sequence. Other refusals pass: it may be in another epoch still, or without room.
    fn settles(&self, order: &Envelope, result: &BatchResult) -> bool {
        use ErrorCode::{AlreadySequenced, Expired, NonceUsed};
        match result {
            Err(error) => matches!(error.code, AlreadySequenced | Expired | NonceUsed),
            Ok(receipt) => {
                let key = self.genesis.members.get(usize::from(self.id.0));
                let signed = key.is_some_and(|key| receipt.signature_check(key).verify().is_ok());
                let (chain, epoch) = (self.genesis.chain, self.genesis.epoch());
                let of_now = receipt.chain == chain && receipt.epoch >= epoch;
                signed && of_now && (receipt.ct_id, receipt.lane) == (order.id(), self.id)
            }
        }
    }
}

#[cfg(test)]
mod tests;
