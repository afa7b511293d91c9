//! An execution on disk, with its place in the sequence.
//!
//! One file holds both and is replaced whole, so that the two always belong together. After a
//! kill at any point the blocks since the last save come again, and give the same roots.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlane_execution::{Executed, Execution, ExecutionError, SNAPSHOT_BYTES_MAX};
use fairlane_types::{Digest, Height, SequencedBlock, decode, encode};

use crate::{Cursor, Pin};

/// Room for what stands beside the snapshot.
const AROUND_BYTES_MAX: usize = 4 << 10;

/// Longest snapshot that is written: its length stands before it in four bytes.
const STATE_BYTES_MAX: usize = SNAPSHOT_BYTES_MAX - 1;

/// What is in the file: the chain, the execution's genesis, the place in the sequence, the state.
type Record = (Digest, Digest, String, Vec<u8>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Of another chain, or of an execution that began otherwise.
    #[error("{0} is of another chain or another execution's genesis")]
    Other(String),
    /// It does not hold together.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not hold.
        why: String,
    },
    /// The state is over what is read back: it is not written, and the file stays as it is.
    #[error("{path}: a snapshot of {got} bytes is over the limit of {STATE_BYTES_MAX}")]
    TooLong {
        /// The file.
        path: String,
        /// Length of the snapshot.
        got: usize,
    },
}

/// An execution that goes on from its file.
#[derive(Debug)]
pub struct Kept<E> {
    path: PathBuf,
    chain: Digest,
    genesis: Digest,
    execution: E,
    cursor: Cursor,
}

