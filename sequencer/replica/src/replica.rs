//! The composition: one state machine out of consensus, lanes, fair order and openings.
//!
//! A step turns one event into work for the machines below, and works until nothing is
//! left to do. What a machine asks for becomes an effect, or work for another machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_consensus::{self as consensus, Core, RecordId, Statement};
use fairlane_encryption::SuiteParsed;
use fairlane_mempool::fair::{FairOrder, ReceiveOrder};
use fairlane_mempool::{self as mempool, Lanes};
use fairlane_types::{
    BlockId, ChainId, Committee, CtId, Epoch, Genesis, Height, MemberId, Micros, Planted, Position,
    Root, Signer,
};

use crate::attest_schedule::AttestSchedule;
use crate::attesting::Attesting;
use crate::beacons::Beacons;
use crate::boundary::{Effect, Event, JobId, LoadId, Peers, Reply, Ticket, TimerId, WriteId};
use crate::capacity::Capacity;
use crate::ceremony::Keyless;
use crate::combiners::Combiners;
use crate::envelope_checks::EnvelopeChecks;
use crate::epoch_change::EpochChange;
use crate::former_key::FormerKey;
use crate::key_making::KeyMaking;
use crate::keys::{Emitted, meta};
use crate::opening::Said;
use crate::openings::Openings;
use crate::payload::{CutPayload, FinalBlock};
use crate::pipeline::FinalQueue;
use crate::retention::Retention;
use crate::state_attesting::StateAttesting;
use crate::status::Counters;
use crate::under_way::{Purpose, Reading, Written};
use crate::{Message, Write};

/// Emitted orders whose place is still answered from memory: between the moment an API
/// looked for one on disk in vain and its question here, it may have been emitted.
const RECENT_EMITTED: usize = 16_384;
/// Above so many final heights without plaintext, submissions are turned away (A23).
const OPENINGS_BUSY: usize = 128;

/// What a replica is told about itself.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The genesis file.
    pub genesis: Genesis,
    /// This member.
    pub me: MemberId,
    /// Its identity key; signatures are deterministic, so the replica stays pure.
    pub identity: Arc<dyn Signer>,
    /// Nothing is ever pruned (M6): for whoever wants the whole history.
    pub archive: bool,
    /// The rule that is broken on purpose: none, but in tests.
    pub planted: Planted,
}

/// Work for a machine below.
#[derive(Debug)]
pub(crate) enum Work {
    Consensus(Box<consensus::Input<CutPayload>>),
    Lanes(Box<mempool::Input>),
}

/// A payload that consensus asked about and that was not decidable yet.
#[derive(Debug)]
pub(crate) struct PendingCheck {
    pub(crate) parent: consensus::Block<CutPayload>,
    pub(crate) block: consensus::Block<CutPayload>,
}

/// One member's whole protocol.
#[derive(Debug)]
pub struct Replica {
    pub(crate) genesis: Genesis,
    pub(crate) committee: Committee,
    pub(crate) me: MemberId,
    pub(crate) identity: Arc<dyn Signer>,
    pub(crate) voting: bool,
    pub(crate) planted: Planted,

    pub(crate) core: Core<CutPayload>,
    pub(crate) lanes: Lanes,
    pub(crate) order: Box<dyn FairOrder + Send>,
    pub(crate) receive_order: ReceiveOrder,
    pub(crate) openings: Openings,
    pub(crate) finals: FinalQueue,

    /// Envelopes that jobs are at work on.
    pub(crate) envelope_checks: EnvelopeChecks,
    /// Valid ciphertexts with U parsed, so that validity is paid once.
    pub(crate) parsed: BTreeMap<CtId, Arc<SuiteParsed>>,
    pub(crate) reparsing: bool,
    pub(crate) checks: BTreeMap<BlockId, PendingCheck>,
    /// Cuts that the lanes say can be decided now.
    pub(crate) ready: Vec<BlockId>,
    pub(crate) advancing: bool,
    pub(crate) backlog: bool,
    pub(crate) proposable: bool,

    /// Highest record that is durable, and what waits for later ones (C7).
    pub(crate) recorded: RecordId,
    pub(crate) says: BTreeMap<RecordId, Vec<Statement<CutPayload>>>,

