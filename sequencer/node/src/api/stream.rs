//! The feed: replay from disk, then the tail; one height after the other, none skipped.
//!
//! A pump reads from disk what the head says is there and hands it to the connection over
//! a short queue. When the reader takes nothing for too long, the pump ends the stream
//! with a reason and the first height not sent, and the connection is closed.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fairlane_client::wire::{AttestationBody, BINARY, BlockBody, EVENTS, ErrorCode, Frame};
use fairlane_replica::{StoreError, Table, height_key, height_of};
use fairlane_types::{Height, SequencedBlock};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::Api;
use super::blocks::out_of_range;
use super::body::{self, Args, Media, segment};
use super::fail::Fail;
use super::info::head;
use super::places::Place;
use super::server::Connection;
use crate::store::StoreReader;

/// Chunks between the pump and the connection.
const QUEUE_CHUNKS: usize = 8;
/// Blocks read from disk at a time.
const READ_BLOCKS_MAX: usize = 64;
/// Bytes read from disk at a time.
const READ_BYTES_MAX: usize = 256 << 10;
/// A reader that is further behind than this counts as one that lags.
const BEHIND_HEIGHTS_MAX: u64 = 1_024;
/// A reader that was told why has this long to take it.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamArgs {
    from: Option<String>,
    /// Also what covers the blocks.
    #[serde(default)]
    attestations: bool,
}

pub(crate) async fn stream(
    State(api): State<Arc<Api>>,
    Args(args): Args<StreamArgs>,
    connection: Option<Extension<Arc<Connection>>>,
    headers: HeaderMap,
) -> Result<Response, Fail> {
    let media = body::accept(&headers, &[Media::Events, Media::Binary], Media::Events)?;
    let (head, first) = head(&api).await?;
    let last = Height(head.height);
    // What the reader has seen counts for more than what its address says: a browser
    // reconnects to the same address with the id it got last.
    let from = match (headers.get("last-event-id"), args.from.as_deref()) {
        (Some(id), _) => {
            let text = id.to_str().unwrap_or_default();
            Height(segment::<u64>(text, "a height")?).next()
        }
        (None, Some("latest")) => last.next(),
        (None, Some(text)) => Height(segment(text, "a height or \"latest\"")?),
        (None, None) => first,
    };
    // A height above the head comes in time; one below what is kept never does.
    if from < first {
        return Err(out_of_range(from, first, last));
    }
    let connection = connection.map(|Extension(connection)| connection);
    let whose = connection.as_ref().map(|connection| connection.from());
    // Without a connection only in a test of the routes.
    let place = api
        .streams
        .take(whose.unwrap_or(Ipv4Addr::LOCALHOST.into()));
    let place = place.ok_or_else(|| {
        let mut fail = Fail::new(
            ErrorCode::TooManyStreams,
            "every stream of this member, or for this address, is taken",
        );
        fail.0.retry_after_ms = Some(1_000);
        fail
    })?;
    if let Some(connection) = &connection {
        connection.set_streaming(true);
    }
    let (chunks, queue) = mpsc::channel(QUEUE_CHUNKS);
    let pump = Pump {
        api,
        media,
        next: from,
        attested: args.attestations.then(|| from.prev()),
        chunks,
        connection,
        lag: Lag::default(),
        _place: place,
    };
    tokio::spawn(pump.run());
    let name = if media == Media::Binary {
        BINARY
    } else {
        EVENTS
    };
    let headers = [
        (header::CONTENT_TYPE, name),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::new(Chunks(queue))).into_response())
}

/// A body out of a queue.
struct Chunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// Why a stream ends.
enum End {
    /// The reader hung up.
    Gone,
    /// Said to the reader.
    Because(ErrorCode),
}

struct Pump {
    api: Arc<Api>,
    media: Media,
    next: Height,
    /// Height of the last attestation that was sent, if they are asked for.
    attested: Option<Height>,
    chunks: mpsc::Sender<Bytes>,
    connection: Option<Arc<Connection>>,
    lag: Lag,
    _place: Place,
}

