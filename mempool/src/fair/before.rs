//! What must come before what, as rule `strong` finds it: for each order the earlier ones,
//! sixteen to a part. In a strong cycle of a thousand orders nearly every one of them is
//! before half of the others; a list of pairs took longer to walk than to find.

/// Names of a tile, and bits of its mask.
pub(super) const TILE: usize = 16;

/// Names of one tile, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub tile: u32,
    pub names: u16,
}

/// Tile and bit of a name.
pub(super) const fn bit(name: usize) -> (usize, u16) {
    (name / TILE, 1 << (name % TILE))
}

/// The names in a mask of a tile, ascending.
pub(super) fn names(tile: usize, mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let least = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (least < TILE).then_some(tile * TILE + least)
    })
}

/// Relation among names from 0 on. It takes 8 bytes for each name and each tile in which
/// something is before it: at most half a byte for every pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    parts: Vec<Part>,
    /// Per name where its parts begin and end.
    spans: Vec<(usize, usize)>,
}

impl Before {
    /// Nothing before anything, for names below `names`.
    pub fn new(names: usize) -> Self {
        Self {
            parts: Vec::new(),
            spans: vec![(0, 0); names],
        }
    }

    /// Parts pushed from now on are before `later`.
    pub fn begin(&mut self, later: usize) {
        self.spans[later] = (self.parts.len(), self.parts.len());
    }

    /// To the name that was begun last: a tile that has none of it yet, and what of it is earlier.
    pub fn push(&mut self, later: usize, tile: usize, names: u16) {
        self.parts.push(Part {
            tile: u32::try_from(tile).unwrap_or(u32::MAX),
            names,
        });
        self.spans[later].1 = self.parts.len();
    }

    /// What is before a name.
    pub fn of(&self, later: usize) -> &[Part] {
        let (from, to) = self.spans.get(later).copied().unwrap_or_default();
        &self.parts[from..to]
    }

    /// Forgets all; `names` are those that were begun.
    pub fn clear(&mut self, names: &[usize]) {
        self.parts.clear();
        for name in names {
            self.spans[*name] = (0, 0);
        }
    }

    /// The relation among some names, which are then called by their places in `chosen`.
    pub fn among(&self, chosen: &[usize]) -> Self {
        const NONE: u32 = u32::MAX;
        let mut place = vec![NONE; self.spans.len()];
        for (at, name) in chosen.iter().enumerate() {
            place[*name] = u32::try_from(at).unwrap_or(NONE);
        }
        let mut masks = vec![0u16; chosen.len().div_ceil(TILE)];
        let mut out = Self::new(chosen.len());
        for (later, name) in chosen.iter().enumerate() {
            for part in self.of(*name) {
                for earlier in names(part.tile as usize, part.names) {
                    if place[earlier] != NONE {
                        let (tile, bit) = bit(place[earlier] as usize);
                        masks[tile] |= bit;
                    }
                }
            }
            out.begin(later);
            for (tile, mask) in masks.iter_mut().enumerate().filter(|(_, mask)| **mask != 0) {
                out.push(later, tile, std::mem::take(mask));
            }
        }
        out
    }

    /// From pairs of (earlier, later).
    #[cfg(test)]
    pub fn of_pairs(names: usize, pairs: &[(u32, u32)]) -> Self {
        let mut out = Self::new(names);
        for later in 0..names {
            let mut masks = vec![0u16; names.div_ceil(TILE)];
            for (a, _) in pairs.iter().filter(|(_, b)| *b as usize == later) {
                let (tile, bit) = bit(*a as usize);
                masks[tile] |= bit;
            }
            out.begin(later);
            for (tile, mask) in masks.iter().enumerate().filter(|(_, mask)| **mask != 0) {
                out.push(later, tile, *mask);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pairs_of(before: &Before, names_in_all: usize) -> BTreeSet<(u32, u32)> {
        let mut pairs = BTreeSet::new();
        for later in 0..names_in_all {
            for part in before.of(later) {
                for earlier in names(part.tile as usize, part.names) {
                    pairs.insert((earlier as u32, later as u32));
                }
            }
        }
        pairs
    }

    proptest! {
        /// A relation says what was put in, and among some names what it said of those.
        #[test]
        fn agrees_with_a_set_of_pairs(
            pairs in prop::collection::btree_set((0u32..50, 0u32..50), 0..400),
            chosen in Just((0..50usize).collect::<Vec<_>>()).prop_shuffle(),
            count in 0usize..=50,
        ) {
            let list: Vec<_> = pairs.iter().copied().collect();
            let mut before = Before::of_pairs(50, &list);
            prop_assert_eq!(&pairs_of(&before, 50), &pairs);
            let chosen = &chosen[..count];
            let place = |name: u32| {
                let at = chosen.iter().position(|chosen| *chosen == name as usize);
                at.map(|at| at as u32)
            };
            let among: BTreeSet<_> = (pairs.iter())
                .filter_map(|(a, b)| Some((place(*a)?, place(*b)?)))
                .collect();
            prop_assert_eq!(pairs_of(&before.among(chosen), count), among);
            before.clear(&(0..50).collect::<Vec<_>>());
            prop_assert_eq!(before, Before::new(50));
        }
    }
}
