//! Blind-order receipts from a member's records: what [`BlindReceipt`] needs of one order.

use fairlane_mempool::{Batch, Cut};
use fairlane_replica::audit::{Attested, BlindReceipt, LanePath, Link, Step, StepError};
use fairlane_replica::{FinalBlock, StoreError, Table, batch_key, height_key};
use fairlane_types::{
    CtId, Genesis, Height, MemberId, MerkleProof, Seq, SequencedBlock, decode, merkle_root,
};

use crate::known_key::KnownKey;
use crate::store::StoreReader;

/// Batches of a lane that are looked through below the head of the cut.
const BATCHES_BACK_MAX: u64 = 512;
/// Blocks between an order and the attestation that covers it.
const ABOVE_MAX: u64 = 4_096;

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum BlindRecordsError {
    /// The order has no place, or not yet.
    #[error("order {0} has no place here yet")]
    Unplaced(CtId),
    /// The committee has not attested it yet.
    #[error("order {0} is not attested yet")]
    Unattested(CtId),
    /// Rows are pruned.
    #[error("{0} is not kept any more")]
    Pruned(String),
    /// The records.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The receipt of an order.
///
/// # Errors
/// [`BlindRecordsError`].
pub fn receipt(
    genesis: &Genesis,
    reader: &StoreReader,
    id: CtId,
) -> Result<BlindReceipt, BlindRecordsError> {
    let place = reader
        .emitted(&id)?
        .ok_or(BlindRecordsError::Unplaced(id))?;
    let get = |table, key: &[u8]| reader.get(table, key);
    let cut = cut_of(reader, place.height)?;
    // Between a cut and itself there are no batches: the block, what proves it, the sequence.
    let step = Step::read(place.height, &cut, get)?;
    let (certificate, descent) = match (step.block.certificate, step.proof) {
        (Some(certificate), _) => (certificate, Vec::new()),
        (None, Some(proof)) => (proof.certificate, proof.headers),
        (None, None) => return Err(BlindRecordsError::Pruned("its certificate".to_owned())),
    };
    let block = step.sequenced;
    let leaves = block.leaves();
    let at = block.items.iter().position(|item| item.ct_id == id);
    let at = at.ok_or(BlindRecordsError::Unplaced(id))?;
    let item = block.items[at].clone();
    let path = MerkleProof::new(&leaves, at).ok_or(BlindRecordsError::Unplaced(id))?;
    let n = genesis.members.len();
    let quorum = n - (n - 1) / 3;
    let mut lanes = Vec::new();
    for lane in (0..n).filter_map(|lane| u8::try_from(lane).ok()) {
        lanes.extend(lane_path(reader, MemberId(lane), &cut, id)?);
        if lanes.len() == quorum {
            break;
        }
    }
    let rider = step.block.payload.rider();
    let attested = match &genesis.certificates {
        Some(_) => Some(attested(reader, block.height, id)?),
        None => None,
    };
    let activation = KnownKey::read(genesis, reader)?.and_then(|known| known.activation);
    Ok(BlindReceipt {
        genesis: genesis.hash(),
        header: step.block.header,
        rider,
        cut,
        certificate,
        descent,
        lanes,
        item,
        path,
        block: bare(block),
        beacon: step.beacon,
        attested,
        activation,
    })
}

fn cut_of(reader: &StoreReader, height: Height) -> Result<Cut, BlindRecordsError> {
    let pruned = || BlindRecordsError::Pruned(format!("block {height}"));
    let bytes = reader.get(Table::Blocks, &height_key(height))?;
    let bytes = bytes.ok_or_else(pruned)?;
    let block: FinalBlock = decode(&bytes, bytes.len()).map_err(|_| pruned())?;
    Ok(block.payload.cut)
}

/// From the batch of a lane that records the order up to the head; none if it does not, or
/// if that is not kept.
fn lane_path(
    reader: &StoreReader,
    lane: MemberId,
    cut: &Cut,
    id: CtId,
) -> Result<Option<LanePath>, BlindRecordsError> {
    let head = cut.head(lane).seq.0;
    let mut headers = Vec::new();
    for seq in (1..=head).rev().take(BATCHES_BACK_MAX as usize) {
        let Some(bytes) = reader.get(Table::Lanes, &batch_key(lane, Seq(seq)))? else {
            return Ok(None);
        };
        let Ok(batch) = decode::<Batch>(&bytes, bytes.len()) else {
            return Ok(None);
        };
        headers.push(batch.header());
        let Some(index) = batch.entries.iter().position(|entry| entry.ct_id == id) else {
            continue;
        };
        headers.reverse();
        return Ok(Some(LanePath {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            entries: batch.entries,
            headers,
        }));
    }
    Ok(None)
}

/// The next attestation, and the roots up to it.
fn attested(reader: &StoreReader, height: Height, id: CtId) -> Result<Attested, BlindRecordsError> {
    let attestation = reader.attestation_from(height)?;
    let attestation = attestation.ok_or(BlindRecordsError::Unattested(id))?;
    if attestation.height.0 - height.0 > ABOVE_MAX {
        return Err(BlindRecordsError::Pruned("the attestation".to_owned()));
    }
    let mut above = Vec::new();
    for height in height.next().0..=attestation.height.0 {
        let block = reader.block(Height(height))?;
        let block = block.ok_or_else(|| BlindRecordsError::Pruned(format!("block {height}")))?;
        let leaves = block.leaves();
        above.push(Link {
            items: merkle_root(&leaves),
            block: bare(block),
        });
    }
    Ok(Attested { above, attestation })
}

fn bare(block: SequencedBlock) -> SequencedBlock {
    SequencedBlock {
        items: Vec::new(),
        ..block
    }
}
