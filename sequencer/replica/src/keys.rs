//! Keys of the tables that are read outside the replica.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{CtId, Epoch, Height, MemberId, Position, Seq};

/// Key in [`Table::Sequence`](crate::Table::Sequence) and
/// [`Table::Blocks`](crate::Table::Blocks): the height, big-endian.
#[must_use]
pub fn height_key(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

/// Key in [`Table::Shares`](crate::Table::Shares) of the beacon of a height, in which
/// something was tied: behind the height's own shares.
#[must_use]
pub fn beacon_key(height: Height) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], b"b"].concat()
}

/// The height of such a key.
#[must_use]
pub fn height_of(key: &[u8]) -> Option<Height> {
    key.try_into()
        .ok()
        .map(|bytes| Height(u64::from_be_bytes(bytes)))
}

/// Key in [`Table::Index`](crate::Table::Index): the order's id.
#[must_use]
pub fn index_key(id: &CtId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Key in [`Table::Index`](crate::Table::Index) of an order that the rule left out as
/// stale: it was recorded so long after its expiry that the sequence has no item for it.
/// The value is the height that left it out. An earlier outcome, if it had one, counts.
#[must_use]
pub fn late_key(id: &CtId) -> Vec<u8> {
    [id.as_bytes().as_slice(), b"late"].concat()
}

/// Key of a batch in [`Table::Lanes`](crate::Table::Lanes).
#[must_use]
pub fn batch_key(lane: MemberId, seq: Seq) -> Vec<u8> {
    lane_key(b'b', lane, seq)
}

/// Key of an acknowledgement in [`Table::Lanes`](crate::Table::Lanes).
#[must_use]
pub fn ack_key(lane: MemberId, seq: Seq) -> Vec<u8> {
    lane_key(b'a', lane, seq)
}

fn lane_key(kind: u8, lane: MemberId, seq: Seq) -> Vec<u8> {
    let mut key = vec![kind, lane.0];
    key.extend(seq.0.to_be_bytes());
    key
}

/// Key of an envelope in [`Table::Payloads`](crate::Table::Payloads): the order's id.
#[must_use]
pub fn payload_key(id: &CtId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Key in [`Table::Meta`](crate::Table::Meta) of the orders that a height left out as
/// stale: they have no outcome, and their bytes go when the height goes (M6).
#[must_use]
pub fn stale_key(height: Height) -> Vec<u8> {
    [b"stale/".as_slice(), &height.0.to_be_bytes()].concat()
}

/// Key in [`Table::Dealings`](crate::Table::Dealings) of the word that the dealing of a
/// height counts; the dealing itself is under the height.
#[must_use]
pub fn dealing_verdict_key(height: Height) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], b"v"].concat()
}

/// Key in [`Table::Dealings`](crate::Table::Dealings) of the change of committee that the
/// block of a height carries.
#[must_use]
pub fn change_key(height: Height) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], b"c"].concat()
}

/// The height of such a key.
#[must_use]
pub fn change_height(key: &[u8]) -> Option<Height> {
    height_of(key.strip_suffix(b"c")?)
}

/// Key in [`Table::Dealings`](crate::Table::Dealings) of the word that the block of a height
/// carries a dealing, whatever came of it.
#[must_use]
pub fn carried_key(height: Height) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], b"d"].concat()
}

/// The height of such a key.
#[must_use]
pub fn carried_height(key: &[u8]) -> Option<Height> {
    height_of(key.strip_suffix(b"d")?)
}

/// Key in [`Table::Epochs`](crate::Table::Epochs): the epoch, big-endian.
#[must_use]
pub fn epoch_key(epoch: Epoch) -> Vec<u8> {
    epoch.0.to_be_bytes().to_vec()
}

/// Keys in [`Table::Meta`](crate::Table::Meta).
pub mod meta {
    /// Hash of the genesis the folder belongs to.
    pub const GENESIS: &[u8] = b"genesis";
    /// The member the folder belongs to.
    pub const MEMBER: &[u8] = b"member";
    /// C7: the identity was born here and may speak.
    pub const BIRTH: &[u8] = b"birth";
    /// Latest snapshot of the order state.
    pub const SNAPSHOT: &[u8] = b"snapshot";
    /// The epoch that the folder is in; absent in the first one.
    pub const EPOCH: &[u8] = b"epoch";
    /// The folder's member has left this epoch and has not entered the next one.
    pub const LEFT: &[u8] = b"left";
    /// The hand-over by which it left.
    pub const WORD: &[u8] = b"word";
    /// Orders that this epoch took over from the one before, in their order.
    pub const CARRIED: &[u8] = b"carried";
    /// Keys for dealings of the epochs before the one that the folder is in.
    pub const RECEIVERS: &[u8] = b"receivers";
    /// The committee's word for the encryption key of a ceremony.
    pub const ACTIVATION: &[u8] = b"activation";
}

/// Value in [`Table::Index`](crate::Table::Index): where an order was emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Emitted {
    /// Height of the block that holds it.
    pub height: Height,
    /// Its global position.
    pub position: Position,
}
