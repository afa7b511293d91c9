//! Stamps of many rows, sixteen rows to a tile, as numbers of 16 bits: whole steps of a clock
//! that is as fine as it can be for the rows at hand (8 µs, if they lie within half a second).
//! What two steps say is so; what falls into one step they leave open. Inside a tile the steps
//! of a lane are adjacent, so that a count runs over all its rows at once.
//!
//! Where rows are like no others, nothing is so of a whole tile, and most counts find nothing.
//! For these a block has the first eight bits of its steps once more, all its rows side by side:
//! a look counts 128 rows at once and leaves only what is near.

use super::before::{TILE, bit};
use super::table;

/// Tiles of a block.
pub(super) const BLOCK: usize = 8;
/// Lanes that are counted before it is asked whether that was enough.
const LANES: usize = 32;
/// Rows of a block.
pub(super) const ROWS: usize = BLOCK * TILE;
/// Lanes that a look counts between two questions whether that was enough. A committee of fewer
/// has no looks: nearly every row is near.
pub(super) const LOOK_LANES: usize = 16;
/// More than any count of lanes, and may be added to so often.
const FOUND: u8 = 128;
/// Steps of the clock.
const STEPS: u32 = (1 << 16) - 3;
/// A lane lacks the row: later than every step.
pub(super) const ABSENT: i16 = i16::MAX - 1;
/// Later even than [`ABSENT`]; only asked with.
pub(super) const NEVER: i16 = i16::MAX;
/// Ends a row that is asked with; no step.
const END: i16 = i16::MIN;

/// A clock of [`STEPS`] steps. What is before the first counts as the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    first: u32,
    /// A step is two to this power, µs.
    shift: u32,
}

impl Scale {
    /// The finest clock that tells times from `first` to `last` apart.
    pub fn new(first: u32, last: u32) -> Self {
        let span = last.saturating_sub(first);
        let shift = (0..u32::BITS).find(|shift| span >> shift < STEPS);
        Self {
            first,
            shift: shift.unwrap_or(u32::BITS - 1),
        }
    }

    /// The step of a stamp. It never decreases while stamps increase.
    pub fn step(self, stamp: u32) -> i16 {
        let steps = (stamp.saturating_sub(self.first) >> self.shift).min(STEPS - 1);
        let step = ((steps as u16 + 1) ^ (1 << 15)).cast_signed();
        if stamp == table::ABSENT { ABSENT } else { step }
    }

    /// A row of steps, with `absent` for lanes that lack it.
    pub fn fill(self, into: &mut Vec<i16>, row: &[u32], absent: i16) {
        into.clear();
        into.extend(row.iter().map(|stamp| {
            let step = self.step(*stamp);
            if step == ABSENT { absent } else { step }
        }));
        into.push(END);
    }
}

/// The first eight bits of a step. They never decrease while steps increase.
const fn coarse(step: i16) -> i8 {
    (step >> 8) as i8
}

/// A row that looks are made for: its lanes with their coarse steps. First those in which it is
/// early: there it is before most others, so that a count is soon enough.
#[derive(Debug, Default)]
pub(super) struct Look(Vec<(u8, i8)>);

impl Look {
    /// Turns to a row of steps: lanes up to each of two times, then the others.
    pub fn turn(&mut self, steps: &[i16], times: [i16; 2]) {
        let steps = steps.split_last().map_or(steps, |(_, steps)| steps); // END
        let group = |step: i16| usize::from(step > times[0]) + usize::from(step > times[1]);
        let mut next = [0; 4];
        for step in steps {
            next[group(*step) + 1] += 1;
        }
        next[2] += next[1];
        self.0.resize(steps.len(), (0, 0));
        for (lane, step) in (0..).zip(steps) {
            let place = &mut next[group(*step)];
            self.0[*place] = (lane, coarse(*step));
            *place += 1;
        }
    }
}

/// Rows in tiles.
#[derive(Debug)]
pub(super) struct Tiles {
    n: usize,
    pub scale: Scale,
    /// Per tile and lane 16 steps; those beyond the last row are the least there is.
    columns: Vec<i16>,
    /// Per tile the least step of every lane, and the greatest.
    least: Vec<i16>,
    greatest: Vec<i16>,
    /// Per block the least step of every lane.
    block_least: Vec<i16>,
    /// Coarse steps of the blocks that are looked at: per lane those of all rows, the least there
    /// is beyond the last one. And where those of a block begin.
    looks: Vec<[i8; ROWS]>,
    look_at: Vec<Option<usize>>,
    /// Bit of each row of a tile.
    bits: [u16; TILE],
    scratch: Vec<i16>,
}

