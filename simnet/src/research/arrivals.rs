//! When orders are sent, and to which market.

use crate::engine::{SECOND, Stream};
use crate::net::{exp, ln};

/// How orders follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independent of each other.
    Poisson,
    /// Self-exciting (Hawkes, 1971) with an exponential kernel: an order sets off
    /// `branching` others on average, after `decay_ns` on average.
    Hawkes {
        /// Mean number of orders that an order sets off; below 1.
        branching: f64,
        /// Mean delay to them.
        decay_ns: u64,
    },
}

/// Most orders of a run.
pub const ORDERS_MAX: usize = 1_000_000;

impl Arrivals {
    /// Times within a span, in order, at `rate` a second on average.
    #[must_use]
    pub fn times(self, rng: &mut Stream, rate: f64, span_ns: u64) -> Vec<u64> {
        let mut times = Vec::new();
        if rate <= 0.0 {
            return times;
        }
        match self {
            Self::Constant => {
                let count = (rate * span_ns as f64 / SECOND as f64) as u64;
                let count = count.min(ORDERS_MAX as u64);
                times.extend((0..count).map(|i| (i as f64 * SECOND as f64 / rate) as u64));
            }
            Self::Poisson => poisson(rng, rate, span_ns, &mut times),
            Self::Hawkes {
                branching,
                decay_ns,
            } => {
                // As a branching process (Hawkes and Oakes, 1974): immigrants are Poisson,
                // and every order has Poisson(branching) children after exponential times.
                poisson(rng, rate * (1.0 - branching), span_ns, &mut times);
                let mut next = 0;
                while next < times.len() && times.len() < ORDERS_MAX {
                    for _ in 0..small_poisson(rng, branching) {
                        let at = times[next] + (exponential(rng) * decay_ns as f64) as u64;
                        if at < span_ns {
                            times.push(at);
                        }
                    }
                    next += 1;
                }
                times.sort_unstable();
            }
        }
        times
    }
}

fn poisson(rng: &mut Stream, rate: f64, span_ns: u64, times: &mut Vec<u64>) {
    let mean = SECOND as f64 / rate;
    let mut at = 0.0;
    while times.len() < ORDERS_MAX {
        at += exponential(rng) * mean;
        if at >= span_ns as f64 {
            break;
        }
        times.push(at as u64);
    }
}

/// Exponential with mean 1.
fn exponential(rng: &mut Stream) -> f64 {
    // 1 − u lies in (0, 1].
    ln(1.0 / (1.0 - rng.unit()))
}

/// Poisson with a mean below 1 (Knuth's product of uniforms).
fn small_poisson(rng: &mut Stream, mean: f64) -> u64 {
    let floor = exp(-mean);
    let mut product = rng.unit();
    let mut count = 0;
    while product > floor {
        product *= rng.unit();
        count += 1;
    }
    count
}

/// Zipf over markets: market k is drawn with a weight of (k+1)^−s.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// Cumulated weights; the last one is 1.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Over so many markets.
    #[must_use]
    pub fn new(markets: u64, s: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulated = Vec::new();
        for k in 1..=markets.max(1) {
            sum += exp(-s * ln(k as f64));
            cumulated.push(sum);
        }
        for weight in &mut cumulated {
            *weight /= sum;
        }
        Self { cumulated }
    }

    /// A market.
    pub fn draw(&self, rng: &mut Stream) -> u32 {
        let u = rng.unit();
        let at = self.cumulated.partition_point(|weight| *weight <= u);
        at.min(self.cumulated.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose};

    fn rng(seed: u64) -> Stream {
        Stream::new(seed, Owner::World, Purpose::Test)
    }

    /// Mean count, and variance over mean of the counts in windows of 100 ms.
    fn dispersion(arrivals: Arrivals) -> (f64, f64) {
        let (mut total, mut squares, mut windows) = (0.0, 0.0, 0.0);
        for seed in 0..20 {
            let times = arrivals.times(&mut rng(seed), 200.0, 10 * SECOND);
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            let mut counts = [0.0f64; 100];
            for at in times {
                counts[(at / (SECOND / 10)) as usize] += 1.0;
            }
            total += counts.iter().sum::<f64>();
            squares += counts.iter().map(|c| c * c).sum::<f64>();
            windows += 100.0;
        }
        let mean = total / windows;
        (mean, (squares / windows - mean * mean) / mean)
    }

    #[test]
    fn rates_are_kept_and_bursts_are_bursts() {
        let (mean, spread) = dispersion(Arrivals::Poisson);
        assert!((mean - 20.0).abs() < 0.5, "{mean}");
        assert!((spread - 1.0).abs() < 0.15, "{spread}");
        let hawkes = Arrivals::Hawkes {
            branching: 0.8,
            decay_ns: SECOND / 100,
        };
        let (mean, spread) = dispersion(hawkes);
        assert!((mean - 20.0).abs() < 2.0, "{mean}");
        // In long windows 1 / (1 − 0.8)² = 25; in windows of ten decays somewhat less.
        assert!(spread > 5.0, "{spread}");
        let (mean, spread) = dispersion(Arrivals::Constant);
        assert!(
            (mean - 20.0).abs() < 0.1 && spread < 0.05,
            "{mean} {spread}"
        );
    }

    #[test]
    fn zipf_has_its_shares() {
        let zipf = Zipf::new(4, 1.0);
        let mut counts = [0u32; 4];
        let mut rng = rng(7);
        for _ in 0..25_000 {
            counts[zipf.draw(&mut rng) as usize] += 1;
        }
        // 12 : 6 : 4 : 3 of 25.
        for (count, want) in counts.iter().zip([12_000, 6_000, 4_000, 3_000]) {
            assert!(count.abs_diff(want) < 400, "{counts:?}");
        }
        assert_eq!(Zipf::new(1, 2.0).draw(&mut rng), 0);
    }
}
