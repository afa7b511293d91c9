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
pub(crate) const HBAR_BYTES: [u8; ENCODED] = [
    0xd8, 0x11, 0xb3, 0x7e, 0xf4, 0x79, 0x97, 0x37, 0x43, 0x51, 0x15, 0x44, 0x95, 0x85, 0x09, 0xc7,
    0xa0, 0x92, 0x3d, 0x5c, 0x08, 0x38, 0xa2, 0x32, 0x30, 0xfe, 0x32, 0xf4, 0xf8, 0xa0, 0x33, 0x45,
];

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
        Scalar::from_bytes_mod_order_wide(&self.wide())
    }

    /// The whole digest, for another modulus.
    pub(crate) fn wide(self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.finalize().into())
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: usize = 128;

    /// expand_message_xmd with SHA-512 (RFC 9380 §5.3.1).
    fn expand_message_xmd(msg: &[u8], dst: &[u8], len: usize) -> Vec<u8> {
        let dst_prime = [dst, &[dst.len() as u8]].concat();
        let b0 = Sha512::new()
            .chain_update([0; BLOCK_BYTES])
            .chain_update(msg)
            .chain_update((len as u16).to_be_bytes())
            .chain_update([0])
            .chain_update(&dst_prime)
            .finalize();
        let mut out = Vec::new();
        let mut last = [0; 64];
        for index in 1..=len.div_ceil(64) as u8 {
            let mut mixed = [0; 64];
            for (byte, (a, b)) in mixed.iter_mut().zip(b0.iter().zip(&last)) {
                *byte = a ^ b;
            }
            let block = Sha512::new()
                .chain_update(mixed)
                .chain_update([index])
                .chain_update(&dst_prime)
                .finalize();
            last.copy_from_slice(&block);
            out.extend_from_slice(&last);
        }
        out.truncate(len);
        out
    }

    #[test]
    fn expander_matches_rfc9380_appendix_k3() {
        let dst = b"QUUX-V01-CS02-with-expander-SHA512-256";
        let known = [
            (
                "",
                "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba",
            ),
            (
                "abc",
                "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc",
            ),
        ];
        for (msg, want) in known {
            assert_eq!(
                hex::encode(expand_message_xmd(msg.as_bytes(), dst, 32)),
                want
            );
        }
    }

    #[test]
    fn second_generator_is_the_hash_of_its_name() {
        let dst = b"FAIRLANE-V01-CS01-with-ristretto255_XMD:SHA-512_R255MAP_RO_";
        let wide = expand_message_xmd(b"second generator", dst, 64);
        let hbar = RistrettoPoint::from_uniform_bytes(&wide.try_into().unwrap());
        assert_eq!(
            hex::encode(hbar.compress().as_bytes()),
            hex::encode(HBAR_BYTES)
        );
        assert_eq!(*HBAR, hbar);
        assert_ne!(*HBAR, mul_g(&Scalar::ONE));
    }

    #[test]
    fn weights_are_128_bit_and_differ() {
        let hasher = blake3::Hasher::new_derive_key("test");
        let weights = Weights::new(&hasher).take(64);
        for (k, weight) in weights.iter().enumerate() {
            assert_eq!(weight.as_bytes()[16..], [0; 16]);
            assert_ne!(*weight, Scalar::ZERO);
            assert!(!weights[..k].contains(weight));
        }
    }
}
