//! What sequencers do that do not look at times of receipt. For simulations only: a
//! genesis that is no experiment refuses these.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{BlockId, CtId, Micros};

use super::state::{Extracted, State};
use super::table::ABSENT;

/// `leader`: what lane 0 has recorded, as soon as that is final, in its order.
pub(super) fn leader(state: &State) -> Extracted {
    emit(state, of_lane(state, 0).into_values().collect())
}

/// `round-robin`: one order of every lane in turn, as soon as it is final anywhere; the
/// block says which lane begins.
pub(super) fn round_robin(state: &State, block: BlockId) -> Extracted {
    let n = state.heads.len();
    let begin = usize::from(block.as_bytes()[0]) % n;
    let mut lanes: Vec<_> = (0..n).map(|i| of_lane(state, (begin + i) % n)).collect();
    let mut picked = BTreeSet::new();
    let mut order = Vec::new();
    while lanes.iter().any(|lane| !lane.is_empty()) {
        for lane in &mut lanes {
            while let Some((_, next)) = lane.pop_first() {
                if picked.insert(next.1) {
                    order.push(next);
                    break;
                }
            }
        }
    }
    emit(state, order)
}

/// Live orders of a lane by (stamp, id), with the stamp.
fn of_lane(state: &State, lane: usize) -> BTreeMap<(u32, CtId), (Micros, CtId)> {
    (state.table.rows().iter().enumerate())
        .filter_map(|(slot, row)| {
            let stamp = state.table.stamps(slot)[lane];
            let item = (state.table.absolute(stamp), row.ct_id);
            (stamp != ABSENT).then_some(((stamp, row.ct_id), item))
        })
        .collect()
}

fn emit(state: &State, order: Vec<(Micros, CtId)>) -> Extracted {
    let mut out = Extracted::default();
    for (key, ct_id) in order {
        let Some(slot) = state.table.slot(&ct_id) else {
            continue;
        };
        let label = &state.table.rows()[slot].label;
        let nonce = (label.sender, label.nonce);
        if out.used.contains(&nonce) {
            continue;
        }
        if out.order.len() >= state.decrypt_max {
            out.backlog = true;
            break;
        }
        out.used.insert(nonce);
        out.order.push((key, ct_id));
    }
    out
}
