//! How machines hear that an epoch is over from others' APIs, while they run in it.

use std::sync::Arc;

use fairlane_replica::Event;
use fairlane_types::Handover;

use crate::engine::MILLISECOND;

use super::Lie;
use super::run::{Happening, Run};

/// A member that can end its epoch by what it has is left alone for so long.
const GRACE_NS: u64 = 400 * MILLISECOND;

impl Run<'_> {
    /// A machine's shell sees the word of its committee: its member hears of it, and leaves if it
    /// does not end its epoch itself.
    pub(super) fn shown(&mut self, machine: usize, word: &Handover) {
        let m = &mut self.machines[machine];
        let next = Some(word.genesis.epoch());
        if m.shown == next || word.verify(&m.genesis).is_err() {
            return;
        }
        m.shown = next;
        let life = m.member.life;
        self.step(machine, Event::Handed(Arc::new(word.word.clone())));
        let word = Arc::new(word.clone());
        self.push(GRACE_NS, Happening::Leave(machine, life, word));
    }

    pub(super) fn leave(&mut self, machine: usize, word: &Handover) {
        self.retire(machine);
        self.report.left_before += 1;
        if let Err(error) = self.machines[machine].leave(word) {
            self.breach(format!("machine {machine} cannot leave: {error}"));
        }
    }

    pub(super) fn has_the_last_word(&self, machine: usize) -> bool {
        let mut liars = self.plan.liars.iter();
        liars.any(|(liar, lie)| *liar == machine && *lie == Lie::LastWord)
    }

    /// A liar has the whole word: one member sees it, and nobody sees the liar again.
    pub(super) fn last_word(&mut self, machine: usize, word: &Handover) {
        self.report.lies += 1;
        self.machines[machine].dead = true;
        self.retire(machine);
        let before = self.machines[machine].genesis.epoch();
        let sees = |other: &usize| {
            let m = &self.machines[*other];
            m.runs() && m.linked && m.genesis.epoch() == before && self.honest(*other)
        };
        let others: Vec<usize> = (0..self.machines.len()).filter(sees).collect();
        if let Some(other) = self.rng.pick(&others).copied() {
            self.report.last_words += 1;
            self.shown(other, word);
        }
    }
}