impl<E: Execution> Kept<E> {
    /// Goes on from the file, or begins before the first block if there is none. The execution
    /// is given at its genesis, and the digest tells that from others.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn open(
        path: &Path,
        pin: &Pin,
        genesis: Digest,
        mut execution: E,
    ) -> Result<Self, KeptError> {
        let named = || path.display().to_string();
        let damaged = |why: String| KeptError::Damaged { path: named(), why };
        let cursor = match read(path).map_err(|error| io(path, error))? {
            None => Cursor::start(pin),
            Some(bytes) => {
                let most = SNAPSHOT_BYTES_MAX + AROUND_BYTES_MAX;
                let (chain, of, cursor, snapshot): Record =
                    decode(&bytes, most).map_err(|e| damaged(e.to_string()))?;
                if (chain, of) != (pin.hash(), genesis) {
                    return Err(KeptError::Other(named()));
                }
                let restored = execution.restore(&snapshot);
                restored.map_err(|e| damaged(e.to_string()))?;
                serde_json::from_str(&cursor).map_err(|e| damaged(e.to_string()))?
            }
        };
        if execution.head().0 != cursor.height() {
            return Err(damaged("state and place do not belong together".to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            chain: pin.hash(),
            genesis,
            execution,
            cursor,
        })
    }

    /// The execution.
    pub const fn execution(&self) -> &E {
        &self.execution
    }

    /// Where a feed has to go on.
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Applies a block that a feed gave; one that was applied before gives its stored result.
    ///
    /// # Errors
    /// Those of [`Execution::apply`].
    pub fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError> {
        let done = self.execution.apply(block)?;
        if block.height > self.cursor.height() {
            self.cursor.advance(block);
        }
        Ok(done)
    }

    /// Says up to where the committee has attested what was applied.
    pub fn finalize(&mut self, height: Height) {
        self.execution.finalize(height);
    }

    /// Replaces the file, whole or not at all.
    ///
    /// # Errors
    /// [`KeptError::Io`], and [`KeptError::TooLong`] for a state that [`Self::open`] would refuse.
    pub fn save(&self) -> Result<(), KeptError> {
        let snapshot = self.execution.snapshot();
        if snapshot.len() > STATE_BYTES_MAX {
            let path = self.path.display().to_string();
            let got = snapshot.len();
            return Err(KeptError::TooLong { path, got });
        }
        let done = self.replace(snapshot);
        done.map_err(|error| io(&self.path, error))
    }

    fn replace(&self, snapshot: Vec<u8>) -> std::io::Result<()> {
        let cursor = serde_json::to_string(&self.cursor)?;
        let record: Record = (self.chain, self.genesis, cursor, snapshot);
        let new = beside(&self.path);
        let mut file = fs::File::create(&new)?;
        file.write_all(&encode(&record))?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// The file that becomes this one. It is after the whole name, so that it is no other state's
/// file, nor this one itself, whatever their extensions are.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn io(path: &Path, error: std::io::Error) -> KeptError {
    let path = path.display().to_string();
    KeptError::Io { path, error }
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let most = SNAPSHOT_BYTES_MAX + AROUND_BYTES_MAX;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
    use fairlane_execution::{AccountProof, Clearing};
    use fairlane_types::PublicKey;

    use super::*;
    use crate::testing::{opened_block, pin_of};

    const GENESIS: Digest = Digest([1; 32]);

    fn clearing(pin: &Pin) -> Clearing {
        let market = MarketParams::plain(1_000, MatchingRule::PriceTime);
        let genesis = ExecutionGenesis::plain(vec![market], Vec::new());
        Clearing::new(&genesis, Cursor::start(pin).root()).unwrap()
    }

    fn open(path: &Path, pin: &Pin) -> Kept<Clearing> {
        Kept::open(path, pin, GENESIS, clearing(pin)).unwrap()
    }

    /// Some blocks of the chain.
    fn blocks(pin: &Pin) -> Vec<SequencedBlock> {
        let mut cursor = Cursor::start(pin);
        let mut next = |orders| {
            let (block, _) = opened_block(pin, &cursor, orders);
            cursor.advance(&block);
            block
        };
        [1, 0, 2, 1, 1].map(&mut next).to_vec()
    }

    #[test]
    fn it_goes_on_after_the_last_save_to_the_same_roots() {
        let (pin, _) = pin_of(4);
        let blocks = blocks(&pin);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut straight = clearing(&pin);
        let roots: Vec<_> = blocks
            .iter()
            .map(|block| straight.apply(block).unwrap().state_root)
            .collect();
        // Saved after `saved` blocks, ended after two more.
        for saved in 0..=blocks.len() {
            drop(fs::remove_file(&path));
            let mut kept = open(&path, &pin);
            for block in &blocks[..saved] {
                kept.apply(block).unwrap();
            }
            kept.save().unwrap();
            for block in blocks[saved..].iter().take(2) {
                kept.apply(block).unwrap();
            }
            let mut kept = open(&path, &pin);
            assert_eq!(kept.cursor().height().0, saved as u64);
            for (block, root) in blocks[saved..].iter().zip(&roots[saved..]) {
                assert_eq!(kept.apply(block).unwrap().state_root, *root);
            }
            // Once more the last one: the place does not move.
            let last = kept.cursor().clone();
            assert_eq!(last.root(), blocks[blocks.len() - 1].root);
            if saved < blocks.len() {
                let again = kept.apply(&blocks[blocks.len() - 1]).unwrap();
                assert_eq!(again.state_root, roots[roots.len() - 1]);
                assert_eq!(*kept.cursor(), last);
            }
        }
    }

    #[test]
    fn what_does_not_follow_moves_nothing() {
        let (pin, _) = pin_of(4);
        let blocks = blocks(&pin);
        let folder = tempfile::tempdir().unwrap();
        let mut kept = open(&folder.path().join("state"), &pin);
        kept.apply(&blocks[0]).unwrap();
        let before = (kept.execution().head(), kept.cursor().clone());
        assert!(matches!(
            kept.apply(&blocks[2]),
            Err(ExecutionError::Fork { .. })
        ));
        assert_eq!((kept.execution().head(), kept.cursor().clone()), before);
    }

    #[test]
    fn a_file_of_something_else_or_a_damaged_one_is_refused() {
        let (pin, _) = pin_of(4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut kept = open(&path, &pin);
        for block in &blocks(&pin)[..3] {
            kept.apply(block).unwrap();
        }
        kept.save().unwrap();
        let (other, _) = pin_of(7);
        let opened = Kept::open(&path, &other, GENESIS, clearing(&other));
        assert!(matches!(opened, Err(KeptError::Other(_))));
        let opened = Kept::open(&path, &pin, Digest([2; 32]), clearing(&pin));
        assert!(matches!(opened, Err(KeptError::Other(_))));

        let whole = fs::read(&path).unwrap();
        let reopened = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Kept::open(&path, &pin, GENESIS, clearing(&pin))
        };
        for cut in 0..whole.len() {
            let opened = reopened(&whole[..cut]);
            assert!(matches!(opened, Err(KeptError::Damaged { .. })), "{cut}");
        }
        // A state and a place of two saves.
        let (chain, of, _, snapshot): Record = decode(&whole, whole.len()).unwrap();
        let start = serde_json::to_string(&Cursor::start(&pin)).unwrap();
        let opened = reopened(&encode(&(chain, of, start, snapshot)));
        assert!(matches!(opened, Err(KeptError::Damaged { .. })));
        assert!(reopened(&whole).is_ok());
    }

    #[test]
    fn names_that_differ_in_their_extensions_alone_are_different_files() {
        let (pin, _) = pin_of(4);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Nobody else's file is begun or left behind on the way.
        fs::write(at("a.new"), "somebody else's").unwrap();
        for name in ["a.state", "a.db", "b.new"] {
            open(&at(name), &pin).save().unwrap();
        }
        assert_eq!(fs::read(at("a.new")).unwrap(), b"somebody else's");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);

        // The file is whole while the next one is begun, even if that cannot be.
        fs::create_dir(at("b.new.new")).unwrap();
        let mut kept = open(&at("b.new"), &pin);
        kept.apply(&blocks(&pin)[0]).unwrap();
        assert!(matches!(kept.save(), Err(KeptError::Io { .. })));
        assert_eq!(open(&at("b.new"), &pin).cursor().height(), Height(0));
    }

    /// A clearing house whose snapshot is too long.
    struct Wide(Clearing);

    impl Execution for Wide {
        fn head(&self) -> (Height, Digest) {
            self.0.head()
        }
        fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError> {
            self.0.apply(block)
        }
        fn finalize(&mut self, height: Height) {
            self.0.finalize(height);
        }
        fn finalized(&self) -> Height {
            self.0.finalized()
        }
        fn prove(&self, key: &PublicKey, height: Height) -> Result<AccountProof, ExecutionError> {
            self.0.prove(key, height)
        }
        /// Zeroes that nobody touches take no memory.
        fn snapshot(&self) -> Vec<u8> {
            vec![0; STATE_BYTES_MAX + 1]
        }
        fn restore(&mut self, bytes: &[u8]) -> Result<Digest, ExecutionError> {
            self.0.restore(bytes)
        }
    }

    #[test]
    fn a_state_that_could_not_be_read_back_is_not_written() {
        let (pin, _) = pin_of(4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        open(&path, &pin).save().unwrap();
        let mut wide = Kept::open(&path, &pin, GENESIS, Wide(clearing(&pin))).unwrap();
        wide.apply(&blocks(&pin)[0]).unwrap();
        let saved = wide.save();
        assert!(
            matches!(saved, Err(KeptError::TooLong { got, .. }) if got == STATE_BYTES_MAX + 1),
            "{saved:?}"
        );
        assert_eq!(open(&path, &pin).cursor().height(), Height(0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
