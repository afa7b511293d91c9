//! The core thread: feeds the replica and carries out what it wants.
//!
//! One turn takes a bounded share of what waits, most urgent first ([`Inbox`]), steps the
//! replica once for each, and hands out the effects in order. The core waits only for its
//! own disk and its own pool, when they are behind; never for a peer or a client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fairlane_replica::{
    Class, CryptoContext, Effect, EpochBase, Event, Job, JobId, LoadId, Message, Peers, Replica,
    Reply, Table, Ticket, TimerId, WriteId, run_job,
};
use fairlane_types::{Height, MEMBERS_MAX, MemberId, Micros, Outcome, SequencedBlock};
use tokio::sync::{broadcast, oneshot, watch};

use crate::clock::{Clock, span};
use crate::failure::{Failure, Failures, lock};
use crate::handle::NodeStatus;
use crate::home::HomeError;
use crate::inbox::{Charge, Inbox, Input, Request};
use crate::net::{Inbound, LinkFault, Outbound};
use crate::peer_clocks::PeerClocks;
use crate::pool::{Pool, Work};
use crate::published::Published;
use crate::store::StoreReader;
use crate::tamper::Tamper;
use crate::timers::Timers;
use crate::writer::Writer;

/// Timers fired in one turn.
const TIMERS_PER_TURN_MAX: usize = 64;
/// Requests without an answer; then the inbox holds further ones.
pub const REQUESTS_OPEN_MAX: usize = 65_536;
/// Reads that wait for the loader; then the core waits.
const LOADS_WAITING_MAX: usize = 1_024;
/// How stale the published status may be.
const STATUS_INTERVAL: Duration = Duration::from_millis(20);
/// A turn without anything to do ends after this.
const IDLE_TURN: Duration = Duration::from_millis(500);
/// Final heights that are not emitted yet; above it the node calls itself catching up.
const LAG_HEIGHTS_MAX: u64 = 64;
/// Signatures or envelopes that are verified as one batch, when so many wait. A larger
/// one gains little and keeps what comes behind it waiting.
const JOINED_ITEMS_MAX: usize = 128;
/// Messages of a link that do not decode before it is closed.
pub const UNDECODABLE_MAX: u32 = 8;
/// Faults of a member for which its link is closed once (C11).
pub const FAULTS_PER_DISCONNECT: u32 = 64;

/// Which members have a link up.
pub type Links = Arc<Mutex<BTreeSet<MemberId>>>;

/// Decodes frames on the network's tasks and queues them for the core.
pub struct Ingress {
    inbox: Arc<Inbox>,
    links: Links,
    undecodable: Vec<AtomicU32>,
    clocks: PeerClocks,
}

impl Ingress {
    /// In front of an inbox.
    #[must_use]
    pub fn new(inbox: Arc<Inbox>, links: Links) -> Self {
        let undecodable = (0..MEMBERS_MAX).map(|_| AtomicU32::new(0)).collect();
        Self {
            inbox,
            links,
            undecodable,
            clocks: PeerClocks::default(),
        }
    }
}

impl Inbound for Ingress {
    fn connected(&self, peer: MemberId) {
        if let Some(count) = self.undecodable.get(peer.index()) {
            count.store(0, Ordering::Relaxed);
        }
        lock(&self.links).insert(peer);
        self.inbox.result(Event::Connected(peer));
    }

    fn disconnected(&self, peer: MemberId) {
        lock(&self.links).remove(&peer);
    }

    fn frame(
        &self,
        from: MemberId,
        class: Class,
        bytes: Bytes,
        charge: Charge,
    ) -> Result<(), LinkFault> {
        match Message::from_frame(class, &bytes) {
            Ok(message) => {
                self.clocks.heard(from, &message);
                self.inbox.message(from, class, message, charge);
                Ok(())
            }
            Err(error) => {
                metrics::counter!("fairlane_undecodable_total",
                    "peer" => from.to_string(), "class" => class.name())
                .increment(1);
                tracing::debug!(peer = %from, class = class.name(), %error, "bad message");
                let count = self.undecodable.get(from.index());
                let count =
                    count.map_or(UNDECODABLE_MAX, |c| c.fetch_add(1, Ordering::Relaxed) + 1);
                if count < UNDECODABLE_MAX {
                    Ok(())
                } else {
                    Err(LinkFault::Undecodable)
                }
            }
        }
    }
}

