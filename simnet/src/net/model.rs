//! Latency, loss and bandwidth of one directed link.

use crate::engine::{MILLISECOND, Stream};

/// Bytes of payload in a packet.
const PACKET_BYTES: u64 = 1_200;

/// A log-normal distribution, given by two of its quantiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormal {
    median_ns: u64,
    /// σ of the underlying normal.
    sigma: f64,
}

impl LogNormal {
    /// From median and 90th percentile, in nanoseconds.
    #[must_use]
    pub fn from_quantiles(p50_ns: u64, p90_ns: u64) -> Self {
        // z(0.9) = 1.2816
        let ratio = p90_ns.max(p50_ns) as f64 / p50_ns.max(1) as f64;
        Self {
            median_ns: p50_ns,
            sigma: ln(ratio) / 1.281_551_565_544_6,
        }
    }

    /// A draw, in nanoseconds, at most 16 medians.
    pub fn sample(&self, rng: &mut Stream) -> u64 {
        let factor = exp(self.sigma * rng.normal()).min(16.0);
        (self.median_ns as f64 * factor) as u64
    }

    /// The same shape, so many times as long.
    #[must_use]
    pub const fn scaled(self, factor: u64) -> Self {
        Self {
            median_ns: self.median_ns.saturating_mul(factor),
            sigma: self.sigma,
        }
    }

    /// The median, in nanoseconds.
    #[must_use]
    pub const fn median(&self) -> u64 {
        self.median_ns
    }
}

/// One directed link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkModel {
    /// One-way delay of a packet.
    pub latency: LogNormal,
    /// Packets lost, per mille. A loss is repaired by the transport: it costs time.
    pub loss_per_mille: u64,
    /// Bytes per second that leave the sender on this link.
    pub bytes_per_s: u64,
}

impl LinkModel {
    /// A link with these quantiles, no loss and 1 Gbit/s.
    #[must_use]
    pub fn new(p50_ns: u64, p90_ns: u64) -> Self {
        Self {
            latency: LogNormal::from_quantiles(p50_ns, p90_ns),
            loss_per_mille: 0,
            bytes_per_s: 125_000_000,
        }
    }

    /// Time on the wire of a frame, in nanoseconds.
    #[must_use]
    pub fn serialize_ns(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000_000_000) / self.bytes_per_s.max(1)
    }

    /// Propagation of a frame: the latency, and for every round of losses the delay after
    /// which the transport sends again (RFC 9002: about 1.5 round trips, at least 1 ms,
    /// doubled each time).
    pub fn propagate_ns(&self, bytes: u64, latency: &mut Stream, loss: &mut Stream) -> u64 {
        let mut span = self.latency.sample(latency);
        if self.loss_per_mille == 0 {
            return span;
        }
        let mut packets = bytes.div_ceil(PACKET_BYTES).max(1);
        let mut timeout = (3 * self.latency.median()).max(MILLISECOND);
        for _ in 0..8 {
            let lost = (0..packets.min(64))
                .filter(|_| loss.chance(self.loss_per_mille))
                .count() as u64;
            if lost == 0 {
                break;
            }
            span += timeout;
            timeout *= 2;
            packets = lost;
        }
        span
    }
}

/// e^x by argument reduction and a Taylor series: only exact IEEE operations, so that a
/// seed gives the same run on every machine.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-40.0, 40.0);
    let halvings = 10;
    let y = x / f64::from(1 << halvings);
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..=8 {
        term *= y / f64::from(k);
        sum += term;
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

/// ln x for x ≥ 1, by Newton's method on [`exp`].
pub(crate) fn ln(x: f64) -> f64 {
    let mut y = 0.0;
    for _ in 0..60 {
        y += 2.0 * (x - exp(y)) / (x + exp(y));
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose};

    #[test]
    fn exp_and_ln_are_what_they_should_be() {
        for i in -80..80 {
            let x = f64::from(i) / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-9, "{x}");
        }
        for i in 1..100 {
            let x = f64::from(i);
            assert!((ln(x) - x.ln()).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn samples_have_the_quantiles_asked_for() {
        let latency = LogNormal::from_quantiles(10_000_000, 14_000_000);
        let mut rng = Stream::new(5, Owner::Link(0, 1), Purpose::Latency);
        let mut draws: Vec<_> = (0..20_000).map(|_| latency.sample(&mut rng)).collect();
        draws.sort_unstable();
        assert!((draws[10_000] as f64 / 1e7 - 1.0).abs() < 0.02);
        assert!((draws[18_000] as f64 / 1.4e7 - 1.0).abs() < 0.02);
    }

    #[test]
    fn loss_costs_time_and_nothing_else() {
        let mut link = LinkModel::new(5_000_000, 5_000_000);
        let mut a = Stream::new(6, Owner::Link(0, 1), Purpose::Latency);
        let mut b = Stream::new(6, Owner::Link(0, 1), Purpose::Loss);
        assert_eq!(link.propagate_ns(100, &mut a, &mut b), 5_000_000);
        link.loss_per_mille = 300;
        let late = (0..1_000)
            .filter(|_| link.propagate_ns(100, &mut a, &mut b) > 5_000_000)
            .count();
        assert!((200..400).contains(&late), "{late}");
        assert_eq!(link.serialize_ns(125_000), 1_000_000);
    }
}
