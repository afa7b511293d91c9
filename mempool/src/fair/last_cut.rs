//! The last cut of an epoch (PROTOCOL §6): nothing more will be heard of its lanes, so what a
//! quorum of them holds comes out without waiting for the others. F1 is not promised there.
//! What fewer lanes hold goes on into the lanes of the next epoch.

use std::collections::BTreeSet;

use fairlane_types::{BlockId, CtId};

use super::ORDERS_PER_BLOCK_MAX;
use super::before::Before;
use super::state::{Extracted, State};
use super::tie::{Tied, sort_ties, tie};

/// Adds every solid order that the rule left, by (key or its bound, tie), as far as one
/// block holds them; which ones go beyond is decided by id, not by tie.
pub(super) fn extend(state: &State, block: BlockId, mut out: Extracted) -> Extracted {
    let gone: BTreeSet<CtId> = out.order.iter().map(|(_, ct_id)| *ct_id).collect();
    let heads = state.head_offsets();
    let mut scratch = Vec::with_capacity(heads.len());
    let mut solid = Vec::new();
    for (slot, row) in state.table.rows().iter().enumerate() {
        if row.solid.is_some() && !gone.contains(&row.ct_id) {
            let key = state.key_or_bound(slot, &heads, &mut scratch);
            solid.push((key, row.ct_id, (row.label.sender, row.label.nonce)));
        }
    }
    solid.sort_unstable_by_key(|(key, ct_id, _)| (*key, *ct_id));
    let mut used = out.used.clone();
    solid.retain(|(_, _, nonce)| used.insert(*nonce));
    solid.truncate(ORDERS_PER_BLOCK_MAX.saturating_sub(out.order.len()));
    out.used.extend(solid.iter().map(|(_, _, nonce)| *nonce));
    for group in solid.chunk_by(|a, b| a.0 == b.0) {
        if state.leaves_ties() {
            let orders = group.iter().map(|(key, ct_id, _)| (*key, *ct_id));
            let tied = Tied::new(out.order.len(), orders.collect(), Before::default);
            out.ties.extend(tied);
        }
        let mut ties: Vec<_> = (group.iter())
            .map(|(key, ct_id, _)| (tie(block, *ct_id), *ct_id, *key))
            .collect();
        sort_ties(&mut ties, state.planted);
        let order = ties.into_iter().map(|(_, ct_id, key)| (key, ct_id));
        out.order.extend(order);
    }
    out
}
