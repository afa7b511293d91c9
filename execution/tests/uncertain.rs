//! What a price that is not certain stops, and what goes on.

#![allow(clippy::unwrap_used, clippy::panic)]

use fairlane_execution::oracle::{OracleParams, Validity};
use fairlane_execution::{Event, Reject, Tx};
use fairlane_types::{OrderAction, Side, TimeInForce};

mod common;
use common::run::{Run, place_in, plain, withdraw};
use common::seen;

type Payload = (u8, Vec<u8>);

/// Two oracles see one price and two another: no median has a quorum near it.
fn doubted(ticks: u64, others: u64) -> Vec<Payload> {
    let seen_by = |(who, ticks)| [seen(who, 0, ticks), seen(who, 1, 1_000)];
    let all = [(100, ticks), (101, ticks), (102, others), (103, others)];
    all.into_iter().flat_map(seen_by).collect()
}

/// Such a block with payloads after it; gives their codes.
fn block(run: &mut Run, prices: (u64, u64), payloads: &[Payload]) -> (Vec<u16>, Vec<Event>) {
    let mut all = doubted(prices.0, prices.1);
    let own = all.len();
    all.extend_from_slice(payloads);
    let (codes, events) = run.block(&all);
    (codes[own..].to_vec(), events)
}

fn order(who: u8, buy: bool, price_ticks: u64, tif: TimeInForce, reduce_only: bool) -> Payload {
    let order = OrderAction::Place {
        market: 0,
        side: if buy { Side::Buy } else { Side::Sell },
        price_ticks,
        lots: 1,
        tif,
        reduce_only,
        cloid: 50,
    };
    (who, Tx::Order(order).to_bytes())
}

fn validity(run: &Run) -> Validity {
    run.clearing.house().market(0).unwrap().0.oracle.validity
}

#[test]
fn nobody_takes_is_liquidated_or_withdraws_on_an_uncertain_price() {
    let mut genesis = plain(100_000);
    genesis.oracle = OracleParams {
        jump_ppm: 1_000_000,
        ..OracleParams::default()
    };
    genesis.accounts[0].1 = 10_500;
    let mut run = Run::new(&genesis);
    for _ in 0..3 {
        run.seeing(1_000, &[]);
    }
    let (codes, _) = run.seeing(
        1_000,
        &[
            place_in(0, 0, true, 1_000, 100, 1),
            place_in(0, 1, false, 1_000, 100, 1),
        ],
    );
    assert_eq!(codes, [0; 2]);
    assert_eq!(validity(&run), Validity::Fresh);
    // 900 or 940: the mark goes to 900, and the long is short of its margin.
    let (_, events) = block(&mut run, (900, 940), &[]);
    assert_eq!(events, []);
    let mut all = Vec::new();
    for _ in 0..8 {
        let mark = run.mark(0);
        let (codes, events) = block(
            &mut run,
            (900, 940),
            &[
                order(2, true, mark, TimeInForce::Gtc, false),
                order(2, true, mark, TimeInForce::Ioc, false),
                withdraw(0, 1),
                withdraw(1, 1),
                // Who holds nothing there may go.
                withdraw(3, 1),
            ],
        );
        let unpriced = Reject::Unpriced.code();
        assert_eq!(codes, [unpriced, unpriced, unpriced, unpriced, 0]);
        all.extend(events);
    }
    let now = Validity::Uncertain;
    assert_eq!(all, [Event::Oracle { market: 0, now }]);
    assert_eq!((run.mark(0), validity(&run)), (900, now));
    // Post-only orders pass, and those that only reduce, takers too.
    let (codes, events) = block(
        &mut run,
        (900, 940),
        &[
            order(4, true, 880, TimeInForce::PostOnly, false),
            order(1, true, 896, TimeInForce::Gtc, true),
            order(0, false, 896, TimeInForce::Ioc, true),
        ],
    );
    assert_eq!((codes, events), (vec![0; 3], vec![]));
    assert_eq!((run.lots(0, 0), run.lots(1, 0)), (99, -99));
    // The long is short still, and somebody bids: that alone liquidates nobody.
    let health = run.clearing.house().health(0);
    assert!(health.liquidatable(), "{health:?}");
    assert!(run.clearing.house().core().unsafe_left);
    // The other market takes everything meanwhile.
    let (codes, _) = block(
        &mut run,
        (900, 940),
        &[
            place_in(1, 2, true, 1_000, 1, 60),
            place_in(1, 3, false, 1_000, 1, 60),
        ],
    );
    assert_eq!(codes, [0; 2]);
    // With one price it is liquidated at once.
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(run.seeing(900, &[place_in(0, 2, true, 899, 100, 70)]).1);
    }
    let closed = events
        .iter()
        .any(|e| matches!(e, Event::Liquidated { account: 0, .. }));
    assert!(closed, "{events:?}");
}
