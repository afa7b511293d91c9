//! Back-pressure at the edge (A23): how many orders may be on their way at once.
//!
//! What a committee carries depends on its machines and its scheme and is measured, not
//! configured: by Little's law, orders that take [`WAIT`] to come out are [`WAIT`] times the
//! rate at which they do. Above that many, submissions are refused, and nothing that was
//! acknowledged waits much longer.
//!
//! The rate of the last [`SPAN`] says it while orders come in. After silence, what is
//! remembered does: the rate that was last seen *under load*, when at least half of what may
//! be on its way was, for a whole span. A rate without load says nothing about how much
//! more could be carried, and no rate at all (a committee without a quorum) says nothing
//! either. What is remembered falls by half a span at most: one slow second is no rule.

use std::collections::VecDeque;

use fairlane_types::{Micros, Scheme};

/// What an acknowledged order may have to wait under overload, about.
const WAIT: Micros = Micros(2_000_000);
/// The rate is measured over so long.
const SPAN: Micros = Micros(1_000_000);
/// So many orders may be on their way whatever the rate.
const HELD_MIN: usize = 32;
/// Orders in a span that suite 0x01 is taken to carry before anything was measured: much
/// below what two cores do.
const START_TDH2: usize = 512;
/// The same for suite 0x02, whose orders cost a hundred times as much.
const START_BAEK_ZHENG: usize = 16;
/// Nobody is told to come back sooner, ms: about two blocks.
const WAIT_MIN_MS: u64 = 50;
/// Nobody is told to stay away longer, ms: much may have changed by then.
const WAIT_MAX_MS: u64 = 30_000;
/// Blocks remembered within the span; the oldest give way, and less is let in.
const BLOCKS_MAX: usize = 1_024;

/// Measures what comes out, and says when no more may come in.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    /// Time and number of orders of recent blocks.
    recent: VecDeque<(Micros, usize)>,
    /// Orders in them.
    orders: usize,
    /// Orders in a span under load, as last seen.
    known: usize,
    /// Half of what may be on its way has been since then.
    loaded: Option<Micros>,
}

impl Capacity {
    /// Before anything was measured.
    pub fn new(scheme: Scheme) -> Self {
        Self {
            recent: VecDeque::new(),
            orders: 0,
            known: match scheme {
                Scheme::Tdh2 => START_TDH2,
                Scheme::BaekZheng => START_BAEK_ZHENG,
            },
            loaded: None,
        }
    }

    /// A block with so many orders is built; `held` are on their way.
    pub fn emitted(&mut self, now: Micros, orders: usize, held: usize) {
        self.forget(now);
        if orders > 0 {
            self.recent.push_back((now, orders));
            self.orders += orders;
        }
        if self.recent.len() > BLOCKS_MAX {
            self.pop();
        }
        self.learn(now, held);
    }

    /// How many orders may be on their way.
    pub fn held_max(&self) -> usize {
        let spans = (WAIT.0 / SPAN.0) as usize;
        HELD_MIN.max(self.orders.max(self.known).saturating_mul(spans))
    }

    /// How many more may be let in when so many are on their way, `own` of them sent to this
    /// member. Each of n members lets in its part in any case: one that fills its lane with
    /// orders of its own closes nobody else's edge (A23).
    pub fn room(&mut self, now: Micros, held: usize, own: usize, n: usize) -> usize {
        self.forget(now);
        let max = self.held_max();
        let part = max.div_ceil(n.max(1));
        max.saturating_sub(held).max(part.saturating_sub(own))
    }

    /// About how long it takes until so many have come out, in ms: the backlog over the rate
    /// that is carried. What a refused sender is told to wait.
    pub fn wait_ms(&self, held: usize) -> u64 {
        let carried = self.orders.max(self.known).max(1) as u64;
        let span_ms = SPAN.0 / 1_000;
        let wait = (held as u64).saturating_mul(span_ms).div_ceil(carried);
        wait.clamp(WAIT_MIN_MS, WAIT_MAX_MS)
    }

