//! HTTP/1.1 over pooled connections, with limits on time and size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fairlane_types::Height;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use crate::wire::{ApiError, BINARY, ErrorCode};
use crate::{ANSWER_BYTES_MAX, VerifyError};

/// A connection that was idle for this long is not used again: members close theirs a few
/// seconds later.
const POOL_IDLE_MAX: Duration = Duration::from_secs(5);
/// A large answer that comes slower than this is given up, bytes a second.
const LARGE_BYTES_PER_S: u64 = 256 << 10;
/// Time for a connection to come up.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of a member.
    #[error("{0:?} is not an http:// address")]
    Address(String),
    /// Nobody answers there.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Address.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// No answer in time; for a submission it is not known whether it was taken.
    #[error("{url} did not answer within {ms} ms")]
    TimedOut {
        /// Address.
        url: String,
        /// The limit.
        ms: u64,
    },
    /// The member refuses.
    #[error("{0}")]
    Api(#[from] ApiError),
    /// The answer is not of this API.
    #[error("{url} answered something that is not this API: {reason}")]
    Protocol {
        /// Address.
        url: String,
        /// What does not fit.
        reason: String,
    },
    /// The answer does not hold.
    #[error("{url} served something false: {error}")]
    False {
        /// Address.
        url: String,
        /// What does not hold.
        error: VerifyError,
    },
    /// A member keeps back what the committee has attested.
    #[error("{url} gives nothing new, though height {height} is out")]
    Withheld {
        /// Address.
        url: String,
        /// A later height that others have.
        height: Height,
    },
    /// A member gives blocks, and no attestation for them.
    #[error("{url} gives no attestation for its blocks: {error}")]
    Uncovered {
        /// Address.
        url: String,
        /// How many wait.
        error: crate::AttestedError,
    },
    /// Members contradict each other, and no attestation was asked for that would tell who is
    /// right.
    #[error("what {url} serves does not continue what came before, from anyone: {error}")]
    Contradiction {
        /// Address of the last one asked.
        url: String,
        /// What does not fit.
        error: VerifyError,
    },
    /// The place to go on from is not in the sequence that the committee attests.
    #[error("the place to go on from is not in the attested sequence: {0}")]
    Place(VerifyError),
    /// The chain signs no attestations, so nothing can be held against the committee's word.
    #[error("this chain has no attestations: what a member serves cannot be held against them")]
    NoAttestations,
}

impl ClientError {
    /// Code of the API's refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Api(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether an order is to be sealed again, with the same nonce, to the key of the present
    /// epoch: see [`Member::pin_after`](crate::Member::pin_after).
    #[must_use]
    pub fn is_old_key(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::OldKey | ErrorCode::UnknownKey))
    }

    /// When to come again, where a member says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) => {
                let ms = error.retry_after_ms?;
                Some(Duration::from_millis(ms.into()))
            }
            _ => None,
        }
    }

    /// Whether the request may be tried again, here or at another member.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Api(error) => error.retryable,
            Self::Withheld { .. } | Self::Uncovered { .. } => true,
            Self::Address(_)
            | Self::Protocol { .. }
            | Self::False { .. }
            | Self::Contradiction { .. }
            | Self::Place(_)
            | Self::NoAttestations => false,
        }
    }
}

/// One member's address and the connections to it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Http {
    pub(crate) fn new(address: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(address.into());
        let base = if address.contains("://") {
            address.trim_end_matches('/').to_owned()
        } else {
            format!("http://{address}")
        };
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_MAX)
            .build(connector);
        Ok(Self { client, base })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn protocol(&self, reason: impl ToString) -> ClientError {
        ClientError::Protocol {
            url: self.base.clone(),
            reason: reason.to_string(),
        }
    }

    /// Sends; gives the head of the answer and its unread body.
    async fn send(
        &self,
        method: Method,
        path: &str,
        media: Option<&str>,
        accept: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, accept);
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| ClientError::Address(format!("{}{path}", self.base)))?;
        self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            ClientError::Unreachable {
                url: self.base.clone(),
                reason: cause.unwrap_or_else(|| error.to_string()),
            }
        })
    }

    /// Sends and reads the whole answer; refusals become [`ClientError::Api`].
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        media: Option<&str>,
        accept: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let whole = async {
            let answer = self.send(method, path, media, accept, body).await?;
            let status = answer.status();
            let bytes = self.read(answer.into_body()).await?;
            if status.is_success() {
                Ok((status, bytes))
            } else {
                Err(self.refusal(status, &bytes))
            }
        };
        match tokio::time::timeout(limit, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut {
                url: self.base.clone(),
                ms: limit.as_millis() as u64,
            }),
        }
    }

    /// Sends and gives the body to be read as it comes.
    pub(crate) async fn open(&self, path: &str, accept: &str) -> Result<Incoming, ClientError> {
        let answer = self
            .send(Method::GET, path, None, accept, Bytes::new())
            .await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let bytes = self.read(answer.into_body()).await?;
        Err(self.refusal(status, &bytes))
    }

    /// An answer that may be large: once `limit` is over, it has to have come at
    /// [`LARGE_BYTES_PER_S`].
    pub(crate) async fn large(
        &self,
        path: &str,
        bytes_max: usize,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        let start = Instant::now();
        let late = |ms: Duration| ClientError::TimedOut {
            url: self.base.clone(),
            ms: ms.as_millis() as u64,
        };
        let open = tokio::time::timeout(limit, self.open(path, BINARY)).await;
        let mut body = open.map_err(|_| late(limit))??;
        let mut bytes = BytesMut::new();
        loop {
            let ms = bytes.len() as u64 * 1_000 / LARGE_BYTES_PER_S;
            let allowed = limit + Duration::from_millis(ms);
            let more = tokio::time::timeout_at(
                start + allowed,
                self.more(&mut body, bytes_max, &mut bytes),
            );
            if !more.await.map_err(|_| late(allowed))?? {
                return Ok(bytes.freeze());
            }
        }
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, ClientError> {
        let mut bytes = BytesMut::new();
        while self.more(&mut body, ANSWER_BYTES_MAX, &mut bytes).await? {}
        Ok(bytes.freeze())
    }

    /// Reads what comes next of a body; whether anything did.
    async fn more(
        &self,
        body: &mut Incoming,
        bytes_max: usize,
        bytes: &mut BytesMut,
    ) -> Result<bool, ClientError> {
        let Some(frame) = body.frame().await else {
            return Ok(false);
        };
        let frame = frame.map_err(|error| ClientError::Unreachable {
            url: self.base.clone(),
            reason: error.to_string(),
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > bytes_max {
                return Err(self.protocol("the answer is over the limit"));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(true)
    }

    fn refusal(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match ApiError::from_json(bytes) {
            Some(error) => ClientError::Api(error),
            None => self.protocol(format!("status {status} without an error body")),
        }
    }
}
