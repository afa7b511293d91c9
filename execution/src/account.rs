//! Accounts: collateral, positions, and their open orders' sums.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::PublicKey;

use crate::house::Market;
use crate::units::{PPM, compare_products, micro, notional, part_of, times};

/// What an account holds in one market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Market.
    pub market: u32,
    /// Lots, negative when short.
    pub lots: i64,
    /// What the open lots cost, with the sign of `lots`: profit = lots × mark − cost.
    pub cost: i128,
    /// The market's funding index when the position last settled its funding.
    pub funding: i128,
    /// Lots of open buys that could enlarge the position.
    pub open_buy: u64,
    /// Lots of open sells that could enlarge the position.
    pub open_sell: u64,
    /// Notional of those buys at their own prices.
    pub buy_notional: i128,
    /// Notional of those sells at their own prices.
    pub sell_notional: i128,
    /// The open orders, ascending: own number, slot in the book.
    pub orders: Vec<(u64, u32)>,
}

impl Position {
    /// A flat one.
    #[must_use]
    pub const fn flat(market: u32) -> Self {
        Self {
            market,
            lots: 0,
            cost: 0,
            funding: 0,
            open_buy: 0,
            open_sell: 0,
            buy_notional: 0,
            sell_notional: 0,
            orders: Vec::new(),
        }
    }

    /// Whether there is anything in it.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.lots == 0 && self.orders.is_empty() && self.open_buy | self.open_sell == 0
    }

    /// Lots after the worse of all buys or all sells filling.
    #[must_use]
    pub fn worst_lots(&self) -> u64 {
        let buys = self.lots.saturating_add_unsigned(self.open_buy);
        let sells = self.lots.saturating_sub_unsigned(self.open_sell);
        buys.unsigned_abs().max(sells.unsigned_abs())
    }

    /// What the position gets, or pays, to settle its funding up to an index: rounded down,
    /// so that payers pay no less and receivers get no more.
    #[must_use]
    pub const fn unsettled(&self, index: i128) -> i128 {
        // Mostly so, and the division below is slow.
        if self.funding == index {
            return 0;
        }
        // Longs pay when the index rises.
        let micro = (self.funding - index) * self.lots as i128;
        micro.div_euclid(PPM)
    }

    /// Settles the funding up to an index; gives what [`Self::unsettled`] says.
    pub const fn settle(&mut self, index: i128) -> i128 {
        let due = self.unsettled(index);
        self.funding = index;
        due
    }

    /// Unrealised profit at the mark, with the funding that is not settled.
    #[must_use]
    pub fn profit(&self, market: &Market) -> i128 {
        notional(market.mark, self.lots) - self.cost + self.unsettled(market.funding)
    }

    /// Initial margin × ppm, every open order filled at its worst: what open orders would lose
    /// against the mark at once, and their fees, are part of it.
    #[must_use]
    pub fn initial_micro(&self, market: &Market) -> i128 {
        let size = |lots: u64| times(i128::from(market.mark), lots);
        let margin = market.initial(market.margin_size(self.worst_lots()));
        if self.open_buy | self.open_sell == 0 {
            return margin;
        }
        let buys = (self.buy_notional - size(self.open_buy)).max(0);
        let sells = (size(self.open_sell) - self.sell_notional).max(0);
        let params = &market.params;
        let fees = times(
            self.buy_notional + self.sell_notional,
            u64::from(params.taker_fee_ppm.max(params.maker_fee_ppm)),
        );
        margin + micro(buys + sells) + fees
    }

    /// Adds an order to the open ones; gives the part × ppm of what it would lose against the
    /// mark at once that its side's other orders' gains would hide. They may never fill.
    pub fn open_alone(&mut self, buy: bool, ticks: u64, lots: i64, market: &Market) -> i128 {
        let loss = |worth: i128, lots: u64| {
            let at_mark = times(i128::from(market.mark), lots);
            if buy {
                worth - at_mark
            } else {
                at_mark - worth
            }
        };
        let others = if buy {
            loss(self.buy_notional, self.open_buy)
        } else {
            loss(self.sell_notional, self.open_sell)
        };
        let own = loss(notional(ticks, lots), lots.unsigned_abs());
        self.open(buy, ticks, lots);
        micro(others.max(0) + own.max(0) - (others + own).max(0))
    }

    /// Slot of the open order with a number.
    #[must_use]
    pub fn order(&self, cloid: u64) -> Option<u32> {
        let at = self.orders.binary_search_by_key(&cloid, |(own, _)| *own);
        Some(self.orders[at.ok()?].1)
    }

    /// Notes an open order; its number is not in use.
    pub fn add_order(&mut self, cloid: u64, slot: u32) {
        let at = self.orders.partition_point(|(own, _)| *own < cloid);
        self.orders.insert(at, (cloid, slot));
    }

    /// Forgets an open order.
    pub fn remove_order(&mut self, cloid: u64) {
        if let Ok(at) = self.orders.binary_search_by_key(&cloid, |(own, _)| *own) {
            self.orders.remove(at);
        }
    }

    /// Changes the open sums by an order's lots.
    pub fn open(&mut self, buy: bool, ticks: u64, lots: i64) {
        let value = notional(ticks, lots);
        let (sum, worth) = if buy {
            (&mut self.open_buy, &mut self.buy_notional)
        } else {
            (&mut self.open_sell, &mut self.sell_notional)
        };
        *sum = sum.wrapping_add_signed(lots);
        *worth += value;
    }

    /// Moves `lots` (signed) at a price; gives the profit that became real. A partial close
    /// leaves the exact rest of the cost, so that nothing is lost to rounding.
    pub fn trade(&mut self, lots: i64, ticks: u64) -> i128 {
        let opposite = (self.lots < 0) != (lots < 0) && self.lots != 0;
        let closing = if opposite {
            lots.unsigned_abs().min(self.lots.unsigned_abs())
        } else {
            0
        };
        let mut real = 0;
        if closing > 0 {
            let closed = if lots < 0 {
                closing as i64
            } else {
                -(closing as i64)
            };
            let part = if closing == self.lots.unsigned_abs() {
                self.cost
            } else {
                part_of(self.cost, closing, self.lots.unsigned_abs())
            };
            real = notional(ticks, closed) - part;
            self.cost -= part;
            self.lots -= closed;
        }
        let rest = if lots < 0 {
            lots + closing as i64
        } else {
            lots - closing as i64
        };
        self.lots += rest;
        self.cost += notional(ticks, rest);
        real
    }
}

