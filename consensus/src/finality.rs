//! Final blocks (C8), catching up with those that others have, and fetching what is missing.

use fairlane_types::{BlockId, Certificate, CertificateKind, Height, MemberId, Micros, Mutant};
use fairlane_types::{Signature, SignerSet, View};

use crate::boundary::{Output, PeerFault, To};
use crate::chain::Link;
use crate::config::{BLOCKS_MAX, CERTS_MAX, UNFINAL_VIEWS_MAX};
use crate::core::Core;
use crate::fetch::{Need, Want};
use crate::jobs::Job;
use crate::message::{Block, Blocks, FinalBlock, Message, Payload};
use crate::proposing::Ground;
use crate::records::SafetyRecord;
use crate::voting::Stage;

/// A missing final ancestor is asked for by id only when it is this close below the target
/// (further down the ranges are faster), or when nobody could serve the range.
const BY_ID_HEIGHTS_MAX: u64 = 8;

impl<P: Payload> Core<P> {
    // ---- finalization ---------------------------------------------------------------

    /// C8: a verified final certificate.
    pub(crate) fn adopt_final(
        &mut self,
        now: Micros,
        certificate: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        let (view, block) = (certificate.view, certificate.block);
        if view < self.chain.tip_view() {
            return;
        }
        if view == self.chain.tip_view() {
            if block != self.chain.tip_id() {
                let ours = self.chain.tip().certificate.clone();
                self.halt("two final blocks in a view", ours, certificate, out);
            }
            return;
        }
        if let Some(skip) = self.certs.skip(view) {
            let ours = Some(skip.clone());
            return self.halt("a view both skipped and final", ours, certificate, out);
        }
        let notarization = self.certs.notarization(view);
        if let Some(other) = notarization.filter(|c| c.block != block) {
            let ours = Some(other.clone());
            return self.halt("final, but another is notarized", ours, certificate, out);
        }
        if let Some(target) = self.target.as_ref()
            && target.view == view
        {
            if target.block != block {
                let ours = Some(target.clone());
                self.halt("two final blocks in a view", ours, certificate, out);
            }
            return;
        }
        self.absorb(&certificate, out);
        self.pace.sample(view, now);
        let news = view > self.floor();
        match self.chain.link(block) {
            Link::Path(path) => self.finalize(&path, certificate.clone(), out),
            Link::Conflict => {
                let ours = self.chain.tip().certificate.clone();
                return self.halt("a final block off the final chain", ours, certificate, out);
            }
            Link::Missing(..) if news => {
                self.record(SafetyRecord::Certified(certificate.clone()), out);
                self.target = Some(certificate.clone());
                self.prune();
            }
            Link::Missing(..) => return, // one further ahead is being linked already
        }
        if news {
            self.enter(now, view.next(), certificate, out);
        }
    }

    /// The block of the target may hang on the tip by now.
    pub(crate) fn try_target(&mut self, _now: Micros, out: &mut Vec<Output<P>>) {
        let Some(target) = self.target.clone() else {
            return;
        };
        if target.view <= self.chain.tip_view() {
            self.target = None;
            return;
        }
        match self.chain.link(target.block) {
            Link::Path(path) => self.finalize(&path, target, out),
            Link::Missing(..) => {}
            Link::Conflict => {
                let ours = self.chain.tip().certificate.clone();
                self.halt("a final block off the final chain", ours, target, out);
            }
        }
    }

    /// The last block of `path` (from the tip, excluded) is final by its certificate, and
    /// with it all the others, in height order.
    fn finalize(&mut self, path: &[BlockId], certificate: Certificate, out: &mut Vec<Output<P>>) {
        let mut blocks = Vec::with_capacity(path.len());
        let orphan = path.len().saturating_sub(1) * usize::from(self.has(Mutant::OrphanFinal));
        for id in path.iter().skip(orphan) {
            let Some(Block { header, payload }) = self.chain.take(*id) else {
                return; // not reached: `link` has just walked over it
            };
            blocks.push(FinalBlock {
                header,
                payload,
                certificate: None,
            });
        }
        self.marks.finalized_as_ancestors += blocks.len().saturating_sub(1) as u64;
        if let Some(last) = blocks.last_mut() {
            last.certificate = Some(certificate);
        }
        self.append(blocks, out);
    }

    /// Blocks proven final become the chain, told once and without a gap.
    fn append(&mut self, blocks: Vec<FinalBlock<P>>, out: &mut Vec<Output<P>>) {
        if blocks.is_empty() {
            return;
        }
        self.marks.finalized += blocks.len() as u64;
        for block in &blocks {
            self.chain.advance(block.clone());
        }
        out.push(Output::Finalized(blocks));
        let upto = self.chain.tip_view();
        out.push(Output::Prune { upto });
        self.pace.finalized();
        if self.target.as_ref().is_some_and(|t| t.view <= upto) {
            self.target = None;
        }
        self.prune();
    }

