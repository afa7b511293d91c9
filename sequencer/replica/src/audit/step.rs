//! One height of what an auditor needs.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::Beacon;
use fairlane_mempool::{Batch, Cut};
use fairlane_types::{
    BlockHeader, Certificate, Envelope, GenesisError, Height, MemberId, Seq, SequencedBlock, decode,
};

use crate::keys::{batch_key, beacon_key, height_key, payload_key};
use crate::recovery::ROW_BYTES_MAX;
use crate::{FinalBlock, StoreError, Table};

/// Largest encoding of a step. A cut adds at most a window of each lane; what members
/// serve stays far below this.
pub const STEP_BYTES_MAX: usize = 1 << 30;

/// Most heights that one certificate is looked for above.
const ANCESTORS_MAX: u64 = 256;

/// A height as an auditor takes it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Step {
    /// The final block, with its certificate unless it became final as an ancestor.
    pub block: FinalBlock,
    /// What proves it final if it has no certificate of its own.
    pub proof: Option<AncestorProof>,
    /// The batches between its parent's cut and its own, by (lane, number).
    pub batches: Vec<Batch>,
    /// Envelopes of their entries that are in none of the batches, as far as known.
    pub envelopes: Vec<Envelope>,
    /// What is claimed to follow.
    pub sequenced: SequencedBlock,
    /// What broke the ties of this block, where the beacon does and something was tied.
    pub beacon: Option<Beacon>,
}

/// Proof that a block is final as an ancestor of a certified one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AncestorProof {
    /// Final certificate of a descendant.
    pub certificate: Certificate,
    /// Headers from that descendant down to the block's child.
    pub headers: Vec<BlockHeader>,
}

/// Why a height cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A row that the audit needs is not there: pruned, or never was.
    #[error("height {height}: {what} is not kept")]
    Absent {
        /// Height.
        height: Height,
        /// Which row.
        what: String,
    },
    /// A row does not decode.
    #[error("height {height}: {what} does not decode: {why}")]
    Decode {
        /// Height.
        height: Height,
        /// Which row.
        what: String,
        /// Why.
        why: String,
    },
}

impl Step {
    /// Reads a height with `get`, a lookup in a member's database.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn read(
        height: Height,
        parent: &Cut,
        get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Self, StepError> {
        let rows = Rows { height, get };
        let block: FinalBlock = rows.need("the final block", Table::Blocks, &height_key(height))?;
        let sequenced = rows.need("the emitted block", Table::Sequence, &height_key(height))?;
        let proof = match &block.certificate {
            Some(_) => None,
            None => Some(rows.ancestor_proof()?),
        };
        let mut batches: Vec<Batch> = Vec::new();
        for (index, head) in block.payload.cut.heads.iter().enumerate() {
            let lane = MemberId(u8::try_from(index).unwrap_or(u8::MAX));
            for seq in parent.head(lane).seq.next().0..=head.seq.0 {
                let what = format!("batch {seq} of lane {lane}");
                batches.push(rows.need(&what, Table::Lanes, &batch_key(lane, Seq(seq)))?);
            }
        }
        let carried = batches.iter().flat_map(|batch| &batch.payloads);
        let mut known: BTreeSet<_> = carried.map(|envelope| envelope.id()).collect();
        let mut envelopes = Vec::new();
        for entry in batches.iter().flat_map(|batch| &batch.entries) {
            if known.insert(entry.ct_id) {
                envelopes.extend(rows.find::<Envelope>(
                    "an envelope",
                    Table::Payloads,
                    &payload_key(&entry.ct_id),
                )?);
            }
        }
        let beacon = rows.find("the beacon", Table::Shares, &beacon_key(height))?;
        Ok(Self {
            block,
            proof,
            batches,
            envelopes,
            sequenced,
            beacon,
        })
    }
}

/// A member's database, read for one height.
pub(super) struct Rows<F> {
    pub(super) height: Height,
    pub(super) get: F,
}

impl<F: Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>> Rows<F> {
    pub(super) fn find<T: BorshDeserialize>(
        &self,
        what: &str,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, StepError> {
        let Some(value) = (self.get)(table, key)? else {
            return Ok(None);
        };
        let value = decode(&value, ROW_BYTES_MAX).map_err(|error| StepError::Decode {
            height: self.height,
            what: what.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Some(value))
    }

    /// The nearest certificate above.
    fn ancestor_proof(&self) -> Result<AncestorProof, StepError> {
        let mut headers = Vec::new();
        for offset in 1..=ANCESTORS_MAX {
            let height = self.height.plus(offset);
            let what = "a certificate above it";
            let block: FinalBlock = self.need(what, Table::Blocks, &height_key(height))?;
            headers.push(block.header);
            if let Some(certificate) = block.certificate {
                headers.reverse();
                return Ok(AncestorProof {
                    certificate,
                    headers,
                });
            }
        }
        Err(StepError::Absent {
            height: self.height,
            what: format!("a certificate within {ANCESTORS_MAX} heights"),
        })
    }

    pub(super) fn need<T: BorshDeserialize>(
        &self,
        what: &str,
        table: Table,
        key: &[u8],
    ) -> Result<T, StepError> {
        self.find(what, table, key)?
            .ok_or_else(|| StepError::Absent {
                height: self.height,
                what: what.to_owned(),
            })
    }
}
