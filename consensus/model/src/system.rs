//! The whole: three honest members and the liar's closure, as stateright sees them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use fairlane_consensus::LeaderSchedule;
use fairlane_types::View;
use stateright::{Model, Property};

use crate::adversary::{committers, enough, heard, mail, offers, skippers, voters};
use crate::guise::{Guise, Move, Origin};
use crate::member::{Input, Member, shown};
use crate::rules;
use crate::said::Known;
use crate::scope::{Order, Scope, schedule};
use crate::store::{Path, Reach, Registry, Steps, Table};

/// The honest members. The liar has no state.
#[derive(Clone)]
pub struct State {
    /// In order of their ids.
    pub members: [Arc<Guise>; 3],
}

impl State {
    /// What is heard of everyone but one.
    fn others(&self, at: usize) -> [u128; 3] {
        let heard = |other: usize| {
            if other == at {
                0
            } else {
                self.members[other].voice
            }
        };
        core::array::from_fn(heard)
    }

    /// The same with another guise of one member.
    fn with(&self, at: usize, guise: Arc<Guise>) -> Self {
        let mut then = self.clone();
        then.members[at] = guise;
        then
    }

    pub(crate) fn digests(&self) -> [u128; 3] {
        core::array::from_fn(|at| self.members[at].digest)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digests().hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digests() == other.digests()
    }
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let views = self.members.iter().map(|m| (m.id, &m.states));
        f.debug_map().entries(views).finish()
    }
}

/// A member speaks: inputs arrive at it one after the other, and after the last one it has
/// said more than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Place among the honest members.
    pub at: usize,
    /// Which of its moves.
    pub nth: usize,
}

/// An exploration: its scope, and what it has computed so far.
#[derive(Debug)]
pub struct System {
    /// The bounds.
    pub scope: Scope,
    pub(crate) schedule: LeaderSchedule,
    registry: Registry,
    steps: Steps,
    reach: Table<(u128, [u128; 3]), Arc<Reach>>,
    moves: Table<(u128, [u128; 3]), Arc<Vec<Move>>>,
}

