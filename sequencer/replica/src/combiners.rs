//! Who combines which slice of a block, and so who gets which message (D4; ENCRYPTION 6.7).
//!
//! Combiners are drawn anew every [`PERIOD`] heights, from the root of the sequence at the
//! end of the period before the last: it commits to openings that nobody knew when the
//! blocks below it were proposed, so no leader chooses who reads its block first.
//!
//! It is the senders of shares who choose, each for itself, and a slice can be combined by
//! whoever gets shares of it. So nothing has to be agreed: a member that does not know the
//! root, after a restart say, sends to everybody, and one that was not heard of lately is
//! passed over by each who has noticed.

use std::collections::BTreeMap;

use fairlane_encryption::{CombinerSchedule, slices};
use fairlane_types::{Digest, Epoch, Height, MemberId, Root};

/// Heights for which combiners are drawn at once.
const PERIOD: u64 = 16;
/// Combiners that a slice's shares go to.
const COMBINERS: usize = 2;
/// A combiner that told nothing of so many slices in a row is passed over.
const SILENT_MAX: u64 = 16;
/// For so many heights, then it is tried again.
const PASSED_OVER_HEIGHTS: u64 = 256;

/// What is known of a member as a combiner.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Slices in a row of which it told nothing.
    silent: u64,
    /// It is passed over below this height.
    until: Height,
}

/// The choice of combiners.
#[derive(Clone, Debug)]
pub(crate) struct Combiners {
    me: MemberId,
    n: usize,
    epoch: Epoch,
    sharded: bool,
    emitted: Height,
    /// By period: at most that of the next heights and two before.
    schedules: BTreeMap<u64, CombinerSchedule>,
    records: BTreeMap<MemberId, Record>,
}

impl Combiners {
    /// Of a committee of n, of an epoch that began above `base`, with `emitted` heights so far.
    /// Its first heights have no root to draw from: the epoch's own seed, which anybody could
    /// know long before, does for those.
    pub fn of_epoch(
        me: MemberId,
        n: usize,
        (epoch, seed): (Epoch, &Digest),
        (base, emitted): (Height, Height),
        sharded: bool,
    ) -> Self {
        let mut combiners = Self::new(me, n, epoch, sharded);
        let period = base.next().0 / PERIOD;
        let first = [period, period + 1];
        if sharded && emitted.0 / PERIOD <= period {
            for period in first {
                combiners.draw(period, seed);
            }
        }
        combiners
    }

