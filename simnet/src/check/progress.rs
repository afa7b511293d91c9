//! L4 and L5: how many views progress takes once all is healed, and that no leader keeps
//! an honest lane out for long. L1, L2 and L3 are the end of the run: every order has its
//! outcome and every honest member has caught up, or the run fails.

use std::collections::BTreeSet;

use fairlane_mempool::Cut;
use fairlane_types::{MemberId, Seq, View};

use super::{Notes, Rule};

/// Views per member that may pass between healing and the end of a run (L4). Timers grow
/// to 2⁶ Δ̂ before that, so that it takes far longer than the patience of a run to get
/// there by waiting alone.
const VIEWS_PER_MEMBER: u64 = 200;

/// Final blocks per member within which what an honest lane recorded is final (L5): a
/// round of leaders to see it certified, one to propose it, one for what is skipped, and one
/// while the others fetch bytes that a liar was asked for first.
const BLOCKS_PER_MEMBER: u64 = 4;

#[derive(Debug)]
pub struct Progress {
    n: u64,
    /// Only where nothing goes wrong but liars can every block be held to it.
    undisturbed: bool,
    healed: bool,
    blocks: u64,
    /// Highest view that anyone spoke of, and the one at healing.
    view: u64,
    at_healing: u64,
    /// What was recorded and is not final: the number of blocks then, lane, batch.
    waiting: BTreeSet<(u64, MemberId, Seq)>,
}

impl Progress {
    pub const fn new(n: usize) -> Self {
        Self {
            n: n as u64,
            undisturbed: false,
            healed: false,
            blocks: 0,
            view: 0,
            at_healing: 0,
            waiting: BTreeSet::new(),
        }
    }

    /// All is well from now on; if that is from the start, L5 holds of every block.
    pub const fn healed(&mut self) {
        if !self.healed {
            self.undisturbed = self.blocks == 0 && self.view == 0;
            self.at_healing = self.view;
            self.healed = true;
        }
    }

    pub fn view(&mut self, view: Option<View>) {
        if let Some(view) = view {
            self.view = self.view.max(view.0);
        }
    }

    /// An honest member recorded an order in this batch of its lane.
    pub fn recorded(&mut self, node: usize, seq: Seq) {
        if self.undisturbed {
            let lane = MemberId(node as u8);
            self.waiting.insert((self.blocks, lane, seq));
        }
    }

    pub fn finalized(&mut self, cut: &Cut, notes: &mut Notes) {
        self.blocks += 1;
        self.waiting
            .retain(|(_, lane, seq)| cut.head(*lane).seq < *seq);
        if let Some((since, lane, seq)) = self.waiting.first()
            && self.blocks - since > BLOCKS_PER_MEMBER * self.n
        {
            let what = format!(
                "batch {seq} of its lane is not final after {} blocks",
                self.blocks - since
            );
            notes.break_rule(Rule::Censored, lane.index(), what);
        }
    }

    pub fn verdict(&self, notes: &mut Notes) {
        let views = self.view - self.at_healing;
        if self.healed && views > VIEWS_PER_MEMBER * self.n {
            let what = format!("{views} views since all was healed");
            notes.break_rule(Rule::Views, 0, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Nanos;
    use crate::marks::Marks;

    fn notes() -> Notes {
        Notes {
            now: Nanos(0),
            violations: Vec::new(),
            marks: Marks::default(),
        }
    }

    #[test]
    fn a_lane_left_out_for_too_long_is_noticed_and_views_are_counted() {
        let (mut progress, mut notes) = (Progress::new(4), notes());
        progress.healed();
        progress.recorded(2, Seq(1));
        for _ in 0..16 {
            progress.finalized(&Cut::genesis(4), &mut notes);
        }
        assert!(notes.violations.is_empty());
        progress.finalized(&Cut::genesis(4), &mut notes);
        assert_eq!(notes.violations[0].rule, Rule::Censored);
        progress.view(Some(View(800)));
        progress.verdict(&mut notes);
        assert_eq!(notes.violations.len(), 1);
        progress.view(Some(View(801)));
        progress.verdict(&mut notes);
        assert_eq!(notes.violations[1].rule, Rule::Views);
    }
}
