//! What the rest of the process holds of a running node: submit, query, follow, stop.
//!
//! A reader that follows the sequence replays from [`StoreReader`] and then tails
//! [`NodeHandle::heads`] (a height; never lags) or [`NodeHandle::blocks`] (the blocks
//! themselves; a receiver that lags reads what it missed from disk). A block is on disk
//! before either of them tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use fairlane_replica::{ChangeStatus, Event, StoreError};
use fairlane_types::{
    CommitteeChange, CtId, Envelope, Genesis, Height, MemberId, QuorumWord, Root, SecretKey,
    SequencedBlock,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, oneshot, watch};

use crate::executor::Executor;
use crate::inbox::{Inbox, Request};
use crate::known_key::KnownKey;
use crate::store::StoreReader;

pub use fairlane_mempool::fair::ReceiveCounts;
pub use fairlane_replica::{Reply, Stage};

/// Blocks kept for receivers of [`NodeHandle::blocks`] that are a little behind.
pub const BLOCKS_TAIL_MAX: usize = 256;

/// Why the shell itself did not pass a request on. What the protocol refuses is
/// [`Reply::Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The queue of requests is full; try again later (boundary rule 4).
    #[error("over capacity: too many requests are waiting, retry in {retry_after_ms} ms")]
    OverCapacity {
        /// When to try again: about when the orders under way will have come out.
        retry_after_ms: u32,
    },
    /// The node is shutting down; another member takes the order.
    #[error("draining: this member is shutting down, use another one")]
    Draining,
    /// The node has stopped, and whether the order was recorded is not known: ask again
    /// by its id.
    #[error("stopped: this member has stopped, ask for the order by its id")]
    Stopped,
}

impl RequestError {
    /// Stable code, as in the API.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OverCapacity { .. } => "over_capacity",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// What a node is doing; see [`NodeHandle::status`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Height of the last final block known.
    pub final_height: Height,
    /// Height of the last emitted block; 0 before the first one.
    pub emitted_height: Height,
    /// Highest height attested since the start; 0 before the first one.
    pub attested_height: Height,
    /// View of the consensus.
    pub view: u64,
    /// The node is behind and fetching.
    pub catching_up: bool,
    /// C7: the identity has no safety record, so the node does not vote.
    pub observer: bool,
    /// The next committee, once it is decided.
    pub change: Option<ChangeStatus>,
    /// The members have not made the encryption key yet.
    pub keyless: bool,
    /// Dealings that count, and how many the key needs; 0 and 0 where a dealer made it.
    pub dealings: (usize, usize),
    /// Members with a link up, this one excluded.
    pub peers_connected: Vec<MemberId>,
    /// Links up, this member counted, reach a quorum.
    pub quorum_connected: bool,
    /// Submissions are no longer taken.
    pub draining: bool,
    /// Leader of the view.
    pub leader: MemberId,
    /// Root of the sequence at `emitted_height`.
    pub root: Root,
    /// Orders in lanes without an outcome.
    pub orders_live: usize,
    /// Orders on their way, and how many may be before submissions are refused (A23).
    pub orders_held: usize,
    /// See `orders_held`.
    pub orders_held_max: usize,
    /// Final heights on their way to plaintext.
    pub heights_opening: usize,
    /// Requests of clients without an answer.
    pub requests_open: usize,
    /// The own lane against the final order.
    pub receive_order: ReceiveCounts,
}

/// Changes the log filter of the process, e.g. `info,fairlane_node::net=debug`.
pub type LogControl = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A running node; cheap to clone, usable from any task.
#[derive(Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
}

/// What all clones of a handle share.
pub(crate) struct Shared {
    pub(crate) origin: Arc<Genesis>,
    pub(crate) genesis: Arc<Genesis>,
    /// The keys, once they were asked for and are there.
    pub(crate) key: OnceLock<Arc<KnownKey>>,
    pub(crate) me: MemberId,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) reader: StoreReader,
    pub(crate) status: watch::Receiver<NodeStatus>,
    pub(crate) heads: watch::Receiver<Height>,
    pub(crate) blocks: broadcast::Sender<Arc<SequencedBlock>>,
    pub(crate) draining: AtomicBool,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) log_control: Option<LogControl>,
    pub(crate) executor: Option<Executor>,
    pub(crate) identity: Arc<SecretKey>,
}

