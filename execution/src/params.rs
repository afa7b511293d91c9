//! What the genesis of a clearing house fixes, and the check that makes it solvent by
//! construction: no parameters whose worst block could outrun the maintenance margin.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::PublicKey;
use serde::{Deserialize, Serialize};

use crate::breaker::BreakerParams;
use crate::large::LargeParams;
use crate::oracle::OracleParams;
use crate::predictive::PredictiveParams;
use crate::units::{LOTS_MAX, PPM, QUOTE_MAX, TICKS_MAX, times};

/// Most markets of a clearing house.
pub const MARKETS_MAX: usize = 256;
/// Most members that may report prices.
pub const ORACLES_MAX: usize = 64;
/// Most accounts.
pub const ACCOUNTS_MAX: usize = 1 << 24;
/// Most open orders of an account in one market.
pub const ORDERS_PER_ACCOUNT_MAX: usize = 128;
/// Most open orders in a market; bounds its book's memory.
pub const ORDERS_PER_MARKET_MAX: usize = 1 << 18;

/// In which order a block's transactions meet a market.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum MatchingRule {
    /// The finalized order, strictly.
    PriceTime,
    /// A block's cancels in this market come first, then its post-only orders, then the rest,
    /// each in the finalized order: resting quotes are safer from being sniped (A30).
    CancelFirst,
    /// A block's orders rest first, and all that meet trade at one price at its end: a place
    /// inside the block is worth nothing. Fill-or-kill is refused, post-only means nothing.
    UniformBatch,
}

/// Most margin tiers of a market.
pub const TIERS_MAX: usize = 8;
/// Most a funding period may last, in heights.
pub const FUNDING_HEIGHTS_MAX: u32 = 1 << 20;

/// More margin on the part of a position's notional that is above a bound, on top of the
/// market's own and of the tiers below: margins grow without a jump.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Quote quanta above which it counts.
    pub above: u64,
    /// Initial margin added, ppm.
    pub initial_ppm: u32,
    /// Maintenance margin added, ppm.
    pub maintenance_ppm: u32,
}

/// Who must close against an account below zero that the book and the insurance fund do
/// not cover. Those in profit come before all others.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Deleveraging {
    /// Everyone, by lots.
    ProRata,
    /// Everyone, by lots × leverage.
    RiskAware,
    /// One after the other, by profit × leverage: what most venues do. For comparison.
    Queue,
}

/// A perpetual market. Its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketParams {
    /// First mark, in ticks.
    pub mark_ticks: u64,
    /// Matching rule.
    pub rule: MatchingRule,
    /// Initial margin, ppm of the notional.
    pub initial_ppm: u32,
    /// Maintenance margin, ppm of the notional.
    pub maintenance_ppm: u32,
    /// How far the mark may move in one block, ppm.
    pub step_ppm: u32,
    /// How far from the mark an order's price may be, ppm.
    pub band_ppm: u32,
    /// Taker's fee, ppm of the notional, rounded up.
    pub taker_fee_ppm: u32,
    /// Maker's fee, ppm of the notional, rounded up.
    pub maker_fee_ppm: u32,
    /// Margin tiers, ascending.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    /// Fee of a liquidation, ppm of the notional, taken from what a fill is better than the
    /// account's bankruptcy price; to the insurance fund.
    pub liquidation_fee_ppm: u32,
    /// Lots that liquidation may close in one block, ppm of the open interest, at least one.
    pub liquidation_block_ppm: u32,
    /// Heights between fundings; 0 for none.
    pub funding_heights: u32,
    /// Largest rate of one funding, ppm.
    pub funding_cap_ppm: u32,
    /// Circuit breaker, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerParams>,
    /// Margin that is added as the mark's moves demand it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictive: Option<PredictiveParams>,
    /// Most lots held long, and as many short; 0 for no bound but that of the collateral.
    #[serde(default)]
    pub interest_max: u64,
    /// Fewest lots of an order that may open a position: what keeps a book from being filled up
    /// with orders of no worth.
    #[serde(default)]
    pub lots_min: u64,
    /// How large positions settle, if they do so apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large: Option<LargeParams>,
}

