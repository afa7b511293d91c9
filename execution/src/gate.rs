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
}

impl Bucket {
    /// An empty one.
    #[must_use]
    pub const fn new(ppm: u32, drains_ms: u64) -> Self {
        Self {
            ppm,
            drains_ms,
            level: 0,
        }
    }

    fn most(&self, held: i128) -> i128 {
        held / PPM * i128::from(self.ppm) + held % PPM * i128::from(self.ppm) / PPM
    }

    fn drain(&mut self, held: i128, passed_ms: u64) {
        let passed = i128::from(passed_ms.min(self.drains_ms));
        // Rounded down: no more leaves than the rate allows.
        let gone = self.most(held).saturating_mul(passed) / i128::from(self.drains_ms.max(1));
        self.level = (self.level - gone).max(0);
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

    proptest! {
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
