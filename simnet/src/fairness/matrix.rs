//! Where members and traders are: one-way delays between a few places.

use std::sync::OnceLock;

use crate::net;

/// A named set of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// Four data centres of one city. Assumed figures.
    Metro,
    /// us-east-1, us-west-2, eu-west-1, eu-central-1.
    EuUs,
    /// Those, and ap-northeast-1, ap-southeast-1, sa-east-1.
    Global,
}

/// Places of `eu-us` (the first four) and of `global`.
const REGIONS: [&str; 7] = [
    "us-east-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "sa-east-1",
];

/// One way between [`REGIONS`], both directions averaged, µs: the shipped matrix `aws-2026`.
fn aws() -> &'static [[u64; 7]; 7] {
    static AWS: OnceLock<[[u64; 7]; 7]> = OnceLock::new();
    AWS.get_or_init(|| {
        let shipped = net::Matrix::shipped("aws-2026").ok();
        let way = |from: usize, to: usize| {
            let shipped = shipped.as_ref()?;
            let (from, to) = (
                shipped.region(REGIONS[from]).ok()?,
                shipped.region(REGIONS[to]).ok()?,
            );
            let (there, back) = (shipped.one_way_ns(from, to)?, shipped.one_way_ns(to, from)?);
            Some((there.0 + back.0) / 2_000)
        };
        std::array::from_fn(|from| {
            std::array::from_fn(|to| way(from, to).expect("invariant: a test reads every pair"))
        })
    })
}

const METRO: [[u64; 4]; 4] = [
    [100, 300, 450, 600],
    [300, 100, 350, 500],
    [450, 350, 100, 400],
    [600, 500, 400, 100],
];

impl Matrix {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metro, Self::EuUs, Self::Global];

    /// `metro`, `eu-us` or `global`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|matrix| matrix.name() == name)
    }

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metro => "metro",
            Self::EuUs => "eu-us",
            Self::Global => "global",
        }
    }

    /// Number of places.
    #[must_use]
    pub const fn places(self) -> usize {
        match self {
            Self::Metro | Self::EuUs => 4,
            Self::Global => 7,
        }
    }

    /// One way between two places, µs.
    #[must_use]
    pub fn one_way_us(self, from: usize, to: usize) -> u64 {
        match self {
            Self::Metro => METRO[from][to],
            Self::EuUs | Self::Global => aws()[from][to],
        }
    }

    /// Spread of a delay, µs: the standard deviation of what is added to it. Assumed.
    #[must_use]
    pub const fn jitter_us(self, one_way_us: u64) -> u64 {
        match self {
            Self::Metro => 30 + one_way_us / 50,
            Self::EuUs | Self::Global => 150 + one_way_us / 100,
        }
    }

    /// A lane seals a batch so often, µs (L5).
    #[must_use]
    pub const fn batch_us(self) -> u64 {
        match self {
            Self::Metro => 5_000,
            Self::EuUs | Self::Global => 10_000,
        }
    }

    /// Two leaders are so far apart, µs: a block period of 2δ, and its minimum.
    #[must_use]
    pub const fn cut_us(self) -> u64 {
        match self {
            Self::Metro => 15_000,
            Self::EuUs => 80_000,
            Self::Global => 180_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_places_has_a_delay() {
        for matrix in Matrix::ALL {
            for from in 0..matrix.places() {
                for to in 0..matrix.places() {
                    let way = matrix.one_way_us(from, to);
                    assert_eq!(way, matrix.one_way_us(to, from));
                    assert!((100..200_000).contains(&way));
                }
            }
        }
        assert_eq!(Matrix::Global.one_way_us(0, 2), 34_839);
        assert_eq!(Matrix::Global.one_way_us(5, 6), 163_867);
    }
}
