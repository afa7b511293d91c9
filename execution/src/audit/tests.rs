//! Faults, planted: what finds them, what goes on, and how a market comes back.

#![allow(clippy::unwrap_used)]

use fairlane_types::{
    ChainId, Item, Label, Micros, Millis, OrderAction, Outcome, Position as Place, PublicKey, Root,
    SequencedBlock, Side, TimeInForce,
};

use super::*;
use crate::changes::{Change, NOTICE_HEIGHTS};
use crate::oracle::{OracleParams, Quote};
use crate::params::{ExecutionGenesis, MarketParams, MatchingRule};
use crate::{BreakerParams, Clearing, DAY_MS, Execution, Reject, Request, Tx};

const BREAKER: BreakerParams = BreakerParams {
    lag_ppm: 60_000,
    edge_ppm: 90_000,
    edge_heights: 0,
    depth_min: 0,
    window_heights: 1,
    liquidated_ppm: 1_000_000,
    drawn_ppm: 1_000_000,
    guard_heights: 2,
    calm_heights: 2,
    auction_heights: 2,
    auction_ppm: 80_000,
    auction_initial_ppm: 1_500_000,
    prolong: 1,
    halt_heights: 3,
    resume_heights: 100,
    resumes: 10,
};

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

struct Run {
    clearing: Clearing,
    genesis: ExecutionGenesis,
    parent: Root,
    /// Something was changed behind the root's back.
    planted: bool,
}

/// Two markets; 0 and 1 have traded in both and have an order left in each, 2 and 3 are flat.
fn run(breaker: Option<BreakerParams>) -> Run {
    let market = MarketParams {
        breaker,
        funding_heights: 0,
        ..MarketParams::plain(1_000, MatchingRule::PriceTime)
    };
    let genesis = ExecutionGenesis {
        oracles: (100..104).map(key).collect(),
        oracle: OracleParams {
            fresh_ms: 50_000,
            stale_ms: DAY_MS,
            dead_ms: DAY_MS,
            recovery_reports: 0,
            ..OracleParams::default()
        },
        insurance: 500,
        withdraw_hour_ppm: 1_000_000,
        withdraw_day_ppm: 1_000_000,
        ..ExecutionGenesis::plain(
            vec![market.clone(), market],
            (0..4).map(|n| (key(n), 100_000)).collect(),
        )
    };
    let mut run = Run {
        clearing: Clearing::new(&genesis, Root::default()).unwrap(),
        genesis,
        parent: Root::default(),
        planted: false,
    };
    for _ in 0..6 {
        run.seeing(1_000);
    }
    let mut all = Vec::new();
    for market in [0, 1] {
        all.extend([
            place(0, market, true, 1_000, 10, 1),
            place(1, market, false, 1_000, 10, 1),
            place(0, market, true, 990, 5, 2),
            place(1, market, false, 1_010, 5, 2),
        ]);
    }
    assert_eq!(run.block(&all).0, [0; 8]);
    run
}

