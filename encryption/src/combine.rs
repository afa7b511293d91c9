//! Combining exactly t shares to the key point W (ENCRYPTION 6.7).
//!
//! With the scaling of 6.2 the Lagrange coefficients at 0 are integers: for a quorum Q of
//! exactly t members, W = 2·Σ_{i∈Q} cᵢDᵢ with cᵢ = ∏_{j∈[n]∖Q}(i−j). As products of n−t
//! small integers they have a large common divisor g (for neighbours, (n−t)!), so
//! W = 2g·Σ(cᵢ/g)Dᵢ with one multiplication by g and coefficients a third to a half as
//! long: for n = 100, 58 bits on average where cᵢ modulo the group order has 252.

use core::borrow::Borrow;

use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::{KeyId, MemberId};

use crate::group::{self, ENCODED};
use crate::{CombineError, EncryptionKey, ProvenShare, Shares};

/// Largest committee whose coefficients are used digit by digit, without tables: there
/// |cᵢ| ≤ 21!/14! < 2³⁰. The figure is a measured crossover, not a limit of the method.
const INTEGER_N_MAX: usize = 22;

/// Primes below the largest difference of share indices.
const PRIMES: [u16; 54] = [
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193,
    197, 199, 211, 223, 227, 229, 233, 239, 241, 251,
];

/// Powers of [`PRIMES`] in a product.
type Exponents = [u16; PRIMES.len()];

/// A quorum of exactly t members with its coefficients: computed once, used for every
/// order of every block with this quorum.
#[derive(Clone, Debug)]
pub struct Combiner {
    key: KeyId,
    members: Vec<MemberId>,
    coefficients: Coefficients,
    /// Non-adjacent form of g, lowest digit first.
    common: Vec<i8>,
}

/// The cᵢ/g in the order of the quorum.
#[derive(Clone, Debug)]
enum Coefficients {
    /// Signed digits, highest position first.
    Integers(Vec<Digits>),
    /// Sign (true is negative) and magnitude.
    Scalars(Vec<(bool, Scalar)>),
}

/// The shares to add or subtract at one binary position.
#[derive(Clone, Debug, Default)]
struct Digits {
    plus: Vec<usize>,
    minus: Vec<usize>,
}

/// Key points of a list of orders under one quorum: right if every share was.
#[derive(Clone)]
pub struct KeyPoints {
    /// W_k/2 or W_k, for the opening check.
    pub(crate) points: Vec<RistrettoPoint>,
    /// Whether the points are halves.
    pub(crate) halved: bool,
    /// enc(W_k), for the key derivation.
    pub(crate) encoded: Vec<[u8; ENCODED]>,
}

impl KeyPoints {
    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Whether the list was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// enc(W_k) of every order.
    #[must_use]
    pub fn encoded(&self) -> &[[u8; ENCODED]] {
        &self.encoded
    }

    fn new(halves: Vec<RistrettoPoint>) -> Self {
        let encoded = RistrettoPoint::double_and_compress_batch(&halves)
            .iter()
            .map(|encoded| encoded.to_bytes())
            .collect();
        Self {
            points: halves,
            halved: true,
            encoded,
        }
    }

    /// From what another combined; `Err` is the place of the first that is no point, or the
    /// identity.
    pub(crate) fn received(encoded: Vec<[u8; ENCODED]>) -> Result<Self, usize> {
        let points = encoded
            .iter()
            .enumerate()
            .map(|(k, bytes)| group::decode_point_nonzero(bytes).ok_or(k))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            points,
            halved: false,
            encoded,
        })
    }
}

impl core::fmt::Debug for KeyPoints {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyPoints")
            .field("orders", &self.len())
            .finish_non_exhaustive()
    }
}

impl Combiner {
    /// Precomputes the coefficients of a quorum, in the order given.
    ///
    /// # Errors
    /// [`CombineError`] unless `quorum` is exactly t distinct holders of the key.
    pub fn new(key: &EncryptionKey, quorum: &[MemberId]) -> Result<Self, CombineError> {
        check_quorum(key.n(), key.t(), quorum)?;
        let path = if key.n() <= INTEGER_N_MAX {
            integers
        } else {
            scalars
        };
        Ok(Self::with_path(key, quorum, path))
    }

