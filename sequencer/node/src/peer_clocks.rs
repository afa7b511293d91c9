//! How far the clocks of the others are from this one, as far as their batches show it.
//!
//! A batch bears the time at which its owner sealed it (L1). It arrives later by the way it
//! took, and never earlier: the least difference of many is that of the clocks, and the
//! shortest way. A member may lie in its stamps; nothing but a metric comes of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use fairlane_mempool::LaneMessage;
use fairlane_replica::Message;
use fairlane_types::{MEMBERS_MAX, MemberId, Micros};

use crate::clock::wall;
use crate::failure::lock;

/// The least difference of clocks is looked for over so long a time, at least.
const WINDOW: Duration = Duration::from_secs(10);
/// And over so many batches: one alone may have been sent again, long after.
const BATCHES_MIN: u32 = 8;

/// One for each member.
pub(crate) struct PeerClocks(Vec<Mutex<Option<Window>>>);

struct Window {
    since: Instant,
    batches: u32,
    least_us: i64,
}

impl Default for PeerClocks {
    fn default() -> Self {
        Self((0..MEMBERS_MAX).map(|_| Mutex::default()).collect())
    }
}

impl PeerClocks {
    /// A message has come.
    pub(crate) fn heard(&self, from: MemberId, message: &Message) {
        if let Message::Lane(LaneMessage::Batch(batch)) = message
            && batch.lane == from
        {
            self.batch(from, batch.stamp, Micros(wall()), Instant::now());
        }
    }

    fn batch(&self, from: MemberId, stamp: Micros, now: Micros, at: Instant) {
        let Some(window) = self.0.get(from.index()) else {
            return;
        };
        // What does not fit is no time of anybody's.
        let Ok(behind_us) = i64::try_from(i128::from(now.0) - i128::from(stamp.0)) else {
            return;
        };
        let mut window = lock(window);
        let open = window.get_or_insert(Window {
            since: at,
            batches: 0,
            least_us: i64::MAX,
        });
        open.batches = open.batches.saturating_add(1);
        open.least_us = open.least_us.min(behind_us);
        if open.batches >= BATCHES_MIN && at.saturating_duration_since(open.since) >= WINDOW {
            metrics::gauge!("fairlane_peer_clock_behind_seconds", "peer" => from.to_string())
                .set(open.least_us as f64 / 1e6);
            *window = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::published::tests::value;

    const NOW: u64 = 1_790_000_000_000_000;

    #[test]
    fn the_least_difference_of_a_window_counts() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = |peer: u8| {
            let series = format!("fairlane_peer_clock_behind_seconds{{peer=\"{peer}\"}}");
            value(&recorder.handle().render(), &series)
        };
        let (clocks, start) = (PeerClocks::default(), Instant::now());
        // Seconds after the start, and by how many milliseconds the stamp is older.
        let hear = |peer: u8, seconds: u64, older_ms: i64| {
            let now = NOW + seconds * 1_000_000;
            let stamp = now.wrapping_add_signed(-older_ms * 1_000);
            let at = start + Duration::from_secs(seconds);
            metrics::with_local_recorder(&recorder, || {
                clocks.batch(MemberId(peer), Micros(stamp), Micros(now), at);
            });
        };
        for second in 0..11 {
            // One that came late, one of a clock that is behind, one of a clock that is ahead.
            hear(1, second, if second == 3 { 12 } else { 40 });
            hear(2, second, 1_500);
            hear(3, second, -700);
            // Few, and long ago.
            if second % 2 == 0 {
                hear(4, second, 9_000);
            }
        }
        assert_eq!(shown(1), Some(0.012));
        assert_eq!(shown(2), Some(1.5));
        assert_eq!(shown(3), Some(-0.7));
        assert_eq!(shown(4), None);
        // The next window begins afresh.
        for second in 11..22 {
            hear(1, second, 30);
        }
        assert_eq!(shown(1), Some(0.03));
        // No stamp is too strange.
        clocks.batch(MemberId(5), Micros(u64::MAX), Micros(0), start);
        clocks.batch(MemberId(250), Micros(0), Micros(NOW), start);
    }
}
