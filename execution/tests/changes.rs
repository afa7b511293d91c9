//! Changes of parameters by a quorum of the oracles.

#![allow(clippy::unwrap_used)]

use fairlane_execution::oracle::OracleParams;
use fairlane_execution::params::{Deleveraging, MarketParams, MatchingRule};
use fairlane_execution::{
    AHEAD_HEIGHTS_MAX, About, Change, Clearing, Event, Execution, NOTICE_HEIGHTS, Reject, Request,
    Step, Tx,
};
use fairlane_types::Root;
use proptest::prelude::*;

mod common;
use common::run::{Run, place_in, plain};
use common::{check, genesis, key, large, next, payload, seen};

fn say(who: u8, height: u64, change: &Change) -> (u8, Vec<u8>) {
    let change = Box::new(change.clone());
    (
        who,
        Tx::Request(Request::Change { height, change }).to_bytes(),
    )
}

/// Market 0 with other parameters.
fn market(run: &Run, edit: impl FnOnce(&mut MarketParams)) -> Change {
    let mut params = run.clearing.house().market(0).unwrap().0.params.clone();
    edit(&mut params);
    let params = Box::new(params);
    Change::Market { market: 0, params }
}

fn steps(events: &[Event]) -> Vec<(About, Step)> {
    let step = |event: &Event| match event {
        Event::Change { about, step, .. } => Some((*about, *step)),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

/// Applies empty blocks up to the one before a height.
fn idle(run: &mut Run, height: u64) {
    while run.clearing.head().0.0 + 1 < height {
        let (_, events) = run.block(&[]);
        assert_eq!(steps(&events), []);
    }
}

#[test]
fn what_a_quorum_says_holds_from_its_height_on_and_what_fewer_say_does_not() {
    let mut run = Run::new(&plain(100_000));
    let root = run.clearing.head().1;
    let change = market(&run, |params| params.taker_fee_ppm = 300);
    let other = market(&run, |params| params.taker_fee_ppm = 900);
    let height = 2 + NOTICE_HEIGHTS;
    let (codes, events) = run.block(&[
        say(100, height, &change),
        // Not a member; a trader.
        say(1, height, &change),
        say(103, height, &other),
    ]);
    let forbidden = Reject::Forbidden.code();
    assert_eq!((codes, steps(&events)), (vec![0, forbidden, 0], vec![]));
    assert_ne!(run.clearing.head().1, root);
    assert_eq!(run.clearing.house().changes().len(), 2);
    let (codes, events) = run.block(&[say(101, height, &change), say(102, height, &change)]);
    assert_eq!(codes, [0, 0]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Agreed)]);
    idle(&mut run, height);
    let fee = |run: &Run| {
        run.clearing
            .house()
            .market(0)
            .unwrap()
            .0
            .params
            .taker_fee_ppm
    };
    assert_eq!(fee(&run), 0);
    // In that block the old parameters still hold: the trade is free.
    let trade = [
        place_in(0, 0, false, 1_000, 10, 1),
        place_in(0, 1, true, 1_000, 10, 1),
    ];
    let (codes, events) = run.block(&trade);
    assert_eq!(codes, [0, 0]);
    let [lapsed, done] = [Step::Lapsed, Step::Done].map(|step| (About::Market(0), step));
    assert_eq!(steps(&events), [lapsed, done]);
    assert_eq!((fee(&run), run.collateral(1)), (300, 100_000));
    assert_eq!(run.clearing.house().changes(), []);
    let trade = [
        place_in(0, 0, false, 1_000, 10, 2),
        place_in(0, 1, true, 1_000, 10, 2),
    ];
    run.block(&trade);
    assert_eq!(run.collateral(1), 100_000 - 3);
}

#[test]
fn a_change_is_refused_if_it_comes_late_or_the_genesis_could_not_have_it() {
    let mut run = Run::new(&genesis(100_000, MatchingRule::PriceTime));
    let good = market(&run, |params| params.taker_fee_ppm += 1);
    let (notice, params) = (Reject::Notice.code(), Reject::Params.code());
    // The envelope, another first mark, large orders and a breaker taken away, an unknown market.
    let step = market(&run, |params| params.step_ppm = 45_000);
    let mark = market(&run, |params| params.mark_ticks += 1);
    let general = |hour: u32, stale_ms: u64| Change::General {
        oracle: OracleParams {
            stale_ms,
            ..OracleParams::default()
        },
        deleveraging: Deleveraging::RiskAware,
        withdraw_hour_ppm: hour,
        withdraw_day_ppm: 1,
    };
    let without = |market: u32, own: u32| {
        let mut params = run.clearing.house().market(own).unwrap().0.params.clone();
        params.large = None;
        let params = Box::new(params);
        Change::Market { market, params }
    };
    let oracles = |keys: &[u8]| Change::Oracles {
        oracles: keys.iter().map(|n| key(*n)).collect(),
    };
    let late = 1 + NOTICE_HEIGHTS;
    let cases = [
        (late - 1, &good, notice),
        (0, &good, notice),
        (1 + AHEAD_HEIGHTS_MAX + 1, &good, notice),
        (1 + AHEAD_HEIGHTS_MAX, &good, 0),
        (late, &good, 0),
        (late, &step, params),
        (late, &mark, params),
        (late, &without(1, 1), params),
        (late, &without(2, 0), params),
        (late, &without(0, 0), 0),
        (late, &general(1_000_001, 5_000), params),
        (late, &general(1, 31_000), params),
        (late, &general(1_000_000, 5_000), 0),
        (late, &oracles(&[]), params),
        (late, &oracles(&[2, 1]), params),
        (late, &oracles(&[1, 1]), params),
        (late, &oracles(&[1, 2]), 0),
    ];
    let all: Vec<_> = cases.iter().map(|(at, c, _)| say(101, *at, c)).collect();
    let (codes, _) = run.block(&all);
    let want: Vec<_> = cases.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(codes, want);
    // One voice a member, however much it says.
    assert_eq!(run.clearing.house().changes().len(), 1);
}

