//! The rules, restated on what was said and what is final, without the code they judge.

use std::sync::Arc;

use fairlane_types::View;

use crate::adversary::{committers, enough, skippers, voters};
use crate::guise::Guise;
use crate::member::Member;
use crate::said::Known;
use crate::scope::Scope;
use crate::system::{State, System, voted};

/// Whether a rule holds in a state, or something is reached.
pub type Check = fn(&System, &State) -> bool;

/// What holds in every state.
pub const ALL: &[(&str, Check)] = &[
    ("agreement", agreement),
    ("conduct", conduct),
    ("one notarization", one_notarization),
    ("grounds", grounds),
    ("irrevocability", irrevocability),
    ("secrecy", secrecy),
];

/// S1, S2: of two blocks with a quorum of commit votes one stands on the other. What a
/// member holds for final is such a block or an ancestor ([`certified`]).
fn agreement(system: &System, state: &State) -> bool {
    let committed = |view| {
        let said = move |m: &Arc<Guise>| Some(m.said.of(view)?.commit.as_ref()?.0.clone());
        let blocks: Vec<_> = state.members.iter().filter_map(said).collect();
        let is_final = move |b: &Arc<Known>| enough(committers(state, view, b.id));
        blocks.into_iter().filter(is_final)
    };
    let finals: Vec<_> = views(system).flat_map(committed).collect();
    let mut pairs = finals.iter().zip(finals.iter().skip(1));
    pairs.all(|(lower, higher)| higher.stands_on(lower))
}

/// The last block that a member holds for final has a quorum of commit votes.
pub(crate) fn certified(state: &State, member: &Member) -> bool {
    let tip = member.finals.last();
    tip.is_none_or(|tip| tip.view() == View(0) || enough(committers(state, tip.view(), tip.id)))
}

/// C1, C2, C5, C6, C7, ancestry, no halt: seen at each member on its own.
fn conduct(_: &System, state: &State) -> bool {
    state.members.iter().all(|m| m.breach.is_none())
}

/// At most one block a view has a quorum of votes.
fn one_notarization(system: &System, state: &State) -> bool {
    views(system).all(|view| {
        let notarized = |id| enough(voters(state, view, id));
        let blocks = voted(state, view);
        blocks.iter().filter(|b| notarized(b.id)).count() <= 1
    })
}

/// C3, C4: a vote stands on a notarized parent and skipped views, a commit vote on a
/// notarization.
fn grounds(_: &System, state: &State) -> bool {
    let notarized = |view: View, id| view == View(0) || enough(voters(state, view, id));
    state.members.iter().all(|member| {
        member.said.iter().all(|(view, said)| {
            let vote = said.vote.as_ref().is_none_or(|(block, _)| {
                let header = &block.block.header;
                let mut between = header.parent_view.0 + 1..view.0;
                notarized(header.parent_view, header.parent)
                    && between.all(|v| enough(skippers(state, View(v))))
            });
            let commit = said.commit.as_ref();
            vote && commit.is_none_or(|(block, _)| notarized(view, block.id))
        })
    })
}

/// The lemma: f + 1 honest commit votes for B in v leave no skip certificate of v possible,
/// and every block notarized later stands on B.
fn irrevocability(system: &System, state: &State) -> bool {
    views(system).all(|view| {
        let committed = voted(state, view).into_iter().find(|block| {
            let commits = committers(state, view, block.id);
            commits.count_ones() >= 2
        });
        let Some(block) = committed else { return true };
        let above = (view.0 + 1..=system.scope.views).map(View);
        !enough(skippers(state, view))
            && above.into_iter().all(|later| {
                voted(state, later)
                    .into_iter()
                    .filter(|other| enough(voters(state, later, other.id)))
                    .all(|other| other.stands_on(block))
            })
    })
}

/// S8: what t shares open is in D(B) of a block that nobody can abandon any more. Shares
/// that leave after finality are of such a block anyhow.
fn secrecy(system: &System, state: &State) -> bool {
    let shared = |at: &usize| {
        let mut said = state.members[*at].said.iter();
        said.any(|(_, said)| said.commit.as_ref().is_some_and(|(_, shared)| *shared))
    };
    let shares = (0..state.members.len()).filter(shared);
    !enough(shares.fold(0, |bits, at| bits | 1 << at))
        || views(system).any(|view| {
            let blocks = voted(state, view);
            let commits = |block: &Arc<Known>| committers(state, view, block.id).count_ones();
            blocks
                .iter()
                .any(|block| block.reveals && commits(block) >= 2)
        })
}

/// What an exploration of this scope must come by.
#[must_use]
pub fn reached(scope: &Scope) -> Vec<(&'static str, Check)> {
    let mut reached: Vec<(&str, Check)> = vec![
        ("a block is final", |system, state| {
            views(system).any(|view| {
                let blocks = voted(state, view);
                blocks.iter().any(|b| enough(committers(state, view, b.id)))
            })
        }),
        ("every view is skipped", |system, state| {
            views(system).all(|view| enough(skippers(state, view)))
        }),
        ("a view is notarized and skipped", |system, state| {
            views(system).any(|view| {
                enough(skippers(state, view))
                    && voted(state, view)
                        .iter()
                        .any(|b| enough(voters(state, view, b.id)))
            })
        }),
    ];
    if scope.views >= 2 {
        reached.push((
            "an ancestor becomes final with its child",
            |system, state| {
                views(system).any(|view| {
                    voted(state, view).iter().any(|block| {
                        let header = &block.block.header;
                        let (below, parent) = (header.parent_view, header.parent);
                        below > View(0)
                            && enough(committers(state, view, block.id))
                            && !enough(committers(state, below, parent))
                    })
                })
            },
        ));
    }
    if scope.chooses() {
        reached.push(("shares leave before finality", |system, state| {
            let shared = |view| {
                let said = move |m: &Arc<Guise>| m.said.of(view)?.commit.as_ref().map(|c| c.1);
                state.members.iter().any(move |m| said(m) == Some(true))
            };
            views(system).any(shared)
        }));
    }
    reached
}

fn views(system: &System) -> impl Iterator<Item = View> {
    (1..=system.scope.views).map(View)
}
