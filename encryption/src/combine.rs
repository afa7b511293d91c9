//! Combining exactly t shares to the key point W (ENCRYPTION 6.7).
//!
//! With the scaling of 6.2 the Lagrange coefficients at 0 are integers: for a quorum Q of
//! exactly t members, W = 2·Σ_{i∈Q} cᵢDᵢ with cᵢ = ∏_{j∈[n]∖Q}(i−j). In small committees
//! they are so short that additions alone beat any multiplication; in larger ones sign
//! and magnitude are kept apart, since |cᵢ| is far shorter than cᵢ modulo the order.

use core::borrow::Borrow;

use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::{KeyId, MemberId};

use crate::group::ENCODED;
use crate::{CombineError, EncryptionKey, ProvenShare, Shares};

/// Largest committee whose coefficients are used as integers, digit by digit: there
/// |cᵢ| ≤ 21!/14! < 2³⁰. The figure is a measured crossover, not a limit of the method.
const INTEGER_N_MAX: usize = 22;

/// A quorum of exactly t members with its coefficients: computed once, used for every
/// order of every block with this quorum.
#[derive(Clone, Debug)]
pub struct Combiner {
    key: KeyId,
    members: Vec<MemberId>,
    coefficients: Coefficients,
}

#[derive(Clone, Debug)]
enum Coefficients {
    /// Signed digits, most significant position first, only those that are not zero.
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
    /// W_k/2, for the opening check.
    pub(crate) halves: Vec<RistrettoPoint>,
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
        Self { halves, encoded }
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
        check_quorum(key, quorum)?;
        let outside: Vec<i128> = (0..key.n())
            .filter(|j| quorum.iter().all(|member| member.index() != *j))
            .map(|j| j as i128)
            .collect();
        // Differences of member ids are differences of share indices.
        let coefficients = if key.n() <= INTEGER_N_MAX {
            integers(quorum, &outside)
        } else {
            scalars(quorum, &outside)
        };
        Ok(Self {
            key: key.id(),
            members: quorum.to_vec(),
            coefficients,
        })
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

    /// W/2 = Σ cᵢDᵢ; everything here is public, variable time is fine.
    fn half(&self, column: &[RistrettoPoint]) -> RistrettoPoint {
        match &self.coefficients {
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
        }
    }
}

fn check_quorum(key: &EncryptionKey, quorum: &[MemberId]) -> Result<(), CombineError> {
    for (at, member) in quorum.iter().enumerate() {
        if !key.contains(*member) {
            return Err(CombineError::IndexRange(*member));
        }
        if quorum[..at].contains(member) {
            return Err(CombineError::DuplicateIndex(*member));
        }
    }
    let (have, need) = (quorum.len(), key.t());
    match have.cmp(&need) {
        core::cmp::Ordering::Less => Err(CombineError::NotEnough { have, need }),
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => Err(CombineError::TooMany { have, need }),
    }
}

/// Coefficients in non-adjacent form (a third of the digits is not zero), regrouped by
/// position so that all members share the doublings.
fn integers(quorum: &[MemberId], outside: &[i128]) -> Coefficients {
    let mut positions: Vec<Digits> = Vec::new();
    for (index, member) in quorum.iter().enumerate() {
        let i = i128::from(member.0);
        let mut rest: i128 = outside.iter().map(|j| i - j).product();
        let mut position = 0;
        while rest != 0 {
            if positions.len() == position {
                positions.push(Digits::default());
            }
            if rest & 1 != 0 {
                // The digit that makes what is left divisible by 4.
                let digit = if rest & 3 == 1 { 1 } else { -1 };
                let side = &mut positions[position];
                if digit == 1 {
                    side.plus.push(index)
                } else {
                    side.minus.push(index)
                }
                rest -= digit;
            }
            rest >>= 1;
            position += 1;
        }
    }
    positions.reverse();
    Coefficients::Integers(positions)
}

/// Magnitudes modulo the group order: exact integers for n ≤ 100 (|cᵢ| ≤ 99!/66! < 2²¹¹).
fn scalars(quorum: &[MemberId], outside: &[i128]) -> Coefficients {
    let scalars = quorum.iter().map(|member| {
        let i = i128::from(member.0);
        let negative = outside.iter().filter(|j| **j > i).count() % 2 == 1;
        let magnitude = outside.iter().fold(Scalar::ONE, |product, j| {
            product * Scalar::from((i - j).unsigned_abs())
        });
        (negative, magnitude)
    });
    Coefficients::Scalars(scalars.collect())
}
