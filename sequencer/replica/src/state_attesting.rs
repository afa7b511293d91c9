//! The committee attests what execution made of the sequence (PROTOCOL §5): one short
//! signature on the state, lagged, under another tag than the sequence's own.
//!
//! The replica executes nothing. Its shell says which state it came to at every
//! [`STATE_HEIGHTS`]-th height; the replica signs it, shares go to two members in turn, and
//! the certificate to all, as for the [sequence](crate::attesting). Consensus waits for none of it.
//!
//! Every certificate that verifies is kept, also one over another state than this member's:
//! it holds the shares of 2f+1 members, so the shell that finds it knows that its own
//! execution went another way. A height that misses its certificate has none; the next one
//! is not far.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_encryption::{CertificateShare, Certification, StateAttestation, StateRoots, Subject};
use fairlane_types::{Digest, Height, MemberId, Root};

use crate::attesting::{AttestShare, Attesting, next_in_turn};
use crate::boundary::{Effect, Peers};
use crate::job::CertifyJob;
use crate::keys::height_key;
use crate::replica::Replica;
use crate::under_way::{Purpose, Written};
use crate::{Fault, Job, Message, Table, Write};

/// One in so many heights has its state attested.
pub const STATE_HEIGHTS: u64 = 16;
/// Own states kept above the last attested one.
const STATES_MAX: usize = 64;

/// State attestations under way.
#[derive(Clone, Debug)]
pub(crate) struct StateAttesting {
    /// Shares and who combines them; a point's root is the digest of its state.
    shares: Attesting,
    /// States that this member came to and that are not attested yet.
    own: BTreeMap<Height, StateRoots>,
    /// Certificates that members gave, the highest of each, not checked yet.
    given: Vec<Option<StateAttestation>>,
    /// A given certificate is being checked.
    checking: bool,
    /// The last one that was checked is this member's.
    checked: usize,
}

impl StateAttesting {
    /// Of a committee of n, t of whose shares make a certificate.
    pub fn new(me: MemberId, n: usize, threshold: usize) -> Self {
        Self {
            shares: Attesting::new(me, n, threshold),
            own: BTreeMap::new(),
            given: vec![None; n],
            checking: false,
            checked: 0,
        }
    }

    /// This member came to a state; false when there is nothing to sign.
    fn begin(&mut self, height: Height, roots: StateRoots) -> bool {
        if !height.0.is_multiple_of(STATE_HEIGHTS)
            || !self.shares.begin(height, Root(roots.digest()))
        {
            return false;
        }
        self.own.insert(height, roots);
        if self.own.len() > STATES_MAX {
            self.own.pop_first();
        }
        true
    }

    /// Keeps a certificate to be checked, if it is above what is attested.
    fn give(&mut self, from: MemberId, given: StateAttestation) {
        let attested = self.shares.attested();
        if let Some(slot) = self.given.get_mut(from.index())
            && given.height > attested
            && slot.as_ref().is_none_or(|last| last.height < given.height)
        {
            *slot = Some(given);
        }
    }

    /// The next member's certificate above what is attested, unless one is being checked.
    fn next_check(&mut self) -> Option<(MemberId, StateAttestation)> {
        if self.checking {
            return None;
        }
        let attested = self.shares.attested();
        let above = |given: &StateAttestation| given.height > attested;
        let at = next_in_turn(self.checked, &self.given, above)?;
        let given = self.given[at].take()?;
        (self.checking, self.checked) = (true, at);
        Some((MemberId(at as u8), given))
    }

    /// A height is attested: what lies below is over.
    fn done(&mut self, height: Height) {
        self.shares.done(height);
        self.own = self.own.split_off(&height.next());
    }
}

impl Replica {
    /// A height is emitted: a combiner that waited may be due.
    pub(crate) fn state_emitted(&mut self, height: Height, out: &mut Vec<Effect>) {
        self.states.shares.emitted(height);
        self.certify_state(out);
    }

