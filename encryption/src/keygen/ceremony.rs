//! One ceremony: who deals to whom, which dealings count, and the keys that come of them.

use fairlane_types::{
    Digest, Domain, Epoch, Genesis, KeyId, KeySource, MemberId, NextCommittee, NextKey,
    ReceiverBytes,
};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::curve::{Bls, Curve, Ristretto, evaluate_committed, random};
use super::deal::{Deal, DealError, DealtKey};
use super::part::{OpenPart, Part};
use super::slots::{ReceiverKey, ReceiverSecret};
use crate::group::Hs;
use crate::keys::{SHARE_HOLDERS_MAX, threshold};
use crate::{CertificateKey, CertificateSecret, CombineError, EncryptionKey, KeyError, KeyShare};

/// The making of a committee's keys, or a resharing of old ones: the encryption key and, on
/// a chain with certificates, the certificate key, dealt together. With a resharing a fresh
/// encryption key may be made: then the old one goes on beside it.
#[derive(Clone, Debug)]
pub struct Ceremony {
    id: Digest,
    epoch: Epoch,
    receivers: Vec<ReceiverKey>,
    origin: Origin,
}

/// What is dealt.
#[derive(Clone, Debug)]
enum Origin {
    /// New secrets.
    Fresh { certified: bool },
    /// The shares of old keys; beside them new secrets for another encryption key, if `renewed`.
    Old {
        keys: Box<CommitteeKeys>,
        renewed: bool,
    },
}

/// The public keys of one committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeKeys {
    /// What orders are encrypted to.
    pub encryption: EncryptionKey,
    /// What the sequence is attested with, on a chain with certificates.
    pub certificate: Option<CertificateKey>,
    /// The encryption key before this one, dealt on with the making of this one.
    pub former: Option<EncryptionKey>,
}

/// One member's shares of the keys of its committee.
#[derive(Debug)]
pub struct CommitteeShares {
    /// Of the encryption key.
    pub encryption: KeyShare,
    /// Of the certificate key, on a chain with certificates.
    pub certificate: Option<CertificateSecret>,
    /// Of the encryption key before this one.
    pub former: Option<KeyShare>,
}

/// A dealing that everybody agrees is valid.
#[derive(Clone, Debug)]
pub struct VerifiedDeal {
    dealer: MemberId,
    encryption: OpenPart<Ristretto>,
    certificate: Option<OpenPart<Bls>>,
    fresh: Option<OpenPart<Ristretto>>,
}

impl VerifiedDeal {
    /// Who dealt.
    #[must_use]
    pub fn dealer(&self) -> MemberId {
        self.dealer
    }
}

fn receiver_keys<'a>(
    receivers: impl IntoIterator<Item = &'a ReceiverBytes>,
) -> Result<Vec<ReceiverKey>, KeyError> {
    let receivers = receivers.into_iter();
    receivers.map(|key| ReceiverKey::new(key.0)).collect()
}

impl Ceremony {
    /// The ceremony for the first keys of a chain; `None` where a dealer made them.
    ///
    /// # Errors
    /// [`KeyError`] when a receiver's key is none.
    pub fn of_genesis(genesis: &Genesis) -> Result<Option<Self>, KeyError> {
        if genesis.encryption.source != KeySource::Ceremony {
            return Ok(None);
        }
        let receivers = receiver_keys(&genesis.encryption.receivers)?;
        let id = Domain::Dealing.hash_of(&genesis.hash());
        let certificates = genesis.certificates.as_ref();
        let certified = certificates.is_some_and(|c| c.source == KeySource::Ceremony);
        Self::fresh(id, genesis.epoch(), receivers, certified).map(Some)
    }

    /// The ceremony in which the committee of an epoch, whose genesis has the hash `before`,
    /// deals its keys on to the next one, and makes a fresh encryption key with it if the change
    /// says so.
    ///
    /// # Errors
    /// [`KeyError`] when a receiver's key is none.
    pub fn of_change(
        before: Digest,
        next: &NextCommittee,
        old: CommitteeKeys,
    ) -> Result<Self, KeyError> {
        let receivers = receiver_keys(next.members.iter().map(|member| &member.receiver))?;
        let id = Domain::Dealing.hash_of(&(before, next));
        let made = match next.key {
            NextKey::Kept => Self::reshare,
            NextKey::Fresh => Self::renew,
        };
        made(id, next.epoch, receivers, old.encryption, old.certificate)
    }

