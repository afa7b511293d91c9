//! Timers of the replica: setting one again moves it, each fires once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fairlane_types::Micros;

/// Moved timers leave stale entries in the heap; it is rebuilt when they outnumber the
/// live ones by this factor.
const STALE_FACTOR_MAX: usize = 4;
/// A heap of this size is never rebuilt.
const HEAP_LEN_SMALL: usize = 64;

/// Timers by their time.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    set: BTreeMap<T, Micros>,
    heap: BinaryHeap<Reverse<(Micros, T)>>,
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Self {
            set: BTreeMap::new(),
            heap: BinaryHeap::new(),
        }
    }
}

impl<T: Ord + Clone> Timers<T> {
    /// Sets or moves a timer.
    pub fn set(&mut self, id: T, at: Micros) {
        if self.set.insert(id.clone(), at) != Some(at) {
            self.heap.push(Reverse((at, id)));
        }
        if self.heap.len() > HEAP_LEN_SMALL.max(self.set.len() * STALE_FACTOR_MAX) {
            self.heap = self
                .set
                .iter()
                .map(|(id, at)| Reverse((*at, id.clone())))
                .collect();
        }
    }

    /// When the next one fires.
    pub fn next_at(&mut self) -> Option<Micros> {
        while let Some(Reverse((at, id))) = self.heap.peek() {
            if self.set.get(id) == Some(at) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes one that is due, earliest first.
    pub fn pop_due(&mut self, now: Micros) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse((_, id)) = self.heap.pop()?;
        self.set.remove(&id);
        Some(id)
    }

    /// Timers that are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(timers: &mut Timers<u64>, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| timers.pop_due(Micros(now))).collect()
    }

    #[test]
    fn timers_fire_once_in_order_of_time_then_id() {
        let mut timers = Timers::default();
        for (id, at) in [(3, 20), (1, 10), (2, 10), (4, 30)] {
            timers.set(id, Micros(at));
        }
        assert_eq!(timers.next_at(), Some(Micros(10)));
        assert_eq!(due(&mut timers, 9), [0; 0]);
        assert_eq!(due(&mut timers, 20), [1, 2, 3]);
        assert_eq!(due(&mut timers, 20), [0; 0]);
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn setting_again_moves_both_ways() {
        let mut timers = Timers::default();
        timers.set(1, Micros(10));
        timers.set(1, Micros(50));
        assert_eq!(due(&mut timers, 40), [0; 0]);
        timers.set(1, Micros(20));
        assert_eq!(timers.next_at(), Some(Micros(20)));
        assert_eq!(due(&mut timers, 100), [1]);
        assert!(timers.is_empty());
        timers.set(1, Micros(20));
        assert_eq!(
            due(&mut timers, 100),
            [1],
            "may be set again after it fired"
        );
    }

    #[test]
    fn a_timer_moved_for_ever_takes_bounded_memory() {
        let mut timers = Timers::default();
        timers.set(0, Micros(u64::MAX));
        for at in 0..100_000 {
            timers.set(1, Micros(at));
        }
        assert!(timers.heap.len() <= HEAP_LEN_SMALL + 1);
        assert_eq!(due(&mut timers, 99_999), [1]);
    }
}
