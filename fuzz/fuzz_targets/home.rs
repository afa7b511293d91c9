//! What lies in a member's home or beside it, as whoever can write there may leave it: encrypted
//! key files, backups, `config.toml`, founding files.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use fairlane_encryption::{KeyFileError, KeyFileKind, open_key_file};
use fairlane_fuzz::{epochs, home};
use fairlane_node::backup::Backup;
use fairlane_node::config::Config;
use fairlane_node::founding::Founding;
use fairlane_types::{Genesis, MemberId};
use libfuzzer_sys::fuzz_target;

const KINDS: [KeyFileKind; 6] = [
    KeyFileKind::Identity,
    KeyFileKind::EncryptionShare,
    KeyFileKind::CertificateShare,
    KeyFileKind::Receiver,
    KeyFileKind::Backup,
    KeyFileKind::Shares,
];

/// A genesis, and an encrypted backup that opens.
fn world() -> &'static (Genesis, Vec<u8>) {
    static WORLD: OnceLock<(Genesis, Vec<u8>)> = OnceLock::new();
    WORLD.get_or_init(|| (epochs::genesis(), home::sealed(&home::backup())))
}

/// Opens a file, at little cost if it asks for one that is allowed. One that is not must be
/// refused before there is any work: this target has a limit of memory and time.
fn open(kind: KeyFileKind, file: &mut [u8]) -> Option<Vec<u8>> {
    let wants = home::cost(file);
    let allowed = wants.is_none_or(|(memory, passes)| {
        memory <= home::MEMORY_KIB_MAX && passes <= home::PASSES_MAX
    });
    if let (true, Some((memory, passes))) = (allowed, wants) {
        home::set_cost(file, (memory % 64, passes % 4));
    }
    let opened = open_key_file(kind, file, home::PASSPHRASE);
    if !allowed {
        let (memory_kib, passes) = wants.expect("nothing else is refused");
        let cost = KeyFileError::Cost { memory_kib, passes };
        let early = [KeyFileError::Format, KeyFileError::Kind, cost];
        assert!(early.contains(&opened.expect_err("it costs too much")));
        return None;
    }
    opened.ok().map(|secret| secret.to_vec())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let (genesis, sealed) = world();
    match which % 5 {
        0 => {
            let kind = KINDS[usize::from(which / 5) % KINDS.len()];
            assert_eq!(open(kind, &mut bytes.to_vec()), None, "nobody sealed this");
        }
        1 => {
            let mut file = sealed.clone();
            for edit in bytes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % file.len();
                file[at] ^= edit[2];
            }
            let same = file == *sealed;
            match open(KeyFileKind::Backup, &mut file) {
                Some(secret) => {
                    assert!(same || file == *sealed, "an altered file opens");
                    assert!(Backup::parse(&secret).is_ok());
                }
                None => assert!(!same, "a backup does not open"),
            }
        }
        2 => {
            if let Ok(backup) = Backup::parse(bytes) {
                assert!(backup.belongs_to(genesis).is_err(), "of another chain");
            }
        }
        3 => {
            let (Ok(text), path) = (core::str::from_utf8(bytes), Path::new("config.toml")) else {
                return;
            };
            if let Ok(config) = Config::parse(path, text) {
                let committee = genesis.validate().expect("it is valid");
                if config.check(path).is_ok() {
                    let _ = config.peer_addresses(path, MemberId(0), &committee);
                }
                let text = config.to_toml().expect("what was read can be written");
                assert_eq!(Config::parse(path, &text).ok(), Some(config));
            }
        }
        _ => {
            if let Ok(founding) = Founding::parse(bytes) {
                assert!(founding.genesis.validate().is_ok() && founding.genesis.start.is_none());
                let text = serde_json::to_vec(&founding).expect("what was read can be written");
                assert_eq!(Founding::parse(&text).as_ref(), Ok(&founding));
            }
        }
    }
});
