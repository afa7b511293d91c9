//! The lanes of one member.

use std::sync::Arc;

use fairlane_types::{BlockId, CtId, Envelope, MemberId, Micros, Millis, Seq};

use crate::{BuiltCut, Config, Cut, CutDelta, FinalCut, Input, Output, Recovered, Stage, Verdict};

/// All lanes as one member sees them, its own included.
#[derive(Debug)]
pub struct Lanes {
    config: Config,
}

impl Lanes {
    /// Empty lanes, at genesis.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Lanes as a restart finds them; everything in `recovered` was written by this
    /// member and is trusted.
    #[must_use]
    pub fn restore(config: Config, _recovered: Recovered) -> Self {
        Self { config }
    }

    /// One input.
    pub fn step(&mut self, _now: Micros, _input: Input, _out: &mut Vec<Output>) {}

    /// Where an order is; `None` if it is unknown or has its outcome.
    #[must_use]
    pub fn status(&self, _ct_id: &CtId) -> Option<Stage> {
        None
    }

    /// An order that is held.
    #[must_use]
    pub fn envelope(&self, _ct_id: &CtId) -> Option<Arc<Envelope>> {
        None
    }

    /// Number and stamp of this member's last durable batch.
    #[must_use]
    pub fn own_tip(&self) -> (Seq, Micros) {
        (Seq(0), Micros(0))
    }

    /// A cut to propose on `parent`; lanes in `certified_only` advance only to heads that
    /// q members acknowledged.
    #[must_use]
    pub fn build_cut(
        &self,
        parent: &Cut,
        parent_time: Millis,
        _certified_only: &[MemberId],
    ) -> BuiltCut {
        BuiltCut {
            cut: parent.clone(),
            time: parent_time,
            advances: self.config.committee.n() > 200,
        }
    }

    /// What to think of a proposed cut.
    #[must_use]
    pub fn check_cut(
        &self,
        _parent: &Cut,
        _parent_time: Millis,
        _cut: &Cut,
        _time: Millis,
    ) -> Verdict {
        Verdict::Valid
    }

    /// Fetches what a `Missing` cut needs, from its proposer first; `CutReady` follows.
    pub fn want_cut(
        &mut self,
        _now: Micros,
        _block: BlockId,
        _leader: MemberId,
        _parent: &Cut,
        _cut: &Cut,
        _out: &mut Vec<Output>,
    ) {
    }

    /// What a final block adds; `None` while something is missing (it is being fetched,
    /// and `CutReady` follows). After `Finalized`, in height order.
    pub fn take_final(
        &mut self,
        _now: Micros,
        _block: &FinalCut,
        _out: &mut Vec<Output>,
    ) -> Option<CutDelta> {
        None
    }
}
