//! What others say: votes on their way to certificates (C8, C11, C12), and the results of
//! signature checks.

use fairlane_types::{
    BlockId, Certificate, CertificateKind, Commit, Height, MemberId, Micros, Mutant, SigCheck,
    Signature, SignerSet, Skip, View, Vote,
};

use crate::boundary::{CheckId, Output, PeerFault, To};
use crate::config::{CERTS_MAX, LOOK_AHEAD_VIEWS};
use crate::core::Core;
use crate::evidence::Offence;
use crate::jobs::{Batch, Job, key};
use crate::message::{HintedSkip, Message, Payload, Signed};
use crate::tally::{Poll, Put};

impl<P: Payload> Core<P> {
    pub(crate) fn on_message(
        &mut self,
        now: Micros,
        from: MemberId,
        message: Message<P>,
        out: &mut Vec<Output<P>>,
    ) {
        match message {
            // Requests are answered to whoever has a link; the rest is for members.
            Message::GetBlock { block } => self.on_get_block(from, block, out),
            Message::GetCerts { from: low, to } => self.on_get_certs(from, low, to, out),
            Message::GetBlocks {
                from: height,
                count,
            } => self.on_get_blocks(from, height, count, out),
            _ if !self.config.committee.contains(from) => {
                self.fault(from, PeerFault::NotMember, out);
            }
            Message::Proposal(proposal) => self.on_proposal(now, from, proposal, out),
            Message::Vote(vote) => self.on_vote(now, from, vote, out),
            Message::Commit(commit) => self.on_commit(now, from, commit, out),
            Message::Skip(skip) => self.on_skip(now, from, skip, out),
            Message::Certificate(certificate) => self.on_certificate(from, certificate, out),
            Message::Certs(certificates) => {
                if certificates.len() > CERTS_MAX {
                    return self.fault(from, PeerFault::Malformed("certificates"), out);
                }
                for certificate in certificates {
                    self.on_certificate(from, certificate, out);
                }
            }
            Message::Block { block, signature } => self.on_block(from, block, signature, out),
            Message::Blocks(blocks) => self.on_blocks(from, blocks, out),
        }
    }

    // ---- statements -----------------------------------------------------------------

    /// Checks common to votes, commits and skips; false if the statement is not taken. It shows
    /// that its sender is in view `shows`.
    fn hears(
        &mut self,
        now: Micros,
        from: MemberId,
        epoch: fairlane_types::Epoch,
        (view, shows): (View, View),
        out: &mut Vec<Output<P>>,
    ) -> bool {
        if epoch != self.config.epoch {
            self.fault(from, PeerFault::ForeignChain, out);
            return false;
        }
        if view == View(0) {
            self.fault(from, PeerFault::Malformed("view 0"), out);
            return false;
        }
        self.pace.hear(from, view, self.view);
        self.telling.show(from, shows);
        if view > self.view.plus(LOOK_AHEAD_VIEWS) {
            self.ask_the_way(now, from, out);
        }
        if !self.in_earshot(view) {
            self.marks.dropped += 1;
            return false;
        }
        true
    }

    fn on_vote(
        &mut self,
        now: Micros,
        from: MemberId,
        vote: Signed<Vote>,
        out: &mut Vec<Output<P>>,
    ) {
        let view = vote.statement.view;
        let own = Some(from) == self.config.me;
        if own {
            self.pace.voted(view, now);
        }
        if self.hears(now, from, vote.statement.epoch, (view, view), out) {
            self.put_vote(from, vote, own, out);
            self.poll_votes(now, view, out);
        }
    }

    pub(crate) fn put_vote(
        &mut self,
        from: MemberId,
        vote: Signed<Vote>,
        good: bool,
        out: &mut Vec<Output<P>>,
    ) {
        let tally = self.tallies.entry(vote.statement.view).or_default();
        if let Put::Conflict(first) = tally.votes.put(from, vote.clone(), good) {
            self.accuse(from, Offence::DoubleVote(first, vote), [from, from], out);
        }
    }

