//! The mark: what margins are taken at. It goes to the oracle's price by at most one step
//! a block (a staircase), so that no block outruns the maintenance margin (invariant 11).

use crate::breaker::Status;
use crate::house::{House, Market};
use crate::oracle::Validity;
use crate::units::PPM;

/// The mark after one more step. It stays while the oracle is stale, dead, or was never
/// heard, and in a frozen market.
#[must_use]
pub fn next_mark(market: &Market) -> u64 {
    let price = market.oracle.price;
    let heard = matches!(
        market.oracle.validity,
        Validity::Fresh | Validity::Uncertain
    );
    if price == 0 || !heard || market.status == Status::Frozen {
        return market.mark;
    }
    // Rounded down: the envelope (invariant 11) allows for no more than the step. A mark
    // so low that a step is under one tick moves by none.
    let step = i128::from(market.mark) * i128::from(market.params.step_ppm) / PPM;
    let step = u64::try_from(step).unwrap_or(u64::MAX);
    let (low, high) = (
        market.mark.saturating_sub(step),
        market.mark.saturating_add(step),
    );
    price.clamp(low.max(1), high)
}

impl House {
    /// Moves every mark before the transactions of a block; says whether one did.
    pub(crate) fn move_marks(&mut self) -> bool {
        let mut moved = false;
        for market in &mut self.core.markets {
            let mark = next_mark(market);
            moved |= mark != market.mark;
            market.mark = mark;
        }
        moved
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::OracleState;
    use crate::params::{MarketParams, MatchingRule};
    use crate::predictive::Predictor;
    use crate::units::TICKS_MAX;
    use crate::watch::Watch;

    pub(crate) fn market(mark: u64, price: u64, validity: Validity) -> Market {
        let params = MarketParams {
            initial_ppm: 100_000,
            maintenance_ppm: 50_000,
            taker_fee_ppm: 0,
            maker_fee_ppm: 0,
            liquidation_fee_ppm: 0,
            liquidation_block_ppm: 1_000_000,
            funding_heights: 0,
            funding_cap_ppm: 0,
            ..MarketParams::plain(mark, MatchingRule::PriceTime)
        };
        Market {
            params,
            mark,
            open_interest: 0,
            oracle: OracleState {
                price,
                validity,
                ..OracleState::new(4)
            },
            funding: 0,
            premium_ppm: 0,
            premiums: 0,
            status: Status::Normal,
            watch: Watch::default(),
            predictor: Predictor::default(),
        }
    }

    #[test]
    fn it_moves_by_steps_and_stays_without_a_price() {
        assert_eq!(next_mark(&market(10_000, 12_000, Validity::Fresh)), 10_100);
        assert_eq!(
            next_mark(&market(10_000, 12_000, Validity::Uncertain)),
            10_100
        );
        assert_eq!(next_mark(&market(10_000, 12_000, Validity::Stale)), 10_000);
        assert_eq!(next_mark(&market(10_000, 12_000, Validity::Dead)), 10_000);
        assert_eq!(next_mark(&market(10_000, 0, Validity::Fresh)), 10_000);
        let mut frozen = market(10_000, 12_000, Validity::Fresh);
        frozen.status = Status::Frozen;
        assert_eq!(next_mark(&frozen), 10_000);
    }

    proptest! {
        #[test]
        fn it_lies_between_itself_and_the_price(
            mark in 1..TICKS_MAX,
            price in 1..TICKS_MAX,
        ) {
            let next = next_mark(&market(mark, price, Validity::Fresh));
            prop_assert!(next >= mark.min(price) && next <= mark.max(price));
            prop_assert!(i128::from(next.abs_diff(mark)) * PPM <= i128::from(mark) * 10_000);
        }
    }
}
