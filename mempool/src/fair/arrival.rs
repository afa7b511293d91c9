//! Rule `arrival`.

use fairlane_types::OrderParams;

use super::{Emission, FairOrder, SnapshotError};
use crate::CutDelta;

/// Rule `arrival`: by assigned order indicator, ties by hash.
#[derive(Clone, Debug)]
pub struct Arrival {}

impl Arrival {
    /// An empty state for lanes of `n` members with `f` faults.
    #[must_use]
    pub fn new(_n: usize, _f: usize, _params: &OrderParams) -> Self {
        Self {}
    }

    /// From [`FairOrder::snapshot`].
    ///
    /// # Errors
    /// [`SnapshotError`] if the bytes are none.
    pub fn restore(
        _n: usize,
        _f: usize,
        _params: &OrderParams,
        _bytes: &[u8],
    ) -> Result<Self, SnapshotError> {
        Ok(Self {})
    }
}

impl FairOrder for Arrival {
    fn on_cut(&mut self, _delta: &CutDelta) -> Emission {
        Emission::default()
    }
    fn live(&self) -> usize {
        0
    }
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
}
