//! Where an audit begins.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::CertificateKeyError;
use fairlane_mempool::{Batch, BatchHeader, fair};
use fairlane_types::{Envelope, Epoch, Genesis, GenesisError, MemberId, Seq, SequencedBlock};

use super::step::{Rows, StepError};
use crate::keys::{batch_key, epoch_key, height_key, meta, payload_key};
use crate::recovery::Snapshot;
use crate::{BaseError, EpochBase, FinalBlock, StoreError, Table};

/// Where an audit begins.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Start {
    /// Before the first block: nothing is trusted but the genesis.
    Genesis,
    /// After a height whose block of the sequence commits to the order state: its root is
    /// trusted.
    At(Box<Checkpoint>),
    /// Before the first block of a later epoch: nothing is trusted but its genesis, to which the
    /// committees before have handed over, and which covers what the order rule remembers.
    Epoch(Box<EpochBase>),
}

/// The order state after a height that commits to it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The final block.
    pub block: FinalBlock,
    /// The block of the sequence; commits to the state.
    pub sequenced: SequencedBlock,
    /// State of the order rule.
    pub order: Vec<u8>,
    /// Header of each lane's last final batch, for its stamp; none before the first.
    pub heads: Vec<Option<BatchHeader>>,
    /// Envelopes of the orders that have no outcome yet.
    pub envelopes: Vec<Envelope>,
}

/// Why an audit cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The certificate key of the genesis.
    #[error(transparent)]
    CertificateKey(#[from] CertificateKeyError),
    /// The former encryption key of the genesis.
    #[error("encryption.former.public_key: {0}")]
    FormerKey(#[from] fairlane_types::DecodeError),
    /// The checkpoint contradicts itself.
    #[error("the checkpoint does not hold: {0}")]
    Checkpoint(String),
    /// What a later epoch begins with is missing.
    #[error("it is a later epoch: an audit begins with what was handed over")]
    Later,
    /// What another epoch begins with.
    #[error("it is what {0} begins with, or with another genesis")]
    OtherEpoch(Epoch),
    /// What the hand-over does not cover.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// What the order rule remembers.
    #[error("the remembered orders: {0}")]
    Memory(String),
}

impl Start {
    /// The earliest beginning that a member's database allows: that of its epoch, or, where lower
    /// heights are pruned, the last snapshot of the order state.
    ///
    /// # Errors
    /// [`StepError`]; `Absent` where neither is there.
    pub fn read(
        genesis: &Genesis,
        get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Self, StepError> {
        let height = genesis.base().next();
        let rows = Rows { height, get: &get };
        if get(Table::Blocks, &height_key(height))?.is_some() {
            if genesis.start.is_none() {
                return Ok(Self::Genesis);
            }
            let key = epoch_key(genesis.epoch());
            let base: EpochBase = rows.need("what the epoch began with", Table::Epochs, &key)?;
            // Dealings are no part of what is audited.
            return Ok(Self::Epoch(Box::new(base.stripped())));
        }
        let what = "neither it nor a snapshot of the order state";
        let snapshot: Snapshot = rows.need(what, Table::Meta, meta::SNAPSHOT)?;
        let height = snapshot.height;
        let rows = Rows { height, get: &get };
        let block: FinalBlock = rows.need("the final block", Table::Blocks, &height_key(height))?;
        let sequenced = rows.need("the emitted block", Table::Sequence, &height_key(height))?;
        let mut heads = Vec::new();
        for (index, head) in block.payload.cut.heads.iter().enumerate() {
            let lane = MemberId(u8::try_from(index).unwrap_or(u8::MAX));
            heads.push(match head.seq {
                Seq(0) => None,
                seq => {
                    let what = format!("batch {seq} of lane {lane}");
                    let batch: Batch = rows.need(&what, Table::Lanes, &batch_key(lane, seq))?;
                    Some(batch.header())
                }
            });
        }
        let committee = genesis.validate()?;
        let (n, f) = (committee.n(), committee.f());
        let order = fair::restore(n, f, &genesis.order, &snapshot.order).map_err(|error| {
            StepError::Decode {
                height,
                what: "the order state".to_owned(),
                why: error.to_string(),
            }
        })?;
        let mut envelopes = Vec::new();
        for id in order.live_orders() {
            let key = payload_key(&id);
            envelopes.extend(rows.find::<Envelope>("an envelope", Table::Payloads, &key)?);
        }
        Ok(Self::At(Box::new(Checkpoint {
            block,
            sequenced,
            order: snapshot.order,
            heads,
            envelopes,
        })))
    }
}
