//! Frames that wait for a peer, bounded in bytes and number for each class.
//!
//! What may be asked for again (lanes, sync) loses its oldest frames when the peer is too
//! slow; votes and shares must not be lost on a link that stays up, so their overflow
//! closes the link, and the peer is brought up to date when it comes back.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fairlane_replica::Class;
use fairlane_types::MemberId;
use tokio::sync::Notify;

use super::frame::length_prefix;
use crate::failure::lock;

/// Frames written together.
const WRITE_FRAMES_MAX: usize = 64;
/// Bytes written together; one frame may go over it.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// Bytes of a class that wait for one peer at most.
#[must_use]
pub const fn outgoing_bytes_max(class: Class) -> usize {
    match class {
        Class::Consensus => 16 << 20,
        Class::Shares | Class::Lanes => 32 << 20,
        Class::Sync => 64 << 20,
    }
}

/// Frames of a class that wait for one peer at most.
#[must_use]
pub const fn outgoing_frames_max(class: Class) -> usize {
    match class {
        Class::Consensus => 16_384,
        Class::Shares | Class::Lanes => 8_192,
        Class::Sync => 1_024,
    }
}

/// Whether the oldest frames make room for new ones.
const fn drops_oldest(class: Class) -> bool {
    matches!(class, Class::Lanes | Class::Sync)
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Queued,
    /// It waits, and so many older ones do not any more.
    Dropped(usize),
    /// There is no link.
    Down,
    /// There is no room, and nothing may be dropped.
    Overflow,
}

#[derive(Default)]
struct Frames {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

struct ClassQueue {
    class: Class,
    frames: Mutex<Frames>,
    filled: Notify,
    dropped: metrics::Counter,
}

/// Everything that waits for one peer.
pub(super) struct Outgoing {
    queues: [ClassQueue; Class::ALL.len()],
    up: AtomicBool,
    down_dropped: metrics::Counter,
}

impl Outgoing {
    pub(super) fn new(peer: MemberId) -> Self {
        let peer = peer.to_string();
        Self {
            queues: Class::ALL.map(|class| ClassQueue {
                class,
                frames: Mutex::default(),
                filled: Notify::new(),
                dropped: metrics::counter!(
                    "fairlane_net_dropped_total", "peer" => peer.clone(), "class" => class.name()
                ),
            }),
            up: AtomicBool::new(false),
            down_dropped: metrics::counter!(
                "fairlane_net_dropped_total", "peer" => peer.clone(), "class" => "no_link"
            ),
        }
    }

    /// Empties the queues and takes frames from now on: what was meant for an earlier link
    /// is said again by the core.
    pub(super) fn open(&self) {
        for queue in &self.queues {
            *lock(&queue.frames) = Frames::default();
        }
        self.up.store(true, Ordering::SeqCst);
    }

    /// Takes no frames until the next link.
    pub(super) fn close(&self) {
        self.up.store(false, Ordering::SeqCst);
        for queue in &self.queues {
            *lock(&queue.frames) = Frames::default();
        }
    }

    pub(super) fn push(&self, class: Class, frame: Bytes) -> Pushed {
        if !self.up.load(Ordering::SeqCst) {
            self.down_dropped.increment(1);
            return Pushed::Down;
        }
        self.queues[usize::from(class.code())].push(frame)
    }

    /// Waits for frames of a class; each comes after its length.
    pub(super) async fn pop(&self, class: Class, out: &mut Vec<Bytes>) {
        let queue = &self.queues[usize::from(class.code())];
        loop {
            let filled = queue.filled.notified();
            if queue.pop(out) {
                return;
            }
            filled.await;
        }
    }
}

impl ClassQueue {
    fn push(&self, frame: Bytes) -> Pushed {
        let (bytes_max, frames_max) = (
            outgoing_bytes_max(self.class),
            outgoing_frames_max(self.class),
        );
        let mut queue = lock(&self.frames);
        let full = |queue: &Frames| {
            queue.frames.len() >= frames_max || queue.bytes + frame.len() > bytes_max
        };
        let mut dropped = 0;
        while full(&queue) {
            let oldest = if drops_oldest(self.class) {
                queue.frames.pop_front()
            } else {
                None
            };
            let Some(oldest) = oldest else {
                return Pushed::Overflow;
            };
            queue.bytes -= oldest.len();
            dropped += 1;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.filled.notify_one();
        if dropped == 0 {
            return Pushed::Queued;
        }
        self.dropped.increment(dropped as u64);
        Pushed::Dropped(dropped)
    }

    fn pop(&self, out: &mut Vec<Bytes>) -> bool {
        let mut queue = lock(&self.frames);
        let mut bytes = 0;
        for _ in 0..WRITE_FRAMES_MAX {
            let Some(frame) = queue.frames.pop_front() else {
                break;
            };
            queue.bytes -= frame.len();
            bytes += frame.len();
            out.push(length_prefix(&frame));
            out.push(frame);
            if bytes >= WRITE_BYTES_MAX {
                break;
            }
        }
        !out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, bytes: usize) -> Bytes {
        Bytes::from(vec![tag; bytes])
    }

    fn popped(out: &[Bytes]) -> Vec<u8> {
        out.iter()
            .skip(1)
            .step_by(2)
            .map(|frame| frame[0])
            .collect()
    }

    #[tokio::test]
    async fn frames_come_out_in_order_with_their_lengths() {
        let outgoing = Outgoing::new(MemberId(1));
        assert_eq!(outgoing.push(Class::Lanes, frame(1, 3)), Pushed::Down);
        outgoing.open();
        for tag in 1..=3 {
            assert_eq!(outgoing.push(Class::Lanes, frame(tag, 3)), Pushed::Queued);
        }
        let mut out = Vec::new();
        outgoing.pop(Class::Lanes, &mut out).await;
        assert_eq!(popped(&out), [1, 2, 3]);
        assert_eq!(&out[0][..], [3, 0, 0, 0]);
    }

    #[tokio::test]
    async fn the_oldest_lanes_and_sync_frames_make_room() {
        for class in [Class::Lanes, Class::Sync] {
            let outgoing = Outgoing::new(MemberId(1));
            outgoing.open();
            let size = outgoing_bytes_max(class) / 4;
            for tag in 0..4 {
                assert_eq!(outgoing.push(class, frame(tag, size)), Pushed::Queued);
            }
            assert_eq!(outgoing.push(class, frame(4, size + 1)), Pushed::Dropped(2));
            let mut out = Vec::new();
            while popped(&out).len() < 3 {
                outgoing.pop(class, &mut out).await;
            }
            assert_eq!(popped(&out), [2, 3, 4]);
        }
    }

    #[test]
    fn votes_and_shares_are_never_dropped_on_a_link() {
        for class in [Class::Consensus, Class::Shares] {
            let outgoing = Outgoing::new(MemberId(1));
            outgoing.open();
            for _ in 0..outgoing_frames_max(class) {
                assert_eq!(outgoing.push(class, frame(1, 1)), Pushed::Queued);
            }
            assert_eq!(outgoing.push(class, frame(1, 1)), Pushed::Overflow);
            outgoing.close();
            assert_eq!(outgoing.push(class, frame(1, 1)), Pushed::Down);
            outgoing.open();
            assert_eq!(outgoing.push(class, frame(1, 1)), Pushed::Queued);
        }
    }

    #[test]
    fn a_largest_frame_fits_every_queue() {
        for class in Class::ALL {
            assert!(outgoing_bytes_max(class) >= class.frame_bytes_max());
        }
    }
}
