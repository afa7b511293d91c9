//! The live orders of one cut, laid out for the question that rule `strong` asks most: what
//! comes before x, and what may?
//!
//! Rows of like *shape* (differences between lanes: where the trader is) stand together, in
//! the order of their least AOI, in tiles of 16. A tile knows the least and the greatest stamp
//! of each lane. If x is before the least in more than f lanes, no row of the tile can precede
//! it; if x is after the greatest in a quorum of lanes, all of them do, and no row is looked
//! at. Eight tiles in a row are asked together first. Otherwise lanes are counted for all rows
//! of the tile at once, by steps of a coarser clock (see `tiles`), and what these leave open is
//! counted stamp by stamp. Rows of no shape that others have are *mixed*: nothing holds for a tile
//! of them, and a look over eight tiles takes out what is surely later. Shapes, steps and looks
//! decide about speed only: whatever the stamps are, the answer is the same.

use fairlane_types::{CtId, Micros, PublicKey};

use super::before::{TILE, bit, names};
use super::precedence::{Precedence, Relation};
use super::state::{State, kth};
use super::table::ABSENT;
use super::tiles::{self, BLOCK, LOOK_LANES, Look, ROWS, Scale, Tiles};

/// Shapes that are told apart; the rest are one.
const SHAPES_MAX: usize = 16;
/// Lanes of rows of one shape differ by no more than this, µs.
const SHAPE_US: u32 = 5_000;
/// The clock of the tiles is as fine as all but one row in so many allow.
const OLD_ROWS: usize = 16;

/// The live rows.
pub(super) struct Window<'a> {
    state: &'a State,
    steps: Tiles,
    tiles: Vec<Tile>,
    blocks: Vec<Block>,
    /// Effective heads.
    heads: Vec<u32>,
    /// Least AOI: by the stamps that are there and the heads of lanes that lack it.
    low: Vec<u32>,
    /// Slot in the table.
    slots: Vec<usize>,
    /// Emitted in this cut, or leaves with one that is.
    gone: Vec<bool>,
    /// Rows that share a nonce with another one, sorted.
    twins: Vec<(PublicKey, u64, usize)>,
    /// Some blocks are there to be looked at.
    looks: bool,
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
    low: u32,
    /// Least stamp or head.
    first: u32,
    /// Step at which a quorum can have had it.
    spread: i16,
}

impl Near {
    fn least(all: impl Iterator<Item = Self>) -> Self {
        let none = Self {
            low: ABSENT,
            first: ABSENT,
            spread: tiles::NEVER,
        };
        all.fold(none, |a, b| Self {
            low: a.low.min(b.low),
            first: a.first.min(b.first),
            spread: a.spread.min(b.spread),
        })
    }

    /// Whether something here can have been before x in all but f lanes.
    const fn reaches(&self, reach: Reach) -> bool {
        self.low <= reach.high && self.first <= reach.aoi
    }
}

/// Up to where x can have something before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub aoi: u32,
    /// Step of the AOI.
    step: i16,
    /// The (2f+1)-th smallest stamp: an AOI beyond it is out of reach.
    high: u32,
}

/// A row that questions are asked about.
#[derive(Debug, Default)]
pub(super) struct Probe {
    row: usize,
    /// Its steps. If lanes that lack two rows count for either, as they do under dissent, x is
    /// later than absent where it is absent.
    steps: Vec<i16>,
    look: Look,
}

impl Probe {
    pub const fn row(&self) -> usize {
        self.row
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
    low: u32,
    slot: usize,
    first: u32,
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
        let heads = state.head_offsets();
        let drafts = drafts(state, &heads);
        let (n, count) = (heads.len(), drafts.len());
        let mut window = Self {
            state,
            steps: Tiles::new(n, scale(&drafts, &heads), count),
            tiles: Vec::with_capacity(count.div_ceil(TILE)),
            blocks: Vec::with_capacity(count.div_ceil(TILE * BLOCK)),
            heads,
            low: drafts.iter().map(|row| row.low).collect(),
            slots: drafts.iter().map(|row| row.slot).collect(),
            gone: vec![false; count],
            twins: twins(state, &drafts),
            looks: false,
        };
        let heads = window.heads.iter();
        let heads: Vec<i16> = heads.map(|head| window.steps.scale.step(*head)).collect();
        for rows in drafts.chunks(TILE) {
            window.lay(rows, &heads);
        }
        for tiles in window.tiles.chunks(BLOCK) {
            window.blocks.push(Block {
                here: tiles.len(),
                near: Near::least(tiles.iter().map(|tile| tile.near)),
            });
        }
        // Mixed rows are the last ones.
        let mixed = drafts.partition_point(|row| row.shape < SHAPES_MAX);
        window.looks = mixed < count && n >= LOOK_LANES;
        if window.looks {
            (mixed / ROWS..window.blocks.len()).for_each(|block| window.steps.ready(block));
        }
        window
    }

