//! The lanes of one member: state, dispatch, and what is done at the end of every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{BlockId, CtId, Envelope, KeyId, MemberId, Micros, Millis, Seq, SignerSet};

use crate::edge::{Edge, Submission};
use crate::fetch::PayloadWants;
use crate::lane::{Early, Lane};
use crate::own::Own;
use crate::pool::Pool;
use crate::{
    CheckId, Config, Cut, Emitted, Head, Input, LaneFault, LaneFork, LaneMessage, Limits, LoadId,
    Output, Stage, Timer, WriteId,
};

/// Verifications under way on behalf of one peer; what is over it is fetched later.
pub(crate) const CHECKS_MAX: usize = 256;
/// Proposed cuts that are being fetched for; the oldest gives way.
pub(crate) const WANTED_MAX: usize = 16;

/// The next look at what is due is never later than this, whatever stamps say.
const WAKE_MAX_US: u64 = 60_000_000;

/// A verification under way.
#[derive(Debug)]
pub(crate) enum Check {
    /// Signature of a batch.
    Batch { from: MemberId, early: Box<Early> },
    /// Signature of the second version of a batch.
    Fork(Box<LaneFork>),
    /// The payloads that a batch carries.
    Carried {
        lane: MemberId,
        seq: Seq,
        digest: fairlane_types::BatchDigest,
        orders: Vec<(CtId, Arc<Envelope>)>,
    },
    /// Payloads sent on request.
    Fetched {
        from: MemberId,
        orders: Vec<(CtId, Arc<Envelope>)>,
    },
    /// Direct submissions.
    Submitted(Vec<Submission>),
}

/// A proposed cut that cannot be decided yet.
#[derive(Debug)]
pub(crate) struct WantedCut {
    pub block: BlockId,
    pub parent: Cut,
    pub cut: Cut,
}

/// All lanes as one member sees them, its own included.
#[derive(Debug)]
pub struct Lanes {
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) lanes: Vec<Lane>,
    /// Per member, and there per lane, its last acknowledged head, as far as understood.
    pub(crate) acks: Vec<Vec<Head>>,
    pub(crate) pool: Pool,
    pub(crate) own: Own,
    pub(crate) edge: Edge,
    pub(crate) payloads: PayloadWants,
    /// Lanes of which something may be missing: all others need no look when a step ends.
    pub(crate) seeking: SignerSet,
    /// Members whose holdings fit other digests than ours.
    pub(crate) puzzled: SignerSet,
    /// At most CHECKS_MAX per peer and the edge's own.
    pub(crate) checks: BTreeMap<CheckId, Check>,
    pub(crate) checks_of: Vec<usize>,
    /// Own batches being written; bounded by the window.
    pub(crate) writes: BTreeMap<WriteId, Seq>,
    /// At most LOADS_MAX per peer.
    pub(crate) loads: BTreeMap<LoadId, MemberId>,
    /// At most WANTED_MAX, oldest first.
    pub(crate) wanted: Vec<WantedCut>,
    /// The final block that is next, while something of it is missing.
    pub(crate) final_wanted: Option<WantedCut>,
    /// L2: complete batches that are held back; one entry per slot.
    pub(crate) held_back: BTreeSet<(Micros, MemberId, Seq)>,
    pub(crate) final_time: Millis,
    pub(crate) taken_time: Millis,
    pub(crate) parent: Cut,
    /// The heads of `parent` were found on our chains. Until `parent` or a chain is
    /// replaced, or batches are forgotten, they still are.
    pub(crate) parent_held: bool,
    /// A lane that advanced from `parent` when last asked: it is asked first.
    pub(crate) ahead: MemberId,
    /// Lanes that may advance from `parent`: whatever touches a lane puts it here.
    pub(crate) unasked: SignerSet,
    pub(crate) started: bool,
    /// Orders that a restart found, until it is started.
    pub(crate) found: Vec<CtId>,
    /// Something happened that may let a wanted cut be decided.
    pub(crate) progress: bool,
    advancing: bool,
    wake: Option<Micros>,
    next_id: u64,
}

