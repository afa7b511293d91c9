//! Placing an order: what the book would do to it is planned first, the margin is checked
//! on the plan, and only then is anything written.

use fairlane_types::TimeInForce;

use crate::Reject;
use crate::account::Position;
use crate::book::Resting;
use crate::breaker::Status;
use crate::house::{Fill, House};
use crate::makers::{ByMaker, may_cost};
use crate::oracle::Validity;
use crate::params::{MatchingRule, ORDERS_PER_ACCOUNT_MAX, ORDERS_PER_MARKET_MAX};
use crate::units::{LOTS_MAX, TICKS_MAX, fee, micro, notional, times};

/// An order about to be placed.
#[derive(Clone, Copy)]
pub(crate) struct Placing {
    pub(crate) account: u32,
    pub(crate) market: u32,
    pub(crate) buy: bool,
    pub(crate) ticks: u64,
    pub(crate) lots: u64,
    pub(crate) tif: TimeInForce,
    pub(crate) reduce_only: bool,
    pub(crate) cloid: u64,
    pub(crate) until: u64,
}

/// What the book will do to an order: matches, resting orders that go, and the rest.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) fills: Vec<(u32, u64)>,
    pub(crate) dropped: Vec<u32>,
    pub(crate) left: u64,
    pub(crate) self_trade: bool,
    by_maker: ByMaker,
}

impl Plan {
    /// A maker's fills so far: slot and lots.
    pub(crate) fn fills_of(&self, maker: u32) -> impl Iterator<Item = (u32, u64)> {
        self.by_maker.of(maker).map(|at| self.fills[at])
    }
}

impl Clone for Plan {
    // Scratch: holds nothing between transactions.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl House {
    /// Takes a resting order out of its book and its account.
    pub(crate) fn take_out(&mut self, market: u32, slot: u32) {
        let lots = self.books[market as usize].order(slot).lots;
        self.shrink(market, slot, lots);
    }

    /// Takes lots off a resting order, in its book and its account.
    pub(crate) fn shrink(&mut self, market: u32, slot: u32, lots: u64) -> Resting {
        let order = *self.books[market as usize].order(slot);
        self.keep(order.account);
        self.keep_place(market, slot, lots);
        let gone = self.books[market as usize].reduce(slot, lots) == 0;
        if gone && order.until > 0 {
            self.expiries.remove(&order.expiry());
        }
        let position = self.position(order.account, market);
        if !order.reduce_only {
            position.open(order.buy, order.ticks, -(lots as i64));
        }
        if gone {
            position.remove_order(order.cloid);
        }
        self.touch(order.account);
        order
    }

    pub(crate) fn place(&mut self, order: Placing, fills: &mut Vec<Fill>) -> Result<(), Reject> {
        let mut order = order;
        self.admit_status(&mut order)?;
        let market = &self.core.markets[order.market as usize];
        let mark = i128::from(market.mark);
        let away = micro((i128::from(order.ticks) - mark).abs());
        let band = times(mark, u64::from(market.params.band_ppm));
        if order.ticks > TICKS_MAX || away > band {
            return Err(Reject::PriceBand);
        }
        if order.lots > LOTS_MAX || self.is_too_small(order.market, order.reduce_only, order.lots) {
            return Err(Reject::Size);
        }
        if !self.needs_no_commitment(&order) {
            return Err(Reject::TooLarge);
        }
        if !self.has_room(&order) {
            return Err(Reject::Interest);
        }
        let held = self.held(order.account, order.market);
        let held_lots = held.map_or(0, |p| p.lots);
        if let Some(position) = held {
            if position.order(order.cloid).is_some() {
                return Err(Reject::CloidInUse);
            }
            if position.orders.len() >= ORDERS_PER_ACCOUNT_MAX {
                return Err(Reject::OpenOrders);
            }
        }
        // A full book still lets orders that cannot rest through.
        let rests = matches!(order.tif, TimeInForce::Gtc | TimeInForce::PostOnly);
        if rests && self.books[order.market as usize].len() >= ORDERS_PER_MARKET_MAX {
            return Err(Reject::OpenOrders);
        }
        if order.reduce_only {
            let opposite = held_lots != 0 && (held_lots > 0) != order.buy;
            if !opposite {
                return Err(Reject::ReduceOnly);
            }
            let most = held_lots.unsigned_abs();
            if order.tif == TimeInForce::Fok && order.lots > most {
                return Err(Reject::ReduceOnly);
            }
            order.lots = order.lots.min(most);
        }
        let batch = self.batches(order.market);
        if order.tif == TimeInForce::PostOnly && !batch {
            let best = self.books[order.market as usize].best(!order.buy);
            let fills_at = |best: u64| {
                if order.buy {
                    best <= order.ticks
                } else {
                    best >= order.ticks
                }
            };
            if best.is_some_and(fills_at) {
                return Err(Reject::PostOnlyWouldFill);
            }
        }
        let mut plan = std::mem::take(&mut self.plan);
        let result = self.plan(&order, &mut plan).and_then(|()| {
            self.admit(&order, &plan)?;
            self.write(&order, &plan, fills);
            Ok(())
        });
        self.plan = plan;
        result
    }

