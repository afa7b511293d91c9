//! Traders who work together, or against everybody: no fill may leave a debt to others, and no
//! crowd may keep liquidation, an auction or a block from its end.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::account::Health;
use fairlane_execution::params::{
    ExecutionGenesis, MatchingRule, ORDERS_PER_ACCOUNT_MAX, ORDERS_PER_MARKET_MAX,
};
use fairlane_execution::units::PPM;
use fairlane_execution::{Event, LIQUIDATIONS_PER_BLOCK, Reject, Request, Status, Tx};
use fairlane_types::{OrderAction, PublicKey, Side, TimeInForce};
use proptest::prelude::*;

mod common;
use common::run::{Run, place_in, plain};
use common::{breaker, key, large, observe};

fn side(buy: bool) -> Side {
    if buy { Side::Buy } else { Side::Sell }
}

fn place(who: u8, buy: bool, price_ticks: u64, lots: u64, cloid: u64) -> (u8, Vec<u8>) {
    place_in(0, who, buy, price_ticks, lots, cloid)
}

fn reduce(who: u8, buy: bool, price_ticks: u64, lots: u64, cloid: u64) -> (u8, Vec<u8>) {
    let order = OrderAction::Place {
        market: 0,
        side: side(buy),
        price_ticks,
        lots,
        tif: TimeInForce::Gtc,
        reduce_only: true,
        cloid,
    };
    (who, Tx::Order(order).to_bytes())
}

fn commit(who: u8, market: u32, buy: bool, limit_ticks: u64, lots: u64) -> (u8, Vec<u8>) {
    let request = Request::Commit {
        market,
        side: side(buy),
        limit_ticks,
        lots,
        slices: 1,
        number: 9,
    };
    (who, Tx::Request(request).to_bytes())
}

/// Rich but for the first trader; a band of 20 % over an initial margin of 10 %.
fn poor(rule: MatchingRule, collateral: u64) -> ExecutionGenesis {
    let mut genesis = plain(1_000_000);
    for market in &mut genesis.markets {
        market.rule = rule;
        if rule == MatchingRule::UniformBatch {
            market.large = None;
        }
    }
    genesis.accounts[0].1 = collateral;
    genesis
}

/// What the first trader's fills left it: covered, or at least no debt of others.
fn assert_no_debt(run: &Run, events: &[Event]) {
    let health = run.clearing.house().health(0);
    assert!(health.equity >= 0, "{health:?}");
    assert_eq!(run.clearing.house().core().bad_debt, 0);
    let others_paid = events.iter().any(|event| {
        matches!(
            event,
            Event::Covered { .. } | Event::Deleveraged { .. } | Event::BadDebt { .. }
        )
    });
    assert!(!others_paid, "{events:?}");
}

#[test]
fn a_resting_reduce_only_order_gives_no_more_away_than_there_is() {
    for rule in [MatchingRule::PriceTime, MatchingRule::UniformBatch] {
        let mut run = Run::new(&poor(rule, 1_000));
        run.block(&[place(0, true, 1_000, 10, 1), place(1, false, 1_000, 10, 1)]);
        assert_eq!(run.lots(0, 0), 10);
        // Its partner buys 20 % under the mark what it holds with 10 % of margin.
        run.block(&[reduce(0, false, 800, 10, 2)]);
        let (_, events) = run.block(&[place(5, true, 800, 10, 1)]);
        assert_no_debt(&run, &events);
        assert_eq!(run.collateral(5), 1_000_000);
        // At the mark it closes as it should.
        run.block(&[reduce(0, false, 1_000, 10, 3)]);
        run.block(&[place(4, true, 1_000, 10, 1)]);
        assert_eq!((run.lots(0, 0), run.collateral(0)), (0, 1_000));
    }
}