    fn with_path(
        key: &EncryptionKey,
        quorum: &[MemberId],
        path: fn(&[(bool, Scalar)]) -> Coefficients,
    ) -> Self {
        let (common, coefficients) = coefficients(key.n(), quorum);
        Self {
            key: key.sharing(),
            members: quorum.to_vec(),
            coefficients: path(&coefficients),
            common: naf(&common),
        }
    }

    /// The quorum, in the order in which shares are given.
    #[must_use]
    pub fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// The key points of a list from the quorum's shares, in the order of
    /// [`members`](Self::members). The shares need not be proven: a wrong one gives a
    /// wrong W, which the opening check refuses.
    ///
    /// # Errors
    /// [`CombineError`] when the shares are not those of this quorum for one list.
    pub fn combine<S: Borrow<Shares>>(&self, shares: &[S]) -> Result<KeyPoints, CombineError> {
        let need = self.members.len();
        if shares.len() < need {
            return Err(CombineError::NotEnough {
                have: shares.len(),
                need,
            });
        }
        if shares.len() > need {
            return Err(CombineError::TooMany {
                have: shares.len(),
                need,
            });
        }
        let first = shares[0].borrow();
        for (shares, member) in shares.iter().map(Borrow::borrow).zip(&self.members) {
            let same = shares.batch.member == *member
                && shares.batch.key == self.key
                && shares.batch.block == first.batch.block
                && shares.len() == first.len();
            if !same {
                return Err(CombineError::Mixed(shares.batch.member));
            }
        }
        let mut column = Vec::with_capacity(need);
        let halves = (0..first.len()).map(|k| {
            column.clear();
            column.extend(shares.iter().map(|shares| shares.borrow().points[k]));
            self.half(&column)
        });
        Ok(KeyPoints::new(halves.collect()))
    }

    /// The key point of one order from proven shares; they must be for this quorum.
    pub(crate) fn combine_proven(&self, shares: &[&ProvenShare]) -> KeyPoints {
        let column: Vec<RistrettoPoint> = shares.iter().map(|share| share.point).collect();
        KeyPoints::new(vec![self.half(&column)])
    }

    /// W/2 = g·Σ(cᵢ/g)Dᵢ; everything here is public, variable time is fine.
    fn half(&self, column: &[RistrettoPoint]) -> RistrettoPoint {
        let sum = match &self.coefficients {
            Coefficients::Integers(positions) => {
                let mut sum: Option<RistrettoPoint> = None;
                for digits in positions {
                    // Doubling starts with the first point, not with the identity.
                    sum = sum.map(|sum| sum + sum);
                    for index in &digits.plus {
                        sum = Some(sum.map_or(column[*index], |sum| sum + column[*index]));
                    }
                    for index in &digits.minus {
                        sum = Some(sum.map_or(-column[*index], |sum| sum - column[*index]));
                    }
                }
                sum.unwrap_or_else(RistrettoPoint::identity)
            }
            Coefficients::Scalars(scalars) => RistrettoPoint::vartime_multiscalar_mul(
                scalars.iter().map(|(_, magnitude)| magnitude),
                scalars.iter().zip(column).map(
                    |((negative, _), point)| {
                        if *negative { -point } else { *point }
                    },
                ),
            ),
        };
        // The highest digit is 1 and stands for the sum itself.
        self.common
            .iter()
            .rev()
            .skip(1)
            .fold(sum, |product, digit| {
                let double = product + product;
                match digit {
                    1 => double + sum,
                    -1 => double - sum,
                    _ => double,
                }
            })
    }
}

/// Exactly `need` distinct members out of `n`.
pub(crate) fn check_quorum(n: usize, need: usize, quorum: &[MemberId]) -> Result<(), CombineError> {
    for (at, member) in quorum.iter().enumerate() {
        if member.index() >= n {
            return Err(CombineError::IndexRange(*member));
        }
        if quorum[..at].contains(member) {
            return Err(CombineError::DuplicateIndex(*member));
        }
    }
    let have = quorum.len();
    match have.cmp(&need) {
        core::cmp::Ordering::Less => Err(CombineError::NotEnough { have, need }),
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => Err(CombineError::TooMany { have, need }),
    }
}

