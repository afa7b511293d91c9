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
            let reach = window.reach(x, &mut self.scratch);
            window.turn(&mut probe, by, x);
            window.ready(&mut probe, reach);
            let asked = Asked {
                window,
                by,
                x: &probe,
                reach,
                is_root: x == root,
            };
            for block in window.blocks_near(asked.reach) {
                if !self.may_skip(&asked, block) {
                    let rows = window.look(by, &probe, block, reach);
                    for (tile, rows) in (block * BLOCK..).zip(rows) {
                        if rows != 0 {
                            self.ask(&asked, tile, rows)?;
                        }
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

    /// Adds what of some rows of a tile must come before x.
    fn ask(&mut self, asked: &Asked<'_, '_>, tile: usize, mut rows: u16) -> Result<(), Blocked> {
        let Asked { window, by, x, .. } = *asked;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fairlane_types::{CtId, Domain, Label, Micros, Millis, OrderParams, PublicKey};
    use proptest::prelude::*;

    use super::super::precedence::Precedence;
    use super::super::state::State;
    use super::super::table::ABSENT;
    use super::*;

    /// Numbers that a seed gives.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = (self.0.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1);
            (self.0 >> 33) % bound
        }
    }

    /// Rows as traders in a few places send them, or each like no other; lanes that lack some,
    /// stamps that are equal, rows without a key, a few very old ones.
    fn state(random: &mut Random, n: usize, rows: usize) -> State {
        let f = (n - 1) / 3;
        let mut state = State::new(n, f, f, &OrderParams::default());
        let places = 1 + random.below(5);
        let ways: Vec<u64> = (0..places * n as u64)
            .map(|_| random.below(80_000))
            .collect();
        let noise = 1 + random.below(2_000);
        let scattered = random.below(3) == 0;
        let lacking = [0, 0, 20, 300][random.below(4) as usize];
        let keyless = [0, 0, 5, 30][random.below(4) as usize];
        let grain = [1, 100, 20_000][random.below(3) as usize];
        let span = [1_000, 100_000, 2_000_000][random.below(3) as usize];
        let base = 1_000_000_000;
        for row in 0..rows as u64 {
            let old = if random.below(100) == 0 {
                900_000_000
            } else {
                0
            };
            let (sent, place) = (random.below(span), random.below(places));
            let mut stamps: Vec<Option<u64>> = (0..n)
                .map(|lane| {
                    let way = if scattered {
                        random.below(80_000)
                    } else {
                        ways[place as usize * n + lane] + random.below(noise)
                    };
                    let is_there = random.below(1_000) >= lacking;
                    is_there.then_some(base - old + (sent + way) / grain * grain)
                })
                .collect();
            stamps[0] = stamps[0].or(Some(base + sent));
            // Some share a nonce.
            let nonce = if random.below(20) == 0 { 0 } else { row };
            let slot = put(&mut state, row, Label { nonce, ..label() }, &stamps);
            if random.below(1_000) < keyless {
                state.table.row_mut(slot).key = None;
            }
        }
        for head in &mut state.heads {
            *head = (*head).max(base);
        }
        state
    }

    /// An order with its stamps; it has a key if it is solid.
    fn put(state: &mut State, name: u64, label: Label, stamps: &[Option<u64>]) -> usize {
        let ct_id = CtId(Domain::Tie.hash(&name.to_le_bytes()));
        let slot = state.table.insert(ct_id, label);
        for (lane, stamp) in stamps.iter().enumerate() {
            if let Some(stamp) = stamp {
                state.table.record(slot, lane, *stamp);
                state.heads[lane] = state.heads[lane].max(*stamp);
            }
        }
        let mut sorted: Vec<u64> = stamps.iter().flatten().copied().collect();
        sorted.sort_unstable();
        if sorted.len() >= state.quorum {
            state.table.row_mut(slot).solid = Some(Millis(0));
            state.table.row_mut(slot).key = Some(Micros(sorted[state.f]));
        }
        slot
    }

    fn label() -> Label {
        Label {
            suite: 1,
            chain: fairlane_types::ChainId(1),
            key_id: fairlane_types::KeyId::default(),
            sender: PublicKey([1; 32]),
            nonce: 0,
            expiry: Millis(0),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        }
    }

    /// The rules as `strong` has them, row by row.
    #[derive(Default)]
    struct Plain {
        members: BTreeSet<usize>,
        pairs: BTreeSet<(usize, usize)>,
    }

    impl Plain {
        fn close(&mut self, state: &State, window: &Window<'_>, by: &Relation, r: usize) -> bool {
            let row = |at: usize| state.table.stamps(window.slots()[at]);
            let heads = state.head_offsets();
            let known = |at: usize| {
                let all = row(at).iter().zip(&heads);
                all.map(|(t, head)| if *t == ABSENT { *head } else { *t })
            };
            let mut open = Vec::new();
            if self.members.insert(r) {
                open.push(r);
            }
            while let Some(x) = open.pop() {
                let mut sorted = row(x).to_vec();
                sorted.sort_unstable();
                let aoi = sorted[by.f];
                for y in (0..window.len()).filter(|y| *y != x && !window.is_gone(*y)) {
                    let Some(earlier) = by.precedes(row(y), row(x)) else {
                        continue;
                    };
                    let may_wait = x != r && y != r && by.surely_precedes(row(r), row(y));
                    let everywhere = known(y).filter(|t| *t < aoi).count() >= by.quorum;
                    if may_wait && !everywhere {
                        continue;
                    }
                    if window.key(y).is_none() {
                        return false;
                    }
                    if earlier {
                        self.pairs.insert((y, x));
                        if self.members.insert(y) {
                            open.push(y);
                        }
                    }
                }
            }
            true
        }
    }

    fn pairs(search: &Search) -> BTreeSet<(usize, usize)> {
        let mut pairs = BTreeSet::new();
        for x in search.members() {
            for part in search.before().of(*x) {
                pairs.extend(names(part.tile as usize, part.names).map(|y| (y, *x)));
            }
        }
        pairs
    }

    /// Compares searches from some roots; returns how many were blocked and the most members.
    fn compare(seed: u64) -> (usize, usize) {
        let mut random = Random(seed);
        let n = [4, 5, 7, 16, 40][random.below(5) as usize];
        let rows = 1 + random.below(300) as usize;
        let state = state(&mut random, n, rows);
        let precedence = [Precedence::Dissent, Precedence::Strict, Precedence::Hybrid];
        let by = Relation {
            precedence: precedence[random.below(3) as usize],
            f: state.f,
            quorum: state.quorum,
            lagging: (0..n).map(|_| random.below(2) == 0).collect(),
        };
        let mut window = Window::new(&state);
        let mut search = Search::new(&window);
        let (mut plain, mut blocked, mut most) = (Plain::default(), 0, 0);
        for _ in 0..6 {
            if random.below(2) == 0 {
                search.clear();
                plain = Plain::default();
                for _ in 0..random.below(1 + rows as u64 / 4) {
                    window.leave(random.below(rows as u64) as usize);
                }
            }
            let root = random.below(rows as u64) as usize;
            if window.key(root).is_none() || window.is_gone(root) {
                continue;
            }
            let got = search.close(&window, &by, root);
            assert_eq!(
                got.is_ok(),
                plain.close(&state, &window, &by, root),
                "{seed}"
            );
            if got.is_err() {
                blocked += 1;
                search.clear();
                plain = Plain::default();
                continue;
            }
            let members: BTreeSet<usize> = search.members().iter().copied().collect();
            assert_eq!(members.len(), search.members().len());
            assert_eq!(members, plain.members, "{seed}");
            assert_eq!(pairs(&search), plain.pairs, "{seed}");
            most = most.max(members.len());
        }
        (blocked, most)
    }

    proptest! {
        #[test]
        fn finds_what_asking_row_by_row_finds(seed in any::<u64>()) {
            compare(seed);
        }
    }

    /// The cycle of decision 32, r < x < y < z < r, with many x: the root cuts whole blocks of
    /// them, and still they come out, for all of them were everywhere before y. With old rows
    /// around the clock of the tiles is too coarse to see that.
    #[test]
    fn what_was_everywhere_before_is_spared_by_the_block() {
        for (old, first) in [(0, 100_000), (0, 199_700), (100, 100_000), (100, 199_700)] {
            let mut state = State::new(4, 1, 1, &OrderParams::default());
            let ms = 1_000;
            let mut rows = vec![
                [220 * ms, 10 * ms, 10 * ms, 203 * ms],
                [200 * ms, 200 * ms, 200 * ms, 201 * ms],
                [210 * ms, 210 * ms, 5 * ms, 202 * ms],
            ];
            rows.extend((0..300).map(|i| [first + i, first + i, first + i, 204 * ms + i]));
            rows.iter_mut().flatten().for_each(|t| *t += 100_000 * ms);
            rows.extend((0..old).map(|i| [i; 4]));
            for (at, row) in rows.iter().enumerate() {
                put(&mut state, at as u64, label(), &row.map(Some));
            }
            let by = Relation {
                precedence: Precedence::Dissent,
                f: 1,
                quorum: 3,
                lagging: vec![false; 4],
            };
            let window = Window::new(&state);
            let root = window.slots().iter().position(|slot| *slot == 0).unwrap();
            let mut search = Search::new(&window);
            search.close(&window, &by, root).unwrap();
            let mut plain = Plain::default();
            assert!(plain.close(&state, &window, &by, root));
            assert_eq!(pairs(&search), plain.pairs);
            assert_eq!(search.members().len(), rows.len());
        }
    }

    /// The comparison meets what it is for.
    #[test]
    fn searches_are_blocked_and_are_large() {
        let counts: Vec<_> = (0..200).map(compare).collect();
        assert!(counts.iter().filter(|(blocked, _)| *blocked > 0).count() > 10);
        assert!(counts.iter().filter(|(_, most)| *most > 100).count() > 10);
        assert!(
            counts
                .iter()
                .filter(|(_, most)| (2..50).contains(most))
                .count()
                > 10
        );
    }
}