impl NodeHandle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Submits an order; the reply is [`Reply::Receipt`] once the batch that holds it is
    /// durable, or [`Reply::Refused`]. Dropping the future does not take the order back.
    ///
    /// # Errors
    /// [`RequestError`] when the shell did not pass it on.
    pub async fn submit(&self, envelope: Arc<Envelope>) -> Result<Reply, RequestError> {
        if self.is_draining() {
            return Err(RequestError::Draining);
        }
        let (reply, answer) = oneshot::channel();
        self.shared
            .inbox
            .request(Request::Submit { envelope, reply })?;
        answer.await.map_err(|_| RequestError::Stopped)
    }

    /// Where a live order is: [`Reply::Status`]. Emitted orders older than this run are
    /// in [`StoreReader::emitted`], which is to be asked first.
    ///
    /// # Errors
    /// [`RequestError`] when the shell did not pass it on.
    pub async fn query(&self, ct_id: CtId) -> Result<Reply, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.shared.inbox.request(Request::Query { ct_id, reply })?;
        answer.await.map_err(|_| RequestError::Stopped)
    }

    /// The last emitted height, 0 before the first block; every change wakes the receiver.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Height> {
        self.shared.heads.clone()
    }

    /// Blocks as they are emitted from now on. A receiver that falls behind by more than
    /// [`BLOCKS_TAIL_MAX`] gets `Lagged` and reads what it missed from [`Self::reader`].
    #[must_use]
    pub fn blocks(&self) -> broadcast::Receiver<Arc<SequencedBlock>> {
        self.shared.blocks.subscribe()
    }

    /// Reads the database.
    #[must_use]
    pub fn reader(&self) -> &StoreReader {
        &self.shared.reader
    }

    /// What the node is doing, refreshed at every turn that changes it. Clone what
    /// `borrow` lends and let go of it at once: the core waits for the lock behind it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.shared.status.clone()
    }

    /// The clearing house, if this member executes.
    #[must_use]
    pub fn executor(&self) -> Option<&Executor> {
        self.shared.executor.as_ref()
    }

    /// The genesis of the first epoch: what clients pin.
    #[must_use]
    pub fn origin(&self) -> &Arc<Genesis> {
        &self.shared.origin
    }

    /// The genesis of this epoch.
    #[must_use]
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.shared.genesis
    }

    /// The keys of the chain; `None` while the members are making them. They are read and
    /// decoded until they are there, and never change after that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn encryption_key(&self) -> Result<Option<Arc<KnownKey>>, StoreError> {
        if let Some(known) = self.shared.key.get() {
            return Ok(Some(Arc::clone(known)));
        }
        let known = KnownKey::read(&self.shared.genesis, &self.shared.reader)?.map(Arc::new);
        Ok(known.map(|known| Arc::clone(self.shared.key.get_or_init(|| known))))
    }

    /// This member.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.shared.me
    }

    /// Signs as this member.
    pub(crate) fn identity(&self) -> &SecretKey {
        &self.shared.identity
    }

    /// Stops taking submissions; queries and the feed go on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
    }

    /// Whether submissions are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::SeqCst)
    }

    /// Hands in a change of committee that a quorum approved.
    pub fn change_committee(&self, change: Arc<CommitteeChange>) {
        self.shared.inbox.result(Event::Change(change));
    }

    /// Hands in the word by which this epoch's committee hands over, learnt elsewhere and
    /// verified. A member that has come to the boundary ends its epoch with it.
    pub fn handed_over(&self, word: QuorumWord) {
        self.shared.inbox.result(Event::Handed(Arc::new(word)));
    }

    /// Drains, flushes and stops the node; returns at once. See
    /// [`Node::run`](crate::node::Node::run) for the end of it.
    pub fn stop(&self) {
        self.drain();
        self.shared.stop.send_replace(true);
    }

    /// Turns true when the node is to stop; servers close on it.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stop.subscribe()
    }

    /// Metrics in the Prometheus text format; empty when none are recorded.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.shared
            .metrics
            .as_ref()
            .map(PrometheusHandle::render)
            .unwrap_or_default()
    }

    /// Changes the log filter.
    ///
    /// # Errors
    /// What is wrong with the filter, or that the process has none.
    pub fn set_log_filter(&self, filter: &str) -> Result<(), String> {
        match &self.shared.log_control {
            Some(control) => control(filter),
            None => Err("this process has no adjustable log filter".to_owned()),
        }
    }
}