    /// The next tile.
    fn lay(&mut self, rows: &[Draft], heads: &[i16]) {
        let (table, tile) = (&self.state.table, self.tiles.len());
        self.steps
            .push(rows.iter().map(|row| table.stamps(row.slot)));
        let open = rows.iter().enumerate().fold(0, |open, (k, row)| {
            open | u16::from(table.rows()[row.slot].key.is_none()) << k
        });
        // A lane that lacks a row can still add it, after its head.
        let known = self.steps.least(tile).iter().zip(heads);
        let mut known: Vec<i16> = known.map(|(t, head)| *t.min(head)).collect();
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

    fn row(&self, at: usize) -> &[u32] {
        self.state.table.stamps(self.slots[at])
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

    /// What of x is asked first.
    pub fn reach(&self, x: usize, scratch: &mut Vec<u32>) -> Reach {
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
        Reach {
            aoi,
            step: self.steps.scale.step(aoi),
            high,
        }
    }

    /// When a quorum can have had y: at the q-th smallest stamp or head.
    pub fn spread(&self, y: usize, scratch: &mut Vec<u32>) -> u32 {
        scratch.clear();
        let row = self.row(y).iter().zip(&self.heads);
        scratch.extend(row.map(|(t, head)| if *t == ABSENT { *head } else { *t }));
        kth(scratch, self.state.quorum - 1)
    }

    /// Turns to another row.
    pub fn turn(&self, probe: &mut Probe, by: &Relation, row: usize) {
        let absent = match by.precedence {
            Precedence::Dissent => tiles::NEVER,
            Precedence::Strict | Precedence::Hybrid => tiles::ABSENT,
        };
        probe.row = row;
        let steps = &mut probe.steps;
        self.steps.scale.fill(steps, self.row(row), absent);
    }

    /// Readies a row for [`Window::look`].
    pub fn ready(&self, probe: &mut Probe, reach: Reach) {
        if self.looks {
            let high = self.steps.scale.step(reach.high);
            probe.look.turn(&probe.steps, [reach.step, high]);
        }
    }

    /// Rows of the tiles of a block that can hold something before x.
    pub fn look(&self, by: &Relation, x: &Probe, block: usize, reach: Reach) -> [u16; BLOCK] {
        let mut rows = [0; BLOCK];
        for (rows, tile) in rows.iter_mut().zip(self.tiles_of(block)) {
            *rows = self.near(tile, reach);
        }
        if self.looks {
            rows = self.steps.look(&x.look, block, rows, by.f);
        }
        rows
    }

    /// Number of tiles.
    pub const fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// Blocks of tiles that can hold something before x.
    pub fn blocks_near(&self, reach: Reach) -> impl Iterator<Item = usize> {
        let blocks = self.blocks.iter().enumerate();
        blocks.filter_map(move |(at, block)| {
            (block.here > 0 && block.near.reaches(reach)).then_some(at)
        })
    }

    fn tiles_of(&self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..self.tiles.len().min((block + 1) * BLOCK)
    }

    /// Rows of a tile that are here, if they can hold something before x.
    fn near(&self, tile: usize, reach: Reach) -> u16 {
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

    /// Whether a quorum may have had some row of the block, or of the tile, before the AOI.
    pub fn spread_in_block(&self, block: usize, reach: Reach) -> bool {
        self.blocks[block].near.spread <= reach.step
    }

    pub fn spread_in_tile(&self, tile: usize, reach: Reach) -> bool {
        self.tiles[tile].near.spread <= reach.step
    }

    /// In how many lanes x is before all rows of the block, or of the tile, at the least.
    pub fn before_block(&self, x: &Probe, block: usize) -> usize {
        self.steps.before_block(&x.steps, block)
    }

    pub fn before_tile(&self, x: &Probe, tile: usize) -> usize {
        self.steps.before_tile(&x.steps, tile)
    }

    /// What the rows in a mask are to x.
    pub fn rivals(&self, by: &Relation, x: &Probe, tile: usize, mask: u16) -> Rivals {
        // If a quorum has the row before x, it precedes x, by every meaning of the word. Under
        // dissent lanes that lack both count too.
        if self.steps.after_tile(&x.steps, tile) >= by.quorum {
            return Rivals {
                possible: mask,
                earlier: mask,
            };
        }
        let near = mask & !self.steps.before(&x.steps, tile, mask, by.f);
        if near == 0 {
            return Rivals::default();
        }
        let sure = self.steps.after(&x.steps, tile, near, by.quorum - 1);
        let mut rivals = Rivals {
            possible: sure,
            earlier: sure,
        };
        for y in names(tile, near & !sure) {
            let (_, bit) = bit(y);
            if let Some(earlier) = by.precedes(self.row(y), self.row(x.row)) {
                rivals.possible |= bit;
                rivals.earlier |= if earlier { bit } else { 0 };
            }
        }
        rivals
    }

    /// Rows of a tile that r strongly precedes whatever is still to come.
    pub fn surely_after(&self, by: &Relation, r: &Probe, tile: usize) -> u16 {
        let here = self.tiles[tile].here;
        if self.before_tile(r, tile) >= by.quorum {
            return here;
        }
        let mut sure = self.steps.before(&r.steps, tile, here, by.quorum - 1);
        // More than f lanes that have the row first, or can still have, are too many.
        let open = here & !sure;
        let open = open & !self.steps.after(&r.steps, tile, open, by.f);
        for y in names(tile, open) {
            if by.surely_precedes(self.row(r.row), self.row(y)) {
                sure |= bit(y).1;
            }
        }
        sure
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

/// The clock of the tiles.
fn scale(rows: &[Draft], heads: &[u32]) -> Scale {
    let mut first: Vec<u32> = rows.iter().map(|row| row.first).collect();
    let old = first.len() / OLD_ROWS;
    let from = if first.is_empty() {
        0
    } else {
        kth(&mut first, old)
    };
    Scale::new(from, heads.iter().copied().max().unwrap_or(0))
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
            known.extend(row.map(|(t, head)| if *t == ABSENT { *head } else { *t }));
            let key = state.table.rows()[slot].key;
            let key = key.map(|key| state.table.offset(key.0));
            let low = key.filter(|key| is_kth(&known, state.f, *key));
            let low = low.unwrap_or_else(|| {
                sorted.clone_from(&known);
                kth(&mut sorted, state.f)
            });
            Draft {
                shape: shapes.of(&known, low),
                low,
                slot,
                first: known.iter().copied().min().unwrap_or(0),
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