    /// A ceremony for fresh keys, dealt by the receivers to each other; `certified` says
    /// whether a certificate key is among them. `id` names chain and attempt, so that no
    /// dealing serves twice.
    ///
    /// # Errors
    /// [`KeyError::Members`] when there are no receivers, or too many.
    pub fn fresh(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        certified: bool,
    ) -> Result<Self, KeyError> {
        Self::new(id, epoch, receivers, Origin::Fresh { certified })
    }

    /// A ceremony in which the holders of old keys deal their shares to new receivers, who
    /// may be the same (a refresh), others, or both.
    ///
    /// # Errors
    /// [`KeyError::Members`] when there are no receivers, or too many;
    /// [`KeyError::Holders`] when the old keys are of committees of different size.
    pub fn reshare(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        encryption: EncryptionKey,
        certificate: Option<CertificateKey>,
    ) -> Result<Self, KeyError> {
        Self::of_old(id, epoch, receivers, (encryption, certificate), false)
    }

    /// As [`reshare`](Self::reshare), and from each dealer a part of a fresh encryption key.
    /// Nobody knows it while one of the dealers that count keeps its part to itself; t of the
    /// old committee are f+1 honest ones at least.
    ///
    /// # Errors
    /// As [`reshare`](Self::reshare).
    pub fn renew(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        encryption: EncryptionKey,
        certificate: Option<CertificateKey>,
    ) -> Result<Self, KeyError> {
        Self::of_old(id, epoch, receivers, (encryption, certificate), true)
    }

    fn of_old(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        (encryption, certificate): (EncryptionKey, Option<CertificateKey>),
        renewed: bool,
    ) -> Result<Self, KeyError> {
        if let Some(certificate) = &certificate
            && certificate.n() != encryption.n()
        {
            return Err(KeyError::Holders {
                encryption: encryption.n(),
                certificate: certificate.n(),
            });
        }
        let keys = Box::new(CommitteeKeys {
            encryption,
            certificate,
            former: None,
        });
        Self::new(id, epoch, receivers, Origin::Old { keys, renewed })
    }

