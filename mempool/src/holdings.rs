//! What a batch acknowledges (M2): per lane the highest batch its author holds in full,
//! and one hash over the digests of those heads.

use std::io::{Error, ErrorKind, Read, Result, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BatchDigest, Digest, Domain, MEMBERS_MAX, Seq};

/// Acknowledged heads. The sequence numbers travel as canonical varints, the digests as
/// one hash: whoever holds the same heads recomputes it, whoever does not asks the
/// author for the list ([`crate::LaneMessage::GetHeads`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holdings {
    /// Per lane the highest acknowledged batch; empty means "unchanged, nothing to say".
    pub seqs: Vec<Seq>,
    /// [`Holdings::hash`] of the digests at `seqs`; zero when `seqs` is empty.
    pub heads: Digest,
}

impl Holdings {
    /// From acknowledged heads, one per lane.
    #[must_use]
    pub fn of(heads: &[(Seq, BatchDigest)]) -> Self {
        Self {
            seqs: heads.iter().map(|(seq, _)| *seq).collect(),
            heads: Self::hash(heads.iter().map(|(_, digest)| digest)),
        }
    }

    /// The hash over the digests of one head per lane.
    #[must_use]
    pub fn hash<'a>(digests: impl IntoIterator<Item = &'a BatchDigest>) -> Digest {
        Domain::Holdings.hash_gathered(|bytes| {
            for digest in digests {
                bytes.extend_from_slice(digest.as_bytes());
            }
        })
    }

    /// Whether this speaks about exactly `n` lanes, or about none.
    #[must_use]
    pub fn fits(&self, n: usize) -> bool {
        self.seqs.len() == n || (self.seqs.is_empty() && self.heads == Digest::default())
    }

    /// The commitment that the batch header carries.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Domain::Holdings.hash_of(self)
    }
}

impl BorshSerialize for Holdings {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
        let count = u8::try_from(self.seqs.len())
            .map_err(|_| Error::new(ErrorKind::InvalidData, "too many lanes"))?;
        writer.write_all(&[count])?;
        for seq in &self.seqs {
            write_varint(seq.0, writer)?;
        }
        self.heads.serialize(writer)
    }
}

impl BorshDeserialize for Holdings {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Self> {
        let count = usize::from(u8::deserialize_reader(reader)?);
        if count > MEMBERS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "holdings of too many lanes",
            ));
        }
        let mut seqs = Vec::with_capacity(count);
        for _ in 0..count {
            seqs.push(Seq(read_varint(reader)?));
        }
        let heads = Digest::deserialize_reader(reader)?;
        Ok(Self { seqs, heads })
    }
}

fn write_varint<W: Write>(mut value: u64, writer: &mut W) -> Result<()> {
    while value >= 0x80 {
        writer.write_all(&[(value & 0x7f) as u8 | 0x80])?;
        value >>= 7;
    }
    writer.write_all(&[value as u8])
}

/// LEB128; over-long forms and overflow are refused, so a value has one encoding.
fn read_varint<R: Read>(reader: &mut R) -> Result<u64> {
    let bad = |why| Err(Error::new(ErrorKind::InvalidData, why));
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = u8::deserialize_reader(reader)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return bad("varint over 64 bits");
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return bad("varint is not minimal");
            }
            return Ok(value);
        }
    }
    bad("varint over 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_canonical() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            write_varint(value, &mut bytes).unwrap();
            assert_eq!(read_varint(&mut &bytes[..]).unwrap(), value);
        }
        for bytes in [&[0x80, 0x00][..], &[0xff; 10], &[0x80], &[]] {
            assert!(read_varint(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
