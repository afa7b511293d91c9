//! The committee attests the sequence (PROTOCOL §5): one short signature on the root, for
//! whoever follows without knowing the members.
//!
//! Which heights are attested follows from the emitted blocks alone, so that all members
//! sign the same ones: the first of each interval of finalized time, and, since that time
//! rests while nothing happens, now and then one without orders. Members sign what they
//! have emitted, durably, themselves; t shares make the certificate. A height that misses
//! its certificate is covered by the next one: the root is chained.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{Attestation, CertificateShare, Certification};
use fairlane_types::{Height, MemberId, Millis, Root, SequencedBlock, SignerSet, encode};

use crate::boundary::{Effect, Peers};
use crate::job::CertifyJob;
use crate::keys::height_key;
use crate::replica::{Purpose, Replica, Written};
use crate::{Fault, Job, Message, Table, Write};

/// One in so many heights without orders is attested.
const IDLE_HEIGHTS: u64 = 4;
/// Shares kept of each member, and own heights kept, above the last attested one.
const POINTS_MAX: usize = 64;

/// One member's share of the attestation of a height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AttestShare {
    /// The height.
    pub height: Height,
    /// The share.
    pub share: CertificateShare,
}

/// A height that this member has emitted and that is to be attested.
#[derive(Clone, Debug)]
struct Point {
    root: Root,
    liars: SignerSet,
    /// So many shares were tried in vain.
    tried: usize,
}

/// Attestations under way.
#[derive(Clone, Debug)]
pub(crate) struct Attesting {
    /// `None` on a chain without certificates.
    interval: Option<Millis>,
    threshold: usize,
    /// Finalized time of the last emitted block.
    time: Millis,
    attested: Height,
    points: BTreeMap<Height, Point>,
    /// Of each member, the highest ones it sent.
    shares: Vec<BTreeMap<Height, CertificateShare>>,
    /// The job that runs is for this height.
    certifying: Option<Height>,
}

impl Attesting {
    /// Goes on after a block of this finalized time.
    pub fn new(interval: Option<Millis>, n: usize, threshold: usize, time: Millis) -> Self {
        Self {
            interval,
            threshold,
            time,
            attested: Height(0),
            points: BTreeMap::new(),
            shares: vec![BTreeMap::new(); n],
            certifying: None,
        }
    }

    /// The highest height attested since the start.
    pub const fn attested(&self) -> Height {
        self.attested
    }

    /// Whether a block, the next one emitted, is to be attested.
    fn is_due(&mut self, block: &SequencedBlock) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let before = std::mem::replace(&mut self.time, block.time);
        let bucket = |time: Millis| time.0 / interval.0.max(1);
        let idle = block.items.is_empty() && block.height.0.is_multiple_of(IDLE_HEIGHTS);
        idle || bucket(before) != bucket(block.time)
    }

    /// Adds a height; false when the others are beyond it already.
    fn begin(&mut self, height: Height, root: Root) -> bool {
        let beyond = |shares: &&BTreeMap<Height, CertificateShare>| {
            shares
                .last_key_value()
                .is_some_and(|(last, _)| *last > height)
        };
        if height <= self.attested || self.shares.iter().filter(beyond).count() >= self.threshold {
            return false;
        }
        let point = Point {
            root,
            liars: SignerSet::default(),
            tried: 0,
        };
        self.points.insert(height, point);
        if self.points.len() > POINTS_MAX {
            self.points.pop_first();
        }
        true
    }

    /// A member's share; the first for a height counts, and of each member the highest
    /// heights are kept.
    fn add(&mut self, from: MemberId, height: Height, share: CertificateShare) {
        let attested = self.attested;
        let Some(shares) = self.shares.get_mut(from.index()) else {
            return;
        };
        if height <= attested {
            return;
        }
        shares.entry(height).or_insert(share);
        if shares.len() > POINTS_MAX {
            shares.pop_first();
        }
    }

    /// The highest height with enough shares, unless a job runs already.
    fn next(&mut self) -> Option<(Height, Root, Vec<CertificateShare>)> {
        if self.certifying.is_some() {
            return None;
        }
        let (shares, t) = (&self.shares, self.threshold);
        let (height, root, found) = self.points.iter_mut().rev().find_map(|(height, point)| {
            let honest = shares.iter().filter_map(|of| of.get(height));
            let found: Vec<_> = honest
                .filter(|share| !point.liars.contains(share.member))
                .collect();
            let enough = found.len() >= t.max(point.tried + 1);
            enough.then(|| {
                point.tried = found.len();
                (*height, point.root, found.into_iter().cloned().collect())
            })
        })?;
        self.certifying = Some(height);
        Some((height, root, found))
    }

    /// What a job gave: the root when it is attested, and who lied.
    fn certified(
        &mut self,
        height: Height,
        result: &Certification,
    ) -> (Option<Root>, Vec<MemberId>) {
        self.certifying = None;
        let Some(point) = self.points.get_mut(&height) else {
            return (None, Vec::new());
        };
        let fresh: Vec<MemberId> = result.liars.clone();
        for liar in &fresh {
            point.liars.insert(*liar);
        }
        if result.certificate.is_none() {
            // With a liar gone it is worth trying again; without one only more shares are.
            if !fresh.is_empty() {
                point.tried = 0;
            }
            return (None, fresh);
        }
        let root = point.root;
        self.attested = self.attested.max(height);
        self.points = self.points.split_off(&height.next());
        for shares in &mut self.shares {
            *shares = shares.split_off(&height.next());
        }
        (Some(root), fresh)
    }

    /// The highest share of a member that is not attested yet.
    fn latest(&self, member: MemberId) -> Option<AttestShare> {
        let (height, share) = self.shares.get(member.index())?.last_key_value()?;
        Some(AttestShare {
            height: *height,
            share: share.clone(),
        })
    }
}