    /// Whether so few lots are none that an order may have, or be left by its owner with.
    pub(crate) fn is_too_small(&self, market: u32, reduce_only: bool, lots: u64) -> bool {
        let market = &self.core.markets[market as usize];
        !reduce_only && lots < market.params.lots_min
    }

    /// Whether an order would keep the open interest in its bound, filled whole. A match adds
    /// no more to it than what its taker opens, so that the bound is never passed; what a
    /// batch of orders opens together is [cut](Self::uncross) when it is cleared.
    pub(crate) fn has_room(&self, order: &Placing) -> bool {
        let market = &self.core.markets[order.market as usize];
        let (now, most) = (market.open_interest, market.params.interest_max);
        let held = self.held(order.account, order.market).map_or(0, |p| p.lots);
        let closes = if (held > 0) == order.buy {
            0
        } else {
            held.unsigned_abs()
        };
        let opens = order.lots.saturating_sub(closes);
        most == 0 || opens == 0 || now.saturating_add(opens) <= most
    }

    /// What a market's status and rule make of an order. Where orders are cleared at one
    /// price they rest till then: an immediate one up to this height.
    fn admit_status(&self, order: &mut Placing) -> Result<(), Reject> {
        let market = &self.core.markets[order.market as usize];
        let auction = matches!(market.status, Status::Auction { .. });
        // Where orders are cleared at one price a post-only one may fill at once.
        let uniform = market.params.rule == MatchingRule::UniformBatch;
        let quiet = order.reduce_only || order.tif == TimeInForce::PostOnly && !uniform;
        match market.status {
            Status::Halted { .. } => return Err(Reject::Halted),
            Status::Frozen => return Err(Reject::Frozen),
            Status::Guarded { .. } if !quiet => return Err(Reject::Guarded),
            _ => {}
        }
        match market.oracle.validity {
            Validity::Fresh => {}
            Validity::Dead => return Err(Reject::Unpriced),
            // An auction is not cleared before there is a price again.
            Validity::Uncertain | Validity::Stale if quiet || auction => {}
            Validity::Uncertain | Validity::Stale => return Err(Reject::Unpriced),
        }
        if !self.batches(order.market) {
            return Ok(());
        }
        match order.tif {
            TimeInForce::Fok => return Err(Reject::NotInBatch),
            TimeInForce::Ioc => order.until = self.height,
            _ => {}
        }
        order.tif = TimeInForce::PostOnly;
        // Its own orders must not meet at any price.
        let book = &self.books[order.market as usize];
        let meets = |(_, slot): &(u64, u32)| {
            let own = book.order(*slot);
            let crossed = if order.buy {
                own.ticks <= order.ticks
            } else {
                own.ticks >= order.ticks
            };
            own.buy != order.buy && crossed
        };
        let held = self.held(order.account, order.market);
        if held.is_some_and(|position| position.orders.iter().any(meets)) {
            return Err(Reject::SelfTrade);
        }
        Ok(())
    }

