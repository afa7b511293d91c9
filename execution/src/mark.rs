//! The mark: what positions are worth. It goes to the oracle's price by at most one step
//! a block (a staircase), so that no block outruns the maintenance margin (invariant 11).
//! A step is a tick at least, or a mark that has fallen far would never come back.

use crate::breaker::Status;
use crate::house::{House, Market};
use crate::oracle::Validity;
use crate::units::{PPM, times};

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
    let step = step_ticks(market.mark, market.params.step_ppm);
    let (low, high) = (
        market.mark.saturating_sub(step),
        market.mark.saturating_add(step),
    );
    price.clamp(low.max(1), high)
}

/// The most that a mark moves in a block. Rounded down, as the envelope (invariant 11) allows
/// for no more than the step, but a tick at least: [`Market::margin_size`] makes up for it.
fn step_ticks(mark: u64, step_ppm: u32) -> u64 {
    let step = i128::from(mark) * i128::from(step_ppm) / PPM;
    let least = u64::from(step_ppm > 0);
    u64::try_from(step).unwrap_or(u64::MAX).max(least)
}

impl Market {
    /// The notional that margins of so many lots are taken of: at the mark, or at the least
    /// price of which a step is a whole tick. So a margin covers a move of one tick, too.
    #[must_use]
    pub fn margin_size(&self, lots: u64) -> i128 {
        times(i128::from(self.margin_ticks()), lots)
    }

    fn margin_ticks(&self) -> u64 {
        let (step, whole) = (u64::from(self.params.step_ppm), PPM as u64);
        // Mostly so, and a division is slow. A mark that never moves needs no more, either.
        if step == 0 || self.mark.saturating_mul(step) >= whole {
            self.mark
        } else {
            whole.div_ceil(step)
        }
    }
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
    use crate::account::{Health, Position};
    use crate::oracle::OracleState;
    use crate::params::{MarketParams, MatchingRule};
    use crate::predictive::Predictor;
    use crate::units::{TICKS_MAX, div_up, fee, notional};
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

    /// Marks of any size, as many of them low.
    fn ticks() -> impl Strategy<Value = u64> {
        prop_oneof![1..300u64, 1..TICKS_MAX]
    }

    proptest! {
        #[test]
        fn it_goes_towards_the_price_by_a_step_or_a_tick(mark in ticks(), price in ticks()) {
            let next = next_mark(&market(mark, price, Validity::Fresh));
            prop_assert!(next >= mark.min(price) && next <= mark.max(price));
            let gone = i128::from(next.abs_diff(mark));
            prop_assert!(gone * PPM <= (i128::from(mark) * 10_000).max(PPM));
            prop_assert!(gone > 0 || mark == price, "it is stuck at {mark}");
        }

        // Invariant 11 at every mark, where a tick is more than the step as well.
        #[test]
        fn who_is_at_its_margin_outlives_a_block(
            mark in ticks(),
            up in any::<bool>(),
            lots in prop_oneof![-100..100i64, -(1 << 30)..1i64 << 30],
            (step_ppm, funding_cap_ppm, fee_ppm) in (1..40_000u32, 0..5_000u32, 0..5_000u32),
        ) {
            let mut at = market(mark, if up { TICKS_MAX } else { 1 }, Validity::Fresh);
            let params = &mut at.params;
            (params.step_ppm, params.funding_cap_ppm) = (step_ppm, funding_cap_ppm);
            params.liquidation_fee_ppm = fee_ppm;
            prop_assume!(params.validate().is_ok());
            let mut position = Position::flat(0);
            position.trade(lots, mark);
            let mut health = Health::default();
            health.add(&position, &at);
            // The least equity with which it is left alone.
            let equity = div_up(health.maintenance_micro, PPM);
            at.mark = next_mark(&at);
            let value = notional(at.mark, lots).abs();
            let dues = fee(value, funding_cap_ppm) + fee(value, fee_ppm);
            let left = equity + position.profit(&at) - dues;
            prop_assert!(left > -2, "{left}");
        }
    }
}
