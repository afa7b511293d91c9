//! What others say: votes on their way to certificates (C8, C11, C12), certificates, and
//! what contradicts what.

use fairlane_types::{
    BlockId, Certificate, CertificateKind, Commit, Height, MemberId, Micros, SigCheck, Signature,
    SignerSet, Skip, View, Vote,
};

use crate::boundary::{CheckId, Output, PeerFault, To};
use crate::config::{CERTS_MAX, UNFINAL_VIEWS_MAX};
use crate::core::Core;
use crate::evidence::{Evidence, Offence};
use crate::jobs::{Batch, Job, key};
use crate::message::{HintedSkip, Message, Payload, Signed};
use crate::records::SafetyRecord;
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

    /// Checks common to votes, commits and skips; false if the statement is not taken.
    fn hears(
        &mut self,
        from: MemberId,
        epoch: fairlane_types::Epoch,
        view: View,
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
        if self.hears(from, vote.statement.epoch, view, out) {
            self.put_vote(from, vote, own, out);
            self.poll_votes(now, view, out);
        }
    }

    fn put_vote(
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
        let quorum = self.quorum();
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
        if self.hears(from, commit.statement.epoch, view, out) {
            self.put_commit(from, commit, own, out);
            self.poll_commits(now, view, out);
        }
    }

    fn put_commit(
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
        let quorum = self.quorum();
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
            self.help(now, from, view, out);
        }
        if !self.hears(from, skip.skip.statement.epoch, view, out) {
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

    fn put_skip(
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
        let quorum = self.quorum();
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

    /// C9: a peer is stuck in a view that this member has left: show it the way.
    fn help(&mut self, now: Micros, peer: MemberId, view: View, out: &mut Vec<Output<P>>) {
        let pause = self.config.params.delay_min.0;
        let recent = |last: &Micros| now < last.plus(pause);
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

    // ---- certificates ---------------------------------------------------------------

    /// Whether verifying this certificate again would tell nothing new.
    pub(crate) fn is_known(&self, certificate: &Certificate) -> bool {
        let view = certificate.view;
        let is_tip = view == self.chain.tip_view() && certificate.block == self.chain.tip_id();
        let is_target = self
            .target
            .as_ref()
            .is_some_and(|t| t.view == view && t.block == certificate.block);
        match certificate.kind {
            CertificateKind::Notarization => {
                is_tip || is_target || self.certs.notarized(view, certificate.block)
            }
            CertificateKind::Skip => self.certs.skipped(view),
            CertificateKind::Final => {
                (is_tip && self.chain.tip().certificate.is_some()) || is_target
            }
        }
    }

    fn on_certificate(
        &mut self,
        from: MemberId,
        certificate: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        if certificate.epoch != self.config.epoch {
            return self.fault(from, PeerFault::ForeignChain, out);
        }
        if certificate.view == View(0) {
            return self.fault(from, PeerFault::BadCertificate("view 0"), out);
        }
        let useful = match certificate.kind {
            // A final certificate far ahead starts catching up: no window for it.
            CertificateKind::Final => certificate.view > self.chain.tip_view(),
            _ => self.in_window(certificate.view),
        };
        if !useful || self.is_known(&certificate) {
            return;
        }
        if !self.jobs.admits(from) {
            self.marks.dropped += 1;
            return self.fault(from, PeerFault::Flood, out);
        }
        match certificate.checks(self.config.chain, &self.config.committee) {
            Err(error) => self.fault(from, error.into(), out),
            Ok(_) => {
                if self.jobs.claim(from, &certificate) {
                    self.start_certificate(from, certificate, out);
                }
            }
        }
    }

    fn start_certificate(
        &mut self,
        from: MemberId,
        certificate: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        let checks = certificate.checks(self.config.chain, &self.config.committee);
        if let Ok(sigs) = checks {
            let job = Job::Certificate(from, Box::new(certificate));
            self.verify(job, sigs, out);
        }
    }

    /// Takes in a certificate whose signatures are good, wherever it came from (C8).
    pub(crate) fn adopt(
        &mut self,
        now: Micros,
        certificate: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        self.jobs.settle(key(&certificate));
        let view = certificate.view;
        if self.halted {
            return;
        }
        match certificate.kind {
            CertificateKind::Final => return self.adopt_final(now, certificate, out),
            CertificateKind::Notarization => {
                if !self.in_window(view) {
                    return;
                }
                if let Some(first) = self.certs.notarization(view) {
                    if first.block != certificate.block {
                        let first = Some(first.clone());
                        self.halt("two notarizations in a view", first, certificate, out);
                    }
                    return;
                }
                self.marks.notarizations += 1;
                let skipped = |own: &crate::core::Own<P>| own.skipped.is_some();
                self.marks.late_notarizations +=
                    u64::from(self.own.get(&view).is_some_and(skipped));
            }
            CertificateKind::Skip => {
                if !self.in_window(view) || self.certs.skipped(view) {
                    return;
                }
                self.marks.skip_certificates += 1;
                if view >= self.view {
                    self.pace.failed(view);
                }
            }
        }
        // C4, C7: durable before anything is said because of it.
        self.record(SafetyRecord::Certified(certificate.clone()), out);
        self.certs.insert(certificate.clone());
        self.absorb(&certificate, out);
        if view >= self.view {
            self.broadcast(&certificate, out);
            self.enter(now, view.next(), certificate, out);
        }
    }

    /// C8: once, by everyone for whom it is news.
    pub(crate) fn broadcast(&mut self, certificate: &Certificate, out: &mut Vec<Output<P>>) {
        if self.speaker().is_some() {
            out.push(Output::Send {
                to: To::All,
                message: Message::Certificate(certificate.clone()),
            });
        }
    }

    /// The signatures in a verified certificate are statements of their signers: they may
    /// contradict what those told this member.
    pub(crate) fn absorb(&mut self, certificate: &Certificate, out: &mut Vec<Output<P>>) {
        let (epoch, view) = (certificate.epoch, certificate.view);
        if !self.in_earshot(view) {
            return;
        }
        let signers = certificate.signers.iter().zip(&certificate.signatures);
        for (member, signature) in signers {
            let signature = *signature;
            match certificate.kind {
                CertificateKind::Notarization => {
                    let statement = Vote {
                        epoch,
                        view,
                        block: certificate.block,
                        dirty: certificate.dirty.contains(member),
                    };
                    let signed = Signed {
                        statement,
                        signature,
                    };
                    self.put_vote(member, signed, true, out);
                }
                CertificateKind::Final => {
                    let statement = Commit {
                        epoch,
                        view,
                        height: certificate.height,
                        block: certificate.block,
                    };
                    let signed = Signed {
                        statement,
                        signature,
                    };
                    self.put_commit(member, signed, true, out);
                }
                CertificateKind::Skip => {
                    let statement = Skip { epoch, view };
                    let signed = Signed {
                        statement,
                        signature,
                    };
                    self.put_skip(member, signed, true, out);
                }
            }
        }
    }

    // ---- evidence -------------------------------------------------------------------

    /// Two statements exclude each other: evidence once both signatures are good, one per
    /// view and signer (C11).
    pub(crate) fn accuse(
        &mut self,
        signer: MemberId,
        offence: Offence,
        blame: [MemberId; 2],
        out: &mut Vec<Output<P>>,
    ) {
        let evidence = Evidence { signer, offence };
        let (_, view) = evidence.place();
        let Ok(sigs) = evidence.checks(self.config.chain, &self.config.committee) else {
            return;
        };
        let tally = self.tallies.entry(view).or_default();
        if tally.accused.insert(signer) {
            let job = Job::Evidence(Box::new(evidence), blame);
            self.verify(job, sigs.to_vec(), out);
        }
    }

    fn evidence_checked(
        &mut self,
        evidence: Evidence,
        blame: [MemberId; 2],
        bad: &[usize],
        out: &mut Vec<Output<P>>,
    ) {
        let (_, view) = evidence.place();
        if bad.is_empty() {
            if matches!(evidence.offence, Offence::DoubleProposal(..)) && self.in_earshot(view) {
                // C6: nobody who knows both commit-votes this view.
                if self.equivocal.insert(view) {
                    self.marks.equivocations_seen += 1;
                }
            }
            self.marks.evidence += 1;
            self.fault(evidence.signer, PeerFault::Contradiction, out);
            out.push(Output::Evidence(Box::new(evidence)));
            return;
        }
        if let Some(tally) = self.tallies.get_mut(&view) {
            tally.accused.remove(evidence.signer);
        }
        for (index, peer) in blame.into_iter().enumerate() {
            if bad.contains(&index) {
                self.fault(peer, PeerFault::BadSignature, out);
            }
        }
    }

    // ---- requests for certificates --------------------------------------------------

    fn on_get_certs(&mut self, peer: MemberId, from: View, to: View, out: &mut Vec<Output<P>>) {
        let to = to.min(from.plus(UNFINAL_VIEWS_MAX));
        let mut answer = self.certs.range(from, to);
        if from <= self.chain.tip_view()
            && let Some(tip) = &self.chain.tip().certificate
        {
            answer.truncate(CERTS_MAX - 1);
            answer.push(tip.clone());
        }
        if !answer.is_empty() {
            out.push(Output::Send {
                to: To::One(peer),
                message: Message::Certs(answer),
            });
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
