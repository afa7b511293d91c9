//! Invariants of EXECUTION §2.5 that are not about one state (those are `common::check`):
//! after every single transaction, and of one run against another.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::account::{Health, PositionLeaf};
use fairlane_execution::params::{MarketParams, MatchingRule, Tier};
use fairlane_execution::units::PPM;
use fairlane_execution::{BreakerParams, Clearing, Core, Event, Execution, House, Request, Tx};
use fairlane_types::{OrderAction, PublicKey, Root, TimeInForce};
use proptest::prelude::*;

mod common;
use common::run::Run;
use common::{TRADERS, breaker, check, genesis, key, market, next, order, payload};

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|n| n.parse().ok()).unwrap_or(cases),
        ..ProptestConfig::default()
    }
}

/// Moves an action to a market.
fn moved(action: OrderAction, to: u32) -> OrderAction {
    match action {
        OrderAction::Place {
            side,
            price_ticks,
            lots,
            tif,
            reduce_only,
            cloid,
            ..
        } => OrderAction::Place {
            market: to,
            side,
            price_ticks,
            lots,
            tif,
            reduce_only,
            cloid,
        },
        OrderAction::Cancel { cloid, .. } => OrderAction::Cancel { market: to, cloid },
        OrderAction::CancelAll { .. } => OrderAction::CancelAll { market: Some(to) },
    }
}

/// A transaction of traders `first..first + 3` in one market.
fn inside(to: u32, first: u8) -> impl Strategy<Value = (u8, Vec<u8>)> {
    let tx = prop_oneof![
        6 => order().prop_map(move |o| Tx::Order(moved(o, to))),
        1 => (order(), 1..30u64).prop_filter_map("only orders rest", move |(o, height)| {
            let order = moved(o, to);
            matches!(order, OrderAction::Place { .. })
                .then(|| Tx::Request(Request::Until { order, height }))
        }),
        1 => (0..40u64, 790..1_210u64, 1..60u64).prop_map(move |(cloid, price_ticks, lots)| {
            let tif = TimeInForce::Gtc;
            Tx::Request(Request::Replace { market: to, cloid, price_ticks, lots, tif })
        }),
        1 => proptest::collection::vec(order(), 1..4).prop_map(move |orders| {
            let orders = orders.into_iter().map(|o| moved(o, to)).collect();
            Tx::Request(Request::Batch { orders })
        }),
    ];
    (first..first + 3, tx).prop_map(|(who, tx)| (who, tx.to_bytes()))
}

/// An account without the priorities of its orders, which are in the books' order below.
type Plain = (PublicKey, i128, Vec<PositionLeaf>);
/// A resting order: account, side, price, lots, own number, last height.
type Rests = (u32, bool, u64, u64, u64, u64);

/// Everything in the state, with a priority only as far as it orders one book.
fn state(clearing: &Clearing) -> (Core, Vec<Plain>, Vec<Vec<Rests>>) {
    let accounts = (0..TRADERS).map(|who| {
        let proof = clearing.prove(&key(who), clearing.head().0).unwrap();
        let mut positions = proof.account.positions;
        positions.iter_mut().for_each(|p| p.orders.clear());
        (proof.account.key, proof.account.collateral, positions)
    });
    let books = (0..2).map(|number| {
        let (_, book) = clearing.house().market(number).unwrap();
        let mut resting = Vec::new();
        for buy in [true, false] {
            book.walk(buy, if buy { 0 } else { u64::MAX }, |_, o| {
                resting.push((o.account, o.buy, o.ticks, o.lots, o.cloid, o.until));
                true
            });
        }
        resting
    });
    (
        clearing.house().core().clone(),
        accounts.collect(),
        books.collect(),
    )
}