impl System {
    /// Nothing explored yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            schedule: schedule(),
            registry: Registry::default(),
            steps: Steps::default(),
            reach: Table::default(),
            moves: Table::default(),
        }
    }

    /// Distinct states of single members, and local steps that their cores computed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.steps.counts()
    }

    /// What an input does to a member; none if it changes nothing.
    pub(crate) fn step(
        &self,
        state: &State,
        at: usize,
        from: &Member,
        input: Input,
    ) -> Option<Arc<Member>> {
        self.steps
            .get(from, input, || self.compute(state, at, from, input))
    }

    /// The same, by the core and not from memory.
    fn compute(&self, state: &State, at: usize, from: &Member, input: Input) -> Member {
        let mail = mail(&self.scope, &self.registry, state, at, input);
        from.after(input, mail, &self.scope, &self.registry)
    }

    /// All that a member, in a state that it may be in, can come to before anyone else
    /// speaks.
    fn reach(&self, state: &State, at: usize, start: &Arc<Member>) -> Arc<Reach> {
        let key = (start.digest, state.others(at));
        self.reach.get(start.digest, key, || {
            let mut reach = Reach::default();
            reach.silent.insert(start.digest);
            let mut queue = VecDeque::from([(Path::new(), Arc::clone(start))]);
            let mut spoken = HashSet::new();
            while let Some((path, member)) = queue.pop_front() {
                for input in self.inputs(state, at, &member) {
                    let Some(next) = self.step(state, at, &member, input) else {
                        continue;
                    };
                    if self.is_needless(state, at, &member, &next, input) {
                        continue;
                    }
                    let next = self.judged(state, next);
                    let mut path = path.clone();
                    path.push(input);
                    if next.voice != start.voice {
                        if spoken.insert(next.digest) {
                            reach.spoken.push((path, next));
                        }
                    } else if reach.silent.insert(next.digest) {
                        queue.push_back((path, next));
                    }
                }
            }
            Arc::new(reach)
        })
    }

    /// Rules on what a member believes: broken ones become part of what is heard of it.
    fn judged(&self, state: &State, next: Arc<Member>) -> Arc<Member> {
        if next.breach.is_some() || rules::certified(state, &next) {
            return next;
        }
        let rule = "C8: final without a quorum of commit votes";
        let broken = Member::clone(&next).broke(rule, &self.registry);
        self.steps.only(broken)
    }

    /// What a member can say next. What leads to the same words is one move, and of two
    /// states after it, one that the other can still come to in silence is left out: it will
    /// be come to when it matters.
    pub(crate) fn moves(&self, state: &State, at: usize) -> Arc<Vec<Move>> {
        let start = &state.members[at];
        let key = (start.digest, state.others(at));
        self.moves.get(start.digest, key, || {
            let mut by_voice: BTreeMap<u128, Vec<(Origin, Arc<Member>)>> = BTreeMap::new();
            for from in &start.states {
                for (path, member) in &self.reach(state, at, from).spoken {
                    let after = by_voice.entry(member.voice).or_default();
                    if after.iter().all(|(_, known)| known.digest != member.digest) {
                        let origin = Origin {
                            from: from.digest,
                            path: path.clone(),
                        };
                        after.push((origin, Arc::clone(member)));
                    }
                }
            }
            let moves = by_voice.into_values().map(|after| {
                let reaches: Vec<_> = after
                    .iter()
                    .map(|(_, member)| {
                        let alone = Arc::new(Guise::new(vec![Arc::clone(member)]));
                        self.reach(&state.with(at, alone), at, member)
                    })
                    .collect();
                let comes_to = |a: usize, b: usize| reaches[a].silent.contains(&after[b].1.digest);
                let kept = (0..after.len()).filter(|index| {
                    let mut others = (0..after.len()).filter(|other| other != index);
                    !others.any(|o| comes_to(o, *index) && (o < *index || !comes_to(*index, o)))
                });
                let (how, states): (Vec<_>, Vec<_>) =
                    kept.map(|index| after[index].clone()).unzip();
                let how = how.into_iter().zip(&states);
                Move {
                    how: how
                        .map(|(origin, member)| (member.digest, origin))
                        .collect(),
                    to: Arc::new(Guise::new(states)),
                }
            });
            Arc::new(moves.collect())
        })
    }

    /// Everything that could happen to a member, whether it changes anything or not.
    pub(crate) fn inputs(&self, state: &State, at: usize, member: &Member) -> Vec<Input> {
        let (views, view) = (self.scope.views, member.view());
        let mut inputs = Vec::with_capacity(16);
        if view.0 <= views {
            if self.schedule.leader(view) == member.id {
                inputs.push(Input::Propose { holds: false });
                if self.scope.chooses() {
                    inputs.push(Input::Propose { holds: true });
                }
            }
            inputs.push(Input::Timeout);
        }
        let tip = member.finals.last().map_or(View(0), |tip| tip.view());
        let known = |view| member.essence.views.iter().find(|v| v.view == view);
        let has = |view, id| known(view).is_some_and(|v| v.blocks.contains(&id));
        // Earlier and later proposals add nothing: their certificates arrive on their own,
        // and a notarized block that is missing is fetched. Nor does a second one.
        if view.0 <= views && known(view).is_none_or(|v| v.candidate.is_none()) {
            let said = state.members.iter().filter_map(|m| m.said.of(view));
            let proposals = said.flat_map(|said| &said.proposals);
            inputs.extend(proposals.map(shown));
            inputs.extend(self.offers(state, member, view));
        }
        if let Some((_, id)) = member.essence.target {
            let mut below = self.registry.get(id);
            while let Some(block) = below.filter(|block| block.view() > tip) {
                if !has(block.view(), block.id) {
                    inputs.push(Input::Fetch(block.id));
                }
                below = block.parent.clone();
            }
        }
        for view in (tip.0 + 1..=views).map(View) {
            let known = known(view);
            // Skips short of a quorum make a member of that view join (C9). Heard before it
            // is there, or before its own can be durable, they would lie in wait, where
            // states do not show them. What it then says it can say by its timer as well.
            let joins = view == member.view() && member.crashes == 0;
            let skip = heard(skippers(state, view), at);
            let skip = skip.filter(|from| enough(*from) || joins);
            if let Some(from) = skip.filter(|_| known.is_none_or(|v| !v.skip)) {
                inputs.push(Input::Skips { view, from });
            }
            let notarized = known.and_then(|v| v.notarized);
            for block in voted(state, view) {
                let block = block.id;
                let votes = heard(voters(state, view, block), at);
                if let Some(from) = votes.filter(|_| notarized.is_none()) {
                    inputs.push(Input::Votes { view, block, from });
                }
                if notarized.is_some() && !has(view, block) {
                    inputs.push(Input::Fetch(block));
                }
                if let Some(from) = heard(committers(state, view, block), at) {
                    inputs.push(Input::Commits { view, block, from });
                }
            }
        }
        if member.crashes > 0 {
            let unsynced = member.unsynced() as u8;
            if unsynced > 0 {
                inputs.push(Input::Sync);
            }
            inputs.extend((0..=unsynced).map(|kept| Input::Crash { kept }));
        }
        inputs
    }

    /// What the liar can propose to a member in a view.
    fn offers(&self, state: &State, member: &Member, view: View) -> Vec<Input> {
        if self.schedule.leader(view) != self.scope.liar() {
            return Vec::new();
        }
        let mut known: Vec<Arc<Known>> = member.blocks.clone();
        for block in state.members.iter().flat_map(|m| m.said.blocks()) {
            if known.iter().all(|k| k.id != block.id) {
                known.push(Arc::clone(block));
            }
        }
        offers(&self.scope, &self.registry, state, view, &known)
    }
}

