//! The state of a core, its restoration from the safety record, and the dispatch of
//! inputs. The rules are in `voting` and `proposing` (what this member says), `quorum` (what
//! others say), `certificates`, and `finality` (final blocks, catching up).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{
    BlockId, Certificate, CertificateKind, Commit, MemberId, Micros, Mutant, SigCheck, SignerSet,
    View, Vote,
};

use crate::boundary::{Halt, Input, Output, PeerFault, RecordId, Timer, To};
use crate::certs::Certs;
use crate::chain::Chain;
use crate::config::{Config, ConfigError, LOOK_AHEAD_VIEWS, LOOK_BEHIND_VIEWS, UNFINAL_VIEWS_MAX};
use crate::fetch::Fetch;
use crate::jobs::{Job, Jobs};
use crate::lanes::CertifiedOnly;
use crate::leader::LeaderSchedule;
use crate::marks::Marks;
use crate::message::{Block, FinalBlock, HintedSkip, Justify, Message, Payload, Statement};
use crate::pacemaker::Pacemaker;
use crate::records::{Recovered, SafetyRecord};
use crate::tally::Tally;
use crate::telling::Telling;
use crate::voting::Candidate;

/// What this member has said in a view, from the moment of decision (C1, C2, C5, C6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Own<P> {
    pub(crate) voted: Option<Vote>,
    pub(crate) committed: Option<Commit>,
    /// Skipped, with this hint.
    pub(crate) skipped: Option<SignerSet>,
    pub(crate) proposed: bool,
    /// The proposal as recorded, until it is said again after a restart.
    pub(crate) proposal: Option<Box<(Block<P>, Justify)>>,
    /// The signed skip, for rebroadcasts (C9).
    pub(crate) skip_sent: Option<HintedSkip>,
}

impl<P> Default for Own<P> {
    fn default() -> Self {
        Self {
            voted: None,
            committed: None,
            skipped: None,
            proposed: false,
            proposal: None,
            skip_sent: None,
        }
    }
}

/// The consensus core of one member in one epoch: a pure state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core<P> {
    pub(crate) config: Arc<Config>,
    pub(crate) schedule: LeaderSchedule,
    pub(crate) started: bool,
    pub(crate) halted: bool,
    /// The current view, and the certificate that brought this member here.
    pub(crate) view: View,
    pub(crate) entry: Option<Certificate>,
    pub(crate) chain: Chain<P>,
    /// The highest final certificate whose block does not hang on the tip yet.
    pub(crate) target: Option<Certificate>,
    pub(crate) certs: Certs,
    pub(crate) own: BTreeMap<View, Own<P>>,
    pub(crate) tallies: BTreeMap<View, Tally>,
    pub(crate) candidates: BTreeMap<View, Candidate>,
    /// Views in which two headers are known (C6).
    pub(crate) equivocal: BTreeSet<View>,
    pub(crate) jobs: Jobs<P>,
    pub(crate) fetch: Fetch,
    pub(crate) pace: Pacemaker,
    pub(crate) lanes: CertifiedOnly,
    pub(crate) proposable: bool,
    /// The payload asked for: view and parent.
    pub(crate) building: Option<(View, BlockId)>,
    /// When each peer was last helped forward.
    pub(crate) helped: BTreeMap<MemberId, Micros>,
    pub(crate) telling: Telling,
    /// When each peer ahead was last asked how to get there.
    pub(crate) asked_way: BTreeMap<MemberId, Micros>,
    pub(crate) last_record: RecordId,
    pub(crate) marks: Marks,
}

/// Why a core cannot be restored; the node must stop and say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The configuration does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store belongs to another chain or epoch.
    #[error("the stored {what} belongs to another chain or epoch")]
    Foreign {
        /// What was found.
        what: &'static str,
    },
    /// Two records exclude each other: the safety record is corrupt, or two nodes ran with
    /// this identity. It must not vote again; continue as an observer.
    #[error("the safety record contradicts itself in view {view}: {what}")]
    Contradiction {
        /// Where.
        view: View,
        /// What.
        what: &'static str,
    },
}

