//! D3, the clean-vote rule: who vouches for which reveal.
//!
//! Shares are per ciphertext, so those that leave with commit votes for conflicting blocks
//! add up. A member therefore *pledges* every ciphertext of D(B) to B with its clean vote
//! for B, and its vote for any other block that would reveal one of them is dirty.
//!
//! *Why this is enough.* Let honest members release shares of c with commit votes for B and
//! for B′ ≠ B. Both hold q clean votes, so an honest member voted clean for both, and c is
//! in D(B) and in D(B′): it broke the rule. So all early shares of c leave for one B. f + 1
//! honest of them make c readable, and they commit-voted B: it is irrevocable.
//!
//! Only *clean* votes pledge: a dirty one counts in no clean quorum. A pledge outlives the
//! view, the restart and the finality of other blocks; it ends when its ciphertext is final
//! or can never be revealed again.

use std::collections::BTreeMap;

use fairlane_types::BlockId;

/// Ciphertexts pledged by clean votes and neither final nor expired, each to one block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pledges<K: Ord> {
    of: BTreeMap<K, BlockId>,
}

impl<K: Ord> Default for Pledges<K> {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Pledges<K> {
    /// Whether a vote for `block`, which reveals these, may be clean; if so, they are
    /// pledged to it, which must be durable before the vote is said (C7).
    pub fn pledge(&mut self, block: BlockId, reveals: &[K]) -> bool {
        let other = |key: &K| self.of.get(key).is_some_and(|to| *to != block);
        if reveals.iter().any(other) {
            return false;
        }
        self.of.extend(reveals.iter().map(|key| (*key, block)));
        true
    }

    /// Restores a pledge made before a restart.
    pub fn restore(&mut self, key: K, block: BlockId) {
        self.of.insert(key, block);
    }

    /// These are final, or expired: no other block will reveal them.
    pub fn release<'a>(&mut self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        for key in keys {
            self.of.remove(key);
        }
    }

    /// How many are pledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether none is pledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::Digest;

    fn block(byte: u8) -> BlockId {
        BlockId(Digest([byte; 32]))
    }

    #[test]
    fn d3_a_ciphertext_is_pledged_to_one_block_until_it_is_final() {
        let mut pledges = Pledges::default();
        assert!(pledges.pledge(block(1), &[10, 11]));
        assert!(pledges.pledge(block(1), &[10, 11]), "the same vote again");
        assert!(!pledges.pledge(block(2), &[12, 11]));
        assert!(
            pledges.pledge(block(3), &[12]),
            "a dirty vote pledges nothing"
        );
        pledges.release(&[10, 11]);
        assert!(pledges.pledge(block(2), &[11]));
        assert_eq!(pledges.len(), 2);
        pledges.release(&[11, 12]);
        assert!(pledges.is_empty());
    }
}
