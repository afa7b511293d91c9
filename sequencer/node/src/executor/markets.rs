//! What an operator sees of markets: where each of them is, and in the log when that changes.

use fairlane_execution::{Event, Executed, Market, Status};

/// Where markets were at the last look.
#[derive(Debug, Default)]
pub(super) struct Markets {
    seen: Vec<&'static str>,
}

/// The value of `fairlane_market_status`.
const fn level(status: Status) -> u8 {
    match status {
        Status::Normal => 0,
        Status::Guarded { .. } => 1,
        Status::Auction { .. } => 2,
        Status::Halted { .. } => 3,
        Status::Frozen => 4,
    }
}

/// Tells the log which invariant does not hold: what is frozen is a fault.
pub(super) fn tell_frozen(applied: &Executed) {
    for event in &applied.events {
        if let Event::Frozen { market, why } = event {
            let height = applied.height;
            tracing::error!(market, ?why, %height, "the market is frozen: an invariant does not hold");
        }
    }
}

impl Markets {
    /// Publishes where markets are. Returns the numbers of those that are elsewhere than before; one
    /// that was not seen before is expected to be open.
    pub fn look(&mut self, markets: &[Market]) -> Vec<usize> {
        let mut moved = Vec::new();
        for (number, market) in markets.iter().enumerate() {
            let status = market.status.name();
            let before = self.seen.get(number).copied();
            if before == Some(status) {
                continue;
            }
            let gauge = metrics::gauge!("fairlane_market_status", "market" => number.to_string());
            gauge.set(f64::from(level(market.status)));
            if before.unwrap_or(Status::Normal.name()) != status {
                tracing::info!(market = number, status, "the market is elsewhere");
                moved.push(number);
            }
        }
        self.seen = markets.iter().map(|market| market.status.name()).collect();
        moved
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fairlane_execution::Clearing;
    use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
    use fairlane_types::Root;

    use super::*;

    #[test]
    fn a_market_that_is_elsewhere_is_told_once() {
        let market = || MarketParams::plain(1_000, MatchingRule::PriceTime);
        let genesis = ExecutionGenesis::plain(vec![market(), market()], Vec::new());
        let clearing = Clearing::new(&genesis, Root::default()).unwrap();
        let mut markets = clearing.house().core().markets.clone();
        let mut seen = Markets::default();
        assert!(seen.look(&markets).is_empty(), "all are open");
        let halted = |calm| Status::Halted { calm };
        for (status, moved) in [
            (Status::Frozen, vec![1]),
            (Status::Frozen, vec![]),
            (halted(0), vec![1]),
            (halted(7), vec![]),
            (Status::Normal, vec![1]),
        ] {
            markets[1].status = status;
            assert_eq!(seen.look(&markets), moved);
        }
        // A start on a snapshot tells what is not open.
        markets[0].status = Status::Frozen;
        assert_eq!(Markets::default().look(&markets), [0]);
    }
}
