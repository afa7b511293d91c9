//! The backup of a member's secrets: identity and shares in one file, under a passphrase.
//!
//! What it holds of the keys is good for one epoch (THREATS A21): after a change of committee
//! it gives away what its home has erased, and a new one takes its place.
//!
//! The database is no part of it, and must not be (C7): a restored folder has no birth
//! record, so its node is an observer and contradicts nobody, not even a twin that still runs.

use std::path::Path;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{
    CertificateSecret, KeyFileKind, ReceiverSecret, SuiteSecret, certificate_key,
};
use fairlane_types::{Digest, Epoch, Genesis, KeySource, MemberId, SecretKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::epochs::Present;
use crate::files::write_new;
use crate::home::{EncryptionKeys, Home, HomeError, encryption_key};
use crate::key_files::{MODE_KEY, load, open_sealed, seal};
use crate::passphrase::Passphrase;
use crate::receivers::{receiver_belongs, receiver_secret};

/// What a backup holds.
#[derive(Debug)]
pub struct Backup {
    /// Hash of the genesis of the chain's first epoch.
    pub genesis: Digest,
    /// The epoch that the keys are for.
    pub epoch: Epoch,
    /// The member.
    pub member: MemberId,
    /// Its identity.
    pub identity: SecretKey,
    /// Its share of a dealt encryption key, or its secrets for dealings.
    pub part: Part,
    /// Its share of the certificate key, on a chain that has a dealt one.
    pub certificate: Option<Arc<CertificateSecret>>,
}

/// A member's part of the encryption key.
#[derive(Debug)]
pub enum Part {
    /// A share from a dealer.
    Share(Arc<SuiteSecret>),
    /// What dealings to epochs are read with, of the certificate key too: to the present one,
    /// and to the next one if there is a card for it.
    Receivers(Vec<(Epoch, Arc<ReceiverSecret>)>),
    /// The shares of the present epoch's keys, encoded, where what read them is erased; and what
    /// dealings to the next one are read with, if there is a card for it.
    Kept(KeptShares, Vec<(Epoch, Arc<ReceiverSecret>)>),
}

/// Encoded shares; wiped, and not to be seen.
pub struct KeptShares(pub(crate) Zeroizing<Vec<u8>>);

impl core::fmt::Debug for KeptShares {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeptShares(..)")
    }
}

/// genesis 32 ‖ epoch u64 ‖ member u8 ‖ seed 32 ‖ length u32 ‖ share ‖ count u32 ‖ (epoch u64 ‖
/// receiver secret 32)… ‖ length u32 ‖ certificate share. Share or receiver secrets are empty,
/// and so is the certificate share where none was dealt. In a later epoch than the first the
/// share is what is kept of its keys, with receiver secrets of later ones.
#[derive(BorshSerialize, BorshDeserialize, ZeroizeOnDrop)]
struct Body {
    #[zeroize(skip)]
    genesis: Digest,
    #[zeroize(skip)]
    epoch: Epoch,
    #[zeroize(skip)]
    member: MemberId,
    seed: [u8; 32],
    share: Vec<u8>,
    receivers: Vec<(u64, [u8; 32])>,
    certificate: Vec<u8>,
}

impl Backup {
    /// Of a home's keys, which are those of a member of its present epoch.
    ///
    /// # Errors
    /// [`HomeError`] when they are not.
    pub fn of(home: &Home, present: &Present) -> Result<Self, HomeError> {
        let keys = present.keys(home)?;
        let (part, certificate) = match (present.genesis.encryption.source, keys.encryption) {
            (KeySource::InsecureDealer, EncryptionKeys::Dealt(_, share)) => (
                Part::Share(share),
                keys.certificates.map(|keys| keys.secret),
            ),
            // Both shares follow from dealings.
            _ => {
                let epochs = home.receiver_epochs()?.into_iter();
                let read = |epoch| Ok((epoch, Arc::new(home.receiver(epoch)?)));
                let receivers = epochs.map(read).collect::<Result<Vec<_>, HomeError>>()?;
                let epoch = present.genesis.epoch();
                let part = if home.part_path(&present.genesis) == home.shares_path(epoch) {
                    Part::Kept(KeptShares(home.kept_shares(epoch)?), receivers)
                } else {
                    Part::Receivers(receivers)
                };
                (part, None)
            }
        };
        Ok(Self {
            genesis: present.genesis.origin(),
            epoch: present.genesis.epoch(),
            member: keys.me,
            identity: keys.identity,
            part,
            certificate,
        })
    }

