//! A member's observations: prices of its sources, combined, sealed like any order and put
//! into its own lane.
//!
//! - The sender is the member's identity, so that the committee of the genesis are the
//!   oracles. Lane, echo, place, nonce and expiry are those of an order: no price can be
//!   left out but by leaving the member's lane out, brought again, or come late.
//! - Nobody reads a price before its place is final: none can be copied, or answered.
//! - A source that fails loses its say when its last price is too old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fairlane_client::{Pin, SealOptions, Sealer};
use fairlane_execution::oracle::{QUOTES_MAX, Quote};
use fairlane_execution::{Request, Tx};
use fairlane_replica::Reply;
use fairlane_types::{MemberId, Millis, SecretKey};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::handle::NodeHandle;
use crate::home::Home;
use crate::testnet::now;

mod config;
mod file;
mod mock;
mod source;

pub use config::{OracleConfig, SOURCES_MAX, SourceConfig};
pub use mock::MockFeed;
pub use source::{DOCUMENT_BYTES_MAX, PRICES_MAX, SourceQuote, parse};

use source::Source;

/// Time between two looks at the sources.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An observation that is not ordered by then is not opened, so that no price comes late.
const OBSERVATION_TTL_MS: u64 = 3_000;
/// A part in a million.
const PPM: u128 = 1_000_000;

type Quotes = watch::Receiver<Vec<SourceQuote>>;

/// What makes a member's observations.
pub struct Observer {
    config: OracleConfig,
    identity: SecretKey,
    /// Once the committee has its key.
    sealer: Option<Sealer>,
    me: MemberId,
    sources: Vec<Arc<Source>>,
}

impl Observer {
    /// An observer for the member with this identity.
    ///
    /// # Errors
    /// What of the configuration does not hold.
    pub fn new(
        config: OracleConfig,
        home: &Home,
        me: MemberId,
        identity: &SecretKey,
    ) -> Result<Self, String> {
        config.check()?;
        let sources = config.sources.iter();
        let sources = sources.map(|source| Source::new(source, home, me).map(Arc::new));
        Ok(Self {
            sources: sources.collect::<Result<_, _>>()?,
            identity: SecretKey::from_seed(*identity.seed()),
            sealer: None,
            me,
            config,
        })
    }

    /// Observes until the node stops.
    pub async fn run(mut self, handle: NodeHandle) {
        let stopping = handle.stopping();
        let mut readers = tokio::task::JoinSet::new();
        let mut feeds: Vec<Quotes> = Vec::new();
        for source in &self.sources {
            let (tell, told) = watch::channel(Vec::new());
            readers.spawn(follow(Arc::clone(source), tell));
            feeds.push(told);
        }
        let Some(executor) = handle.executor().cloned() else {
            return;
        };
        let (markets, key) = (executor.markets().len(), self.identity.public());
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: (u64, Vec<Quote>) = (0, Vec::new());
        loop {
            looks.tick().await;
            if *stopping.borrow() || handle.is_draining() {
                return;
            }
            let status = handle.status().borrow().clone();
            if status.observer || status.catching_up || !self.has_key(&handle) {
                continue;
            }
            let now_ms = now().0;
            let said: Vec<_> = feeds.iter().map(|feed| feed.borrow().clone()).collect();
            let mut quotes = combine(&said, &self.config, now_ms);
            quotes.retain(|quote| (quote.market as usize) < markets);
            let due = now_ms.saturating_sub(last.0) >= self.config.every_ms;
            if quotes.is_empty() || !(due || moved(&last.1, &quotes, self.config.deviation_ppm)) {
                continue;
            }
            // The oracles may hand on to others.
            if !executor.is_oracle(&key) {
                continue;
            }
            for part in quotes.chunks(QUOTES_MAX) {
                self.submit(&handle, part, now_ms).await;
            }
            last = (now_ms, quotes);
        }
    }

    /// Whether there is a key to seal to; it is looked for once the members have made it.
    fn has_key(&mut self, handle: &NodeHandle) -> bool {
        if self.sealer.is_none() && !handle.status().borrow().keyless {
            let known = handle.encryption_key().ok().flatten();
            let genesis = handle.genesis().as_ref().clone();
            let pin =
                known.and_then(|known| Pin::activated(genesis, known.activation.clone()).ok());
            let identity = || SecretKey::from_seed(*self.identity.seed());
            self.sealer = pin.map(|pin| Sealer::new(&pin, identity()));
        }
        self.sealer.is_some()
    }