#[test]
fn a_bad_order_is_not_paid_for_by_good_ones_that_never_fill() {
    for rule in [MatchingRule::PriceTime, MatchingRule::UniformBatch] {
        for partner_rests in [true, false] {
            // 10 lots at 20 % over the mark lose 2,000; ten at 20 % under it would gain that.
            // 2,000 is the initial margin of the twenty.
            let mut run = Run::new(&poor(rule, 2_000));
            let bad = place(0, true, 1_200, 10, 2);
            let partner = place(5, false, 1_200, 10, 1);
            run.block(&[place(0, true, 800, 10, 1)]);
            let mut events = Vec::new();
            for one in if partner_rests {
                [partner, bad]
            } else {
                [bad, partner]
            } {
                events.extend(run.block(&[one]).1);
            }
            assert_no_debt(&run, &events);
            assert_eq!((run.lots(0, 0), run.collateral(5)), (0, 1_000_000));
        }
    }
}

#[test]
fn a_commitment_far_from_the_mark_pays_for_nothing() {
    let mut genesis = poor(MatchingRule::PriceTime, 2_000);
    genesis.markets[0].large = Some(large());
    let mut run = Run::new(&genesis);
    run.block(&observe(1_000));
    run.block(&observe(1_000));
    // Two lots at one tick would gain 1,998 some day.
    let (codes, _) = run.block(&[commit(0, 0, true, 1, 2), place(5, false, 1_200, 10, 1)]);
    assert_eq!(codes, [0, 0]);
    let (codes, events) = run.block(&[place(0, true, 1_200, 10, 2)]);
    assert_eq!(codes, [Reject::Margin.code()]);
    assert_no_debt(&run, &events);
}

#[test]
fn an_order_that_the_mark_left_behind_is_covered_when_it_fills_or_goes() {
    let mut genesis = poor(MatchingRule::PriceTime, 3_000);
    genesis.markets[0].predictive = None;
    let mut run = Run::new(&genesis);
    run.seeing(
        1_000,
        &[place(0, true, 1_000, 10, 1), place(0, true, 820, 10, 2)],
    );
    for _ in 0..12 {
        run.seeing(850, &[]);
    }
    assert_eq!(run.mark(0), 850);
    // 1,500 are lost at once by the first, the second takes 300 of that away; 1,700 are the
    // margin of both.
    assert!(run.clearing.house().health(0).covers_initial());
    let (_, events) = run.seeing(850, &[place(5, false, 1_000, 10, 1)]);
    let health = run.clearing.house().health(0);
    assert!(health.covers_initial(), "{health:?}");
    assert_no_debt(&run, &events);
    assert_eq!(run.lots(0, 0), 0);
}

#[test]
fn fees_of_many_small_fills_are_covered_too() {
    let mut genesis = poor(MatchingRule::PriceTime, 420);
    genesis.markets[0].mark_ticks = 50;
    genesis.markets[0].taker_fee_ppm = 500;
    genesis.accounts.extend((10..90).map(|n| (key(n), 1_000)));
    let mut run = Run::new(&genesis);
    let sellers: Vec<_> = (10..90).map(|n| place(n, false, 50, 1, 1)).collect();
    run.block(&sellers);
    // 80 lots at 50: a margin of 400, and a fee of a quantum for each of 80 fills.
    let (codes, _) = run.block(&[place(0, true, 50, 80, 1)]);
    assert_eq!(codes, [Reject::Margin.code()]);
    let (codes, _) = run.block(&[place(0, true, 50, 70, 1)]);
    assert_eq!((codes, run.collateral(0)), (vec![0], 350));
    assert!(run.clearing.house().health(0).covers_initial());
}

/// A key of a crowd.
fn of_crowd(n: usize) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
    PublicKey(bytes)
}

