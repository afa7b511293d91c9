//! One error type for every endpoint, with stable codes.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $status:literal, $retry:literal, $what:literal;)*) => {
        /// Why a request is refused. The words are stable: more may come, none changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $(#[doc = $what] $name,)* }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in `code`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
            /// HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
            /// What it means and what to do.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

codes! {
    Malformed, "malformed", 400, false, "The body, path or query does not parse. Fix the request.";
    PlaintextRefused, "plaintext_refused", 400, false, "The body looks like an order that is not encrypted. Seal it with the client first.";
    TooLarge, "too_large", 413, false, "The body, the batch or the ciphertext is over its limit; see `limits` of `/v1/info`.";
    UnsupportedMedia, "unsupported_media", 415, false, "Content-Type or Accept is neither JSON nor application/octet-stream.";
    MethodNotAllowed, "method_not_allowed", 405, false, "The path exists, the method does not.";
    UnknownSuite, "unknown_suite", 422, false, "The label names an encryption suite that this chain does not offer.";
    WrongChain, "wrong_chain", 422, false, "The order is for another chain.";
    UnknownKey, "unknown_key", 422, false, "The order is encrypted to a key that this epoch does not hold. Fetch `/v1/epochs/current` and seal again.";
    OldKey, "old_key", 422, false, "The order is encrypted to the key of the epoch before, which has less than a quarter of its time left, and expires after that key does. Fetch `/v1/epochs/current` and seal again with the same nonce, so that only one of the two can come out.";
    BadLabel, "bad_label", 422, false, "Fee or reserved bytes are not zero, or the lane is not a member.";
    BadLength, "bad_length", 422, false, "The ciphertext has the length of no size class.";
    BadSignature, "bad_signature", 422, false, "The sender's signature does not verify: the envelope was altered or signed with another key.";
    BadProof, "bad_proof", 422, false, "The ciphertext's proof does not verify for this label: it was altered or copied.";
    ReceiverReused, "receiver_reused", 409, false, "A member of the proposed committee would have a receiver key that an epoch had already. Make its card again, and propose with that.";
    Expired, "expired", 422, false, "The expiry is not later than finalized time. Seal again with a later one.";
    ExpiryTooFar, "expiry_too_far", 422, false, "The expiry lies further ahead than the chain's limit.";
    NonceUsed, "nonce_used", 409, false, "The sender used this nonce for another order that has not expired.";
    AlreadySequenced, "already_sequenced", 409, false, "The order has its outcome already, and this member gave no receipt for it. Ask `/v1/orders/{id}`.";
    OverQuota, "over_quota", 429, true, "The sender has too many orders under way here. Retry after `retry_after_ms`.";
    OverCapacity, "over_capacity", 503, true, "Too many orders are on their way at this member. Retry after `retry_after_ms`, by when they should have come out at the rate measured last, or ask another member.";
    NoEncryptionKey, "no_encryption_key", 503, true, "The committee has no encryption key yet.";
    NotReady, "not_ready", 503, true, "This member is catching up or stopping; `details.reasons` says why. Ask another member.";
    Draining, "draining", 503, true, "This member is shutting down and takes no new orders. Ask another member.";
    TooManyStreams, "too_many_streams", 503, true, "The stream limit of this member, or of this member for one address, is reached.";
    SlowConsumer, "slow_consumer", 503, true, "The stream was closed because the reader fell behind; resume from the last height read.";
    Timeout, "timeout", 408, true, "The wait ended first; the order keeps running. Ask `/v1/orders/{id}`.";
    NotFound, "not_found", 404, false, "There is no such path, or this member has not seen that order or block, or keeps it no longer.";
    OutOfRange, "out_of_range", 416, false, "The height is below what is kept or above the head; see `details.first_available` and `details.head`.";
    Internal, "internal", 500, true, "This member failed. Its log says why.";
}

/// The codes as a table in Markdown, as it stands in the documentation.
#[must_use]
pub fn error_table() -> String {
    let mut table = String::from("| code | HTTP | retry | meaning |\n|---|---|---|---|\n");
    for code in ErrorCode::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        let (word, status, what) = (code.word(), code.status(), code.meaning());
        table.push_str(&format!("| `{word}` | {status} | {retry} | {what} |\n"));
    }
    table
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.word() == text)
            .ok_or_else(|| format!("unknown error code {text:?}"))
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = <std::borrow::Cow<'de, str> as Deserialize>::deserialize(from)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

impl BorshSerialize for ErrorCode {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(self.word(), writer)
    }
}

impl BorshDeserialize for ErrorCode {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let word = String::deserialize_reader(reader)?;
        word.parse()
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// What every endpoint answers when it refuses: `{"error": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong with which value.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// More facts by code, such as `first_available`. Not part of the binary encoding.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

impl ApiError {
    /// An error of `code`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
            details: serde_json::Value::Null,
        }
    }

    /// Adds when to try again.
    #[must_use]
    pub fn after_ms(mut self, ms: u32) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Adds facts.
    #[must_use]
    pub fn with(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }

    /// Of a refusal with `out_of_range`: the first height that the member keeps.
    #[must_use]
    pub fn first_available(&self) -> Option<u64> {
        let first = self.details.get("first_available")?.as_str()?;
        first
            .parse()
            .ok()
            .filter(|_| self.code == ErrorCode::OutOfRange)
    }

    /// The JSON body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::json!({ "error": self })
            .to_string()
            .into_bytes()
    }

    /// Reads a JSON body.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: ApiError,
        }
        serde_json::from_slice::<Body>(bytes)
            .ok()
            .map(|body| body.error)
    }
}

impl BorshSerialize for ApiError {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let parts = (
            &self.code,
            &self.message,
            self.retryable,
            self.retry_after_ms,
        );
        BorshSerialize::serialize(&parts, writer)
    }
}

impl BorshDeserialize for ApiError {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (code, message, retryable, retry_after_ms) =
            <(ErrorCode, String, bool, Option<u32>)>::deserialize_reader(reader)?;
        Ok(Self {
            code,
            message,
            retryable,
            retry_after_ms,
            details: serde_json::Value::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|c| c.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(code.word().parse::<ErrorCode>(), Ok(*code));
            assert!((400..600).contains(&code.status()));
        }
        assert!("nonsense".parse::<ErrorCode>().is_err());
    }

    #[test]
    fn an_error_survives_both_encodings() {
        let error = ApiError::new(ErrorCode::OverQuota, "64 orders under way").after_ms(250);
        assert_eq!(ApiError::from_json(&error.to_json()), Some(error.clone()));
        let bytes = fairlane_types::encode(&error);
        assert_eq!(fairlane_types::decode::<ApiError>(&bytes, 1_000), Ok(error));
    }
}
