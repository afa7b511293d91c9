//! The passphrase of a member's key files, and where it comes from (THREATS A26).
//!
//! In this order: a file that is named (`--passphrase-file`, `FAIRLANE_PASSPHRASE_FILE`),
//! the variable `FAIRLANE_PASSPHRASE`, the credential `passphrase` that systemd hands to a
//! unit with `LoadCredential=`. The first one that is there counts, even if it is wrong.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::home::HomeError;

/// Longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// Names the file with the passphrase.
pub const PASSPHRASE_FILE_VARIABLE: &str = "FAIRLANE_PASSPHRASE_FILE";
/// Holds the passphrase itself.
pub const PASSPHRASE_VARIABLE: &str = "FAIRLANE_PASSPHRASE";
/// Set by systemd for units with credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Name of the credential.
const CREDENTIAL: &str = "passphrase";
/// Permission bits that a file with a secret may not have.
pub(crate) const MODE_OTHERS: u32 = 0o077;

/// A passphrase; erased when dropped, never printed.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl core::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl Passphrase {
    /// From bytes; one line end behind it does not count. `from` is named when it is refused.
    ///
    /// # Errors
    /// [`HomeError::Content`] when it is empty or longer than [`PASSPHRASE_BYTES_MAX`].
    pub fn new(mut bytes: Zeroizing<Vec<u8>>, from: &Path) -> Result<Self, HomeError> {
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(HomeError::content(from, "the passphrase is empty"));
        }
        if bytes.len() > PASSPHRASE_BYTES_MAX {
            let reason = format!("the passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes");
            return Err(HomeError::content(from, reason));
        }
        Ok(Self(bytes))
    }

    /// Reads a file that nobody else can read.
    ///
    /// # Errors
    /// [`HomeError`]; `Mode` when others can read it.
    pub fn from_file(path: &Path) -> Result<Self, HomeError> {
        Self::read(path, true)
    }

    fn read(path: &Path, private: bool) -> Result<Self, HomeError> {
        let file = fs::File::open(path).map_err(|e| HomeError::io(path, &e))?;
        if private {
            check_mode(path, &file)?;
        }
        // One reservation: a growing buffer would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 4));
        file.take(PASSPHRASE_BYTES_MAX as u64 + 3)
            .read_to_end(&mut bytes)
            .map_err(|e| HomeError::io(path, &e))?;
        Self::new(bytes, path)
    }

    /// The one that is given, if any is; `get` is `std::env::var` but in tests.
    ///
    /// # Errors
    /// [`HomeError`] of the first place that has one.
    pub fn find(
        file: Option<&Path>,
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, HomeError> {
        let named = get(PASSPHRASE_FILE_VARIABLE).map(PathBuf::from);
        if let Some(path) = file.or(named.as_deref()) {
            return Self::from_file(path).map(Some);
        }
        if let Some(text) = get(PASSPHRASE_VARIABLE) {
            let bytes = Zeroizing::new(text.into_bytes());
            return Self::new(bytes, Path::new(PASSPHRASE_VARIABLE)).map(Some);
        }
        let credential =
            get(CREDENTIALS_VARIABLE).map(|folder| Path::new(&folder).join(CREDENTIAL));
        match credential.filter(|path| path.exists()) {
            // systemd guards the folder; the file's mode depends on its version.
            Some(path) => Self::read(&path, false).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Refuses an open file that others can read or write.
pub(crate) fn check_mode(path: &Path, file: &fs::File) -> Result<(), HomeError> {
    let metadata = file.metadata().map_err(|e| HomeError::io(path, &e))?;
    let mode = metadata.mode() & 0o777;
    if mode & MODE_OTHERS != 0 {
        return Err(HomeError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_line_end_is_not_part_of_it() {
        let of = |text: &str| {
            let bytes = Zeroizing::new(text.as_bytes().to_vec());
            Passphrase::new(bytes, Path::new("x")).map(|p| p.expose().to_vec())
        };
        for text in ["ab c", "ab c\n", "ab c\r\n"] {
            assert_eq!(of(text).unwrap(), b"ab c");
        }
        assert_eq!(of("a\n\n").unwrap(), b"a\n");
        assert!(of("").is_err() && of("\n").is_err() && of("\r\n").is_err());
        assert!(of(&"x".repeat(PASSPHRASE_BYTES_MAX)).is_ok());
        assert!(of(&"x".repeat(PASSPHRASE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn places_are_asked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), "one", "from the flag", 0o600);
        let two = file(folder.path(), "two", "from the named file\n", 0o400);
        file(folder.path(), CREDENTIAL, "from systemd", 0o440);
        let here = folder.path().to_str().unwrap().to_owned();
        let named = two.to_str().unwrap().to_owned();
        let find = |flag: Option<&Path>, set: &[(&str, &str)]| {
            let get = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = Passphrase::find(flag, get).unwrap();
            found.map(|p| String::from_utf8(p.expose().to_vec()).unwrap())
        };
        let all = [
            (PASSPHRASE_FILE_VARIABLE, named.as_str()),
            (PASSPHRASE_VARIABLE, "from the variable"),
            (CREDENTIALS_VARIABLE, here.as_str()),
        ];
        assert_eq!(find(Some(&one), &all).unwrap(), "from the flag");
        assert_eq!(find(None, &all).unwrap(), "from the named file");
        assert_eq!(find(None, &all[1..]).unwrap(), "from the variable");
        assert_eq!(find(None, &all[2..]).unwrap(), "from systemd");
        assert_eq!(find(None, &[]), None);
        assert_eq!(find(None, &[(CREDENTIALS_VARIABLE, "/nowhere")]), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_nothing_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let open = file(folder.path(), "open", "hunter2", 0o640);
        let error = Passphrase::from_file(&open).unwrap_err();
        assert!(matches!(error, HomeError::Mode { mode: 0o640, .. }));
        let long = file(folder.path(), "long", &"hunter2".repeat(1_000), 0o600);
        let error = Passphrase::from_file(&long).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let good = Passphrase::from_file(&file(folder.path(), "good", "hunter2", 0o600)).unwrap();
        assert_eq!(format!("{good:?}"), "Passphrase(..)");
    }
}
