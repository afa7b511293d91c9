//! Which orders of events need not be explored.
//!
//! All rules but two are about what was said and are broken for good: what breaks them still
//! does when more is said. So a state may be left out if another one is explored in which
//! every member has said at least as much and can do the same from there on. (The other two
//! are judged as the words are said: conduct, and the grounds of votes.)
//!
//! [`Order::Forthcoming`] leaves out what a member could have said first at no cost:
//! - *Votes.* Who can vote in its view does, before it skips or leaves; a leader proposes. The
//!   vote is about a view to which the member never comes back, and nothing that it may do
//!   later asks for its not having voted. (With clean votes it does: a vote pledges. So
//!   there this is not done.)
//! - *Decisions.* A view is left with a commit vote in it or a skip. Who leaves without
//!   either knows a skip certificate, so that it will never commit-vote there (C3); or it
//!   learns of the notarization afterwards, as it could have before.
//! - *No leaps.* Certificates lead from one view to the next. If there is one of a later view
//!   there is one of this view as well, and in the views between there are votes and skips
//!   to be had.
//! - *News in time.* Certificates of views that a member has left reach it when it may
//!   propose, as only the leader's choice of a parent depends on them. They can always wait.
//!
//! [`Order::Layered`] explores one order of what is left: all that is ever said in a view is
//! said before anything of the next view. What is said in a view rests on certificates of
//! earlier views and on what is said in it, so that the words of later views can wait. In a
//! view of an honest leader the proposal comes first: the leader knows all that it will. Then
//! the votes, which take nothing from anyone. Then, member by member, commit votes and
//! skips: the notarization exists or never will, so no decision makes another one possible or
//! impossible.
//!
//! These are arguments about the protocol, made of the rules that are being checked. A core
//! that breaks them might do so only in orders that are left out. Therefore two views are
//! explored in every order, and the test `orders_left_out_say_nothing_more` compares: for
//! every state there, one is found in the reduced exploration that says as much.

use std::sync::Arc;

use fairlane_types::View;

use crate::guise::Guise;
use crate::member::{Input, Member};
use crate::said::SaidInView;
use crate::scope::Order;
use crate::system::{Action, State, System};

/// What is said by a move, in the order in which a layer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Proposal,
    Vote,
    Decision,
}

impl System {
    /// Whether what follows `input` need not be explored ([`Order::Forthcoming`]).
    pub(crate) fn is_needless(
        &self,
        state: &State,
        at: usize,
        member: &Member,
        next: &Member,
        input: Input,
    ) -> bool {
        if self.scope.order == Order::Any || self.scope.crashes > 0 {
            return false;
        }
        let view = member.view();
        match input {
            Input::Votes { view: of, .. } | Input::Skips { view: of, .. }
                if of > view || (of < view && !self.may_propose(member)) =>
            {
                return true;
            }
            Input::Commits { view: of, .. } if of > view => return true,
            _ => {}
        }
        let skipped = |member: &Member| member.said.of(view).is_some_and(|said| said.skip);
        let leaves = next.view() > view;
        if view.0 > self.scope.views || skipped(member) || !(leaves || skipped(next)) {
            return false;
        }
        let committed = next.said.of(view).is_some_and(|said| said.commit.is_some());
        let mute = leaves && !committed && !skipped(next) && !awaits_block(next, view);
        mute || (!self.scope.chooses() && self.can_vote(state, at, member))
    }

    /// Whether the member leads the view that it is in and has not proposed there.
    fn may_propose(&self, member: &Member) -> bool {
        let view = member.view();
        let proposed = |said: &SaidInView| !said.proposals.is_empty();
        view.0 <= self.scope.views
            && self.schedule.leader(view) == member.id
            && !member.said.of(view).is_some_and(proposed)
    }

    /// Whether some proposal would make the member vote in the view that it is in.
    fn can_vote(&self, state: &State, at: usize, member: &Member) -> bool {
        let voted = |member: &Member| {
            let said = member.said.of(member.view());
            said.is_some_and(|said| said.vote.is_some())
        };
        let proposal = |input: &Input| {
            matches!(
                input,
                Input::Propose { .. } | Input::Proposal { .. } | Input::Offer { .. }
            )
        };
        !voted(member)
            && self
                .inputs(state, at, member)
                .into_iter()
                .filter(proposal)
                .any(|input| {
                    let next = self.step(state, at, member, input);
                    next.is_some_and(|next| next.view() == member.view() && voted(&next))
                })
    }

