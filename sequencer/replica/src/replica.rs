//! The composition: one state machine out of consensus, lanes, fair order and openings.
//!
//! A step turns one event into work for the machines below, and works until nothing is
//! left to do. What a machine asks for becomes an effect, or work for another machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_consensus::{self as consensus, Core, RecordId, Statement};
use fairlane_encryption::{Attestation, Beacon, StateAttestation, SuiteParsed};
use fairlane_mempool::fair::{FairOrder, ReceiveCounts, ReceiveOrder};
use fairlane_mempool::{self as mempool, Cut, Lanes};
use fairlane_types::{
    BlockId, ChainId, Committee, CommitteeChange, CtId, Epoch, Genesis, GenesisError, Height,
    MemberId, Micros, Planted, Position, Root, SequencedBlock, Signer, View,
};

use crate::attest_schedule::AttestSchedule;
use crate::attesting::Attesting;
use crate::beacons::Beacons;
use crate::boundary::{
    Effect, Event, JobId, LoadId, Peers, Reply, Stage, Ticket, TimerId, WriteId,
};
use crate::capacity::Capacity;
use crate::ceremony::{Keyless, key_making};
use crate::combiners::Combiners;
use crate::envelope_checks::{Checked, EnvelopeChecks};
use crate::epoch_base::EpochBase;
use crate::epoch_change::{ChangeStatus, EpochChange};
use crate::former_key::FormerKey;
use crate::key_making::{KeyMaking, Signatures};
use crate::keys::{Emitted, meta};
use crate::opening::Said;
use crate::openings::Openings;
use crate::payload::{CutPayload, FinalBlock};
use crate::pipeline::FinalQueue;
use crate::recovery::{RecoverError, Recovered};
use crate::retention::{Pruning, Retention};
use crate::serving::Serving;
use crate::state_attesting::StateAttesting;
use crate::{Job, JobResult, Message, Row, Table, Write};

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

/// Why a replica cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// What is on disk.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// This member, or its identity key, is not in the committee.
    #[error("the identity key is not that of member {0} in genesis")]
    Identity(MemberId),
    /// The ceremony that the genesis asks for cannot be held.
    #[error("encryption.receivers: {0}")]
    Ceremony(String),
    /// The stored state does not fit together.
    #[error("the stored state cannot be restored: {0}")]
    Restore(String),
}

/// What a `Stored` stands for.
#[derive(Debug)]
pub(crate) enum Written {
    Lanes(mempool::WriteId),
    Record(RecordId),
    Final(Height),
    /// A block of the sequence, and what its height left out as stale.
    Emit(Arc<SequencedBlock>, Vec<mempool::Emitted>),
    /// What the next epoch begins with.
    Epoch(Arc<EpochBase>),
    Nothing,
}

/// What a `Computed` answers.
#[derive(Debug)]
pub(crate) enum Purpose {
    Consensus(consensus::CheckId),
    Batch(mempool::CheckId),
    Envelopes(Vec<Checked>),
    Reparse(Vec<CtId>),
    Shares(Height),
    Combine(Height, u16),
    OpenKeys(Height, u16, MemberId),
    Attest(Height),
    Certify(Height),
    CheckAttestation(MemberId, Box<Attestation>),
    BeaconShare(Height),
    Beacon(Height, BlockId),
    CheckBeacon(MemberId, Box<Beacon>),
    AttestState(Height),
    CertifyState(Height),
    CheckState(MemberId, Box<StateAttestation>),
    Deal,
    Judge(Height),
    Conclude,
    KeyMade(Signatures),
    Change(MemberId, Arc<CommitteeChange>),
    Open(Height),
    Reshared,
    Handover(Signatures),
}

/// What a `Loaded` is for.
#[derive(Debug)]
pub(crate) enum Reading {
    Blocks(Serving),
    Shares { to: MemberId },
    Prune(Pruning),
    Lanes(mempool::LoadId),
    Payload { load: mempool::LoadId },
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
    proposable: bool,

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
    recent: BTreeMap<CtId, Emitted>,
    recent_order: VecDeque<CtId>,

