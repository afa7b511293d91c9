//! A home's secrets for dealings, one for each epoch (PROTOCOL §6, THREATS A21).
//!
//! Who has such a secret reads its member's shares of the epoch from the committee's log, for
//! as long as anybody keeps the log. So each epoch has its own, made for the member's card,
//! and what belongs to earlier epochs is erased once the folder is in a later one. Files say
//! in their names which epoch they are for: what is to go is known without opening it, and
//! erasing may be repeated after a stop at any point.
//!
//! Such a secret gives a share of the key of the epoch before as well, where the epoch has a
//! fresh one. So an epoch's shares are kept beside it from the start, and it is erased within
//! the epoch, once the former key is over.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlane_encryption::{Ceremony, ReceiverSecret};
use fairlane_replica::{CeremonyKeys, Sharing};
use fairlane_types::{Epoch, Genesis, MemberId};
use zeroize::Zeroizing;

use crate::files::{BEGUN, sync_folder};
use crate::home::{Home, HomeError};
use crate::key_files::{self, Secret};

/// Name of the secret of the first epoch.
const FIRST: &str = "receiver.key";
/// At the end of a name: a secret that is being erased.
const ERASING: &str = ".gone";

impl Home {
    /// `receiver.key` for the first epoch, `receiver-N.key` for epoch N.
    #[must_use]
    pub fn receiver_path(&self, epoch: Epoch) -> PathBuf {
        self.root().join(match epoch {
            Epoch(0) => FIRST.to_owned(),
            Epoch(epoch) => format!("receiver-{epoch}.key"),
        })
    }

    /// Reads the secret for dealings to an epoch.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn receiver(&self, epoch: Epoch) -> Result<ReceiverSecret, HomeError> {
        let path = self.receiver_path(epoch);
        let bytes = key_files::read(&path, Secret::Receiver, self.passphrase())?;
        receiver_secret(&bytes).map_err(|error| HomeError::content(&path, error))
    }

    /// Writes the secret for dealings to an epoch; never over another.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn write_receiver(&self, epoch: Epoch, secret: &ReceiverSecret) -> Result<(), HomeError> {
        key_files::write(
            &self.receiver_path(epoch),
            Secret::Receiver,
            &secret.expose_secret()[..],
            self.passphrase(),
        )
    }

    /// `shares-N.key` for epoch N.
    #[must_use]
    pub fn shares_path(&self, epoch: Epoch) -> PathBuf {
        self.root().join(format!("shares-{epoch}.key"))
    }

    /// Reads the shares kept of an epoch's keys, encoded.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn kept_shares(&self, epoch: Epoch) -> Result<Zeroizing<Vec<u8>>, HomeError> {
        key_files::read(&self.shares_path(epoch), Secret::Shares, self.passphrase())
    }

    /// Writes the shares of an epoch's keys, encoded, durably; all of it or nothing.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_shares(&self, epoch: Epoch, shares: &[u8]) -> Result<(), HomeError> {
        let path = self.shares_path(epoch);
        key_files::replace(&path, Secret::Shares, shares, self.passphrase())
    }

    /// Makes sure that an epoch's shares are kept, where it has a former key: the secret for
    /// dealings is erased before the epoch is over.
    ///
    /// # Errors
    /// [`HomeError`]; also when others are kept.
    pub fn secure_shares(
        &self,
        genesis: &Genesis,
        me: MemberId,
        sharing: &Sharing,
    ) -> Result<(), HomeError> {
        let epoch = genesis.epoch();
        if !self.shares_path(epoch).exists() {
            return self.keep_shares(epoch, &Zeroizing::new(sharing.kept()));
        }
        let kept = Sharing::of_kept(genesis, me, &self.kept_shares(epoch)?);
        let wrong = |error| HomeError::content(&self.shares_path(epoch), error);
        kept.map(drop).map_err(wrong)
    }

    /// Erases what gives a share of the former key of an epoch, durably; the epoch's own shares
    /// must be kept by then. Whether there was anything.
    ///
    /// # Errors
    /// [`HomeError`]; what is left goes with the next call.
    pub fn forget_former(&self, epoch: Epoch) -> Result<bool, HomeError> {
        let (receiver, shares) = (self.receiver_path(epoch), self.shares_path(epoch));
        let beside = |ending| {
            let mut name = receiver.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        // Out of the way first: a stop may leave half of it, which nobody may take for a key.
        let (replacing, erasing) = (beside(BEGUN), beside(ERASING));
        if receiver.exists() {
            if !shares.exists() {
                return Err(HomeError::Missing(shares));
            }
            fs::rename(&receiver, &erasing).map_err(|e| HomeError::io(&receiver, &e))?;
            self.sync_names()?;
        }
        let mut erased = false;
        for path in [erasing, replacing] {
            if path.exists() {
                erase(&path)?;
                erased = true;
            }
        }
        if erased {
            self.sync_names()?;
        }
        Ok(erased)
    }

    fn sync_names(&self) -> Result<(), HomeError> {
        sync_folder(self.root()).map_err(|e| HomeError::io(self.root(), &e))
    }

    /// The epochs whose shares are kept, ascending.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn shares_epochs(&self) -> Result<Vec<Epoch>, HomeError> {
        let names = names(self.root())?;
        let mut epochs: Vec<Epoch> = names.iter().filter_map(|name| shares_epoch(name)).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// The epochs that there is a secret for, ascending.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn receiver_epochs(&self) -> Result<Vec<Epoch>, HomeError> {
        let mut epochs: Vec<Epoch> = names(self.root())?
            .iter()
            .filter_map(|name| receiver_epoch(name))
            .collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// This member's secret for the ceremony of a genesis, checked against that.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn ceremony_keys(
        &self,
        me: MemberId,
        genesis: &Genesis,
    ) -> Result<CeremonyKeys, HomeError> {
        let ceremony = Ceremony::of_genesis(genesis)
            .map_err(|error| HomeError::content(&self.genesis_path(), error))?
            .ok_or_else(|| HomeError::content(&self.genesis_path(), "it asks for no ceremony"))?;
        let path = self.receiver_path(genesis.epoch());
        let receiver = self.receiver(genesis.epoch())?;
        receiver_belongs(&receiver, me, genesis).map_err(|e| HomeError::content(&path, e))?;
        Ok(CeremonyKeys {
            ceremony: Arc::new(ceremony),
            receiver: Arc::new(receiver),
        })
    }

    /// Erases what gives shares of epochs before this one: secrets for dealings, and shares
    /// from a dealer. To be called when the folder is durably in the epoch: it never runs an
    /// earlier one again. Returns how many files went.
    ///
    /// # Errors
    /// [`HomeError`]; what is left goes with the next call.
    pub fn erase_before(&self, epoch: Epoch) -> Result<usize, HomeError> {
        let root = self.root();
        let mut gone = 0;
        for name in names(root)? {
            if secret_epoch(&name).is_some_and(|of| of < epoch) {
                erase(&root.join(name))?;
                gone += 1;
            }
        }
        if gone > 0 {
            self.sync_names()?;
        }
        Ok(gone)
    }
}

