//! Invariant 4, for each account alone: who is left below its margin, or below zero, has a reason
//! of its own.

use std::collections::BTreeSet;

use fairlane_execution::account::{Account, Health};
use fairlane_execution::units::PPM;
use fairlane_execution::{Clearing, Event, Execution, House, LIQUIDATIONS_PER_BLOCK, Status};

/// Quarters that a block takes off a position at most.
const ROUNDS: usize = 8;

/// What the last block did to whom.
#[derive(Default)]
struct Done {
    /// Lots liquidated, by market.
    lots: Vec<u64>,
    /// By account, each time.
    liquidated: Vec<u32>,
    /// Closed against, or cut: the next block looks at them.
    others: BTreeSet<u32>,
    /// Accounts below zero that were dealt with.
    bankrupt: BTreeSet<u32>,
}

impl Done {
    fn new(house: &House, events: &[Event]) -> Self {
        let mut done = Self {
            lots: vec![0; house.core().markets.len()],
            ..Self::default()
        };
        for event in events {
            match event {
                Event::Liquidated { account, fills, .. } => {
                    done.liquidated.push(*account);
                    for fill in fills {
                        done.lots[fill.market as usize] += fill.lots;
                    }
                }
                Event::Deleveraged {
                    account, against, ..
                } => {
                    done.bankrupt.insert(*account);
                    done.others.insert(*against);
                }
                Event::Haircut { account, .. } => {
                    done.others.insert(*account);
                }
                Event::Covered { account, .. } | Event::BadDebt { account, .. } => {
                    done.bankrupt.insert(*account);
                }
                _ => {}
            }
        }
        done
    }
}

/// Whether a liquidation may meet the market's book.
fn closes(house: &House, market: u32) -> bool {
    let (market, _) = house.market(market).unwrap();
    market.is_priced() && matches!(market.status, Status::Normal | Status::Guarded { .. })
}

/// Why nothing more was closed of a position in a market that was open for it.
fn is_exhausted(house: &House, done: &Done, account: u32, market: u32, lots: i64) -> bool {
    let (at, book) = house.market(market).unwrap();
    let part = u128::from(at.params.liquidation_block_ppm);
    // The open interest of before was no less.
    let budget = (u128::from(at.open_interest) * part / PPM as u128).max(1);
    let rounds = done.liquidated.iter().filter(|who| **who == account);
    let best = book.best(lots > 0);
    let somebody = best.is_some_and(|best| {
        if lots > 0 {
            best >= at.mark
        } else {
            best <= at.mark
        }
    });
    u128::from(done.lots[market as usize]) >= budget || rounds.count() >= ROUNDS || !somebody
}

fn reason(house: &House, done: &Done, id: u32, account: &Account, health: &Health) -> bool {
    let held = || account.positions.iter().filter(|p| p.lots != 0);
    if done.others.contains(&id) {
        return true;
    }
    let unpriced = held().any(|p| !house.market(p.market).unwrap().0.is_priced());
    if health.equity < 0 {
        // Below zero it is closed against others, unless a price is missing.
        return unpriced;
    }
    let open: Vec<_> = held().filter(|p| closes(house, p.market)).collect();
    if open.is_empty() {
        return true;
    }
    // It was tried: its orders are gone, and what is reserved is free.
    let large = house.core().large.iter();
    let reserved = large.filter(|l| l.account == id).any(|l| l.left > 0);
    let tried = !reserved && account.positions.iter().all(|p| p.orders.is_empty());
    let exhausted = |p: &&fairlane_execution::account::Position| {
        is_exhausted(house, done, id, p.market, p.lots)
    };
    tried && open.iter().all(exhausted)
}

/// Fails if an account is short after the last block without a reason.
pub fn check_short(clearing: &Clearing) {
    let house = clearing.house();
    let executed = clearing.executed(clearing.head().0);
    let events = executed.as_ref().map_or(&[][..], |done| &done.events);
    let done = Done::new(house, events);
    let mut short = Vec::new();
    for (id, account) in (0..).zip(house.accounts()) {
        let health = house.health(id);
        if health.liquidatable() || health.equity < 0 {
            short.push((id, account, health));
        }
    }
    assert!(
        short.is_empty() || house.core().unsafe_left,
        "nobody will look at {short:?}"
    );
    // More than a block tries: some had to wait.
    if short.len() + done.liquidated.len() + done.bankrupt.len() > LIQUIDATIONS_PER_BLOCK {
        return;
    }
    for (id, account, health) in short {
        let excused = reason(house, &done, id, account, &health);
        assert!(
            excused,
            "{id} is left without a reason: {health:?} {account:?}"
        );
    }
}
