//! A dense binary Merkle tree over accounts by their number. Numbers are given out by the
//! clearing house itself, so the tree has no holes and a changed leaf costs its path only.
//! Leaf and node hashes are keyed apart (EXECUTION §2.7).

use std::sync::LazyLock;

use fairlane_types::{Digest, ManyHasher};

static LEAF_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("FAIRLANE V1 execution leaf", b""));
static NODE_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("FAIRLANE V1 execution node", b""));

/// Hashes many leaves together.
#[must_use]
pub fn leaves() -> ManyHasher {
    ManyHasher::keyed(&LEAF_KEY)
}

/// Hash of a leaf's canonical bytes.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(&LEAF_KEY, bytes).as_bytes())
}

fn node(pair: &[Digest]) -> Digest {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&pair[0].0);
    bytes[32..].copy_from_slice(&pair[1].0);
    Digest(*blake3::keyed_hash(&NODE_KEY, &bytes).as_bytes())
}

/// The tree: level 0 holds the leaves, padded with zero digests to a power of two.
#[derive(Clone, Debug)]
pub struct DenseTree {
    levels: Vec<Vec<Digest>>,
    len: usize,
}

impl Default for DenseTree {
    fn default() -> Self {
        Self {
            levels: vec![vec![Digest::default()]],
            len: 0,
        }
    }
}

impl DenseTree {
    /// Over leaves.
    #[must_use]
    pub fn new(leaves: Vec<Digest>) -> Self {
        let len = leaves.len();
        let nodes = ManyHasher::keyed(&NODE_KEY);
        let mut levels = vec![leaves];
        levels[0].resize(len.next_power_of_two(), Digest::default());
        while levels[levels.len() - 1].len() > 1 {
            let below = levels[levels.len() - 1].as_chunks().0.iter();
            let mut above = Vec::with_capacity(below.len());
            nodes.pairs(below.copied(), |digest| above.push(digest));
            levels.push(above);
        }
        Self { levels, len }
    }

    /// Sets leaves (indices ascending, each once; new ones follow the old without a gap)
    /// and hashes their paths anew.
    pub fn update(&mut self, changes: &[(usize, Digest)]) {
        let len = changes.last().map_or(0, |(at, _)| at + 1).max(self.len);
        if len > self.levels[0].len() {
            let mut leaves = std::mem::take(&mut self.levels[0]);
            leaves.resize(len, Digest::default());
            for (at, digest) in changes {
                leaves[*at] = *digest;
            }
            *self = Self::new(leaves);
            return;
        }
        self.len = len;
        let nodes = ManyHasher::keyed(&NODE_KEY);
        let mut dirty: Vec<usize> = Vec::with_capacity(changes.len());
        for (at, digest) in changes {
            self.levels[0][*at] = *digest;
            dirty.push(*at);
        }
        for level in 1..self.levels.len() {
            let (below, above) = self.levels.split_at_mut(level);
            let below = &below[level - 1];
            dirty.iter_mut().for_each(|at| *at /= 2);
            dirty.dedup();
            let pair = |at: &usize| [below[at * 2], below[at * 2 + 1]];
            let mut done = dirty.iter();
            nodes.pairs(dirty.iter().map(pair), |digest| {
                if let Some(at) = done.next() {
                    above[0][*at] = digest;
                }
            });
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.levels[self.levels.len() - 1][0]
    }

    /// Siblings of a leaf, lowest first.
    #[must_use]
    pub fn path(&self, at: usize) -> Option<Vec<Digest>> {
        let below_root = &self.levels[..self.levels.len() - 1];
        let siblings = below_root.iter().enumerate();
        (at < self.len).then(|| siblings.map(|(up, level)| level[(at >> up) ^ 1]).collect())
    }
}

/// The root that a leaf has under a path; none if the index does not fit the path.
#[must_use]
pub fn root_of_path(leaf: Digest, at: u64, path: &[Digest]) -> Option<Digest> {
    if path.len() >= 64 || at >> path.len() != 0 {
        return None;
    }
    let up = path.iter().enumerate();
    Some(up.fold(leaf, |hash, (level, sibling)| {
        if at >> level & 1 == 0 {
            node(&[hash, *sibling])
        } else {
            node(&[*sibling, hash])
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_give_the_root_of_a_new_tree_and_paths_lead_to_it() {
        let mut tree = DenseTree::default();
        let mut leaves = Vec::new();
        for round in 0..40u64 {
            let at = leaves.len();
            leaves.push(leaf(&round.to_le_bytes()));
            let other = (round as usize * 7) % leaves.len();
            leaves[other] = leaf(&(round + 1_000).to_le_bytes());
            let mut changes = vec![(other, leaves[other]), (at, leaves[at])];
            changes.dedup();
            tree.update(&changes);
            assert_eq!(tree.root(), DenseTree::new(leaves.clone()).root());
            for (at, digest) in leaves.iter().enumerate() {
                let path = tree.path(at).unwrap();
                let root = |leaf| root_of_path(leaf, at as u64, &path);
                assert_eq!(root(*digest), Some(tree.root()));
                assert_ne!(root(leaf(b"other")), Some(tree.root()));
            }
            assert!(tree.path(leaves.len()).is_none());
        }
    }
}
