//! Rule `strong`: by strong precedence, inside cycles by (AOI, tie).
//!
//! `w(x,y)` counts the lanes that have x before y. Absent counts as later, absent in both
//! and equal stamps count for neither. What a lane adds later counts as later than all it
//! had (see `state`), so at every cut `w` is a lower bound of what it will ever be, and
//! `w` plus the lanes that lack both is an upper bound. The extraction uses the bound that
//! keeps the promise:
//!
//! - Once `w(x,y) > d`, y never strongly precedes x.
//! - The window `AOI(y) ≤ hi(x)`, hi the (f+1+d)-th smallest stamp of x, loses nothing: of
//!   the f+1+d lanes that have x by hi(x), at most f have y by then, so d+1 have x first.
//!   The same with the lanes in which x is up to AOI(x): some lane has y by then.
//! - Root cut: y waits for root r only if r strongly precedes y whatever is still to come.
//!   What was in no lane when r became solid does, so it never blocks r (F5, F3).
//!   Not cut is y before x if q lanes can have had y before the AOI of x: x must not come
//!   out before what was everywhere before it (F2). Nothing that this adds reaches beyond
//!   the AOI of x, so it does not prolong a chain.
//!
//! Roots with equal keys are taken together, in the order of their ids, so that D(c) does
//! not depend on ties. The set of a group is fixed first, then brought into order.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{BlockId, CtId, Micros, Mutant, PublicKey};

use super::ORDERS_PER_BLOCK_MAX;
use super::cycles;
use super::state::{Extracted, State, kth};
use super::table::ABSENT;
use super::tie::tie;

/// When y strongly precedes x; f is the number of lanes that may lie, q = n − f.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// `w(x,y) ≤ f < w(y,x)`: at most f lanes dissent. Lanes that lack both support it.
    Dissent,
    /// `w(y,x) ≥ q`: a quorum has recorded it. f silent lanes can switch it off.
    Strict,
    /// `w(y,x) ≥ q`, where lanes that lack both and whose heads lag behind the others by
    /// the grace time count as support.
    Hybrid,
}

/// Lanes by what they say of two orders.
#[derive(Clone, Copy)]
struct Lanes {
    /// First before second.
    before: usize,
    /// Second before first.
    after: usize,
    /// Neither recorded.
    open: usize,
}

/// Why a root cannot be emitted yet.
struct Blocked;

/// Copy of the live rows in the order of their least AOI, so that a window is a slice.
struct Window<'a> {
    state: &'a State,
    precedence: Precedence,
    n: usize,
    stamps: Vec<u32>,
    /// Least AOI: by the stamps that are there and the heads of lanes that lack it.
    low: Vec<u32>,
    /// Least stamp or head.
    first: Vec<u32>,
    /// The q-th smallest stamp or head.
    spread: Vec<u32>,
    /// Slot in the table.
    slot: Vec<usize>,
    /// Emitted in this cut, or leaves with one that is.
    gone: Vec<bool>,
    /// Lanes that lag behind the others.
    lagging: Vec<bool>,
    /// Rows that share a nonce with another one.
    twins: BTreeMap<(PublicKey, u64), Vec<usize>>,
}

