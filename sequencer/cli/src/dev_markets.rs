//! The clearing house of a development committee: three perpetual markets at the prices of
//! the sample orders, traders with money, and made-up prices that go up and down.

use std::collections::BTreeMap;

use fairlane_client::dev;
use fairlane_client::sample::Sample;
use fairlane_execution::params::{Deleveraging, ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_node::oracle::{MockFeed, OracleConfig};
use fairlane_types::OrderAction;

/// Marks of markets 0, 1 and 2 where no sample has a price, in ticks.
const MARKS: [u64; 3] = [643_250, 31_480, 1_515];
/// Traders that always have an account.
const TRADERS: [&str; 8] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
];
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
    ExecutionGenesis {
        markets: (0..MARKS.len()).map(mark).map(market).collect(),
        accounts: names.iter().map(account).collect(),
        oracles: Vec::new(),
        oracle: Default::default(),
        bridge: None,
        insurance: COLLATERAL,
        deleveraging: Deleveraging::ProRata,
        withdraw_hour_ppm: 100_000,
        withdraw_day_ppm: 300_000,
    }
}

fn market(mark_ticks: u64) -> MarketParams {
    MarketParams {
        mark_ticks,
        rule: MatchingRule::PriceTime,
        initial_ppm: 50_000,
        maintenance_ppm: 25_000,
        step_ppm: 10_000,
        band_ppm: 100_000,
        taker_fee_ppm: 500,
        maker_fee_ppm: 100,
        tiers: Vec::new(),
        liquidation_fee_ppm: 5_000,
        liquidation_block_ppm: 200_000,
        funding_heights: 600,
        funding_cap_ppm: 500,
        breaker: None,
        predictive: None,
        interest_max: 0,
        large: None,
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
        assert_eq!(genesis(&[]).validate(), Ok(()));
        let line = |price| {
            format!(
                "{{\"at_ms\":1,\"trader\":\"zoe\",\"op\":\"place\",\"market\":1,\"side\":\"buy\",\"price_ticks\":{price},\"lots\":1,\"cloid\":{price}}}\n"
            )
        };
        let text: String = [90, 100, 110].into_iter().map(line).collect();
        let samples = fairlane_client::sample::parse(&text).unwrap();
        let genesis = genesis(&samples);
        assert_eq!(genesis.validate(), Ok(()));
        let marks: Vec<u64> = genesis.markets.iter().map(|m| m.mark_ticks).collect();
        assert_eq!(marks, [MARKS[0], 100, MARKS[2]]);
        let zoe = dev::trader_key("zoe").public();
        assert!(genesis.accounts.contains(&(zoe, COLLATERAL)));
    }
}
