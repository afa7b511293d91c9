//! Suite 0x02, `BZ-BLS12381-CHACHA20POLY1305`: the labelled threshold scheme of Baek and
//! Zheng ("Simple and efficient threshold cryptosystem from the gap Diffie–Hellman group",
//! GLOBECOM 2003) with the crate `threshold_crypto`, as key transport for an AEAD.
//!
//! **Construction.** `threshold_crypto` encrypts a string m under PK as
//! U = rP, V = m ⊕ G(rPK), W = r·H(U, V), and e(P, W) = e(U, H(U, V)) makes it valid.
//!
//! - σ: 32 hedged random bytes. r is drawn from a stream seeded with
//!   Hs("FAIRLANE-V1-BZ-R", key_id ‖ lp(label) ‖ σ).
//! - K = G(rPK), 32 bytes; ke = Hs("FAIRLANE-V1-BZ-KDF", key_id ‖ U ‖ K).
//! - body = ChaCha20-Poly1305(ke, nonce 0, aad = label, σ ‖ pad(payload)).
//! - V = Hs("FAIRLANE-V1-BZ-BIND", key_id ‖ lp(label) ‖ U ‖ lp(body)), 32 bytes: what the
//!   crate encrypts is K ⊕ V, so that V comes out as *this* and W signs it.
//! - Ciphertext: `02 | U 48 | W 96 | u16 len | body`. V is not sent: everyone computes it.
//!
//! **Non-malleable** (A4, A5). W is a BLS signature on (U, V) under the one-time key U, and
//! V is a collision-resistant hash of key, label, U and body. Another label or body has
//! another V, and a W for it is a Diffie–Hellman value of (U, H(U, V)) that nobody but the
//! maker of U can compute. In the proof of Baek and Zheng V stands for "everything in the
//! ciphertext but U and W"; here this is the hash of it, and the one-time pad is replaced by
//! an AEAD under a hash of the same point. Its argument carries over: a valid ciphertext for
//! a programmed H reveals rPK to the simulator, which thereby answers for shares. Chosen
//! ciphertexts, random oracles, gap Diffie–Hellman, corruption fixed in advance. Theirs is a
//! group that is paired with itself; over BLS12-381 W, and what it reveals, lies in G2 and shares
//! lie in G1, so the assumption has to hold for a reduction that may map the one into the other.
//!
//! **One verdict** (A10). The crate has no opening check; r from σ gives one. After
//! decrypting, U and K are computed again from the σ found, and must be the ciphertext's and
//! the one that decrypted (Fujisaki, Okamoto, CRYPTO 1999). U fixes r, and r fixes K:
//! whatever was combined, at most one plaintext is ever accepted. V is computed from the
//! ciphertext, and the W that passed the pairing equation is the only one that does; to
//! make it again would cost more than all the rest, and say nothing. As with TDH2 (`open.rs`), `Malformed` is said only after t *proven*
//! shares, that is, shares for which the pairing equation of the crate holds; these
//! determine rPK, whatever the quorum.
//!
//! **Shares** need no proof: e(D, H(U, V)) = e(PKᵢ, W) shows that D = xᵢU, to anyone with
//! the ciphertext. There is one right share for a ciphertext and member, the same in every
//! block, so there is nothing to replay; the outer signature binds a set to its block.
//!
//! **Weaker than suite 0x01**: `threshold_crypto` and `pairing` are variable-time and were
//! last released in 2020. A member's share computation leaks timing to whoever can measure
//! it on the same machine. Costs are two orders of magnitude higher.

mod ciphertext;
mod kem;
mod open;
mod scheme;
mod shares;

pub use ciphertext::{
    BaekZhengCiphertext, HEADER_BYTES as BAEK_ZHENG_HEADER_BYTES, baek_zheng_bytes,
};
pub use open::{BaekZhengCombiner, BaekZhengPoints};
pub use scheme::BaekZheng;
pub(crate) use shares::verify_statements;
pub use shares::{BaekZhengBatch, BaekZhengOrderShare, BaekZhengProven, BaekZhengShares};

use crate::{Encrypting, PairingKey, PairingShare};

/// Public key of suite 0x02.
pub type BaekZhengKey = PairingKey<Encrypting>;

/// One member's secret of suite 0x02.
pub type BaekZhengShare = PairingShare<Encrypting>;