    fn poll_votes(&mut self, now: Micros, view: View, out: &mut Vec<Output<P>>) {
        let quorum = self.quorum(Mutant::ShortVotes);
        let Some(tally) = self.tallies.get_mut(&view) else {
            return;
        };
        if self.certs.notarization(view).is_some() {
            return;
        }
        match tally.votes.poll(quorum) {
            Poll::Wait => {}
            Poll::Check(batch) => {
                let sigs = self.sig_checks(&batch, |s, k, c, g| s.check(k, c, g));
                self.verify(Job::Votes(view, batch), sigs, out);
            }
            Poll::Quorum(block, quorum) => {
                let dirty = quorum.iter().filter(|(_, v)| v.statement.dirty);
                let dirty = dirty.map(|(m, _)| *m).collect();
                let height = self.chain.header(block).map_or(Height(0), |h| h.height);
                let kind = CertificateKind::Notarization;
                let certificate = self.certificate(kind, view, height, block, dirty, &quorum);
                self.adopt(now, certificate, out);
            }
        }
    }

    fn on_commit(
        &mut self,
        now: Micros,
        from: MemberId,
        commit: Signed<Commit>,
        out: &mut Vec<Output<P>>,
    ) {
        let view = commit.statement.view;
        let own = Some(from) == self.config.me;
        // C3: nobody says it without the certificate that ends the view.
        let views = (view, view.next());
        if self.hears(now, from, commit.statement.epoch, views, out) {
            self.put_commit(from, commit, own, out);
            self.poll_commits(now, view, out);
        }
    }

    pub(crate) fn put_commit(
        &mut self,
        from: MemberId,
        commit: Signed<Commit>,
        good: bool,
        out: &mut Vec<Output<P>>,
    ) {
        let tally = self.tallies.entry(commit.statement.view).or_default();
        match tally.commits.put(from, commit.clone(), good) {
            Put::Conflict(first) => {
                let offence = Offence::DoubleCommit(first, commit);
                self.accuse(from, offence, [from, from], out);
            }
            Put::Fresh => {
                if let Some(skip) = tally.skips.get(from).cloned() {
                    let offence = Offence::CommitAndSkip(commit, skip);
                    self.accuse(from, offence, [from, from], out);
                }
            }
            Put::Known => {}
        }
    }

    fn poll_commits(&mut self, now: Micros, view: View, out: &mut Vec<Output<P>>) {
        let quorum = self.quorum(Mutant::ShortCommits);
        let Some(tally) = self.tallies.get_mut(&view) else {
            return;
        };
        if view <= self.chain.tip_view() || self.target.as_ref().is_some_and(|t| t.view == view) {
            return;
        }
        match tally.commits.poll(quorum) {
            Poll::Wait => {}
            Poll::Check(batch) => {
                let sigs = self.sig_checks(&batch, |s, k, c, g| s.check(k, c, g));
                self.verify(Job::Commits(view, batch), sigs, out);
            }
            Poll::Quorum((height, block), quorum) => {
                let none = SignerSet::default();
                let kind = CertificateKind::Final;
                let certificate = self.certificate(kind, view, height, block, none, &quorum);
                self.adopt(now, certificate, out);
            }
        }
    }

    fn on_skip(&mut self, now: Micros, from: MemberId, skip: HintedSkip, out: &mut Vec<Output<P>>) {
        let view = skip.skip.statement.view;
        let own = Some(from) == self.config.me;
        if own {
            self.skip_left(skip.clone());
        }
        if !skip.missing.within(self.config.committee.n()) {
            return self.fault(from, PeerFault::Malformed("missing lanes"), out);
        }
        let here = skip.skip.statement.epoch == self.config.epoch && view > View(0);
        if !own && here && view < self.view {
            let pause = self.config.params.delay_min;
            self.help(now, (from, view), pause, out);
        }
        if !self.hears(now, from, skip.skip.statement.epoch, (view, view), out) {
            return;
        }
        self.put_skip(from, skip.skip, own, out);
        let f = self.config.committee.f();
        let tally = self.tallies.entry(view).or_default();
        for lane in tally.hint(from, skip.missing, f).iter() {
            self.marks.lanes_restricted += 1;
            self.lanes.name(lane, view);
        }
        self.poll_skips(now, view, out);
    }

