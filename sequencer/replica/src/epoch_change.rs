//! How an epoch ends, as one member sees it, without effects (PROTOCOL §6): a change that
//! the committee's operators approved becomes final, its committee gets its shares by
//! dealings in the same log, a boundary block follows, and a quorum signs what came of it.
//!
//! As with dealings, blocks carry changes unread and each is judged once it is final, by its
//! bytes and the committee alone, so that all members take the first valid one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_encryption::Ceremony;
use fairlane_types::{
    CommitteeChange, Digest, Domain, Genesis, Height, MemberId, NextCommittee, QuorumWord,
    Signature, UsedReceivers, View,
};

use crate::dealing::Dealing;
use crate::epoch_base::{EpochBase, dealings_digest};
use crate::key_making::{FinalDealing, KeyMaking, REPEAT_VIEWS, Signatures, Terms};
use crate::payload::EpochStep;

/// A change of a final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalChange {
    /// Height of the block.
    pub height: Height,
    /// The change.
    pub change: Arc<CommitteeChange>,
}

/// The change that counts.
#[derive(Debug)]
pub(crate) struct Approved {
    pub(crate) next: NextCommittee,
    pub(crate) ceremony: Arc<Ceremony>,
    pub(crate) making: KeyMaking,
    /// The dealings that count, once they are known.
    pub(crate) dealings: Vec<Arc<Dealing>>,
    /// The new sharing of this epoch's encryption key, where the next one's is fresh.
    pub(crate) former: Option<Vec<u8>>,
}

/// How far the next epoch is, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeStatus {
    /// Members of the next committee.
    pub members: usize,
    /// Dealings that count, and how many are needed.
    pub dealings: (usize, usize),
    /// Height of the boundary block, once it is final.
    pub boundary: Option<Height>,
}

/// A final change and what was found of it.
type Judging = (Height, Arc<CommitteeChange>, Option<Option<Arc<Ceremony>>>);

/// The end of an epoch.
#[derive(Debug, Default)]
pub(crate) struct EpochChange {
    /// Keys for dealings that no next committee may have.
    used: Arc<UsedReceivers>,
    /// Changes whose approvals verify, by who sent them.
    offered: BTreeMap<MemberId, Arc<CommitteeChange>>,
    /// The view in which a block last carried one.
    carried: Option<View>,
    /// Final ones without a settled verdict, in order.
    unsettled: VecDeque<Judging>,
    /// Final dealings that came while one had no verdict.
    early: Vec<FinalDealing>,
    /// What dealers sent before the change had its verdict here, the last of each.
    early_offers: BTreeMap<MemberId, Arc<Dealing>>,
    approved: Option<Approved>,
    /// Orders sealed to a former key may still be under way: no boundary before they are out.
    held: bool,
    boundary: Option<Height>,
    /// What the rule remembers at the boundary.
    memory: Option<Vec<u8>>,
    /// The start of the next epoch as it follows from the log; its word grows.
    base: Option<Box<EpochBase>>,
    /// Signatures as they came.
    said: Signatures,
    /// Whole words as they came; one of each member is looked at.
    handed: BTreeMap<MemberId, Option<Arc<QuorumWord>>>,
    /// A whole word that the shell verified.
    shown: Option<Arc<QuorumWord>>,
    /// The word is complete, and is being written.
    ended: bool,
}

impl EpochChange {
    /// What the disk knows.
    pub fn new(
        changes: Vec<FinalChange>,
        early: Vec<FinalDealing>,
        boundary: Option<Height>,
        used: UsedReceivers,
        held: bool,
    ) -> Self {
        let unsettled = changes.into_iter().map(|c| (c.height, c.change, None));
        Self {
            unsettled: unsettled.collect(),
            early,
            boundary,
            held,
            used: Arc::new(used),
            ..Self::default()
        }
    }

    /// Keys for dealings that no next committee may have.
    pub const fn used(&self) -> &Arc<UsedReceivers> {
        &self.used
    }

    pub const fn approved(&self) -> Option<&Approved> {
        self.approved.as_ref()
    }

    pub const fn approved_mut(&mut self) -> Option<&mut Approved> {
        self.approved.as_mut()
    }

    /// The boundary block, once it is final.
    pub const fn boundary(&self) -> Option<Height> {
        self.boundary
    }

    pub fn status(&self) -> Option<ChangeStatus> {
        let approved = self.approved.as_ref()?;
        Some(ChangeStatus {
            members: approved.next.members.len(),
            dealings: approved.making.progress(),
            boundary: self.boundary,
        })
    }

