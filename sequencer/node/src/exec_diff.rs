//! Two members' clearing houses, held against each other from their folders: both
//! sequences are applied again, and the first block, receipt or event that differs is
//! named. Each snapshot is held against the state that its own folder gives.

use fairlane_execution::params::ExecutionGenesis;
use fairlane_execution::{Clearing, Event, Executed, Execution, Receipt};
use fairlane_types::{Digest, Height, Root, SequencedBlock};

use crate::executor::{digest_of, read_genesis, read_snapshot, snapshot_path};
use crate::home::Home;
use crate::store::StoreReader;

/// Blocks and bytes read at once.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: usize = 16 << 20;

/// The first thing that differs. Of lists of different lengths the shorter one has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another block: the sequences differ, which is not execution's doing.
    Block(Height, [Root; 2]),
    /// Another receipt of the same item.
    Receipt(Height, [Option<Receipt>; 2]),
    /// Another event.
    Event(Height, [Option<Event>; 2]),
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Last height compared.
    pub height: Height,
    /// Whether both have the same `execution.toml`.
    pub genesis_same: bool,
    /// First height with another state root; 0 if already the first state differs.
    pub state: Option<Height>,
    /// The first block, receipt or event that differs.
    pub first: Option<Difference>,
    /// Whether each snapshot has the state of its height; none if there is no snapshot, or
    /// none of a height compared.
    pub snapshots: [Option<bool>; 2],
}

impl Compared {
    /// Whether nothing differs.
    #[must_use]
    pub fn same(&self) -> bool {
        self.genesis_same
            && self.state.is_none()
            && self.first.is_none()
            && !self.snapshots.contains(&Some(false))
    }
}

/// One folder being read.
struct Side {
    reader: StoreReader,
    clearing: Clearing,
    genesis: Digest,
    /// Height and state root of its snapshot.
    snapshot: Option<(Height, Digest)>,
    fits: Option<bool>,
}

impl Side {
    fn open(home: &Home, reader: StoreReader) -> Result<Self, String> {
        let path = crate::executor::genesis_path(home);
        let genesis: ExecutionGenesis = read_genesis(&path)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{} is missing: it does not execute", path.display()))?;
        let start = || Clearing::new(&genesis, Root::default());
        let digest = digest_of(&genesis);
        let mut from = start().map_err(|error| error.to_string())?;
        let snapshot = match read_snapshot(&snapshot_path(home), &digest)? {
            Some(bytes) => {
                from.restore(&bytes).map_err(|error| error.to_string())?;
                Some(from.head())
            }
            None => None,
        };
        let mut side = Self {
            reader,
            clearing: start().map_err(|error| error.to_string())?,
            genesis: digest,
            snapshot,
            fits: None,
        };
        side.look();
        Ok(side)
    }

    /// Holds the snapshot against the state if it is of this height.
    fn look(&mut self) {
        let (height, root) = self.clearing.head();
        match self.snapshot {
            Some((at, want)) if at == height => self.fits = Some(root == want),
            _ => {}
        }
    }

    fn blocks(&self, from: Height) -> Result<Vec<SequencedBlock>, String> {
        let read = self.reader.blocks(from, BLOCKS_PER_TURN, BYTES_PER_TURN);
        read.map_err(|error| error.to_string())
    }

    fn apply(&mut self, block: &SequencedBlock) -> Result<std::sync::Arc<Executed>, String> {
        let done = self.clearing.apply(block).map_err(|e| e.to_string())?;
        self.look();
        Ok(done)
    }
}

/// Compares two folders as far as both have the sequence, which must not be pruned.
///
/// # Errors
/// What cannot be read or applied.
pub fn diff(a: (&Home, StoreReader), b: (&Home, StoreReader)) -> Result<Compared, String> {
    let (mut a, mut b) = (Side::open(a.0, a.1)?, Side::open(b.0, b.1)?);
    let mut compared = Compared {
        height: Height(0),
        genesis_same: a.genesis == b.genesis,
        state: (a.clearing.head().1 != b.clearing.head().1).then_some(Height(0)),
        first: None,
        snapshots: [None; 2],
    };
    'all: loop {
        let from = compared.height.next();
        let (ours, theirs) = (a.blocks(from)?, b.blocks(from)?);
        if ours.is_empty() || theirs.is_empty() {
            break;
        }
        for (one, other) in ours.iter().zip(&theirs) {
            if one.root != other.root {
                let roots = [one.root, other.root];
                compared.first = Some(Difference::Block(one.height, roots));
                break 'all;
            }
            let (one, other) = (a.apply(one)?, b.apply(other)?);
            compared.height = one.height;
            if one.state_root != other.state_root && compared.state.is_none() {
                compared.state = Some(one.height);
            }
            compared.first = first_of(&one, &other);
            if compared.first.is_some() {
                break 'all;
            }
        }
    }
    compared.snapshots = [a.fits, b.fits];
    Ok(compared)
}

/// Where two results of a height part.
fn first_of(a: &Executed, b: &Executed) -> Option<Difference> {
    let height = a.height;
    if a.receipts_root == b.receipts_root {
        return None;
    }
    let receipts = 0..a.receipts.len().max(b.receipts.len());
    let pair = |n: usize| [a.receipts.get(n).cloned(), b.receipts.get(n).cloned()];
    if let Some(pair) = receipts.map(pair).find(|pair| pair[0] != pair[1]) {
        return Some(Difference::Receipt(height, pair));
    }
    let events = 0..a.events.len().max(b.events.len());
    let pair = |n: usize| [a.events.get(n).cloned(), b.events.get(n).cloned()];
    let pair = events.map(pair).find(|pair| pair[0] != pair[1]);
    pair.map(|pair| Difference::Event(height, pair))
}
