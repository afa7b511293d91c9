//! The emitted sequence (PROTOCOL §5): one block per final height, empty ones included.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    BlockId, ChainId, CtId, Digest, Domain, Epoch, Height, Label, Micros, Millis, Position, Root,
    merkle_root,
};

/// What became of an order. The codes are part of the encoding and of every API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// Decrypted: the payload and the 32-byte opening that proves it.
    Opened {
        /// What the sender sealed, without padding.
        payload: Vec<u8>,
        /// σ of ENCRYPTION 6.4.
        opening: [u8; 32],
    },
    /// Malformed by its maker's doing; t proven shares say so.
    Undecryptable,
    /// Past its expiry at finalized time; never decrypted.
    Expired,
    /// Another order with the same sender and nonce came first; never decrypted.
    DuplicateNonce,
}

impl Outcome {
    /// The word used in API, metrics and docs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Undecryptable => "undecryptable",
            Self::Expired => "expired",
            Self::DuplicateNonce => "duplicate_nonce",
        }
    }
}

/// One place in the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Item {
    /// Global number of the item.
    pub position: Position,
    /// The order's public label.
    pub label: Label,
    /// The order.
    pub ct_id: CtId,
    /// The key it was ordered by (µs; the assigned order indicator for rule `arrival`).
    pub stamp: Micros,
    /// What became of it.
    pub outcome: Outcome,
}

impl Item {
    /// Merkle leaf of this item.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        Domain::MerkleLeaf.hash_of(self)
    }
}

/// The orders of one final block, decrypted, chained to all before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SequencedBlock {
    /// Chain.
    pub chain: ChainId,
    /// Epoch.
    pub epoch: Epoch,
    /// Height of the final block; also the cursor of the feed.
    pub height: Height,
    /// The final block.
    pub block: BlockId,
    /// Finalized time.
    pub time: Millis,
    /// Root of the block before.
    pub parent_root: Root,
    /// Position of the first item, or of the next one if there is none.
    pub first_position: Position,
    /// Expired and duplicate ones first, then the decrypted ones in fair order.
    pub items: Vec<Item>,
    /// Digest of the order rule's state after this block, every K blocks.
    pub state: Option<Digest>,
    /// H(parent_root, height, block, time, state, Merkle(items)).
    pub root: Root,
}

impl SequencedBlock {
    /// The root that the other fields have.
    #[must_use]
    pub fn compute_root(&self) -> Root {
        self.root_over(merkle_root(&self.leaves()))
    }

    /// Merkle leaves of the items.
    #[must_use]
    pub fn leaves(&self) -> Vec<Digest> {
        Domain::MerkleLeaf.many().each(&self.items)
    }

    /// The root with items of this Merkle root, whatever the items here are.
    #[must_use]
    pub fn root_over(&self, items: Digest) -> Root {
        Root(Domain::SequenceRoot.hash_of(&(
            (self.chain, self.epoch, self.parent_root, self.height),
            (self.block, self.time, self.first_position, self.state),
            items,
        )))
    }

    /// Fills in the root.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.root = self.compute_root();
        self
    }

    /// Position after the last item.
    #[must_use]
    pub fn next_position(&self) -> Position {
        self.first_position.plus(self.items.len() as u64)
    }

    /// Whether its root fits its content.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.root == self.compute_root()
    }

    /// Whether `self` is `parent`'s successor with a root that fits its content.
    #[must_use]
    pub fn follows(&self, parent: &Self) -> bool {
        self.chain == parent.chain
            && self.height == parent.height.next()
            && self.parent_root == parent.root
            && self.first_position == parent.next_position()
            && self.is_sealed()
            && self
                .items
                .iter()
                .enumerate()
                .all(|(i, item)| item.position == self.first_position.plus(i as u64))
    }
}