impl Lanes {
    /// Empty lanes, at genesis.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let n = config.committee.n();
        Self {
            limits: Limits::new(&config.lanes),
            lanes: (0..n).map(|_| Lane::new()).collect(),
            acks: vec![vec![Head::default(); n]; n],
            pool: Pool::default(),
            own: Own::default(),
            edge: Edge::default(),
            payloads: PayloadWants::default(),
            seeking: SignerSet::default(),
            puzzled: SignerSet::default(),
            checks: BTreeMap::new(),
            checks_of: vec![0; n],
            writes: BTreeMap::new(),
            loads: BTreeMap::new(),
            wanted: Vec::new(),
            final_wanted: None,
            held_back: BTreeSet::new(),
            final_time: config.genesis_time,
            taken_time: config.genesis_time,
            parent: Cut::genesis(n),
            parent_held: false,
            ahead: MemberId(0),
            unasked: config.committee.ids().collect(),
            started: false,
            found: Vec::new(),
            progress: false,
            advancing: false,
            wake: None,
            next_id: 0,
            config,
        }
    }

    /// One input. Never panics, never blocks; everything it asks for is in `out`.
    pub fn step(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.start(now, out),
            Input::Submit {
                ticket,
                envelope,
                pressure,
            } => self.submit(now, ticket, envelope, pressure, out),
            Input::Message { from, message } => self.message(now, from, message, out),
            Input::Verified { check, bad } => self.verified(now, check, &bad, out),
            Input::Signed { seq, signature } => self.signed(seq, signature, out),
            Input::Stored(id) => self.stored(id, out),
            Input::Timer(Timer::Wake) => self.wake = None,
            Input::Loaded {
                load,
                batches,
                payloads,
            } => self.loaded(load, batches, payloads, out),
            Input::Finalized { cut, time } => self.finalized(now, &cut, time, out),
            Input::Parent(cut) if cut.heads.len() == self.lanes.len() => {
                (self.parent, self.parent_held) = (cut, false);
                self.unasked = self.config.committee.ids().collect();
            }
            Input::Parent(_) => {}
            Input::Emitted(orders) => self.emitted(now, &orders, out),
        }
        self.settle(now, out);
    }

    fn message(
        &mut self,
        now: Micros,
        from: MemberId,
        message: LaneMessage,
        out: &mut Vec<Output>,
    ) {
        if !self.config.committee.contains(from) || from == self.config.me {
            return;
        }
        if !message.bounded() {
            return fault(from, LaneFault::Oversized, out);
        }
        match message {
            LaneMessage::Batch(batch) if batch.lane != from => {
                fault(from, LaneFault::NotOwner, out);
            }
            LaneMessage::Batch(batch) => self.on_batch(now, from, batch, out),
            LaneMessage::GetBatches {
                lane,
                from: first,
                to,
                head,
            } => self.serve_batches(from, lane, first, to, head, out),
            LaneMessage::Batches(batches) => self.on_batches(now, from, batches, out),
            LaneMessage::GetPayloads(ids) => self.serve_payloads(from, ids, out),
            LaneMessage::Payloads(payloads) => self.on_payloads(from, payloads, out),
            LaneMessage::GetHeads(seq) => self.serve_heads(from, seq, out),
            LaneMessage::Heads { seq, digests } => self.on_heads(now, from, seq, &digests, out),
        }
    }

    /// At the end of every step: whatever is due.
    pub(crate) fn settle(&mut self, now: Micros, out: &mut Vec<Output>) {
        while let Some(&(at, lane, seq)) = self.held_back.first() {
            if at > now {
                break;
            }
            self.held_back.pop_first();
            self.try_complete(now, lane, seq, out);
        }
        let mut wake = self.fetch_due(now, out);
        wake = earliest(wake, self.held_back.first().map(|(at, _, _)| *at));
        wake = earliest(wake, self.seal_due(now, out));
        if std::mem::take(&mut self.progress) {
            self.announce_ready(out);
        }
        let advancing = self.advances_parent();
        if advancing != self.advancing {
            self.advancing = advancing;
            out.push(Output::Advancing(advancing));
        }
        if let Some(at) = wake.map(|at| at.min(now.plus(WAKE_MAX_US)))
            && self.wake.is_none_or(|set| at < set || set <= now)
        {
            self.wake = Some(at);
            let timer = Timer::Wake;
            out.push(Output::SetTimer { timer, at });
        }
    }

    /// Orders that have their outcome leave the live pool.
    fn emitted(&mut self, now: Micros, orders: &[Emitted], out: &mut Vec<Output>) {
        for order in orders {
            let (waiters, held) = self.pool.finish(order, self.config.ttl_max);
            self.payloads.remove(&order.ct_id);
            for ticket in held.map(|held| held.tickets).unwrap_or_default() {
                let error = crate::AdmissionError::AlreadySequenced;
                out.push(Output::Refused { ticket, error });
            }
            for (lane, seq) in waiters {
                self.no_longer_missing(now, lane, seq, &order.ct_id, out);
            }
        }
    }

    /// Where an order is; `None` if it is unknown or has its outcome.
    #[must_use]
    pub fn status(&self, ct_id: &CtId) -> Option<Stage> {
        let held = self.pool.get(ct_id)?;
        Some(match held.place {
            _ if held.is_final => Stage::Final,
            Some(_) => Stage::Laned,
            None => Stage::Received,
        })
    }

    /// Orders may name this key from now on.
    pub fn admit_key(&mut self, key: KeyId) {
        if !self.config.keys.contains(&key) {
            self.config.keys.push(key);
        }
    }

    /// Whether there is no key yet that orders may name.
    #[must_use]
    pub fn keyless(&self) -> bool {
        self.config.keys.is_empty()
    }

    /// Number of orders that are on their way: held or being verified, without outcome.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pool.held() + self.edge.pending()
    }

    /// Number of them that their senders sent to this member.
    #[must_use]
    pub fn held_directly(&self) -> usize {
        self.pool.direct() + self.edge.pending()
    }

    /// An order that is held and has no outcome.
    #[must_use]
    pub fn envelope(&self, ct_id: &CtId) -> Option<Arc<Envelope>> {
        self.pool.get(ct_id).map(|held| held.envelope.clone())
    }

    /// Number and stamp of this member's last durable batch.
    #[must_use]
    pub fn own_tip(&self) -> (Seq, Micros) {
        let lane = &self.lanes[self.config.me.index()];
        let stamp = lane
            .at(lane.acked.seq)
            .map_or(Micros(0), |(_, stamp)| stamp);
        (lane.acked.seq, stamp)
    }

    pub(crate) fn lane(&mut self, lane: MemberId) -> &mut Lane {
        self.unasked.insert(lane);
        &mut self.lanes[lane.index()]
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Starts a verification on behalf of `from`, unless too many are under way.
    pub(crate) fn begin_check(&mut self, from: MemberId, check: Check) -> Option<CheckId> {
        let count = &mut self.checks_of[from.index()];
        if *count >= CHECKS_MAX {
            return None;
        }
        *count += 1;
        let id = CheckId(self.fresh_id());
        self.checks.insert(id, check);
        Some(id)
    }
}

pub(crate) fn fault(peer: MemberId, fault: LaneFault, out: &mut Vec<Output>) {
    out.push(Output::Fault { peer, fault });
}

pub(crate) fn earliest(a: Option<Micros>, b: Option<Micros>) -> Option<Micros> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
