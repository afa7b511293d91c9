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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlane_execution::params::ExecutionGenesis;
use fairlane_execution::{AccountProof, Clearing, Executed, Execution, SNAPSHOT_BYTES_MAX};
use fairlane_types::{Digest, Height, PublicKey, Root};
use tokio::sync::watch;

use crate::home::{Home, HomeError, write_new};
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

/// Writes it; never over another.
///
/// # Errors
/// [`HomeError`].
pub fn write_genesis(home: &Home, genesis: &ExecutionGenesis) -> Result<(), HomeError> {
    let path = genesis_path(home);
    let text = toml::to_string(genesis).map_err(|error| HomeError::content(&path, error))?;
    write_new(&path, 0o644, text.as_bytes())
}

fn read_genesis(path: &Path) -> Result<Option<ExecutionGenesis>, HomeError> {
    match fs::metadata(path) {
        Ok(found) if found.len() <= FILE_BYTES_MAX => {}
        Ok(_) => return Err(HomeError::content(path, "the file is too large")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::io(path, &error)),
    }
    let text = fs::read_to_string(path).map_err(|error| HomeError::io(path, &error))?;
    let genesis: ExecutionGenesis =
        toml::from_str(&text).map_err(|error| HomeError::content(path, error))?;
    let sound = genesis.validate();
    sound.map_err(|error| HomeError::content(path, error))?;
    Ok(Some(genesis))
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
        let snapshot = home.root().join("execution.snapshot");
        let digest = Digest(*blake3::hash(&fairlane_types::encode(&genesis)).as_bytes());
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

    /// An account at the head, with its proof.
    #[must_use]
    pub fn prove(&self, key: &PublicKey) -> Option<AccountProof> {
        let clearing = self.clearing();
        clearing.prove(key, clearing.head().0).ok()
    }

    /// The result of a height, of the last [`RESULTS_KEPT`](fairlane_execution::RESULTS_KEPT)
    /// that this process applied.
    #[must_use]
    pub fn executed(&self, height: Height) -> Option<Arc<Executed>> {
        self.clearing().executed(height)
    }

    /// Applies blocks that are on disk, some at a time; says whether there were any.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn advance(&self) -> Result<bool, String> {
        let head = self.clearing().head().0;
        let blocks = self
            .shared
            .reader
            .blocks(head.next(), BLOCKS_PER_TURN, BYTES_PER_TURN)
            .map_err(|error| error.to_string())?;
        for block in &blocks {
            let mut clearing = self.clearing();
            let applied = clearing.apply(block).map_err(|error| error.to_string())?;
            clearing.finalize(applied.height);
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
        Ok(!blocks.is_empty())
    }

    /// Writes a snapshot, whole or not at all.
    ///
    /// # Errors
    /// What the system said.
    pub fn save(&self) -> Result<(), String> {
        let snapshot = self.clearing().snapshot();
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
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Follows the sequence until `stopping` is true, then saves.
    pub async fn run(
        self,
        mut heads: watch::Receiver<Height>,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            // Heads told from here on wake the wait below, even if they come before it.
            heads.borrow_and_update();
            let turn = self.clone();
            let advanced = tokio::task::spawn_blocking(move || turn.advance()).await;
            let advanced = advanced.unwrap_or_else(|error| Err(error.to_string()));
            match advanced {
                Ok(true) if !*stopping.borrow() => continue,
                Ok(_) => {}
                Err(reason) => {
                    tracing::error!(%reason, "execution stops; the sequence goes on");
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
fn read_snapshot(path: &Path, genesis: &Digest) -> Result<Option<Vec<u8>>, String> {
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use fairlane_execution::Tx;
    use fairlane_execution::params::{Deleveraging, MarketParams, MatchingRule};
    use fairlane_replica::{Store, Table, Write, height_key};
    use fairlane_types::{
        ChainId, Item, Label, Micros, OrderAction, Outcome, Position, SequencedBlock, Side,
        TimeInForce, encode,
    };

    use super::*;
    use crate::store::{RocksStore, StoreOptions};

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn genesis() -> ExecutionGenesis {
        ExecutionGenesis {
            markets: vec![MarketParams {
                mark_ticks: 1_000,
                rule: MatchingRule::PriceTime,
                initial_ppm: 100_000,
                maintenance_ppm: 50_000,
                step_ppm: 10_000,
                band_ppm: 200_000,
                taker_fee_ppm: 500,
                maker_fee_ppm: 100,
                tiers: Vec::new(),
                liquidation_fee_ppm: 500,
                liquidation_block_ppm: 1_000_000,
                funding_heights: 0,
                funding_cap_ppm: 0,
                breaker: None,
            }],
            accounts: (0..4).map(|n| (key(n), 1_000_000)).collect(),
            oracles: Vec::new(),
            bridge: None,
            insurance: 7,
            deleveraging: Deleveraging::ProRata,
            withdraw_hour_ppm: 1_000_000,
            withdraw_day_ppm: 1_000_000,
        }
    }

    /// A chain in which everybody trades with everybody.
    fn chain(blocks: u64) -> Vec<SequencedBlock> {
        let (mut parent_root, mut position) = (Root::default(), 0);
        let block = |height: u64| {
            let item = |n: u64| {
                let nonce = height * 5 + n;
                let order = OrderAction::Place {
                    market: 0,
                    side: if nonce.is_multiple_of(2) {
                        Side::Buy
                    } else {
                        Side::Sell
                    },
                    price_ticks: 995 + nonce * 7 % 11,
                    lots: 1 + nonce % 5,
                    tif: TimeInForce::Gtc,
                    reduce_only: false,
                    cloid: nonce,
                };
                Item {
                    position: Position(position + n),
                    label: Label {
                        suite: 1,
                        chain: ChainId(1),
                        key_id: Default::default(),
                        sender: key((nonce % 4) as u8),
                        nonce,
                        expiry: Default::default(),
                        fee: 0,
                        lane: 255,
                        reserved: [0; 19],
                    },
                    ct_id: Default::default(),
                    stamp: Micros(0),
                    outcome: Outcome::Opened {
                        payload: Tx::Order(order).to_bytes(),
                        opening: [0; 32],
                    },
                }
            };
            let items: Vec<Item> = (0..5).map(item).collect();
            let block = SequencedBlock {
                chain: ChainId(1),
                epoch: Default::default(),
                height: Height(height),
                block: Default::default(),
                time: fairlane_types::Millis(height * 100),
                parent_root,
                first_position: Position(position),
                items,
                state: None,
                root: Root::default(),
            }
            .sealed();
            parent_root = block.root;
            position += 5;
            block
        };
        (1..=blocks).map(block).collect()
    }

    struct Rig {
        home: Home,
        store: RocksStore,
        _folder: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create(folder.path().join("member")).unwrap();
        let mut options = StoreOptions::new(folder.path().join("db"));
        options.reserve_bytes = 0;
        let store = RocksStore::open(&options).unwrap();
        write_genesis(&home, &genesis()).unwrap();
        Rig {
            home,
            store,
            _folder: folder,
        }
    }

    impl Rig {
        fn emit(&mut self, block: &SequencedBlock) {
            let write = Write::put(Table::Sequence, height_key(block.height), encode(block));
            self.store.commit(&[write], false).unwrap();
        }

        fn executor(&self) -> Executor {
            Executor::open(&self.home, self.store.reader())
                .unwrap()
                .unwrap()
        }
    }

    fn drain(executor: &Executor) -> Digest {
        while executor.advance().unwrap() {}
        executor.status().state_root
    }

    #[test]
    fn a_kill_at_any_height_goes_on_to_the_same_root() {
        let (blocks, mut rig) = (chain(40), rig());
        let mut straight = Clearing::new(&genesis(), Root::default()).unwrap();
        let mut executor = rig.executor();
        for (n, block) in blocks.iter().enumerate() {
            rig.emit(block);
            let want = straight.apply(block).unwrap();
            assert_eq!(drain(&executor), want.state_root);
            assert_eq!(executor.executed(block.height).unwrap(), want);
            if n % 3 == 0 {
                executor.save().unwrap();
            }
            if n % 5 == 0 {
                // Half a snapshot that was being written.
                let new = rig.home.root().join("execution.new");
                fs::write(new, b"half").unwrap();
            }
            // Killed: the next one starts from the last snapshot and the disk.
            executor = rig.executor();
            assert!(executor.status().height.0 <= n as u64 + 1);
            assert!(n < 3 || executor.status().height > Height(0));
            assert_eq!(drain(&executor), want.state_root);
        }
        assert!(executor.holdings().fills > 20 && executor.holdings().positions > 1);
        let proof = executor.prove(&key(2)).unwrap();
        assert_eq!(proof.state_root(), Some(executor.status().state_root));
    }

    #[test]
    fn a_snapshot_that_is_damaged_or_of_another_chain_is_not_used() {
        let (blocks, mut rig) = (chain(6), rig());
        for block in &blocks {
            rig.emit(block);
        }
        let executor = rig.executor();
        let want = drain(&executor);
        executor.save().unwrap();
        let path = rig.home.root().join("execution.snapshot");
        let good = fs::read(&path).unwrap();
        assert_eq!(rig.executor().status().height, Height(6));
        for at in [3, 40, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let executor = rig.executor();
            assert_eq!(executor.status().height, Height(0));
            assert_eq!(drain(&executor), want);
        }
        fs::write(&path, &good).unwrap();
        // The same height with another root on disk.
        let mut other = blocks[5].clone();
        other.items.pop();
        rig.emit(&other.sealed());
        assert_eq!(rig.executor().status().height, Height(0));
    }

    #[test]
    fn a_hole_or_a_fork_stops_it_with_a_reason() {
        let (blocks, mut rig) = (chain(4), rig());
        rig.emit(&blocks[0]);
        rig.emit(&blocks[2]);
        let executor = rig.executor();
        let reason = executor.advance().unwrap_err();
        assert!(reason.contains("does not follow"), "{reason}");
        assert_eq!(executor.status().height, Height(1));
    }

    #[test]
    fn the_file_reads_back_and_a_bad_one_is_refused() {
        let rig = rig();
        let path = genesis_path(&rig.home);
        assert_eq!(read_genesis(&path).unwrap(), Some(genesis()));
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("mark_ticks = 1000", "mark_ticks = 0"),
            ("insurance = 7", "insurance = 7\nunknown = 1"),
            ("step_ppm = 10000", "step_ppm = 90000"),
        ] {
            let bad = text.replace(from, to);
            assert_ne!(bad, text);
            fs::write(&path, bad).unwrap();
            assert!(Executor::open(&rig.home, rig.store.reader()).is_err());
        }
        fs::remove_file(&path).unwrap();
        assert!(
            Executor::open(&rig.home, rig.store.reader())
                .unwrap()
                .is_none()
        );
    }
}
