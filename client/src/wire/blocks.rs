//! The sequence: items, blocks, and proofs that an item is in one.

use fairlane_types::{
    BlockId, ChainId, CtId, Digest, Epoch, Height, Item, MerkleProof, Micros, Millis, Outcome,
    Position, Root, SequencedBlock,
};
use serde::{Deserialize, Serialize};

use super::number::{dec, hex_option};
use super::orders::{EnvelopeBody, LabelBody, OrderWord};

/// A JSON body whose parts do not make a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

/// An item of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// Global number.
    #[serde(with = "dec")]
    pub position: u64,
    /// The order.
    pub id: CtId,
    /// Its public label.
    pub label: LabelBody,
    /// The key it was ordered by, µs.
    #[serde(with = "dec")]
    pub stamp_us: u64,
    /// What became of it.
    pub outcome: OrderWord,
    /// What the sender sealed, if opened.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_option")]
    pub payload: Option<Vec<u8>>,
    /// Proof that this is the payload, if opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Digest>,
}

impl From<&Item> for ItemBody {
    fn from(item: &Item) -> Self {
        let (payload, opening) = match &item.outcome {
            Outcome::Opened { payload, opening } => (Some(payload.clone()), Some(Digest(*opening))),
            _ => (None, None),
        };
        Self {
            position: item.position.0,
            id: item.ct_id,
            label: LabelBody::from(&item.label),
            stamp_us: item.stamp.0,
            outcome: OrderWord::from(&item.outcome),
            payload,
            opening,
        }
    }
}

impl TryFrom<ItemBody> for Item {
    type Error = WireError;
    fn try_from(body: ItemBody) -> Result<Self, WireError> {
        let outcome = match (body.outcome, body.payload, body.opening) {
            (OrderWord::Opened, Some(payload), Some(opening)) => Outcome::Opened {
                payload,
                opening: opening.0,
            },
            (OrderWord::Undecryptable, None, None) => Outcome::Undecryptable,
            (OrderWord::Expired, None, None) => Outcome::Expired,
            (OrderWord::DuplicateNonce, None, None) => Outcome::DuplicateNonce,
            (word, ..) => {
                return Err(WireError(format!(
                    "item {}: outcome {} does not fit its payload and opening",
                    body.position,
                    word.word()
                )));
            }
        };
        Ok(Self {
            position: Position(body.position),
            label: body.label.into(),
            ct_id: body.id,
            stamp: Micros(body.stamp_us),
            outcome,
        })
    }
}

/// A block of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Height.
    #[serde(with = "dec")]
    pub height: u64,
    /// The final block.
    pub block: BlockId,
    /// Finalized time, ms.
    #[serde(with = "dec")]
    pub time_ms: u64,
    /// Root of the block before.
    pub parent_root: Root,
    /// Position of the first item.
    #[serde(with = "dec")]
    pub first_position: u64,
    /// Items in order.
    pub items: Vec<ItemBody>,
    /// Digest of the order rule's state, every K blocks.
    pub state: Option<Digest>,
    /// Root after this block.
    pub root: Root,
}

impl From<&SequencedBlock> for BlockBody {
    fn from(block: &SequencedBlock) -> Self {
        Self {
            chain: block.chain.0,
            epoch: block.epoch.0,
            height: block.height.0,
            block: block.block,
            time_ms: block.time.0,
            parent_root: block.parent_root,
            first_position: block.first_position.0,
            items: block.items.iter().map(ItemBody::from).collect(),
            state: block.state,
            root: block.root,
        }
    }
}

impl TryFrom<BlockBody> for SequencedBlock {
    type Error = WireError;
    fn try_from(body: BlockBody) -> Result<Self, WireError> {
        Ok(Self {
            chain: ChainId(body.chain),
            epoch: Epoch(body.epoch),
            height: Height(body.height),
            block: body.block,
            time: Millis(body.time_ms),
            parent_root: body.parent_root,
            first_position: Position(body.first_position),
            items: body
                .items
                .into_iter()
                .map(Item::try_from)
                .collect::<Result<_, _>>()?,
            state: body.state,
            root: body.root,
        })
    }
}

/// `GET /v1/orders/{id}/proof`: the envelope, and that its item is under the block's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofBody {
    /// The envelope as carried in lanes; none once pruned.
    pub envelope: Option<EnvelopeBody>,
    /// The item.
    pub item: ItemBody,
    /// Index of the item in its block.
    pub index: u32,
    /// Items in the block.
    pub len: u32,
    /// Merkle siblings, lowest first.
    pub siblings: Vec<Digest>,
    /// The block without its items.
    pub block: BlockBody,
}

impl ProofBody {
    /// The Merkle path.
    #[must_use]
    pub fn path(&self) -> MerkleProof {
        MerkleProof {
            index: self.index,
            len: self.len,
            siblings: self.siblings.clone(),
        }
    }
}
