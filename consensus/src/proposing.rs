//! A leader's turn: when to propose (C10), on what (C4), and only once (C6).

use fairlane_types::{
    BlockHeader, BlockId, Certificate, Micros, Millis, Mutant, Signature, SignerSet, View,
};

use crate::boundary::Output;
use crate::core::Core;
use crate::message::{Block, Justify, Payload, Statement};
use crate::records::SafetyRecord;
use crate::voting::{Candidate, Stage};

/// What a leader can build on.
pub(crate) enum Ground {
    /// A block that is there, and its certificate (none for genesis).
    Parent(BlockId, Option<Certificate>),
    /// Neither a usable notarization nor a skip certificate for this view.
    Gap(View),
}

impl<P: Payload> Core<P> {
    /// C10: the leader asks for a payload as soon as it may propose.
    pub(crate) fn try_propose(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let view = self.view;
        if self.building.is_some()
            || self.speaker() != Some(self.leader(view))
            || !self.may_propose(view)
            || !self.pace.due(now, self.proposable)
        {
            return;
        }
        let Ground::Parent(id, _) = self.ground() else {
            return; // what is missing is being fetched
        };
        let Some(parent) = self.chain.block(id) else {
            return;
        };
        self.building = Some((view, id));
        out.push(Output::BuildPayload {
            view,
            parent,
            certified_only: self.lanes.active(view),
        });
    }

    /// C6: once per view; and after a skip nobody would vote.
    pub(crate) fn may_propose(&self, view: View) -> bool {
        let said = |own: &crate::core::Own<P>| {
            let voted = own.voted.is_some() && !self.has(Mutant::ForgetProposals);
            own.proposed || voted || own.skipped.is_some()
        };
        view > self.floor() && !self.own.get(&view).is_some_and(said)
    }

    pub(crate) fn on_payload_built(
        &mut self,
        _now: Micros,
        view: View,
        payload: P,
        time: Millis,
        out: &mut Vec<Output<P>>,
    ) {
        let Some((asked, parent)) = self.building else {
            return;
        };
        let Some(me) = self.speaker() else { return };
        if asked != view || view != self.view || !self.may_propose(view) {
            return;
        }
        self.building = None;
        // The ground may have moved since: then `progress` asks again.
        let Ground::Parent(id, certificate) = self.ground() else {
            return;
        };
        let (Some(header), true) = (self.chain.header(id), id == parent) else {
            return;
        };
        let header = BlockHeader {
            chain: self.config.chain,
            epoch: self.config.epoch,
            view,
            height: header.height.next(),
            parent_view: header.view,
            parent: id,
            proposer: me,
            time: time.max(header.time),
            payload: payload.digest(),
        };
        let justify = Justify {
            parent: certificate,
            skips: self.certs.inline_skips(header.parent_view, view),
        };
        let block = Block { header, payload };
        let id = block.id();
        let own = self.own.entry(view).or_default();
        own.proposed = true;
        self.marks.proposals += 1;
        self.candidates.insert(
            view,
            Candidate {
                id,
                header: block.header.clone(),
                signature: Signature::default(),
                // D3: whether the own vote is clean is the application's to say.
                stage: if self.config.clean_votes {
                    Stage::Ready
                } else {
                    Stage::Valid
                },
                missing: SignerSet::default(),
                clean: false,
            },
        );
        self.insert(block.clone(), None, out);
        let record = SafetyRecord::Proposed {
            block: block.clone(),
            justify: justify.clone(),
        };
        let after = self.record(record, out);
        let statement = Statement::Proposal { block, justify };
        out.push(Output::Say { after, statement });
        // The own vote is recorded in the same turn: `try_candidate` follows.
    }

    /// C4: the newest certified block that is here and above which every view was skipped.
    /// With both a notarization and a skip certificate of one view, the notarized block is
    /// preferred; if it is missing, the skip certificate lets an older parent do.
    pub(crate) fn ground(&self) -> Ground {
        let mut view = self.view;
        loop {
            view = view.prev();
            if let Some(certificate) = self.certificate_of(view)
                && self.chain.has(certificate.block)
            {
                return Ground::Parent(certificate.block, Some(certificate.clone()));
            }
            if view <= self.chain.tip_view() {
                let tip = self.chain.tip();
                return match &tip.certificate {
                    None if tip.header.view > View(0) => Ground::Gap(view),
                    certificate => Ground::Parent(self.chain.tip_id(), certificate.clone()),
                };
            }
            if !self.certs.skipped(view) {
                return Ground::Gap(view);
            }
        }
    }

    /// The certificate that makes a block of this view a parent.
    fn certificate_of(&self, view: View) -> Option<&Certificate> {
        let target = self.target.as_ref().filter(|t| t.view == view);
        target.or_else(|| self.certs.notarization(view))
    }

    /// C4: whether this block is known to be notarized or final.
    pub(crate) fn certified(&self, view: View, block: BlockId) -> bool {
        block == self.chain.tip_id()
            || (view > self.chain.tip_view()
                && self.certificate_of(view).is_some_and(|c| c.block == block))
    }
}
