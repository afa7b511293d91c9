//! Results of the last heights: what a height that was applied gives again.

use std::collections::VecDeque;
use std::sync::Arc;

use fairlane_types::{Height, Root, SequencedBlock};

use crate::interface::{Executed, ExecutionError};

/// Results kept, by height.
pub const RESULTS_KEPT: usize = 128;

/// The results of the last [`RESULTS_KEPT`] heights.
#[derive(Clone, Debug, Default)]
pub struct Results(VecDeque<Arc<Executed>>);

impl Results {
    /// What a block is to an execution that is at a height, with the root of the sequence there: `None`
    /// for the next one, which is to be applied, and the stored result of one that was.
    ///
    /// # Errors
    /// [`ExecutionError`] `Fork`, `Root`, `TooOld`, as of [`Execution::apply`](crate::Execution::apply).
    pub fn of(
        &self,
        block: &SequencedBlock,
        head: Height,
        sequence: Root,
    ) -> Result<Option<Arc<Executed>>, ExecutionError> {
        let got = block.height;
        if got <= head {
            let kept = self.at(got);
            return kept.map(Some).ok_or(ExecutionError::TooOld(got));
        }
        if got != head.next() || block.parent_root != sequence {
            return Err(ExecutionError::Fork { head, got });
        }
        if block.root != block.compute_root() {
            return Err(ExecutionError::Root(got));
        }
        Ok(None)
    }

    /// The result of a height, if it is kept.
    #[must_use]
    pub fn at(&self, height: Height) -> Option<Arc<Executed>> {
        let mut kept = self.0.iter();
        kept.find(|result| result.height == height).cloned()
    }

    /// Keeps the next one; the oldest gives way.
    pub fn keep(&mut self, executed: Executed) -> Arc<Executed> {
        let executed = Arc::new(executed);
        if self.0.len() == RESULTS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(executed.clone());
        executed
    }

    /// Forgets all: another state was restored.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