impl Run {
    fn block(&mut self, payloads: &[(u8, Tx)]) -> (Vec<u16>, Vec<Event>) {
        let item = |(at, (sender, tx)): (usize, &(u8, Tx))| Item {
            position: Place(at as u64),
            label: Label {
                suite: 1,
                chain: ChainId(1),
                key_id: Default::default(),
                sender: key(*sender),
                nonce: at as u64,
                expiry: Default::default(),
                fee: 0,
                lane: 255,
                reserved: [0; 19],
            },
            ct_id: Default::default(),
            stamp: Micros(0),
            outcome: Outcome::Opened {
                payload: tx.to_bytes(),
                opening: [0; 32],
            },
        };
        let height = self.clearing.head().0.next();
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Default::default(),
            height,
            block: Default::default(),
            time: Millis(1_000 * height.0),
            parent_root: self.parent,
            first_position: Place(0),
            items: payloads.iter().enumerate().map(item).collect(),
            state: None,
            root: Root::default(),
        }
        .sealed();
        self.parent = block.root;
        // A member that comes back from a snapshot goes on to the same. What was just planted
        // is in no state that can come about.
        let house = self.clearing.house();
        let sound = house.markets_frozen() > 0 || house.broken().is_empty();
        let can_be = sound && !std::mem::take(&mut self.planted);
        let snapshot = can_be.then(|| self.clearing.snapshot());
        let done = self.clearing.apply(&block).unwrap();
        if let Some(snapshot) = snapshot {
            let mut other = Clearing::new(&self.genesis, Root::default()).unwrap();
            other.restore(&snapshot).unwrap();
            assert_eq!(other.apply(&block).unwrap(), done);
        }
        let codes = done.receipts.iter().map(|r| r.code).collect();
        (codes, done.events.clone())
    }

    fn seeing(&mut self, ticks: u64) -> Vec<Event> {
        let quote = |market| Quote {
            market,
            ticks,
            spread: 0,
        };
        let quotes = vec![quote(0), quote(1)];
        let all: Vec<_> = (100..104)
            .map(|who| {
                (
                    who,
                    Tx::Request(Request::Observe {
                        quotes: quotes.clone(),
                    }),
                )
            })
            .collect();
        self.block(&all).1
    }

    /// Plants a fault, and goes on to a height; gives what was frozen, and when.
    fn plant(&mut self, fault: impl FnOnce(&mut House), until: u64) -> Vec<(u64, u32, Broken)> {
        self.change(fault);
        let mut frozen = Vec::new();
        while self.clearing.head().0.0 < until {
            let events = self.seeing(1_000);
            let height = self.clearing.head().0.0;
            frozen.extend(events.iter().filter_map(|event| match event {
                Event::Frozen { market, why } => Some((height, *market, *why)),
                _ => None,
            }));
        }
        frozen
    }

    fn change(&mut self, edit: impl FnOnce(&mut House)) {
        edit(self.clearing.house_mut());
        self.planted = true;
    }

    fn status(&self, market: usize) -> Status {
        self.clearing.house().core.markets[market].status
    }
}

impl House {
    fn markets_frozen(&self) -> usize {
        let markets = self.core.markets.iter();
        markets.filter(|m| m.status == Status::Frozen).count()
    }
}

fn place(who: u8, market: u32, buy: bool, ticks: u64, lots: u64, cloid: u64) -> (u8, Tx) {
    let order = OrderAction::Place {
        market,
        side: if buy { Side::Buy } else { Side::Sell },
        price_ticks: ticks,
        lots,
        tif: TimeInForce::Gtc,
        reduce_only: false,
        cloid,
    };
    (who, Tx::Order(order))
}

fn cancel(who: u8, market: u32, cloid: u64) -> (u8, Tx) {
    (who, Tx::Order(OrderAction::Cancel { market, cloid }))
}

fn withdraw(who: u8, amount: u64) -> (u8, Tx) {
    (who, Tx::Request(Request::Withdraw { amount }))
}

/// A fault, by its name, and whether the block it is in finds it.
type Fault = (Broken, bool, fn(&mut House));

fn stray(account: u32, buy: bool, ticks: u64) -> Resting {
    Resting {
        account,
        buy,
        reduce_only: false,
        ticks,
        lots: 3,
        cloid: 77,
        seq: 1_000,
        until: 0,
    }
}

const FAULTS: [Fault; 8] = [
    (Broken::Crossed, true, |h| {
        h.core.next_seq = 2_000;
        h.rest(0, stray(2, true, 1_020));
    }),
    (Broken::Orders, true, |h| {
        h.position(0, 0).open_buy += 1;
        h.touch(0);
    }),
    (Broken::Orders, true, |h| {
        h.position(1, 0).sell_notional -= 1;
        h.touch(1);
    }),
    (Broken::Orders, true, |h| {
        h.position(0, 0).add_order(9, 4_000_000);
        h.touch(0);
    }),
    // The account does not come up: the look at everything finds it.
    (Broken::Orders, false, |h| h.position(0, 0).open_sell += 1),
    (Broken::Book, false, |h| {
        h.core.next_seq = 2_000;
        h.books[0].insert(stray(2, true, 980));
    }),
    (Broken::Interest, false, |h| {
        h.core.markets[0].open_interest += 1;
    }),
    (Broken::Interest, false, |h| h.position(0, 0).lots += 1),
];