impl Tiles {
    /// No rows, of n lanes; room for so many.
    pub fn new(n: usize, scale: Scale, rows: usize) -> Self {
        let tiles = rows.div_ceil(TILE);
        Self {
            n,
            scale,
            columns: Vec::with_capacity(tiles * TILE * n),
            least: Vec::with_capacity(tiles * n),
            greatest: Vec::with_capacity(tiles * n),
            block_least: Vec::with_capacity(tiles.div_ceil(BLOCK) * n),
            looks: Vec::new(),
            look_at: vec![None; tiles.div_ceil(BLOCK)],
            bits: std::array::from_fn(|row| bit(row).1),
            scratch: Vec::with_capacity(n),
        }
    }

    fn len(&self) -> usize {
        self.least.len() / self.n
    }

    /// Adds the next tile.
    pub fn push<'a>(&mut self, rows: impl Iterator<Item = &'a [u32]>) {
        let (n, tile) = (self.n, self.len());
        self.columns.resize((tile + 1) * n * TILE, END);
        self.least.resize((tile + 1) * n, NEVER);
        self.greatest.resize((tile + 1) * n, END);
        let columns = &mut self.columns[tile * n * TILE..];
        let (columns, _) = columns.as_chunks_mut::<TILE>();
        let least = &mut self.least[tile * n..];
        let greatest = &mut self.greatest[tile * n..];
        for (k, row) in rows.take(TILE).enumerate() {
            self.scale.fill(&mut self.scratch, row, ABSENT);
            for (column, step) in columns.iter_mut().zip(&self.scratch) {
                column[k] = *step;
            }
            for (least, step) in least.iter_mut().zip(&self.scratch) {
                *least = (*least).min(*step);
            }
            for (greatest, step) in greatest.iter_mut().zip(&self.scratch) {
                *greatest = (*greatest).max(*step);
            }
        }
        let block = tile / BLOCK;
        self.block_least.resize((block + 1) * n, NEVER);
        for (least, step) in self.block_least[block * n..].iter_mut().zip(&*least) {
            *least = (*least).min(*step);
        }
    }

    /// Readies a block, all of whose tiles are there, for looks.
    pub fn ready(&mut self, block: usize) {
        let (n, from) = (self.n, self.looks.len());
        self.looks.resize(from + n, [coarse(END); ROWS]);
        let tiles = block * BLOCK..self.len().min((block + 1) * BLOCK);
        let columns =
            self.columns[tiles.start * n * TILE..tiles.end * n * TILE].as_chunks::<TILE>();
        for (tile, columns) in columns.0.chunks(n).enumerate() {
            for (look, column) in self.looks[from..].iter_mut().zip(columns) {
                look[tile * TILE..(tile + 1) * TILE].copy_from_slice(&column.map(coarse));
            }
        }
        self.look_at[block] = Some(from);
    }

    /// Of some rows of a block, per tile, those of which a look does not show that x is before
    /// them in more than `most` lanes. It ends when none are left.
    pub fn look(
        &self,
        x: &Look,
        block: usize,
        mut rows: [u16; BLOCK],
        most: usize,
    ) -> [u16; BLOCK] {
        let Some(from) = self.look_at[block] else {
            return rows;
        };
        let looks = &self.looks[from..from + self.n];
        let most = u8::try_from(most).unwrap_or(u8::MAX);
        // Rows that are not asked for count as if they were found.
        let mut counts = [0; ROWS];
        for (rows, counts) in rows.iter().zip(counts.as_chunks_mut::<TILE>().0) {
            for (count, bit) in counts.iter_mut().zip(&self.bits) {
                *count = if rows & bit == 0 { FOUND } else { 0 };
            }
        }
        // Fewer lanes than these are not enough for a whole block.
        let (mut lanes, mut now) = (&x.0[..], usize::from(most) + usize::from(most / 2) + 1);
        while !lanes.is_empty() {
            let (some, rest) = lanes.split_at(now.min(lanes.len()));
            count_later(some, looks, &mut counts);
            if counts
                .iter()
                .fold(u8::MAX, |least, count| least.min(*count))
                > most
            {
                return [0; BLOCK];
            }
            (lanes, now) = (rest, LOOK_LANES);
        }
        for (rows, counts) in rows.iter_mut().zip(counts.as_chunks::<TILE>().0) {
            let mut more = 0;
            for (count, bit) in counts.iter().zip(&self.bits) {
                more |= if *count > most { *bit } else { 0 };
            }
            *rows &= !more;
        }
        rows
    }

    /// Per lane the least step of a tile.
    pub fn least(&self, tile: usize) -> &[i16] {
        &self.least[tile * self.n..(tile + 1) * self.n]
    }

    fn greatest(&self, tile: usize) -> &[i16] {
        &self.greatest[tile * self.n..(tile + 1) * self.n]
    }

    fn columns(&self, tile: usize) -> &[[i16; TILE]] {
        let columns = &self.columns[tile * self.n * TILE..(tile + 1) * self.n * TILE];
        columns.as_chunks::<TILE>().0
    }

    /// In how many lanes x is before all rows of the block, at the least.
    pub fn before_block(&self, x: &[i16], block: usize) -> usize {
        before(x, &self.block_least[block * self.n..(block + 1) * self.n])
    }

    /// In how many lanes x is before all rows of the tile, at the least.
    pub fn before_tile(&self, x: &[i16], tile: usize) -> usize {
        before(x, self.least(tile))
    }

    /// In how many lanes x is after all rows of the tile, at the least.
    pub fn after_tile(&self, x: &[i16], tile: usize) -> usize {
        before(self.greatest(tile), x)
    }

    /// Which of some rows of the tile x is before in more than `most` lanes for sure.
    pub fn before(&self, x: &[i16], tile: usize, rows: u16, most: usize) -> u16 {
        self.count(x, tile, rows, most, |t, s| t < s)
    }

    /// Which of some rows of the tile x is after in more than `most` lanes for sure.
    pub fn after(&self, x: &[i16], tile: usize, rows: u16, most: usize) -> u16 {
        self.count(x, tile, rows, most, |t, s| s < t)
    }

    /// Of which rows something is so in more than `most` lanes.
    ///
    /// The compiler turns this into counts of eight rows at a time because the lanes end with
    /// [`END`], wherever that is, and because it does not know the bits. Otherwise it takes
    /// eight lanes at a time, and picks every step by itself: five times as long.
    fn count(
        &self,
        x: &[i16],
        tile: usize,
        rows: u16,
        most: usize,
        is_so: impl Fn(i16, i16) -> bool,
    ) -> u16 {
        let most = i16::try_from(most).unwrap_or(i16::MAX);
        let (mut counts, mut more) = ([0i16; TILE], 0);
        let lanes = x.chunks(LANES).zip(self.columns(tile).chunks(LANES));
        for (x, columns) in lanes {
            for (t, column) in x.iter().zip(columns) {
                if *t == END {
                    break;
                }
                for (count, s) in counts.iter_mut().zip(column) {
                    *count = count.wrapping_add(i16::from(is_so(*t, *s)));
                }
            }
            more = 0;
            for (count, bit) in counts.iter().zip(&self.bits) {
                more |= if *count > most { *bit } else { 0 };
            }
            if rows & !more == 0 {
                break;
            }
        }
        rows & more
    }
}