    /// Writes the file; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write(&self, path: &Path, passphrase: &Passphrase) -> Result<(), HomeError> {
        let plain = |secrets: &[(Epoch, Arc<ReceiverSecret>)]| {
            let secrets = secrets.iter();
            let plain = secrets.map(|(epoch, secret)| (epoch.0, *secret.expose_secret()));
            plain.collect()
        };
        let (share, receivers) = match &self.part {
            Part::Share(share) => (fairlane_types::encode(share.as_ref()), Vec::new()),
            Part::Receivers(secrets) => (Vec::new(), plain(secrets)),
            Part::Kept(KeptShares(shares), secrets) => (shares.to_vec(), plain(secrets)),
        };
        let body = Body {
            genesis: self.genesis,
            epoch: self.epoch,
            member: self.member,
            seed: *self.identity.seed(),
            share,
            receivers,
            certificate: (self.certificate.as_deref())
                .map(fairlane_types::encode)
                .unwrap_or_default(),
        };
        let bytes = Zeroizing::new(fairlane_types::encode(&body));
        let sealed = seal(path, KeyFileKind::Backup, &bytes, passphrase)?;
        write_new(path, MODE_KEY, &sealed)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn read(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, HomeError> {
        let sealed = load(path)?;
        let bytes = open_sealed(path, KeyFileKind::Backup, &sealed, passphrase)?;
        Self::parse(&bytes).map_err(|reason| HomeError::content(path, reason))
    }

    /// From what is in a file, opened.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let body: Body = fairlane_types::decode(bytes, bytes.len()).map_err(|e| e.to_string())?;
        let secrets = || {
            let secrets = body.receivers.as_slice();
            if !secrets.is_sorted_by(|(a, _), (b, _)| a < b) {
                return Err("receiver keys are not in the order of their epochs".to_owned());
            }
            let read = |(epoch, secret): &(u64, [u8; 32])| {
                Ok((Epoch(*epoch), Arc::new(receiver_secret(secret)?)))
            };
            secrets.iter().map(read).collect::<Result<Vec<_>, String>>()
        };
        let part = match (body.share.as_slice(), body.receivers.as_slice()) {
            // Whose they are, the epoch's genesis tells.
            (shares, _) if body.epoch > Epoch(0) && !shares.is_empty() => {
                let shares = Zeroizing::new(shares.to_vec());
                Part::Kept(KeptShares(shares), secrets()?)
            }
            (share, []) => {
                let share: SuiteSecret =
                    fairlane_types::decode(share, share.len()).map_err(|e| e.to_string())?;
                if share.member() != body.member {
                    let (of, is) = (share.member(), body.member);
                    return Err(format!(
                        "the share of member {of} in a backup of member {is}"
                    ));
                }
                Part::Share(Arc::new(share))
            }
            ([], _) => Part::Receivers(secrets()?),
            _ => return Err("both a share and receiver keys".to_owned()),
        };
        let certificate = match body.certificate.as_slice() {
            [] => None,
            bytes => {
                let secret: CertificateSecret =
                    fairlane_types::decode(bytes, bytes.len()).map_err(|e| e.to_string())?;
                Some(Arc::new(secret))
            }
        };
        Ok(Self {
            genesis: body.genesis,
            epoch: body.epoch,
            member: body.member,
            identity: SecretKey::from_seed(body.seed),
            part,
            certificate,
        })
    }

