//! What tells two cores of one member apart as far as safety goes: for model checkers.

use fairlane_types::{BlockId, View};

use crate::core::Core;
use crate::message::Payload;
use crate::voting::Stage;

/// What a core has said in a view, and what it knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ViewEssence {
    /// The view.
    pub view: View,
    /// The own vote, and whether it was dirty.
    pub voted: Option<(BlockId, bool)>,
    /// The own commit vote.
    pub committed: Option<BlockId>,
    /// Skipped.
    pub skipped: bool,
    /// Proposed.
    pub proposed: bool,
    /// The notarized block, and whether a quorum of its votes is clean (D3).
    pub notarized: Option<(BlockId, bool)>,
    /// A skip certificate is known.
    pub skip: bool,
    /// The first proposal, and how far it has come.
    pub candidate: Option<(BlockId, u8)>,
    /// Blocks that are there.
    pub blocks: Vec<BlockId>,
    /// Two headers are known (C6).
    pub equivocal: bool,
}

/// The state of a core without what differs only by the way there: who signed a
/// certificate, statements short of a quorum, requests, measured delays and counters. Where
/// statements arrive a quorum at a time, cores of equal essence behave alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Essence {
    /// The current view.
    pub view: View,
    /// The last final block.
    pub tip: BlockId,
    /// View and id of a final block that does not hang on the tip yet.
    pub target: Option<(View, BlockId)>,
    /// Finality was found broken.
    pub halted: bool,
    /// Views above the tip of which anything is known, ascending.
    pub views: Vec<ViewEssence>,
}

impl<P: Payload> Core<P> {
    /// What tells this core from others of this member.
    #[must_use]
    pub fn essence(&self) -> Essence {
        let first = self.chain.tip_view().next();
        let last = [
            Some(self.view),
            self.certs.highest().map(|c| c.view),
            self.own.keys().next_back().copied(),
            self.candidates.keys().next_back().copied(),
        ];
        let last = last.into_iter().flatten().max().unwrap_or(self.view);
        let views = (first.0..=last.0).map(|view| self.view_essence(View(view)));
        Essence {
            view: self.view,
            tip: self.chain.tip_id(),
            target: self.target.as_ref().map(|c| (c.view, c.block)),
            halted: self.halted,
            views: views.filter(|v| !v.is_blank()).collect(),
        }
    }

    fn view_essence(&self, view: View) -> ViewEssence {
        let own = self.own.get(&view);
        let notarization = self.certs.notarization(view);
        let candidate = self.candidates.get(&view);
        let mut blocks = self.chain.of_view(view).to_vec();
        blocks.sort_unstable();
        ViewEssence {
            view,
            voted: own.and_then(|o| o.voted.as_ref().map(|v| (v.block, v.dirty))),
            committed: own.and_then(|o| o.committed.as_ref().map(|c| c.block)),
            skipped: own.is_some_and(|o| o.skipped.is_some()),
            proposed: own.is_some_and(|o| o.proposed),
            notarized: notarization.map(|c| (c.block, self.is_clean(c))),
            skip: self.certs.skipped(view),
            candidate: candidate.map(|c| {
                let stage = match c.stage {
                    Stage::Checking => 0,
                    Stage::Ready => 1,
                    Stage::Asked => 2,
                    Stage::Valid => 3,
                    Stage::Rejected => 4,
                };
                (c.id, stage)
            }),
            blocks,
            equivocal: self.equivocal.contains(&view),
        }
    }
}

impl ViewEssence {
    fn is_blank(&self) -> bool {
        *self
            == Self {
                view: self.view,
                ..Self::default()
            }
    }
}
