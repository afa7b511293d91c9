//! Frames and connections between members.

use std::sync::Arc;

use fairlane_replica::{Class, Event, Message, Peers};
use fairlane_types::MemberId;

use crate::check::{Rule, facts};
use crate::crypto::Tier;
use crate::marks::Mark;
use crate::net::{Arrival, Sent};

use super::frame::Frame;
use super::happening::Happening;
use super::{RECONNECT_NS, World};

impl World {
    pub(super) fn send(&mut self, node: usize, to: Peers, message: &Arc<Message>) {
        let fact = facts(message);
        if let Some(fact) = &fact {
            self.judge.said(node, fact);
        }
        if let Message::Shares(shares) = message.as_ref() {
            self.crypto.released(self.now, shares);
        }
        // What liars say need not be a message that anyone can decode.
        let tier = match self.members[node].behaviour {
            Some(_) => Tier::Real,
            None => self.scenario.tier,
        };
        let frame = Frame::of(message, tier);
        if let Some(recorder) = &mut self.recorder {
            let copies = match to {
                Peers::One(_) => 1,
                Peers::All => self.members.len() as u64 - 1,
            };
            let bytes = frame.size() * copies;
            recorder.said(self.now, node, message.name(), copies, bytes, fact.as_ref());
        }
        let class = message.class();
        match to {
            Peers::One(to) => self.transmit(node, to.index(), class, &frame),
            Peers::All => {
                for to in 0..self.members.len() {
                    self.transmit(node, to, class, &frame);
                }
            }
        }
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, class: Class, frame: &Frame) {
        if from == to || to >= self.members.len() {
            return;
        }
        if self.threaded() {
            self.send_later(from, to, class, frame.clone());
        } else {
            self.put_on_wire(from, to, class, frame);
        }
    }

    pub(super) fn put_on_wire(&mut self, from: usize, to: usize, class: Class, frame: &Frame) {
        let was = self.fabric.connected(from, to);
        match self.fabric.send(self.now, (from, to), class, frame.size()) {
            Some(sent) => {
                let frame = frame.clone();
                self.queue.push(
                    sent.at,
                    5,
                    Happening::Frame {
                        from,
                        to,
                        class,
                        sent,
                        frame,
                    },
                );
            }
            None if was => self.lost(from, to),
            None => {}
        }
    }

    pub(super) fn frame(&mut self, from: usize, to: usize, class: Class, sent: Sent, frame: Frame) {
        let size = frame.size();
        let arrival = self
            .fabric
            .arrive((from, to), class, sent, size, || Happening::Frame {
                from,
                to,
                class,
                sent,
                frame: frame.clone(),
            });
        if arrival != Arrival::Deliver {
            return;
        }
        self.stats.frames += 1;
        self.stats.bytes += size;
        if self.threaded() {
            self.receive_later(from, to, class, frame);
        } else {
            self.open(from, to, class, frame);
        }
    }

    pub(super) fn open(&mut self, from: usize, to: usize, class: Class, frame: Frame) {
        match frame.open(class) {
            Ok(message) => {
                let from = MemberId(from as u8);
                self.input(to, Event::Message { from, message });
            }
            Err(error) => {
                // As the node's transport does: count it and drop the connection.
                self.judge.mark(Mark::PeerFault);
                if self.honest[from] {
                    self.judge
                        .break_rule(Rule::Halt, from, format!("sent a bad frame: {error}"));
                }
                self.fabric.disconnect(from, to);
                self.lost(from, to);
            }
        }
    }

    /// A connection broke: it is tried again.
    pub(super) fn lost(&mut self, a: usize, b: usize) {
        self.judge.mark(Mark::ConnectionLost);
        self.reconnect(a, b, RECONNECT_NS);
    }

    pub(super) fn reconnect(&mut self, a: usize, b: usize, after_ns: u64) {
        let pair = (a.min(b), a.max(b));
        if self.connecting.insert(pair) {
            let at = self.now.plus(after_ns);
            self.queue.push(at, 1, Happening::Connect(pair.0, pair.1));
        }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.connecting.remove(&(a, b));
        if !self.members[a].up() || !self.members[b].up() {
            // Whoever starts again connects again.
            return;
        }
        let paused = [a, b]
            .iter()
            .any(|i| self.members[*i].paused_until > self.now);
        if !self.fabric.passable(a, b) || paused {
            self.reconnect(a, b, RECONNECT_NS);
            return;
        }
        if self.fabric.connect(a, b) {
            self.input(a, Event::Connected(MemberId(b as u8)));
            self.input(b, Event::Connected(MemberId(a as u8)));
        }
    }
}
