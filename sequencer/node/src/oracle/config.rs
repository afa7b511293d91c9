//! `[oracle]` of `config.toml`: where this member's prices come from. Nothing here is
//! consensus; what the members' observations make of a price is in `execution.toml`.

use std::path::PathBuf;

use hyper::Uri;
use serde::{Deserialize, Serialize};

use super::mock::MockFeed;

/// Most sources.
pub const SOURCES_MAX: usize = 16;
/// Bounds of the time between two observations, in milliseconds.
const EVERY_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// Most that a source may lag, in milliseconds.
const AGE_MS_MAX: u64 = 3_600_000;

/// A member's view of prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OracleConfig {
    /// Time between two observations, in milliseconds.
    #[serde(default = "default_every")]
    pub every_ms: u64,
    /// A price that moved by so much is observed at once, ppm.
    #[serde(default = "default_deviation")]
    pub deviation_ppm: u32,
    /// Age of a source's price from which it does not count, in milliseconds.
    #[serde(default = "default_age")]
    pub age_ms: u64,
    /// Sources that must have a price of a market.
    #[serde(default = "default_sources")]
    pub sources_min: usize,
    /// The sources.
    pub sources: Vec<SourceConfig>,
}

/// One source of prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceConfig {
    /// A JSON file that something else replaces.
    File {
        /// Its path; relative to the home.
        path: PathBuf,
    },
    /// A JSON document, by `GET`. A relay on this machine adds TLS and keys.
    Http {
        /// `http://host:port/path`.
        url: String,
    },
    /// Made-up prices, for development.
    Mock(MockFeed),
}

const fn default_every() -> u64 {
    1_000
}

const fn default_deviation() -> u32 {
    500
}

const fn default_age() -> u64 {
    2_000
}

const fn default_sources() -> usize {
    1
}

impl OracleConfig {
    /// One source, the mock.
    #[must_use]
    pub fn mock(feed: MockFeed) -> Self {
        Self {
            every_ms: default_every(),
            deviation_ppm: default_deviation(),
            age_ms: default_age(),
            sources_min: 1,
            sources: vec![SourceConfig::Mock(feed)],
        }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if !EVERY_MS.contains(&self.every_ms) {
            return Err(format!("oracle.every_ms must be in {EVERY_MS:?}"));
        }
        if self.age_ms == 0 || self.age_ms > AGE_MS_MAX {
            return Err(format!("oracle.age_ms must be in 1..={AGE_MS_MAX}"));
        }
        if self.deviation_ppm == 0 || self.deviation_ppm > 1_000_000 {
            return Err("oracle.deviation_ppm must be in 1..=1000000".to_owned());
        }
        if self.sources.len() > SOURCES_MAX {
            return Err(format!("oracle.sources: at most {SOURCES_MAX}"));
        }
        if self.sources_min == 0 || self.sources_min > self.sources.len() {
            return Err("oracle.sources_min must be in 1..=the number of sources".to_owned());
        }
        for source in &self.sources {
            match source {
                SourceConfig::File { path } if path.as_os_str().is_empty() => {
                    return Err("oracle.sources: an empty path".to_owned());
                }
                SourceConfig::File { .. } => {}
                SourceConfig::Http { url } => {
                    let parsed: Result<Uri, _> = url.parse();
                    let plain = |uri: &Uri| {
                        uri.scheme_str() == Some("http")
                            && uri.host().is_some_and(|h| !h.is_empty())
                    };
                    if !parsed.as_ref().is_ok_and(plain) {
                        return Err(format!("oracle.sources: {url:?} is not an http:// address"));
                    }
                }
                SourceConfig::Mock(feed) => feed.check()?,
            }
        }
        Ok(())
    }
}
