//! "Strongly precedes", by what lanes say of two orders.

use super::table::ABSENT;

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

/// Lanes by what they say of two orders; equal stamps say nothing.
#[derive(Clone, Copy)]
struct Lanes {
    /// First before second.
    before: usize,
    /// Second before first.
    after: usize,
    /// Neither recorded.
    open: usize,
}

impl Lanes {
    fn of(x: &[u32], y: &[u32]) -> Self {
        let (mut before, mut after, mut open) = (0u32, 0u32, 0u32);
        for (a, b) in x.iter().zip(y) {
            before = before.wrapping_add(u32::from(a < b));
            after = after.wrapping_add(u32::from(b < a));
            open = open.wrapping_add(u32::from(*a.min(b) == ABSENT));
        }
        Self {
            before: before as usize,
            after: after as usize,
            open: open as usize,
        }
    }
}

/// A committee's relation. What it is asked about are rows of stamps, one per lane.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub precedence: Precedence,
    pub f: usize,
    pub quorum: usize,
    /// Lanes that lag behind the others.
    pub lagging: Vec<bool>,
}

impl Relation {
    /// Whether y strongly precedes x by what is known; `None` if it cannot come to it any more.
    pub fn precedes(&self, y: &[u32], x: &[u32]) -> Option<bool> {
        let lanes = Lanes::of(y, x);
        if lanes.after > self.f {
            return None;
        }
        match self.precedence {
            Precedence::Dissent => Some(lanes.before + lanes.open > self.f),
            Precedence::Strict | Precedence::Hybrid if lanes.before + lanes.open < self.quorum => {
                None
            }
            Precedence::Strict => Some(lanes.before >= self.quorum),
            Precedence::Hybrid => {
                let pairs = x.iter().zip(y).zip(&self.lagging);
                let lagging =
                    pairs.filter(|((a, b), lags)| **lags && **a == ABSENT && **b == ABSENT);
                Some(lanes.before + lagging.count() >= self.quorum)
            }
        }
    }

    /// Whether r strongly precedes y whatever the lanes still add.
    pub fn surely_precedes(&self, r: &[u32], y: &[u32]) -> bool {
        let lanes = Lanes::of(r, y);
        match self.precedence {
            Precedence::Dissent => lanes.before > self.f && lanes.after + lanes.open <= self.f,
            Precedence::Strict | Precedence::Hybrid => lanes.before >= self.quorum,
        }
    }
}
