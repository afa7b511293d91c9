//! Liquidation, the insurance fund, deleveraging, funding and the gate: random crashes with
//! the invariants after every block, and each rule on a case worked out by hand.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::params::{Deleveraging, MatchingRule};
use fairlane_execution::units::PPM;
use fairlane_execution::{Event, Execution, GATE_HEIGHTS, Reject, Status};
use fairlane_types::Millis;
use proptest::prelude::*;

mod common;
use common::run::{Run, deleveraged, place_in, plain, withdraw};
use common::{TRADERS, breaker, genesis, next, observe, payload};

fn place(who: u8, buy: bool, price_ticks: u64, lots: u64, cloid: u64) -> (u8, Vec<u8>) {
    place_in(0, who, buy, price_ticks, lots, cloid)
}

/// Crashes and rallies: where the oracles go in each block.
fn path() -> impl Strategy<Value = Vec<u64>> {
    let leg = (
        prop_oneof![Just(600u64), Just(1_500), 900..1_100u64],
        3..14usize,
    );
    proptest::collection::vec(leg, 1..4)
        .prop_map(|legs| legs.iter().flat_map(|(to, n)| vec![*to; *n]).collect())
}

/// Orders that mostly trade, and now and then anything at all.
fn trade(prices: std::ops::Range<u64>) -> impl Strategy<Value = (u8, Vec<u8>)> {
    let order = (
        0..TRADERS,
        any::<bool>(),
        prices,
        1..20u64,
        any::<u64>(),
        0..2u32,
    );
    let order = order.prop_map(|(who, buy, ticks, lots, cloid, market)| {
        let (who, bytes) = place(who, buy, ticks, lots, cloid);
        let mut bytes = bytes;
        // The market follows the version and the action.
        bytes[2] = market as u8;
        (who, bytes)
    });
    prop_oneof![4 => order, 1 => payload()]
}

fn rule() -> impl Strategy<Value = Deleveraging> {
    prop_oneof![
        Just(Deleveraging::ProRata),
        Just(Deleveraging::RiskAware),
        Just(Deleveraging::Queue),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(128),
        ..ProptestConfig::default()
    })]

    #[test]
    fn crashes_keep_the_invariants(
        collateral in 1_500..12_000u64,
        insurance in prop_oneof![Just(0u64), 0..3_000u64],
        liquidation_block_ppm in prop_oneof![Just(1_000_000u32), 0..300_000u32],
        deleveraging in rule(),
        (uniform, tripping) in any::<(bool, bool)>(),
        calm in proptest::collection::vec(trade(985..1_015), 20..120),
        storm in path(),
        noise in proptest::collection::vec(proptest::collection::vec(trade(600..1_500), 0..6), 42),
    ) {
        let rule = if uniform { MatchingRule::UniformBatch } else { MatchingRule::PriceTime };
        let mut genesis = genesis(collateral, rule);
        genesis.insurance = insurance;
        genesis.deleveraging = deleveraging;
        for market in &mut genesis.markets {
            market.liquidation_block_ppm = liquidation_block_ppm;
            market.breaker = tripping.then(breaker);
        }
        let mut run = Run::new(&genesis);
        run.block(&observe(1_000));
        run.block(&observe(1_000));
        for one in calm.chunks(7) {
            run.block(one);
        }
        for (ticks, noise) in storm.iter().zip(noise) {
            let mut all = observe(*ticks);
            all.extend(noise);
            run.block(&all);
        }
        // With nobody trading, no account stays below its margin for ever.
        let mut blocks = 0;
        while run.clearing.house().core().unsafe_left && blocks < 100 {
            run.block(&observe(1_400));
            blocks += 1;
        }
    }
}