impl Replica {
    /// A block is emitted, durably: it is signed if it is to be attested.
    pub(crate) fn attest(&mut self, block: &SequencedBlock, out: &mut Vec<Effect>) {
        if !self.attesting.is_due(block) {
            return;
        }
        let (height, root) = (block.height, block.root);
        if self.attesting.begin(height, root) && self.voting {
            let job = Job::Attest { height, root };
            self.compute(job, Purpose::Attest(height), out);
        }
        self.certify(out);
    }

    /// This member's share is made.
    pub(crate) fn attest_made(
        &mut self,
        height: Height,
        share: Option<CertificateShare>,
        out: &mut Vec<Effect>,
    ) {
        let Some(share) = share else { return };
        self.attesting.add(self.me, height, share.clone());
        let message = Message::Attest(Arc::new(AttestShare { height, share }));
        self.send(Peers::All, message, out);
        self.certify(out);
    }

    /// A peer's share.
    pub(crate) fn receive_attest(
        &mut self,
        from: MemberId,
        message: Arc<AttestShare>,
        out: &mut Vec<Effect>,
    ) {
        if message.share.member != from {
            let fault = Fault::Attestation;
            return out.push(Effect::Fault { peer: from, fault });
        }
        let AttestShare { height, share } = Arc::unwrap_or_clone(message);
        self.attesting.add(from, height, share);
        self.certify(out);
    }

    /// A link came up: the last share may have been lost with it.
    pub(crate) fn say_attest_again(&self, peer: MemberId, out: &mut Vec<Effect>) {
        if let Some(latest) = self.attesting.latest(self.me) {
            self.send(Peers::One(peer), Message::Attest(Arc::new(latest)), out);
        }
    }

    fn certify(&mut self, out: &mut Vec<Effect>) {
        let Some((height, root, shares)) = self.attesting.next() else {
            return;
        };
        let subject = fairlane_encryption::Subject::Attest {
            chain: self.chain(),
            epoch: self.epoch(),
            height,
            root,
        };
        let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
        self.compute(job, Purpose::Certify(height), out);
    }

