//! Secrets at rest under a passphrase (THREATS A26): bytes in, bytes out; the shell reads
//! and writes files and draws the entropy.
//!
//! `FAIRLANE-KEY-1\n ‖ kind u8 ‖ memory KiB u32 ‖ passes u32 ‖ salt 16 ‖ body`. The key of
//! the body is Argon2id (RFC 9106, version 0x13, one lane) of passphrase and salt; the body
//! is ChaCha20-Poly1305 under it, with everything before as associated data. The salt is
//! fresh for every file, so the nonce is zero. A wrong passphrase and an altered file look
//! the same.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::encrypt::{seal, unseal};
use crate::wire::TAG_BYTES;

/// First bytes of an encrypted key file.
pub const KEY_FILE_MAGIC: &[u8; 15] = b"FAIRLANE-KEY-1\n";

/// Longest secret in a key file, in bytes.
pub const KEY_FILE_SECRET_MAX: usize = 4_096;

/// Memory of a new file's derivation, in KiB: the first choice of RFC 9106 is 2 GiB, the
/// second 64 MiB.
const MEMORY_KIB: u32 = 64 << 10;

/// Passes over the memory of a new file's derivation (RFC 9106 §4, second choice).
const PASSES: u32 = 3;

/// Most memory that a file may ask for, in KiB: what a hostile file can cost.
const MEMORY_KIB_MAX: u32 = 1 << 18;

/// Most passes that a file may ask for.
const PASSES_MAX: u32 = 16;

const SALT_BYTES: usize = 16;
const HEAD_BYTES: usize = KEY_FILE_MAGIC.len() + 1 + 4 + 4 + SALT_BYTES;

/// What a key file holds; a file of one kind does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileKind {
    /// A member's identity seed.
    Identity,
    /// A share of the encryption key.
    EncryptionShare,
    /// A share of the certificate key.
    CertificateShare,
    /// A secret for dealings.
    Receiver,
    /// All of a member's secrets.
    Backup,
    /// The shares of an epoch's keys.
    Shares,
}

impl KeyFileKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Identity => 1,
            Self::EncryptionShare => 2,
            Self::CertificateShare => 3,
            Self::Receiver => 4,
            Self::Backup => 5,
            Self::Shares => 6,
        }
    }
}

/// Why a key file is not written or not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not an encrypted key file, or torn.
    #[error("this is not an encrypted key file")]
    Format,
    /// Of another kind.
    #[error("the key file holds another kind of key")]
    Kind,
    /// It asks for too much work, or too little to derive a key at all.
    #[error("the key file asks for {memory_kib} KiB and {passes} passes")]
    Cost {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
    },
    /// The secret is too long.
    #[error("a secret of {0} bytes does not go into a key file")]
    Length(usize),
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The passphrase is another one, or the file was altered.
    #[error("wrong passphrase, or the key file was altered")]
    Passphrase,
}

/// Whether bytes claim to be an encrypted key file.
#[must_use]
pub fn is_key_file(bytes: &[u8]) -> bool {
    bytes.starts_with(KEY_FILE_MAGIC)
}

fn derive(
    passphrase: &[u8],
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let cost = KeyFileError::Cost { memory_kib, passes };
    if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
        return Err(cost);
    }
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| cost)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| cost)?;
    Ok(key)
}

