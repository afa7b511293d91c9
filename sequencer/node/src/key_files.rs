//! Key files of a home: one line of hex for test networks, or encrypted under a passphrase
//! (`fairlane_encryption::seal_key_file`; THREATS A26). Which of the two a file is, its
//! first bytes tell. Nobody but the owner may read either.

use std::fs;
use std::io::Read;
use std::path::Path;

use fairlane_encryption::{KeyFileKind, is_key_file, open_key_file, seal_key_file};
use fairlane_types::SecretKey;
use zeroize::Zeroizing;

use crate::files::{check_owner, write_new, write_over};
use crate::home::HomeError;
use crate::passphrase::{Passphrase, check_mode};

/// Permissions of a key file.
pub const MODE_KEY: u32 = 0o600;
/// Largest key file, of either form.
const KEY_FILE_BYTES_MAX: u64 = 8_192;

/// Which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The ed25519 seed.
    Identity,
    /// The share of the encryption key.
    Share,
    /// The share of the certificate key.
    Certificate,
    /// The secret that dealings of a ceremony are read with.
    Receiver,
    /// The shares of an epoch's keys that such a secret gave.
    Shares,
}

impl Secret {
    /// First word of a plain file.
    const fn tag(self) -> &'static str {
        match self {
            Self::Identity => "fairlane-identity-v1",
            Self::Share => "fairlane-share-v1",
            Self::Certificate => "fairlane-certificate-v1",
            Self::Receiver => "fairlane-receiver-v1",
            Self::Shares => "fairlane-shares-v1",
        }
    }

    const fn kind(self) -> KeyFileKind {
        match self {
            Self::Identity => KeyFileKind::Identity,
            Self::Share => KeyFileKind::EncryptionShare,
            Self::Certificate => KeyFileKind::CertificateShare,
            Self::Receiver => KeyFileKind::Receiver,
            Self::Shares => KeyFileKind::Shares,
        }
    }
}

/// How a secret lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// Whoever reads the disk has it: for test networks.
    Plain,
    /// Under a passphrase.
    Encrypted,
}

impl AtRest {
    /// Word in JSON and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Encrypted => "encrypted",
        }
    }
}

/// How a key file lies on the disk; its mode is checked.
///
/// # Errors
/// [`HomeError`].
pub fn at_rest(path: &Path) -> Result<AtRest, HomeError> {
    load(path).map(|bytes| form(&bytes))
}

/// Reads a secret.
///
/// # Errors
/// [`HomeError`]: `Mode`, `Locked` without a passphrase, `KeyFile` when it does not open.
pub fn read(
    path: &Path,
    secret: Secret,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    let bytes = load(path)?;
    match form(&bytes) {
        AtRest::Plain => plain(path, secret, &bytes),
        AtRest::Encrypted => open_sealed(path, secret.kind(), &bytes, passphrase),
    }
}

/// Reads a trader's key: the 32-byte seed as 64 hex digits, in a file that nobody else can read.
///
/// # Errors
/// [`HomeError`]: `Mode`, `Content`.
pub fn read_seed(path: &Path) -> Result<SecretKey, HomeError> {
    let bytes = load(path)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(bytes.trim_ascii(), &mut *seed)
        .map_err(|_| HomeError::content(path, "expected 64 hex digits"))?;
    Ok(SecretKey::from_seed(*seed))
}

/// Writes a secret, encrypted if there is a passphrase; never over another.
///
/// # Errors
/// [`HomeError`]; `Owner` when the folder is another user's.
pub fn write(
    path: &Path,
    secret: Secret,
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(), HomeError> {
    check_owner(path)?;
    write_new(path, MODE_KEY, &encode(path, secret, bytes, passphrase)?)
}

/// Writes a secret in the place of the file that is there: all of it or nothing, whenever
/// the machine stops.
///
/// # Errors
/// [`HomeError`]; `Owner` when the folder is another user's.
pub fn replace(
    path: &Path,
    secret: Secret,
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(), HomeError> {
    check_owner(path)?;
    write_over(path, MODE_KEY, &encode(path, secret, bytes, passphrase)?)
}

/// Encrypts bytes of a kind under a passphrase, with a fresh salt.
pub(crate) fn seal(
    path: &Path,
    kind: KeyFileKind,
    bytes: &[u8],
    passphrase: &Passphrase,
) -> Result<Vec<u8>, HomeError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|e| HomeError::content(path, format!("no randomness from the system: {e}")))?;
    seal_key_file(kind, bytes, passphrase.expose(), &salt).map_err(|e| HomeError::key_file(path, e))
}

/// Decrypts a file's bytes.
pub(crate) fn open_sealed(
    path: &Path,
    kind: KeyFileKind,
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    let passphrase = passphrase.ok_or_else(|| HomeError::Locked(path.to_owned()))?;
    open_key_file(kind, bytes, passphrase.expose()).map_err(|e| HomeError::key_file(path, e))
}

/// A key file's bytes, if nobody else can read it.
pub(crate) fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    let file = fs::File::open(path).map_err(|e| HomeError::io(path, &e))?;
    check_mode(path, &file)?;
    // One reservation: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize + 2));
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| HomeError::io(path, &e))?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        let reason = format!("longer than {KEY_FILE_BYTES_MAX} bytes");
        return Err(HomeError::content(path, reason));
    }
    Ok(bytes)
}

