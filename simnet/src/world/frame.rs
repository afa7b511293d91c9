//! A message on the wire: one body, shared by every receiver.
//!
//! In tier L2 it is the bytes, and every receiver decodes them. In tier L1 it is the
//! message itself: encoding is canonical, so that what a receiver would decode is what was
//! said. Size and trace are those of the bytes either way.

use std::io::{self, Write};
use std::sync::Arc;

use borsh::BorshSerialize as _;
use fairlane_replica::{Class, Message, MessageError};

use crate::crypto::Tier;

/// Bytes of a frame that enter the trace.
const HEAD_BYTES: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Frame {
    size: u64,
    head: u64,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Bytes(Arc<[u8]>),
    Message(Arc<Message>),
}

impl Frame {
    /// The frame of a message, as a tier sends it.
    pub(super) fn of(message: &Arc<Message>, tier: Tier) -> Self {
        match tier {
            Tier::Real => Self::raw(message.to_frame()),
            Tier::Ideal => {
                let mut gauge = Gauge::default();
                message
                    .serialize(&mut gauge)
                    .expect("invariant: counting bytes cannot fail");
                Self {
                    size: gauge.size,
                    head: digest(gauge.size, &gauge.head[..gauge.filled]),
                    body: Body::Message(Arc::clone(message)),
                }
            }
        }
    }

    /// Bytes that need not be a message.
    pub(super) fn raw(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        Self {
            size,
            head: digest(size, &bytes[..bytes.len().min(HEAD_BYTES)]),
            body: Body::Bytes(bytes.into()),
        }
    }

    /// Bytes on the wire.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// A word of its content, for the trace.
    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// What a receiver makes of it.
    pub(super) fn open(self, class: Class) -> Result<Message, MessageError> {
        match self.body {
            Body::Bytes(bytes) => Message::from_frame(class, &bytes),
            Body::Message(message) => Ok(Arc::unwrap_or_clone(message)),
        }
    }
}

fn digest(size: u64, head: &[u8]) -> u64 {
    head.iter().fold(size, |hash, byte| {
        hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
    })
}

/// Counts what is written and keeps its beginning.
struct Gauge {
    size: u64,
    head: [u8; HEAD_BYTES],
    filled: usize,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            size: 0,
            head: [0; HEAD_BYTES],
            filled: 0,
        }
    }
}

impl Write for Gauge {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        let room = (HEAD_BYTES - self.filled).min(bytes.len());
        self.head[self.filled..self.filled + room].copy_from_slice(&bytes[..room]);
        self.filled += room;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_mempool::LaneMessage;
    use fairlane_types::{CtId, Digest, Height};

    /// Short, exactly as long as the head, and longer; whole and in pieces.
    #[test]
    fn both_tiers_give_a_message_one_size_and_one_digest() {
        let ids = |count: usize| vec![CtId(Digest([7; 32])); count];
        let lanes = [0, 1, 2, 9].map(|count| Message::Lane(LaneMessage::GetPayloads(ids(count))));
        let shares = Message::GetShares {
            from: Height(3),
            count: 2,
        };
        for message in lanes.into_iter().chain([shares]) {
            let message = Arc::new(message);
            let real = Frame::of(&message, Tier::Real);
            let ideal = Frame::of(&message, Tier::Ideal);
            assert_eq!((real.size(), real.head()), (ideal.size(), ideal.head()));
            assert_eq!(real.size(), message.to_frame().len() as u64);
            for frame in [real, ideal] {
                assert_eq!(frame.open(message.class()).unwrap(), *message);
            }
        }
        let other = Message::Emitted(Height(4));
        let broken = Frame::raw(other.to_frame()[1..].to_vec());
        assert!(broken.open(other.class()).is_err());
    }
}
