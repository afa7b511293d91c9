//! Sequence files: blocks, the envelopes of their orders where known, and attestations, for
//! offline verification. Header line, then records: `u32` length in little-endian, borsh [`Record`].

use std::io::{self, BufRead, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::Attestation;
use fairlane_types::{Digest, Envelope, Handover, KeyActivation, SequencedBlock};

use crate::wire::FRAME_BYTES_MAX;

const HEADER: &str = "fairlane sequence 1";

/// One record of a sequence file.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Record {
    /// The next block.
    Block(SequencedBlock),
    /// The envelope of an order of a block before; with it the opening can be checked.
    Envelope(Envelope),
    /// The committee's signature on the root after the block before.
    Attestation(Attestation),
    /// The committee's word for its encryption key, where the genesis does not name one;
    /// comes before the first block.
    Activation(KeyActivation),
    /// What began the epoch after the one that the file is in so far: blocks behind it may hold
    /// orders that are sealed to its key.
    Handover(Box<Handover>),
}

/// Why a sequence file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum SequenceFileError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not such a file.
    #[error("not a sequence file: the first line is not \"{HEADER} <genesis hash>\"")]
    Header,
    /// A record is damaged.
    #[error("record {number}: {reason}")]
    Record {
        /// Counted from 1.
        number: u64,
        /// What does not fit.
        reason: String,
    },
}

/// Writes a sequence file.
#[derive(Debug)]
pub struct SequenceWriter<W: Write>(W);

impl<W: Write> SequenceWriter<W> {
    /// Starts a file for a chain.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut to: W, genesis: Digest) -> io::Result<Self> {
        writeln!(to, "{HEADER} {genesis}")?;
        Ok(Self(to))
    }

    /// Goes on in a file that has its header line, and stands behind a record.
    pub const fn resume(to: W) -> Self {
        Self(to)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let body = fairlane_types::encode(record);
        self.0.write_all(&(body.len() as u32).to_le_bytes())?;
        self.0.write_all(&body)
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// The writer.
    pub const fn get_ref(&self) -> &W {
        &self.0
    }

    /// Flushes and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.flush()?;
        Ok(self.0)
    }
}

/// Reads a sequence file record by record.
#[derive(Debug)]
pub struct SequenceReader<R: BufRead> {
    from: R,
    genesis: Digest,
    number: u64,
    position: u64,
}

impl<R: BufRead> SequenceReader<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// [`SequenceFileError::Header`], [`SequenceFileError::Io`].
    pub fn new(mut from: R) -> Result<Self, SequenceFileError> {
        let mut line = Vec::new();
        io::Read::take(&mut from, 256).read_until(b'\n', &mut line)?;
        let genesis = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| line.strip_suffix('\n'))
            .and_then(|line| line.strip_prefix(HEADER))
            .and_then(|hash| hash.trim_start().parse().ok())
            .ok_or(SequenceFileError::Header)?;
        Ok(Self {
            from,
            genesis,
            number: 0,
            position: line.len() as u64,
        })
    }

    /// Genesis hash in the header.
    #[must_use]
    pub fn genesis(&self) -> Digest {
        self.genesis
    }

    /// The next record, none at the end of the file.
    ///
    /// # Errors
    /// [`SequenceFileError`].
    pub fn next_record(&mut self) -> Result<Option<Record>, SequenceFileError> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        let wrong = |reason: String| SequenceFileError::Record { number, reason };
        let mut length = [0; 4];
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => wrong("cut off".into()),
            _ => error.into(),
        };
        self.from.read_exact(&mut length).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(wrong(format!("{length} bytes are over the limit")));
        }
        let mut body = Vec::new();
        let got = io::Read::take(&mut self.from, length as u64);
        io::Read::read_to_end(&mut { got }, &mut body)?;
        if body.len() != length {
            return Err(wrong("cut off".into()));
        }
        let record = fairlane_types::decode(&body, FRAME_BYTES_MAX)
            .map_err(|error| wrong(error.to_string()))?;
        self.position += 4 + length as u64;
        Ok(Some(record))
    }

    /// Bytes of the header line and of the records read so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cursor;
    use crate::testing::{opened_block, pin_of};

    #[test]
    fn a_file_reads_back_and_a_damaged_one_says_where() {
        let (pin, _) = pin_of(4);
        let (block, envelopes) = opened_block(&pin, &Cursor::start(&pin), 2);
        let mut records = vec![Record::Block(block)];
        records.extend(envelopes.into_iter().map(Record::Envelope));
        let mut writer = SequenceWriter::new(Vec::new(), pin.hash()).unwrap();
        for record in &records {
            writer.write(record).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = SequenceReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.genesis(), pin.hash());
        for record in &records {
            assert_eq!(reader.next_record().unwrap().as_ref(), Some(record));
        }
        assert!(reader.next_record().unwrap().is_none());
        assert_eq!(reader.position(), bytes.len() as u64);
        let mut cut = SequenceReader::new(&bytes[..bytes.len() - 1]).unwrap();
        cut.next_record().unwrap();
        cut.next_record().unwrap();
        let error = cut.next_record().unwrap_err().to_string();
        assert_eq!(error, "record 3: cut off");
        assert!(SequenceReader::new(&b"something else\n"[..]).is_err());
        assert!(SequenceReader::new(&[0xff; 400][..]).is_err());
    }
}
