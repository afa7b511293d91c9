//! One check for an envelope, however many ask for it: an order reaches a member from its
//! sender and in the batches of every lane, mostly while the first check still runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_mempool::{CheckId, Flaw};
use fairlane_types::{CtId, Envelope, Signature};

/// An envelope to the last bit: the id does not cover the signature.
pub(crate) type Checked = (CtId, Signature);

/// Checks under way. Bounded by the checks that the lanes ask for.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeChecks {
    /// What a job is at work on, and whose places wait for it.
    under_way: BTreeMap<Checked, Vec<(CheckId, usize)>>,
    waiting: BTreeMap<CheckId, Waiting>,
}

/// A check without all its verdicts.
#[derive(Debug)]
struct Waiting {
    missing: usize,
    bad: Vec<(usize, Flaw)>,
}

impl EnvelopeChecks {
    /// Begins a check; returns what no job is at work on yet.
    pub fn begin(
        &mut self,
        check: CheckId,
        envelopes: Vec<(CtId, Arc<Envelope>)>,
    ) -> Vec<(CtId, Arc<Envelope>)> {
        let waiting = Waiting {
            missing: envelopes.len(),
            bad: Vec::new(),
        };
        self.waiting.insert(check, waiting);
        let mut fresh = Vec::new();
        for (index, (ct_id, envelope)) in envelopes.into_iter().enumerate() {
            let places = self
                .under_way
                .entry((ct_id, envelope.signature))
                .or_default();
            if places.is_empty() {
                fresh.push((ct_id, envelope));
            }
            places.push((check, index));
        }
        fresh
    }

    /// A job has its verdict on an envelope; returns the checks that are complete with it,
    /// each with its flaws in ascending order.
    pub fn verdict(
        &mut self,
        envelope: &Checked,
        flaw: Option<Flaw>,
    ) -> Vec<(CheckId, Vec<(usize, Flaw)>)> {
        let mut complete = Vec::new();
        for (check, index) in self.under_way.remove(envelope).unwrap_or_default() {
            let Some(waiting) = self.waiting.get_mut(&check) else {
                continue;
            };
            waiting.missing -= 1;
            waiting.bad.extend(flaw.map(|flaw| (index, flaw)));
            if waiting.missing == 0
                && let Some(Waiting { mut bad, .. }) = self.waiting.remove(&check)
            {
                bad.sort_unstable_by_key(|(index, _)| *index);
                complete.push((check, bad));
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{ChainId, KeyId, LANE_NONE, Label, Millis, PublicKey, SUITE_TDH2};

    use super::*;

    fn envelope(nonce: u64, signature: u8) -> (CtId, Arc<Envelope>) {
        let label = Label {
            suite: SUITE_TDH2,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey::default(),
            nonce,
            expiry: Millis(1),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let envelope = Envelope {
            label,
            ciphertext: Vec::new(),
            signature: Signature([signature; 64]),
        };
        (envelope.id(), Arc::new(envelope))
    }

    fn key((ct_id, envelope): &(CtId, Arc<Envelope>)) -> Checked {
        (*ct_id, envelope.signature)
    }

    #[test]
    fn an_envelope_is_checked_once_for_all_who_ask() {
        let (a, b, c) = (envelope(1, 1), envelope(2, 1), envelope(3, 1));
        let mut checks = EnvelopeChecks::default();
        let (first, second, third) = (CheckId(1), CheckId(2), CheckId(3));
        let list = vec![a.clone(), b.clone()];
        assert_eq!(checks.begin(first, list.clone()), list);
        // Another lane has one of them, and one that is new; a third one has nothing new.
        let fresh = checks.begin(second, vec![c.clone(), b.clone()]);
        assert_eq!(fresh, std::slice::from_ref(&c));
        assert!(checks.begin(third, vec![b.clone(), b.clone()]).is_empty());

        assert!(checks.verdict(&key(&a), None).is_empty());
        // Whoever waits for it is told, in the order of asking.
        let flaw = Flaw::Proof;
        let told = checks.verdict(&key(&b), Some(flaw));
        assert_eq!(
            told,
            [
                (first, vec![(1, flaw)]),
                (third, vec![(0, flaw), (1, flaw)])
            ]
        );
        let told = checks.verdict(&key(&c), Some(Flaw::Signature));
        assert_eq!(told, [(second, vec![(0, Flaw::Signature), (1, flaw)])]);
        assert!(checks.under_way.is_empty() && checks.waiting.is_empty());
        // Asked again later it is checked again: lanes remember what they hold.
        assert_eq!(checks.begin(first, vec![a.clone()]), [a]);
    }

    #[test]
    fn another_signature_is_another_envelope() {
        let (good, forged) = (envelope(1, 1), envelope(1, 2));
        assert_eq!(good.0, forged.0);
        let mut checks = EnvelopeChecks::default();
        assert_eq!(checks.begin(CheckId(1), vec![forged.clone()]).len(), 1);
        assert_eq!(checks.begin(CheckId(2), vec![good.clone()]).len(), 1);
        let told = checks.verdict(&key(&forged), Some(Flaw::Signature));
        assert_eq!(told, [(CheckId(1), vec![(0, Flaw::Signature)])]);
        assert_eq!(checks.verdict(&key(&good), None), [(CheckId(2), vec![])]);
    }
}