/// Whether a stream counts among those that lag; it does not once it has ended.
#[derive(Default)]
struct Lag(bool);

impl Lag {
    fn set(&mut self, next: Height, head: Height) {
        let behind = head.0.saturating_sub(next.0) >= BEHIND_HEIGHTS_MAX;
        let lagging = metrics::gauge!("fairlane_api_streams_lagging");
        match (self.0, behind) {
            (false, true) => lagging.increment(1.0),
            (true, false) => lagging.decrement(1.0),
            _ => {}
        }
        self.0 = behind;
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.set(Height(0), Height(0));
    }
}

impl Pump {
    async fn run(mut self) {
        metrics::gauge!("fairlane_api_streams").increment(1.0);
        let end = match self.pump().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        metrics::gauge!("fairlane_api_streams").decrement(1.0);
        // From here on the socket's own limit holds again.
        if let Some(connection) = &self.connection {
            connection.set_streaming(false);
        }
        let End::Because(code) = end else { return };
        tracing::info!(reason = code.word(), next = %self.next, "closed a stream");
        metrics::counter!("fairlane_api_streams_closed_total", "reason" => code.word())
            .increment(1);
        let words = self.encode(Frame::Eof {
            reason: code.word().into(),
            next: self.next,
        });
        let said = self.chunks.send_timeout(words, LAST_WORDS).await.is_ok();
        drop(self.chunks);
        // A reader that takes nothing holds its connection for ever, if it is let.
        if let Some(connection) = self
            .connection
            .filter(|_| !said || code == ErrorCode::SlowConsumer)
        {
            tokio::time::sleep(LAST_WORDS).await;
            connection.close();
        }
    }

    async fn pump(&mut self) -> Result<std::convert::Infallible, End> {
        let mut heads = self.api.node.heads();
        let mut stopping = self.api.node.stopping();
        let mut last = *heads.borrow_and_update();
        self.send(Frame::Heartbeat { head: last }).await?;
        loop {
            while self.next <= last {
                let head = *heads.borrow();
                self.lag.set(self.next, head);
                self.replay(last).await?;
            }
            self.lag.set(self.next, last);
            let quiet = tokio::time::sleep(self.api.limits.heartbeat);
            tokio::select! {
                changed = heads.changed() => {
                    changed.map_err(|_| End::Because(ErrorCode::Draining))?;
                    last = *heads.borrow_and_update();
                }
                () = quiet => {
                    self.attest().await?;
                    self.send(Frame::Heartbeat { head: last }).await?;
                }
                () = stopped(&mut stopping) => {
                    return Err(End::Because(ErrorCode::Draining));
                }
                () = self.chunks.closed() => return Err(End::Gone),
            }
        }
    }

