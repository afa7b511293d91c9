//! Keys of the tables that are read outside the replica.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{CtId, Height, Position};

/// Key in [`Table::Sequence`](crate::Table::Sequence) and
/// [`Table::Blocks`](crate::Table::Blocks): the height, big-endian.
#[must_use]
pub fn height_key(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

/// The height of such a key.
#[must_use]
pub fn height_of(key: &[u8]) -> Option<Height> {
    key.try_into().ok().map(|bytes| Height(u64::from_be_bytes(bytes)))
}

/// Key in [`Table::Index`](crate::Table::Index): the order's id.
#[must_use]
pub fn index_key(id: &CtId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Value in [`Table::Index`](crate::Table::Index): where an order was emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Emitted {
    /// Height of the block that holds it.
    pub height: Height,
    /// Its global position.
    pub position: Position,
}
