//! A genesis, blocks, random payloads, and the invariants of EXECUTION §2.5 restated.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;

use fairlane_execution::account::Account;
use fairlane_execution::large::{Large, LargeParams};
use fairlane_execution::oracle::{OracleParams, Quote};
use fairlane_execution::params::{
    Deleveraging, ExecutionGenesis, MarketParams, MatchingRule, Tier,
};
use fairlane_execution::predictive::PredictiveParams;
use fairlane_execution::{BreakerParams, Clearing, DAY_MS, Execution, Request, Status, Tx};
use fairlane_types::{
    ChainId, Item, Label, Micros, Millis, OrderAction, Outcome, Position, PublicKey, Root,
    SequencedBlock, Side, TimeInForce,
};
use proptest::prelude::*;

pub mod run;
pub mod short;

pub const TRADERS: u8 = 6;

pub fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

pub fn market(rule: MatchingRule) -> MarketParams {
    MarketParams {
        initial_ppm: 100_000,
        maintenance_ppm: 50_000,
        step_ppm: 20_000,
        band_ppm: 200_000,
        tiers: vec![
            Tier {
                above: 20_000,
                initial_ppm: 50_000,
                maintenance_ppm: 25_000,
            },
            Tier {
                above: 60_000,
                initial_ppm: 100_000,
                maintenance_ppm: 50_000,
            },
        ],
        liquidation_block_ppm: 1_000_000,
        funding_heights: 3,
        funding_cap_ppm: 4_000,
        predictive: Some(PredictiveParams {
            sample_heights: 1,
            shift: 4,
            window: 100,
            quantile_ppm: 990_000,
            horizon: 4,
            cap_ppm: 300_000,
            rise_ppm: 10_000,
            fall_ppm: 2_000,
        }),
        ..MarketParams::plain(1_000, rule)
    }
}

pub fn large() -> LargeParams {
    LargeParams {
        least: 80,
        always: 40_000,
        never: 80_000,
        depth_ppm: 500_000,
        interest_ppm: 500_000,
        delay_heights: 2,
        reports: 2,
        slices: 4,
        gap_heights: 1,
        hold_heights: 3,
        life_heights: 12,
        price_ppm: 100_000,
        impact_ppm: 5_000,
        mature_heights: 4,
    }
}

pub fn breaker() -> BreakerParams {
    BreakerParams {
        lag_ppm: 60_000,
        edge_ppm: 150_000,
        edge_heights: 3,
        depth_min: 0,
        window_heights: 1,
        liquidated_ppm: 300_000,
        drawn_ppm: 500_000,
        guard_heights: 2,
        calm_heights: 2,
        auction_heights: 2,
        auction_ppm: 80_000,
        auction_initial_ppm: 1_500_000,
        prolong: 1,
        halt_heights: 3,
        resume_heights: 40,
        resumes: 4,
    }
}

/// Any quorum of the last 50 blocks is a price, and without one the first mark is.
pub fn lenient() -> OracleParams {
    OracleParams {
        fresh_ms: 50_000,
        stale_ms: DAY_MS,
        dead_ms: DAY_MS,
        uncertain_ppm: 1_000_000,
        jump_ppm: 1_000_000,
        recovery_reports: 0,
    }
}

/// An observation of one price.
pub fn seen(who: u8, market: u32, ticks: u64) -> (u8, Vec<u8>) {
    let quotes = vec![Quote {
        market,
        ticks,
        spread: 0,
    }];
    (who, Tx::Request(Request::Observe { quotes }).to_bytes())
}

/// All oracles see a price in both markets.
pub fn observe(ticks: u64) -> Vec<(u8, Vec<u8>)> {
    let all = (100..104).flat_map(|who| [(who, 0), (who, 1)]);
    all.map(|(who, market)| seen(who, market, ticks)).collect()
}

pub fn genesis(collateral: u64, rule: MatchingRule) -> ExecutionGenesis {
    ExecutionGenesis {
        markets: vec![
            market(rule),
            MarketParams {
                large: (rule != MatchingRule::UniformBatch).then(large),
                interest_max: 150,
                ..market(rule)
            },
        ],
        accounts: (0..TRADERS).map(|n| (key(n), collateral)).collect(),
        oracles: (100..104).map(key).collect(),
        oracle: lenient(),
        bridge: Some(key(200)),
        insurance: 300,
        deleveraging: Deleveraging::ProRata,
        withdraw_hour_ppm: 500_000,
        withdraw_day_ppm: 900_000,
    }
}

