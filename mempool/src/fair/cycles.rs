//! Topological order of a relation that may have cycles: Tarjan's strongly connected
//! components (SIAM J. Comput. 1(2), 1972), iterative, then always the component with the
//! least member among those that have nothing before them.
//!
//! Both walk from later to earlier, sixteen pairs at a time: of a mask of names only those
//! count that are still to be visited, on the stack, or not in order yet. A component that
//! waits watches one name that is before it; when that comes into order it looks for another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::before::{Before, Part, TILE, bit, names};

const NONE: usize = usize::MAX;

/// Brings names into order, group by group.
pub(super) struct Sorter {
    /// Node of each name of the group; of no meaning for others.
    node: Vec<usize>,
    /// Names of the group that are not in order yet; none between groups.
    left: Vec<u16>,
    /// Names that were not visited, and those on the stack; none between groups.
    fresh: Vec<u16>,
    stacked: Vec<u16>,
    /// What is before a component; none between components.
    merged: Vec<u16>,
}

/// A component: what waits for what.
struct Component {
    /// Its nodes, ascending.
    members: Vec<usize>,
    /// What is before it and outside of it.
    before: Vec<Part>,
    /// Next component that watches the same node.
    next: usize,
}

impl Sorter {
    /// For names below `names`.
    pub fn new(names: usize) -> Self {
        let tiles = names.div_ceil(TILE);
        Self {
            node: vec![NONE; names],
            left: vec![0; tiles],
            fresh: vec![0; tiles],
            stacked: vec![0; tiles],
            merged: vec![0; tiles],
        }
    }

