//! Lanes whose data was missing at f+1 members are proposed certified-only for a while
//! (PROTOCOL §2, payload validity), so that one withholding member does not cost a view
//! in every round.

use std::collections::BTreeMap;

use fairlane_types::{MemberId, SignerSet, View};

use crate::config::{CERTIFIED_ONLY_VIEWS_MAX, CERTIFIED_ONLY_VIEWS_MIN};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ban {
    /// Last view in which the lane is restricted.
    until: View,
    /// Length of the last restriction, in views.
    span: u64,
}

/// The restricted lanes; at most one entry per member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CertifiedOnly {
    bans: BTreeMap<MemberId, Ban>,
}

impl CertifiedOnly {
    /// f+1 members skipped `view` naming this lane: it doubles with every repetition.
    pub(crate) fn name(&mut self, lane: MemberId, view: View) {
        let span = match self.bans.get(&lane) {
            Some(ban) if view <= ban.until.plus(CERTIFIED_ONLY_VIEWS_MAX) => {
                (ban.span * 2).min(CERTIFIED_ONLY_VIEWS_MAX)
            }
            _ => CERTIFIED_ONLY_VIEWS_MIN,
        };
        let until = view.plus(span);
        let ban = self.bans.entry(lane).or_insert(Ban { until, span });
        *ban = Ban {
            until: until.max(ban.until),
            span,
        };
    }

    /// The lanes restricted in `view`.
    pub(crate) fn active(&self, view: View) -> SignerSet {
        self.bans
            .iter()
            .filter(|(_, ban)| view <= ban.until)
            .map(|(lane, _)| *lane)
            .collect()
    }

    /// Forgets lanes that behaved for long.
    pub(crate) fn trim(&mut self, view: View) {
        self.bans
            .retain(|_, ban| view <= ban.until.plus(CERTIFIED_ONLY_VIEWS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_double_from_two_to_sixty_four_and_start_over() {
        let mut lanes = CertifiedOnly::default();
        let lane = MemberId(2);
        let mut view = View(10);
        for span in [2, 4, 8, 16, 32, 64, 64] {
            lanes.name(lane, view);
            assert!(lanes.active(view.plus(span)).contains(lane));
            assert!(lanes.active(view.plus(span + 1)).is_empty());
            view = view.plus(span + 1);
        }
        view = view.plus(CERTIFIED_ONLY_VIEWS_MAX + 1);
        lanes.trim(view);
        assert_eq!(lanes, CertifiedOnly::default());
        lanes.name(lane, view);
        assert!(lanes.active(view.plus(3)).is_empty());
    }
}
