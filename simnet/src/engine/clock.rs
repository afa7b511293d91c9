//! A member's clock: offset, drift and steps against virtual time, in microseconds since
//! the Unix epoch, never running backwards (the shell's duty at the replica's boundary).

use fairlane_types::Micros;

use super::{MICROSECOND, Nanos};

/// No clock drifts more than this, parts per million.
const DRIFT_PPM_MAX: i64 = 500_000;

/// `local = base + offset + (1 + drift) · t`, held where that would run backwards.
#[derive(Clone, Debug)]
pub struct Clock {
    base: Micros,
    offset_us: i64,
    drift_ppm: i64,
    /// Highest value ever read.
    floor: Micros,
}

impl Clock {
    /// A clock that shows `base + offset` at the start of the run.
    #[must_use]
    pub const fn new(base: Micros, offset_us: i64, drift_ppm: i64) -> Self {
        Self {
            base,
            offset_us,
            drift_ppm,
            floor: Micros(0),
        }
    }

    /// The clock's reading; monotonic.
    pub fn read(&mut self, now: Nanos) -> Micros {
        self.floor = self.floor.max(self.raw(now));
        self.floor
    }

    /// The earliest virtual time, from `now` on, at which [`read`](Self::read) can show
    /// `at`. A step may make that late: whoever waits reads the clock again.
    #[must_use]
    pub fn reach(&self, now: Nanos, at: Micros) -> Nanos {
        let missing = at.0.saturating_sub(self.raw(now).0);
        if missing == 0 || at <= self.floor {
            return now;
        }
        let rate = u128::from((1_000_000 + self.drift_ppm).unsigned_abs());
        let span = (u128::from(missing) * u128::from(MICROSECOND) * 1_000_000).div_ceil(rate);
        now.plus(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// Sets the clock forward or back, as a time daemon does.
    pub const fn step(&mut self, by_us: i64) {
        self.offset_us = self.offset_us.saturating_add(by_us);
    }

    /// Runs at another rate from `now` on, without a step.
    pub fn drift(&mut self, now: Nanos, ppm: i64) {
        let before = self.raw(now);
        self.drift_ppm = ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
        let after = self.raw(now);
        let by = i128::from(before.0) - i128::from(after.0);
        self.step(i64::try_from(by).unwrap_or(0));
    }

    /// The clock of the machine after a restart of the process: the floor is forgotten.
    pub const fn restart(&mut self) {
        self.floor = Micros(0);
    }

    /// Without the floor.
    fn raw(&self, now: Nanos) -> Micros {
        let elapsed = i128::from(now.0) * (1_000_000 + i128::from(self.drift_ppm))
            / (1_000_000 * i128::from(MICROSECOND));
        let value = i128::from(self.base.0) + i128::from(self.offset_us) + elapsed;
        Micros(u64::try_from(value).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MILLISECOND, SECOND};
    use super::*;

    #[test]
    fn a_step_back_holds_the_clock_still() {
        let mut clock = Clock::new(Micros(1_000_000), 0, 0);
        assert_eq!(clock.read(Nanos(SECOND)), Micros(2_000_000));
        clock.step(-500_000);
        assert_eq!(clock.read(Nanos(SECOND + MILLISECOND)), Micros(2_000_000));
        assert_eq!(clock.read(Nanos(2 * SECOND)), Micros(2_500_000));
        clock.restart();
        clock.step(-1_000_000);
        assert_eq!(clock.read(Nanos(2 * SECOND)), Micros(1_500_000));
    }

    #[test]
    fn drift_changes_the_rate_and_not_the_reading() {
        let mut clock = Clock::new(Micros(1_000_000), 0, 50);
        let before = clock.read(Nanos(10 * SECOND));
        clock.drift(Nanos(10 * SECOND), -20_000);
        assert_eq!(clock.read(Nanos(10 * SECOND)), before);
        assert_eq!(clock.read(Nanos(20 * SECOND)), before.plus(9_800_000));
    }

    #[test]
    fn reach_is_the_first_moment_that_shows_the_time() {
        for drift in [-200, -3, 0, 7, 200] {
            let clock = Clock::new(Micros(1 << 50), -12_345, drift);
            for (now, at) in [(0, 5), (17, 1_000_003), (SECOND, 3_600_000_000)] {
                let now = Nanos(now);
                let at = Micros((1 << 50) - 12_345 + at);
                let when = clock.reach(now, at);
                assert!(clock.clone().read(when) >= at || when == now);
                if when > now {
                    let before = Nanos(when.0 - MICROSECOND - 1);
                    assert!(clock.clone().read(before) < at);
                }
            }
        }
    }
}