/// g, and sign and magnitude of each cᵢ/g. Differences of member ids are differences of
/// share indices. Factors are counted prime by prime, so nothing overflows; a product over
/// the group order wraps modulo it, which is as good.
fn coefficients(n: usize, quorum: &[MemberId]) -> (Scalar, Vec<(bool, Scalar)>) {
    let outside: Vec<usize> = (0..n)
        .filter(|j| quorum.iter().all(|member| member.index() != *j))
        .collect();
    let factors: Vec<(bool, Exponents)> = quorum
        .iter()
        .map(|member| {
            let i = member.index();
            let negative = outside.iter().filter(|j| **j > i).count() % 2 == 1;
            let mut exponents = [0; PRIMES.len()];
            for j in &outside {
                count_primes(i.abs_diff(*j), &mut exponents);
            }
            (negative, exponents)
        })
        .collect();
    let common: Exponents = core::array::from_fn(|prime| {
        factors
            .iter()
            .map(|(_, exponents)| exponents[prime])
            .min()
            .unwrap_or(0)
    });
    let reduced = factors.iter().map(|(negative, exponents)| {
        (
            *negative,
            product(&core::array::from_fn(|prime| {
                exponents[prime] - common[prime]
            })),
        )
    });
    (product(&common), reduced.collect())
}

/// Adds the prime factors of `number`, 1 ≤ number < 256.
fn count_primes(mut number: usize, exponents: &mut Exponents) {
    for (prime, exponent) in PRIMES.iter().zip(exponents) {
        while number.is_multiple_of(usize::from(*prime)) {
            number /= usize::from(*prime);
            *exponent += 1;
        }
    }
    debug_assert_eq!(number, 1, "differences of share indices are below 256");
}

fn product(exponents: &Exponents) -> Scalar {
    PRIMES
        .iter()
        .zip(exponents)
        .fold(Scalar::ONE, |product, (prime, exponent)| {
            (0..*exponent).fold(product, |product, _| product * Scalar::from(*prime))
        })
}

/// Non-adjacent form: digits −1, 0, 1, a third of them not zero, lowest first, no zero at
/// the top (Reitwiesner 1960).
fn naf(scalar: &Scalar) -> Vec<i8> {
    let bytes = scalar.as_bytes();
    let bit = |k: usize| bytes.get(k / 8).map_or(0, |byte| byte >> (k % 8) & 1);
    let (mut digits, mut carry) = (Vec::with_capacity(256), 0);
    for k in 0..256 {
        let here = bit(k) + carry;
        // An odd rest: the digit that makes what is left divisible by 4.
        let minus = here == 1 && bit(k + 1) == 1;
        digits.push(if here == 1 {
            if minus { -1 } else { 1 }
        } else {
            0
        });
        carry = u8::from(here == 2 || minus);
    }
    let used = digits
        .iter()
        .rposition(|digit| *digit != 0)
        .map_or(0, |top| top + 1);
    digits.truncate(used);
    digits
}

/// Digits regrouped by position, so that all members share the doublings.
fn integers(coefficients: &[(bool, Scalar)]) -> Coefficients {
    let mut positions: Vec<Digits> = Vec::new();
    for (index, (negative, magnitude)) in coefficients.iter().enumerate() {
        let digits = naf(magnitude);
        if positions.len() < digits.len() {
            positions.resize(digits.len(), Digits::default());
        }
        for (position, digit) in positions.iter_mut().zip(digits) {
            match (digit, negative) {
                (0, _) => {}
                (1, false) | (-1, true) => position.plus.push(index),
                _ => position.minus.push(index),
            }
        }
    }
    positions.reverse();
    Coefficients::Integers(positions)
}

fn scalars(coefficients: &[(bool, Scalar)]) -> Coefficients {
    Coefficients::Scalars(coefficients.to_vec())
}

#[cfg(test)]
mod tests {
    use fairlane_types::Epoch;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::deal_insecure;

    fn ids(range: impl IntoIterator<Item = usize>) -> Vec<MemberId> {
        range.into_iter().map(|id| MemberId(id as u8)).collect()
    }

    #[test]
    fn table_holds_every_prime_below_256() {
        let prime = |n: &u16| *n > 1 && (2..*n).all(|d| !n.is_multiple_of(d));
        assert_eq!((0..256).filter(prime).collect::<Vec<_>>(), PRIMES);
    }

    #[test]
    fn non_adjacent_form_is_the_number() {
        let numbers = (0..200_u64)
            .map(Scalar::from)
            .chain([-Scalar::ONE, -Scalar::from(77_u8)]);
        for number in numbers {
            let digits = naf(&number);
            let value = digits
                .iter()
                .rev()
                .fold(Scalar::ZERO, |value, digit| match digit {
                    1 => value + value + Scalar::ONE,
                    -1 => value + value - Scalar::ONE,
                    _ => value + value,
                });
            assert_eq!(value, number);
            assert!(digits.windows(2).all(|pair| pair[0] == 0 || pair[1] == 0));
            assert_ne!(digits.last(), Some(&0));
        }
    }