#[test]
fn an_agreed_change_is_replaced_by_a_later_one_about_the_same() {
    let mut run = Run::new(&plain(100_000));
    let (first, then) = (
        market(&run, |params| params.maker_fee_ppm = 100),
        market(&run, |params| params.maker_fee_ppm = 200),
    );
    let all = |height: u64, change: &Change| -> Vec<_> {
        (100..103).map(|who| say(who, height, change)).collect()
    };
    run.block(&all(100, &first));
    let (_, events) = run.block(&all(110, &then));
    assert_eq!(steps(&events), [(About::Market(0), Step::Agreed)]);
    assert_eq!(run.clearing.house().changes().len(), 1);
    idle(&mut run, 110);
    let (_, events) = run.block(&[]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Done)]);
    let now = &run.clearing.house().market(0).unwrap().0.params;
    assert_eq!(now.maker_fee_ppm, 200);
}

#[test]
fn an_agreed_change_that_no_longer_fits_lapses() {
    let mut run = Run::new(&plain(100_000));
    let with = market(&run, |params| params.large = Some(large()));
    let without = market(&run, |params| params.maker_fee_ppm = 200);
    let height = 1 + NOTICE_HEIGHTS;
    let all: Vec<_> = (100..103).map(|who| say(who, height, &with)).collect();
    run.block(&all);
    let all: Vec<_> = (100..103)
        .map(|who| say(who, height + 9, &without))
        .collect();
    run.block(&all);
    // About the same: the later one counts, and the first never holds.
    idle(&mut run, height + 9);
    let (_, events) = run.block(&[]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Done)]);
    // Two voices for what the third change then makes impossible.
    let height = run.clearing.head().0.0 + 1 + NOTICE_HEIGHTS;
    let mut all: Vec<_> = (100..103).map(|who| say(who, height, &with)).collect();
    all.extend((100..102).map(|who| say(who, height + 1, &without)));
    run.block(&all);
    idle(&mut run, height);
    let (_, events) = run.block(&[]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Done)]);
    let (_, events) = run.block(&[]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Lapsed)]);
    let (codes, _) = run.block(&[say(100, height + 99, &without)]);
    assert_eq!(codes, [Reject::Params.code()]);
}

#[test]
fn a_rise_of_margins_is_seen_before_it_liquidates() {
    let mut run = Run::new(&plain(2_500));
    // Both hold 20 lots at 1,000: 12.5 %, with 10 % initial and 5 % maintenance.
    let (codes, _) = run.block(&[
        place_in(0, 0, false, 1_000, 20, 1),
        place_in(0, 1, true, 1_000, 20, 1),
        place_in(0, 2, true, 1_000, 20, 1),
        place_in(0, 3, false, 1_001, 5, 1),
    ]);
    assert_eq!(codes, [0; 4]);
    let change = market(&run, |params| {
        (params.initial_ppm, params.maintenance_ppm) = (200_000, 150_000);
    });
    let height = run.clearing.head().0.0 + 1 + NOTICE_HEIGHTS;
    let all: Vec<_> = (100..103).map(|who| say(who, height, &change)).collect();
    let (_, events) = run.block(&all);
    assert_eq!(steps(&events), [(About::Market(0), Step::Agreed)]);
    let liquidated = |events: &[Event]| -> Vec<u32> {
        let who = events.iter().filter_map(|event| match event {
            Event::Liquidated { account, .. } => Some(*account),
            _ => None,
        });
        who.collect()
    };
    while run.clearing.head().0.0 + 1 < height {
        let (_, events) = run.block(&[]);
        assert!(liquidated(&events).is_empty());
    }
    // The long has closed half in time; the short has not.
    let (codes, events) = run.block(&[place_in(0, 1, false, 1_000, 10, 2)]);
    assert_eq!(codes, [0]);
    assert_eq!(steps(&events), [(About::Market(0), Step::Done)]);
    let mut who = liquidated(&events);
    who.dedup();
    assert_eq!(who, [0]);
}

