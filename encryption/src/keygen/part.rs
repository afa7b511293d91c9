//! One secret dealt in one group: commitments, proof of possession and the encrypted shares.

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};

use borsh::BorshDeserialize;
use fairlane_types::MemberId;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::curve::{Curve, SCALAR_BYTES, evaluate, evaluate_committed, random};
use super::deal::{DealError, DealtKey};
use super::slots::{self, KEPT, ReceiverKey, ReceiverSecret, SLOTS, Slot};
use crate::group::{ENCODED, Hs};
use crate::keys::threshold;

/// A kept slot.
#[derive(Clone, PartialEq, Eq)]
struct Kept<C: Curve> {
    u: [u8; ENCODED],
    /// p + mask, lowest coefficient first.
    masked: Vec<C::Scalar>,
    entries: Vec<C::Scalar>,
}

/// The dealing of one secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Part<C: Curve> {
    pub(crate) commitments: Vec<C::Encoded>,
    possession: [C::Scalar; 2],
    challenge: [u8; 32],
    /// Seeds of the opened slots, ascending.
    seeds: Vec<[u8; 32]>,
    /// The kept slots, ascending.
    kept: Vec<Kept<C>>,
}

/// A part whose commitments are points of the group.
#[derive(Clone)]
pub(crate) struct OpenPart<C: Curve> {
    part: Part<C>,
    context: [u8; 32],
    pub(crate) points: Vec<C::Point>,
}

impl<C: Curve> Part<C> {
    /// Bytes of the encoding for `n` receivers.
    pub(crate) const fn encoded_len(n: usize) -> usize {
        let t = threshold(n);
        let slot = ENCODED + SCALAR_BYTES * (t + n);
        C::ENCODED * t + 2 * SCALAR_BYTES + 32 * (1 + SLOTS - KEPT) + KEPT * slot
    }

