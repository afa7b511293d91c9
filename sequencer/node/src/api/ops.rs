//! The ops port: health, metrics, status and the two things an operator may change.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{ChangeBody, ErrorCode, GapBody, ReceiveOrderBody, StatusBody};
use fairlane_mempool::fair::{GAP_MS, ReceiveCounts};
use fairlane_replica::used_receivers;
use fairlane_types::CommitteeChange;

use super::Api;
use super::body;
use super::fail::Fail;
use super::info::head;

/// Largest change of committee that is read, in bytes.
const CHANGE_BYTES_MAX: usize = 256 << 10;

/// Alive: the process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Why orders should go to another member, if they should.
pub(crate) fn reasons(api: &Api) -> Vec<&'static str> {
    let status = api.node.status().borrow().clone();
    let draining = status.draining || api.node.is_draining();
    [
        (status.catching_up, "catching-up"),
        (!status.quorum_connected, "no-quorum"),
        (status.keyless, "no-encryption-key"),
        (status.observer, "observer"),
        (draining, "draining"),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

pub(crate) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let reasons = reasons(&api);
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, Json(body)).into_response()
}

pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let media = "text/plain; version=0.0.4";
    ([(header::CONTENT_TYPE, media)], api.node.metrics_text())
}

pub(crate) async fn status(State(api): State<Arc<Api>>) -> Result<Json<StatusBody>, Fail> {
    let (head, first) = head(&api).await?;
    let status = api.node.status().borrow().clone();
    let reasons = reasons(&api);
    Ok(Json(StatusBody {
        member: api.node.me().0,
        ready: reasons.is_empty(),
        epoch: api.node.genesis().epoch().0,
        change: status.change.map(|change| ChangeBody {
            members: change.members as u8,
            dealings: change.dealings.0 as u8,
            needed: change.dealings.1 as u8,
            boundary: change.boundary.map(|height| height.0),
        }),
        reasons: reasons.into_iter().map(Into::into).collect(),
        head,
        first_available: first.0,
        attested_height: status.attested_height.0,
        view: status.view,
        final_height: status.final_height.0,
        orders_held: status.orders_held as u64,
        orders_held_max: status.orders_held_max as u64,
        peers: status.peers_connected.iter().map(|peer| peer.0).collect(),
        execution: super::execution::status(&api).await?,
        receive_order: receive_order(&status.receive_order),
        uptime_ms: api.started.elapsed().as_millis() as u64,
    }))
}

fn receive_order(counts: &ReceiveCounts) -> ReceiveOrderBody {
    let ends = GAP_MS.iter().copied().map(Some).chain([None]);
    let pairs = ends.zip(&counts.pairs).map(|(below_ms, pairs)| GapBody {
        below_ms,
        seen: pairs.seen,
        inverted: pairs.inverted,
    });
    let lag = counts.leaders.iter();
    ReceiveOrderBody {
        pairs: pairs.collect(),
        orders: counts.compared,
        unknown: counts.unknown,
        displaced: counts.displaced,
        displaced_ms: counts.displaced_us / 1_000,
        strong_cycles: counts.cycles,
        strong_cycle_max: counts.cycle_max,
        lane_lag_us: lag.map(|lag| lag.lag_us / lag.blocks.max(1)).collect(),
    }
}

/// Takes no new orders from now on; queries and streams go on until the process ends.
pub(crate) async fn drain(State(api): State<Arc<Api>>) -> StatusCode {
    api.node.drain();
    StatusCode::ACCEPTED
}

/// The body is a change of committee that a quorum approved, JSON.
pub(crate) async fn committee(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Fail> {
    let bytes = body::read(&headers, body, CHANGE_BYTES_MAX, api.limits.body_time_max).await?;
    let change: CommitteeChange = serde_json::from_slice(&bytes).map_err(Fail::malformed)?;
    let genesis = api.node.genesis();
    let committee = genesis.validate().map_err(Fail::malformed)?;
    if !change.fits(genesis.chain, genesis.epoch(), &committee) {
        return Err(Fail::malformed(format!(
            "not a change of chain {} after epoch {}, approved by {} of its members",
            genesis.chain,
            genesis.epoch(),
            committee.quorum()
        )));
    }
    change.verify(&committee).map_err(Fail::malformed)?;
    let reader = api.node.reader();
    let used = used_receivers(|table, key| reader.get(table, key), genesis);
    let used = used.map_err(|error| {
        tracing::error!(%error, "the receiver keys of earlier epochs cannot be read");
        Fail::new(ErrorCode::Internal, "a stored row does not decode")
    })?;
    used.check(&change.next)
        .map_err(|reuse| Fail::new(ErrorCode::ReceiverReused, reuse.to_string()))?;
    api.node.change_committee(Arc::new(change));
    Ok(StatusCode::ACCEPTED)
}

/// The body is a filter, such as `info,fairlane_node::net=debug`.
pub(crate) async fn log_level(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Fail> {
    let bytes = body::read(&headers, body, 1_024, api.limits.body_time_max).await?;
    let filter = std::str::from_utf8(&bytes).map_err(Fail::malformed)?;
    api.node
        .set_log_filter(filter.trim())
        .map_err(Fail::malformed)?;
    Ok(StatusCode::OK)
}
