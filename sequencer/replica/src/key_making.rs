//! Which dealings count, and the committee's word for the key they give: the state of a key
//! ceremony, without effects (PROTOCOL §6; `fairlane_encryption::Ceremony`).
//!
//! Blocks carry dealings unread. Each is judged once it is final, by its bytes alone; the
//! first valid ones, one of each dealer, in the order of their blocks, give the key. So all
//! members make the same one, also those that read the log later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_types::{ActiveKeys, Height, KeyActivation, MemberId, Signature, SignerSet, View};

use crate::dealing::Dealing;

/// What a block carries beside its cut is not put into another one for so many views.
pub(crate) const REPEAT_VIEWS: u64 = 4;

/// A dealing of a final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalDealing {
    /// Height of the block.
    pub height: Height,
    /// The dealing.
    pub dealing: Arc<Dealing>,
    /// It was found valid.
    pub valid: bool,
}

/// What came of a dealing's verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Nothing yet: an earlier one has no verdict.
    Waits,
    /// These count now, these never will.
    Settled {
        counted: Vec<Height>,
        refused: Vec<Height>,
    },
}

/// Of members, over one key.
pub(crate) type Signatures = BTreeMap<MemberId, Signature>;

/// What a ceremony is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Valid dealings that make the key.
    pub needed: usize,
    /// Bytes of a dealing.
    pub dealing_bytes: usize,
    /// Signatures that activate the key.
    pub quorum: usize,
}

/// A key ceremony, as one member sees it.
#[derive(Debug)]
pub(crate) struct KeyMaking {
    terms: Terms,
    /// What dealers have sent, the last of each.
    offered: BTreeMap<MemberId, Arc<Dealing>>,
    /// The view in which a block last carried what a dealer sent.
    carried: BTreeMap<MemberId, View>,
    /// Final ones without a settled verdict, in order.
    unsettled: VecDeque<(Height, Arc<Dealing>, Option<bool>)>,
    counted: Vec<(Height, Arc<Dealing>)>,
    concluding: bool,
    /// The keys, once they are made here.
    keys: Option<Arc<ActiveKeys>>,
    /// Signatures over the key: as they came, and those that verify.
    said: Signatures,
    signed: Signatures,
    activation: Option<KeyActivation>,
}

impl KeyMaking {
    /// A ceremony, as far as the disk knows it.
    pub fn new(terms: Terms, found: Vec<FinalDealing>, activation: Option<KeyActivation>) -> Self {
        let unsettled = found
            .into_iter()
            .map(|f| (f.height, f.dealing, f.valid.then_some(true)))
            .collect();
        let mut making = Self {
            terms,
            offered: BTreeMap::new(),
            carried: BTreeMap::new(),
            unsettled,
            counted: Vec::new(),
            concluding: false,
            keys: None,
            said: BTreeMap::new(),
            signed: BTreeMap::new(),
            activation,
        };
        making.settle();
        making
    }

    /// Whether a dealing has the form of one of this ceremony among `n` members.
    pub fn fits(&self, dealing: &Dealing, n: usize) -> bool {
        dealing.fits(n, self.terms.dealing_bytes)
    }

    /// All dealings that count are known.
    pub fn complete(&self) -> bool {
        self.counted.len() >= self.terms.needed
    }

    /// Dealings that count, and how many are needed.
    pub const fn progress(&self) -> (usize, usize) {
        (self.counted.len(), self.terms.needed)
    }

    /// The keys are made here.
    pub const fn keys(&self) -> Option<&Arc<ActiveKeys>> {
        self.keys.as_ref()
    }

    /// A quorum's word for the key.
    pub const fn activation(&self) -> Option<&KeyActivation> {
        self.activation.as_ref()
    }

    /// Whether a dealing of this dealer counts.
    pub fn counts(&self, dealer: MemberId) -> bool {
        self.counted.iter().any(|(_, d)| d.dealer == dealer)
    }

