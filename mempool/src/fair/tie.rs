//! What breaks ties: a value that is known only after the set is fixed (A15).
//!
//! By default it is the block's id, and D(c) comes out in its order at once. On a chain
//! whose ties are broken by the beacon, D(c) comes out in that same order, which is only
//! provisional then: the order in which shares are made. With it comes what is left open,
//! a [`Tied`] for each group of orders that holds two with equal keys, and
//! [`Emission::settle`](super::Emission::settle) closes that once the beacon is known. The
//! set, the groups, and whether there is anything to settle depend on no tie: they are
//! functions of the cuts, the same at every member.

use std::collections::BTreeMap;

use fairlane_types::{BlockId, CtId, Digest, Domain, Micros, Mutant, Planted};

use super::before::Before;
use super::cycles::Sorter;

/// H(block ‖ id).
pub(super) fn tie(block: BlockId, ct_id: CtId) -> Digest {
    tie_by(block.as_bytes(), ct_id)
}

/// H(seed ‖ id).
fn tie_by(seed: &[u8; 32], ct_id: CtId) -> Digest {
    let mut hasher = Domain::Tie.hasher();
    hasher.update(seed).update(ct_id.as_bytes());
    Digest(*hasher.finalize().as_bytes())
}

/// Sorts orders that nothing else tells apart.
pub(super) fn sort_ties(ties: &mut [(Digest, CtId, Micros)], planted: Planted) {
    if planted.is(Mutant::TieById) {
        ties.sort_unstable_by_key(|(_, ct_id, _)| *ct_id);
    } else {
        ties.sort_unstable();
    }
}

/// Consecutive orders of a block among which ties decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tied {
    /// Place of the first of them in D(c).
    start: usize,
    /// All of them, with what ranks them before a tie does.
    orders: Vec<(Micros, CtId)>,
    /// What must come before what, by places in `orders`.
    before: Before,
}

impl Tied {
    /// A group, with what must come before what in it; `None` where no two keys are equal.
    pub(super) fn new(
        start: usize,
        orders: Vec<(Micros, CtId)>,
        before: impl FnOnce() -> Before,
    ) -> Option<Self> {
        let mut keys: Vec<Micros> = orders.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        let tied = keys.windows(2).any(|pair| pair[0] == pair[1]);
        tied.then(|| Self {
            start,
            orders,
            before: before(),
        })
    }

    /// Places in D(c) of the group, and its ids in the order that a seed gives.
    pub(super) fn settle(&self, seed: &Digest) -> (core::ops::Range<usize>, Vec<CtId>) {
        let rank = |(place, (key, ct_id)): (usize, &(Micros, CtId))| {
            (place, (*key, tie_by(&seed.0, *ct_id)))
        };
        let ranked: Vec<_> = self.orders.iter().enumerate().map(rank).collect();
        let (order, _) = Sorter::new(ranked.len()).order(&ranked, &self.before);
        let ids = order.into_iter().map(|place| self.orders[place].1);
        (self.start..self.start + self.orders.len(), ids.collect())
    }
}

/// For every place of D(c) in its settled order, the place where it was before.
pub(super) fn settled(ids: &[CtId], ties: &[Tied], seed: &Digest) -> Vec<usize> {
    let mut places: Vec<usize> = (0..ids.len()).collect();
    for tied in ties {
        let (range, settled) = tied.settle(seed);
        let before = ids.get(range.clone()).unwrap_or_default();
        let at: BTreeMap<&CtId, usize> = before.iter().zip(range.clone()).collect();
        for (place, id) in range.zip(&settled) {
            if let (Some(slot), Some(from)) = (places.get_mut(place), at.get(id)) {
                *slot = *from;
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: u8) -> CtId {
        CtId(Digest([name; 32]))
    }

    #[test]
    fn nothing_is_tied_where_all_keys_differ() {
        let orders = vec![(Micros(1), id(1)), (Micros(2), id(2))];
        assert_eq!(Tied::new(0, orders, Before::default), None);
        assert_eq!(
            Tied::new(0, vec![(Micros(1), id(1))], Before::default),
            None
        );
    }

    /// A15: over many seeds each order is as often first, whatever its id, and nothing
    /// moves but what is tied.
    #[test]
    fn a_seed_decides_among_equal_keys_alone() {
        let ids: Vec<CtId> = (0..6).map(id).collect();
        let group = [2, 3, 4].map(|name| (Micros(7), id(name))).to_vec();
        let ties = [Tied::new(2, group, Before::default).unwrap()];
        let mut first = [0_u32; 6];
        for seed in 0..3_000_u32 {
            let seed = Domain::Tie.hash(&seed.to_le_bytes());
            let places = settled(&ids, &ties, &seed);
            assert_eq!((places[0], places[1], places[5]), (0, 1, 5));
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
            first[places[2]] += 1;
        }
        // 1,000 each; the standard deviation is 26.
        assert!(first[2..5].iter().all(|count| (870..1_130).contains(count)));
    }

    /// What must come before another thing does so under every seed.
    #[test]
    fn a_seed_breaks_no_precedence() {
        let ids: Vec<CtId> = (0..3).map(id).collect();
        let group = ids.iter().map(|id| (Micros(7), *id)).collect();
        let ties = [Tied::new(0, group, || Before::of_pairs(3, &[(2, 0)])).unwrap()];
        for seed in 0..100_u32 {
            let seed = Domain::Tie.hash(&seed.to_le_bytes());
            let places = settled(&ids, &ties, &seed);
            let at = |name: usize| places.iter().position(|place| *place == name);
            assert!(at(2) < at(0), "{places:?}");
        }
    }
}
