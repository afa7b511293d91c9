//! A slice of a final block on its way to plaintext (D5): share sets that came for it, what
//! combiners told of it, and what its orders turned out to be.

use std::sync::Arc;

use fairlane_encryption::{Opened, Plain, ShareError, SuiteParsed};
use fairlane_types::{BlockId, Height, KeyId, MemberId, Mutant, Planted, SignerSet};

use crate::demotion::Demotions;
use crate::share_job::{CombineJob, Combined, OpenKeysJob};
use crate::share_message::{KeyMessage, ShareFault, ShareMessage};

/// Work on a slice.
#[derive(Clone, Debug)]
pub(crate) enum SliceAsk {
    /// Combine share sets.
    Combine(Box<CombineJob>),
    /// Open what a combiner told.
    OpenKeys(Box<OpenKeysJob>),
}

/// What an opening knows that its slices need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub height: Height,
    pub block: BlockId,
    /// Sets that open.
    pub t: usize,
    pub demoted: &'a Demotions,
    /// Missing sets were asked for.
    pub asked: bool,
    /// The others wait to be told what this member combines.
    pub tell: bool,
}

/// A slice at work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// The key that all its orders are sealed to.
    key: KeyId,
    /// Its orders, parsed, once every payload is here.
    pub list: Option<Vec<Arc<SuiteParsed>>>,
    /// At most one per member, in order of arrival.
    sets: Vec<(MemberId, Arc<ShareMessage>)>,
    /// What combiners told, in order of arrival, not opened yet.
    told: Vec<(MemberId, Arc<KeyMessage>)>,
    /// Who told something, once each.
    tellers: SignerSet,
    /// Who left orders out of what they told.
    left_out: SignerSet,
    /// One of those was to combine it.
    stuck: bool,
    liars: SignerSet,
    working: bool,
    /// Members whose sets were combined first, last time.
    combined: Vec<MemberId>,
    /// So many sets were tried in vain, without a liar among them.
    tried: usize,
    outcomes: Vec<Option<Opened>>,
}

/// What came of the work on a slice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// False sets, with their senders.
    pub liars: Vec<(MemberId, ShareFault, Arc<ShareMessage>)>,
    /// Members that did wrong as combiners.
    pub false_tellers: Vec<(MemberId, ShareFault)>,
    /// Members whose sets opened it.
    pub trusted: Vec<MemberId>,
}

impl Slice {
    /// Of so many orders, sealed to this key.
    pub fn new(key: KeyId, orders: usize) -> Self {
        Self {
            key,
            outcomes: vec![None; orders],
            ..Self::default()
        }
    }

    /// The key that its orders are sealed to.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// What its orders turned out to be.
    pub fn outcomes(&self) -> &[Option<Opened>] {
        &self.outcomes
    }