#[test]
fn a_fault_is_found_and_freezes_its_market_alone() {
    for (n, (why, at_once, fault)) in FAULTS.into_iter().enumerate() {
        for breaker in [None, Some(BREAKER)] {
            let mut run = run(breaker);
            let next = run.clearing.head().0.0 + 1;
            let frozen = run.plant(fault, AUDIT_HEIGHTS);
            let at = if at_once { next } else { AUDIT_HEIGHTS };
            assert_eq!(frozen, [(at, 0, why)], "fault {n}");
            assert_eq!(
                (run.status(0), run.status(1)),
                (Status::Frozen, Status::Normal)
            );

            // Cancels there and nothing else; who holds lots in it withdraws nothing, who is
            // flat does; the other market trades.
            let (codes, events) = run.block(&[
                place(2, 0, true, 1_000, 1, 3),
                cancel(0, 0, 2),
                withdraw(0, 1),
                withdraw(2, 40),
                place(2, 1, true, 1_010, 1, 3),
                place(3, 1, false, 1_010, 1, 3),
            ]);
            let (frozen, unpriced) = (Reject::Frozen.code(), Reject::Unpriced.code());
            assert_eq!(codes, [frozen, 0, unpriced, 0, 0, 0], "fault {n}");
            assert_eq!(events, []);
            // It stays so, its mark too, and the other's moves.
            for _ in 0..2 * AUDIT_HEIGHTS {
                assert_eq!(run.seeing(1_020), []);
            }
            let marks = [0, 1].map(|m: usize| run.clearing.house().core.markets[m].mark);
            assert_eq!(marks, [1_000, 1_020]);
            assert_eq!(run.status(0), Status::Frozen);
        }
    }
}

#[test]
fn money_out_of_nowhere_freezes_all_and_the_flat_may_leave() {
    let faults: [fn(&mut House); 3] = [
        |h| h.accounts[3].collateral += 1,
        |h| h.core.fees -= 1,
        |h| h.core.insurance = -1,
    ];
    for fault in faults {
        let mut run = run(Some(BREAKER));
        let frozen = run.plant(fault, AUDIT_HEIGHTS);
        let want = [0, 1].map(|market| (AUDIT_HEIGHTS, market, Broken::Money));
        assert_eq!(frozen, want);
        let (codes, _) = run.block(&[
            place(2, 1, true, 1_000, 1, 3),
            withdraw(1, 1),
            withdraw(2, 100_000),
        ]);
        assert_eq!(codes, [Reject::Frozen.code(), Reject::Unpriced.code(), 0]);
    }
}

fn change(run: &mut Run, edit: impl FnOnce(&mut MarketParams)) -> Vec<Event> {
    let mut params = run.clearing.house().core.markets[0].params.clone();
    edit(&mut params);
    let params = Box::new(params);
    let height = run.clearing.head().0.0 + 1 + NOTICE_HEIGHTS;
    let change = Box::new(Change::Market { market: 0, params });
    let say = Tx::Request(Request::Change { height, change });
    let all: Vec<_> = (100..103).map(|who| (who, say.clone())).collect();
    assert_eq!(run.block(&all).0, [0; 3]);
    let mut events = Vec::new();
    while run.clearing.head().0.0 < height + 20 {
        events.extend(run.seeing(1_000));
    }
    events
}

#[test]
fn a_frozen_market_comes_back_by_a_change_once_it_holds_and_through_an_auction() {
    let mut run = run(Some(BREAKER));
    run.plant(|h| h.core.markets[0].open_interest += 1, AUDIT_HEIGHTS);
    assert_eq!(run.status(0), Status::Frozen);
    // It does not hold yet.
    change(&mut run, |params| params.taker_fee_ppm += 1);
    assert_eq!(run.status(0), Status::Frozen);
    run.change(|h| h.core.markets[0].open_interest -= 1);
    let events = change(&mut run, |params| params.taker_fee_ppm += 1);
    let of_breaker = events.iter().filter_map(|event| match event {
        Event::Breaker { market: 0, now, .. } => Some(*now),
        _ => None,
    });
    let passed: Vec<Status> = of_breaker.collect();
    assert!(
        matches!(
            passed[..],
            [
                Status::Halted { .. },
                Status::Auction { .. },
                Status::Normal
            ]
        ),
        "{passed:?}"
    );
    // Its book was emptied, and it trades.
    let (codes, _) = run.block(&[
        place(0, 0, true, 1_000, 1, 2),
        place(1, 0, false, 1_000, 1, 2),
    ]);
    assert_eq!(codes, [0, 0]);
}

#[test]
fn without_a_breaker_there_is_no_way_back_but_to_get_one() {
    let mut run = run(None);
    run.plant(|h| h.core.markets[0].open_interest += 1, AUDIT_HEIGHTS);
    run.change(|h| h.core.markets[0].open_interest -= 1);
    change(&mut run, |params| params.taker_fee_ppm += 1);
    assert_eq!(run.status(0), Status::Frozen);
    change(&mut run, |params| params.breaker = Some(BREAKER));
    assert_eq!(run.status(0), Status::Normal);
}