/// The storms above are not calm: every kind of event comes up.
#[test]
fn storms_reach_every_kind_of_event() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut seen = [0; 16];
    let mut runner = TestRunner::deterministic();
    let streams = (
        1_500..12_000u64,
        proptest::collection::vec(trade(985..1_015), 20..120),
        path(),
    );
    for case in 0..600 {
        let (collateral, calm, storm) = streams.new_tree(&mut runner).unwrap().current();
        let mut genesis = genesis(collateral, MatchingRule::PriceTime);
        genesis.insurance = case % 2 * 50;
        for market in &mut genesis.markets {
            market.breaker = (case % 3 == 0).then(breaker);
            if case % 5 == 0 {
                market.rule = MatchingRule::UniformBatch;
                market.large = None;
            }
        }
        if case % 4 == 0 {
            genesis.oracle.stale_ms = 3_000;
            genesis.oracle.recovery_reports = 2;
        }
        let mut run = Run::new(&genesis);
        let mut events = run.block(&observe(1_000)).1;
        for _ in 0..3 {
            events.extend(run.block(&[]).1);
        }
        events.extend(run.block(&calm).1);
        for ticks in storm {
            events.extend(run.block(&observe(ticks)).1);
        }
        for event in events {
            seen[match event {
                Event::Funding { .. } => 0,
                Event::Liquidated { .. } => 1,
                Event::Covered { .. } => 2,
                Event::Deleveraged { .. } => 3,
                Event::Haircut { .. } => 4,
                Event::BadDebt { .. } => 5,
                Event::Gated { .. } => 6,
                Event::Expired { .. } => 7,
                Event::Cleared { .. } => 8,
                Event::Oracle { .. } => 13,
                // Honest members say no two prices; nobody here changes parameters.
                Event::TwoPrices { .. } | Event::Change { .. } => continue,
                Event::Sliced { .. } => 14,
                Event::LargeEnded { .. } => 15,
                // No invariant fails (`common::check`).
                Event::Frozen { .. }
                | Event::Breaker {
                    now: Status::Frozen,
                    ..
                } => continue,
                Event::Breaker { now, .. } => match now {
                    Status::Normal => 9,
                    Status::Guarded { .. } => 10,
                    Status::Auction { .. } => 11,
                    Status::Halted { .. } => 12,
                    Status::Frozen => unreachable!(),
                },
            }] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_liquidation_is_partial_and_no_fill_makes_the_ratio_worse() {
    let mut run = Run::new(&plain(1_000));
    // 10 lots at 1,000 with 1,000 of equity: initial 10 %, maintenance 5 %.
    run.block(&[place(0, true, 1_000, 10, 1), place(1, false, 1_000, 10, 1)]);
    assert_eq!((run.lots(0, 0), run.lots(1, 0)), (10, -10));
    // Down to 942 in three steps: equity 420 under a maintenance of 471. One buys at 940.
    for _ in 0..3 {
        let (_, events) = run.block(&observe(940));
        assert!(events.is_empty());
    }
    let mark = |run: &Run| run.clearing.house().market(0).unwrap().0.mark;
    assert_eq!(mark(&run), 961);
    let mut bids = observe(940);
    bids.push(place(2, true, 940, 4, 7));
    let before = run.clearing.house().health(0);
    assert!(!before.liquidatable());
    let (_, events) = run.block(&bids);
    assert_eq!(mark(&run), 942);
    let filled: u64 = events
        .iter()
        .map(|event| match event {
            Event::Liquidated {
                account: 0, fills, ..
            } => fills.iter().map(|f| f.lots).sum::<u64>(),
            other => panic!("{other:?}"),
        })
        .sum();
    // A quarter, rounded up, is enough.
    assert_eq!((filled, run.lots(0, 0)), (3, 7));
    let after = run.clearing.house().health(0);
    assert!(!after.liquidatable(), "{after:?}");
    assert_eq!(after.equity, 420 - 3 * 2);
    assert!(after.equity * 471 > 420 * after.maintenance_micro / PPM);
}

#[test]
fn what_is_missing_is_paid_out_of_profits_by_lots_and_never_by_flat_accounts() {
    for (rule, want) in [
        (Deleveraging::ProRata, [75, 25]),
        (Deleveraging::RiskAware, [75, 25]),
        // As much profit and leverage: the first one, whole as long as it lasts.
        (Deleveraging::Queue, [90, 10]),
    ] {
        let mut genesis = plain(1_000_000);
        // One market step takes all: the envelope allows 5 %, three steps pass unanswered.
        genesis.accounts[0].1 = 10_000;
        genesis.deleveraging = rule;
        let mut run = Run::new(&genesis);
        run.block(&[
            place(1, false, 1_000, 90, 1),
            place(2, false, 1_000, 30, 1),
            place(0, true, 1_000, 100, 1),
            place(4, true, 1_000, 20, 1),
        ]);
        let lots = |run: &Run| [0, 1, 2, 4].map(|who| run.lots(who, 0));
        assert_eq!(lots(&run), [100, -90, -30, 20]);
        let mut events = Vec::new();
        for _ in 0..8 {
            events.extend(run.block(&observe(850)).1);
        }
        let mut got = [0, 0];
        for (against, lots) in deleveraged(&events) {
            got[against as usize - 1] += lots;
        }
        assert_eq!(got, want, "{rule:?}");
        let [first, second] = want.map(|lots| lots as i64);
        assert_eq!(lots(&run), [0, first - 90, second - 30, 20]);
        // What the long lost beyond its money came off the shorts' profit, to the quantum.
        assert_eq!(run.collateral(0), 0);
        let equity = |who| run.clearing.house().health(who).equity;
        let other = 20 * (1_000 - i128::from(run.mark(0)));
        assert_eq!(equity(1) + equity(2), 2_010_000 + other);
        assert_eq!(
            (equity(4), run.collateral(3)),
            (1_000_000 - other, 1_000_000)
        );
        assert!(!events.iter().any(|e| matches!(e, Event::BadDebt { .. })));
    }
}

#[test]
fn the_fund_pays_before_anyone_is_cut() {
    let mut genesis = plain(1_000_000);
    genesis.accounts[0].1 = 10_000;
    genesis.insurance = 100_000;
    let mut run = Run::new(&genesis);
    run.block(&[
        place(1, false, 1_000, 100, 1),
        place(0, true, 1_000, 100, 1),
    ]);
    let mut events = Vec::new();
    for _ in 0..8 {
        events.extend(run.block(&observe(850)).1);
    }
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::Covered { account: 0, .. }))
    );
    assert!(!events.iter().any(|e| matches!(e, Event::Haircut { .. })));
    let core = run.clearing.house().core();
    assert_eq!(core.insurance + run.collateral(1), 1_110_000);
}