    /// Deals a polynomial with the value `secret` at 0, for a context that is a hash of the
    /// commitments too. Constant time in the coefficients and the masks.
    pub(crate) fn make<R: CryptoRng + ?Sized>(
        context: impl Fn(&[C::Encoded]) -> [u8; 32],
        receivers: &[ReceiverKey],
        secret: C::Scalar,
        rng: &mut R,
    ) -> Self {
        let t = threshold(receivers.len());
        let mut coefficients = Zeroizing::new(Vec::with_capacity(t));
        coefficients.push(secret);
        coefficients.extend((1..t).map(|_| random::<C>(rng)));
        let commitments = C::commit(&coefficients);
        let context = context(&commitments);

        let mut master = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *master);
        let seed = |slot: usize| {
            // Hedged by the polynomial: a weak random source repeats no mask.
            let mut hash = Hs::new("FAIRLANE-V1-DEAL-SEED")
                .part(*master)
                .part(context)
                .part((slot as u16).to_le_bytes());
            for c in coefficients.iter() {
                hash = hash.part(*Zeroizing::new(C::encode_scalar(c)));
            }
            *hash.bytes()
        };
        let seeds: Zeroizing<Vec<[u8; 32]>> = Zeroizing::new((0..SLOTS).map(seed).collect());
        let made: Vec<Slot<C>> = seeds
            .iter()
            .enumerate()
            .map(|(slot, seed)| Slot::new(&context, slot, t, receivers, seed))
            .collect();
        let possession = prove_possession::<C, R>(&context, secret, rng);
        Self::assemble(
            &context,
            &coefficients,
            commitments,
            possession,
            &seeds,
            &made,
        )
    }

    /// Takes the challenge over the slots, opens those it opens and masks the rest.
    fn assemble(
        context: &[u8; 32],
        coefficients: &[C::Scalar],
        commitments: Vec<C::Encoded>,
        possession: [C::Scalar; 2],
        seeds: &[[u8; 32]],
        made: &[Slot<C>],
    ) -> Self {
        let digests: Vec<[u8; 32]> = made
            .iter()
            .enumerate()
            .map(|(k, slot)| opened_digest(context, k, slot))
            .collect();
        let challenge = slots::challenge(context, &digests);
        let choice = slots::kept(&challenge);
        let opened = seeds.iter().zip(choice).filter(|(_, kept)| !kept);
        let hidden = made.iter().zip(choice).filter(|(_, kept)| *kept);
        let masked = |slot: &Slot<C>| {
            let pairs = coefficients.iter().zip(slot.mask.iter());
            pairs.map(|(c, mask)| *c + *mask).collect()
        };
        Self {
            possession,
            challenge,
            seeds: opened.map(|(seed, _)| *seed).collect(),
            kept: hidden
                .map(|(slot, _)| Kept {
                    u: slot.u,
                    masked: masked(slot),
                    entries: slot.entries.clone(),
                })
                .collect(),
            commitments,
        }
    }

    /// Decodes the commitments. None may be the identity: the first would be a secret that
    /// everybody knows, and an honest dealer draws no other once in 2²⁵².
    pub(crate) fn open(
        self,
        key: DealtKey,
        context: impl Fn(&[C::Encoded]) -> [u8; 32],
    ) -> Result<OpenPart<C>, DealError> {
        let decode = |(at, bytes)| C::decode(bytes).ok_or(DealError::Commitment { key, at });
        let points = self.commitments.iter().enumerate().map(decode);
        let points = points.collect::<Result<Vec<_>, _>>()?;
        let context = context(&self.commitments);
        Ok(OpenPart {
            part: self,
            context,
            points,
        })
    }

    /// commitments ‖ proof ‖ challenge ‖ seeds ‖ kept slots. Every length follows from n.
    pub(crate) fn write<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        for commitment in &self.commitments {
            writer.write_all(commitment.as_ref())?;
        }
        for scalar in &self.possession {
            writer.write_all(&C::encode_scalar(scalar))?;
        }
        writer.write_all(&self.challenge)?;
        for seed in &self.seeds {
            writer.write_all(seed)?;
        }
        for slot in &self.kept {
            writer.write_all(&slot.u)?;
            for scalar in slot.masked.iter().chain(&slot.entries) {
                writer.write_all(&C::encode_scalar(scalar))?;
            }
        }
        Ok(())
    }

    /// Reads a part for `n` receivers, a number that the caller has bounded.
    pub(crate) fn read<R: Read>(reader: &mut R, n: usize) -> IoResult<Self> {
        let t = threshold(n);
        let commitments = (0..t)
            .map(|_| C::Encoded::deserialize_reader(reader))
            .collect::<IoResult<_>>()?;
        let possession = [scalar::<C, R>(reader)?, scalar::<C, R>(reader)?];
        let mut bytes = || <[u8; 32]>::deserialize_reader(reader);
        let challenge = bytes()?;
        let seeds = (0..SLOTS - KEPT)
            .map(|_| bytes())
            .collect::<IoResult<_>>()?;
        let kept = (0..KEPT)
            .map(|_| {
                Ok(Kept {
                    u: <[u8; ENCODED]>::deserialize_reader(reader)?,
                    masked: scalars::<C, R>(reader, t)?,
                    entries: scalars::<C, R>(reader, n)?,
                })
            })
            .collect::<IoResult<_>>()?;
        Ok(Self {
            commitments,
            possession,
            challenge,
            seeds,
            kept,
        })
    }
}

fn scalar<C: Curve, R: Read>(reader: &mut R) -> IoResult<C::Scalar> {
    let bytes = <[u8; SCALAR_BYTES]>::deserialize_reader(reader)?;
    let refused = || IoError::new(ErrorKind::InvalidData, "a scalar is not reduced");
    C::decode_scalar(&bytes).ok_or_else(refused)
}

fn scalars<C: Curve, R: Read>(reader: &mut R, count: usize) -> IoResult<Vec<C::Scalar>> {
    (0..count).map(|_| scalar::<C, R>(reader)).collect()
}

