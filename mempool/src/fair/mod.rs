//! Fair ordering: a pure function of finalized lanes (ORDERING.md). The replica, the
//! simulator and an auditor run the same code on the same bytes.

mod arrival;
mod baseline;
mod before;
mod cycles;
mod index;
mod lane_order;
mod last_cut;
mod majority;
mod memory;
mod precedence;
mod receive_order;
mod search;
mod state;
mod strong;
mod table;
mod tie;
mod tiles;
mod window;

use fairlane_types::{CtId, Digest, KeyId, Label, Micros, Millis, OrderParams, Outcome, Planted};

use crate::CutDelta;

pub use lane_order::{LaneOrder, SHUFFLE_BUCKET_US};
pub use precedence::Precedence;
pub use receive_order::{GAP_MS, HeadLag, Pairs, ReceiveCounts, ReceiveOrder};
pub use tie::Tied;

/// Orders of one block at the most, equal keys or not: what one set of decryption shares
/// can hold. Clamped stamps can make any number of keys equal; a group that would go
/// beyond is cut by id, so that the set still does not depend on ties.
pub const ORDERS_PER_BLOCK_MAX: usize = 8_192;

/// What "strongly precedes" means in rule `strong`.
pub const STRONG: Precedence = Precedence::Dissent;

/// An order with its place by the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The order.
    pub ct_id: CtId,
    /// Its label.
    pub label: Label,
    /// Its key (assigned order indicator), or a lower bound if it never got one.
    pub key: Micros,
}

/// What one final block emits. Every list is a function of the cuts alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// Past their expiry, or that of the key they are sealed to; by (key bound, id).
    pub expired: Vec<Ordered>,
    /// Their nonce belongs to another order; by (key bound, id).
    pub duplicates: Vec<Ordered>,
    /// D(c): to be decrypted, in fair order.
    pub ordered: Vec<Ordered>,
    /// Long past their expiry when first recorded, so that nobody remembers whether they
    /// had an outcome: they get none. By id.
    pub stale: Vec<Ordered>,
    /// Orders that could be emitted already wait for the next block (D_max, C10).
    pub backlog: bool,
    /// Orders in the largest strong cycle inside the block; 1 or 0 if there is none. Inside
    /// a cycle F1 is not promised. A cycle that the root cut opens is not counted.
    pub cycle_max: usize,
    /// Where the beacon is to bring `ordered` into its last order; empty if nothing is tied
    /// in it, and on a chain whose ties are broken by the block's id.
    pub ties: Vec<Tied>,
}

impl Emission {
    /// Brings D(c) into the order that a beacon gives. Returns, for every place of it, the
    /// place where that order was before: where its shares and plaintext are.
    pub fn settle(&mut self, beacon: &Digest) -> Vec<usize> {
        let ids: Vec<CtId> = self.ordered.iter().map(|order| order.ct_id).collect();
        let places = tie::settled(&ids, &std::mem::take(&mut self.ties), beacon);
        let before = &self.ordered;
        self.ordered = places.iter().map(|at| before[*at].clone()).collect();
        places
    }

    /// What leaves without shares, in the order in which it stands before D(c) in the
    /// block: expired and duplicate ones together, by (key bound, id).
    #[must_use]
    pub fn without_shares(&self) -> Vec<(&Ordered, Outcome)> {
        let expired = self.expired.iter().map(|order| (order, Outcome::Expired));
        let duplicates = self
            .duplicates
            .iter()
            .map(|order| (order, Outcome::DuplicateNonce));
        let mut all: Vec<_> = expired.chain(duplicates).collect();
        all.sort_by_key(|(order, _)| (order.key, order.ct_id));
        all
    }
}

/// The rule that genesis names, empty, for the lanes of `n` members of which `f` may be
/// faulty.
#[must_use]
pub fn rule(n: usize, f: usize, params: &OrderParams) -> Box<dyn FairOrder + Send> {
    Box::new(LaneOrder::new(n, f, params))
}

/// The rule that genesis names at the start of a later epoch, from the
/// [`FairOrder::memory`] of the one before.
///
/// # Errors
/// [`SnapshotError`] if the bytes are none.
pub fn rule_after(
    n: usize,
    f: usize,
    params: &OrderParams,
    time: Millis,
    memory: &[u8],
) -> Result<Box<dyn FairOrder + Send>, SnapshotError> {
    Ok(Box::new(LaneOrder::after(n, f, params, time, memory)?))
}

/// The rule that genesis names, from a [`FairOrder::snapshot`] of it.
///
/// # Errors
/// [`SnapshotError`] if the bytes are none for this many lanes.
pub fn restore(
    n: usize,
    f: usize,
    params: &OrderParams,
    bytes: &[u8],
) -> Result<Box<dyn FairOrder + Send>, SnapshotError> {
    Ok(Box::new(LaneOrder::restore(n, f, params, bytes)?))
}

/// A rule that extends the sequence, block by block.
pub trait FairOrder: std::fmt::Debug {
    /// Takes in what a final block adds and says what it emits. To be called once for
    /// every final block, in height order, empty ones included.
    fn on_cut(&mut self, delta: &CutDelta) -> Emission;

    /// As [`on_cut`](Self::on_cut), for the last block of an epoch: what a quorum of lanes
    /// holds comes out, settled or not. What stays goes on in the lanes of the next epoch.
    fn on_last_cut(&mut self, delta: &CutDelta) -> Emission;

    /// What outlives the epoch, canonical: orders that have their outcome, used nonces.
    fn memory(&self) -> Vec<u8>;

    /// Orders that are sealed to this key expire with it, at this finalized time: the key of the
    /// epoch before, said before the first cut and after every restart.
    fn expire_key(&mut self, former: Option<(KeyId, Millis)>);

    /// Breaks a rule on purpose, in tests; see [`Planted`].
    fn plant(&mut self, planted: Planted);

    /// Number of orders that are in lanes and have no outcome.
    fn live(&self) -> usize;

    /// Those orders, by id.
    fn live_orders(&self) -> Vec<CtId>;

    /// Canonical bytes of the whole state.
    fn snapshot(&self) -> Vec<u8>;

    /// Commits to the whole state.
    fn digest(&self) -> Digest {
        fairlane_types::Domain::Snapshot.hash(&self.snapshot())
    }
}

/// Why bytes are no snapshot of an order rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not an encoding.
    #[error(transparent)]
    Decode(#[from] fairlane_types::DecodeError),
    /// An encoding of something that cannot be.
    #[error("the snapshot contradicts itself: {0}")]
    Inconsistent(&'static str),
}