/// A job on its way through the pool, or several that are verified together.
pub struct PoolJob {
    /// Whose it is, and how many items of it.
    parts: Vec<(JobId, usize)>,
    job: Job,
}

impl PoolJob {
    fn new(id: JobId, job: Job) -> Self {
        Self {
            parts: vec![(id, job.items())],
            job,
        }
    }
}

impl Work for PoolJob {
    fn urgent(&self) -> bool {
        self.job.urgent()
    }
    fn name(&self) -> &'static str {
        self.job.name()
    }
    fn join(&mut self, other: Self) -> Result<(), Self> {
        let Self { parts, job } = other;
        match self.job.join(job, JOINED_ITEMS_MAX) {
            Ok(()) => self.parts.extend(parts),
            Err(job) => return Err(Self { parts, job }),
        }
        Ok(())
    }
}

/// A pool that runs the replica's jobs and reports to the inbox.
///
/// # Errors
/// [`Failure::System`] when there are no threads to be had.
pub fn crypto_pool(
    threads: usize,
    context: CryptoContext,
    inbox: Arc<Inbox>,
    failures: &Failures,
) -> Result<Pool<PoolJob>, Failure> {
    let reporting = failures.clone();
    Pool::new(threads, failures, move |work: PoolJob| {
        let mut entropy = zeroize::Zeroizing::new([0; 32]);
        if let Err(error) = getrandom::fill(&mut *entropy) {
            let message = error.to_string();
            reporting.report(Failure::System {
                part: "randomness",
                message,
            });
            return;
        }
        let items: Vec<_> = work.parts.iter().map(|(_, items)| *items).collect();
        let results = run_job(&context, &work.job, &entropy).split(&items);
        for ((id, _), result) in work.parts.into_iter().zip(results) {
            inbox.result(Event::Computed { id, result });
        }
    })
}

/// A read for the replica.
struct Load {
    id: LoadId,
    table: Table,
    from: Vec<u8>,
    to: Vec<u8>,
    rows_max: usize,
    bytes_max: usize,
}

/// Reads on a thread of its own, so that a slow disk does not hold the core.
struct Loader {
    loads: SyncSender<Load>,
}

impl Loader {
    fn start(reader: StoreReader, inbox: Arc<Inbox>, failures: &Failures) -> Result<Self, Failure> {
        let (loads, waiting) = sync_channel(LOADS_WAITING_MAX);
        let reporting = failures.clone();
        failures.spawn("fairlane-loader", move || {
            run_loads(&waiting, &reader, &inbox, &reporting)
        })?;
        Ok(Self { loads })
    }
}

fn run_loads(waiting: &Receiver<Load>, reader: &StoreReader, inbox: &Inbox, failures: &Failures) {
    while let Ok(load) = waiting.recv() {
        let start = Instant::now();
        let Load {
            id,
            table,
            from,
            to,
            rows_max,
            bytes_max,
        } = load;
        match reader.scan(table, &from, &to, rows_max, bytes_max) {
            Ok(rows) => inbox.result(Event::Loaded { id, rows }),
            // Damage on disk stops the node; it never guesses.
            Err(error) => return failures.report(Failure::Store(error)),
        }
        metrics::histogram!("fairlane_store_load_seconds", "table" => table.name())
            .record(start.elapsed().as_secs_f64());
    }
}

/// What erases a share of a former key.
pub type KeyOver = Box<dyn FnOnce() -> Result<(), HomeError> + Send>;

/// Everything the core works with.
pub struct Parts {
    /// The protocol.
    pub replica: Replica,
    /// What waits.
    pub inbox: Arc<Inbox>,
    /// The writer thread; it reports to the inbox.
    pub writer: Writer,
    /// The pool; it reports to the inbox.
    pub pool: Pool<PoolJob>,
    /// The links.
    pub outbound: Outbound,
    /// Members with a link up.
    pub links: Links,
    /// For loads.
    pub reader: StoreReader,
    /// Takes the status.
    pub status: watch::Sender<NodeStatus>,
    /// Takes the emitted height.
    pub heads: watch::Sender<Height>,
    /// Takes the emitted blocks.
    pub blocks: broadcast::Sender<Arc<SequencedBlock>>,
    /// Erases this member's share of the key of the epoch before; goes once it was called.
    pub key_over: Option<KeyOver>,
    /// Takes what the next epoch begins with, once this one is over.
    pub ended: watch::Sender<Option<Arc<EpochBase>>>,
    /// Links, this member counted, that make a quorum.
    pub quorum: usize,
    /// This member.
    pub me: MemberId,
    /// Lies, in a test member.
    pub tamper: Option<Arc<dyn Tamper>>,
}