    /// The shell executed up to a height and came to a state.
    pub(crate) fn state_reached(
        &mut self,
        height: Height,
        roots: StateRoots,
        out: &mut Vec<Effect>,
    ) {
        let certificates = self.genesis.certificates.is_some();
        if certificates && self.states.begin(height, roots) && self.voting {
            let state = roots.digest();
            let job = Job::AttestState { height, state };
            self.compute(job, Purpose::AttestState(height), out);
        }
        self.certify_state(out);
    }

    /// This member's share is made.
    pub(crate) fn state_share_made(
        &mut self,
        height: Height,
        share: Option<CertificateShare>,
        out: &mut Vec<Effect>,
    ) {
        let Some(share) = share else { return };
        let message = Arc::new(AttestShare { height, share });
        for combiner in self.states.shares.combiners(height) {
            if combiner != self.me {
                let message = Message::AttestState(Arc::clone(&message));
                self.send(Peers::One(combiner), message, out);
            }
        }
        let AttestShare { height, share } = Arc::unwrap_or_clone(message);
        self.states.shares.add(self.me, height, share);
        self.certify_state(out);
    }

    /// A peer's share.
    pub(crate) fn receive_state_share(
        &mut self,
        from: MemberId,
        message: Arc<AttestShare>,
        out: &mut Vec<Effect>,
    ) {
        let due = message.height.0.is_multiple_of(STATE_HEIGHTS);
        if message.share.member != from || !due {
            let fault = Fault::Attestation;
            return out.push(Effect::Fault { peer: from, fault });
        }
        let AttestShare { height, share } = Arc::unwrap_or_clone(message);
        self.states.shares.add(from, height, share);
        self.certify_state(out);
    }

    /// A peer's certificate.
    pub(crate) fn receive_state_attested(
        &mut self,
        from: MemberId,
        given: StateAttestation,
        out: &mut Vec<Effect>,
    ) {
        let due = given.height.0.is_multiple_of(STATE_HEIGHTS);
        if given.epoch != self.epoch() || !due || self.genesis.certificates.is_none() {
            let fault = Fault::Attestation;
            return out.push(Effect::Fault { peer: from, fault });
        }
        self.states.give(from, given);
        self.certify_state(out);
    }

    /// A peer's certificate was checked.
    pub(crate) fn state_checked(
        &mut self,
        from: MemberId,
        given: &StateAttestation,
        holds: bool,
        out: &mut Vec<Effect>,
    ) {
        self.states.checking = false;
        if !holds {
            self.false_state(from, out);
        } else if given.height > self.states.shares.attested() {
            self.states.done(given.height);
            self.keep_state_attestation(given, out);
        }
        self.certify_state(out);
    }

    /// A certificate, or the names of those who keep it from being one.
    pub(crate) fn state_certified(
        &mut self,
        height: Height,
        result: &Certification,
        out: &mut Vec<Effect>,
    ) {
        let roots = self.states.own.get(&height).copied();
        let (certified, liars) = self.states.shares.certified(height, result);
        for peer in liars {
            self.false_state(peer, out);
        }
        if let (Some(_), Some(certificate), Some(roots)) = (certified, result.certificate, roots) {
            let made = StateAttestation {
                epoch: self.epoch(),
                height,
                roots,
                certificate,
            };
            self.states.done(height);
            self.keep_state_attestation(&made, out);
            self.send(Peers::All, Message::AttestedState(Box::new(made)), out);
        }
        self.certify_state(out);
    }

    /// Highest height whose state is attested, since the start.
    pub(crate) const fn state_attested(&self) -> Height {
        self.states.shares.attested()
    }

    fn false_state(&mut self, peer: MemberId, out: &mut Vec<Effect>) {
        self.counters.false_attestations += 1;
        let fault = Fault::Attestation;
        out.push(Effect::Fault { peer, fault });
    }