impl<P: Payload> Core<P> {
    /// Builds the core from what is on disk (C7): `tip` is [`genesis`](crate::genesis) on a
    /// first start. [`Input::Start`] must follow; anything before it is ignored, but for the
    /// level [`Input::Proposable`].
    ///
    /// # Errors
    /// [`RestoreError`]; nothing may be said in this identity then.
    pub fn restore(config: Config, recovered: Recovered<P>) -> Result<Self, RestoreError> {
        config.validate()?;
        let tip = recovered.tip;
        if (tip.header.chain, tip.header.epoch) != (config.chain, config.epoch) {
            return Err(RestoreError::Foreign { what: "tip" });
        }
        let view = tip.header.view.next();
        let telling = Telling::new(config.committee.n(), view);
        let mut core = Self {
            schedule: LeaderSchedule::new(config.chain, config.epoch, &config.committee),
            pace: Pacemaker::new(config.params.clone(), config.committee.n(), view),
            config: Arc::new(config),
            started: false,
            halted: false,
            view,
            entry: None,
            chain: Chain::new(tip),
            target: None,
            certs: Certs::default(),
            own: BTreeMap::new(),
            tallies: BTreeMap::new(),
            candidates: BTreeMap::new(),
            equivocal: BTreeSet::new(),
            jobs: Jobs::default(),
            fetch: Fetch::default(),
            lanes: CertifiedOnly::default(),
            proposable: false,
            building: None,
            helped: BTreeMap::new(),
            telling,
            asked_way: BTreeMap::new(),
            last_record: RecordId::DURABLE,
            marks: Marks::default(),
        };
        let tip_view = core.chain.tip_view();
        for record in recovered.records {
            if record.view() > tip_view {
                core.replay(record)?;
            }
        }
        let entries = core.certs.highest().into_iter().chain(&core.target);
        let highest = entries.chain(&core.chain.tip().certificate);
        core.entry = highest.max_by_key(|c| c.view).cloned();
        core.pace = Pacemaker::new(
            core.config.params.clone(),
            core.config.committee.n(),
            core.view,
        );
        Ok(core)
    }

    /// C7: one record of the time before the restart.
    fn replay(&mut self, record: SafetyRecord<P>) -> Result<(), RestoreError> {
        let view = record.view();
        let contradiction = |what| Err(RestoreError::Contradiction { view, what });
        if record.epoch() != self.config.epoch {
            return Err(RestoreError::Foreign { what: "record" });
        }
        let forgotten = match record {
            SafetyRecord::Voted { .. } => self.has(Mutant::ForgetVotes),
            SafetyRecord::Committed { .. } | SafetyRecord::Certified(_) => {
                self.has(Mutant::ForgetCommits)
            }
            SafetyRecord::Skipped { .. } => self.has(Mutant::ForgetSkips),
            SafetyRecord::Proposed { .. } => false,
        };
        if forgotten {
            return Ok(());
        }
        self.view = self.view.max(record.entered());
        match record {
            SafetyRecord::Proposed { block, justify } => {
                let own = self.own.entry(view).or_default();
                let differs = |p: &(Block<P>, Justify)| p.0.header != block.header;
                if own.proposal.as_deref().is_some_and(differs) {
                    return contradiction("two proposals");
                }
                own.proposed = !self.config.planted.is(Mutant::ForgetProposals);
                self.chain.insert(block.clone(), None);
                own.proposal = Some(Box::new((block, justify)));
            }
            SafetyRecord::Voted {
                vote,
                block,
                signature,
            } => {
                let own = self.own.entry(view).or_default();
                if vote.block != block.id() || own.voted.as_ref().is_some_and(|v| *v != vote) {
                    return contradiction("two votes");
                }
                own.voted = Some(vote);
                self.chain.insert(block, signature);
            }
            SafetyRecord::Committed { commit } => {
                let own = self.own.entry(view).or_default();
                if own.skipped.is_some() || own.committed.as_ref().is_some_and(|c| *c != commit) {
                    return contradiction("commit and skip");
                }
                own.committed = Some(commit);
            }
            SafetyRecord::Skipped { missing, .. } => {
                let own = self.own.entry(view).or_default();
                if own.committed.is_some() {
                    return contradiction("commit and skip");
                }
                own.skipped = Some(missing);
            }
            SafetyRecord::Certified(certificate) => {
                if certificate.kind != CertificateKind::Final {
                    self.certs.insert(certificate);
                } else if self.target.as_ref().is_none_or(|t| t.view < view) {
                    self.target = Some(certificate);
                }
            }
        }
        Ok(())
    }

    /// One input, handled to the end. `now` is the driver's monotonic clock.
    pub fn step(&mut self, now: Micros, input: Input<P>, out: &mut Vec<Output<P>>) {
        if let (Input::Proposable(proposable), false) = (&input, self.started) {
            // A level is true before the start as well: it is not told again.
            self.proposable = *proposable;
        }
        if self.halted || (!self.started && !matches!(input, Input::Start)) {
            return;
        }
        match input {
            Input::Start => self.on_start(now, out),
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(timer) => self.on_timer(now, timer, out),
            Input::Verified { check, bad } => self.on_verified(now, check, &bad, out),
            Input::PayloadChecked { block, verdict } => {
                self.on_payload_checked(now, block, verdict, out);
            }
            Input::PayloadBuilt {
                view,
                payload,
                time,
            } => self.on_payload_built(now, view, payload, time, out),
            Input::Proposable(proposable) => {
                self.proposable = proposable;
                if proposable {
                    self.arm(now, out);
                    self.set_pace(now, out);
                }
            }
        }
        self.progress(now, out);
    }

