//! Sharded combining for large committees (ENCRYPTION 6.7, 6.8): a block's orders are dealt
//! round into slices, each slice is combined by two members, drawn by a seed, and the others
//! only check the opening.
//!
//! A member then gets shares for 2/n of the orders, not for all, and pays for combining
//! those alone. What a combiner sends is checked by the same opening check as its own work,
//! so it has no say in any outcome (A10): it can only be late or silent, and then shares go
//! to everybody. It reads its orders one hop before the others; that is why combiners are
//! drawn anew again and again, and doubled.

use core::borrow::Borrow;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, Digest, Epoch, KeyId, MemberId};

use crate::group::ENCODED;
use crate::keys::SHARE_HOLDERS_MAX;
use crate::{
    EncryptionKey, KeyError, KeyPoints, ParsedCiphertext, Plain, SHARES_MAX, ShareError, open,
};

/// Combiners of a slice.
const COMBINERS: usize = 2;

/// Room reserved before anything was read, in key points.
const POINTS_RESERVED: usize = 1_024;

/// A slice has at least so many orders, if the block has: each costs every member a proof and
/// a signature, about as much as the shares of five.
pub const SLICE_ORDERS_MIN: usize = 8;

/// Slices of a block of so many orders in a committee of n. At the most, with two combiners
/// each, a member has one.
#[must_use]
pub fn slices(n: usize, orders: usize) -> usize {
    let most = n.div_ceil(COMBINERS);
    (orders / SLICE_ORDERS_MIN).clamp(1, most.max(1))
}

/// The places of a list of `orders` that are in a slice, ascending: k with k mod `slices`
/// = `slice`.
pub fn places(slice: usize, slices: usize, orders: usize) -> impl Iterator<Item = usize> {
    (slice..orders).step_by(slices.max(1))
}

/// Who combines which slice, for one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CombinerSchedule(Vec<MemberId>);

impl CombinerSchedule {
    /// The permutation of `n` members for a seed that nobody could choose.
    ///
    /// # Errors
    /// [`KeyError::Members`] when n is 0 or over [`SHARE_HOLDERS_MAX`].
    pub fn new(seed: &Digest, epoch: Epoch, n: usize) -> Result<Self, KeyError> {
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(KeyError::Members { got: n });
        }
        let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 combiners");
        hasher.update(&seed.0).update(&epoch.0.to_le_bytes());
        let mut stream = hasher.finalize_xof();
        let mut members: Vec<MemberId> = (0..n).map(|member| MemberId(member as u8)).collect();
        // Fisher–Yates; the remainder's bias is below 2⁻⁵⁶ a draw.
        for at in 0..n {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            let left = (n - at) as u64;
            members.swap(at, at + (u64::from_le_bytes(bytes) % left) as usize);
        }
        Ok(Self(members))
    }

    /// All members in the order in which they are to combine a slice: its two combiners
    /// perm[s] and perm[s + ⌈n/2⌉], then those of the next slices. Slices of other blocks may
    /// go on counting, so that all members have the same work.
    pub fn candidates(&self, slice: usize) -> impl Iterator<Item = MemberId> {
        let n = self.0.len();
        let half = n.div_ceil(COMBINERS);
        (0..n).map(move |i| self.0[(slice + i / COMBINERS + i % COMBINERS * half) % n])
    }
}

/// W of one order. Whoever has it reads the order: it is not printed.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyPoint {
    /// Place in the slice.
    pub order: u32,
    /// enc(W).
    pub point: [u8; ENCODED],
}

impl core::fmt::Debug for KeyPoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyPoint")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// What a combiner tells the others of a slice of a final block: the key points of orders
/// that it has opened. σ is not sent: it is what W decrypts. 69 + 36·B bytes encoded.
#[derive(Clone, PartialEq, Eq, BorshSerialize)]
pub struct KeyBatch {
    /// The key.
    pub key: KeyId,
    /// The final block.
    pub block: BlockId,
    /// The combiner.
    pub member: MemberId,
    /// Key points, by ascending place.
    pub points: Vec<KeyPoint>,
}

impl BorshDeserialize for KeyBatch {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let key = KeyId::deserialize_reader(reader)?;
        let block = BlockId::deserialize_reader(reader)?;
        let member = MemberId::deserialize_reader(reader)?;
        let count = u32::deserialize_reader(reader)? as usize;
        let invalid = |reason: &'static str| IoError::new(ErrorKind::InvalidData, reason);
        if count > SHARES_MAX {
            return Err(invalid("too many key points"));
        }
        let mut points: Vec<KeyPoint> = Vec::with_capacity(count.min(POINTS_RESERVED));
        for _ in 0..count {
            let point = KeyPoint::deserialize_reader(reader)?;
            if points.last().is_some_and(|last| last.order >= point.order) {
                return Err(invalid("key points out of order"));
            }
            points.push(point);
        }
        Ok(Self {
            key,
            block,
            member,
            points,
        })
    }
}

impl core::fmt::Debug for KeyBatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyBatch")
            .field("key", &self.key)
            .field("block", &self.block)
            .field("member", &self.member)
            .field("points", &self.points.len())
            .finish()
    }
}

impl KeyBatch {
    /// What `member` sends after it combined a slice, whose orders `opened` tells: those
    /// that did not open are left out, for the others to settle with shares of everybody.
    #[must_use]
    pub fn new(
        key: &EncryptionKey,
        block: BlockId,
        member: MemberId,
        points: &KeyPoints,
        opened: impl IntoIterator<Item = bool>,
    ) -> Self {
        let points = points.encoded().iter().zip(opened).enumerate();
        Self {
            key: key.id(),
            block,
            member,
            points: points
                .filter(|(_, (_, opened))| *opened)
                .map(|(order, (point, _))| KeyPoint {
                    order: order as u32,
                    point: *point,
                })
                .collect(),
        }
    }

    /// Opens what `from` combined of a slice's list: (place, plaintext) for each point, and
    /// `None` where the opening check refuses it. Whatever is accepted is what every other
    /// member accepts for that order; a refused point is the combiner's doing.
    ///
    /// # Errors
    /// [`ShareError`] when it is for another key, block or list, of another member, or
    /// holds what is no point.
    pub fn open<C: Borrow<ParsedCiphertext>>(
        &self,
        key: &EncryptionKey,
        block: BlockId,
        list: &[C],
        from: MemberId,
        entropy: &[u8; 32],
    ) -> Result<Vec<(usize, Option<Plain>)>, ShareError> {
        if self.member != from || !key.contains(from) {
            return Err(ShareError::WrongMember(self.member));
        }
        if self.key != key.id() {
            return Err(ShareError::WrongKey);
        }
        if self.block != block {
            return Err(ShareError::WrongBlock);
        }
        let places: Vec<usize> = self.points.iter().map(|p| p.order as usize).collect();
        let orders: Vec<&ParsedCiphertext> = places
            .iter()
            .map_while(|place| list.get(*place).map(Borrow::borrow))
            .collect();
        if orders.len() != places.len() {
            return Err(ShareError::WrongLength {
                got: places.len(),
                want: list.len(),
            });
        }
        let encoded = self.points.iter().map(|p| p.point).collect();
        let points = KeyPoints::received(encoded).map_err(ShareError::BadEncoding)?;
        let opened = open::open_batch(key, &orders, &points, entropy);
        Ok(places.into_iter().zip(opened).collect())
    }
}
