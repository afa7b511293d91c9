//! What must come out with a root, for rule `strong`: everything that strongly precedes it,
//! what strongly precedes that, and so on, as far as the root cut lets it go. The rules are in
//! `strong`; here they are asked of sixteen rows at a time where one answer holds for all.

use super::before::{Before, bit, names};
use super::precedence::Relation;
use super::window::{BLOCK, Window};

/// Why a root cannot be emitted yet.
pub(super) struct Blocked;

/// Roots of one key and what comes before them.
pub(super) struct Search {
    /// Rows of the window, and per tile which of its rows they are.
    members: Vec<usize>,
    inside: Vec<u16>,
    before: Before,
    /// Members that are not searched yet.
    open: Vec<usize>,
    /// Number of the root, from 1.
    root: u32,
    /// Per block the last root that asked whether it surely precedes all of it, and the answer.
    blocks: Vec<(u32, bool)>,
    /// Per tile the last root that asked, and the rows that it surely precedes.
    tiles: Vec<(u32, u16)>,
    scratch: Vec<i32>,
}

/// A member and the root for which it is searched.
struct Asked<'a, 'b> {
    window: &'a Window<'b>,
    by: &'a Relation,
    root: usize,
    x: usize,
    /// AOI of x, and up to where its window reaches.
    reach: (i32, i32),
}

impl Asked<'_, '_> {
    const fn aoi(&self) -> i32 {
        self.reach.0
    }
}

impl Search {
    pub fn new(window: &Window<'_>) -> Self {
        let tiles = window.tiles();
        Self {
            members: Vec::new(),
            inside: vec![0; tiles],
            before: Before::new(window.len()),
            open: Vec::new(),
            root: 0,
            blocks: vec![(0, false); tiles.div_ceil(BLOCK)],
            tiles: vec![(0, 0); tiles],
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
        for at in names(tile, new) {
            self.members.push(at);
            self.open.push(at);
        }
    }

    /// Adds r and all that must come before it.
    pub fn close(
        &mut self,
        window: &Window<'_>,
        by: &Relation,
        root: usize,
    ) -> Result<(), Blocked> {
        self.root += 1;
        let (tile, bit) = bit(root);
        self.add(tile, bit);
        while let Some(x) = self.open.pop() {
            self.before.begin(x);
            let reach = window.reach(x, &mut self.scratch);
            let asked = Asked {
                window,
                by,
                root,
                x,
                reach,
            };
            for block in window.blocks_near(reach) {
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
        let Asked {
            window, root, x, ..
        } = *asked;
        let waits = x != root && window.block_spread(block) >= asked.aoi();
        let known = self.blocks[block];
        if waits && known == (self.root, true) {
            return true;
        }
        if window.before_block(x, block) > asked.by.f {
            return true;
        }
        if waits && known.0 != self.root {
            // A quorum says so, by every meaning of the word.
            let all = window.before_block(root, block) >= asked.by.quorum;
            self.blocks[block] = (self.root, all);
        }
        waits && self.blocks[block] == (self.root, true)
    }

    /// Adds what of a tile must come before x.
    fn ask(&mut self, asked: &Asked<'_, '_>, tile: usize) -> Result<(), Blocked> {
        let Asked {
            window,
            by,
            root,
            x,
            reach,
        } = *asked;
        let mut rows = window.near(tile, reach);
        if tile == bit(x).0 {
            rows &= !bit(x).1;
        }
        let known = x == root || self.tiles[tile].0 == self.root;
        if known {
            rows = self.uncut(asked, tile, rows);
        }
        if rows == 0 || window.before_tile(x, tile) > by.f {
            return Ok(());
        }
        if !known {
            self.tiles[tile] = (self.root, window.surely_after(by, root, tile));
            rows = self.uncut(asked, tile, rows);
        }
        if rows == 0 {
            return Ok(());
        }
        let rivals = window.rivals(by, x, tile, rows);
        if rivals.possible & window.open(tile) != 0 {
            return Err(Blocked);
        }
        if rivals.earlier != 0 {
            self.before.push(x, tile, rivals.earlier);
            self.add(tile, rivals.earlier);
        }
        Ok(())
    }

    /// Which of some rows the root cut leaves: those that the root does not surely precede, and
    /// those that were everywhere before x. The root itself cuts nothing of what is before it.
    fn uncut(&self, asked: &Asked<'_, '_>, tile: usize, rows: u16) -> u16 {
        if asked.x == asked.root {
            return rows;
        }
        let cut = rows & self.tiles[tile].1;
        let mut left = rows & !cut;
        if asked.window.spread(tile) < asked.aoi() {
            for y in names(tile, cut) {
                if asked.window.everywhere(y, asked.aoi()) {
                    left |= bit(y).1;
                }
            }
        }
        left
    }
}
