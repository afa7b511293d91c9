//! The two groups that secrets are dealt in, behind one set of operations: ristretto255 for
//! encryption keys of suite 0x01, G1 of BLS12-381 for those of suite 0x02 and for the
//! certificate key.
//!
//! Whatever touches a secret is constant time: scalars by `curve25519-dalek` and
//! `bls12_381`, multiples of the base point by `curve25519-dalek` and `blst`.

use core::fmt::Debug;
use core::ops::{Add, Mul, Sub};
use std::sync::LazyLock;

use blst::MultiPoint;
use blst::min_pk::{AggregatePublicKey, PublicKey, SecretKey};
use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::group;
use crate::pairing::adapter::G1_BYTES;

/// Length of an encoded scalar of either group, in bytes.
pub(crate) const SCALAR_BYTES: usize = 32;

/// Bits of a scalar of BLS12-381.
const BLS_SCALAR_BITS: usize = 255;

/// A group of prime order. `PartialEq` of scalars must be constant time.
pub(crate) trait Curve: Copy + Debug + PartialEq + Eq + 'static {
    /// Length of an encoded point, in bytes.
    const ENCODED: usize;

    type Scalar: Copy
        + Debug
        + PartialEq
        + Eq
        + Zeroize
        + Add<Output = Self::Scalar>
        + Sub<Output = Self::Scalar>
        + Mul<Output = Self::Scalar>;
    type Point: Copy + Debug;
    type Encoded: Copy + Debug + Eq + AsRef<[u8]> + BorshSerialize + BorshDeserialize;

    fn scalar(value: u64) -> Self::Scalar;

    /// 512 uniform bits modulo the order, which has at most 255: within 2⁻²⁵⁷ of uniform.
    fn wide(bytes: &[u8; 64]) -> Self::Scalar;

    /// Canonical, little-endian.
    fn encode_scalar(scalar: &Self::Scalar) -> [u8; SCALAR_BYTES];

    /// A canonical scalar, or nothing.
    fn decode_scalar(bytes: &[u8; SCALAR_BYTES]) -> Option<Self::Scalar>;

    /// The inverse; of zero, zero.
    fn invert(scalar: &Self::Scalar) -> Self::Scalar;

    /// Where a receiver's share is the value of the polynomial; the secret is its value at 0.
    fn node(member: usize) -> Self::Scalar;

    fn generator() -> Self::Point;

    /// A canonical point of the group other than the identity, or nothing.
    fn decode(bytes: &Self::Encoded) -> Option<Self::Point>;

    fn encode(point: &Self::Point) -> Self::Encoded;

    /// enc(xG) for secret scalars: in constant time.
    fn commit(scalars: &[Self::Scalar]) -> Vec<Self::Encoded>;

    /// enc(xₖG − Pₖ) for every row of public scalars.
    fn differences<'a>(
        rows: impl Iterator<Item = &'a [Self::Scalar]>,
        points: &[Self::Point],
    ) -> Vec<Vec<Self::Encoded>>
    where
        Self: 'a;

    /// Σ xP for public scalars.
    fn combine(terms: impl Iterator<Item = (Self::Scalar, Self::Point)>) -> Self::Point;
}

/// A uniform scalar other than zero.
pub(crate) fn random<C: Curve>(rng: &mut (impl CryptoRng + ?Sized)) -> C::Scalar {
    let mut bytes = Zeroizing::new([0; 64]);
    loop {
        rng.fill_bytes(&mut *bytes);
        let scalar = C::wide(&bytes);
        if scalar != C::scalar(0) {
            return scalar;
        }
    }
}

/// p(x) for coefficients from the lowest.
pub(crate) fn evaluate<C: Curve>(coefficients: &[C::Scalar], x: C::Scalar) -> C::Scalar {
    let highest_first = coefficients.iter().rev();
    highest_first.fold(C::scalar(0), |value, c| value * x + *c)
}

/// Σ xᵏCₖ: the commitment to p(x).
pub(crate) fn evaluate_committed<C: Curve>(points: &[C::Point], x: C::Scalar) -> C::Point {
    let mut power = C::scalar(1);
    C::combine(points.iter().map(|point| {
        let here = power;
        power = power * x;
        (here, *point)
    }))
}

/// ristretto255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ristretto {}

impl Curve for Ristretto {
    const ENCODED: usize = group::ENCODED;

    type Scalar = curve25519_dalek::Scalar;
    type Point = RistrettoPoint;
    type Encoded = [u8; group::ENCODED];

