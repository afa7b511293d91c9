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
//! Not every order is compared with every other: see `window`.
//!
//! Roots with equal keys are taken together, in the order of their ids, so that D(c) does
//! not depend on ties. The set of a group is fixed first, then brought into order.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{BlockId, CtId, Micros, Mutant};

use super::ORDERS_PER_BLOCK_MAX;
use super::cycles;
use super::precedence::{Precedence, Relation};
use super::state::{Extracted, State, Taken, kth};
use super::tie::{Tied, tie};
use super::window::Window;

/// Why a root cannot be emitted yet.
struct Blocked;

/// Roots of one key and what comes before them.
struct Closure {
    /// Rows of the window.
    members: Vec<usize>,
    /// Where a row is among the members; [`OUTSIDE`] if it is not.
    place: Vec<u32>,
    /// (earlier, later), as places among the members.
    edges: Vec<(u32, u32)>,
    /// Members that are not searched yet.
    open: Vec<usize>,
    /// Number of the root of the search, from 1.
    search: u32,
    /// Per row the last search that asked whether its root surely precedes it, and the
    /// answer.
    asked: Vec<(u32, bool)>,
    rivals: Vec<usize>,
    scratch: Vec<i32>,
}

const OUTSIDE: u32 = u32::MAX;

impl Closure {
    fn new(rows: usize) -> Self {
        Self {
            members: Vec::new(),
            place: vec![OUTSIDE; rows],
            edges: Vec::new(),
            open: Vec::new(),
            search: 0,
            asked: vec![(0, false); rows],
            rivals: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn add(&mut self, at: usize) -> u32 {
        if self.place[at] == OUTSIDE {
            self.place[at] = u32::try_from(self.members.len()).unwrap_or(OUTSIDE);
            self.members.push(at);
            self.open.push(at);
        }
        self.place[at]
    }

    fn clear(&mut self) {
        for at in self.members.drain(..) {
            self.place[at] = OUTSIDE;
        }
        self.edges.clear();
        self.open.clear();
    }

    /// Whether r strongly precedes y whatever is still to come; asked for many x.
    fn root_precedes(&mut self, window: &Window<'_>, by: &Relation, r: usize, y: usize) -> bool {
        if self.asked[y].0 != self.search {
            let precedes = by.surely_precedes(window.row(r), window.row(y));
            self.asked[y] = (self.search, precedes);
        }
        self.asked[y].1
    }

    /// Adds r and all that must come before it, with the edges.
    fn close(&mut self, window: &Window<'_>, by: &Relation, root: usize) -> Result<(), Blocked> {
        self.search += 1;
        self.add(root);
        while let Some(x) = self.open.pop() {
            let reach = window.reach(x, &mut self.scratch);
            let mut rivals = std::mem::take(&mut self.rivals);
            rivals.clear();
            window.rivals(x, reach, &mut rivals);
            for &y in &rivals {
                if !by.possible(window.row(y), window.row(x)) {
                    continue;
                }
                let may_wait = y != root && x != root && self.root_precedes(window, by, root, y);
                if may_wait && !window.everywhere(y, reach.0) {
                    continue; // root cut
                }
                if window.key(y).is_none() {
                    return Err(Blocked);
                }
                if by.precedes(window.row(y), window.row(x)) {
                    let edge = (self.add(y), self.place[x]);
                    self.edges.push(edge);
                }
            }
            self.rivals = rivals;
        }
        Ok(())
    }
}

/// 4 extract.
pub(super) fn extract(
    state: &State,
    precedence: Precedence,
    block: BlockId,
    taken: &Taken,
) -> Extracted {
    let mut out = Extracted::default();
    let (watermark, most) = (taken.watermark, most(state, taken.entries));
    let mut roots: Vec<(Micros, CtId, usize)> = (state.table.rows().iter().enumerate())
        .filter_map(|(slot, row)| Some((row.key.filter(|k| *k < watermark)?, row.ct_id, slot)))
        .collect();
    if roots.is_empty() {
        return out;
    }
    roots.sort_unstable();
    let by = relation(state, precedence);
    let mut window = Window::new(state);
    let mut at = vec![0; window.len()];
    for (index, slot) in window.slots().iter().enumerate() {
        at[*slot] = index;
    }
    let mut set = Closure::new(at.len());
    for group in roots.chunk_by(|a, b| a.0 == b.0) {
        let here = |(_, _, slot): &&(Micros, CtId, usize)| !window.is_gone(at[*slot]);
        let group: Vec<usize> = group.iter().filter(here).map(|root| at[root.2]).collect();
        if group.is_empty() {
            continue;
        }
        if out.order.len() >= most {
            out.backlog = true;
            break;
        }
        set.clear();
        let mut roots = group.iter();
        if roots.any(|root| set.close(&window, &by, *root).is_err()) {
            break;
        }
        if !take(&mut window, state, block, &set, &mut out) {
            out.backlog = true;
            break;
        }
    }
    out
}

/// After a burst extraction ends at this share of D_max.
const BURST_SHARE: usize = 4;

/// Orders at which extraction ends: D_max, or a quarter of it after a cut that brings more entries
/// than D_max orders have in all lanes. Taking those in is half of what a cut may cost; the
/// rest is backlog, and the next block comes at once (C10).
fn most(state: &State, entries: usize) -> usize {
    let burst = entries > state.decrypt_max.saturating_mul(state.heads.len());
    if burst {
        state.decrypt_max.div_ceil(BURST_SHARE)
    } else {
        state.decrypt_max
    }
}

fn relation(state: &State, precedence: Precedence) -> Relation {
    let newest = kth(&mut state.heads.clone(), state.heads.len() - 1 - state.f);
    let late = newest.saturating_sub(Micros::from_millis(state.grace).0);
    Relation {
        precedence,
        f: state.f,
        quorum: state.quorum,
        lagging: state.heads.iter().map(|head| *head < late).collect(),
    }
}

/// Emits a group: one order per nonce, as many as one set of shares can hold. Returns
/// whether all of it went.
fn take(
    window: &mut Window<'_>,
    state: &State,
    block: BlockId,
    set: &Closure,
    out: &mut Extracted,
) -> bool {
    let planted = state.planted;
    let mut members: Vec<(Micros, CtId, usize)> = (set.members.iter().enumerate())
        .map(|(place, &at)| (window.key(at).unwrap_or_default(), window.ct_id(at), place))
        .collect();
    members.sort_unstable();
    let mut used = BTreeSet::new();
    members.retain(|(_, _, place)| {
        let nonce = window.nonce(set.members[*place]);
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
            .map(|(key, id, place)| (*place, (*key, id.0)))
            .collect();
        let (mut order, _) = cycles::order(&by_id, &set.edges);
        order.truncate(room);
        let kept: BTreeSet<usize> = order.into_iter().collect();
        members.retain(|(_, _, place)| kept.contains(place));
    }
    let ranked: Vec<_> = (members.iter())
        .map(|(key, ct_id, place)| {
            let by_id = planted.is(Mutant::TieById);
            let tie = if by_id { ct_id.0 } else { tie(block, *ct_id) };
            (*place, (*key, tie))
        })
        .collect();
    let (order, cycle_max) = cycles::order(&ranked, &set.edges);
    out.cycle_max = out.cycle_max.max(cycle_max);
    if state.leaves_ties() {
        out.ties.extend(tied(out.order.len(), &members, &set.edges));
    }
    for place in order {
        let at = set.members[place];
        let key = window.key(at).unwrap_or_default();
        out.order.push((key, window.ct_id(at)));
        out.used.insert(window.nonce(at));
        window.leave(at);
    }
    all
}

/// What the beacon is to decide in a group: `members` by name, and `edges` between names.
fn tied(start: usize, members: &[(Micros, CtId, usize)], edges: &[(u32, u32)]) -> Option<Tied> {
    let mut place = BTreeMap::new();
    let mut orders = Vec::with_capacity(members.len());
    for (at, (key, ct_id, name)) in members.iter().enumerate() {
        place.insert(*name, u32::try_from(at).unwrap_or(OUTSIDE));
        orders.push((*key, *ct_id));
    }
    let of = |name: &u32| place.get(&(*name as usize)).copied();
    let edges = edges.iter().filter_map(|(a, b)| Some((of(a)?, of(b)?)));
    Tied::new(start, orders, edges.collect())
}
