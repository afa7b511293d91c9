//! The live orders of one cut, laid out for the question that rule `strong` asks most: what
//! comes before x, and what may?
//!
//! Rows of like *shape* (differences between lanes: where the trader is) stand together, in
//! the order of their least AOI, in tiles of 16. A tile knows the least and the greatest stamp
//! of each lane. If x is before the least in more than f lanes, no row of the tile can precede
//! it; if x is after the greatest in a quorum of lanes, all of them do, and no row is looked
//! at. Eight tiles in a row are asked together first. Inside a tile the stamps of a lane are
//! adjacent, so that a count runs over several rows at a time. The shape decides about speed
//! only: whatever the stamps are, the answer is the same, and the work per question is at most
//! two comparisons per lane and row.

use fairlane_types::{CtId, Micros, PublicKey};

use super::before::{TILE, bit, names};
use super::precedence::Relation;
use super::state::{State, kth};
use super::table;

/// Tiles of a block.
pub(super) const BLOCK: usize = 8;
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
    blocks: Vec<Block>,
    /// Per tile the least stamp of every lane, and the greatest.
    least: Vec<i32>,
    greatest: Vec<i32>,
    /// Per block of tiles the least stamp of every lane.
    block_least: Vec<i32>,
    /// Effective heads.
    heads: Vec<i32>,
    /// Least AOI: by the stamps that are there and the heads of lanes that lack it.
    low: Vec<i32>,
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
    here: u16,
    /// Rows without a key.
    open: u16,
    near: Near,
}

/// What is known of the rows of a block.
#[derive(Clone, Copy)]
struct Block {
    /// Tiles with rows that are not gone.
    here: usize,
    near: Near,
}

/// From when on rows can matter; none of them is below.
#[derive(Clone, Copy)]
struct Near {
    /// Least AOI.
    low: i32,
    /// Least stamp or head.
    first: i32,
    /// When a quorum can have had it.
    spread: i32,
}

impl Near {
    fn least(all: impl Iterator<Item = Self>) -> Self {
        let none = Self {
            low: ABSENT,
            first: ABSENT,
            spread: ABSENT,
        };
        all.fold(none, |a, b| Self {
            low: a.low.min(b.low),
            first: a.first.min(b.first),
            spread: a.spread.min(b.spread),
        })
    }

    /// Whether something here can have been before x in all but f lanes.
    const fn reaches(&self, (aoi, high): (i32, i32)) -> bool {
        self.low <= high && self.first <= aoi
    }
}

