//! What this member says about the proposals of others: votes (C1, C4, C5), commit votes
//! (C2, C3) and skips (C2, C9). Every flag is set when the decision is taken, before its record is
//! durable; the statement leaves when it is (C7).

use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateKind, Commit, MemberId, Micros, Mutant, Planted,
    Signature, SignerSet, Skip, View, Vote,
};

use crate::boundary::{Output, PeerFault, Timer, To, Verdict};
use crate::chain::Insert;
use crate::config::{INLINE_SKIPS_MAX, LOOK_BEHIND_VIEWS};
use crate::core::Core;
use crate::evidence::Offence;
use crate::jobs::Job;
use crate::message::{Block, HintedSkip, Justify, Message, Payload, Proposal, Signed, Statement};
use crate::records::SafetyRecord;

/// How far a leader's proposal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Signatures are being verified.
    Checking,
    /// Signatures are good; parent or skip certificates may be missing.
    Ready,
    /// The application is asked about the payload.
    Asked,
    /// The payload is valid and held.
    Valid,
    /// It can never be voted for.
    Rejected,
}

/// The first proposal of a view; its block is in the tree once the signatures are good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    pub(crate) id: BlockId,
    pub(crate) header: BlockHeader,
    pub(crate) signature: Signature,
    pub(crate) stage: Stage,
    /// Lanes whose data is missing.
    pub(crate) missing: SignerSet,
    /// D3: this member's vote for it is clean.
    pub(crate) clean: bool,
}

impl Candidate {
    pub(crate) fn is_alive(&self) -> bool {
        self.stage != Stage::Rejected
    }
}

impl<P: Payload> Core<P> {
    // ---- proposals of others --------------------------------------------------------

    pub(crate) fn on_proposal(
        &mut self,
        now: Micros,
        from: MemberId,
        proposal: Proposal<P>,
        out: &mut Vec<Output<P>>,
    ) {
        let header = &proposal.block.header;
        let (view, id) = (header.view, header.id());
        if Some(from) == self.config.me {
            // Own proposal, durable and sent. Its vote is normally recorded with it.
            self.chain.sign(id, proposal.signature);
            // After a restart nobody was asked about it.
            let judged = self.candidates.contains_key(&view);
            if !judged && self.own.get(&view).is_some_and(|own| own.proposed) {
                self.vote(view, id, out);
            }
            return;
        }
        if (header.chain, header.epoch) != (self.config.chain, self.config.epoch) {
            return self.fault(from, PeerFault::ForeignChain, out);
        }
        if header.proposer != from || self.leader(view) != from {
            return self.fault(from, PeerFault::NotLeader, out);
        }
        if header.parent_view >= view || header.height.0 == 0 {
            return self.fault(from, PeerFault::Malformed("header"), out);
        }
        if !self.in_earshot(view) {
            self.marks.dropped += 1;
            return;
        }
        self.pace.hear(from, view, self.view);
        self.telling.show(from, view);
        if let Some(first) = self.candidates.get(&view) {
            if first.id != id {
                // C6: two headers are evidence.
                let (a, b) = (
                    Signed {
                        statement: first.header.clone(),
                        signature: first.signature,
                    },
                    Signed {
                        statement: header.clone(),
                        signature: proposal.signature,
                    },
                );
                let offence = Offence::DoubleProposal(Box::new(a), Box::new(b));
                self.accuse(from, offence, [from, from], out);
            }
            return;
        }
        if !proposal.block.is_whole() {
            return self.fault(from, PeerFault::Malformed("payload digest"), out);
        }
        let genesis = self.chain.tip_id() == header.parent && self.chain.tip_view() == View(0);
        if let Err(what) = justified(header, &proposal.justify, genesis, self.config.planted) {
            return self.fault(from, PeerFault::Unjustified(what), out);
        }
        let Some(key) = self.config.committee.key(from) else {
            return self.fault(from, PeerFault::NotMember, out);
        };
        let mut sigs = vec![header.check(key, self.config.chain, proposal.signature)];
        let mut unknown = Vec::new();
        let Justify { parent, skips } = &proposal.justify;
        for certificate in parent.iter().chain(skips) {
            match certificate.checks(self.config.chain, &self.config.committee) {
                Err(error) => return self.fault(from, error.into(), out),
                Ok(_) if self.is_known(certificate) => {}
                Ok(checks) => {
                    sigs.extend(checks);
                    unknown.push(certificate.clone());
                }
            }
        }
        let candidate = Candidate {
            id,
            header: header.clone(),
            signature: proposal.signature,
            stage: Stage::Checking,
            missing: SignerSet::default(),
            clean: false,
        };
        self.candidates.insert(view, candidate);
        if view == self.view {
            self.arm(now, out); // the leader could advance, so this member's clock runs too
        }
        self.verify(Job::Proposal(Box::new(proposal), unknown), sigs, out);
    }

