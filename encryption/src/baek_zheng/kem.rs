//! Key transport of suite 0x02: from σ to U and K, and from shares to K. Everything is
//! computed by `threshold_crypto`; only what is needed is asked of it.

use std::sync::OnceLock;

use fairlane_types::KeyId;
use threshold_crypto::ff::Field;
use threshold_crypto::{
    Ciphertext, DecryptionShare, Fr, PublicKey, PublicKeySet, SecretKey, SecretKeyShare,
};

use super::BaekZhengKey;
use super::ciphertext::PAD_BYTES;
use crate::group::Hs;
use crate::pairing::adapter::{self, G1_BYTES, SeededStream};

/// The stream that r is drawn from.
fn stream(key: KeyId, label: &[u8], sigma: &[u8]) -> SeededStream {
    let seed = Hs::new("FAIRLANE-V1-BZ-R")
        .part(key.as_bytes())
        .lp(label)
        .part(sigma)
        .bytes();
    SeededStream::new("FAIRLANE V1 Baek-Zheng randomness", &seed)
}

/// What `threshold_crypto` makes of a message for the r that σ stands for.
pub(crate) fn transport(
    public: &PublicKey,
    key: KeyId,
    label: &[u8],
    sigma: &[u8],
    message: &[u8; PAD_BYTES],
) -> Ciphertext {
    public.encrypt_with_rng(&mut stream(key, label, sigma), message)
}

/// U = rP and K = G(rPK) for the r that σ stands for, which is the one that
/// [`transport`] draws; `None` for r = 0. W, most of the work, is left out.
pub(crate) fn encapsulate(
    key: &BaekZhengKey,
    id: KeyId,
    label: &[u8],
    sigma: &[u8],
) -> Option<([u8; G1_BYTES], [u8; PAD_BYTES])> {
    let mut r = Fr::random(&mut stream(id, label, sigma));
    if r.is_zero() {
        return None;
    }
    let mut again = r;
    let u = SecretKey::from_mut(&mut r).public_key().to_bytes();
    // A share with secret r of a ciphertext with U = PK is rPK.
    let point = SecretKeyShare::from_mut(&mut again).decrypt_share_no_verify(key.at_public_key());
    let pad = pad_of(&constants().alone, [(0, &point)])?;
    Some((u, pad))
}

/// K = G(xU) from shares xᵢU of exactly as many members as the set needs.
pub(crate) fn pad_of<'a>(
    set: &PublicKeySet,
    shares: impl IntoIterator<Item = (usize, &'a DecryptionShare)>,
) -> Option<[u8; PAD_BYTES]> {
    set.decrypt(shares, &constants().blank)
        .ok()?
        .try_into()
        .ok()
}

struct Constants {
    /// A ciphertext of the crate with V = 0: decrypting it gives the pad itself.
    blank: Ciphertext,
    /// A key with one holder, whose share is the whole.
    alone: PublicKeySet,
}

/// Made once: decoding points is slow.
fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let (g1, g2) = adapter::generators();
        let made = adapter::ciphertext(&g1, &[0; PAD_BYTES], &g2)
            .zip(adapter::key_set(&[g1]))
            .map(|(blank, alone)| Constants { blank, alone });
        made.expect("invariant: generators are canonical points of their groups")
    })
}
