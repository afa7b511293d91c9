//! A clearing house that blocks are applied to, with every invariant checked after each.

use std::collections::BTreeSet;

use fairlane_execution::params::{ExecutionGenesis, MatchingRule};
use fairlane_execution::{Clearing, Event, Execution, Request, Status, Tx};
use fairlane_types::{Millis, OrderAction, PublicKey, Root, Side, TimeInForce};

use super::{check, genesis, key, next_by, seen};

pub struct Run {
    pub clearing: Clearing,
    pub parent: Root,
    /// Added to the time of every block, in milliseconds.
    pub later_ms: u64,
}

impl Run {
    pub fn new(genesis: &ExecutionGenesis) -> Self {
        Self {
            clearing: Clearing::new(genesis, Root::default()).unwrap(),
            parent: Root::default(),
            later_ms: 0,
        }
    }

    /// Applies a block; gives its codes and events.
    pub fn block(&mut self, payloads: &[(u8, Vec<u8>)]) -> (Vec<u16>, Vec<Event>) {
        let by_key = |(who, payload): &(u8, Vec<u8>)| (key(*who), payload.clone());
        self.block_by(payloads.iter().map(by_key).collect())
    }

    /// The same from any keys.
    pub fn block_by(&mut self, payloads: Vec<(PublicKey, Vec<u8>)>) -> (Vec<u16>, Vec<Event>) {
        let flat = self.flat();
        let mut block = next_by(&self.clearing, &self.parent, payloads);
        block.time = Millis(block.time.0 + self.later_ms);
        let block = block.sealed();
        self.parent = block.root;
        let done = self.clearing.apply(&block).unwrap();
        check(&self.clearing);
        let house = self.clearing.house();
        let cleared = done.events.iter().flat_map(|event| match event {
            Event::Cleared { fills, .. } => fills.as_slice(),
            _ => &[],
        });
        let fills = done.receipts.iter().flat_map(|r| &r.fills).chain(cleared);
        let traded: BTreeSet<u32> = fills.flat_map(|f| [f.taker, f.maker]).collect();
        for event in &done.events {
            match event {
                Event::Haircut { account, amount } => {
                    let never = flat.contains(account) && !traded.contains(account);
                    assert!(!never && *amount > 0, "a flat account pays");
                }
                Event::Deleveraged { account, .. } => {
                    let equity = house.health(*account).equity;
                    assert!(equity <= 0, "more was taken than was missing: {equity}");
                }
                Event::BadDebt { account, amount } => {
                    assert_eq!(house.health(*account).equity, 0);
                    assert!(*amount > 0 && house.core().insurance == 0);
                }
                _ => {}
            }
        }
        let codes = done.receipts.iter().map(|r| r.code).collect();
        (codes, done.events.clone())
    }

    fn flat(&self) -> BTreeSet<u32> {
        let accounts = self.clearing.house().accounts().iter();
        let flat = (0..).zip(accounts).filter(|(_, a)| a.positions.is_empty());
        flat.map(|(id, _)| id).collect()
    }

    /// A block in which all oracles of the genesis see a price in both markets, and some
    /// payloads after that, whose codes are given.
    pub fn seeing(&mut self, ticks: u64, payloads: &[(u8, Vec<u8>)]) -> (Vec<u16>, Vec<Event>) {
        let oracles = self.clearing.house().core().oracles.len();
        let mut all: Vec<_> = (0..oracles as u8)
            .flat_map(|who| [seen(100 + who, 0, ticks), seen(100 + who, 1, ticks)])
            .collect();
        all.extend_from_slice(payloads);
        let (codes, events) = self.block(&all);
        (codes[2 * oracles..].to_vec(), events)
    }

    pub fn status(&self, market: u32) -> Status {
        self.clearing.house().market(market).unwrap().0.status
    }

    pub fn mark(&self, market: u32) -> u64 {
        self.clearing.house().market(market).unwrap().0.mark
    }

    pub fn lots(&self, who: u8, market: u32) -> i64 {
        let account = self.clearing.house().account(&key(who)).unwrap().1;
        let held = account.positions.iter().find(|p| p.market == market);
        held.map_or(0, |p| p.lots)
    }

    pub fn collateral(&self, who: u8) -> i128 {
        let account = self.clearing.house().account(&key(who)).unwrap().1;
        account.collateral
    }
}

/// No tiers, no funding, no fees, no insurance, no limit on withdrawals.
pub fn plain(collateral: u64) -> ExecutionGenesis {
    let mut genesis = genesis(collateral, MatchingRule::PriceTime);
    for market in &mut genesis.markets {
        market.tiers.clear();
        market.taker_fee_ppm = 0;
        market.maker_fee_ppm = 0;
        market.liquidation_fee_ppm = 0;
        market.funding_heights = 0;
        market.funding_cap_ppm = 0;
    }
    genesis.insurance = 0;
    genesis.withdraw_hour_ppm = 1_000_000;
    genesis.withdraw_day_ppm = 1_000_000;
    genesis
}

/// An order that may add to a position.
pub fn order_in(
    market: u32,
    buy: bool,
    price_ticks: u64,
    lots: u64,
    tif: TimeInForce,
    cloid: u64,
) -> OrderAction {
    OrderAction::Place {
        market,
        side: if buy { Side::Buy } else { Side::Sell },
        price_ticks,
        lots,
        tif,
        reduce_only: false,
        cloid,
    }
}

pub fn place_in(
    market: u32,
    who: u8,
    buy: bool,
    price_ticks: u64,
    lots: u64,
    cloid: u64,
) -> (u8, Vec<u8>) {
    let order = order_in(market, buy, price_ticks, lots, TimeInForce::Gtc, cloid);
    (who, Tx::Order(order).to_bytes())
}

/// Against whom account 0 was closed out, and how many lots.
pub fn deleveraged(events: &[Event]) -> Vec<(u32, u64)> {
    let lots = events.iter().filter_map(|event| match event {
        Event::Deleveraged {
            account: 0,
            against,
            lots,
            ..
        } => Some((*against, *lots)),
        _ => None,
    });
    lots.collect()
}

pub fn withdraw(who: u8, amount: u64) -> (u8, Vec<u8>) {
    (who, Tx::Request(Request::Withdraw { amount }).to_bytes())
}
