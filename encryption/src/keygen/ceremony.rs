//! One ceremony: who deals what to whom, and how many dealings it takes.

use fairlane_types::{
    Digest, Domain, Epoch, Genesis, KeySource, MemberId, NextCommittee, NextKey, ReceiverBytes,
    Scheme,
};

use super::committee::CommitteeKeys;
use super::curve::Curve;
use super::deal::Deal;
use super::dealt::Dealt;
use super::slots::ReceiverKey;
use crate::group::Hs;
use crate::keys::SHARE_HOLDERS_MAX;
use crate::{CertificateKey, KeyError, SuiteKey};

/// The making of a committee's keys, or a resharing of old ones: the encryption key and, on
/// a chain with certificates, the certificate key, dealt together. With a resharing a fresh
/// encryption key may be made: then the old one goes on beside it.
#[derive(Clone, Debug)]
pub struct Ceremony {
    id: Digest,
    pub(super) epoch: Epoch,
    pub(super) receivers: Vec<ReceiverKey>,
    origin: Origin,
}

/// What is dealt.
#[derive(Clone, Debug)]
enum Origin {
    /// New secrets.
    Fresh { scheme: Scheme, certified: bool },
    /// The shares of old keys; beside them new secrets for another encryption key, if `renewed`.
    Old {
        keys: Box<CommitteeKeys>,
        renewed: bool,
    },
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
        let scheme = genesis.encryption.scheme;
        Self::fresh(scheme, id, genesis.epoch(), receivers, certified).map(Some)
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

    /// A ceremony for fresh keys, dealt by the receivers to each other: an encryption key of
    /// `scheme`, and a certificate key if it is `certified`. `id` names chain and attempt, so
    /// that no dealing serves twice.
    ///
    /// # Errors
    /// [`KeyError::Members`] when there are no receivers, or too many.
    pub fn fresh(
        scheme: Scheme,
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        certified: bool,
    ) -> Result<Self, KeyError> {
        Self::new(id, epoch, receivers, Origin::Fresh { scheme, certified })
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
        encryption: SuiteKey,
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
        encryption: SuiteKey,
        certificate: Option<CertificateKey>,
    ) -> Result<Self, KeyError> {
        Self::of_old(id, epoch, receivers, (encryption, certificate), true)
    }

    fn of_old(
        id: Digest,
        epoch: Epoch,
        receivers: Vec<ReceiverKey>,
        (encryption, certificate): (SuiteKey, Option<CertificateKey>),
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

    pub(super) fn old(&self) -> Option<&CommitteeKeys> {
        match &self.origin {
            Origin::Fresh { .. } => None,
            Origin::Old { keys, .. } => Some(keys),
        }
    }

    pub(super) fn old_certificate(&self) -> Option<&CertificateKey> {
        self.old().and_then(|old| old.certificate.as_ref())
    }

    /// The scheme of its encryption keys.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match &self.origin {
            Origin::Fresh { scheme, .. } => *scheme,
            Origin::Old { keys, .. } => keys.encryption.scheme(),
        }
    }

    /// Whether a certificate key comes of it.
    #[must_use]
    pub fn certified(&self) -> bool {
        match &self.origin {
            Origin::Fresh { certified, .. } => *certified,
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
        let (n, certified, renewed) = (self.receivers.len(), self.certified(), self.renewed());
        Deal::encoded_len(self.scheme(), n, certified, renewed)
    }

    /// What every hash of a part is bound to: whose part it is, of which key, and which old
    /// sharing it deals on. A part of new secrets names none, so it is none that deals on.
    pub(super) fn context<K: Dealt>(
        &self,
        dealer: MemberId,
        old: Option<&K>,
    ) -> impl Fn(&[<K::Curve as Curve>::Encoded]) -> [u8; 32] + use<'_, K> {
        let old = old.map_or([0; 32], |old| *old.sharing().as_bytes());
        move |commitments| {
            let mut hash = Hs::new(K::DEALING)
                .part(self.id.0)
                .part(self.epoch.0.to_le_bytes())
                .part(dealer.share_index().to_le_bytes())
                .part((self.receivers.len() as u16).to_le_bytes());
            for receiver in &self.receivers {
                hash = hash.part(receiver.bytes());
            }
            hash = hash.part(old);
            for commitment in commitments {
                hash = hash.part(commitment);
            }
            *hash.bytes()
        }
    }
}
