//! Whoever sent false shares comes last: its sets are kept out of combining for a while.
//!
//! A false set among the first t costs a block one verification and one more combination,
//! and a liar, who computes nothing, is always among the first. So once a set was found
//! false, the sets of its sender are not used for the next [`DEMOTED_HEIGHTS`] heights
//! while t others come: the others have n − f ≥ t honest ones among them (D5), so that
//! waiting for those ends. Only where it takes [as long as a request](crate::openings) for
//! what is missing, a demoted member's set is tried like any other: more than f may be
//! faulty, and then a true set from a former liar is better than none. If it opens the
//! block, its sender is trusted again.
//!
//! This is about time alone. What a set may do to an outcome is decided by the opening
//! check, whoever sent it (A10).

use std::collections::BTreeMap;

use fairlane_types::{Height, MemberId};

/// For so many heights above that of its last false set a member comes last.
const DEMOTED_HEIGHTS: u64 = 1_024;

/// Who sent false shares lately; at most one entry a member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demotions(BTreeMap<MemberId, Height>);

impl Demotions {
    /// A member's set for `height` is false.
    pub fn demote(&mut self, member: MemberId, height: Height) {
        let until = self.0.entry(member).or_default();
        *until = (*until).max(height.plus(DEMOTED_HEIGHTS));
    }

    /// A member's set was used, and the block opened.
    pub fn restore(&mut self, member: MemberId) {
        self.0.remove(&member);
    }

    /// Whether a member's set for `height` is to be used last.
    pub fn is_demoted(&self, member: MemberId, height: Height) -> bool {
        self.0.get(&member).is_some_and(|until| height < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demotion_ends() {
        let mut demotions = Demotions::default();
        let (liar, honest) = (MemberId(3), MemberId(1));
        demotions.demote(liar, Height(10));
        demotions.demote(liar, Height(7));
        assert!(demotions.is_demoted(liar, Height(11)));
        assert!(demotions.is_demoted(liar, Height(9 + DEMOTED_HEIGHTS)));
        assert!(!demotions.is_demoted(liar, Height(10 + DEMOTED_HEIGHTS)));
        assert!(!demotions.is_demoted(honest, Height(11)));
        demotions.restore(liar);
        assert!(!demotions.is_demoted(liar, Height(11)));
    }
}