    /// The signatures of a proposal are verified: its certificates count for everyone, its
    /// block goes into the tree, and voting is up to [`try_candidate`](Self::try_candidate).
    pub(crate) fn proposal_checked(
        &mut self,
        now: Micros,
        proposal: Proposal<P>,
        unknown: Vec<Certificate>,
        good: bool,
        out: &mut Vec<Output<P>>,
    ) {
        let view = proposal.block.header.view;
        let proposer = proposal.block.header.proposer;
        let id = proposal.block.id();
        if !good && !self.has(Mutant::UncheckedProposal) {
            self.fault(proposer, PeerFault::BadSignature, out);
            return self.reject(now, view, id, out);
        }
        // The newest first: it leads straight to the view, the others fill in below.
        for certificate in unknown.into_iter().rev() {
            self.adopt(now, certificate, out);
        }
        self.insert(proposal.block, Some(proposal.signature), out);
        if let Some(candidate) = self.candidates.get_mut(&view)
            && candidate.id == id
            && candidate.stage == Stage::Checking
        {
            candidate.stage = Stage::Ready;
        }
    }

    /// Puts an authentic block into the tree and watches for a second one (C6).
    pub(crate) fn insert(
        &mut self,
        block: Block<P>,
        signature: Option<Signature>,
        out: &mut Vec<Output<P>>,
    ) {
        let (view, proposer) = (block.header.view, block.header.proposer);
        if self.chain.insert(block, signature) != Insert::Second {
            return;
        }
        if self.equivocal.insert(view) {
            self.marks.equivocations_seen += 1;
        }
        let of_view = self.chain.of_view(view).iter();
        let mut headers = of_view.filter_map(|id| {
            let node = self.chain.node(*id)?;
            Some(Box::new(Signed {
                statement: node.block.header.clone(),
                signature: node.signature?,
            }))
        });
        if let (Some(a), Some(b)) = (headers.next(), headers.next()) {
            let offence = Offence::DoubleProposal(a, b);
            self.accuse(proposer, offence, [proposer, proposer], out);
        }
    }

    /// Moves the proposal of the current view towards a vote.
    pub(crate) fn try_candidate(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let view = self.view;
        let Some(candidate) = self.candidates.get(&view) else {
            return;
        };
        if self.speaker().is_none() || !self.may_vote(view) {
            return;
        }
        if self.equivocal.contains(&view) {
            return self.say_skip(now, out); // C6: nothing of this view is worth a vote
        }
        let (id, stage) = (candidate.id, candidate.stage);
        match stage {
            Stage::Ready => {
                let header = candidate.header.clone();
                // C4: the certificates were verified when they came; are they all here?
                let parent = self.chain.block(header.parent);
                let covered = self.certs.uncovered(header.parent_view, view).is_none()
                    || self.has(Mutant::IgnoreGaps);
                let (Some(parent), true) = (parent, covered) else {
                    return self.extend(now, out);
                };
                let certified = self.certified(header.parent_view, header.parent);
                if !certified && !self.has(Mutant::StaleParent) {
                    return; // below the floor: finality has decided otherwise
                }
                let fits = parent.header.view == header.parent_view
                    && header.height == parent.header.height.next()
                    && header.time >= parent.header.time;
                if !fits {
                    let fault = PeerFault::Unjustified("height, view or time of the parent");
                    self.fault(header.proposer, fault, out);
                    return self.reject(now, view, id, out);
                }
                let Some(block) = self.chain.block(id) else {
                    return;
                };
                if let Some(candidate) = self.candidates.get_mut(&view) {
                    candidate.stage = Stage::Asked;
                }
                out.push(Output::CheckPayload {
                    block: id,
                    header: block.header,
                    payload: block.payload,
                    parent,
                });
            }
            Stage::Valid => self.vote(view, id, out),
            Stage::Checking | Stage::Asked | Stage::Rejected => {}
        }
    }

