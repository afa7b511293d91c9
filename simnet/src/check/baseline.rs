//! The baselines a second time, from their definitions: the order of lane 0, and one order of
//! every lane in turn. They wait for nothing but a lane.

use std::collections::{BTreeSet, VecDeque};

use fairlane_types::CtId;

/// An order without an outcome: its id, its effective stamps, its sender and nonce.
pub struct Recorded<N> {
    pub id: CtId,
    pub stamps: Vec<Option<u64>>,
    pub nonce: N,
}

/// Orders of these lanes, one of each in turn, with their stamps there; of those that share a
/// nonce the first, and `most` in all.
pub fn in_turn<N: Ord + Copy>(
    live: &[Recorded<N>],
    lanes: impl Iterator<Item = usize>,
    most: usize,
) -> Vec<(CtId, u64)> {
    let lane = |lane: usize| -> VecDeque<(u64, CtId, N)> {
        let there = |order: &Recorded<N>| Some((order.stamps[lane]?, order.id, order.nonce));
        let all: BTreeSet<_> = live.iter().filter_map(there).collect();
        all.into_iter().collect()
    };
    let mut queues: Vec<_> = lanes.map(lane).collect();
    let (mut seen, mut nonces, mut out) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    while queues.iter().any(|queue| !queue.is_empty()) {
        for queue in &mut queues {
            while let Some((_, id, _)) = queue.front()
                && seen.contains(id)
            {
                queue.pop_front();
            }
            let Some((stamp, id, nonce)) = queue.pop_front() else {
                continue;
            };
            seen.insert(id);
            if nonces.contains(&nonce) {
                continue;
            }
            if out.len() >= most {
                return out;
            }
            nonces.insert(nonce);
            out.push((id, stamp));
        }
    }
    out
}
