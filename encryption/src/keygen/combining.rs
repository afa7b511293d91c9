//! The keys that dealings give, and a receiver's shares of them.

use fairlane_types::{MemberId, Scheme};
use zeroize::{Zeroize, Zeroizing};

use super::ceremony::Ceremony;
use super::committee::{CommitteeKeys, CommitteeShares};
use super::curve::{Bls, Curve};
use super::dealt::Dealt;
use super::judging::VerifiedDeal;
use super::part::OpenPart;
use super::slots::ReceiverSecret;
use super::suite_part::OpenSuitePart;
use crate::keys::threshold;
use crate::{CertificateKey, CombineError, KeyError, SuiteKey, SuiteSecret};

/// The parts of one key in the dealings that count, with their dealers.
type Parts<'a, C> = Vec<(MemberId, &'a OpenPart<C>)>;

/// A receiver and what it decrypts with.
type Reader<'a> = (MemberId, &'a ReceiverSecret);

impl Ceremony {
    /// The dealings that count: the first [`needed`](Self::needed) in the order given,
    /// which is the finalized one, one of each dealer.
    fn counted<'a>(
        &self,
        deals: &'a [VerifiedDeal],
    ) -> Result<Vec<&'a VerifiedDeal>, CombineError> {
        let need = self.needed();
        let mut counted: Vec<&VerifiedDeal> = Vec::with_capacity(need);
        for deal in deals {
            if !self.is_of_this(deal) {
                return Err(CombineError::Mixed(deal.dealer));
            }
            if counted.len() < need && counted.iter().all(|d| d.dealer != deal.dealer) {
                counted.push(deal);
            }
        }
        if counted.len() < need {
            return Err(CombineError::NotEnough {
                have: counted.len(),
                need,
            });
        }
        Ok(counted)
    }

    /// The public keys that the dealings give. A resharing keeps the public points and the
    /// keys' ids.
    ///
    /// # Errors
    /// [`CombineError`] while dealings are missing, or when one is of another ceremony.
    pub fn keys(&self, deals: &[VerifiedDeal]) -> Result<CommitteeKeys, CombineError> {
        let counted = self.counted(deals)?;
        // Dealings that add up to a zero need a dealer who solved a logarithm, or 2²⁴⁰ tries.
        let keys = self.assemble(&counted);
        keys.map_err(|_| CombineError::Mixed(counted[0].dealer))
    }

    fn assemble(&self, counted: &[&VerifiedDeal]) -> Result<CommitteeKeys, KeyError> {
        let old = self.old().map(|old| &old.encryption);
        let dealt = self.suite_key(&encryption_parts(counted), old)?;
        let (encryption, former) = if self.renewed() {
            (self.suite_key(&fresh_parts(counted), None)?, Some(dealt))
        } else {
            (dealt, None)
        };
        let certificate = self.certified().then(|| {
            let parts = certificate_parts(counted);
            self.key::<CertificateKey>(&parts, self.old_certificate())
        });
        Ok(CommitteeKeys {
            encryption,
            certificate: certificate.transpose()?,
            former,
        })
    }

    fn suite_key(
        &self,
        parts: &[(MemberId, &OpenSuitePart)],
        old: Option<&SuiteKey>,
    ) -> Result<SuiteKey, KeyError> {
        match self.scheme() {
            Scheme::Tdh2 => {
                let parts = of_suite(parts, OpenSuitePart::tdh2);
                let key = self.key(&parts, old.and_then(SuiteKey::tdh2));
                key.map(SuiteKey::Tdh2)
            }
            Scheme::BaekZheng => {
                let parts = of_suite(parts, OpenSuitePart::baek_zheng);
                let key = self.key(&parts, old.and_then(SuiteKey::baek_zheng));
                key.map(SuiteKey::BaekZheng)
            }
        }
    }

    /// The key that its parts give.
    fn key<K: Dealt>(&self, parts: &Parts<'_, K::Curve>, old: Option<&K>) -> Result<K, KeyError> {
        let n = self.receivers.len();
        let weights = weights(parts, old.is_some());
        // Σ weight·C for each coefficient.
        let coefficient = |k: usize| {
            let points = parts.iter().map(move |(_, part)| part.points[k]);
            K::Curve::combine(weights.iter().copied().zip(points))
        };
        let commitments: Vec<_> = (0..threshold(n)).map(coefficient).collect();
        K::committed(old.map(K::id), self.epoch, n, &commitments)
    }

    /// The keys, and this receiver's shares of them, decrypted from the dealings.
    ///
    /// # Errors
    /// [`CombineError`] as for the keys; `Mixed` names a dealer whose dealing this receiver
    /// cannot read, which is its own secret's fault, not the dealer's.
    pub fn shares(
        &self,
        deals: &[VerifiedDeal],
        receiver: MemberId,
        secret: &ReceiverSecret,
    ) -> Result<(CommitteeKeys, CommitteeShares), CombineError> {
        let keys = self.keys(deals)?;
        if self.receivers.get(receiver.index()) != Some(&secret.key()) {
            return Err(CombineError::IndexRange(receiver));
        }
        let counted = self.counted(deals)?;
        let (reader, dealt_on) = ((receiver, secret), self.old().is_some());
        let dealt = keys.former.as_ref().unwrap_or(&keys.encryption);
        let dealt = suite_share(dealt, &encryption_parts(&counted), dealt_on, reader)?;
        let (encryption, former) = if self.renewed() {
            let parts = fresh_parts(&counted);
            let fresh = suite_share(&keys.encryption, &parts, false, reader)?;
            (fresh, Some(dealt))
        } else {
            (dealt, None)
        };
        let certificate = keys.certificate.as_ref();
        let certificate =
            certificate.map(|key| share(key, &certificate_parts(&counted), dealt_on, reader));
        let shares = CommitteeShares {
            encryption,
            certificate: certificate.transpose()?,
            former,
        };
        Ok((keys, shares))
    }
}

