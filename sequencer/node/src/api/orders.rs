//! Submission, and where an order is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{
    ApiError, BATCH_BODY_BYTES_MAX, BATCH_MAX, BINARY, BatchResult, BlockBody, EnvelopeBody,
    ErrorCode, ItemBody, ORDER_BODY_BYTES_MAX, OrderBody, OrderWord, ProofBody, ReceiptBody,
    SubmitBody, WAIT_MS_DEFAULT, WAIT_MS_MAX, Wait,
};
use fairlane_replica::{Reply, Stage, Table};
use fairlane_types::{CtId, Envelope, MerkleProof, SequencedBlock, encode};
use serde::Deserialize;

use super::Api;
use super::body::{self, Args, InPath, Media, segment};
use super::fail::{self, Fail};
use super::info::joined;
use crate::blind::{self, BlindRecordsError};

/// Between two looks at an order that is not final yet.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitArgs {
    wait: Option<Wait>,
    timeout_ms: Option<u64>,
}

pub(crate) async fn submit(
    State(api): State<Arc<Api>>,
    Args(args): Args<SubmitArgs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fail> {
    let start = Instant::now();
    let media = body::content(&headers)?;
    let answer = body::accept(&headers, &[Media::Json, Media::Binary], media)?;
    let timeout_ms = args.timeout_ms.unwrap_or(WAIT_MS_DEFAULT);
    if timeout_ms > WAIT_MS_MAX {
        return Err(Fail::malformed(format!(
            "timeout_ms is at most {WAIT_MS_MAX}"
        )));
    }
    let bytes = body::read(
        &headers,
        body,
        ORDER_BODY_BYTES_MAX,
        api.limits.body_time_max,
    )
    .await?;
    let envelope = body::envelope(media, &bytes)?;
    let id = envelope.id();
    let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms);
    // Accepting is bounded too: a lane that cannot seal answers late or never.
    let accepted = tokio::time::timeout_at(deadline, accept(&api, envelope));
    let receipt = accepted
        .await
        .unwrap_or_else(|_| Err(timed_out(id, "acknowledged").0))
        .map_err(Fail)?;
    metrics::histogram!("fairlane_api_accept_seconds").record(start.elapsed().as_secs_f64());
    let status = if args.wait.is_some() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let wait = args.wait.unwrap_or(Wait::Accepted);
    if answer == Media::Binary {
        if wait != Wait::Accepted {
            wait_for(&api, id, wait, deadline).await?;
        }
        let bytes = fairlane_types::encode(&receipt);
        return Ok((status, [(header::CONTENT_TYPE, BINARY)], bytes).into_response());
    }
    let order = match wait {
        Wait::Accepted => OrderBody {
            id,
            status: OrderWord::Laned,
            height: None,
            position: None,
            item: None,
        },
        Wait::Final | Wait::Opened => wait_for(&api, id, wait, deadline).await?,
    };
    let receipt = ReceiptBody::from(&receipt);
    Ok((status, Json(SubmitBody { receipt, order })).into_response())
}

/// Hands an envelope to the replica.
async fn accept(api: &Api, envelope: Envelope) -> BatchResult {
    match api.node.submit(Arc::new(envelope)).await {
        Ok(Reply::Receipt(receipt)) => Ok(receipt),
        Ok(Reply::Refused(error)) => Err(fail::admission(&error)),
        Ok(Reply::Status(_)) => Err(ApiError::new(
            ErrorCode::Internal,
            "the replica answered another question",
        )),
        Err(error) => Err(Fail::from(error).0),
    }
}

fn timed_out(id: CtId, word: &str) -> Fail {
    let message = format!("not {word} in time; the order keeps running");
    Fail(ApiError::new(ErrorCode::Timeout, message).with(serde_json::json!({ "id": id })))
}