    /// A change whose approvals verify; whether it is news.
    pub fn offer(&mut self, from: MemberId, change: &Arc<CommitteeChange>) -> bool {
        if self.approved.is_some() || self.knows(change) {
            return false;
        }
        self.offered.insert(from, Arc::clone(change));
        true
    }

    /// Whether it is offered or final already.
    pub fn knows(&self, change: &CommitteeChange) -> bool {
        let offered = self.offered.values();
        let unsettled = self.unsettled.iter().map(|(_, known, _)| known);
        offered
            .chain(unsettled)
            .any(|known| known.as_ref() == change)
    }

    /// Changes to tell a peer of.
    pub fn offers(&self) -> impl Iterator<Item = &Arc<CommitteeChange>> {
        self.offered.values()
    }

    /// Whether a leader has a step to put into a block.
    pub fn wants_a_block(&self) -> bool {
        if self.boundary.is_some() {
            return false;
        }
        match &self.approved {
            Some(approved) => approved.making.wants_a_block() || self.sealed().is_some(),
            None => !self.offered.is_empty() && self.unsettled.is_empty(),
        }
    }

    /// The step that a block of `view` carries.
    pub fn carry(&mut self, view: View) -> Option<EpochStep> {
        if let Some(digest) = self.sealed() {
            return Some(EpochStep::Boundary(digest));
        }
        let free = (self.carried).is_none_or(|last| last.0 + REPEAT_VIEWS <= view.0);
        if !free || self.approved.is_some() || !self.unsettled.is_empty() {
            return None;
        }
        let (_, change) = self.offered.first_key_value()?;
        self.carried = Some(view);
        Some(EpochStep::Change(Arc::clone(change)))
    }

    /// A block of `view` carries a change. One that nobody offered here may be made up, and
    /// keeps no other one waiting.
    pub fn seen(&mut self, view: View, change: &CommitteeChange) {
        if self
            .offered
            .values()
            .any(|offered| offered.as_ref() == change)
        {
            self.carried = self.carried.max(Some(view));
        }
    }

    /// Nothing is under way any more that only a former key opens: a boundary may come.
    pub const fn release(&mut self) {
        self.held = false;
    }

    /// What a boundary block names, once the next committee's shares are known here, and the
    /// key before this epoch's is over: there is no more than one former key.
    pub fn sealed(&self) -> Option<Digest> {
        if self.held {
            return None;
        }
        let approved = self.approved.as_ref()?;
        let keys = approved.making.keys()?;
        let dealings = dealings_digest(&approved.dealings);
        Some(Domain::Handover.hash_of(&(&approved.next, keys.as_ref(), dealings)))
    }

    /// A change became final; whether its verdict is wanted.
    pub fn finalized(&mut self, height: Height, change: &Arc<CommitteeChange>) -> bool {
        self.offered.retain(|_, offered| offered != change);
        if self.approved.is_some() {
            return false;
        }
        self.unsettled.push_back((height, Arc::clone(change), None));
        true
    }

    /// A final dealing that may belong to a change without verdict. One below all changes is for the
    /// first keys: who was away may learn of both at once.
    pub fn early(&mut self, height: Height, dealing: &Arc<Dealing>) -> bool {
        let above = |(change, ..): &Judging| height > *change;
        if self.approved.is_some() || !self.unsettled.front().is_some_and(above) {
            return false;
        }
        self.early.push(FinalDealing {
            height,
            dealing: Arc::clone(dealing),
            valid: false,
        });
        true
    }

    /// A dealing that was sent before the change had its verdict here.
    pub fn early_offer(&mut self, dealing: Arc<Dealing>) {
        self.early_offers.insert(dealing.dealer, dealing);
    }

    /// Final changes whose verdict is wanted: after a restart.
    pub fn unjudged(&self) -> Vec<(Height, Arc<CommitteeChange>)> {
        let open = self.unsettled.iter().filter(|(_, _, v)| v.is_none());
        open.map(|(height, change, _)| (*height, Arc::clone(change)))
            .collect()
    }

    /// A verdict: the ceremony of a valid change. Returns the heights of those that do not
    /// count, and whether one is approved now.
    pub fn judged(&mut self, height: Height, found: Option<Arc<Ceremony>>) -> (Vec<Height>, bool) {
        let entry = self.unsettled.iter_mut().find(|(at, ..)| *at == height);
        if let Some((_, _, verdict)) = entry {
            *verdict = Some(found);
        }
        let mut refused = Vec::new();
        while let Some((_, _, Some(_))) = self.unsettled.front()
            && let Some((height, change, verdict)) = self.unsettled.pop_front()
        {
            match verdict.flatten() {
                Some(ceremony) if self.approved.is_none() => {
                    self.approve(height, &change, ceremony);
                }
                _ => refused.push(height),
            }
        }
        (refused, self.approved.is_some())
    }

