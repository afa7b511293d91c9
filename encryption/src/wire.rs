//! The bytes of a ciphertext (ENCRYPTION 6.4): `01 | U | Ub | R | Rb | z | u16 len | body`.

use fairlane_types::KeyId;

use curve25519_dalek::Scalar;

use crate::encrypt::OPENING_BYTES;
use crate::group::{ENCODED, Hs};
use crate::padding::SIZE_CLASSES;
use crate::{CtError, SUITE_TDH2};

/// Bytes in front of the body: suite, four points, one scalar, length.
pub const HEADER_BYTES: usize = 1 + 5 * ENCODED + 2;

/// Length of the Poly1305 tag, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// Length of a ciphertext whose padded payload is `class` bytes long.
#[must_use]
pub const fn ciphertext_bytes(class: usize) -> usize {
    HEADER_BYTES + OPENING_BYTES + class + TAG_BYTES
}

/// The fixed part of a ciphertext, still encoded.
pub(crate) struct Header {
    pub(crate) u: [u8; ENCODED],
    pub(crate) ub: [u8; ENCODED],
    pub(crate) r: [u8; ENCODED],
    pub(crate) rb: [u8; ENCODED],
    pub(crate) z: [u8; ENCODED],
}

impl Header {
    /// e = Hs("FAIRLANE-V1-TDH2-POK", key_id ‖ lp(label) ‖ U ‖ Ub ‖ R ‖ Rb ‖ lp(body)).
    pub(crate) fn challenge(&self, key: KeyId, label: &[u8], body: &[u8]) -> Scalar {
        Hs::new("FAIRLANE-V1-TDH2-POK")
            .part(key.as_bytes())
            .lp(label)
            .part(self.u)
            .part(self.ub)
            .part(self.r)
            .part(self.rb)
            .lp(body)
            .scalar()
    }

    pub(crate) fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.push(SUITE_TDH2);
        for part in [&self.u, &self.ub, &self.r, &self.rb, &self.z] {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// Splits a ciphertext into header and body; suite and lengths are checked, points and
    /// the scalar are not.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), CtError> {
        let suite = bytes.first().copied().unwrap_or(0);
        if suite != SUITE_TDH2 {
            return Err(CtError::Suite {
                got: suite,
                want: SUITE_TDH2,
            });
        }
        let length = CtError::Length(bytes.len());
        let (head, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(length)?;
        let (parts, _) = head[1..].as_chunks::<ENCODED>();
        let [u, ub, r, rb, z] = *parts else {
            return Err(length);
        };
        let len = usize::from(u16::from_le_bytes([
            head[HEADER_BYTES - 2],
            head[HEADER_BYTES - 1],
        ]));
        let in_class = SIZE_CLASSES
            .iter()
            .any(|class| bytes.len() == ciphertext_bytes(*class));
        if len != body.len() || !in_class {
            return Err(length);
        }
        Ok((Self { u, ub, r, rb, z }, body))
    }
}
