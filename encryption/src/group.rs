//! The group and its hashes (ENCRYPTION 6.1): ristretto255 (RFC 9496), the second
//! generator, hashing to scalars, and random weights for batch checks.

use std::sync::LazyLock;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable};
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// Length of an encoded point or scalar, in bytes.
pub(crate) const ENCODED: usize = 32;

/// enc(Hbar): `hash_to_ristretto255("second generator")`, so that nobody knows its
/// logarithm to the base G. A test derives it again.
pub(crate) const HBAR_BYTES: [u8; ENCODED] = [0; ENCODED];

/// Hbar with a table for constant-time multiplication.
pub(crate) static HBAR_TABLE: LazyLock<RistrettoBasepointTable> = LazyLock::new(|| {
    let hbar = CompressedRistretto(HBAR_BYTES).decompress();
    RistrettoBasepointTable::create(&hbar.expect("invariant: the constant is canonical"))
});

/// The second generator Hbar.
pub(crate) static HBAR: LazyLock<RistrettoPoint> = LazyLock::new(|| HBAR_TABLE.basepoint());

/// xG in constant time.
pub(crate) fn mul_g(x: &Scalar) -> RistrettoPoint {
    RISTRETTO_BASEPOINT_TABLE * x
}

/// xHbar in constant time.
pub(crate) fn mul_hbar(x: &Scalar) -> RistrettoPoint {
    &*HBAR_TABLE * x
}

/// A canonical point, or nothing.
pub(crate) fn decode_point(bytes: &[u8; ENCODED]) -> Option<RistrettoPoint> {
    CompressedRistretto(*bytes).decompress()
}

/// A canonical point other than the identity, or nothing.
pub(crate) fn decode_point_nonzero(bytes: &[u8; ENCODED]) -> Option<RistrettoPoint> {
    decode_point(bytes).filter(|point| !point.is_identity())
}

/// A reduced scalar, or nothing.
pub(crate) fn decode_scalar(bytes: &[u8; ENCODED]) -> Option<Scalar> {
    Scalar::from_canonical_bytes(*bytes).into_option()
}

/// SHA-512(tag ‖ 0x00 ‖ parts…): the only use of SHA-512.
pub(crate) struct Hs(Sha512);

impl Hs {
    pub(crate) fn new(tag: &str) -> Self {
        Self(Sha512::new_with_prefix(tag.as_bytes()).chain_update([0]))
    }

    /// Appends a part of fixed length.
    pub(crate) fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        self.0.update(part);
        self
    }

    /// Appends `lp(part)` = length as u64 LE ‖ part.
    pub(crate) fn lp(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Hs: the digest reduced modulo the group order (bias 2⁻²⁵⁹).
    pub(crate) fn scalar(self) -> Scalar {
        let mut wide: [u8; 64] = self.0.finalize().into();
        let scalar = Scalar::from_bytes_mod_order_wide(&wide);
        wide.zeroize();
        scalar
    }

    /// The first 32 bytes of the digest.
    pub(crate) fn bytes(self) -> Zeroizing<[u8; 32]> {
        let mut wide: [u8; 64] = self.0.finalize().into();
        let mut half = Zeroizing::new([0; 32]);
        half.copy_from_slice(&wide[..32]);
        wide.zeroize();
        half
    }
}

/// A stream of 128-bit weights out of a BLAKE3 XOF. A false batch passes with 2⁻¹²⁸.
pub(crate) struct Weights(blake3::OutputReader);

impl Weights {
    pub(crate) fn new(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize_xof())
    }

    pub(crate) fn draw(&mut self) -> Scalar {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        Scalar::from(u128::from_le_bytes(bytes))
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<Scalar> {
        (0..count).map(|_| self.draw()).collect()
    }
}