    pub fn is_done(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Whether nothing is to be expected of a member that did not come yet.
    pub fn has_heard(&self, member: MemberId) -> bool {
        self.is_done()
            || self.liars.contains(member)
            || self.sets.iter().any(|(from, _)| *from == member)
    }

    /// A peer's share set.
    ///
    /// # Errors
    /// [`ShareFault::List`] when it is not of as many orders: nothing of it is kept.
    pub fn add(&mut self, from: MemberId, message: Arc<ShareMessage>) -> Result<(), ShareFault> {
        if message.batch.len() != self.outcomes.len() {
            return Err(ShareFault::List);
        }
        if !self.has_heard(from) {
            self.sets.push((from, message));
        }
        Ok(())
    }

    /// This member's own set.
    pub fn made(&mut self, me: MemberId, message: Arc<ShareMessage>) {
        self.sets.retain(|(member, _)| *member != me);
        self.sets.insert(0, (me, message));
    }

    /// What a combiner told; the first of each counts.
    ///
    /// # Errors
    /// [`ShareFault::List`] when it is of more orders.
    pub fn add_told(&mut self, from: MemberId, message: Arc<KeyMessage>) -> Result<(), ShareFault> {
        if message.batch.points.len() > self.outcomes.len() {
            return Err(ShareFault::List);
        }
        if !self.is_done() && !self.tellers.contains(from) {
            self.tellers.insert(from);
            self.told.push((from, message));
        }
        Ok(())
    }

    /// Whether a member that was to combine it left orders out: shares of everybody settle
    /// those. Anybody else's word costs nothing.
    pub fn is_stuck(&self) -> bool {
        !self.is_done() && self.stuck
    }

    /// Who left out orders that open after all, once all of them did.
    fn who_left_out(&self) -> Vec<(MemberId, ShareFault)> {
        let plain = |outcome: &Option<Opened>| matches!(outcome, Some(Opened::Plain(_)));
        let all_open = self.outcomes.iter().all(plain);
        let members = self.left_out.iter().filter(|_| all_open);
        members
            .map(|member| (member, ShareFault::LeftOut))
            .collect()
    }

    /// The sets to combine, those of demoted members last, and only once others were asked
    /// for in vain.
    fn usable(&self, setting: &Setting<'_>) -> Vec<(MemberId, Arc<ShareMessage>)> {
        let of_liars = |(member, _): &&_| setting.demoted.is_demoted(*member, setting.height);
        let (last, mut first): (Vec<_>, Vec<_>) = self.sets.iter().partition(of_liars);
        if setting.asked {
            first.extend(last);
        }
        first.into_iter().cloned().collect()
    }

    /// Work that can start now.
    pub fn next(&mut self, setting: &Setting<'_>, slice: u16) -> Option<SliceAsk> {
        let list = self.list.as_ref()?;
        if self.working || self.is_done() {
            return None;
        }
        if !self.told.is_empty() {
            let (from, message) = self.told.remove(0);
            self.working = true;
            return Some(SliceAsk::OpenKeys(Box::new(OpenKeysJob {
                block: setting.block,
                key: self.key,
                list: list.clone(),
                from,
                message,
            })));
        }
        let need = setting.t.max(self.tried + 1);
        if self.sets.len() < need {
            return None;
        }
        let mut sets = self.usable(setting);
        if sets.len() < need {
            return None;
        }
        self.working = true;
        // Exactly t while nobody lied here; everything at hand afterwards.
        if self.liars.is_empty() {
            sets.truncate(setting.t);
        }
        let first = sets.iter().take(setting.t);
        self.combined = first.map(|(member, _)| *member).collect();
        Some(SliceAsk::Combine(Box::new(CombineJob {
            height: setting.height,
            block: setting.block,
            slice,
            key: self.key,
            list: list.clone(),
            sets,
            tell: setting.tell,
        })))
    }

    /// What combining gave.
    pub fn combined(&mut self, result: Combined, planted: Planted) -> Settled {
        self.working = false;
        let mut settled = Settled::default();
        if result.liars.is_empty() && result.missing == 0 {
            settled.trusted.append(&mut self.combined);
        }
        for (member, fault) in result.liars {
            self.liars.insert(member);
            let Some(at) = self.sets.iter().position(|(m, _)| *m == member) else {
                continue;
            };
            let (_, message) = self.sets.remove(at);
            settled.liars.push((member, fault, message));
        }
        if result.missing > 0 && settled.liars.is_empty() {
            self.tried = self.sets.len();
        }
        if result.missing == 0 {
            self.outcomes = result.outcomes;
            settled.false_tellers = self.who_left_out();
        } else if planted.is(Mutant::GiveUp) {
            let given_up = |outcome: Option<Opened>| outcome.unwrap_or(Opened::Malformed);
            self.outcomes = result
                .outcomes
                .into_iter()
                .map(given_up)
                .map(Some)
                .collect();
        }
        settled
    }

    /// What a combiner told is opened, whether it was `chosen` to combine or not; returns whoever
    /// did wrong as a combiner.
    pub fn opened(
        &mut self,
        (from, chosen): (MemberId, bool),
        result: Result<Vec<(usize, Option<Plain>)>, ShareError>,
    ) -> Vec<(MemberId, ShareFault)> {
        self.working = false;
        let found = match result {
            Ok(found) => found,
            Err(error) => return vec![(from, ShareFault::False(error))],
        };
        let mut refused = false;
        for (place, plain) in found {
            let Some(outcome) = self.outcomes.get_mut(place) else {
                continue;
            };
            match plain {
                // A plaintext that passed the opening check is final, whoever told it (A10).
                Some(plain) => {
                    outcome.get_or_insert(Opened::Plain(plain));
                }
                None => refused = true,
            }
        }
        let mut false_tellers = Vec::new();
        if refused {
            false_tellers.push((from, ShareFault::Keys));
        } else if !self.is_done() {
            self.left_out.insert(from);
            self.stuck |= chosen;
        }
        false_tellers.extend(self.who_left_out());
        false_tellers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Plain {
        Plain {
            payload: vec![1],
            opening: [2; 32],
        }
    }

    /// Whoever says nothing of a slice makes nobody ask, and is named once it opens.
    #[test]
    fn an_empty_word_of_a_member_that_was_not_to_combine_costs_nothing() {
        let mut slice = Slice::new(KeyId::default(), 2);
        let (stranger, combiner) = (MemberId(5), MemberId(1));
        assert!(slice.opened((stranger, false), Ok(Vec::new())).is_empty());
        assert!(!slice.is_stuck());
        let all = vec![(0, Some(plain())), (1, Some(plain()))];
        let false_tellers = slice.opened((combiner, true), Ok(all));
        assert_eq!(false_tellers, [(stranger, ShareFault::LeftOut)]);
        assert!(slice.is_done());
    }

    /// An order that does not open is left out rightly: everybody's shares settle it.
    #[test]
    fn what_a_combiner_leaves_out_is_asked_of_everybody() {
        let mut slice = Slice::new(KeyId::default(), 2);
        let some = vec![(0, Some(plain()))];
        assert!(slice.opened((MemberId(1), true), Ok(some)).is_empty());
        assert!(slice.is_stuck());
        let outcomes = vec![Some(Opened::Plain(plain())), Some(Opened::Malformed)];
        let combined = Combined {
            outcomes,
            liars: Vec::new(),
            missing: 0,
            told: None,
        };
        let settled = slice.combined(combined, Planted::NONE);
        assert!(settled.false_tellers.is_empty() && slice.is_done() && !slice.is_stuck());
    }
}
