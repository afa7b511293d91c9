//! The clearing house's state and what one transaction does to it. A transaction is
//! planned against the state first and written only when nothing can refuse it any more:
//! a rejected one leaves no trace (invariant 4).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{OrderAction, PublicKey, Side, TimeInForce};

use crate::Reject;
use crate::account::{Account, Health, Position};
use crate::book::{Book, Resting};
use crate::params::{
    ACCOUNTS_MAX, ExecutionGenesis, MarketParams, ORDERS_PER_ACCOUNT_MAX, ORDERS_PER_MARKET_MAX,
    ParamsError,
};
use crate::tx::{Request, Tx};
use crate::units::{LOTS_MAX, PPM, QUOTE_MAX, TICKS_MAX, fee, notional};

/// A market's committed part; its book follows from the accounts' orders.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Market {
    /// Parameters.
    pub params: MarketParams,
    /// Price that margins are taken at.
    pub mark: u64,
    /// Lots held long, and as many short.
    pub open_interest: u64,
    /// Each oracle's last observation and the height it was made at; 0 for none.
    pub observed: Vec<(u64, u64)>,
}

/// Everything committed but the accounts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Core {
    /// Markets by number.
    pub markets: Vec<Market>,
    /// Who makes the marks.
    pub oracles: Vec<PublicKey>,
    /// Who credits deposits.
    pub bridge: Option<PublicKey>,
    /// Deposits credited by the bridge; the number of the next one.
    pub deposits: u64,
    /// Ever deposited, in quote quanta.
    pub deposited: i128,
    /// Ever withdrawn.
    pub withdrawn: i128,
    /// Fees taken.
    pub fees: i128,
    /// Priority of the next order.
    pub next_seq: u64,
}

/// One match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Fill {
    /// Market.
    pub market: u32,
    /// Number of the taker's account.
    pub taker: u32,
    /// Number of the maker's account.
    pub maker: u32,
    /// The maker's own number for its order.
    pub maker_cloid: u64,
    /// Whether the taker bought.
    pub buy: bool,
    /// The maker's price.
    pub ticks: u64,
    /// Lots.
    pub lots: u64,
}

/// An order about to be placed.
#[derive(Clone, Copy)]
struct Placing {
    account: u32,
    market: u32,
    buy: bool,
    ticks: u64,
    lots: u64,
    tif: TimeInForce,
    reduce_only: bool,
    cloid: u64,
}

/// What the book will do to an order: matches, resting orders that go, and the rest.
#[derive(Default)]
struct Plan {
    fills: Vec<(u32, u64)>,
    dropped: Vec<u32>,
    left: u64,
    self_trade: bool,
}

/// A key in its own order, compared by its first eight bytes without a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByPrefix(pub(crate) PublicKey);

