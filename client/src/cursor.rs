//! Where a consumer is in the sequence. Exactly once = the consumer stores this together
//! with what it made of the blocks, in one transaction.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use fairlane_types::{Digest, Height, Position, Root, SequencedBlock};
use serde::{Deserialize, Serialize};

use crate::Pin;
use crate::wire::dec;

/// The last block consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    genesis: Digest,
    #[serde(with = "dec")]
    height: u64,
    root: Root,
    #[serde(with = "dec")]
    next_position: u64,
}

/// Why a cursor file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// The file cannot be read or written.
    #[error("cursor file: {0}")]
    Io(#[from] std::io::Error),
    /// Not a cursor.
    #[error("cursor file is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Of another chain.
    #[error("the cursor is of genesis {got}, this chain is {want}")]
    OtherChain {
        /// The cursor's genesis hash.
        got: Digest,
        /// This chain's.
        want: Digest,
    },
}

impl Cursor {
    /// Before the first block.
    #[must_use]
    pub fn start(pin: &Pin) -> Self {
        Self {
            genesis: pin.hash(),
            height: 0,
            root: pin.first_parent(),
            next_position: 0,
        }
    }

    /// After a block that is trusted, such as one from a checkpoint.
    #[must_use]
    pub fn after(pin: &Pin, block: &SequencedBlock) -> Self {
        Self {
            genesis: pin.hash(),
            height: block.height.0,
            root: block.root,
            next_position: block.next_position().0,
        }
    }

    /// Before a block whose parent is trusted as it is named, when nothing earlier is at hand.
    #[must_use]
    pub fn before(pin: &Pin, block: &SequencedBlock) -> Self {
        Self {
            genesis: pin.hash(),
            height: block.height.prev().0,
            root: block.parent_root,
            next_position: block.first_position.0,
        }
    }

    /// Last height consumed; 0 before the first.
    #[must_use]
    pub const fn height(&self) -> Height {
        Height(self.height)
    }
    /// Height to ask for.
    #[must_use]
    pub const fn next(&self) -> Height {
        Height(self.height.saturating_add(1))
    }
    /// Root after the last block consumed.
    #[must_use]
    pub const fn root(&self) -> Root {
        self.root
    }
    /// Position of the next item.
    #[must_use]
    pub const fn next_position(&self) -> Position {
        Position(self.next_position)
    }

    pub(crate) fn advance(&mut self, block: &SequencedBlock) {
        self.height = block.height.0;
        self.root = block.root;
        self.next_position = block.next_position().0;
    }

    /// Reads a cursor file; none if there is no file.
    ///
    /// # Errors
    /// [`CursorError`].
    pub fn load(path: &Path, pin: &Pin) -> Result<Option<Self>, CursorError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let cursor: Self = serde_json::from_slice(&bytes)?;
        if cursor.genesis != pin.hash() {
            return Err(CursorError::OtherChain {
                got: cursor.genesis,
                want: pin.hash(),
            });
        }
        Ok(Some(cursor))
    }

    /// Replaces a cursor file durably: new file, sync, rename, sync of the folder.
    ///
    /// # Errors
    /// [`CursorError::Io`].
    pub fn store(&self, path: &Path) -> Result<(), CursorError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        let mut file = File::create(new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}
