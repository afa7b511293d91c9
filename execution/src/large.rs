//! Large positions settle later (EXECUTION §6): an order over a market's bound is committed
//! first and traded in slices, at prices that nobody knew when it was committed.
//!
//! - From the commitment on its margin is reserved, as for an open order at its limit.
//! - Its price is the median of the first reports after `delay_heights`. A slice trades no
//!   farther from that than `price_ppm`, and within its limit.
//! - Slices come after a block's transactions, in the order (due, commitment): they have no
//!   priority over anybody. Each is checked against the initial margin once more, and pays
//!   for its impact to the insurance fund.
//! - It cannot be taken back at once, which would make it a free option, and it ends by
//!   itself. Profit that a slice made real cannot be withdrawn for a while.
//! - What is pending is part of the state: a restart goes on with it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::TimeInForce;
use serde::{Deserialize, Serialize};

use crate::account::Position;
use crate::event::Event;
use crate::house::{Fill, House};
use crate::matching::Placing;
use crate::units::{LOTS_MAX, PPM, QUOTE_MAX, TICKS_MAX, div_up, notional};
use crate::{Reject, Status};

/// Most commitments at once, those that only wait for their profit to mature counted. Each
/// market has an equal share of the places, so that none is filled through another.
pub const LARGE_MAX: usize = 1_024;
/// Most that `never` may be of `least`.
const NEVER_PER_LEAST_MAX: u64 = 1_000;
/// Most reports that make a price.
pub const REPORTS_MAX: u32 = 32;
/// Most slices.
pub const SLICES_MAX: u32 = 64;
/// Most heights of any of its times.
pub const HEIGHTS_MAX: u32 = 1 << 20;
/// Least heights between a commitment and the first price that counts.
pub const DELAY_HEIGHTS_MIN: u32 = 2;
/// Distance from the mark within which a book counts as depth, ppm of it.
const DEPTH_PPM: i128 = 10_000;

/// When an order of a market must be committed, and how it is settled.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct LargeParams {
    /// Least notional of a commitment at the mark, in quote quanta: places are few, and taking
    /// them all must need margin for so much each.
    pub least: u64,
    /// Notional up to which no order needs it, in quote quanta.
    pub always: u64,
    /// Notional over which every order needs it, in quote quanta.
    pub never: u64,
    /// Share of the book within 1 % of the mark, on the side it takes, ppm.
    pub depth_ppm: u32,
    /// Share of the open interest, ppm.
    pub interest_ppm: u32,
    /// Heights before the first report that counts.
    pub delay_heights: u32,
    /// Reports that make the price.
    pub reports: u32,
    /// Most slices.
    pub slices: u32,
    /// Heights between two slices.
    pub gap_heights: u32,
    /// Heights before it may be taken back.
    pub hold_heights: u32,
    /// Heights after which it ends.
    pub life_heights: u32,
    /// Farthest from its price that a slice trades, ppm.
    pub price_ppm: u32,
    /// Fee of a slice as large as the book's depth, ppm of its notional; less in proportion.
    pub impact_ppm: u32,
    /// Heights for which profit that a slice made real stays.
    pub mature_heights: u32,
}

impl LargeParams {
    /// Checks the bounds.
    ///
    /// # Errors
    /// What does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        let rates = [
            self.depth_ppm,
            self.interest_ppm,
            self.price_ppm,
            self.impact_ppm,
        ];
        let times = [
            self.delay_heights,
            self.gap_heights,
            self.hold_heights,
            self.life_heights,
            self.mature_heights,
        ];
        if rates.iter().any(|rate| i128::from(*rate) > PPM)
            || times.iter().any(|heights| *heights > HEIGHTS_MAX)
        {
            return Err("a large order's rates must be at most 100 %, its times 2^20 heights");
        }
        // Whoever needs a commitment may have one, and a place is no trifle.
        if self.least == 0
            || self.least > self.always
            || self.always > self.never
            || self.never.div_ceil(NEVER_PER_LEAST_MAX) > self.least
        {
            return Err("large orders: 0 < least <= always <= never <= 1,000 least must hold");
        }
        if self.delay_heights < DELAY_HEIGHTS_MIN
            || !(1..=REPORTS_MAX).contains(&self.reports)
            || !(1..=SLICES_MAX).contains(&self.slices)
            || self.gap_heights == 0
            || self.hold_heights < self.delay_heights
            || self.life_heights <= self.hold_heights
        {
            return Err(
                "large orders: a delay of at least 2 heights, 1 to 32 reports, 1 to 64 slices, \
                 and 0 < gap, delay <= hold < life must hold",
            );
        }
        Ok(())
    }
}

