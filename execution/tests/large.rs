//! Large orders: committed first, priced later, traded in slices.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;

use fairlane_execution::large::{Ended, LARGE_MAX};
use fairlane_execution::oracle::Validity;
use fairlane_execution::params::{ExecutionGenesis, MatchingRule};
use fairlane_execution::units::PPM;
use fairlane_execution::{BreakerParams, Clearing, Event, Execution, Reject, Request, Status, Tx};
use fairlane_types::{PublicKey, Root, Side};
use proptest::prelude::*;

mod common;
use common::run::{Run, place_in, plain, withdraw};
use common::{breaker, genesis, key, large, seen};

const MARKET: u32 = 1;

/// Keys beyond the hundred that others have.
fn wide(n: u16) -> PublicKey {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    PublicKey(key)
}

fn place(who: u8, buy: bool, price_ticks: u64, lots: u64, cloid: u64) -> (u8, Vec<u8>) {
    place_in(MARKET, who, buy, price_ticks, lots, cloid)
}

fn commit(who: u8, buy: bool, limit_ticks: u64, lots: u64, slices: u32) -> (u8, Vec<u8>) {
    let request = Request::Commit {
        market: MARKET,
        side: if buy { Side::Buy } else { Side::Sell },
        limit_ticks,
        lots,
        slices,
        number: 7,
    };
    (who, Tx::Request(request).to_bytes())
}

fn take_back(who: u8) -> (u8, Vec<u8>) {
    let request = Request::TakeBack {
        market: MARKET,
        number: 7,
    };
    (who, Tx::Request(request).to_bytes())
}

/// [`plain`], with a fund to pay into.
fn funded(collateral: u64) -> ExecutionGenesis {
    ExecutionGenesis {
        insurance: 300,
        ..plain(collateral)
    }
}

fn sliced(events: &[Event]) -> Vec<(u64, u64)> {
    let fills = events.iter().filter_map(|event| match event {
        Event::Sliced { fills, .. } => Some(fills),
        _ => None,
    });
    fills.flatten().map(|f| (f.ticks, f.lots)).collect()
}

#[test]
fn it_is_priced_by_reports_after_it_and_traded_in_slices() {
    let mut run = Run::new(&funded(1_000_000));
    run.seeing(1_000, &[]);
    run.seeing(
        1_000,
        &[place(1, false, 1_000, 40, 1), place(2, false, 1_005, 40, 1)],
    );
    let too_large = Reject::TooLarge.code();
    let (codes, _) = run.seeing(
        1_000,
        &[
            // Over 40,000 and no open interest to hold it against.
            place(0, true, 1_010, 60, 1),
            commit(0, true, 1_010, 60, 5),
            commit(0, true, 1_010, 60, 3),
            commit(0, true, 1_010, 60, 3),
            take_back(0),
        ],
    );
    let (size, twice, held) = (
        Reject::Size.code(),
        Reject::CloidInUse.code(),
        Reject::Held.code(),
    );
    assert_eq!(codes, [too_large, size, 0, twice, held]);
    // Height 3 + 2: nothing of before counts. Two reports, then a slice a block.
    let mut events = Vec::new();
    for _ in 4..=7 {
        let (_, new) = run.seeing(1_002, &[]);
        assert!(sliced(&new).is_empty());
    }
    for (slice, want) in [(8, 20), (9, 40), (10, 60)] {
        events.extend(run.seeing(1_002, &[]).1);
        assert_eq!(run.lots(0, MARKET), want, "height {slice}");
    }
    assert_eq!(sliced(&events), [(1_000, 20), (1_000, 20), (1_005, 20)]);
    assert!(events.iter().any(|event| matches!(
        event,
        Event::LargeEnded {
            account: 0,
            why: Ended::Settled,
            ..
        }
    )));
    assert!(run.clearing.house().core().large.is_empty());
    // 20 of 80, then of 60, then of 40 lots of depth, at 5,000 ppm: 1,250, 1,667 and 2,500
    // of 20,000, 20,000 and 20,100.
    let fees = 25 + 34 + 51;
    assert_eq!(run.collateral(0), 1_000_000 - fees);
    assert_eq!(run.clearing.house().core().insurance, 300 + fees);
}

