//! One core on the bench, with everything around it made by hand.

use std::collections::BTreeMap;

use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateKind, Commit, Height, MemberId, Micros, Millis,
    Signature, SignerSet, Skip, View, Vote,
};

use super::{CHAIN, Cut, EPOCH, bad_ones, config, ideal, key, origin};
use crate::{
    Block, Config, Core, Evidence, FinalBlock, Halt, Input, Justify, LeaderSchedule, Message,
    Output, Payload, PeerFault, Recovered, SafetyRecord, Statement, Timer, To, Verdict,
};

/// A core of a committee of four, and all it said and asked for.
pub(crate) struct Solo {
    pub(crate) core: Core<Cut>,
    pub(crate) now: Micros,
    pub(crate) said: Vec<Statement<Cut>>,
    pub(crate) sent: Vec<(To, Message<Cut>)>,
    pub(crate) records: Vec<SafetyRecord<Cut>>,
    pub(crate) finals: Vec<FinalBlock<Cut>>,
    pub(crate) faults: Vec<(MemberId, PeerFault)>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) halts: Vec<Halt>,
    pub(crate) timers: BTreeMap<Timer, Micros>,
    pub(crate) serves: Vec<(MemberId, Height, u16)>,
    /// Answer to every payload question; none to leave it open.
    pub(crate) verdict: Option<Verdict>,
    /// Signature checks are answered at once.
    pub(crate) verifies: bool,
    pub(crate) checks: u64,
    /// Payload builds asked for.
    pub(crate) builds: Vec<(View, BlockId, SignerSet)>,
}

pub(crate) fn leader(view: u64) -> MemberId {
    LeaderSchedule::new(CHAIN, EPOCH, &super::committee(4)).leader(View(view))
}

/// A member that leads none of these views.
pub(crate) fn follower(views: std::ops::Range<u64>) -> MemberId {
    let leads = |m: &MemberId| views.clone().any(|v| leader(v) == *m);
    (0..4).map(MemberId).find(|m| !leads(m)).unwrap()
}

impl Solo {
    pub(crate) fn new(me: MemberId) -> Self {
        Self::restored(config(4, Some(me.0), true), origin(), Vec::new())
    }

    pub(crate) fn restored(
        config: Config,
        tip: FinalBlock<Cut>,
        records: Vec<SafetyRecord<Cut>>,
    ) -> Self {
        let core = Core::restore(config, Recovered { tip, records }).unwrap();
        let mut solo = Self {
            core,
            now: Micros(1_000_000),
            said: Vec::new(),
            sent: Vec::new(),
            records: Vec::new(),
            finals: Vec::new(),
            faults: Vec::new(),
            evidence: Vec::new(),
            halts: Vec::new(),
            timers: BTreeMap::new(),
            serves: Vec::new(),
            verdict: Some(Verdict::Valid),
            verifies: true,
            checks: 0,
            builds: Vec::new(),
        };
        solo.feed(Input::Start);
        solo
    }

    /// Dies and comes back with all its records.
    pub(crate) fn restart(&mut self) {
        let config = self.core.config().clone();
        let tip = self.core.finalized().clone();
        *self = Self::restored(config, tip, self.records.clone());
    }

    pub(crate) fn me(&self) -> MemberId {
        self.core.config().me.unwrap()
    }

    pub(crate) fn feed(&mut self, input: Input<Cut>) {
        let mut inputs = std::collections::VecDeque::from([input]);
        let mut recorded = None;
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.step(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Record { id, record } => {
                        recorded = Some(id);
                        self.records.push(record);
                    }
                    Output::Say { after, statement } => {
                        assert!(after <= recorded.unwrap_or_default() || self.records.is_empty());
                        self.said.push(statement.clone());
                        let message = sign(self.me(), statement);
                        let from = self.me();
                        inputs.push_back(Input::Message { from, message });
                    }
                    Output::Send { to, message } => self.sent.push((to, message)),
                    Output::Verify { check, sigs } => {
                        self.checks += sigs.len() as u64;
                        if self.verifies {
                            let bad = bad_ones(&sigs);
                            inputs.push_back(Input::Verified { check, bad });
                        }
                    }
                    Output::SetTimer { timer, at } => {
                        self.timers.insert(timer, at);
                    }
                    Output::CheckPayload { block, .. } => {
                        if let Some(verdict) = self.verdict.clone() {
                            inputs.push_back(Input::PayloadChecked { block, verdict });
                        }
                    }
                    Output::BuildPayload {
                        view,
                        parent,
                        certified_only,
                    } => self.builds.push((view, parent.id(), certified_only)),
                    Output::Finalized(blocks) => self.finals.extend(blocks),
                    Output::Prune { .. } => {}
                    Output::Serve { to, from, count } => self.serves.push((to, from, count)),
                    Output::Evidence(evidence) => self.evidence.push(*evidence),
                    Output::Fault { peer, fault } => self.faults.push((peer, fault)),
                    Output::Halt(halt) => self.halts.push(*halt),
                }
            }
        }
    }

    pub(crate) fn hear(&mut self, from: MemberId, message: Message<Cut>) {
        self.feed(Input::Message { from, message });
    }

    /// The certificate arrives from somebody else.
    pub(crate) fn hear_certificate(&mut self, certificate: Certificate) {
        let from = (0..4).map(MemberId).find(|m| *m != self.me()).unwrap();
        self.hear(from, Message::Certificate(certificate));
    }

    /// The proposal of the leader of its view arrives.
    pub(crate) fn hear_proposal(&mut self, block: &Block<Cut>, justify: Justify) {
        let from = block.header.proposer;
        let message = sign(
            from,
            Statement::Proposal {
                block: block.clone(),
                justify,
            },
        );
        self.hear(from, message);
    }

    /// Time passes until this timer is due, and it fires.
    pub(crate) fn fire(&mut self, timer: Timer) {
        let at = self.timers.get(&timer).copied();
        self.now = self.now.max(at.expect("the timer was set"));
        self.feed(Input::Timer(timer));
    }

    pub(crate) fn voted(&self, view: u64) -> Option<BlockId> {
        self.said.iter().find_map(|s| match s {
            Statement::Vote(v) if v.view == View(view) => Some(v.block),
            _ => None,
        })
    }
    pub(crate) fn committed(&self, view: u64) -> Option<BlockId> {
        self.said.iter().find_map(|s| match s {
            Statement::Commit(c) if c.view == View(view) => Some(c.block),
            _ => None,
        })
    }
    pub(crate) fn skipped(&self, view: u64) -> bool {
        let skip = |s: &&Statement<Cut>| matches!(s, Statement::Skip { skip, .. } if skip.view == View(view));
        self.said.iter().any(|s| skip(&s))
    }
    pub(crate) fn certificates_sent(&self, kind: CertificateKind, view: u64) -> usize {
        let is = |m: &Message<Cut>| matches!(m, Message::Certificate(c) if c.kind == kind && c.view == View(view));
        self.sent.iter().filter(|(_, m)| is(m)).count()
    }
    /// Requests sent, with the peer asked.
    pub(crate) fn requests(&self) -> Vec<(To, Message<Cut>)> {
        let request = |m: &Message<Cut>| {
            matches!(
                m,
                Message::GetBlock { .. } | Message::GetBlocks { .. } | Message::GetCerts { .. }
            )
        };
        let requests = self.sent.iter().filter(|(_, m)| request(m));
        requests.cloned().collect()
    }
}

