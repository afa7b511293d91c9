//! The links of a run and what is in flight on them.
//!
//! Streams of one link are ordered within a class and free of each other across classes.
//! A blocked link holds what arrives, as retransmission would; when the block ends before
//! the idle timeout it is delivered, else the connection is gone: everything in flight is
//! lost and both ends hear `Connected` once the link is up again. A crashed end and a full
//! queue lose the connection as well. Nothing else is ever lost.

use std::collections::VecDeque;

use fairlane_replica::Class;

use crate::engine::{MILLISECOND, Nanos, Owner, Purpose, SECOND, Stream};

use super::LinkModel;

/// Most frames in flight per link and class; the next one loses the connection.
const FRAMES_MAX: usize = 20_000;
/// Most bytes in flight per link and class.
const BYTES_MAX: u64 = 64 << 20;
/// A connection that hears nothing for so long is gone.
const IDLE_TIMEOUT_NS: u64 = 2 * SECOND;
/// Delay of a released frame after a block ended: the next retransmission.
const RELEASE_NS: u64 = 20 * MILLISECOND;

const CLASSES: usize = Class::ALL.len();

/// A frame that a link accepted: deliver it to the fabric again at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it arrives.
    pub at: Nanos,
    /// The connection it travels on.
    pub generation: u32,
}

/// What becomes of a frame when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Deliver it now.
    Deliver,
    /// The link is blocked: the fabric keeps it.
    Held,
    /// Its connection is gone.
    Lost,
}

#[derive(Debug)]
struct Lane<M> {
    /// No frame arrives before its predecessor.
    last: Nanos,
    frames: usize,
    bytes: u64,
    held: VecDeque<(M, u64)>,
}

impl<M> Default for Lane<M> {
    fn default() -> Self {
        Self {
            last: Nanos(0),
            frames: 0,
            bytes: 0,
            held: VecDeque::new(),
        }
    }
}

#[derive(Debug)]
struct Link<M> {
    model: LinkModel,
    base: LinkModel,
    latency: Stream,
    loss: Stream,
    /// When the sender's side is free again.
    free: Nanos,
    blocked: Option<Nanos>,
    lanes: [Lane<M>; CLASSES],
}

/// All links of a run, carrying frames `M`.
#[derive(Debug)]
pub struct Fabric<M> {
    n: usize,
    links: Vec<Link<M>>,
    /// Connection number per unordered pair, odd while it is down.
    generations: Vec<u32>,
}

impl<M> Fabric<M> {
    /// Every pair unconnected; `model` gives each directed link.
    #[must_use]
    pub fn new(n: usize, seed: u64, mut model: impl FnMut(usize, usize) -> LinkModel) -> Self {
        let links = (0..n * n)
            .map(|index| {
                let (from, to) = (index / n, index % n);
                let base = model(from, to);
                Link {
                    model: base,
                    base,
                    latency: Stream::new(seed, Owner::Link(from, to), Purpose::Latency),
                    loss: Stream::new(seed, Owner::Link(from, to), Purpose::Loss),
                    free: Nanos(0),
                    blocked: None,
                    lanes: Default::default(),
                }
            })
            .collect();
        Self {
            n,
            links,
            generations: vec![1; n * n],
        }
    }

    /// Puts a frame on the wire. `None`: there is no connection, or it broke because the
    /// queue is full (then [`connected`](Self::connected) turned false).
    pub fn send(
        &mut self,
        now: Nanos,
        (from, to): (usize, usize),
        class: Class,
        bytes: u64,
    ) -> Option<Sent> {
        if !self.connected(from, to) {
            return None;
        }
        let generation = self.generation(from, to);
        let link = &mut self.links[from * self.n + to];
        let lane = &mut link.lanes[usize::from(class.code())];
        if lane.frames >= FRAMES_MAX || lane.bytes + bytes > BYTES_MAX {
            self.disconnect(from, to);
            return None;
        }
        lane.frames += 1;
        lane.bytes += bytes;
        let out = now.max(link.free).plus(link.model.serialize_ns(bytes));
        link.free = out;
        let span = link
            .model
            .propagate_ns(bytes, &mut link.latency, &mut link.loss);
        lane.last = lane.last.max(out.plus(span));
        Some(Sent {
            at: lane.last,
            generation,
        })
    }