fn encryption_parts<'a>(counted: &[&'a VerifiedDeal]) -> Vec<(MemberId, &'a OpenSuitePart)> {
    let parts = counted.iter().map(|deal| (deal.dealer, &deal.encryption));
    parts.collect()
}

fn fresh_parts<'a>(counted: &[&'a VerifiedDeal]) -> Vec<(MemberId, &'a OpenSuitePart)> {
    let parts = counted.iter();
    let part = |deal: &&'a VerifiedDeal| Some((deal.dealer, deal.fresh.as_ref()?));
    parts.filter_map(part).collect()
}

fn certificate_parts<'a>(counted: &[&'a VerifiedDeal]) -> Parts<'a, Bls> {
    let parts = counted.iter();
    let part = |deal: &&'a VerifiedDeal| Some((deal.dealer, deal.certificate.as_ref()?));
    parts.filter_map(part).collect()
}

/// The parts over the group of a suite: all, as each was held to the ceremony's.
fn of_suite<'a, C: Curve>(
    parts: &[(MemberId, &'a OpenSuitePart)],
    part: impl Fn(&'a OpenSuitePart) -> Option<&'a OpenPart<C>>,
) -> Parts<'a, C> {
    let parts = parts.iter();
    let of = |(dealer, suite): &(MemberId, &'a OpenSuitePart)| Some((*dealer, part(suite)?));
    parts.filter_map(of).collect()
}

fn suite_share(
    key: &SuiteKey,
    parts: &[(MemberId, &OpenSuitePart)],
    dealt_on: bool,
    reader: Reader<'_>,
) -> Result<SuiteSecret, CombineError> {
    match key {
        SuiteKey::Tdh2(key) => {
            let parts = of_suite(parts, OpenSuitePart::tdh2);
            share(key, &parts, dealt_on, reader).map(SuiteSecret::Tdh2)
        }
        SuiteKey::BaekZheng(key) => {
            let parts = of_suite(parts, OpenSuitePart::baek_zheng);
            share(key, &parts, dealt_on, reader).map(SuiteSecret::BaekZheng)
        }
    }
}

/// Σ weight·p(αⱼ), which only receiver j can read, as its share of the key.
fn share<K: Dealt>(
    key: &K,
    parts: &Parts<'_, K::Curve>,
    dealt_on: bool,
    (receiver, secret): Reader<'_>,
) -> Result<K::Share, CombineError> {
    let mut sum = Zeroizing::new(K::Curve::scalar(0));
    for (weight, (dealer, part)) in weights(parts, dealt_on).into_iter().zip(parts) {
        let value = part.decrypt(receiver, secret);
        let mut value = value.ok_or(CombineError::Mixed(*dealer))?;
        *sum = *sum + weight * value;
        value.zeroize();
    }
    key.share(receiver, &sum)
        .map_err(|_| CombineError::IndexRange(receiver))
}

/// What each part is multiplied by: 1 for new secrets, Lagrange's coefficients at 0 for shares
/// that are dealt on.
fn weights<C: Curve>(parts: &Parts<'_, C>, dealt_on: bool) -> Vec<C::Scalar> {
    let one = C::scalar(1);
    if !dealt_on {
        return vec![one; parts.len()];
    }
    let nodes = parts.iter().map(|(dealer, _)| C::node(dealer.index()));
    let nodes: Vec<C::Scalar> = nodes.collect();
    let weight = |(at, node): (usize, &C::Scalar)| {
        // λ = ∏ αⱼ/(αⱼ − α) over the other old nodes.
        let others = nodes.iter().enumerate().filter(|(j, _)| *j != at);
        let (above, below) = others.fold((one, one), |(above, below), (_, other)| {
            (above * *other, below * (*other - *node))
        });
        above * C::invert(&below)
    };
    nodes.iter().enumerate().map(weight).collect()
}