pub(crate) fn sign(by: MemberId, statement: Statement<Cut>) -> Message<Cut> {
    let check = statement.check(&key(by), CHAIN, Signature::default());
    statement.with(ideal(&check))
}

pub(crate) fn block(view: u64, parent: &BlockHeader, nonce: u64) -> Block<Cut> {
    let payload = Cut {
        nonce,
        bytes: Vec::new(),
    };
    let header = BlockHeader {
        chain: CHAIN,
        epoch: EPOCH,
        view: View(view),
        height: parent.height.next(),
        parent_view: parent.view,
        parent: parent.id(),
        proposer: leader(view),
        time: Millis(parent.time.0 + 10),
        payload: payload.digest(),
    };
    Block { header, payload }
}

pub(crate) fn genesis() -> BlockHeader {
    origin().header
}

pub(crate) fn vote(by: MemberId, block: &Block<Cut>) -> Message<Cut> {
    let vote = Vote {
        epoch: EPOCH,
        view: block.header.view,
        block: block.id(),
        dirty: true,
    };
    sign(by, Statement::Vote(vote))
}

pub(crate) fn commit(by: MemberId, block: &Block<Cut>) -> Message<Cut> {
    let commit = Commit {
        epoch: EPOCH,
        view: block.header.view,
        height: block.header.height,
        block: block.id(),
    };
    sign(by, Statement::Commit(commit))
}

pub(crate) fn skip(by: MemberId, view: u64, missing: &[u8]) -> Message<Cut> {
    let skip = Skip {
        epoch: EPOCH,
        view: View(view),
    };
    let missing = missing.iter().map(|m| MemberId(*m)).collect();
    sign(by, Statement::Skip { skip, missing })
}

/// A certificate signed by members 0, 1 and 2, or by 1, 2 and 3.
fn certificate(
    kind: CertificateKind,
    view: View,
    height: Height,
    block: BlockId,
    say: impl Fn(MemberId) -> Message<Cut>,
) -> Certificate {
    let signers = [MemberId(0), MemberId(1), MemberId(2)];
    let signature = |m: &MemberId| match say(*m) {
        Message::Vote(s) => s.signature,
        Message::Commit(s) => s.signature,
        Message::Skip(s) => s.skip.signature,
        _ => unreachable!("a vote of some kind"),
    };
    let set: SignerSet = signers.into_iter().collect();
    let votes = kind == CertificateKind::Notarization;
    Certificate {
        kind,
        epoch: EPOCH,
        view,
        height,
        block,
        signers: set,
        dirty: if votes { set } else { SignerSet::default() },
        signatures: signers.iter().map(signature).collect(),
    }
}

pub(crate) fn notarization(b: &Block<Cut>) -> Certificate {
    let h = &b.header;
    let kind = CertificateKind::Notarization;
    certificate(kind, h.view, h.height, b.id(), |m| vote(m, b))
}
pub(crate) fn final_certificate(b: &Block<Cut>) -> Certificate {
    let h = &b.header;
    let kind = CertificateKind::Final;
    certificate(kind, h.view, h.height, b.id(), |m| commit(m, b))
}
pub(crate) fn skip_certificate(view: u64) -> Certificate {
    let kind = CertificateKind::Skip;
    let none = BlockId::default();
    certificate(kind, View(view), Height(0), none, |m| skip(m, view, &[]))
}

pub(crate) fn on_genesis() -> Justify {
    Justify::default()
}
pub(crate) fn on(parent: &Block<Cut>, skips: &[u64]) -> Justify {
    Justify {
        parent: Some(notarization(parent)),
        skips: skips.iter().map(|v| skip_certificate(*v)).collect(),
    }
}