pub fn next(clearing: &Clearing, parent: &Root, payloads: &[(u8, Vec<u8>)]) -> SequencedBlock {
    let by_key = |(who, payload): &(u8, Vec<u8>)| (key(*who), payload.clone());
    next_by(clearing, parent, payloads.iter().map(by_key).collect())
}

/// The same from any keys.
pub fn next_by(
    clearing: &Clearing,
    parent: &Root,
    payloads: Vec<(PublicKey, Vec<u8>)>,
) -> SequencedBlock {
    let item = |(at, (sender, payload)): (usize, (PublicKey, Vec<u8>))| Item {
        position: Position(at as u64),
        label: Label {
            suite: 1,
            chain: ChainId(1),
            key_id: Default::default(),
            sender,
            nonce: at as u64,
            expiry: Default::default(),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        },
        ct_id: Default::default(),
        stamp: Micros(0),
        outcome: Outcome::Opened {
            payload,
            opening: [0; 32],
        },
    };
    SequencedBlock {
        chain: ChainId(1),
        epoch: Default::default(),
        height: clearing.head().0.next(),
        block: Default::default(),
        time: Millis(1_000 * clearing.head().0.next().0),
        parent_root: *parent,
        first_position: Position(0),
        items: payloads.into_iter().enumerate().map(item).collect(),
        state: None,
        root: Root::default(),
    }
    .sealed()
}

/// Invariants 1 to 4, 6 and 9, and the open sums, restated.
pub fn check(clearing: &Clearing) {
    let house = clearing.house();
    let core = house.core();
    let mut money = core.fees + core.withdrawn + core.insurance + core.funding - core.bad_debt;
    let mut unsettled = 0;
    for account in house.accounts() {
        money += account.collateral;
        money -= account.positions.iter().map(|p| p.cost).sum::<i128>();
        for p in &account.positions {
            unsettled += p.unsettled(core.markets[p.market as usize].funding);
        }
    }
    short::check_short(clearing);
    assert_eq!(money, core.deposited, "money is neither made nor lost");
    assert!(core.insurance >= 0);
    assert!(
        core.funding >= unsettled,
        "more funding is owed than was taken"
    );
    assert!(
        core.bad_debt == 0 || core.gated_until > 0,
        "bad debt and never gated"
    );
    for number in 0..2 {
        let (market, book) = house.market(number).unwrap();
        let held = |a: &Account| {
            let found = a.positions.iter().find(|p| p.market == number);
            found.map_or(0, |p| p.lots)
        };
        let lots: Vec<i64> = house.accounts().iter().map(held).collect();
        assert_eq!(lots.iter().sum::<i64>(), 0);
        let long: i64 = lots.iter().map(|l| l.max(&0)).sum();
        assert_eq!(long as u64, market.open_interest);
        let params = &market.params;
        let batches = params.breaker.is_some() || params.rule == MatchingRule::UniformBatch;
        let bounded = params.interest_max > 0 && !batches;
        assert!(!bounded || market.open_interest <= params.interest_max);
        if let (Some(bid), Some(ask)) = (book.best(true), book.best(false)) {
            let auction = matches!(market.status, Status::Auction { .. });
            assert!(bid < ask || auction, "crossed or locked: {bid} {ask}");
        }
        assert_ne!(market.status, Status::Frozen, "an invariant does not hold");
        let halted = matches!(market.status, Status::Halted { .. });
        assert!(!halted || book.is_empty());
        let mut own = 0;
        let mut sums = [BTreeMap::new(), BTreeMap::new()];
        for account in house.accounts() {
            for p in account.positions.iter().filter(|p| p.market == number) {
                let (mut open, mut worth) = ([0, 0], [0, 0]);
                for (cloid, slot) in &p.orders {
                    let order = book.order(*slot);
                    assert_eq!(order.cloid, *cloid);
                    let height = clearing.head().0.0;
                    assert!(order.until == 0 || order.until > height, "rests for ever");
                    own += 1;
                    *sums[usize::from(order.buy)].entry(order.ticks).or_insert(0) += order.lots;
                    if !order.reduce_only {
                        open[usize::from(order.buy)] += order.lots;
                        worth[usize::from(order.buy)] +=
                            i128::from(order.ticks) * i128::from(order.lots);
                    }
                }
                // What is reserved for a large order counts as open at its limit.
                let id = house.account(&account.key).unwrap().0;
                let mine = |l: &&Large| l.account == id && l.market == number;
                for large in core.large.iter().filter(mine) {
                    open[usize::from(large.buy)] += large.left;
                    worth[usize::from(large.buy)] +=
                        i128::from(large.limit) * i128::from(large.left);
                }
                assert_eq!([p.open_sell, p.open_buy], open);
                assert_eq!([p.sell_notional, p.buy_notional], worth);
            }
        }
        assert_eq!(own, book.len());
        for buy in [false, true] {
            let mut levels = book.levels(buy);
            levels.sort_unstable();
            let mut last = (None, 0);
            book.walk(buy, if buy { 0 } else { u64::MAX }, |_, order| {
                let after = last.0 != Some(order.ticks) || order.seq > last.1;
                assert!(after, "not first in, first out");
                last = (Some(order.ticks), order.seq);
                true
            });
            let want: Vec<_> = sums[usize::from(buy)].clone().into_iter().collect();
            assert_eq!(levels, want);
        }
    }
}

