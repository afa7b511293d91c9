//! The slots of the cut and choose: masks, their encryption to all receivers, and who can
//! decrypt.

use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::MemberId;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::curve::{Curve, evaluate};
use crate::KeyError;
use crate::group::{self, ENCODED, Hs};

/// Masks that a dealer makes, N.
pub const SLOTS: usize = 132;

/// Masks that stay hidden, S: C(132, 60) > 2¹²⁷ choices.
pub const KEPT: usize = 60;

/// A receiver's public key for dealings, of either group's secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReceiverKey {
    bytes: [u8; ENCODED],
    point: RistrettoPoint,
}

impl ReceiverKey {
    /// From a canonical point.
    ///
    /// # Errors
    /// [`KeyError`] when it is none, or the identity.
    pub fn new(bytes: [u8; ENCODED]) -> Result<Self, KeyError> {
        let point = group::decode_point(&bytes).ok_or(KeyError::NonCanonicalPoint)?;
        if bytes == [0; ENCODED] {
            return Err(KeyError::Identity);
        }
        Ok(Self { bytes, point })
    }

    /// The canonical encoding.
    #[must_use]
    pub fn bytes(&self) -> &[u8; ENCODED] {
        &self.bytes
    }
}

impl core::fmt::Debug for ReceiverKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReceiverKey").finish_non_exhaustive()
    }
}

/// A receiver's secret for dealings; a key of its own, used for nothing else.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ReceiverSecret(Scalar);

impl ReceiverSecret {
    /// A new secret.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        loop {
            let scalar = Scalar::random(rng);
            if scalar != Scalar::ZERO {
                return Self(scalar);
            }
        }
    }

    /// From a canonical scalar.
    ///
    /// # Errors
    /// [`KeyError::BadScalar`] for zero or an unreduced scalar.
    pub fn from_bytes(bytes: &[u8; ENCODED]) -> Result<Self, KeyError> {
        let scalar = group::decode_scalar(bytes).filter(|scalar| *scalar != Scalar::ZERO);
        Ok(Self(scalar.ok_or(KeyError::BadScalar)?))
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> ReceiverKey {
        let point = group::mul_g(&self.0);
        ReceiverKey {
            bytes: point.compress().to_bytes(),
            point,
        }
    }

    /// The secret scalar, for writing a key file.
    #[must_use]
    pub fn expose_secret(&self) -> Zeroizing<[u8; ENCODED]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Decrypts this receiver's entry of a slot.
    pub(crate) fn decrypt<C: Curve>(
        &self,
        context: &[u8; 32],
        slot: usize,
        receiver: MemberId,
        u: &[u8; ENCODED],
        entry: C::Scalar,
    ) -> Option<C::Scalar> {
        let shared = (group::decode_point(u)? * self.0).compress().to_bytes();
        Some(entry - pad::<C>(context, slot, receiver, u, &shared))
    }
}

impl core::fmt::Debug for ReceiverSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReceiverSecret").finish_non_exhaustive()
    }
}

/// Hs("FAIRLANE-V1-DEAL-PAD", context ‖ slot ‖ receiver ‖ U ‖ ρPK), modulo the order of the
/// group that is dealt in. The context names the group and hashes the receivers' keys.
fn pad<C: Curve>(
    context: &[u8; 32],
    slot: usize,
    receiver: MemberId,
    u: &[u8; ENCODED],
    shared: &[u8; ENCODED],
) -> C::Scalar {
    let wide = Hs::new("FAIRLANE-V1-DEAL-PAD")
        .part(context)
        .part((slot as u16).to_le_bytes())
        .part(receiver.share_index().to_le_bytes())
        .part(u)
        .part(shared)
        .wide();
    C::wide(&wide)
}

/// A slot made from its seed.
pub(crate) struct Slot<C: Curve> {
    /// The mask, lowest coefficient first.
    pub(crate) mask: Zeroizing<Vec<C::Scalar>>,
    /// U = ρG.
    pub(crate) u: [u8; ENCODED],
    /// g(αⱼ) + pad, for every receiver.
    pub(crate) entries: Vec<C::Scalar>,
}