/// A commitment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Large {
    /// Number of the account.
    pub account: u32,
    /// Market.
    pub market: u32,
    /// The account's own number for it.
    pub number: u64,
    /// Whether it buys.
    pub buy: bool,
    /// Worst price, in ticks.
    pub limit: u64,
    /// Lots that are not traded yet; 0 when it only waits for its profit to mature.
    pub left: u64,
    /// Slices that they are to be traded in.
    pub slices: u32,
    /// Height it was committed at.
    pub at: u64,
    /// Height of the next slice, once there is a price.
    pub due: u64,
    /// Last height.
    pub ends: u64,
    /// The reports that make its price.
    pub prices: Vec<u64>,
    /// Profit its slices made real, in quote quanta.
    pub profit: i128,
    /// Height up to which that stays.
    pub matures: u64,
}

impl Large {
    /// The median of its reports, when there are enough.
    fn price(&self, params: &LargeParams) -> Option<u64> {
        let mut sorted = self.prices.clone();
        sorted.sort_unstable();
        (sorted.len() >= params.reports as usize).then(|| sorted[(sorted.len() - 1) / 2])
    }

    /// Whether a snapshot's one is in its bounds.
    pub(crate) fn is_sane(&self, accounts: usize, markets: &[crate::Market]) -> bool {
        let known = markets.get(self.market as usize);
        let params = known.and_then(|market| market.params.large);
        params.is_some_and(|params| self.prices.len() <= params.reports as usize)
            && (self.account as usize) < accounts
            && (1..=TICKS_MAX).contains(&self.limit)
            && self
                .prices
                .iter()
                .all(|ticks| (1..=TICKS_MAX).contains(ticks))
            && self.left <= LOTS_MAX
            && (1..=SLICES_MAX).contains(&self.slices)
            && (0..=QUOTE_MAX).contains(&self.profit)
    }
}

/// Why a commitment is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ended {
    /// All of it traded.
    Settled,
    /// Its last height came first.
    Expired,
    /// Its account was liquidated.
    Liquidated,
}

impl House {
    /// Whether an order may be placed without committing it first.
    pub(crate) fn needs_no_commitment(&self, order: &Placing) -> bool {
        let market = &self.core.markets[order.market as usize];
        let Some(large) = market.params.large.filter(|_| !order.reduce_only) else {
            return true;
        };
        let value = notional(market.mark, order.lots.min(LOTS_MAX) as i64);
        if value <= i128::from(large.always) {
            return true;
        }
        let share = |lots: u64, ppm: u32| {
            let value = i128::from(market.mark) * i128::from(lots);
            value / PPM * i128::from(ppm) + value % PPM * i128::from(ppm) / PPM
        };
        let most = i128::from(large.never)
            .min(share(
                self.depth(order.market, order.buy, u64::MAX),
                large.depth_ppm,
            ))
            .min(share(market.open_interest, large.interest_ppm));
        value <= most
    }

    /// Lots within 1 % of the mark that a buyer, or a seller, would take; counted until there
    /// are so many.
    pub(crate) fn depth(&self, market: u32, buy: bool, enough: u64) -> u64 {
        let mark = i128::from(self.core.markets[market as usize].mark);
        let away = mark * DEPTH_PPM / PPM;
        let worst = if buy { mark + away } else { mark - away };
        let worst = u64::try_from(worst).unwrap_or(0);
        self.books[market as usize].lots_to(!buy, worst, enough)
    }

