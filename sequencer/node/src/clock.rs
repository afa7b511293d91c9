//! Wall time that never runs backwards: stamps of lanes must not (ORDERING), and a
//! replica's timers must fire while the system's clock is being set back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairlane_types::Micros;

/// Microseconds since the epoch, strictly increasing.
///
/// A step forward of the system's clock is followed at once. After a step back the clock
/// runs on at half speed until the system's has caught up, so that spans stay usable.
#[derive(Debug)]
pub struct Clock {
    now: u64,
    read_at: Instant,
    behind: bool,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: wall(),
            read_at: Instant::now(),
            behind: false,
        }
    }
}

impl Clock {
    /// The time now; later than at the last call.
    pub fn now(&mut self) -> Micros {
        let instant = Instant::now();
        let elapsed = instant.saturating_duration_since(self.read_at);
        self.read_at = instant;
        self.advance(wall(), elapsed)
    }

    fn advance(&mut self, wall: u64, elapsed: Duration) -> Micros {
        if wall > self.now {
            self.now = wall;
            self.behind = false;
        } else {
            let half = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX) / 2;
            self.now = self.now.saturating_add(half.max(1));
            // Two reads within a microsecond are no step back.
            let set_back = self.now.saturating_sub(wall) > STEP_BACK_US;
            if set_back && !self.behind {
                metrics::counter!("fairlane_clock_set_back_total").increment(1);
                tracing::warn!(
                    by_ms = (self.now - wall) / 1_000,
                    "the system clock went backwards; check its time source"
                );
            }
            self.behind = set_back;
        }
        Micros(self.now)
    }
}

/// A difference that is worth a warning.
const STEP_BACK_US: u64 = 1_000;

/// Time from here until `at`, zero if it has passed.
#[must_use]
pub const fn span(now: Micros, at: Micros) -> Duration {
    Duration::from_micros(at.0.saturating_sub(now.0))
}

/// The system's time, microseconds.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_follows_the_wall_forward_and_slows_down_after_a_step_back() {
        let mut clock = Clock {
            now: 1_000_000,
            read_at: Instant::now(),
            behind: false,
        };
        let ms = Duration::from_millis;
        assert_eq!(clock.advance(1_500_000, ms(1)), Micros(1_500_000));
        // Set back by 400 ms: half speed until the wall has caught up.
        assert_eq!(clock.advance(1_100_000, ms(100)), Micros(1_550_000));
        assert!(clock.behind);
        assert_eq!(clock.advance(1_200_000, ms(100)), Micros(1_600_000));
        assert_eq!(clock.advance(1_601_000, ms(401)), Micros(1_601_000));
        assert!(!clock.behind);
    }

    #[test]
    fn it_never_stands_still() {
        let mut clock = Clock::default();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now > last);
            last = now;
        }
    }
}
