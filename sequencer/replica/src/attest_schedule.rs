//! Which heights are attested (PROTOCOL §5). It follows from the emitted blocks alone, so
//! that all members sign the same ones, and nothing is signed for blocks that add nothing.
//!
//! After orders it is the first height of the next interval of finalized time. That time
//! rests while nothing happens, so the last orders before a quiet hour are covered by one of
//! the heights without orders that follow. A quiet chain is attested now and then.

use fairlane_types::{Millis, SequencedBlock};

/// With orders to be covered, one in so many heights without orders is attested.
const COVER_HEIGHTS: u64 = 8;
/// One in so many heights without orders is attested, whatever came before.
const QUIET_HEIGHTS: u64 = 64;

/// What the schedule depends on.
#[derive(Clone, Debug)]
pub(crate) struct AttestSchedule {
    /// `None` on a chain without certificates.
    interval: Option<Millis>,
    /// Finalized time of the last emitted block.
    time: Millis,
    /// Orders were emitted since the last height that was due.
    uncovered: bool,
}

impl AttestSchedule {
    /// Goes on after a block of this finalized time. Whether it left orders to be covered is
    /// not known then: it is taken for true. At worst a member signs one height alone.
    pub const fn new(interval: Option<Millis>, time: Millis) -> Self {
        Self {
            interval,
            time,
            uncovered: true,
        }
    }

    /// Whether a block, the next one emitted, is to be attested.
    pub fn is_due(&mut self, block: &SequencedBlock) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let before = std::mem::replace(&mut self.time, block.time);
        let bucket = |time: Millis| time.0 / interval.0.max(1);
        let quiet = block.items.is_empty();
        self.uncovered |= !quiet;
        let next_interval = self.uncovered && bucket(before) != bucket(block.time);
        let one_in = |heights: u64| quiet && block.height.0.is_multiple_of(heights);
        let due =
            next_interval || one_in(QUIET_HEIGHTS) || (self.uncovered && one_in(COVER_HEIGHTS));
        self.uncovered &= !due;
        due
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{
        BlockId, ChainId, CtId, Epoch, Height, Item, KeyId, LANE_NONE, Label, Micros, Outcome,
        Position, PublicKey, Root,
    };

    use super::*;

    fn block(height: u64, time: u64, orders: bool) -> SequencedBlock {
        let label = Label {
            suite: 1,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey::default(),
            nonce: 0,
            expiry: Millis(1),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let item = Item {
            position: Position(0),
            label,
            ct_id: CtId::default(),
            stamp: Micros(0),
            outcome: Outcome::Expired,
        };
        SequencedBlock {
            chain: ChainId(1),
            epoch: Epoch(0),
            height: Height(height),
            block: BlockId::default(),
            time: Millis(time),
            parent_root: Root::default(),
            first_position: Position(0),
            items: orders.then_some(item).into_iter().collect(),
            state: None,
            root: Root::default(),
        }
    }

    fn due(blocks: &[(u64, u64, bool)]) -> Vec<u64> {
        let mut schedule = AttestSchedule::new(Some(Millis(100)), Millis(1_000));
        let due = blocks
            .iter()
            .filter(|(height, time, orders)| schedule.is_due(&block(*height, *time, *orders)));
        due.map(|(height, ..)| *height).collect()
    }

    #[test]
    fn the_first_height_of_an_interval_is_due() {
        let orders = |height, time| (height, time, true);
        let blocks = [
            orders(1, 1_050),
            orders(2, 1_100),
            orders(3, 1_199),
            orders(4, 9_000),
            orders(5, 9_001),
        ];
        assert_eq!(due(&blocks), [2, 4]);
    }

    #[test]
    fn the_last_orders_are_covered_and_a_quiet_chain_seldom_signs() {
        let quiet = (5..200).map(|height| (height, 1_050, false));
        let blocks: Vec<_> = [(3, 1_050, true), (4, 1_050, true)]
            .into_iter()
            .chain(quiet)
            .collect();
        assert_eq!(due(&blocks), [8, 64, 128, 192]);
    }

    #[test]
    fn time_that_moves_without_orders_is_no_reason() {
        let blocks = [(1, 1_050, true), (2, 1_150, false), (3, 1_250, false)];
        assert_eq!(due(&blocks), [2]);
    }

    #[test]
    fn without_an_interval_nothing_is_due() {
        let mut none = AttestSchedule::new(None, Millis(0));
        assert!(!none.is_due(&block(64, 500, true)));
    }
}
