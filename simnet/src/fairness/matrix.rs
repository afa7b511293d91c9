//! Where members and traders are: one-way delays between a few places.

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

/// Half of the median round trip, both directions averaged, µs. Source: cloudping.co, as
/// embedded in the crate commonware-estimator 2026.10.0 (src/p50.json).
const AWS: [[u64; 7]; 7] = [
    [2_753, 32_112, 34_839, 46_452, 74_805, 109_660, 57_672],
    [32_112, 1_585, 59_210, 71_303, 49_200, 80_282, 87_467],
    [34_839, 59_210, 1_589, 13_611, 101_187, 89_402, 89_198],
    [46_452, 71_303, 13_611, 2_021, 113_642, 80_404, 102_257],
    [74_805, 49_200, 101_187, 113_642, 1_375, 35_383, 129_315],
    [109_660, 80_282, 89_402, 80_404, 35_383, 1_865, 163_867],
    [57_672, 87_467, 89_198, 102_257, 129_315, 163_867, 1_659],
];

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
    pub const fn one_way_us(self, from: usize, to: usize) -> u64 {
        match self {
            Self::Metro => METRO[from][to],
            Self::EuUs | Self::Global => AWS[from][to],
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