impl<'a> Window<'a> {
    fn new(state: &'a State, precedence: Precedence) -> Self {
        let (n, heads) = (state.heads.len(), state.head_offsets());
        let mut scratch = Vec::with_capacity(n);
        let mut rows: Vec<(u32, CtId, u32, u32, usize)> = (0..state.table.len())
            .map(|slot| {
                scratch.clear();
                let row = state.table.stamps(slot).iter().zip(&heads);
                scratch.extend(row.map(|(t, head)| if *t == ABSENT { *head } else { *t }));
                let first = scratch.iter().copied().min().unwrap_or(0);
                let low = kth(&mut scratch, state.f);
                let spread = kth(&mut scratch, state.quorum - 1);
                (low, state.table.rows()[slot].ct_id, first, spread, slot)
            })
            .collect();
        rows.sort_unstable();
        let newest = kth(&mut state.heads.clone(), n - 1 - state.f);
        let late = newest.saturating_sub(Micros::from_millis(state.grace).0);
        let mut stamps = Vec::with_capacity(rows.len() * n);
        for row in &rows {
            stamps.extend_from_slice(state.table.stamps(row.4));
        }
        let mut twins: BTreeMap<(PublicKey, u64), Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let label = &state.table.rows()[row.4].label;
            let nonce = (label.sender, label.nonce);
            twins.entry(nonce).or_default().push(at);
        }
        twins.retain(|_, rows| rows.len() > 1);
        Self {
            state,
            precedence,
            twins,
            n,
            stamps,
            low: rows.iter().map(|row| row.0).collect(),
            first: rows.iter().map(|row| row.2).collect(),
            spread: rows.iter().map(|row| row.3).collect(),
            slot: rows.iter().map(|row| row.4).collect(),
            gone: vec![false; rows.len()],
            lagging: state.heads.iter().map(|head| *head < late).collect(),
        }
    }

    fn row(&self, at: usize) -> &[u32] {
        &self.stamps[at * self.n..(at + 1) * self.n]
    }

    fn key(&self, at: usize) -> Option<Micros> {
        self.state.table.rows()[self.slot[at]].key
    }

    fn ct_id(&self, at: usize) -> CtId {
        self.state.table.rows()[self.slot[at]].ct_id
    }

    fn nonce(&self, at: usize) -> (PublicKey, u64) {
        let label = &self.state.table.rows()[self.slot[at]].label;
        (label.sender, label.nonce)
    }

    fn before(&self, x: usize, y: usize) -> usize {
        let pairs = self.row(x).iter().zip(self.row(y));
        pairs.map(|(a, b)| u32::from(a < b)).sum::<u32>() as usize
    }

    fn lanes(&self, x: usize, y: usize) -> Lanes {
        let pairs = self.row(x).iter().zip(self.row(y));
        let open = pairs.filter(|(a, b)| **a == ABSENT && **b == ABSENT);
        Lanes {
            before: self.before(x, y),
            after: self.before(y, x),
            open: open.count(),
        }
    }

    /// Whether y can never strongly precede x.
    fn never(&self, x: usize, y: usize) -> bool {
        match self.precedence {
            Precedence::Dissent => self.before(x, y) > self.state.f,
            Precedence::Strict | Precedence::Hybrid => {
                let lanes = self.lanes(x, y);
                lanes.after + lanes.open < self.state.quorum
            }
        }
    }

    /// Whether y strongly precedes x by what is known; asked if it is not [`never`] so.
    ///
    /// [`never`]: Window::never
    fn precedes(&self, y: usize, x: usize) -> bool {
        let lanes = self.lanes(y, x);
        match self.precedence {
            Precedence::Dissent => lanes.before + lanes.open > self.state.f,
            Precedence::Strict => lanes.before >= self.state.quorum,
            Precedence::Hybrid => {
                let pairs = self.row(x).iter().zip(self.row(y)).zip(&self.lagging);
                let lagging =
                    pairs.filter(|((a, b), lags)| **lags && **a == ABSENT && **b == ABSENT);
                lanes.before + lagging.count() >= self.state.quorum
            }
        }
    }

    /// Whether r strongly precedes y whatever the lanes still add.
    fn surely_precedes(&self, r: usize, y: usize) -> bool {
        let lanes = self.lanes(r, y);
        match self.precedence {
            Precedence::Dissent => {
                lanes.before > self.state.f && lanes.after + lanes.open <= self.state.f
            }
            Precedence::Strict | Precedence::Hybrid => lanes.before >= self.state.quorum,
        }
    }

    /// AOI of x, and up to where its window reaches.
    fn reach(&self, x: usize, scratch: &mut Vec<u32>) -> (u32, u32) {
        scratch.clear();
        scratch.extend_from_slice(self.row(x));
        let high = kth(scratch, 2 * self.state.f);
        (kth(scratch, self.state.f), high)
    }

    /// Adds r and all that must come before it to `set`, with the edges.
    fn close(&self, from: usize, root: usize, set: &mut Closure) -> Result<(), Blocked> {
        let mut scratch = Vec::with_capacity(self.n);
        let mut open = Vec::new();
        if set.add(root) {
            open.push(root);
        }
        while let Some(x) = open.pop() {
            let (first, high) = self.reach(x, &mut scratch);
            let end = from + self.low[from..].partition_point(|low| *low <= high);
            for y in from..end {
                if self.first[y] > first || y == x || self.gone[y] || self.never(x, y) {
                    continue;
                }
                let may_wait = y != root && x != root && self.spread[y] >= first;
                if may_wait && self.surely_precedes(root, y) {
                    continue; // root cut
                }
                if self.key(y).is_none() {
                    return Err(Blocked);
                }
                if self.precedes(y, x) {
                    set.edges.push((y, x));
                    if set.add(y) {
                        open.push(y);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Roots of one key and what comes before them.
struct Closure {
    members: Vec<usize>,
    inside: Vec<bool>,
    /// (earlier, later).
    edges: Vec<(usize, usize)>,
}

impl Closure {
    fn new(rows: usize) -> Self {
        Self {
            members: Vec::new(),
            inside: vec![false; rows],
            edges: Vec::new(),
        }
    }

    fn add(&mut self, at: usize) -> bool {
        let new = !std::mem::replace(&mut self.inside[at], true);
        if new {
            self.members.push(at);
        }
        new
    }

    fn clear(&mut self) {
        for at in self.members.drain(..) {
            self.inside[at] = false;
        }
        self.edges.clear();
    }
}

/// 4 extract.
pub(super) fn extract(
    state: &State,
    precedence: Precedence,
    block: BlockId,
    watermark: Micros,
) -> Extracted {
    let mut out = Extracted::default();
    let mut roots: Vec<(Micros, CtId, usize)> = (state.table.rows().iter().enumerate())
        .filter_map(|(slot, row)| Some((row.key.filter(|k| *k < watermark)?, row.ct_id, slot)))
        .collect();
    if roots.is_empty() {
        return out;
    }
    roots.sort_unstable();
    let mut window = Window::new(state, precedence);
    let mut at = vec![0; window.slot.len()];
    for (index, slot) in window.slot.iter().enumerate() {
        at[*slot] = index;
    }
    let mut set = Closure::new(at.len());
    let mut from = 0;
    for group in roots.chunk_by(|a, b| a.0 == b.0) {
        let open = |window: &Window<'_>| {
            let gone = |(_, _, slot): &(Micros, CtId, usize)| window.gone[at[*slot]];
            group.iter().any(|root| !gone(root))
        };
        if !open(&window) {
            continue;
        }
        if out.order.len() >= state.decrypt_max {
            out.backlog = true;
            break;
        }
        while window.gone.get(from).is_some_and(|gone| *gone) {
            from += 1;
        }
        set.clear();
        let mut blocked = false;
        for (_, _, slot) in group {
            let root = at[*slot];
            if !window.gone[root] && window.close(from, root, &mut set).is_err() {
                blocked = true;
                break;
            }
        }
        if blocked {
            break;
        }
        if !take(&mut window, block, &mut set, &mut out) {
            out.backlog = true;
            break;
        }
    }
    out
}

/// Emits a group: one order per nonce, as many as one set of shares can hold. Returns
/// whether all of it went.
fn take(window: &mut Window<'_>, block: BlockId, set: &mut Closure, out: &mut Extracted) -> bool {
    let planted = window.state.planted;
    let mut members: Vec<(Micros, CtId, usize)> = (set.members.iter())
        .map(|&at| (window.key(at).unwrap_or_default(), window.ct_id(at), at))
        .collect();
    members.sort_unstable();
    let mut used = BTreeSet::new();
    members.retain(|(_, _, at)| {
        let nonce = window.nonce(*at);
        let fresh = !out.used.contains(&nonce) && used.insert(nonce);
        fresh || planted.is(Mutant::ReuseNonce)
    });
    let room = ORDERS_PER_BLOCK_MAX - out.order.len().min(ORDERS_PER_BLOCK_MAX);
    let all = members.len() <= room;
    if !all {
        if !out.order.is_empty() {
            return false;
        }
        // One group alone is more than shares can be sent for: by id, not by tie.
        let by_id: Vec<_> = members
            .iter()
            .map(|(key, id, at)| (*at, (*key, id.0)))
            .collect();
        let (mut order, _) = cycles::order(&by_id, &set.edges);
        order.truncate(room);
        let kept: BTreeSet<usize> = order.into_iter().collect();
        members.retain(|(_, _, at)| kept.contains(at));
    }
    let ranked: Vec<_> = (members.iter())
        .map(|(key, ct_id, at)| {
            let by_id = planted.is(Mutant::TieById);
            let tie = if by_id { ct_id.0 } else { tie(block, *ct_id) };
            (*at, (*key, tie))
        })
        .collect();
    let (order, cycle_max) = cycles::order(&ranked, &set.edges);
    out.cycle_max = out.cycle_max.max(cycle_max);
    for at in order {
        let key = window.key(at).unwrap_or_default();
        out.order.push((key, window.ct_id(at)));
        out.used.insert(window.nonce(at));
        window.gone[at] = true;
        if let Some(twins) = window.twins.get(&window.nonce(at)) {
            twins.iter().for_each(|twin| window.gone[*twin] = true);
        }
    }
    all
}
