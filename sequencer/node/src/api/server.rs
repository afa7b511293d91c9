//! Accepting connections under limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::ApiLimits;
use super::places::Places;
use super::socket::Socket;

/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Most bytes buffered of a connection: bounds the header as well.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests under way have this long to end when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// The connection that a request came over.
#[derive(Debug)]
pub(crate) struct Connection {
    close: Notify,
    streaming: AtomicBool,
    from: IpAddr,
}

impl Connection {
    fn new(from: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            close: Notify::new(),
            streaming: AtomicBool::new(false),
            from,
        })
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        self.close.notify_one();
    }

    /// Whether a stream runs over it, which has a limit of its own for slow readers.
    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn set_streaming(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    /// Whose it is.
    pub(crate) fn from(&self) -> IpAddr {
        self.from
    }
}

/// Serves `router` on `listener` until `stop` turns true; then requests under way are
/// finished within a few seconds.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ApiLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Places::new(limits.connections_max, limits.connections_each_max);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, from) = match accepted {
            Ok((stream, from)) => {
                // A block of the feed must not wait for the acknowledgement of the last.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was gone at once");
                    continue;
                }
                (stream, from.ip())
            }
            Err(error) => {
                // Out of descriptors, as a rule: wait for some to come back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = places.take(from) else {
            metrics::counter!("fairlane_api_connections_refused_total").increment(1);
            continue;
        };
        let (router, limits, stop) = (router.clone(), limits.clone(), stop.clone());
        connections.spawn(async move {
            metrics::gauge!("fairlane_api_connections").increment(1.0);
            serve_one(stream, Connection::new(from), router, &limits, stop).await;
            metrics::gauge!("fairlane_api_connections").decrement(1.0);
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("connections were closed before their requests ended");
    }
}

async fn serve_one(
    stream: TcpStream,
    connection: Arc<Connection>,
    router: Router,
    limits: &ApiLimits,
    mut stop: watch::Receiver<bool>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let inserted = connection.clone();
    let socket = Socket::new(stream, limits.write_time_max, connection.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(inserted.clone());
        let mut router = router.clone();
        async move { tower_service::Service::call(&mut router, request).await }
    });
    let running = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(running);
    let mut stopping = false;
    let result = loop {
        tokio::select! {
            result = running.as_mut() => break result,
            () = connection.close.notified() => return,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                running.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        // Not HTTP, or a header that is too long or too slow: hyper has answered already.
        let kind = if error.is_parse() || error.is_parse_too_large() {
            "garbage"
        } else if error.is_timeout() {
            "timeout"
        } else {
            "broken"
        };
        metrics::counter!("fairlane_api_connection_errors_total", "kind" => kind).increment(1);
        tracing::debug!(%error, kind, "a connection ended");
    }
}

/// Counts every answer by its status.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    metrics::counter!("fairlane_api_requests_total", "status" => status).increment(1);
    response
}
