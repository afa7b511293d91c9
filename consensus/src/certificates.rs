//! Certificates that arrive or are formed (C4, C8, C11), what they contradict, and the
//! evidence that comes of it.

use fairlane_types::{Certificate, CertificateKind, Commit, MemberId, Micros, Skip, View, Vote};

use crate::boundary::{Output, PeerFault, To};
use crate::config::{CERTS_MAX, UNFINAL_VIEWS_MAX};
use crate::core::Core;
use crate::evidence::{Evidence, Offence};
use crate::jobs::{Job, key};
use crate::message::{Message, Payload, Signed};
use crate::records::SafetyRecord;

impl<P: Payload> Core<P> {
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

    pub(crate) fn on_certificate(
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
        if !useful {
            return;
        }
        if self.is_known(&certificate) {
            return self.telling.show(from, certificate.view.next());
        }
        if !self.jobs.admits(from) {
            // No fault: an honest peer that was paused says many at once. What is dropped
            // here is fetched when it is needed.
            self.marks.dropped += 1;
            return;
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

    pub(crate) fn start_certificate(
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
            self.enter(now, view.next(), certificate, out);
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

    pub(crate) fn evidence_checked(
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

    pub(crate) fn on_get_certs(
        &mut self,
        peer: MemberId,
        from: View,
        to: View,
        out: &mut Vec<Output<P>>,
    ) {
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
