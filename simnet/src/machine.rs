//! Machines: cores that threads share. A thread does one thing at a time, in the order in
//! which it came, and goes on while something waits, for a time slice at the most; threads
//! that have something to do get the next free core in turn.
//!
//! Members have a machine each, or all have one together, with the client that loads them
//! (a committee of processes on one computer).

use std::collections::{BTreeMap, VecDeque};

/// A thread that has more to do keeps its core for so long, in nanoseconds: the order of
/// the time slices of common kernels.
const SLICE_NS: u64 = 3_000_000;

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// Steps the replica.
    Core,
    /// Sends and receives.
    Network,
    /// Commits to disk.
    Writer,
    /// One of the pool.
    Pool(u8),
    /// A client; it has no member.
    Client,
}

impl Thread {
    /// Name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Network => "network",
            Self::Writer => "writer",
            Self::Client => "client",
            Self::Pool(_) => "pool",
        }
    }

    /// A number, for the trace.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Core => 0,
            Self::Network => 1,
            Self::Writer => 2,
            Self::Client => 3,
            Self::Pool(thread) => 4 + thread as u64,
        }
    }
}

/// A thread of a member.
pub type Slot = (usize, Thread);

/// Cores, and threads with work `W`.
#[derive(Debug)]
pub struct Machine<W> {
    cores: usize,
    running: usize,
    ready: VecDeque<Slot>,
    /// How long the threads that go on have had their core, in nanoseconds.
    spent: BTreeMap<Slot, u64>,
    waiting: BTreeMap<Slot, VecDeque<W>>,
}

impl<W> Machine<W> {
    /// An idle one.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            cores: cores.max(1),
            running: 0,
            ready: VecDeque::new(),
            spent: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Gives a thread something to do.
    pub fn push(&mut self, slot: Slot, work: W) {
        let queue = self.waiting.entry(slot).or_default();
        queue.push_back(work);
        if queue.len() == 1 {
            self.ready.push_back(slot);
        }
    }

    /// Whether a thread has nothing to do.
    #[must_use]
    pub fn is_idle(&self, slot: Slot) -> bool {
        self.waiting.get(&slot).is_none_or(VecDeque::is_empty)
    }

    /// The thread that begins on a free core, if there are both, and whether it had to be
    /// woken for it.
    pub fn begin(&mut self) -> Option<(Slot, bool)> {
        if self.running >= self.cores {
            return None;
        }
        let slot = self.ready.pop_front()?;
        self.running += 1;
        let woken = !self.spent.contains_key(&slot);
        Some((slot, woken))
    }

    /// What a thread does now, or next.
    #[must_use]
    pub fn at_hand(&self, slot: Slot) -> Option<&W> {
        self.waiting.get(&slot)?.front()
    }

    /// The same, to be changed.
    pub fn current(&mut self, slot: Slot) -> Option<&mut W> {
        self.waiting.get_mut(&slot)?.front_mut()
    }

    /// What a thread did for so long is done; it goes on with the next, or gets in line.
    pub fn finish(&mut self, slot: Slot, busy_ns: u64) -> Option<W> {
        self.running = self.running.saturating_sub(1);
        let spent = self
            .spent
            .remove(&slot)
            .unwrap_or(0)
            .saturating_add(busy_ns);
        let queue = self.waiting.get_mut(&slot)?;
        let done = queue.pop_front();
        if !queue.is_empty() && spent < SLICE_NS {
            self.spent.insert(slot, spent);
            self.ready.push_front(slot);
        } else if !queue.is_empty() {
            self.ready.push_back(slot);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(machine: &mut Machine<i32>) -> Option<(Slot, i32, bool)> {
        let (slot, woken) = machine.begin()?;
        let work = *machine.at_hand(slot)?;
        Some((slot, work, woken))
    }

    #[test]
    fn a_thread_does_one_thing_at_a_time_and_cores_are_shared_in_turn() {
        let mut machine = Machine::new(2);
        let (core, net, other) = ((0, Thread::Core), (0, Thread::Network), (1, Thread::Core));
        for (slot, work) in [(core, 1), (core, 2), (net, 3), (other, 4)] {
            machine.push(slot, work);
        }
        assert_eq!(begin(&mut machine), Some((core, 1, true)));
        assert_eq!(begin(&mut machine), Some((net, 3, true)));
        assert_eq!(begin(&mut machine), None);
        // Its slice is over: the other thread is first.
        assert_eq!(machine.finish(core, SLICE_NS), Some(1));
        assert_eq!(begin(&mut machine), Some((other, 4, true)));
        assert!(machine.is_idle((1, Thread::Writer)) && !machine.is_idle(core));
        assert_eq!(machine.finish(net, 1), Some(3));
        assert_eq!(begin(&mut machine), Some((core, 2, true)));
        assert_eq!(machine.finish(core, 1), Some(2));
        assert_eq!(machine.finish(other, 1), Some(4));
        assert!(machine.is_idle(core) && machine.is_idle(other));
    }

    #[test]
    fn a_thread_goes_on_while_its_slice_lasts() {
        let mut machine = Machine::new(1);
        let (core, net) = ((0, Thread::Core), (0, Thread::Network));
        for (slot, work) in [(core, 1), (core, 2), (net, 3)] {
            machine.push(slot, work);
        }
        assert_eq!(begin(&mut machine), Some((core, 1, true)));
        assert_eq!(machine.finish(core, SLICE_NS / 2), Some(1));
        assert_eq!(begin(&mut machine), Some((core, 2, false)));
        assert_eq!(machine.finish(core, SLICE_NS), Some(2));
        assert_eq!(begin(&mut machine), Some((net, 3, true)));
    }
}