    fn scalar(value: u64) -> Self::Scalar {
        value.into()
    }

    fn wide(bytes: &[u8; 64]) -> Self::Scalar {
        Self::Scalar::from_bytes_mod_order_wide(bytes)
    }

    fn encode_scalar(scalar: &Self::Scalar) -> [u8; SCALAR_BYTES] {
        scalar.to_bytes()
    }

    fn decode_scalar(bytes: &[u8; SCALAR_BYTES]) -> Option<Self::Scalar> {
        group::decode_scalar(bytes)
    }

    fn invert(scalar: &Self::Scalar) -> Self::Scalar {
        scalar.invert()
    }

    /// αⱼ = 1/j for share index j = id + 1 (6.2).
    fn node(member: usize) -> Self::Scalar {
        Self::scalar(member as u64 + 1).invert()
    }

    fn generator() -> Self::Point {
        curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT
    }

    fn decode(bytes: &Self::Encoded) -> Option<Self::Point> {
        group::decode_point_nonzero(bytes)
    }

    fn encode(point: &Self::Point) -> Self::Encoded {
        point.compress().to_bytes()
    }

    fn commit(scalars: &[Self::Scalar]) -> Vec<Self::Encoded> {
        // Halves, because the batch encoding doubles.
        let half = |x: &Self::Scalar| group::mul_g(&x.div_by_2());
        encode_doubled(&scalars.iter().map(half).collect::<Vec<_>>())
    }

    fn differences<'a>(
        rows: impl Iterator<Item = &'a [Self::Scalar]>,
        points: &[Self::Point],
    ) -> Vec<Vec<Self::Encoded>> {
        let half = Self::scalar(2).invert();
        let halves: Vec<_> = points.iter().map(|point| point * half).collect();
        let row = |row: &[Self::Scalar]| {
            let pairs = row.iter().zip(&halves);
            let halves = pairs.map(|(x, p)| RistrettoPoint::mul_base(&(x * half)) - p);
            encode_doubled(&halves.collect::<Vec<_>>())
        };
        rows.map(row).collect()
    }

    fn combine(terms: impl Iterator<Item = (Self::Scalar, Self::Point)>) -> Self::Point {
        let (scalars, points): (Vec<_>, Vec<_>) = terms.unzip();
        RistrettoPoint::vartime_multiscalar_mul(scalars, points)
    }
}

/// enc(2P) of many points.
fn encode_doubled(halves: &[RistrettoPoint]) -> Vec<[u8; group::ENCODED]> {
    let encoded = RistrettoPoint::double_and_compress_batch(halves);
    encoded.iter().map(|point| point.to_bytes()).collect()
}

/// G1 of BLS12-381.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bls {}

impl Bls {
    /// xG. A zero, which blst refuses as a secret key, gives the identity.
    fn mul_g(x: &bls12_381::Scalar) -> PublicKey {
        let mut bytes = Zeroizing::new(x.to_bytes());
        bytes.reverse();
        SecretKey::from_bytes(&*bytes).map_or_else(|_| PublicKey::default(), |x| x.sk_to_pk())
    }
}

impl Curve for Bls {
    const ENCODED: usize = G1_BYTES;

    type Scalar = bls12_381::Scalar;
    type Point = PublicKey;
    type Encoded = [u8; G1_BYTES];

    fn scalar(value: u64) -> Self::Scalar {
        value.into()
    }

    fn wide(bytes: &[u8; 64]) -> Self::Scalar {
        Self::Scalar::from_bytes_wide(bytes)
    }

    fn encode_scalar(scalar: &Self::Scalar) -> [u8; SCALAR_BYTES] {
        scalar.to_bytes()
    }

    fn decode_scalar(bytes: &[u8; SCALAR_BYTES]) -> Option<Self::Scalar> {
        Self::Scalar::from_bytes(bytes).into_option()
    }

    fn invert(scalar: &Self::Scalar) -> Self::Scalar {
        scalar.invert().unwrap_or(Self::Scalar::zero())
    }

    /// j = id + 1, as in `threshold_crypto`.
    fn node(member: usize) -> Self::Scalar {
        Self::scalar(member as u64 + 1)
    }

    fn generator() -> Self::Point {
        static GENERATOR: LazyLock<PublicKey> = LazyLock::new(|| Bls::mul_g(&Bls::scalar(1)));
        *GENERATOR
    }

    fn decode(bytes: &Self::Encoded) -> Option<Self::Point> {
        PublicKey::key_validate(bytes).ok()
    }