/// The loop of the core thread.
pub struct Driver {
    parts: Parts,
    clock: Clock,
    timers: Timers<TimerId>,
    loader: Loader,
    replies: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    /// The last store effect handed over; only durable ones are reported.
    written: Option<WriteId>,
    /// The last one reported: it and all before it are applied.
    stored: Option<WriteId>,
    /// The last message encoded: the same one often goes to several members.
    last_frame: Option<(Arc<Message>, Bytes)>,
    effects: Vec<Effect>,
    faults: BTreeMap<MemberId, u32>,
    progress: Progress,
    published: Published,
    failures: Failures,
}

/// What the status is made of.
struct Progress {
    published: Instant,
    final_at_start: Height,
}

impl Driver {
    /// A driver, ready to run.
    ///
    /// # Errors
    /// [`Failure::System`] when there is no thread to be had.
    pub fn new(parts: Parts, failures: &Failures) -> Result<Self, Failure> {
        let loader = Loader::start(parts.reader.clone(), Arc::clone(&parts.inbox), failures)?;
        let final_at_start = parts.replica.status().final_height;
        Ok(Self {
            parts,
            clock: Clock::default(),
            timers: Timers::default(),
            loader,
            replies: BTreeMap::new(),
            next_ticket: 0,
            written: None,
            stored: None,
            last_frame: None,
            effects: Vec::new(),
            faults: BTreeMap::new(),
            progress: Progress {
                published: Instant::now(),
                final_at_start,
            },
            published: Published::default(),
            failures: failures.clone(),
        })
    }

    /// Runs until the inbox closes; then the writer flushes and syncs.
    pub fn run(mut self) {
        self.step(Event::Start);
        self.publish();
        let turns = metrics::histogram!("fairlane_core_turn_seconds");
        let inputs_taken = metrics::histogram!("fairlane_core_turn_inputs");
        let mut inputs = Vec::new();
        loop {
            let now = self.clock.now();
            let wait = self
                .timers
                .next_at()
                .map_or(IDLE_TURN, |at| span(now, at).min(IDLE_TURN));
            let wait = wait.min(STATUS_INTERVAL.saturating_sub(self.progress.published.elapsed()));
            if !self.parts.inbox.turn(wait, &mut inputs) {
                break;
            }
            let start = Instant::now();
            self.fire_timers();
            inputs_taken.record(inputs.len() as f64);
            for input in inputs.drain(..) {
                self.take(input);
            }
            turns.record(start.elapsed().as_secs_f64());
            if self.progress.published.elapsed() >= STATUS_INTERVAL {
                self.publish();
            }
        }
        let Parts { writer, pool, .. } = self.parts;
        pool.close();
        writer.close();
    }

