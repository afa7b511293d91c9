//! Random streams through the whole machine: the invariants of EXECUTION §2.5 that hold
//! without liquidation, after every block, and the fills of two other engines.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_execution::units::PPM;
use fairlane_execution::{Clearing, Execution, ExecutionError, Reject, Request, Tx};
use fairlane_types::{
    ChainId, Digest, Height, Item, Label, Micros, OrderAction, Outcome, Position, PublicKey, Root,
    SequencedBlock, Side, TimeInForce,
};
use proptest::prelude::*;

const TRADERS: u8 = 6;

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn genesis(collateral: u64, rule: MatchingRule) -> ExecutionGenesis {
    let market = MarketParams {
        mark_ticks: 1_000,
        rule,
        initial_ppm: 100_000,
        maintenance_ppm: 50_000,
        step_ppm: 20_000,
        band_ppm: 200_000,
        taker_fee_ppm: 500,
        maker_fee_ppm: 100,
    };
    ExecutionGenesis {
        markets: vec![market.clone(), market],
        accounts: (0..TRADERS).map(|n| (key(n), collateral)).collect(),
        oracles: (100..104).map(key).collect(),
        bridge: Some(key(200)),
    }
}

fn next(clearing: &Clearing, parent: &Root, payloads: &[(u8, Vec<u8>)]) -> SequencedBlock {
    let item = |(at, (sender, payload)): (usize, &(u8, Vec<u8>))| Item {
        position: Position(at as u64),
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
            payload: payload.clone(),
            opening: [0; 32],
        },
    };
    SequencedBlock {
        chain: ChainId(1),
        epoch: Default::default(),
        height: clearing.head().0.next(),
        block: Default::default(),
        time: Default::default(),
        parent_root: *parent,
        first_position: Position(0),
        items: payloads.iter().enumerate().map(item).collect(),
        state: None,
        root: Root::default(),
    }
    .sealed()
}

/// Invariants 1, 2, 3 and the open sums, restated.
fn check(clearing: &Clearing) {
    let house = clearing.house();
    let core = house.core();
    let mut money = core.fees + core.withdrawn;
    for account in house.accounts() {
        money += account.collateral;
        money -= account.positions.iter().map(|p| p.cost).sum::<i128>();
    }
    assert_eq!(money, core.deposited, "money is neither made nor lost");
    for number in 0..2 {
        let (market, book) = house.market(number).unwrap();
        let held = |a: &fairlane_execution::account::Account| {
            let found = a.positions.iter().find(|p| p.market == number);
            found.map_or(0, |p| p.lots)
        };
        let lots: Vec<i64> = house.accounts().iter().map(held).collect();
        assert_eq!(lots.iter().sum::<i64>(), 0);
        let long: i64 = lots.iter().map(|l| l.max(&0)).sum();
        assert_eq!(long as u64, market.open_interest);
        if let (Some(bid), Some(ask)) = (book.best(true), book.best(false)) {
            assert!(bid < ask, "crossed or locked: {bid} {ask}");
        }
        let mut own = 0;
        let mut sums = [
            std::collections::BTreeMap::new(),
            std::collections::BTreeMap::new(),
        ];
        for account in house.accounts() {
            for p in account.positions.iter().filter(|p| p.market == number) {
                let (mut open, mut worth) = ([0, 0], [0, 0]);
                for (cloid, slot) in &p.orders {
                    let order = book.order(*slot);
                    assert_eq!(order.cloid, *cloid);
                    own += 1;
                    *sums[usize::from(order.buy)].entry(order.ticks).or_insert(0) += order.lots;
                    if !order.reduce_only {
                        open[usize::from(order.buy)] += order.lots;
                        worth[usize::from(order.buy)] +=
                            i128::from(order.ticks) * i128::from(order.lots);
                    }
                }
                assert_eq!([p.open_sell, p.open_buy], open);
                assert_eq!([p.sell_notional, p.buy_notional], worth);
            }
        }
        assert_eq!(own, book.len());
        for buy in [false, true] {
            let mut levels = book.levels(buy);
            levels.sort_unstable();
            let want: Vec<_> = sums[usize::from(buy)].clone().into_iter().collect();
            assert_eq!(levels, want);
        }
    }
}