pub fn tif() -> impl Strategy<Value = TimeInForce> {
    prop_oneof![
        3 => Just(TimeInForce::Gtc),
        1 => Just(TimeInForce::Ioc),
        1 => Just(TimeInForce::Fok),
        1 => Just(TimeInForce::PostOnly),
    ]
}

pub fn place() -> impl Strategy<Value = OrderAction> {
    (
        0..3u32,
        any::<bool>(),
        790..1_210u64,
        1..60u64,
        tif(),
        prop::bool::weighted(0.2),
        0..40u64,
    )
        .prop_map(
            |(market, buy, price_ticks, lots, tif, reduce_only, cloid)| OrderAction::Place {
                market,
                side: if buy { Side::Buy } else { Side::Sell },
                price_ticks,
                lots,
                tif,
                reduce_only,
                cloid,
            },
        )
}

pub fn order() -> impl Strategy<Value = OrderAction> {
    prop_oneof![
        8 => place(),
        2 => (0..2u32, 0..40u64).prop_map(|(market, cloid)| OrderAction::Cancel { market, cloid }),
        1 => proptest::option::of(0..3u32).prop_map(|market| OrderAction::CancelAll { market }),
    ]
}

pub fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let trader = 0..TRADERS + 1;
    let trader_too = trader.clone();
    prop_oneof![
        20 => (trader.clone(), order()).prop_map(|(who, o)| (who, Tx::Order(o).to_bytes())),
        1 => (trader.clone(), 0..9_000u64)
            .prop_map(|(who, amount)| (who, Tx::Request(Request::Withdraw { amount }).to_bytes())),
        1 => (trader.clone(), 0..20u8, 0..9_000u64).prop_map(|(who, to, amount)| {
            (who, Tx::Request(Request::Transfer { to: key(to), amount }).to_bytes())
        }),
        3 => (99..105u8, 0..3u32, 900..1_100u64).prop_map(|(who, market, ticks)| {
            seen(who, market, ticks)
        }),
        1 => (199..201u8, 0..3u64).prop_map(|(who, number)| {
            (who, Tx::Request(Request::Deposit { to: key(3), amount: 500, number }).to_bytes())
        }),
        2 => (0..TRADERS + 1, 0..3u32, 0..40u64, 0..60u64).prop_map(|(who, market, cloid, lots)| {
            (who, Tx::Request(Request::Shrink { market, cloid, lots }).to_bytes())
        }),
        3 => (trader.clone(), place(), 1..14u64).prop_map(|(who, order, height)| {
            (who, Tx::Request(Request::Until { order, height }).to_bytes())
        }),
        3 => (trader.clone(), (0..3u32, 0..40u64), 790..1_210u64, 1..60u64, tif()).prop_map(
            |(who, (market, cloid), price_ticks, lots, tif)| {
                let request = Request::Replace { market, cloid, price_ticks, lots, tif };
                (who, Tx::Request(request).to_bytes())
            }
        ),
        3 => (trader, proptest::collection::vec(order(), 1..5)).prop_map(|(who, orders)| {
            (who, Tx::Request(Request::Batch { orders }).to_bytes())
        }),
        2 => (trader_too, (0..3u32, any::<bool>()), 790..1_210u64, 1..90u64, (1..6u32, 0..3u64))
            .prop_map(|(who, (market, buy), limit_ticks, lots, (slices, number))| {
                let side = if buy { Side::Buy } else { Side::Sell };
                let request = Request::Commit { market, side, limit_ticks, lots, slices, number };
                (who, Tx::Request(request).to_bytes())
            }),
        1 => (0..TRADERS, 0..3u32, 0..3u64).prop_map(|(who, market, number)| {
            (who, Tx::Request(Request::TakeBack { market, number }).to_bytes())
        }),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)),
    ]
}