    /// Of all actions those that come first ([`Order::Layered`]).
    pub(crate) fn layer(&self, state: &State, actions: &mut Vec<Action>) {
        let says = |action: &Action| {
            let moves = self.moves(state, action.at);
            let to = &moves.get(action.nth)?.to;
            first_word(&state.members[action.at], to)
        };
        let Some((view, word)) = actions.iter().filter_map(says).min() else {
            return;
        };
        actions.retain(|action| says(action) == Some((view, word)));
        // The liar's second block exists only after its first was used: there all take turns.
        if word == Word::Decision || self.schedule.leader(view) != self.scope.liar() {
            let first = actions.first().map(|action| action.at);
            actions.retain(|action| Some(action.at) == first);
        }
    }
}

/// Whether a block is notarized in this view that the member does not have: with it, it may
/// commit-vote later.
fn awaits_block(member: &Member, view: View) -> bool {
    let known = member.essence.views.iter().find(|known| known.view == view);
    known.is_some_and(|known| {
        let missing = |(block, _)| !known.blocks.contains(&block);
        known.notarized.is_some_and(missing)
    })
}

/// The lowest view in which more was said, and what.
fn first_word(before: &Guise, after: &Arc<Guise>) -> Option<(View, Word)> {
    let blank = SaidInView::default();
    after.said.iter().find_map(|(view, now)| {
        let then = before.said.of(view).unwrap_or(&blank);
        let word = if now.proposals.len() > then.proposals.len() {
            Word::Proposal
        } else if now.vote.is_some() != then.vote.is_some() {
            Word::Vote
        } else if now.skip != then.skip || now.commit.is_some() != then.commit.is_some() {
            Word::Decision
        } else {
            return None;
        };
        Some((view, word))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use fairlane_types::{BlockId, MemberId};
    use stateright::Model;

    use super::*;
    use crate::scope::Scope;

    /// Somebody says something about a block in a view.
    type Statement = (MemberId, View, u8, BlockId);

    /// For every state of a scope what was said there, one bit a statement.
    fn all_said(scope: Scope, bits: &mut HashMap<Statement, u32>) -> HashSet<u128> {
        let system = System::new(scope);
        let mut open = system.init_states();
        let mut seen: HashSet<_> = open.iter().map(State::digests).collect();
        let mut all = HashSet::new();
        while let Some(state) = open.pop() {
            let mut said = 0_u128;
            for statement in state.members.iter().flat_map(|m| statements(m)) {
                let fresh = bits.len() as u32;
                let bit = *bits.entry(statement).or_insert(fresh);
                said |= 1_u128
                    .checked_shl(bit)
                    .expect("no more statements than bits");
            }
            all.insert(said);
            let mut actions = Vec::new();
            system.actions(&state, &mut actions);
            let next = actions.into_iter();
            let next = next.filter_map(|action| system.next_state(&state, action));
            open.extend(next.filter(|next| seen.insert(next.digests())));
        }
        all
    }

    fn statements(member: &Guise) -> Vec<Statement> {
        let mut all = Vec::new();
        for (view, said) in member.said.iter() {
            let mut say = |kind, block| all.push((member.id, view, kind, block));
            said.proposals
                .iter()
                .for_each(|(block, _)| say(0, block.id));
            said.vote.iter().for_each(|(block, _)| say(1, block.id));
            said.commit.iter().for_each(|(block, _)| say(2, block.id));
            if said.skip {
                say(3, BlockId::default());
            }
        }
        all
    }

    /// `FAIRLANE_MODEL_VIEWS=3` compares three views as well, with honest leaders.
    #[test]
    fn orders_left_out_say_nothing_more() {
        let mut scopes = vec![(1, 1), (2, 1), (2, 2), (2, 3)];
        if std::env::var("FAIRLANE_MODEL_VIEWS").is_ok_and(|views| views != "2") {
            scopes.push((3, 4));
        }
        for (views, liar_leads) in scopes {
            let scope = Scope::new(views, liar_leads);
            let mut bits = HashMap::new();
            let any = all_said(scope, &mut bits);
            for order in [Order::Layered, Order::Forthcoming] {
                if views > 2 && order == Order::Forthcoming {
                    continue; // too many to compare with one another
                }
                let fewer = all_said(scope.ordered(order), &mut bits);
                let covered = |said: &&u128| fewer.iter().any(|more| *said & more == **said);
                let bare = any.iter().filter(|said| !covered(said)).count();
                println!(
                    "{views} views, liar leads {liar_leads}, {order:?}: {} of {}, {bare} not covered",
                    fewer.len(),
                    any.len()
                );
                assert_eq!(bare, 0, "{scope:?} {order:?}");
                assert!(fewer.is_subset(&any), "nothing new is said");
                assert!(fewer.len() < any.len());
            }
        }
    }
}
