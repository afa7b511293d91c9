//! Attested roots and beacons: what a light client or another chain verifies with one key.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use fairlane_client::wire::{AttestationBody, BeaconBody, ErrorCode};
use fairlane_types::Height;

use super::Api;
use super::body::segment;
use super::fail::Fail;
use super::info::joined;

/// The first attestation at or above a height, or the latest one.
pub(crate) async fn attestation(
    State(api): State<Arc<Api>>,
    Path(height): Path<String>,
) -> Result<Json<AttestationBody>, Fail> {
    let from = match height.as_str() {
        "latest" => None,
        text => Some(Height(segment(text, "a height or \"latest\"")?)),
    };
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = reading.node.reader();
        let found = match from {
            Some(height) => reader.attestation_from(height)?,
            None => reader.last_attestation()?,
        };
        Ok(found)
    });
    match joined(read.await)? {
        Some(attestation) => {
            let chain = api.node.genesis().chain.0;
            Ok(Json(AttestationBody::new(chain, &attestation)))
        }
        None => Err(Fail::new(
            ErrorCode::NotFound,
            "no attestation at or above this height is here yet",
        )),
    }
}

/// What broke the ties of a height.
pub(crate) async fn beacon(
    State(api): State<Arc<Api>>,
    Path(height): Path<String>,
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
