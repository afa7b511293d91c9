//! Frames of the binary stream: `u32` length in little-endian, then a borsh [`Frame`].
//! The same frames, without heartbeats, make a sequence file.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::Attestation;
use fairlane_types::{Height, SequencedBlock};

/// Largest frame, in bytes; a longer one ends the stream.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Frame {
    /// The next block; heights are dense.
    Block(SequencedBlock),
    /// Said at least every second while there is nothing else to say.
    Heartbeat {
        /// The member's last emitted height.
        head: Height,
    },
    /// The member closes the stream.
    Eof {
        /// An error code's word.
        reason: String,
        /// First height that was not sent.
        next: Height,
    },
    /// The committee's signature on the root after a block that was sent. Only in streams that
    /// were asked for with `attestations=true`.
    Attestation(Attestation),
}

impl Frame {
    /// Length and body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = fairlane_types::encode(self);
        Self::with_length(&[], &body)
    }

    /// A block frame around a block that is encoded already.
    #[must_use]
    pub fn around_block(block: &[u8]) -> Vec<u8> {
        Self::with_length(&[0], block)
    }

    fn with_length(tag: &[u8], body: &[u8]) -> Vec<u8> {
        let len = (tag.len() + body.len()) as u32;
        let mut bytes = Vec::with_capacity(4 + len as usize);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(tag);
        bytes.extend_from_slice(body);
        bytes
    }
}

/// Why a stream of frames cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameReadError {
    /// Over [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// Not a frame.
    #[error(transparent)]
    Malformed(#[from] fairlane_types::DecodeError),
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    at: usize,
}

impl FrameReader {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 && self.at * 2 >= self.buffer.len() {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// [`FrameReadError`]; the stream cannot be read on after one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameReadError> {
        let rest = &self.buffer[self.at..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameReadError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = fairlane_types::decode(body, FRAME_BYTES_MAX)?;
        self.at += 4 + length;
        Ok(Some(frame))
    }

    /// Whether every byte taken in was part of a whole frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cut_anywhere_come_out_whole() {
        let frames = [
            Frame::Heartbeat { head: Height(7) },
            Frame::Eof {
                reason: "slow_consumer".into(),
                next: Height(8),
            },
            Frame::Attestation(Attestation {
                epoch: fairlane_types::Epoch(0),
                height: Height(8),
                root: fairlane_types::Root::default(),
                certificate: fairlane_encryption::ThresholdCertificate([7; 96]),
            }),
            Frame::Heartbeat { head: Height(9) },
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        for step in 1..bytes.len() {
            let (mut reader, mut got) = (FrameReader::default(), Vec::new());
            for part in bytes.chunks(step) {
                reader.push(part);
                while let Some(frame) = reader.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn an_oversized_or_malformed_frame_is_an_error() {
        let mut reader = FrameReader::default();
        reader.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            reader.next_frame(),
            Err(FrameReadError::TooLong(_))
        ));
        let mut reader = FrameReader::default();
        reader.push(&[1, 0, 0, 0, 9]);
        assert!(matches!(
            reader.next_frame(),
            Err(FrameReadError::Malformed(_))
        ));
    }
}
