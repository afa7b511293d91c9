//! Where an order stands in the live table. Lanes ask once per entry, n times per order, so
//! this is the busiest place of all rules.
//!
//! Ids are hashes, so their first bits spread them over small maps in which a look-up touches
//! one node. Whoever grinds ids into one map makes it as slow as a single map of all orders
//! would be, and no slower. Maps stand in the order of ids: iteration is ascending.

use std::collections::BTreeMap;

use fairlane_types::CtId;

/// Number of maps is two to this power.
const BITS: u32 = 12;

/// Slots by id.
#[derive(Clone, Debug)]
pub(super) struct Index {
    maps: Vec<BTreeMap<CtId, usize>>,
}

impl Index {
    pub fn new() -> Self {
        Self {
            maps: vec![BTreeMap::new(); 1 << BITS],
        }
    }

    fn map(ct_id: &CtId) -> usize {
        let [a, b, ..] = ct_id.as_bytes();
        usize::from(u16::from_be_bytes([*a, *b])) >> (16 - BITS)
    }

    pub fn get(&self, ct_id: &CtId) -> Option<usize> {
        self.maps[Self::map(ct_id)].get(ct_id).copied()
    }

    pub fn insert(&mut self, ct_id: CtId, slot: usize) {
        self.maps[Self::map(&ct_id)].insert(ct_id, slot);
    }

    pub fn remove(&mut self, ct_id: &CtId) -> Option<usize> {
        self.maps[Self::map(ct_id)].remove(ct_id)
    }

    /// Ids and slots, ids ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&CtId, usize)> {
        let all = self.maps.iter().flatten();
        all.map(|(ct_id, slot)| (ct_id, *slot))
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
        assert!(index.iter().eq(plain.iter().map(|(id, slot)| (id, *slot))));
        assert_eq!(plain.len(), 2_000);
    }

    fn hash(i: u32) -> Digest {
        fairlane_types::Domain::Tie.hash(&i.to_le_bytes())
    }
}
