//! Rules by key alone: `arrival`, by assigned order indicator (AOI, the (f+1)-th smallest
//! stamp), and `shuffle`, by bucket of it.

use fairlane_types::{BlockId, CtId, Micros, Mutant};

use super::ORDERS_PER_BLOCK_MAX;
use super::before::Before;
use super::state::{Extracted, State};
use super::tie::{Tied, sort_ties, tie};

/// 4 extract: by (bucket of the key, tie). Equal buckets come out together, none is begun
/// beyond D_max, and none before nothing more can come into it. `bucket` is its width in
/// microseconds: 1 for rule `arrival`.
pub(super) fn extract(state: &State, block: BlockId, watermark: Micros, bucket: u64) -> Extracted {
    let start = |key: Micros| Micros(key.0 - key.0 % bucket);
    let full = |key: Micros| start(key).0.saturating_add(bucket - 1) < watermark.0;
    let mut ready: Vec<(Micros, Micros, CtId, usize)> = (state.table.rows().iter().enumerate())
        .filter_map(|(slot, row)| {
            let key = row.key.filter(|key| full(*key))?;
            Some((start(key), key, row.ct_id, slot))
        })
        .collect();
    ready.sort_unstable();
    let mut out = Extracted::default();
    let mut left = Vec::new();
    for group in ready.chunk_by(|a, b| a.0 == b.0) {
        let begun = out.order.len();
        let mut ties = Vec::with_capacity(group.len());
        for (_, key, ct_id, slot) in group {
            // The rest of a group that is too large is backlog, picked by id, not by tie.
            if begun >= state.decrypt_max || begun + ties.len() >= ORDERS_PER_BLOCK_MAX {
                left.push(*slot);
                continue;
            }
            let label = &state.table.rows()[*slot].label;
            let fresh = out.used.insert((label.sender, label.nonce));
            if fresh || state.planted.is(Mutant::ReuseNonce) {
                ties.push((tie(block, *ct_id), *ct_id, *key));
            }
        }
        sort_ties(&mut ties, state.planted);
        if state.leaves_ties() {
            let group = ties.iter().map(|(_, ct_id, _)| (group[0].0, *ct_id));
            out.ties
                .extend(Tied::new(begun, group.collect(), Before::default));
        }
        out.order
            .extend(ties.iter().map(|(_, ct_id, key)| (*key, *ct_id)));
    }
    out.backlog = left.iter().any(|slot| {
        let label = &state.table.rows()[*slot].label;
        !out.used.contains(&(label.sender, label.nonce))
    });
    out
}