    pub(crate) fn put_skip(
        &mut self,
        from: MemberId,
        skip: Signed<Skip>,
        good: bool,
        out: &mut Vec<Output<P>>,
    ) {
        let tally = self.tallies.entry(skip.statement.view).or_default();
        if tally.skips.put(from, skip.clone(), good) == Put::Fresh
            && let Some(commit) = tally.commits.get(from).cloned()
        {
            let offence = Offence::CommitAndSkip(commit, skip);
            self.accuse(from, offence, [from, from], out);
        }
    }

    fn poll_skips(&mut self, now: Micros, view: View, out: &mut Vec<Output<P>>) {
        let quorum = self.quorum(Mutant::ShortSkips);
        let Some(tally) = self.tallies.get_mut(&view) else {
            return;
        };
        if self.certs.skipped(view) {
            return;
        }
        match tally.skips.poll(quorum) {
            Poll::Wait => {}
            Poll::Check(batch) => {
                let sigs = self.sig_checks(&batch, |s, k, c, g| s.check(k, c, g));
                self.verify(Job::Skips(view, batch), sigs, out);
            }
            Poll::Quorum((), quorum) => {
                let (none, kind) = (SignerSet::default(), CertificateKind::Skip);
                let block = BlockId::default();
                let certificate = self.certificate(kind, view, Height(0), block, none, &quorum);
                self.adopt(now, certificate, out);
            }
        }
    }

    /// C9: f + 1 members have given up on the current view, an honest one among them, so this
    /// member gives up on it too and all leave it together. C2, C5: it is an ordinary skip.
    pub(crate) fn try_join(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let view = self.view;
        if !self.may_skip(view) {
            return;
        }
        let some_honest = self.config.committee.f() + 1;
        let Some(tally) = self.tallies.get_mut(&view) else {
            return;
        };
        match tally.skips.poll(some_honest) {
            Poll::Wait => {}
            Poll::Check(batch) => {
                let sigs = self.sig_checks(&batch, |s, k, c, g| s.check(k, c, g));
                self.verify(Job::Skips(view, batch), sigs, out);
            }
            Poll::Quorum(..) => {
                self.marks.joined_skips += 1;
                self.say_skip(now, out);
            }
        }
    }

    /// C8, C9: a peer is in a view that this member has left: show it the way, but not twice
    /// within `pause`.
    pub(crate) fn help(
        &mut self,
        now: Micros,
        (peer, view): (MemberId, View),
        pause: Micros,
        out: &mut Vec<Output<P>>,
    ) {
        let recent = |last: &Micros| now < last.plus(pause.0);
        if self.speaker().is_none() || self.helped.get(&peer).is_some_and(recent) {
            return;
        }
        self.helped.insert(peer, now);
        self.marks.helped += 1;
        let tip = self.chain.tip().certificate.as_ref();
        let tip = tip.filter(|c| c.view >= view && Some(*c) != self.entry.as_ref());
        for certificate in self.entry.iter().chain(tip) {
            out.push(Output::Send {
                to: To::One(peer),
                message: Message::Certificate(certificate.clone()),
            });
        }
    }

    /// A peer speaks of views so far ahead that nothing said there is kept (C11): whether that
    /// is so, its newest final certificate tells. Asked once within a while.
    fn ask_the_way(&mut self, now: Micros, peer: MemberId, out: &mut Vec<Output<P>>) {
        let pause = self.pace.retry().0;
        let recent = |last: &Micros| now < last.plus(pause);
        if self.asked_way.get(&peer).is_some_and(recent) {
            return;
        }
        self.asked_way.insert(peer, now);
        self.marks.requests += 1;
        let (from, to) = (self.view, self.view);
        out.push(Output::Send {
            to: To::One(peer),
            message: Message::GetCerts { from, to },
        });
    }

