//! Votes of one view on their way to a quorum (C8, C11, C12).

use std::collections::BTreeMap;

use fairlane_types::{BlockId, Commit, Height, MemberId, SignerSet, Skip, Vote};

use crate::message::Signed;

/// Statements that add up to one certificate have the same subject.
pub(crate) trait Ballot: Clone + Eq {
    type Subject: Copy + Ord;
    fn subject(&self) -> Self::Subject;
}

impl Ballot for Vote {
    type Subject = BlockId;
    fn subject(&self) -> BlockId {
        self.block // clean and dirty votes notarize together (D3)
    }
}
impl Ballot for Commit {
    type Subject = (Height, BlockId);
    fn subject(&self) -> (Height, BlockId) {
        (self.height, self.block)
    }
}
impl Ballot for Skip {
    type Subject = ();
    fn subject(&self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trust {
    Unchecked,
    Checking,
    Good,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Slot<S> {
    signed: Signed<S>,
    trust: Trust,
}

/// One statement per member: the first that is not refuted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ballots<S> {
    slots: BTreeMap<MemberId, Slot<S>>,
    banned: SignerSet,
}

/// What became of a statement put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put<S> {
    /// New.
    Fresh,
    /// Known already, or its sender is out of this view for a bad signature.
    Known,
    /// The member said something else before.
    Conflict(Signed<S>),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Poll<S: Ballot> {
    /// Nothing, or a check is under way that may suffice.
    Wait,
    /// A quorum is there if these verify.
    Check(Vec<(MemberId, Signed<S>)>),
    /// A quorum of good ones, in order of members.
    Quorum(S::Subject, Vec<(MemberId, Signed<S>)>),
}

impl<S> Default for Ballots<S> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            banned: SignerSet::default(),
        }
    }
}

impl<S: Ballot> Ballots<S> {
    /// Takes a statement in; `good` if its signature needs no check.
    pub(crate) fn put(&mut self, from: MemberId, signed: Signed<S>, good: bool) -> Put<S> {
        if self.banned.contains(from) && !good {
            return Put::Known;
        }
        let trust = if good { Trust::Good } else { Trust::Unchecked };
        match self.slots.get_mut(&from) {
            None => {
                self.slots.insert(from, Slot { signed, trust });
                Put::Fresh
            }
            Some(slot) if slot.signed.statement == signed.statement => {
                if good && slot.trust != Trust::Good {
                    *slot = Slot { signed, trust };
                    return Put::Fresh;
                }
                Put::Known
            }
            Some(slot) => Put::Conflict(slot.signed.clone()),
        }
    }

    /// The statement of a member.
    pub(crate) fn get(&self, member: MemberId) -> Option<&Signed<S>> {
        self.slots.get(&member).map(|slot| &slot.signed)
    }

    /// Looks for a quorum. C12: signatures are checked only when they can make one.
    pub(crate) fn poll(&mut self, quorum: usize) -> Poll<S> {
        if self.slots.len() < quorum {
            return Poll::Wait;
        }
        let mut counts: BTreeMap<S::Subject, [usize; 3]> = BTreeMap::new();
        for slot in self.slots.values() {
            let count = counts.entry(slot.signed.statement.subject()).or_default();
            match slot.trust {
                Trust::Good => count[0] += 1,
                Trust::Checking => count[1] += 1,
                Trust::Unchecked => count[2] += 1,
            }
        }
        for (subject, [good, checking, unchecked]) in counts {
            if good >= quorum {
                let quorum = self.of(subject, Trust::Good).collect();
                return Poll::Quorum(subject, quorum);
            }
            if good + checking < quorum && good + checking + unchecked >= quorum {
                let check: Vec<_> = self.of(subject, Trust::Unchecked).collect();
                for (member, _) in &check {
                    if let Some(slot) = self.slots.get_mut(member) {
                        slot.trust = Trust::Checking;
                    }
                }
                return Poll::Check(check);
            }
        }
        Poll::Wait
    }

