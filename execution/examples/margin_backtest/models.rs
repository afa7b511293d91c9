//! What says how far the next price may be. `Integer` is the clearing house's own code; the
//! others are what it is compared with, in floating point.

use std::collections::VecDeque;

use fairlane_execution::predictive::{PredictiveParams, Predictor};

/// Standard deviations that a normal move exceeds once in a hundred, both ways.
const NORMAL: f64 = 2.575_829_303_5;
/// Past moves of the filtered history.
const WINDOW: usize = 1_000;

/// One that sees prices and says a margin for the next move, as a part of the price.
pub trait Model {
    fn name(&self) -> &str;
    fn see(&mut self, price: u64);
    fn margin(&self) -> f64;
    /// Whether it is the one that the bars are for.
    fn is_ours(&self) -> bool {
        false
    }
}

/// The last price, and the move from it to the next.
#[derive(Default)]
struct Last(Option<f64>);

impl Last {
    fn gone(&mut self, price: u64) -> Option<f64> {
        let before = self.0.replace(price as f64)?;
        Some((price as f64 - before) / before)
    }
}

/// The deviation of all moves so far, as if normal.
#[derive(Default)]
pub struct Constant {
    last: Last,
    count: f64,
    squares: f64,
}

impl Model for Constant {
    fn name(&self) -> &str {
        "constant, Gaussian"
    }
    fn see(&mut self, price: u64) {
        if let Some(gone) = self.last.gone(price) {
            self.count += 1.0;
            self.squares += gone * gone;
        }
    }
    fn margin(&self) -> f64 {
        NORMAL * (self.squares / self.count).sqrt()
    }
}

/// A weighted variance (RiskMetrics, λ = 0.94), as if normal or with the quantile of its past.
pub struct Ewma {
    name: &'static str,
    last: Last,
    variance: Option<f64>,
    history: Option<VecDeque<f64>>,
}

impl Ewma {
    pub fn new(name: &'static str, filtered: bool) -> Self {
        Self {
            name,
            last: Last::default(),
            variance: None,
            history: filtered.then(VecDeque::new),
        }
    }
}

impl Model for Ewma {
    fn name(&self) -> &str {
        self.name
    }
    fn see(&mut self, price: u64) {
        let Some(gone) = self.last.gone(price) else {
            return;
        };
        let variance = *self.variance.get_or_insert(gone * gone);
        if let (Some(history), true) = (&mut self.history, variance > 0.0) {
            history.push_back(gone.abs() / variance.sqrt());
            if history.len() > WINDOW {
                history.pop_front();
            }
        }
        self.variance = Some(0.94 * variance + 0.06 * gone * gone);
    }
    fn margin(&self) -> f64 {
        let quantile = self.history.as_ref().map_or(NORMAL, |history| {
            let mut sorted: Vec<f64> = history.iter().copied().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted[((sorted.len() - 1) as f64 * 0.99).ceil() as usize]
        });
        quantile * self.variance.unwrap_or(0.0).sqrt()
    }
}

/// The clearing house's predictor.
pub struct Integer {
    name: &'static str,
    params: PredictiveParams,
    predictor: Predictor,
    /// Whether the margin is what rise and fall allow instead of the prediction itself.
    limited: bool,
}

impl Integer {
    pub fn new(name: &'static str, shift: u8) -> Self {
        let params = PredictiveParams {
            sample_heights: 1,
            shift,
            window: WINDOW as u16,
            quantile_ppm: 990_000,
            horizon: 1,
            cap_ppm: 1_000_000,
            rise_ppm: 10_000,
            fall_ppm: 2_000,
        };
        assert_eq!(params.validate(), Ok(()));
        Self {
            name,
            params,
            predictor: Predictor::default(),
            limited: false,
        }
    }

    pub fn limited(name: &'static str) -> Self {
        Self {
            limited: true,
            ..Self::new(name, 4)
        }
    }
}

impl Model for Integer {
    fn name(&self) -> &str {
        self.name
    }
    fn see(&mut self, price: u64) {
        self.predictor.sample(&self.params, price);
        self.predictor.adjust(&self.params, 0);
    }
    fn margin(&self) -> f64 {
        let predicted = if self.limited {
            self.predictor.initial_ppm
        } else {
            self.predictor.predicted_ppm(&self.params).unwrap_or(0)
        };
        f64::from(predicted) / 1e6
    }
    fn is_ours(&self) -> bool {
        self.params.shift == 4 && !self.limited
    }
}