/// Waits until an order is at least where `wait` says.
async fn wait_for(
    api: &Arc<Api>,
    id: CtId,
    wait: Wait,
    deadline: tokio::time::Instant,
) -> Result<OrderBody, Fail> {
    let mut heads = api.node.heads();
    loop {
        heads.borrow_and_update();
        if let Some(order) = look_up(api, id).await? {
            let met = match wait {
                Wait::Accepted => true,
                Wait::Final => order.status >= OrderWord::Final,
                Wait::Opened => order.status.is_done(),
            };
            if met {
                return Ok(order);
            }
        }
        let look_again = async {
            match wait {
                Wait::Opened => std::future::pending().await,
                Wait::Accepted | Wait::Final => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        tokio::select! {
            changed = heads.changed() => if changed.is_err() {
                return Err(Fail::new(ErrorCode::NotReady, "this member has stopped"));
            },
            () = look_again => {}
            () = tokio::time::sleep_until(deadline) => return Err(timed_out(id, wait.word())),
        }
    }
}

/// Each envelope of a batch on its own: one bad order does not spoil the others.
pub(crate) async fn submit_batch(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fail> {
    let media = body::content(&headers)?;
    if media != Media::Binary {
        let message = format!("a batch is sent as {BINARY}");
        return Err(Fail::new(ErrorCode::UnsupportedMedia, message));
    }
    let answer = body::accept(&headers, &[Media::Json, Media::Binary], Media::Binary)?;
    let bytes = body::read(
        &headers,
        body,
        BATCH_BODY_BYTES_MAX,
        api.limits.body_time_max,
    )
    .await?;
    let envelopes = decode_batch(&bytes)?;
    let start = Instant::now();
    let mut tasks: Vec<_> = envelopes
        .into_iter()
        .map(|envelope| {
            let api = api.clone();
            Box::pin(async move { accept(&api, envelope).await })
        })
        .collect();
    // All are handed over before the first is waited for.
    let mut results: Vec<Option<BatchResult>> = vec![None; tasks.len()];
    let all = std::future::poll_fn(|context| {
        let mut pending = false;
        for (task, result) in tasks.iter_mut().zip(&mut results) {
            if result.is_none() {
                match task.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *result = Some(done),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    });
    let limit = Duration::from_millis(WAIT_MS_DEFAULT);
    let complete = tokio::time::timeout(limit, all).await.is_ok();
    metrics::histogram!("fairlane_api_accept_seconds").record(start.elapsed().as_secs_f64());
    debug_assert!(!complete || results.iter().all(Option::is_some));
    let late = || {
        let message = "not acknowledged in time; the order keeps running";
        Err(ApiError::new(ErrorCode::Timeout, message))
    };
    let results: Vec<BatchResult> = results
        .into_iter()
        .map(|result| result.unwrap_or_else(late))
        .collect();
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        metrics::counter!("fairlane_api_refusals_total", "code" => error.code.word()).increment(1);
    }
    if answer == Media::Binary {
        let bytes = fairlane_types::encode(&results);
        return Ok(([(header::CONTENT_TYPE, BINARY)], bytes).into_response());
    }
    let results: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(receipt) => serde_json::json!({ "receipt": ReceiptBody::from(receipt) }),
            Err(error) => serde_json::json!({ "error": error }),
        })
        .collect();
    Ok(Json(serde_json::json!({ "results": results })).into_response())
}

/// The count is checked before anything is decoded.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Vec<Envelope>, Fail> {
    let count = bytes
        .first_chunk::<4>()
        .map(|count| u32::from_le_bytes(*count) as usize)
        .ok_or_else(|| Fail::malformed("a batch starts with its length"))?;
    if count > BATCH_MAX {
        let message = format!("a batch of {count} is over the limit of {BATCH_MAX}");
        return Err(Fail::new(ErrorCode::TooLarge, message));
    }
    fairlane_types::decode(bytes, bytes.len()).map_err(Fail::malformed)
}

pub(crate) async fn order(
    State(api): State<Arc<Api>>,
    InPath(id): InPath,
) -> Result<Json<OrderBody>, Fail> {
    let id: CtId = segment(&id, "an order id of 64 hex digits")?;
    look_up(&api, id)
        .await?
        .map(Json)
        .ok_or_else(|| unknown(id))
}

fn unknown(id: CtId) -> Fail {
    let message = format!("this member has not seen order {id}, or keeps it no longer");
    Fail::new(ErrorCode::NotFound, message)
}

/// Where an order is. The index first: emitted orders leave the replica's memory only
/// after they are in it, so what was acknowledged is found in one of the two.
async fn look_up(api: &Arc<Api>, id: CtId) -> Result<Option<OrderBody>, Fail> {
    if let Some(body) = done(api, id).await? {
        return Ok(Some(body));
    }
    let stage = match api.node.query(id).await? {
        Reply::Status(stage) => stage,
        Reply::Receipt(_) | Reply::Refused(_) => {
            let message = "the replica answered another question";
            return Err(Fail::new(ErrorCode::Internal, message));
        }
    };
    let (status, height) = match stage {
        Some(Stage::Received) => (OrderWord::Received, None),
        Some(Stage::Laned) => (OrderWord::Laned, None),
        Some(Stage::Final { height }) => (OrderWord::Final, Some(height.0)),
        // It got its outcome between the two looks.
        Some(Stage::Emitted { .. }) | None => return done(api, id).await,
    };
    Ok(Some(bare_body(id, status, height)))
}

const fn bare_body(id: CtId, status: OrderWord, height: Option<u64>) -> OrderBody {
    OrderBody {
        id,
        status,
        height,
        position: None,
        item: None,
    }
}

/// The outcome of an order, if it has one and is kept.
async fn done(api: &Arc<Api>, id: CtId) -> Result<Option<OrderBody>, Fail> {
    if let Some((block, at)) = emitted(api, id).await? {
        return Ok(Some(emitted_body(&block, at)));
    }
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || Ok(reading.node.reader().left_out(&id)?));
    let late = joined(read.await)?;
    Ok(late.map(|height| bare_body(id, OrderWord::Expired, Some(height.0))))
}

