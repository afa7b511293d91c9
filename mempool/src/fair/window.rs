//! The live orders of one cut, laid out for the question that rule `strong` asks most: which
//! orders do not have more than f lanes that put x before them?
//!
//! Rows of like *shape* (differences between lanes: where the trader is) stand together, in
//! the order of their least AOI, in tiles of 16. A tile knows the least stamp of each lane.
//! If x is before that in more than f lanes, it is so for all rows of the tile, and no row is
//! looked at. Eight tiles in a row are asked together first in the same way. Inside a tile the stamps of a lane are adjacent, so that the count runs over
//! several rows at a time. The shape decides about speed only: whatever the stamps are, the
//! answer is the same, and the work per question is at most one comparison per lane and row.

use fairlane_types::{CtId, Micros, PublicKey};

use super::state::{State, kth};
use super::table;

/// Rows of a tile.
const TILE: usize = 16;
/// Tiles of a block.
const BLOCK: usize = 8;
/// Shapes that are told apart; the rest are one.
const SHAPES_MAX: usize = 16;
/// Lanes of rows of one shape differ by no more than this, µs.
const SHAPE_US: u32 = 5_000;

/// [`table::ABSENT`] as a signed stamp. Signed ones compare faster.
pub(super) const ABSENT: i32 = i32::MAX;

const fn signed(stamp: u32) -> i32 {
    (stamp ^ (1 << 31)).cast_signed()
}

/// Copy of the live rows.
pub(super) struct Window<'a> {
    state: &'a State,
    n: usize,
    /// One row of n per order.
    stamps: Vec<i32>,
    /// Per tile and lane 16 stamps; those beyond the last row are the least there is.
    columns: Vec<i32>,
    tiles: Vec<Tile>,
    /// Per tile the least stamp of every lane.
    least: Vec<i32>,
    /// Per block of tiles the least stamp of every lane.
    block_least: Vec<i32>,
    /// Effective heads.
    heads: Vec<i32>,
    /// Least AOI: by the stamps that are there and the heads of lanes that lack it.
    low: Vec<i32>,
    /// Least stamp or head.
    first: Vec<i32>,
    /// Slot in the table.
    slots: Vec<usize>,
    /// Emitted in this cut, or leaves with one that is.
    gone: Vec<bool>,
    /// Rows that share a nonce with another one, sorted.
    twins: Vec<(PublicKey, u64, usize)>,
}

/// What is known of the rows of a tile.
#[derive(Clone, Copy)]
struct Tile {
    /// Rows that are not gone.
    here: usize,
    low: i32,
    first: i32,
}

/// A row before it has its place.
struct Draft {
    shape: usize,
    low: i32,
    slot: usize,
    first: i32,
}

/// Tells rows apart by the differences between lanes.
struct Shapes {
    known: Vec<Vec<i32>>,
}

impl Shapes {
    fn of(&mut self, stamps: &[u32], low: u32) -> usize {
        let differences = || stamps.iter().map(|t| t.wrapping_sub(low).cast_signed());
        let alike = |known: &Vec<i32>| {
            let mut pairs = known.iter().zip(differences());
            pairs.all(|(a, b)| a.abs_diff(b) <= SHAPE_US)
        };
        let place = self.known.iter().position(alike);
        place.unwrap_or_else(|| {
            if self.known.len() < SHAPES_MAX {
                self.known.push(differences().collect());
                self.known.len() - 1
            } else {
                SHAPES_MAX
            }
        })
    }
}

