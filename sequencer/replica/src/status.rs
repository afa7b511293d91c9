//! A glance at a replica, for metrics and `/v1/status`; and where an order is.

use fairlane_mempool as mempool;
use fairlane_mempool::fair::ReceiveCounts;
use fairlane_types::{CtId, Height, MemberId, Position, Root, View};

use crate::boundary::Stage;
use crate::epoch_change::ChangeStatus;
use crate::key_making::KeyMaking;
use crate::keys::Emitted;
use crate::replica::Replica;

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
}