    /// Takes a commitment.
    pub(crate) fn commit_large(&mut self, mut large: Large) -> Result<(), Reject> {
        let market = self.core.markets.get(large.market as usize);
        let market = market.ok_or(Reject::UnknownMarket)?;
        let params = market.params.large.ok_or(Reject::NotLarge)?;
        if !market.is_priced() || market.oracle.price == 0 {
            return Err(Reject::Unpriced);
        }
        if market.status != Status::Normal {
            return Err(Reject::Guarded);
        }
        if large.limit > TICKS_MAX {
            return Err(Reject::PriceBand);
        }
        let value = notional(market.mark, large.left.min(LOTS_MAX) as i64);
        let small =
            self.is_too_small(large.market, false, large.left) || value < i128::from(params.least);
        if small || large.left > LOTS_MAX || large.slices > params.slices {
            return Err(Reject::Size);
        }
        let mut of_account = self
            .core
            .large
            .iter()
            .filter(|l| l.account == large.account);
        if of_account.any(|l| l.market == large.market && l.left > 0) {
            return Err(Reject::CloidInUse);
        }
        let places = LARGE_MAX / self.core.markets.len().max(1);
        let of_market = self.core.large.iter();
        let taken = of_market.filter(|l| l.market == large.market).count();
        if taken >= places {
            return Err(Reject::Full);
        }
        let flat = Position::flat(large.market);
        let held = self.held(large.account, large.market).unwrap_or(&flat);
        let mut reserved = Position {
            orders: Vec::new(),
            ..*held
        };
        let own = reserved.open_alone(large.buy, large.limit, large.left as i64, market);
        if reserved.worst_lots() > LOTS_MAX {
            return Err(Reject::Size);
        }
        if !self.covers_initial(large.account, Some(&reserved), own) {
            return Err(Reject::Margin);
        }
        large.at = self.height;
        large.ends = self.height.saturating_add(u64::from(params.life_heights));
        self.reserve(&large, large.left as i64);
        self.core.large.push(large);
        Ok(())
    }

    /// Takes one back.
    pub(crate) fn cancel_large(
        &mut self,
        account: u32,
        market: u32,
        number: u64,
    ) -> Result<(), Reject> {
        let mine = |l: &Large| {
            l.account == account && l.market == market && l.number == number && l.left > 0
        };
        let at = self
            .core
            .large
            .iter()
            .position(mine)
            .ok_or(Reject::NotFound)?;
        let large = &self.core.large[at];
        let params = self.core.markets[market as usize].params.large;
        let hold = params.map_or(0, |params| u64::from(params.hold_heights));
        if self.height < large.at.saturating_add(hold) {
            return Err(Reject::Held);
        }
        self.release(at);
        Ok(())
    }

    /// Changes what is reserved for a commitment.
    pub(crate) fn reserve(&mut self, large: &Large, lots: i64) {
        self.keep(large.account);
        let position = self.position(large.account, large.market);
        position.open(large.buy, large.limit, lots);
        self.touch(large.account);
    }

    /// Frees what is reserved; the commitment stays while its profit matures.
    fn release(&mut self, at: usize) {
        let large = self.core.large[at].clone();
        self.reserve(&large, -(large.left as i64));
        self.core.large[at].left = 0;
    }

    /// Ends all commitments of an account that is liquidated.
    pub(crate) fn drop_large(&mut self, account: u32, events: &mut Vec<Event>) {
        for at in 0..self.core.large.len() {
            if self.core.large[at].account == account && self.core.large[at].left > 0 {
                self.release(at);
                events.push(self.large_event(at, Ended::Liquidated));
            }
        }
    }

    fn takes_slices(&self, market: u32) -> bool {
        let market = &self.core.markets[market as usize];
        market.status == Status::Normal && market.is_priced()
    }

    fn large_event(&self, at: usize, why: Ended) -> Event {
        let Large {
            account,
            market,
            number,
            ..
        } = self.core.large[at];
        Event::LargeEnded {
            account,
            market,
            number,
            why,
        }
    }

    /// Profit of an account that is not mature.
    pub(crate) fn unripe(&self, account: u32) -> i128 {
        let own = self.core.large.iter().filter(|l| l.account == account);
        own.map(|l| l.profit).sum()
    }

    /// Notes a market's new report for the commitments that wait for prices. Before the
    /// transactions of the block: what is committed in it comes later.
    pub(crate) fn price_large(&mut self, market: u32, height: u64) {
        let of = &self.core.markets[market as usize];
        let (Some(params), price) = (of.params.large, of.oracle.price) else {
            return;
        };
        for large in &mut self.core.large {
            let delay = u64::from(params.delay_heights);
            let counts = large.market == market
                && height > large.at.saturating_add(delay)
                && large.prices.len() < params.reports as usize;
            if counts {
                large.prices.push(price);
                if large.prices.len() == params.reports as usize {
                    large.due = height.saturating_add(1);
                }
            }
        }
    }

