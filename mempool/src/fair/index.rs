//! Where an order stands in the live table. Lanes ask once per entry, n times per order, so
//! this is the busiest place of all rules.
//!
//! Ids are hashes, so their first bits spread them over small maps in which a look-up touches
//! one node. Whoever grinds ids into one map makes it as slow as a single map of all orders
//! would be, and no slower. Maps stand in the order of ids: iteration is ascending.

use std::collections::BTreeMap;

use fairlane_types::{CtId, Digest};

/// Number of maps is two to this power.
const BITS: u32 = 12;

/// Slots by id.
#[derive(Clone, Debug)]
pub(super) struct Index {
    maps: Vec<BTreeMap<Key, usize>>,
}

/// An id as four numbers, in the same order as its bytes: nearly every comparison is over
/// with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u64; 4]);

impl From<&CtId> for Key {
    fn from(id: &CtId) -> Self {
        let (words, _) = id.as_bytes().as_chunks::<8>();
        let mut key = [0; 4];
        for (number, word) in key.iter_mut().zip(words) {
            *number = u64::from_be_bytes(*word);
        }
        Self(key)
    }
}

impl From<&Key> for CtId {
    fn from(key: &Key) -> Self {
        let mut bytes = [0; 32];
        for (word, number) in bytes.chunks_exact_mut(8).zip(key.0) {
            word.copy_from_slice(&number.to_be_bytes());
        }
        Self(Digest(bytes))
    }
}

impl Index {
    pub fn new() -> Self {
        Self {
            maps: vec![BTreeMap::new(); 1 << BITS],
        }
    }

    const fn map(key: &Key) -> usize {
        (key.0[0] >> (64 - BITS)) as usize
    }

    pub fn get(&self, ct_id: &CtId) -> Option<usize> {
        let key = Key::from(ct_id);
        self.maps[Self::map(&key)].get(&key).copied()
    }

    pub fn insert(&mut self, ct_id: CtId, slot: usize) {
        let key = Key::from(&ct_id);
        self.maps[Self::map(&key)].insert(key, slot);
    }

    pub fn remove(&mut self, ct_id: &CtId) -> Option<usize> {
        let key = Key::from(ct_id);
        self.maps[Self::map(&key)].remove(&key)
    }

    /// Ids and slots, ids ascending.
    pub fn iter(&self) -> impl Iterator<Item = (CtId, usize)> {
        let all = self.maps.iter().flatten();
        all.map(|(key, slot)| (CtId::from(key), *slot))
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::Digest;

    use super::*;

    #[test]
    fn iteration_is_ascending_and_removal_removes() {
        let mut index = Index::new();
        let mut plain = BTreeMap::new();
        for i in 0..3_000u32 {
            let id = CtId(hash(i));
            index.insert(id, i as usize);
            plain.insert(id, i as usize);
            if i % 3 == 0 {
                let old = CtId(hash(i / 2));
                assert_eq!(index.remove(&old), plain.remove(&old));
                assert_eq!(index.get(&old), None);
            }
        }
        assert!(index.iter().eq(plain.iter().map(|(id, slot)| (*id, *slot))));
        assert_eq!(plain.len(), 2_000);
    }

    fn hash(i: u32) -> Digest {
        fairlane_types::Domain::Tie.hash(&i.to_le_bytes())
    }
}
