//! One ceremony: who deals to whom, which dealings count, and the key that comes of them.

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::{Digest, Domain, Epoch, Genesis, KeySource, MemberId, NextCommittee};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::deal::{Deal, DealError};
use super::slots::{ReceiverKey, ReceiverSecret, evaluate, node};
use crate::group::{self, ENCODED, Hs};
use crate::keys::{SHARE_HOLDERS_MAX, threshold};
use crate::{CombineError, EncryptionKey, KeyError, KeyShare};

/// A key generation, or a resharing of an old key.
#[derive(Clone, Debug)]
pub struct Ceremony {
    id: Digest,
    epoch: Epoch,
    receivers: Vec<ReceiverKey>,
    old: Option<EncryptionKey>,
}

/// A dealing that everybody agrees is valid.
#[derive(Clone, Debug)]
pub struct VerifiedDeal {
    deal: Deal,
    context: [u8; 32],
    points: Vec<RistrettoPoint>,
}

impl VerifiedDeal {
    /// Who dealt.
    #[must_use]
    pub fn dealer(&self) -> MemberId {
        self.deal.dealer
    }
}

impl Ceremony {
    /// The ceremony for the first key of a chain; `None` where a dealer made it.
    ///
    /// # Errors
    /// [`KeyError`] when a receiver's key is none.
    pub fn of_genesis(genesis: &Genesis) -> Result<Option<Self>, KeyError> {
        if genesis.encryption.source != KeySource::Ceremony {
            return Ok(None);
        }
        let receivers = genesis.encryption.receivers.iter();
        let receivers = receivers.map(|key| ReceiverKey::new(key.0));
        let receivers = receivers.collect::<Result<Vec<_>, _>>()?;
        let id = Domain::Dealing.hash_of(&genesis.hash());
        Self::fresh(id, genesis.epoch(), receivers).map(Some)
    }

    /// The ceremony in which the committee of an epoch, whose genesis has the hash `before`,
    /// deals its key on to the next one.
    ///
    /// # Errors
    /// [`KeyError`] when a receiver's key is none.
    pub fn of_change(
        before: Digest,
        next: &NextCommittee,
        old: EncryptionKey,
    ) -> Result<Self, KeyError> {
        let receivers = next.members.iter();
        let receivers = receivers.map(|member| ReceiverKey::new(member.receiver.0));
        let receivers = receivers.collect::<Result<Vec<_>, _>>()?;
        let id = Domain::Dealing.hash_of(&(before, next));
        Self::reshare(id, next.epoch, receivers, old)
    }

    /// Number of receivers.
    #[must_use]
    pub fn receivers(&self) -> usize {
        self.receivers.len()
    }

    /// A ceremony for a fresh key, dealt by the receivers to each other. `id` names chain
    /// and attempt, so that no dealing serves twice.
    ///
    /// # Errors
    /// [`KeyError::Members`] when there are no receivers, or too many.
    pub fn fresh(id: Digest, epoch: Epoch, receivers: Vec<ReceiverKey>) -> Result<Self, KeyError> {
        Self::new(id, epoch, receivers, None)
    }

    /// A ceremony in which the holders of `old` deal its secret to new receivers, who may
    /// be the same (a refresh), others, or both.
    ///
    /// # Errors
    /// [`KeyError::Members`] when there are no receivers, or too many.
    pub fn reshare(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        old: EncryptionKey,
    ) -> Result<Self, KeyError> {
        Self::new(id, epoch, receivers, Some(old))
    }

    fn new(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        old: Option<EncryptionKey>,
    ) -> Result<Self, KeyError> {
        if receivers.is_empty() || receivers.len() > SHARE_HOLDERS_MAX {
            return Err(KeyError::Members {
                got: receivers.len(),
            });
        }
        Ok(Self {
            id,
            epoch,
            receivers,
            old,
        })
    }

    /// Valid dealings that are needed: n − f for a fresh key, so that f+1 honest ones are
    /// in it; t of the old committee for a resharing.
    #[must_use]
    pub fn needed(&self) -> usize {
        let n = self.receivers.len();
        self.old.as_ref().map_or(n - (n - 1) / 3, EncryptionKey::t)
    }

    /// Number of those who may deal.
    #[must_use]
    pub fn dealers(&self) -> usize {
        let old = self.old.as_ref();
        old.map_or(self.receivers.len(), EncryptionKey::n)
    }

    /// Whether a member may deal.
    #[must_use]
    pub fn deals(&self, member: MemberId) -> bool {
        member.index() < self.dealers()
    }

