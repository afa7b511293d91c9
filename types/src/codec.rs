//! The one canonical encoding (borsh): fixed field order, keys of maps ascending, no floats;
//! decoding refuses trailing bytes, so a value has exactly one encoding.

use borsh::{BorshDeserialize, BorshSerialize};

/// Why bytes from outside were not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes were longer than the limit for this type; nothing was parsed.
    #[error("{what} of {got} bytes is over its limit of {limit}")]
    TooLong {
        /// The type that was expected.
        what: &'static str,
        /// Length offered, in bytes.
        got: usize,
        /// Limit, in bytes.
        limit: usize,
    },
    /// The bytes do not parse, or have bytes left over.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder met.
        reason: String,
    },
}

/// Encodes a value; writing to memory cannot fail.
#[must_use]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    encode_into(value, &mut bytes);
    bytes
}

/// The same into a buffer, whose content it replaces.
pub fn encode_into<T: BorshSerialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    bytes.clear();
    append(value, bytes);
}

/// The same after what a buffer holds.
pub fn append<T: BorshSerialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    value
        .serialize(bytes)
        .expect("invariant: writing to a Vec cannot fail");
}

/// Decodes a whole byte string of at most `limit` bytes.
///
/// # Errors
/// [`DecodeError::TooLong`] before anything is parsed, [`DecodeError::Malformed`] after.
pub fn decode<T: BorshDeserialize>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    check_length::<T>(bytes, limit)?;
    borsh::from_slice(bytes).map_err(malformed::<T>)
}

/// Decodes a value at the start of a byte string of at most `limit` bytes; gives what is left.
///
/// # Errors
/// As [`decode`].
pub fn decode_first<T: BorshDeserialize>(
    mut bytes: &[u8],
    limit: usize,
) -> Result<(T, &[u8]), DecodeError> {
    check_length::<T>(bytes, limit)?;
    let value = T::deserialize(&mut bytes).map_err(malformed::<T>)?;
    Ok((value, bytes))
}

fn check_length<T>(bytes: &[u8], limit: usize) -> Result<(), DecodeError> {
    if bytes.len() <= limit {
        return Ok(());
    }
    Err(DecodeError::TooLong {
        what: short_name(std::any::type_name::<T>()),
        got: bytes.len(),
        limit,
    })
}

fn malformed<T>(error: borsh::io::Error) -> DecodeError {
    DecodeError::Malformed {
        what: short_name(std::any::type_name::<T>()),
        reason: error.to_string(),
    }
}

fn short_name(path: &'static str) -> &'static str {
    let end = path.find('<').unwrap_or(path.len());
    let start = path[..end].rfind("::").map_or(0, |at| at + 2);
    &path[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_read_and_the_rest_is_given_back() {
        let bytes = [encode(&(7u32, true)), vec![1, 2, 3]].concat();
        let first = decode_first::<(u32, bool)>(&bytes, bytes.len());
        assert_eq!(first, Ok(((7, true), &[1, 2, 3][..])));
        let long = decode_first::<(u32, bool)>(&bytes, bytes.len() - 1);
        assert!(matches!(long, Err(DecodeError::TooLong { got: 8, .. })));
        let short = decode_first::<(u32, bool)>(&bytes[..4], 8);
        assert!(matches!(short, Err(DecodeError::Malformed { .. })));
    }
}
