//! The state root after a block: leaves of the accounts that it changed, their tree, and what
//! else the root is over.

use std::hint::black_box;

use fairlane_types::{Height, Root};

use super::stream::{BLOCK, MID, key};
use super::{BenchError, Clock, RUNS, genesis};
use crate::{Clearing, Execution, House};

/// Accounts under the root, with a position each.
pub(super) const ACCOUNTS: u32 = 1_000_000;
/// Lots of each.
const LOTS: u64 = 20;

/// Best time in nanoseconds, and accounts that changed.
pub(super) fn root(clock: Clock<'_>) -> Result<(u64, u64), BenchError> {
    let mut genesis = genesis();
    let accounts = 0..u64::from(ACCOUNTS);
    genesis.accounts = accounts.map(|n| (key(n), 1 << 30)).collect();
    let mut house = House::new(&genesis)?;
    for pair in 0..ACCOUNTS / 2 {
        house.exchange(0, [2 * pair, 2 * pair + 1], LOTS, MID);
    }
    let mut clearing = Clearing::at(house, Height(0), Root::default());
    let pairs = BLOCK as u32 / 2;
    let (mut least, mut changed) = (u64::MAX, 0);
    for _ in 0..RUNS {
        // All over the tree, and not in the order of their numbers.
        for n in (0..pairs).rev() {
            let buyer = n * (ACCOUNTS / pairs) + n % 100 * 2;
            clearing.house.exchange(0, [buyer, buyer + 1], 1, MID + 1);
            clearing.house.touch(buyer);
            clearing.house.touch(buyer + 1);
        }
        changed = clearing.house.dirty.len() as u64;
        let start = clock();
        clearing.commit();
        least = least.min(clock() - start);
        black_box(clearing.head());
    }
    Ok((least, changed))
}
