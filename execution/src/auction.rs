//! Uniform-price clearing: all orders that meet trade at one price. Used at the end of each
//! block by markets with the rule `UniformBatch`, and to reopen a market after an auction.
//!
//! - The price is the one of the largest volume; then of the smallest surplus. Of those
//!   that leave buyers over the highest counts, of those that leave sellers over the lowest;
//!   then the nearest to the mark. All orders better than it trade.
//! - At the price, orders that rested before the block come first, by time. Those of the
//!   block share by lots, and what rounding leaves goes by a hash over the sequence root:
//!   a place inside the block is worth nothing (A30).

use std::collections::BTreeMap;

use fairlane_types::{Digest, Root};

use crate::account::Position;
use crate::deleveraging::{Candidate, allot};
use crate::event::Event;
use crate::house::{Fill, House};
use crate::makers::{After, may_cost};
use crate::units::{PPM, fee, notional};

/// The clearing price and its volume, of levels (price, lots) with the best first.
#[must_use]
pub fn clearing_price(bids: &[(u64, u64)], asks: &[(u64, u64)], mark: u64) -> Option<(u64, u64)> {
    let (high, low) = (bids.first()?.0, asks.first()?.0);
    if high < low {
        return None;
    }
    let sums = |levels: &[(u64, u64)]| -> Vec<u128> {
        let mut sum = 0;
        let add = |level: &(u64, u64)| {
            sum += u128::from(level.1);
            sum
        };
        levels.iter().map(add).collect()
    };
    let (bought, sold) = (sums(bids), sums(asks));
    let at = |sums: &[u128], n: usize| n.checked_sub(1).map_or(0, |n| sums[n]);
    let prices = bids.iter().chain(asks).map(|level| level.0);
    let inside = prices.filter(|price| (low..=high).contains(price));
    // Volume, what buyers or sellers are left over, price.
    let outcome = |price: u64| {
        let buy = at(&bought, bids.partition_point(|level| level.0 >= price));
        let sell = at(&sold, asks.partition_point(|level| level.0 <= price));
        (
            buy.min(sell),
            buy.abs_diff(sell),
            buy > sell,
            sell > buy,
            price,
        )
    };
    let outcomes: Vec<_> = inside.chain([mark.clamp(low, high)]).map(outcome).collect();
    let volume = outcomes.iter().map(|o| o.0).max()?;
    let most = outcomes.iter().filter(|o| o.0 == volume);
    let surplus = most.map(|o| o.1).min()?;
    let tied = || outcomes.iter().filter(|o| (o.0, o.1) == (volume, surplus));
    // Of prices that leave buyers over only the highest, of those that leave sellers over
    // only the lowest: at any other, orders better than the price would go without.
    let highest = tied().filter(|o| o.2).map(|o| o.4).max();
    let lowest = tied().filter(|o| o.3).map(|o| o.4).min();
    let even = tied().filter(|o| !o.2 && !o.3).map(|o| o.4);
    let prices = even.chain(highest).chain(lowest);
    let price = prices.min_by_key(|price| (price.abs_diff(mark), *price));
    Some((price?, u64::try_from(volume).ok()?))
}

/// An order that may trade in a clearing.
#[derive(Clone, Copy, Debug)]
struct Entrant {
    slot: u32,
    account: u32,
    ticks: u64,
    /// Lots that may trade.
    lots: u64,
    /// Lots that rest beyond those.
    beyond: u64,
    /// It may only reduce.
    reduces: bool,
    cloid: u64,
    seq: u64,
    given: u64,
}

fn levels(entrants: &[Entrant]) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for entrant in entrants {
        match all.last_mut() {
            Some(level) if level.0 == entrant.ticks => level.1 += entrant.lots,
            _ => all.push((entrant.ticks, entrant.lots)),
        }
    }
    all
}

