//! What the genesis of a clearing house fixes, and the check that makes it solvent by
//! construction: no parameters whose worst block could outrun the maintenance margin.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::PublicKey;

use crate::units::{PPM, QUOTE_MAX, TICKS_MAX};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum MatchingRule {
    /// The finalized order, strictly.
    PriceTime,
    /// A block's cancels in this market come before its other transactions, its post-only
    /// orders after them, each in the finalized order: resting quotes are safer from being
    /// sniped (A30).
    CancelFirst,
}

/// A perpetual market. Its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
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
}

/// What a clearing house starts from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExecutionGenesis {
    /// Markets.
    pub markets: Vec<MarketParams>,
    /// First accounts and their collateral, in quote quanta.
    pub accounts: Vec<(PublicKey, u64)>,
    /// Whose observations make the mark.
    pub oracles: Vec<PublicKey>,
    /// Who may credit deposits, if anyone.
    pub bridge: Option<PublicKey>,
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
    /// The solvency envelope (invariant 11): the loss of one block's step, and the fee for
    /// closing at the stepped price, are covered by the maintenance margin.
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
        if self.taker_fee_ppm > ppm || self.maker_fee_ppm > ppm {
            return Err("fees must be at most 100 %");
        }
        let (step, fee) = (i128::from(self.step_ppm), i128::from(self.taker_fee_ppm));
        // In ppm²: step + fee·(1 + step) ≤ maintenance. Linear in the notional, so that it
        // holds for every position once it holds here.
        if step * PPM + fee * (PPM + step) > i128::from(self.maintenance_ppm) * PPM {
            return Err("a block's step and the closing fee exceed the maintenance margin");
        }
        Ok(())
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
        let sum: i128 = self.accounts.iter().map(|(_, a)| i128::from(*a)).sum();
        if sum > QUOTE_MAX {
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
            mark_ticks: 10_000,
            rule: MatchingRule::PriceTime,
            initial_ppm: 50_000,
            maintenance_ppm: 30_000,
            step_ppm: 10_000,
            band_ppm: 100_000,
            taker_fee_ppm: 500,
            maker_fee_ppm: 100,
        }
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
