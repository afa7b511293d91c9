//! Topological order of a relation that may have cycles: Tarjan's strongly connected
//! components (SIAM J. Comput. 1(2), 1972), iterative, then always the component with the
//! least member among those that have nothing before them.

use std::collections::BTreeSet;

/// Orders `nodes`, pairs of a name and a rank that no two share, by `edges` of (earlier,
/// later); edges to names that are not among the nodes are ignored. Names are small: a
/// table is as long as the largest. Inside a component ranks decide. Returns names in
/// order and the size of the largest component.
pub(super) fn order<R: Ord + Copy>(
    nodes: &[(usize, R)],
    edges: &[(u32, u32)],
) -> (Vec<usize>, usize) {
    if let [(name, _)] = nodes {
        return (vec![*name], 1);
    }
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable_by_key(|(_, rank)| *rank);
    let later = Later::new(&nodes, edges);
    let of = components(&later);
    let count = of.iter().max().map_or(0, |last| last + 1);
    // Nodes are sorted by rank, so the first of a component is its least.
    let mut members = vec![Vec::new(); count];
    for (node, component) in of.iter().enumerate() {
        members[*component].push(node);
    }
    let mut waits = vec![0usize; count];
    for a in 0..nodes.len() {
        for b in later.of(a) {
            let b = *b as usize;
            if of[a] != of[b] {
                waits[of[b]] += 1;
            }
        }
    }
    let mut ready: BTreeSet<(usize, usize)> = (0..count)
        .filter(|component| waits[*component] == 0)
        .map(|component| (members[component][0], component))
        .collect();
    let mut out = Vec::with_capacity(nodes.len());
    while let Some((_, component)) = ready.pop_first() {
        for a in &members[component] {
            out.push(nodes[*a].0);
            for b in later.of(*a) {
                let next = of[*b as usize];
                if next != component {
                    waits[next] -= 1;
                    if waits[next] == 0 {
                        ready.insert((members[next][0], next));
                    }
                }
            }
        }
    }
    (out, members.iter().map(Vec::len).max().unwrap_or(0))
}

/// What comes later than each node, in one array.
struct Later {
    /// Where a node's part begins; one more at the end.
    from: Vec<usize>,
    nodes: Vec<u32>,
}

impl Later {
    fn new<R>(nodes: &[(usize, R)], edges: &[(u32, u32)]) -> Self {
        const NONE: u32 = u32::MAX;
        let names = nodes.iter().map(|(name, _)| name + 1).max().unwrap_or(0);
        let mut place = vec![NONE; names];
        for (at, (name, _)) in nodes.iter().enumerate() {
            place[*name] = u32::try_from(at).unwrap_or(NONE);
        }
        let place = |name: u32| {
            let place = place.get(name as usize).copied();
            place.filter(|place| *place != NONE)
        };
        let known = || {
            edges
                .iter()
                .filter_map(|(a, b)| Some((place(*a)?, place(*b)?)))
        };
        let mut from = vec![0; nodes.len() + 1];
        for (a, _) in known() {
            from[a as usize + 1] += 1;
        }
        for node in 0..nodes.len() {
            from[node + 1] += from[node];
        }
        let mut next = from.clone();
        let mut all = vec![0; from[nodes.len()]];
        for (a, b) in known() {
            all[next[a as usize]] = b;
            next[a as usize] += 1;
        }
        Self { from, nodes: all }
    }

    fn of(&self, node: usize) -> &[u32] {
        &self.nodes[self.from[node]..self.from[node + 1]]
    }

    fn len(&self) -> usize {
        self.from.len() - 1
    }
}

/// Tarjan: the component of every node.
fn components(later: &Later) -> Vec<usize> {
    const NEW: usize = usize::MAX;
    let n = later.len();
    let (mut index, mut low, mut of) = (vec![NEW; n], vec![0; n], vec![NEW; n]);
    let (mut next, mut count) = (0, 0);
    let (mut stack, mut calls) = (Vec::new(), Vec::new());
    for root in 0..n {
        if index[root] != NEW {
            continue;
        }
        calls.push((root, 0));
        while let Some((node, edge)) = calls.pop() {
            if edge == 0 {
                (index[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
            } else {
                // Back from the edge before.
                let done = later.of(node)[edge - 1] as usize;
                if of[done] == NEW {
                    low[node] = low[node].min(low[done]);
                }
            }
            if let Some(to) = later.of(node).get(edge).map(|to| *to as usize) {
                calls.push((node, edge + 1));
                if index[to] == NEW {
                    calls.push((to, 0));
                }
                continue;
            }
            if low[node] == index[node] {
                while let Some(member) = stack.pop() {
                    of[member] = count;
                    if member == node {
                        break;
                    }
                }
                count += 1;
            }
        }
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<(usize, usize)> {
        (0..n).map(|i| (i, i)).collect()
    }

    #[test]
    fn edges_first_then_ranks() {
        assert_eq!(order(&names(3), &[]), (vec![0, 1, 2], 1));
        assert_eq!(order(&names(3), &[(2, 0)]), (vec![1, 2, 0], 1));
        // A cycle of three behind 3, and 4 behind the cycle.
        let edges = [(0, 1), (1, 2), (2, 0), (3, 1), (2, 4)];
        assert_eq!(order(&names(5), &edges), (vec![3, 0, 1, 2, 4], 3));
        assert_eq!(order(&names(2), &[(7, 0), (1, 7)]), (vec![0, 1], 1));
    }

    /// Against reachability, on all relations of three and many of six nodes.
    #[test]
    fn components_are_mutual_reachability() {
        let mut bits = 1u64;
        for case in 0..4_000u64 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(case);
            let n: usize = if case < 512 { 3 } else { 6 };
            let word = if case < 512 { case } else { bits >> 28 & bits };
            let pairs = (0..n * n).filter(|i| word >> i & 1 == 1);
            let edges: Vec<_> = pairs.map(|i| ((i / n) as u32, (i % n) as u32)).collect();
            let mut reach = vec![vec![false; n]; n];
            for (a, b) in &edges {
                reach[*a as usize][*b as usize] = true;
            }
            for k in 0..n {
                let via = reach[k].clone();
                for row in reach.iter_mut().filter(|row| row[k]) {
                    for (to, there) in row.iter_mut().zip(&via) {
                        *to |= there;
                    }
                }
            }
            let (got, _) = order(&names(n), &edges);
            let place = |x: usize| got.iter().position(|y| *y == x).unwrap();
            assert_eq!(got.len(), n);
            for (a, row) in reach.iter().enumerate() {
                for (b, there) in row.iter().enumerate() {
                    if *there && !reach[b][a] {
                        assert!(place(a) < place(b), "{edges:?} {got:?}");
                    }
                }
            }
        }
    }
}
