//! From every way of failing to one error body.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{ApiError, ErrorCode, JSON};
use fairlane_mempool::AdmissionError;
use fairlane_replica::StoreError;
use fairlane_types::EnvelopeError;

use crate::handle::RequestError;

/// An [`ApiError`] as a response.
#[derive(Debug)]
pub(crate) struct Fail(pub(crate) ApiError);

impl Fail {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ApiError::new(code, message))
    }

    pub(crate) fn malformed(message: impl ToString) -> Self {
        Self::new(ErrorCode::Malformed, message.to_string())
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let Self(error) = self;
        metrics::counter!("fairlane_api_refusals_total", "code" => error.code.word()).increment(1);
        let status =
            StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, JSON)], error.to_json()).into_response();
        if let Some(ms) = error.retry_after_ms {
            let seconds = HeaderValue::from(ms.div_ceil(1_000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a read for the API failed");
        Self::new(ErrorCode::Internal, "the database could not be read")
    }
}

impl From<RequestError> for Fail {
    fn from(error: RequestError) -> Self {
        let (code, after) = match error {
            RequestError::OverCapacity { retry_after_ms } => {
                (ErrorCode::OverCapacity, Some(retry_after_ms))
            }
            RequestError::Draining => (ErrorCode::Draining, None),
            RequestError::Stopped => (ErrorCode::NotReady, None),
        };
        let mut api = ApiError::new(code, error.to_string());
        api.retry_after_ms = after;
        Self(api)
    }
}

/// When to ask again for a key that is being made, ms.
const KEY_RETRY_MS: u32 = 1_000;

/// The code of each refusal by the protocol; every one has its own.
pub(crate) fn admission(error: &AdmissionError) -> ApiError {
    let message = error.to_string();
    match error {
        AdmissionError::Envelope(envelope) => {
            let code = match envelope {
                EnvelopeError::Suite(_) => ErrorCode::UnknownSuite,
                EnvelopeError::WrongChain { .. } => ErrorCode::WrongChain,
                EnvelopeError::UnknownKey(_) => ErrorCode::UnknownKey,
                EnvelopeError::Fee(_) | EnvelopeError::Lane(_) | EnvelopeError::Reserved => {
                    ErrorCode::BadLabel
                }
                EnvelopeError::Length(_) => ErrorCode::BadLength,
            };
            ApiError::new(code, message)
        }
        AdmissionError::NoKey => {
            ApiError::new(ErrorCode::NoEncryptionKey, message).after_ms(KEY_RETRY_MS)
        }
        AdmissionError::OldKey { until } => ApiError::new(ErrorCode::OldKey, message)
            .with(serde_json::json!({ "until_ms": until.to_string() })),
        AdmissionError::BadSignature => ApiError::new(ErrorCode::BadSignature, message),
        AdmissionError::BadProof => ApiError::new(ErrorCode::BadProof, message),
        AdmissionError::Expired { expiry, time } => ApiError::new(ErrorCode::Expired, message)
            .with(serde_json::json!({
                "expiry_ms": expiry.to_string(), "time_ms": time.to_string(),
            })),
        AdmissionError::ExpiryTooFar { expiry, latest } => {
            ApiError::new(ErrorCode::ExpiryTooFar, message).with(serde_json::json!({
                "expiry_ms": expiry.to_string(), "latest_ms": latest.to_string(),
            }))
        }
        AdmissionError::NonceUsed(_) => ApiError::new(ErrorCode::NonceUsed, message),
        AdmissionError::AlreadySequenced => ApiError::new(ErrorCode::AlreadySequenced, message),
        AdmissionError::OverQuota { retry_after_ms } => {
            ApiError::new(ErrorCode::OverQuota, message).after_ms(clamp(*retry_after_ms))
        }
        AdmissionError::OverCapacity { retry_after_ms } => {
            ApiError::new(ErrorCode::OverCapacity, message).after_ms(clamp(*retry_after_ms))
        }
        AdmissionError::Observer => ApiError::new(ErrorCode::NotReady, message)
            .with(serde_json::json!({ "reasons": ["observer"] })),
    }
}

fn clamp(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// No such path.
pub(crate) async fn no_path(uri: Uri) -> Fail {
    let path: String = uri.path().chars().take(200).collect();
    Fail::new(ErrorCode::NotFound, format!("there is no path {path}"))
}

/// What only a member answers.
pub(crate) async fn at_rest() -> Fail {
    let message = "no node runs here: this is no member of the epoch that it knows of last";
    Fail::new(ErrorCode::NotReady, message)
}

/// Wrong method.
pub(crate) async fn no_method(method: Method, uri: Uri) -> Fail {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("{method} is not offered at {path}");
    Fail::new(ErrorCode::MethodNotAllowed, message)
}