/// What a clearing house starts from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionGenesis {
    /// Markets.
    pub markets: Vec<MarketParams>,
    /// First accounts and their collateral, in quote quanta.
    pub accounts: Vec<(PublicKey, u64)>,
    /// Whose observations make the mark.
    pub oracles: Vec<PublicKey>,
    /// How they do.
    #[serde(default)]
    pub oracle: OracleParams,
    /// Who may credit deposits, if anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<PublicKey>,
    /// What the insurance fund starts with, in quote quanta.
    pub insurance: u64,
    /// Who closes against an account below zero.
    pub deleveraging: Deleveraging,
    /// Most withdrawn in an hour, ppm of what is held.
    pub withdraw_hour_ppm: u32,
    /// Most withdrawn in a day, ppm of what is held.
    pub withdraw_day_ppm: u32,
}

impl ExecutionGenesis {
    /// Without oracles, bridge and insurance, closed by lots, a tenth an hour and three
    /// tenths a day withdrawn at most.
    #[must_use]
    pub fn plain(markets: Vec<MarketParams>, accounts: Vec<(PublicKey, u64)>) -> Self {
        Self {
            markets,
            accounts,
            oracles: Vec::new(),
            oracle: OracleParams::default(),
            bridge: None,
            insurance: 0,
            deleveraging: Deleveraging::ProRata,
            withdraw_hour_ppm: 100_000,
            withdraw_day_ppm: 300_000,
        }
    }
}

/// Why a genesis is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not the canonical encoding.
    #[error("the genesis is malformed: {0}")]
    Malformed(String),
    /// A list is too long.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The oracle's parameters are out of their bounds.
    #[error("{0}")]
    Oracle(&'static str),
    /// A key comes twice among accounts or oracles.
    #[error("key {0:?} comes twice")]
    Twice(PublicKey),
    /// A value of a market is out of its bounds.
    #[error("market {market}: {what}")]
    Market {
        /// Number of the market.
        market: usize,
        /// What is out of bounds.
        what: &'static str,
    },
}

impl MarketParams {
    /// A market with ordinary margins and fees, funding once in 600 heights, and nothing that
    /// may be left out: what others are written from (`..MarketParams::plain(mark, rule)`).
    #[must_use]
    pub const fn plain(mark_ticks: u64, rule: MatchingRule) -> Self {
        Self {
            mark_ticks,
            rule,
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
            lots_min: 0,
            large: None,
        }
    }

