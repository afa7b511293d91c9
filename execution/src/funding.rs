//! Funding: what longs pay shorts, or the reverse, so that the price traded stays near the
//! mark. A tick moves an index only; a position settles when it is next traded, and its
//! margin counts what it has not settled.

use crate::breaker::Status;
use crate::event::Event;
use crate::house::House;
use crate::oracle::Validity;
use crate::units::PPM;

/// Bound of an index. A funding that would pass it does not happen. With it the equity of an
/// account in all markets, × ppm, fits an i128 (lemma `equity_fits`).
pub const FUNDING_MAX: i128 = 1 << 80;

impl House {
    /// Samples each market's premium, and moves the index where a period ends. Before the
    /// transactions of `height`.
    pub(crate) fn fund(&mut self, height: u64, events: &mut Vec<Event>) {
        for (number, market) in self.core.markets.iter_mut().enumerate() {
            let period = u64::from(market.params.funding_heights);
            // Still without a price: nobody can say how far the book is from it.
            let heard = matches!(
                market.oracle.validity,
                Validity::Fresh | Validity::Uncertain
            );
            if period == 0 || !heard || market.status == Status::Frozen {
                continue;
            }
            let book = &self.books[number];
            let cap = i128::from(market.params.funding_cap_ppm);
            if let (Some(bid), Some(ask)) = (book.best(true), book.best(false)) {
                let mark = i128::from(market.mark);
                let away = i128::from(bid) + i128::from(ask) - 2 * mark;
                let premium = (away * PPM / (2 * mark)).clamp(-cap, cap);
                market.premium_ppm += premium as i64;
                market.premiums += 1;
            }
            if !height.is_multiple_of(period) {
                continue;
            }
            let samples = i64::from(market.premiums.max(1));
            let rate_ppm = market.premium_ppm / samples;
            (market.premium_ppm, market.premiums) = (0, 0);
            let index = market.funding + i128::from(market.mark) * i128::from(rate_ppm);
            if rate_ppm != 0 && index.abs() <= FUNDING_MAX {
                market.funding = index;
                let market = number as u32;
                events.push(Event::Funding { market, rate_ppm });
            }
        }
    }
}
