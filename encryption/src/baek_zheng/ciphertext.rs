//! Encryption and validity of suite 0x02.

use fairlane_types::KeyId;
use rand_core::CryptoRng;
use threshold_crypto::Ciphertext;
use zeroize::{Zeroize, Zeroizing};

use super::{BaekZhengKey, kem};
use crate::encrypt::{OPENING_BYTES, seal};
use crate::group::Hs;
use crate::padding::{self, SIZE_CLASSES};
use crate::pairing::adapter::{self, G1_BYTES, G2_BYTES};
use crate::wire::TAG_BYTES;
use crate::{CtError, EncryptError, SUITE_BAEK_ZHENG};

/// Bytes in front of the body: suite, U, W, length.
pub const HEADER_BYTES: usize = 1 + G1_BYTES + G2_BYTES + 2;

/// Length of V and K, in bytes.
pub(crate) const PAD_BYTES: usize = 32;

/// Length of a ciphertext of suite 0x02 whose padded payload is `class` bytes long.
#[must_use]
pub const fn baek_zheng_bytes(class: usize) -> usize {
    HEADER_BYTES + OPENING_BYTES + class + TAG_BYTES
}

/// A valid ciphertext of suite 0x02 for one key and label, parsed.
#[derive(Clone)]
pub struct BaekZhengCiphertext {
    pub(crate) key: KeyId,
    pub(crate) u: [u8; G1_BYTES],
    /// What W signs besides U.
    pub(crate) binding: [u8; PAD_BYTES],
    pub(crate) w: [u8; G2_BYTES],
    pub(crate) label: Box<[u8]>,
    pub(crate) body: Box<[u8]>,
    pub(crate) inner: Ciphertext,
}

impl BaekZhengCiphertext {
    /// The key the ciphertext was checked for.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// U, compressed.
    #[must_use]
    pub fn u(&self) -> &[u8; G1_BYTES] {
        &self.u
    }

    /// What shares of it are verified against: U ‖ V ‖ W.
    pub(crate) fn statement(&self) -> Vec<u8> {
        [&self.u[..], &self.binding, &self.w].concat()
    }

    /// The label the ciphertext was checked for.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        &self.label
    }
}

impl PartialEq for BaekZhengCiphertext {
    fn eq(&self, other: &Self) -> bool {
        // The binding hashes key, label, U and body; U and it determine W.
        self.u == other.u && self.binding == other.binding
    }
}

impl Eq for BaekZhengCiphertext {}

impl core::fmt::Debug for BaekZhengCiphertext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengCiphertext")
            .field("key", &self.key)
            .field("label_bytes", &self.label.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The fixed part of a ciphertext, still encoded.
pub(crate) struct Header {
    pub(crate) u: [u8; G1_BYTES],
    pub(crate) w: [u8; G2_BYTES],
}

impl Header {
    /// Splits a ciphertext; suite and lengths are checked, points are not.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), CtError> {
        let suite = bytes.first().copied().unwrap_or(0);
        if suite != SUITE_BAEK_ZHENG {
            return Err(CtError::Suite {
                got: suite,
                want: SUITE_BAEK_ZHENG,
            });
        }
        let length = CtError::Length(bytes.len());
        let (u, rest) = bytes[1..].split_first_chunk().ok_or(length)?;
        let (w, rest) = rest.split_first_chunk().ok_or(length)?;
        let (len, body) = rest.split_first_chunk().ok_or(length)?;
        let in_class = SIZE_CLASSES
            .iter()
            .any(|class| bytes.len() == baek_zheng_bytes(*class));
        if usize::from(u16::from_le_bytes(*len)) != body.len() || !in_class {
            return Err(length);
        }
        Ok((Self { u: *u, w: *w }, body))
    }

    fn encode(&self, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_le_bytes();
        [&[SUITE_BAEK_ZHENG], &self.u[..], &self.w, &len, body].concat()
    }
}