    pub(crate) work: VecDeque<Work>,
    /// Empty between steps; kept for their room.
    core_outputs: Vec<consensus::Output<CutPayload>>,
    lane_outputs: Vec<mempool::Output>,
    next_id: u64,
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

/// Counts since start, for metrics and the simulator's marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Orders opened.
    pub opened: u64,
    /// Orders found undecryptable.
    pub undecryptable: u64,
    /// Orders that expired.
    pub expired: u64,
    /// Orders whose nonce was taken.
    pub duplicates: u64,
    /// False share sets found.
    pub false_shares: u64,
    /// Combiners that told something false, or left out what opens.
    pub false_keys: u64,
    /// False shares of attestations and beacons found.
    pub false_attestations: u64,
    /// Dealings in final blocks that do not count.
    pub dealings_refused: u64,
    /// Times shares were asked for again.
    pub share_requests: u64,
    /// Submissions that came while too much was under way.
    pub busy: u64,
    /// Heights that left the disk (M6).
    pub pruned: u64,
}

/// A glance at a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Current view.
    pub view: View,
    /// Leader of the current view.
    pub leader: MemberId,
    /// Height of the last final block.
    pub final_height: Height,
    /// Height of the last block whose order is known here.
    pub ordered_height: Height,
    /// Height of the last emitted block.
    pub emitted_height: Height,
    /// Highest height attested since the start.
    pub attested_height: Height,
    /// Highest height whose state is attested, since the start.
    pub state_attested_height: Height,
    /// A ceremony for the encryption key is under way: orders are refused.
    pub keyless: bool,
    /// Dealings that count, and how many the key needs; 0 and 0 without a ceremony.
    pub dealings: (usize, usize),
    /// The next committee, once it is decided.
    pub change: Option<ChangeStatus>,
    /// Last finalized time at which orders sealed to the key of the epoch before are opened,
    /// while that is not over.
    pub former_until: Option<fairlane_types::Millis>,
    /// Root of the sequence at `emitted_height`.
    pub root: Root,
    /// Position of the next item.
    pub next_position: Position,
    /// First height that is kept on disk.
    pub first_height: Height,
    /// Height up to which every member says it has emitted.
    pub emitted_by_all: Height,
    /// Orders in lanes without an outcome.
    pub live: usize,
    /// Orders held without an outcome, and how many may be before submissions are refused.
    pub held: usize,
    /// See `held`.
    pub held_max: usize,
    /// About when what is held now will have come out, ms: the hint of a refusal.
    pub wait_ms: u64,
    /// Final heights on their way to plaintext.
    pub opening: usize,
    /// C7: this identity may not speak.
    pub observer: bool,
    /// Named rare events of consensus.
    pub consensus_marks: Vec<(&'static str, u64)>,
    /// Counts since start.
    pub counters: Counters,
    /// The own lane against the final order, since start.
    pub receive_order: ReceiveCounts,
}