    fn new(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        origin: Origin,
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
            origin,
        })
    }

    fn old(&self) -> Option<&CommitteeKeys> {
        match &self.origin {
            Origin::Fresh { .. } => None,
            Origin::Old { keys, .. } => Some(keys),
        }
    }

    /// Whether a certificate key comes of it.
    #[must_use]
    pub fn certified(&self) -> bool {
        match &self.origin {
            Origin::Fresh { certified } => *certified,
            Origin::Old { keys, .. } => keys.certificate.is_some(),
        }
    }

    /// Whether a fresh encryption key comes of it, beside the old one.
    #[must_use]
    pub fn renewed(&self) -> bool {
        matches!(self.origin, Origin::Old { renewed: true, .. })
    }

    /// Valid dealings that are needed: n − f for fresh keys, so that f+1 honest ones are
    /// in it; t of the old committee for a resharing.
    #[must_use]
    pub fn needed(&self) -> usize {
        let n = self.receivers.len();
        self.old().map_or(n - (n - 1) / 3, |old| old.encryption.t())
    }

    /// Number of those who may deal.
    #[must_use]
    pub fn dealers(&self) -> usize {
        let receivers = self.receivers.len();
        self.old().map_or(receivers, |old| old.encryption.n())
    }

    /// Whether a member may deal.
    #[must_use]
    pub fn deals(&self, member: MemberId) -> bool {
        member.index() < self.dealers()
    }

    /// Bytes of an encoded dealing, all alike.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        Deal::encoded_len(self.receivers.len(), self.certified(), self.renewed())
    }

    /// What every hash of a part is bound to.
    fn context<C: Curve>(
        &self,
        dealer: MemberId,
        old: Option<KeyId>,
        commitments: &[C::Encoded],
    ) -> [u8; 32] {
        let mut hash = Hs::new(C::TAG)
            .part(self.id.0)
            .part(self.epoch.0.to_le_bytes())
            .part(dealer.share_index().to_le_bytes())
            .part((self.receivers.len() as u16).to_le_bytes());
        for receiver in &self.receivers {
            hash = hash.part(receiver.bytes());
        }
        hash = hash.part(old.map_or([0; 32], |old| *old.as_bytes()));
        for commitment in commitments {
            hash = hash.part(commitment);
        }
        *hash.bytes()
    }

    fn encryption_context(
        &self,
        dealer: MemberId,
    ) -> impl Fn(&[<Ristretto as Curve>::Encoded]) -> [u8; 32] + '_ {
        let old = self.old().map(|old| old.encryption.sharing());
        move |commitments| self.context::<Ristretto>(dealer, old, commitments)
    }

    /// No old key is in it: a part that deals one on is none of a fresh one.
    fn fresh_context(
        &self,
        dealer: MemberId,
    ) -> impl Fn(&[<Ristretto as Curve>::Encoded]) -> [u8; 32] + '_ {
        move |commitments| self.context::<Ristretto>(dealer, None, commitments)
    }

    fn certificate_context(
        &self,
        dealer: MemberId,
    ) -> impl Fn(&[<Bls as Curve>::Encoded]) -> [u8; 32] + '_ {
        let old = self.old().and_then(|old| old.certificate.as_ref());
        let old = old.map(CertificateKey::sharing);
        move |commitments| self.context::<Bls>(dealer, old, commitments)
    }

    fn deal_secrets<R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        encryption: <Ristretto as Curve>::Scalar,
        certificate: Option<<Bls as Curve>::Scalar>,
        rng: &mut R,
    ) -> Deal {
        let receivers = &self.receivers;
        let context = self.encryption_context(dealer);
        let encryption = Part::make(context, receivers, encryption, rng);
        let context = self.certificate_context(dealer);
        let certificate = certificate.map(|secret| Part::make(context, receivers, secret, rng));
        let fresh = self.renewed().then(|| {
            let mut secret = random::<Ristretto>(rng);
            let part = Part::make(self.fresh_context(dealer), receivers, secret, rng);
            secret.zeroize();
            part
        });
        Deal {
            dealer,
            n: receivers.len(),
            encryption,
            certificate,
            fresh,
        }
    }

    /// Deals this member's part of fresh keys.
    ///
    /// # Errors
    /// [`DealError::Dealer`] when it may not, or the ceremony is a resharing.
    pub fn deal<R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        if self.old().is_some() || !self.deals(dealer) {
            return Err(DealError::Dealer(dealer));
        }
        let mut encryption = random::<Ristretto>(rng);
        let mut certificate = self.certified().then(|| random::<Bls>(rng));
        let deal = self.deal_secrets(dealer, encryption, certificate, rng);
        encryption.zeroize();
        certificate.zeroize();
        Ok(deal)
    }

    /// Deals this member's shares of the old keys on, and its part of a fresh one if there is to
    /// be one.
    ///
    /// # Errors
    /// [`DealError::NotItsShare`] when one is not of the old key, or there is none;
    /// [`DealError::Keys`] when the certificate share is missing, or one too many.
    pub fn deal_share<R: CryptoRng + ?Sized>(
        &self,
        encryption: &KeyShare,
        certificate: Option<&CertificateSecret>,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        let not_encryption = DealError::NotItsShare(DealtKey::Encryption);
        let not_certificate = DealError::NotItsShare(DealtKey::Certificate);
        let old = self.old().ok_or(not_encryption)?;
        let dealer = encryption.member();
        encryption
            .belongs_to(&old.encryption)
            .map_err(|_| not_encryption)?;
        let mut certificate = match (&old.certificate, certificate) {
            (None, None) => None,
            (Some(key), Some(share)) => {
                let its = share.member() == dealer && share.belongs_to(key).is_ok();
                let secret = Bls::decode_scalar(&share.expose_secret());
                Some(secret.filter(|_| its).ok_or(not_certificate)?)
            }
            _ => return Err(DealError::Keys),
        };
        // p(αᵢ) = x'ᵢ/vᵢ.
        let unscale = scale(dealer.index(), old.encryption.n()).invert();
        let mut secret = encryption.secret() * unscale;
        let deal = self.deal_secrets(dealer, secret, certificate, rng);
        secret.zeroize();
        certificate.zeroize();
        Ok(deal)
    }

    /// Judges a dealing that member `from` put into the log: the same verdict for
    /// everybody, by its bytes alone.
    ///
    /// # Errors
    /// [`DealError`] tells why it does not count.
    pub fn verify(&self, from: MemberId, deal: Deal) -> Result<VerifiedDeal, DealError> {
        let verified = self.verified_before(from, deal)?;
        let receivers = &self.receivers;
        let encryption = &verified.encryption;
        encryption.verify(DealtKey::Encryption, receivers)?;
        if let Some(certificate) = &verified.certificate {
            certificate.verify(DealtKey::Certificate, receivers)?;
        }
        if let Some(fresh) = &verified.fresh {
            fresh.verify(DealtKey::Fresh, receivers)?;
        }
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
        if deal.certificate.is_some() != self.certified() || deal.fresh.is_some() != self.renewed()
        {
            return Err(DealError::Keys);
        }
        let context = self.encryption_context(from);
        let encryption = deal.encryption.open(DealtKey::Encryption, context)?;
        let open = |part: Part<Bls>| {
            let context = self.certificate_context(from);
            part.open(DealtKey::Certificate, context)
        };
        let certificate = deal.certificate.map(open).transpose()?;
        let open = |part: Part<Ristretto>| part.open(DealtKey::Fresh, self.fresh_context(from));
        let fresh = deal.fresh.map(open).transpose()?;
        if let Some(old) = self.old() {
            let held = old.encryption.member_point(from);
            let dealt = encryption.points[0] * scale(from.index(), old.encryption.n());
            if held != Some(&dealt) {
                return Err(DealError::NotItsShare(DealtKey::Encryption));
            }
            let held = old.certificate.as_ref();
            let held = held.and_then(|key| key.verification_key(from));
            if certificate
                .as_ref()
                .map(|part| Bls::encode(&part.points[0]))
                != held
            {
                return Err(DealError::NotItsShare(DealtKey::Certificate));
            }
        }
        Ok(VerifiedDeal {
            dealer: from,
            encryption,
            certificate,
            fresh,
        })
    }

    /// Whether a dealing was verified in this ceremony.
    fn is_of_this(&self, deal: &VerifiedDeal) -> bool {
        let certificate = match &deal.certificate {
            Some(part) => self.certified() && part.is_of(self.certificate_context(deal.dealer)),
            None => !self.certified(),
        };
        let fresh = match &deal.fresh {
            Some(part) => self.renewed() && part.is_of(self.fresh_context(deal.dealer)),
            None => !self.renewed(),
        };
        certificate && fresh && deal.encryption.is_of(self.encryption_context(deal.dealer))
    }

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

    /// What each counted dealing is multiplied by: 1 for the first keys, Lagrange's
    /// coefficients at 0 for a resharing.
    fn weights<C: Curve>(&self, counted: &[&VerifiedDeal]) -> Vec<C::Scalar> {
        let one = C::scalar(1);
        if self.old().is_none() {
            return ones::<C>(counted);
        }
        let nodes = counted.iter().map(|deal| C::node(deal.dealer.index()));
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
        let n = self.receivers.len();
        let weights = self.weights::<Ristretto>(counted);
        let points = self.points(&weights, counted.iter().map(|deal| &deal.encryption));
        let old = self.old();
        let dealt = match old {
            None => EncryptionKey::new(self.epoch, points.0, points.1)?,
            Some(old) => {
                EncryptionKey::reshared(old.encryption.id(), self.epoch, points.0, points.1)?
            }
        };
        let (encryption, former) = if self.renewed() {
            let parts = counted.iter().filter_map(|deal| deal.fresh.as_ref());
            let (y, members) = self.points(&ones::<Ristretto>(counted), parts);
            (EncryptionKey::new(self.epoch, y, members)?, Some(dealt))
        } else {
            (dealt, None)
        };
        let parts = counted.iter().filter_map(|deal| deal.certificate.as_ref());
        let certificate = if self.certified() {
            let committed = self::committed(n, &self.weights::<Bls>(counted), parts);
            let committed = committed.iter().map(Bls::encode).collect();
            Some(match old.and_then(|old| old.certificate.as_ref()) {
                None => CertificateKey::new(self.epoch, n, committed)?,
                Some(old) => CertificateKey::reshared(old.id(), self.epoch, n, committed)?,
            })
        } else {
            None
        };
        Ok(CommitteeKeys {
            encryption,
            certificate,
            former,
        })
    }

    /// Y and the members' verification keys that parts of an encryption key give.
    fn points<'a>(
        &self,
        weights: &[<Ristretto as Curve>::Scalar],
        parts: impl Iterator<Item = &'a OpenPart<Ristretto>> + Clone,
    ) -> (
        <Ristretto as Curve>::Encoded,
        Vec<<Ristretto as Curve>::Encoded>,
    ) {
        let n = self.receivers.len();
        let committed = committed(n, weights, parts);
        let member = |member: usize| {
            let point = evaluate_committed::<Ristretto>(&committed, Ristretto::node(member));
            Ristretto::encode(&(point * scale(member, n)))
        };
        let y = Ristretto::encode(&(committed[0] + committed[0]));
        (y, (0..n).map(member).collect())
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
        let not_its = |_: KeyError| CombineError::IndexRange(receiver);
        let reader = (receiver, secret);
        let weights = self.weights::<Ristretto>(&counted);
        let parts = counted.iter().map(|d| (d.dealer, &d.encryption));
        let dealt = keys.former.as_ref().unwrap_or(&keys.encryption);
        let dealt = self.key_share(dealt, weights, parts, reader)?;
        let (encryption, former) = if self.renewed() {
            let parts = counted.iter().filter_map(|deal| {
                let part = deal.fresh.as_ref()?;
                Some((deal.dealer, part))
            });
            let weights = ones::<Ristretto>(&counted);
            let fresh = self.key_share(&keys.encryption, weights, parts, reader)?;
            (fresh, Some(dealt))
        } else {
            (dealt, None)
        };
        let certificate = match &keys.certificate {
            None => None,
            Some(key) => {
                let weights = self.weights::<Bls>(&counted);
                let parts = counted.iter().filter_map(|deal| {
                    let part = deal.certificate.as_ref()?;
                    Some((deal.dealer, part))
                });
                let mut share = decrypted(weights, parts, receiver, secret)?;
                let bytes = Zeroizing::new(Bls::encode_scalar(&share));
                share.zeroize();
                Some(CertificateSecret::new(key, receiver, &bytes).map_err(not_its)?)
            }
        };
        let shares = CommitteeShares {
            encryption,
            certificate,
            former,
        };
        Ok((keys, shares))
    }

    /// A receiver's share of an encryption key.
    fn key_share<'a>(
        &self,
        key: &EncryptionKey,
        weights: Vec<<Ristretto as Curve>::Scalar>,
        parts: impl Iterator<Item = (MemberId, &'a OpenPart<Ristretto>)>,
        (receiver, secret): (MemberId, &ReceiverSecret),
    ) -> Result<KeyShare, CombineError> {
        let mut share = decrypted(weights, parts, receiver, secret)?;
        share *= scale(receiver.index(), self.receivers.len());
        let bytes = Zeroizing::new(Ristretto::encode_scalar(&share));
        share.zeroize();
        KeyShare::new(key, receiver, &bytes).map_err(|_| CombineError::IndexRange(receiver))
    }
}