    async fn submit(&self, handle: &NodeHandle, quotes: &[Quote], now_ms: u64) {
        let Some(sealer) = &self.sealer else {
            return;
        };
        let quotes = quotes.to_vec();
        let payload = Tx::Request(Request::Observe { quotes }).to_bytes();
        let mut nonce = [0; 8];
        if let Err(error) = getrandom::fill(&mut nonce) {
            tracing::error!(%error, "no randomness; no observation");
            return;
        }
        let options = SealOptions {
            nonce: u64::from_le_bytes(nonce),
            expiry: Millis(now_ms.saturating_add(OBSERVATION_TTL_MS)),
            lane: Some(self.me),
        };
        // UnwrapErr: the system's randomness has just worked.
        let sealed = sealer.seal_bytes(&payload, options, &mut UnwrapErr(SysRng));
        let envelope = match sealed {
            Ok(envelope) => Arc::new(envelope),
            Err(error) => {
                tracing::error!(%error, "an observation cannot be sealed");
                return;
            }
        };
        match handle.submit(envelope).await {
            Ok(Reply::Receipt(_)) => {
                metrics::counter!("fairlane_oracle_observations_total").increment(1);
            }
            other => {
                metrics::counter!("fairlane_oracle_refused_total").increment(1);
                tracing::debug!(?other, "an observation was not taken");
            }
        }
    }
}

/// Reads a source again and again; keeps what it said last.
async fn follow(source: Arc<Source>, tell: watch::Sender<Vec<SourceQuote>>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        looks.tick().await;
        match source.read(now().0).await {
            Ok(quotes) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(source = source.name(), "the price source is back");
                }
                tell.send_replace(quotes);
            }
            Err(reason) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(source = source.name(), %reason, "a price source fails");
                }
            }
        }
        if tell.is_closed() {
            return;
        }
    }
}

/// The lower median of the sources' prices that are young enough, for each market that has
/// enough of them; the spread is the distance to the farther quartile, or what the sources
/// themselves admit.
fn combine(said: &[Vec<SourceQuote>], config: &OracleConfig, now_ms: u64) -> Vec<Quote> {
    let mut by_market: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for quote in said.iter().flatten() {
        if now_ms.abs_diff(quote.time_ms) <= config.age_ms {
            let seen = by_market.entry(quote.market).or_default();
            seen.push((quote.ticks, quote.spread));
        }
    }
    let enough = by_market
        .into_iter()
        .filter(|(_, seen)| seen.len() >= config.sources_min);
    let quote = |(market, mut seen): (u32, Vec<(u64, u64)>)| {
        seen.sort_unstable();
        let last = seen.len() - 1;
        let (ticks, own) = seen[last / 2];
        let (low, high) = (seen[last / 4].0, seen[last - last / 4].0);
        let spread = ticks.abs_diff(low).max(ticks.abs_diff(high)).max(own);
        Quote {
            market,
            ticks,
            spread,
        }
    };
    enough.map(quote).collect()
}

/// Whether a price of before moved by more than `ppm`.
fn moved(before: &[Quote], now: &[Quote], ppm: u32) -> bool {
    now.iter().any(|quote| {
        let was = before.iter().find(|old| old.market == quote.market);
        was.is_none_or(|old| {
            u128::from(old.ticks.abs_diff(quote.ticks)) * PPM
                > u128::from(old.ticks) * u128::from(ppm)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ticks: u64, spread: u64, time_ms: u64) -> Vec<SourceQuote> {
        vec![SourceQuote {
            market: 1,
            ticks,
            spread,
            time_ms,
        }]
    }

    #[test]
    fn the_median_of_enough_young_prices_is_observed() {
        let file = |name: &str| SourceConfig::File { path: name.into() };
        let config = OracleConfig {
            every_ms: 1_000,
            deviation_ppm: 500,
            age_ms: 2_000,
            sources_min: 2,
            sources: vec![file("a"), file("b"), file("c")],
        };
        config.check().unwrap();
        let quote = |ticks, spread| Quote {
            market: 1,
            ticks,
            spread,
        };
        let all = [
            said(100, 3, 9_000),
            said(900, 0, 9_000),
            said(104, 1, 9_500),
        ];
        assert_eq!(combine(&all, &config, 10_000), [quote(104, 796)]);
        // Two of them are too old, or from the future.
        let few = [
            said(100, 0, 7_999),
            said(900, 0, 12_001),
            said(104, 1, 9_500),
        ];
        assert_eq!(combine(&few, &config, 10_000), []);
        let two = [said(100, 3, 9_000), said(102, 0, 9_000), Vec::new()];
        assert_eq!(combine(&two, &config, 10_000), [quote(100, 3)]);
        assert!(!moved(&[quote(100_000, 0)], &[quote(100_050, 0)], 500));
        assert!(moved(&[quote(100_000, 0)], &[quote(100_051, 0)], 500));
        assert!(moved(&[], &[quote(1, 0)], 500));
    }
}