#[test]
fn what_is_reserved_cannot_leave_and_an_end_frees_it() {
    let mut run = Run::new(&plain(10_000));
    run.seeing(1_000, &[]);
    run.seeing(1_000, &[]);
    // 60 lots at 1,000: 6,000 of initial margin.
    let (codes, _) = run.seeing(
        1_000,
        &[
            commit(0, true, 1_000, 60, 1),
            withdraw(0, 4_001),
            withdraw(0, 4_000),
        ],
    );
    assert_eq!(codes, [0, Reject::Amount.code(), 0]);
    let (codes, _) = run.seeing(1_000, &[commit(1, true, 1_000, 101, 1), take_back(0)]);
    assert_eq!(codes, [Reject::Margin.code(), Reject::Held.code()]);
    run.seeing(1_000, &[]);
    let (codes, _) = run.seeing(
        1_000,
        &[
            take_back(0),
            take_back(0),
            withdraw(0, 6_000),
            commit(1, true, 1_000, 60, 1),
        ],
    );
    assert_eq!(codes, [0, Reject::NotFound.code(), 0, 0]);
    // Nobody sells: after twelve heights it is over.
    let mut events = Vec::new();
    for _ in 0..12 {
        events.extend(run.seeing(1_000, &[]).1);
    }
    assert_eq!(
        events,
        [Event::LargeEnded {
            account: 1,
            market: 1,
            number: 7,
            why: Ended::Expired
        }]
    );
    assert_eq!(run.seeing(1_000, &[withdraw(1, 10_000)]).0, [0]);
}

#[test]
fn profit_of_a_slice_stays_for_a_while() {
    let mut run = Run::new(&plain(10_000));
    run.seeing(1_000, &[]);
    run.seeing(
        1_000,
        &[place(1, false, 1_000, 30, 1), place(0, true, 1_000, 30, 1)],
    );
    run.seeing(
        1_000,
        &[place(2, true, 1_050, 30, 1), commit(0, false, 1_000, 30, 1)],
    );
    let mut traded = 0;
    for _ in 0..6 {
        traded += sliced(&run.seeing(1_000, &[]).1).len();
    }
    assert_eq!((traded, run.lots(0, MARKET)), (1, 0));
    let all = run.collateral(0) as u64;
    assert!(all > 11_000, "{all}");
    let (codes, _) = run.seeing(1_000, &[withdraw(0, 10_001), withdraw(0, 10_000)]);
    assert_eq!(codes, [Reject::Amount.code(), 0]);
    for _ in 0..4 {
        run.seeing(1_000, &[]);
    }
    assert_eq!(run.seeing(1_000, &[withdraw(0, all - 10_000)]).0, [0]);
}

#[test]
fn a_place_is_not_taken_by_a_trifle_and_no_market_fills_anothers() {
    let mut genesis = plain(1_000_000);
    let large = fairlane_execution::large::LargeParams {
        least: 10_000,
        ..large()
    };
    genesis.markets[0].large = Some(large);
    genesis.markets[1].large = Some(large);
    genesis.accounts = (0..1_200).map(|n| (wide(n), 20_000)).collect();
    let mut run = Run::new(&genesis);
    run.seeing(1_000, &[]);
    run.seeing(1_000, &[]);
    let commit = |market: u32, who: u16, lots: u64| {
        let request = Request::Commit {
            market,
            side: Side::Buy,
            limit_ticks: 1_000,
            lots,
            slices: 1,
            number: 1,
        };
        (wide(who), Tx::Request(request).to_bytes())
    };
    let (codes, _) = run.block_by(vec![commit(0, 0, 9), commit(0, 0, 10)]);
    assert_eq!(codes, [Reject::Size.code(), 0]);
    // Half of the places are one market's: the rest is refused, the other's are free.
    let places = LARGE_MAX as u16 / 2;
    let all = (1..=places).map(|who| commit(0, who, 10)).collect();
    let (codes, _) = run.block_by(all);
    let refused = codes.iter().position(|code| *code != 0);
    assert_eq!(refused, Some(usize::from(places) - 1));
    assert_eq!(codes.last(), Some(&Reject::Full.code()));
    let (codes, _) = run.block_by(vec![commit(1, 1_000, 10), commit(0, 1_001, 10)]);
    assert_eq!(codes, [0, Reject::Full.code()]);
    assert_eq!(
        run.clearing.house().core().large.len(),
        usize::from(places) + 1
    );
}