impl<C: Curve> Slot<C> {
    pub(crate) fn new(
        context: &[u8; 32],
        slot: usize,
        t: usize,
        receivers: &[ReceiverKey],
        seed: &[u8; 32],
    ) -> Self {
        let draw = |index: u16| {
            Hs::new("FAIRLANE-V1-DEAL-SLOT")
                .part(context)
                .part((slot as u16).to_le_bytes())
                .part(seed)
                .part(index.to_le_bytes())
        };
        let mask = (0..t).map(|k| C::wide(&draw(k as u16).wide()));
        let mask = Zeroizing::new(mask.collect::<Vec<_>>());
        let mut rho_half = draw(u16::MAX).scalar().div_by_2();
        // Halves, because the batch encoding doubles.
        let mut points: Vec<RistrettoPoint> = receivers
            .iter()
            .map(|receiver| receiver.point * rho_half)
            .collect();
        points.push(group::mul_g(&rho_half));
        let mut encoded: Vec<[u8; ENCODED]> = RistrettoPoint::double_and_compress_batch(&points)
            .iter()
            .map(|point| point.to_bytes())
            .collect();
        let u = encoded.pop().unwrap_or_default();
        let entries = encoded
            .iter()
            .enumerate()
            .map(|(j, shared)| {
                let receiver = MemberId(j as u8);
                let value = evaluate::<C>(&mask, C::node(j));
                value + pad::<C>(context, slot, receiver, &u, shared)
            })
            .collect();
        rho_half.zeroize();
        points.zeroize();
        encoded.zeroize();
        Self { mask, u, entries }
    }
}

/// What the challenge is taken over for one slot, with the commitments to its mask.
pub(crate) fn digest<C: Curve>(
    context: &[u8; 32],
    slot: usize,
    commitments: &[C::Encoded],
    u: &[u8; ENCODED],
    entries: &[C::Scalar],
) -> [u8; 32] {
    let mut hash = Hs::new("FAIRLANE-V1-DEAL-COMMIT")
        .part(context)
        .part((slot as u16).to_le_bytes())
        .part(u);
    for commitment in commitments {
        hash = hash.part(commitment);
    }
    for entry in entries {
        hash = hash.part(C::encode_scalar(entry));
    }
    *hash.bytes()
}

/// The challenge over all slots.
pub(crate) fn challenge(context: &[u8; 32], digests: &[[u8; 32]]) -> [u8; 32] {
    let start = Hs::new("FAIRLANE-V1-DEAL-CHALLENGE").part(context);
    *digests
        .iter()
        .fold(start, |hash, digest| hash.part(digest))
        .bytes()
}

/// Which slots a challenge keeps: a uniform choice of [`KEPT`] (Fisher–Yates; the
/// remainder's bias is below 2⁻⁵⁶ a draw).
pub(crate) fn kept(challenge: &[u8; 32]) -> [bool; SLOTS] {
    let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 dealing slots");
    hasher.update(challenge);
    let mut stream = hasher.finalize_xof();
    let mut order: [usize; SLOTS] = core::array::from_fn(|slot| slot);
    let mut kept = [false; SLOTS];
    for at in 0..KEPT {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        let left = (SLOTS - at) as u64;
        order.swap(at, at + (u64::from_le_bytes(bytes) % left) as usize);
        kept[order[at]] = true;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// log₂ of the number of choices, by exact doubling of a running product.
    #[test]
    fn choices_are_over_127_bits() {
        let bits: f64 = (0..KEPT)
            .map(|k| ((SLOTS - k) as f64 / (k + 1) as f64).log2())
            .sum();
        assert!(bits > 127.0, "{bits}");
    }

    #[test]
    fn challenges_keep_sixty_different_slots() {
        let first = kept(&[1; 32]);
        assert_eq!(first.iter().filter(|kept| **kept).count(), KEPT);
        assert_ne!(first, kept(&[2; 32]));
        // Every slot is kept by some challenge and opened by some other.
        let all: Vec<_> = (0..64_u8).map(|seed| kept(&[seed; 32])).collect();
        for slot in 0..SLOTS {
            let count = all.iter().filter(|kept| kept[slot]).count();
            assert!((1..64).contains(&count), "slot {slot}: {count}");
        }
    }
}