    fn sig_checks<S>(
        &self,
        batch: &Batch<S>,
        check: impl Fn(&S, &fairlane_types::PublicKey, fairlane_types::ChainId, Signature) -> SigCheck,
    ) -> Vec<SigCheck> {
        let committee = &self.config.committee;
        let checks = batch.iter().filter_map(|(member, signed)| {
            let key = committee.key(*member)?;
            Some(check(
                &signed.statement,
                key,
                self.config.chain,
                signed.signature,
            ))
        });
        checks.collect()
    }

    fn certificate<S>(
        &self,
        kind: CertificateKind,
        view: View,
        height: Height,
        block: BlockId,
        dirty: SignerSet,
        quorum: &Batch<S>,
    ) -> Certificate {
        Certificate {
            kind,
            epoch: self.config.epoch,
            view,
            height,
            block,
            signers: quorum.iter().map(|(member, _)| *member).collect(),
            dirty,
            signatures: quorum.iter().map(|(_, s)| s.signature).collect(),
        }
    }

    // ---- verification results -------------------------------------------------------

    pub(crate) fn on_verified(
        &mut self,
        now: Micros,
        check: CheckId,
        bad: &[usize],
        out: &mut Vec<Output<P>>,
    ) {
        match self.jobs.finish(check) {
            None => {}
            Some(Job::Votes(view, batch)) => {
                let blamed = settle(&batch, bad, |member, signed, good| {
                    if let Some(tally) = self.tallies.get_mut(&view) {
                        tally.votes.checked(member, signed, good);
                    }
                });
                self.blame(&blamed, out);
                self.poll_votes(now, view, out);
            }
            Some(Job::Commits(view, batch)) => {
                let blamed = settle(&batch, bad, |member, signed, good| {
                    if let Some(tally) = self.tallies.get_mut(&view) {
                        tally.commits.checked(member, signed, good);
                    }
                });
                self.blame(&blamed, out);
                self.poll_commits(now, view, out);
            }
            Some(Job::Skips(view, batch)) => {
                let blamed = settle(&batch, bad, |member, signed, good| {
                    if let Some(tally) = self.tallies.get_mut(&view) {
                        tally.skips.checked(member, signed, good);
                    }
                });
                self.blame(&blamed, out);
                self.poll_skips(now, view, out);
            }
            Some(Job::Proposal(proposal, unknown)) => {
                self.proposal_checked(now, *proposal, unknown, bad.is_empty(), out);
            }
            Some(Job::Certificate(from, certificate)) => {
                if bad.is_empty() {
                    self.adopt(now, *certificate, out);
                    return;
                }
                self.fault(from, PeerFault::BadCertificate("signature"), out);
                // C11: one forgery keeps no good certificate out.
                if let Some((next, certificate)) = self.jobs.fallback(key(&certificate)) {
                    self.start_certificate(next, certificate, out);
                }
            }
            Some(Job::Blocks(from, blocks)) => {
                self.blocks_checked(now, from, *blocks, bad.is_empty(), out);
            }
            Some(Job::Evidence(evidence, blame)) => {
                self.evidence_checked(*evidence, blame, bad, out);
            }
        }
    }

    fn blame(&mut self, members: &[MemberId], out: &mut Vec<Output<P>>) {
        for member in members {
            self.fault(*member, PeerFault::BadSignature, out);
        }
    }
}

/// Tells the tally about every checked statement; returns who sent a bad one.
fn settle<S>(
    batch: &Batch<S>,
    bad: &[usize],
    mut tell: impl FnMut(MemberId, &Signed<S>, bool),
) -> Vec<MemberId> {
    let mut blamed = Vec::new();
    for (index, (member, signed)) in batch.iter().enumerate() {
        let good = !bad.contains(&index);
        tell(*member, signed, good);
        if !good {
            blamed.push(*member);
        }
    }
    blamed
}