proptest! {
    #![proptest_config(config(64))]

    // Invariants 1 to 6 and 9, after every transaction of a block of its own.
    #[test]
    fn after_every_transaction(
        collateral in 1_500..12_000u64,
        uniform in any::<bool>(),
        tripping in any::<bool>(),
        steps in proptest::collection::vec((proptest::option::weighted(0.3, 850..1_150u64), payload()), 1..60),
    ) {
        let rule = if uniform { MatchingRule::UniformBatch } else { MatchingRule::PriceTime };
        let mut genesis = genesis(collateral, rule);
        if tripping {
            let breaker = BreakerParams { depth_min: 2, window_heights: 4, ..breaker() };
            genesis.markets.iter_mut().for_each(|market| market.breaker = Some(breaker));
        }
        let mut run = Run::new(&genesis);
        for (seen, one) in steps {
            let before: Vec<_> = (0..TRADERS).map(|who| run.clearing.house().account(&key(who)).map(|(id, a)| (id, a.collateral))).collect();
            let sender = one.0;
            let was = run.clearing.house().clone();
            let (codes, events) = match seen {
                Some(ticks) => run.seeing(ticks, std::slice::from_ref(&one)),
                None => run.block(std::slice::from_ref(&one)),
            };
            // 5: below the initial margin nobody, taker or maker, has more at risk than before,
            // or less than nothing.
            let at = |house: &House| house.core().markets.iter().map(|m| (m.mark, m.predictor.clone(), m.funding)).collect::<Vec<_>>();
            let house = run.clearing.house();
            let quiet = |event: &Event| matches!(event, Event::Cleared { .. } | Event::Expired { .. });
            if events.iter().all(quiet) && at(house) == at(&was) {
                let fills = i128::from(house.core().fills - was.core().fills);
                for id in 0..was.accounts().len() as u32 {
                    let (before, after) = (was.health(id), house.health(id));
                    // A fee is rounded up for every fill, and held for an order as it is.
                    let covered = after.covers_initial() || Health { equity: after.equity + fills, ..after }.covers_initial();
                    prop_assert!(
                        covered || after.maintenance_micro <= before.maintenance_micro,
                        "{before:?} {after:?}"
                    );
                    prop_assert!(after.equity >= 0 || before.equity < 0, "{before:?} {after:?}");
                }
            }
            // 4: no withdrawal or transfer leaves less than the initial margin.
            let leaves = matches!(
                Tx::from_bytes(&one.1),
                Ok(Tx::Request(Request::Withdraw { .. } | Request::Transfer { .. }))
            );
            if let (0, true, Some(Some((id, _)))) = (codes[0], leaves, before.get(usize::from(sender))) {
                let health = run.clearing.house().health(*id);
                prop_assert!(health.covers_initial(), "{health:?}");
            }
        }
    }

    // 7: another process with the same blocks, or one restored in the middle, has the same
    // roots, receipts and events.
    #[test]
    fn two_runs_and_a_restored_one_are_the_same(
        blocks in proptest::collection::vec(proptest::collection::vec(payload(), 0..12), 1..12),
        middle in any::<prop::sample::Index>(),
    ) {
        let genesis = genesis(6_000, MatchingRule::CancelFirst);
        let new = || Clearing::new(&genesis, Root::default()).unwrap();
        let (mut one, mut other, mut parent) = (new(), new(), Root::default());
        let middle = middle.index(blocks.len());
        for (n, payloads) in blocks.iter().enumerate() {
            if n == middle {
                let snapshot = other.snapshot();
                other = new();
                other.restore(&snapshot).unwrap();
            }
            let block = next(&one, &parent, payloads);
            parent = block.root;
            prop_assert_eq!(one.apply(&block).unwrap(), other.apply(&block).unwrap());
        }
    }

    // 10: transactions that share neither accounts nor markets commute.
    #[test]
    fn what_shares_neither_accounts_nor_markets_commutes(
        before in proptest::collection::vec((inside(0, 0), inside(1, 3)), 0..30),
        a in inside(0, 0),
        b in inside(1, 3),
    ) {
        let genesis = genesis(6_000, MatchingRule::PriceTime);
        let mut one = Clearing::new(&genesis, Root::default()).unwrap();
        let all: Vec<_> = before.into_iter().flat_map(|(a, b)| [a, b]).collect();
        let block = next(&one, &Root::default(), &all);
        one.apply(&block).unwrap();
        let mut other = one.clone();
        let there = next(&one, &block.root, &[a.clone(), b.clone()]);
        let back = next(&other, &block.root, &[b, a]);
        let (there, back) = (one.apply(&there).unwrap(), other.apply(&back).unwrap());
        check(&one);
        prop_assert_eq!(there.receipts[0].code, back.receipts[1].code);
        prop_assert_eq!(&there.receipts[0].fills, &back.receipts[1].fills);
        prop_assert_eq!(there.receipts[1].code, back.receipts[0].code);
        prop_assert_eq!(&there.receipts[1].fills, &back.receipts[0].fills);
        prop_assert_eq!(&there.events, &back.events);
        prop_assert_eq!(state(&one), state(&other));
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    // 11: parameters that are accepted cover one block's worst for every notional.
    #[test]
    fn what_is_accepted_covers_a_block(
        (step_ppm, funding_cap_ppm, taker_fee_ppm, liquidation_fee_ppm) in
            (0..60_000u32, 0..20_000u32, 0..20_000u32, 0..20_000u32),
        (maintenance_ppm, more) in (1..120_000u32, 1..100_000u32),
        tiers in proptest::collection::vec((1..1u64 << 40, 0..50_000u32, 0..50_000u32), 0..4),
        notional in 1i128..1 << 61,
    ) {
        let mut above = 0;
        let tier = |(more, initial_ppm, maintenance_ppm)| {
            above += more;
            Tier { above, initial_ppm, maintenance_ppm }
        };
        let params = MarketParams {
            step_ppm,
            funding_cap_ppm,
            taker_fee_ppm,
            liquidation_fee_ppm,
            maintenance_ppm,
            initial_ppm: maintenance_ppm + more,
            tiers: tiers.into_iter().map(tier).collect(),
            ..market(MatchingRule::PriceTime)
        };
        if params.validate().is_ok() {
            let (step, funding) = (i128::from(step_ppm), i128::from(funding_cap_ppm));
            let fee = i128::from(taker_fee_ppm.max(liquidation_fee_ppm));
            // All × ppm: the step and the funding, then the fee at the stepped price.
            let loss = notional * (step + funding) + notional * (PPM + step) / PPM * fee;
            prop_assert!(loss <= params.maintenance(notional));
        }
    }
}
