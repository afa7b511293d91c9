//! A dealing as it travels, and its making.

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::MemberId;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::slots::{self, KEPT, ReceiverKey, SLOTS, Slot};
use crate::KeyError;
use crate::group::{self, ENCODED, Hs};
use crate::keys::{SHARE_HOLDERS_MAX, invalid, threshold};

/// Why a dealing does not count. Every variant is a fact about its bytes, the same for
/// every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// The dealer may not deal in this ceremony, or is not the one expected.
    #[error("member {0} is not the dealer expected here")]
    Dealer(MemberId),
    /// For another number of receivers.
    #[error("a dealing for {got} receivers, there are {want}")]
    Receivers {
        /// Receivers of the dealing.
        got: usize,
        /// Receivers of the ceremony.
        want: usize,
    },
    /// A commitment is not a canonical point, or the first is the identity.
    #[error("commitment {0} is not a canonical point")]
    Commitment(usize),
    /// The constant term is not the dealer's share of the old key.
    #[error("the dealt secret is not the dealer's share of the old key")]
    NotItsShare,
    /// The dealer does not show that it knows what it deals.
    #[error("the proof of possession does not verify")]
    Possession,
    /// The encryption of the shares does not verify.
    #[error("the encrypted shares do not verify")]
    Encryption,
}

/// A kept slot.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) u: [u8; ENCODED],
    /// p + mask, lowest coefficient first.
    pub(crate) masked: Vec<Scalar>,
    pub(crate) entries: Vec<Scalar>,
}

/// One dealer's dealing: 32·t commitments, proof, challenge, and slots; 17 KB for n = 4,
/// 319 KB for n = 100.
#[derive(Clone, PartialEq, Eq)]
pub struct Deal {
    /// Who deals.
    pub dealer: MemberId,
    pub(crate) n: usize,
    pub(crate) commitments: Vec<[u8; ENCODED]>,
    pub(crate) possession: [Scalar; 2],
    pub(crate) challenge: [u8; 32],
    /// Seeds of the opened slots, ascending.
    pub(crate) seeds: Vec<[u8; 32]>,
    /// The kept slots, ascending.
    pub(crate) kept: Vec<Kept>,
}

impl Deal {
    /// Bytes of the encoding of a dealing to `n` receivers.
    #[must_use]
    pub const fn encoded_len(n: usize) -> usize {
        let t = threshold(n);
        let slot = 1 + t + n;
        3 + ENCODED * (t + 2 + 1 + (SLOTS - KEPT) + KEPT * slot)
    }

    /// Receivers of the dealing.
    #[must_use]
    pub fn receivers(&self) -> usize {
        self.n
    }