/// What dealings of a new secret are multiplied by.
fn ones<C: Curve>(counted: &[&VerifiedDeal]) -> Vec<C::Scalar> {
    vec![C::scalar(1); counted.len()]
}

/// Σ weight·C for each coefficient of a polynomial for `n` receivers.
fn committed<'a, C: Curve>(
    n: usize,
    weights: &[C::Scalar],
    parts: impl Iterator<Item = &'a OpenPart<C>> + Clone,
) -> Vec<C::Point> {
    let coefficient = |k: usize| {
        let points = parts.clone().map(move |part| part.points[k]);
        C::combine(weights.iter().copied().zip(points))
    };
    (0..threshold(n)).map(coefficient).collect()
}

/// Σ weight·p(αⱼ), which only receiver j can read.
fn decrypted<'a, C: Curve>(
    weights: Vec<C::Scalar>,
    parts: impl Iterator<Item = (MemberId, &'a OpenPart<C>)>,
    receiver: MemberId,
    secret: &ReceiverSecret,
) -> Result<C::Scalar, CombineError> {
    let mut sum = C::scalar(0);
    for (weight, (dealer, part)) in weights.into_iter().zip(parts) {
        let value = part.decrypt(receiver, secret);
        let mut value = value.ok_or(CombineError::Mixed(dealer))?;
        sum = sum + weight * value;
        value.zeroize();
    }
    Ok(sum)
}

/// vᵢ = i^(t−1)·∏_{j≠i}(i−j)⁻¹ of 6.2, for share index i = member + 1.
fn scale(member: usize, n: usize) -> <Ristretto as Curve>::Scalar {
    let i = Ristretto::scalar(member as u64 + 1);
    let power: <Ristretto as Curve>::Scalar = (1..threshold(n)).map(|_| i).product();
    let differences: <Ristretto as Curve>::Scalar = (0..n)
        .filter(|j| *j != member)
        .map(|j| i - Ristretto::scalar(j as u64 + 1))
        .product();
    power * differences.invert()
}
