//! The clearing house of a development committee: three perpetual markets at the prices of
//! the sample orders, traders with money, and made-up prices that go up and down.

use std::collections::BTreeMap;

use fairlane_client::dev;
use fairlane_client::sample::Sample;
use fairlane_execution::BreakerParams;
use fairlane_execution::large::LargeParams;
use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_node::oracle::{MockFeed, OracleConfig};
use fairlane_types::OrderAction;

/// Marks of markets 0, 1 and 2 where no sample has a price, in ticks.
const MARKS: [u64; 3] = [643_250, 31_480, 1_515];
/// Traders that always have an account.
const TRADERS: [&str; 8] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
];
/// Open interest at the first mark is bounded by this notional, in quote quanta.
const INTEREST_NOTIONAL_MAX: u64 = 400_000_000_000;
/// Orders over this notional need a commitment where the market is thin, in quote quanta.
const LARGE_NOTIONAL: u64 = 4_000_000_000;
/// What each starts with, in quote quanta.
const COLLATERAL: u64 = 1_000_000_000_000;

/// A genesis in which the samples can trade.
pub fn genesis(samples: &[Sample]) -> ExecutionGenesis {
    let mut prices: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for sample in samples {
        if let OrderAction::Place {
            market,
            price_ticks,
            ..
        } = sample.order.action
        {
            prices.entry(market as usize).or_default().push(price_ticks);
        }
    }
    let mark = |market: usize| {
        let mut seen = prices.get(&market).cloned().unwrap_or_default();
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied().unwrap_or(MARKS[market])
    };
    let mut names: Vec<&str> = TRADERS.to_vec();
    names.extend(samples.iter().map(|sample| sample.trader.as_str()));
    names.sort_unstable();
    names.dedup();
    let account = |name: &&str| (dev::trader_key(name).public(), COLLATERAL);
    let accounts = names.iter().map(account).collect();
    let markets = (0..MARKS.len()).map(mark).map(market).collect();
    ExecutionGenesis {
        insurance: COLLATERAL,
        ..ExecutionGenesis::plain(markets, accounts)
    }
}

/// A market with all that a market can have: a breaker, a bound of open interest, and large
/// orders that are committed first.
fn market(mark_ticks: u64) -> MarketParams {
    MarketParams {
        breaker: Some(BreakerParams {
            lag_ppm: 30_000,
            edge_ppm: 90_000,
            edge_heights: 50,
            depth_min: 0,
            window_heights: 50,
            liquidated_ppm: 500_000,
            drawn_ppm: 100_000,
            guard_heights: 100,
            calm_heights: 5,
            auction_heights: 20,
            auction_ppm: 50_000,
            auction_initial_ppm: 1_500_000,
            prolong: 10,
            halt_heights: 100,
            resume_heights: 6_000,
            resumes: 60,
        }),
        interest_max: INTEREST_NOTIONAL_MAX / mark_ticks.max(1),
        large: Some(LargeParams {
            least: LARGE_NOTIONAL,
            always: LARGE_NOTIONAL,
            never: 10 * LARGE_NOTIONAL,
            depth_ppm: 500_000,
            interest_ppm: 250_000,
            delay_heights: 2,
            reports: 2,
            slices: 10,
            gap_heights: 5,
            hold_heights: 20,
            life_heights: 600,
            price_ppm: 20_000,
            impact_ppm: 1_000,
            mature_heights: 50,
        }),
        ..MarketParams::plain(mark_ticks, MatchingRule::PriceTime)
    }
}

/// Made-up prices around a genesis' marks, near enough for the samples to trade.
pub fn prices(genesis: &ExecutionGenesis) -> OracleConfig {
    OracleConfig::mock(MockFeed {
        middles: genesis.markets.iter().map(|m| m.mark_ticks).collect(),
        swing_ppm: 5_000,
        period_ms: 60_000,
        noise_ppm: 100,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn samples_trade_at_their_own_prices_and_the_genesis_is_sound() {
        // The members of a committee give its prices.
        let validate = |mut genesis: ExecutionGenesis| {
            genesis.oracles = (0..4)
                .map(|i| dev::trader_key(&format!("oracle-{i}")).public())
                .collect();
            genesis.validate()
        };
        assert_eq!(validate(genesis(&[])), Ok(()));
        let line = |price| {
            format!(
                "{{\"at_ms\":1,\"trader\":\"zoe\",\"op\":\"place\",\"market\":1,\"side\":\"buy\",\"price_ticks\":{price},\"lots\":1,\"cloid\":{price}}}\n"
            )
        };
        let text: String = [90, 100, 110].into_iter().map(line).collect();
        let samples = fairlane_client::sample::parse(&text).unwrap();
        let genesis = genesis(&samples);
        assert_eq!(validate(genesis.clone()), Ok(()));
        let marks: Vec<u64> = genesis.markets.iter().map(|m| m.mark_ticks).collect();
        assert_eq!(marks, [MARKS[0], 100, MARKS[2]]);
        let zoe = dev::trader_key("zoe").public();
        assert!(genesis.accounts.contains(&(zoe, COLLATERAL)));
    }
}