    pub(crate) fn on_payload_checked(
        &mut self,
        now: Micros,
        block: BlockId,
        verdict: Verdict,
        out: &mut Vec<Output<P>>,
    ) {
        let n = self.config.committee.n();
        let asked = |c: &&mut Candidate| c.id == block && c.stage == Stage::Asked;
        let Some(candidate) = self.candidates.values_mut().find(asked) else {
            return;
        };
        let (view, proposer) = (candidate.header.view, candidate.header.proposer);
        match verdict {
            Verdict::Valid | Verdict::Clean => {
                candidate.stage = Stage::Valid;
                candidate.clean = verdict == Verdict::Clean && self.config.clean_votes;
                candidate.missing = SignerSet::default();
            }
            Verdict::Invalid => {
                self.fault(proposer, PeerFault::InvalidPayload, out);
                self.reject(now, view, block, out);
            }
            Verdict::Fetching { missing } => {
                candidate.missing = missing.iter().filter(|m| m.index() < n).collect();
                if view == self.view {
                    self.extend(now, out);
                }
            }
        }
    }

    /// The proposal of `view` can never get this member's vote: waiting is pointless.
    fn reject(&mut self, now: Micros, view: View, id: BlockId, out: &mut Vec<Output<P>>) {
        if let Some(candidate) = self.candidates.get_mut(&view)
            && candidate.id == id
        {
            candidate.stage = Stage::Rejected;
            if view == self.view {
                self.say_skip(now, out);
            }
        }
    }

    // ---- own statements -------------------------------------------------------------

    /// C1, C5: whether a vote in this view is still open.
    fn may_vote(&self, view: View) -> bool {
        let said = |own: &crate::core::Own<P>| {
            own.voted.is_some() || (own.skipped.is_some() && !self.has(Mutant::VoteAfterSkip))
        };
        view == self.view && view > self.floor() && !self.own.get(&view).is_some_and(said)
    }

    /// C1: one vote per view, C5: never after a skip.
    fn vote(&mut self, view: View, id: BlockId, out: &mut Vec<Output<P>>) {
        if self.speaker().is_none() || !self.may_vote(view) {
            return;
        }
        let Some(node) = self.chain.node(id) else {
            return;
        };
        let (block, signature) = (node.block.clone(), node.signature);
        if block.header.view != view {
            return;
        }
        let judged = |c: &Candidate| c.id == id && c.clean;
        let vote = Vote {
            epoch: self.config.epoch,
            view,
            block: id,
            // D2: where nothing is vouched for, no shares leave before finality.
            dirty: !self.candidates.get(&view).is_some_and(judged),
        };
        self.own.entry(view).or_default().voted = Some(vote.clone());
        self.marks.votes += 1;
        let record = SafetyRecord::Voted {
            vote: vote.clone(),
            block,
            signature,
        };
        let after = self.record(record, out);
        let statement = Statement::Vote(vote);
        out.push(Output::Say { after, statement });
    }