    #[test]
    fn coefficients_are_the_products_of_6_7() {
        for (n, quorum) in [
            (4, ids([0, 2, 3])),
            (10, ids(3..10)),
            (22, ids((0..7).chain(14..22))),
            (100, ids((0..100).filter(|id| id % 3 != 1 || *id > 97))),
            (256, ids((0..256).filter(|id| id % 3 != 2))),
        ] {
            let (common, found) = coefficients(n, &quorum);
            for (member, (negative, magnitude)) in quorum.iter().zip(found) {
                let i = Scalar::from(member.0);
                let want: Scalar = (0..n)
                    .filter(|j| !quorum.contains(&MemberId(*j as u8)))
                    .map(|j| i - Scalar::from(j as u64))
                    .product();
                let magnitude = common * magnitude;
                assert_eq!(if negative { -magnitude } else { magnitude }, want);
            }
        }
    }

    /// Both paths against λᵢ = ∏_{j∈Q∖i} αⱼ/(αⱼ−αᵢ) on unscaled shares, αᵢ = 1/i.
    #[test]
    fn both_paths_agree_with_classic_lagrange() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for n in [1, 2, 3, 4, 5, 7, 10, 13, 16, 22, 23, 31, 64, 100] {
            let (key, secrets) = deal_insecure(Epoch(0), n, &mut rng).unwrap();
            let u = group::mul_g(&Scalar::random(&mut rng));
            let t = key.t();
            let spread = (0..n)
                .map(|k| (k * 7 + 3) % n.max(1))
                .filter(|_| n % 7 != 0)
                .take(t);
            for quorum in [ids(0..t), ids((n - t..n).rev()), ids(spread)] {
                if quorum.len() != t {
                    continue;
                }
                let alpha = |i: usize| Scalar::from(i as u64 + 1).invert();
                let column: Vec<RistrettoPoint> = quorum
                    .iter()
                    .map(|member| u * secrets[member.index()].secret())
                    .collect();
                let classic: RistrettoPoint = quorum
                    .iter()
                    .zip(&column)
                    .map(|(member, share)| {
                        let i = member.index();
                        let lambda: Scalar = quorum
                            .iter()
                            .filter(|other| *other != member)
                            .map(|other| {
                                let other = alpha(other.index());
                                other * (other - alpha(i)).invert()
                            })
                            .product();
                        // Undo vᵢ of 6.2: classic shares are p(αᵢ)U.
                        let x = Scalar::from(i as u64 + 1);
                        let v: Scalar = (0..n)
                            .filter(|j| *j != i)
                            .map(|j| x * (x - Scalar::from(j as u64 + 1)).invert())
                            .product();
                        let powers: Scalar = (0..n - t).map(|_| x.invert()).product();
                        share * (lambda * (v * powers).invert())
                    })
                    .sum();
                let paths = [
                    Combiner::with_path(&key, &quorum, integers),
                    Combiner::with_path(&key, &quorum, scalars),
                    Combiner::new(&key, &quorum).unwrap(),
                ];
                for combiner in paths {
                    assert_eq!(combiner.half(&column), classic, "n = {n}");
                }
            }
        }
    }

    #[test]
    fn only_exact_quorums_combine() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (key, _) = deal_insecure(Epoch(0), 4, &mut rng).unwrap();
        let new = |range: &[usize]| Combiner::new(&key, &ids(range.iter().copied())).err();
        assert_eq!(new(&[0, 1, 2]), None);
        assert_eq!(
            new(&[0, 1]),
            Some(CombineError::NotEnough { have: 2, need: 3 })
        );
        assert_eq!(new(&[]), Some(CombineError::NotEnough { have: 0, need: 3 }));
        assert_eq!(
            new(&[0, 1, 2, 3]),
            Some(CombineError::TooMany { have: 4, need: 3 })
        );
        assert_eq!(
            new(&[0, 1, 1]),
            Some(CombineError::DuplicateIndex(MemberId(1)))
        );
        assert_eq!(new(&[0, 1, 4]), Some(CombineError::IndexRange(MemberId(4))));
    }
}