impl<C: Curve> OpenPart<C> {
    /// Checks proof and encryption.
    pub(crate) fn verify(&self, key: DealtKey, receivers: &[ReceiverKey]) -> Result<(), DealError> {
        let (part, context) = (&self.part, &self.context);
        let secret = self.points.first().ok_or(DealError::Possession(key))?;
        if !possession_holds::<C>(context, *secret, part.possession) {
            return Err(DealError::Possession(key));
        }
        let failed = DealError::Encryption(key);
        // The commitments to a kept mask: (p + g)G − C.
        let masked = part.kept.iter().map(|slot| &slot.masked[..]);
        let masks = C::differences(masked, &self.points);
        let (mut seeds, mut kept) = (part.seeds.iter(), part.kept.iter().zip(&masks));
        let mut digests = Vec::with_capacity(SLOTS);
        for (k, is_kept) in slots::kept(&part.challenge).into_iter().enumerate() {
            digests.push(if is_kept {
                let (slot, mask) = kept.next().ok_or(failed)?;
                slots::digest::<C>(context, k, mask, &slot.u, &slot.entries)
            } else {
                let seed = seeds.next().ok_or(failed)?;
                let slot = Slot::new(context, k, self.points.len(), receivers, seed);
                opened_digest::<C>(context, k, &slot)
            });
        }
        if slots::challenge(context, &digests) == part.challenge {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// Whether it was opened for this context.
    pub(crate) fn is_of(&self, context: impl Fn(&[C::Encoded]) -> [u8; 32]) -> bool {
        self.context == context(&self.part.commitments)
    }

    /// A receiver's share, from the first kept slot whose entry is right; all but one may be
    /// wrong.
    pub(crate) fn decrypt(&self, receiver: MemberId, secret: &ReceiverSecret) -> Option<C::Scalar> {
        let node = C::node(receiver.index());
        let want = C::encode(&evaluate_committed::<C>(&self.points, node));
        let kept = slots::kept(&self.part.challenge);
        let slots = kept.iter().enumerate().filter(|(_, kept)| **kept);
        slots.zip(&self.part.kept).find_map(|((k, _), slot)| {
            let entry = *slot.entries.get(receiver.index())?;
            let mut mask = secret.decrypt::<C>(&self.context, k, receiver, &slot.u, entry)?;
            let value = evaluate::<C>(&slot.masked, node) - mask;
            mask.zeroize();
            (C::commit(&[value]) == [want]).then_some(value)
        })
    }
}

impl<C: Curve> core::fmt::Debug for OpenPart<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenPart").finish_non_exhaustive()
    }
}

fn opened_digest<C: Curve>(context: &[u8; 32], k: usize, slot: &Slot<C>) -> [u8; 32] {
    let commitments = C::commit(&slot.mask);
    slots::digest::<C>(context, k, &commitments, &slot.u, &slot.entries)
}

/// A Schnorr proof of the dealt secret (CRYPTO 1989), bound to ceremony and dealer.
fn prove_possession<C: Curve, R: CryptoRng + ?Sized>(
    context: &[u8; 32],
    secret: C::Scalar,
    rng: &mut R,
) -> [C::Scalar; 2] {
    let mut fresh = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *fresh);
    let hash = Hs::new("FAIRLANE-V1-DEAL-POP-NONCE")
        .part(*fresh)
        .part(*Zeroizing::new(C::encode_scalar(&secret)))
        .part(context);
    let mut nonce = C::wide(&hash.wide());
    let c = possession_challenge::<C>(context, &C::commit(&[nonce])[0]);
    let z = nonce + c * secret;
    nonce.zeroize();
    [c, z]
}

fn possession_challenge<C: Curve>(context: &[u8; 32], commitment: &C::Encoded) -> C::Scalar {
    // The context hashes the commitments, and with them the statement.
    let hash = Hs::new("FAIRLANE-V1-DEAL-POP")
        .part(context)
        .part(commitment);
    C::wide(&hash.wide())
}