#[test]
fn a_crowd_that_cannot_be_closed_keeps_nobody_from_liquidation() {
    // More than a block tries are far below their margin in a market without bids, and one
    // a little below in a market with some.
    let crowd = LIQUIDATIONS_PER_BLOCK + 76;
    let mut genesis = plain(1_000_000);
    genesis.accounts[0].1 = 1_050;
    genesis
        .accounts
        .extend((0..crowd).map(|n| (of_crowd(n), 101)));
    for market in &mut genesis.markets {
        market.predictive = None;
        market.interest_max = 0;
        market.large = None;
    }
    let mut run = Run::new(&genesis);
    let lots = crowd as u64;
    let mut orders = vec![(key(1), place_in(1, 1, false, 1_000, lots, 1).1)];
    let one = place_in(1, 0, true, 1_000, 1, 1).1;
    orders.extend((0..crowd).map(|n| (of_crowd(n), one.clone())));
    orders.push((key(2), place(2, false, 1_000, 10, 1).1));
    orders.push((key(0), place(0, true, 1_000, 10, 1).1));
    let codes = run.block_by(orders).0;
    assert!(codes.iter().all(|code| *code == 0));
    // Both marks fall by 6 %, the one of the crowd by 9 %: 11 of 910 left, and 450 of 9,400.
    let mut closed = 0;
    for n in 0..10u64 {
        let mut all: Vec<_> = (100..104)
            .flat_map(|who| [common::seen(who, 0, 940), common::seen(who, 1, 910)])
            .collect();
        all.push(place(3, true, 900 + n, 1, n));
        let (_, events) = run.block(&all);
        closed += events
            .iter()
            .filter(|event| matches!(event, Event::Liquidated { account: 0, .. }))
            .count();
    }
    assert_eq!((run.mark(0), run.mark(1)), (940, 910));
    let house = run.clearing.house();
    let crowded = house.account(&of_crowd(0)).unwrap().0;
    assert!(house.health(crowded).liquidatable());
    assert!(closed > 0, "the one that could be closed was not");
}

#[test]
fn an_auction_is_not_opened_by_orders_that_do_not_count_in_it() {
    let mut genesis = poor(MatchingRule::PriceTime, 1_000_000);
    for market in &mut genesis.markets {
        market.breaker = Some(breaker());
        market.interest_max = 0;
    }
    let mut run = Run::new(&genesis);
    for _ in 0..6 {
        run.block(&observe(1_000));
    }
    assert_eq!(run.status(0), Status::Normal);
    run.block(&[place(0, true, 1_000, 10, 1), place(1, false, 1_000, 10, 1)]);
    assert_eq!(run.lots(0, 0), 10);
    // The oracles leap, the mark lags: guarded, then an auction.
    for _ in 0..4 {
        run.block(&observe(1_200));
    }
    assert!(matches!(run.status(0), Status::Auction { .. }));
    // Buyers at 1,250 and a seller there; and one long of ten who offers a thousand at the
    // mark, to reduce.
    let mut fills = Vec::new();
    let mut reopened = false;
    for n in 0..20u64 {
        let mut all = observe(1_200);
        if matches!(run.status(0), Status::Auction { .. }) {
            let mark = run.mark(0);
            let far = mark * 119 / 100;
            all.push(place(2, true, far, 300, 100 + n));
            all.push(place(3, false, far, 300, 100 + n));
            all.extend((0..60).map(|k| reduce(0, false, mark, 10, 1_000 + 60 * n + k)));
        }
        let (_, events) = run.block(&all);
        for event in events {
            if let Event::Cleared {
                market: 0,
                ticks,
                fills: of,
                ..
            } = event
            {
                let away = i128::from(ticks.abs_diff(run.mark(0))) * PPM;
                let most = i128::from(run.mark(0)) * i128::from(breaker().auction_ppm);
                assert!(away <= most, "{ticks} with a mark of {}", run.mark(0));
                fills.extend(of);
                reopened = true;
            }
        }
    }
    assert!(reopened || fills.is_empty());
}

