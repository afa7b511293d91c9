//! Rule `majority`, for comparison: by median stamp, then every order moves ahead of its
//! neighbour while more lanes have it first (an insertion sort). Only what one cut makes
//! ready is compared, so this is not transitive and promises neither F1 nor F2.

use fairlane_types::{BlockId, CtId, Micros};

use super::arrival;
use super::state::{Extracted, State};

/// Places that one order moves at the most: a bound of the work per cut.
pub(super) const MOVES_MAX: usize = 256;

/// 4 extract: the set is that of rule `arrival` over medians.
pub(super) fn extract(state: &State, block: BlockId, watermark: Micros) -> Extracted {
    let mut out = arrival::extract(state, block, watermark, 1);
    let stamps = |ct_id: &CtId| state.table.slot(ct_id).map(|slot| state.table.stamps(slot));
    let first = |x: &CtId, y: &CtId| {
        let (Some(x), Some(y)) = (stamps(x), stamps(y)) else {
            return false;
        };
        let ahead = x.iter().zip(y).filter(|(x, y)| x < y).count();
        ahead > x.iter().zip(y).filter(|(x, y)| y < x).count()
    };
    for start in 1..out.order.len() {
        let mut at = start;
        while at > 0 && start - at < MOVES_MAX && first(&out.order[at].1, &out.order[at - 1].1) {
            out.order.swap(at, at - 1);
            at -= 1;
        }
    }
    out
}
