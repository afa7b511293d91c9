//! The backup of a member's secrets: identity and shares in one file, under a passphrase.
//!
//! The database is no part of it, and must not be (C7): a restored folder has no birth
//! record, so its node is an observer and contradicts nobody, not even a twin that still runs.

use std::path::Path;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{
    CertificateSecret, KeyFileKind, ReceiverSecret, SuiteSecret, certificate_key,
};
use fairlane_types::{Digest, Genesis, MemberId, SecretKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::home::{
    EncryptionKeys, Home, HomeError, MemberKeys, encryption_key, receiver_belongs, receiver_secret,
    write_new,
};
use crate::key_files::{MODE_KEY, load, open_sealed, seal};
use crate::passphrase::Passphrase;

/// What a backup holds.
#[derive(Debug)]
pub struct Backup {
    /// Hash of the genesis that the keys are for.
    pub genesis: Digest,
    /// The member.
    pub member: MemberId,
    /// Its identity.
    pub identity: SecretKey,
    /// Its share of a dealt encryption key, or its secret for the ceremony.
    pub part: Part,
    /// Its share of the certificate key, on a chain that has a dealt one.
    pub certificate: Option<Arc<CertificateSecret>>,
}

/// A member's part of the encryption key.
#[derive(Debug)]
pub enum Part {
    /// A share from a dealer.
    Share(Arc<SuiteSecret>),
    /// What a ceremony's dealings are read with, of the certificate key too.
    Receiver(Arc<ReceiverSecret>),
}

/// genesis 32 ‖ member u8 ‖ seed 32 ‖ length u32 ‖ share ‖ length u32 ‖ receiver secret ‖
/// length u32 ‖ certificate share. One of share and receiver secret is empty, and so is the
/// certificate share where none was dealt.
#[derive(BorshSerialize, BorshDeserialize, ZeroizeOnDrop)]
struct Body {
    #[zeroize(skip)]
    genesis: Digest,
    #[zeroize(skip)]
    member: MemberId,
    seed: [u8; 32],
    share: Vec<u8>,
    receiver: Vec<u8>,
    certificate: Vec<u8>,
}

impl Backup {
    /// Of a home's keys, which belong to its genesis.
    #[must_use]
    pub fn of(genesis: &Genesis, keys: MemberKeys) -> Self {
        Self {
            genesis: genesis.hash(),
            member: keys.me,
            identity: keys.identity,
            part: match keys.encryption {
                EncryptionKeys::Dealt(_, share) => Part::Share(share),
                EncryptionKeys::Ceremony(keys) => Part::Receiver(keys.receiver),
            },
            certificate: keys.certificates.map(|keys| keys.secret),
        }
    }

    /// Writes the file; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write(&self, path: &Path, passphrase: &Passphrase) -> Result<(), HomeError> {
        let (share, receiver) = match &self.part {
            Part::Share(share) => (fairlane_types::encode(share.as_ref()), Vec::new()),
            Part::Receiver(secret) => (Vec::new(), secret.expose_secret().to_vec()),
        };
        let body = Body {
            genesis: self.genesis,
            member: self.member,
            seed: *self.identity.seed(),
            share,
            receiver,
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

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let body: Body = fairlane_types::decode(bytes, bytes.len()).map_err(|e| e.to_string())?;
        let part = match (body.share.as_slice(), body.receiver.as_slice()) {
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
            ([], secret) => Part::Receiver(Arc::new(receiver_secret(secret)?)),
            _ => return Err("both a share and a receiver key".to_owned()),
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
            member: body.member,
            identity: SecretKey::from_seed(body.seed),
            part,
            certificate,
        })
    }

    /// Checks that the keys are a member's of this genesis.
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
        if genesis.members.get(self.member.index()) != Some(&self.identity.public()) {
            let (key, me) = (self.identity.public(), self.member);
            return Err(format!("key {key} is not that of member {me}"));
        }
        match (&self.part, encryption_key(genesis)?) {
            (Part::Share(share), Some(key)) => {
                share.belongs_to(&key).map_err(|e| e.to_string())?;
            }
            (Part::Receiver(secret), None) => receiver_belongs(secret, self.member, genesis)?,
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
            home.receiver_path(),
            home.certificate_path(),
        ];
        if let Some(path) = taken.into_iter().find(|path| path.exists()) {
            return Err(HomeError::Exists(path));
        }
        home.write_identity(&self.identity)?;
        match &self.part {
            Part::Share(share) => home.write_share(share)?,
            Part::Receiver(secret) => home.write_receiver(secret)?,
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
    use fairlane_types::{Epoch, Scheme};
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;
    use proptest::prelude::*;

    use super::*;

    fn encoded(scheme: Scheme, with_certificate: bool) -> Vec<u8> {
        let rng = &mut UnwrapErr(SysRng);
        let (_, shares) = deal_suite_insecure(scheme, Epoch(0), 4, rng).unwrap();
        fairlane_types::encode(&Body {
            genesis: Digest([3; 32]),
            member: MemberId(2),
            seed: [5; 32],
            share: fairlane_types::encode(&shares[2]),
            receiver: Vec::new(),
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