#[test]
fn a_book_is_not_filled_up_with_orders_of_no_worth() {
    let mut genesis = poor(MatchingRule::PriceTime, 1_000_000);
    genesis.markets[0].lots_min = 10;
    let mut run = Run::new(&genesis);
    let shrink = |lots| {
        (
            1,
            Tx::Request(Request::Shrink {
                market: 0,
                cloid: 2,
                lots,
            })
            .to_bytes(),
        )
    };
    let replace = |lots| {
        let (market, cloid, price_ticks, tif) = (0, 2, 1_000, TimeInForce::Gtc);
        let request = Request::Replace {
            market,
            cloid,
            price_ticks,
            lots,
            tif,
        };
        (1, Tx::Request(request).to_bytes())
    };
    let size = Reject::Size.code();
    let (codes, _) = run.block(&[
        place(1, false, 1_000, 9, 1),
        place(1, false, 1_000, 12, 2),
        shrink(9),
        replace(9),
        shrink(11),
        replace(10),
    ]);
    assert_eq!(codes, [size, 0, size, size, 0, 0]);
    // What a fill leaves may be less, and so may what closes a position.
    let (codes, _) = run.block(&[place(2, true, 1_000, 10, 1), reduce(2, false, 1_010, 3, 2)]);
    assert_eq!((codes, run.lots(2, 0)), (vec![0, 0], 10));
    let (codes, _) = run.block(&[reduce(1, true, 1_010, 3, 3)]);
    assert_eq!((codes, run.lots(2, 0)), (vec![0], 7));
    genesis.markets[0].lots_min = (1 << 30) + 1;
    assert!(genesis.validate().is_err());
}

/// A crowd of so many, each with 128 sells of a lot.
fn deep(rule: MatchingRule, crowd: usize) -> (Run, Vec<(PublicKey, Vec<u8>)>) {
    let mut genesis = poor(rule, 1 << 50);
    genesis
        .accounts
        .extend((0..crowd).map(|n| (of_crowd(n), 1 << 30)));
    let sells = (0..crowd * ORDERS_PER_ACCOUNT_MAX).map(|n| {
        let sell = place(0, false, 1_000 + n as u64 % 3, 1, n as u64);
        (of_crowd(n % crowd), sell.1)
    });
    (Run::new(&genesis), sells.collect())
}

// With a search for each order that goes or comes back it would take hours.
#[test]
fn a_batch_that_fails_deep_in_a_book_is_taken_back_as_it_was() {
    let crowd = ORDERS_PER_MARKET_MAX / ORDERS_PER_ACCOUNT_MAX;
    let (mut run, sells) = deep(MatchingRule::PriceTime, crowd);
    assert!(run.block_by(sells).0.iter().all(|code| *code == 0));
    let queue = |run: &Run| {
        let mut all = Vec::new();
        let book = run.clearing.house().market(0).unwrap().1;
        book.walk(false, u64::MAX, |_, order| {
            all.push(*order);
            true
        });
        all
    };
    let before = (queue(&run), run.clearing.house().accounts().to_vec());
    let lots = (crowd * ORDERS_PER_ACCOUNT_MAX) as u64;
    assert_eq!(before.0.len() as u64, lots);
    let buy = |lots| OrderAction::Place {
        market: 0,
        side: Side::Buy,
        price_ticks: 1_002,
        lots,
        tif: TimeInForce::Ioc,
        reduce_only: false,
        cloid: 1,
    };
    let nothing = OrderAction::Cancel {
        market: 0,
        cloid: 77,
    };
    let orders = vec![buy(lots / 2), buy(lots / 2 - 1), nothing];
    let batch = Tx::Request(Request::Batch { orders }).to_bytes();
    assert_eq!(run.block(&[(0, batch)]).0, [Reject::NotFound.code()]);
    assert!(before == (queue(&run), run.clearing.house().accounts().to_vec()));
    let orders = vec![buy(lots / 2), buy(lots / 2 - 1)];
    let batch = Tx::Request(Request::Batch { orders }).to_bytes();
    assert_eq!(run.block(&[(0, batch)]).0, [0]);
    assert_eq!((queue(&run).len(), run.lots(0, 0)), (1, lots as i64 - 1));
}