impl House {
    /// Clears a market at one price, unless that is farther from the mark than so many ppm; says
    /// whether it is clear. `since` is the first priority of this block.
    pub(crate) fn uncross(
        &mut self,
        market: u32,
        root: &Root,
        since: u64,
        most_ppm: Option<u32>,
        events: &mut Vec<Event>,
    ) -> bool {
        let book = &self.books[market as usize];
        let (Some(bid), Some(ask)) = (book.best(true), book.best(false)) else {
            return true;
        };
        if bid < ask {
            return true;
        }
        let mut bids = self.entrants(market, true, ask);
        let mut asks = self.entrants(market, false, bid);
        self.keep_room(market, true, &mut bids, root, since);
        self.keep_room(market, false, &mut asks, root, since);
        let mark = self.core.markets[market as usize].mark;
        // Of what counts: orders that may not trade make no price.
        let found = clearing_price(&levels(&bids), &levels(&asks), mark);
        if let (Some((price, _)), Some(most)) = (found, most_ppm) {
            let away = i128::from(price.abs_diff(mark)) * PPM;
            if away > i128::from(mark) * i128::from(most) {
                return false;
            }
        }
        let mut fills = Vec::new();
        if let Some((price, volume)) = found {
            let better = |entrant: &Entrant| entrant.ticks >= price;
            self.share(&mut bids, better, volume, root, since);
            let better = |entrant: &Entrant| entrant.ticks <= price;
            self.share(&mut asks, better, volume, root, since);
            self.pair(market, price, since, [&bids, &asks], &mut fills);
        }
        // What a reduce-only order has beyond its position, or another one beyond the room
        // that the market's bound leaves, would stay crossed.
        for entrant in bids.iter().chain(&asks) {
            if entrant.beyond > 0 && entrant.given == entrant.lots {
                self.take_out(market, entrant.slot);
            }
        }
        if let (Some((ticks, lots)), false) = (found, fills.is_empty()) {
            events.push(Event::Cleared {
                market,
                ticks,
                lots,
                fills,
            });
        }
        true
    }

    /// Orders of a side that the other reaches, best first. Those of accounts that do not
    /// cover their initial margin go, and those that would cost more than is there.
    fn entrants(&mut self, market: u32, buy: bool, limit: u64) -> Vec<Entrant> {
        let mut met = Vec::new();
        self.books[market as usize].walk(buy, limit, |slot, order| {
            met.push((slot, *order));
            true
        });
        let mut all: Vec<Entrant> = Vec::with_capacity(met.len());
        let mut reducing: Vec<usize> = Vec::new();
        for (slot, order) in met {
            if order.reduce_only {
                reducing.push(all.len());
            } else if !self.covers_initial(order.account, None, 0) {
                self.take_out(market, slot);
                continue;
            }
            all.push(Entrant {
                slot,
                account: order.account,
                ticks: order.ticks,
                lots: order.lots,
                beyond: 0,
                reduces: order.reduce_only,
                cloid: order.cloid,
                seq: order.seq,
                given: 0,
            });
        }
        self.cut_reducing(market, buy, &reducing, &mut all);
        self.drop_unborne(market, all)
    }

    /// Cuts reduce-only orders to the position, less what the account's other orders may close
    /// and reduce-only ones before it, which are cut already.
    fn cut_reducing(&self, market: u32, buy: bool, reducing: &[usize], all: &mut [Entrant]) {
        let mut used: BTreeMap<u32, u64> = BTreeMap::new();
        for n in reducing {
            used.insert(all[*n].account, 0);
        }
        if used.is_empty() {
            return;
        }
        for entrant in all.iter().filter(|e| !e.reduces) {
            if let Some(used) = used.get_mut(&entrant.account) {
                *used += entrant.lots;
            }
        }
        for n in reducing {
            let entrant = &mut all[*n];
            let held = self.held(entrant.account, market).map_or(0, |p| p.lots);
            let opposite = held != 0 && (held > 0) != buy;
            let used = used.entry(entrant.account).or_insert(0);
            let room = if opposite {
                held.unsigned_abs().saturating_sub(*used)
            } else {
                0
            };
            let lots = entrant.lots.min(room);
            *used += lots;
            entrant.beyond = entrant.lots - lots;
            entrant.lots = lots;
        }
    }