#[test]
fn after_a_gap_in_time_no_withdrawal_for_some_heights() {
    let mut run = Run::new(&plain(1_000));
    assert_eq!(run.block(&[withdraw(0, 1)]).0, [0]);
    let mut late = next(&run.clearing, &run.parent, &[withdraw(0, 1)]);
    late.time = Millis(late.time.0 + 301_000);
    let late = late.sealed();
    run.parent = late.root;
    let done = run.clearing.apply(&late).unwrap();
    assert_eq!(done.receipts[0].code, Reject::Gated.code());
    assert_eq!(
        done.events,
        [Event::Gated {
            until: 2 + GATE_HEIGHTS
        }]
    );
    for _ in 0..GATE_HEIGHTS {
        assert_eq!(run.block(&[withdraw(0, 1)]).0, [Reject::Gated.code()]);
    }
    assert_eq!(run.block(&[withdraw(0, 1)]).0, [0]);
}

#[test]
fn an_hour_lets_no_more_than_its_share_out() {
    let mut genesis = plain(1_000);
    genesis.withdraw_hour_ppm = 100_000;
    let mut run = Run::new(&genesis);
    let held = u64::from(TRADERS) * 1_000;
    assert_eq!(
        run.block(&[withdraw(0, held / 10 + 1)]).0,
        [Reject::Gated.code()]
    );
    assert_eq!(run.block(&[withdraw(0, held / 10)]).0, [0]);
    assert_eq!(run.block(&[withdraw(1, 1)]).0, [Reject::Gated.code()]);
    let core = run.clearing.house().core();
    assert_eq!(core.withdrawn, i128::from(held / 10));
}

#[test]
fn a_day_lets_no_more_than_its_share_out_though_the_hour_would() {
    let mut genesis = plain(1_000_000);
    (genesis.withdraw_hour_ppm, genesis.withdraw_day_ppm) = (100_000, 150_000);
    genesis.oracles.clear();
    let mut run = Run::new(&genesis);
    let gated = Reject::Gated.code();
    // A tenth of six million, the hour's all.
    assert_eq!(run.block(&[withdraw(0, 600_000)]).0, [0]);
    assert_eq!(run.block(&[withdraw(1, 1)]).0, [gated]);
    // Blocks come as late as is no outage.
    let idle = |run: &mut Run, minutes: u64| {
        for _ in 0..minutes / 5 {
            run.later_ms += 299_000;
            assert_eq!(run.block(&[]).1, []);
        }
    };
    idle(&mut run, 70);
    let [hour, day] = run.clearing.house().core().limits;
    // The hour's is empty again: it would let 540,000 of 5,400,000 out. The day's has 810,000.
    assert_eq!(hour.level, 0);
    let left = 810_000 - u64::try_from(day.level).unwrap();
    assert!((240_000..260_000).contains(&left), "{left}");
    // A second drains less than 10.
    let (codes, _) = run.block(&[withdraw(1, left + 100), withdraw(1, left)]);
    assert_eq!(codes, [gated, 0]);
    // A day later that much may leave once more, and an hour's at once.
    idle(&mut run, 25 * 60);
    let held = 6_000_000 - 600_000 - left;
    let (codes, _) = run.block(&[withdraw(2, held / 10 + 1), withdraw(2, held / 10)]);
    assert_eq!(codes, [gated, 0]);
}

#[test]
fn funding_moves_money_from_longs_to_shorts_and_rounds_against_both() {
    let mut genesis = plain(100_000);
    genesis.markets[0].funding_heights = 2;
    genesis.markets[0].funding_cap_ppm = 1_234;
    let mut run = Run::new(&genesis);
    run.block(&[
        place(0, true, 1_000, 7, 1),
        place(1, false, 1_000, 7, 1),
        // The book quotes far above the mark.
        place(2, true, 1_050, 1, 2),
        place(3, false, 1_060, 1, 2),
    ]);
    let (_, events) = run.block(&[]);
    let rate_ppm = 1_234;
    assert_eq!(
        events,
        [Event::Funding {
            market: 0,
            rate_ppm
        }]
    );
    let equity = |run: &Run, who| run.clearing.house().health(who).equity;
    // 7 lots × 1,000 × 1,234 ppm = 8.638
    assert_eq!((equity(&run, 0), equity(&run, 1)), (99_991, 100_008));
    // Both settle when they trade.
    run.block(&[place(0, false, 1_050, 1, 3), place(1, true, 1_060, 1, 3)]);
    let core = run.clearing.house().core();
    assert_eq!(core.funding, 1);
    let house = run.clearing.house();
    let real = |who: u32| house.accounts()[who as usize].collateral;
    assert_eq!((real(0), real(1)), (100_000 - 9 + 50, 100_000 + 8 - 60));
    assert!(house.health(0).equity * PPM > house.health(0).maintenance_micro);
}