    const fn new(me: MemberId, n: usize, epoch: Epoch, sharded: bool) -> Self {
        Self {
            me,
            n,
            epoch,
            sharded,
            emitted: Height(0),
            schedules: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// Whether slices are combined by some for all.
    pub const fn sharded(&self) -> bool {
        self.sharded
    }

    /// Into how many slices a block of so many orders is dealt, those of each key.
    pub fn slices(&self, orders: usize) -> usize {
        if self.sharded {
            slices(self.n, orders)
        } else {
            1
        }
    }

    /// Who gets this member's shares of a slice; `None` means everybody.
    pub fn of(&self, height: Height, slice: usize) -> Option<[MemberId; COMBINERS]> {
        if !self.sharded {
            return None;
        }
        let schedule = self.schedules.get(&(height.0 / PERIOD))?;
        let trusted = |member: &MemberId| {
            let record = self.records.get(member);
            record.is_none_or(|record| record.until <= height)
        };
        // One on with every height: small blocks have few slices.
        let turn = slice + (height.0 % PERIOD) as usize;
        let mut found = schedule.candidates(turn).filter(trusted);
        Some([found.next()?, found.next()?])
    }

    /// A height with so many slices is emitted: who should have told something is silent
    /// until it is heard of.
    pub fn emitted(&mut self, height: Height, root: Root, slices: usize) {
        if !self.sharded {
            return;
        }
        self.emitted = height;
        for slice in 0..slices {
            for member in self.of(height, slice).into_iter().flatten() {
                if member == self.me {
                    continue;
                }
                let record = self.records.entry(member).or_default();
                record.silent += 1;
                if record.silent >= SILENT_MAX {
                    record.silent = SILENT_MAX - 1;
                    record.until = height.plus(PASSED_OVER_HEIGHTS);
                }
            }
        }
        if height.0.is_multiple_of(PERIOD) {
            let period = height.0 / PERIOD + 1;
            self.draw(period, &root.0);
            self.schedules = self.schedules.split_off(&period.saturating_sub(2));
        }
    }

    fn draw(&mut self, period: u64, seed: &Digest) {
        if let Ok(schedule) = CombinerSchedule::new(seed, self.epoch, self.n) {
            self.schedules.insert(period, schedule);
        }
    }

    /// A combiner told something of a height, not much too late.
    pub fn heard(&mut self, member: MemberId, height: Height) {
        let in_time = height.plus(PERIOD) >= self.emitted;
        if let Some(record) = self.records.get_mut(&member)
            && in_time
        {
            record.silent = 0;
        }
    }

    /// A combiner told something false.
    pub fn distrust(&mut self, member: MemberId, height: Height) {
        let record = self.records.entry(member).or_default();
        record.silent = SILENT_MAX - 1;
        record.until = height.plus(PASSED_OVER_HEIGHTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combiners() -> Combiners {
        let mut combiners = Combiners::new(MemberId(0), 16, Epoch(0), true);
        combiners.emitted(Height(16), Root(Digest([7; 32])), 0);
        combiners
    }

    #[test]
    fn they_are_drawn_for_a_period_from_a_root_before_it() {
        let mut combiners = combiners();
        assert_eq!(combiners.of(Height(31), 0), None, "unknown: to everybody");
        let first = combiners.of(Height(32), 0).unwrap();
        assert_ne!(combiners.of(Height(47), 0), Some(first));
        assert_ne!(combiners.of(Height(32), 1), Some(first));
        combiners.emitted(Height(32), Root(Digest([8; 32])), 0);
        let all = |height| {
            (0..8)
                .filter_map(|slice| combiners.of(Height(height), slice))
                .collect::<Vec<_>>()
        };
        assert_ne!(all(48), all(47));
    }

    #[test]
    fn an_epoch_begins_with_a_seed_of_its_own() {
        let of = |base, emitted| {
            let heights = (Height(base), Height(emitted));
            let seed = (Epoch(1), &Digest([9; 32]));
            Combiners::of_epoch(MemberId(0), 16, seed, heights, true)
        };
        let fresh = of(35, 35);
        assert!(fresh.of(Height(36), 0).is_some() && fresh.of(Height(63), 0).is_some());
        assert!(fresh.of(Height(64), 0).is_none());
        let mut started = of(35, 35);
        started.emitted(Height(48), Root(Digest([8; 32])), 0);
        assert!(started.of(Height(64), 0).is_some());
        // After a restart later on nothing is known until the next root.
        assert!(of(35, 70).of(Height(71), 0).is_none());
    }

    #[test]
    fn without_shards_everybody_combines_everything() {
        let mut combiners = Combiners::new(MemberId(0), 16, Epoch(0), false);
        combiners.emitted(Height(16), Root(Digest([7; 32])), 0);
        assert_eq!(
            (combiners.slices(64), combiners.of(Height(32), 0)),
            (1, None)
        );
    }

    #[test]
    fn a_silent_combiner_is_passed_over_and_tried_again() {
        let mut combiners = combiners();
        let of = |combiners: &Combiners| combiners.of(Height(33), 3).unwrap();
        let [dead, alive] = of(&combiners);
        for _ in 0..SILENT_MAX - 1 {
            combiners.emitted(Height(33), Root::default(), combiners.slices(64));
            combiners.heard(alive, Height(33));
        }
        assert_eq!(of(&combiners), [dead, alive]);
        combiners.emitted(Height(33), Root::default(), combiners.slices(64));
        combiners.heard(alive, Height(33));
        let [first, second] = of(&combiners);
        assert!(first == alive && second != dead);
        // All its other slices go to others as well, and later it gets one more try.
        let record = combiners.records[&dead];
        assert_eq!(record.until, Height(33 + PASSED_OVER_HEIGHTS));
        assert_eq!(record.silent, SILENT_MAX - 1);
        combiners.heard(dead, Height(1));
        assert_eq!(combiners.records[&dead].silent, SILENT_MAX - 1, "too late");
        combiners.heard(dead, Height(33));
        assert_eq!(combiners.records[&dead].silent, 0);
    }

    #[test]
    fn a_false_combiner_is_passed_over_at_once() {
        let mut combiners = combiners();
        let [liar, other] = combiners.of(Height(33), 3).unwrap();
        combiners.distrust(liar, Height(32));
        assert_eq!(combiners.of(Height(33), 3).unwrap()[0], other);
    }
}
