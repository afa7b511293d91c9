//! The last steps of an epoch in a replica: a change of committee into a block, the key
//! dealt on, the boundary, and the hand-over (PROTOCOL §6).
//!
//! Until a quorum has signed the hand-over every member goes on serving this epoch, whose
//! blocks after the boundary are empty and never emitted. Then the shell starts the next one.

use std::sync::Arc;

use fairlane_encryption::{Ceremony, SuiteKey};
use fairlane_types::{
    ActiveKeys, CommitteeChange, Domain, EpochStart, Handover, Height, KeyId, MemberId,
    MemberSignature, QuorumWord, SigCheck, Signature, View, encode,
};

use crate::boundary::{Effect, Peers};
use crate::epoch_base::{EpochBase, dealings_digest, memory_digest};
use crate::job::{ConcludeJob, MadeKeys, OpenJob};
use crate::key_making::{KeyMaking, Signatures};
use crate::keys::{change_key, epoch_key};
use crate::payload::{CutPayload, EpochStep, FinalBlock};
use crate::replica::Replica;
use crate::under_way::{Purpose, Written};
use crate::{Fault, Job, Message, Table, Write};

impl Replica {
    /// An operator hands in an approved change, or a member does.
    pub(crate) fn change_offered(
        &mut self,
        from: MemberId,
        change: Arc<CommitteeChange>,
        out: &mut Vec<Effect>,
    ) {
        if !self.may_follow(&change) {
            out.push(Effect::Fault {
                peer: from,
                fault: Fault::Change,
            });
            return;
        }
        if self.ending.approved().is_some() || self.ending.knows(&change) {
            return;
        }
        let body = encode(&change.next);
        let (chain, epoch) = (self.chain(), self.epoch());
        let check = |signed: &MemberSignature| {
            let key = self.committee.key(signed.member)?;
            let domain = Domain::CommitteeChange;
            Some(key.check(domain, chain, epoch, &body, signed.signature))
        };
        let checks = change.approved.signatures.iter().filter_map(check);
        let checks = checks.collect();
        self.compute(Job::Verify(checks), Purpose::Change(from, change), out);
    }

    /// Whether a change has the shape of one of this epoch, and its members fresh keys for
    /// dealings (A21).
    fn may_follow(&self, change: &CommitteeChange) -> bool {
        change.fits(self.chain(), self.epoch(), &self.committee)
            && self.ending.used().check(&change.next).is_ok()
    }

    /// Its approvals were verified.
    pub(crate) fn change_verified(
        &mut self,
        from: MemberId,
        change: Arc<CommitteeChange>,
        bad: &[usize],
        out: &mut Vec<Effect>,
    ) {
        if !bad.is_empty() {
            out.push(Effect::Fault {
                peer: from,
                fault: Fault::Change,
            });
        } else if self.ending.offer(from, &change) {
            self.send(Peers::All, Message::Change(change), out);
        }
    }

    /// Goes on where the disk says.
    pub(crate) fn start_change(&mut self, out: &mut Vec<Effect>) {
        for (height, change) in self.ending.unjudged() {
            self.open(height, change, out);
        }
    }

    fn open(&mut self, height: Height, change: Arc<CommitteeChange>, out: &mut Vec<Effect>) {
        let job = Job::Open(Box::new(OpenJob {
            change,
            before: self.genesis.hash(),
            used: Arc::clone(self.ending.used()),
        }));
        self.compute(job, Purpose::Open(height), out);
    }

    /// What a leader's block of `view` carries, before the boundary.
    pub(crate) fn with_step(&mut self, view: View, payload: CutPayload) -> CutPayload {
        let mut payload = self.payload_with(view, payload);
        payload.step = self.ending.carry(view);
        payload
    }