    /// C7: says again what was said above the tip, before anything new.
    fn on_start(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        if self.started {
            return;
        }
        self.started = true;
        self.open_view(now, out);
        if self.speaker().is_none() {
            return;
        }
        let mut certificates: Vec<_> = self.entry.iter().cloned().collect();
        if let Some(tip) = &self.chain.tip().certificate
            && self.entry.as_ref() != Some(tip)
        {
            certificates.push(tip.clone());
        }
        for certificate in certificates {
            let message = Message::Certificate(certificate);
            out.push(Output::Send {
                to: To::All,
                message,
            });
        }
        let (epoch, current, after) = (self.config.epoch, self.view, RecordId::DURABLE);
        let from = self.floor().next().max(current.minus(LOOK_BEHIND_VIEWS));
        let mut say = |statement| out.push(Output::Say { after, statement });
        for (view, own) in self.own.range_mut(from..) {
            if let Some(proposal) = own.proposal.take()
                && *view == current
            {
                let (block, justify) = *proposal;
                say(Statement::Proposal { block, justify });
            }
            if let Some(vote) = own.voted.clone() {
                say(Statement::Vote(vote));
            }
            if let Some(commit) = own.committed.clone() {
                say(Statement::Commit(commit));
            }
            if let Some(missing) = own.skipped {
                let skip = fairlane_types::Skip { epoch, view: *view };
                say(Statement::Skip { skip, missing });
            }
        }
        if self.own.get(&current).is_some_and(|o| o.skipped.is_some()) {
            self.schedule_rebroadcast(now, out);
        }
    }

    fn on_timer(&mut self, now: Micros, timer: Timer, out: &mut Vec<Output<P>>) {
        match timer {
            Timer::Pace(view) if view == self.view => {
                // C9: the leader's time runs at the latest from here.
                if now >= self.pace.pace().1 {
                    self.arm(now, out);
                } else {
                    self.set_pace(now, out);
                }
            }
            Timer::Propose(view) if view == self.view => {
                let proposed = self.candidates.get(&view).is_some_and(|c| c.is_alive())
                    || self.own.get(&view).is_some_and(|own| own.voted.is_some());
                if self.pace.propose_over(now) && !proposed {
                    self.say_skip(now, out);
                }
            }
            Timer::View(view) if view == self.view && self.pace.view_over(now) => {
                self.say_skip(now, out);
            }
            Timer::Rebroadcast(view) if view == self.view && self.pace.repeat_over(now) => {
                self.rebroadcast(now, out);
            }
            Timer::Fetch => self.fetch.awake(), // `progress` asks
            Timer::Tell => self.tell_others(now, out),
            _ => {} // of an old view, or moved
        }
    }

    /// Everything that follows from the state as it is now; each part does nothing when
    /// called again.
    fn progress(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        self.try_target(now, out);
        self.try_commits(out);
        self.try_candidate(now, out);
        self.try_join(now, out);
        self.try_propose(now, out);
        self.update_fetches(now, out);
    }

    /// Enters a view because of a certificate of the one before it (C8).
    pub(crate) fn enter(
        &mut self,
        now: Micros,
        view: View,
        entry: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        if view <= self.view || view > self.floor().plus(UNFINAL_VIEWS_MAX) {
            return;
        }
        self.marks.views_entered += 1;
        self.marks.view_jumps += u64::from(view > self.view.next());
        self.view = view;
        self.entry = Some(entry);
        self.building = None;
        let oldest = view.minus(LOOK_BEHIND_VIEWS);
        self.tallies = self.tallies.split_off(&oldest);
        self.candidates = self.candidates.split_off(&oldest);
        self.equivocal = self.equivocal.split_off(&oldest);
        self.lanes.trim(view);
        self.tell(now, out);
        self.open_view(now, out);
        if self.speaker().is_some()
            && self.speaker() != Some(self.leader(view))
            && self
                .pace
                .inactive(self.leader(view), view, self.config.committee.quorum())
        {
            // C9: nobody waits for a leader that everyone else has missed for long.
            self.pace.excuse(view);
            self.marks.inactive_skips += 1;
            self.say_skip(now, out);
        }
    }

    fn open_view(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        self.pace.enter(now);
        if self.proposable {
            self.arm(now, out);
        }
        self.set_pace(now, out);
    }

    /// C10: wakes a leader that can advance after the minimal interval, and everyone after
    /// the maximal one.
    fn set_pace(&self, now: Micros, out: &mut Vec<Output<P>>) {
        let (earliest, latest) = self.pace.pace();
        let leads = self.speaker() == Some(self.leader(self.view));
        let soon = self.proposable && leads && now < earliest;
        let at = if soon { earliest } else { latest };
        if now < at {
            let timer = Timer::Pace(self.view);
            out.push(Output::SetTimer { timer, at });
        }
    }

