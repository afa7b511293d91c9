//! Which blocks of the sequence a hand-over covers (PROTOCOL §6). Its root is signed and every
//! block names the root below it, so blocks are known from the top down, whoever hands them
//! out. On the way down only one root of each stretch is kept; with those the same blocks are
//! taken from the bottom up, and none goes to disk that the signed root does not cover.

use std::collections::BTreeMap;

use fairlane_encryption::leads_on;
use fairlane_types::{Genesis, Handover, Height, Root, SequencedBlock, encode};

use crate::BaseError;

/// Most blocks in a stretch.
pub const STRETCH_BLOCKS_MAX: usize = 256;
/// Most bytes in a stretch of several blocks, encoded: below what an API puts into an answer.
pub const STRETCH_BYTES_MAX: usize = 2 << 20;

/// Blocks that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    blocks: usize,
    bytes: usize,
    /// Of its last block.
    root: Root,
}

/// The blocks up to a boundary, as far as they are known from there down.
#[derive(Clone, Debug)]
pub struct Covered {
    /// Height and root of the block below those known.
    missing: (Height, Root),
    /// By the height of the last block.
    stretches: BTreeMap<Height, Stretch>,
}

impl Covered {
    /// None known yet: a hand-over of the committee of `before`.
    ///
    /// # Errors
    /// [`BaseError`] when it is not that.
    pub fn by(handover: &Handover, before: &Genesis) -> Result<Self, BaseError> {
        leads_on(handover, before, None)?;
        let start = handover.genesis.start.ok_or(BaseError::First)?;
        Ok(Self {
            missing: (start.height, start.root),
            stretches: BTreeMap::new(),
        })
    }

    /// The highest height that is not known yet.
    #[must_use]
    pub const fn missing(&self) -> Height {
        self.missing.0
    }

    /// Learns of blocks that end at the one that is missing.
    ///
    /// # Errors
    /// [`BaseError::Bytes`] when they are not what is covered, or too many at once.
    pub fn down(&mut self, blocks: &[SequencedBlock]) -> Result<(), BaseError> {
        let refuse = Err(BaseError::Bytes("the blocks of the sequence"));
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
            return refuse;
        };
        let bytes = blocks.iter().map(|block| encode(block).len()).sum();
        let long = blocks.len() > STRETCH_BLOCKS_MAX || bytes > STRETCH_BYTES_MAX;
        if (last.height, last.root) != self.missing
            || (long && blocks.len() > 1)
            || first.height == Height(0)
            || !chained(blocks)
        {
            return refuse;
        }
        let mut end = last.height;
        let mut stretch = Stretch {
            blocks: blocks.len(),
            bytes,
            root: last.root,
        };
        // However short the pieces are that it is told of: few roots are kept.
        if let Some((above, next)) = self.stretches.first_key_value()
            && next.blocks + stretch.blocks <= STRETCH_BLOCKS_MAX
            && next.bytes + stretch.bytes <= STRETCH_BYTES_MAX
        {
            end = *above;
            stretch = Stretch {
                blocks: next.blocks + stretch.blocks,
                bytes: next.bytes + stretch.bytes,
                root: next.root,
            };
        }
        self.stretches.insert(end, stretch);
        self.missing = (first.height.prev(), first.parent_root);
        Ok(())
    }

    /// The last height of the stretch that a height is in, if it is known.
    #[must_use]
    pub fn end_of_stretch(&self, height: Height) -> Option<Height> {
        let (end, _) = self.stretches.range(height..).next()?;
        (height > self.missing.0).then_some(*end)
    }

    /// Whether blocks are covered: they end where a stretch ends.
    #[must_use]
    pub fn covers(&self, blocks: &[SequencedBlock]) -> bool {
        let Some(last) = blocks.last() else {
            return false;
        };
        let stretch = self.stretches.get(&last.height);
        stretch.is_some_and(|stretch| stretch.root == last.root) && chained(blocks)
    }
}

/// Whether each follows the one before, with a root that fits its content.
fn chained(blocks: &[SequencedBlock]) -> bool {
    let follow = |pair: &[SequencedBlock]| matches!(pair, [a, b] if b.follows(a));
    blocks.first().is_some_and(SequencedBlock::is_sealed) && blocks.windows(2).all(follow)
}

#[cfg(test)]
mod tests;