    /// Finds what the order meets, without changing anything. A resting order goes if its
    /// maker no longer covers its initial margin, or would not bear the fill; a self-trade ends
    /// the incoming order.
    pub(crate) fn plan(&self, order: &Placing, plan: &mut Plan) -> Result<(), Reject> {
        plan.fills.clear();
        plan.dropped.clear();
        plan.left = order.lots;
        plan.self_trade = false;
        if order.tif == TimeInForce::PostOnly {
            return Ok(());
        }
        plan.by_maker.begin(self.accounts.len());
        let book = &self.books[order.market as usize];
        let mark = self.core.markets[order.market as usize].mark;
        book.walk(!order.buy, order.ticks, |slot, resting| {
            if resting.account == order.account {
                plan.self_trade = true;
                return false;
            }
            let mut most = resting.lots;
            if resting.reduce_only {
                let lots = self
                    .held(resting.account, order.market)
                    .map_or(0, |p| p.lots);
                let opposite = lots != 0 && (lots > 0) != resting.buy;
                // Fills of the same maker earlier in this plan count.
                let so_far: u64 = plan.fills_of(resting.account).map(|fill| fill.1).sum();
                let room = if opposite {
                    lots.unsigned_abs().saturating_sub(so_far)
                } else {
                    0
                };
                if room == 0 {
                    plan.dropped.push(slot);
                    return true;
                }
                most = most.min(room);
            } else if !self.covers_initial(resting.account, None, 0) {
                plan.dropped.push(slot);
                return true;
            }
            let lots = most.min(plan.left);
            // After a costly fill the margin of the other ones is to be seen again.
            let costly = |(slot, _)| may_cost(book.order(slot), mark);
            let costs = may_cost(resting, mark) || plan.fills_of(resting.account).any(costly);
            if costs && !self.bears_after(plan, order.market, resting, lots) {
                plan.dropped.push(slot);
                return true;
            }
            plan.fills.push((slot, lots));
            plan.by_maker.push(resting.account);
            if lots == most && most < resting.lots {
                // The position is used up: a rest could never fill, and would stay crossed.
                plan.dropped.push(slot);
            }
            plan.left -= lots;
            plan.left > 0
        });
        if order.tif == TimeInForce::Fok && plan.left > 0 {
            return Err(Reject::FokUnfilled);
        }
        Ok(())
    }

    /// The margin check: with the whole order open at its own price, or, below the initial
    /// margin, by what the planned fills alone would make of the account.
    fn admit(&self, order: &Placing, plan: &Plan) -> Result<(), Reject> {
        let flat = Position::flat(order.market);
        let held = self.held(order.account, order.market).unwrap_or(&flat);
        let mut opened = Position {
            orders: Vec::new(),
            ..*held
        };
        if !order.reduce_only {
            let market = &self.core.markets[order.market as usize];
            let own = opened.open_alone(order.buy, order.ticks, order.lots as i64, market);
            if opened.worst_lots() > LOTS_MAX {
                return Err(Reject::Size);
            }
            // A fee is rounded up for every fill.
            let more = own + micro(plan.fills.len() as i128);
            if self.covers_initial(order.account, Some(&opened), more) {
                return Ok(());
            }
        }
        // What stays open must be covered; only a reduce-only order may rest uncovered.
        let rests = matches!(order.tif, TimeInForce::Gtc | TimeInForce::PostOnly)
            && plan.left > 0
            && !plan.self_trade;
        if rests && !order.reduce_only {
            return Err(Reject::Margin);
        }
        let market = &self.core.markets[order.market as usize];
        let mut after = Position {
            orders: Vec::new(),
            ..*held
        };
        let mut real = after.settle(market.funding);
        for (slot, lots) in &plan.fills {
            let ticks = self.books[order.market as usize].order(*slot).ticks;
            let signed = if order.buy {
                *lots as i64
            } else {
                -(*lots as i64)
            };
            real += after.trade(signed, ticks);
            real -= fee(notional(ticks, *lots as i64), market.params.taker_fee_ppm);
        }
        if plan.fills.is_empty() {
            return Ok(());
        }
        let before = self.health(order.account);
        let mut then = self.health_with(order.account, Some(&after));
        then.equity += real;
        if then.may_follow(&before) {
            Ok(())
        } else {
            Err(Reject::Margin)
        }
    }

