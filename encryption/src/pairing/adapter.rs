//! The way in and out of `threshold_crypto`, whose group elements have no other public
//! encoding than serde's, and whose randomness comes by the traits of `rand_core` 0.5.
//!
//! Encodings are those of the crate, which are the usual ones of BLS12-381: compressed,
//! big-endian, three flag bits in front. Decoding checks the subgroup.

use ff::PrimeField;
use serde_json::Value;
use threshold_crypto::ff;
use threshold_crypto::group::CurveAffine;
use threshold_crypto::{Ciphertext, DecryptionShare, Fr, FrRepr, G1Affine, G2Affine, PublicKeySet};
use zeroize::Zeroizing;

/// Length of a compressed point of G1, in bytes.
pub(crate) const G1_BYTES: usize = 48;
/// Length of a compressed point of G2, in bytes.
pub(crate) const G2_BYTES: usize = 96;
/// Length of an encoded scalar, in bytes.
pub(crate) const FR_BYTES: usize = 32;

/// Flag of a compressed encoding that marks the identity.
const INFINITY: u8 = 0x40;

/// Whether a compressed encoding claims to be the identity, canonical or not.
pub(crate) fn is_identity(encoded: &[u8]) -> bool {
    encoded.first().is_none_or(|first| first & INFINITY != 0)
}

/// A canonical little-endian scalar, or nothing.
pub(crate) fn decode_fr(bytes: &[u8; FR_BYTES]) -> Option<Fr> {
    let (limbs, _) = bytes.as_chunks::<8>();
    let mut repr = FrRepr::default();
    for (limb, bytes) in repr.as_mut().iter_mut().zip(limbs) {
        *limb = u64::from_le_bytes(*bytes);
    }
    Fr::from_repr(repr).ok()
}

/// A scalar, little-endian.
pub(crate) fn encode_fr(scalar: &Fr) -> Zeroizing<[u8; FR_BYTES]> {
    let mut bytes = Zeroizing::new([0; FR_BYTES]);
    for (out, limb) in bytes.chunks_exact_mut(8).zip(scalar.into_repr().as_ref()) {
        out.copy_from_slice(&limb.to_le_bytes());
    }
    bytes
}

/// Bytes as the crate's serde sees them.
fn value(bytes: &[u8]) -> Value {
    bytes.iter().copied().map(Value::from).collect()
}

/// An array of `N` bytes out of what the crate's serde made.
fn bytes<const N: usize>(value: &Value) -> Option<[u8; N]> {
    let bytes: Option<Vec<u8>> = value
        .as_array()?
        .iter()
        .map(|byte| u8::try_from(byte.as_u64()?).ok())
        .collect();
    bytes?.try_into().ok()
}

/// A ciphertext of the crate from its parts; `None` unless U and W are canonical points of
/// their groups other than the identity.
pub(crate) fn ciphertext(u: &[u8; G1_BYTES], v: &[u8], w: &[u8; G2_BYTES]) -> Option<Ciphertext> {
    if is_identity(u) || is_identity(w) {
        return None;
    }
    let parts = Value::Array(vec![value(u), value(v), value(w)]);
    serde_json::from_value(parts).ok()
}

/// U, V of `N` bytes, and W of a ciphertext of the crate.
pub(crate) fn parts<const N: usize>(
    ciphertext: &Ciphertext,
) -> Option<([u8; G1_BYTES], [u8; N], [u8; G2_BYTES])> {
    let value = serde_json::to_value(ciphertext).ok()?;
    Some((bytes(&value[0])?, bytes(&value[1])?, bytes(&value[2])?))
}

/// Generators of G1 and G2, compressed.
pub(crate) fn generators() -> ([u8; G1_BYTES], [u8; G2_BYTES]) {
    let (mut g1, mut g2) = ([0; G1_BYTES], [0; G2_BYTES]);
    g1.copy_from_slice(G1Affine::one().into_compressed().as_ref());
    g2.copy_from_slice(G2Affine::one().into_compressed().as_ref());
    (g1, g2)
}

/// A canonical share other than the identity, or nothing.
pub(crate) fn decode_share(encoded: &[u8; G1_BYTES]) -> Option<DecryptionShare> {
    if is_identity(encoded) {
        return None;
    }
    serde_json::from_value(value(encoded)).ok()
}

/// A share, compressed.
pub(crate) fn encode_share(share: &DecryptionShare) -> Option<[u8; G1_BYTES]> {
    bytes(&serde_json::to_value(share).ok()?)
}

/// Commitments to the coefficients of a polynomial as a public key set; `None` unless all
/// are canonical points. Coefficients other than the first may be the identity.
pub(crate) fn key_set(coefficients: &[[u8; G1_BYTES]]) -> Option<PublicKeySet> {
    let canonical = |c: &[u8; G1_BYTES]| {
        !is_identity(c) || (c[0] == 0x80 | INFINITY && c[1..].iter().all(|byte| *byte == 0))
    };
    if coefficients.is_empty() || !coefficients.iter().all(canonical) {
        return None;
    }
    let coefficients: Value = coefficients.iter().map(|c| value(c)).collect();
    let set = serde_json::json!({ "commit": { "coeff": coefficients } });
    serde_json::from_value(set).ok()
}

/// The commitments of a public key set, compressed.
pub(crate) fn coefficients(set: &PublicKeySet) -> Option<Vec<[u8; G1_BYTES]>> {
    let value = serde_json::to_value(set).ok()?;
    value["commit"]["coeff"]
        .as_array()?
        .iter()
        .map(bytes)
        .collect()
}

/// A stream of random bytes for the crate out of 32 bytes that nobody else knows.
pub(crate) struct SeededStream(blake3::OutputReader);

impl SeededStream {
    /// `context` separates uses of seeds.
    pub(crate) fn new(context: &'static str, seed: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(seed);
        Self(hasher.finalize_xof())
    }
}

impl rand_core_05::RngCore for SeededStream {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_05::Error> {
        self.0.fill(dest);
        Ok(())
    }
}