    /// Forgets what finality has decided (C4, C11).
    fn prune(&mut self) {
        let (tip, floor) = (self.chain.tip_view(), self.floor());
        self.chain.prune();
        self.certs.prune(tip);
        self.jobs.prune(tip);
        self.own = self.own.split_off(&floor.next());
        self.tallies = self.tallies.split_off(&floor.next());
        self.candidates = self.candidates.split_off(&tip.next());
        self.equivocal = self.equivocal.split_off(&tip.next());
    }

    // ---- serving --------------------------------------------------------------------

    pub(crate) fn on_get_block(&mut self, to: MemberId, id: BlockId, out: &mut Vec<Output<P>>) {
        if let Some((block, signature)) = self.chain.serve(id) {
            let message = Message::Block { block, signature };
            let to = To::One(to);
            out.push(Output::Send { to, message });
        }
    }

    pub(crate) fn on_get_blocks(
        &mut self,
        to: MemberId,
        from: Height,
        count: u16,
        out: &mut Vec<Output<P>>,
    ) {
        // Nothing to serve beyond the tip, and genesis is everyone's own.
        if count > 0 && from.0 > 0 && from <= self.chain.height() {
            let count = count.min(BLOCKS_MAX);
            out.push(Output::Serve { to, from, count });
        }
    }

    // ---- fetching -------------------------------------------------------------------