/// ke = Hs("FAIRLANE-V1-BZ-KDF", key_id ‖ U ‖ K)[0..32].
pub(crate) fn body_key(key: KeyId, u: &[u8], pad: &[u8]) -> Zeroizing<[u8; 32]> {
    Hs::new("FAIRLANE-V1-BZ-KDF")
        .part(key.as_bytes())
        .part(u)
        .part(pad)
        .bytes()
}

/// V = Hs("FAIRLANE-V1-BZ-BIND", key_id ‖ lp(label) ‖ U ‖ lp(body))[0..32].
pub(crate) fn binding(key: KeyId, label: &[u8], u: &[u8], body: &[u8]) -> [u8; PAD_BYTES] {
    *Hs::new("FAIRLANE-V1-BZ-BIND")
        .part(key.as_bytes())
        .lp(label)
        .part(u)
        .lp(body)
        .bytes()
}

pub(crate) fn xor(a: &[u8; PAD_BYTES], b: &[u8; PAD_BYTES]) -> [u8; PAD_BYTES] {
    core::array::from_fn(|k| a[k] ^ b[k])
}

/// Encrypts `payload` under `key` for `label`; hedged as in suite 0x01.
pub(crate) fn encrypt<R: CryptoRng + ?Sized>(
    key: &BaekZhengKey,
    label: &[u8],
    payload: &[u8],
    sender_secret: &[u8; 32],
    rng: &mut R,
) -> Result<Vec<u8>, EncryptError> {
    let mut fresh = Zeroizing::new([0; 32]);
    loop {
        rng.fill_bytes(&mut *fresh);
        let sigma = Hs::new("FAIRLANE-V1-BZ-SIGMA")
            .part(*fresh)
            .part(sender_secret)
            .lp(label)
            .lp(payload)
            .bytes();
        // r = 0 happens once in 2²⁵⁴ draws.
        if let Some(bytes) = encrypt_with(key, label, payload, &sigma)? {
            return Ok(bytes);
        }
    }
}

/// Encryption with given σ; `None` if it leads to r = 0.
fn encrypt_with(
    key: &BaekZhengKey,
    label: &[u8],
    payload: &[u8],
    sigma: &[u8; OPENING_BYTES],
) -> Result<Option<Vec<u8>>, EncryptError> {
    let (id, public) = (key.id(), key.set().public_key());
    let mut buffer = padding::pad(sigma, payload)?;
    let Some((u, mut pad)) = kem::encapsulate(key, id, label, sigma) else {
        return Ok(None);
    };
    if adapter::is_identity(&u) {
        return Ok(None);
    }
    let tag = seal(&body_key(id, &u, &pad), label, &mut buffer);
    // What is in the buffer is ciphertext from here on.
    let mut body = core::mem::take(&mut *buffer);
    body.extend_from_slice(&tag);
    let mut message = xor(&pad, &binding(id, label, &u, &body));
    let inner = kem::transport(&public, id, label, sigma, &message);
    pad.zeroize();
    message.zeroize();
    let parts = adapter::parts::<PAD_BYTES>(&inner);
    Ok(parts.map(|(u, _, w)| Header { u, w }.encode(&body)))
}

/// Checks one pair: shape, points and their subgroups, and the pairing equation of the
/// crate, which binds label and body.
pub(crate) fn check(
    key: &BaekZhengKey,
    label: &[u8],
    bytes: &[u8],
) -> Result<BaekZhengCiphertext, CtError> {
    let (header, body) = Header::decode(bytes)?;
    if adapter::is_identity(&header.u) {
        return Err(CtError::IdentityU);
    }
    let binding = binding(key.id(), label, &header.u, body);
    let inner =
        adapter::ciphertext(&header.u, &binding, &header.w).ok_or(CtError::NonCanonicalPoint)?;
    if !inner.verify() {
        return Err(CtError::BadProof);
    }
    Ok(BaekZhengCiphertext {
        key: key.id(),
        u: header.u,
        binding,
        w: header.w,
        label: label.into(),
        body: body.into(),
        inner,
    })
}
