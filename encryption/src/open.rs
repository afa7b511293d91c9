//! Opening with a key point and the opening check (ENCRYPTION 6.7, 6.8), and the verdict
//! that is the same for every quorum (A9, A10).
//!
//! Why verdicts agree. Let W* = (Y's logarithm)·U, the one true key point. The opening
//! check accepts (σ, W) only if U = rG and W = rY for r = H(σ): then W = W*, whatever the
//! shares were. So every member that accepts has used W* and decrypted the same bytes. A
//! proven share is x'ᵢU, and the key is consistent, so t proven shares combine to W*, for
//! any quorum; what is then found is a function of ciphertext and W* alone. `Malformed`
//! is said only there: after t valid proofs, and never for a ciphertext that opens under
//! W*. A liar can thus delay, but not change, an outcome.

use core::borrow::Borrow;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};

use crate::combine::{Combiner, KeyPoints};
use crate::encrypt::{OPENING_BYTES, body_key, randomness, unseal};
use crate::group::{self, ENCODED, Weights};
use crate::wire::Header;
use crate::{
    CombineError, CtError, EncryptionKey, OpeningError, ParsedCiphertext, ProvenShare, padding,
};

/// What a ciphertext held, with the proof that it did.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Plain {
    /// The payload without padding.
    pub payload: Vec<u8>,
    /// σ: with it anyone checks payload against ciphertext (`verify_opening`).
    pub opening: [u8; OPENING_BYTES],
}

impl core::fmt::Debug for Plain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Plain")
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The verdict on a ciphertext; the same for every quorum of every member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Opened {
    /// It opened, and the opening check passed.
    Plain(Plain),
    /// t proven shares do not open it: its maker's doing.
    Malformed,
}

/// A decrypted order whose opening check is still to be done.
struct Trial<'a> {
    index: usize,
    u: &'a RistrettoPoint,
    /// W, or W/2 if `halved`.
    w: &'a RistrettoPoint,
    halved: bool,
    r: Scalar,
    plain: Plain,
}

impl Trial<'_> {
    /// U = rG and W = rY.
    fn holds(&self, key: &EncryptionKey) -> bool {
        RistrettoPoint::mul_base(&self.r) == *self.u
            && key.y_point() * self.r
                == if self.halved {
                    self.w + self.w
                } else {
                    *self.w
                }
    }
}

/// Below this size single checks cost less than halving further.
const BISECT_MIN: usize = 2;

/// Opens a list with its key points; `None` where that fails: the maker or, as long as
/// the shares are not proven, one of the quorum is to blame. A list of another length than
/// `points` opens as far as both go.
pub(crate) fn open_batch<C: Borrow<ParsedCiphertext>>(
    key: &EncryptionKey,
    list: &[C],
    points: &KeyPoints,
    entropy: &[u8; 32],
) -> Vec<Option<Plain>> {
    let mut opened: Vec<Option<Plain>> = Vec::new();
    opened.resize_with(list.len(), || None);
    let trials: Vec<Trial<'_>> = list
        .iter()
        .map(Borrow::borrow)
        .zip(points.points.iter().zip(&points.encoded))
        .enumerate()
        .filter_map(|(index, (ct, (w, encoded)))| decrypt(index, ct, w, points.halved, encoded))
        .collect();
    let weights = batch_weights(&trials, points, entropy);
    let mut verdicts = Vec::with_capacity(trials.len());
    judge(key, &trials, &weights, &mut verdicts);
    for (trial, good) in trials.into_iter().zip(verdicts) {
        if good {
            opened[trial.index] = Some(trial.plain);
        }
    }
    opened
}

fn decrypt<'a>(
    index: usize,
    ct: &'a ParsedCiphertext,
    w: &'a RistrettoPoint,
    halved: bool,
    encoded: &[u8; ENCODED],
) -> Option<Trial<'a>> {
    let ke = body_key(ct.key, &ct.u_bytes, encoded);
    let buffer = unseal(&ke, &ct.label, &ct.body)?;
    let (opening, padded) = buffer.split_first_chunk::<OPENING_BYTES>()?;
    let payload = padding::unpad(padded)?.to_vec();
    let r = randomness(ct.key, &ct.label, opening);
    Some(Trial {
        index,
        u: &ct.u,
        w,
        halved,
        r,
        plain: Plain {
            payload,
            opening: *opening,
        },
    })
}

