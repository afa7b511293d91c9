//! Reading requests: media types, sizes and time before any parsing.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use fairlane_client::wire::{BINARY, EVENTS, EnvelopeBody, ErrorCode};
use fairlane_types::{Envelope, LABEL_BYTES, Order};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::fail::Fail;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Binary,
    Events,
}

/// What the body is said to be; JSON if nothing is said.
pub(crate) fn content(headers: &HeaderMap) -> Result<Media, Fail> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Media::Json);
    };
    let name = value.to_str().unwrap_or_default();
    match name.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(Media::Json),
        BINARY => Ok(Media::Binary),
        other => Err(Fail::new(
            ErrorCode::UnsupportedMedia,
            format!(
                "Content-Type {:?} is neither application/json nor {BINARY}",
                short(other)
            ),
        )),
    }
}

/// What the answer is to be: the first acceptable type named, `default` for anything.
pub(crate) fn accept(
    headers: &HeaderMap,
    offered: &[Media],
    default: Media,
) -> Result<Media, Fail> {
    let Some(value) = headers.get(header::ACCEPT) else {
        return Ok(default);
    };
    let names = value.to_str().unwrap_or_default();
    for name in names.split(',') {
        let media = match name.split(';').next().unwrap_or_default().trim() {
            "application/json" => Media::Json,
            BINARY => Media::Binary,
            EVENTS => Media::Events,
            "*/*" | "application/*" | "text/*" => default,
            _ => continue,
        };
        if offered.contains(&media) {
            return Ok(media);
        }
    }
    Err(Fail::new(
        ErrorCode::UnsupportedMedia,
        format!(
            "Accept {:?} names nothing that is offered here",
            short(names)
        ),
    ))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads a body of at most `limit` bytes within `time`.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Fail> {
    let too_large = || {
        let message = format!("the body is over the limit of {limit} bytes");
        Fail::new(ErrorCode::TooLarge, message)
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let whole = async {
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0) as usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fail::malformed("the body was cut off"))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > limit {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    };
    match tokio::time::timeout(time, whole).await {
        Ok(result) => result,
        Err(_) => Err(Fail::malformed(format!(
            "the body was not complete within {} ms",
            time.as_millis()
        ))),
    }
}

/// The keys of an order's plaintext (and of sample lines): whoever sends one of them has
/// not encrypted.
const PLAINTEXT_KEYS: [&str; 11] = [
    "op",
    "action",
    "market",
    "side",
    "price_ticks",
    "price",
    "lots",
    "size",
    "payload",
    "order",
    "plaintext",
];

/// Parses an envelope; total over every byte string.
pub(crate) fn envelope(media: Media, bytes: &[u8]) -> Result<Envelope, Fail> {
    if media == Media::Binary {
        return binary_envelope(bytes);
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(Fail::malformed)?;
    let Some(object) = value.as_object() else {
        return Err(Fail::malformed("expected a JSON object"));
    };
    if let Some(key) = PLAINTEXT_KEYS.iter().find(|key| object.contains_key(**key)) {
        return Err(Fail::new(
            ErrorCode::PlaintextRefused,
            format!("{key:?} belongs to an order that is not encrypted; nothing of it was kept"),
        ));
    }
    if let (1, Some(text)) = (
        object.len(),
        object.get("envelope").and_then(|v| v.as_str()),
    ) {
        let bytes =
            hex::decode(text).map_err(|error| Fail::malformed(format!("envelope: {error}")))?;
        return binary_envelope(&bytes);
    }
    serde_json::from_value::<EnvelopeBody>(value)
        .map(Envelope::from)
        .map_err(Fail::malformed)
}

fn binary_envelope(bytes: &[u8]) -> Result<Envelope, Fail> {
    // An encoded order is shorter than any label.
    if bytes.len() < LABEL_BYTES && Order::from_bytes(bytes).is_ok() {
        return Err(Fail::new(
            ErrorCode::PlaintextRefused,
            "this is an order that is not encrypted; nothing of it was kept",
        ));
    }
    fairlane_types::decode(bytes, bytes.len()).map_err(Fail::malformed)
}

/// A query string; unknown keys are refused.
pub(crate) struct Args<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Args<T> {
    type Rejection = Fail;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fail> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(args)| Self(args))
            .map_err(|error| Fail::malformed(error.body_text()))
    }
}

/// What stands in the path's place, percent-decoded.
pub(crate) struct InPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Fail;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fail> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(text)| Self(text))
            .map_err(|error| Fail::malformed(error.body_text()))
    }
}

/// Parses a path segment.
pub(crate) fn segment<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Fail> {
    text.parse()
        .map_err(|_| Fail::malformed(format!("{:?} is not {what}", short(text))))
}