    fn of(
        &self,
        subject: S::Subject,
        trust: Trust,
    ) -> impl Iterator<Item = (MemberId, Signed<S>)> + '_ {
        self.slots
            .iter()
            .filter(move |(_, s)| s.trust == trust && s.signed.statement.subject() == subject)
            .map(|(member, slot)| (*member, slot.signed.clone()))
    }

    /// The check of this member's statement is done. A bad one is dropped, and the member
    /// is not heard again on this question (C11: no endless re-verification).
    pub(crate) fn checked(&mut self, member: MemberId, signed: &Signed<S>, good: bool) {
        let Some(slot) = self.slots.get_mut(&member) else {
            return;
        };
        if slot.trust != Trust::Checking || slot.signed != *signed {
            return;
        }
        if good {
            slot.trust = Trust::Good;
        } else {
            self.slots.remove(&member);
            self.banned.insert(member);
        }
    }
}

/// All that was said in one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tally {
    pub(crate) votes: Ballots<Vote>,
    pub(crate) commits: Ballots<Commit>,
    pub(crate) skips: Ballots<Skip>,
    /// Members with evidence in this view, found or under verification (C11: one each).
    pub(crate) accused: SignerSet,
    /// Lanes named as missing, by skipper.
    hints: BTreeMap<MemberId, SignerSet>,
    /// Lanes that f+1 skippers have named already.
    named: SignerSet,
}

impl Tally {
    /// Takes a skipper's hint; returns the lanes that just reached f+1 skippers.
    pub(crate) fn hint(&mut self, from: MemberId, missing: SignerSet, f: usize) -> SignerSet {
        if missing.is_empty() || self.hints.contains_key(&from) {
            return SignerSet::default();
        }
        self.hints.insert(from, missing);
        let fresh: SignerSet = missing
            .iter()
            .filter(|lane| !self.named.contains(*lane))
            .filter(|lane| self.hints.values().filter(|h| h.contains(*lane)).count() > f)
            .collect();
        self.named = SignerSet(self.named.0 | fresh.0);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::{Digest, Epoch, Signature, View};

    fn vote(block: u8, dirty: bool, sig: u8) -> Signed<Vote> {
        Signed {
            statement: Vote {
                epoch: Epoch(0),
                view: View(1),
                block: BlockId(Digest([block; 32])),
                dirty,
            },
            signature: Signature([sig; 64]),
        }
    }

    #[test]
    fn c12_checks_only_when_a_quorum_is_there_and_retries_with_others() {
        let mut votes = Ballots::default();
        for m in 0..2 {
            assert_eq!(
                votes.put(MemberId(m), vote(1, m == 0, m), false),
                Put::Fresh
            );
            assert_eq!(votes.poll(3), Poll::Wait);
        }
        votes.put(MemberId(2), vote(1, true, 9), false);
        let Poll::Check(check) = votes.poll(3) else {
            panic!("three votes are a quorum of four")
        };
        assert_eq!(check.len(), 3);
        assert_eq!(votes.poll(3), Poll::Wait);
        for (member, signed) in &check {
            votes.checked(*member, signed, member.0 != 2);
        }
        assert_eq!(votes.poll(3), Poll::Wait);
        // The liar is not heard again; another vote completes the quorum.
        assert_eq!(votes.put(MemberId(2), vote(1, true, 2), false), Put::Known);
        votes.put(MemberId(3), vote(1, true, 3), false);
        let Poll::Check(check) = votes.poll(3) else {
            panic!("the retry")
        };
        assert_eq!(check.len(), 1);
        votes.checked(MemberId(3), &check[0].1, true);
        let Poll::Quorum(_, quorum) = votes.poll(3) else {
            panic!("a quorum of good votes")
        };
        let members: Vec<_> = quorum.iter().map(|(m, _)| m.0).collect();
        assert_eq!(members, [0, 1, 3]);
    }

    #[test]
    fn votes_for_different_blocks_do_not_add_up() {
        let mut votes = Ballots::default();
        for m in 0..4 {
            votes.put(MemberId(m), vote(m % 2, true, m), true);
        }
        assert_eq!(votes.poll(3), Poll::Wait);
        let conflict = votes.put(MemberId(0), vote(1, true, 0), false);
        assert_eq!(conflict, Put::Conflict(vote(0, true, 0)));
    }

    #[test]
    fn a_lane_counts_when_f_plus_one_skippers_name_it() {
        let mut tally = Tally::default();
        let lane = |m| SignerSet::from_iter([MemberId(m)]);
        assert!(tally.hint(MemberId(0), lane(3), 1).is_empty());
        assert!(tally.hint(MemberId(0), lane(3), 1).is_empty());
        assert_eq!(tally.hint(MemberId(1), lane(3), 1), lane(3));
        assert!(tally.hint(MemberId(2), lane(3), 1).is_empty());
    }
}
