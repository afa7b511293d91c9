//! What the sequencer asks of an execution (EXECUTION §2.8). The reference is
//! [`Clearing`](crate::Clearing); a rollup brings its own.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{Digest, Height, Position, PublicKey, Root, SequencedBlock};

use crate::account::AccountLeaf;
use crate::merkle::{leaf, root_of_path};
use crate::params::ParamsError;
use crate::{Event, Fill};

/// What became of one item of the sequence. Code 0 is success, others are
/// [`Reject::code`](crate::Reject::code).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// The item.
    pub position: Position,
    /// 0, or why it was refused.
    pub code: u16,
    /// What it matched, in order.
    pub fills: Vec<Fill>,
}

/// The result of one block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Executed {
    /// Height of the block.
    pub height: Height,
    /// Root of the state after it.
    pub state_root: Digest,
    /// Hash over the receipts and events.
    pub receipts_root: Digest,
    /// One per item, in the block's order.
    pub receipts: Vec<Receipt>,
    /// What happened besides, in order.
    pub events: Vec<Event>,
}

impl Executed {
    /// Hash over the receipts, then the events, each list with its length. BLAKE3 is a Merkle
    /// tree itself, over chunks of a kilobyte: a hash a receipt would cost ten times as much.
    #[must_use]
    pub fn receipts_root(receipts: &[Receipt], events: &[Event]) -> Digest {
        let mut bytes = Vec::with_capacity(receipts.len() * 64);
        fairlane_types::encode_into(&(receipts, events), &mut bytes);
        Digest(blake3::derive_key("FAIRLANE V1 execution receipts", &bytes))
    }
}

/// An account under a state root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountProof {
    /// The account.
    pub account: AccountLeaf,
    /// Its number.
    pub index: u64,
    /// Siblings, lowest first.
    pub path: Vec<Digest>,
    /// What the state root is over, besides the accounts' root.
    pub head: (Height, Root, u64, Digest),
}

impl AccountProof {
    /// The state root that the account is proven under; none if the index does not fit.
    #[must_use]
    pub fn state_root(&self) -> Option<Digest> {
        if self.index >= self.head.2 {
            return None;
        }
        let hash = leaf(&fairlane_types::encode(&self.account));
        let accounts = root_of_path(hash, self.index, &self.path)?;
        Some(state_root(self.head, accounts))
    }
}

/// H(height, sequence root, number of accounts, core, accounts).
pub(crate) fn state_root(head: (Height, Root, u64, Digest), accounts: Digest) -> Digest {
    let bytes = fairlane_types::encode(&("state", head, accounts));
    Digest(blake3::derive_key("FAIRLANE V1 execution state", &bytes))
}

/// What an execution cannot go on from. Everything else is a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// The genesis is refused.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The block is not the one that follows.
    #[error("block {got} does not follow the head at height {head}")]
    Fork {
        /// Height of the head.
        head: Height,
        /// Height of the block.
        got: Height,
    },
    /// The block's root is not the one of its content.
    #[error("block {0}: the root does not fit its content")]
    Root(Height),
    /// The result of so old a height is not kept.
    #[error("the result of height {0} is not kept")]
    TooOld(Height),
    /// No such account, or not at that height.
    #[error("nothing to prove for {0:?} at this height")]
    NoProof(PublicKey),
    /// A snapshot that does not hold together.
    #[error("the snapshot is damaged: {0}")]
    Snapshot(String),
}

/// A deterministic consumer of the sequence.
pub trait Execution: Send {
    /// Height and state root of the last block applied; height 0 is the genesis.
    fn head(&self) -> (Height, Digest);

    /// Applies the next block. A height already applied gives its stored result, as long as
    /// that is kept.
    ///
    /// # Errors
    /// [`ExecutionError::Fork`], `Root`, `TooOld`; the state is unchanged.
    fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError>;

    /// Says that heights up to this one are final and attested.
    fn finalize(&mut self, height: Height);

    /// Height up to which results are final.
    fn finalized(&self) -> Height;

    /// Proves a key's account at the head.
    ///
    /// # Errors
    /// [`ExecutionError::NoProof`].
    fn prove(&self, key: &PublicKey, height: Height) -> Result<AccountProof, ExecutionError>;

    /// The whole state, canonically.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by a snapshot's; its root is computed anew and must fit.
    ///
    /// # Errors
    /// [`ExecutionError::Snapshot`]; the state is unchanged.
    fn restore(&mut self, bytes: &[u8]) -> Result<Digest, ExecutionError>;
}
