//! A member's home folder.
//!
//! ```text
//! genesis.json    committee, keys, every consensus parameter; the same for all
//! config.toml     addresses and limits of this node
//! identity.key    ed25519 seed, mode 0600
//! share.key       share of a dealt encryption key, mode 0600; or
//! receiver.key    secret that reads the member's shares of keys from the ceremony, mode 0600
//! receiver-N.key  likewise, for what was dealt to the committee of epoch N
//! certificate.key share of a dealt certificate key, mode 0600
//! lock            held while a node runs
//! data/           the database, with the safety record (C7)
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlane_encryption::{
    CertificateKeys, CertificateSecret, KeyFileError, SuiteKey, SuiteSecret, certificate_key,
};
use fairlane_replica::{
    BORN, CeremonyKeys, EpochBase, Sharing, Store, StoreError, Table, Write, birth,
    birth_of_founder, birth_of_joiner, meta,
};
use fairlane_types::{
    Digest, GENESIS_BYTES_MAX, Genesis, KeySource, MemberId, PublicKey, SecretKey,
};
use zeroize::Zeroizing;

use crate::files::{folder_of, sync_folder, write_new};
use crate::key_files::{self, AtRest, Secret};
use crate::passphrase::Passphrase;
use crate::store::{RocksStore, StoreOptions};

/// At the end of a hidden folder's name: one that is to become a home.
const HOME_BEGUN: &str = ".fairlane-begun";

/// What is wrong with a home folder, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// A file or folder is not there.
    #[error(
        "{0} is missing; make a home with `fairlane ceremony prepare` or `fairlane testnet init`, or check --home"
    )]
    Missing(PathBuf),
    /// A file is there that would be overwritten.
    #[error("{0} exists already; it is never overwritten: choose another folder or move it away")]
    Exists(PathBuf),
    /// The system.
    #[error("{path}: {message}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Others can read a secret.
    #[error("{path} has mode {mode:04o}: others can read the secret; run: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret would be written that its node cannot read.
    #[error(
        "{folder} belongs to user {owner}, this is user {user}: the node of that user could not \
         read a key written now; run it as that user, as with: runuser -u NAME -- fairlane …"
    )]
    Owner {
        /// The folder.
        folder: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's user.
        user: u32,
    },
    /// A key file is encrypted and no passphrase was given.
    #[error(
        "{0} is encrypted: give its passphrase with --passphrase-file FILE, \
         FAIRLANE_PASSPHRASE_FILE, FAIRLANE_PASSPHRASE, or systemd's LoadCredential=passphrase"
    )]
    Locked(PathBuf),
    /// An encrypted key file does not open.
    #[error("{path}: {error}; if the passphrase is right, restore the file from its backup")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyFileError,
    },
    /// A plain key file on a chain that is no experiment.
    #[error(
        "{0} is not encrypted, and the chain is no experiment; run: fairlane keys passphrase \
         --home … --new-passphrase-file FILE"
    )]
    Plain(PathBuf),
    /// Another process runs with it.
    #[error(
        "{what} is in use by a running node: an identity that speaks from two processes \
         contradicts itself, which is proof of misbehaviour; stop the other one first"
    )]
    Running {
        /// The folder or the identity.
        what: String,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HomeError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            std::io::ErrorKind::AlreadyExists => Self::Exists(path.to_owned()),
            _ => Self::Io {
                path: path.to_owned(),
                message: error.to_string(),
            },
        }
    }

    pub(crate) fn key_file(path: &Path, error: KeyFileError) -> Self {
        Self::KeyFile {
            path: path.to_owned(),
            error,
        }
    }

    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A home folder, with the passphrase of its key files if there is one.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    passphrase: Option<Arc<Passphrase>>,
}

/// Everything secret of a member, checked against its genesis.
#[derive(Debug)]
pub struct MemberKeys {
    /// The member.
    pub me: MemberId,
    /// Its identity.
    pub identity: SecretKey,
    /// Its part of the encryption key.
    pub encryption: EncryptionKeys,
    /// The certificate key and its share of that, on a chain that has a dealt one.
    pub certificates: Option<CertificateKeys>,
}

/// A member's part of the encryption key.
#[derive(Debug)]
pub enum EncryptionKeys {
    /// From a dealer: the key and a share of it.
    Dealt(Arc<SuiteKey>, Arc<SuiteSecret>),
    /// From dealings of the epoch before.
    Reshared(Sharing),
    /// From a ceremony: what the shares of all keys are read from the log with.
    Ceremony(CeremonyKeys),
}