    fn approve(&mut self, height: Height, change: &CommitteeChange, ceremony: Arc<Ceremony>) {
        let mut found = std::mem::take(&mut self.early);
        found.retain(|dealing| dealing.height > height);
        // The word for this key is the hand-over's, not an activation's.
        let terms = Terms {
            needed: ceremony.needed(),
            dealing_bytes: ceremony.encoded_len(),
            quorum: usize::MAX,
        };
        let mut making = KeyMaking::new(terms, found, None);
        for dealing in std::mem::take(&mut self.early_offers).into_values() {
            if making.fits(&dealing, ceremony.dealers()) {
                making.offer(dealing);
            }
        }
        self.offered.clear();
        self.approved = Some(Approved {
            next: change.next.clone(),
            ceremony,
            making,
            dealings: Vec::new(),
            former: None,
        });
    }

    /// The boundary block is final.
    pub fn bounded(&mut self, height: Height) {
        self.boundary.get_or_insert(height);
    }

    /// What the rule remembers after the boundary block.
    pub fn remember(&mut self, memory: Vec<u8>) {
        self.memory = Some(memory);
    }

    /// What the rule remembers, once it is past the boundary.
    pub fn memory(&self) -> Option<&Vec<u8>> {
        self.memory.as_ref()
    }

    /// What the next epoch starts from is known.
    pub fn based(&mut self, base: EpochBase) {
        self.base = Some(Box::new(base));
    }

    /// The genesis of the next epoch, once it is known.
    pub fn next_genesis(&self) -> Option<&Genesis> {
        self.base.as_ref().map(|base| base.genesis())
    }

    /// A member's signature over the start of the next epoch; the first of each is kept.
    pub fn say(&mut self, member: MemberId, signature: Signature) {
        self.said.entry(member).or_insert(signature);
    }

    /// A member shows a whole word; the first of each is kept.
    pub fn hand(&mut self, member: MemberId, word: Arc<QuorumWord>) {
        self.handed.entry(member).or_insert(Some(word));
    }

    /// The whole word, once it is there.
    pub fn word(&self) -> Option<&QuorumWord> {
        let base = self.base.as_ref().filter(|_| self.ended)?;
        Some(&base.handover.word)
    }

    /// The shell verified a whole word.
    pub fn show(&mut self, word: Arc<QuorumWord>) {
        self.shown = Some(word);
    }

    /// A whole word to tell others, whether what it is about is known here or not.
    pub fn known_word(&self) -> Option<Arc<QuorumWord>> {
        let whole = self.word().map(|word| Arc::new(word.clone()));
        whole.or_else(|| self.shown.clone())
    }

    /// Signatures to verify, and whole words.
    pub fn unverified(&mut self) -> (Signatures, Vec<(MemberId, Arc<QuorumWord>)>) {
        if self.base.is_none() || self.ended {
            return Default::default();
        }
        let handed = self.handed.iter_mut();
        let words = handed.filter_map(|(member, word)| Some((*member, word.take()?)));
        (std::mem::take(&mut self.said), words.collect())
    }

    /// Signatures that verify; the start of the next epoch, once a quorum stands behind it.
    pub fn verified(
        &mut self,
        signatures: impl IntoIterator<Item = (MemberId, Signature)>,
        quorum: usize,
    ) -> Option<Arc<EpochBase>> {
        let base = self.base.as_mut()?;
        let word: &mut QuorumWord = &mut base.handover.word;
        for (member, signature) in signatures {
            word.add(member, signature);
        }
        if self.ended || word.signatures.len() < quorum {
            return None;
        }
        self.ended = true;
        Some(Arc::new(base.as_ref().clone()))
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{ChainId, Epoch, NextKey};

    use super::*;

    #[test]
    fn dealings_below_a_change_are_not_for_it() {
        let change = Arc::new(CommitteeChange {
            next: NextCommittee {
                chain: ChainId(1),
                epoch: Epoch(1),
                key: NextKey::Fresh,
                members: Vec::new(),
            },
            approved: QuorumWord::default(),
        });
        let dealing = Arc::new(Dealing {
            dealer: MemberId(0),
            deal: Vec::new(),
            signature: Signature([0; 64]),
        });
        let mut ending = EpochChange::default();
        assert!(!ending.early(Height(9), &dealing), "there is no change");
        for height in [5, 7] {
            assert!(ending.finalized(Height(height), &change));
        }
        let early = [3, 5, 6, 9].map(|height| ending.early(Height(height), &dealing));
        assert_eq!(early, [false, false, true, true]);
    }
}