    /// What is missing right now, derived from the state.
    fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let mut add = |need: Need| {
            if needs.iter().all(|n| n.want != need.want) {
                needs.push(need);
            }
        };
        let entry = self
            .entry
            .as_ref()
            .map_or(SignerSet::default(), |c| c.signers);
        let certs_upto = |to: View| Want::Certs {
            from: to.minus(CERTS_MAX as u64 - 1).max(self.floor().next()),
            to,
        };
        // What blocks the vote of this view: its leader has it.
        if let Some(candidate) = self.candidates.get(&self.view)
            && candidate.stage == Stage::Ready
        {
            let header = &candidate.header;
            let prefer = SignerSet::from_iter([header.proposer]);
            let urgent = true;
            if !self.chain.has(header.parent) && self.certified(header.parent_view, header.parent) {
                let want = Want::Block(header.parent);
                add(Need {
                    want,
                    prefer,
                    urgent,
                });
            }
            if let Some(view) = self.certs.uncovered(header.parent_view, self.view)
                && self.in_window(view)
            {
                let want = certs_upto(view);
                add(Need {
                    want,
                    prefer,
                    urgent,
                });
            }
        }
        // What a leader will stand on: the newest notarized block, or the skips above it.
        if let Ground::Gap(view) = self.ground() {
            if let Some(c) = self.certs.notarization(view) {
                add(need(Want::Block(c.block), c.signers));
            } else if self.in_window(view) {
                add(need(certs_upto(view), entry));
            }
        }
        // Notarized blocks that never came cannot be commit-voted (C3).
        let recent = self.view.minus(2).max(self.floor().next());
        for c in self.certs.notarizations_from(recent) {
            if !self.chain.has(c.block) {
                add(need(Want::Block(c.block), c.signers));
            }
        }
        // Final blocks that do not hang on the tip.
        if let Some(target) = &self.target {
            let from = self.chain.height().next();
            add(need(Want::Blocks(from), target.signers));
            if let Link::Missing(id, height) = self.chain.link(target.block) {
                let height = height.unwrap_or(target.height);
                let near = target.height.0.saturating_sub(height.0) < BY_ID_HEIGHTS_MAX;
                let exhausted = self.fetch.blocks_attempts() as usize >= self.config.committee.n();
                if near || exhausted {
                    add(need(Want::Block(id), target.signers));
                }
            }
        }
        needs
    }

    pub(crate) fn update_fetches(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let needs = if self.halted {
            Vec::new()
        } else {
            self.needs()
        };
        let (me, n) = (self.config.me, self.config.committee.n());
        let (grace, retry) = (self.config.params.delay_min, self.pace.retry());
        let (requests, timer) = self.fetch.update(now, &needs, me, n, grace, retry);
        for (want, peer) in requests {
            self.marks.requests += 1;
            let message = match want {
                Want::Block(block) => Message::GetBlock { block },
                Want::Certs { from, to } => Message::GetCerts { from, to },
                Want::Blocks(from) => Message::GetBlocks {
                    from,
                    count: BLOCKS_MAX,
                },
            };
            let to = To::One(peer);
            out.push(Output::Send { to, message });
        }
        if let Some(at) = timer {
            let timer = crate::boundary::Timer::Fetch;
            out.push(Output::SetTimer { timer, at });
        }
    }

    /// A block by id: its hash is its proof, its signature is kept for evidence only.
    pub(crate) fn on_block(
        &mut self,
        from: MemberId,
        block: Block<P>,
        signature: Option<Signature>,
        out: &mut Vec<Output<P>>,
    ) {
        let id = block.id();
        if !self.fetch.asked(Want::Block(id)) {
            self.marks.dropped += 1; // a second answer, or one that came too late
            return;
        }
        if (block.header.chain, block.header.epoch) != (self.config.chain, self.config.epoch) {
            return self.fault(from, PeerFault::ForeignChain, out);
        }
        if !block.is_whole() {
            return self.fault(from, PeerFault::BadBlocks("payload digest"), out);
        }
        self.marks.blocks_fetched += 1;
        // What was asked for is certified, or an ancestor of such: it gets its place.
        let view = block.header.view;
        let certified = |id: BlockId| {
            self.certs.notarized(view, id) || self.target.as_ref().is_some_and(|t| t.block == id)
        };
        self.chain.make_room(view, certified);
        self.insert(block, signature, out);
    }

    /// A run of final blocks: hashes first, then the signatures of its certificates.
    pub(crate) fn on_blocks(
        &mut self,
        from: MemberId,
        mut blocks: Blocks<P>,
        out: &mut Vec<Output<P>>,
    ) {
        if self.jobs.blocks_running() || !self.fetch.blocks_from(from) {
            self.marks.dropped += 1;
            return;
        }
        let fits = blocks.blocks.len() <= usize::from(BLOCKS_MAX)
            && blocks.tail.len() as u64 <= UNFINAL_VIEWS_MAX;
        if !fits {
            return self.fault(from, PeerFault::BadBlocks("too many"), out);
        }
        if let Err(what) = self.chained(&mut blocks) {
            return self.fault(from, PeerFault::BadBlocks(what), out);
        }
        if blocks.blocks.is_empty() {
            return; // nothing new, or nothing certified yet
        }
        let mut sigs = Vec::new();
        let certificates = blocks.blocks.iter().filter_map(|b| b.certificate.as_ref());
        for certificate in certificates.chain(&blocks.proof) {
            match certificate.checks(self.config.chain, &self.config.committee) {
                Ok(checks) => sigs.extend(checks),
                Err(error) => return self.fault(from, error.into(), out),
            }
        }
        self.verify(Job::Blocks(from, Box::new(blocks)), sigs, out);
    }

    /// Checks the hash chain from the tip and that it ends in a final certificate; cuts off
    /// what this member has already, and what no certificate in the run covers.
    fn chained(&self, run: &mut Blocks<P>) -> Result<(), &'static str> {
        let height = self.chain.height();
        run.blocks.retain(|b| b.header.height > height);
        if run.tail.is_empty() {
            if run.proof.is_some() {
                return Err("a proof of nothing");
            }
            let certified = run.blocks.iter().rposition(|b| b.certificate.is_some());
            run.blocks.truncate(certified.map_or(0, |last| last + 1));
        }
        if run.blocks.is_empty() {
            return Ok(());
        }
        let tip = self.chain.tip();
        let (mut parent, mut above) = (self.chain.tip_id(), &tip.header);
        let own = run.blocks.iter().map(|b| (&b.header, &b.certificate));
        let last_of_tail = run.tail.len().checked_sub(1);
        let tail = run.tail.iter().enumerate();
        let none = None;
        let tail = tail.map(|(i, header)| {
            let last = Some(i) == last_of_tail;
            (header, if last { &run.proof } else { &none })
        });
        let mut proven = false;
        for (header, certificate) in own.chain(tail) {
            let follows = header.parent == parent
                && header.parent_view == above.view
                && header.height == above.height.next()
                && header.view > above.view
                && (header.chain, header.epoch) == (above.chain, above.epoch);
            if !follows {
                return Err("not a chain");
            }
            parent = header.id();
            above = header;
            proven = certificate.is_some();
            if let Some(c) = certificate
                && (c.kind, c.epoch, c.view, c.height, c.block)
                    != (
                        CertificateKind::Final,
                        header.epoch,
                        header.view,
                        header.height,
                        parent,
                    )
            {
                return Err("certificate of another block");
            }
        }
        if !proven {
            return Err("no final certificate");
        }
        let whole = |b: &FinalBlock<P>| b.payload.digest() == b.header.payload;
        if !run.blocks.iter().all(whole) {
            return Err("payload digest");
        }
        Ok(())
    }

    /// The signatures of a run are verified.
    pub(crate) fn blocks_checked(
        &mut self,
        now: Micros,
        from: MemberId,
        mut run: Blocks<P>,
        good: bool,
        out: &mut Vec<Output<P>>,
    ) {
        if !good {
            return self.fault(from, PeerFault::BadBlocks("signature"), out);
        }
        // The tip may have moved meanwhile. What is left must still hang on it.
        let proof = run.proof.clone();
        let last = run.blocks.iter().rev().find_map(|b| b.certificate.clone());
        if let Err(what) = self.chained(&mut run) {
            // It was a chain from an earlier tip and is certified: then finality is broken.
            if let (true, Some(theirs)) = (what == "not a chain", proof.or(last)) {
                let ours = self.chain.tip().certificate.clone();
                self.halt("a final block off the final chain", ours, theirs, out);
            }
            return;
        }
        if run.blocks.is_empty() {
            return;
        }
        self.marks.catch_ups += 1;
        self.append(run.blocks, out);
        for certificate in last.into_iter().chain(proof) {
            if certificate.view > self.chain.tip_view() {
                self.adopt(now, certificate, out);
            } else {
                self.enter(now, certificate.view.next(), certificate, out);
            }
        }
    }
}

/// A want without urgency.
fn need(want: Want, prefer: SignerSet) -> Need {
    Need {
        want,
        prefer,
        urgent: false,
    }
}