    fn learn(&mut self, now: Micros, held: usize) {
        self.known = self.known.max(self.orders);
        if held < self.held_max() / 2 {
            self.loaded = None;
            return;
        }
        let since = *self.loaded.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= SPAN.0 {
            self.loaded = Some(now);
            if self.orders > 0 {
                self.known = self.orders.max(self.known / 2);
            }
        }
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

    const MS: fn(u64) -> Micros = Micros::from_millis;

    /// A23: orders that another member put into its lane leave this edge its part.
    #[test]
    fn a_flooded_lane_closes_nobody_elses_edge() {
        let mut capacity = Capacity::new(Scheme::Tdh2);
        let (held, part) = (1_000_000, 2 * START_TDH2 / 4);
        assert_eq!(capacity.room(MS(1), held, part - 1, 4), 1);
        assert_eq!(capacity.room(MS(1), held, part, 4), 0);
        assert_eq!(capacity.room(MS(1), 10, 10, 4), 2 * START_TDH2 - 10);
    }

    #[test]
    fn what_is_let_in_follows_what_comes_out() {
        let mut capacity = Capacity::new(Scheme::Tdh2);
        let start = 2 * START_TDH2;
        let is_reached =
            |capacity: &mut Capacity, now, held| capacity.room(now, held, held, 4) == 0;
        assert!(!is_reached(&mut capacity, MS(1), start - 1));
        assert!(is_reached(&mut capacity, MS(1), start));
        // 4,000 orders within a second: two seconds' worth may be on their way.
        for block in 1..=40 {
            capacity.emitted(MS(block * 25), 100, 7_000);
        }
        assert_eq!(capacity.held_max(), 8_000);
        assert!(!is_reached(&mut capacity, MS(1_000), 7_999));
        assert!(is_reached(&mut capacity, MS(1_000), 8_000));
        // A silence teaches nothing, and so does a stall with orders on their way.
        capacity.emitted(MS(9_000), 0, 0);
        assert_eq!((capacity.held_max(), capacity.orders), (8_000, 0));
        for second in 10..20 {
            capacity.emitted(MS(second * 1_000), 0, 8_000);
        }
        assert_eq!(capacity.held_max(), 8_000);
    }

    /// THREATS A23: with a slow scheme the bound is a small one from the start, rises to
    /// what is carried, and falls to it.
    #[test]
    fn a_slow_scheme_lets_in_what_it_opens() {
        let mut capacity = Capacity::new(Scheme::BaekZheng);
        assert_eq!(capacity.held_max(), HELD_MIN);
        let mut at = 0;
        let mut run = |capacity: &mut Capacity, seconds: u64, per_s: u64, full: bool| {
            for _ in 0..seconds * per_s {
                at += 1_000 / per_s;
                let held = if full { capacity.held_max() } else { 3 };
                capacity.emitted(MS(at), 1, held);
            }
            capacity.held_max()
        };
        assert!((78..=82).contains(&run(&mut capacity, 4, 40, true)));
        // Half the machine is taken away: so is half of the bound, a span later.
        assert!((39..=43).contains(&run(&mut capacity, 5, 20, true)));
        // Little is offered: that is no measure.
        assert!((39..=43).contains(&run(&mut capacity, 5, 2, false)));
    }

    #[test]
    fn one_slow_span_halves_it_at_most() {
        let mut capacity = Capacity::new(Scheme::Tdh2);
        let full = 2 * START_TDH2;
        capacity.emitted(MS(1), 1, full);
        capacity.emitted(MS(1_001), 1, full);
        assert_eq!(capacity.held_max(), full / 2);
        capacity.emitted(MS(1_500), 1, full);
        assert_eq!(capacity.held_max(), full / 2);
        capacity.emitted(MS(2_001), 1, full);
        assert_eq!(capacity.held_max(), full / 4);
    }

    /// The hint is the backlog over what is carried, whatever the bound is.
    #[test]
    fn who_is_refused_is_told_how_long_the_rest_takes() {
        let mut capacity = Capacity::new(Scheme::Tdh2);
        for block in 1..=40 {
            capacity.emitted(MS(block * 25), 100, 7_000);
        }
        assert_eq!(capacity.wait_ms(8_000), 2_000);
        assert_eq!(capacity.wait_ms(3_000), 750);
        assert_eq!(capacity.wait_ms(0), WAIT_MIN_MS);
        assert_eq!(capacity.wait_ms(usize::MAX), WAIT_MAX_MS);
        // Half of it is carried from now on: what is held takes twice as long.
        for block in 1..=80 {
            capacity.emitted(MS(1_000 + block * 25), 50, 8_000);
        }
        assert!((3_900..=4_000).contains(&capacity.wait_ms(8_000)));
        // A slow scheme, of which the least bound is more than two seconds' worth.
        let slow = Capacity::new(Scheme::BaekZheng);
        assert_eq!(slow.wait_ms(HELD_MIN), 2_000);
        assert_eq!(slow.wait_ms(2 * HELD_MIN), 4_000);
    }

    #[test]
    fn memory_is_bounded() {
        let mut capacity = Capacity::new(Scheme::Tdh2);
        for _ in 0..3 * BLOCKS_MAX {
            capacity.emitted(Micros(5), 2, 0);
        }
        assert_eq!(capacity.recent.len(), BLOCKS_MAX);
        assert_eq!(capacity.orders, 2 * BLOCKS_MAX);
    }
}