    /// What a member says to the step in a proposal before the boundary: whether it is one, or
    /// nothing (`None`) while it cannot know.
    pub(crate) fn check_step(&mut self, view: View, step: Option<&EpochStep>) -> Option<bool> {
        match step {
            None => Some(true),
            Some(EpochStep::Change(change)) => {
                if !self.may_follow(change) {
                    return Some(false);
                }
                self.ending.seen(view, change);
                // Its leader may not know yet that another one counts; and only who knows
                // the key knows that the ceremony for it is over.
                let keyed = self.ceremony.is_none() || self.activation().is_some();
                (keyed && self.ending.approved().is_none()).then_some(true)
            }
            Some(EpochStep::Boundary(digest)) => {
                let ours = self.ending.sealed()?;
                Some(*digest == ours)
            }
        }
    }

    /// Final blocks up to the boundary, with those above it up to the certificate that makes it
    /// final: what comes later is nothing to anybody. That certificate may come with other blocks than
    /// the boundary does.
    pub(crate) fn up_to_boundary(&mut self, blocks: Vec<FinalBlock>) -> Vec<FinalBlock> {
        if self.ending.boundary().is_some() && self.finals.is_proven() {
            return Vec::new();
        }
        if let Some(last) = blocks.iter().find(|block| block.payload.ends()) {
            self.ending.bounded(last.header.height);
        }
        blocks
    }

    /// Writes for changes in final blocks, and the verdicts they ask for.
    pub(crate) fn changes_final(
        &mut self,
        blocks: &[FinalBlock],
        out: &mut Vec<Effect>,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        for block in blocks {
            let height = block.header.height;
            if let Some(EpochStep::Change(change)) = &block.payload.step
                && self.ending.finalized(height, change)
            {
                let row = encode(change);
                writes.push(Write::put(Table::Dealings, change_key(height), row));
                self.open(height, Arc::clone(change), out);
            }
        }
        writes
    }

    /// A verdict on a final change.
    pub(crate) fn change_opened(
        &mut self,
        height: Height,
        ceremony: Option<Arc<Ceremony>>,
        out: &mut Vec<Effect>,
    ) {
        let had = self.ending.approved().is_some();
        let (refused, approved) = self.ending.judged(height, ceremony);
        let gone = refused
            .into_iter()
            .map(|height| Write::delete(Table::Dealings, change_key(height)));
        let gone: Vec<_> = gone.collect();
        if !gone.is_empty() {
            self.store(gone, false, Written::Nothing, out);
        }
        if had || !approved {
            return;
        }
        let (voting, me) = (self.voting, self.me);
        if let Some(approved) = self.ending.approved_mut() {
            let making = &approved.making;
            let deals = voting && !making.complete() && !making.counts(me);
            let ceremony = Some(Arc::clone(&approved.ceremony));
            for (height, dealing) in making.unjudged() {
                self.judge(height, dealing, out);
            }
            if deals {
                self.compute(Job::Deal(ceremony), Purpose::Deal, out);
            }
        }
        self.conclude(out);
        self.look_again();
    }

    /// Proposals that could not be judged may be now.
    pub(crate) fn look_again(&mut self) {
        self.ready.extend(self.checks.keys());
    }

    /// All dealings to the next committee are known: the key is computed, as everybody can.
    pub(crate) fn conclude_next(&mut self, out: &mut Vec<Effect>) {
        if let Some(approved) = self.ending.approved_mut()
            && let Some(dealings) = approved.making.conclude()
        {
            approved.dealings.clone_from(&dealings);
            let job = ConcludeJob {
                dealings,
                next: Some(Arc::clone(&approved.ceremony)),
            };
            self.compute(Job::Conclude(Box::new(job)), Purpose::Reshared, out);
        }
    }

    /// The next sharing of the key is computed.
    pub(crate) fn reshared(&mut self, made: Option<MadeKeys>, out: &mut Vec<Effect>) {
        let (Some(made), Some(approved)) = (made, self.ending.approved_mut()) else {
            out.push(Effect::Halt(
                "dealings that were judged valid give no key".to_owned(),
            ));
            return;
        };
        approved.making.made(made.keys);
        approved.former = made.former;
        self.look_again();
        self.hand_over(out);
    }