/// ρ and ρ', unknown to senders and members.
fn batch_weights(trials: &[Trial<'_>], points: &KeyPoints, entropy: &[u8; 32]) -> Vec<[Scalar; 2]> {
    let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 opening check weights");
    hasher.update(entropy);
    for trial in trials {
        hasher
            .update(&points.encoded[trial.index])
            .update(trial.r.as_bytes());
    }
    let mut weights = Weights::new(&hasher);
    trials
        .iter()
        .map(|_| [weights.draw(), weights.draw()])
        .collect()
}

fn judge(
    key: &EncryptionKey,
    trials: &[Trial<'_>],
    weights: &[[Scalar; 2]],
    verdicts: &mut Vec<bool>,
) {
    if trials.len() <= BISECT_MIN {
        verdicts.extend(trials.iter().map(|trial| trial.holds(key)));
    } else if batch_holds(key, trials, weights) {
        verdicts.extend(trials.iter().map(|_| true));
    } else {
        let middle = trials.len() / 2;
        let (left, right) = trials.split_at(middle);
        let (left_weights, right_weights) = weights.split_at(middle);
        judge(key, left, left_weights, verdicts);
        judge(key, right, right_weights, verdicts);
    }
}

/// ΣρU + Σρ'W (or Σ2ρ'(W/2)) − (Σρr)G − (Σρ'r)Y = 0.
fn batch_holds(key: &EncryptionKey, trials: &[Trial<'_>], weights: &[[Scalar; 2]]) -> bool {
    let (mut on_g, mut on_y) = (Scalar::ZERO, Scalar::ZERO);
    let mut scalars = Vec::with_capacity(2 * trials.len() + 2);
    for (trial, [rho, rho_w]) in trials.iter().zip(weights) {
        on_g -= rho * trial.r;
        on_y -= rho_w * trial.r;
        scalars.extend([*rho, if trial.halved { rho_w + rho_w } else { *rho_w }]);
    }
    scalars.extend([on_g, on_y]);
    let bases = [RISTRETTO_BASEPOINT_POINT, *key.y_point()];
    let points = trials
        .iter()
        .flat_map(|trial| [trial.u, trial.w])
        .chain(&bases);
    RistrettoPoint::vartime_multiscalar_mul(scalars, points).is_identity()
}

/// The verdict on one ciphertext from proven shares of t members (6.8).
///
/// # Errors
/// [`CombineError`] unless the shares are those of exactly t distinct members for this
/// ciphertext and key.
pub(crate) fn conclude<P: Borrow<ProvenShare>>(
    key: &EncryptionKey,
    ciphertext: &ParsedCiphertext,
    shares: &[P],
) -> Result<Opened, CombineError> {
    let shares: Vec<&ProvenShare> = shares.iter().map(Borrow::borrow).collect();
    for share in &shares {
        let same = share.key == key.sharing()
            && ciphertext.key == key.id()
            && share.u == ciphertext.u_bytes;
        if !same {
            return Err(CombineError::Mixed(share.member));
        }
    }
    let quorum: Vec<_> = shares.iter().map(|share| share.member).collect();
    let points = Combiner::new(key, &quorum)?.combine_proven(&shares);
    // One order is checked singly: no weights, no entropy.
    let mut opened = open_batch(key, &[ciphertext], &points, &[0; 32]);
    Ok(opened
        .pop()
        .flatten()
        .map_or(Opened::Malformed, Opened::Plain))
}

/// Checks offline that `payload` is what a ciphertext held: two multiplications and one
/// decryption; no secret, no shares.
///
/// # Errors
/// [`OpeningError`] tells a ciphertext that does not parse, an opening that does not fit
/// and a payload that was not encrypted apart.
pub(crate) fn verify_opening(
    key: &EncryptionKey,
    label: &[u8],
    ciphertext: &[u8],
    opening: &[u8; OPENING_BYTES],
    payload: &[u8],
) -> Result<(), OpeningError> {
    let (header, body) = Header::decode(ciphertext)?;
    let u = group::decode_point(&header.u).ok_or(CtError::NonCanonicalPoint)?;
    if u.is_identity() {
        return Err(CtError::IdentityU.into());
    }
    let r = randomness(key.id(), label, opening);
    if RistrettoPoint::mul_base(&r) != u {
        return Err(OpeningError::WrongOpening);
    }
    let w = (key.y_point() * r).compress();
    let ke = body_key(key.id(), &header.u, w.as_bytes());
    let buffer = unseal(&ke, label, body).ok_or(OpeningError::WrongOpening)?;
    let (sealed, padded) = buffer
        .split_first_chunk::<OPENING_BYTES>()
        .ok_or(OpeningError::WrongOpening)?;
    if sealed != opening {
        return Err(OpeningError::WrongOpening);
    }
    if padding::unpad(padded) != Some(payload) {
        return Err(OpeningError::WrongPayload);
    }
    Ok(())
}
