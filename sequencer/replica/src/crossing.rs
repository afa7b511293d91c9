//! From one epoch into the next on disk (PROTOCOL §6). A member leaves the old epoch with one
//! write and enters the next one with another; in between it lacks at most blocks of the
//! sequence, which any other member has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::{CERTIFICATE_KEY_BYTES, certificate_key};
use fairlane_types::{
    CtId, Envelope, Epoch, Genesis, Handover, KeyActivation, MemberId, SequencedBlock,
    UsedReceivers, decode, encode,
};

use crate::covered::Covered;
use crate::epoch_base::{BaseError, EPOCH_BASE_BYTES_MAX, EpochBase};
use crate::keys::{Emitted, epoch_key, height_key, index_key, late_key, meta, payload_key};
use crate::recovery::{ROW_BYTES_MAX, RecoverError, Recovered, corrupt};
use crate::stripping::stripping;
use crate::{Store, StoreError, Table, Write};

/// Above every key of a table.
const END: [u8; 64] = [0xff; 64];

/// What the epoch began with that a folder is in; `None` in the first one. `get` reads a row.
///
/// # Errors
/// [`RecoverError`].
pub fn current_epoch(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<EpochBase>, RecoverError> {
    let Some(row) = get(Table::Meta, meta::EPOCH)? else {
        return Ok(None);
    };
    let epoch: Epoch = decode(&row, row.len())
        .map_err(|error| corrupt(Table::Meta, meta::EPOCH, &error.to_string()))?;
    let base = base_of(&get, epoch)?;
    let missing = || corrupt(Table::Epochs, &epoch_key(epoch), "missing");
    Ok(Some(base.ok_or_else(missing)?))
}

/// What the epoch after that of `genesis` begins with, if a folder has it already: its member
/// wrote that when a quorum had signed it, before it left. `get` reads a row.
///
/// # Errors
/// [`RecoverError`].
pub fn next_base(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    genesis: &Genesis,
) -> Result<Option<EpochBase>, RecoverError> {
    let base = base_of(&get, genesis.epoch().next())?;
    Ok(base.filter(|base| base.is_whole() && base.verify(genesis, None).is_ok()))
}

/// The certificate key by which a folder knows its chain where that came of a ceremony in the
/// epoch of `genesis`, which does not have it: from the committee's word that it is in force.
///
/// # Errors
/// [`RecoverError`].
pub fn activated_certificate_key(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    genesis: &Genesis,
) -> Result<Option<[u8; CERTIFICATE_KEY_BYTES]>, RecoverError> {
    let damaged =
        |error: &dyn core::fmt::Display| corrupt(Table::Meta, meta::ACTIVATION, &error.to_string());
    let row = get(Table::Meta, meta::ACTIVATION)?.map(|row| decode(&row, row.len()));
    let activation: Option<KeyActivation> = row.transpose().map_err(|error| damaged(&error))?;
    let activation = activation.filter(|activation| activation.epoch == genesis.epoch());
    let key = certificate_key(genesis, activation.as_ref()).map_err(|error| damaged(&error))?;
    Ok(key.map(|key| *key.public_key()))
}

fn base_of(
    get: &impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    epoch: Epoch,
) -> Result<Option<EpochBase>, RecoverError> {
    let key = epoch_key(epoch);
    let base = get(Table::Epochs, &key)?.map(|row| decode(&row, EPOCH_BASE_BYTES_MAX));
    base.transpose()
        .map_err(|error| corrupt(Table::Epochs, &key, &error.to_string()))
}

/// The keys for dealings that a folder's chain has used in the epochs before `genesis`, and in
/// that one, which the folder is in.
///
/// # Errors
/// [`RecoverError`].
pub fn used_receivers(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    genesis: &Genesis,
) -> Result<UsedReceivers, RecoverError> {
    let row = get(Table::Meta, meta::RECEIVERS)?;
    let used = row.map(|row| decode(&row, row.len())).transpose();
    let used = used.map_err(|error| corrupt(Table::Meta, meta::RECEIVERS, &error.to_string()))?;
    let mut used: UsedReceivers = used.unwrap_or_default();
    used.add(genesis);
    Ok(used)
}

/// Whether a folder has left its epoch and not entered the next one. `get` reads a row.
///
/// # Errors
/// [`StoreError`].
pub fn has_left(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<bool, StoreError> {
    Ok(get(Table::Meta, meta::LEFT)?.is_some())
}

/// The writes by which a member leaves an epoch: from then on its folder never runs it again.
/// Every order that it holds and that has no outcome is put aside, its own lane's first: what
/// was acknowledged is not lost with its lane. The hand-over by which it leaves stays with it: others
/// may have no other way to learn of it.
///
/// # Errors
/// [`RecoverError`].
pub fn leaving(
    store: &dyn Store,
    genesis: &Genesis,
    me: MemberId,
    word: &Handover,
) -> Result<Vec<Write>, RecoverError> {
    let carried = carried(store, genesis, me)?;
    let ids: Vec<CtId> = carried.iter().map(|envelope| envelope.id()).collect();
    let rows = ids.iter().zip(&carried);
    let mut writes: Vec<Write> = rows
        .map(|(id, order)| Write::put(Table::Payloads, payload_key(id), encode(order.as_ref())))
        .collect();
    writes.push(Write::meta(meta::CARRIED, encode(&ids)));
    writes.push(Write::meta(meta::LEFT, encode(&genesis.epoch())));
    writes.push(Write::meta(meta::WORD, encode(word)));
    Ok(writes)
}

/// The writes for blocks of the sequence that another member handed out, above `last`: one
/// stretch of what a hand-over covers, or its upper part.
///
/// # Errors
/// [`BaseError::Bytes`] when they are not that, or do not follow `last`.
pub fn importing(
    last: Option<&SequencedBlock>,
    blocks: &[SequencedBlock],
    covered: &Covered,
) -> Result<Vec<Write>, BaseError> {
    let above = |first: &SequencedBlock| last.is_none_or(|last| first.follows(last));
    if !blocks.first().is_some_and(above) || !covered.covers(blocks) {
        return Err(BaseError::Bytes("the blocks of the sequence"));
    }
    let mut writes = Vec::new();
    for block in blocks {
        let (key, row) = (height_key(block.height), encode(block));
        writes.push(Write::put(Table::Sequence, key, row));
        for item in &block.items {
            let place = Emitted {
                height: block.height,
                position: item.position,
            };
            let key = index_key(&item.ct_id);
            writes.push(Write::put(Table::Index, key, encode(&place)));
        }
    }
    Ok(writes)
}

/// The writes by which a folder goes from the epoch of `before` into that of `base`, whose
/// committee knows it as `me`. The sequence up to the boundary must be here already, and lead
/// to the root that was handed over. Dealings that led to the epoch of `before` go; an epoch
/// whose own are gone already is over, and is left as soon as it is entered.
///
/// # Errors
/// [`RecoverError`]; `Corrupt` when the sequence is not here, or another one.
pub fn entering(
    store: &dyn Store,
    before: &Genesis,
    base: &EpochBase,
    me: MemberId,
) -> Result<Vec<Write>, RecoverError> {
    let height = base.genesis().base();
    let key = height_key(height);
    let refuse = |reason: &str| corrupt(Table::Sequence, &key, reason);
    let row = store.get(Table::Sequence, &key)?;
    let row = row.ok_or_else(|| refuse("the sequence up to the boundary is not here"))?;
    let last: SequencedBlock =
        decode(&row, ROW_BYTES_MAX).map_err(|error| refuse(&error.to_string()))?;
    let root = base.genesis().start.map(|start| start.root);
    if Some(last.root) != root || !last.is_sealed() {
        return Err(refuse("another sequence than the one handed over"));
    }
    // Nothing is emitted there: who restarted with it would call it damage.
    let above = height_key(height.next());
    if !store
        .scan(Table::Sequence, &above, &END, 1, ROW_BYTES_MAX)?
        .is_empty()
    {
        return Err(refuse("the sequence goes on above the boundary"));
    }
    let used = used_receivers(|table, key| store.get(table, key), before)?;
    let carried = carried_ids(store)?;
    let mut open = Vec::with_capacity(carried.len());
    for id in carried {
        if !has_outcome(store, &id)? && is_openable(store, &id, base.genesis())? {
            open.push(id);
        }
    }
    let mut stripped = stripping(store, before.epoch(), height)?;
    let left = match base.is_whole() {
        true => Write::delete(Table::Meta, meta::LEFT.to_vec()),
        false => Write::meta(meta::LEFT, encode(&base.epoch())),
    };
    let tables = [Table::Safety, Table::Lanes, Table::Dealings, Table::Shares];
    let mut writes: Vec<Write> = tables
        .map(|table| Write::DeleteRange {
            table,
            from: Vec::new(),
            to: END.to_vec(),
        })
        .into();
    writes.extend([
        Write::DeleteRange {
            table: Table::Blocks,
            from: height_key(height.next()),
            to: END.to_vec(),
        },
        Write::delete(Table::Meta, meta::SNAPSHOT.to_vec()),
        Write::delete(Table::Meta, meta::WORD.to_vec()),
        left,
        Write::put(Table::Epochs, epoch_key(base.epoch()), encode(base)),
        Write::meta(meta::CARRIED, encode(&open)),
        Write::meta(meta::RECEIVERS, encode(&used)),
        Write::meta(meta::GENESIS, encode(&base.genesis().hash())),
        Write::meta(meta::MEMBER, encode(&me)),
        Write::meta(meta::EPOCH, encode(&base.epoch())),
    ]);
    writes.append(&mut stripped);
    Ok(writes)
}

/// Orders that came along into the epoch a folder is in, and that have no outcome there.
///
/// # Errors
/// [`RecoverError`].
pub fn carried_over(store: &dyn Store) -> Result<Vec<Envelope>, RecoverError> {
    let mut open = Vec::new();
    for id in carried_ids(store)? {
        let key = payload_key(&id);
        if !has_outcome(store, &id)?
            && let Some(row) = store.get(Table::Payloads, &key)?
        {
            let read = decode(&row, ROW_BYTES_MAX);
            open.push(read.map_err(|e| corrupt(Table::Payloads, &key, &e.to_string()))?);
        }
    }
    Ok(open)
}

fn carried_ids(store: &dyn Store) -> Result<Vec<CtId>, RecoverError> {
    match store.get(Table::Meta, meta::CARRIED)? {
        Some(row) => decode(&row, ROW_BYTES_MAX)
            .map_err(|error| corrupt(Table::Meta, meta::CARRIED, &error.to_string())),
        None => Ok(Vec::new()),
    }
}

/// Orders that a folder holds and that have no outcome: its own lane's in their order, then
/// those of the others.
///
/// # Errors
/// [`RecoverError`].
fn carried(
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

/// Whether an epoch has the key that a held order is sealed to. One that has not was over
/// before the boundary, and so was the order.
fn is_openable(store: &dyn Store, id: &CtId, genesis: &Genesis) -> Result<bool, RecoverError> {
    let key = payload_key(id);
    let Some(row) = store.get(Table::Payloads, &key)? else {
        return Ok(false);
    };
    let order: Envelope = decode(&row, ROW_BYTES_MAX)
        .map_err(|error| corrupt(Table::Payloads, &key, &error.to_string()))?;
    let sealed_to = order.label.key_id;
    let former = genesis.former_key().map(|(key, _)| key);
    Ok(genesis.encryption.key_id == Some(sealed_to) || former == Some(sealed_to))
}

fn has_outcome(store: &dyn Store, id: &CtId) -> Result<bool, StoreError> {
    Ok(store.get(Table::Index, &index_key(id))?.is_some()
        || store.get(Table::Index, &late_key(id))?.is_some())
}
