//! The committee attests the sequence (PROTOCOL §5): one short signature on the root, for
//! whoever follows without knowing the members.
//!
//! Which heights are attested is the [schedule](crate::attest_schedule)'s to say. Members
//! sign what they have emitted, durably, themselves; t shares make the certificate.
//!
//! Two members in turn get the shares of a height. The first combines them and gives the
//! certificate to all, who check it: combining costs a pairing-friendly group's operations
//! for each of t shares, checking costs two pairings. The second combines if there is no
//! certificate some heights later. A height that misses its certificate, because both are
//! away or lie, is covered by the next one, which others combine: the root is chained.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{Attestation, CertificateShare, Certification};
use fairlane_types::{Height, MemberId, Root, SequencedBlock, SignerSet, encode};

use crate::boundary::{Effect, Peers};
use crate::job::CertifyJob;
use crate::keys::height_key;
use crate::replica::Replica;
use crate::under_way::{Purpose, Written};
use crate::{Fault, Job, Message, Table, Write};

/// Shares kept of each member, and own heights kept, above the last attested one.
const POINTS_MAX: usize = 64;
/// Members that get the shares of a height.
const COMBINERS: u64 = 2;
/// The second of them combines when so many heights more are emitted without a certificate.
const BACKUP_HEIGHTS: u64 = 4;

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
    me: MemberId,
    threshold: usize,
    /// The highest emitted height.
    head: Height,
    attested: Height,
    points: BTreeMap<Height, Point>,
    /// Of each member, the highest ones it sent.
    shares: Vec<BTreeMap<Height, CertificateShare>>,
    /// The job that runs is for this height.
    certifying: Option<Height>,
    /// Certificates that members gave, the highest of each, not checked yet.
    given: Vec<Option<Attestation>>,
    /// A given certificate is being checked.
    checking: bool,
    /// The last one that was checked is this member's.
    checked: usize,
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014, figure 14).
const fn scattered(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The next member after `last` that gave what fits. In turn, so that one that gives false
/// ones without end keeps nobody else's waiting.
pub(crate) fn next_in_turn<T>(
    last: usize,
    given: &[Option<T>],
    fits: impl Fn(&T) -> bool,
) -> Option<usize> {
    let members = (1..=given.len()).map(|step| (last + step) % given.len());
    let mut there = members.filter(|at| given[*at].as_ref().is_some_and(&fits));
    there.next()
}

impl Attesting {
    /// Of a committee of n, t of whose shares make a certificate.
    pub fn new(me: MemberId, n: usize, threshold: usize) -> Self {
        Self {
            me,
            threshold,
            head: Height(0),
            attested: Height(0),
            points: BTreeMap::new(),
            shares: vec![BTreeMap::new(); n],
            certifying: None,
            given: vec![None; n],
            checking: false,
            checked: 0,
        }
    }

    /// Who gets the shares of a height, the one that combines first. Heights that are attested
    /// may have a common divisor, and the members of the next one should be others: so they go
    /// by a hash.
    pub(crate) fn combiners(&self, height: Height) -> impl Iterator<Item = MemberId> + use<> {
        let n = self.shares.len() as u64;
        let turn = scattered(height.0);
        (0..COMBINERS.min(n)).map(move |k| MemberId(((turn + k) % n) as u8))
    }

    /// A height is emitted: the second combiner waits for this many.
    pub(crate) fn emitted(&mut self, height: Height) {
        self.head = self.head.max(height);
    }

    /// Whether this member is to combine the shares of a height by now.
    fn is_my_turn(&self, height: Height) -> bool {
        match self.combiners(height).position(|member| member == self.me) {
            Some(0) => true,
            Some(_) => self.head >= height.plus(BACKUP_HEIGHTS),
            None => false,
        }
    }

    /// A member gives a certificate; false when its root is not the one that was emitted
    /// here.
    fn give(&mut self, from: MemberId, attestation: Attestation) -> bool {
        let height = attestation.height;
        if height <= self.attested {
            return true;
        }
        let emitted = self.points.get(&height);
        if emitted.is_some_and(|point| point.root != attestation.root) {
            return false;
        }
        if let Some(given) = self.given.get_mut(from.index())
            && given.as_ref().is_none_or(|last| last.height < height)
        {
            *given = Some(attestation);
        }
        true
    }

    /// The next member's certificate of a height that was emitted here, unless one is being
    /// checked.
    fn next_check(&mut self) -> Option<(MemberId, Attestation)> {
        if self.checking {
            return None;
        }
        let (points, attested) = (&self.points, self.attested);
        let fits = |given: &Attestation| {
            let point = points.get(&given.height);
            given.height > attested && point.is_some_and(|point| point.root == given.root)
        };
        let at = next_in_turn(self.checked, &self.given, fits)?;
        let given = self.given[at].take()?;
        (self.checking, self.checked) = (true, at);
        Some((MemberId(at as u8), given))
    }

    /// A height is attested: what lies below is covered.
    pub(crate) fn done(&mut self, height: Height) {
        self.attested = self.attested.max(height);
        self.points = self.points.split_off(&height.next());
        for shares in &mut self.shares {
            *shares = shares.split_off(&height.next());
        }
    }

    /// The highest height attested since the start.
    pub const fn attested(&self) -> Height {
        self.attested
    }

    /// Adds a height; false when the others are beyond it already.
    pub(crate) fn begin(&mut self, height: Height, root: Root) -> bool {
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
    pub(crate) fn add(&mut self, from: MemberId, height: Height, share: CertificateShare) {
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

    /// The highest height that is this member's to combine and has enough shares, unless a
    /// job runs already.
    pub(crate) fn next(&mut self) -> Option<(Height, Root, Vec<CertificateShare>)> {
        if self.certifying.is_some() {
            return None;
        }
        let mut highest_first = self.points.iter().rev();
        let (height, found) = highest_first.find_map(|(height, point)| {
            let found = self
                .is_my_turn(*height)
                .then(|| self.shares_of(*height, point));
            Some((*height, found??))
        })?;
        let point = self.points.get_mut(&height)?;
        point.tried = found.len();
        self.certifying = Some(height);
        Some((height, point.root, found))
    }

    /// Shares worth combining, if there are enough and more than were tried in vain.
    fn shares_of(&self, height: Height, point: &Point) -> Option<Vec<CertificateShare>> {
        let all = self.shares.iter().filter_map(|of| of.get(&height));
        let found: Vec<_> = all
            .filter(|share| !point.liars.contains(share.member))
            .collect();
        let enough = found.len() >= self.threshold.max(point.tried + 1);
        enough.then(|| found.into_iter().cloned().collect())
    }

    /// What a job gave: the root when it is attested, and who lied.
    pub(crate) fn certified(
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
        self.done(height);
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
        let (height, root) = (block.height, block.root);
        self.attesting.emitted(height);
        let due = self.attest_schedule.is_due(block);
        // Before the members have made a key, nobody can sign.
        if due && self.keyed() && self.attesting.begin(height, root) && self.voting {
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
        let share = Arc::new(AttestShare { height, share });
        for combiner in self.attesting.combiners(height) {
            if combiner != self.me {
                let message = Message::Attest(Arc::clone(&share));
                self.send(Peers::One(combiner), message, out);
            }
        }
        let AttestShare { height, share } = Arc::unwrap_or_clone(share);
        self.attesting.add(self.me, height, share);
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
        if let Some(latest) = self.attesting.latest(self.me)
            && self.attesting.combiners(latest.height).any(|c| c == peer)
        {
            self.send(Peers::One(peer), Message::Attest(Arc::new(latest)), out);
        }
    }

    /// A peer's certificate.
    pub(crate) fn receive_attested(
        &mut self,
        from: MemberId,
        attestation: Attestation,
        out: &mut Vec<Effect>,
    ) {
        if attestation.epoch != self.epoch() || !self.attesting.give(from, attestation) {
            let fault = Fault::Attestation;
            return out.push(Effect::Fault { peer: from, fault });
        }
        self.certify(out);
    }

    /// A peer's certificate was checked.
    pub(crate) fn attested_checked(
        &mut self,
        from: MemberId,
        attestation: Attestation,
        holds: bool,
        out: &mut Vec<Effect>,
    ) {
        self.attesting.checking = false;
        if !holds {
            self.counters.false_attestations += 1;
            let fault = Fault::Attestation;
            out.push(Effect::Fault { peer: from, fault });
        } else if attestation.height > self.attesting.attested {
            self.attesting.done(attestation.height);
            self.keep_attestation(&attestation, out);
        }
        self.certify(out);
    }

    fn keep_attestation(&mut self, attestation: &Attestation, out: &mut Vec<Effect>) {
        // Not synced: a lost one is covered by the next.
        let key = height_key(attestation.height);
        let write = Write::put(Table::Attestations, key, encode(attestation));
        self.store(vec![write], false, Written::Nothing, out);
    }

    fn certify(&mut self, out: &mut Vec<Effect>) {
        if let Some((from, given)) = self.attesting.next_check() {
            let job = Job::CheckAttestation(Box::new(given));
            self.compute(job, Purpose::CheckAttestation(from, Box::new(given)), out);
        }
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
            self.keep_attestation(&attestation, out);
            self.send(Peers::All, Message::Attested(Box::new(attestation)), out);
        }
        self.certify(out);
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::ThresholdCertificate;
    use fairlane_types::{Digest, Epoch, KeyId};

    use super::*;

    fn share(member: u8) -> CertificateShare {
        CertificateShare {
            key: KeyId::default(),
            member: MemberId(member),
            signature: [member; 96],
        }
    }

    /// Of the one that combines height 8.
    fn attesting() -> Attesting {
        let first = of_member(0).combiners(Height(8)).next().unwrap();
        of_member(first.0)
    }

    fn of_member(me: u8) -> Attesting {
        Attesting::new(MemberId(me), 4, 3)
    }

    fn outcome(certificate: bool, liars: &[u8]) -> Certification {
        Certification {
            certificate: certificate.then_some(ThresholdCertificate([1; 96])),
            liars: liars.iter().map(|liar| MemberId(*liar)).collect(),
            missing: usize::from(!certificate),
        }
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

    fn attestation(height: u64, root: u8) -> Attestation {
        Attestation {
            epoch: Epoch(0),
            height: Height(height),
            root: Root(Digest([root; 32])),
            certificate: ThresholdCertificate([1; 96]),
        }
    }

    /// Also of the heights that are attested on a quiet chain, and of those with a state.
    #[test]
    fn all_members_combine_whatever_the_heights_have_in_common() {
        for n in 4..=100usize {
            let state = Attesting::new(MemberId(0), n, 3);
            for step in [1, 8, 16, 64] {
                let mut first = vec![0; n];
                for k in 0..20 * n as u64 {
                    let mut pair = state.combiners(Height(k * step));
                    let (a, b) = (pair.next().unwrap(), pair.next().unwrap());
                    assert!(a != b && pair.next().is_none());
                    first[a.index()] += 1;
                }
                let most = first.iter().max().unwrap();
                assert!(!first.contains(&0) && *most < 80, "{n}, {step}: {first:?}");
            }
        }
    }

    /// The first combines at once, the second some heights later, the others never.
    #[test]
    fn the_second_combiner_waits_for_the_first() {
        let pair: Vec<u8> = attesting().combiners(Height(8)).map(|m| m.0).collect();
        let other = (0..4).find(|member| !pair.contains(member)).unwrap();
        let tries = |me: u8, emitted: u64| {
            let mut state = of_member(me);
            state.begin(Height(8), Root::default());
            for member in 0..4 {
                state.add(MemberId(member), Height(8), share(member));
            }
            state.emitted(Height(emitted));
            state.next().is_some()
        };
        assert!(tries(pair[0], 8));
        assert!(!tries(pair[1], 7 + BACKUP_HEIGHTS));
        assert!(tries(pair[1], 8 + BACKUP_HEIGHTS));
        assert!(!tries(other, 100));
    }

    /// They are checked in turn, one at a time, and only of what was emitted here.
    #[test]
    fn given_certificates_are_held_against_what_was_emitted() {
        let mut state = attesting();
        let give = |state: &mut Attesting, from, height, root| {
            state.give(MemberId(from), attestation(height, root))
        };
        assert!(give(&mut state, 1, 8, 7) && state.next_check().is_none());
        for height in [8, 9] {
            state.begin(Height(height), Root(Digest([7; 32])));
        }
        assert!(
            !give(&mut state, 2, 9, 6),
            "another root than the one emitted"
        );
        assert!(give(&mut state, 3, 9, 7));
        let (from, found) = state.next_check().unwrap();
        assert_eq!((from, found.height), (MemberId(1), Height(8)));
        assert!(state.next_check().is_none(), "one at a time");
        state.checking = false;
        // It was false. Whatever its member gives now, the other one is next.
        assert!(give(&mut state, 1, 9, 7));
        assert_eq!(state.next_check().unwrap().0, MemberId(3));
        state.checking = false;
        state.done(Height(9));
        assert!(give(&mut state, 1, 9, 7) && state.next_check().is_none());
    }

    /// A root that was given before it was emitted here, and is another one.
    #[test]
    fn a_root_that_turns_out_another_is_never_checked() {
        let mut state = attesting();
        assert!(state.give(MemberId(1), attestation(8, 6)));
        state.begin(Height(8), Root(Digest([7; 32])));
        assert!(state.next_check().is_none());
    }

    #[test]
    fn a_member_that_is_behind_does_not_sign_what_others_have_left_behind() {
        let first = attesting().combiners(Height(50)).next().unwrap();
        let mut state = of_member(first.0);
        for member in 1..4 {
            state.add(MemberId(member), Height(50), share(member));
        }
        assert!(!state.begin(Height(20), Root::default()));
        assert!(state.begin(Height(50), Root::default()));
        assert!(state.next().is_some());
    }
}