    /// Takes orders out that their accounts would not [bear](Self::bears) at their own prices,
    /// after all better ones of theirs.
    fn drop_unborne(&mut self, market: u32, all: Vec<Entrant>) -> Vec<Entrant> {
        let at = &self.core.markets[market as usize];
        let (mark, book) = (at.mark, &self.books[market as usize]);
        let fee_ppm = at.params.taker_fee_ppm.max(at.params.maker_fee_ppm);
        if !all.iter().any(|e| may_cost(book.order(e.slot), mark)) {
            return all;
        }
        let flat = Position::flat(market);
        let mut afters: BTreeMap<u32, After> = BTreeMap::new();
        let mut borne = Vec::with_capacity(all.len());
        let mut out = Vec::new();
        for entrant in all {
            let order = book.order(entrant.slot);
            let after = afters.entry(entrant.account).or_insert_with(|| {
                After::new(self.held(entrant.account, market).unwrap_or(&flat), at)
            });
            after.costly |= may_cost(order, mark);
            if !after.costly {
                after.fill(order, entrant.lots, fee_ppm);
            } else if entrant.lots > 0 {
                let before = after.clone();
                if !self.bears(after, order, entrant.lots, fee_ppm) {
                    *after = before;
                    out.push(entrant.slot);
                    continue;
                }
            }
            borne.push(entrant);
        }
        for slot in out {
            self.take_out(market, slot);
        }
        borne
    }

    /// Cuts what a side's orders may open to the room under the market's bound of open
    /// interest, so that one clearing cannot pass it either (buyers that open no more than
    /// the room suffice; sellers are held to the same). What closes is not cut. The room goes
    /// as volume does: best price, then time, then by lots with a draw.
    fn keep_room(&self, market: u32, buy: bool, side: &mut [Entrant], root: &Root, since: u64) {
        let state = &self.core.markets[market as usize];
        if state.params.interest_max == 0 {
            return;
        }
        let room = state
            .params
            .interest_max
            .saturating_sub(state.open_interest);
        let mut closing: BTreeMap<u32, u64> = BTreeMap::new();
        let mut opening = side.to_vec();
        for entrant in &mut opening {
            if entrant.reduces {
                entrant.lots = 0;
                continue;
            }
            let held = self.held(entrant.account, market).map_or(0, |p| p.lots);
            let closes = if (held > 0) == buy {
                0
            } else {
                held.unsigned_abs()
            };
            let left = closing.entry(entrant.account).or_insert(closes);
            let closes = entrant.lots.min(*left);
            *left -= closes;
            entrant.lots -= closes;
        }
        self.share(&mut opening, |_| true, room, root, since);
        for (entrant, opens) in side.iter_mut().zip(&opening) {
            let cut = opens.lots - opens.given;
            entrant.lots -= cut;
            entrant.beyond += cut;
        }
    }

    /// Gives volume to a side's orders, best price first.
    fn share(
        &self,
        side: &mut [Entrant],
        eligible: impl Fn(&Entrant) -> bool,
        volume: u64,
        root: &Root,
        since: u64,
    ) {
        let mut left = volume;
        for group in side.chunk_by_mut(|a, b| a.ticks == b.ticks) {
            if !eligible(&group[0]) {
                return;
            }
            let old = group.partition_point(|entrant| entrant.seq < since);
            let (old, new) = group.split_at_mut(old);
            for entrant in old {
                entrant.given = entrant.lots.min(left);
                left -= entrant.given;
            }
            let lot = |entrant: &Entrant| -> Digest {
                let key = self.accounts[entrant.account as usize].key;
                let bytes = fairlane_types::encode(&(root, key, entrant.cloid));
                Digest(blake3::derive_key("FAIRLANE V1 execution lot", &bytes))
            };
            let mut drawn: Vec<(Digest, usize)> = new.iter().map(lot).zip(0..new.len()).collect();
            drawn.sort_unstable();
            let candidate = |(_, n): &(Digest, usize)| Candidate {
                account: new[*n].account,
                lots: new[*n].lots,
                weight: u128::from(new[*n].lots),
            };
            let candidates: Vec<_> = drawn.iter().map(candidate).collect();
            for ((_, n), given) in drawn.iter().zip(allot(left, &candidates)) {
                new[*n].given = given;
                left -= given;
            }
        }
    }

