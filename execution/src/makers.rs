//! Whether a maker bears what a fill costs it. An order may cost its maker more than the margin
//! that is held for it: a reduce-only one, for which none is held, and one on the wrong side of
//! the mark, whose loss is set off in the margin against what other open orders would gain.
//! Such a fill must leave its maker above the initial margin, or no worse (EXECUTION §2.4).

use crate::account::Position;
use crate::book::Resting;
use crate::house::{House, Market};
use crate::matching::Plan;
use crate::units::{fee, notional};

/// Index of "no fill".
const NONE: u32 = u32::MAX;

/// A plan's fills by their makers, without a search: each account's last one of this plan, and
/// each fill's one before.
#[derive(Default)]
pub(crate) struct ByMaker {
    plan: u32,
    /// By account: the plan, and the place of its last fill.
    last: Vec<(u32, u32)>,
    before: Vec<u32>,
}

impl ByMaker {
    /// Begins another plan.
    pub(crate) fn begin(&mut self, accounts: usize) {
        self.before.clear();
        self.plan = self.plan.wrapping_add(1);
        if self.plan == 0 {
            // What the same number meant long ago.
            self.last.clear();
            self.plan = 1;
        }
        if self.last.len() < accounts {
            self.last.resize(accounts, (0, NONE));
        }
    }

    /// Notes the next fill.
    pub(crate) fn push(&mut self, maker: u32) {
        let at = self.before.len() as u32;
        let last = &mut self.last[maker as usize];
        let before = if last.0 == self.plan { last.1 } else { NONE };
        *last = (self.plan, at);
        self.before.push(before);
    }

    /// Places of a maker's fills, the last first.
    pub(crate) fn of(&self, maker: u32) -> impl Iterator<Item = usize> {
        let (plan, last) = self.last[maker as usize];
        let first = (plan == self.plan && last != NONE).then_some(last);
        let before = |at: &u32| {
            let before = self.before[*at as usize];
            (before != NONE).then_some(before)
        };
        std::iter::successors(first, before).map(|at| at as usize)
    }
}

/// A position and its account's money after fills that are only planned.
#[derive(Clone)]
pub(crate) struct After {
    position: Position,
    real: i128,
    /// One of the fills [may cost](may_cost) more than its margin.
    pub(crate) costly: bool,
}

impl After {
    pub(crate) fn new(held: &Position, market: &Market) -> Self {
        let mut position = Position {
            orders: Vec::new(),
            ..*held
        };
        let real = position.settle(market.funding);
        Self {
            position,
            real,
            costly: false,
        }
    }

    /// One more fill of a resting order, at its price.
    pub(crate) fn fill(&mut self, order: &Resting, lots: u64, fee_ppm: u32) {
        let signed = lots as i64;
        if !order.reduce_only {
            self.position.open(order.buy, order.ticks, -signed);
        }
        let signed = if order.buy { signed } else { -signed };
        self.real += self.position.trade(signed, order.ticks);
        self.real -= fee(notional(order.ticks, lots as i64), fee_ppm);
    }
}

/// Whether a fill of an order may cost more than the margin that is held for it.
pub(crate) const fn may_cost(order: &Resting, mark: u64) -> bool {
    let wrong_side = if order.buy {
        order.ticks > mark
    } else {
        order.ticks < mark
    };
    order.reduce_only || wrong_side
}

impl House {
    /// Whether a resting order's maker bears a fill after the others of the plan.
    pub(crate) fn bears_after(
        &self,
        plan: &Plan,
        market: u32,
        resting: &Resting,
        lots: u64,
    ) -> bool {
        let at = &self.core.markets[market as usize];
        let flat = Position::flat(market);
        let held = self.held(resting.account, market).unwrap_or(&flat);
        let mut after = After::new(held, at);
        for (slot, lots) in plan.fills_of(resting.account) {
            let order = self.books[market as usize].order(slot);
            after.fill(order, lots, at.params.maker_fee_ppm);
        }
        self.bears(&mut after, resting, lots, at.params.maker_fee_ppm)
    }

    /// Whether an account bears one more fill of its order; it is in `after` then.
    pub(crate) fn bears(
        &self,
        after: &mut After,
        order: &Resting,
        lots: u64,
        fee_ppm: u32,
    ) -> bool {
        let health = |after: &After| {
            let mut health = self.health_with(order.account, Some(&after.position));
            health.equity += after.real;
            health
        };
        let before = health(after);
        after.fill(order, lots, fee_ppm);
        health(after).may_follow(&before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fills_are_found_by_their_maker(
            plans in proptest::collection::vec(proptest::collection::vec(0..5u32, 0..20), 1..6),
            near_the_end in any::<bool>(),
        ) {
            let mut by = ByMaker::default();
            if near_the_end {
                by.plan = u32::MAX - 2;
            }
            for makers in plans {
                by.begin(5);
                makers.iter().for_each(|maker| by.push(*maker));
                for maker in 0..5 {
                    let all = makers.iter().enumerate().rev();
                    let want: Vec<_> = all.filter(|(_, m)| **m == maker).map(|(at, _)| at).collect();
                    prop_assert_eq!(by.of(maker).collect::<Vec<_>>(), want);
                }
            }
        }
    }
}