    fn keep_state_attestation(&mut self, made: &StateAttestation, out: &mut Vec<Effect>) {
        // Not synced: a lost one is followed by the next.
        let key = height_key(made.height);
        let value = fairlane_types::encode(made);
        let write = Write::put(Table::StateAttestations, key, value);
        self.store(vec![write], false, Written::Nothing, out);
    }

    fn certify_state(&mut self, out: &mut Vec<Effect>) {
        if let Some((from, given)) = self.states.next_check() {
            let given = Box::new(given);
            let job = Job::CheckState(given.clone());
            self.compute(job, Purpose::CheckState(from, given), out);
        }
        let Some((height, Root(state), shares)) = self.states.shares.next() else {
            return;
        };
        let subject = self.state_subject(height, state);
        let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
        self.compute(job, Purpose::CertifyState(height), out);
    }

    fn state_subject(&self, height: Height, state: Digest) -> Subject {
        Subject::State {
            chain: self.chain(),
            epoch: self.epoch(),
            height,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::ThresholdCertificate;
    use fairlane_types::{Epoch, KeyId};

    use super::*;

    fn roots(n: u8) -> StateRoots {
        StateRoots {
            genesis: Digest([1; 32]),
            state_root: Digest([n; 32]),
            receipts_root: Digest([2; 32]),
        }
    }

    fn given(height: u64, n: u8) -> StateAttestation {
        StateAttestation {
            epoch: Epoch(0),
            height: Height(height),
            roots: roots(n),
            certificate: ThresholdCertificate([9; 96]),
        }
    }

    #[test]
    fn each_height_is_signed_once_and_only_those_that_are_due() {
        let mut state = StateAttesting::new(MemberId(0), 4, 3);
        assert!(!state.begin(Height(STATE_HEIGHTS + 1), roots(1)));
        assert!(state.begin(Height(STATE_HEIGHTS), roots(1)));
        state.done(Height(STATE_HEIGHTS));
        assert!(!state.begin(Height(STATE_HEIGHTS), roots(1)), "attested");
        for k in 2..2 + 2 * STATES_MAX as u64 {
            assert!(state.begin(Height(k * STATE_HEIGHTS), roots(1)));
        }
        assert_eq!(state.own.len(), STATES_MAX);
    }

    /// Of this member's state or of another: whether it is the committee's is for the check.
    #[test]
    fn the_members_certificates_are_checked_in_turn_and_one_at_a_time() {
        let mut state = StateAttesting::new(MemberId(0), 4, 3);
        assert!(state.begin(Height(16), roots(1)));
        state.give(MemberId(1), given(8, 1));
        state.give(MemberId(2), given(16, 7));
        state.give(MemberId(2), given(8, 7));
        assert_eq!(state.next_check(), Some((MemberId(1), given(8, 1))));
        assert_eq!(state.next_check(), None);
        state.checking = false;
        // One that goes on giving is not before the others again.
        state.give(MemberId(1), given(24, 1));
        assert_eq!(state.next_check(), Some((MemberId(2), given(16, 7))));
        state.checking = false;
        assert_eq!(state.next_check(), Some((MemberId(1), given(24, 1))));
        state.checking = false;
        state.done(Height(16));
        state.give(MemberId(3), given(16, 1));
        assert_eq!(state.next_check(), None);
    }

    #[test]
    fn shares_that_come_before_the_state_is_reached_count_once_it_is() {
        let height = Height(4 * STATE_HEIGHTS);
        let first = StateAttesting::new(MemberId(0), 4, 3);
        let first = first.shares.combiners(height).next().unwrap();
        let mut state = StateAttesting::new(first, 4, 3);
        let share = |member: u8| CertificateShare {
            key: KeyId::default(),
            member: MemberId(member),
            signature: [member; 96],
        };
        for member in 0..3 {
            state.shares.add(MemberId(member), height, share(member));
        }
        assert!(state.shares.next().is_none());
        assert!(state.begin(height, roots(3)));
        let (signed, value, shares) = state.shares.next().unwrap();
        assert_eq!((signed, shares.len()), (height, 3));
        assert_eq!(value, Root(roots(3).digest()));
    }
}