    fn encode(point: &Self::Point) -> Self::Encoded {
        point.compress()
    }

    fn commit(scalars: &[Self::Scalar]) -> Vec<Self::Encoded> {
        scalars.iter().map(|x| Self::mul_g(x).compress()).collect()
    }

    fn differences<'a>(
        rows: impl Iterator<Item = &'a [Self::Scalar]>,
        points: &[Self::Point],
    ) -> Vec<Vec<Self::Encoded>> {
        let minus: Vec<_> = points
            .iter()
            .map(AggregatePublicKey::from_public_key)
            .collect();
        let difference = |(x, p): (&Self::Scalar, &AggregatePublicKey)| {
            let mut point = AggregatePublicKey::from_public_key(&Self::mul_g(x));
            point.sub_aggregate(p);
            point.to_public_key().compress()
        };
        rows.map(|row| row.iter().zip(&minus).map(difference).collect())
            .collect()
    }

    fn combine(terms: impl Iterator<Item = (Self::Scalar, Self::Point)>) -> Self::Point {
        let (scalars, points): (Vec<_>, Vec<_>) =
            terms.map(|(x, point)| (x.to_bytes(), point)).unzip();
        if points.is_empty() {
            return PublicKey::default();
        }
        let scalars = scalars.as_flattened();
        points.mult(scalars, BLS_SCALAR_BITS).to_public_key()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// What a dealing's check relies on, in a group.
    fn operations_agree<C: Curve>() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let zero = C::scalar(0);
        for count in [1, 2, 5, 40] {
            let x: Vec<_> = (0..count).map(|_| random::<C>(&mut rng)).collect();
            let y: Vec<_> = (0..count).map(|_| random::<C>(&mut rng)).collect();
            let points: Vec<_> = C::commit(&y)
                .iter()
                .map(|bytes| C::decode(bytes).unwrap())
                .collect();
            // Σ xᵢ(yᵢG) = (Σ xᵢyᵢ)G.
            let pairs = || x.iter().copied().zip(points.iter().copied());
            let sum = x.iter().zip(&y).fold(zero, |sum, (x, y)| sum + *x * *y);
            assert_eq!(C::encode(&C::combine(pairs())), C::commit(&[sum])[0]);
            // xG − yG = (x − y)G, also where that is the identity.
            let differences: Vec<_> = x.iter().zip(&y).map(|(x, y)| *x - *y).collect();
            let both = C::differences([&x[..], &y[..]].into_iter(), &points);
            assert_eq!(both[0], C::commit(&differences));
            assert_eq!(both[1], C::commit(&vec![zero; count]));
            // p(3)G from commitments to p.
            let at = C::scalar(3);
            let value = evaluate::<C>(&y, at);
            let committed = evaluate_committed::<C>(&points, at);
            assert_eq!(C::encode(&committed), C::commit(&[value])[0]);
            assert_eq!(C::invert(&value) * value, C::scalar(1));
            let bytes = C::encode_scalar(&value);
            assert_eq!(C::decode_scalar(&bytes), Some(value));
        }
        let identity = C::commit(&[zero])[0];
        assert_eq!(identity.as_ref().len(), C::ENCODED);
        assert!(C::decode(&identity).is_none());
        assert_eq!(C::encode(&C::generator()), C::commit(&[C::scalar(1)])[0]);
        assert_eq!(C::decode_scalar(&[0xff; SCALAR_BYTES]), None);
        // 2⁵¹² − 1 modulo the order, from its bytes: (2⁶⁴)⁸ − 1.
        let two_64 = C::scalar(u64::MAX) + C::scalar(1);
        let power = (0..8).fold(C::scalar(1), |power, _| power * two_64);
        assert_eq!(C::wide(&[0xff; 64]), power - C::scalar(1));
    }

    #[test]
    fn operations_agree_over_ristretto255() {
        operations_agree::<Ristretto>();
    }

    #[test]
    fn operations_agree_over_bls12_381() {
        operations_agree::<Bls>();
    }

    /// A point of the curve outside the subgroup: x = 4 lies on it, as the crate that knows
    /// both tells.
    #[test]
    fn points_outside_the_subgroup_are_refused() {
        let mut bytes = [0; G1_BYTES];
        bytes[0] = 0x80;
        bytes[G1_BYTES - 1] = 4;
        assert!(PublicKey::uncompress(&bytes).is_ok());
        assert!(Bls::decode(&bytes).is_none());
    }
}