/// The blocks that an honest member voted for in a view.
pub(crate) fn voted(state: &State, view: View) -> Vec<&Arc<Known>> {
    let mut blocks: Vec<&Arc<Known>> = Vec::new();
    for member in &state.members {
        if let Some((block, _)) = member.said.of(view).and_then(|s| s.vote.as_ref())
            && blocks.iter().all(|b| b.id != block.id)
        {
            blocks.push(block);
        }
    }
    blocks
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let members = self
            .scope
            .honest()
            .map(|id| Member::new(id, &self.scope, &self.registry))
            .map(|member| Arc::new(Guise::new(vec![Arc::new(member)])));
        vec![State { members }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for at in 0..state.members.len() {
            let moves = self.moves(state, at).len();
            actions.extend((0..moves).map(|nth| Action { at, nth }));
        }
        if self.scope.order == Order::Layered {
            self.layer(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let moves = self.moves(state, action.at);
        let next = moves.get(action.nth)?;
        Some(state.with(action.at, Arc::clone(&next.to)))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<_> = rules::ALL
            .iter()
            .map(|(name, holds)| Property::always(name, *holds))
            .collect();
        // What must be reachable, or the rules hold of nothing.
        properties.extend(
            rules::reached(&self.scope)
                .into_iter()
                .map(|(name, seen)| Property::sometimes(name, seen)),
        );
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks that never merge states, compared at every step with those that do: what an
    /// input comes to must depend on the digest alone, however a member came to it.
    #[test]
    fn essence_decides() {
        let mut scope = Scope::new(3, 2);
        scope.crashes = 1;
        let system = System::new(scope);
        let mut seed = 1_u64;
        let mut dice = |sides: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize % sides.max(1)
        };
        let mut compared = 0;
        for _ in 0..60 {
            let mut state = system.init_states().remove(0);
            for _ in 0..40 {
                let at = dice(3);
                let own = Arc::clone(&state.members[at].states[0]);
                let mut next = Vec::new();
                for input in system.inputs(&state, at, &own) {
                    let alone = system.compute(&state, at, &own, input);
                    let merged = system.step(&state, at, &own, input);
                    let merged = merged.map_or(own.digest, |member| member.digest);
                    assert_eq!(alone.digest, merged, "{input:?} at {:#?}", own.essence);
                    compared += 1;
                    if alone.digest != own.digest {
                        next.push(alone);
                    }
                }
                if next.is_empty() {
                    continue;
                }
                let chosen = next.swap_remove(dice(next.len()));
                state = state.with(at, Arc::new(Guise::new(vec![Arc::new(chosen)])));
            }
        }
        let (_, steps) = system.counts();
        println!("{compared} comparisons, {steps} different steps");
        assert!(
            compared > 2 * steps,
            "{compared} comparisons of {steps} steps"
        );
    }
}