/// Encrypts a secret. `salt` is fresh entropy, for this file only.
///
/// # Errors
/// [`KeyFileError`]: empty passphrase, secret too long.
pub fn seal_key_file(
    kind: KeyFileKind,
    secret: &[u8],
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<Vec<u8>, KeyFileError> {
    seal_with(kind, secret, passphrase, salt, MEMORY_KIB, PASSES)
}

fn seal_with(
    kind: KeyFileKind,
    secret: &[u8],
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
    memory_kib: u32,
    passes: u32,
) -> Result<Vec<u8>, KeyFileError> {
    if passphrase.is_empty() {
        return Err(KeyFileError::EmptyPassphrase);
    }
    if secret.len() > KEY_FILE_SECRET_MAX {
        return Err(KeyFileError::Length(secret.len()));
    }
    let key = derive(passphrase, salt, memory_kib, passes)?;
    let mut file = Vec::with_capacity(HEAD_BYTES + secret.len() + TAG_BYTES);
    file.extend_from_slice(KEY_FILE_MAGIC);
    file.push(kind.byte());
    file.extend_from_slice(&memory_kib.to_le_bytes());
    file.extend_from_slice(&passes.to_le_bytes());
    file.extend_from_slice(salt);
    let mut body = Zeroizing::new(secret.to_vec());
    let tag = seal(&key, &file, &mut body);
    file.extend_from_slice(&body);
    file.extend_from_slice(&tag);
    Ok(file)
}

/// Decrypts a secret.
///
/// # Errors
/// [`KeyFileError`] tells why not.
pub fn open_key_file(
    kind: KeyFileKind,
    file: &[u8],
    passphrase: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let (head, body) = file
        .split_at_checked(HEAD_BYTES)
        .ok_or(KeyFileError::Format)?;
    let rest = head
        .strip_prefix(KEY_FILE_MAGIC)
        .ok_or(KeyFileError::Format)?;
    if !(TAG_BYTES..=KEY_FILE_SECRET_MAX + TAG_BYTES).contains(&body.len()) {
        return Err(KeyFileError::Format);
    }
    let (found, rest) = rest.split_first().ok_or(KeyFileError::Format)?;
    if *found != kind.byte() {
        return Err(KeyFileError::Kind);
    }
    let (memory, rest) = rest.split_first_chunk().ok_or(KeyFileError::Format)?;
    let (passes, salt) = rest.split_first_chunk().ok_or(KeyFileError::Format)?;
    let (memory, passes) = (u32::from_le_bytes(*memory), u32::from_le_bytes(*passes));
    let key = derive(passphrase, salt, memory, passes)?;
    unseal(&key, head, body)
        .map(Zeroizing::new)
        .ok_or(KeyFileError::Passphrase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

    /// As written, but cheap.
    fn cheap(secret: &[u8], passphrase: &[u8]) -> Vec<u8> {
        seal_with(KeyFileKind::Receiver, secret, passphrase, &SALT, 8, 1).unwrap()
    }

    fn open(file: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        open_key_file(KeyFileKind::Receiver, file, passphrase).map(|secret| secret.to_vec())
    }

    #[test]
    fn files_open_with_their_passphrase_only() {
        let file =
            seal_key_file(KeyFileKind::Receiver, b"secret", b"correct horse", &SALT).unwrap();
        assert!(is_key_file(&file) && !file.windows(6).any(|part| part == b"secret"));
        assert_eq!(open(&file, b"correct horse"), Ok(b"secret".to_vec()));
        let file = cheap(b"secret", b"correct horse");
        for wrong in [&b"correct hors"[..], b"Correct horse", b""] {
            assert_eq!(open(&file, wrong), Err(KeyFileError::Passphrase));
        }
        for kind in [
            KeyFileKind::Identity,
            KeyFileKind::EncryptionShare,
            KeyFileKind::CertificateShare,
            KeyFileKind::Backup,
        ] {
            let other = open_key_file(kind, &file, b"correct horse");
            assert_eq!(other.unwrap_err(), KeyFileError::Kind);
        }
        assert_eq!(open(&cheap(b"", b"p"), b"p"), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_go_in_is_refused() {
        let seal = |secret: &[u8], passphrase: &[u8]| {
            seal_key_file(KeyFileKind::Identity, secret, passphrase, &SALT).unwrap_err()
        };
        assert_eq!(seal(b"secret", b""), KeyFileError::EmptyPassphrase);
        let long = vec![0; KEY_FILE_SECRET_MAX + 1];
        assert_eq!(seal(&long, b"p"), KeyFileError::Length(long.len()));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let file = cheap(b"secret", b"p");
        for bit in 0..file.len() * 8 {
            let mut altered = file.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let at = KEY_FILE_MAGIC.len() + 1;
            let memory = u32::from_le_bytes(altered[at..at + 4].try_into().unwrap());
            // Allowed, and no different, but slow.
            if (1 << 12..=MEMORY_KIB_MAX).contains(&memory) {
                continue;
            }
            assert!(open(&altered, b"p").is_err(), "bit {bit}");
        }
        for len in 0..file.len() {
            assert!(open(&file[..len], b"p").is_err());
        }
    }

    /// A file cannot make a reader spend without bound.
    #[test]
    fn costs_are_bounded() {
        let mut file = cheap(b"secret", b"p");
        let at = KEY_FILE_MAGIC.len() + 1;
        for (memory, passes) in [
            (MEMORY_KIB_MAX + 1, 1),
            (8, PASSES_MAX + 1),
            (u32::MAX, 1),
            (0, 1),
            (8, 0),
        ] {
            file[at..at + 4].copy_from_slice(&memory.to_le_bytes());
            file[at + 4..at + 8].copy_from_slice(&passes.to_le_bytes());
            let refused = KeyFileError::Cost {
                memory_kib: memory,
                passes,
            };
            assert_eq!(open(&file, b"p"), Err(refused));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&noise, b"p").is_err());
            let body = [&cheap(b"secret", b"p")[..HEAD_BYTES], &noise].concat();
            prop_assert!(open(&body, b"p").is_err());
        }
    }
}
