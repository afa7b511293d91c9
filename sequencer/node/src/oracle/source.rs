//! Reading one source. What comes is hostile: bounded in size and time, and used only as
//! far as it parses.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fairlane_types::MemberId;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

use super::config::SourceConfig;
use super::file::FileSource;
use super::mock::MockFeed;
use crate::home::Home;

/// Largest document of a source.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Most prices in one.
pub const PRICES_MAX: usize = 256;
/// Largest price, and spread, in ticks.
const TICKS_MAX: u64 = fairlane_execution::units::TICKS_MAX;
/// Time for an answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(1);

/// One price of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceQuote {
    /// Market.
    pub market: u32,
    /// Price in ticks.
    pub ticks: u64,
    /// How sure the source is, in ticks.
    #[serde(default)]
    pub spread: u64,
    /// When it was true, in milliseconds since the epoch.
    pub time_ms: u64,
}

/// The document of a file or an HTTP source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    prices: Vec<SourceQuote>,
}

/// Parses a document.
///
/// # Errors
/// Why it is of no use.
pub fn parse(bytes: &[u8]) -> Result<Vec<SourceQuote>, String> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("longer than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let prices = document.prices;
    if prices.len() > PRICES_MAX {
        return Err(format!("more than {PRICES_MAX} prices"));
    }
    let mut markets: Vec<u32> = prices.iter().map(|quote| quote.market).collect();
    markets.sort_unstable();
    if let Some(pair) = markets.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("market {} comes twice", pair[0]));
    }
    let bad = |quote: &&SourceQuote| quote.ticks == 0 || quote.ticks.max(quote.spread) > TICKS_MAX;
    match prices.iter().find(bad) {
        Some(quote) => Err(format!("market {}: a price out of bounds", quote.market)),
        None => Ok(prices),
    }
}

/// A source that can be read.
pub(crate) enum Source {
    File(FileSource),
    Http(Client<HttpConnector, Empty<Bytes>>, Uri),
    Mock(MockFeed, MemberId),
}

impl Source {
    /// A source of a home.
    pub fn new(config: &SourceConfig, home: &Home, me: MemberId) -> Result<Self, String> {
        Ok(match config {
            SourceConfig::File { path } => Self::File(FileSource::new(home.root().join(path))),
            SourceConfig::Http { url } => {
                let mut connector = HttpConnector::new();
                connector.set_connect_timeout(Some(ANSWER_MAX));
                let client = Client::builder(TokioExecutor::new()).build(connector);
                let uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
                Self::Http(client, uri)
            }
            SourceConfig::Mock(feed) => Self::Mock(feed.clone(), me),
        })
    }

    /// For the log.
    pub fn name(&self) -> String {
        match self {
            Self::File(file) => Path::display(file.path()).to_string(),
            Self::Http(_, uri) => uri.to_string(),
            Self::Mock(..) => "mock".to_owned(),
        }
    }

    /// What it says now.
    pub async fn read(&self, now_ms: u64) -> Result<Vec<SourceQuote>, String> {
        match self {
            Self::Mock(feed, me) => Ok(feed.quotes(*me, now_ms)),
            Self::File(file) => file.read().await,
            Self::Http(client, uri) => {
                let whole = async {
                    let answer = client.get(uri.clone()).await.map_err(|e| e.to_string())?;
                    if !answer.status().is_success() {
                        return Err(format!("status {}", answer.status()));
                    }
                    let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX);
                    let body = body.collect().await.map_err(|error| error.to_string())?;
                    parse(&body.to_bytes())
                };
                let answer = tokio::time::timeout(ANSWER_MAX, whole).await;
                answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"prices":[{"market":0,"ticks":643250,"time_ms":5},{"market":2,"ticks":7,"spread":1,"time_ms":6}]}"#;

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert_eq!(parse(GOOD.as_bytes()).unwrap().len(), 2);
        for (from, to) in [
            ("643250", "0"),
            ("643250", "4294967296"),
            ("643250", "64325.5"),
            ("\"spread\":1", "\"spread\":4294967296"),
            ("\"market\":2", "\"market\":0"),
            ("\"market\":2", "\"market\":-1"),
            ("\"spread\"", "\"size\""),
        ] {
            let bad = GOOD.replacen(from, to, 1);
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!("{GOOD}{}", " ".repeat(DOCUMENT_BYTES_MAX));
        assert!(parse(long.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn changed_documents_are_refused_or_in_bounds(
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            for part in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(prices) = parse(part) {
                    prop_assert!(prices.iter().all(|q| (1..=TICKS_MAX).contains(&q.ticks)));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_slow_or_huge_answer_is_no_price() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prices", listener.local_addr().unwrap());
        let serve = tokio::spawn(async move {
            for turn in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let body = match turn {
                    0 => GOOD.to_owned(),
                    1 => " ".repeat(DOCUMENT_BYTES_MAX + 1),
                    // The head promises more than ever comes.
                    _ => String::new(),
                };
                let length = if turn == 2 { 10 } else { body.len() };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
                if turn == 2 {
                    std::future::pending::<()>().await;
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create(folder.path().join("home")).unwrap();
        let source = Source::new(&SourceConfig::Http { url }, &home, MemberId(0)).unwrap();
        assert_eq!(source.read(0).await.unwrap().len(), 2);
        assert!(source.read(0).await.is_err());
        assert_eq!(source.read(0).await, Err("no answer in time".to_owned()));
        serve.abort();
    }
}
