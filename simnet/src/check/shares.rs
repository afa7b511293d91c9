//! S8: no share leaves an honest member for a block that is not final on its own disk,
//! nor for another list than D(c) of that block, or its slice where combining is sharded.
//! The same holds for what a combiner tells.

use fairlane_types::{BlockId, Digest, Domain, Height};

use super::order::Order;
use super::{Notes, Rule};

/// A set of shares as seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSet {
    /// Height it is for.
    pub height: Height,
    /// Slice of the list.
    pub slice: u16,
    /// Block it is for.
    pub block: BlockId,
    /// Digest of the list it is for.
    pub list: Digest,
    /// Number of shares.
    pub count: usize,
}

/// Something that opens orders of a block leaves a member.
pub fn revealed(node: usize, height: Height, block: BlockId, order: &Order, notes: &mut Notes) {
    if order.durable(node, height) != Some(block) {
        let what = format!("keys of height {height}, whose block is not final on its disk");
        notes.break_rule(Rule::EarlyShare, node, what);
    }
}

pub fn said(node: usize, set: &ShareSet, order: &Order, notes: &mut Notes) {
    let height = set.height;
    if order.durable(node, height) != Some(set.block) {
        let what = format!("shares for height {height}, whose block is not final on its disk");
        notes.break_rule(Rule::EarlyShare, node, what);
        return;
    }
    let Some(list) = order.points(height) else {
        return;
    };
    let slice = usize::from(set.slice);
    let points: Vec<_> = (list.iter().enumerate())
        .filter(|(place, _)| place % order.slices(list.len()) == slice)
        .map(|(_, point)| point)
        .collect();
    if points.len() != set.count {
        let what = format!(
            "{} shares for the {} orders of slice {slice} of height {height}",
            set.count,
            points.len()
        );
        notes.break_rule(Rule::EarlyShare, node, what);
        return;
    }
    let mut hasher = Domain::ShareBatch.hasher();
    hasher.update(b"list");
    for point in points {
        hasher.update(point);
    }
    if set.list.0 != *hasher.finalize().as_bytes() {
        let what = format!("shares for another list than D(c) of height {height}");
        notes.break_rule(Rule::EarlyShare, node, what);
    }
}
