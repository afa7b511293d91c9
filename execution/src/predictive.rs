//! Predicted margin: how far the mark may go until the next sample, out of how far it went
//! before (EXECUTION §4). An exponentially weighted variance follows the market's mood, and
//! the quantile of past moves measured in it (filtered historical simulation; Barone-Adesi,
//! Giannopoulos, Vosper 1999) brings the fat tails in. All integers, all in the state.
//!
//! - It only adds: a market's margins are never below its own and its tiers'.
//! - The addition to the maintenance margin is the one that initial margins had a sample
//!   before, or less: no account can be liquidated for a rise it could not see.
//! - A rise and a fall are limited for each sample, against procyclical calls.
//! - A mark that did not move is no sample: a silent oracle is not a calm market.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::house::House;
use crate::units::{PPM, div_up};

/// Largest part of the variance that a sample replaces is 2^-1, the smallest 2^-12.
pub const SHIFT_MAX: u8 = 12;
/// Fewest moves whose quantile is taken.
pub const WINDOW_MIN: u16 = 100;
/// Most moves that are remembered; bounds what a market adds to the state.
pub const WINDOW_MAX: u16 = 1_024;
/// Longest time between two samples, in heights.
pub const SAMPLE_HEIGHTS_MAX: u32 = 1 << 20;
/// Longest time that the margin is for, in samples.
pub const HORIZON_MAX: u32 = 1 << 10;
/// Moves that the variance is left to settle in before any is remembered.
pub const SETTLING: u32 = 64;
/// Parts per billion, the unit of a move. A larger one than the whole price counts as that.
pub const PPB: i128 = 1_000_000_000;

/// How a market predicts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct PredictiveParams {
    /// Heights between two samples of the mark.
    pub sample_heights: u32,
    /// A sample replaces 2^-shift of the variance.
    pub shift: u8,
    /// Moves whose quantile is taken.
    pub window: u16,
    /// The quantile, ppm of the moves: 990,000 for a margin exceeded once in a hundred.
    pub quantile_ppm: u32,
    /// Samples that the margin is for; moves grow with the root of the time.
    pub horizon: u32,
    /// Most that is added to a market's margins, ppm.
    pub cap_ppm: u32,
    /// Largest rise of the addition in one sample, ppm.
    pub rise_ppm: u32,
    /// Largest fall of the addition in one sample, ppm.
    pub fall_ppm: u32,
}

impl PredictiveParams {
    /// # Errors
    /// What is out of bounds.
    pub fn validate(&self) -> Result<(), &'static str> {
        if !(1..=SAMPLE_HEIGHTS_MAX).contains(&self.sample_heights)
            || !(1..=HORIZON_MAX).contains(&self.horizon)
        {
            return Err("samples must be 1 to 2^20 heights apart, a horizon 1 to 2^10 samples");
        }
        if !(1..=SHIFT_MAX).contains(&self.shift) {
            return Err("a variance's shift must be in 1..=12");
        }
        if !(WINDOW_MIN..=WINDOW_MAX).contains(&self.window) {
            return Err("a window must be of 100 to 1024 moves");
        }
        if self.quantile_ppm == 0 || i128::from(self.quantile_ppm) >= PPM {
            return Err("a quantile must be in 0..100 %");
        }
        if self.rise_ppm == 0 || self.fall_ppm == 0 {
            return Err("an addition must be able to rise and to fall");
        }
        Ok(())
    }
}

/// What a market remembers in order to predict.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Predictor {
    /// Mark at the last sample; 0 before the first.
    pub ticks: u64,
    /// Moves seen, up to [`SETTLING`].
    pub seen: u32,
    /// Weighted mean of the moves' squares, ppb².
    pub variance: i128,
    /// Past moves as multiples of the deviation before them, ppm; a ring once it is full.
    pub moves: Vec<u32>,
    /// Place of the oldest in a full ring.
    pub oldest: u16,
    /// What initial margins have added, ppm.
    pub initial_ppm: u32,
    /// What maintenance margins have added, ppm; never more.
    pub maintenance_ppm: u32,
}

impl Predictor {
    /// Takes a mark, not 0, as the next sample.
    pub fn sample(&mut self, params: &PredictiveParams, ticks: u64) {
        let before = std::mem::replace(&mut self.ticks, ticks);
        if before == 0 || before == ticks {
            return;
        }
        let gone = i128::from(ticks.abs_diff(before)) * PPB / i128::from(before);
        let gone = gone.min(PPB);
        if self.seen == 0 {
            self.variance = gone * gone;
        }
        if self.seen < SETTLING {
            self.seen += 1;
        } else {
            let ratio = gone * PPM / self.deviation().max(1);
            self.remember(params.window, u32::try_from(ratio).unwrap_or(u32::MAX));
        }
        // An arithmetic shift rounds down: the variance stays at least 0.
        self.variance += (gone * gone - self.variance) >> params.shift;
    }

