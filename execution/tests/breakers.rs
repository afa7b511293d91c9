//! What trips a breaker, one trigger after the other, and how often a market comes back.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::params::ExecutionGenesis;
use fairlane_execution::{BreakerParams, Event, Reject, Status, Trouble, Tx};
use fairlane_types::{OrderAction, TimeInForce};

mod common;
use common::run::{Run, order_in, place_in, plain, withdraw};
use common::{breaker, seen};

/// Trips by nothing but what a test sets: no lag within reach, no shares.
fn deaf() -> BreakerParams {
    BreakerParams {
        lag_ppm: 1_000_000,
        edge_heights: 0,
        liquidated_ppm: 1_000_000,
        drawn_ppm: 1_000_000,
        resumes: 100,
        ..breaker()
    }
}

fn run(genesis: ExecutionGenesis, breaker: BreakerParams) -> Run {
    let mut genesis = genesis;
    for market in &mut genesis.markets {
        market.breaker = Some(breaker);
        market.predictive = None;
    }
    let mut run = Run::new(&genesis);
    for _ in 0..5 {
        run.seeing(1_000, &[]);
    }
    assert_eq!([run.status(0), run.status(1)], [Status::Normal; 2]);
    run
}

/// Where a market's breaker went, and why.
fn steps(market: u32, events: &[Event]) -> Vec<(char, Option<Trouble>)> {
    let step = |event: &Event| match event {
        Event::Breaker {
            market: of,
            now,
            why,
        } if *of == market => {
            let name = match now {
                Status::Normal => 'N',
                Status::Guarded { .. } => 'G',
                Status::Auction { .. } => 'A',
                Status::Halted { .. } => 'H',
                Status::Frozen => 'F',
            };
            Some((name, *why))
        }
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

fn quote(
    market: u32,
    who: u8,
    buy: bool,
    price_ticks: u64,
    lots: u64,
    cloid: u64,
) -> (u8, Vec<u8>) {
    let order = order_in(market, buy, price_ticks, lots, TimeInForce::PostOnly, cloid);
    (who, Tx::Order(order).to_bytes())
}

fn cancel(market: u32, who: u8, cloid: u64) -> (u8, Vec<u8>) {
    (
        who,
        Tx::Order(OrderAction::Cancel { market, cloid }).to_bytes(),
    )
}

#[test]
fn a_thin_book_guards_a_market_that_somebody_holds_lots_in() {
    let thin = BreakerParams {
        depth_min: 5,
        guard_heights: 50,
        ..deaf()
    };
    let mut run = run(plain(1_000_000), thin);
    // Nobody holds anything: an empty book is no trouble, and the first may trade.
    let (codes, events) = run.seeing(
        1_000,
        &[
            place_in(0, 2, false, 1_005, 5, 1),
            place_in(0, 3, true, 995, 5, 1),
            place_in(0, 0, true, 1_000, 9, 1),
            place_in(0, 1, false, 1_000, 9, 1),
        ],
    );
    assert_eq!((codes, events), (vec![0; 4], vec![]));
    // Five lots a side are enough; four on one side are not, and a far order is none.
    let (_, events) = run.seeing(1_000, &[]);
    assert_eq!(events, []);
    run.seeing(
        1_000,
        &[
            cancel(0, 2, 1),
            place_in(0, 2, false, 1_005, 4, 2),
            place_in(0, 2, false, 1_011, 9, 3),
        ],
    );
    let (codes, events) = run.seeing(1_000, &[place_in(0, 4, true, 1_000, 1, 1)]);
    assert_eq!(steps(0, &events), [('G', Some(Trouble::Thin))]);
    assert_eq!(codes, [Reject::Guarded.code()]);
    assert_eq!(run.status(1), Status::Normal);
    // A quote still comes in, and heals it.
    assert_eq!(run.seeing(1_000, &[quote(0, 5, false, 1_010, 1, 1)]).0, [0]);
    let mut events = Vec::new();
    for _ in 0..4 {
        events.extend(run.seeing(1_000, &[]).1);
    }
    assert_eq!(steps(0, &events), [('N', None)]);
}

/// Three longs at 8 × leverage, who go one after the other as the price falls.
fn falling(breaker: BreakerParams, insurance: u64) -> Run {
    let mut genesis = plain(1_000_000);
    for (who, collateral) in [(0, 10_400), (2, 11_800), (4, 13_200)] {
        genesis.accounts[who].1 = collateral;
    }
    genesis.insurance = insurance;
    let mut run = run(genesis, breaker);
    let all: Vec<_> = [0, 2, 4]
        .into_iter()
        .flat_map(|who| {
            [
                place_in(0, who, true, 1_000, 100, 1),
                place_in(0, 1, false, 1_000, 100, 1 + u64::from(who)),
            ]
        })
        .collect();
    assert_eq!(run.seeing(1_000, &all).0, [0; 6]);
    run
}

#[test]
fn liquidations_of_several_blocks_count_together() {
    // Never 30 % of the open interest in one block, but more in the window.
    let trips = |window_heights: u32| {
        let liquidated = BreakerParams {
            liquidated_ppm: 300_000,
            window_heights,
            guard_heights: 1_000,
            ..deaf()
        };
        let mut run = falling(liquidated, 0);
        let (mut steps_seen, mut most) = (Vec::new(), 0);
        for n in 0..12u64 {
            let mark = run.mark(0);
            let bid = quote(0, 3, true, mark * 98 / 100, 300, 10 + n);
            let interest = run.clearing.house().market(0).unwrap().0.open_interest;
            let (_, events) = run.seeing(890, &[bid]);
            let closed = events.iter().filter_map(|event| match event {
                Event::Liquidated { fills, .. } => Some(fills.iter().map(|f| f.lots).sum::<u64>()),
                _ => None,
            });
            most = most.max(closed.sum::<u64>() * 1_000 / interest.max(1));
            steps_seen.extend(steps(0, &events));
        }
        assert!(most > 100 && most <= 300, "{most} thousandths in a block");
        (steps_seen, run.status(1))
    };
    let (seen, other) = trips(64);
    assert_eq!(seen, [('G', Some(Trouble::Liquidated))]);
    assert_eq!(other, Status::Normal);
    assert_eq!(trips(1).0, []);
}

#[test]
fn what_the_fund_pays_trips_the_market_it_is_paid_for_and_no_other() {
    // Nobody bids: the accounts fall below zero, and the fund pays some thousands.
    let trips = |insurance: u64| {
        let drawn = BreakerParams {
            drawn_ppm: 100_000,
            window_heights: 64,
            guard_heights: 1_000,
            ..deaf()
        };
        let mut run = falling(drawn, insurance);
        // One of them holds a lot in the other market.
        run.seeing(
            1_000,
            &[
                place_in(1, 0, true, 1_000, 1, 9),
                place_in(1, 5, false, 1_000, 1, 9),
            ],
        );
        let mut events = Vec::new();
        for _ in 0..14 {
            events.extend(run.seeing(860, &[]).1);
        }
        let paid: i128 = events
            .iter()
            .map(|event| match event {
                Event::Covered { amount, .. } | Event::BadDebt { amount, .. } => *amount,
                _ => 0,
            })
            .sum();
        (steps(0, &events), steps(1, &events), paid)
    };
    let (seen, other, paid) = trips(20_000);
    assert!(paid > 2_000, "{paid}");
    assert_eq!(seen, [('G', Some(Trouble::Drawn))]);
    // Its share of what was paid is that of one lot of a hundred and one.
    assert!(
        other.iter().all(|(_, why)| *why != Some(Trouble::Drawn)),
        "{other:?}"
    );
    // A fund that hardly notices.
    let (seen, _, paid) = trips(10_000_000);
    assert!(
        paid > 2_000 && seen.iter().all(|(_, why)| *why != Some(Trouble::Drawn)),
        "{seen:?}"
    );
}

#[test]
fn a_book_that_leans_on_its_edge_is_guarded_after_a_while() {
    let edge = BreakerParams {
        edge_ppm: 150_000,
        edge_heights: 3,
        guard_heights: 50,
        ..deaf()
    };
    let mut run = run(plain(1_000_000), edge);
    // 14.9 % over the mark is no edge, however long.
    run.seeing(1_000, &[place_in(0, 0, true, 1_149, 1, 1)]);
    for _ in 0..5 {
        assert_eq!(run.seeing(1_000, &[]).1, []);
    }
    run.seeing(1_000, &[place_in(0, 0, true, 1_150, 1, 2)]);
    assert_eq!(run.seeing(1_000, &[]).1, []);
    assert_eq!(run.seeing(1_000, &[]).1, []);
    let (_, events) = run.seeing(1_000, &[cancel(0, 0, 2)]);
    assert_eq!(steps(0, &events), [('G', Some(Trouble::Edge))]);
    assert_eq!(run.status(1), Status::Normal);
    let mut events = Vec::new();
    for _ in 0..4 {
        events.extend(run.seeing(1_000, &[]).1);
    }
    assert_eq!(steps(0, &events), [('N', None)]);
    // The same of sellers; a height without begins it anew.
    let low = |cloid| place_in(0, 0, false, 850, 1, cloid);
    run.seeing(1_000, &[cancel(0, 0, 1), low(3)]);
    run.seeing(1_000, &[]);
    run.seeing(1_000, &[cancel(0, 0, 3)]);
    run.seeing(1_000, &[low(4)]);
    assert_eq!(run.seeing(1_000, &[]).1, []);
    assert_eq!(run.seeing(1_000, &[]).1, []);
    let (_, events) = run.seeing(1_000, &[]);
    assert_eq!(steps(0, &events), [('G', Some(Trouble::Edge))]);
}

#[test]
fn in_an_auction_the_initial_margin_is_half_as_much_again() {
    let long = BreakerParams {
        lag_ppm: 60_000,
        auction_heights: 20,
        ..deaf()
    };
    let mut run = run(plain(10_000), long);
    // 40 lots need 4,000 of 10,000, in an auction 6,000.
    let held = [
        place_in(0, 0, true, 1_000, 40, 1),
        place_in(0, 1, false, 1_000, 40, 1),
    ];
    assert_eq!(run.seeing(1_000, &held).0, [0, 0]);
    let leap: Vec<_> = (100..104).map(|who| seen(who, 0, 1_200)).collect();
    for _ in 0..14 {
        run.block(&leap);
    }
    assert!(matches!(run.status(0), Status::Auction { .. }));
    assert_eq!(run.mark(0), 1_200);
    let health = run.clearing.house().health(0);
    assert_eq!(health.initial_micro, 40 * 1_200 * 150_000);
    assert_eq!(health.maintenance_micro, 40 * 1_200 * 50_000);
    // 10,000 less 7,200; what it has won is not real.
    let (codes, _) = run.block(&[withdraw(0, 2_801), withdraw(0, 2_800)]);
    assert_eq!(codes, [Reject::Amount.code(), 0]);
    // 15 % of 56 lots are 10,080, of 55 they are 9,900.
    let (codes, _) = run.block(&[
        place_in(0, 2, true, 1_200, 56, 1),
        place_in(0, 2, true, 1_200, 55, 2),
    ]);
    assert_eq!(codes, [Reject::Margin.code(), 0]);
    // Reopened, the margin is the ordinary one.
    for _ in 0..20 {
        run.block(&leap);
    }
    assert_eq!(run.status(0), Status::Normal);
    let (codes, _) = run.block(&[
        place_in(0, 4, true, 1_200, 84, 1),
        place_in(0, 4, true, 1_200, 83, 2),
    ]);
    assert_eq!(codes, [Reject::Margin.code(), 0]);
}

#[test]
fn a_market_comes_back_so_many_times_in_a_window_and_no_more() {
    let flapping = BreakerParams {
        lag_ppm: 60_000,
        guard_heights: 3,
        resume_heights: 60,
        resumes: 3,
        prolong: 2,
        ..deaf()
    };
    let mut run = run(plain(1_000_000), flapping);
    let (mut came_back, mut halted) = (Vec::new(), false);
    for height in 0..400u64 {
        // Up and down by 8 % in turns, as fast as the mark follows.
        let ticks = if height / 9 % 2 == 0 { 1_000 } else { 1_090 };
        let (_, events) = run.seeing(ticks, &[]);
        came_back.extend(
            steps(0, &events)
                .iter()
                .filter(|s| s.0 == 'N')
                .map(|_| height),
        );
        halted |= matches!(run.status(0), Status::Halted { .. });
    }
    assert!(came_back.len() >= 6, "{came_back:?}");
    for (n, height) in came_back.iter().enumerate() {
        let window = came_back[n..].iter().take_while(|h| *h - height < 60);
        assert!(window.count() <= 3, "{came_back:?}");
    }
    assert!(halted, "an auction without a return left ends in a halt");
    // With peace it does come back.
    for _ in 0..200 {
        run.seeing(1_000, &[]);
    }
    assert_eq!(run.status(0), Status::Normal);
}

#[test]
fn parameters_out_of_their_bounds_are_refused() {
    let good = plain(1);
    let accepted = |edit: &dyn Fn(&mut BreakerParams)| {
        let mut genesis = good.clone();
        let mut params = breaker();
        edit(&mut params);
        genesis.markets[0].breaker = Some(params);
        genesis.validate().is_ok()
    };
    assert!(accepted(&|_| ()));
    let bad: [&dyn Fn(&mut BreakerParams); 16] = [
        &|b| b.lag_ppm = 1_000_001,
        &|b| b.liquidated_ppm = 1_000_001,
        &|b| b.drawn_ppm = 1_000_001,
        &|b| b.auction_ppm = 1_000_001,
        &|b| b.edge_ppm = 200_001,
        &|b| b.edge_ppm = 0,
        &|b| b.edge_heights = (1 << 20) + 1,
        &|b| b.depth_min = (1 << 30) + 1,
        &|b| b.window_heights = 0,
        &|b| b.window_heights = (1 << 20) + 1,
        &|b| b.resume_heights = 0,
        &|b| b.resumes = 0,
        &|b| b.auction_heights = 0,
        &|b| b.auction_initial_ppm = 999_999,
        &|b| b.auction_initial_ppm = 4_000_001,
        &|b| b.halt_heights = u32::MAX,
    ];
    for (n, edit) in bad.iter().enumerate() {
        assert!(!accepted(edit), "{n}");
    }
    // An edge that nobody watches may be anywhere.
    assert!(accepted(&|b| (b.edge_ppm, b.edge_heights) = (0, 0)));
}
