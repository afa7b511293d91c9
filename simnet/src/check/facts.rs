//! What a message says and what a write records, as plain facts.

use std::sync::Arc;

use fairlane_consensus::{self as consensus, FinalBlock, SafetyRecord};
use fairlane_encryption::{Attestation, StateAttestation};
use fairlane_mempool::{Ack, Batch, Cut, LaneMessage};
use fairlane_replica::{CutPayload, Message, Table, height_of};
use fairlane_types::{BlockHeader, BlockId, Certificate, Height, SequencedBlock, View, decode};

use crate::disk::Change;

use super::shares::ShareSet;
use super::votes::Kind;

/// Largest row that is read.
const ROW_BYTES_MAX: usize = 64 << 20;

/// Something that a member says.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A vote.
    Vote {
        /// View.
        view: View,
        /// Block.
        block: BlockId,
    },
    /// A commit vote.
    Commit {
        /// View.
        view: View,
        /// Block.
        block: BlockId,
    },
    /// A skip.
    Skip {
        /// View.
        view: View,
    },
    /// A proposal.
    Proposal {
        /// Header.
        header: Box<BlockHeader>,
        /// Payload.
        cut: Cut,
    },
    /// A fresh batch.
    Batch(Arc<Batch>),
    /// Decryption shares.
    Shares(ShareSet),
    /// What a combiner opened of a slice.
    Told {
        /// Height it is of.
        height: Height,
        /// Block it is of.
        block: BlockId,
    },
    /// A certificate.
    Certificate(Box<Certificate>),
    /// So many final blocks, served to one that asked.
    Blocks(usize),
}

impl Fact {
    /// The view that a vote of any kind is about.
    #[must_use]
    pub const fn view(&self) -> Option<View> {
        match self {
            Self::Vote { view, .. } | Self::Commit { view, .. } | Self::Skip { view } => {
                Some(*view)
            }
            _ => None,
        }
    }
}

/// What a message says.
#[must_use]
pub fn facts(message: &Message) -> Option<Fact> {
    Some(match message {
        Message::Consensus(message) => match message.as_ref() {
            consensus::Message::Vote(signed) => Fact::Vote {
                view: signed.statement.view,
                block: signed.statement.block,
            },
            consensus::Message::Commit(signed) => Fact::Commit {
                view: signed.statement.view,
                block: signed.statement.block,
            },
            consensus::Message::Skip(hinted) => Fact::Skip {
                view: hinted.skip.statement.view,
            },
            consensus::Message::Proposal(proposal) => Fact::Proposal {
                header: Box::new(proposal.block.header.clone()),
                cut: proposal.block.payload.cut.clone(),
            },
            consensus::Message::Certificate(certificate) => {
                Fact::Certificate(Box::new(certificate.clone()))
            }
            consensus::Message::Blocks(blocks) => Fact::Blocks(blocks.blocks.len()),
            _ => return None,
        },
        Message::Lane(LaneMessage::Batch(batch)) => Fact::Batch(Arc::clone(batch)),
        Message::Keys(told) => Fact::Told {
            height: told.height,
            block: told.batch.block,
        },
        Message::Shares(shares) => Fact::Shares(ShareSet {
            height: shares.height,
            slice: shares.slice,
            block: shares.batch.block(),
            list: shares.list,
            count: shares.batch.len(),
        }),
        _ => return None,
    })
}

/// A final block as it lies on disk.
#[derive(Clone, Debug)]
pub struct Final {
    /// Header.
    pub header: BlockHeader,
    /// Payload.
    pub cut: Cut,
    /// Its own certificate, if it has one.
    pub certificate: Option<Certificate>,
}

/// Something that a member's disk holds.
#[derive(Clone, Debug)]
pub enum Durable {
    /// A statement about a view that may now be said.
    Safety((View, Kind, BlockId)),
    /// A final block.
    Final(Arc<Final>),
    /// A batch of a lane.
    Batch(Arc<Batch>),
    /// An acknowledgement of a lane's head.
    Ack(Ack),
    /// An emitted block.
    Sequenced(Arc<SequencedBlock>),
    /// An attested root.
    Attested(Attestation),
    /// A certified state.
    State(Box<StateAttestation>),
    /// Emitted blocks below this height are gone.
    Pruned(Height),
}

/// What a change of a disk records.
#[must_use]
pub fn durable(change: &Change) -> Option<Durable> {
    let (table, key, value) = match change {
        Change::Put { table, key, value } => (table, key, value),
        Change::DeleteRange {
            table: Table::Sequence,
            to,
            ..
        } => return height_of(to).map(Durable::Pruned),
        _ => return None,
    };
    match table {
        Table::Safety => statement(decode(value, ROW_BYTES_MAX).ok()?).map(Durable::Safety),
        Table::Blocks => {
            let block: FinalBlock<CutPayload> = decode(value, ROW_BYTES_MAX).ok()?;
            Some(Durable::Final(Arc::new(Final {
                header: block.header,
                cut: block.payload.cut,
                certificate: block.certificate,
            })))
        }
        Table::Lanes if key.first() == Some(&b'b') => {
            let batch: Batch = decode(value, ROW_BYTES_MAX).ok()?;
            Some(Durable::Batch(Arc::new(batch)))
        }
        Table::Lanes if key.first() == Some(&b'a') => {
            decode(value, ROW_BYTES_MAX).ok().map(Durable::Ack)
        }
        Table::Attestations => {
            let attestation = decode(value, ROW_BYTES_MAX).ok()?;
            Some(Durable::Attested(attestation))
        }
        Table::StateAttestations => {
            let made = decode(value, ROW_BYTES_MAX).ok()?;
            Some(Durable::State(Box::new(made)))
        }
        Table::Sequence => {
            let block = decode(value, ROW_BYTES_MAX).ok()?;
            Some(Durable::Sequenced(Arc::new(block)))
        }
        _ => None,
    }
}

fn statement(record: SafetyRecord<CutPayload>) -> Option<(View, Kind, BlockId)> {
    Some(match record {
        SafetyRecord::Proposed { block, .. } => {
            (block.header.view, Kind::Proposal, block.header.id())
        }
        SafetyRecord::Voted { vote, .. } => (vote.view, Kind::Vote, vote.block),
        SafetyRecord::Committed { commit } => (commit.view, Kind::Commit, commit.block),
        SafetyRecord::Skipped { skip, .. } => (skip.view, Kind::Skip, BlockId::default()),
        SafetyRecord::Certified(_) => return None,
    })
}
