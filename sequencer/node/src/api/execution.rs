//! The clearing house: accounts with proofs, and what a block did.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use fairlane_client::wire::{
    AccountBody, ErrorCode, ExecutedBody, ExecutedItem, ExecutionBody, FillBody, PositionBody,
};
use fairlane_execution::Fill;
use fairlane_types::{Height, PublicKey, encode};

use super::Api;
use super::body::segment;
use super::fail::Fail;
use super::info::joined;
use crate::executor::Executor;

fn executor(api: &Api) -> Result<Executor, Fail> {
    let none = || Fail::new(ErrorCode::NotFound, "this member does not execute");
    api.node.executor().cloned().ok_or_else(none)
}

pub(crate) async fn account(
    State(api): State<Arc<Api>>,
    Path(key): Path<String>,
) -> Result<Json<AccountBody>, Fail> {
    let key: PublicKey = segment(&key, "a public key")?;
    let executor = executor(&api)?;
    let read = tokio::task::spawn_blocking(move || Ok(executor.prove(&key)));
    let Some(proof) = joined(read.await)? else {
        return Err(Fail::new(ErrorCode::NotFound, "the key has no account"));
    };
    let Some(state_root) = proof.state_root() else {
        return Err(Fail::new(ErrorCode::Internal, "the proof leads nowhere"));
    };
    let position = |held: &fairlane_execution::account::PositionLeaf| PositionBody {
        market: held.market,
        lots: held.lots,
        cost: held.cost.to_string(),
        orders: held.orders.len() as u32,
    };
    Ok(Json(AccountBody {
        key,
        height: proof.head.0.0,
        state_root,
        collateral: proof.account.collateral.to_string(),
        positions: proof.account.positions.iter().map(position).collect(),
        proof: encode(&proof),
    }))
}

pub(crate) async fn executed(
    State(api): State<Arc<Api>>,
    Path(height): Path<String>,
) -> Result<Json<ExecutedBody>, Fail> {
    let executor = executor(&api)?;
    let asked = match height.as_str() {
        "latest" => executor.status().height,
        text => Height(segment(text, "a height or \"latest\"")?),
    };
    let read = tokio::task::spawn_blocking(move || Ok(executor.executed(asked)));
    let Some(done) = joined(read.await)? else {
        let message = format!("the result of height {asked} is not there yet, or not any more");
        return Err(Fail::new(ErrorCode::OutOfRange, message));
    };
    let fill = |fill: &Fill| FillBody {
        market: fill.market,
        taker: fill.taker,
        maker: fill.maker,
        maker_cloid: fill.maker_cloid,
        buy: fill.buy,
        ticks: fill.ticks,
        lots: fill.lots,
    };
    let receipts = done.receipts.iter().map(|receipt| ExecutedItem {
        position: receipt.position.0,
        code: receipt.code,
        fills: receipt.fills.iter().map(fill).collect(),
    });
    Ok(Json(ExecutedBody {
        height: done.height.0,
        state_root: done.state_root,
        receipts_root: done.receipts_root,
        receipts: receipts.collect(),
    }))
}

/// What the status says of the clearing house, if there is one.
pub(crate) async fn status(api: &Api) -> Result<Option<ExecutionBody>, Fail> {
    let Some(executor) = api.node.executor().cloned() else {
        return Ok(None);
    };
    let read = tokio::task::spawn_blocking(move || {
        let (status, holdings) = (executor.status(), executor.holdings());
        Ok(Some(ExecutionBody {
            genesis: executor.genesis(),
            height: status.height.0,
            state_root: status.state_root,
            accounts: holdings.accounts,
            positions: holdings.positions,
            fills: holdings.fills,
            stopped: status.stopped,
        }))
    });
    joined(read.await)
}
