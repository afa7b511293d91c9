//! Validity of ciphertexts, single and in batches (ENCRYPTION 6.5).

use core::borrow::Borrow;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::traits::{Identity, IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::KeyId;

use crate::group::{self, ENCODED, HBAR, Weights};
use crate::wire::Header;
use crate::{CtError, EncryptionKey};

/// A ciphertext that passed every check of 6.5 for one key and label. It keeps U parsed,
/// so that validity and decompression are paid once, and what opening needs: label and
/// body. About 250 bytes plus label and body.
#[derive(Clone)]
pub struct ParsedCiphertext {
    pub(crate) key: KeyId,
    pub(crate) u_bytes: [u8; ENCODED],
    pub(crate) u: RistrettoPoint,
    pub(crate) label: Box<[u8]>,
    pub(crate) body: Box<[u8]>,
}

impl ParsedCiphertext {
    /// A ciphertext whose proof nobody checked, for a simulator that knows by other means
    /// which ones are valid. Nothing that listens to a network may call it; the house check
    /// holds that. No share of it is accepted by anyone: its point is the identity.
    ///
    /// # Errors
    /// [`CtError`] when suite or lengths are wrong.
    pub fn assumed(key: KeyId, label: &[u8], bytes: &[u8]) -> Result<Self, CtError> {
        let (header, body) = Header::decode(bytes)?;
        Ok(Self {
            key,
            u_bytes: header.u,
            u: RistrettoPoint::identity(),
            label: label.into(),
            body: body.into(),
        })
    }

    /// The key the ciphertext was checked for.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// enc(U).
    #[must_use]
    pub fn u(&self) -> &[u8; ENCODED] {
        &self.u_bytes
    }

    /// The label the ciphertext was checked for.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        &self.label
    }
}

impl PartialEq for ParsedCiphertext {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.u_bytes == other.u_bytes
            && self.label == other.label
            && self.body == other.body
    }
}

impl Eq for ParsedCiphertext {}