    /// A certificate, or the names of those who keep it from being one.
    pub(crate) fn certified(
        &mut self,
        height: Height,
        result: &Certification,
        out: &mut Vec<Effect>,
    ) {
        let (root, liars) = self.attesting.certified(height, result);
        for peer in liars {
            self.counters.false_attestations += 1;
            let fault = Fault::Attestation;
            out.push(Effect::Fault { peer, fault });
        }
        if let (Some(root), Some(certificate)) = (root, result.certificate) {
            let attestation = Attestation {
                epoch: self.epoch(),
                height,
                root,
                certificate,
            };
            // Not synced: a lost one is covered by the next.
            let write = Write::put(
                Table::Attestations,
                height_key(height),
                encode(&attestation),
            );
            self.store(vec![write], false, Written::Nothing, out);
        }
        self.certify(out);
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::ThresholdCertificate;
    use fairlane_types::{BlockId, ChainId, Digest, Epoch, KeyId, Position};

    use super::*;

    fn block(height: u64, time: u64) -> SequencedBlock {
        SequencedBlock {
            chain: ChainId(1),
            epoch: Epoch(0),
            height: Height(height),
            block: BlockId::default(),
            time: Millis(time),
            parent_root: Root::default(),
            first_position: Position(0),
            items: Vec::new(),
            state: None,
            root: Root(Digest([height as u8; 32])),
        }
    }

    fn share(member: u8) -> CertificateShare {
        CertificateShare {
            key: KeyId::default(),
            member: MemberId(member),
            signature: [member; 96],
        }
    }

    fn attesting() -> Attesting {
        Attesting::new(Some(Millis(100)), 4, 3, Millis(1_000))
    }

    fn outcome(certificate: bool, liars: &[u8]) -> Certification {
        Certification {
            certificate: certificate.then_some(ThresholdCertificate([1; 96])),
            liars: liars.iter().map(|liar| MemberId(*liar)).collect(),
            missing: usize::from(!certificate),
        }
    }

    #[test]
    fn the_first_height_of_an_interval_is_due_and_now_and_then_an_empty_one() {
        let mut state = attesting();
        let due = |state: &mut Attesting, height, time| state.is_due(&block(height, time));
        assert!(!due(&mut state, 1, 1_050));
        assert!(due(&mut state, 2, 1_100));
        assert!(!due(&mut state, 3, 1_199));
        assert!(due(&mut state, 4, 1_199));
        assert!(!due(&mut state, 5, 1_199));
        assert!(due(&mut state, 6, 9_000));
        let mut none = Attesting::new(None, 4, 3, Millis(0));
        assert!(!none.is_due(&block(4, 500)));
    }

    #[test]
    fn t_shares_are_tried_again_without_the_liar() {
        let mut state = attesting();
        let root = Root(Digest([7; 32]));
        assert!(state.begin(Height(8), root));
        state.add(MemberId(0), Height(8), share(0));
        state.add(MemberId(1), Height(8), share(1));
        assert!(state.next().is_none());
        state.add(MemberId(2), Height(8), share(2));
        let (height, signed, shares) = state.next().unwrap();
        assert_eq!((height, signed, shares.len()), (Height(8), root, 3));
        // One job at a time.
        state.add(MemberId(3), Height(8), share(3));
        assert!(state.next().is_none());
        assert_eq!(
            state.certified(height, &outcome(false, &[1])),
            (None, vec![MemberId(1)])
        );
        let (_, _, shares) = state.next().unwrap();
        assert!(shares.len() == 3 && shares.iter().all(|s| s.member != MemberId(1)));
        assert_eq!(
            state.certified(height, &outcome(true, &[])),
            (Some(root), Vec::new())
        );
        assert_eq!(state.attested(), Height(8));
        // It is over: what comes late is dropped.
        state.add(MemberId(1), Height(8), share(1));
        assert!(state.shares.iter().all(BTreeMap::is_empty) && state.next().is_none());
    }

    #[test]
    fn in_vain_means_waiting_for_more_and_what_a_peer_can_make_us_hold_is_bounded() {
        let mut state = attesting();
        assert!(state.begin(Height(8), Root::default()));
        for member in 0..3 {
            state.add(MemberId(member), Height(8), share(member));
        }
        let (height, ..) = state.next().unwrap();
        state.certified(height, &outcome(false, &[]));
        assert!(state.next().is_none());
        state.add(MemberId(3), Height(8), share(3));
        assert!(state.next().is_some());
        for height in 100..1_000 {
            state.add(MemberId(2), Height(height), share(2));
        }
        assert_eq!(state.shares[2].len(), POINTS_MAX);
        assert!(!state.shares[2].contains_key(&Height(8)));
    }

    #[test]
    fn a_member_that_is_behind_does_not_sign_what_others_have_left_behind() {
        let mut state = attesting();
        for member in 1..4 {
            state.add(MemberId(member), Height(50), share(member));
        }
        assert!(!state.begin(Height(20), Root::default()));
        assert!(state.begin(Height(50), Root::default()));
        assert!(state.next().is_some());
    }
}
