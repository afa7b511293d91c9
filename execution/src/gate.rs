//! What may leave the clearing house, and when: a gate that closes for some heights after
//! an outage or an account below zero, and a leaky bucket for the hour and the day
//! (EXECUTION §5; the buckets as in dYdX v4).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::Reject;
use crate::event::Event;
use crate::house::House;
use crate::units::PPM;

/// An hour, in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;
/// A day, in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// Heights that the gate stays closed.
pub const GATE_HEIGHTS: u64 = 50;
/// Time between two blocks that counts as an outage, in milliseconds.
pub const OUTAGE_MS: u64 = 300_000;

/// Withdrawals of the last time, draining evenly. Rates are of what the clearing house
/// holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bucket {
    /// Most at once, ppm of what is held; all of that, there is no limit.
    pub ppm: u32,
    /// Time in which a full bucket drains, in milliseconds.
    pub drains_ms: u64,
    /// What is in it, in quote quanta.
    pub level: i128,
    /// What drained beyond whole quanta, in quanta × milliseconds of [`Self::drains_ms`].
    pub rest: i128,
}

impl Bucket {
    /// An empty one.
    #[must_use]
    pub const fn new(ppm: u32, drains_ms: u64) -> Self {
        Self {
            ppm,
            drains_ms,
            level: 0,
            rest: 0,
        }
    }

    fn most(&self, held: i128) -> i128 {
        held / PPM * i128::from(self.ppm) + held % PPM * i128::from(self.ppm) / PPM
    }

    fn drain(&mut self, held: i128, passed_ms: u64) {
        let passed = i128::from(passed_ms.min(self.drains_ms));
        // Rounded down: no more leaves than the rate allows. What is left over counts the next
        // time, so that little drains as well, however short the blocks are.
        let drained = self.most(held).saturating_mul(passed) + self.rest;
        let whole = i128::from(self.drains_ms.max(1));
        self.level = (self.level - drained / whole).max(0);
        // Nothing is saved up while there is nothing to drain.
        self.rest = if self.level > 0 { drained % whole } else { 0 };
    }

    /// Whether a snapshot's one is in its bounds, but for its level.
    pub(crate) fn is_sane(&self, drains_ms: u64) -> bool {
        self.drains_ms == drains_ms
            && i128::from(self.ppm) <= PPM
            && (0..i128::from(drains_ms)).contains(&self.rest)
    }

    fn fits(&self, held: i128, amount: i128) -> bool {
        i128::from(self.ppm) >= PPM || self.level + amount <= self.most(held)
    }
}

impl House {
    fn held_quote(&self) -> i128 {
        (self.core.deposited - self.core.withdrawn).max(0)
    }

    /// Takes note of a block's time. Time never goes back: an older one counts as none.
    pub(crate) fn clock(&mut self, time_ms: u64, height: u64, events: &mut Vec<Event>) {
        let before = self.core.time_ms;
        let passed = time_ms.saturating_sub(before);
        self.core.time_ms = before.max(time_ms);
        let held = self.held_quote();
        for bucket in &mut self.core.limits {
            bucket.drain(held, passed);
        }
        if before > 0 && passed > OUTAGE_MS {
            self.gate(height, events);
        }
    }

    /// Closes the gate.
    pub(crate) fn gate(&mut self, height: u64, events: &mut Vec<Event>) {
        self.core.gated_until = height.saturating_add(GATE_HEIGHTS);
        events.push(Event::Gated {
            until: self.core.gated_until,
        });
    }

    /// Lets free collateral leave.
    pub(crate) fn withdraw(
        &mut self,
        account: u32,
        amount: u64,
        height: u64,
    ) -> Result<(), Reject> {
        let (held, out) = (self.held_quote(), i128::from(amount));
        let limits = self.core.limits.iter();
        if height <= self.core.gated_until && self.core.gated_until > 0
            || !limits.clone().all(|bucket| bucket.fits(held, out))
        {
            return Err(Reject::Gated);
        }
        self.debit(account, amount)?;
        self.core.withdrawn += out;
        for bucket in &mut self.core.limits {
            bucket.level += out;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_less_than_a_quantum_a_block_drains_all_the_same() {
        // A tenth of 100 an hour: a quantum in six minutes, in blocks of a tenth of a second.
        let mut bucket = Bucket::new(100_000, HOUR_MS);
        bucket.level = 10;
        for block in 1..=HOUR_MS / 100 {
            bucket.drain(100, 100);
            assert_eq!(bucket.level, 10 - i128::from(block * 10 / (HOUR_MS / 100)));
        }
        assert_eq!((bucket.level, bucket.rest), (0, 0));
        // Nothing is saved up.
        bucket.drain(100, HOUR_MS / 10 - 1);
        bucket.level = 1;
        bucket.drain(100, 1);
        assert_eq!(bucket.level, 1);
    }

    proptest! {
        // However a time is cut into blocks, as much drains in all of it.
        #[test]
        fn blocks_drain_what_their_time_does(
            ppm in 1..1_000_000u32,
            held in 1i128..1 << 40,
            blocks in proptest::collection::vec(0..HOUR_MS / 50, 1..50),
        ) {
            let mut one = Bucket { level: 1 << 60, ..Bucket::new(ppm, HOUR_MS) };
            let mut other = one;
            blocks.iter().for_each(|passed| one.drain(held, *passed));
            other.drain(held, blocks.iter().sum());
            prop_assert_eq!(one, other);
        }

        // Whatever the times and amounts, no window of one drain time lets more than twice
        // the bucket out: what was in it, and what drained meanwhile.
        #[test]
        fn a_window_lets_at_most_twice_the_bucket_out(
            ppm in 1..1_000_000u32,
            held in 1i128..1 << 80,
            draws in proptest::collection::vec((0..HOUR_MS / 4, any::<u64>()), 1..200),
        ) {
            let mut bucket = Bucket::new(ppm, HOUR_MS);
            let mut now = 0;
            let mut taken: Vec<(u64, i128)> = Vec::new();
            for (passed, amount) in draws {
                now += passed;
                bucket.drain(held, passed);
                let amount = i128::from(amount).min(bucket.most(held) * 2);
                if bucket.fits(held, amount) {
                    bucket.level += amount;
                    taken.push((now, amount));
                }
                let window = taken.iter().filter(|(at, _)| at + HOUR_MS > now);
                let out: i128 = window.map(|(_, amount)| amount).sum();
                prop_assert!(out <= 2 * bucket.most(held));
                prop_assert!(bucket.level <= bucket.most(held));
            }
        }
    }
}
