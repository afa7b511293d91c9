//! The clearing house: accounts with proofs, and what a block did.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fairlane_client::wire::{
    AccountBody, ClaimBody, ErrorCode, ExecutedBody, ExecutedItem, ExecutionBody, FillBody,
    MarketBody, PositionBody, ProposalBody,
};
use fairlane_execution::{AccountProof, Fill};
use fairlane_types::{Height, PublicKey, Signature, StateClaim, encode};

use super::Api;
use super::body::{InPath, segment};
use super::fail::Fail;
use super::info::joined;
use crate::executor::Executor;

pub(super) fn executor(api: &Api) -> Result<Executor, Fail> {
    let none = || Fail::new(ErrorCode::NotFound, "this member does not execute");
    api.node.executor().cloned().ok_or_else(none)
}

pub(crate) async fn account(
    State(api): State<Arc<Api>>,
    InPath(key): InPath,
) -> Result<Json<AccountBody>, Fail> {
    let key: PublicKey = segment(&key, "a public key")?;
    let executor = executor(&api)?;
    let read = tokio::task::spawn_blocking(move || Ok(executor.prove(&key)));
    let Some(proof) = joined(read.await)? else {
        return Err(Fail::new(ErrorCode::NotFound, "the key has no account"));
    };
    Ok(Json(account_body(&proof)?))
}

/// What a proof shows.
pub(super) fn account_body(proof: &AccountProof) -> Result<AccountBody, Fail> {
    let Some(state_root) = proof.state_root() else {
        return Err(Fail::new(ErrorCode::Internal, "the proof leads nowhere"));
    };
    Ok(AccountBody {
        key: proof.account.key,
        height: proof.head.0.0,
        state_root,
        collateral: proof.account.collateral.to_string(),
        positions: proof
            .account
            .positions
            .iter()
            .map(PositionBody::from)
            .collect(),
        proof: encode(proof),
    })
}

pub(crate) async fn executed(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<ExecutedBody>, Fail> {
    let executor = executor(&api)?;
    let asked = match height.as_str() {
        "latest" => executor.status().height,
        text => Height(segment(text, "a height or \"latest\"")?),
    };
    let read = tokio::task::spawn_blocking(move || Ok(executor.executed(asked)));
    let Some(done) = joined(read.await)? else {
        return Err(no_result(asked));
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

/// This member's signed word on the state after a height.
pub(crate) async fn claim(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<ClaimBody>, Fail> {
    let executor = executor(&api)?;
    let height = Height(segment(&height, "a height")?);
    let genesis = executor.genesis();
    let read = tokio::task::spawn_blocking(move || Ok(executor.executed(height)));
    let Some(done) = joined(read.await)? else {
        return Err(no_result(height));
    };
    let claim = StateClaim {
        chain: api.node.genesis().chain,
        epoch: api.node.genesis().epoch(),
        member: api.node.me(),
        genesis,
        height,
        state_root: done.state_root,
        receipts_root: done.receipts_root,
        signature: Signature([0; 64]),
    };
    Ok(Json((&claim.signed(api.node.identity())).into()))
}

/// The markets at the head.
pub(crate) async fn markets(State(api): State<Arc<Api>>) -> Result<Json<Vec<MarketBody>>, Fail> {
    let executor = executor(&api)?;
    let read = tokio::task::spawn_blocking(move || Ok(executor.markets()));
    let markets = joined(read.await)?;
    let body = |(number, market)| MarketBody::new(number, market);
    Ok(Json((0..).zip(&markets).map(body).collect()))
}

/// Changes of parameters on their way.
pub(crate) async fn changes(State(api): State<Arc<Api>>) -> Result<Json<Vec<ProposalBody>>, Fail> {
    let executor = executor(&api)?;
    let read = tokio::task::spawn_blocking(move || Ok(executor.changes()));
    Ok(Json(joined(read.await)?.iter().map(Into::into).collect()))
}

fn no_result(height: Height) -> Fail {
    let message = format!("the result of height {height} is not there yet, or not any more");
    Fail::new(ErrorCode::OutOfRange, message)
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
