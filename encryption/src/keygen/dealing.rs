//! What a dealer does.

use fairlane_types::{MemberId, Scheme};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::ceremony::Ceremony;
use super::curve::{Bls, Curve, random};
use super::deal::{Deal, DealError, DealtKey};
use super::dealt::Dealt;
use super::part::Part;
use super::suite_part::SuitePart;
use crate::{
    BaekZhengKey, CertificateKey, CertificateSecret, EncryptionKey, SuiteKey, SuiteSecret,
};

/// A secret that is dealt, erased when dropped.
type Secret<C> = Zeroizing<<C as Curve>::Scalar>;

impl Ceremony {
    /// Deals this member's part of fresh keys.
    ///
    /// # Errors
    /// [`DealError::Dealer`] when it deals no part here, or the keys are not fresh.
    pub fn deal<R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        if self.old().is_some() || !self.deals(dealer) {
            return Err(DealError::Dealer(dealer));
        }
        Ok(match self.scheme() {
            Scheme::Tdh2 => self.deal_new::<EncryptionKey, R>(dealer, SuitePart::Tdh2, rng),
            Scheme::BaekZheng => {
                self.deal_new::<BaekZhengKey, R>(dealer, SuitePart::BaekZheng, rng)
            }
        })
    }

    fn deal_new<K: Dealt, R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        part: impl Fn(Part<K::Curve>) -> SuitePart,
        rng: &mut R,
    ) -> Deal {
        let encryption = Zeroizing::new(random::<K::Curve>(rng));
        let certificate = self.certified().then(|| Zeroizing::new(random::<Bls>(rng)));
        self.deal_secrets::<K, R>(dealer, None, (encryption, certificate), part, rng)
    }

    /// Deals this member's shares of the old keys on, and its part of a fresh one if there is to
    /// be one.
    ///
    /// # Errors
    /// [`DealError::NotItsShare`] when one is not of the old key, or there is none;
    /// [`DealError::Keys`] when the certificate share is missing, or one too many.
    pub fn deal_share<R: CryptoRng + ?Sized>(
        &self,
        encryption: &SuiteSecret,
        certificate: Option<&CertificateSecret>,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        let not_its = DealError::NotItsShare(DealtKey::Encryption);
        let old = self.old().ok_or(not_its)?;
        match (&old.encryption, encryption) {
            (SuiteKey::Tdh2(key), SuiteSecret::Tdh2(share)) => {
                let dealer = share.member();
                self.deal_on(dealer, (key, share), certificate, SuitePart::Tdh2, rng)
            }
            (SuiteKey::BaekZheng(key), SuiteSecret::BaekZheng(share)) => {
                let dealer = share.member();
                self.deal_on(dealer, (key, share), certificate, SuitePart::BaekZheng, rng)
            }
            _ => Err(not_its),
        }
    }

    fn deal_on<K: Dealt, R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        (key, share): (&K, &K::Share),
        certificate: Option<&CertificateSecret>,
        part: impl Fn(Part<K::Curve>) -> SuitePart,
        rng: &mut R,
    ) -> Result<Deal, DealError> {
        let not_its = DealError::NotItsShare;
        let encryption = key.held(dealer, share);
        let encryption = encryption.ok_or(not_its(DealtKey::Encryption))?;
        let certificate = match (self.old_certificate(), certificate) {
            (None, None) => None,
            (Some(key), Some(share)) => {
                let held = key.held(dealer, share);
                Some(held.ok_or(not_its(DealtKey::Certificate))?)
            }
            _ => return Err(DealError::Keys),
        };
        Ok(self.deal_secrets(dealer, Some(key), (encryption, certificate), part, rng))
    }

    fn deal_secrets<K: Dealt, R: CryptoRng + ?Sized>(
        &self,
        dealer: MemberId,
        old: Option<&K>,
        (encryption, certificate): (Secret<K::Curve>, Option<Secret<Bls>>),
        part: impl Fn(Part<K::Curve>) -> SuitePart,
        rng: &mut R,
    ) -> Deal {
        let receivers = &self.receivers;
        let context = self.context(dealer, old);
        let encryption = part(Part::make(context, receivers, *encryption, rng));
        let context = self.context::<CertificateKey>(dealer, self.old_certificate());
        let certificate = certificate.map(|secret| Part::make(context, receivers, *secret, rng));
        let fresh = self.renewed().then(|| {
            let secret = Zeroizing::new(random::<K::Curve>(rng));
            let context = self.context::<K>(dealer, None);
            part(Part::make(context, receivers, *secret, rng))
        });
        Deal {
            dealer,
            n: receivers.len(),
            encryption,
            certificate,
            fresh,
        }
    }
}
