//! S8: no share leaves an honest member for a block that is not final on its own disk,
//! nor for another list than D(c) of that block.

use fairlane_types::{BlockId, Digest, Domain, Height};

use super::order::Order;
use super::{Notes, Rule};

/// A set of shares as seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSet {
    /// Height it is for.
    pub height: Height,
    /// Block it is for.
    pub block: BlockId,
    /// Digest of the list it is for.
    pub list: Digest,
    /// Number of shares.
    pub count: usize,
}

pub fn said(node: usize, set: &ShareSet, order: &Order, notes: &mut Notes) {
    let height = set.height;
    if order.durable(node, height) != Some(set.block) {
        let what = format!("shares for height {height}, whose block is not final on its disk");
        notes.break_rule(Rule::EarlyShare, node, what);
        return;
    }
    let Some(points) = order.points(height) else {
        return;
    };
    if points.len() != set.count {
        let what = format!(
            "{} shares for the {} orders of height {height}",
            set.count,
            points.len()
        );
        notes.break_rule(Rule::EarlyShare, node, what);
        return;
    }
    let mut hasher = Domain::ShareBatch.hasher();
    hasher.update(b"list");
    for point in points {
        hasher.update(&point);
    }
    if set.list.0 != *hasher.finalize().as_bytes() {
        let what = format!("shares for another list than D(c) of height {height}");
        notes.break_rule(Rule::EarlyShare, node, what);
    }
}
