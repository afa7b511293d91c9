//! The state machine.

use std::sync::Arc;

use fairlane_types::{MemberId, Micros, View};

use crate::boundary::{Input, Output};
use crate::config::{Config, ConfigError};
use crate::leader::LeaderSchedule;
use crate::marks::Marks;
use crate::message::{FinalBlock, Payload};
use crate::records::Recovered;

/// The consensus core of one member in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core<P> {
    config: Arc<Config>,
    schedule: LeaderSchedule,
    view: View,
    tip: FinalBlock<P>,
    marks: Marks,
}

/// Why a core cannot be restored; the node must stop and say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The configuration does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store belongs to another chain or epoch.
    #[error("the stored {what} belongs to chain {chain}, epoch {epoch}")]
    Foreign {
        /// What was found.
        what: &'static str,
        /// Its chain.
        chain: u64,
        /// Its epoch.
        epoch: u64,
    },
    /// Two records exclude each other: the safety record is corrupt or was shared by two
    /// running nodes. Restore it from nothing; continue as an observer.
    #[error("the safety record contradicts itself in view {view}: {what}")]
    Contradiction {
        /// Where.
        view: View,
        /// What.
        what: &'static str,
    },
}

impl<P: Payload> Core<P> {
    /// Builds the core from what is on disk (C7): `tip` is genesis on a first start.
    /// [`Input::Start`] must follow before any other input.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing may be said in this identity then.
    pub fn restore(config: Config, recovered: Recovered<P>) -> Result<Self, RestoreError> {
        config.validate()?;
        let schedule = LeaderSchedule::new(config.chain, config.epoch, &config.committee);
        Ok(Self {
            view: recovered.tip.header.view.next(),
            schedule,
            config: Arc::new(config),
            tip: recovered.tip,
            marks: Marks::default(),
        })
    }

    /// One input, handled to the end. `now` is the driver's monotonic clock.
    pub fn step(&mut self, now: Micros, input: Input<P>, out: &mut Vec<Output<P>>) {
        let _ = (now, input, out);
    }

    /// The view this member is in.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }
    /// The last final block.
    #[must_use]
    pub fn finalized(&self) -> &FinalBlock<P> {
        &self.tip
    }
    /// The leader of a view.
    #[must_use]
    pub fn leader(&self, view: View) -> MemberId {
        self.schedule.leader(view)
    }
    /// Counters.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }
    /// Δ̂, the present estimate of the delay (C9).
    #[must_use]
    pub fn delay(&self) -> Micros {
        self.config.params.delay_min
    }
    /// What it was configured with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
