//! The event queue: a calendar queue (Brown, CACM 1988) with buckets of fixed width, a
//! bitmap to find the next busy one, and a tree for what lies beyond the calendar's year.
//!
//! Pops are in order of the whole [`Key`], so the order of a run never depends on how the
//! queue is built inside.

use std::collections::BTreeMap;

use super::Nanos;

/// Buckets in the calendar; a power of two.
const BUCKETS: usize = 4_096;
const WORDS: usize = BUCKETS / 64;

/// Total order of events: when, then rank among simultaneous ones, then order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// When.
    pub time: Nanos,
    /// Rank among events of the same instant, given by the caller.
    pub tie: u32,
    /// Number of the push; unique.
    pub seq: u64,
}

/// A priority queue of events by [`Key`].
#[derive(Debug)]
pub struct Queue<E> {
    width_bits: u32,
    /// Number of the bucket that is being emptied.
    at: u64,
    /// Events of bucket `at` and earlier, latest first.
    current: Vec<(Key, E)>,
    /// Events of buckets `at + 1 .. at + BUCKETS`, unsorted.
    buckets: Vec<Vec<(Key, E)>>,
    busy: [u64; WORDS],
    /// Events of later buckets.
    beyond: BTreeMap<Key, E>,
    seq: u64,
    len: usize,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        // 65 µs a bucket: 268 ms of calendar, the reach of nearly every timer and link.
        Self::with_width(16)
    }
}

impl<E> Queue<E> {
    /// A queue whose buckets are `2^width_bits` nanoseconds wide.
    #[must_use]
    pub fn with_width(width_bits: u32) -> Self {
        Self {
            width_bits: width_bits.min(40),
            at: 0,
            current: Vec::new(),
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            busy: [0; WORDS],
            beyond: BTreeMap::new(),
            seq: 0,
            len: 0,
        }
    }

    /// Number of events waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an event. One in the past is served next; the caller keeps its own `now`.
    pub fn push(&mut self, time: Nanos, tie: u32, event: E) {
        let key = Key {
            time,
            tie,
            seq: self.seq,
        };
        self.seq += 1;
        self.len += 1;
        self.place(key, event);
    }

    /// Takes the first event.
    pub fn pop(&mut self) -> Option<(Key, E)> {
        if self.current.is_empty() {
            self.advance();
        }
        let first = self.current.pop()?;
        self.len -= 1;
        Some(first)
    }

    /// Key of the first event.
    pub fn peek(&mut self) -> Option<Key> {
        if self.current.is_empty() {
            self.advance();
        }
        self.current.last().map(|(key, _)| *key)
    }

    fn place(&mut self, key: Key, event: E) {
        let bucket = key.time.0 >> self.width_bits;
        if bucket <= self.at {
            let index = self.current.partition_point(|(other, _)| *other > key);
            self.current.insert(index, (key, event));
        } else if bucket - self.at < BUCKETS as u64 {
            let slot = (bucket % BUCKETS as u64) as usize;
            self.buckets[slot].push((key, event));
            self.busy[slot / 64] |= 1 << (slot % 64);
        } else {
            self.beyond.insert(key, event);
        }
    }

    /// Moves to the next busy bucket and sorts it.
    fn advance(&mut self) {
        if let Some(slot) = self.next_busy() {
            let from = (self.at % BUCKETS as u64) as usize;
            self.at += ((slot + BUCKETS - from) % BUCKETS) as u64;
            self.busy[slot / 64] &= !(1 << (slot % 64));
            // Swapping keeps both allocations in use.
            std::mem::swap(&mut self.current, &mut self.buckets[slot]);
            self.current
                .sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        } else if let Some((key, _)) = self.beyond.first_key_value() {
            self.at = key.time.0 >> self.width_bits;
        } else {
            return;
        }
        // What the calendar now reaches comes in from beyond.
        let end = (self.at + BUCKETS as u64) << self.width_bits;
        while let Some(entry) = self.beyond.first_entry() {
            if entry.key().time.0 >= end {
                break;
            }
            let (key, event) = entry.remove_entry();
            self.place(key, event);
        }
    }

    /// The busy slot that follows the current one, around the calendar.
    fn next_busy(&self) -> Option<usize> {
        let start = ((self.at + 1) % BUCKETS as u64) as usize;
        let (word, bit) = (start / 64, start % 64);
        let first = self.busy[word] & (!0 << bit);
        if first != 0 {
            return Some(word * 64 + first.trailing_zeros() as usize);
        }
        (1..=WORDS).find_map(|step| {
            let index = (word + step) % WORDS;
            let bits = self.busy[index];
            (bits != 0).then(|| index * 64 + bits.trailing_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Owner, Purpose, Stream};
    use super::*;

    /// The queue against a tree, through every mixture of near, far, past and equal times.
    #[test]
    fn pops_in_the_order_of_keys() {
        for seed in 0..200 {
            let mut rng = Stream::new(seed, Owner::World, Purpose::Test);
            let mut queue = Queue::with_width(rng.below(30) as u32);
            let mut tree = BTreeMap::new();
            let (mut now, mut seq) = (0, 0);
            for _ in 0..2_000 {
                if rng.below(5) < 3 {
                    let reach = 1u64 << rng.below(36);
                    let time = Nanos(now + rng.below(reach));
                    let tie = rng.below(3) as u32;
                    queue.push(time, tie, seq);
                    tree.insert(Key { time, tie, seq }, seq);
                    seq += 1;
                } else {
                    let want = tree.pop_first();
                    assert_eq!(queue.peek(), want.map(|(key, _)| key));
                    assert_eq!(queue.pop(), want);
                    now = want.map_or(now, |(key, _)| key.time.0);
                }
                assert_eq!(queue.len(), tree.len());
            }
            while let Some(want) = tree.pop_first() {
                assert_eq!(queue.pop(), Some(want));
            }
            assert!(queue.is_empty() && queue.pop().is_none());
        }
    }

    #[test]
    fn an_event_of_the_past_is_next() {
        let mut queue = Queue::default();
        queue.push(Nanos(10 << 16), 0, 'b');
        assert_eq!(queue.peek().unwrap().time, Nanos(10 << 16));
        queue.push(Nanos(5), 0, 'a');
        assert_eq!(queue.pop().unwrap().1, 'a');
        assert_eq!(queue.pop().unwrap().1, 'b');
    }
}