fn order() -> impl Strategy<Value = OrderAction> {
    let tif = prop_oneof![
        3 => Just(TimeInForce::Gtc),
        1 => Just(TimeInForce::Ioc),
        1 => Just(TimeInForce::Fok),
        1 => Just(TimeInForce::PostOnly),
    ];
    let place = (
        0..3u32,
        any::<bool>(),
        790..1_210u64,
        1..60u64,
        tif,
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
        );
    prop_oneof![
        8 => place,
        2 => (0..2u32, 0..40u64).prop_map(|(market, cloid)| OrderAction::Cancel { market, cloid }),
        1 => proptest::option::of(0..3u32).prop_map(|market| OrderAction::CancelAll { market }),
    ]
}

fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let trader = 0..TRADERS + 1;
    prop_oneof![
        20 => (trader.clone(), order()).prop_map(|(who, o)| (who, Tx::Order(o).to_bytes())),
        1 => (trader.clone(), 0..9_000u64)
            .prop_map(|(who, amount)| (who, Tx::Request(Request::Withdraw { amount }).to_bytes())),
        1 => (trader, 0..20u8, 0..9_000u64).prop_map(|(who, to, amount)| {
            (who, Tx::Request(Request::Transfer { to: key(to), amount }).to_bytes())
        }),
        3 => (99..105u8, 0..3u32, 900..1_100u64).prop_map(|(who, market, ticks)| {
            (who, Tx::Request(Request::Observe { market, ticks }).to_bytes())
        }),
        1 => (199..201u8, 0..3u64).prop_map(|(who, number)| {
            (who, Tx::Request(Request::Deposit { to: key(3), amount: 500, number }).to_bytes())
        }),
        2 => (0..TRADERS + 1, 0..3u32, 0..40u64, 0..60u64).prop_map(|(who, market, cloid, lots)| {
            (who, Tx::Request(Request::Shrink { market, cloid, lots }).to_bytes())
        }),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_block_keeps_the_invariants_and_a_restored_state_goes_on_alike(
        blocks in proptest::collection::vec(proptest::collection::vec(payload(), 0..40), 1..12),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 8),
        cancel_first in any::<bool>(),
    ) {
        let rule = if cancel_first { MatchingRule::CancelFirst } else { MatchingRule::PriceTime };
        let mut clearing = Clearing::new(&genesis(20_000, rule), Root::default()).unwrap();
        let mut parent = Root::default();
        for payloads in &blocks {
            let block = next(&clearing, &parent, payloads);
            parent = block.root;
            let snapshot = clearing.snapshot();
            let mut other = Clearing::new(&genesis(1, rule), Root::default()).unwrap();
            prop_assert_eq!(other.restore(&snapshot).unwrap(), clearing.head().1);
            let done = clearing.apply(&block).unwrap();
            prop_assert_eq!(&other.apply(&block).unwrap(), &done);
            prop_assert_eq!(done.receipts.len(), payloads.len());
            prop_assert_eq!(&clearing.apply(&block).unwrap(), &done);
            check(&clearing);
            let proof = clearing.prove(&key(2), done.height).unwrap();
            prop_assert_eq!(proof.state_root(), Some(done.state_root));
            let mut forged = proof;
            forged.account.collateral += 1;
            prop_assert_ne!(forged.state_root(), Some(done.state_root));
        }
        let good = clearing.snapshot();
        for (at, flip) in flips {
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= flip;
            let before = clearing.head();
            prop_assert!(matches!(clearing.restore(&bad), Err(ExecutionError::Snapshot(_))));
            prop_assert_eq!(clearing.head(), before);
        }
    }

    #[test]
    fn a_rejected_transaction_leaves_accounts_and_core_as_they_were(
        payloads in proptest::collection::vec(payload(), 1..80),
    ) {
        let genesis = genesis(3_000, MatchingRule::PriceTime);
        let mut clearing = Clearing::new(&genesis, Root::default()).unwrap();
        let mut parent = Root::default();
        for one in payloads {
            // A block of one, after an empty one that moved the marks as far as they go.
            let block = next(&clearing, &parent, std::slice::from_ref(&one));
            let idle = next(&clearing, &parent, &[]);
            let mut twin = clearing.clone();
            twin.apply(&idle).unwrap();
            parent = block.root;
            let code = clearing.apply(&block).unwrap().receipts[0].code;
            if code != 0 {
                prop_assert_eq!(clearing.house().accounts(), twin.house().accounts());
                prop_assert_eq!(clearing.house().core(), twin.house().core());
            }
            for (id, _) in clearing.house().accounts().iter().enumerate() {
                let health = clearing.house().health(id as u32);
                // Invariant 5: one that opened exposure was covered when it did.
                if health.equity * PPM < health.maintenance_micro {
                    let before = twin.house().health(id as u32);
                    prop_assert!(health.maintenance_micro <= before.maintenance_micro);
                }
            }
        }
    }

    #[test]
    fn fills_are_those_of_lobster_and_obcore(
        orders in proptest::collection::vec(
            (any::<bool>(), 900..1_100u64, 1..50u64, prop::bool::weighted(0.25), any::<prop::sample::Index>()),
            1..200,
        ),
    ) {
        // Ample collateral and a new account for each order: no margin, no self-trade.
        let mut genesis = genesis(1 << 40, MatchingRule::PriceTime);
        genesis.accounts = (0..orders.len() as u64)
            .map(|n| {
                let mut bytes = [7; 32];
                bytes[..8].copy_from_slice(&n.to_le_bytes());
                (PublicKey(bytes), 1 << 40)
            })
            .collect();
        let mut clearing = Clearing::new(&genesis, Root::default()).unwrap();
        let mut block = next(&clearing, &Root::default(), &vec![(0, Vec::new()); orders.len()]);
        let mut lobster = lobster::OrderBook::default();
        let mut obcore = obcore::OrderBook::<Theirs>::default();
        let mut eval = obcore::Evaluator::default();
        let (mut want, mut also) = (Vec::new(), Vec::new());
        for (n, (buy, price, lots, cancel, which)) in orders.iter().enumerate() {
            let target = which.index(n + 1);
            let (sender, action) = if *cancel {
                lobster.execute(lobster::OrderType::Cancel { id: target as u128 });
                eval.reset();
                for step in eval.eval(&obcore, obcore::Op::Delete(target as u64)) {
                    obcore.apply(step);
                }
                (target, OrderAction::Cancel { market: 0, cloid: target as u64 })
            } else {
                let side = if *buy { lobster::Side::Bid } else { lobster::Side::Ask };
                let event = lobster.execute(lobster::OrderType::Limit {
                    id: n as u128,
                    side,
                    qty: *lots,
                    price: *price,
                });
                if let lobster::OrderEvent::PartiallyFilled { fills, .. }
                | lobster::OrderEvent::Filled { fills, .. } = event
                {
                    want.extend(fills.iter().map(|f| (n as u64, f.order_2 as u64, f.price, f.qty)));
                }
                eval.reset();
                let theirs = Theirs { id: n as u64, buy: *buy, price: *price, quantity: *lots, remaining: *lots };
                for step in eval.eval(&obcore, obcore::Op::Insert(theirs)) {
                    if let obcore::Instruction::Fill(id, _, price, lots, false) = &step {
                        also.push((n as u64, *id, *price, *lots));
                    }
                    obcore.apply(step);
                }
                (n, OrderAction::Place {
                    market: 0,
                    side: if *buy { Side::Buy } else { Side::Sell },
                    price_ticks: *price,
                    lots: *lots,
                    tif: TimeInForce::Gtc,
                    reduce_only: false,
                    cloid: n as u64,
                })
            };
            block.items[n].label.sender = genesis.accounts[sender].0;
            block.items[n].outcome = Outcome::Opened { payload: Tx::Order(action).to_bytes(), opening: [0; 32] };
        }
        let done = clearing.apply(&block.sealed()).unwrap();
        check(&clearing);
        let fills = done.receipts.iter().flat_map(|r| &r.fills);
        let got: Vec<_> = fills.map(|f| (u64::from(f.taker), f.maker_cloid, f.ticks, f.lots)).collect();
        prop_assert_eq!(&got, &want);
        prop_assert_eq!(&got, &also);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Theirs {
    id: u64,
    buy: bool,
    price: u64,
    quantity: u64,
    remaining: u64,
}

impl obcore::OrderInterface for Theirs {
    type I = u64;
    type N = u64;
    type O = u64;
    fn id(&self) -> &u64 {
        &self.id
    }
    fn price(&self) -> u64 {
        self.price
    }
    fn is_buy(&self) -> bool {
        self.buy
    }
    fn quantity(&self) -> u64 {
        self.quantity
    }
    fn remaining(&self) -> u64 {
        self.remaining
    }
    fn fill(&mut self, quantity: u64) {
        self.remaining -= quantity;
    }
    fn owner(&self) -> &u64 {
        &self.id
    }
}

#[test]
fn a_shrunk_order_keeps_its_place() {
    let rule = MatchingRule::PriceTime;
    let mut clearing = Clearing::new(&genesis(1 << 30, rule), Root::default()).unwrap();
    let place = |who: u8, buy: bool, lots: u64, cloid: u64| {
        let order = OrderAction::Place {
            market: 0,
            side: if buy { Side::Buy } else { Side::Sell },
            price_ticks: 1_000,
            lots,
            tif: TimeInForce::Gtc,
            reduce_only: false,
            cloid,
        };
        (who, Tx::Order(order).to_bytes())
    };
    let shrink = |lots: u64| {
        let request = Request::Shrink {
            market: 0,
            cloid: 7,
            lots,
        };
        (0, Tx::Request(request).to_bytes())
    };
    let payloads = [
        place(0, false, 10, 7),
        place(1, false, 10, 8),
        shrink(0),
        shrink(10),
        shrink(4),
        place(2, true, 9, 9),
        shrink(1),
    ];
    let block = next(&clearing, &Root::default(), &payloads);
    let done = clearing.apply(&block).unwrap();
    let codes: Vec<_> = done.receipts.iter().map(|r| r.code).collect();
    let (amount, gone) = (Reject::Amount.code(), Reject::NotFound.code());
    assert_eq!(codes, [0, 0, amount, amount, 0, 0, gone]);
    let fills = &done.receipts[5].fills;
    let fills: Vec<_> = fills.iter().map(|f| (f.maker_cloid, f.lots)).collect();
    assert_eq!(fills, [(7, 4), (8, 5)]);
    check(&clearing);
}

#[test]
fn what_a_fill_leaves_of_a_reduce_only_order_goes_when_the_position_is_used_up() {
    let rule = MatchingRule::PriceTime;
    let mut clearing = Clearing::new(&genesis(1 << 30, rule), Root::default()).unwrap();
    let place = |who: u8, buy: bool, price_ticks: u64, lots: u64, reduce_only: bool, cloid: u64| {
        let order = OrderAction::Place {
            market: 0,
            side: if buy { Side::Buy } else { Side::Sell },
            price_ticks,
            lots,
            tif: TimeInForce::Gtc,
            reduce_only,
            cloid,
        };
        (who, Tx::Order(order).to_bytes())
    };
    let payloads = [
        // Account 0 is long 10 lots, rests a reduce-only sale of all, and sells 6 elsewhere.
        place(1, false, 1_000, 10, false, 1),
        place(0, true, 1_000, 10, false, 2),
        place(0, false, 1_010, 10, true, 3),
        place(2, true, 1_001, 6, false, 4),
        place(0, false, 1_001, 6, false, 5),
        // 4 lots may still be sold; the buyer's other 26 rest above that order's price.
        place(3, true, 1_020, 30, false, 6),
    ];
    let block = next(&clearing, &Root::default(), &payloads);
    let done = clearing.apply(&block).unwrap();
    assert!(done.receipts.iter().all(|receipt| receipt.code == 0));
    let fills = &done.receipts[5].fills;
    let fills: Vec<_> = fills.iter().map(|f| (f.maker_cloid, f.lots)).collect();
    assert_eq!(fills, [(3, 4)]);
    let (_, book) = clearing.house().market(0).unwrap();
    assert_eq!((book.best(true), book.best(false)), (Some(1_020), None));
    check(&clearing);
}

#[test]
fn a_block_that_does_not_follow_is_no_receipt() {
    let rule = MatchingRule::PriceTime;
    let mut clearing = Clearing::new(&genesis(1, rule), Root::default()).unwrap();
    let block = next(&clearing, &Root(Digest([9; 32])), &[]);
    assert!(matches!(
        clearing.apply(&block),
        Err(ExecutionError::Fork { .. })
    ));
    let mut block = next(&clearing, &Root::default(), &[]);
    block.root = Root(Digest([9; 32]));
    assert_eq!(clearing.apply(&block), Err(ExecutionError::Root(Height(1))));
    assert_eq!(clearing.head().0, Height(0));
}
