//! What stops a node: the first failure of a part that it cannot run without.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fairlane_replica::StoreError;
use tokio::sync::watch;

/// Why a running node stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The database; nothing acknowledged is lost, since nothing unsynced was sent.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The protocol stopped for good: finality is broken (C8).
    #[error("stopped for good: {0}; an operator must look before anything is started again")]
    Halt(String),
    /// A thread panicked: a bug, never the peers' doing.
    #[error("internal error in {part}: {message}; please report it with the log")]
    Panic {
        /// The thread.
        part: &'static str,
        /// What it said.
        message: String,
    },
    /// The system gave no thread or no randomness.
    #[error("{part}: {message}")]
    System {
        /// What was wanted.
        part: &'static str,
        /// What the system said.
        message: String,
    },
}

/// Takes the first failure; whoever runs the node waits for it.
#[derive(Clone, Debug)]
pub struct Failures {
    first: Arc<watch::Sender<Option<Failure>>>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            first: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Failures {
    /// Reports a failure; only the first is kept, all are logged.
    pub fn report(&self, failure: Failure) {
        tracing::error!(error = %failure, "the node cannot go on");
        self.first.send_if_modified(|first| {
            let fresh = first.is_none();
            if fresh {
                *first = Some(failure);
            }
            fresh
        });
    }

    /// The first failure, if any.
    #[must_use]
    pub fn first(&self) -> Option<Failure> {
        self.first.borrow().clone()
    }

    /// Waits for the first failure.
    pub async fn wait(&self) -> Failure {
        let mut receiver = self.first.subscribe();
        let seen = receiver
            .wait_for(Option::is_some)
            .await
            .map(|first| first.clone());
        match seen {
            Ok(Some(failure)) => failure,
            // The sender is held by `self`, and `wait_for` returned on `Some`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Starts a thread whose panic is a failure of the node.
    ///
    /// # Errors
    /// [`Failure::System`] when there is no thread to be had.
    pub fn spawn(
        &self,
        part: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, Failure> {
        let failures = self.clone();
        std::thread::Builder::new()
            .name(part.to_owned())
            .spawn(move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    failures.report(Failure::Panic {
                        part,
                        message: panic_text(&*panic),
                    });
                }
            })
            .map_err(|e| Failure::System {
                part,
                message: e.to_string(),
            })
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}

/// Locks, also after a panic elsewhere: the panic is a [`Failure`] of its own, and what
/// the locks here guard is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_thread_is_the_failure_and_the_first_one_stays() {
        let failures = Failures::default();
        assert_eq!(failures.first(), None);
        let thread = failures.spawn("part", || panic!("boom {}", 1)).unwrap();
        let failure = failures.wait().await;
        thread.join().unwrap();
        assert_eq!(
            failure,
            Failure::Panic {
                part: "part",
                message: "boom 1".to_owned()
            }
        );
        failures.report(Failure::Store(StoreError::Failed("later".to_owned())));
        assert_eq!(failures.first(), Some(failure));
    }
}