    /// What every hash of a dealing is bound to.
    fn context(&self, dealer: MemberId, commitments: &[[u8; ENCODED]]) -> [u8; 32] {
        let mut hash = Hs::new("FAIRLANE-V1-DEAL")
            .part(self.id.0)
            .part(self.epoch.0.to_le_bytes())
            .part(dealer.share_index().to_le_bytes())
            .part((self.receivers.len() as u16).to_le_bytes());
        for receiver in &self.receivers {
            hash = hash.part(receiver.bytes());
        }
        let zero = [0; ENCODED];
        let old = self.old.as_ref().map(EncryptionKey::sharing);
        hash = hash.part(old.as_ref().map_or(&zero[..], |old| &old.as_bytes()[..]));
        for commitment in commitments {
            hash = hash.part(commitment);
        }
        *hash.bytes()
    }

    fn deal_secret<R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        secret: Scalar,
        rng: &mut R,
    ) -> Deal {
        let t = threshold(self.receivers.len());
        let mut coefficients = Zeroizing::new(Vec::with_capacity(t));
        coefficients.push(secret);
        coefficients.extend((1..t).map(|_| Scalar::random(rng)));
        let context = |commitments: &[[u8; ENCODED]]| self.context(dealer, commitments);
        Deal::make(context, dealer, &self.receivers, &coefficients, rng)
    }

    /// Deals this member's part of a fresh key.
    ///
    /// # Errors
    /// [`DealError::Dealer`] when it may not, or the ceremony is a resharing.
    pub fn deal<R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        if self.old.is_some() || !self.deals(dealer) {
            return Err(DealError::Dealer(dealer));
        }
        let mut secret = Scalar::random(rng);
        while secret == Scalar::ZERO {
            secret = Scalar::random(rng);
        }
        let deal = self.deal_secret(dealer, secret, rng);
        secret.zeroize();
        Ok(deal)
    }

    /// Deals this member's share of the old key on.
    ///
    /// # Errors
    /// [`DealError::NotItsShare`] when `share` is not one of the old key, or there is none.
    pub fn deal_share<R: CryptoRng + ?Sized>(
        &self,
        share: &KeyShare,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        let old = self.old.as_ref().ok_or(DealError::NotItsShare)?;
        share.belongs_to(old).map_err(|_| DealError::NotItsShare)?;
        // p(αᵢ) = x'ᵢ/vᵢ.
        let mut secret = share.secret() * scale(share.member().index(), old.n()).invert();
        let deal = self.deal_secret(share.member(), secret, rng);
        secret.zeroize();
        Ok(deal)
    }

    /// Judges a dealing that member `from` put into the log: the same verdict for
    /// everybody, by its bytes alone.
    ///
    /// # Errors
    /// [`DealError`] tells why it does not count.
    pub fn verify(&self, from: MemberId, deal: Deal) -> Result<VerifiedDeal, DealError> {
        let verified = self.verified_before(from, deal)?;
        let (context, points) = (&verified.context, &verified.points);
        verified.deal.verify(context, &self.receivers, points)?;
        Ok(verified)
    }

    /// A dealing that [`verify`](Self::verify) has passed earlier, read again from where
    /// only this process writes: its proofs are not checked a second time.
    ///
    /// # Errors
    /// [`DealError`] when it is not even of this ceremony.
    pub fn verified_before(&self, from: MemberId, deal: Deal) -> Result<VerifiedDeal, DealError> {
        if deal.dealer != from || !self.deals(from) {
            return Err(DealError::Dealer(deal.dealer));
        }
        let want = self.receivers.len();
        if deal.n != want {
            return Err(DealError::Receivers { got: deal.n, want });
        }
        let points = deal
            .commitments
            .iter()
            .enumerate()
            .map(|(k, bytes)| group::decode_point(bytes).ok_or(DealError::Commitment(k)))
            .collect::<Result<Vec<_>, _>>()?;
        if deal.commitments.first().is_none_or(|c| *c == [0; ENCODED]) {
            return Err(DealError::Commitment(0));
        }
        if let Some(old) = &self.old {
            let scaled = old.member_point(from).ok_or(DealError::Dealer(from))?;
            if points[0] * scale(from.index(), old.n()) != *scaled {
                return Err(DealError::NotItsShare);
            }
        }
        let context = self.context(from, &deal.commitments);
        Ok(VerifiedDeal {
            deal,
            context,
            points,
        })
    }

    /// The dealings that count: the first [`needed`](Self::needed) in the order given,
    /// which is the finalized one, one of each dealer; with their weights.
    fn counted<'a>(
        &self,
        deals: &'a [VerifiedDeal],
    ) -> Result<Vec<(Scalar, &'a VerifiedDeal)>, CombineError> {
        let need = self.needed();
        let mut counted: Vec<&VerifiedDeal> = Vec::with_capacity(need);
        for deal in deals {
            let fits = deal.context == self.context(deal.dealer(), &deal.deal.commitments);
            if !fits {
                return Err(CombineError::Mixed(deal.dealer()));
            }
            if counted.len() < need && counted.iter().all(|d| d.dealer() != deal.dealer()) {
                counted.push(deal);
            }
        }
        if counted.len() < need {
            return Err(CombineError::NotEnough {
                have: counted.len(),
                need,
            });
        }
        let nodes: Vec<Scalar> = counted.iter().map(|d| node(d.dealer().index())).collect();
        let weight = |at: usize| {
            if self.old.is_none() {
                return Scalar::ONE;
            }
            // λ = ∏ αⱼ/(αⱼ − α), Lagrange at 0 over the old nodes.
            let others = || nodes.iter().enumerate().filter(move |(j, _)| *j != at);
            let above: Scalar = others().map(|(_, other)| other).product();
            let below: Scalar = others().map(|(_, other)| other - nodes[at]).product();
            above * below.invert()
        };
        Ok((0..need).map(|at| (weight(at), counted[at])).collect())
    }

    /// The public key that the dealings give. A resharing keeps Y and the key's id.
    ///
    /// # Errors
    /// [`CombineError`] while dealings are missing, or when one is of another ceremony.
    pub fn key(&self, deals: &[VerifiedDeal]) -> Result<EncryptionKey, CombineError> {
        let counted = self.counted(deals)?;
        let n = self.receivers.len();
        // Σ weight·C, coefficient by coefficient.
        let committed: Vec<RistrettoPoint> = (0..threshold(n))
            .map(|k| {
                RistrettoPoint::vartime_multiscalar_mul(
                    counted.iter().map(|(weight, _)| weight),
                    counted.iter().map(|(_, deal)| deal.points[k]),
                )
            })
            .collect();
        let members = (0..n)
            .map(|member| {
                let (alpha, mut power) = (node(member), scale(member, n));
                let powers = (0..committed.len()).map(|_| {
                    let here = power;
                    power *= alpha;
                    here
                });
                RistrettoPoint::vartime_multiscalar_mul(powers, &committed)
                    .compress()
                    .to_bytes()
            })
            .collect();
        let y = (committed[0] + committed[0]).compress().to_bytes();
        let key = match &self.old {
            None => EncryptionKey::new(self.epoch, y, members),
            Some(old) => EncryptionKey::reshared(old.id(), self.epoch, y, members),
        };
        // Dealings that add up to a zero need a dealer who solved a logarithm, or 2²⁴⁰ tries.
        key.map_err(|_| CombineError::Mixed(counted[0].1.dealer()))
    }

    /// This receiver's share of [`key`](Self::key), decrypted from the dealings.
    ///
    /// # Errors
    /// [`CombineError`] as for the key; `Mixed` names a dealer whose dealing this receiver
    /// cannot read, which is its own secret's fault, not the dealer's.
    pub fn share(
        &self,
        deals: &[VerifiedDeal],
        receiver: MemberId,
        secret: &ReceiverSecret,
    ) -> Result<(EncryptionKey, KeyShare), CombineError> {
        let key = self.key(deals)?;
        if self.receivers.get(receiver.index()) != Some(&secret.key()) {
            return Err(CombineError::IndexRange(receiver));
        }
        let mut sum = Scalar::ZERO;
        for (weight, deal) in self.counted(deals)? {
            let mut value = deal
                .decrypt(receiver, secret)
                .ok_or(CombineError::Mixed(deal.dealer()))?;
            sum += weight * value;
            value.zeroize();
        }
        sum *= scale(receiver.index(), self.receivers.len());
        let bytes = Zeroizing::new(sum.to_bytes());
        sum.zeroize();
        let share = KeyShare::new(&key, receiver, &bytes);
        let share = share.map_err(|_| CombineError::IndexRange(receiver))?;
        Ok((key, share))
    }
}

