//! A rule: what all share, and the extraction that genesis names.

use fairlane_types::{CtId, KeyId, Millis, OrderParams, OrderRule, Planted};

use super::state::{Extracted, State, Taken};
use super::{
    Emission, FairOrder, Precedence, STRONG, SnapshotError, arrival, baseline, last_cut, majority,
    strong,
};
use crate::CutDelta;

/// Width of a bucket of rule `shuffle`, µs.
pub const SHUFFLE_BUCKET_US: u64 = 10_000;

/// An order rule over finalized lanes.
#[derive(Clone, Debug)]
pub struct LaneOrder {
    rule: OrderRule,
    precedence: Precedence,
    state: State,
}

impl LaneOrder {
    /// An empty state for the lanes of `n` members of which `f` may be faulty.
    #[must_use]
    pub fn new(n: usize, f: usize, params: &OrderParams) -> Self {
        let rank = match params.rule {
            OrderRule::Majority => n / 2,
            _ => f,
        };
        Self {
            rule: params.rule,
            precedence: STRONG,
            state: State::new(n, f, rank, params),
        }
    }

    /// Rule `strong` with another meaning of "strongly precedes", for comparison.
    #[must_use]
    pub fn strong(n: usize, f: usize, params: &OrderParams, precedence: Precedence) -> Self {
        Self {
            rule: OrderRule::Strong,
            precedence,
            state: State::new(n, f, f, params),
        }
    }

    /// At the start of an epoch: no order is live, and what the epoch before remembered
    /// ([`FairOrder::memory`]) still is.
    ///
    /// # Errors
    /// [`SnapshotError`] if the bytes are none.
    pub fn after(
        n: usize,
        f: usize,
        params: &OrderParams,
        time: Millis,
        memory: &[u8],
    ) -> Result<Self, SnapshotError> {
        let empty = Self::new(n, f, params);
        Ok(Self {
            state: empty.state.begin(time, memory)?,
            ..empty
        })
    }

    /// From [`FairOrder::snapshot`].
    ///
    /// # Errors
    /// [`SnapshotError`] if the bytes are none for this many lanes.
    pub fn restore(
        n: usize,
        f: usize,
        params: &OrderParams,
        bytes: &[u8],
    ) -> Result<Self, SnapshotError> {
        let empty = Self::new(n, f, params);
        Ok(Self {
            state: empty.state.load(bytes)?,
            ..empty
        })
    }
}

impl LaneOrder {
    fn extract(&self, delta: &CutDelta, taken: &Taken) -> Extracted {
        let (state, block, w) = (&self.state, delta.block, taken.watermark);
        match self.rule {
            OrderRule::Strong => strong::extract(state, self.precedence, block, taken),
            OrderRule::Arrival => arrival::extract(state, block, w, 1),
            OrderRule::Majority => majority::extract(state, block, w),
            OrderRule::Shuffle => arrival::extract(state, block, w, SHUFFLE_BUCKET_US),
            OrderRule::Leader => baseline::leader(state),
            OrderRule::RoundRobin => baseline::round_robin(state, block),
        }
    }
}

impl FairOrder for LaneOrder {
    fn on_cut(&mut self, delta: &CutDelta) -> Emission {
        let taken = self.state.take_in(delta);
        let extracted = self.extract(delta, &taken);
        self.state.finish(taken, extracted)
    }

    fn on_last_cut(&mut self, delta: &CutDelta) -> Emission {
        let taken = self.state.take_in(delta);
        let extracted = last_cut::extend(&self.state, delta.block, self.extract(delta, &taken));
        Emission {
            backlog: false,
            ..self.state.finish(taken, extracted)
        }
    }

    fn memory(&self) -> Vec<u8> {
        self.state.memory()
    }

    fn expire_key(&mut self, former: Option<(KeyId, Millis)>) {
        self.state.former = former;
    }

    fn plant(&mut self, planted: Planted) {
        self.state.planted = planted;
    }

    fn live(&self) -> usize {
        self.state.table.len()
    }

    fn live_orders(&self) -> Vec<CtId> {
        self.state.table.ids()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }
}
