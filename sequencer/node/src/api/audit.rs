//! What an outside auditor takes (F6): steps by height, and where to begin.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{BINARY, ErrorCode};
use fairlane_mempool::Cut;
use fairlane_replica::audit::{Start, Step, StepError};
use fairlane_replica::{FinalBlock, Table, height_key};
use fairlane_types::{Genesis, Height, encode};
use serde::Deserialize;

use super::Api;
use super::blocks::out_of_range;
use super::body::Args;
use super::fail::Fail;
use super::info::{head, joined};
use crate::store::StoreReader;

/// Most steps in an answer.
const STEPS_MAX: u64 = 64;
/// Stops an answer after so many bytes of steps.
const BYTES_MAX: usize = 4 << 20;

/// Where an audit of this member's records can begin, borsh.
pub(crate) async fn start(State(api): State<Arc<Api>>) -> Result<Response, Fail> {
    let read = tokio::task::spawn_blocking(move || {
        let reader = api.node.reader();
        Start::read(api.node.genesis(), |table, key| reader.get(table, key)).map_err(broken)
    });
    let start = joined(read.await)?;
    Ok(([(header::CONTENT_TYPE, BINARY)], encode(&start)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepArgs {
    from: u64,
}

/// Steps from a height on, as many as fit an answer: each a 32-bit little-endian length
/// and borsh.
pub(crate) async fn steps(
    State(api): State<Arc<Api>>,
    Args(args): Args<StepArgs>,
) -> Result<Response, Fail> {
    let (head, first) = head(&api).await?;
    // Lanes and dealings of earlier epochs are gone.
    let first = first.max(api.node.genesis().base().next());
    let (from, last) = (Height(args.from), Height(head.height));
    if from < first || from > last.next() {
        return Err(out_of_range(from, first, last));
    }
    let read = tokio::task::spawn_blocking(move || {
        let reader = api.node.reader();
        let mut bytes = Vec::new();
        let mut parent = cut_below(reader, api.node.genesis(), from)?;
        for height in from.0..(from.0 + STEPS_MAX).min(last.next().0) {
            if bytes.len() >= BYTES_MAX {
                break;
            }
            let get = |table, key: &[u8]| reader.get(table, key);
            let step = Step::read(Height(height), &parent, get).map_err(broken)?;
            parent = step.block.payload.cut.clone();
            let body = encode(&step);
            let length = u32::try_from(body.len())
                .map_err(|_| Fail::new(ErrorCode::Internal, "a step is over 4 GiB"))?;
            bytes.extend(length.to_le_bytes());
            bytes.extend(body);
        }
        Ok(bytes)
    });
    Ok(([(header::CONTENT_TYPE, BINARY)], joined(read.await)?).into_response())
}

/// Cut of the block below a height.
fn cut_below(reader: &StoreReader, genesis: &Genesis, from: Height) -> Result<Cut, Fail> {
    if from <= genesis.base().next() {
        return Ok(Cut::genesis(genesis.members.len()));
    }
    let bytes = reader.get(Table::Blocks, &height_key(from.prev()))?;
    let bytes =
        bytes.ok_or_else(|| Fail::new(ErrorCode::OutOfRange, "the block below is pruned"))?;
    let block: FinalBlock = fairlane_types::decode(&bytes, bytes.len())
        .map_err(|_| Fail::new(ErrorCode::Internal, "a block on disk does not decode"))?;
    Ok(block.payload.cut)
}

fn broken(error: StepError) -> Fail {
    match error {
        StepError::Store(error) => error.into(),
        StepError::Absent { .. } => Fail::new(ErrorCode::OutOfRange, error.to_string()),
        StepError::Genesis(_) | StepError::Decode { .. } => {
            Fail::new(ErrorCode::Internal, error.to_string())
        }
    }
}