#[test]
fn least_and_never_are_held_to_each_other() {
    let with = |least, always, never| {
        let params = fairlane_execution::large::LargeParams {
            least,
            always,
            never,
            ..large()
        };
        params.validate().is_ok()
    };
    assert!(with(80, 80, 80_000) && with(80, 100, 80_000) && with(1, 1, 1_000));
    assert!(!with(0, 1, 1) && !with(81, 80, 80_000) && !with(80, 90, 89));
    assert!(!with(79, 80, 80_000) && !with(1, 1, u64::MAX));
}

/// How a large order of account 0 ended, and when.
fn ended(events: &[Event]) -> Vec<Ended> {
    let why = events.iter().filter_map(|event| match event {
        Event::LargeEnded {
            account: 0, why, ..
        } => Some(*why),
        _ => None,
    });
    why.collect()
}

/// A large order of account 0 that has traded the first of three slices, six heights apart.
fn under_way(mut genesis: ExecutionGenesis) -> Run {
    let large = genesis.markets[1].large.as_mut().unwrap();
    (large.gap_heights, large.life_heights) = (6, 100);
    let mut run = Run::new(&genesis);
    for _ in 0..5 {
        run.seeing(1_000, &[]);
    }
    assert_eq!(run.status(MARKET), Status::Normal);
    let (codes, _) = run.seeing(
        1_000,
        &[
            place(1, false, 1_000, 40, 1),
            place(2, false, 1_000, 40, 1),
            commit(0, true, 1_010, 60, 3),
        ],
    );
    assert_eq!(codes, [0; 3]);
    let mut blocks = 0;
    while run.lots(0, MARKET) == 0 {
        run.seeing(1_000, &[]);
        blocks += 1;
        assert!(blocks < 9, "no slice");
    }
    assert_eq!(run.lots(0, MARKET), 20);
    run
}

/// Whether a slice was due in the last block.
fn is_due(run: &Run) -> bool {
    run.clearing.house().core().large[0].due <= run.clearing.head().0.0
}

/// The rest is traded by as many slices as there were to be, and it is settled.
fn goes_on(run: &mut Run) {
    let (mut events, mut lots) = (Vec::new(), vec![20]);
    for _ in 0..40 {
        events.extend(run.seeing(1_000, &[]).1);
        let now = run.lots(0, MARKET);
        if now != lots[lots.len() - 1] {
            assert_eq!(run.status(MARKET), Status::Normal);
            lots.push(now);
        }
    }
    assert_eq!(
        lots,
        [20, 40, 60],
        "what it waited is no slice more at once"
    );
    assert_eq!(ended(&events), [Ended::Settled]);
}

#[test]
fn slices_wait_while_the_market_is_guarded() {
    let mut genesis = funded(1_000_000);
    genesis.markets[1].breaker = Some(BreakerParams {
        guard_heights: 50,
        ..breaker()
    });
    let mut run = under_way(genesis);
    // The mark is far from a price that is fresh all the time.
    let mut waited = 0;
    for _ in 0..9 {
        let (_, events) = run.seeing(1_300, &[]);
        assert_eq!((sliced(&events), ended(&events)), (vec![], vec![]));
        let guarded = matches!(run.status(MARKET), Status::Guarded { .. });
        waited += u8::from(guarded && is_due(&run));
    }
    assert!(waited >= 2, "{waited}");
    goes_on(&mut run);
}