    /// C9: starts the deadlines of this view, once.
    pub(crate) fn arm(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let view = self.view;
        if let Some((propose, over)) = self.pace.arm(now) {
            out.push(Output::SetTimer {
                timer: Timer::Propose(view),
                at: propose,
            });
            out.push(Output::SetTimer {
                timer: Timer::View(view),
                at: over,
            });
        }
    }

    /// C9: one more Δ̂ because something is being fetched.
    pub(crate) fn extend(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        self.arm(now, out);
        if let Some(at) = self.pace.extend() {
            self.marks.extensions += 1;
            out.push(Output::SetTimer {
                timer: Timer::View(self.view),
                at,
            });
        }
    }

    /// Whether this rule is broken on purpose.
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.config.planted.is(mutant)
    }

    /// Statements that make a certificate.
    pub(crate) fn quorum(&self, short: Mutant) -> usize {
        self.config.committee.quorum() - usize::from(self.has(short))
    }

    /// The member in whose name this core speaks.
    pub(crate) fn speaker(&self) -> Option<MemberId> {
        self.config.speaker().filter(|_| !self.halted)
    }

    /// Everything up to this view is decided by a final certificate, linked or not: C3, and
    /// nothing is said about it.
    pub(crate) fn floor(&self) -> View {
        let target = self.target.as_ref().map_or(View(0), |t| t.view);
        self.chain.tip_view().max(target)
    }

    /// Views whose certificates are kept (C4, C11).
    pub(crate) fn in_window(&self, view: View) -> bool {
        view > self.floor() && view <= self.floor().plus(UNFINAL_VIEWS_MAX)
    }

    /// Views whose votes and proposals are heard (C11).
    pub(crate) fn in_earshot(&self, view: View) -> bool {
        self.in_window(view)
            && view >= self.view.minus(LOOK_BEHIND_VIEWS)
            && view <= self.view.plus(LOOK_AHEAD_VIEWS)
    }

    pub(crate) fn record(&mut self, record: SafetyRecord<P>, out: &mut Vec<Output<P>>) -> RecordId {
        self.last_record = RecordId(self.last_record.0.saturating_add(1));
        let id = self.last_record;
        out.push(Output::Record { id, record });
        if self.has(Mutant::SayFirst) {
            return RecordId::DURABLE;
        }
        id
    }

    pub(crate) fn verify(&mut self, job: Job<P>, sigs: Vec<SigCheck>, out: &mut Vec<Output<P>>) {
        let check = self.jobs.start(job);
        out.push(Output::Verify { check, sigs });
    }

    pub(crate) fn fault(&mut self, peer: MemberId, fault: PeerFault, out: &mut Vec<Output<P>>) {
        self.marks.blames += 1;
        out.push(Output::Fault { peer, fault });
    }

    /// More than f members are faulty: stop before anything worse is said.
    pub(crate) fn halt(
        &mut self,
        reason: &'static str,
        ours: Option<Certificate>,
        theirs: Certificate,
        out: &mut Vec<Output<P>>,
    ) {
        if !self.halted {
            self.halted = true;
            out.push(Output::Halt(Box::new(Halt {
                reason,
                ours,
                theirs,
            })));
        }
    }

    /// D3: whether this notarization holds a quorum of clean votes.
    pub(crate) fn is_clean(&self, notarization: &Certificate) -> bool {
        let clean = notarization.signers.len() - notarization.dirty.len();
        clean >= self.config.committee.quorum()
    }

    /// D3: whether this block has a quorum of clean votes, so that shares may ride with the
    /// commit vote for it. False for what is not notarized above the last final block.
    #[must_use]
    pub fn is_vouched(&self, view: View, block: BlockId) -> bool {
        let notarization = self.certs.notarization(view);
        notarization.is_some_and(|c| c.block == block && self.is_clean(c))
    }

    /// The view this member is in.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }
    /// The last final block.
    #[must_use]
    pub fn finalized(&self) -> &FinalBlock<P> {
        self.chain.tip()
    }
    /// The leader of a view.
    #[must_use]
    pub fn leader(&self, view: View) -> MemberId {
        self.schedule.leader(view)
    }
    /// Counters.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }
    /// Δ̂, the present estimate of the delay (C9).
    #[must_use]
    pub fn delay(&self) -> Micros {
        self.pace.delay()
    }
    /// What it was configured with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Whether finality was found broken ([`Output::Halt`]): it says nothing any more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted
    }
    /// Whether final blocks are known to exist that this member does not have yet.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.target.is_some()
    }
}