    pub(crate) last: Last,
    pub(crate) capacity: Capacity,
    pub(crate) retention: Retention,
    pub(crate) combiners: Combiners,
    pub(crate) attest_schedule: AttestSchedule,
    pub(crate) attesting: Attesting,
    /// On a chain whose ties are broken by the beacon.
    pub(crate) beacons: Beacons,
    pub(crate) states: StateAttesting,
    /// On a chain whose key the members make.
    pub(crate) ceremony: Option<KeyMaking>,
    pub(crate) keyless: Keyless,
    pub(crate) ending: EpochChange,
    pub(crate) former: Option<FormerKey>,
    pub(crate) recent: BTreeMap<CtId, Emitted>,
    pub(crate) recent_order: VecDeque<CtId>,

    pub(crate) work: VecDeque<Work>,
    /// Empty between steps; kept for their room.
    pub(crate) core_outputs: Vec<consensus::Output<CutPayload>>,
    pub(crate) lane_outputs: Vec<mempool::Output>,
    pub(crate) next_id: u64,
    pub(crate) writes: BTreeMap<WriteId, Written>,
    pub(crate) jobs: BTreeMap<JobId, Purpose>,
    pub(crate) loads: BTreeMap<LoadId, Reading>,
    pub(crate) payload_loads: BTreeMap<mempool::LoadId, crate::lane_work::PayloadLoad>,
    pub(crate) shares_timer: bool,
    /// Proofs that were kept, by accused and kind.
    pub(crate) convicted: BTreeMap<(MemberId, &'static str), u32>,
    pub(crate) counters: Counters,
}

/// The end of the sequence built so far (built, though maybe not durable yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) height: Height,
    pub(crate) root: Root,
    pub(crate) next: Position,
}