fn possession_holds<C: Curve>(
    context: &[u8; 32],
    public: C::Point,
    [c, z]: [C::Scalar; 2],
) -> bool {
    let minus_c = C::scalar(0) - c;
    let a = C::combine([(z, C::generator()), (minus_c, public)].into_iter());
    possession_challenge::<C>(context, &C::encode(&a)) == c
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::super::curve::{Bls, Ristretto};
    use super::*;

    const CONTEXT: [u8; 32] = [5; 32];
    const KEY: DealtKey = DealtKey::Encryption;

    /// A dealer that spoils `spoilt` slots for receiver 2 before it takes the challenge.
    fn cheat<C: Curve>(
        spoilt: &[usize],
        seed: u64,
    ) -> (OpenPart<C>, Vec<ReceiverSecret>, Vec<C::Scalar>) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secrets: Vec<_> = (0..4).map(|_| ReceiverSecret::generate(&mut rng)).collect();
        let receivers: Vec<_> = secrets.iter().map(ReceiverSecret::key).collect();
        let coefficients: Vec<_> = (0..3).map(|_| random::<C>(&mut rng)).collect();
        let commitments = C::commit(&coefficients);
        let seeds: Vec<[u8; 32]> = (0..SLOTS)
            .map(|_| C::encode_scalar(&random::<C>(&mut rng)))
            .collect();
        let mut made: Vec<Slot<C>> = seeds
            .iter()
            .enumerate()
            .map(|(k, seed)| Slot::new(&CONTEXT, k, 3, &receivers, seed))
            .collect();
        for slot in spoilt {
            let entry = &mut made[*slot].entries[2];
            *entry = *entry + C::scalar(1);
        }
        let possession = prove_possession::<C, _>(&CONTEXT, coefficients[0], &mut rng);
        let part = Part::assemble(
            &CONTEXT,
            &coefficients,
            commitments,
            possession,
            &seeds,
            &made,
        );
        let part = part.open(KEY, |_| CONTEXT).unwrap();
        (part, secrets, coefficients)
    }

    fn verdict<C: Curve>(part: &OpenPart<C>, secrets: &[ReceiverSecret]) -> Result<(), DealError> {
        let receivers: Vec<_> = secrets.iter().map(ReceiverSecret::key).collect();
        part.verify(KEY, &receivers)
    }

    /// One spoilt slot is found when it is opened; when it is kept, the receiver reads its
    /// share from another. It never ends without a share.
    fn spoilt_slot<C: Curve>() {
        let (mut found, mut harmless) = (0, 0);
        for seed in 0..12 {
            let slot = (seed as usize * 11) % SLOTS;
            let (part, secrets, coefficients) = cheat::<C>(&[slot], seed);
            let choice = slots::kept(&part.part.challenge);
            if !choice[slot] {
                assert_eq!(verdict(&part, &secrets), Err(DealError::Encryption(KEY)));
                found += 1;
                continue;
            }
            assert_eq!(verdict(&part, &secrets), Ok(()));
            harmless += 1;
            let (node, member) = (C::node(2), MemberId(2));
            let want = evaluate::<C>(&coefficients, node);
            let indices = (0..SLOTS).filter(|k| choice[*k]);
            let wrong = indices.zip(&part.part.kept).filter(|(k, kept)| {
                let entry = kept.entries[2];
                let mask = secrets[2].decrypt::<C>(&CONTEXT, *k, member, &kept.u, entry);
                evaluate::<C>(&kept.masked, node) - mask.unwrap() != want
            });
            assert_eq!(wrong.count(), 1);
            assert_eq!(part.decrypt(member, &secrets[2]), Some(want));
        }
        assert!(found > 0 && harmless > 0, "{found} and {harmless}");
    }

    #[test]
    fn a_spoilt_slot_is_found_or_harmless() {
        spoilt_slot::<Ristretto>();
        spoilt_slot::<Bls>();
    }

    /// What could leave a receiver without a share does not verify.
    fn spoilt_slots<C: Curve>() {
        for spoilt in [SLOTS, KEPT, 20] {
            let slots: Vec<usize> = (0..spoilt).collect();
            let (part, secrets, _) = cheat::<C>(&slots, spoilt as u64);
            assert_eq!(verdict(&part, &secrets), Err(DealError::Encryption(KEY)));
        }
        let (part, secrets, _) = cheat::<C>(&[], 1);
        assert_eq!(verdict(&part, &secrets), Ok(()));
    }

    #[test]
    fn spoiling_many_slots_is_found() {
        spoilt_slots::<Ristretto>();
        spoilt_slots::<Bls>();
    }
}
