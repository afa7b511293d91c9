//! The mark: the lower median of the oracles' last observations, approached by at most one
//! step a block (EXECUTION §3). With n = 3f+1 oracles and at least 2f+1 fresh observations
//! the median lies between two honest ones, whatever f liars say.

use fairlane_types::PublicKey;

use crate::Reject;
use crate::house::{House, Market};
use crate::units::{PPM, TICKS_MAX};

/// Heights for which an observation counts.
pub const OBSERVATION_HEIGHTS: u64 = 50;

/// The median of the fresh observations at `height`, if there are 2f+1.
pub(crate) fn target(market: &Market, height: u64) -> Option<u64> {
    let oldest = height.saturating_sub(OBSERVATION_HEIGHTS);
    let fresh = market.observed.iter();
    let mut prices: Vec<u64> = fresh
        .filter(|(ticks, at)| *ticks > 0 && *at >= oldest)
        .map(|(ticks, _)| *ticks)
        .collect();
    let f = market.observed.len().saturating_sub(1) / 3;
    if prices.len() < 2 * f + 1 {
        return None;
    }
    prices.sort_unstable();
    Some(prices[(prices.len() - 1) / 2])
}

/// The mark before the transactions of `height`. Without 2f+1 fresh observations it stays.
#[must_use]
pub fn next_mark(market: &Market, height: u64) -> u64 {
    let Some(median) = target(market, height) else {
        return market.mark;
    };
    // Rounded down: the envelope (invariant 11) allows for no more than the step. A mark
    // so low that a step is under one tick moves by none.
    let step = i128::from(market.mark) * i128::from(market.params.step_ppm) / PPM;
    let step = u64::try_from(step).unwrap_or(u64::MAX);
    let (low, high) = (
        market.mark.saturating_sub(step),
        market.mark.saturating_add(step),
    );
    median.clamp(low.max(1), high)
}

impl House {
    /// Moves every mark before the transactions of `height`; says whether one did.
    pub(crate) fn move_marks(&mut self, height: u64) -> bool {
        let mut moved = false;
        for market in &mut self.core.markets {
            let mark = next_mark(market, height);
            moved |= mark != market.mark;
            market.mark = mark;
        }
        moved
    }

    /// Notes an oracle's observation.
    pub(crate) fn observe(
        &mut self,
        sender: &PublicKey,
        market: u32,
        ticks: u64,
        height: u64,
    ) -> Result<(), Reject> {
        let who = self.core.oracles.iter().position(|key| key == sender);
        let who = who.ok_or(Reject::Forbidden)?;
        if ticks == 0 || ticks > TICKS_MAX {
            return Err(Reject::PriceBand);
        }
        let market = self.core.markets.get_mut(market as usize);
        market.ok_or(Reject::UnknownMarket)?.observed[who] = (ticks, height);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Status;
    use crate::params::{MarketParams, MatchingRule};
    use crate::predictive::Predictor;

    pub(crate) fn market(mark: u64, observed: Vec<(u64, u64)>) -> Market {
        let params = MarketParams {
            mark_ticks: mark,
            rule: MatchingRule::PriceTime,
            initial_ppm: 100_000,
            maintenance_ppm: 50_000,
            step_ppm: 10_000,
            band_ppm: 100_000,
            taker_fee_ppm: 0,
            maker_fee_ppm: 0,
            tiers: Vec::new(),
            liquidation_fee_ppm: 0,
            liquidation_block_ppm: 1_000_000,
            funding_heights: 0,
            funding_cap_ppm: 0,
            breaker: None,
            predictive: None,
        };
        Market {
            params,
            mark,
            open_interest: 0,
            observed,
            funding: 0,
            premium_ppm: 0,
            premiums: 0,
            status: Status::Normal,
            liquidated: 0,
            predictor: Predictor::default(),
        }
    }

    #[test]
    fn it_moves_by_steps_and_stays_without_a_quorum() {
        let calm = market(10_000, vec![(12_000, 5), (12_000, 5), (0, 0), (12_000, 5)]);
        assert_eq!(next_mark(&calm, 6), 10_100);
        assert_eq!(next_mark(&calm, 55), 10_100);
        assert_eq!(next_mark(&calm, 56), 10_000);
        let few = market(10_000, vec![(12_000, 5), (12_000, 5), (0, 0), (0, 0)]);
        assert_eq!(next_mark(&few, 6), 10_000);
    }

    proptest! {
        #[test]
        fn f_liars_cannot_leave_the_honest_hull(
            honest in proptest::collection::vec(9_900u64..10_100, 5),
            lies in proptest::collection::vec(1u64..1 << 32, 2),
            mark in 9_900u64..10_100,
        ) {
            let all = honest.iter().chain(&lies).map(|p| (*p, 1)).collect();
            let next = next_mark(&market(mark, all), 2);
            let (low, high) = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
            prop_assert!(next >= mark.min(*low) && next <= mark.max(*high));
        }
    }
}
