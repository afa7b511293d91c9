//! What must come out with a root, for rule `strong`: everything that strongly precedes it,
//! what strongly precedes that, and so on, as far as the root cut lets it go. The rules are in
//! `strong`; here they are asked of sixteen rows at a time where one answer holds for all.

use super::before::{Before, TILE, bit, names};
use super::precedence::Relation;
use super::tiles::BLOCK;
use super::window::{Probe, Reach, Window};

/// Why a root cannot be emitted yet.
#[derive(Debug)]
pub(super) struct Blocked;

/// Roots of one key and what comes before them.
pub(super) struct Search {
    /// Rows of the window, and per tile which of its rows they are.
    members: Vec<usize>,
    inside: Vec<u16>,
    before: Before,
    /// Members that are not searched yet.
    open: Vec<usize>,
    root: Probe,
    /// Number of the root, from 1.
    search: u32,
    /// Per block the last root that asked whether it surely precedes all of it, and the answer.
    blocks: Vec<(u32, bool)>,
    /// Per tile the last root that asked which rows it surely precedes, and the answer.
    tiles: Vec<(u32, u16)>,
    /// Per tile, once it was asked, when a quorum can have had each of its rows.
    spread: Vec<Option<[u32; TILE]>>,
    scratch: Vec<u32>,
}

/// A member that is searched.
struct Asked<'a, 'b> {
    window: &'a Window<'b>,
    by: &'a Relation,
    x: &'a Probe,
    reach: Reach,
    /// It is the root, which cuts nothing of what is before itself.
    is_root: bool,
}

impl Search {
    pub fn new(window: &Window<'_>) -> Self {
        let tiles = window.tiles();
        Self {
            members: Vec::new(),
            inside: vec![0; tiles],
            before: Before::new(window.len()),
            open: Vec::new(),
            root: Probe::default(),
            search: 0,
            blocks: vec![(0, false); tiles.div_ceil(BLOCK)],
            tiles: vec![(0, 0); tiles],
            spread: vec![None; tiles],
            scratch: Vec::new(),
        }
    }

    pub fn members(&self) -> &[usize] {
        &self.members
    }

    /// What must come before what among the members.
    pub const fn before(&self) -> &Before {
        &self.before
    }

    pub fn clear(&mut self) {
        self.before.clear(&self.members);
        for at in self.members.drain(..) {
            self.inside[bit(at).0] = 0;
        }
        self.open.clear();
    }

    fn add(&mut self, tile: usize, rows: u16) {
        let new = rows & !self.inside[tile];
        self.inside[tile] |= new;
        self.members.extend(names(tile, new));
        self.open.extend(names(tile, new));
    }

    /// Adds a root and all that must come before it.
    pub fn close(
        &mut self,
        window: &Window<'_>,
        by: &Relation,
        root: usize,
    ) -> Result<(), Blocked> {
        self.search += 1;
        window.turn(&mut self.root, by, root);
        let mut probe = Probe::default();
        let (tile, bit) = bit(root);
        self.add(tile, bit);
        while let Some(x) = self.open.pop() {
            self.before.begin(x);
            window.turn(&mut probe, by, x);
            let asked = Asked {
                window,
                by,
                x: &probe,
                reach: window.reach(x, &mut self.scratch),
                is_root: x == root,
            };
            for block in window.blocks_near(asked.reach) {
                if !self.may_skip(&asked, block) {
                    for tile in window.tiles_of(block) {
                        self.ask(&asked, tile)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether nothing of a block can be before x, or all that can may wait.
    fn may_skip(&mut self, asked: &Asked<'_, '_>, block: usize) -> bool {
        let Asked { window, by, .. } = *asked;
        let waits = !asked.is_root && !window.spread_in_block(block, asked.reach);
        if waits && self.blocks[block] == (self.search, true) {
            return true;
        }
        if window.before_block(asked.x, block) > by.f {
            return true;
        }
        if waits && self.blocks[block].0 != self.search {
            // A quorum says so, by every meaning of the word.
            let all = window.before_block(&self.root, block) >= by.quorum;
            self.blocks[block] = (self.search, all);
        }
        waits && self.blocks[block].1
    }

    /// Adds what of a tile must come before x.
    fn ask(&mut self, asked: &Asked<'_, '_>, tile: usize) -> Result<(), Blocked> {
        let Asked { window, by, x, .. } = *asked;
        let mut rows = window.near(tile, asked.reach);
        if bit(x.row()).0 == tile {
            rows &= !bit(x.row()).1;
        }
        let known = asked.is_root || self.tiles[tile].0 == self.search;
        if known {
            rows = self.uncut(asked, tile, rows);
        }
        if rows == 0 || window.before_tile(x, tile) > by.f {
            return Ok(());
        }
        if !known {
            let cut = window.surely_after(by, &self.root, tile);
            self.tiles[tile] = (self.search, cut);
            rows = self.uncut(asked, tile, rows);
            if rows == 0 {
                return Ok(());
            }
        }
        let rivals = window.rivals(by, x, tile, rows);
        if rivals.possible & window.open(tile) != 0 {
            return Err(Blocked);
        }
        if rivals.earlier != 0 {
            self.before.push(x.row(), tile, rivals.earlier);
            self.add(tile, rivals.earlier);
        }
        Ok(())
    }

    /// Which of some rows the root cut leaves: those that the root does not surely precede, and
    /// those that were everywhere before the AOI of x.
    fn uncut(&mut self, asked: &Asked<'_, '_>, tile: usize, rows: u16) -> u16 {
        if asked.is_root {
            return rows;
        }
        let cut = rows & self.tiles[tile].1;
        if cut == 0 || !asked.window.spread_in_tile(tile, asked.reach) {
            return rows & !cut;
        }
        let scratch = &mut self.scratch;
        let spread = self.spread[tile].get_or_insert_with(|| {
            let mut spread = [u32::MAX; TILE];
            for (y, spread) in (tile * TILE..asked.window.len()).zip(&mut spread) {
                *spread = asked.window.spread(y, scratch);
            }
            spread
        });
        let mut everywhere = 0;
        for (row, spread) in spread.iter().enumerate() {
            everywhere |= u16::from(*spread < asked.reach.aoi) << row;
        }
        rows & (!cut | everywhere)
    }
}
