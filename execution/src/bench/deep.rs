//! A deep book: 170,000 orders of others rest beyond the prices of the stream. The stream in
//! blocks over it, the look at everything that comes every 64 heights, and one order that takes
//! a whole side.

use std::hint::black_box;

use fairlane_types::{OrderAction, Root, SequencedBlock, Side, TimeInForce};

use super::stream::{MID, TRADERS, key};
use super::{BenchError, Clock, Fills, RUNS, genesis};
use crate::book::Resting;
use crate::{Clearing, Execution, House, Tx};

/// Orders that rest.
pub(super) const ORDERS: u64 = 170_000;
/// Orders of each of the accounts that they belong to.
const EACH: u64 = 100;
/// Lots of each: the stream's market orders take some, and never get through them.
const LOTS: u64 = 1_000;

/// Best times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deep {
    /// The stream, through blocks with receipts and roots.
    pub apply: u64,
    /// The look at everything.
    pub audit: u64,
    /// One order that takes half of them.
    pub taken: u64,
}

fn rest(house: &mut House) {
    for n in 0..ORDERS {
        let buy = n % 2 == 0;
        // Out of the stream's reach, within the band: 900 prices a side.
        let away = 60 + n / 2 % 900;
        let order = Resting {
            account: TRADERS as u32 + (n / EACH) as u32,
            buy,
            reduce_only: false,
            ticks: if buy { MID - away } else { MID + away },
            lots: LOTS,
            cloid: n,
            seq: house.core.next_seq,
            until: 0,
        };
        house.core.next_seq += 1;
        house.touch(order.account);
        house.rest(0, order);
    }
}

/// Measures it. Market orders that find too little in the stream take of the deep book, so that
/// there are more fills.
pub(super) fn deep(blocks: &[SequencedBlock], clock: Clock<'_>) -> Result<Deep, BenchError> {
    let mut genesis = genesis();
    let more = TRADERS..TRADERS + ORDERS / EACH;
    genesis.accounts.extend(more.map(|n| (key(n), 1 << 50)));
    let mut start = Clearing::new(&genesis, Root::default())?;
    start.rest_for_bench(rest);
    let mut figures = Deep {
        apply: u64::MAX,
        audit: u64::MAX,
        taken: u64::MAX,
    };
    for _ in 0..RUNS {
        let mut clearing = start.clone();
        let begin = clock();
        for block in blocks {
            black_box(clearing.apply(block)?);
        }
        figures.apply = figures.apply.min(clock() - begin);
        let begin = clock();
        black_box(clearing.house().broken());
        figures.audit = figures.audit.min(clock() - begin);
        let left = clearing.house().books[0].len() as u64;
        let least = ORDERS * 9 / 10;
        if left < least {
            let (engine, got, want) = ("a deep book", Fills::counted(left), Fills::counted(least));
            return Err(BenchError::Fills { engine, got, want });
        }
        let take = Tx::Order(OrderAction::Place {
            market: 0,
            side: Side::Buy,
            price_ticks: MID + 2_000,
            lots: ORDERS / 2 * LOTS,
            tif: TimeInForce::Ioc,
            reduce_only: false,
            cloid: u64::MAX,
        });
        let mut house = start.house().clone();
        let mut fills = Vec::new();
        let begin = clock();
        black_box(house.execute(&key(0), &take, 1, &mut fills)).ok();
        figures.taken = figures.taken.min(clock() - begin);
        if fills.len() as u64 != ORDERS / 2 {
            let got = Fills::counted(fills.len() as u64);
            let (engine, want) = ("a deep book", Fills::counted(ORDERS / 2));
            return Err(BenchError::Fills { engine, got, want });
        }
    }
    Ok(figures)
}