    /// Deals a polynomial, lowest coefficient first, for a context. Constant time in the
    /// coefficients and the masks.
    pub(crate) fn make<R: CryptoRng + ?Sized>(
        context: impl Fn(&[[u8; ENCODED]]) -> [u8; 32],
        dealer: MemberId,
        receivers: &[ReceiverKey],
        coefficients: &[Scalar],
        rng: &mut R,
    ) -> Self {
        let t = coefficients.len();
        let halves: Vec<RistrettoPoint> = coefficients
            .iter()
            .map(|c| group::mul_g(&c.div_by_2()))
            .collect();
        let commitments: Vec<[u8; ENCODED]> = RistrettoPoint::double_and_compress_batch(&halves)
            .iter()
            .map(|commitment| commitment.to_bytes())
            .collect();
        let context = context(&commitments);

        let mut master = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *master);
        let seeds: Zeroizing<Vec<[u8; 32]>> = Zeroizing::new(
            (0..SLOTS)
                .map(|slot| {
                    // Hedged by the polynomial: a weak random source repeats no mask.
                    let mut hash = Hs::new("FAIRLANE-V1-DEAL-SEED")
                        .part(*master)
                        .part(context)
                        .part((slot as u16).to_le_bytes());
                    for c in coefficients {
                        hash = hash.part(c.as_bytes());
                    }
                    *hash.bytes()
                })
                .collect(),
        );
        let made: Vec<Slot> = seeds
            .iter()
            .enumerate()
            .map(|(slot, seed)| Slot::new(&context, slot, t, receivers, seed))
            .collect();
        let possession = prove_possession(&context, &coefficients[0], rng);
        Self::assemble(
            &context,
            dealer,
            coefficients,
            commitments,
            possession,
            &seeds,
            &made,
        )
    }

    /// Takes the challenge over the slots, opens those it opens and masks the rest.
    fn assemble(
        context: &[u8; 32],
        dealer: MemberId,
        coefficients: &[Scalar],
        commitments: Vec<[u8; ENCODED]>,
        possession: [Scalar; 2],
        seeds: &[[u8; 32]],
        made: &[Slot],
    ) -> Self {
        let digests: Vec<[u8; 32]> = made
            .iter()
            .enumerate()
            .map(|(k, slot)| {
                let halves = slot.half_commitments();
                slots::digest(context, k, &halves, &slot.u, &slot.entries)
            })
            .collect();
        let challenge = slots::challenge(context, &digests);
        let choice = slots::kept(&challenge);
        let opened = seeds.iter().zip(choice).filter(|(_, kept)| !kept);
        let hidden = made.iter().zip(choice).filter(|(_, kept)| *kept);
        Self {
            dealer,
            n: made.first().map_or(0, |slot| slot.entries.len()),
            possession,
            challenge,
            seeds: opened.map(|(seed, _)| *seed).collect(),
            kept: hidden
                .map(|(slot, _)| Kept {
                    u: slot.u,
                    masked: coefficients
                        .iter()
                        .zip(slot.mask.iter())
                        .map(|(c, mask)| c + mask)
                        .collect(),
                    entries: slot.entries.clone(),
                })
                .collect(),
            commitments,
        }
    }

    /// Checks proof and encryption against the points of the commitments.
    pub(crate) fn verify(
        &self,
        context: &[u8; 32],
        receivers: &[ReceiverKey],
        points: &[RistrettoPoint],
    ) -> Result<(), DealError> {
        if !possession_holds(context, &points[0], &self.possession) {
            return Err(DealError::Possession);
        }
        let half = Scalar::from(2_u8).invert();
        let minus_halves: Vec<RistrettoPoint> =
            points.iter().map(|point| -(point * half)).collect();
        let (mut seeds, mut kept) = (self.seeds.iter(), self.kept.iter());
        let mut digests = Vec::with_capacity(SLOTS);
        for (k, is_kept) in slots::kept(&self.challenge).into_iter().enumerate() {
            digests.push(if is_kept {
                let slot = kept.next().ok_or(DealError::Encryption)?;
                // Half the mask's commitments: (p + g)G/2 − C/2.
                let halves: Vec<RistrettoPoint> = slot
                    .masked
                    .iter()
                    .zip(&minus_halves)
                    .map(|(masked, minus)| RistrettoPoint::mul_base(&(masked * half)) + minus)
                    .collect();
                slots::digest(context, k, &halves, &slot.u, &slot.entries)
            } else {
                let seed = seeds.next().ok_or(DealError::Encryption)?;
                let slot = Slot::new(context, k, points.len(), receivers, seed);
                slots::digest(context, k, &slot.half_commitments(), &slot.u, &slot.entries)
            });
        }
        if slots::challenge(context, &digests) == self.challenge {
            Ok(())
        } else {
            Err(DealError::Encryption)
        }
    }
}

/// A Schnorr proof of the dealt secret (CRYPTO 1989), bound to ceremony and dealer.
fn prove_possession<R: CryptoRng + ?Sized>(
    context: &[u8; 32],
    secret: &Scalar,
    rng: &mut R,
) -> [Scalar; 2] {
    let mut fresh = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *fresh);
    let mut nonce = Hs::new("FAIRLANE-V1-DEAL-POP-NONCE")
        .part(*fresh)
        .part(secret.as_bytes())
        .part(context)
        .scalar();
    let c = possession_challenge(context, &group::mul_g(&nonce));
    let z = nonce + c * secret;
    nonce.zeroize();
    [c, z]
}

fn possession_challenge(context: &[u8; 32], commitment: &RistrettoPoint) -> Scalar {
    // The context hashes the commitments, and with them the statement.
    Hs::new("FAIRLANE-V1-DEAL-POP")
        .part(context)
        .part(commitment.compress().as_bytes())
        .scalar()
}

fn possession_holds(context: &[u8; 32], public: &RistrettoPoint, [c, z]: &[Scalar; 2]) -> bool {
    let a = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-c, public, z);
    possession_challenge(context, &a) == *c
}

impl core::fmt::Debug for Deal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Deal")
            .field("dealer", &self.dealer)
            .field("receivers", &self.n)
            .finish_non_exhaustive()
    }
}

