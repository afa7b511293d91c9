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
//! Not every order is compared with every other: see `search` and `window`.
//!
//! Roots with equal keys are taken together, in the order of their ids, so that D(c) does
//! not depend on ties. The set of a group is fixed first, then brought into order.

use std::collections::BTreeSet;

use fairlane_types::{BlockId, CtId, Micros, Mutant};

use super::ORDERS_PER_BLOCK_MAX;
use super::cycles::Sorter;
use super::precedence::{Precedence, Relation};
use super::search::Search;
use super::state::{Extracted, State, Taken, kth};
use super::tie::{Tied, tie};
use super::window::Window;

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
    let mut set = Search::new(&window);
    let mut sorter = Sorter::new(window.len());
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
        if !take(&mut window, state, block, &set, &mut sorter, &mut out) {
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
    set: &Search,
    sorter: &mut Sorter,
    out: &mut Extracted,
) -> bool {
    let planted = state.planted;
    let rows = set.members().iter();
    let mut members: Vec<(Micros, CtId, usize)> = rows
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
        let (mut order, _) = sorter.order(&by_id, set.before());
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
    let (order, cycle_max) = sorter.order(&ranked, set.before());
    out.cycle_max = out.cycle_max.max(cycle_max);
    if state.leaves_ties() {
        let orders = members.iter().map(|(key, ct_id, _)| (*key, *ct_id));
        let rows: Vec<usize> = members.iter().map(|(_, _, at)| *at).collect();
        let among = || set.before().among(&rows);
        out.ties
            .extend(Tied::new(out.order.len(), orders.collect(), among));
    }
    for at in order {
        let key = window.key(at).unwrap_or_default();
        out.order.push((key, window.ct_id(at)));
        out.used.insert(window.nonce(at));
        window.leave(at);
    }
    all
}