impl VerifiedDeal {
    /// p_d(αⱼ), from the first kept slot whose entry is right; all but one may be wrong.
    fn decrypt(&self, receiver: MemberId, secret: &ReceiverSecret) -> Option<Scalar> {
        let alpha = node(receiver.index());
        let mut power = Scalar::ONE;
        let powers = self.points.iter().map(|_| {
            let here = power;
            power *= alpha;
            here
        });
        let want = RistrettoPoint::vartime_multiscalar_mul(powers, &self.points);
        let kept = super::slots::kept(&self.deal.challenge);
        let slots = kept.iter().enumerate().filter(|(_, kept)| **kept);
        slots.zip(&self.deal.kept).find_map(|((k, _), slot)| {
            let entry = slot.entries.get(receiver.index())?;
            let mut mask = secret.decrypt(&self.context, k, receiver, &slot.u, entry)?;
            let value = evaluate(&slot.masked, &alpha) - mask;
            mask.zeroize();
            (group::mul_g(&value) == want).then_some(value)
        })
    }
}

/// vᵢ = i^(t−1)·∏_{j≠i}(i−j)⁻¹ of 6.2, for share index i = member + 1.
fn scale(member: usize, n: usize) -> Scalar {
    let i = Scalar::from(member as u64 + 1);
    let power: Scalar = (1..threshold(n)).map(|_| i).product();
    let differences: Scalar = (0..n)
        .filter(|j| *j != member)
        .map(|j| i - Scalar::from(j as u64 + 1))
        .product();
    power * differences.invert()
}
