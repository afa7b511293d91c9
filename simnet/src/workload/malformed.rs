//! A ciphertext with a valid proof whose body opens to nothing (A9): made here from the
//! formulas of ENCRYPTION 6.4, since the library refuses to make one.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::CompressedRistretto;
use fairlane_types::{KeyId, Label, SUITE_TDH2};
use sha2::{Digest, Sha512};

use crate::engine::Stream;

/// enc(Hbar), the second generator (ENCRYPTION 6.1).
const HBAR: [u8; 32] = [
    0xd8, 0x11, 0xb3, 0x7e, 0xf4, 0x79, 0x97, 0x37, 0x43, 0x51, 0x15, 0x44, 0x95, 0x85, 0x09, 0xc7,
    0xa0, 0x92, 0x3d, 0x5c, 0x08, 0x38, 0xa2, 0x32, 0x30, 0xfe, 0x32, 0xf4, 0xf8, 0xa0, 0x33, 0x45,
];

/// A valid proof over a random body of `body_bytes`: nobody can open it, and only t shares
/// show that.
#[must_use]
pub fn unopenable(key: KeyId, label: &Label, body_bytes: usize, rng: &mut Stream) -> Vec<u8> {
    let hbar = CompressedRistretto(HBAR)
        .decompress()
        .expect("invariant: the constant is a point");
    let (r, s) = (Scalar::random(rng), Scalar::random(rng));
    let points = [
        &r * RISTRETTO_BASEPOINT_TABLE,
        r * hbar,
        &s * RISTRETTO_BASEPOINT_TABLE,
        s * hbar,
    ]
    .map(|point| point.compress().to_bytes());
    let mut body = vec![0; body_bytes];
    for byte in &mut body {
        *byte = rng.bits() as u8;
    }
    let label = label.to_bytes();
    let mut hash = Sha512::new_with_prefix("FAIRLANE-V1-TDH2-POK")
        .chain_update([0])
        .chain_update(key.as_bytes())
        .chain_update((label.len() as u64).to_le_bytes())
        .chain_update(label);
    for point in points {
        hash.update(point);
    }
    hash.update((body.len() as u64).to_le_bytes());
    hash.update(&body);
    let e = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let z = s + e * r;
    let mut bytes = vec![SUITE_TDH2];
    for point in points {
        bytes.extend_from_slice(&point);
    }
    bytes.extend_from_slice(z.as_bytes());
    bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}
