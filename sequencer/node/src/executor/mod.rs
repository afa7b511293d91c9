//! The clearing house in this process: follows the sequence on disk, keeps a snapshot with
//! its height, and goes on from it after a kill.
//!
//! - It runs if the home has an `execution.toml`, which must be the same at all members: it
//!   is part of every state root, so that another one shows at the first height.
//! - It only reads what is on disk, and the sequencer never waits for it. If it cannot go
//!   on it stops, says so in `/v1/status`, and the sequence goes on.
//! - The snapshot is a file that is replaced whole. Blocks after it are applied again and
//!   give the same roots, whenever the process was killed.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlane_encryption::StateRoots;
use fairlane_execution::params::ExecutionGenesis;
use fairlane_execution::{
    AccountProof, Clearing, Executed, Execution, Market, Proposal, SNAPSHOT_BYTES_MAX,
};
use fairlane_replica::{Event, STATE_HEIGHTS};
use fairlane_types::{Digest, Height, PublicKey, Root};
use tokio::sync::watch;

mod attested;
mod markets;

pub use attested::{AttestedStates, Waiting};
use markets::Markets;

use crate::files::write_new;
use crate::home::{Home, HomeError};
use crate::store::StoreReader;

/// Heights between two snapshots; at most so many are applied again after a kill.
pub const SNAPSHOT_HEIGHTS: u64 = 256;
/// Blocks and bytes read at once.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: usize = 16 << 20;
/// Largest `execution.toml`.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where the clearing house stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// Last height applied.
    pub height: Height,
    /// State root there.
    pub state_root: Digest,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// What a clearing house holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Accounts.
    pub accounts: u64,
    /// Positions of accounts that are not flat.
    pub positions: u64,
    /// Fills since genesis.
    pub fills: u64,
}

struct Shared {
    clearing: Mutex<Clearing>,
    genesis: Digest,
    reader: StoreReader,
    snapshot: PathBuf,
    /// Height of the snapshot on disk: what follows is applied again after a kill.
    saved: AtomicU64,
    states: AttestedStates,
    markets: Mutex<Markets>,
    status: watch::Sender<ExecutorStatus>,
}

/// A clearing house that follows a store; cheap to clone. Every call may block.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

/// The file that makes a member execute.
#[must_use]
pub fn genesis_path(home: &Home) -> PathBuf {
    home.root().join("execution.toml")
}

/// Where the snapshot is kept.
pub(crate) fn snapshot_path(home: &Home) -> PathBuf {
    home.root().join("execution.snapshot")
}

/// What tells one genesis from another.
#[must_use]
pub fn digest_of(genesis: &ExecutionGenesis) -> Digest {
    Digest(*blake3::hash(&fairlane_types::encode(genesis)).as_bytes())
}

/// Writes it; never over another.
///
/// # Errors
/// [`HomeError`].
pub fn write_genesis(home: &Home, genesis: &ExecutionGenesis) -> Result<(), HomeError> {
    let path = genesis_path(home);
    let text = toml::to_string(genesis).map_err(|error| HomeError::content(&path, error))?;
    write_new(&path, 0o644, text.as_bytes())
}

/// Reads an `execution.toml`; none if there is no such file.
///
/// # Errors
/// [`HomeError`] if it is not what it should be.
pub fn read_genesis(path: &Path) -> Result<Option<ExecutionGenesis>, HomeError> {
    match fs::metadata(path) {
        Ok(found) if found.len() <= FILE_BYTES_MAX => {}
        Ok(_) => return Err(HomeError::content(path, "the file is too large")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::io(path, &error)),
    }
    let text = fs::read_to_string(path).map_err(|error| HomeError::io(path, &error))?;
    let genesis = parse_genesis(&text).map_err(|error| HomeError::content(path, error))?;
    Ok(Some(genesis))
}

/// An `execution.toml` from its text, checked.
///
/// # Errors
/// What is wrong with it.
pub fn parse_genesis(text: &str) -> Result<ExecutionGenesis, String> {
    let genesis: ExecutionGenesis = toml::from_str(text).map_err(|error| error.to_string())?;
    genesis.validate().map_err(|error| error.to_string())?;
    Ok(genesis)
}