#[test]
fn a_clearing_with_many_reduce_only_orders_ends() {
    let crowd = 1_000;
    let (mut run, _) = deep(MatchingRule::UniformBatch, crowd);
    // Each of them holds one lot, and offers it 128 times.
    let lots = crowd as u64;
    let mut orders: Vec<_> = (0..crowd)
        .map(|n| (of_crowd(n), place(0, true, 1_000, 1, 0).1))
        .collect();
    orders.push((key(1), place(1, false, 1_000, lots, 1).1));
    run.block_by(orders);
    assert_eq!(run.lots(1, 0), -(crowd as i64));
    let mut orders: Vec<_> = (0..crowd * ORDERS_PER_ACCOUNT_MAX)
        .map(|n| (of_crowd(n % crowd), reduce(0, false, 1_000, 1, n as u64).1))
        .collect();
    orders.push((key(0), place(0, true, 1_000, 4 * lots, 1).1));
    let (codes, _) = run.block_by(orders);
    assert!(codes.iter().all(|code| *code == 0));
    assert_eq!(
        (run.lots(0, 0), run.lots(1, 0)),
        (lots as i64, -(crowd as i64))
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256),
        ..ProptestConfig::default()
    })]

    // Two who trade with each other as they like, at a mark that stays: whatever one loses was
    // its own. Nobody else is there, so that all that is paid out came in.
    #[test]
    fn nobody_trades_himself_below_his_margin(
        collateral in 500..6_000u64,
        uniform in any::<bool>(),
        moves in proptest::collection::vec(
            (
                prop_oneof![3 => Just(0u8), 2 => Just(5u8)],
                any::<bool>(),
                prop_oneof![800..1_200u64, Just(800), Just(1_200), Just(1_000)],
                1..30u64,
                prop::bool::weighted(0.3),
                prop_oneof![2 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc)],
            ),
            1..60,
        ),
        leap in proptest::option::of((0..60usize, 900..1_100u64)),
    ) {
        let rule = if uniform { MatchingRule::UniformBatch } else { MatchingRule::PriceTime };
        let mut genesis = poor(rule, collateral);
        genesis.markets[0].predictive = None;
        genesis.markets[0].taker_fee_ppm = 500;
        genesis.markets[0].maker_fee_ppm = 100;
        let mut run = Run::new(&genesis);
        run.seeing(1_000, &[]);
        run.seeing(1_000, &[]);
        for (n, (who, buy, price_ticks, lots, reduce_only, tif)) in moves.iter().enumerate() {
            let order = OrderAction::Place {
                market: 0,
                side: side(*buy),
                price_ticks: *price_ticks,
                lots: *lots,
                tif: *tif,
                reduce_only: *reduce_only,
                cloid: n as u64,
            };
            let mark = leap.filter(|(at, _)| n >= *at).map_or(1_000, |(_, mark)| mark);
            let before = (run.clearing.house().health(0), run.mark(0), run.lots(0, 0));
            let fills = run.clearing.house().core().fills;
            let (_, events) = run.seeing(mark, &[(*who, Tx::Order(order).to_bytes())]);
            let (health, lots) = (run.clearing.house().health(0), run.lots(0, 0));
            if run.mark(0) == before.1 && lots != before.2 {
                // A fee is rounded up for each fill, and held for an order as it is. Who holds
                // nothing any more has no ratio to keep.
                let fills = run.clearing.house().core().fills - fills;
                let nearly = Health { equity: health.equity + i128::from(fills), ..health };
                prop_assert!(
                    nearly.may_follow(&before.0) || lots == 0 || !events.is_empty(),
                    "{health:?} after {:?}", before.0
                );
            }
            prop_assert!(health.equity >= 0);
            prop_assert_eq!(run.clearing.house().core().bad_debt, 0);
            let lent = events.iter().any(|e| matches!(e, Event::Covered { .. } | Event::Haircut { .. }));
            prop_assert!(!lent, "{:?}", events);
        }
    }
}
