//! Counter-based random streams. What a stream gives depends on its key and on how often
//! it was asked, never on other streams: taking one fault out of a plan, or one member
//! out of a run, leaves the draws of all the others as they were.

/// Whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The run as a whole.
    World,
    /// A member.
    Node(usize),
    /// A directed link.
    Link(usize, usize),
    /// A trader.
    Trader(usize),
}

/// What the draws are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Purpose {
    /// Latency of a link.
    Latency = 1,
    /// Losses on a link.
    Loss,
    /// Offset and drift of a clock.
    Clock,
    /// Sync latency of a disk.
    Disk,
    /// What a crash leaves of the unsynced writes.
    Crash,
    /// Entropy of jobs.
    Entropy,
    /// Identity and encryption keys.
    Keys,
    /// Orders, their times and their fan-out.
    Orders,
    /// Delays between traders and members.
    Access,
    /// The fault plan.
    Plan,
    /// Choices of a misbehaving member.
    Byzantine,
    /// Options of a scenario.
    Options,
    /// What ideal tags hang on.
    Tags,
    /// The order rule of a scenario.
    Rule,
    /// Trades of the market experiment.
    Market,
    /// The search for the worst behaviour of lanes.
    Search,
    /// Tests of the engine itself.
    Test,
}

/// A random stream (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
    gamma: u64,
}

impl Stream {
    /// The stream of an owner for a purpose.
    #[must_use]
    pub fn new(seed: u64, owner: Owner, purpose: Purpose) -> Self {
        let (kind, a, b) = match owner {
            Owner::World => (1, 0, 0),
            Owner::Node(a) => (2, a, 0),
            Owner::Link(a, b) => (3, a, b),
            Owner::Trader(a) => (4, a, 0),
        };
        let mut state = mix(seed ^ 0x6a09_e667_f3bc_c908);
        for part in [kind, a as u64, b as u64, purpose as u64] {
            state = mix(state.rotate_left(23) ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
        }
        Self {
            state,
            gamma: mix(state ^ 0xbb67_ae85_84ca_a73b) | 1,
        }
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(self.gamma);
        mix(self.state)
    }

    /// Uniform in `0..end`; 0 if `end` is 0. The bias is below `end / 2^64`.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.bits() as u128 * end as u128) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True with probability `per_mille / 1000`.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, as the sum of twelve uniforms less six. Adding and multiplying
    /// are exact IEEE operations, so every machine draws the same; the tails end at ±6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// An element; `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }

    /// 32 random bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes());
        }
        bytes
    }
}

impl rand_core::TryRng for Stream {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.bits() >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.bits())
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Not secret at all; the simulator is the one place where entropy must repeat.
impl rand_core::TryCryptoRng for Stream {}

const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_apart_and_repeat() {
        let draw = |seed, owner, purpose| {
            let mut stream = Stream::new(seed, owner, purpose);
            [stream.bits(), stream.bits(), stream.bits()]
        };
        let mut all = std::collections::BTreeSet::new();
        for seed in 0..20 {
            for owner in [
                Owner::World,
                Owner::Node(1),
                Owner::Node(2),
                Owner::Link(1, 2),
                Owner::Link(2, 1),
                Owner::Trader(1),
            ] {
                for purpose in [Purpose::Latency, Purpose::Loss] {
                    let values = draw(seed, owner, purpose);
                    assert_eq!(values, draw(seed, owner, purpose));
                    all.extend(values);
                }
            }
        }
        assert_eq!(all.len(), 20 * 6 * 2 * 3);
    }

    #[test]
    fn draws_are_about_uniform_and_normal() {
        let mut rng = Stream::new(1, Owner::World, Purpose::Test);
        let mut counts = [0u32; 10];
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..20_000 {
            counts[rng.below(10) as usize] += 1;
            let x = rng.normal();
            sum += x;
            squares += x * x;
        }
        assert!(
            counts.iter().all(|c| (1_800..2_200).contains(c)),
            "{counts:?}"
        );
        assert!((sum / 20_000.0).abs() < 0.03);
        assert!((squares / 20_000.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn shuffle_keeps_every_element() {
        let mut rng = Stream::new(2, Owner::World, Purpose::Test);
        let mut items: Vec<_> = (0..50).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
        assert_eq!(rng.pick::<u8>(&[]), None);
        assert_eq!(rng.below(0), 0);
    }
}