    /// A frame reaches the far end; keeps it while the link is blocked.
    pub fn arrive(
        &mut self,
        (from, to): (usize, usize),
        class: Class,
        sent: Sent,
        bytes: u64,
        frame: impl FnOnce() -> M,
    ) -> Arrival {
        if sent.generation != self.generation(from, to) {
            return Arrival::Lost;
        }
        let link = &mut self.links[from * self.n + to];
        let lane = &mut link.lanes[usize::from(class.code())];
        if link.blocked.is_some() {
            lane.held.push_back((frame(), bytes));
            return Arrival::Held;
        }
        lane.frames = lane.frames.saturating_sub(1);
        lane.bytes = lane.bytes.saturating_sub(bytes);
        Arrival::Deliver
    }

    /// Blocks a directed link.
    pub fn block(&mut self, now: Nanos, from: usize, to: usize) {
        self.links[from * self.n + to].blocked.get_or_insert(now);
    }

    /// Ends a block. What was held comes back, to be delivered at the times given, unless
    /// the connection timed out meanwhile: then both ends must be connected again.
    #[must_use]
    pub fn unblock(&mut self, now: Nanos, from: usize, to: usize) -> Released<M> {
        let generation = self.generation(from, to);
        let Some(since) = self.links[from * self.n + to].blocked.take() else {
            return Released::Frames(Vec::new());
        };
        if now.since(since) >= IDLE_TIMEOUT_NS {
            self.disconnect(from, to);
            return Released::Gone;
        }
        let link = &mut self.links[from * self.n + to];
        let mut frames = Vec::new();
        for (class, lane) in Class::ALL.into_iter().zip(&mut link.lanes) {
            for (frame, bytes) in lane.held.drain(..) {
                lane.last = lane.last.max(now.plus(RELEASE_NS));
                let sent = Sent {
                    at: lane.last,
                    generation,
                };
                frames.push((class, sent, bytes, frame));
            }
        }
        Released::Frames(frames)
    }

    /// Brings the connection of a pair up; false if it was.
    pub fn connect(&mut self, a: usize, b: usize) -> bool {
        let up = !self.connected(a, b);
        if up {
            self.bump(a, b);
        }
        up
    }

    /// Loses the connection of a pair and all that is in flight on it; false if it was down.
    pub fn disconnect(&mut self, a: usize, b: usize) -> bool {
        if !self.connected(a, b) {
            return false;
        }
        self.bump(a, b);
        for (from, to) in [(a, b), (b, a)] {
            self.links[from * self.n + to].lanes = Default::default();
        }
        true
    }

    /// Whether a pair is connected.
    #[must_use]
    pub fn connected(&self, a: usize, b: usize) -> bool {
        self.generation(a, b).is_multiple_of(2)
    }

    /// Whether neither direction of a pair is blocked.
    #[must_use]
    pub fn passable(&self, a: usize, b: usize) -> bool {
        [(a, b), (b, a)]
            .iter()
            .all(|(from, to)| self.links[from * self.n + to].blocked.is_none())
    }

    /// The model of a directed link as it is now.
    pub fn model_mut(&mut self, from: usize, to: usize) -> &mut LinkModel {
        &mut self.links[from * self.n + to].model
    }

    /// Sets a directed link back to what it was at the start.
    pub fn restore(&mut self, from: usize, to: usize) {
        let link = &mut self.links[from * self.n + to];
        link.model = link.base;
    }

    fn generation(&self, a: usize, b: usize) -> u32 {
        self.generations[a.min(b) * self.n + a.max(b)]
    }

    fn bump(&mut self, a: usize, b: usize) {
        self.generations[a.min(b) * self.n + a.max(b)] += 1;
    }
}