#[test]
fn oracles_hand_on_to_others() {
    let mut run = Run::new(&plain(100_000));
    run.seeing(1_000, &[]);
    let oracles = [101, 102, 103, 104].map(key).to_vec();
    let change = Change::Oracles { oracles };
    let height = run.clearing.head().0.0 + 1 + NOTICE_HEIGHTS;
    let open = market(&run, |params| params.taker_fee_ppm = 1);
    let mut all: Vec<_> = (100..103).map(|who| say(who, height, &change)).collect();
    all.push(say(103, height + 1, &open));
    run.block(&all);
    idle(&mut run, height);
    let before = run.clearing.house().market(0).unwrap().0.oracle.clone();
    let (_, events) = run.block(&[]);
    assert_eq!(steps(&events), [(About::Oracles, Step::Done)]);
    // Numbers of the old oracles are nobody's voice.
    assert_eq!(run.clearing.house().changes(), []);
    let after = run.clearing.house().market(0).unwrap().0.oracle.clone();
    assert_eq!(after.observed[..3], before.observed[1..]);
    assert_eq!((after.observed[3].ticks, after.price), (0, before.price));
    let codes = run.block(&[seen(100, 0, 1_005), seen(104, 0, 1_005)]).0;
    assert_eq!(codes, [Reject::Forbidden.code(), 0]);
    run.block(&[seen(101, 0, 1_005), seen(102, 0, 1_005)]);
    run.block(&[]);
    let (market, _) = run.clearing.house().market(0).unwrap();
    assert_eq!(market.oracle.price, 1_005);
}

fn change() -> impl Strategy<Value = (u32, Change)> {
    let edit = (
        0..2u32,
        prop_oneof![
            Just(MatchingRule::PriceTime),
            Just(MatchingRule::CancelFirst),
            Just(MatchingRule::UniformBatch)
        ],
        (60_000..400_000u32, 0..40_000u32, any::<bool>()),
        (0..3u32, any::<bool>(), any::<bool>()),
    );
    edit.prop_map(
        |(market, rule, (margin, step, predictive), (funding, breaks, splits))| {
            let was = genesis(1, MatchingRule::PriceTime).markets[market as usize].clone();
            let splits = splits && rule != MatchingRule::UniformBatch;
            let params = MarketParams {
                rule,
                initial_ppm: margin + 50_000,
                maintenance_ppm: margin,
                step_ppm: step,
                tiers: Vec::new(),
                funding_heights: funding,
                breaker: breaks.then(common::breaker),
                predictive: was.predictive.filter(|_| predictive),
                large: splits.then(|| fairlane_execution::large::LargeParams {
                    reports: 1,
                    ..large()
                }),
                ..was
            };
            let params = Box::new(params);
            (market, Change::Market { market, params })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // Whatever changes, the invariants hold after every block, and a restored state goes on
    // alike.
    #[test]
    fn changes_keep_the_invariants(
        collateral in 2_000..20_000u64,
        rounds in proptest::collection::vec(
            (change(), proptest::collection::vec(proptest::collection::vec(payload(), 0..12), 1..6)),
            1..4,
        ),
    ) {
        let genesis = genesis(collateral, MatchingRule::PriceTime);
        let mut run = Run::new(&genesis);
        for ((number, change), blocks) in rounds {
            let height = run.clearing.head().0.0 + 1 + NOTICE_HEIGHTS;
            let all: Vec<_> = (100..103).map(|who| say(who, height, &change)).collect();
            let (codes, _) = run.seeing(1_000, &all);
            let accepted = codes[0] == 0;
            let mut restored = Clearing::new(&genesis, Root::default()).unwrap();
            restored.restore(&run.clearing.snapshot()).unwrap();
            prop_assert_eq!(restored.head(), run.clearing.head());
            prop_assert_eq!(restored.house().changes(), run.clearing.house().changes());
            for payloads in &blocks {
                run.block(payloads);
            }
            // The restored one would follow: the same blocks give the same roots.
            while run.clearing.head().0.0 < height {
                run.seeing(1_000, &[]);
            }
            if accepted {
                let Change::Market { params, .. } = &change else { unreachable!() };
                let now = run.clearing.house().market(number).unwrap().0;
                prop_assert_eq!(&now.params, &**params);
            }
            let mut twin = Clearing::new(&genesis, Root::default()).unwrap();
            twin.restore(&run.clearing.snapshot()).unwrap();
            for payloads in &blocks {
                let block = next(&run.clearing, &run.parent, payloads);
                run.parent = block.root;
                prop_assert_eq!(run.clearing.apply(&block).unwrap(), twin.apply(&block).unwrap());
                check(&run.clearing);
            }
        }
    }
}