    /// Checks that the keys are a member's of the chain of this genesis, which is that of its
    /// first epoch. Whose they are in a later one, only the hand-overs up to it tell.
    ///
    /// # Errors
    /// What does not fit.
    pub fn belongs_to(&self, genesis: &Genesis) -> Result<(), String> {
        let hash = genesis.hash();
        if hash != self.genesis {
            return Err(format!(
                "a backup for genesis {}, not for {hash}",
                self.genesis
            ));
        }
        if self.epoch > genesis.epoch() {
            return Ok(());
        }
        if genesis.members.get(self.member.index()) != Some(&self.identity.public()) {
            let (key, me) = (self.identity.public(), self.member);
            return Err(format!("key {key} is not that of member {me}"));
        }
        match (&self.part, encryption_key(genesis)?) {
            (Part::Share(share), Some(key)) => {
                share.belongs_to(&key).map_err(|e| e.to_string())?;
            }
            (Part::Receivers(secrets), None) => {
                let own = secrets.iter().find(|(epoch, _)| *epoch == self.epoch);
                let (_, secret) = own.ok_or("the receiver key is missing")?;
                receiver_belongs(secret, self.member, genesis)?;
            }
            _ => return Err("its part of the key is of another kind than the chain's".to_owned()),
        }
        let key = certificate_key(genesis, None).map_err(|e| e.to_string())?;
        match (&key, &self.certificate) {
            (None, None) => Ok(()),
            (Some(key), Some(secret)) if secret.member() == self.member => {
                secret.belongs_to(key).map_err(|e| e.to_string())
            }
            _ => Err("the share of the certificate key is missing or another member's".into()),
        }
    }

    /// Writes the keys into a home that has none, encrypted if it has a passphrase.
    ///
    /// # Errors
    /// [`HomeError`]; `Exists` before anything is written when a key is there.
    pub fn restore(&self, home: &Home) -> Result<(), HomeError> {
        let taken = [
            home.identity_path(),
            home.share_path(),
            home.certificate_path(),
        ];
        let receivers = home.receiver_epochs()?.into_iter();
        let receivers = receivers.map(|epoch| home.receiver_path(epoch));
        let shares = home.shares_epochs()?.into_iter();
        let receivers = receivers.chain(shares.map(|epoch| home.shares_path(epoch)));
        if let Some(path) = taken.into_iter().chain(receivers).find(|p| p.exists()) {
            return Err(HomeError::Exists(path));
        }
        home.write_identity(&self.identity)?;
        match &self.part {
            Part::Share(share) => home.write_share(share)?,
            Part::Kept(KeptShares(shares), _) => home.keep_shares(self.epoch, shares)?,
            Part::Receivers(_) => {}
        }
        if let Part::Receivers(secrets) | Part::Kept(_, secrets) = &self.part {
            for (epoch, secret) in secrets {
                home.write_receiver(*epoch, secret)?;
            }
        }
        match &self.certificate {
            Some(secret) => home.write_certificate_share(secret),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{Signing, deal_pairing_insecure, deal_suite_insecure};
    use fairlane_types::Scheme;
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;
    use proptest::prelude::*;

    use super::*;

    fn encoded(scheme: Scheme, with_certificate: bool) -> Vec<u8> {
        let rng = &mut UnwrapErr(SysRng);
        let (_, shares) = deal_suite_insecure(scheme, Epoch(0), 4, rng).unwrap();
        fairlane_types::encode(&Body {
            genesis: Digest([3; 32]),
            epoch: Epoch(0),
            member: MemberId(2),
            seed: [5; 32],
            share: fairlane_types::encode(&shares[2]),
            receivers: Vec::new(),
            certificate: if with_certificate {
                let (_, secrets) = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, rng).unwrap();
                fairlane_types::encode(&secrets[2])
            } else {
                Vec::new()
            },
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        /// Behind the seal only its maker can write, but who makes one may be wrong.
        #[test]
        fn changed_contents_are_refused_or_whole(
            baek_zheng in any::<bool>(), at in 0..320_usize, cut in 0..6_usize,
            piece in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let scheme = if baek_zheng { Scheme::BaekZheng } else { Scheme::Tdh2 };
            let mut bytes = encoded(scheme, baek_zheng);
            prop_assert_eq!(Backup::parse(&bytes).unwrap().member, MemberId(2));
            let end = (at + cut).min(bytes.len());
            bytes.splice(at.min(end)..end, piece);
            if let Ok(backup) = Backup::parse(&bytes)
                && let Part::Share(share) = &backup.part
            {
                prop_assert_eq!(share.member(), backup.member);
            }
        }
    }
}