    pub(crate) fn write(&mut self, order: &Placing, plan: &Plan, fills: &mut Vec<Fill>) {
        for (slot, lots) in &plan.fills {
            let maker = self.shrink(order.market, *slot, *lots);
            self.fill(order, &maker, *lots, fills);
        }
        // After the fills: what a fill leaves of a reduce-only order may be among these.
        for slot in &plan.dropped {
            self.take_out(order.market, *slot);
        }
        let rests = matches!(order.tif, TimeInForce::Gtc | TimeInForce::PostOnly);
        if rests && plan.left > 0 && !plan.self_trade {
            let seq = self.core.next_seq;
            self.core.next_seq += 1;
            self.rest(
                order.market,
                Resting {
                    account: order.account,
                    buy: order.buy,
                    reduce_only: order.reduce_only,
                    ticks: order.ticks,
                    lots: plan.left,
                    cloid: order.cloid,
                    seq,
                    until: order.until,
                },
            );
        }
        self.touch(order.account);
    }

    /// Puts an order into its book and its account.
    pub(crate) fn rest(&mut self, market: u32, order: Resting) {
        self.keep(order.account);
        let slot = self.books[market as usize].insert(order);
        self.keep_inserted(market, slot);
        self.note_expiry(market, &order);
        let position = self.position(order.account, market);
        position.add_order(order.cloid, slot);
        if !order.reduce_only {
            position.open(order.buy, order.ticks, order.lots as i64);
        }
    }

    fn fill(&mut self, taker: &Placing, maker: &Resting, lots: u64, fills: &mut Vec<Fill>) {
        let params = &self.core.markets[taker.market as usize].params;
        let fees = (params.taker_fee_ppm, params.maker_fee_ppm);
        self.match_with(taker, maker, lots, fees, fills);
    }

    /// One match at the maker's price, with the fees of taker and maker in ppm.
    pub(crate) fn match_with(
        &mut self,
        taker: &Placing,
        maker: &Resting,
        lots: u64,
        (taker_ppm, maker_ppm): (u32, u32),
        fills: &mut Vec<Fill>,
    ) {
        let (buyer, seller) = if taker.buy {
            (taker.account, maker.account)
        } else {
            (maker.account, taker.account)
        };
        self.exchange(taker.market, [buyer, seller], lots, maker.ticks);
        self.core.fills += 1;
        let value = notional(maker.ticks, lots as i64);
        for (account, ppm) in [(taker.account, taker_ppm), (maker.account, maker_ppm)] {
            let fee = fee(value, ppm);
            self.accounts[account as usize].collateral -= fee;
            self.core.fees += fee;
        }
        fills.push(Fill {
            market: taker.market,
            taker: taker.account,
            taker_cloid: taker.cloid,
            maker: maker.account,
            maker_cloid: maker.cloid,
            buy: taker.buy,
            ticks: maker.ticks,
            lots,
        });
    }

    /// Moves lots from seller to buyer at a price, after both settled their funding; gives
    /// the profit that became real for each.
    pub(crate) fn exchange(
        &mut self,
        market: u32,
        [buyer, seller]: [u32; 2],
        lots: u64,
        ticks: u64,
    ) -> [i128; 2] {
        let index = self.core.markets[market as usize].funding;
        let mut interest = 0;
        let both = [(buyer, lots as i64), (seller, -(lots as i64))];
        let profits = both.map(|(account, lots)| {
            self.keep(account);
            let position = self.position(account, market);
            let was = position.lots.max(0);
            let due = position.settle(index);
            let real = position.trade(lots, ticks);
            interest += position.lots.max(0) - was;
            self.accounts[account as usize].collateral += real + due;
            self.core.funding -= due;
            real
        });
        let held = &mut self.core.markets[market as usize].open_interest;
        *held = held.wrapping_add_signed(interest);
        profits
    }
}