/// Adds to the count of each row the lanes in which it is later.
fn count_later(lanes: &[(u8, i8)], looks: &[[i8; ROWS]], counts: &mut [u8; ROWS]) {
    for (lane, step) in lanes {
        if let Some(look) = looks.get(usize::from(*lane)) {
            for (count, other) in counts.iter_mut().zip(look) {
                *count = count.wrapping_add(u8::from(step < other));
            }
        }
    }
}

/// In how many lanes x is before y, at the least.
fn before(x: &[i16], y: &[i16]) -> usize {
    let pairs = x.iter().zip(y);
    usize::from(pairs.fold(0u16, |sum, (t, s)| sum.wrapping_add(u16::from(t < s))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_is_as_fine_as_its_span_allows() {
        let fine = Scale::new(500, 500 + STEPS - 1);
        assert!(fine.step(500) < fine.step(501));
        assert_eq!(fine.step(0), fine.step(500));
        assert!(fine.step(500 + STEPS - 2) < fine.step(500 + STEPS - 1));
        let half = Scale::new(500, 500 + STEPS);
        assert_eq!(half.step(500), half.step(501));
        assert!(half.step(501) < half.step(502));
        for scale in [fine, half, Scale::new(0, u32::MAX - 1), Scale::new(7, 3)] {
            assert!(END < scale.step(0));
            assert!(scale.step(u32::MAX - 1) < scale.step(table::ABSENT));
            assert_eq!(scale.step(table::ABSENT), ABSENT);
        }
    }

    /// Rows out of `cells`, one more that asks, its steps, and the tiles of the others.
    fn filled(n: usize, rows: usize, cells: &[u32]) -> (Vec<Vec<u32>>, Vec<u32>, Vec<i16>, Tiles) {
        let row = |row| {
            (0..n)
                .map(|lane| cells[(row * 31 + lane * 7) % 200])
                .collect()
        };
        let mut stamps: Vec<Vec<u32>> = (0..=rows).map(row).collect();
        let asked = stamps.pop().unwrap();
        let mut tiles = Tiles::new(n, Scale::new(1_000, 300_000), rows);
        for rows in stamps.chunks(TILE) {
            tiles.push(rows.iter().map(Vec::as_slice));
        }
        let mut x = Vec::new();
        tiles.scale.fill(&mut x, &asked, NEVER);
        (stamps, asked, x, tiles)
    }

    fn stamp() -> impl Strategy<Value = u32> {
        prop_oneof![
            8 => 0u32..400_000,
            1 => Just(table::ABSENT),
            1 => any::<u32>(),
        ]
    }

    proptest! {
        /// Steps do not change what is earlier.
        #[test]
        fn steps_never_decrease(first: u32, last: u32, a in stamp(), b in stamp()) {
            let scale = Scale::new(first, last);
            prop_assert!(a > b || scale.step(a) <= scale.step(b));
        }

        /// Every answer is the count of steps, lane by lane, with as many lanes and rows as
        /// fill no tile, several, and more than a block.
        #[test]
        fn counts_are_counts(
            n in prop::sample::select(vec![1usize, 4, 31, 32, 33, 70]),
            rows in 1usize..150,
            cells in prop::collection::vec(stamp(), 200),
            most in 0usize..40,
            some: u16,
        ) {
            let (stamps, asked, x, tiles) = filled(n, rows, &cells);
            let scale = tiles.scale;
            let x_step = |lane: usize| {
                if asked[lane] == table::ABSENT { NEVER } else { scale.step(asked[lane]) }
            };
            let before = |row: &Vec<u32>| {
                (0..n).filter(|lane| x_step(*lane) < scale.step(row[*lane])).count()
            };
            let after = |row: &Vec<u32>| {
                (0..n).filter(|lane| x_step(*lane) > scale.step(row[*lane])).count()
            };
            let all = |rows: &[Vec<u32>], is_so: &dyn Fn(i16, i16) -> bool| {
                let so = |lane: usize| rows.iter().all(|row| is_so(x_step(lane), scale.step(row[lane])));
                (0..n).filter(|lane| so(*lane)).count()
            };
            for (tile, rows) in stamps.chunks(TILE).enumerate() {
                let here = u16::MAX >> (TILE - rows.len());
                let mask = |count: &dyn Fn(&Vec<u32>) -> usize| {
                    let rows = rows.iter().enumerate();
                    rows.fold(0, |mask, (k, row)| mask | u16::from(count(row) > most) << k)
                };
                prop_assert_eq!(tiles.before(&x, tile, here & some, most), mask(&before) & some);
                prop_assert_eq!(tiles.after(&x, tile, here & some, most), mask(&after) & some);
                prop_assert_eq!(tiles.before_tile(&x, tile), all(rows, &|t, s| t < s));
                prop_assert_eq!(tiles.after_tile(&x, tile), all(rows, &|t, s| s < t));
            }
            for (block, rows) in stamps.chunks(TILE * BLOCK).enumerate() {
                prop_assert_eq!(tiles.before_block(&x, block), all(rows, &|t, s| t < s));
            }
        }

        /// A look leaves out exactly what coarse steps show, of what it is asked for, and nothing
        /// that the stamps do not.
        #[test]
        fn a_look_leaves_out_what_is_later_in_enough_lanes(
            n in prop::sample::select(vec![1usize, 4, 16, 31, 100]),
            rows in 1usize..300,
            cells in prop::collection::vec(stamp(), 200),
            most in 0usize..40,
            times in (stamp(), stamp()),
            some: [u16; BLOCK],
        ) {
            let (stamps, _, x, mut tiles) = filled(n, rows, &cells);
            let scale = tiles.scale;
            let mut look = Look::default();
            let times = [times.0.min(times.1), times.0.max(times.1)];
            look.turn(&x, times.map(|time| scale.step(time)));
            prop_assert_eq!(tiles.look(&look, 0, some, most), some);
            for (block, rows) in stamps.chunks(ROWS).enumerate() {
                tiles.ready(block);
                let left = tiles.look(&look, block, some, most);
                for at in 0..ROWS {
                    let is = |rows: &[u16; BLOCK]| rows[at / TILE] >> (at % TILE) & 1 == 1;
                    let row = rows.get(at);
                    let later = |is_so: &dyn Fn(i16, i16) -> bool| row.map_or(0, |row| {
                        let steps = x.iter().zip(row);
                        steps.filter(|(t, s)| is_so(**t, scale.step(**s))).count()
                    });
                    let shown = later(&|t, s| coarse(t) < coarse(s)) > most;
                    prop_assert!(!shown || later(&|t, s| t < s) > most);
                    prop_assert_eq!(is(&left), is(&some) && !shown);
                }
            }
        }
    }
}