    /// Whether this very dealing is final, and its verdict is not settled. Another one in the
    /// dealer's name says nothing: whoever leads can make one up.
    fn is_unsettled(&self, dealing: &Dealing) -> bool {
        self.unsettled.iter().any(|(_, d, _)| d.as_ref() == dealing)
    }

    /// Takes what a dealer sent; whether it may go into a block.
    pub fn offer(&mut self, dealing: Arc<Dealing>) -> bool {
        if self.complete() || self.counts(dealing.dealer) || self.is_unsettled(&dealing) {
            return false;
        }
        if self.offered.get(&dealing.dealer) != Some(&dealing) {
            self.carried.remove(&dealing.dealer);
        }
        self.offered.insert(dealing.dealer, dealing);
        true
    }

    /// A dealer's own dealing, while it is not final.
    pub fn offered(&self, dealer: MemberId) -> Option<&Arc<Dealing>> {
        self.offered.get(&dealer)
    }

    /// Whether a leader has something to put into a block.
    pub fn wants_a_block(&self) -> bool {
        !self.offered.is_empty() && !self.complete()
    }

    /// The dealing that a block of `view` carries.
    pub fn carry(&mut self, view: View) -> Option<Arc<Dealing>> {
        if self.complete() {
            return None;
        }
        let free = |dealer: &MemberId| {
            let last = self.carried.get(dealer);
            last.is_none_or(|last| last.0 + REPEAT_VIEWS <= view.0)
        };
        let found = self.offered.iter().find(|(dealer, _)| free(dealer));
        let dealing = found.map(|(_, dealing)| Arc::clone(dealing))?;
        self.carried.insert(dealing.dealer, view);
        Some(dealing)
    }

    /// A block of `view` carries a dealing. What else a leader carries in the dealer's name
    /// keeps nobody from carrying what the dealer sent.
    pub fn seen(&mut self, view: View, dealing: &Dealing) {
        let offered = self.offered.get(&dealing.dealer);
        if offered.is_some_and(|offered| offered.as_ref() == dealing) {
            let last = self.carried.entry(dealing.dealer).or_default();
            *last = view.max(*last);
        }
    }

    /// A dealing became final; whether its verdict is wanted.
    pub fn finalized(&mut self, height: Height, dealing: &Arc<Dealing>) -> bool {
        if self.offered.get(&dealing.dealer) == Some(dealing) {
            self.offered.remove(&dealing.dealer);
        }
        // One of a dealer that counts already never will, and the same bytes have the verdict
        // of the first: a leader that repeats them costs nobody a second look.
        if self.complete() || self.counts(dealing.dealer) || self.is_unsettled(dealing) {
            return false;
        }
        let entry = (height, Arc::clone(dealing), None);
        self.unsettled.push_back(entry);
        true
    }

    /// Final dealings whose verdict is wanted: after a restart.
    pub fn unjudged(&self) -> Vec<(Height, Arc<Dealing>)> {
        let open = self
            .unsettled
            .iter()
            .filter(|(_, _, valid)| valid.is_none());
        open.map(|(height, dealing, _)| (*height, Arc::clone(dealing)))
            .collect()
    }

    /// A verdict.
    pub fn judged(&mut self, height: Height, valid: bool) -> Judged {
        let entry = self.unsettled.iter_mut().find(|(at, _, _)| *at == height);
        if let Some((_, _, verdict)) = entry {
            *verdict = Some(valid);
        }
        self.settle()
    }

    fn settle(&mut self) -> Judged {
        let (mut counted, mut refused) = (Vec::new(), Vec::new());
        while let Some((_, _, Some(_))) = self.unsettled.front()
            && let Some((height, dealing, verdict)) = self.unsettled.pop_front()
        {
            let first = self.counted.iter().all(|(_, d)| d.dealer != dealing.dealer);
            if verdict == Some(true) && first && !self.complete() {
                self.offered.remove(&dealing.dealer);
                self.counted.push((height, dealing));
                counted.push(height);
            } else {
                refused.push(height);
            }
        }
        if self.complete() {
            // What comes later does not count, whatever it is.
            refused.extend(self.unsettled.drain(..).map(|(height, _, _)| height));
            self.offered.clear();
        }
        if counted.is_empty() && refused.is_empty() {
            Judged::Waits
        } else {
            Judged::Settled { counted, refused }
        }
    }

