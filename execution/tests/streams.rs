//! Random streams through the whole machine: the invariants of EXECUTION §2.5 that hold
//! without liquidation, after every block, and the fills of two other engines.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use fairlane_execution::account::AccountLeaf;
use fairlane_execution::params::MatchingRule;
use fairlane_execution::units::PPM;
use fairlane_execution::{Clearing, Execution, ExecutionError, Reject, Request, Tx};
use fairlane_types::{Digest, Height, OrderAction, Outcome, PublicKey, Root, Side, TimeInForce};
use proptest::prelude::*;

mod common;
use common::run::order_in;
use common::{check, genesis, key, next, payload};

fn rule() -> impl Strategy<Value = MatchingRule> {
    prop_oneof![
        Just(MatchingRule::PriceTime),
        Just(MatchingRule::CancelFirst),
        Just(MatchingRule::UniformBatch),
    ]
}

/// Every account as committed.
fn leaves(clearing: &Clearing) -> Vec<AccountLeaf> {
    let height = clearing.head().0;
    let accounts = clearing.house().accounts().iter();
    accounts
        .map(|account| clearing.prove(&account.key, height).unwrap().account)
        .collect()
}

/// Everything that is committed, and each book as it would be met.
fn state(clearing: &Clearing) -> impl PartialEq + std::fmt::Debug {
    let house = clearing.house();
    let markets = 0..house.core().markets.len() as u32;
    let mut books = Vec::new();
    for (market, buy) in markets.flat_map(|market| [(market, true), (market, false)]) {
        let (_, book) = house.market(market).unwrap();
        // Slots are a book's own business.
        book.walk(buy, if buy { 0 } else { u64::MAX }, |_, order| {
            books.push((market, *order));
            true
        });
    }
    (
        leaves(clearing),
        house.core().clone(),
        house.changes().to_vec(),
        books,
    )
}

