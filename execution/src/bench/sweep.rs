//! The liquidation sweep: 100,000 accounts with a position each, one in a hundred below its
//! maintenance margin after the mark moved, and orders to close them against.

use super::stream::{MID, key};
use super::{BenchError, Clock, RUNS, genesis};
use crate::House;
use crate::book::Resting;

/// Accounts with a position.
pub(super) const ACCOUNTS: u64 = 100_000;
/// One in so many is below its maintenance margin.
const WEAK: u64 = 100;
/// Lots that each holds.
const LOTS: u64 = 20;

/// Best time in nanoseconds, and accounts that were liquidated.
pub(super) fn sweep(clock: Clock<'_>) -> Result<(u64, u64), BenchError> {
    let mut genesis = genesis();
    // Of 200,000 quanta a position: 10 % initial margin; 5 % maintenance is 10,000.
    let collateral = |n| {
        if n % (2 * WEAK) == 0 || n % (2 * WEAK) == 3 {
            11_000
        } else {
            30_000
        }
    };
    genesis.accounts = (0..ACCOUNTS).map(|n| (key(n), collateral(n))).collect();
    genesis.accounts.push((key(ACCOUNTS), 1 << 50));
    let mut house = House::new(&genesis)?;
    for pair in 0..ACCOUNTS as u32 / 2 {
        house.exchange(0, [pair * 2, pair * 2 + 1], LOTS, MID);
    }
    // The mark falls by 1 %; the longs among the weak are short of margin.
    house.core.markets[0].mark = MID - MID / 100;
    for n in 0..64 {
        let order = Resting {
            account: ACCOUNTS as u32,
            buy: true,
            reduce_only: false,
            ticks: MID - MID / 100 - n % 8,
            lots: LOTS * ACCOUNTS / WEAK / 16,
            cloid: n,
            seq: n,
            until: 0,
        };
        house.rest(0, order);
    }
    let (mut least, mut found) = (u64::MAX, 0);
    for _ in 0..RUNS {
        let (mut house, mut events) = (house.clone(), Vec::new());
        let start = clock();
        house.sweep(true, 1, &mut events);
        least = least.min(clock() - start);
        let accounts = events.iter().filter_map(|event| match event {
            crate::Event::Liquidated { account, .. } => Some(*account),
            _ => None,
        });
        let mut accounts: Vec<u32> = accounts.collect();
        accounts.dedup();
        found = accounts.len() as u64;
    }
    Ok((least, found))
}