    /// The solvency envelope (invariant 11): the loss of one block's step, one funding and
    /// the fee for closing, both at the stepped price, are covered by the maintenance margin.
    ///
    /// # Errors
    /// What does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        let ppm = PPM as u32;
        if self.mark_ticks == 0 || self.mark_ticks > TICKS_MAX {
            return Err("the first mark must be in 1..2^32");
        }
        if self.initial_ppm > ppm || self.initial_ppm <= self.maintenance_ppm {
            return Err("maintenance < initial <= 100 % must hold");
        }
        if self.band_ppm >= ppm || self.step_ppm > self.band_ppm {
            return Err("step <= band < 100 % must hold");
        }
        if self.lots_min > LOTS_MAX {
            return Err("the fewest lots of an order must be at most 2^30");
        }
        if self.taker_fee_ppm > ppm || self.maker_fee_ppm > ppm {
            return Err("fees must be at most 100 %");
        }
        if self.liquidation_fee_ppm > ppm
            || self.liquidation_block_ppm > ppm
            || self.funding_cap_ppm > ppm
            || self.funding_heights > FUNDING_HEIGHTS_MAX
        {
            return Err("a rate must be at most 100 %, a funding period 2^20 heights");
        }
        if let Some(breaker) = &self.breaker {
            breaker.validate(self.band_ppm)?;
        }
        if let Some(predictive) = &self.predictive {
            predictive.validate()?;
        }
        if let Some(large) = &self.large {
            large.validate()?;
            // There no place is worth anything, however large the order is.
            if self.rule == MatchingRule::UniformBatch {
                return Err("a market cleared at one price has no large orders");
            }
        }
        self.validate_tiers()?;
        let (step, funding) = (i128::from(self.step_ppm), i128::from(self.funding_cap_ppm));
        let fee = i128::from(self.taker_fee_ppm.max(self.liquidation_fee_ppm));
        // In ppm²: step + (funding + fee)·(1 + step) ≤ maintenance; funding is paid at the
        // mark that has moved. Linear in the notional, and tiers only add to the right
        // side, so that it holds for every position once it holds here (lemma `envelope`).
        let worst = step * PPM + (funding + fee) * (PPM + step);
        if worst > i128::from(self.maintenance_ppm) * PPM {
            return Err("step, funding and closing fee exceed the maintenance margin");
        }
        Ok(())
    }

    fn validate_tiers(&self) -> Result<(), &'static str> {
        if self.tiers.len() > TIERS_MAX {
            return Err("at most 8 tiers");
        }
        let (mut above, mut initial, mut maintenance) = (0, self.initial_ppm, self.maintenance_ppm);
        for tier in &self.tiers {
            if tier.above <= above {
                return Err("tiers must ascend");
            }
            above = tier.above;
            initial = initial.saturating_add(tier.initial_ppm);
            maintenance = maintenance.saturating_add(tier.maintenance_ppm);
            if initial > PPM as u32 || initial <= maintenance {
                return Err("maintenance < initial <= 100 % must hold in every tier");
            }
        }
        let most = self.predictive.map_or(0, |predictive| predictive.cap_ppm);
        if initial.saturating_add(most) > PPM as u32 {
            return Err("initial margin, tiers and predicted margin must stay under 100 %");
        }
        Ok(())
    }

    /// Initial margin × ppm of a notional that is not negative.
    #[must_use]
    pub fn initial(&self, notional: i128) -> i128 {
        self.initial_with(notional, 0)
    }

    /// The same with so many ppm more.
    pub(crate) fn initial_with(&self, notional: i128, more_ppm: u32) -> i128 {
        self.margin(notional, self.initial_ppm + more_ppm, |tier| {
            tier.initial_ppm
        })
    }

    /// Maintenance margin × ppm of a notional that is not negative.
    #[must_use]
    pub fn maintenance(&self, notional: i128) -> i128 {
        self.maintenance_with(notional, 0)
    }

    /// The same with so many ppm more.
    pub(crate) fn maintenance_with(&self, notional: i128, more_ppm: u32) -> i128 {
        self.margin(notional, self.maintenance_ppm + more_ppm, |tier| {
            tier.maintenance_ppm
        })
    }

    fn margin(&self, notional: i128, base: u32, of: impl Fn(&Tier) -> u32) -> i128 {
        let mut sum = times(notional, u64::from(base));
        for tier in &self.tiers {
            let above = notional - i128::from(tier.above);
            if above <= 0 {
                break;
            }
            sum += times(above, u64::from(of(tier)));
        }
        sum
    }
}

