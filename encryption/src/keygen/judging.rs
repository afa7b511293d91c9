//! Which dealings are valid: a verdict by their bytes alone, the same for everybody.

use fairlane_types::MemberId;

use super::ceremony::Ceremony;
use super::curve::Bls;
use super::deal::{Deal, DealError, DealtKey};
use super::dealt::Dealt;
use super::part::{OpenPart, Part};
use super::suite_part::{OpenSuitePart, SuitePart};
use crate::{BaekZhengKey, CertificateKey, EncryptionKey, SuiteKey};

/// A dealing that everybody agrees is valid.
#[derive(Clone, Debug)]
pub struct VerifiedDeal {
    pub(super) dealer: MemberId,
    pub(super) encryption: OpenSuitePart,
    pub(super) certificate: Option<OpenPart<Bls>>,
    pub(super) fresh: Option<OpenSuitePart>,
}

impl VerifiedDeal {
    /// Who dealt.
    #[must_use]
    pub fn dealer(&self) -> MemberId {
        self.dealer
    }
}

impl Ceremony {
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
        if deal.scheme() != self.scheme()
            || deal.certificate.is_some() != self.certified()
            || deal.fresh.is_some() != self.renewed()
        {
            return Err(DealError::Keys);
        }
        let old = self.old().map(|old| &old.encryption);
        let encryption = self.open_suite(from, DealtKey::Encryption, deal.encryption, old)?;
        let open = |part| {
            let (key, old) = (DealtKey::Certificate, self.old_certificate());
            self.open::<CertificateKey>(from, key, part, old)
        };
        let certificate = deal.certificate.map(open).transpose()?;
        let open = |part| self.open_suite(from, DealtKey::Fresh, part, None);
        let fresh = deal.fresh.map(open).transpose()?;
        Ok(VerifiedDeal {
            dealer: from,
            encryption,
            certificate,
            fresh,
        })
    }

    fn open_suite(
        &self,
        from: MemberId,
        key: DealtKey,
        part: SuitePart,
        old: Option<&SuiteKey>,
    ) -> Result<OpenSuitePart, DealError> {
        match part {
            SuitePart::Tdh2(part) => {
                let old = old.and_then(SuiteKey::tdh2);
                let part = self.open::<EncryptionKey>(from, key, part, old);
                part.map(OpenSuitePart::Tdh2)
            }
            SuitePart::BaekZheng(part) => {
                let old = old.and_then(SuiteKey::baek_zheng);
                let part = self.open::<BaekZhengKey>(from, key, part, old);
                part.map(OpenSuitePart::BaekZheng)
            }
        }
    }

    /// Decodes a part, and holds it to the dealer's share of the key that it deals on.
    fn open<K: Dealt>(
        &self,
        from: MemberId,
        key: DealtKey,
        part: Part<K::Curve>,
        old: Option<&K>,
    ) -> Result<OpenPart<K::Curve>, DealError> {
        let part = part.open(key, self.context(from, old))?;
        if old.is_none_or(|old| old.commits(from, &part.points[0])) {
            Ok(part)
        } else {
            Err(DealError::NotItsShare(key))
        }
    }

    /// Whether a dealing was verified in this ceremony.
    pub(super) fn is_of_this(&self, deal: &VerifiedDeal) -> bool {
        let certificate = match &deal.certificate {
            Some(part) => {
                let context = self.context::<CertificateKey>(deal.dealer, self.old_certificate());
                self.certified() && part.is_of(context)
            }
            None => !self.certified(),
        };
        let fresh = match &deal.fresh {
            Some(part) => self.renewed() && self.is_of_suite(deal.dealer, part, None),
            None => !self.renewed(),
        };
        let old = self.old().map(|old| &old.encryption);
        certificate && fresh && self.is_of_suite(deal.dealer, &deal.encryption, old)
    }

    fn is_of_suite(&self, dealer: MemberId, part: &OpenSuitePart, old: Option<&SuiteKey>) -> bool {
        match part {
            OpenSuitePart::Tdh2(part) => {
                let old = old.and_then(SuiteKey::tdh2);
                part.is_of(self.context::<EncryptionKey>(dealer, old))
            }
            OpenSuitePart::BaekZheng(part) => {
                let old = old.and_then(SuiteKey::baek_zheng);
                part.is_of(self.context::<BaekZhengKey>(dealer, old))
            }
        }
    }
}