    /// Matches buyers and sellers in their order. Orders of this block pay the taker's fee,
    /// older ones the maker's.
    fn pair(
        &mut self,
        market: u32,
        price: u64,
        since: u64,
        [bids, asks]: [&[Entrant]; 2],
        fills: &mut Vec<Fill>,
    ) {
        let params = &self.core.markets[market as usize].params;
        let (taker_ppm, maker_ppm) = (params.taker_fee_ppm, params.maker_fee_ppm);
        let mut sellers = asks
            .iter()
            .map(|e| (e, e.given))
            .filter(|(_, lots)| *lots > 0);
        let mut seller = sellers.next();
        for buyer in bids {
            let mut left = buyer.given;
            while let (true, Some((sell, most))) = (left > 0, seller) {
                let lots = left.min(most);
                self.shrink(market, buyer.slot, lots);
                self.shrink(market, sell.slot, lots);
                self.exchange(market, [buyer.account, sell.account], lots, price);
                self.core.fills += 1;
                for side in [buyer, sell] {
                    let ppm = if side.seq < since {
                        maker_ppm
                    } else {
                        taker_ppm
                    };
                    let fee = fee(notional(price, lots as i64), ppm);
                    self.accounts[side.account as usize].collateral -= fee;
                    self.core.fees += fee;
                }
                fills.push(Fill {
                    market,
                    taker: buyer.account,
                    taker_cloid: buyer.cloid,
                    maker: sell.account,
                    maker_cloid: sell.cloid,
                    buy: true,
                    ticks: price,
                    lots,
                });
                left -= lots;
                seller = if lots == most {
                    sellers.next()
                } else {
                    Some((sell, most - lots))
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_by_volume_surplus_pressure_and_the_mark() {
        // No cross.
        assert_eq!(clearing_price(&[(99, 5)], &[(100, 5)], 100), None);
        // Volume.
        let (bids, asks) = ([(103, 5), (100, 20)], [(98, 4), (101, 30)]);
        assert_eq!(clearing_price(&bids, &asks, 98), Some((101, 5)));
        // Surplus: 10 trade from 100 to 102, 5 sellers are left at 101 and above.
        let (bids, asks) = ([(102, 10)], [(100, 10), (101, 5)]);
        assert_eq!(clearing_price(&bids, &asks, 500), Some((100, 10)));
        // Of 58 and 59, between which nobody is: below or above, better orders would wait.
        let bids = [(62, 63), (58, 21)];
        let asks = [(48, 63), (59, 21)];
        assert_eq!(clearing_price(&bids, &asks, 40), Some((58, 63)));
        // Pressure of buyers, of sellers; none: the mark.
        assert_eq!(
            clearing_price(&[(102, 12)], &[(100, 10)], 100),
            Some((102, 10))
        );
        assert_eq!(
            clearing_price(&[(102, 10)], &[(100, 12)], 102),
            Some((100, 10))
        );
        for (mark, price) in [(90, 100), (101, 101), (110, 102)] {
            let found = clearing_price(&[(102, 10)], &[(100, 10)], mark);
            assert_eq!(found, Some((price, 10)));
        }
    }

    proptest! {
        #[test]
        fn no_price_trades_more(
            bids in proptest::collection::btree_map(50..70u64, 1..40u64, 1..9),
            asks in proptest::collection::btree_map(45..65u64, 1..40u64, 1..9),
            mark in 40..80u64,
        ) {
            let bids: Vec<_> = bids.into_iter().rev().collect();
            let asks: Vec<_> = asks.into_iter().collect();
            let volume = |price: u64| {
                let buy: u64 = bids.iter().filter(|l| l.0 >= price).map(|l| l.1).sum();
                let sell: u64 = asks.iter().filter(|l| l.0 <= price).map(|l| l.1).sum();
                buy.min(sell)
            };
            let best = (1..100).map(volume).max().unwrap();
            match clearing_price(&bids, &asks, mark) {
                None => prop_assert_eq!(best, 0),
                Some((price, found)) => {
                    prop_assert_eq!((found, volume(price)), (best, best));
                    // Better orders of the longer side all trade: they are not too many.
                    let strictly: u64 = bids.iter().filter(|l| l.0 > price).map(|l| l.1).sum();
                    prop_assert!(strictly <= best);
                    let strictly: u64 = asks.iter().filter(|l| l.0 < price).map(|l| l.1).sum();
                    prop_assert!(strictly <= best);
                }
            }
        }
    }
}