/// dealer u8 ‖ n u16 ‖ commitments ‖ proof ‖ challenge ‖ seeds ‖ kept slots. Every length
/// follows from n.
impl BorshSerialize for Deal {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.dealer.serialize(writer)?;
        (self.n as u16).serialize(writer)?;
        for commitment in &self.commitments {
            writer.write_all(commitment)?;
        }
        for scalar in &self.possession {
            writer.write_all(scalar.as_bytes())?;
        }
        writer.write_all(&self.challenge)?;
        for seed in &self.seeds {
            writer.write_all(seed)?;
        }
        for slot in &self.kept {
            writer.write_all(&slot.u)?;
            for scalar in slot.masked.iter().chain(&slot.entries) {
                writer.write_all(scalar.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl BorshDeserialize for Deal {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let dealer = MemberId::deserialize_reader(reader)?;
        let n = usize::from(u16::deserialize_reader(reader)?);
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(invalid(KeyError::Members { got: n }));
        }
        let t = threshold(n);
        let mut bytes = || <[u8; ENCODED]>::deserialize_reader(reader);
        let commitments = (0..t).map(|_| bytes()).collect::<IoResult<_>>()?;
        let possession = [reduced(bytes()?)?, reduced(bytes()?)?];
        let challenge = bytes()?;
        let seeds = (0..SLOTS - KEPT)
            .map(|_| bytes())
            .collect::<IoResult<_>>()?;
        let kept = (0..KEPT)
            .map(|_| {
                Ok(Kept {
                    u: bytes()?,
                    masked: (0..t).map(|_| reduced(bytes()?)).collect::<IoResult<_>>()?,
                    entries: (0..n).map(|_| reduced(bytes()?)).collect::<IoResult<_>>()?,
                })
            })
            .collect::<IoResult<_>>()?;
        Ok(Self {
            dealer,
            n,
            commitments,
            possession,
            challenge,
            seeds,
            kept,
        })
    }
}

fn reduced(bytes: [u8; ENCODED]) -> IoResult<Scalar> {
    let refused = || IoError::new(ErrorKind::InvalidData, "a scalar is not reduced");
    group::decode_scalar(&bytes).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::super::slots::{ReceiverSecret, evaluate, node};
    use super::*;

    const CONTEXT: [u8; 32] = [5; 32];

    /// A dealer that spoils `spoilt` slots for receiver 2 before it takes the challenge.
    fn cheat(spoilt: &[usize], seed: u64) -> (Deal, Vec<ReceiverSecret>, Vec<Scalar>) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secrets: Vec<_> = (0..4).map(|_| ReceiverSecret::generate(&mut rng)).collect();
        let receivers: Vec<_> = secrets.iter().map(ReceiverSecret::key).collect();
        let coefficients: Vec<Scalar> = (0..3).map(|_| Scalar::random(&mut rng)).collect();
        let commitments = coefficients
            .iter()
            .map(|c| group::mul_g(c).compress().to_bytes())
            .collect();
        let seeds: Vec<[u8; 32]> = (0..SLOTS)
            .map(|_| Scalar::random(&mut rng).to_bytes())
            .collect();
        let mut made: Vec<Slot> = seeds
            .iter()
            .enumerate()
            .map(|(k, seed)| Slot::new(&CONTEXT, k, 3, &receivers, seed))
            .collect();
        for slot in spoilt {
            made[*slot].entries[2] += Scalar::ONE;
        }
        let possession = prove_possession(&CONTEXT, &coefficients[0], &mut rng);
        let deal = Deal::assemble(
            &CONTEXT,
            MemberId(0),
            &coefficients,
            commitments,
            possession,
            &seeds,
            &made,
        );
        (deal, secrets, coefficients)
    }

    fn verdict(deal: &Deal, secrets: &[ReceiverSecret]) -> Result<(), DealError> {
        let receivers: Vec<_> = secrets.iter().map(ReceiverSecret::key).collect();
        let points: Vec<_> = deal
            .commitments
            .iter()
            .map(|bytes| group::decode_point(bytes).unwrap())
            .collect();
        deal.verify(&CONTEXT, &receivers, &points)
    }

    /// One spoilt slot is found when it is opened; when it is kept, the receiver reads its
    /// share from another. It never ends without a share.
    #[test]
    fn a_spoilt_slot_is_found_or_harmless() {
        let (mut found, mut harmless) = (0, 0);
        for seed in 0..12 {
            let slot = (seed as usize * 11) % SLOTS;
            let (deal, secrets, coefficients) = cheat(&[slot], seed);
            if !slots::kept(&deal.challenge)[slot] {
                assert_eq!(verdict(&deal, &secrets), Err(DealError::Encryption));
                found += 1;
                continue;
            }
            assert_eq!(verdict(&deal, &secrets), Ok(()));
            harmless += 1;
            let want = evaluate(&coefficients, &node(2));
            let choice = slots::kept(&deal.challenge);
            let indices = (0..SLOTS).filter(|k| choice[*k]);
            let read: Vec<bool> = indices
                .zip(&deal.kept)
                .map(|(k, kept)| {
                    let entry = &kept.entries[2];
                    let mask = secrets[2].decrypt(&CONTEXT, k, MemberId(2), &kept.u, entry);
                    evaluate(&kept.masked, &node(2)) - mask.unwrap() == want
                })
                .collect();
            assert_eq!(read.iter().filter(|right| !**right).count(), 1);
        }
        assert!(found > 0 && harmless > 0, "{found} and {harmless}");
    }

    /// What could leave a receiver without a share does not verify.
    #[test]
    fn spoiling_many_slots_is_found() {
        for spoilt in [SLOTS, KEPT, 20] {
            let slots: Vec<usize> = (0..spoilt).collect();
            let (deal, secrets, _) = cheat(&slots, spoilt as u64);
            assert_eq!(verdict(&deal, &secrets), Err(DealError::Encryption));
        }
        let (deal, secrets, _) = cheat(&[], 1);
        assert_eq!(verdict(&deal, &secrets), Ok(()));
    }
}
