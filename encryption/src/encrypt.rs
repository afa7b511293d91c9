//! The sender's side (ENCRYPTION 6.4): TDH2 (Shoup, Gennaro, J. Cryptology 2002, §4) with
//! randomness that the plaintext itself reveals (Fujisaki, Okamoto, CRYPTO 1999), so that
//! an opening is checked offline with two multiplications.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::KeyId;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::group::{self, ENCODED, Hs};
use crate::wire::{Header, TAG_BYTES};
use crate::{EncryptError, EncryptionKey, padding};

/// Length of σ, the opening of a ciphertext, in bytes.
pub const OPENING_BYTES: usize = 32;

/// Encrypts `payload` under `key` for `label`.
///
/// `sender_secret` hedges a weak random source: σ and the proof nonce are hashes of fresh
/// randomness, the sender's secret, the label and the payload, so that a repeated random
/// state repeats σ only for the same label and payload, that is for the same ciphertext
/// body (a σ shared by two payloads would be a two-time pad).
pub(crate) fn encrypt<R: CryptoRng + ?Sized>(
    key: &EncryptionKey,
    label: &[u8],
    payload: &[u8],
    sender_secret: &[u8; 32],
    rng: &mut R,
) -> Result<Vec<u8>, EncryptError> {
    let mut fresh = Zeroizing::new([0; 64]);
    loop {
        rng.fill_bytes(&mut *fresh);
        let (for_sigma, for_nonce) = fresh.split_at(32);
        let sigma = Hs::new("FAIRLANE-V1-SIGMA")
            .part(for_sigma)
            .part(sender_secret)
            .lp(label)
            .lp(payload)
            .bytes();
        // r = 0 happens once in 2²⁵² draws.
        if let Some(bytes) = encrypt_with(key, label, payload, &sigma, for_nonce)? {
            return Ok(bytes);
        }
    }
}

/// Encryption with given σ; `None` if it leads to r = 0. `for_nonce` hedges s further.
pub(crate) fn encrypt_with(
    key: &EncryptionKey,
    label: &[u8],
    payload: &[u8],
    sigma: &[u8; OPENING_BYTES],
    for_nonce: &[u8],
) -> Result<Option<Vec<u8>>, EncryptError> {
    let mut buffer = padding::pad(sigma, payload)?;
    let mut r = randomness(key.id(), label, sigma);
    if r == Scalar::ZERO {
        return Ok(None);
    }
    // s depends on all that e depends on: one s never serves two challenges.
    let mut s = Hs::new("FAIRLANE-V1-S")
        .part(for_nonce)
        .part(sigma)
        .part(key.id().as_bytes())
        .lp(label)
        .lp(payload)
        .scalar();

    // Halves, because the batch encoding doubles: five encodings for one inversion.
    let (mut r_half, mut s_half) = (r.div_by_2(), s.div_by_2());
    let mut halves = [
        group::mul_g(&r_half),
        group::mul_hbar(&r_half),
        group::mul_g(&s_half),
        group::mul_hbar(&s_half),
        key.y_point() * r_half,
    ];
    let mut encoded = RistrettoPoint::double_and_compress_batch(&halves);
    let mut w = encoded[4].to_bytes();
    let mut header = Header {
        u: encoded[0].to_bytes(),
        ub: encoded[1].to_bytes(),
        r: encoded[2].to_bytes(),
        rb: encoded[3].to_bytes(),
        z: [0; ENCODED],
    };

    let tag = seal(&body_key(key.id(), &header.u, &w), label, &mut buffer);
    // What is in the buffer is ciphertext from here on.
    let mut body = core::mem::take(&mut *buffer);
    body.extend_from_slice(&tag);
    let e = header.challenge(key.id(), label, &body);
    header.z = (s + e * r).to_bytes();

    for scalar in [&mut r, &mut s, &mut r_half, &mut s_half] {
        scalar.zeroize();
    }
    halves.zeroize();
    encoded.zeroize();
    w.zeroize();
    Ok(Some(header.encode(&body)))
}

/// r = Hs("FAIRLANE-V1-R", key_id ‖ lp(label) ‖ σ).
pub(crate) fn randomness(key: KeyId, label: &[u8], sigma: &[u8]) -> Scalar {
    Hs::new("FAIRLANE-V1-R")
        .part(key.as_bytes())
        .lp(label)
        .part(sigma)
        .scalar()
}

/// ke = SHA-512("FAIRLANE-V1-TDH2-KDF" ‖ 0x00 ‖ key_id ‖ U ‖ W)[0..32].
pub(crate) fn body_key(key: KeyId, u: &[u8], w: &[u8]) -> Zeroizing<[u8; 32]> {
    Hs::new("FAIRLANE-V1-TDH2-KDF")
        .part(key.as_bytes())
        .part(u)
        .part(w)
        .bytes()
}

/// Encrypts in place with the one-time key `ke`, so the nonce is zero (6.4).
pub(crate) fn seal(ke: &[u8; 32], label: &[u8], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
    let cipher = ChaCha20Poly1305::new(ke.into());
    let tag = cipher.encrypt_inout_detached(&Nonce::default(), label, buffer.into());
    tag.expect("invariant: a size class is far below the 256 GiB limit of RFC 8439")
        .into()
}

/// Decrypts `body` = σ ‖ padded payload ‖ tag; `None` when the tag does not fit.
pub(crate) fn unseal(ke: &[u8; 32], label: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let (ciphertext, tag) = body.split_last_chunk::<TAG_BYTES>()?;
    let mut buffer = ciphertext.to_vec();
    let cipher = ChaCha20Poly1305::new(ke.into());
    let (nonce, tag) = (Nonce::default(), Tag::from(*tag));
    let opened = cipher.decrypt_inout_detached(&nonce, label, buffer.as_mut_slice().into(), &tag);
    opened.is_ok().then_some(buffer)
}
