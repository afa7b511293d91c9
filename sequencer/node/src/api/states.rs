//! Attested states: what a light client checks an account against with one key.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fairlane_client::wire::{AttestedAccountBody, ErrorCode, StateAttestationBody};
use fairlane_types::PublicKey;

use super::Api;
use super::attestations::{first_or_latest, not_found};
use super::body::{InPath, segment};
use super::execution::{account_body, executor};
use super::fail::Fail;
use super::info::joined;
use crate::store::StoreReader;

/// Longest wait for the next attested state.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks while no height comes.
const LOOK: Duration = Duration::from_millis(200);

/// The first attested state at or above a height, or the latest one.
pub(crate) async fn state(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<StateAttestationBody>, Fail> {
    let none = "no attested state at or above this height is here yet";
    let found = first_or_latest(
        &api,
        &height,
        StoreReader::state_attestation_from,
        StoreReader::last_state_attestation,
    );
    let attested = found.await?.ok_or_else(|| not_found(none))?;
    let chain = api.node.genesis().chain.0;
    Ok(Json(StateAttestationBody::new(chain, &attested)))
}

/// An account under the next state that the committee signs. Only the head's state is held:
/// the proof is made when that height is executed.
pub(crate) async fn account(
    State(api): State<Arc<Api>>,
    InPath(key): InPath,
) -> Result<Json<AttestedAccountBody>, Fail> {
    let key: PublicKey = segment(&key, "a public key")?;
    let executor = executor(&api)?;
    if api.node.genesis().certificates.is_none() {
        return Err(not_found("this chain has no certificates"));
    }
    let asked = executor.clone();
    let read = tokio::task::spawn_blocking(move || Ok(asked.prove(&key)));
    if joined(read.await)?.is_none() {
        return Err(not_found("the key has no account"));
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