    /// Trades the slices that are due, and ends what has come to its end. After the
    /// transactions of `height`.
    pub(crate) fn settle_large(&mut self, height: u64, events: &mut Vec<Event>) {
        if self.core.large.is_empty() {
            return;
        }
        let pending = |at: &usize| self.core.large[*at].left > 0;
        let mut turn: Vec<usize> = (0..self.core.large.len()).filter(pending).collect();
        // By number of commitment where heights are the same.
        turn.sort_by_key(|at| self.core.large[*at].due);
        for at in turn {
            let Large {
                market, due, ends, ..
            } = self.core.large[at];
            let Some(params) = self.core.markets[market as usize].params.large else {
                continue;
            };
            let price = self.core.large[at].price(&params);
            if let Some(price) = price.filter(|_| height >= due && self.takes_slices(market)) {
                self.slice(at, price, &params, height, events);
                let large = &mut self.core.large[at];
                large.slices = large.slices.saturating_sub(1).max(1);
                large.due = height.saturating_add(u64::from(params.gap_heights));
            }
            if self.core.large[at].left == 0 {
                events.push(self.large_event(at, Ended::Settled));
            } else if height >= ends {
                self.release(at);
                events.push(self.large_event(at, Ended::Expired));
            }
        }
        let kept = |l: &Large| l.left > 0 || (l.profit > 0 && l.matures > height);
        self.core.large.retain(kept);
    }

    /// Trades one slice, or nothing of it if the margin does not allow it.
    fn slice(
        &mut self,
        at: usize,
        price: u64,
        params: &LargeParams,
        height: u64,
        events: &mut Vec<Event>,
    ) {
        let large = self.core.large[at].clone();
        let lots = large.left.div_ceil(u64::from(large.slices.max(1)));
        let market = &self.core.markets[large.market as usize];
        let mark = i128::from(market.mark);
        let (away, band) = (
            i128::from(price) * i128::from(params.price_ppm) / PPM,
            mark * i128::from(market.params.band_ppm) / PPM,
        );
        let (price, limit) = (i128::from(price), i128::from(large.limit));
        let ticks = if large.buy {
            limit.min(price + away).min(mark + band)
        } else {
            limit.max(price - away).max(mark - band)
        };
        let order = Placing {
            account: large.account,
            market: large.market,
            buy: large.buy,
            ticks: ticks.clamp(1, i128::from(TICKS_MAX)) as u64,
            lots,
            tif: TimeInForce::Ioc,
            reduce_only: false,
            cloid: large.number,
            until: 0,
        };
        if !self.has_room(&order) {
            return;
        }
        let depth = self.depth(large.market, large.buy, u64::MAX);
        let before = self.accounts[large.account as usize].collateral;
        let mut plan = std::mem::take(&mut self.plan);
        let (mut fills, mut fee) = (Vec::new(), 0);
        let traded = self.atomically(|house| {
            house.plan(&order, &mut plan)?;
            let done: u64 = plan.fills.iter().map(|(_, lots)| lots).sum();
            house.reserve(&large, -(done as i64));
            house.write(&order, &plan, &mut fills);
            let value: i128 = fills
                .iter()
                .map(|f: &Fill| notional(f.ticks, f.lots as i64))
                .sum();
            let impact = i128::from(params.impact_ppm) * i128::from(done);
            let impact = div_up(impact, i128::from(depth.max(done).max(1)));
            fee = div_up(value * impact, PPM);
            let health = house.health(order.account);
            // The initial margin holds after every slice, its fee included.
            if done > 0 && (health.equity - fee) * PPM < health.initial_micro {
                return Err(Reject::Margin);
            }
            Ok(())
        });
        self.plan = plan;
        if traded.is_err() || fills.is_empty() {
            return;
        }
        let done: u64 = fills.iter().map(|fill| fill.lots).sum();
        let own = &mut self.accounts[large.account as usize].collateral;
        *own -= fee;
        let profit = (*own - before).max(0);
        self.core.insurance += fee;
        self.touch(large.account);
        let kept = &mut self.core.large[at];
        kept.left -= done;
        if profit > 0 {
            kept.profit += profit;
            kept.matures = height.saturating_add(u64::from(params.mature_heights));
        }
        events.push(Event::Sliced {
            account: large.account,
            market: large.market,
            number: large.number,
            fills,
            fee,
        });
    }
}