    /// C3: commit-votes every notarized block that may still get one. Late ones count too:
    /// having voted in later views says nothing about this one (C2 is per view).
    pub(crate) fn try_commits(&mut self, out: &mut Vec<Output<P>>) {
        if self.speaker().is_none() {
            return;
        }
        let from = self.floor().next().max(self.view.minus(LOOK_BEHIND_VIEWS));
        let open: Vec<_> = self
            .certs
            .notarizations_from(from)
            .filter(|c| {
                let own = self.own.get(&c.view);
                own.is_none_or(|o| {
                    let skipped = o.skipped.is_some() && !self.has(Mutant::CommitAfterSkip);
                    o.committed.is_none() && !skipped // C2
                })
                    && !self.certs.skipped(c.view) // C3
                    && !self.equivocal.contains(&c.view) // C6
            })
            .filter_map(|c| Some((c.view, c.block, self.chain.header(c.block)?.height)))
            .collect();
        for (view, block, height) in open {
            let commit = Commit {
                epoch: self.config.epoch,
                view,
                height,
                block,
            };
            self.own.entry(view).or_default().committed = Some(commit.clone());
            self.marks.commits += 1;
            let record = SafetyRecord::Committed {
                commit: commit.clone(),
            };
            let after = self.record(record, out);
            let statement = Statement::Commit(commit);
            out.push(Output::Say { after, statement });
        }
    }

    /// C2: whether a skip of this view is still open.
    pub(crate) fn may_skip(&self, view: View) -> bool {
        let said = |own: &crate::core::Own<P>| own.skipped.is_some() || own.committed.is_some();
        self.speaker().is_some() && view > self.floor() && !self.own.get(&view).is_some_and(said)
    }

    /// C2, C9: leaves the current view.
    pub(crate) fn say_skip(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let view = self.view;
        if !self.may_skip(view) {
            return;
        }
        let candidate = self.candidates.get(&view);
        let missing = candidate.map_or(SignerSet::default(), |c| c.missing);
        self.own.entry(view).or_default().skipped = Some(missing);
        self.marks.skips += 1;
        self.pace.failed(view);
        let skip = Skip {
            epoch: self.config.epoch,
            view,
        };
        let record = SafetyRecord::Skipped {
            skip: skip.clone(),
            missing,
        };
        let after = self.record(record, out);
        let statement = Statement::Skip { skip, missing };
        out.push(Output::Say { after, statement });
        self.schedule_rebroadcast(now, out);
    }

    pub(crate) fn schedule_rebroadcast(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let timer = Timer::Rebroadcast(self.view);
        let at = self.pace.repeat(now);
        out.push(Output::SetTimer { timer, at });
    }

    /// C9: still here: the own skip again, and the certificate that proves this view.
    pub(crate) fn rebroadcast(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        if self.speaker().is_none() {
            return;
        }
        self.marks.rebroadcasts += 1;
        let skip = self.own.get(&self.view).and_then(|o| o.skip_sent.clone());
        let entry = self.entry.clone().map(Message::Certificate);
        for message in entry.into_iter().chain(skip.map(Message::Skip)) {
            let to = To::All;
            out.push(Output::Send { to, message });
        }
        self.schedule_rebroadcast(now, out);
    }

    /// Remembers the signed skip for rebroadcasts.
    pub(crate) fn skip_left(&mut self, skip: HintedSkip) {
        if let Some(own) = self.own.get_mut(&skip.skip.statement.view)
            && own.skipped.is_some()
        {
            own.skip_sent = Some(skip);
        }
    }
}

/// C4: whether the shape of the justification fits the header; signatures come later, and
/// skip certificates that did not fit in are fetched.
fn justified(
    header: &BlockHeader,
    justify: &Justify,
    genesis: bool,
    planted: Planted,
) -> Result<(), &'static str> {
    match &justify.parent {
        None if header.parent_view == View(0) && genesis => {}
        None if header.parent_view == View(0) => return Err("not on genesis"),
        None => return Err("no certificate of the parent"),
        Some(certificate) => {
            let stale =
                certificate.block != header.parent || certificate.view != header.parent_view;
            if certificate.kind == CertificateKind::Skip
                || (stale && !planted.is(Mutant::StaleParent))
                || certificate.view == View(0)
                || certificate.epoch != header.epoch
            {
                return Err("certificate of the parent");
            }
        }
    }
    if justify.skips.len() > INLINE_SKIPS_MAX {
        return Err("too many skips inline");
    }
    let mut above = header.parent_view;
    for skip in &justify.skips {
        if skip.kind != CertificateKind::Skip
            || skip.epoch != header.epoch
            || skip.view <= above
            || skip.view >= header.view
        {
            return Err("skip certificates");
        }
        above = skip.view;
    }
    Ok(())
}