    /// Deviation of the next move, ppb.
    #[must_use]
    pub fn deviation(&self) -> i128 {
        self.variance.max(0).isqrt()
    }

    fn remember(&mut self, window: u16, ratio: u32) {
        if self.moves.len() < usize::from(window) {
            self.moves.push(ratio);
            return;
        }
        if let Some(oldest) = self.moves.get_mut(usize::from(self.oldest)) {
            *oldest = ratio;
        }
        self.oldest = (self.oldest + 1) % window.max(1);
    }

    /// How far the price may go within the horizon, ppm rounded up; none before half a
    /// window is full.
    #[must_use]
    pub fn predicted_ppm(&self, params: &PredictiveParams) -> Option<u32> {
        let count = self.moves.len();
        if count < usize::from(params.window / 2) || count == 0 {
            return None;
        }
        // The move that `quantile` of them do not exceed, the higher one in between.
        let rank = div_up((count as i128 - 1) * i128::from(params.quantile_ppm), PPM) as usize;
        let mut moves = self.moves.clone();
        let (_, ratio, _) = moves.select_nth_unstable(rank.min(count - 1));
        let root_ppm = (i128::from(params.horizon) * PPM * PPM).isqrt();
        let product = i128::from(*ratio) * self.deviation() * root_ppm;
        let margin = div_up(product, PPM * PPM * (PPB / PPM));
        Some(u32::try_from(margin).unwrap_or(u32::MAX))
    }

    /// Moves the additions towards what the prediction is above a base margin; says whether
    /// one changed.
    pub fn adjust(&mut self, params: &PredictiveParams, base_ppm: u32) -> bool {
        let Some(predicted) = self.predicted_ppm(params) else {
            return false;
        };
        let was = (self.initial_ppm, self.maintenance_ppm);
        let wanted = predicted.saturating_sub(base_ppm).min(params.cap_ppm);
        let (least, most) = (
            was.0.saturating_sub(params.fall_ppm),
            was.0.saturating_add(params.rise_ppm),
        );
        self.initial_ppm = wanted.clamp(least, most);
        // What initial margins had until now was there to see.
        self.maintenance_ppm = was.0.min(self.initial_ppm);
        (self.initial_ppm, self.maintenance_ppm) != was
    }

    /// Whether it can have come about by samples: what a snapshot must fulfil.
    pub(crate) fn is_sane(&self, params: Option<&PredictiveParams>) -> bool {
        let Some(params) = params else {
            return *self == Self::default();
        };
        (0..=PPB * PPB).contains(&self.variance)
            && self.seen <= SETTLING
            && self.moves.len() <= usize::from(params.window)
            && self.oldest < params.window
            && self.initial_ppm <= params.cap_ppm
            && self.maintenance_ppm <= self.initial_ppm
    }
}

