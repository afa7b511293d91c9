//! Invariants that a clearing house checks while it runs (EXECUTION §5). Where one does not
//! hold, the market is frozen and the others go on: it takes cancels only, its mark and its
//! funding stay, nothing is liquidated there, and who holds lots in it cannot withdraw. That is
//! no trouble of the market but a fault, of this program or of the machine it runs on; on one
//! machine alone, its state root differs from the committee's, and it stops.
//!
//! - After every block: no book is crossed or locked outside of an auction, the insurance fund is
//!   not below zero, and what was changed fits: an account's sums of open orders, and the orders.
//! - Every [`AUDIT_HEIGHTS`]: positions sum to nothing and to the open interest, the books hold
//!   the accounts' orders and no others, and money was neither made nor lost.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::Position;
use crate::book::{Book, Resting};
use crate::breaker::Status;
use crate::event::Event;
use crate::house::House;
use crate::units::{LOTS_MAX, notional};

/// Heights between two looks at everything.
pub const AUDIT_HEIGHTS: u64 = 64;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Broken {
    /// The book is crossed or locked.
    Crossed,
    /// An account's orders or their sums are not those of the book.
    Orders,
    /// The book holds other orders than the accounts.
    Book,
    /// Positions do not sum to the open interest.
    Interest,
    /// Money was made or lost, or the insurance fund is below zero: in all markets.
    Money,
}

/// A commitment's part in an account's open sums: account, market, side, lots, notional.
type Reserved = (u32, u32, bool, u64, i128);

impl House {
    /// Freezes the markets that do not hold together, after all else of a block.
    pub(crate) fn audit(&mut self, height: u64, events: &mut Vec<Event>) {
        let mut found = self.crossed();
        let reserved = self.reserved();
        for account in &self.dirty {
            self.unfit(*account, &reserved, &mut found);
        }
        if height.is_multiple_of(AUDIT_HEIGHTS) {
            found.append(&mut self.broken());
        }
        if self.core.insurance < 0 {
            found.extend(self.all_markets(Broken::Money));
        }
        for (market, why) in found {
            if self.freeze(market, why, events) {
                self.rebuild(market);
            }
        }
    }

    /// Makes a market's book and the accounts' sums from the orders that fit, as a restart from
    /// a snapshot does: a member that goes on must have what one that comes back has.
    fn rebuild(&mut self, market: u32) {
        let mut resting: Vec<Resting> = Vec::new();
        for id in 0..self.accounts.len() as u32 {
            let Some(held) = self.held(id, market) else {
                continue;
            };
            let fitting = held.orders.iter();
            resting.extend(fitting.filter_map(|own| self.order_of(id, market, own)));
            let position = self.position(id, market);
            position.orders.clear();
            (position.open_buy, position.open_sell) = (0, 0);
            (position.buy_notional, position.sell_notional) = (0, 0);
            self.touch(id);
        }
        self.books[market as usize] = Book::default();
        self.expiries.retain(|_, order| order.market != market);
        for at in 0..self.core.large.len() {
            let large = self.core.large[at].clone();
            if large.market == market {
                self.reserve(&large, large.left as i64);
            }
        }
        resting.sort_unstable_by_key(|order| order.seq);
        for order in resting {
            self.rest(market, order);
        }
    }

    /// The order that an account has under a number, if the book has the same.
    fn order_of(&self, account: u32, market: u32, own: &(u64, u32)) -> Option<Resting> {
        let found = self.books[market as usize].get(own.1).copied();
        found.filter(|order| {
            (order.account, order.cloid) == (account, own.0) && (1..=LOTS_MAX).contains(&order.lots)
        })
    }

    /// Everything that does not hold.
    pub(crate) fn broken(&self) -> Vec<(u32, Broken)> {
        let mut found = self.crossed();
        let reserved = self.reserved();
        let mut sums = vec![Sums::default(); self.core.markets.len()];
        let mut money =
            self.core.fees + self.core.withdrawn + self.core.insurance + self.core.funding
                - self.core.bad_debt;
        for id in 0..self.accounts.len() as u32 {
            self.unfit(id, &reserved, &mut found);
            let account = &self.accounts[id as usize];
            money += account.collateral;
            for position in &account.positions {
                money -= position.cost;
                let of = &mut sums[position.market as usize];
                of.lots += i128::from(position.lots);
                of.long += i128::from(position.lots.max(0));
                of.orders += position.orders.len();
            }
        }
        for (number, sums) in (0..).zip(&sums) {
            let (market, book) = (
                &self.core.markets[number as usize],
                &self.books[number as usize],
            );
            if (sums.lots, sums.long) != (0, i128::from(market.open_interest)) {
                found.push((number, Broken::Interest));
            }
            if sums.orders != book.len() {
                found.push((number, Broken::Book));
            }
        }
        if money != self.core.deposited || self.core.insurance < 0 {
            found.extend(self.all_markets(Broken::Money));
        }
        found
    }

    fn all_markets(&self, why: Broken) -> impl Iterator<Item = (u32, Broken)> + use<> {
        (0..self.core.markets.len() as u32).map(move |market| (market, why))
    }

    fn crossed(&self) -> Vec<(u32, Broken)> {
        let crossed = |number: &u32| {
            let book = &self.books[*number as usize];
            let (bid, ask) = (book.best(true), book.best(false));
            let status = self.core.markets[*number as usize].status;
            let met = bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask);
            met && !matches!(status, Status::Auction { .. })
        };
        let markets = 0..self.core.markets.len() as u32;
        let found = markets.filter(crossed);
        found.map(|market| (market, Broken::Crossed)).collect()
    }

    fn reserved(&self) -> Vec<Reserved> {
        let of = |large: &crate::large::Large| {
            let value = notional(large.limit, large.left as i64);
            (large.account, large.market, large.buy, large.left, value)
        };
        let mut all: Vec<_> = self.core.large.iter().map(of).collect();
        all.sort_unstable();
        all
    }

    /// Adds the markets in which an account's orders or sums are not what they should be.
    fn unfit(&self, account: u32, reserved: &[Reserved], found: &mut Vec<(u32, Broken)>) {
        for position in &self.accounts[account as usize].positions {
            if !self.fits(account, position, reserved) {
                found.push((position.market, Broken::Orders));
            }
        }
    }

    fn fits(&self, account: u32, position: &Position, reserved: &[Reserved]) -> bool {
        // Of sells and buys.
        let (mut open, mut worth) = ([0; 2], [0; 2]);
        for own in &position.orders {
            let Some(order) = self.order_of(account, position.market, own) else {
                return false;
            };
            if !order.reduce_only {
                open[usize::from(order.buy)] += order.lots;
                worth[usize::from(order.buy)] += notional(order.ticks, order.lots as i64);
            }
        }
        let own = (account, position.market);
        let from = reserved.partition_point(|one| (one.0, one.1) < own);
        let mine = reserved[from..].iter();
        for (.., buy, lots, value) in mine.take_while(|one| (one.0, one.1) == own) {
            open[usize::from(*buy)] += lots;
            worth[usize::from(*buy)] += value;
        }
        (open, worth)
            == (
                [position.open_sell, position.open_buy],
                [position.sell_notional, position.buy_notional],
            )
            && position.lots.unsigned_abs() <= LOTS_MAX
            && position.cost.signum() * i128::from(position.lots.signum()) >= 0
    }
}

/// Sums over all accounts.
#[derive(Clone, Copy, Default)]
struct Sums {
    lots: i128,
    long: i128,
    orders: usize,
}

#[cfg(test)]
mod tests;