#[test]
fn slices_wait_for_a_fresh_price() {
    let mut genesis = funded(1_000_000);
    genesis.oracle.stale_ms = 2_500;
    let mut run = under_way(genesis);
    let mut waited = 0;
    for _ in 0..9 {
        let (_, events) = run.block(&[]);
        assert_eq!((sliced(&events), ended(&events)), (vec![], vec![]));
        let (market, _) = run.clearing.house().market(MARKET).unwrap();
        let stale = market.oracle.validity == Validity::Stale;
        waited += u8::from(stale && is_due(&run));
    }
    assert!(waited >= 2, "{waited}");
    goes_on(&mut run);
}

#[test]
fn a_liquidation_ends_the_order_and_frees_its_reserve() {
    let mut genesis = plain(1_000_000);
    // 30 lots need 3,000, the commitment of 60 at 1,000 another 6,000.
    genesis.accounts[0].1 = 9_500;
    genesis.markets[0].predictive = None;
    genesis.markets[1].predictive = None;
    genesis.markets[1].large.as_mut().unwrap().life_heights = 40;
    let mut run = Run::new(&genesis);
    run.seeing(1_000, &[]);
    run.seeing(
        1_000,
        &[
            place_in(0, 0, true, 1_000, 30, 1),
            place_in(0, 1, false, 1_000, 30, 1),
        ],
    );
    let (codes, _) = run.seeing(1_000, &[commit(0, true, 1_000, 60, 1)]);
    assert_eq!(codes, [0]);
    let reserved = |run: &Run| {
        let account = run.clearing.house().account(&key(0)).unwrap().1;
        let held = account.positions.iter().find(|p| p.market == MARKET);
        held.map_or((0, 0), |p| (p.open_buy, p.buy_notional))
    };
    assert_eq!(reserved(&run), (60, 60_000));
    // Market 0 falls by a third, the other one stays; somebody bids all along.
    let mut events = Vec::new();
    let mut blocks = 0;
    while ended(&events).is_empty() {
        let bid = place_in(0, 2, true, run.mark(0) * 97 / 100, 30, 10 + blocks);
        let mut all: Vec<_> = (100..104).map(|who| seen(who, 0, 650)).collect();
        all.push(bid);
        let before = run.clearing.house().health(0);
        let (_, new) = run.block(&all);
        let liquidated = new
            .iter()
            .position(|e| matches!(e, Event::Liquidated { account: 0, .. }));
        let over = new
            .iter()
            .position(|e| matches!(e, Event::LargeEnded { .. }));
        // In one block, and before anything is closed.
        assert_eq!(liquidated.is_some(), over.is_some(), "{before:?}");
        assert!(liquidated >= over);
        events.extend(new);
        blocks += 1;
        assert!(blocks < 30, "it is not liquidated");
        if ended(&events).is_empty() {
            assert_eq!(reserved(&run), (60, 60_000));
        }
    }
    assert_eq!(ended(&events), [Ended::Liquidated]);
    assert_eq!(reserved(&run), (0, 0));
    // What was reserved is needed for nothing now: only the lots that are left need a margin.
    let health = run.clearing.house().health(0);
    let left = i128::from(run.lots(0, 0)) * i128::from(run.mark(0));
    assert_eq!(health.initial_micro, left * 100_000);
}

/// Cases, and the configuration that has them.
fn config() -> (u32, ProptestConfig) {
    let named = std::env::var("PROPTEST_CASES").ok();
    let cases = named.and_then(|n| n.parse().ok()).unwrap_or(64);
    let config = ProptestConfig {
        cases,
        ..ProptestConfig::default()
    };
    (cases, config)
}