impl Home {
    /// A folder that is there.
    ///
    /// # Errors
    /// [`HomeError::Missing`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let root = root.into();
        if root.is_dir() {
            Ok(Self {
                root,
                passphrase: None,
            })
        } else {
            Err(HomeError::Missing(root))
        }
    }

    /// Makes the folder; parents too.
    ///
    /// # Errors
    /// [`HomeError::Exists`] when it is there already.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let root = root.into();
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(|e| HomeError::io(parent, &e))?;
        }
        fs::create_dir(&root).map_err(|e| HomeError::io(&root, &e))?;
        Ok(Self {
            root,
            passphrase: None,
        })
    }

    /// Makes the folder with all that `fill` puts into it. Until that is done it lies beside under
    /// another name, so that a stop in the middle leaves no half of a home, and the next try takes
    /// away what the one before left.
    ///
    /// # Errors
    /// [`HomeError::Exists`] when it is there already; what `fill` refuses, and then nothing is left.
    pub fn make<T, E: From<HomeError>>(
        root: impl Into<PathBuf>,
        passphrase: Option<Arc<Passphrase>>,
        fill: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let root = root.into();
        let io = |path: &Path, error: std::io::Error| E::from(HomeError::io(path, &error));
        if fs::symlink_metadata(&root).is_ok() {
            return Err(HomeError::Exists(root).into());
        }
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let begun = root.with_file_name(format!(".{name}{HOME_BEGUN}"));
        match fs::remove_dir_all(&begun) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&begun, error));
            }
            _ => {}
        }
        let home = Self::create(&begun)?.with_passphrase(passphrase.clone());
        let filled = fill(&home).and_then(|filled| {
            let placed = fs::rename(&begun, &root).and_then(|()| sync_folder(folder_of(&root)));
            placed.map_err(|error| match error.kind() {
                std::io::ErrorKind::DirectoryNotEmpty => HomeError::Exists(root.clone()).into(),
                _ => io(&root, error),
            })?;
            Ok(filled)
        });
        if filled.is_err() {
            // Why it failed says more than why this does.
            drop(fs::remove_dir_all(&begun));
        }
        let home = Self { root, passphrase };
        filled.map(|filled| (home, filled))
    }

    /// The same folder, with the passphrase of its key files.
    #[must_use]
    pub fn with_passphrase(self, passphrase: Option<Arc<Passphrase>>) -> Self {
        Self { passphrase, ..self }
    }

    /// The passphrase of its key files, if there is one.
    pub(crate) fn passphrase(&self) -> Option<&Passphrase> {
        self.passphrase.as_deref()
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// `genesis.json`.
    #[must_use]
    pub fn genesis_path(&self) -> PathBuf {
        self.root.join("genesis.json")
    }
    /// `config.toml`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.root.join("config.toml")
    }
    /// `identity.key`.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.root.join("identity.key")
    }
    /// `share.key`.
    #[must_use]
    pub fn share_path(&self) -> PathBuf {
        self.root.join("share.key")
    }
    /// `certificate.key`.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.root.join("certificate.key")
    }
    /// The file with this member's part of the keys of a genesis.
    #[must_use]
    pub fn part_path(&self, genesis: &Genesis) -> PathBuf {
        match genesis.encryption.source {
            KeySource::InsecureDealer => self.share_path(),
            KeySource::Ceremony | KeySource::Reshared => {
                let (epoch, former) = (genesis.epoch(), genesis.former_key());
                let receiver = self.receiver_path(epoch);
                // Once a former key is over, its shares are kept without what read them.
                match former.is_some() && !receiver.exists() {
                    true => self.shares_path(epoch),
                    false => receiver,
                }
            }
        }
    }
    /// `lock`.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }
    /// `data/`.
    #[must_use]
    pub fn data_path(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Reads and checks the genesis file.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn genesis(&self) -> Result<Genesis, HomeError> {
        read_genesis(&self.genesis_path())
    }

    /// Writes the genesis file; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write_genesis(&self, genesis: &Genesis) -> Result<(), HomeError> {
        write_genesis(&self.genesis_path(), genesis)
    }

    /// How the key files lie on the disk: encrypted only if both are.
    ///
    /// # Errors
    /// [`HomeError`]; `Plain` when one is plain and the chain is no experiment.
    pub fn at_rest(&self, genesis: &Genesis) -> Result<AtRest, HomeError> {
        let mut all = AtRest::Encrypted;
        let certificate = genesis.certificates.as_ref();
        let certificate = certificate.filter(|c| c.source == KeySource::InsecureDealer);
        let certificate = certificate.map(|_| self.certificate_path());
        let certificate = certificate.filter(|path| path.exists());
        let part = self.part_path(genesis);
        let others = self.receiver_epochs()?.into_iter();
        let others = others.map(|epoch| self.receiver_path(epoch));
        let shares = self.shares_path(genesis.epoch());
        let others = others.chain(Some(shares).filter(|path| path.exists()));
        let others: Vec<_> = others.filter(|path| *path != part).collect();
        // Who waits for a later epoch has no part of this one's keys.
        let part = Some(part).filter(|path| path.exists());
        let files = std::iter::once(self.identity_path()).chain(part);
        for path in files.chain(certificate).chain(others) {
            if key_files::at_rest(&path)? == AtRest::Plain {
                if !genesis.experiment {
                    return Err(HomeError::Plain(path));
                }
                all = AtRest::Plain;
            }
        }
        Ok(all)
    }

    /// Reads all secrets and checks that they are a member's of this genesis.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keys(&self, genesis: &Genesis) -> Result<MemberKeys, HomeError> {
        let identity = self.identity()?;
        let me = member_of(self, genesis, &identity.public())?;
        let wrong = |reason: String| HomeError::content(&self.genesis_path(), reason);
        let encryption = match encryption_key(genesis).map_err(wrong)? {
            Some(key) => {
                let share = self.share(me, &key)?;
                EncryptionKeys::Dealt(Arc::new(key), Arc::new(share))
            }
            None => EncryptionKeys::Ceremony(self.ceremony_keys(me, genesis)?),
        };
        let certificates = self.certificate_keys(me, genesis)?;
        Ok(MemberKeys {
            me,
            identity,
            encryption,
            certificates,
        })
    }

    /// The secrets of a member of a later epoch: its share is in the dealings of the epoch
    /// before, which it reads with its receiver key; or by itself, once that is erased.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keys_in(&self, base: &EpochBase) -> Result<MemberKeys, HomeError> {
        let identity = self.identity()?;
        let genesis = base.genesis();
        let me = member_of(self, genesis, &identity.public())?;
        let path = self.part_path(genesis);
        let sharing = if path == self.shares_path(base.epoch()) {
            Sharing::of_kept(genesis, me, &self.kept_shares(base.epoch())?)
        } else {
            base.sharing(me, &self.receiver(base.epoch())?)
        };
        let sharing = sharing.map_err(|error| HomeError::content(&path, error))?;
        Ok(MemberKeys {
            me,
            identity,
            certificates: sharing.certificates.clone(),
            encryption: EncryptionKeys::Reshared(sharing),
        })
    }

    /// Encrypts the key files again, under another passphrase; or lays them open. Stopped in
    /// the middle, some files have the old passphrase and some the new.
    ///
    /// # Errors
    /// [`HomeError`]; nothing is written unless all files open.
    pub fn change_passphrase(&self, new: Option<&Passphrase>) -> Result<(), HomeError> {
        let files = [
            (self.identity_path(), Secret::Identity),
            (self.share_path(), Secret::Share),
            (self.certificate_path(), Secret::Certificate),
        ];
        let receivers = self.receiver_epochs()?.into_iter();
        let receivers = receivers.map(|epoch| (self.receiver_path(epoch), Secret::Receiver));
        let shares = self.shares_epochs()?.into_iter();
        let shares = shares.map(|epoch| (self.shares_path(epoch), Secret::Shares));
        let mut secrets = Vec::new();
        for (path, secret) in files.into_iter().chain(receivers).chain(shares) {
            // A chain may have no certificates, and its key is dealt or made by the members.
            if secret != Secret::Identity && !path.exists() {
                continue;
            }
            let bytes = key_files::read(&path, secret, self.passphrase.as_deref())?;
            secrets.push((path, secret, bytes));
        }
        for (path, secret, bytes) in &secrets {
            key_files::replace(path, *secret, bytes, new)?;
        }
        Ok(())
    }

    /// Reads the identity key.
    ///
    /// # Errors
    /// [`HomeError`]; `Mode` when others can read it.
    pub fn identity(&self) -> Result<SecretKey, HomeError> {
        let path = self.identity_path();
        let bytes = key_files::read(&path, Secret::Identity, self.passphrase.as_deref())?;
        let seed = Zeroizing::new(
            <[u8; 32]>::try_from(&bytes[..])
                .map_err(|_| HomeError::content(&path, "an identity key has 32 bytes"))?,
        );
        Ok(SecretKey::from_seed(*seed))
    }

    /// Writes the identity key; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write_identity(&self, key: &SecretKey) -> Result<(), HomeError> {
        key_files::write(
            &self.identity_path(),
            Secret::Identity,
            key.seed(),
            self.passphrase.as_deref(),
        )
    }

    /// Reads this member's share and checks it against the public key.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn share(&self, me: MemberId, key: &SuiteKey) -> Result<SuiteSecret, HomeError> {
        let path = self.share_path();
        let bytes = key_files::read(&path, Secret::Share, self.passphrase.as_deref())?;
        let share: SuiteSecret = fairlane_types::decode(&bytes, bytes.len())
            .map_err(|e| HomeError::content(&path, e))?;
        share
            .belongs_to(key)
            .map_err(|e| HomeError::content(&path, e))?;
        if share.member() != me {
            let reason = format!(
                "this is the share of member {}, the identity key is of {me}",
                share.member()
            );
            return Err(HomeError::content(&path, reason));
        }
        Ok(share)
    }

    /// Writes the share; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write_share(&self, share: &SuiteSecret) -> Result<(), HomeError> {
        key_files::write(
            &self.share_path(),
            Secret::Share,
            &Zeroizing::new(fairlane_types::encode(share)),
            self.passphrase.as_deref(),
        )
    }

    /// Reads this member's share of the certificate key, on a chain that has a dealt one, and
    /// checks it against the public key.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn certificate_keys(
        &self,
        me: MemberId,
        genesis: &Genesis,
    ) -> Result<Option<CertificateKeys>, HomeError> {
        let key = certificate_key(genesis, None)
            .map_err(|error| HomeError::content(&self.genesis_path(), error))?;
        let Some(key) = key else { return Ok(None) };
        let path = self.certificate_path();
        let wrong = |error: &dyn core::fmt::Display| HomeError::content(&path, error);
        let bytes = key_files::read(&path, Secret::Certificate, self.passphrase.as_deref())?;
        let secret: CertificateSecret =
            fairlane_types::decode(&bytes, bytes.len()).map_err(|error| wrong(&error))?;
        secret.belongs_to(&key).map_err(|error| wrong(&error))?;
        if secret.member() != me {
            let reason = format!("it is the share of member {}, not {me}", secret.member());
            return Err(wrong(&reason));
        }
        Ok(Some(CertificateKeys {
            key: Arc::new(key),
            secret: Arc::new(secret),
        }))
    }

    /// Writes this member's share of the certificate key; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write_certificate_share(&self, secret: &CertificateSecret) -> Result<(), HomeError> {
        let bytes = Zeroizing::new(fairlane_types::encode(secret));
        key_files::write(
            &self.certificate_path(),
            Secret::Certificate,
            &bytes,
            self.passphrase.as_deref(),
        )
    }

    /// Makes the database with the birth record of a new identity (C7). An identity
    /// without it is an observer for ever: this is called once, when the key is made.
    ///
    /// # Errors
    /// [`HomeError`]; `Exists` when there is a database already.
    pub fn write_birth(
        &self,
        genesis: &Genesis,
        me: MemberId,
        reserve_bytes: u64,
    ) -> Result<(), HomeError> {
        self.write_database(&birth(genesis, me), reserve_bytes)
    }

    /// Makes the database of a future member, with the birth record of its identity (C7).
    ///
    /// # Errors
    /// [`HomeError`]; `Exists` when there is a database already.
    pub fn write_birth_of_joiner(
        &self,
        genesis: &Genesis,
        reserve_bytes: u64,
    ) -> Result<(), HomeError> {
        self.write_database(&birth_of_joiner(genesis), reserve_bytes)
    }

    /// Makes the database of a founder, with the birth record of its identity (C7).
    ///
    /// # Errors
    /// [`HomeError`]; `Exists` when there is a database already.
    pub fn write_birth_of_founder(&self, reserve_bytes: u64) -> Result<(), HomeError> {
        self.write_database(&birth_of_founder(), reserve_bytes)
    }

    /// Makes the database of a founder that of a member of this genesis. An identity is born with its
    /// keys and never again: what it signed since is known by that database alone (C7).
    ///
    /// # Errors
    /// [`HomeError`]; `Missing` without a database, `Content` when it has run or was never born.
    pub fn write_founding(
        &self,
        genesis: &Genesis,
        me: MemberId,
        reserve_bytes: u64,
    ) -> Result<(), HomeError> {
        let path = self.data_path();
        if !path.exists() {
            return Err(HomeError::Missing(path));
        }
        let mut store = RocksStore::open(&StoreOptions {
            path: path.clone(),
            reserve_bytes,
        })?;
        let refuse = |reason: &str| Err(HomeError::content(&path, reason));
        match store.get(Table::Meta, meta::BIRTH)?.as_deref() {
            Some(BORN) => {}
            Some(_) => {
                return refuse(
                    "this member has run: if its genesis.json is lost, copy any other member's",
                );
            }
            None => return refuse("no identity was born here: it would be an observer"),
        }
        Ok(store.commit(&birth(genesis, me), true)?)
    }

    fn write_database(&self, writes: &[Write], reserve_bytes: u64) -> Result<(), HomeError> {
        let path = self.data_path();
        if path.exists() {
            return Err(HomeError::Exists(path));
        }
        let mut store = RocksStore::open(&StoreOptions {
            path,
            reserve_bytes,
        })?;
        Ok(store.commit(writes, true)?)
    }

    /// Whether a database holds the birth record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_born(store: &dyn Store) -> Result<bool, StoreError> {
        Ok(store.get(Table::Meta, meta::BIRTH)?.is_some())
    }
}