impl House {
    /// Samples the marks that are due, before the transactions of `height`; says whether a
    /// margin changed.
    pub(crate) fn predict(&mut self, height: u64) -> bool {
        let mut changed = false;
        for market in &mut self.core.markets {
            let Some(params) = &market.params.predictive else {
                continue;
            };
            if !height.is_multiple_of(u64::from(params.sample_heights)) {
                continue;
            }
            market.predictor.sample(params, market.mark);
            let base = market.params.maintenance_ppm;
            changed |= market.predictor.adjust(params, base);
        }
        changed
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn params() -> PredictiveParams {
        PredictiveParams {
            sample_heights: 1,
            shift: 4,
            window: 1_000,
            quantile_ppm: 990_000,
            horizon: 1,
            cap_ppm: 200_000,
            rise_ppm: 10_000,
            fall_ppm: 2_000,
        }
    }

    /// Prices whose moves cluster: calm and wild spells, with fat tails in both.
    fn prices(seed: u64, count: usize) -> Vec<u64> {
        let mut state = seed | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let (mut price, mut variance, mut last) = (1e8, 1e-4, 0.0f64);
        let step = |_| {
            variance = 2e-6 + 0.1 * last * last + 0.88 * variance;
            // A normal one over the root of a mean of four squares: Student's t, 4 degrees.
            let mut normal = || {
                let (u, v) = (random().max(1e-12), random());
                (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
            };
            let tail = (0..4).map(|_| normal().powi(2)).sum::<f64>() / 4.0;
            last = normal() / tail.sqrt() / 2f64.sqrt() * variance.sqrt();
            price *= 1.0 + last;
            price as u64
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn a_margin_of_99_percent_is_exceeded_once_in_a_hundred() {
        for seed in [3, 1_999, 77_777] {
            let (params, mut predictor) = (params(), Predictor::default());
            let (mut tested, mut exceeded) = (0u32, 0u32);
            let all = prices(seed, 12_000);
            for pair in all.windows(2) {
                predictor.sample(&params, pair[0]);
                let Some(margin) = predictor.predicted_ppm(&params) else {
                    continue;
                };
                let gone = pair[1].abs_diff(pair[0]) * 1_000_000 / pair[0];
                tested += 1;
                exceeded += u32::from(gone > u64::from(margin));
            }
            let rate_ppm = exceeded * 1_000_000 / tested;
            assert!((7_000..=13_000).contains(&rate_ppm), "{seed}: {rate_ppm}");
        }
    }

    #[test]
    fn the_integer_deviation_is_the_real_one() {
        let (params, mut predictor) = (params(), Predictor::default());
        let (mut variance, mut seen) = (0.0, false);
        for pair in prices(11, 3_000).windows(2) {
            predictor.sample(&params, pair[0]);
            if predictor.seen > 0 {
                let real = f64::sqrt(variance);
                let error = (predictor.deviation() as f64 / 1e9 - real).abs() / real;
                assert!(error < 1e-6, "{error}");
            }
            let gone = (pair[1] as f64 - pair[0] as f64) / pair[0] as f64;
            if pair[1] != pair[0] {
                let first = !std::mem::replace(&mut seen, true);
                let start = if first { gone * gone } else { variance };
                variance = start + (gone * gone - start) / 16.0;
            }
        }
    }

    #[test]
    fn maintenance_follows_initial_margins_a_sample_later_and_both_are_limited() {
        let (params, mut predictor) = (params(), Predictor::default());
        let mut was = (0, 0);
        let (mut rose, mut fell) = (false, false);
        let calm = (0..1_500u64).map(|n| 1_000_000 + n % 7 * 100);
        let wild = (0..60u64).map(|n| 1_000_000 + n % 2 * 150_000);
        let again = (0..200u64).map(|n| 1_000_000 + n % 5 * 100);
        for ticks in calm.chain(wild).chain(again) {
            predictor.sample(&params, ticks);
            predictor.adjust(&params, 30_000);
            let now = (predictor.initial_ppm, predictor.maintenance_ppm);
            assert!(now.1 <= now.0 && now.1 <= was.0);
            assert!(now.0 <= was.0 + params.rise_ppm && now.0 + params.fall_ppm >= was.0);
            assert!(now.0 <= params.cap_ppm);
            rose |= now.0 > 100_000;
            fell |= rose && now.0 == 0;
            was = now;
        }
        assert!(rose && fell);
    }

    #[test]
    fn a_market_adds_it_to_both_margins_and_is_never_below_its_own() {
        let mut market = crate::mark::tests::market(10_000, 0, crate::oracle::Validity::Dead);
        let own = (market.initial(7_001), market.maintenance(7_001));
        assert_eq!(own, (7_001 * 100_000, 7_001 * 50_000));
        (
            market.predictor.initial_ppm,
            market.predictor.maintenance_ppm,
        ) = (30_000, 20_000);
        assert_eq!(market.initial(7_001), own.0 + 7_001 * 30_000);
        assert_eq!(market.maintenance(7_001), own.1 + 7_001 * 20_000);
        let held = crate::account::Position {
            lots: 3,
            ..crate::account::Position::flat(0)
        };
        let mut health = crate::account::Health::default();
        health.add(&held, &market);
        assert_eq!(health.maintenance_micro, market.maintenance(30_000));
        assert_eq!(health.initial_micro, market.initial(30_000));
    }

    proptest! {
        #[test]
        fn any_marks_leave_it_sane(
            marks in proptest::collection::vec(1u64..1 << 32, 1..600),
            shift in 1u8..=12, window in 100u16..300, horizon in 1u32..=1_024,
            quantile_ppm in 1u32..1_000_000, cap_ppm in 0u32..1_000_000, base in 0u32..500_000,
        ) {
            let params = PredictiveParams { shift, window, horizon, quantile_ppm, cap_ppm, ..params() };
            prop_assert_eq!(params.validate(), Ok(()));
            let mut predictor = Predictor::default();
            for ticks in marks {
                predictor.sample(&params, ticks);
                predictor.adjust(&params, base);
                prop_assert!(predictor.is_sane(Some(&params)));
            }
        }
    }

    #[test]
    fn parameters_out_of_their_bounds_are_refused() {
        let good = params();
        for bad in [
            PredictiveParams {
                sample_heights: 0,
                ..good
            },
            PredictiveParams { horizon: 0, ..good },
            PredictiveParams {
                horizon: HORIZON_MAX + 1,
                ..good
            },
            PredictiveParams { shift: 0, ..good },
            PredictiveParams { shift: 13, ..good },
            PredictiveParams { window: 99, ..good },
            PredictiveParams {
                window: 1_025,
                ..good
            },
            PredictiveParams {
                quantile_ppm: 0,
                ..good
            },
            PredictiveParams {
                quantile_ppm: 1_000_000,
                ..good
            },
            PredictiveParams {
                rise_ppm: 0,
                ..good
            },
            PredictiveParams {
                fall_ppm: 0,
                ..good
            },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
        assert_eq!(good.validate(), Ok(()));
    }
}
