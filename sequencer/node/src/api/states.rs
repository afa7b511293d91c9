//! Attested states: what a light client checks an account against with one key.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use fairlane_client::wire::{AttestedAccountBody, ErrorCode, StateAttestationBody};
use fairlane_types::{Height, PublicKey};

use super::Api;
use super::body::segment;
use super::execution::{account_body, executor};
use super::fail::Fail;
use super::info::joined;

/// Longest wait for the next attested state.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks while no height comes.
const LOOK: Duration = Duration::from_millis(200);

/// The first attested state at or above a height, or the latest one.
pub(crate) async fn state(
    State(api): State<Arc<Api>>,
    Path(height): Path<String>,
) -> Result<Json<StateAttestationBody>, Fail> {
    let from = match height.as_str() {
        "latest" => None,
        text => Some(Height(segment(text, "a height or \"latest\"")?)),
    };
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = reading.node.reader();
        let found = match from {
            Some(height) => reader.state_attestation_from(height)?,
            None => reader.last_state_attestation()?,
        };
        Ok(found)
    });
    match joined(read.await)? {
        Some(found) => {
            let chain = api.node.genesis().chain.0;
            Ok(Json(StateAttestationBody::new(chain, &found)))
        }
        None => Err(Fail::new(
            ErrorCode::NotFound,
            "no attested state at or above this height is here yet",
        )),
    }
}

/// An account under the next state that the committee signs. Only the head's state is held:
/// the proof is made when that height is executed.
pub(crate) async fn account(
    State(api): State<Arc<Api>>,
    Path(key): Path<String>,
) -> Result<Json<AttestedAccountBody>, Fail> {
    let key: PublicKey = segment(&key, "a public key")?;
    let executor = executor(&api)?;
    if api.node.genesis().certificates.is_none() {
        return Err(Fail::new(
            ErrorCode::NotFound,
            "this chain has no certificates",
        ));
    }
    let asked = executor.clone();
    let read = tokio::task::spawn_blocking(move || Ok(asked.prove(&key)));
    if joined(read.await)?.is_none() {
        return Err(Fail::new(ErrorCode::NotFound, "the key has no account"));
    }
    let busy = || Fail::new(ErrorCode::OverCapacity, "too many wait for proofs");
    let waiting = Arc::new(executor.states().wait_for(key).ok_or_else(busy)?);
    let mut heads = api.node.heads();
    let end = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let (waiting, reading) = (Arc::clone(&waiting), api.clone());
        let read = tokio::task::spawn_blocking(move || Ok(waiting.proven(reading.node.reader())?));
        if let Some((proof, attested)) = joined(read.await)? {
            let chain = api.node.genesis().chain.0;
            return Ok(Json(AttestedAccountBody {
                account: account_body(&proof)?,
                state: StateAttestationBody::new(chain, &attested),
            }));
        }
        let late = || {
            let what = "no state was attested in time: ask again, or another member";
            Fail::new(ErrorCode::NotReady, what)
        };
        let look = tokio::time::timeout(LOOK, heads.changed());
        match tokio::time::timeout_at(end, look).await {
            Ok(Ok(Err(_))) | Err(_) => return Err(late()),
            Ok(_) => {}
        }
    }
}