impl Executor {
    /// The clearing house of a home, at its snapshot; none if the home has none.
    ///
    /// # Errors
    /// [`HomeError`] if its file is not what it should be.
    pub fn open(home: &Home, reader: StoreReader) -> Result<Option<Self>, HomeError> {
        let path = genesis_path(home);
        let Some(genesis) = read_genesis(&path)? else {
            return Ok(None);
        };
        let start = || Clearing::new(&genesis, Root::default());
        let mut clearing = start().map_err(|error| HomeError::content(&path, error))?;
        let snapshot = snapshot_path(home);
        let digest = digest_of(&genesis);
        match read_snapshot(&snapshot, &digest) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let restored = clearing.restore(&bytes).map_err(|error| error.to_string());
                if let Err(reason) = restored.and_then(|_| fits(&clearing, &reader)) {
                    tracing::warn!(%reason, "the snapshot is not used; replaying");
                    clearing = start().map_err(|error| HomeError::content(&path, error))?;
                }
            }
            Err(reason) => tracing::warn!(%reason, "the snapshot is not used; replaying"),
        }
        let (height, state_root) = clearing.head();
        tracing::info!(%height, %state_root, "executing");
        let status = watch::Sender::new(ExecutorStatus {
            height,
            state_root,
            stopped: None,
        });
        Ok(Some(Self {
            shared: Arc::new(Shared {
                clearing: Mutex::new(clearing),
                genesis: digest,
                reader,
                snapshot,
                saved: AtomicU64::new(height.0),
                states: AttestedStates::default(),
                markets: Mutex::default(),
                status,
            }),
        }))
    }

    fn clearing(&self) -> MutexGuard<'_, Clearing> {
        let clearing = self.shared.clearing.lock();
        clearing.unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ExecutorStatus {
        self.shared.status.borrow().clone()
    }

    /// Digest of its genesis.
    #[must_use]
    pub fn genesis(&self) -> Digest {
        self.shared.genesis
    }

    /// Height of the snapshot on disk; blocks up to it are not needed any more.
    #[must_use]
    pub fn saved(&self) -> Height {
        Height(self.shared.saved.load(Ordering::SeqCst))
    }

    /// Counts what it holds.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let clearing = self.clearing();
        let house = clearing.house();
        let accounts = house.accounts();
        let held = accounts.iter().flat_map(|account| &account.positions);
        Holdings {
            accounts: accounts.len() as u64,
            positions: held.filter(|position| position.lots != 0).count() as u64,
            fills: house.core().fills,
        }
    }

    /// Its markets, without their books.
    #[must_use]
    pub fn markets(&self) -> Vec<Market> {
        self.clearing().house().core().markets.clone()
    }

    /// Changes of parameters on their way.
    #[must_use]
    pub fn changes(&self) -> Vec<Proposal> {
        self.clearing().house().changes().to_vec()
    }

    /// Whether a key's observations make prices.
    #[must_use]
    pub fn is_oracle(&self, key: &PublicKey) -> bool {
        self.clearing().house().core().oracles.contains(key)
    }

    /// An account at the head, with its proof.
    #[must_use]
    pub fn prove(&self, key: &PublicKey) -> Option<AccountProof> {
        let clearing = self.clearing();
        clearing.prove(key, clearing.head().0).ok()
    }

    /// Proofs under attested states.
    #[must_use]
    pub fn states(&self) -> &AttestedStates {
        &self.shared.states
    }

    /// The result of a height, of the last [`RESULTS_KEPT`](fairlane_execution::RESULTS_KEPT)
    /// that this process applied.
    #[must_use]
    pub fn executed(&self, height: Height) -> Option<Arc<Executed>> {
        self.clearing().executed(height)
    }

    /// Applies blocks that are on disk, some at a time; says whether there were any, and
    /// tells each state that is to be attested.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn advance(&self, tell: &dyn Fn(Event)) -> Result<bool, String> {
        self.compare()?;
        let head = self.clearing().head().0;
        let blocks = self
            .shared
            .reader
            .blocks(head.next(), BLOCKS_PER_TURN, BYTES_PER_TURN)
            .map_err(|error| error.to_string())?;
        for block in &blocks {
            let mut clearing = self.clearing();
            let next = clearing.head().0.next();
            if block.height > next {
                return Err(format!(
                    "the next height is {next}, but the sequence here goes on at {}: stop this \
                     member, put the execution.snapshot of one that you trust into its folder, \
                     and start again",
                    block.height
                ));
            }
            let applied = clearing.apply(block).map_err(|error| error.to_string())?;
            clearing.finalize(applied.height);
            let height = applied.height;
            markets::tell_frozen(&applied);
            if height.0.is_multiple_of(STATE_HEIGHTS) {
                let roots = StateRoots {
                    genesis: self.shared.genesis,
                    state_root: applied.state_root,
                    receipts_root: applied.receipts_root,
                };
                self.shared.states.reached(height, roots, &clearing);
                tell(Event::StateReached { height, roots });
            }
            drop(clearing);
            self.shared.status.send_modify(|status| {
                status.height = applied.height;
                status.state_root = applied.state_root;
            });
            metrics::gauge!("fairlane_execution_height").set(applied.height.0 as f64);
            if applied.height.0.is_multiple_of(SNAPSHOT_HEIGHTS) {
                self.save()?;
            }
        }
        let seen = self.shared.markets.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        seen.look(&self.clearing().house().core().markets);
        Ok(!blocks.is_empty())
    }

    /// Whether what the committee has signed is what was come to here.
    fn compare(&self) -> Result<(), String> {
        let compared = self.shared.states.compare(&self.shared.reader);
        match compared.map_err(|error| error.to_string())? {
            Ok(()) => Ok(()),
            Err((committee, own)) => {
                metrics::gauge!("fairlane_execution_diverged").set(1.0);
                Err(format!(
                    "the committee signed state root {} for height {} and this member came to {}: \
                     `fairlane exec diff` with another member's folder says where they part",
                    committee.roots.state_root, committee.height, own.state_root
                ))
            }
        }
    }

    /// Writes a snapshot, whole or not at all.
    ///
    /// # Errors
    /// What the system said.
    pub fn save(&self) -> Result<(), String> {
        let (height, snapshot) = {
            let clearing = self.clearing();
            (clearing.head().0, clearing.snapshot())
        };
        let path = &self.shared.snapshot;
        let new = path.with_extension("new");
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.write_all(&self.shared.genesis.0)?;
            file.write_all(&snapshot)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|error| format!("{}: {error}", path.display()))?;
        self.shared.saved.store(height.0, Ordering::SeqCst);
        Ok(())
    }

    /// Follows the sequence until `stopping` is true, then saves. Tells every height that is
    /// saved, and every state that is to be attested.
    pub async fn run(
        self,
        mut heads: watch::Receiver<Height>,
        mut stopping: watch::Receiver<bool>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) {
        let tell: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(tell);
        metrics::gauge!("fairlane_execution_stopped").set(0.0);
        metrics::gauge!("fairlane_execution_diverged").set(0.0);
        let mut told = Height(0);
        loop {
            if self.saved() > told {
                told = self.saved();
                tell(Event::Executed(told));
            }
            // Heads told from here on wake the wait below, even if they come before it.
            heads.borrow_and_update();
            let (turn, telling) = (self.clone(), Arc::clone(&tell));
            let advanced = tokio::task::spawn_blocking(move || turn.advance(&*telling)).await;
            let advanced = advanced.unwrap_or_else(|error| Err(error.to_string()));
            match advanced {
                Ok(true) if !*stopping.borrow() => continue,
                Ok(_) => {}
                Err(reason) => {
                    tracing::error!(%reason, "execution stops; the sequence goes on");
                    metrics::gauge!("fairlane_execution_stopped").set(1.0);
                    let stopped = Some(reason);
                    self.shared.status.send_modify(|s| s.stopped = stopped);
                    return;
                }
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                changed = heads.changed() => if changed.is_err() { break },
            }
        }
        let last = tokio::task::spawn_blocking(move || self.save()).await;
        if let Ok(Err(reason)) = last {
            tracing::warn!(%reason, "the last snapshot was not written");
        }
    }
}

/// The snapshot's bytes, if there is one of this genesis.
pub(crate) fn read_snapshot(path: &Path, genesis: &Digest) -> Result<Option<Vec<u8>>, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let most = SNAPSHOT_BYTES_MAX as u64 + genesis.0.len() as u64;
    let mut bytes = Vec::new();
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.strip_prefix(&genesis.0) {
        Some(snapshot) => Ok(Some(snapshot.to_vec())),
        None => Err("it is of another execution.toml".to_owned()),
    }
}

/// Whether a restored state is one of the sequence on disk, as far as that still has its
/// height.
fn fits(clearing: &Clearing, reader: &StoreReader) -> Result<(), String> {
    let height = clearing.head().0;
    let last = reader.emitted_range().map_err(|error| error.to_string())?;
    if last.is_none_or(|(_, last)| height > last) && height > Height(0) {
        return Err(format!("height {height} is not on disk yet"));
    }
    match reader.block(height).map_err(|error| error.to_string())? {
        Some(block) if block.root != clearing.sequence() => {
            Err(format!("height {height} has another root on disk"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