/// Reads and checks a genesis file.
///
/// # Errors
/// [`HomeError`].
pub fn read_genesis(path: &Path) -> Result<Genesis, HomeError> {
    let bytes = read_limited(path, GENESIS_BYTES_MAX as u64)?;
    // Unknown keys are refused; the message has line and column.
    let genesis: Genesis =
        serde_json::from_slice(&bytes).map_err(|e| HomeError::content(path, e))?;
    genesis
        .validate()
        .map_err(|e| HomeError::content(path, e))?;
    Ok(genesis)
}

/// Writes a genesis file; never over another.
///
/// # Errors
/// [`HomeError`].
pub fn write_genesis(path: &Path, genesis: &Genesis) -> Result<(), HomeError> {
    write_new(path, 0o644, genesis_text(path, genesis)?.as_bytes())
}

/// The text of a genesis file.
pub(crate) fn genesis_text(path: &Path, genesis: &Genesis) -> Result<String, HomeError> {
    let text = serde_json::to_string_pretty(genesis);
    let text = text.map_err(|e| HomeError::content(path, e))?;
    Ok(text + "\n")
}

/// The encryption key of a genesis, checked against its own id and the committee; `None`
/// where the members make it.
///
/// # Errors
/// What is wrong with it.
pub fn encryption_key(genesis: &Genesis) -> Result<Option<SuiteKey>, String> {
    let params = &genesis.encryption;
    let Some(id) = params.key_id else {
        return Ok(None);
    };
    let key = SuiteKey::from_bytes(params.scheme, &params.public_key)
        .map_err(|e| format!("encryption.public_key: {e}"))?;
    if key.id() != id {
        return Err(format!(
            "encryption.key_id is {}, the key's id is {}",
            id,
            key.id()
        ));
    }
    if key.n() != genesis.members.len() {
        return Err(format!(
            "encryption.public_key is for {} members, the committee has {}",
            key.n(),
            genesis.members.len()
        ));
    }
    Ok(Some(key))
}

/// The member with a key.
///
/// # Errors
/// [`HomeError::Content`] about the identity file.
pub fn member_of(home: &Home, genesis: &Genesis, key: &PublicKey) -> Result<MemberId, HomeError> {
    let position = genesis.members.iter().position(|member| member == key);
    position
        .and_then(|at| u8::try_from(at).ok())
        .map(MemberId)
        .ok_or_else(|| {
            let hash: Digest = genesis.hash();
            HomeError::content(
                &home.identity_path(),
                format!(
                    "key {key} is of no member of the genesis {hash}; use the home of a member"
                ),
            )
        })
}

fn read_limited(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    let file = fs::File::open(path).map_err(|e| HomeError::io(path, &e))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| HomeError::io(path, &e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(HomeError::content(
            path,
            format!("longer than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}