/// Never more than was committed, never past the limit or far from the reports after the
/// commitment, never below the initial margin; and a restart in the middle changes nothing.
/// Gives how many slices were cut.
fn keeps_to_it(
    collateral: u64,
    (buy, limit, lots, slices): (bool, u64, u64, u32),
    makers: &[(bool, u64, u64)],
    seen: &[u64],
) -> Result<u32, TestCaseError> {
    let mut run = Run::new(&plain(collateral));
    run.seeing(1_000, &[]);
    let orders: Vec<_> = (0..)
        .zip(makers)
        .map(|(n, (buy, ticks, lots))| place(1 + (n % 5) as u8, *buy, *ticks, *lots, n))
        .collect();
    run.seeing(1_000, &orders);
    let (codes, _) = run.seeing(1_000, &[commit(0, buy, limit, lots, slices)]);
    let mut reports = Vec::new();
    let (mut traded, mut cut) = (0, 0);
    for (n, ticks) in seen.iter().enumerate() {
        // What was seen in this block is the next one's report. It was committed at 3:
        // the blocks from 6 on count.
        let height = 4 + n;
        if height >= 6 && reports.len() < 2 {
            reports.push(if n == 0 { 1_000 } else { seen[n - 1] });
        }
        let snapshot = run.clearing.snapshot();
        let (_, events) = run.seeing(*ticks, &[]);
        for event in &events {
            if let Event::Sliced { fills, .. } = event {
                cut += 1;
                reports.sort_unstable();
                for fill in fills {
                    let within = if buy {
                        fill.ticks <= limit
                    } else {
                        fill.ticks >= limit
                    };
                    prop_assert!(within);
                    let price = i128::from(reports[0]);
                    let away = (i128::from(fill.ticks) - price) * if buy { 1 } else { -1 };
                    prop_assert!(away * PPM <= price * i128::from(large().price_ppm));
                    traded += fill.lots;
                }
                let health = run.clearing.house().health(0);
                prop_assert!(health.covers_initial(), "{health:?}");
            }
        }
        let mut other =
            Clearing::new(&genesis(1, MatchingRule::PriceTime), Root::default()).unwrap();
        prop_assert!(other.restore(&snapshot).is_ok());
        prop_assert_eq!(other.snapshot(), snapshot);
    }
    prop_assert!(traded <= lots && (codes[0] == 0 || traded == 0));
    prop_assert!(cut == 0 || codes[0] == 0);
    Ok(cut)
}

// How many slices the cases cut is part of it: a property of none holds always.
#[test]
fn slices_keep_to_what_was_committed() {
    let slices_cut = Cell::new(0);
    let (cases, config) = config();
    proptest!(config, |(
        collateral in 3_000..200_000u64,
        buy in any::<bool>(),
        limit in 950..1_050u64,
        lots in 1..80u64,
        slices in 1..5u32,
        makers in proptest::collection::vec((any::<bool>(), 940..1_060u64, 1..30u64), 1..12),
        seen in proptest::collection::vec(960..1_040u64, 14),
    )| {
        slices_cut.set(slices_cut.get() + keeps_to_it(collateral, (buy, limit, lots, slices), &makers, &seen)?);
    });
    let cut = slices_cut.get();
    assert!(cut > cases / 4, "{cut} slices in {cases} cases");
}

proptest! {
    #![proptest_config(config().1)]

    // In a book deep at one price the slices come to what one order would have.
    #[test]
    fn with_depth_without_end_slices_are_one_order(
        lots in 1..80u64,
        slices in 1..5u32,
    ) {
        let mut genesis = plain(1 << 40);
        genesis.markets[1].large.as_mut().unwrap().impact_ppm = 0;
        let mut run = Run::new(&genesis);
        run.seeing(1_000, &[]);
        run.seeing(1_000, &[place(1, false, 1_000, 40, 1), place(2, false, 1_000, 40, 1)]);
        run.seeing(1_000, &[commit(0, true, 1_010, lots, slices)]);
        for _ in 0..12 {
            run.seeing(1_000, &[]);
        }
        prop_assert_eq!(run.lots(0, MARKET), lots as i64);
        prop_assert_eq!(run.collateral(0), 1 << 40);
        let account = run.clearing.house().account(&key(0)).unwrap().1;
        prop_assert_eq!(account.positions[0].cost, 1_000 * i128::from(lots));
    }
}