fn form(bytes: &[u8]) -> AtRest {
    if is_key_file(bytes) {
        AtRest::Encrypted
    } else {
        AtRest::Plain
    }
}

fn plain(path: &Path, secret: Secret, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    // The message must not show what the file holds.
    let bad = || {
        let tag = secret.tag();
        HomeError::content(path, format!("expected one line: {tag} and hex digits"))
    };
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    let digits = text
        .trim_end()
        .strip_prefix(secret.tag())
        .and_then(|t| t.strip_prefix(' '))
        .ok_or_else(bad)?;
    hex::decode(digits).map(Zeroizing::new).map_err(|_| bad())
}

fn encode(
    path: &Path,
    secret: Secret,
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, HomeError> {
    match passphrase {
        Some(passphrase) => seal(path, secret.kind(), bytes, passphrase).map(Zeroizing::new),
        None => {
            let digits = Zeroizing::new(hex::encode(bytes));
            let line = format!("{} {}\n", secret.tag(), *digits);
            Ok(Zeroizing::new(line.into_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec().into(), Path::new("test")).unwrap()
    }

    #[test]
    fn a_secret_reads_back_in_both_forms_and_changes_from_one_to_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let (old, new) = (passphrase("old"), passphrase("new"));
        let get = |p: Option<&Passphrase>| read(&path, Secret::Identity, p).map(|s| s.to_vec());
        write(&path, Secret::Identity, b"secret", None).unwrap();
        assert_eq!(at_rest(&path).unwrap(), AtRest::Plain);
        assert_eq!(get(None).unwrap(), b"secret");
        assert_eq!(get(Some(&old)).unwrap(), b"secret");
        for next in [&old, &new] {
            // A stop in the middle has left a file behind.
            fs::write(folder.path().join("identity.key.new"), "half").unwrap();
            replace(&path, Secret::Identity, b"secret", Some(next)).unwrap();
            assert_eq!(at_rest(&path).unwrap(), AtRest::Encrypted);
            assert_eq!(get(Some(next)).unwrap(), b"secret");
        }
        assert!(matches!(get(None), Err(HomeError::Locked(_))));
        assert!(matches!(get(Some(&old)), Err(HomeError::KeyFile { .. })));
        assert!(matches!(
            read(&path, Secret::Share, Some(&new)),
            Err(HomeError::KeyFile { .. })
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let again = write(&path, Secret::Identity, b"other", None);
        assert!(matches!(again, Err(HomeError::Exists(_))));
    }

    #[test]
    fn a_traders_key_is_its_own_affair_and_is_never_shown() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trader.key");
        let put = |text: &str, mode| {
            drop(fs::remove_file(&path));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let digits = "07".repeat(32);
        for text in [digits.clone(), format!(" {digits}\r\n")] {
            put(&text, 0o600);
            let key = read_seed(&path).unwrap();
            assert_eq!(key.public(), SecretKey::from_seed([7; 32]).public());
        }
        for mode in [0o640, 0o604, 0o660] {
            put(&digits, mode);
            assert!(matches!(read_seed(&path), Err(HomeError::Mode { .. })));
        }
        for bad in [
            &digits[1..],
            &format!("{digits}07"),
            "",
            &digits.replace('7', "g"),
        ] {
            put(bad, 0o400);
            let error = read_seed(&path).unwrap_err();
            assert!(matches!(error, HomeError::Content { .. }), "{error}");
            assert!(
                !format!("{error} {error:?}").contains("07070707"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn no_secret_goes_into_the_folder_of_another_user() {
        let mine = tempfile::tempdir().unwrap();
        // Root can give a folder away; for anybody else the topmost one is another's.
        let foreign = match rustix::process::geteuid().is_root() {
            true => {
                std::os::unix::fs::chown(mine.path(), Some(65_534), None).unwrap();
                mine.path()
            }
            false => Path::new("/"),
        };
        let path = foreign.join("fairlane-test.key");
        let error = write(&path, Secret::Receiver, &[7; 32], None).unwrap_err();
        assert!(matches!(error, HomeError::Owner { .. }), "{error}");
        assert!(error.to_string().contains("runuser -u"), "{error}");
        let error = replace(&path, Secret::Receiver, &[7; 32], None).unwrap_err();
        assert!(matches!(error, HomeError::Owner { .. }), "{error}");
        assert!(!path.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Plain files; encrypted ones are tried bit by bit where they are made.
        #[test]
        fn a_changed_plain_file_reads_as_bytes_or_is_refused(
            at in 0..60_usize, cut in 0..4_usize, piece in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("share.key");
            write(&path, Secret::Share, &[7; 32], None).unwrap();
            let mut text = fs::read(&path).unwrap();
            let end = (at + cut).min(text.len());
            text.splice(at.min(end)..end, piece);
            fs::write(&path, &text).unwrap();
            if let Ok(secret) = read(&path, Secret::Share, None) {
                prop_assert!(secret.len() <= text.len() / 2);
            }
        }
    }
}