impl ByPrefix {
    fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Ord for ByPrefix {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = self.prefix().cmp(&other.prefix());
        first.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ByPrefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The state.
#[derive(Clone)]
pub struct House {
    pub(crate) core: Core,
    pub(crate) accounts: Vec<Account>,
    pub(crate) keys: BTreeMap<ByPrefix, u32>,
    pub(crate) books: Vec<Book>,
    /// Accounts changed since the last root; each once.
    pub(crate) dirty: Vec<u32>,
    pub(crate) is_dirty: Vec<bool>,
    plan: Plan,
}

impl Clone for Plan {
    // Scratch: holds nothing between transactions.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl House {
    /// The state that a genesis describes.
    ///
    /// # Errors
    /// [`ParamsError`](crate::params::ParamsError).
    pub fn new(genesis: &ExecutionGenesis) -> Result<Self, ParamsError> {
        genesis.validate()?;
        let observed = vec![(0, 0); genesis.oracles.len()];
        let market = |params: &MarketParams| Market {
            params: params.clone(),
            mark: params.mark_ticks,
            open_interest: 0,
            observed: observed.clone(),
        };
        let core = Core {
            markets: genesis.markets.iter().map(market).collect(),
            oracles: genesis.oracles.clone(),
            bridge: genesis.bridge,
            deposits: 0,
            deposited: 0,
            withdrawn: 0,
            fees: 0,
            next_seq: 0,
        };
        let mut house = Self::with(core);
        for (key, amount) in &genesis.accounts {
            let id = house.open_account(*key);
            house.accounts[id as usize].collateral += i128::from(*amount);
            house.core.deposited += i128::from(*amount);
        }
        Ok(house)
    }

    pub(crate) fn with(core: Core) -> Self {
        let books = core.markets.iter().map(|_| Book::default()).collect();
        Self {
            core,
            accounts: Vec::new(),
            keys: BTreeMap::new(),
            books,
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            plan: Plan::default(),
        }
    }

    pub(crate) fn open_account(&mut self, key: PublicKey) -> u32 {
        let id = self.accounts.len() as u32;
        self.accounts.push(Account {
            key,
            collateral: 0,
            positions: Vec::new(),
        });
        self.keys.insert(ByPrefix(key), id);
        self.is_dirty.push(false);
        self.touch(id);
        id
    }

    fn touch(&mut self, account: u32) {
        if !std::mem::replace(&mut self.is_dirty[account as usize], true) {
            self.dirty.push(account);
        }
    }

    /// The account of a key.
    #[must_use]
    pub fn account(&self, key: &PublicKey) -> Option<(u32, &Account)> {
        let id = *self.keys.get(&ByPrefix(*key))?;
        Some((id, &self.accounts[id as usize]))
    }

    /// A market's committed part and its book.
    #[must_use]
    pub fn market(&self, market: u32) -> Option<(&Market, &Book)> {
        let at = market as usize;
        Some((self.core.markets.get(at)?, self.books.get(at)?))
    }

    /// Everything committed but the accounts.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// All accounts, by number.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// An account's standing at the marks.
    #[must_use]
    pub fn health(&self, account: u32) -> Health {
        self.health_with(account, None)
    }

    /// The same with one position replaced.
    fn health_with(&self, account: u32, instead: Option<&Position>) -> Health {
        let account = &self.accounts[account as usize];
        let mut health = Health {
            equity: account.collateral,
            ..Health::default()
        };
        let mut placed = false;
        for position in &account.positions {
            let position = match instead {
                Some(other) if other.market == position.market => {
                    placed = true;
                    other
                }
                _ => position,
            };
            let market = &self.core.markets[position.market as usize];
            health.add(position, market.mark, &market.params);
        }
        if let (false, Some(position)) = (placed, instead) {
            let market = &self.core.markets[position.market as usize];
            health.add(position, market.mark, &market.params);
        }
        health
    }

    fn position(&mut self, account: u32, market: u32) -> &mut Position {
        let positions = &mut self.accounts[account as usize].positions;
        let at = match positions.binary_search_by_key(&market, |p| p.market) {
            Ok(at) => at,
            Err(at) => {
                positions.insert(at, Position::flat(market));
                at
            }
        };
        &mut positions[at]
    }

    pub(crate) fn held(&self, account: u32, market: u32) -> Option<&Position> {
        let positions = &self.accounts[account as usize].positions;
        let at = positions.binary_search_by_key(&market, |p| p.market).ok()?;
        Some(&positions[at])
    }

    /// Executes one transaction of `sender` at `height`.
    ///
    /// # Errors
    /// [`Reject`]; nothing changed.
    pub fn execute(
        &mut self,
        sender: &PublicKey,
        tx: &Tx,
        height: u64,
        fills: &mut Vec<Fill>,
    ) -> Result<(), Reject> {
        match tx {
            Tx::Request(Request::Observe { market, ticks }) => {
                self.observe(sender, *market, *ticks, height)
            }
            Tx::Request(Request::Deposit { to, amount, number }) => {
                self.deposit(sender, *to, *amount, *number)
            }
            Tx::Request(Request::Withdraw { amount }) => {
                let account = self.sender(sender)?;
                self.debit(account, *amount)?;
                self.core.withdrawn += i128::from(*amount);
                Ok(())
            }
            Tx::Request(Request::Transfer { to, amount }) => {
                let account = self.sender(sender)?;
                if !self.keys.contains_key(&ByPrefix(*to)) && self.accounts.len() >= ACCOUNTS_MAX {
                    return Err(Reject::Full);
                }
                self.debit(account, *amount)?;
                self.credit(*to, *amount);
                Ok(())
            }
            Tx::Request(Request::Shrink {
                market,
                cloid,
                lots,
            }) => {
                let account = self.sender(sender)?;
                let book = self.books.get(*market as usize);
                let book = book.ok_or(Reject::UnknownMarket)?;
                let held = self.held(account, *market);
                let slot = held.and_then(|position| position.order(*cloid));
                let slot = slot.ok_or(Reject::NotFound)?;
                let gone = book.order(slot).lots.saturating_sub(*lots);
                if *lots == 0 || gone == 0 {
                    return Err(Reject::Amount);
                }
                self.shrink(*market, slot, gone);
                Ok(())
            }
            Tx::Order(action) => self.order(self.sender(sender)?, action, fills),
        }
    }

    fn sender(&self, key: &PublicKey) -> Result<u32, Reject> {
        self.keys
            .get(&ByPrefix(*key))
            .copied()
            .ok_or(Reject::UnknownAccount)
    }

    fn order(
        &mut self,
        account: u32,
        action: &OrderAction,
        fills: &mut Vec<Fill>,
    ) -> Result<(), Reject> {
        let known = self.books.len() as u64;
        let check = |market: u32| {
            if u64::from(market) < known {
                Ok(())
            } else {
                Err(Reject::UnknownMarket)
            }
        };
        match *action {
            OrderAction::Place {
                market,
                side,
                price_ticks,
                lots,
                tif,
                reduce_only,
                cloid,
            } => {
                check(market)?;
                let placing = Placing {
                    account,
                    market,
                    buy: side == Side::Buy,
                    ticks: price_ticks,
                    lots,
                    tif,
                    reduce_only,
                    cloid,
                };
                self.place(placing, fills)
            }
            OrderAction::Cancel { market, cloid } => {
                check(market)?;
                let held = self.held(account, market);
                let slot = held.and_then(|position| position.order(cloid));
                let slot = slot.ok_or(Reject::NotFound)?;
                self.take_out(market, slot);
                Ok(())
            }
            OrderAction::CancelAll { market } => {
                if let Some(market) = market {
                    check(market)?;
                }
                let positions = &self.accounts[account as usize].positions;
                let open = positions
                    .iter()
                    .filter(|p| market.is_none_or(|m| m == p.market))
                    .flat_map(|p| p.orders.iter().map(|(_, slot)| (p.market, *slot)));
                for (market, slot) in open.collect::<Vec<_>>() {
                    self.take_out(market, slot);
                }
                Ok(())
            }
        }
    }

    /// Takes a resting order out of its book and its account.
    fn take_out(&mut self, market: u32, slot: u32) {
        let lots = self.books[market as usize].order(slot).lots;
        self.shrink(market, slot, lots);
    }

    /// Takes lots off a resting order, in its book and its account.
    fn shrink(&mut self, market: u32, slot: u32, lots: u64) -> Resting {
        let book = &mut self.books[market as usize];
        let order = *book.order(slot);
        let gone = book.reduce(slot, lots) == 0;
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

    fn place(&mut self, order: Placing, fills: &mut Vec<Fill>) -> Result<(), Reject> {
        let market = &self.core.markets[order.market as usize];
        let mark = i128::from(market.mark);
        let away = (i128::from(order.ticks) - mark).abs() * PPM;
        if order.ticks > TICKS_MAX || away > mark * i128::from(market.params.band_ppm) {
            return Err(Reject::PriceBand);
        }
        if order.lots > LOTS_MAX {
            return Err(Reject::Size);
        }
        let held = self.held(order.account, order.market);
        let held_lots = held.map_or(0, |p| p.lots);
        let mut order = order;
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
        if order.tif == TimeInForce::PostOnly {
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

    /// Finds what the order meets, without changing anything. A resting order goes if its
    /// maker no longer covers its initial margin; a self-trade ends the incoming order.
    fn plan(&self, order: &Placing, plan: &mut Plan) -> Result<(), Reject> {
        plan.fills.clear();
        plan.dropped.clear();
        plan.left = order.lots;
        plan.self_trade = false;
        if order.tif == TimeInForce::PostOnly {
            return Ok(());
        }
        let book = &self.books[order.market as usize];
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
                let of_maker = |fill: &&(u32, u64)| book.order(fill.0).account == resting.account;
                let so_far: u64 = plan.fills.iter().filter(of_maker).map(|fill| fill.1).sum();
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
            } else if !self.health(resting.account).covers_initial() {
                plan.dropped.push(slot);
                return true;
            }
            let lots = most.min(plan.left);
            plan.fills.push((slot, lots));
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
            opened.open(order.buy, order.ticks, order.lots as i64);
            if opened.worst_lots() > LOTS_MAX {
                return Err(Reject::Size);
            }
            if self
                .health_with(order.account, Some(&opened))
                .covers_initial()
            {
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
        let mut real = 0;
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

    fn write(&mut self, order: &Placing, plan: &Plan, fills: &mut Vec<Fill>) {
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
                },
            );
        }
        self.touch(order.account);
    }

    /// Puts an order into its book and its account.
    pub(crate) fn rest(&mut self, market: u32, order: Resting) {
        let slot = self.books[market as usize].insert(order);
        let position = self.position(order.account, market);
        position.add_order(order.cloid, slot);
        if !order.reduce_only {
            position.open(order.buy, order.ticks, order.lots as i64);
        }
    }

    fn fill(&mut self, taker: &Placing, maker: &Resting, lots: u64, fills: &mut Vec<Fill>) {
        let at = taker.market as usize;
        let (taker_ppm, maker_ppm) = {
            let params = &self.core.markets[at].params;
            (params.taker_fee_ppm, params.maker_fee_ppm)
        };
        let value = notional(maker.ticks, lots as i64);
        let mut interest = 0;
        for (account, buy, ppm) in [
            (taker.account, taker.buy, taker_ppm),
            (maker.account, !taker.buy, maker_ppm),
        ] {
            let position = self.position(account, taker.market);
            let was = position.lots.max(0);
            let real = position.trade(if buy { lots as i64 } else { -(lots as i64) }, maker.ticks);
            interest += position.lots.max(0) - was;
            let fee = fee(value, ppm);
            self.accounts[account as usize].collateral += real - fee;
            self.core.fees += fee;
        }
        let held = &mut self.core.markets[at].open_interest;
        *held = held.wrapping_add_signed(interest);
        fills.push(Fill {
            market: taker.market,
            taker: taker.account,
            maker: maker.account,
            maker_cloid: maker.cloid,
            buy: taker.buy,
            ticks: maker.ticks,
            lots,
        });
    }

    /// Takes free collateral: profit that is not realised does not count (Mango, 2022).
    fn debit(&mut self, account: u32, amount: u64) -> Result<(), Reject> {
        let health = self.health(account);
        let collateral = self.accounts[account as usize].collateral;
        let free = (collateral + health.losses) * PPM - health.initial_micro;
        if amount == 0 || i128::from(amount) * PPM > free {
            return Err(Reject::Amount);
        }
        self.accounts[account as usize].collateral -= i128::from(amount);
        self.touch(account);
        Ok(())
    }

    fn credit(&mut self, to: PublicKey, amount: u64) {
        let id = match self.keys.get(&ByPrefix(to)) {
            Some(id) => *id,
            None => self.open_account(to),
        };
        self.accounts[id as usize].collateral += i128::from(amount);
        self.touch(id);
    }

    fn deposit(
        &mut self,
        sender: &PublicKey,
        to: PublicKey,
        amount: u64,
        number: u64,
    ) -> Result<(), Reject> {
        if self.core.bridge.as_ref() != Some(sender) || number != self.core.deposits {
            return Err(Reject::Forbidden);
        }
        if amount == 0 {
            return Err(Reject::Amount);
        }
        let full = !self.keys.contains_key(&ByPrefix(to)) && self.accounts.len() >= ACCOUNTS_MAX;
        if full || self.core.deposited + i128::from(amount) > QUOTE_MAX {
            return Err(Reject::Full);
        }
        self.core.deposits += 1;
        self.core.deposited += i128::from(amount);
        self.credit(to, amount);
        Ok(())
    }

    fn observe(
        &mut self,
        sender: &PublicKey,
        market: u32,
        ticks: u64,
        height: u64,
    ) -> Result<(), Reject> {
        let who = self.core.oracles.iter().position(|key| key == sender);
        let who = who.ok_or(Reject::Forbidden)?;
        if ticks == 0 || ticks > TICKS_MAX {
            return Err(Reject::PriceBand);
        }
        let market = self.core.markets.get_mut(market as usize);
        market.ok_or(Reject::UnknownMarket)?.observed[who] = (ticks, height);
        Ok(())
    }
}