impl ExecutionGenesis {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`ParamsError`], the first that is found.
    pub fn validate(&self) -> Result<(), ParamsError> {
        if self.markets.is_empty() || self.markets.len() > MARKETS_MAX {
            return Err(ParamsError::TooMany("markets, or none"));
        }
        if self.accounts.len() > ACCOUNTS_MAX {
            return Err(ParamsError::TooMany("accounts"));
        }
        if self.oracles.len() > ORACLES_MAX {
            return Err(ParamsError::TooMany("oracles"));
        }
        self.oracle.validate().map_err(ParamsError::Oracle)?;
        if self.oracles.is_empty() && self.markets.iter().any(|m| m.breaker.is_some()) {
            return Err(ParamsError::Oracle("a breaker trips without oracles"));
        }
        for (market, params) in self.markets.iter().enumerate() {
            params
                .validate()
                .map_err(|what| ParamsError::Market { market, what })?;
        }
        let accounts: Vec<_> = self.accounts.iter().map(|(key, _)| *key).collect();
        for mut keys in [accounts, self.oracles.clone()] {
            keys.sort_unstable();
            if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(ParamsError::Twice(pair[0]));
            }
        }
        if self.withdraw_hour_ppm.max(self.withdraw_day_ppm) > PPM as u32 {
            return Err(ParamsError::TooMany("ppm in a rate of withdrawal"));
        }
        let sum: i128 = self.accounts.iter().map(|(_, a)| i128::from(*a)).sum();
        if sum + i128::from(self.insurance) > QUOTE_MAX {
            return Err(ParamsError::TooMany("quote quanta"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn market() -> MarketParams {
        MarketParams {
            maintenance_ppm: 30_000,
            liquidation_fee_ppm: 500,
            liquidation_block_ppm: 1_000_000,
            funding_heights: 0,
            funding_cap_ppm: 0,
            ..MarketParams::plain(10_000, MatchingRule::PriceTime)
        }
    }

    #[test]
    fn tiers_add_margin_without_a_jump_and_are_checked() {
        let tier = |above, initial_ppm, maintenance_ppm| Tier {
            above,
            initial_ppm,
            maintenance_ppm,
        };
        let with = |tiers| MarketParams { tiers, ..market() };
        let tiered = with(vec![
            tier(1_000, 10_000, 5_000),
            tier(3_000, 40_000, 20_000),
        ]);
        assert_eq!(tiered.validate(), Ok(()));
        for (notional, maintenance) in [
            (1_000, 30_000_000),
            (1_001, 30_035_000),
            (3_001, 100_055_000),
        ] {
            assert_eq!(tiered.maintenance(notional), maintenance);
        }
        for bad in [
            vec![tier(0, 1, 0)],
            vec![tier(5, 1, 0), tier(5, 1, 0)],
            vec![tier(5, 0, 20_000)],
            vec![tier(5, 950_001, 0)],
            vec![tier(5, u32::MAX, u32::MAX)],
            (1..10).map(|n| tier(n, 1, 1)).collect(),
        ] {
            assert!(with(bad.clone()).validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_may_be_predicted_must_fit_above_all_tiers() {
        let with = |cap_ppm| MarketParams {
            tiers: vec![Tier {
                above: 5,
                initial_ppm: 50_000,
                maintenance_ppm: 0,
            }],
            predictive: Some(PredictiveParams {
                cap_ppm,
                ..crate::predictive::tests::params()
            }),
            ..market()
        };
        assert_eq!(with(900_000).validate(), Ok(()));
        assert!(with(900_001).validate().is_err());
        let mut unfit = with(0);
        if let Some(predictive) = &mut unfit.predictive {
            predictive.shift = 0;
        }
        assert!(unfit.validate().is_err());
    }

    #[test]
    fn parameters_that_a_block_can_outrun_are_refused() {
        let good = market();
        assert_eq!(good.validate(), Ok(()));
        for (step, fee, fits) in [
            (29_485, 500, true),
            (29_486, 500, false),
            (29_485, 501, false),
            (30_000, 0, true),
            (30_001, 0, false),
        ] {
            let params = MarketParams {
                step_ppm: step,
                taker_fee_ppm: fee,
                liquidation_fee_ppm: 0,
                ..good.clone()
            };
            assert_eq!(params.validate().is_ok(), fits, "{step} {fee}");
            // The same, on notionals: what the lemma says.
            for notional in [1i128, 999_999, 1_000_001, 1 << 61] {
                let step = i128::from(step);
                let loss = notional * step * PPM + notional * i128::from(fee) * (PPM + step);
                assert_eq!(loss <= notional * 30_000 * PPM, fits);
            }
        }
    }
}
