//! The extraction of rule `strong` a second time, from the definitions of ORDERING.md: all
//! pairs, no window, reachability instead of components. Slow, short and independent.
//!
//! x strongly precedes y: at most f lanes have y before x, and more than f lanes have x
//! before y. Lanes that lack both may still say either.

use std::collections::BTreeSet;

use fairlane_types::{CtId, Digest};

/// An order without an outcome.
#[derive(Clone, Debug)]
pub struct Seen<N> {
    /// The order.
    pub id: CtId,
    /// Its key, once that is settled.
    pub key: Option<u64>,
    /// Effective stamps.
    pub stamps: Vec<Option<u64>>,
    /// Its sender and nonce: one order of these comes out.
    pub nonce: N,
}

/// Orders that come out, with keys, and the size of the largest cycle.
pub type Batch = (Vec<(CtId, u64)>, usize);

fn before(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Lanes that have x before y.
#[must_use]
pub fn w<N>(x: &Seen<N>, y: &Seen<N>) -> usize {
    let pairs = x.stamps.iter().zip(&y.stamps);
    pairs.filter(|(a, b)| before(**a, **b)).count()
}

fn open<N>(x: &Seen<N>, y: &Seen<N>) -> usize {
    let pairs = x.stamps.iter().zip(&y.stamps);
    pairs.filter(|(a, b)| a.is_none() && b.is_none()).count()
}

/// Whether y may come to precede x strongly, by what lanes can still add.
fn may_precede<N>(y: &Seen<N>, x: &Seen<N>, f: usize) -> bool {
    w(x, y) <= f
}

/// Whether the lanes leave only one answer: x strongly precedes y.
fn surely_precedes<N>(x: &Seen<N>, y: &Seen<N>, f: usize) -> bool {
    w(x, y) > f && w(y, x) + open(x, y) <= f
}

/// What a cut emits, given all orders without outcome, in no particular order.
pub fn extract<N: Ord + Copy>(
    mut live: Vec<Seen<N>>,
    heads: &[u64],
    f: usize,
    watermark: u64,
    decrypt_max: usize,
    tie: impl Fn(&CtId) -> [u8; 32],
) -> Batch {
    let (mut out, mut cycle) = (Vec::new(), 0);
    live.sort_by_key(|seen| seen.id);
    loop {
        let next = live.iter().filter_map(|seen| seen.key).min();
        let Some(key) = next.filter(|key| *key < watermark) else {
            return (out, cycle);
        };
        if out.len() >= decrypt_max {
            return (out, cycle);
        }
        let roots: Vec<usize> = (0..live.len())
            .filter(|at| live[*at].key == Some(key))
            .collect();
        let Some((set, edges)) = close(&live, heads, &roots, f) else {
            return (out, cycle);
        };
        let mut winners: Vec<usize> = Vec::new();
        let mut nonces = BTreeSet::new();
        let mut by_key: Vec<usize> = set.into_iter().collect();
        by_key.sort_by_key(|at| (live[*at].key, live[*at].id));
        for at in by_key {
            if nonces.insert(live[at].nonce) {
                winners.push(at);
            }
        }
        let rank = |at: usize| (live[at].key.unwrap_or(0), tie(&live[at].id));
        let (order, largest) = arrange(&winners, &edges, rank);
        cycle = cycle.max(largest);
        for at in order {
            out.push((live[at].id, live[at].key.unwrap_or(0)));
        }
        live.retain(|seen| !nonces.contains(&seen.nonce));
    }
}

/// Whether n − f lanes can have had y before x was in f + 1 of them.
fn everywhere<N>(y: &Seen<N>, x: &Seen<N>, heads: &[u64], f: usize) -> bool {
    let mut known: Vec<u64> = x.stamps.iter().flatten().copied().collect();
    known.sort_unstable();
    let least = y
        .stamps
        .iter()
        .zip(heads)
        .map(|(t, head)| t.unwrap_or(*head));
    least.filter(|t| *t < known[f]).count() >= heads.len() - f
}

type Closure = (BTreeSet<usize>, BTreeSet<(usize, usize)>);

/// The roots and all that must come before them; none if that is not settled.
fn close<N>(live: &[Seen<N>], heads: &[u64], roots: &[usize], f: usize) -> Option<Closure> {
    let (mut set, mut edges) = (BTreeSet::new(), BTreeSet::new());
    for &root in roots {
        let mut todo: Vec<usize> = set.insert(root).then_some(root).into_iter().collect();
        while let Some(x) = todo.pop() {
            for y in 0..live.len() {
                if y == x || !may_precede(&live[y], &live[x], f) {
                    continue;
                }
                let waits = y != root && x != root && !everywhere(&live[y], &live[x], heads, f);
                if waits && surely_precedes(&live[root], &live[y], f) {
                    continue;
                }
                live[y].key?;
                if w(&live[y], &live[x]) + open(&live[x], &live[y]) > f {
                    edges.insert((y, x));
                    if set.insert(y) {
                        todo.push(y);
                    }
                }
            }
        }
    }
    Some((set, edges))
}

/// A topological order of the edges, the least rank first; cycles by rank.
fn arrange<R: Ord>(
    nodes: &[usize],
    edges: &BTreeSet<(usize, usize)>,
    rank: impl Fn(usize) -> R,
) -> (Vec<usize>, usize) {
    let mut reach: BTreeSet<(usize, usize)> = edges
        .iter()
        .copied()
        .filter(|(a, b)| nodes.contains(a) && nodes.contains(b))
        .collect();
    for via in nodes {
        for a in nodes {
            for b in nodes {
                if reach.contains(&(*a, *via)) && reach.contains(&(*via, *b)) {
                    reach.insert((*a, *b));
                }
            }
        }
    }
    let both = |a: usize, b: usize| reach.contains(&(a, b)) && reach.contains(&(b, a));
    let (mut left, mut out, mut largest) = (nodes.to_vec(), Vec::new(), 0);
    left.sort_by_key(|at| rank(*at));
    while let Some(&first) = left.iter().find(|at| {
        let waits_for = |b: &&usize| reach.contains(&(**b, **at)) && !both(**b, **at);
        // A component waits if any member does; reachability is shared inside.
        !left.iter().any(|b| waits_for(&b))
    }) {
        let cycle: Vec<usize> = left
            .iter()
            .copied()
            .filter(|at| *at == first || both(*at, first))
            .collect();
        largest = largest.max(cycle.len());
        left.retain(|at| !cycle.contains(at));
        out.extend(cycle);
    }
    (out, largest)
}

/// H(seed ‖ ct_id): the seed is the block's id, or its beacon.
#[must_use]
pub fn tie(seed: &Digest, id: &CtId) -> [u8; 32] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&seed.0);
    bytes[32..].copy_from_slice(id.as_bytes());
    fairlane_types::Domain::Tie.hash(&bytes).0
}