    /// Runs a read of the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, End> {
        let api = self.api.clone();
        match tokio::task::spawn_blocking(move || read(api.node.reader())).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Self::broken(&error)),
            Err(_) => Err(End::Because(ErrorCode::Internal)),
        }
    }

    /// Sends the attestation that covers most of what was sent, if it is a new one.
    async fn attest(&mut self) -> Result<(), End> {
        let (next, Some(attested)) = (self.next, self.attested) else {
            return Ok(());
        };
        if attested.next() == next {
            return Ok(());
        }
        let found = self.read(move |reader| reader.attestation_until(next.prev()));
        let found = found.await?.filter(|found| found.height > attested);
        if let Some(found) = found {
            self.attested = Some(found.height);
            self.send(Frame::Attestation(found)).await?;
        }
        Ok(())
    }

    /// Sends what is on disk from `next` on, up to one read.
    async fn replay(&mut self, last: Height) -> Result<(), End> {
        let next = self.next;
        let count = (last.0 - next.0)
            .saturating_add(1)
            .min(READ_BLOCKS_MAX as u64);
        let rows = self.read(move |reader| {
            let from = height_key(next);
            reader.scan_from(Table::Sequence, &from, count as usize, READ_BYTES_MAX)
        });
        let rows = rows.await?;
        let mut chunk = Vec::new();
        for (key, value) in rows {
            if height_of(&key) != Some(self.next) {
                // Pruned while the reader was away: never start somewhere else.
                self.flush(chunk).await?;
                return Err(End::Because(ErrorCode::OutOfRange));
            }
            match self.media {
                Media::Binary => chunk.extend(Frame::around_block(&value)),
                Media::Json | Media::Events => {
                    let block: SequencedBlock = fairlane_types::decode(&value, value.len())
                        .map_err(|error| Self::broken(&StoreError::Corrupt(error.to_string())))?;
                    chunk.extend(event("block", Some(self.next), &BlockBody::from(&block)));
                }
            }
            self.next = self.next.next();
        }
        if chunk.is_empty() {
            // The head is ahead of the disk: it is not, by contract; do not spin on it.
            tracing::error!(next = %self.next, "the head is ahead of the disk");
            return Err(End::Because(ErrorCode::Internal));
        }
        self.flush(chunk).await?;
        self.attest().await
    }

    fn broken(error: &StoreError) -> End {
        tracing::error!(%error, "a stream could not be read from disk");
        End::Because(ErrorCode::Internal)
    }

    async fn send(&self, frame: Frame) -> Result<(), End> {
        self.flush(self.encode(frame).into()).await
    }

    /// Hands a chunk over. What does not fit the queue in time makes the reader slow, and
    /// `next` names the first height that it has not been offered.
    async fn flush(&self, chunk: Vec<u8>) -> Result<(), End> {
        let limit = self.api.limits.stream_stall_max;
        match self.chunks.send_timeout(chunk.into(), limit).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(End::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(End::Because(ErrorCode::SlowConsumer))
            }
        }
    }

    fn encode(&self, frame: Frame) -> Bytes {
        if self.media == Media::Binary {
            return frame.to_bytes().into();
        }
        match frame {
            Frame::Block(block) => event("block", Some(block.height), &BlockBody::from(&block)),
            Frame::Attestation(attestation) => {
                let chain = self.api.node.genesis().chain.0;
                let data = AttestationBody::new(chain, &attestation);
                event("attestation", None, &data)
            }
            Frame::Heartbeat { head } => {
                let data = serde_json::json!({ "head": head.to_string() });
                event("heartbeat", None, &data)
            }
            Frame::Eof { reason, next } => {
                let data = serde_json::json!({ "reason": reason, "next": next.to_string() });
                event("eof", None, &data)
            }
        }
        .into()
    }
}

/// Ends when the node stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the node is gone: that is a stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A server-sent event; JSON never holds a raw line break.
fn event(name: &str, id: Option<Height>, data: &impl serde::Serialize) -> Vec<u8> {
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".into());
    match id {
        Some(id) => format!("event: {name}\nid: {id}\ndata: {data}\n\n"),
        None => format!("event: {name}\ndata: {data}\n\n"),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::published::tests::value;

    #[test]
    fn a_stream_counts_as_lagging_while_it_is_far_behind_and_not_once_it_has_ended() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = || value(&recorder.handle().render(), "fairlane_api_streams_lagging");
        metrics::with_local_recorder(&recorder, || {
            let (mut one, mut two) = (Lag::default(), Lag::default());
            one.set(Height(1), Height(BEHIND_HEIGHTS_MAX));
            assert_eq!(shown(), Some(0.0));
            for head in [1, 2] {
                one.set(Height(1), Height(BEHIND_HEIGHTS_MAX + head));
                two.set(Height(1), Height(BEHIND_HEIGHTS_MAX + head));
                assert_eq!(shown(), Some(2.0));
            }
            two.set(Height(3), Height(BEHIND_HEIGHTS_MAX + 2));
            assert_eq!(shown(), Some(1.0));
            drop(one);
            drop(two);
            assert_eq!(shown(), Some(0.0));
        });
    }
}