fn emitted_body(block: &SequencedBlock, at: usize) -> OrderBody {
    let item = &block.items[at];
    OrderBody {
        id: item.ct_id,
        status: OrderWord::from(&item.outcome),
        height: Some(block.height.0),
        position: Some(item.position.0),
        item: Some(ItemBody::from(item)),
    }
}

/// The block that holds an order and the order's index in it.
async fn emitted(api: &Arc<Api>, id: CtId) -> Result<Option<(SequencedBlock, usize)>, Fail> {
    let api = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = api.node.reader();
        let Some(place) = reader.emitted(&id)? else {
            return Ok(None);
        };
        let Some(block) = reader.block(place.height)? else {
            return Ok(None);
        };
        let at = place.position.minus(block.first_position.0).0;
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        match block.items.get(at) {
            Some(item) if item.ct_id == id => Ok(Some((block, at))),
            _ => {
                tracing::error!(%id, height = %place.height, "index and sequence disagree");
                Err(Fail::new(
                    ErrorCode::Internal,
                    "index and sequence disagree",
                ))
            }
        }
    });
    joined(read.await)
}

/// The blind-order receipt, borsh.
pub(crate) async fn blind(
    State(api): State<Arc<Api>>,
    InPath(id): InPath,
) -> Result<Response, Fail> {
    let id: CtId = segment(&id, "an order id of 64 hex digits")?;
    let read = tokio::task::spawn_blocking(move || {
        let receipt = blind::receipt(api.node.genesis(), api.node.reader(), id);
        receipt.map_err(|error| match error {
            BlindRecordsError::Store(error) => error.into(),
            BlindRecordsError::Unplaced(_) | BlindRecordsError::Unattested(_) => {
                let mut fail = Fail::new(ErrorCode::NotFound, error.to_string());
                fail.0.retryable = true;
                fail
            }
            BlindRecordsError::Pruned(_) => Fail::new(ErrorCode::NotFound, error.to_string()),
            BlindRecordsError::Step(_) => Fail::new(ErrorCode::Internal, error.to_string()),
        })
    });
    let receipt = joined(read.await)?;
    Ok(([(header::CONTENT_TYPE, BINARY)], encode(&receipt)).into_response())
}

pub(crate) async fn proof(
    State(api): State<Arc<Api>>,
    InPath(id): InPath,
) -> Result<Json<ProofBody>, Fail> {
    let id: CtId = segment(&id, "an order id of 64 hex digits")?;
    let Some((block, at)) = emitted(&api, id).await? else {
        return Err(match look_up(&api, id).await? {
            Some(order) if order.status.is_done() => {
                let message = "it expired long before it was recorded: it has no place";
                Fail::new(ErrorCode::NotFound, message)
            }
            Some(order) => {
                let message = format!("order {id} is {}, not emitted yet", order.status.word());
                let mut fail = Fail::new(ErrorCode::NotFound, message);
                fail.0.retryable = true;
                fail
            }
            None => unknown(id),
        });
    };
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let key = fairlane_replica::payload_key(&id);
        Ok(reading.node.reader().get(Table::Payloads, &key)?)
    });
    let envelope = joined(read.await)?
        .and_then(|bytes| fairlane_types::decode::<Envelope>(&bytes, bytes.len()).ok())
        .as_ref()
        .map(EnvelopeBody::from);
    let leaves = block.leaves();
    let Some(path) = MerkleProof::new(&leaves, at) else {
        return Err(Fail::new(ErrorCode::Internal, "no path to the item"));
    };
    let item = ItemBody::from(&block.items[at]);
    let bare = SequencedBlock {
        items: Vec::new(),
        ..block
    };
    Ok(Json(ProofBody {
        envelope,
        item,
        index: path.index,
        len: path.len,
        siblings: path.siblings,
        block: BlockBody::from(&bare),
    }))
}