/// What the rows of a tile are to x, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rivals {
    /// They can still come to precede it strongly.
    pub possible: u16,
    /// They do by what is known.
    pub earlier: u16,
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
            blocks: Vec::with_capacity(tile_count.div_ceil(BLOCK)),
            least: vec![ABSENT; tile_count * n],
            greatest: vec![i32::MIN; tile_count * n],
            block_least: vec![ABSENT; tile_count.div_ceil(BLOCK) * n],
            heads: heads.iter().map(|head| signed(*head)).collect(),
            low: drafts.iter().map(|row| row.low).collect(),
            slots: drafts.iter().map(|row| row.slot).collect(),
            gone: vec![false; count],
            twins: twins(state, &drafts),
        };
        for (tile, rows) in drafts.chunks(TILE).enumerate() {
            window.lay(tile, rows);
        }
        let tiles = window.least.chunks(BLOCK * n);
        for (block, tiles) in window.block_least.chunks_mut(n).zip(tiles) {
            for tile in tiles.chunks(n) {
                for (least, stamp) in block.iter_mut().zip(tile) {
                    *least = (*least).min(*stamp);
                }
            }
        }
        for tiles in window.tiles.chunks(BLOCK) {
            window.blocks.push(Block {
                here: tiles.len(),
                near: Near::least(tiles.iter().map(|tile| tile.near)),
            });
        }
        window
    }

    /// The next tile.
    fn lay(&mut self, tile: usize, rows: &[Draft]) {
        let n = self.n;
        let columns = &mut self.columns[tile * n * TILE..(tile + 1) * n * TILE];
        let least = &mut self.least[tile * n..(tile + 1) * n];
        let greatest = &mut self.greatest[tile * n..(tile + 1) * n];
        let mut open = 0;
        for (k, row) in rows.iter().enumerate() {
            for (lane, stamp) in self.state.table.stamps(row.slot).iter().enumerate() {
                let stamp = signed(*stamp);
                self.stamps.push(stamp);
                columns[lane * TILE + k] = stamp;
                least[lane] = least[lane].min(stamp);
                greatest[lane] = greatest[lane].max(stamp);
            }
            if self.state.table.rows()[row.slot].key.is_none() {
                open |= bit(k).1;
            }
        }
        // A lane that lacks a row can still add it, after its head.
        let known = least.iter().zip(&self.heads);
        let mut known: Vec<i32> = known.map(|(t, head)| *t.min(head)).collect();
        self.tiles.push(Tile {
            here: u16::MAX >> (TILE - rows.len()),
            open,
            near: Near {
                low: rows.iter().map(|row| row.low).min().unwrap_or(ABSENT),
                first: rows.iter().map(|row| row.first).min().unwrap_or(ABSENT),
                spread: kth(&mut known, self.state.quorum - 1),
            },
        });
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
            let (tile, bit) = bit(at);
            self.tiles[tile].here ^= bit;
            if self.tiles[tile].here == 0 {
                self.blocks[tile / BLOCK].here -= 1;
            }
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

    /// Number of tiles.
    pub const fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// Blocks of tiles that can hold something before x.
    pub fn blocks_near(&self, reach: (i32, i32)) -> impl Iterator<Item = usize> {
        let blocks = self.blocks.iter().enumerate();
        blocks.filter_map(move |(at, block)| {
            (block.here > 0 && block.near.reaches(reach)).then_some(at)
        })
    }

    pub fn tiles_of(&self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..self.tiles.len().min((block + 1) * BLOCK)
    }

    /// Rows of a tile that are here, if they can hold something before x.
    pub fn near(&self, tile: usize, reach: (i32, i32)) -> u16 {
        let tile = &self.tiles[tile];
        if tile.near.reaches(reach) {
            tile.here
        } else {
            0
        }
    }

    /// Rows of a tile without a key.
    pub fn open(&self, tile: usize) -> u16 {
        self.tiles[tile].open
    }

    /// Least time at which a quorum can have had a row of the block, or of the tile.
    pub fn block_spread(&self, block: usize) -> i32 {
        self.blocks[block].near.spread
    }

    pub fn spread(&self, tile: usize) -> i32 {
        self.tiles[tile].near.spread
    }

    /// Number of lanes that have x before all rows of the block, or of the tile.
    pub fn before_block(&self, x: usize, block: usize) -> usize {
        before(
            self.row(x),
            &self.block_least[block * self.n..(block + 1) * self.n],
        )
    }

    pub fn before_tile(&self, x: usize, tile: usize) -> usize {
        before(self.row(x), &self.least[tile * self.n..(tile + 1) * self.n])
    }

    fn columns(&self, tile: usize) -> &[i32] {
        &self.columns[tile * self.n * TILE..(tile + 1) * self.n * TILE]
    }

    /// What the rows in a mask are to x, which is before them all in at most f lanes.
    pub fn rivals(&self, by: &Relation, x: usize, tile: usize, mask: u16) -> Rivals {
        let row = self.row(x);
        let greatest = &self.greatest[tile * self.n..(tile + 1) * self.n];
        // A quorum says that the row precedes x, by every meaning of the word.
        if before(greatest, row) >= self.state.quorum {
            return Rivals {
                possible: mask,
                earlier: mask,
            };
        }
        let later = later_rows(row, self.columns(tile));
        let mut rivals = Rivals::default();
        let near = mask & at_most(&later, self.state.f);
        if near == 0 {
            return rivals;
        }
        let earlier = earlier_rows(row, self.columns(tile));
        let sure = near & !at_most(&earlier, by.enough() - 1);
        (rivals.possible, rivals.earlier) = (sure, sure);
        for y in names(tile, near & !sure) {
            let (_, bit) = bit(y);
            if by.possible(self.row(y), row) {
                rivals.possible |= bit;
                if by.precedes(self.row(y), row) {
                    rivals.earlier |= bit;
                }
            }
        }
        rivals
    }

    /// Rows of a tile that r strongly precedes whatever is still to come.
    pub fn surely_after(&self, by: &Relation, r: usize, tile: usize) -> u16 {
        let row = self.row(r);
        let (f, quorum) = (self.state.f, self.state.quorum);
        if self.before_tile(r, tile) >= quorum {
            return u16::MAX;
        }
        let later = later_rows(row, self.columns(tile));
        let some = !at_most(&later, f);
        if some == 0 {
            return 0;
        }
        let mut sure = some & !at_most(&later, quorum - 1);
        let earlier = earlier_rows(row, self.columns(tile));
        let open = some & !sure & at_most(&earlier, f) & self.tiles[tile].here;
        for y in names(tile, open) {
            if by.surely_precedes(row, self.row(y)) {
                sure |= bit(y).1;
            }
        }
        sure
    }
}

/// In how many lanes x is before y.
fn before(x: &[i32], y: &[i32]) -> usize {
    let pairs = x.iter().zip(y);
    pairs.fold(0u32, |sum, (t, s)| sum.wrapping_add(u32::from(t < s))) as usize
}

/// Rows that were counted no more than `most` times.
fn at_most(counts: &[u32; TILE], most: usize) -> u16 {
    let rows = counts.iter().enumerate();
    rows.fold(0, |mask, (row, count)| {
        mask | u16::from(*count as usize <= most) << row
    })
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

/// For each row of a tile the number of lanes that have it before x.
fn earlier_rows(x: &[i32], columns: &[i32]) -> [u32; TILE] {
    let mut counts = [0u32; TILE];
    let (columns, _) = columns.as_chunks::<TILE>();
    for (t, column) in x.iter().zip(columns) {
        for (count, s) in counts.iter_mut().zip(column) {
            *count = count.wrapping_add(u32::from(s < t));
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