    fn fire_timers(&mut self) {
        let now = self.clock.now();
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(timer) = self.timers.pop_due(now) else {
                break;
            };
            self.step(Event::Timer(timer));
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Result(event) => {
                if let Event::Stored(id) = event {
                    self.stored = Some(id);
                }
                self.step(event);
            }
            Input::Message {
                from,
                message,
                charge,
            } => {
                self.step(Event::Message { from, message });
                drop(charge);
            }
            Input::Request(Request::Submit { envelope, reply }) => {
                let ticket = self.ticket(reply);
                self.step(Event::Submit { ticket, envelope });
            }
            Input::Request(Request::Query { ct_id, reply }) => {
                let ticket = self.ticket(reply);
                self.step(Event::Query { ticket, ct_id });
            }
        }
    }

    fn ticket(&mut self, reply: oneshot::Sender<Reply>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.replies.insert(ticket, reply);
        if self.replies.len() >= REQUESTS_OPEN_MAX {
            metrics::counter!("fairlane_requests_held_total").increment(1);
            self.parts.inbox.hold_requests(true);
        }
        ticket
    }

    fn step(&mut self, event: Event) {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        match &self.parts.tamper {
            None => self.parts.replica.step(now, event, &mut effects),
            Some(tamper) => {
                tamper.before(&event);
                self.parts.replica.step(now, event, &mut effects);
                tamper.after(&mut effects);
            }
        }
        for effect in effects.drain(..) {
            self.carry_out(now, effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, now: Micros, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(to, message),
            Effect::Halt(reason) => {
                self.failures.report(Failure::Halt(reason));
                self.parts.inbox.close();
            }
            Effect::SetTimer { id, at } => self.timers.set(id, at),
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                self.written = Some(id);
                self.parts.writer.store(id, writes, durable);
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                self.load(Load {
                    id,
                    table,
                    from,
                    to,
                    rows_max,
                    bytes_max,
                });
            }
            Effect::Compute { id, job } => self.parts.pool.submit(PoolJob::new(id, job)),
            Effect::Emit(block) => self.emit(now, block),
            Effect::KeyOver => self.key_over(),
            Effect::EpochEnded(base) => {
                self.parts.ended.send_replace(Some(base));
            }
            Effect::Reply { ticket, reply } => {
                if let Some(client) = self.replies.remove(&ticket) {
                    // A client that has gone away asks again by the order's id.
                    drop(client.send(reply));
                }
                if self.replies.len() + 1 == REQUESTS_OPEN_MAX {
                    self.parts.inbox.hold_requests(false);
                }
            }
            Effect::Evidence(evidence) => {
                metrics::counter!("fairlane_evidence_total").increment(1);
                let key = hex::encode(evidence.key());
                tracing::error!(%key, "a member is convicted of misbehaviour; see the evidence");
            }
            Effect::Fault { peer, fault } => {
                metrics::counter!("fairlane_peer_faults_total",
                    "peer" => peer.to_string(), "kind" => fault.name())
                .increment(1);
                tracing::debug!(%peer, %fault, "a member broke a rule");
                let count = self.faults.entry(peer).or_default();
                *count = count.wrapping_add(1);
                if count.is_multiple_of(FAULTS_PER_DISCONNECT) {
                    tracing::warn!(%peer, %fault, "too many faults of a member");
                    self.parts.outbound.disconnect(peer, LinkFault::Undecodable);
                }
            }
        }
    }

    /// Behind all that was written so far, where waiting for the disk holds up nobody.
    fn key_over(&mut self) {
        let Some(erase) = self.parts.key_over.take() else {
            return;
        };
        let failures = self.failures.clone();
        self.parts.writer.after(Box::new(move || {
            if let Err(error) = erase() {
                failures.report(Failure::System {
                    part: "erasing a former key's share",
                    message: error.to_string(),
                });
            }
        }));
    }

    fn send(&mut self, to: Peers, message: Arc<Message>) {
        let class = message.class();
        let frame = match &self.last_frame {
            Some((last, frame)) if Arc::ptr_eq(last, &message) => frame.clone(),
            _ => {
                let frame = Bytes::from(message.to_frame());
                self.last_frame = Some((message, frame.clone()));
                frame
            }
        };
        match to {
            Peers::All => self.parts.outbound.broadcast(class, &frame),
            Peers::One(member) => self.parts.outbound.send(member, class, frame),
        }
    }

    /// Effects are carried out in order: a read sees the writes before it.
    fn load(&self, load: Load) {
        let loads = self.loader.loads.clone();
        let hand_over = move || {
            if loads.send(load).is_err() {
                tracing::debug!("the loader has stopped");
            }
        };
        if self.stored == self.written {
            hand_over();
        } else {
            self.parts.writer.after(Box::new(hand_over));
        }
    }

    fn emit(&mut self, now: Micros, block: Arc<SequencedBlock>) {
        let latency = metrics::histogram!("fairlane_order_emit_seconds");
        for item in &block.items {
            if matches!(item.outcome, Outcome::Opened { .. }) {
                latency.record(now.minus(item.stamp.0).0 as f64 / 1e6);
            }
            metrics::counter!("fairlane_orders_emitted_total", "outcome" => item.outcome.word())
                .increment(1);
            tracing::trace!(order = %item.ct_id, height = %block.height,
                position = %item.position, outcome = item.outcome.word(), "emitted");
        }
        let lag = now.as_millis().minus(block.time.0).0 as f64 / 1e3;
        metrics::histogram!("fairlane_block_emit_seconds").record(lag);
        tracing::debug!(height = %block.height, items = block.items.len(), root = %block.root,
            "block emitted");
        let height = block.height;
        // No receiver is no fault.
        drop(self.parts.blocks.send(block));
        self.parts.heads.send_replace(height);
    }

    fn publish(&mut self) {
        self.progress.published = Instant::now();
        let replica = self.parts.replica.status();
        let peers_connected: Vec<MemberId> = lock(&self.parts.links).iter().copied().collect();
        let lag = replica
            .final_height
            .0
            .saturating_sub(replica.emitted_height.0);
        let catching_up =
            replica.final_height == self.progress.final_at_start || lag > LAG_HEIGHTS_MAX;
        let status = NodeStatus {
            final_height: replica.final_height,
            emitted_height: replica.emitted_height,
            attested_height: replica.attested_height,
            view: replica.view.0,
            catching_up,
            observer: replica.observer,
            change: replica.change,
            keyless: replica.keyless,
            dealings: replica.dealings,
            quorum_connected: peers_connected.len() + 1 >= self.parts.quorum,
            peers_connected,
            draining: false,
            leader: replica.leader,
            root: replica.root,
            orders_live: replica.live,
            orders_held: replica.held,
            orders_held_max: replica.held_max,
            heights_opening: replica.opening,
            requests_open: self.replies.len() + self.parts.inbox.requests_waiting(),
            receive_order: replica.receive_order.clone(),
        };
        self.parts.inbox.retry_after(replica.wait_ms);
        self.published.publish(&status, &replica);
        self.parts.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fairlane_consensus::Signed;
    use fairlane_mempool::LaneMessage;
    use fairlane_types::{BlockId, Epoch, Seq, Signature, View, Vote};

    use super::*;

    /// A small message of a class.
    pub(crate) fn sample(class: Class) -> Message {
        let message = match class {
            Class::Consensus => sample_vote(),
            Class::Shares => Message::GetShares {
                from: Height(1),
                count: 1,
            },
            Class::Lanes => Message::Lane(LaneMessage::GetHeads(Seq(1))),
            Class::Sync => Message::Lane(LaneMessage::Batches(Vec::new())),
        };
        assert_eq!(message.class(), class);
        message
    }

    fn sample_vote() -> Message {
        let (epoch, view, block, dirty) = (Epoch(0), View(1), BlockId::default(), false);
        let statement = Vote {
            epoch,
            view,
            block,
            dirty,
        };
        let vote = Signed {
            statement,
            signature: Signature::default(),
        };
        Message::Consensus(Box::new(fairlane_consensus::Message::Vote(vote)))
    }

    #[test]
    fn frames_that_do_not_decode_are_counted_and_end_the_link_after_some() {
        let inbox = Arc::new(Inbox::default());
        let links = Links::default();
        let ingress = Ingress::new(Arc::clone(&inbox), Arc::clone(&links));
        let peer = MemberId(2);
        ingress.connected(peer);
        assert!(lock(&links).contains(&peer));
        let garbage = || Bytes::from_static(&[0xFF; 40]);
        let frame = |bytes: Bytes| ingress.frame(peer, Class::Lanes, bytes, Charge::default());
        for _ in 1..UNDECODABLE_MAX {
            assert_eq!(frame(garbage()), Ok(()));
        }
        assert_eq!(frame(garbage()), Err(LinkFault::Undecodable));
        // A message on another class's stream does not decode there.
        let stray = Bytes::from(sample(Class::Shares).to_frame());
        assert_eq!(frame(stray), Err(LinkFault::Undecodable));
        // The next link starts afresh, and good messages arrive.
        ingress.disconnected(peer);
        assert!(lock(&links).is_empty());
        ingress.connected(peer);
        assert_eq!(frame(garbage()), Ok(()));
        assert_eq!(frame(Bytes::from(sample(Class::Lanes).to_frame())), Ok(()));
        let mut inputs = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut inputs));
        let messages = inputs
            .iter()
            .filter(|i| matches!(i, Input::Message { .. }))
            .count();
        assert_eq!(
            (inputs.len(), messages),
            (3, 1),
            "two connections and a message"
        );
    }
}
