//! From one epoch into the next on disk (PROTOCOL §6): one write, after which a restart
//! begins the new epoch. Before it everything is as the old one left it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{CtId, Envelope, Epoch, Genesis, MemberId, decode, encode};

use crate::epoch_base::{EPOCH_BASE_BYTES_MAX, EpochBase};
use crate::keys::{epoch_key, height_key, index_key, late_key, meta, payload_key};
use crate::recovery::{RecoverError, Recovered, corrupt};
use crate::{Store, StoreError, Table, Write};

/// Above every key of a table.
const END: [u8; 64] = [0xff; 64];

/// What the epoch began with that a folder is in; `None` in the first one.
///
/// # Errors
/// [`RecoverError`].
pub fn current_epoch(store: &dyn Store) -> Result<Option<EpochBase>, RecoverError> {
    let Some(row) = store.get(Table::Meta, meta::EPOCH)? else {
        return Ok(None);
    };
    let epoch: Epoch = decode(&row, row.len())
        .map_err(|error| corrupt(Table::Meta, meta::EPOCH, &error.to_string()))?;
    let key = epoch_key(epoch);
    let row = store.get(Table::Epochs, &key)?;
    let row = row.ok_or_else(|| corrupt(Table::Epochs, &key, "missing"))?;
    let base = decode(&row, EPOCH_BASE_BYTES_MAX)
        .map_err(|error| corrupt(Table::Epochs, &key, &error.to_string()))?;
    Ok(Some(base))
}

/// The writes by which a folder goes into the epoch of `base`, whose committee knows it as
/// `me`. `before` is the epoch it is in and the member it is there, if it is one.
///
/// Every order that this folder holds and that has no outcome goes along, its own lane's
/// first: what was acknowledged is not lost with its lane. The sequence up to the boundary
/// must be here already.
///
/// # Errors
/// [`RecoverError`]; `Corrupt` when the sequence is not here.
pub fn crossing(
    store: &dyn Store,
    before: (&Genesis, Option<MemberId>),
    base: &EpochBase,
    me: MemberId,
) -> Result<Vec<Write>, RecoverError> {
    let height = base.genesis().base();
    if store.get(Table::Sequence, &height_key(height))?.is_none() {
        let reason = "the sequence up to the boundary is not here";
        return Err(corrupt(Table::Sequence, &height_key(height), reason));
    }
    let carried = match before {
        (genesis, Some(member)) => carried(store, genesis, member)?,
        (_, None) => Vec::new(),
    };
    let ids: Vec<CtId> = carried.iter().map(|envelope| envelope.id()).collect();
    let put = |key: &[u8], value| Write::put(Table::Meta, key.to_vec(), value);
    let mut writes: Vec<Write> = [Table::Safety, Table::Lanes, Table::Dealings, Table::Shares]
        .map(|table| Write::DeleteRange {
            table,
            from: Vec::new(),
            to: END.to_vec(),
        })
        .into();
    writes.push(Write::DeleteRange {
        table: Table::Blocks,
        from: height_key(height.next()),
        to: END.to_vec(),
    });
    let rows = ids.iter().zip(&carried);
    writes.extend(
        rows.map(|(id, order)| {
            Write::put(Table::Payloads, payload_key(id), encode(order.as_ref()))
        }),
    );
    writes.extend([
        Write::delete(Table::Meta, meta::SNAPSHOT.to_vec()),
        Write::put(Table::Epochs, epoch_key(base.epoch()), encode(base)),
        put(meta::CARRIED, encode(&ids)),
        put(meta::GENESIS, encode(&base.genesis().hash())),
        put(meta::MEMBER, encode(&me)),
        put(meta::EPOCH, encode(&base.epoch())),
    ]);
    Ok(writes)
}

/// Orders that a folder holds and that have no outcome: its own lane's in their order, then
/// those of the others.
///
/// # Errors
/// [`RecoverError`].
pub fn carried(
    store: &dyn Store,
    genesis: &Genesis,
    me: MemberId,
) -> Result<Vec<Arc<Envelope>>, RecoverError> {
    let found = Recovered::read(store, genesis, me)?;
    let live = found.order.live_orders();
    let mut batches = found.lanes.batches;
    batches.sort_by_key(|batch| (batch.lane != me, batch.lane, batch.seq));
    let beside = found.lanes.payloads.into_iter();
    let within = batches.iter().flat_map(|batch| batch.payloads.clone());
    let payloads: BTreeMap<CtId, Arc<Envelope>> = beside
        .chain(within)
        .map(|envelope| (envelope.id(), envelope))
        .collect();
    let in_lanes = batches.iter().flat_map(|batch| &batch.entries);
    let in_lanes = in_lanes.map(|entry| entry.ct_id);
    let (mut seen, mut carried) = (BTreeSet::new(), Vec::new());
    for id in in_lanes.chain(live).chain(payloads.keys().copied()) {
        if seen.insert(id)
            && let Some(envelope) = payloads.get(&id)
            && !has_outcome(store, &id)?
        {
            carried.push(Arc::clone(envelope));
        }
    }
    Ok(carried)
}

fn has_outcome(store: &dyn Store, id: &CtId) -> Result<bool, StoreError> {
    Ok(store.get(Table::Index, &index_key(id))?.is_some()
        || store.get(Table::Index, &late_key(id))?.is_some())
}