    /// The dealings that make the key, once; nothing before they are known.
    pub fn conclude(&mut self) -> Option<Vec<Arc<Dealing>>> {
        if !self.complete() || self.concluding {
            return None;
        }
        self.concluding = true;
        let dealings = self.counted.iter().map(|(_, dealing)| Arc::clone(dealing));
        Some(dealings.collect())
    }

    /// The keys are made.
    pub fn made(&mut self, keys: ActiveKeys) {
        self.keys = Some(Arc::new(keys));
    }

    /// A member's signature over the key; the first of each is kept.
    pub fn say(&mut self, member: MemberId, signature: Signature) {
        if self.activation.is_none() && !self.signed.contains_key(&member) {
            self.said.entry(member).or_insert(signature);
        }
    }

    /// Signatures to verify, with the keys they are said to be over.
    pub fn unverified(&mut self) -> Option<(Arc<ActiveKeys>, Signatures)> {
        let keys = Arc::clone(self.keys.as_ref()?);
        if self.activation.is_some() || self.said.is_empty() {
            return None;
        }
        Some((keys, std::mem::take(&mut self.said)))
    }

    /// Signatures that verify; the activation, when they are a quorum.
    pub fn verified(
        &mut self,
        signatures: impl IntoIterator<Item = (MemberId, Signature)>,
        epoch: fairlane_types::Epoch,
    ) -> Option<&KeyActivation> {
        self.signed.extend(signatures);
        let keys = self.keys.as_ref()?;
        if self.activation.is_some() || self.signed.len() < self.terms.quorum {
            return None;
        }
        self.activation = Some(KeyActivation {
            epoch,
            keys: keys.as_ref().clone(),
            signers: self.signed.keys().copied().collect::<SignerSet>(),
            signatures: self.signed.values().copied().collect(),
        });
        self.activation.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        needed: 3,
        dealing_bytes: 1,
        quorum: 3,
    };

    fn dealing(dealer: u8, tag: u8) -> Arc<Dealing> {
        Arc::new(Dealing {
            dealer: MemberId(dealer),
            deal: vec![tag],
            signature: Signature([tag; 64]),
        })
    }

    fn making() -> KeyMaking {
        KeyMaking::new(TERMS, Vec::new(), None)
    }