    /// Orders `nodes`, pairs of a name and a rank that no two share; what `before` says of
    /// other names is ignored. Inside a component ranks decide. Returns names in order and
    /// the size of the largest component.
    pub fn order<R: Ord + Copy>(
        &mut self,
        nodes: &[(usize, R)],
        before: &Before,
    ) -> (Vec<usize>, usize) {
        if let [(name, _)] = nodes {
            return (vec![*name], 1);
        }
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|(_, rank)| *rank);
        let nodes: Vec<usize> = nodes.into_iter().map(|(name, _)| name).collect();
        for (node, name) in nodes.iter().enumerate() {
            self.node[*name] = node;
            let (tile, bit) = bit(*name);
            self.left[tile] |= bit;
            self.fresh[tile] |= bit;
        }
        let mut components = self.components(&nodes, before);
        let largest = components.iter().map(|c| c.members.len()).max();
        let order = self.emit(&nodes, &mut components);
        (order, largest.unwrap_or(0))
    }

    /// Tarjan, along what is before each name.
    fn components(&mut self, nodes: &[usize], before: &Before) -> Vec<Component> {
        let (mut index, mut low) = (vec![NONE; nodes.len()], vec![0; nodes.len()]);
        let mut next = 0;
        let mut out = Vec::new();
        let (mut stack, mut calls) = (Vec::new(), Vec::new());
        for root in 0..nodes.len() {
            if index[root] != NONE {
                continue;
            }
            let bottom = next;
            calls.push((root, 0));
            while let Some((node, at)) = calls.pop() {
                let name = nodes[node];
                let parts = before.of(name);
                if index[node] == NONE {
                    (index[node], low[node]) = (next, next);
                    next += 1;
                    stack.push(node);
                    let (tile, bit) = bit(name);
                    self.fresh[tile] ^= bit;
                    self.stacked[tile] |= bit;
                }
                let fresh = |part: &Part| part.names & self.fresh[part.tile as usize];
                if let Some(skip) = parts[at..].iter().position(|part| fresh(part) != 0) {
                    let part = &parts[at + skip];
                    let earlier = part.tile as usize * TILE + fresh(part).trailing_zeros() as usize;
                    calls.push((node, at + skip));
                    calls.push((self.node[earlier], 0));
                    continue;
                }
                for part in parts {
                    if low[node] == bottom {
                        break; // It cannot be lower.
                    }
                    let tile = part.tile as usize;
                    for earlier in names(tile, part.names & self.stacked[tile]) {
                        low[node] = low[node].min(index[self.node[earlier]]);
                    }
                }
                if low[node] == index[node] {
                    let from = stack.iter().rposition(|member| *member == node);
                    let mut members = stack.split_off(from.unwrap_or(0));
                    members.sort_unstable();
                    out.push(self.component(members, nodes, before));
                }
                if let Some((parent, _)) = calls.last().copied() {
                    low[parent] = low[parent].min(low[node]);
                }
            }
        }
        out
    }

    /// Takes a component off the stack. Nothing is in order yet.
    fn component(&mut self, members: Vec<usize>, nodes: &[usize], before: &Before) -> Component {
        for member in &members {
            let (tile, bit) = bit(nodes[*member]);
            self.stacked[tile] ^= bit;
            self.left[tile] ^= bit; // until the end
        }
        let mut outside = Vec::new();
        for member in &members {
            for part in before.of(nodes[*member]) {
                let tile = part.tile as usize;
                let names = part.names & self.left[tile];
                if self.merged[tile] == 0 && names != 0 {
                    outside.push(Part { names: 0, ..*part });
                }
                self.merged[tile] |= names;
            }
        }
        for part in &mut outside {
            part.names = std::mem::take(&mut self.merged[part.tile as usize]);
        }
        for member in &members {
            let (tile, bit) = bit(nodes[*member]);
            self.left[tile] ^= bit;
        }
        Component {
            members,
            before: outside,
            next: NONE,
        }
    }

    /// Components in order, as names.
    fn emit(&mut self, nodes: &[usize], components: &mut [Component]) -> Vec<usize> {
        let mut watched = vec![NONE; nodes.len()];
        let mut ready = BinaryHeap::new();
        let mut waiting: Vec<usize> = (0..components.len()).collect();
        let mut out = Vec::with_capacity(nodes.len());
        loop {
            for at in waiting.drain(..) {
                let component = &mut components[at];
                match self.blocker(&mut component.before) {
                    Some(node) => component.next = std::mem::replace(&mut watched[node], at),
                    // Nodes stand by rank, so the first of a component is its least.
                    None => ready.push(Reverse((component.members[0], at))),
                }
            }
            let Some(Reverse((_, at))) = ready.pop() else {
                return out;
            };
            for node in &components[at].members {
                out.push(nodes[*node]);
                let (tile, bit) = bit(nodes[*node]);
                self.left[tile] ^= bit;
                let mut watcher = watched[*node];
                while watcher != NONE {
                    waiting.push(watcher);
                    watcher = components[watcher].next;
                }
            }
        }
    }

    /// A node of `before` that is not in order yet: the last one, for rows stand by time, and
    /// then the others are mostly in order when it is.
    fn blocker(&self, before: &mut Vec<Part>) -> Option<usize> {
        while let Some(part) = before.last() {
            let tile = part.tile as usize;
            if let Some(last) = (part.names & self.left[tile]).checked_ilog2() {
                return Some(self.node[tile * TILE + last as usize]);
            }
            before.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(n: usize) -> Vec<(usize, usize)> {
        (0..n).map(|i| (i, i)).collect()
    }

    fn order(nodes: &[(usize, usize)], edges: &[(u32, u32)]) -> (Vec<usize>, usize) {
        let before = Before::of_pairs(70, edges);
        Sorter::new(70).order(nodes, &before)
    }

    #[test]
    fn edges_first_then_ranks() {
        assert_eq!(order(&all(3), &[]), (vec![0, 1, 2], 1));
        assert_eq!(order(&all(3), &[(2, 0)]), (vec![1, 2, 0], 1));
        // A cycle of three behind 3, and 4 behind the cycle.
        let edges = [(0, 1), (1, 2), (2, 0), (3, 1), (2, 4)];
        assert_eq!(order(&all(5), &edges), (vec![3, 0, 1, 2, 4], 3));
        assert_eq!(order(&all(2), &[(7, 0), (1, 7)]), (vec![0, 1], 1));
    }

    /// By reachability, from nothing but the pairs.
    fn plain(nodes: &[(usize, usize)], edges: &[(u32, u32)]) -> (Vec<usize>, usize) {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|(_, rank)| *rank);
        let place = |name: &u32| nodes.iter().position(|(node, _)| *node == *name as usize);
        let n = nodes.len();
        let mut reach = vec![vec![false; n]; n];
        for (a, b) in edges
            .iter()
            .filter_map(|(a, b)| Some((place(a)?, place(b)?)))
        {
            reach[a][b] = true;
        }
        for k in 0..n {
            let via = reach[k].clone();
            for row in reach.iter_mut().filter(|row| row[k]) {
                for (to, there) in row.iter_mut().zip(&via) {
                    *to |= there;
                }
            }
        }
        let cycle = |x: usize, y: usize| x == y || (reach[x][y] && reach[y][x]);
        let (mut done, mut out) = (vec![false; n], Vec::new());
        let ready = |x: usize, done: &[bool]| {
            (0..n).all(|y| done[y] || (0..n).all(|z| !cycle(x, z) || !reach[y][z] || cycle(x, y)))
        };
        while let Some(x) = (0..n).find(|x| !done[*x] && ready(*x, &done)) {
            for y in (0..n).filter(|y| cycle(x, *y)) {
                done[y] = true;
                out.push(nodes[y].0);
            }
        }
        let sizes = (0..n).map(|x| (0..n).filter(|y| cycle(x, *y)).count());
        (out, sizes.max().unwrap_or(0))
    }

    /// On all relations of three names.
    #[test]
    fn agrees_with_reachability_on_all_small_relations() {
        for word in 0..512 {
            let pairs = (0..9u32).filter(|i| word >> i & 1 == 1);
            let edges: Vec<_> = pairs.map(|i| (i / 3, i % 3)).collect();
            assert_eq!(order(&all(3), &edges), plain(&all(3), &edges), "{edges:?}");
        }
    }

    proptest! {
        /// On groups of many sizes one after the other, out of names of which some are in
        /// none: sparse relations, and such that are one large cycle.
        #[test]
        fn agrees_with_reachability(
            groups in prop::collection::vec(
                (
                    Just(all(70)).prop_shuffle(),
                    2usize..=70,
                    prop::collection::vec((0u32..70, 0u32..70), 0..300),
                ),
                1..4,
            ),
        ) {
            let mut sorter = Sorter::new(70);
            for (names, count, edges) in groups {
                let ranked = names[..count].iter().enumerate();
                let nodes: Vec<_> = ranked.map(|(rank, (name, _))| (*name, rank)).collect();
                let before = Before::of_pairs(70, &edges);
                prop_assert_eq!(sorter.order(&nodes, &before), plain(&nodes, &edges));
            }
        }
    }
}