fn names(root: &Path) -> Result<Vec<String>, HomeError> {
    let io = |error: std::io::Error| HomeError::io(root, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(io)? {
        // A name that is no text is none of ours.
        names.extend(entry.map_err(io)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

fn receiver_epoch(name: &str) -> Option<Epoch> {
    if name == FIRST {
        return Some(Epoch(0));
    }
    numbered(name, "receiver-")
}

fn shares_epoch(name: &str) -> Option<Epoch> {
    numbered(name, "shares-")
}

fn numbered(name: &str, kind: &str) -> Option<Epoch> {
    let digits = name.strip_prefix(kind)?.strip_suffix(".key")?;
    let epoch: u64 = digits.parse().ok()?;
    // No other way to write the number is a file of ours.
    (epoch > 0 && epoch.to_string() == digits).then_some(Epoch(epoch))
}

/// The epoch that a file's secret gives a share of; also of one that was being replaced, or
/// erased.
fn secret_epoch(name: &str) -> Option<Epoch> {
    let endings = [BEGUN, ERASING];
    let whole = endings.iter().find_map(|ending| name.strip_suffix(ending));
    let name = whole.unwrap_or(name);
    match name {
        "share.key" | "certificate.key" => Some(Epoch(0)),
        name => receiver_epoch(name).or_else(|| shares_epoch(name)),
    }
}

/// Overwrites a file and removes it. What is left where a disk puts new bytes in new places is
/// sealed under the passphrase, if there is one.
fn erase(path: &Path) -> Result<(), HomeError> {
    let overwrite = || {
        let length = fs::metadata(path)?.len();
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(&vec![0; usize::try_from(length).unwrap_or_default()])?;
        file.sync_all()?;
        fs::remove_file(path)
    };
    overwrite().map_err(|error| HomeError::io(path, &error))
}

/// A secret for dealings from its bytes.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn receiver_secret(bytes: &[u8]) -> Result<ReceiverSecret, String> {
    let scalar = <[u8; 32]>::try_from(bytes).map(Zeroizing::new);
    let scalar = scalar.map_err(|_| "a receiver key has 32 bytes".to_owned())?;
    ReceiverSecret::from_bytes(&scalar).map_err(|error| error.to_string())
}

/// Whether a secret for dealings is that of a member.
///
/// # Errors
/// That it is not.
pub(crate) fn receiver_belongs(
    secret: &ReceiverSecret,
    me: MemberId,
    genesis: &Genesis,
) -> Result<(), String> {
    match genesis.encryption.receivers.get(me.index()) {
        Some(key) if key.0 == *secret.key().bytes() => Ok(()),
        _ => Err(format!(
            "this is not the receiver key of member {me} in the genesis"
        )),
    }
}