    /// Verdicts may come in any order; what counts follows from the order of the blocks.
    #[test]
    fn the_first_valid_ones_in_the_order_of_blocks_count() {
        // Height, dealer, valid: a false one, a second of the same dealer, one too many.
        let log = [
            (1, 0, false),
            (2, 1, true),
            (3, 0, true),
            (4, 1, true),
            (5, 2, true),
            (6, 3, true),
        ];
        let orders = [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 2, 4, 1]];
        for order in orders {
            let mut making = making();
            for (height, dealer, _) in log {
                assert!(making.finalized(Height(height), &dealing(dealer, height as u8)));
            }
            assert_eq!(making.conclude(), None);
            for at in order {
                let (height, _, valid) = log[at];
                making.judged(Height(height), valid);
            }
            let tags: Vec<u8> = making
                .conclude()
                .unwrap()
                .iter()
                .map(|d| d.deal[0])
                .collect();
            assert_eq!(tags, [2, 3, 5]);
            assert_eq!(making.conclude(), None);
        }
    }

    /// A restart goes on with the verdicts that were stored.
    #[test]
    fn what_the_disk_knows_gives_the_same() {
        let found = [(2, 1, true), (3, 0, true), (5, 2, false)].map(|(height, dealer, valid)| {
            FinalDealing {
                height: Height(height),
                dealing: dealing(dealer, height as u8),
                valid,
            }
        });
        let mut making = KeyMaking::new(TERMS, found.to_vec(), None);
        assert!(!making.complete());
        let unjudged: Vec<_> = making
            .unjudged()
            .iter()
            .map(|(height, _)| height.0)
            .collect();
        assert_eq!(unjudged, [5]);
        let settled = Judged::Settled {
            counted: vec![Height(5)],
            refused: Vec::new(),
        };
        assert_eq!(making.judged(Height(5), true), settled);
        assert_eq!(making.conclude().unwrap().len(), 3);
    }

    /// A leader that fills its blocks with what is known makes no work.
    #[test]
    fn what_is_repeated_is_not_judged_again() {
        let mut making = making();
        assert!(making.finalized(Height(1), &dealing(0, 1)));
        assert!(
            !making.finalized(Height(2), &dealing(0, 1)),
            "the same bytes"
        );
        assert!(
            making.finalized(Height(3), &dealing(0, 3)),
            "the first may be false"
        );
        making.judged(Height(1), true);
        assert!(
            !making.finalized(Height(4), &dealing(0, 4)),
            "its dealer counts"
        );
    }

    #[test]
    fn a_dealing_is_carried_again_only_after_a_while() {
        let mut making = making();
        assert!(making.offer(dealing(2, 1)) && making.offer(dealing(0, 1)));
        assert_eq!(making.carry(View(5)).unwrap().dealer, MemberId(0));
        assert_eq!(making.carry(View(6)).unwrap().dealer, MemberId(2));
        assert_eq!(making.carry(View(7)), None);
        making.seen(View(8), &dealing(2, 9));
        making.seen(View(8), &dealing(2, 1));
        assert_eq!(making.carry(View(9)).unwrap().dealer, MemberId(0));
        making.finalized(Height(1), &dealing(0, 1));
        assert!(!making.offer(dealing(0, 1)), "it waits for its verdict");
        assert_eq!(making.carry(View(11)), None);
        assert_eq!(making.carry(View(12)).unwrap().dealer, MemberId(2));
    }

    /// A leader can put anything into a block in a dealer's name. It takes nothing away from
    /// what the dealer sent, before or after its verdict.
    #[test]
    fn a_forged_dealing_does_not_push_out_the_dealers() {
        let mut making = making();
        let (real, forged) = (dealing(0, 1), dealing(0, 66));
        assert!(making.offer(Arc::clone(&real)));
        making.seen(View(4), &forged);
        assert!(making.finalized(Height(1), &forged));
        assert_eq!(making.carry(View(5)), Some(Arc::clone(&real)));
        assert!(making.offer(Arc::clone(&real)), "sent again meanwhile");
        making.judged(Height(1), false);
        assert!(making.wants_a_block());
        assert_eq!(making.carry(View(9)), Some(Arc::clone(&real)));
        assert!(making.finalized(Height(2), &real));
        assert_eq!(making.carry(View(20)), None);
        making.judged(Height(2), true);
        assert!(making.counts(MemberId(0)) && !making.offer(forged));
    }

    #[test]
    fn a_quorum_of_signatures_activates_the_key_once() {
        let mut making = making();
        let signature = |m: u8| Signature([m; 64]);
        for member in [3, 1] {
            making.say(MemberId(member), signature(member));
        }
        assert!(making.unverified().is_none(), "there is no key yet");
        making.made(ActiveKeys::default());
        let (_, said) = making.unverified().unwrap();
        assert_eq!(said.len(), 2);
        assert!(making.verified(said, fairlane_types::Epoch(0)).is_none());
        making.say(MemberId(0), signature(0));
        let (_, said) = making.unverified().unwrap();
        let activation = making.verified(said, fairlane_types::Epoch(0)).unwrap();
        assert_eq!(
            activation.signers.iter().map(|m| m.0).collect::<Vec<_>>(),
            [0, 1, 3]
        );
        assert_eq!(activation.signatures, [0, 1, 3].map(signature));
        making.say(MemberId(2), signature(2));
        assert!(making.unverified().is_none());
    }
}
