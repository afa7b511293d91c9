//! Dealings leave the disk with the epoch whose log carried them (PROTOCOL §6, THREATS A21).
//!
//! A member needs those that made its present shares, and has them in what its epoch began
//! with. All others only help whoever gets at an old secret. Their blocks stay: header,
//! certificate and cut, under the id that they always had.

use fairlane_types::{Epoch, Height, decode, encode};

use crate::epoch_base::{EPOCH_BASE_BYTES_MAX, EpochBase};
use crate::keys::{carried_height, epoch_key, height_key};
use crate::payload::FinalBlock;
use crate::recovery::{ROW_BYTES_MAX, RecoverError, SCAN_BYTES, SCAN_ROWS, corrupt};
use crate::{Store, Table, Write};

/// The writes that take dealings out of what a folder keeps of an epoch, `last` being the
/// height of its boundary.
///
/// # Errors
/// [`RecoverError`].
pub(crate) fn stripping(
    store: &dyn Store,
    epoch: Epoch,
    last: Height,
) -> Result<Vec<Write>, RecoverError> {
    let mut writes = Vec::new();
    let key = epoch_key(epoch);
    if let Some(row) = store.get(Table::Epochs, &key)? {
        let base: EpochBase = decode(&row, EPOCH_BASE_BYTES_MAX)
            .map_err(|error| corrupt(Table::Epochs, &key, &error.to_string()))?;
        writes.push(Write::put(Table::Epochs, key, encode(&base.stripped())));
    }
    for height in carriers(store)? {
        let key = height_key(height);
        // What is above the boundary goes as a whole, and old heights are gone.
        if height > last {
            break;
        }
        if let Some(row) = store.get(Table::Blocks, &key)? {
            let mut block: FinalBlock = decode(&row, ROW_BYTES_MAX)
                .map_err(|error| corrupt(Table::Blocks, &key, &error.to_string()))?;
            block.payload.dealing = None;
            writes.push(Write::put(Table::Blocks, key, encode(&block)));
        }
    }
    Ok(writes)
}

/// Heights whose blocks carry dealings, ascending.
fn carriers(store: &dyn Store) -> Result<Vec<Height>, RecoverError> {
    let (mut heights, mut from) = (Vec::new(), height_key(Height(0)));
    let end = height_key(Height(u64::MAX));
    loop {
        let rows = store.scan(Table::Dealings, &from, &end, SCAN_ROWS, SCAN_BYTES)?;
        let Some((last, _)) = rows.last() else {
            return Ok(heights);
        };
        from = [last.as_slice(), &[0]].concat();
        heights.extend(rows.iter().filter_map(|(key, _)| carried_height(key)));
    }
}
