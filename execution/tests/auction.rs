//! Clearing at one price, and the breakers that reopen a market by it.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::params::MatchingRule;
use fairlane_execution::{Event, Reject, Status, Tx};
use fairlane_types::TimeInForce;
use proptest::prelude::*;

mod common;
use common::run::{Run, order_in};
use common::{TRADERS, breaker, genesis, observe, seen};

fn place(who: u8, buy: bool, price_ticks: u64, lots: u64, tif: TimeInForce) -> (u8, Vec<u8>) {
    let order = order_in(0, buy, price_ticks, lots, tif, price_ticks);
    (who, Tx::Order(order).to_bytes())
}

/// What each trader holds, in both markets together.
fn held(run: &Run) -> Vec<i64> {
    let of = |who| run.lots(who, 0) + run.lots(who, 1);
    (0..TRADERS).map(of).collect()
}

fn run(rule: MatchingRule, tripping: bool) -> Run {
    let mut genesis = genesis(1 << 40, rule);
    for market in &mut genesis.markets {
        market.breaker = tripping.then(breaker);
        market.funding_heights = 0;
    }
    Run::new(&genesis)
}

proptest! {
    #[test]
    fn a_place_inside_the_batch_is_worth_nothing(
        orders in proptest::collection::vec(
            (any::<bool>(), 990..1_010u64, 1..50u64, any::<bool>()),
            usize::from(TRADERS),
        ),
        shuffled in Just((0..usize::from(TRADERS)).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let payload = |who: usize| {
            let (buy, ticks, lots, rests) = orders[who];
            let tif = if rests { TimeInForce::Gtc } else { TimeInForce::Ioc };
            place(who as u8, buy, ticks, lots, tif)
        };
        let straight: Vec<_> = (0..usize::from(TRADERS)).map(payload).collect();
        let mixed: Vec<_> = shuffled.into_iter().map(payload).collect();
        let (mut one, mut other) = (run(MatchingRule::UniformBatch, false), run(MatchingRule::UniformBatch, false));
        let price = |events: &[Event]| match events.first() {
            Some(Event::Cleared { ticks, lots, .. }) => Some((*ticks, *lots)),
            _ => None,
        };
        let (codes, events) = one.block(&straight);
        prop_assert!(codes.iter().all(|code| *code == 0));
        prop_assert_eq!(price(&events), price(&other.block(&mixed).1));
        // What rounding leaves at the price is drawn by lot.
        for (a, b) in held(&one).into_iter().zip(held(&other)) {
            prop_assert!(a.abs_diff(b) <= 1, "{} {}", a, b);
        }
        // Nothing immediate is left.
        let (_, book) = one.clearing.house().market(0).unwrap();
        let rest = orders.iter().filter(|order| order.3).count();
        prop_assert!(book.len() <= rest);
    }
}

#[test]
fn one_price_for_all_and_older_orders_first() {
    let mut run = run(MatchingRule::UniformBatch, false);
    let gtc = TimeInForce::Gtc;
    let (codes, events) = run.block(&[
        place(0, false, 1_000, 10, gtc),
        place(0, true, 1_000, 1, gtc),
        place(1, false, 1_000, 10, TimeInForce::Fok),
    ]);
    let refused = [Reject::SelfTrade.code(), Reject::NotInBatch.code()];
    assert_eq!((codes[0], &codes[1..], events.len()), (0, &refused[..], 0));
    let (_, events) = run.block(&[
        place(1, false, 1_000, 60, gtc),
        place(2, false, 1_000, 20, gtc),
        place(3, true, 1_010, 30, gtc),
        place(4, true, 1_000, 20, gtc),
    ]);
    let [
        Event::Cleared {
            ticks, lots, fills, ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((*ticks, *lots), (1_000, 50));
    assert!(fills.iter().all(|fill| fill.ticks == 1_000));
    // The order of the block before whole, the others 3 : 1.
    assert_eq!(held(&run)[..5], [-10, -30, -10, 30, 20]);
}

#[test]
fn a_market_in_trouble_is_guarded_auctioned_halted_and_comes_back_by_auction() {
    let mut run = run(MatchingRule::PriceTime, true);
    let gtc = TimeInForce::Gtc;
    // No observation yet: guarded, and after that the oracles are there.
    let (codes, _) = run.block(&[place(0, true, 990, 5, gtc)]);
    assert_eq!(codes, [Reject::Guarded.code()]);
    run.block(&observe(1_000));
    for _ in 0..3 {
        run.block(&observe(1_000));
    }
    assert_eq!(
        (run.status(0), run.status(1)),
        (Status::Normal, Status::Normal)
    );
    assert_eq!(run.block(&[place(0, true, 990, 5, gtc)]).0, [0]);

    // The oracles leap by 30 %: the mark follows in steps of 2 % and lags.
    let mut seen = Vec::new();
    let mut auctioned = false;
    for _ in 0..40 {
        let mut all = observe(1_300);
        all.extend([place(1, true, 1_001, 3, gtc), place(2, false, 999, 2, gtc)]);
        let (codes, events) = run.block(&all);
        let codes = &codes[8..];
        match run.status(0) {
            Status::Guarded { .. } => assert_eq!(codes, [Reject::Guarded.code(); 2]),
            Status::Halted { .. } => {
                let (_, book) = run.clearing.house().market(0).unwrap();
                assert!(book.is_empty());
            }
            Status::Auction { .. } => {
                let (_, book) = run.clearing.house().market(0).unwrap();
                auctioned |= book.best(true) >= book.best(false) && !book.is_empty();
            }
            Status::Normal | Status::Frozen => {}
        }
        seen.extend(events.into_iter().filter_map(|event| match event {
            Event::Breaker { market: 0, now, .. } => Some(now),
            _ => None,
        }));
    }
    let names: Vec<u8> = seen
        .iter()
        .map(|status| match status {
            Status::Normal => b'N',
            Status::Guarded { .. } => b'G',
            Status::Auction { .. } => b'A',
            Status::Halted { .. } => b'H',
            Status::Frozen => b'F',
        })
        .collect();
    let names = String::from_utf8(names).unwrap();
    // Never straight from halted to normal.
    assert!(names.starts_with("GAHA") && names.ends_with('N'), "{names}");
    assert!(!names.contains("HN") && !names.contains("HG"), "{names}");
    assert!(auctioned, "orders rest and cross in an auction");
    assert_eq!(run.status(0), Status::Normal);
}

#[test]
fn a_market_in_trouble_stops_no_other() {
    let mut run = run(MatchingRule::PriceTime, true);
    for _ in 0..4 {
        run.block(&observe(1_000));
    }
    let leap: Vec<_> = (100..104).map(|who| seen(who, 1, 1_500)).collect();
    run.block(&leap);
    let gtc = TimeInForce::Gtc;
    for n in 0..6 {
        let orders = [
            place(0, false, 1_000 + n, 1, gtc),
            place(1, true, 1_000 + n, 1, gtc),
        ];
        assert_eq!(run.block(&orders).0, [0, 0]);
    }
    assert_ne!(run.status(1), Status::Normal);
    assert_eq!(held(&run)[..2], [-6, 6]);
}

proptest! {
    /// However many open at once, a clearing stays in the market's bound; what closes is
    /// never held up by it.
    #[test]
    fn open_interest_stays_in_its_bound_in_batches_too(
        most in 1..120u64,
        batches in proptest::collection::vec(
            proptest::collection::vec((any::<bool>(), 990..1_010u64, 1..50u64, any::<bool>()), usize::from(TRADERS)),
            1..6,
        ),
    ) {
        let mut genesis = genesis(1 << 40, MatchingRule::UniformBatch);
        for market in &mut genesis.markets {
            market.funding_heights = 0;
            market.interest_max = most;
        }
        let mut run = Run::new(&genesis);
        for batch in batches {
            let orders: Vec<_> = (0..).zip(&batch).map(|(who, (buy, ticks, lots, rests))| {
                let tif = if *rests { TimeInForce::Gtc } else { TimeInForce::Ioc };
                place(who, *buy, *ticks, *lots, tif)
            }).collect();
            run.block(&orders);
            let (market, book) = run.clearing.house().market(0).unwrap();
            prop_assert!(market.open_interest <= most, "{} of {most}", market.open_interest);
            let crossed = book.best(true).zip(book.best(false)).is_some_and(|(bid, ask)| bid >= ask);
            prop_assert!(!crossed, "the book is left crossed");
        }
    }
}

#[test]
fn the_room_under_the_bound_goes_by_price_and_lots_and_closing_needs_none() {
    let mut genesis = genesis(1 << 40, MatchingRule::UniformBatch);
    genesis.markets[0].funding_heights = 0;
    genesis.markets[0].interest_max = 40;
    let mut run = Run::new(&genesis);
    let gtc = TimeInForce::Gtc;
    // 60 would open; 40 may: 10 at the better price, the others 2 : 1.
    let (codes, _) = run.block(&[
        place(0, false, 1_000, 30, gtc),
        place(1, false, 1_000, 30, gtc),
        place(2, true, 1_005, 10, gtc),
        place(3, true, 1_000, 30, gtc),
        place(4, true, 1_000, 15, gtc),
    ]);
    assert_eq!(codes, [0; 5]);
    assert_eq!(held(&run)[..5], [-20, -20, 10, 20, 10]);
    // At the bound: who opens is refused, who closes against who closes is not.
    let (codes, _) = run.block(&[
        place(5, true, 1_001, 1, gtc),
        place(0, true, 1_002, 20, gtc),
        place(3, false, 1_000, 20, gtc),
    ]);
    assert_eq!((codes[0] != 0, &codes[1..]), (true, &[0, 0][..]));
    assert_eq!(held(&run)[..6], [0, -20, 10, 0, 10, 0]);
    assert_eq!(run.clearing.house().market(0).unwrap().0.open_interest, 20);
}
