//! What honest members have said: the network of the model, and what the rules judge.

use std::sync::Arc;

use fairlane_consensus::{Block, Message, Statement};
use fairlane_types::{BlockId, View};

use crate::load::Load;

/// A block with all its ancestors.
#[derive(Debug)]
pub struct Known {
    /// Its id.
    pub id: BlockId,
    /// The block.
    pub block: Block<Load>,
    /// Its parent; none for genesis.
    pub parent: Option<Arc<Known>>,
    /// It is in D(B): the block holds the ciphertext and no ancestor does.
    pub reveals: bool,
}

impl Known {
    pub(crate) fn new(block: Block<Load>, parent: Option<Arc<Self>>) -> Arc<Self> {
        let mut above = parent.as_ref();
        let mut reveals = block.payload.holds;
        while let Some(ancestor) = above {
            reveals &= !ancestor.block.payload.holds;
            above = ancestor.parent.as_ref();
        }
        Arc::new(Self {
            id: block.id(),
            block,
            parent,
            reveals,
        })
    }

    /// Its view.
    #[must_use]
    pub fn view(&self) -> View {
        self.block.header.view
    }

    /// Whether `other` is this block or an ancestor of it.
    #[must_use]
    pub fn stands_on(&self, other: &Self) -> bool {
        let mut at = self;
        loop {
            if at.id == other.id {
                return true;
            }
            match &at.parent {
                Some(parent) if parent.view() >= other.view() => at = parent,
                _ => return false,
            }
        }
    }
}

/// What a member has said in a view.
#[derive(Clone, Debug, Default)]
pub struct SaidInView {
    /// Its proposals and the messages that carry them: one, if it keeps the rules.
    pub proposals: Vec<(Arc<Known>, Arc<Message<Load>>)>,
    /// Its vote, and whether it is dirty.
    pub vote: Option<(Arc<Known>, bool)>,
    /// Its commit vote, and whether its share of the ciphertext left with it (D3).
    pub commit: Option<(Arc<Known>, bool)>,
    /// It skipped.
    pub skip: bool,
}

/// All that a member has said, by view.
#[derive(Clone, Debug, Default)]
pub struct Said {
    views: Vec<SaidInView>,
}

impl Said {
    /// What was said in a view.
    #[must_use]
    pub fn of(&self, view: View) -> Option<&SaidInView> {
        self.views.get(view.0 as usize)
    }

    /// Views with what was said in them.
    pub fn iter(&self) -> impl Iterator<Item = (View, &SaidInView)> {
        let views = self.views.iter().enumerate();
        views.map(|(view, said)| (View(view as u64), said))
    }

    /// The blocks that it proposed, voted for or commit-voted.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.views.iter().flat_map(|said| {
            let proposals = said.proposals.iter().map(|(block, _)| block);
            let vote = said.vote.iter().map(|(block, _)| block);
            proposals
                .chain(vote)
                .chain(said.commit.iter().map(|(block, _)| block))
        })
    }

    /// Takes a statement in; the rule that it breaks, if it contradicts an earlier one.
    pub(crate) fn add(
        &mut self,
        statement: &Statement<Load>,
        about: Option<Arc<Known>>,
        shared: bool,
        message: &Message<Load>,
    ) -> Option<&'static str> {
        let index = statement.view().0 as usize;
        if self.views.len() <= index {
            self.views.resize_with(index + 1, SaidInView::default);
        }
        let said = &mut self.views[index];
        let same = |one: &Arc<Known>| about.as_ref().is_some_and(|b| b.id == one.id);
        match statement {
            Statement::Proposal { .. } => {
                if said.proposals.iter().any(|(b, _)| same(b)) {
                    return None;
                }
                let again = !said.proposals.is_empty();
                if let Some(block) = about {
                    said.proposals.push((block, Arc::new(message.clone())));
                }
                again.then_some("C6: two proposals in a view")
            }
            Statement::Vote(vote) => match &said.vote {
                Some((first, dirty)) if same(first) && *dirty == vote.dirty => None,
                Some(_) => Some("C1: two votes in a view"),
                None => {
                    said.vote = about.map(|block| (block, vote.dirty));
                    said.skip.then_some("C5: a vote after a skip")
                }
            },
            Statement::Commit(_) => {
                let other = said.commit.as_ref().is_some_and(|(first, _)| !same(first));
                let shared = shared || said.commit.as_ref().is_some_and(|(_, s)| *s);
                said.commit = about.map(|block| (block, shared));
                if other {
                    return Some("C3: two commit votes in a view");
                }
                said.skip.then_some("C2: commit and skip in a view")
            }
            Statement::Skip { .. } => {
                said.skip = true;
                let committed = said.commit.is_some();
                committed.then_some("C2: commit and skip in a view")
            }
        }
    }
}
