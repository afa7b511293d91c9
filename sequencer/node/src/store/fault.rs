//! RocksDB's messages as [`StoreError`]s that say what to do.

use std::path::Path;

use fairlane_replica::StoreError;
use rocksdb::ErrorKind;

/// What RocksDB says when there is no room.
const FULL_WORDS: [&str; 4] = [
    "No space left",
    "Disk quota exceeded",
    "NoSpace",
    "Space limit reached",
];
/// What it says when a second process opens the folder.
const LOCK_WORDS: [&str; 2] = ["lock hold by current process", "While lock file"];
/// What it says when a file it wrote is gone, cut or of another make.
const DAMAGE_WORDS: [&str; 7] = [
    "Corruption",
    "checksum mismatch",
    "No such file or directory",
    "does not exist (create_if_missing is false)",
    "truncated",
    "bad magic number",
    "Sst file size mismatch",
];

/// Turns an error of RocksDB at `path` into one of three kinds.
pub(crate) fn store_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    let text = AsRef::<str>::as_ref(error);
    if error.kind() == ErrorKind::Corruption {
        return corrupt(path, text);
    }
    refine(path, text)
}

/// The same by RocksDB's words alone; [`StoreError::Failed`] if they are not known.
#[must_use]
pub fn refine(path: &Path, text: &str) -> StoreError {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&FULL_WORDS) {
        StoreError::Full(format!(
            "{}: {text}; free some space, then start the node again",
            path.display()
        ))
    } else if says(&LOCK_WORDS) {
        StoreError::Failed(format!(
            "{} is in use by another process; stop that node first, two nodes must never run \
             on one home ({text})",
            path.display()
        ))
    } else if says(&DAMAGE_WORDS) {
        corrupt(path, text)
    } else {
        StoreError::Failed(format!("{}: {text}", path.display()))
    }
}

fn corrupt(path: &Path, text: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{}: {text}; check the disk, then restore the last snapshot of this folder, or move it \
         away and let the member rejoin as an observer",
        path.display()
    ))
}

/// The value under a key does not decode: an error of the same kind as a bad checksum.
pub(crate) fn undecodable(path: &Path, what: &str, why: &dyn std::fmt::Display) -> StoreError {
    corrupt(path, &format!("{what} does not decode ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_database_are_told_apart() {
        let path = Path::new("data");
        let of = |text: &str| refine(path, text);
        assert!(matches!(
            of("IO error: No space left on device: While appending to file: data/000004.log"),
            StoreError::Full(_)
        ));
        assert!(matches!(
            of("IO error: While lock file: data/LOCK: Resource temporarily unavailable"),
            StoreError::Failed(text) if text.contains("another process")
        ));
        assert!(matches!(
            of("Corruption: block checksum mismatch"),
            StoreError::Corrupt(_)
        ));
        assert!(matches!(
            of("IO error: No such file or directory: data/000009.sst"),
            StoreError::Corrupt(_)
        ));
        assert!(matches!(of("Busy: "), StoreError::Failed(_)));
    }
}
