//! Made-up prices for development: each market goes up and down evenly around a middle, and
//! each member sees it a little differently. A function of time and member alone, so that
//! the members' prices are near one another without a common source.

use fairlane_types::MemberId;
use serde::{Deserialize, Serialize};

use super::source::SourceQuote;

/// A part in a million.
const PPM: u64 = 1_000_000;
/// Largest middle, in ticks: prices are at most 2^32 − 1, at full swing too.
const MIDDLE_MAX: u64 = 1 << 31;
/// Most markets.
const MARKETS_MAX: usize = 256;

/// The feed's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockFeed {
    /// Middle of each market, in ticks.
    pub middles: Vec<u64>,
    /// How far a price goes up and down, ppm of its middle.
    pub swing_ppm: u32,
    /// Time of one swing up and down, in milliseconds.
    pub period_ms: u64,
    /// How far a member's price is from the others' at most, ppm.
    pub noise_ppm: u32,
}

impl MockFeed {
    /// Checks the bounds.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let fits = |middle: &u64| (1..=MIDDLE_MAX).contains(middle);
        if self.middles.len() > MARKETS_MAX || !self.middles.iter().all(fits) {
            return Err(format!(
                "oracle.sources: at most {MARKETS_MAX} middles, in 1..={MIDDLE_MAX}"
            ));
        }
        let half = PPM as u32 / 2;
        if self.swing_ppm > half || self.noise_ppm > half || self.period_ms < 4 {
            return Err(
                "oracle.sources: swing and noise at most 50 %, a period of at least 4 ms"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What a member sees at a time.
    #[must_use]
    pub fn quotes(&self, member: MemberId, now_ms: u64) -> Vec<SourceQuote> {
        let quote = |(market, middle): (usize, &u64)| {
            // Markets are out of step with one another.
            let phase = now_ms.wrapping_add(market as u64 * self.period_ms / 3) % self.period_ms;
            let up = swing(phase, self.period_ms) * i64::from(self.swing_ppm);
            let seed = fairlane_types::encode(&(member, market as u64, now_ms / 1_000));
            let draw = blake3::hash(&seed);
            let draw = u32::from_le_bytes([0, 1, 2, 3].map(|at| draw.as_bytes()[at]));
            let span = u64::from(self.noise_ppm) * 2 + 1;
            let noise = (u64::from(draw) % span) as i64 - i64::from(self.noise_ppm);
            let ppm = up / PPM as i64 + noise;
            let ticks = i128::from(*middle) * i128::from(PPM as i64 + ppm) / i128::from(PPM);
            SourceQuote {
                market: market as u32,
                ticks: u64::try_from(ticks).unwrap_or(1).max(1),
                spread: 0,
                time_ms: now_ms,
            }
        };
        self.middles.iter().enumerate().map(quote).collect()
    }
}

/// Even up and down between ±1,000,000, from 0 at the start of the period.
fn swing(phase: u64, period: u64) -> i64 {
    let at = (u128::from(phase) * 4 * u128::from(PPM) / u128::from(period)) as i64;
    let one = PPM as i64;
    match at / one {
        0 => at,
        1 | 2 => 2 * one - at,
        _ => at - 4 * one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_near_one_another_and_prices_go_up_and_down() {
        let feed = MockFeed {
            middles: vec![100_000, 2_000_000],
            swing_ppm: 10_000,
            period_ms: 60_000,
            noise_ppm: 200,
        };
        feed.check().unwrap();
        let (mut low, mut high) = (u64::MAX, 0);
        for now in (0..60_000).step_by(500) {
            let seen = [0, 1, 2, 3].map(|id| feed.quotes(MemberId(id), now)[0].ticks);
            let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
            assert!(most - least <= 41, "{seen:?}");
            (low, high) = (low.min(*least), high.max(*most));
        }
        assert!((98_900..99_100).contains(&low) && (100_900..101_100).contains(&high));
        assert_eq!(swing(0, 60_000), 0);
        assert_eq!(swing(15_000, 60_000), 1_000_000);
        assert_eq!(swing(45_000, 60_000), -1_000_000);
    }
}
