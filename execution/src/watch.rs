//! What a breaker counts beside prices: liquidations and what the insurance fund had to pay,
//! over windows of heights, times the market came back, and how long its book leans on the
//! edge of its band.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::breaker::BreakerParams;
use crate::house::House;
use crate::units::{PPM, notional, share_of};

/// Largest sum that is kept; times [`PPM`] it fits its type, and no market comes near it.
const SUM_MAX: u128 = 1 << 100;

/// A sum over the window of heights that runs and the one before: over any so many heights in
/// a row it is never less than their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Window {
    turn: u64,
    now: u128,
    before: u128,
}

impl Window {
    /// Goes on to a height.
    fn go_to(&mut self, height: u64, heights: u32) {
        let turn = height / u64::from(heights.max(1));
        self.before = match turn.abs_diff(self.turn) {
            0 => return,
            1 => self.now,
            _ => 0,
        };
        (self.turn, self.now) = (turn, 0);
    }

    fn add(&mut self, amount: u128) {
        self.now = self.now.saturating_add(amount).min(SUM_MAX);
    }

    const fn empty(&mut self) {
        (self.now, self.before) = (0, 0);
    }

    /// The sum.
    #[must_use]
    pub const fn sum(&self) -> u128 {
        self.now + self.before
    }
}

/// What a market's breaker counts; all 0 without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Watch {
    /// Notional liquidated and deleveraged, in quote quanta.
    pub liquidated: Window,
    /// What the insurance fund paid, or could not pay, for accounts' positions here.
    pub drawn: Window,
    /// Times the market came back to normal.
    pub resumed: Window,
    /// Heights in a row at which the book leaned on the edge, up to what counts.
    pub leaning: u32,
}

impl Watch {
    /// Goes on to a height.
    pub(crate) fn go_to(&mut self, height: u64, breaker: &BreakerParams) {
        self.liquidated.go_to(height, breaker.window_heights);
        self.drawn.go_to(height, breaker.window_heights);
        self.resumed.go_to(height, breaker.resume_heights);
    }

    /// Notes that the market is normal again, by an auction if so: that has answered what was
    /// counted before.
    pub(crate) fn resume(&mut self, by_auction: bool) {
        self.resumed.add(1);
        if by_auction {
            self.liquidated.empty();
            self.drawn.empty();
            self.leaning = 0;
        }
    }

    /// Whether a snapshot's one is in its bounds.
    pub(crate) fn is_sane(&self) -> bool {
        let windows = [self.liquidated, self.drawn, self.resumed];
        windows.iter().all(|w| w.now.max(w.before) <= SUM_MAX)
    }
}

impl House {
    /// Notes lots that were liquidated or deleveraged.
    pub(crate) fn note_liquidated(&mut self, market: u32, lots: u64) {
        let market = &mut self.core.markets[market as usize];
        if market.params.breaker.is_some() {
            let value = u128::from(market.mark) * u128::from(lots);
            market.watch.liquidated.add(value);
        }
    }

    /// Notes what the insurance fund paid, or should have.
    pub(crate) fn note_drawn(&mut self, market: u32, amount: i128) {
        let market = &mut self.core.markets[market as usize];
        if market.params.breaker.is_some() {
            market.watch.drawn.add(amount.unsigned_abs());
        }
    }

    /// An account's markets with their maintenance margins, in quote quanta.
    pub(crate) fn margins_of(&self, account: u32) -> Vec<(u32, i128)> {
        let held = self.accounts[account as usize].positions.iter();
        let margin = |p: &crate::account::Position| {
            let margin = self.maintenance_of(p.market, p.lots) / PPM + 1;
            (p.market, margin)
        };
        held.filter(|p| p.lots != 0).map(margin).collect()
    }

    /// Notes what was paid for an account, by the margins of its markets.
    pub(crate) fn note_paid(&mut self, margins: &[(u32, i128)], amount: i128) {
        let whole: i128 = margins.iter().map(|(_, margin)| margin).sum();
        for (market, margin) in margins {
            self.note_drawn(*market, share_of(amount, *margin, whole));
        }
    }

    /// Counts heights at which a market's book leans on the edge of its band: somebody bids so
    /// far above the mark, or asks so far below it.
    pub(crate) fn count_leaning(&mut self, market: u32, breaker: &BreakerParams) {
        let book = &self.books[market as usize];
        let (bid, ask) = (book.best(true), book.best(false));
        let market = &mut self.core.markets[market as usize];
        let mark = i128::from(market.mark);
        let far = |away: i128| away * PPM >= mark * i128::from(breaker.edge_ppm);
        let leans = bid.is_some_and(|bid| far(i128::from(bid) - mark))
            || ask.is_some_and(|ask| far(mark - i128::from(ask)));
        market.watch.leaning = if leans {
            market
                .watch
                .leaning
                .saturating_add(1)
                .min(breaker.edge_heights)
        } else {
            0
        };
    }

    /// Whether the book of a market in which somebody holds lots has fewer within 1 % of the
    /// mark, on a side, than it must.
    pub(crate) fn is_thin(&self, market: u32, breaker: &BreakerParams) -> bool {
        let held = self.core.markets[market as usize].open_interest > 0;
        let least = breaker.depth_min;
        let thin = |buy: bool| self.depth(market, buy, least) < least;
        held && least > 0 && (thin(true) || thin(false))
    }

    /// Whether more was liquidated than a share of the open interest.
    pub(crate) fn is_liquidated(&self, market: u32, breaker: &BreakerParams) -> bool {
        let market = &self.core.markets[market as usize];
        let lots = i64::try_from(market.open_interest).unwrap_or(i64::MAX);
        let held = notional(market.mark, lots).unsigned_abs();
        let most = held.saturating_mul(u128::from(breaker.liquidated_ppm));
        market.watch.liquidated.sum() * PPM as u128 > most
    }

    /// Whether more was drawn from the insurance fund than a share of what it would have.
    pub(crate) fn is_drawn(&self, market: u32, breaker: &BreakerParams) -> bool {
        let drawn = self.core.markets[market as usize].watch.drawn.sum();
        let fund = self.core.insurance.max(0).unsigned_abs() + drawn;
        drawn * PPM as u128 > fund * u128::from(breaker.drawn_ppm)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // What is added in any `heights` in a row is in the sum at their end, and nothing that
        // is twice as old.
        #[test]
        fn a_window_forgets_nothing_too_early_and_everything_in_the_end(
            heights in 1..20u32,
            steps in proptest::collection::vec((0..12u64, 0..1_000u128), 1..60),
        ) {
            let (mut window, mut height) = (Window::default(), 0);
            let mut added: Vec<(u64, u128)> = Vec::new();
            for (passed, amount) in steps {
                height += passed;
                window.go_to(height, heights);
                window.add(amount);
                added.push((height, amount));
                let within = |most: u64| -> u128 {
                    let young = added.iter().filter(|(at, _)| height - at < most);
                    young.map(|(_, amount)| amount).sum()
                };
                let heights = u64::from(heights);
                prop_assert!(within(heights) <= window.sum());
                prop_assert!(window.sum() <= within(2 * heights));
            }
        }
    }
}