impl Replica {
    /// One event. Never blocks, never panics on anything from outside.
    pub fn step(&mut self, now: Micros, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Start => self.start(now, out),
            Event::Message { from, message } => self.message(from, message, out),
            // Whatever was lost with the link is asked for by range and by timer (C9, D7);
            // shares are what a peer that was away waits for first.
            Event::Connected(peer) => {
                self.say_shares_again(peer, out);
                self.say_attest_again(peer, out);
                self.say_ceremony_again(peer, out);
                self.say_change_again(peer, out);
                self.report_emitted(Peers::One(peer), out);
            }
            Event::Submit { ticket, envelope } => self.submit(now, ticket, envelope),
            Event::Query { ticket, ct_id } => {
                let reply = Reply::Status(self.stage(&ct_id));
                out.push(Effect::Reply { ticket, reply });
            }
            Event::Timer(TimerId::Consensus(timer)) => self.tell(consensus::Input::Timer(timer)),
            Event::Timer(TimerId::Lanes(timer)) => self.tell_lanes(mempool::Input::Timer(timer)),
            Event::Timer(TimerId::Shares) => self.ask_for_shares(now, out),
            Event::Stored(id) => self.stored(id, out),
            Event::Change(change) => self.change_offered(self.me, change, out),
            Event::Handed(word) => self.shown(word, out),
            Event::Executed(height) => self.retention.executed(height),
            Event::StateReached { height, roots } => self.state_reached(height, roots, out),
            Event::Loaded { id, rows } => self.loaded(id, &rows, out),
            Event::Computed { id, result } => self.computed(id, result, out),
        }
        self.run(now, out);
    }

    fn start(&mut self, now: Micros, out: &mut Vec<Effect>) {
        let mut writes = vec![
            Write::meta(meta::GENESIS, fairlane_types::encode(&self.genesis.hash())),
            Write::meta(meta::MEMBER, fairlane_types::encode(&self.me)),
        ];
        if self.voting {
            // C7: from here on this folder is the only one that may speak.
            writes.push(Write::meta(meta::BIRTH, b"started".to_vec()));
        }
        self.store(writes, true, Written::Nothing, out);
        self.start_ceremony(out);
        self.start_change(out);
        self.tell_key_over(out);
        self.tell_lanes(mempool::Input::Start);
        self.replay();
        self.run(now, out);
        // All that was replayed was read from disk.
        self.openings.durable(self.final_tip().header.height);
        self.tell(consensus::Input::Start);
    }

    fn message(&mut self, from: MemberId, message: Message, out: &mut Vec<Effect>) {
        if from == self.me || !self.committee.contains(from) {
            return;
        }
        match message {
            Message::Consensus(message) => {
                self.tell(consensus::Input::Message {
                    from,
                    message: *message,
                });
            }
            Message::Lane(message) if self.too_early(&message) => {}
            Message::Lane(message) => self.tell_lanes(mempool::Input::Message { from, message }),
            Message::Shares(message) => self.receive_shares(from, Said::Shares(message), out),
            Message::Keys(message) => self.receive_shares(from, Said::Keys(message), out),
            Message::GetShares {
                from: height,
                count,
            } => {
                self.serve_shares(from, height, count, out);
            }
            Message::Emitted(height) => self.emitted_report(from, height),
            Message::Attest(share) => self.receive_attest(from, share, out),
            Message::Attested(attestation) => self.receive_attested(from, *attestation, out),
            Message::AttestState(share) => self.receive_state_share(from, share, out),
            Message::AttestedState(given) => self.receive_state_attested(from, *given, out),
            Message::Dealing(dealing) => self.receive_dealing(from, dealing, out),
            Message::KeyMade(signature) => self.key_said(from, signature, out),
            Message::Change(change) => self.change_offered(from, change, out),
            Message::Handover(signature) => self.handover_said(from, signature, out),
            Message::Handed(word) => self.handed(from, word, out),
            Message::Beacon(share) => self.receive_beacon(from, share, out),
            Message::Beaconed(beacon) => self.receive_beaconed(from, *beacon, out),
        }
    }

    fn submit(&mut self, now: Micros, ticket: Ticket, envelope: Arc<fairlane_types::Envelope>) {
        let (held, own) = (self.lanes.held(), self.lanes.held_directly());
        let n = self.committee.n();
        // After the boundary nothing comes into the sequence of this epoch.
        let shut = self.ending.boundary().is_some() || self.openings.len() > OPENINGS_BUSY;
        let room = match shut {
            true => 0,
            false => self.capacity.room(now, held, own, n),
        };
        self.counters.busy += u64::from(room == 0);
        let pressure = mempool::Pressure {
            room,
            wait_ms: self.capacity.wait_ms(held),
        };
        let envelope = Arc::unwrap_or_clone(envelope);
        let ticket = mempool::Ticket(ticket.0);
        self.tell_lanes(mempool::Input::Submit {
            ticket,
            envelope,
            pressure,
        });
    }

    /// Works until nothing is left to do.
    fn run(&mut self, now: Micros, out: &mut Vec<Effect>) {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Consensus(input) => {
                        let mut outputs = std::mem::take(&mut self.core_outputs);
                        self.core.step(now, *input, &mut outputs);
                        for output in outputs.drain(..) {
                            self.consensus_output(now, output, out);
                        }
                        self.core_outputs = outputs;
                    }
                    Work::Lanes(input) => {
                        let mut outputs = std::mem::take(&mut self.lane_outputs);
                        self.lanes.step(now, *input, &mut outputs);
                        self.carry_out(&mut outputs, out);
                        self.lane_outputs = outputs;
                    }
                }
            }
            self.advance_order(now, out);
            self.advance_openings(now, out);
            self.tell_proposable();
            if self.work.is_empty() && self.ready.is_empty() {
                return;
            }
        }
    }

    fn tell_proposable(&mut self) {
        let news = self.advancing || self.backlog || self.ceremony_waits();
        let proposable = news && self.ending.boundary().is_none();
        if proposable != self.proposable {
            self.proposable = proposable;
            self.tell(consensus::Input::Proposable(proposable));
        }
    }

    pub(crate) fn tell(&mut self, input: consensus::Input<CutPayload>) {
        self.work.push_back(Work::Consensus(Box::new(input)));
    }

    pub(crate) fn tell_lanes(&mut self, input: mempool::Input) {
        self.work.push_back(Work::Lanes(Box::new(input)));
    }

    pub(crate) fn send(&self, to: Peers, message: Message, out: &mut Vec<Effect>) {
        out.push(Effect::Send {
            to,
            message: Arc::new(message),
        });
    }

    pub(crate) fn remember_emitted(&mut self, id: CtId, place: Emitted) {
        if self.recent.insert(id, place).is_none() {
            self.recent_order.push_back(id);
        }
        if self.recent_order.len() > RECENT_EMITTED
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    pub(crate) const fn chain(&self) -> ChainId {
        self.genesis.chain
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.genesis.epoch()
    }

    /// The last height that this member has emitted, durably.
    pub(crate) fn emitted_here(&self) -> Height {
        self.retention.emitted_by(self.me)
    }

    pub(crate) fn final_tip(&self) -> &FinalBlock {
        self.core.finalized()
    }
}
