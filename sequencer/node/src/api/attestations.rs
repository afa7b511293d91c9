//! Attested roots and beacons: what a light client or another chain verifies with one key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fairlane_client::wire::{AttestationBody, BeaconBody, ErrorCode};
use fairlane_replica::StoreError;
use fairlane_types::Height;

use super::Api;
use super::body::{InPath, segment};
use super::fail::Fail;
use super::info::joined;
use crate::store::StoreReader;

/// The first attestation at or above a height, or the latest one.
pub(crate) async fn attestation(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<AttestationBody>, Fail> {
    let none = "no attestation at or above this height is here yet";
    let found = first_or_latest(
        &api,
        &height,
        StoreReader::attestation_from,
        StoreReader::last_attestation,
    );
    let attestation = found.await?.ok_or_else(|| not_found(none))?;
    let chain = api.node.genesis().chain.0;
    Ok(Json(AttestationBody::new(chain, &attestation)))
}

/// What the committee signed first at or above a height, or last.
pub(super) async fn first_or_latest<T: Send + 'static>(
    api: &Arc<Api>,
    height: &str,
    from: impl Fn(&StoreReader, Height) -> Result<Option<T>, StoreError> + Send + 'static,
    last: impl Fn(&StoreReader) -> Result<Option<T>, StoreError> + Send + 'static,
) -> Result<Option<T>, Fail> {
    let height = match height {
        "latest" => None,
        text => Some(Height(segment(text, "a height or \"latest\"")?)),
    };
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = reading.node.reader();
        Ok(match height {
            Some(height) => from(reader, height)?,
            None => last(reader)?,
        })
    });
    joined(read.await)
}

pub(super) fn not_found(what: &'static str) -> Fail {
    Fail::new(ErrorCode::NotFound, what)
}

/// What broke the ties of a height.
pub(crate) async fn beacon(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<BeaconBody>, Fail> {
    let height = Height(segment(&height, "a height")?);
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || Ok(reading.node.reader().beacon(height)?));
    match joined(read.await)? {
        Some(beacon) => Ok(Json(BeaconBody::new(api.node.genesis().chain.0, &beacon))),
        None => Err(Fail::new(
            ErrorCode::NotFound,
            "this height has no beacon here: nothing was tied, or it is not emitted",
        )),
    }
}
