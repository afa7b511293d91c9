//! Back-pressure at the edge (A23): how many orders may be on their way at once.
//!
//! What a committee carries depends on its machines and is measured, not configured: by
//! Little's law, orders that take [`WAIT`] to come out are [`WAIT`] times the rate at which
//! they do. Above that many, submissions are refused, and nothing that was acknowledged
//! waits much longer. The rate is taken over the last [`SPAN`], so that a burst after
//! silence is let in by steps.

use std::collections::VecDeque;

use fairlane_types::Micros;

/// What an acknowledged order may have to wait under overload, about.
const WAIT: Micros = Micros(2_000_000);
/// The rate is measured over so long.
const SPAN: Micros = Micros(1_000_000);
/// So many orders may be on their way whatever the rate.
const HELD_MIN: usize = 1_024;
/// Blocks remembered within the span; the oldest give way, and less is let in.
const BLOCKS_MAX: usize = 1_024;

/// Measures what comes out, and says when no more may come in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capacity {
    /// Time and number of orders of recent blocks.
    recent: VecDeque<(Micros, usize)>,
    /// Orders in them.
    orders: usize,
}

impl Capacity {
    /// A block with so many orders is built.
    pub fn emitted(&mut self, now: Micros, orders: usize) {
        self.forget(now);
        if orders > 0 {
            self.recent.push_back((now, orders));
            self.orders += orders;
        }
        if self.recent.len() > BLOCKS_MAX {
            self.pop();
        }
    }

    /// How many orders may be on their way, by the rate last measured.
    pub fn held_max(&self) -> usize {
        let spans = (WAIT.0 / SPAN.0) as usize;
        HELD_MIN.max(self.orders.saturating_mul(spans))
    }

    /// Whether so many on their way are too many to let another one in.
    pub fn is_reached(&mut self, now: Micros, held: usize) -> bool {
        self.forget(now);
        held >= self.held_max()
    }

    fn forget(&mut self, now: Micros) {
        let since = now.minus(SPAN.0);
        while self.recent.front().is_some_and(|(at, _)| *at < since) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, orders)) = self.recent.pop_front() {
            self.orders -= orders;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_in_follows_what_comes_out() {
        let mut capacity = Capacity::default();
        let ms = Micros::from_millis;
        assert!(!capacity.is_reached(ms(1), HELD_MIN - 1));
        assert!(capacity.is_reached(ms(1), HELD_MIN));
        // 4,000 orders within a second: two seconds' worth may be on their way.
        for block in 1..=40 {
            capacity.emitted(ms(block * 25), 100);
        }
        assert_eq!(capacity.held_max(), 8_000);
        assert!(!capacity.is_reached(ms(1_000), 7_999));
        assert!(capacity.is_reached(ms(1_000), 8_000));
        // When half of it is longer ago, half remains; after a silence the least.
        assert!(capacity.is_reached(ms(1_500), 4_200));
        assert!(!capacity.is_reached(ms(1_500), 4_000));
        capacity.emitted(ms(9_000), 0);
        assert_eq!(capacity.held_max(), HELD_MIN);
        assert_eq!(capacity.orders, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut capacity = Capacity::default();
        for _ in 0..3 * BLOCKS_MAX {
            capacity.emitted(Micros(5), 2);
        }
        assert_eq!(capacity.recent.len(), BLOCKS_MAX);
        assert_eq!(capacity.orders, 2 * BLOCKS_MAX);
    }
}
