//! The order in which a block's transactions meet a market of `CancelFirst`.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::params::{ExecutionGenesis, MatchingRule};
use fairlane_execution::{Execution, Reject, Request, Tx};
use fairlane_types::{OrderAction, TimeInForce};

mod common;
use common::run::{Run, order_in, place_in, plain};

type Payload = (u8, Vec<u8>);

/// Maker and lots of each fill.
type Taken = Vec<(u32, u64, u64)>;

fn of(rules: [MatchingRule; 2]) -> ExecutionGenesis {
    let mut genesis = plain(1_000_000);
    for (market, rule) in genesis.markets.iter_mut().zip(rules) {
        (market.rule, market.large) = (rule, None);
        market.interest_max = 0;
    }
    genesis
}

fn order(buy: bool, price_ticks: u64, lots: u64, tif: TimeInForce, cloid: u64) -> OrderAction {
    order_in(0, buy, price_ticks, lots, tif, cloid)
}

fn send(who: u8, action: OrderAction) -> Payload {
    (who, Tx::Order(action).to_bytes())
}

fn ask(who: u8, request: Request) -> Payload {
    (who, Tx::Request(request).to_bytes())
}

/// Account 0 asks 1,000 and 1,001, account 1 asks 1,002, 5 lots each. Then one block: a taker of
/// 12 lots and after it `late`. Gives the codes and what the taker got, as (maker, ticks, lots).
fn meets(rules: [MatchingRule; 2], late: &[Payload]) -> (Vec<u16>, Taken) {
    let mut run = Run::new(&of(rules));
    let (codes, _) = run.block(&[
        place_in(0, 0, false, 1_000, 5, 1),
        place_in(0, 0, false, 1_001, 5, 2),
        place_in(0, 1, false, 1_002, 5, 1),
    ]);
    assert_eq!(codes, [0; 3]);
    let mut all = vec![send(2, order(true, 1_002, 12, TimeInForce::Ioc, 1))];
    all.extend_from_slice(late);
    let (codes, _) = run.block(&all);
    let done = run.clearing.executed(run.clearing.head().0).unwrap();
    let fills = done.receipts[0].fills.iter();
    (codes, fills.map(|f| (f.maker, f.ticks, f.lots)).collect())
}

const CANCEL_FIRST: [MatchingRule; 2] = [MatchingRule::CancelFirst; 2];

#[test]
fn cancels_come_first_then_post_only_then_the_rest() {
    let late = [
        send(3, order(false, 1_001, 4, TimeInForce::PostOnly, 1)),
        send(
            0,
            OrderAction::Cancel {
                market: 0,
                cloid: 1,
            },
        ),
    ];
    // The cancel spares account 0's best ask; the post-only order is behind its other one, and
    // there when the taker comes.
    let (codes, taken) = meets(CANCEL_FIRST, &late);
    assert_eq!(codes, [0, 0, 0]);
    assert_eq!(taken, [(0, 1_001, 5), (3, 1_001, 4), (1, 1_002, 3)]);
    // In the finalized order the maker is too late, and so is the other seller.
    let (codes, taken) = meets([MatchingRule::PriceTime; 2], &late);
    assert_eq!(codes, [0, 0, Reject::NotFound.code()]);
    assert_eq!(taken, [(0, 1_000, 5), (0, 1_001, 5), (1, 1_002, 2)]);
}

#[test]
fn post_only_orders_see_the_book_after_the_cancels_and_before_the_takers() {
    // A bid at 1,000 would fill while the ask is there, whatever the taker leaves.
    let bid = send(3, order(true, 1_000, 4, TimeInForce::PostOnly, 1));
    let (codes, taken) = meets(CANCEL_FIRST, std::slice::from_ref(&bid));
    assert_eq!(codes, [0, Reject::PostOnlyWouldFill.code()]);
    assert_eq!(taken.len(), 3);
    let cancel = OrderAction::Cancel {
        market: 0,
        cloid: 1,
    };
    let (codes, taken) = meets(CANCEL_FIRST, &[bid, send(0, cancel)]);
    assert_eq!(codes, [0; 3]);
    assert_eq!(taken, [(0, 1_001, 5), (1, 1_002, 5)]);
}

#[test]
fn a_cancel_of_all_orders_of_the_market_and_of_a_part_are_cancels() {
    let all = send(0, OrderAction::CancelAll { market: Some(0) });
    let (codes, taken) = meets(CANCEL_FIRST, &[all]);
    assert_eq!((codes, taken), (vec![0, 0], vec![(1, 1_002, 5)]));
    let part = Request::Shrink {
        market: 0,
        cloid: 1,
        lots: 1,
    };
    let (codes, taken) = meets(CANCEL_FIRST, &[ask(0, part)]);
    assert_eq!(codes, [0, 0]);
    assert_eq!(taken, [(0, 1_000, 1), (0, 1_001, 5), (1, 1_002, 5)]);
    // Of all markets: where all have the rule. Else it has one place, in the finalized order.
    let everywhere = [send(0, OrderAction::CancelAll { market: None })];
    let (_, taken) = meets(CANCEL_FIRST, &everywhere);
    assert_eq!(taken, [(1, 1_002, 5)]);
    let mixed = [MatchingRule::CancelFirst, MatchingRule::PriceTime];
    let (_, taken) = meets(mixed, &everywhere);
    assert_eq!(taken, [(0, 1_000, 5), (0, 1_001, 5), (1, 1_002, 2)]);
}

#[test]
fn post_only_orders_of_requests_are_such_and_a_batch_keeps_its_place() {
    let until = Request::Until {
        order: order(false, 1_001, 4, TimeInForce::PostOnly, 1),
        height: 9,
    };
    let (_, taken) = meets(CANCEL_FIRST, &[ask(3, until)]);
    assert_eq!(taken, [(0, 1_000, 5), (0, 1_001, 5), (3, 1_001, 2)]);
    // The old ask at 1,000 goes, the new one is behind all at 1,002.
    let replace = Request::Replace {
        market: 0,
        cloid: 1,
        price_ticks: 1_002,
        lots: 5,
        tif: TimeInForce::PostOnly,
    };
    let (_, taken) = meets(CANCEL_FIRST, &[ask(0, replace)]);
    assert_eq!(taken, [(0, 1_001, 5), (1, 1_002, 5), (0, 1_002, 2)]);
    let cancel = OrderAction::Cancel {
        market: 0,
        cloid: 1,
    };
    let orders = vec![cancel];
    let (codes, taken) = meets(CANCEL_FIRST, &[ask(0, Request::Batch { orders })]);
    assert_eq!(codes, [0, Reject::NotFound.code()]);
    assert_eq!(taken.first(), Some(&(0, 1_000, 5)));
}