impl core::fmt::Debug for ParsedCiphertext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ParsedCiphertext")
            .field("key", &self.key)
            .field("label_bytes", &self.label.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A ciphertext with its points parsed and its proof not yet checked.
struct Candidate {
    u: RistrettoPoint,
    ub: RistrettoPoint,
    r: RistrettoPoint,
    rb: RistrettoPoint,
    z: Scalar,
    e: Scalar,
    parsed: ParsedCiphertext,
}

impl Candidate {
    fn parse(key: &EncryptionKey, label: &[u8], bytes: &[u8]) -> Result<Self, CtError> {
        let (header, body) = Header::decode(bytes)?;
        let point = |bytes| group::decode_point(bytes).ok_or(CtError::NonCanonicalPoint);
        let z = group::decode_scalar(&header.z).ok_or(CtError::NonCanonicalScalar)?;
        let u = point(&header.u)?;
        if u.is_identity() {
            return Err(CtError::IdentityU);
        }
        let (ub, r, rb) = (point(&header.ub)?, point(&header.r)?, point(&header.rb)?);
        let e = header.challenge(key.id(), label, body);
        let parsed = ParsedCiphertext {
            key: key.id(),
            u_bytes: header.u,
            u,
            label: label.into(),
            body: body.into(),
        };
        Ok(Self {
            u,
            ub,
            r,
            rb,
            z,
            e,
            parsed,
        })
    }

    /// zG = R + eU and zHbar = Rb + eUb.
    fn is_valid(&self) -> bool {
        let minus_e = -self.e;
        let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(&minus_e, &self.u, &self.z);
        let second = RistrettoPoint::vartime_multiscalar_mul([self.z, minus_e], [*HBAR, self.ub]);
        first == self.r && second == self.rb
    }
}

/// Below this size single checks cost less than halving further.
const BISECT_MIN: usize = 4;

/// Checks (label, ciphertext) pairs; the result for each is what a check of it alone says.
pub(crate) fn check_batch<L: Borrow<[u8]>, C: Borrow<[u8]>>(
    key: &EncryptionKey,
    items: &[(L, C)],
    entropy: &[u8; 32],
) -> Vec<Result<ParsedCiphertext, CtError>> {
    let candidates: Vec<Result<Candidate, CtError>> = items
        .iter()
        .map(|(label, bytes)| Candidate::parse(key, label.borrow(), bytes.borrow()))
        .collect();
    let well_formed: Vec<&Candidate> = candidates.iter().flatten().collect();
    let weights = batch_weights(&well_formed, entropy);
    let mut verdicts = Vec::with_capacity(well_formed.len());
    judge(&well_formed, &weights, &mut verdicts);

    let mut verdicts = verdicts.into_iter();
    candidates
        .into_iter()
        .map(|candidate| {
            let candidate = candidate?;
            match verdicts.next() {
                Some(true) => Ok(candidate.parsed),
                _ => Err(CtError::BadProof),
            }
        })
        .collect()
}

/// ρ_k and ρ'_k, independent, unknown to the senders. The challenge e hashes every part
/// of the ciphertext and label but z.
fn batch_weights(candidates: &[&Candidate], entropy: &[u8; 32]) -> Vec<[Scalar; 2]> {
    let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 ciphertext check weights");
    hasher.update(entropy);
    for candidate in candidates {
        hasher
            .update(candidate.e.as_bytes())
            .update(candidate.z.as_bytes());
    }
    let mut weights = Weights::new(&hasher);
    candidates
        .iter()
        .map(|_| [weights.draw(), weights.draw()])
        .collect()
}

/// One verdict for each candidate: the batch equation, and on failure both halves, so that
/// k bad ones in a batch of B cost O(k log B) small batches and not B single checks.
fn judge(candidates: &[&Candidate], weights: &[[Scalar; 2]], verdicts: &mut Vec<bool>) {
    if candidates.len() <= BISECT_MIN {
        verdicts.extend(candidates.iter().map(|candidate| candidate.is_valid()));
    } else if batch_holds(candidates, weights) {
        verdicts.extend(candidates.iter().map(|_| true));
    } else {
        let middle = candidates.len() / 2;
        let (left, right) = candidates.split_at(middle);
        let (left_weights, right_weights) = weights.split_at(middle);
        judge(left, left_weights, verdicts);
        judge(right, right_weights, verdicts);
    }
}

/// Σ(ρz)G + Σ(ρ'z)Hbar − ΣρR − ΣρeU − Σρ'Rb − Σρ'eUb = 0.
fn batch_holds(candidates: &[&Candidate], weights: &[[Scalar; 2]]) -> bool {
    let (mut on_g, mut on_hbar) = (Scalar::ZERO, Scalar::ZERO);
    let mut scalars = Vec::with_capacity(4 * candidates.len() + 2);
    for (candidate, [rho, rho_b]) in candidates.iter().zip(weights) {
        on_g -= rho * candidate.z;
        on_hbar -= rho_b * candidate.z;
        scalars.extend([*rho, rho * candidate.e, *rho_b, rho_b * candidate.e]);
    }
    scalars.extend([on_g, on_hbar]);
    let generators = [RISTRETTO_BASEPOINT_POINT, *HBAR];
    let points = candidates
        .iter()
        .flat_map(|c| [&c.r, &c.u, &c.rb, &c.ub])
        .chain(&generators);
    RistrettoPoint::vartime_multiscalar_mul(scalars, points).is_identity()
}

/// Checks one pair; no batch, so no randomness.
pub(crate) fn check(
    key: &EncryptionKey,
    label: &[u8],
    bytes: &[u8],
) -> Result<ParsedCiphertext, CtError> {
    let candidate = Candidate::parse(key, label, bytes)?;
    if candidate.is_valid() {
        Ok(candidate.parsed)
    } else {
        Err(CtError::BadProof)
    }
}
