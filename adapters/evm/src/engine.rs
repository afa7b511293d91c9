//! JSON-RPC to an execution client's engine port: a fresh token for each call, one call at a
//! time, limits on time and size.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::{EngineError, JwtSecret};

/// Largest answer that is read: a full block in hexadecimal, twice.
pub const ANSWER_BYTES_MAX: usize = 160 << 20;
/// Time that a call may take; the API asks for 8 s where a block is executed.
pub const CALL_MAX: Duration = Duration::from_secs(8);
/// Longest part of an engine's own words that is repeated.
const WORDS_MAX: usize = 200;

/// An execution client's engine port.
pub struct Engine {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    secret: JwtSecret,
    calls: u64,
}

impl Engine {
    /// At an `http://` address. Nothing is called yet.
    ///
    /// # Errors
    /// [`EngineError::Address`].
    pub fn new(address: &str, secret: JwtSecret) -> Result<Self, EngineError> {
        let wrong = || EngineError::Address(address.into());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            uri,
            secret,
            calls: 0,
        })
    }

    /// Calls a method; gives its result.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`], `Unauthorized`, `Refused`, `Answer`.
    pub async fn call(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<Value, EngineError> {
        let whole = self.exchange(method, params);
        match tokio::time::timeout(CALL_MAX, whole).await {
            Ok(answer) => answer,
            Err(_) => {
                let ms = CALL_MAX.as_millis();
                Err(EngineError::Unreachable(format!(
                    "{method}: no answer within {ms} ms"
                )))
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<Value, EngineError> {
        self.calls += 1;
        let id = self.calls;
        let unreachable = |error: &dyn std::error::Error| {
            let cause = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            EngineError::Unreachable(format!("{method}: {cause}"))
        };
        let wrong = |reason: String| EngineError::Answer { method, reason };
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(
                AUTHORIZATION,
                format!("Bearer {}", self.secret.token(since.as_secs())),
            )
            .body(Full::new(Bytes::from(call.to_string())))
            .map_err(|error| wrong(error.to_string()))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(EngineError::Unauthorized);
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| unreachable(&*error))?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&body)
            .map_err(|error| wrong(format!("status {status}, not JSON: {error}")))?;
        if answer.get("id") != Some(&json!(id)) {
            return Err(wrong("the answer is to another call".into()));
        }
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let words = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default();
            return Err(EngineError::Refused {
                method,
                code: error
                    .get("code")
                    .and_then(Value::as_i64)
                    .unwrap_or_default(),
                message: words.chars().take(WORDS_MAX).collect(),
            });
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(wrong("neither a result nor an error".into())),
        }
    }
}