#[test]
fn a_rejected_transaction_leaves_everything_as_it_was() {
    // By code, in each rule.
    for rule in [
        MatchingRule::PriceTime,
        MatchingRule::CancelFirst,
        MatchingRule::UniformBatch,
    ] {
        let refused = RefCell::new(BTreeMap::new());
        proptest!(
            ProptestConfig::with_cases(96),
            |(payloads in proptest::collection::vec(payload(), 1..80))| {
                let mut clearing = Clearing::new(&genesis(3_000, rule), Root::default()).unwrap();
                let mut parent = Root::default();
                for one in payloads {
                    // A block of one, beside an empty one that moves the marks as far.
                    let block = next(&clearing, &parent, std::slice::from_ref(&one));
                    let idle = next(&clearing, &parent, &[]);
                    let mut twin = clearing.clone();
                    twin.apply(&idle).unwrap();
                    parent = block.root;
                    let code = clearing.apply(&block).unwrap().receipts[0].code;
                    check(&clearing);
                    if code != 0 {
                        *refused.borrow_mut().entry(code).or_insert(0) += 1;
                        prop_assert_eq!(state(&clearing), state(&twin));
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
        );
        let refused = refused.into_inner();
        let all: usize = refused.values().sum();
        assert!(all > 1_000 && refused.len() >= 12, "{rule:?}: {refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_block_keeps_the_invariants_and_a_restored_state_goes_on_alike(
        blocks in proptest::collection::vec(proptest::collection::vec(payload(), 0..40), 1..12),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 8),
        rule in rule(),
    ) {
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
    fn fills_are_those_of_lobster_and_obcore(
        orders in proptest::collection::vec(
            (any::<bool>(), 900..1_100u64, 1..50u64, kind(), any::<prop::sample::Index>()),
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
        let mut peers = Peers::default();
        let mut sides: Vec<(bool, u64)> = Vec::new();
        for (n, &(buy, price, lots, kind, which)) in orders.iter().enumerate() {
            let target = which.index(n + 1);
            sides.push((buy, price));
            let place =
                |price_ticks, tif| Tx::Order(order_in(0, buy, price_ticks, lots, tif, n as u64));
            let (sender, tx) = match kind {
                Kind::Cancel => {
                    peers.cancel(target as u64);
                    (target, Tx::Order(OrderAction::Cancel { market: 0, cloid: target as u64 }))
                }
                Kind::Replace => {
                    // Another price: an order that only shrinks would keep its place.
                    let (buy, old) = sides[target];
                    let price_ticks = if price == old { price + 1 } else { price };
                    if peers.cancel(target as u64) {
                        peers.insert(target as u64, buy, price_ticks, lots, TimeInForce::Gtc);
                        sides[target].1 = price_ticks;
                    }
                    let cloid = target as u64;
                    let tif = TimeInForce::Gtc;
                    (target, Tx::Request(Request::Replace { market: 0, cloid, price_ticks, lots, tif }))
                }
                Kind::Market => {
                    peers.market(n as u64, buy, lots);
                    (n, place(if buy { EDGES.1 } else { EDGES.0 }, TimeInForce::Ioc))
                }
                Kind::Limit(tif) => {
                    peers.insert(n as u64, buy, price, lots, tif);
                    (n, place(price, tif))
                }
            };
            block.items[n].label.sender = genesis.accounts[sender].0;
            block.items[n].outcome = Outcome::Opened { payload: tx.to_bytes(), opening: [0; 32] };
        }
        let done = clearing.apply(&block.sealed()).unwrap();
        check(&clearing);
        let fills = done.receipts.iter().flat_map(|r| &r.fills);
        let got: Vec<_> = fills.map(|f| (u64::from(f.taker), f.maker_cloid, f.ticks, f.lots)).collect();
        prop_assert_eq!(&got, &peers.of_lobster);
        prop_assert_eq!(&got, &peers.of_obcore);
    }
}

/// Prices at which everything fills, at both ends of the band.
const EDGES: (u64, u64) = (800, 1_200);

/// More than there are prices.
const LEVELS: usize = 1_000;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Limit(TimeInForce),
    Market,
    Cancel,
    Replace,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::Limit(TimeInForce::Gtc)),
        2 => Just(Kind::Limit(TimeInForce::Ioc)),
        2 => Just(Kind::Limit(TimeInForce::Fok)),
        2 => Just(Kind::Limit(TimeInForce::PostOnly)),
        1 => Just(Kind::Market),
        3 => Just(Kind::Cancel),
        2 => Just(Kind::Replace),
    ]
}

/// Taker, maker, price, lots.
type Traded = Vec<(u64, u64, u64, u64)>;

/// Two other engines. What lobster has not, fill-or-kill and post-only, is asked of its book.
#[derive(Default)]
struct Peers {
    lobster: lobster::OrderBook,
    obcore: obcore::OrderBook<Theirs>,
    eval: obcore::Evaluator<Theirs>,
    of_lobster: Traded,
    of_obcore: Traded,
}

impl Peers {
    fn obcore(&mut self, taker: u64, op: obcore::Op<Theirs>) -> bool {
        let mut gone = false;
        self.eval.reset();
        for step in self.eval.eval(&self.obcore, op) {
            match &step {
                obcore::Instruction::Fill(id, _, price, lots, false) => {
                    self.of_obcore.push((taker, *id, *price, *lots));
                }
                obcore::Instruction::Delete(..) => gone = true,
                _ => {}
            }
            self.obcore.apply(step);
        }
        gone
    }

    fn lobster(&mut self, taker: u64, order: lobster::OrderType) {
        if let lobster::OrderEvent::PartiallyFilled { fills, .. }
        | lobster::OrderEvent::Filled { fills, .. } = self.lobster.execute(order)
        {
            let fills = fills.iter();
            let traded = fills.map(|f| (taker, f.order_2 as u64, f.price, f.qty));
            self.of_lobster.extend(traded);
        }
    }

    /// Says whether it was there.
    fn cancel(&mut self, id: u64) -> bool {
        self.lobster(id, lobster::OrderType::Cancel { id: id.into() });
        self.obcore(id, obcore::Op::Delete(id))
    }

    fn market(&mut self, n: u64, buy: bool, lots: u64) {
        let (id, side) = (n.into(), side(buy));
        self.lobster(
            n,
            lobster::OrderType::Market {
                id,
                side,
                qty: lots,
            },
        );
        let price = if buy { EDGES.1 } else { EDGES.0 };
        let order = Theirs::new(n, buy, price, lots, TimeInForce::Ioc);
        self.obcore(n, obcore::Op::Insert(order));
    }

    fn insert(&mut self, n: u64, buy: bool, price: u64, lots: u64, tif: TimeInForce) {
        let order = Theirs::new(n, buy, price, lots, tif);
        self.obcore(n, obcore::Op::Insert(order));
        let depth = self.lobster.depth(LEVELS);
        let met = if buy { depth.asks } else { depth.bids };
        let meets = |level: &&lobster::BookLevel| {
            if buy {
                level.price <= price
            } else {
                level.price >= price
            }
        };
        let there: u64 = met.iter().filter(meets).map(|level| level.qty).sum();
        match tif {
            TimeInForce::Fok if there < lots => return,
            TimeInForce::PostOnly if there > 0 => return,
            _ => {}
        }
        let (id, side) = (n.into(), side(buy));
        self.lobster(
            n,
            lobster::OrderType::Limit {
                id,
                side,
                qty: lots,
                price,
            },
        );
        if tif == TimeInForce::Ioc {
            self.lobster.execute(lobster::OrderType::Cancel { id });
        }
    }
}

const fn side(buy: bool) -> lobster::Side {
    if buy {
        lobster::Side::Bid
    } else {
        lobster::Side::Ask
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Theirs {
    id: u64,
    buy: bool,
    price: u64,
    quantity: u64,
    remaining: u64,
    tif: TimeInForce,
}

impl Theirs {
    const fn new(id: u64, buy: bool, price: u64, quantity: u64, tif: TimeInForce) -> Self {
        let remaining = quantity;
        Self {
            id,
            buy,
            price,
            quantity,
            remaining,
            tif,
        }
    }
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
    fn tif(&self) -> obcore::TIF {
        match self.tif {
            TimeInForce::Ioc => obcore::TIF::IOC,
            TimeInForce::Fok => obcore::TIF::FOK,
            TimeInForce::Gtc | TimeInForce::PostOnly => obcore::TIF::GTC,
        }
    }
    fn post_only(&self) -> bool {
        self.tif == TimeInForce::PostOnly
    }
}

#[test]
fn a_shrunk_order_keeps_its_place() {
    let rule = MatchingRule::PriceTime;
    let mut clearing = Clearing::new(&genesis(1 << 30, rule), Root::default()).unwrap();
    let place = |who: u8, buy: bool, lots: u64, cloid: u64| {
        let order = order_in(0, buy, 1_000, lots, TimeInForce::Gtc, cloid);
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

#[test]
fn a_batch_is_done_whole_or_not_at_all_and_the_queue_is_as_it_was() {
    let rule = MatchingRule::PriceTime;
    let mut clearing = Clearing::new(&genesis(1 << 30, rule), Root::default()).unwrap();
    let order =
        |buy, price_ticks, lots, tif, cloid| order_in(0, buy, price_ticks, lots, tif, cloid);
    let gtc = TimeInForce::Gtc;
    let batch = |who, orders| (who, Tx::Request(Request::Batch { orders }).to_bytes());
    let replace = |who, price_ticks, lots, tif| {
        let request = Request::Replace {
            market: 0,
            cloid: 1,
            price_ticks,
            lots,
            tif,
        };
        (who, Tx::Request(request).to_bytes())
    };
    let payloads = [
        batch(
            0,
            vec![
                order(false, 1_000, 5, gtc, 1),
                order(false, 1_001, 5, gtc, 2),
            ],
        ),
        (1, Tx::Order(order(false, 1_000, 5, gtc, 1)).to_bytes()),
        // Takes both of the price, cancels nothing of its own: all is taken back.
        batch(
            2,
            vec![
                order(true, 1_000, 8, gtc, 1),
                OrderAction::Cancel {
                    market: 0,
                    cloid: 9,
                },
            ],
        ),
        // A post-only price that would fill leaves the old order where it was.
        (2, Tx::Order(order(true, 990, 3, gtc, 1)).to_bytes()),
        replace(2, 1_000, 3, TimeInForce::PostOnly),
        // Fewer lots keep the place; another price loses it.
        replace(0, 1_000, 4, gtc),
        (
            3,
            Tx::Order(order(true, 1_000, 6, TimeInForce::Ioc, 1)).to_bytes(),
        ),
        replace(1, 1_001, 3, gtc),
        (
            3,
            Tx::Order(order(true, 1_001, 6, TimeInForce::Ioc, 1)).to_bytes(),
        ),
    ];
    let done = clearing
        .apply(&next(&clearing, &Root::default(), &payloads))
        .unwrap();
    let codes: Vec<u16> = done.receipts.iter().map(|r| r.code).collect();
    let (none, would) = (Reject::NotFound.code(), Reject::PostOnlyWouldFill.code());
    assert_eq!(codes, [0, 0, none, 0, would, 0, 0, 0, 0]);
    assert!(done.receipts[2].fills.is_empty());
    let fills = |at: usize| -> Vec<(u32, u64)> {
        let fills = &done.receipts[at].fills;
        fills.iter().map(|f| (f.maker, f.lots)).collect()
    };
    assert_eq!(fills(6), [(0, 4), (1, 2)]);
    assert_eq!(fills(8), [(0, 5), (1, 1)]);
    check(&clearing);
}