/// An account. Its number is its place among all accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub key: PublicKey,
    /// Realised money, in quote quanta.
    pub collateral: i128,
    /// By market, ascending.
    pub positions: Vec<Position>,
}

/// A position as hashed, proven and snapshotted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PositionLeaf {
    /// Market.
    pub market: u32,
    /// Lots, negative when short.
    pub lots: i64,
    /// What they cost.
    pub cost: i128,
    /// The market's funding index when it last settled.
    pub funding: i128,
    /// The open orders, by priority. The books are these orders and nothing else.
    pub orders: Vec<crate::book::Resting>,
}

/// An account as hashed, proven and snapshotted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountLeaf {
    /// Whose it is.
    pub key: PublicKey,
    /// Realised money, in quote quanta.
    pub collateral: i128,
    /// By market, ascending; flat ones without orders left out.
    pub positions: Vec<PositionLeaf>,
}

/// An account's standing at the marks. Margins are in quote quanta × ppm: comparing needs
/// no division, so no position is small enough to have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Collateral and unrealised profit.
    pub equity: i128,
    /// The losing part of the unrealised profit, at most 0.
    pub losses: i128,
    /// Initial margin × ppm, every open order filled at its worst.
    pub initial_micro: i128,
    /// Maintenance margin × ppm of the positions alone.
    pub maintenance_micro: i128,
}

impl Health {
    /// Whether equity covers the initial margin.
    #[must_use]
    pub const fn covers_initial(&self) -> bool {
        micro(self.equity) >= self.initial_micro
    }

    /// Whether the maintenance margin is not covered.
    #[must_use]
    pub const fn liquidatable(&self) -> bool {
        self.maintenance_micro > 0 && self.maintenance_micro > micro(self.equity)
    }

    /// The rule for an account below its initial margin after a change (dYdX v4,
    /// `IsValidStateTransitionForUndercollateralizedSubaccount`): maintenance must not
    /// rise and equity / maintenance not fall; with no maintenance left equity must rise.
    #[must_use]
    pub fn may_follow(&self, before: &Self) -> bool {
        if self.covers_initial() {
            return true;
        }
        if self.maintenance_micro > before.maintenance_micro {
            return false;
        }
        if self.maintenance_micro == 0 {
            return self.equity > before.equity;
        }
        // Both maintenances are positive.
        let (now, then) = (self.maintenance_micro, before.maintenance_micro);
        let (now, then) = (now.unsigned_abs(), then.unsigned_abs());
        compare_products(self.equity, then, before.equity, now).is_ge()
    }

    /// Adds one position at its market's mark.
    pub fn add(&mut self, position: &Position, market: &Market) {
        let profit = position.profit(market);
        self.equity += profit;
        self.losses += profit.min(0);
        let size = market.margin_size(position.lots.unsigned_abs());
        self.maintenance_micro += market.maintenance(size);
        self.initial_micro += position.initial_micro(market);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn money_only_moves_between_cost_and_profit(
            trades in proptest::collection::vec((-1_000i64..1_000, 1u64..5_000), 1..60),
        ) {
            let mut position = Position::flat(0);
            let (mut real, mut paid, mut lots) = (0, 0, 0);
            for (size, ticks) in trades {
                real += position.trade(size, ticks);
                paid += notional(ticks, size);
                lots += size;
                prop_assert_eq!(position.lots, lots);
                prop_assert_eq!(position.cost - real, paid);
                prop_assert!(lots != 0 || position.cost == 0);
                prop_assert!(position.cost.signum() * i128::from(lots).signum() >= 0);
            }
        }
    }
}