/// What an ended block gives back.
#[derive(Debug, PartialEq, Eq)]
pub enum Released<M> {
    /// Frames to deliver, in the order of their streams.
    Frames(Vec<(Class, Sent, u64, M)>),
    /// The connection timed out.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fabric() -> Fabric<u32> {
        let mut fabric = Fabric::new(3, 9, |_, _| {
            LinkModel::new(5 * MILLISECOND, 9 * MILLISECOND)
        });
        assert!(fabric.connect(0, 1));
        assert!(!fabric.connect(1, 0));
        fabric
    }

    #[test]
    fn a_class_keeps_its_order_and_classes_pass_each_other() {
        let mut fabric = fabric();
        let mut last = Nanos(0);
        let mut passed = 0;
        for i in 0..300 {
            let now = Nanos(i * MILLISECOND / 10);
            let vote = fabric.send(now, (0, 1), Class::Consensus, 200).unwrap();
            let batch = fabric.send(now, (0, 1), Class::Lanes, 200).unwrap();
            assert!(vote.at >= last && vote.at > now);
            last = vote.at;
            passed += u32::from(batch.at < vote.at);
        }
        assert!(passed > 30);
        assert_eq!(fabric.send(Nanos(0), (0, 2), Class::Lanes, 1), None);
    }

    #[test]
    fn bandwidth_makes_frames_wait_for_each_other() {
        let mut fabric = fabric();
        fabric.model_mut(0, 1).bytes_per_s = 1_000_000;
        let first = fabric
            .send(Nanos(0), (0, 1), Class::Lanes, 100_000)
            .unwrap();
        let second = fabric.send(Nanos(0), (0, 1), Class::Sync, 100_000).unwrap();
        assert!(first.at > Nanos(100 * MILLISECOND));
        assert!(second.at > Nanos(200 * MILLISECOND));
        fabric.restore(0, 1);
        assert_eq!(fabric.model_mut(0, 1).bytes_per_s, 125_000_000);
    }

    #[test]
    fn a_short_block_delays_and_a_long_one_loses() {
        for (span_ms, gone) in [(500, false), (5_000, true)] {
            let mut fabric = fabric();
            let sent = fabric.send(Nanos(0), (0, 1), Class::Shares, 10).unwrap();
            fabric.block(Nanos(0), 0, 1);
            assert!(!fabric.passable(1, 0));
            let arrival = fabric.arrive((0, 1), Class::Shares, sent, 10, || 77);
            assert_eq!(arrival, Arrival::Held);
            match fabric.unblock(Nanos::from_millis(span_ms), 0, 1) {
                Released::Gone => assert!(gone && !fabric.connected(0, 1)),
                Released::Frames(frames) => {
                    assert!(!gone);
                    let (class, again, bytes, frame) = frames[0];
                    assert_eq!((class, bytes, frame), (Class::Shares, 10, 77));
                    assert!(again.at > Nanos::from_millis(span_ms));
                    let arrival = fabric.arrive((0, 1), class, again, bytes, || 77);
                    assert_eq!(arrival, Arrival::Deliver);
                }
            }
        }
    }

    #[test]
    fn a_lost_connection_loses_what_is_in_flight() {
        let mut fabric = fabric();
        let sent = fabric.send(Nanos(0), (0, 1), Class::Consensus, 10).unwrap();
        assert!(fabric.disconnect(1, 0));
        assert!(!fabric.disconnect(1, 0));
        assert!(fabric.connect(0, 1));
        let arrival = fabric.arrive((0, 1), Class::Consensus, sent, 10, || 1);
        assert_eq!(arrival, Arrival::Lost);
    }

    #[test]
    fn a_full_queue_loses_the_connection() {
        let mut fabric = fabric();
        for _ in 0..FRAMES_MAX {
            assert!(fabric.send(Nanos(0), (0, 1), Class::Lanes, 1).is_some());
        }
        assert_eq!(fabric.send(Nanos(0), (0, 1), Class::Lanes, 1), None);
        assert!(!fabric.connected(0, 1));
    }
}