impl<'a> Window<'a> {
    pub fn new(state: &'a State) -> Self {
        let (n, heads) = (state.heads.len(), state.head_offsets());
        let drafts = drafts(state, &heads);
        let count = drafts.len();
        let tile_count = count.div_ceil(TILE);
        let mut window = Self {
            state,
            n,
            stamps: Vec::with_capacity(count * n),
            columns: vec![i32::MIN; tile_count * n * TILE],
            tiles: Vec::with_capacity(tile_count),
            least: vec![ABSENT; tile_count * n],
            block_least: vec![ABSENT; tile_count.div_ceil(BLOCK) * n],
            heads: heads.iter().map(|head| signed(*head)).collect(),
            low: drafts.iter().map(|row| row.low).collect(),
            first: drafts.iter().map(|row| row.first).collect(),
            slots: drafts.iter().map(|row| row.slot).collect(),
            gone: vec![false; count],
            twins: twins(state, &drafts),
        };
        for (tile, rows) in drafts.chunks(TILE).enumerate() {
            let columns = &mut window.columns[tile * n * TILE..(tile + 1) * n * TILE];
            let least = &mut window.least[tile * n..(tile + 1) * n];
            for (k, row) in rows.iter().enumerate() {
                for (lane, stamp) in state.table.stamps(row.slot).iter().enumerate() {
                    let stamp = signed(*stamp);
                    window.stamps.push(stamp);
                    columns[lane * TILE + k] = stamp;
                    least[lane] = least[lane].min(stamp);
                }
            }
            window.tiles.push(Tile {
                here: rows.len(),
                low: rows.iter().map(|row| row.low).min().unwrap_or(ABSENT),
                first: rows.iter().map(|row| row.first).min().unwrap_or(ABSENT),
            });
        }
        let tiles = window.least.chunks(BLOCK * n);
        for (block, tiles) in window.block_least.chunks_mut(n).zip(tiles) {
            for tile in tiles.chunks(n) {
                for (least, stamp) in block.iter_mut().zip(tile) {
                    *least = (*least).min(*stamp);
                }
            }
        }
        window
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Slots of the table in the order of the rows.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    pub fn row(&self, at: usize) -> &[i32] {
        &self.stamps[at * self.n..(at + 1) * self.n]
    }

    pub fn key(&self, at: usize) -> Option<Micros> {
        self.state.table.rows()[self.slots[at]].key
    }

    pub fn ct_id(&self, at: usize) -> CtId {
        self.state.table.rows()[self.slots[at]].ct_id
    }

    pub fn nonce(&self, at: usize) -> (PublicKey, u64) {
        let label = &self.state.table.rows()[self.slots[at]].label;
        (label.sender, label.nonce)
    }

    pub fn is_gone(&self, at: usize) -> bool {
        self.gone[at]
    }

    /// Takes a row out, and those that share its nonce.
    pub fn leave(&mut self, at: usize) {
        self.take(at);
        if self.twins.is_empty() {
            return;
        }
        let (sender, nonce) = self.nonce(at);
        let from = self
            .twins
            .partition_point(|twin| (twin.0, twin.1) < (sender, nonce));
        let mut next = from;
        while let Some(&(s, m, twin)) = self.twins.get(next)
            && (s, m) == (sender, nonce)
        {
            self.take(twin);
            next += 1;
        }
    }

    fn take(&mut self, at: usize) {
        if !std::mem::replace(&mut self.gone[at], true) {
            self.tiles[at / TILE].here -= 1;
        }
    }

    /// AOI of x, and up to where its window reaches: the (2f+1)-th smallest stamp.
    pub fn reach(&self, x: usize, scratch: &mut Vec<i32>) -> (i32, i32) {
        scratch.clear();
        scratch.extend_from_slice(self.row(x));
        let high = kth(scratch, 2 * self.state.f);
        // For most rows the AOI is the least one that was found already.
        let (low, f) = (self.low[x], self.state.f);
        let aoi = if is_kth(self.row(x), f, low) {
            low
        } else {
            kth(&mut scratch[..=2 * f], f)
        };
        (aoi, high)
    }

    /// Whether a quorum can have had y before `aoi`.
    pub fn everywhere(&self, y: usize, aoi: i32) -> bool {
        let row = self.row(y).iter().zip(&self.heads);
        let earlier = row.fold(0u32, |sum, (t, head)| {
            let known = if *t == ABSENT { *head } else { *t };
            sum.wrapping_add(u32::from(known < aoi))
        });
        earlier as usize >= self.state.quorum
    }

    /// Collects every row that is here, within reach of x, and after x in at most f lanes.
    pub fn rivals(&self, x: usize, (aoi, high): (i32, i32), into: &mut Vec<usize>) {
        let (row, n) = (self.row(x), self.n);
        let near = |at: usize| {
            let tile = &self.tiles[at];
            tile.here > 0 && tile.low <= high && tile.first <= aoi
        };
        for (block, least) in self.block_least.chunks(n).enumerate() {
            let tiles = block * BLOCK..self.tiles.len().min((block + 1) * BLOCK);
            if !tiles.clone().any(near) || self.all_later(row, least) {
                continue;
            }
            for at in tiles.filter(|at| near(*at)) {
                if !self.all_later(row, &self.least[at * n..(at + 1) * n]) {
                    self.rivals_of_tile(at, x, (aoi, high), into);
                }
            }
        }
    }

    /// Whether more than f lanes have x before all rows of which these are the least stamps.
    fn all_later(&self, x: &[i32], least: &[i32]) -> bool {
        let later = x.iter().zip(least);
        let later = later.fold(0u32, |sum, (t, s)| sum.wrapping_add(u32::from(t < s)));
        later as usize > self.state.f
    }

    fn rivals_of_tile(
        &self,
        tile: usize,
        x: usize,
        (aoi, high): (i32, i32),
        into: &mut Vec<usize>,
    ) {
        let columns = &self.columns[tile * self.n * TILE..(tile + 1) * self.n * TILE];
        let counts = later_rows(self.row(x), columns);
        for (y, count) in (tile * TILE..self.len()).zip(counts) {
            let near = self.low[y] <= high && self.first[y] <= aoi;
            if count as usize <= self.state.f && near && y != x && !self.gone[y] {
                into.push(y);
            }
        }
    }
}

/// Whether `guess` is the k-th smallest, counted from 0: counting is cheaper than finding.
fn is_kth<T: Ord + Copy>(values: &[T], k: usize, guess: T) -> bool {
    let (mut below, mut equal) = (0u32, 0u32);
    for value in values {
        below = below.wrapping_add(u32::from(*value < guess));
        equal = equal.wrapping_add(u32::from(*value == guess));
    }
    below as usize <= k && k < (below + equal) as usize
}

/// For each row of a tile the number of lanes that have it after x.
fn later_rows(x: &[i32], columns: &[i32]) -> [u32; TILE] {
    let mut counts = [0u32; TILE];
    let (columns, _) = columns.as_chunks::<TILE>();
    for (t, column) in x.iter().zip(columns) {
        for (count, s) in counts.iter_mut().zip(column) {
            *count = count.wrapping_add(u32::from(t < s));
        }
    }
    counts
}

/// All live rows in the order of the window.
fn drafts(state: &State, heads: &[u32]) -> Vec<Draft> {
    let mut shapes = Shapes { known: Vec::new() };
    let mut known = Vec::with_capacity(heads.len());
    let mut sorted = Vec::with_capacity(heads.len());
    let mut rows: Vec<Draft> = (0..state.table.len())
        .map(|slot| {
            known.clear();
            let row = state.table.stamps(slot).iter().zip(heads);
            known.extend(row.map(|(t, head)| if *t == table::ABSENT { *head } else { *t }));
            let key = state.table.rows()[slot].key;
            let key = key.map(|key| state.table.offset(key.0));
            let low = key.filter(|key| is_kth(&known, state.f, *key));
            let low = low.unwrap_or_else(|| {
                sorted.clone_from(&known);
                kth(&mut sorted, state.f)
            });
            Draft {
                shape: shapes.of(&known, low),
                low: signed(low),
                slot,
                first: signed(known.iter().copied().min().unwrap_or(0)),
            }
        })
        .collect();
    rows.sort_unstable_by_key(|row| (row.shape, row.low, row.slot));
    rows
}

/// Rows whose nonce is not theirs alone.
fn twins(state: &State, rows: &[Draft]) -> Vec<(PublicKey, u64, usize)> {
    let label = |slot: usize| &state.table.rows()[slot].label;
    let mut all: Vec<_> = (rows.iter().enumerate())
        .map(|(at, row)| (label(row.slot).sender, label(row.slot).nonce, at))
        .collect();
    all.sort_unstable();
    let alike = |a: &(PublicKey, u64, usize), b: &(PublicKey, u64, usize)| (a.0, a.1) == (b.0, b.1);
    let mut twins = Vec::new();
    for group in all.chunk_by(alike).filter(|group| group.len() > 1) {
        twins.extend_from_slice(group);
    }
    twins
}