    /// Once the boundary block is emitted here, durably: what the next epoch starts from.
    pub(crate) fn hand_over(&mut self, out: &mut Vec<Effect>) {
        let reached = self.ending.boundary() == Some(self.emitted_here());
        if !reached || self.ending.next_genesis().is_some() {
            return;
        }
        let Some(base) = self.next_base() else { return };
        let (identity, epoch) = (Arc::clone(&self.identity), self.epoch());
        let signature = Handover::sign(identity.as_ref(), epoch, base.genesis());
        self.ending.based(base);
        if self.voting {
            self.send(Peers::All, Message::Handover(signature), out);
            self.ending.say(self.me, signature);
        }
        self.verify_handover(out);
    }

    fn next_base(&self) -> Option<EpochBase> {
        let approved = self.ending.approved()?;
        let (keys, memory) = (approved.making.keys()?, self.ending.memory()?);
        let scheme = self.genesis.encryption.scheme;
        let id_of = |key: &[u8]| Some(SuiteKey::from_bytes(scheme, key).ok()?.id());
        let id: KeyId = id_of(&keys.encryption)?;
        let former = match &approved.former {
            Some(former) => Some((id_of(former)?, former.as_slice())),
            None => None,
        };
        let start = EpochStart {
            epoch: self.epoch().next(),
            origin: self.genesis.origin(),
            before: self.genesis.hash(),
            height: self.last.height,
            block: self.finals.ordered_block().header.id(),
            root: self.last.root,
            position: self.last.next,
            committee: approved.next.digest(),
            memory: memory_digest(memory),
            dealings: dealings_digest(&approved.dealings),
        };
        let time = self.finals.ordered_block().header.time;
        let keys = (id, keys.as_ref());
        Some(EpochBase {
            handover: Handover {
                genesis: (self.genesis).next(&approved.next, start, time, keys, former),
                word: QuorumWord::default(),
            },
            next: approved.next.clone(),
            memory: memory.clone(),
            old_keys: self.present_keys()?,
            dealings: (approved.dealings.iter())
                .map(|dealing| dealing.as_ref().clone())
                .collect(),
        })
    }

    /// The keys of this epoch.
    fn present_keys(&self) -> Option<ActiveKeys> {
        if let Some(ceremony) = &self.ceremony {
            return ceremony.keys().map(|keys| keys.as_ref().clone());
        }
        let certificates = self.genesis.certificates.as_ref();
        let certificate = certificates.map(|params| params.public_key.clone());
        Some(ActiveKeys {
            encryption: self.genesis.encryption.public_key.clone(),
            certificate: certificate.unwrap_or_default(),
        })
    }

    /// A member signed the start of the next epoch.
    pub(crate) fn handover_said(
        &mut self,
        from: MemberId,
        signature: Signature,
        out: &mut Vec<Effect>,
    ) {
        self.ending.say(from, signature);
        self.verify_handover(out);
    }

    /// A member shows a whole word.
    pub(crate) fn handed(&mut self, from: MemberId, word: Arc<QuorumWord>, out: &mut Vec<Effect>) {
        if !word.fits(&self.committee) {
            let fault = Fault::Handover;
            out.push(Effect::Fault { peer: from, fault });
            return;
        }
        self.ending.hand(from, word);
        self.verify_handover(out);
    }

    /// The shell has a whole word from elsewhere. Others hear of it at once: a liar may have
    /// shown it here alone, and this member may be about to follow it.
    pub(crate) fn shown(&mut self, word: Arc<QuorumWord>, out: &mut Vec<Effect>) {
        if self.ending.word().is_none() {
            self.ending.show(Arc::clone(&word));
            self.send(Peers::All, Message::Handed(Arc::clone(&word)), out);
            self.handed(self.me, word, out);
        }
    }

    fn verify_handover(&mut self, out: &mut Vec<Effect>) {
        let (said, words) = self.ending.unverified();
        let Some(genesis) = self.ending.next_genesis() else {
            return;
        };
        let (committee, epoch) = (&self.committee, self.epoch());
        let checks: Vec<_> = said
            .iter()
            .filter_map(|(member, signature)| {
                Handover::check(committee, *member, epoch, genesis, *signature)
            })
            .collect();
        let check = |(from, word): (MemberId, Arc<QuorumWord>)| {
            let signed = word.signatures.iter();
            let checks = signed
                .filter_map(|s| Handover::check(committee, s.member, epoch, genesis, s.signature));
            (from, checks.collect(), word)
        };
        let whole: Vec<(MemberId, Vec<SigCheck>, _)> = words.into_iter().map(check).collect();
        if !checks.is_empty() {
            self.compute(Job::Verify(checks), Purpose::Handover(said), out);
        }
        for (from, checks, word) in whole {
            self.compute(Job::Verify(checks), Purpose::Handed(from, word), out);
        }
    }