impl Replica {
    /// A replica that goes on from what is on disk.
    ///
    /// # Errors
    /// [`ReplicaError`].
    pub fn new(config: ReplicaConfig, recovered: Recovered) -> Result<Self, ReplicaError> {
        let ReplicaConfig {
            genesis,
            me,
            identity,
            archive,
            planted,
        } = config;
        let committee = genesis.validate()?;
        if committee.key(me) != Some(&identity.public()) {
            return Err(ReplicaError::Identity(me));
        }
        let n = committee.n();
        let voting = recovered.voting;
        let restore = |error: &dyn core::fmt::Display| ReplicaError::Restore(error.to_string());
        let retention = Retention::new(&genesis.consensus, archive, me, n, &recovered);
        let mut order = recovered.order;
        order.plant(planted);
        let epoch = genesis.epoch();
        let genesis_block = consensus::genesis(
            genesis.chain,
            epoch,
            genesis.base(),
            genesis.start.map(|start| start.block).unwrap_or_default(),
            genesis.time,
            CutPayload::of(Cut::genesis(n)),
        );
        let tip = recovered.blocks.last().unwrap_or(&genesis_block).clone();
        let base = match &recovered.snapshot {
            Some(_) => recovered.blocks.first().unwrap_or(&genesis_block).clone(),
            None => genesis_block,
        };
        let core = Core::restore(
            consensus::Config {
                chain: genesis.chain,
                epoch,
                committee: committee.clone(),
                me: Some(me),
                voting,
                params: (&genesis.consensus).into(),
                clean_votes: false,
                planted,
            },
            consensus::Recovered {
                tip,
                records: recovered.records,
            },
        )
        .map_err(|error| restore(&error))?;
        let ends = recovered.blocks.iter().find(|block| block.payload.ends());
        let boundary = ends.map(|block| block.header.height);
        let mut key = recovered.key;
        let changes = std::mem::take(&mut key.changes);
        // Dealings above a change are for the next key.
        let change = changes.first().map_or(Height(u64::MAX), |c| c.height);
        let first_late = key.dealings.partition_point(|d| d.height <= change);
        let late = key.dealings.split_off(first_late);
        let time = recovered.emitted.as_ref().map_or(genesis.time, |b| b.time);
        let emitted = recovered
            .emitted
            .as_ref()
            .map_or(genesis.base(), |b| b.height);
        let former = genesis.former_key();
        let former = former.map(|(_, until)| FormerKey::new(until, emitted, time));
        let held = former.as_ref().is_some_and(FormerKey::is_live);
        let used = std::mem::take(&mut key.used);
        let mut ending = EpochChange::new(changes, late, boundary, used, held);
        if boundary.is_some() && boundary == recovered.snapshot {
            ending.remember(order.memory());
        }
        let ceremony = key_making(&genesis, committee.quorum(), key)?;
        let lanes = Lanes::restore(
            mempool::Config {
                me,
                chain: genesis.chain,
                epoch,
                committee: committee.clone(),
                lanes: genesis.lanes.clone(),
                ttl_max: fairlane_types::Millis(genesis.order.ttl_max_ms),
                genesis_time: genesis.time,
                keys: Self::first_keys(&genesis, ceremony.as_ref()),
                former: genesis.former_key(),
                suite: genesis.encryption.scheme.suite(),
                ciphertext_lens: fairlane_encryption::ciphertext_lens(genesis.encryption.scheme),
                quota: mempool::Quota::default(),
                observer: !voting,
                planted,
            },
            recovered.lanes,
        );
        let last = recovered.emitted.as_ref().map_or(
            Last {
                height: genesis.base(),
                root: genesis.start.map(|start| start.root).unwrap_or_default(),
                next: genesis
                    .start
                    .map(|start| start.position)
                    .unwrap_or_default(),
            },
            |block| Last {
                height: block.height,
                root: block.root,
                next: block.next_position(),
            },
        );
        let heights = (genesis.base(), last.height);
        let seed = (epoch, &genesis.hash());
        let combiners = Combiners::of_epoch(me, n, seed, heights, genesis.sharded());
        let interval = genesis.certificates.as_ref();
        let interval = interval.map(|c| fairlane_types::Millis(c.attest_interval_ms));
        let threshold = committee.threshold();
        let beacons = Beacons::new(n, threshold, last.height);
        let openings = Openings::new(me, threshold, last.height, planted);
        let height = base.header.height;
        let above = recovered
            .blocks
            .into_iter()
            .filter(|b| b.header.height > height)
            .collect();
        let finals = FinalQueue::restored(base, above, recovered.replayed);
        let capacity = Capacity::new(genesis.encryption.scheme);
        Ok(Self {
            genesis,
            committee,
            me,
            identity,
            voting,
            planted,
            core,
            lanes,
            order,
            receive_order: ReceiveOrder::new(n, me),
            openings,
            finals,
            envelope_checks: EnvelopeChecks::default(),
            parsed: BTreeMap::new(),
            reparsing: false,
            checks: BTreeMap::new(),
            ready: Vec::new(),
            advancing: false,
            backlog: false,
            proposable: false,
            recorded: RecordId::DURABLE,
            says: BTreeMap::new(),
            last,
            capacity,
            retention,
            combiners,
            attest_schedule: AttestSchedule::new(interval, time),
            attesting: Attesting::new(me, n, threshold),
            beacons,
            states: StateAttesting::new(me, n, threshold),
            ceremony,
            keyless: Keyless::default(),
            ending,
            former,
            recent: BTreeMap::new(),
            recent_order: VecDeque::new(),
            work: VecDeque::new(),
            core_outputs: Vec::new(),
            lane_outputs: Vec::new(),
            next_id: 0,
            writes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            loads: BTreeMap::new(),
            payload_loads: BTreeMap::new(),
            shares_timer: false,
            convicted: BTreeMap::new(),
            counters: Counters::default(),
        })
    }

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
            Event::Executed(height) => self.retention.executed(height),
            Event::StateReached { height, roots } => self.state_reached(height, roots, out),
            Event::Loaded { id, rows } => self.loaded(id, &rows, out),
            Event::Computed { id, result } => self.computed(id, result, out),
        }
        self.run(now, out);
    }

    /// A glance for metrics and `/v1/status`.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let view = self.core.view();
        ReplicaStatus {
            view,
            leader: self.core.leader(view),
            final_height: self.core.finalized().header.height,
            ordered_height: self.finals.ordered(),
            emitted_height: self.last.height,
            attested_height: self.attesting.attested(),
            state_attested_height: self.state_attested(),
            keyless: self.ceremony.is_some() && self.activation().is_none(),
            dealings: (self.ceremony.as_ref()).map_or((0, 0), KeyMaking::progress),
            change: self.ending.status(),
            former_until: self.former_until(),
            root: self.last.root,
            next_position: self.last.next,
            first_height: self.retention.first(),
            emitted_by_all: self.retention.reported_by_all(),
            live: self.order.live(),
            held: self.lanes.held(),
            held_max: self.capacity.held_max(),
            wait_ms: self.capacity.wait_ms(self.lanes.held()),
            opening: self.openings.len(),
            observer: !self.voting,
            consensus_marks: self.core.marks().iter().collect(),
            counters: self.counters,
            receive_order: self.receive_order.counts().clone(),
        }
    }

    /// Where an order is, as far as memory goes; older ones are in
    /// [`Table::Index`](crate::Table::Index).
    #[must_use]
    pub fn stage(&self, id: &CtId) -> Option<Stage> {
        if let Some(Emitted { height, position }) = self.recent.get(id) {
            return Some(Stage::Emitted {
                height: *height,
                position: *position,
            });
        }
        if let Some(height) = self.openings.height_of(id) {
            return Some(Stage::Final { height });
        }
        self.lanes.status(id).map(|stage| match stage {
            mempool::Stage::Received => Stage::Received,
            // Its lane entry may be final; its place is not before the rule emits it.
            mempool::Stage::Laned | mempool::Stage::Final => Stage::Laned,
        })
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
            Message::Beacon(share) => self.receive_beacon(from, share, out),
            Message::Beaconed(beacon) => self.receive_beaconed(from, *beacon, out),
        }
    }

    fn submit(&mut self, now: Micros, ticket: Ticket, envelope: Arc<fairlane_types::Envelope>) {
        let (held, own) = (self.lanes.held(), self.lanes.held_directly());
        let n = self.committee.n();
        // After the boundary nothing comes into the sequence of this epoch.
        let busy = self.ending.boundary().is_some()
            || self.openings.len() > OPENINGS_BUSY
            || self.capacity.is_reached(now, held, own, n);
        self.counters.busy += u64::from(busy);
        let pressure = mempool::Pressure {
            busy,
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

    fn stored(&mut self, id: WriteId, out: &mut Vec<Effect>) {
        match self.writes.remove(&id) {
            Some(Written::Lanes(id)) => self.tell_lanes(mempool::Input::Stored(id)),
            Some(Written::Record(id)) => self.recorded(id, out),
            Some(Written::Final(height)) => self.openings.durable(height),
            Some(Written::Emit(block, stale)) => self.emitted(block, stale, out),
            Some(Written::Epoch(base)) => out.push(Effect::EpochEnded(base)),
            Some(Written::Nothing) | None => {}
        }
    }

    fn loaded(&mut self, id: LoadId, rows: &[Row], out: &mut Vec<Effect>) {
        match self.loads.remove(&id) {
            Some(Reading::Blocks(serving)) => self.run_read(serving, rows, out),
            Some(Reading::Shares { to }) => self.served_shares(to, rows, out),
            Some(Reading::Prune(step)) => self.pruning(step, rows, out),
            Some(Reading::Lanes(load)) => self.lanes_loaded(load, rows),
            Some(Reading::Payload { load }) => self.payload_loaded(load, rows),
            None => {}
        }
    }

    fn computed(&mut self, id: JobId, result: JobResult, out: &mut Vec<Effect>) {
        let Some(purpose) = self.jobs.remove(&id) else {
            return;
        };
        match (purpose, result) {
            (Purpose::Consensus(check), JobResult::Verified { bad }) => {
                self.tell(consensus::Input::Verified { check, bad });
            }
            (Purpose::Batch(check), JobResult::Verified { bad }) => {
                let bad = bad
                    .into_iter()
                    .map(|i| (i, mempool::Flaw::Signature))
                    .collect();
                self.tell_lanes(mempool::Input::Verified { check, bad });
            }
            (Purpose::Envelopes(envelopes), JobResult::Envelopes(results)) => {
                self.envelopes_verified(&envelopes, results);
            }
            (Purpose::Reparse(ids), JobResult::Envelopes(results)) => {
                self.reparsed(&ids, results);
            }
            (Purpose::Shares(height), JobResult::Shares(messages)) => {
                self.shares_made(height, messages, out);
            }
            (Purpose::Combine(height, slice), JobResult::Combined(result)) => {
                self.combined(height, slice, result, out);
            }
            (Purpose::OpenKeys(height, slice, from), JobResult::KeysOpened(result)) => {
                self.keys_opened(height, slice, from, result, out);
            }
            (Purpose::Attest(height), JobResult::Attest(share)) => {
                self.attest_made(height, share, out);
            }
            (Purpose::Certify(height), JobResult::Certified(result)) => {
                self.certified(height, &result, out);
            }
            (Purpose::CheckAttestation(from, given), JobResult::Judged(holds)) => {
                self.attested_checked(from, *given, holds, out);
            }
            (Purpose::BeaconShare(height), JobResult::Beacon(share)) => {
                self.beacon_made(height, share, out);
            }
            (Purpose::Beacon(height, block), JobResult::Certified(result)) => {
                self.beacon_combined(height, block, &result, out);
            }
            (Purpose::CheckBeacon(from, given), JobResult::Judged(holds)) => {
                self.beacon_checked(from, *given, holds, out);
            }
            (Purpose::AttestState(height), JobResult::Attest(share)) => {
                self.state_share_made(height, share, out);
            }
            (Purpose::CertifyState(height), JobResult::Certified(result)) => {
                self.state_certified(height, &result, out);
            }
            (Purpose::CheckState(from, given), JobResult::Judged(holds)) => {
                self.state_checked(from, &given, holds, out);
            }
            (Purpose::Deal, JobResult::Dealt(dealing)) => self.dealt(dealing, out),
            (Purpose::Judge(height), JobResult::Judged(valid)) => {
                self.dealing_judged(height, valid, out);
            }
            (Purpose::Conclude, JobResult::Concluded(key)) => self.concluded(key, out),
            (Purpose::KeyMade(said), JobResult::Verified { bad }) => {
                self.key_signatures(said, &bad, out);
            }
            (Purpose::Change(from, change), JobResult::Verified { bad }) => {
                self.change_verified(from, change, &bad, out);
            }
            (Purpose::Open(height), JobResult::Opened(ceremony)) => {
                self.change_opened(height, ceremony, out);
            }
            (Purpose::Reshared, JobResult::Concluded(key)) => self.reshared(key, out),
            (Purpose::Handover(said), JobResult::Verified { bad }) => {
                self.handover_verified(said, &bad, out);
            }
            // A shell that answers a job with another one's result is broken; the job is
            // lost, and only progress suffers.
            _ => {}
        }
    }

    pub(crate) fn store(
        &mut self,
        writes: Vec<Write>,
        durable: bool,
        then: Written,
        out: &mut Vec<Effect>,
    ) {
        let id = WriteId(self.fresh());
        if durable {
            self.writes.insert(id, then);
        }
        out.push(Effect::Store {
            id,
            writes,
            durable,
        });
    }

    pub(crate) fn compute(&mut self, job: Job, purpose: Purpose, out: &mut Vec<Effect>) {
        let Some((job, purpose)) = self.keep_back(job, purpose) else {
            return;
        };
        let id = JobId(self.fresh());
        self.jobs.insert(id, purpose);
        out.push(Effect::Compute { id, job });
    }

    pub(crate) fn load(
        &mut self,
        range: (Table, Vec<u8>, Vec<u8>),
        limits: (usize, usize),
        reading: Reading,
        out: &mut Vec<Effect>,
    ) {
        let id = LoadId(self.fresh());
        self.loads.insert(id, reading);
        let ((table, from, to), (rows_max, bytes_max)) = (range, limits);
        out.push(Effect::Load {
            id,
            table,
            from,
            to,
            rows_max,
            bytes_max,
        });
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

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
