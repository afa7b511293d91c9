//! What later epochs began with: from there clients follow the committee, and members that
//! are behind, or are to join, go on.
//!
//! These are the largest answers there are: however many ask, one of an epoch is in memory, and
//! one is read at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use borsh::BorshDeserialize;
use bytes::Bytes;
use fairlane_client::wire::{BINARY, ErrorCode};
use fairlane_replica::{EpochBase, Table, epoch_key, meta};
use fairlane_types::{Epoch, Handover, decode, encode};

use super::Api;
use super::body::{InPath, segment};
use super::fail::Fail;
use super::info::joined;

/// Hand-overs that are kept at hand.
const HANDOVERS_MAX: usize = 64;

/// What is being sent of epochs.
#[derive(Debug, Default)]
pub(crate) struct Bases(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Rows as long as somebody is being sent them.
    rows: BTreeMap<Epoch, Weak<Vec<u8>>>,
    handovers: BTreeMap<Epoch, Bytes>,
}

/// A row that is shared by all who are sent it.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Held {
    fn row(
        &mut self,
        epoch: Epoch,
        read: impl FnOnce() -> Result<Vec<u8>, Fail>,
    ) -> Result<Arc<Vec<u8>>, Fail> {
        self.rows.retain(|_, row| row.strong_count() > 0);
        if let Some(row) = self.rows.get(&epoch).and_then(Weak::upgrade) {
            return Ok(row);
        }
        let row = Arc::new(read()?);
        self.rows.insert(epoch, Arc::downgrade(&row));
        Ok(row)
    }

    fn handover(
        &mut self,
        epoch: Epoch,
        read: impl FnOnce() -> Result<Vec<u8>, Fail>,
    ) -> Result<Bytes, Fail> {
        if let Some(known) = self.handovers.get(&epoch) {
            return Ok(known.clone());
        }
        let row = self.row(epoch, read)?;
        let base: EpochBase = decoded(&row)?;
        let handover = Bytes::from(encode(&base.handover));
        if self.handovers.len() >= HANDOVERS_MAX {
            self.handovers.pop_first();
        }
        self.handovers.insert(epoch, handover.clone());
        Ok(handover)
    }
}

/// The hand-over that began an epoch, borsh.
pub(crate) async fn handover(
    State(api): State<Arc<Api>>,
    InPath(epoch): InPath,
) -> Result<impl IntoResponse, Fail> {
    let body = held(&api, &epoch, |held, epoch, api| {
        match held.handover(epoch, || read(api, epoch)) {
            Err(missing) => left_by(api, epoch)?.ok_or(missing),
            found => found,
        }
    });
    Ok(([(header::CONTENT_TYPE, BINARY)], body.await?))
}

/// All that a member begins an epoch with, borsh.
pub(crate) async fn base(
    State(api): State<Arc<Api>>,
    InPath(epoch): InPath,
) -> Result<impl IntoResponse, Fail> {
    let row = held(&api, &epoch, |held, epoch, api| {
        held.row(epoch, || read(api, epoch))
    });
    let body = Bytes::from_owner(Shared(row.await?));
    Ok(([(header::CONTENT_TYPE, BINARY)], body))
}

/// Looks at what is held, on a thread that may wait.
async fn held<T: Send + 'static>(
    api: &Arc<Api>,
    epoch: &str,
    look: impl FnOnce(&mut Held, Epoch, &Api) -> Result<T, Fail> + Send + 'static,
) -> Result<T, Fail> {
    let epoch = Epoch(segment(epoch, "an epoch number")?);
    let api = api.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut held = api.bases.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut held, epoch, &api)
    });
    joined(looked.await)
}

/// The hand-over by which this home left the epoch before, while it has no more of that one.
fn left_by(api: &Api, epoch: Epoch) -> Result<Option<Bytes>, Fail> {
    let Some(row) = api.node.reader().get(Table::Meta, meta::WORD)? else {
        return Ok(None);
    };
    let word: Handover = decoded(&row)?;
    Ok((word.genesis.epoch() == epoch).then(|| Bytes::from(row)))
}

fn decoded<T: BorshDeserialize>(row: &[u8]) -> Result<T, Fail> {
    decode(row, row.len()).map_err(|error| {
        tracing::error!(%error, "a stored epoch does not decode");
        Fail::new(ErrorCode::Internal, "the stored epoch does not decode")
    })
}

fn read(api: &Api, epoch: Epoch) -> Result<Vec<u8>, Fail> {
    let row = api.node.reader().get(Table::Epochs, &epoch_key(epoch))?;
    let message = || format!("this member did not begin epoch {epoch}");
    row.ok_or_else(|| Fail::new(ErrorCode::NotFound, message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_an_epoch_is_in_memory_however_many_are_sent_it() {
        let mut held = Held::default();
        let first = held.row(Epoch(1), || Ok(vec![1; 10])).ok().unwrap();
        let again = held.row(Epoch(1), || panic!("it is there")).ok().unwrap();
        let other = held.row(Epoch(2), || Ok(vec![2; 10])).ok().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!((held.rows.len(), other[0]), (2, 2));
        let sent = Bytes::from_owner(Shared(first));
        drop(again);
        assert!(held.row(Epoch(1), || panic!("it is being sent")).is_ok());
        drop(sent);
        // Then what the disk has by now.
        let later = held.row(Epoch(1), || Ok(vec![3; 4])).ok().unwrap();
        assert_eq!(*later, [3; 4]);
        let missing = || Err(Fail::new(ErrorCode::NotFound, "none"));
        assert!(held.row(Epoch(3), missing).is_err());
    }
}
