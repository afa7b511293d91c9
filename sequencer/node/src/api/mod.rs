//! The HTTP API: one public port for traders and consumers, one ops port on loopback.
//!
//! Everything is limited before it is parsed: connections, header and body time, bytes,
//! batch length, streams (THREATS A11, A29). What refuses is always an
//! [`ApiError`](fairlane_client::wire::ApiError) with a stable code. Orders arrive sealed;
//! a plaintext is refused (A13). The contract's types live in `fairlane_client::wire`.

mod attestations;
mod audit;
mod blocks;
mod body;
mod epochs;
mod evidence;
mod execution;
mod fail;
mod info;
mod limits;
mod ops;
mod orders;
mod places;
mod server;
mod socket;
mod states;
mod stream;

#[cfg(test)]
mod feed_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod submit_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};

use self::places::Places;
use crate::handle::NodeHandle;

pub use limits::{ApiLimits, CONNECTIONS_EACH_MAX, CONNECTIONS_MAX, STREAMS_EACH_MAX, STREAMS_MAX};
pub use server::serve;

/// What every handler holds.
pub(crate) struct Api {
    pub(crate) node: NodeHandle,
    pub(crate) limits: ApiLimits,
    pub(crate) streams: Arc<Places>,
    pub(crate) bases: epochs::Bases,
    pub(crate) genesis_json: bytes::Bytes,
    pub(crate) genesis_hash: fairlane_types::Digest,
    pub(crate) started: Instant,
}

impl Api {
    fn new(node: NodeHandle, limits: ApiLimits) -> Arc<Self> {
        let genesis = node.origin();
        Arc::new(Self {
            genesis_json: serde_json::to_vec_pretty(&**genesis)
                .unwrap_or_default()
                .into(),
            genesis_hash: genesis.hash(),
            streams: Places::new(limits.streams_max, limits.streams_each_max),
            bases: epochs::Bases::default(),
            limits,
            node,
            started: Instant::now(),
        })
    }
}

/// What a folder answers whether a node runs on it or not.
fn kept() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/info", get(info::info))
        .route("/v1/genesis", get(info::genesis))
        .route("/v1/epochs/{epoch}/handover", get(epochs::handover))
        .route("/v1/epochs/{epoch}/base", get(epochs::base))
        .route("/v1/blocks", get(blocks::page))
        .route("/v1/blocks/{height}", get(blocks::block))
}

/// Routes of the public port.
pub fn public(node: NodeHandle, limits: ApiLimits) -> Router {
    kept()
        .route("/v1/epochs/{epoch}", get(info::epoch))
        .route("/v1/orders", post(orders::submit))
        .route("/v1/orders/batch", post(orders::submit_batch))
        .route("/v1/orders/{id}", get(orders::order))
        .route("/v1/orders/{id}/proof", get(orders::proof))
        .route("/v1/orders/{id}/blind", get(orders::blind))
        .route("/v1/certs/{height}", get(blocks::certificate))
        .route("/v1/attestations/{height}", get(attestations::attestation))
        .route("/v1/beacons/{height}", get(attestations::beacon))
        .route("/v1/evidence", get(evidence::evidence))
        .route("/v1/audit", get(audit::steps))
        .route("/v1/audit/start", get(audit::start))
        .route("/v1/account/{key}", get(execution::account))
        .route("/v1/account/{key}/attested", get(states::account))
        .route("/v1/states/{height}", get(states::state))
        .route("/v1/execution/{height}", get(execution::executed))
        .route("/v1/execution/{height}/claim", get(execution::claim))
        .route("/v1/markets", get(execution::markets))
        .route("/v1/changes", get(execution::changes))
        .route("/v1/stream", get(stream::stream))
        .fallback(fail::no_path)
        .method_not_allowed_fallback(fail::no_method)
        .layer(axum::middleware::from_fn(server::count))
        .with_state(Api::new(node, limits))
}

/// Routes of the public port of a home on which no node runs.
pub(crate) fn at_rest(node: NodeHandle, limits: ApiLimits) -> Router {
    kept()
        .fallback(fail::at_rest)
        .layer(axum::middleware::from_fn(server::count))
        .with_state(Api::new(node, limits))
}

/// Routes of the ops port: bind it to loopback only, nobody is asked who they are.
pub fn ops(node: NodeHandle, limits: ApiLimits) -> Router {
    Router::new()
        .route("/livez", get(ops::live))
        .route("/readyz", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .route("/v1/status", get(ops::status))
        .route("/admin/drain", post(ops::drain))
        .route("/admin/committee", post(ops::committee))
        .route("/admin/log-level", post(ops::log_level))
        .fallback(fail::no_path)
        .method_not_allowed_fallback(fail::no_method)
        .with_state(Api::new(node, limits))
}