    /// Signatures over the start of the next epoch were verified.
    pub(crate) fn handover_verified(
        &mut self,
        said: Signatures,
        bad: &[usize],
        out: &mut Vec<Effect>,
    ) {
        let mut good = Signatures::new();
        for (at, (peer, signature)) in said.into_iter().enumerate() {
            if bad.contains(&at) {
                let fault = Fault::Handover;
                out.push(Effect::Fault { peer, fault });
            } else {
                good.insert(peer, signature);
            }
        }
        self.sign_off(good, out);
    }

    /// A whole word was verified against what follows from the log here.
    pub(crate) fn word_verified(
        &mut self,
        from: MemberId,
        word: &QuorumWord,
        bad: &[usize],
        out: &mut Vec<Effect>,
    ) {
        if bad.is_empty() {
            let signed = word.signatures.iter();
            self.sign_off(signed.map(|s| (s.member, s.signature)), out);
        } else if from == self.me {
            out.push(Effect::Halt(
                "a quorum of this epoch handed over to another start of the next one".to_owned(),
            ));
        } else {
            let fault = Fault::Handover;
            out.push(Effect::Fault { peer: from, fault });
        }
    }

    fn sign_off(
        &mut self,
        good: impl IntoIterator<Item = (MemberId, Signature)>,
        out: &mut Vec<Effect>,
    ) {
        let quorum = self.committee.quorum();
        if let Some(base) = self.ending.verified(good, quorum) {
            let row = Write::put(Table::Epochs, epoch_key(base.epoch()), encode(&base));
            self.store(vec![row], true, Written::Epoch(base), out);
        }
    }

    /// The start of the next epoch is durable here. Who goes there shows the whole word to all
    /// before: the signatures that made it may have been sent to this member alone, and without
    /// it the rest may be no quorum any more.
    pub(crate) fn ended(&mut self, base: Arc<EpochBase>, out: &mut Vec<Effect>) {
        let word = Arc::new(base.handover.word.clone());
        self.send(Peers::All, Message::Handed(word), out);
        out.push(Effect::EpochEnded(base));
    }

    /// A link came up: what the peer may have missed of the change.
    pub(crate) fn say_change_again(&mut self, peer: MemberId, out: &mut Vec<Effect>) {
        let offers: Vec<_> = self.ending.offers().map(Arc::clone).collect();
        for change in offers {
            self.send(Peers::One(peer), Message::Change(change), out);
        }
        let making = self.ending.approved().map(|approved| &approved.making);
        if let Some(dealing) = making.and_then(|making| making.offered(self.me)) {
            let message = Message::Dealing(Arc::clone(dealing));
            self.send(Peers::One(peer), message, out);
        }
        if let Some(word) = self.ending.known_word() {
            self.send(Peers::One(peer), Message::Handed(word), out);
        } else if let Some(genesis) = self.ending.next_genesis()
            && self.voting
        {
            let signature = Handover::sign(self.identity.as_ref(), self.epoch(), genesis);
            self.send(Peers::One(peer), Message::Handover(signature), out);
        }
    }

    /// The ceremony that dealings belong to now: the next keys', or the first ones'.
    pub(crate) fn making(&mut self) -> Option<&mut KeyMaking> {
        if let Some(approved) = self.ending.approved_mut() {
            return Some(&mut approved.making);
        }
        self.ceremony.as_mut()
    }

    /// As a job wants it: the ceremony that is not the genesis's.
    pub(crate) fn next_ceremony(&self) -> Option<Arc<Ceremony>> {
        let approved = self.ending.approved()?;
        Some(Arc::clone(&approved.ceremony))
    }
}
