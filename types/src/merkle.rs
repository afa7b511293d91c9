//! Binary Merkle tree with separate leaf and node domains, split at the largest power of
//! two below the length (the shape of RFC 6962), so that no padding can be confused.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{Digest, Domain};

/// Root over leaf digests; of an empty list, the node hash of nothing.
#[must_use]
pub fn merkle_root(leaves: &[Digest]) -> Digest {
    if leaves.is_empty() {
        return Domain::MerkleNode.hash(&[]);
    }
    // Level by level, an odd one out goes up as it is: the same tree, from the bottom.
    let nodes = Domain::MerkleNode.many();
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let (pairs, odd) = level.as_chunks();
        let mut above = Vec::with_capacity(level.len().div_ceil(2));
        nodes.pairs(pairs.iter().copied(), |digest| above.push(digest));
        above.extend(odd);
        level = above;
    }
    level[0]
}

/// A leaf's siblings from the bottom up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct MerkleProof {
    /// Index of the leaf.
    pub index: u32,
    /// Number of leaves in the tree.
    pub len: u32,
    /// Siblings, lowest first.
    pub siblings: Vec<Digest>,
}

impl MerkleProof {
    /// The proof for leaf `index`, if there is one.
    #[must_use]
    pub fn new(leaves: &[Digest], index: usize) -> Option<Self> {
        if index >= leaves.len() {
            return None;
        }
        let mut siblings = Vec::new();
        let (mut rest, mut at) = (leaves, index);
        while rest.len() > 1 {
            let (left, right) = rest.split_at(split(rest.len()));
            if at < left.len() {
                siblings.push(merkle_root(right));
                rest = left;
            } else {
                siblings.push(merkle_root(left));
                at -= left.len();
                rest = right;
            }
        }
        siblings.reverse();
        Some(Self {
            index: u32::try_from(index).ok()?,
            len: u32::try_from(leaves.len()).ok()?,
            siblings,
        })
    }

    /// The root that `leaf` has under this proof; `None` when the proof's length does not
    /// fit its index and tree.
    #[must_use]
    pub fn root(&self, leaf: Digest) -> Option<Digest> {
        let (mut at, mut len) = (self.index as usize, self.len as usize);
        if at >= len {
            return None;
        }
        // Which side the leaf is on at each level, from the top down.
        let mut sides = Vec::new();
        while len > 1 {
            let left = split(len);
            if at < left {
                sides.push(true);
                len = left;
            } else {
                sides.push(false);
                at -= left;
                len -= left;
            }
        }
        if sides.len() != self.siblings.len() {
            return None;
        }
        let mut hash = leaf;
        for (leaf_is_left, sibling) in sides.iter().rev().zip(&self.siblings) {
            hash = if *leaf_is_left {
                node(&hash, sibling)
            } else {
                node(sibling, &hash)
            };
        }
        Some(hash)
    }
}

fn split(len: usize) -> usize {
    // invariant: len ≥ 2
    1 << (usize::BITS - 1 - (len - 1).leading_zeros())
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(&left.0);
    pair[32..].copy_from_slice(&right.0);
    Domain::MerkleNode.hash(&pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_the_top(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Domain::MerkleNode.hash(&[]),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(split(many.len()));
                node(&from_the_top(left), &from_the_top(right))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_splitting_at_the_largest_power_of_two() {
        let leaves: Vec<_> = (0..300u16)
            .map(|i| Domain::MerkleLeaf.hash(&i.to_le_bytes()))
            .collect();
        for len in 0..leaves.len() {
            assert_eq!(merkle_root(&leaves[..len]), from_the_top(&leaves[..len]));
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_proves_to_the_root_and_no_other_leaf_does() {
        for len in 1..40u8 {
            let leaves: Vec<_> = (0..len).map(|i| Domain::MerkleLeaf.hash(&[i])).collect();
            let root = merkle_root(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = MerkleProof::new(&leaves, index).unwrap();
                assert_eq!(proof.root(*leaf), Some(root));
                let other = leaves[(index + 1) % leaves.len()];
                assert!(len == 1 || proof.root(other) != Some(root));
                let mut long = proof.clone();
                long.siblings.push(Digest::default());
                assert_eq!(long.root(*leaf), None);
            }
            assert!(MerkleProof::new(&leaves, leaves.len()).is_none());
        }
    }
}
