//! The clearing house's state and what one transaction does to it. A transaction is
//! planned against the state first and written only when nothing can refuse it any more:
//! a rejected one leaves no trace (invariant 4).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{OrderAction, PublicKey, Side};

use crate::Reject;
use crate::account::{Account, Position};
use crate::book::Book;
use crate::breaker::Status;
use crate::changes::{About, Proposal};
use crate::expiry::Expiring;
use crate::gate::{Bucket, DAY_MS, HOUR_MS};
use crate::journal::Journal;
use crate::large::Large;
use crate::matching::{Placing, Plan};
use crate::oracle::{OracleParams, OracleState};
use crate::params::{ACCOUNTS_MAX, Deleveraging, ExecutionGenesis, MarketParams, ParamsError};
use crate::predictive::Predictor;
use crate::tx::{Request, Tx};
use crate::units::{PPM, div_up, times};
use crate::watch::Watch;

/// A market's committed part; its book follows from the accounts' orders.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Market {
    /// Parameters.
    pub params: MarketParams,
    /// Price that positions are worth, and margins taken at.
    pub mark: u64,
    /// Lots held long, and as many short.
    pub open_interest: u64,
    /// What the oracles say.
    pub oracle: OracleState,
    /// Quote quanta × ppm that a long lot has paid, and a short one got, since genesis.
    pub funding: i128,
    /// Sum of the premiums seen since the last funding, ppm of the mark.
    pub premium_ppm: i64,
    /// How many.
    pub premiums: u32,
    /// Where its breaker is.
    pub status: Status,
    /// What its breaker counts.
    pub watch: Watch,
    /// What its predicted margin is made of.
    pub predictor: Predictor,
}

impl Market {
    /// Initial margin × ppm of a notional that is not negative: the market's own and what is
    /// predicted beyond; in an auction, a multiple of it.
    #[must_use]
    pub fn initial(&self, notional: i128) -> i128 {
        let more = self.predictor.initial_ppm;
        let margin = self.params.initial_with(notional, more);
        match (self.status, &self.params.breaker) {
            (Status::Auction { .. }, Some(breaker)) => {
                div_up(times(margin, u64::from(breaker.auction_initial_ppm)), PPM)
            }
            _ => margin,
        }
    }

    /// Maintenance margin × ppm, likewise.
    #[must_use]
    pub fn maintenance(&self, notional: i128) -> i128 {
        let more = self.predictor.maintenance_ppm;
        self.params.maintenance_with(notional, more)
    }
}

/// Everything committed but the accounts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Core {
    /// Markets by number.
    pub markets: Vec<Market>,
    /// Who makes the marks.
    pub oracles: Vec<PublicKey>,
    /// How.
    pub oracle: OracleParams,
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
    /// The insurance fund; never below 0.
    pub insurance: i128,
    /// What accounts were below zero and nobody paid: this much is owed that is not there.
    pub bad_debt: i128,
    /// Funding that payers have settled and receivers have not, or the reverse; what
    /// rounding leaves stays here.
    pub funding: i128,
    /// Who closes against an account below zero.
    pub deleveraging: Deleveraging,
    /// Large orders on their way, in the order they were committed in.
    pub large: Vec<Large>,
    /// Whether an account was left below its maintenance margin, for lack of a budget or of
    /// orders to close against.
    pub unsafe_left: bool,
    /// Finalized time of the last block, in milliseconds.
    pub time_ms: u64,
    /// No withdrawal up to this height.
    pub gated_until: u64,
    /// What limits withdrawals in an hour and in a day.
    pub limits: [Bucket; 2],
    /// Fills ever made, those of clearings and liquidations included.
    pub fills: u64,
    /// Priority of the next order.
    pub next_seq: u64,
}

/// One match. In a clearing at one price the buyer is called the taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Fill {
    /// Market.
    pub market: u32,
    /// Number of the taker's account.
    pub taker: u32,
    /// The taker's own number for its order; 0 in a liquidation.
    pub taker_cloid: u64,
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

/// Places for recent senders, as a power of two.
const RECENT_BITS: u32 = 12;

/// A key in its own order, compared by its first eight bytes without a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByPrefix(pub(crate) PublicKey);

impl ByPrefix {
    fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Its place among the recent senders.
    fn place(&self) -> usize {
        // Fibonacci hashing: the upper bits depend on all.
        (self.prefix().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT_BITS)) as usize
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
    /// The account that sent last of those with a key of one place; a guess, so that `keys`
    /// is searched seldom, and no part of the state.
    recent: Vec<u32>,
    pub(crate) books: Vec<Book>,
    /// Accounts changed since the last root; each once.
    pub(crate) dirty: Vec<u32>,
    pub(crate) is_dirty: Vec<bool>,
    pub(crate) plan: Plan,
    /// What each oracle said of a market in this block: at first, and then far from it.
    pub(crate) said: BTreeMap<(u32, u32), (u64, Option<u64>)>,
    /// Height of the block that is executed.
    pub(crate) height: u64,
    pub(crate) journal: Option<Journal>,
    /// Resting orders that expire, by (last height, priority).
    pub(crate) expiries: BTreeMap<(u64, u64), Expiring>,
    /// Changes of parameters on their way.
    pub(crate) changes: Vec<Proposal>,
    /// Those that a quorum has said in this block: what about, and for which height.
    pub(crate) agreed: Vec<(About, u64)>,
}

impl House {
    /// The state that a genesis describes.
    ///
    /// # Errors
    /// [`ParamsError`](crate::params::ParamsError).
    pub fn new(genesis: &ExecutionGenesis) -> Result<Self, ParamsError> {
        genesis.validate()?;
        let market = |params: &MarketParams| Market {
            params: params.clone(),
            mark: params.mark_ticks,
            open_interest: 0,
            oracle: OracleState::new(genesis.oracles.len()),
            funding: 0,
            premium_ppm: 0,
            premiums: 0,
            status: Status::Normal,
            watch: Watch::default(),
            predictor: Predictor::default(),
        };
        let core = Core {
            markets: genesis.markets.iter().map(market).collect(),
            oracles: genesis.oracles.clone(),
            oracle: genesis.oracle,
            bridge: genesis.bridge,
            deposits: 0,
            deposited: i128::from(genesis.insurance),
            withdrawn: 0,
            fees: 0,
            insurance: i128::from(genesis.insurance),
            bad_debt: 0,
            funding: 0,
            deleveraging: genesis.deleveraging,
            large: Vec::new(),
            unsafe_left: false,
            time_ms: 0,
            gated_until: 0,
            limits: [
                Bucket::new(genesis.withdraw_hour_ppm, HOUR_MS),
                Bucket::new(genesis.withdraw_day_ppm, DAY_MS),
            ],
            fills: 0,
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
            recent: vec![0; 1 << RECENT_BITS],
            books,
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            plan: Plan::default(),
            said: BTreeMap::new(),
            height: 0,
            journal: None,
            expiries: BTreeMap::new(),
            changes: Vec::new(),
            agreed: Vec::new(),
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

    pub(crate) fn touch(&mut self, account: u32) {
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

    pub(crate) fn position(&mut self, account: u32, market: u32) -> &mut Position {
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
        self.height = height;
        match tx {
            Tx::Request(Request::Observe { quotes }) => self.observe(sender, quotes),
            Tx::Request(Request::Change { height, change }) => {
                self.say_change(sender, *height, change)
            }
            Tx::Request(Request::Deposit { to, amount, number }) => {
                self.deposit(sender, *to, *amount, *number)
            }
            Tx::Request(Request::Withdraw { amount }) => {
                let account = self.sender(sender)?;
                self.withdraw(account, *amount, height)
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
                let slot = self.resting(account, *market, *cloid)?;
                let order = self.books[*market as usize].order(slot);
                let gone = order.lots.saturating_sub(*lots);
                if self.is_too_small(*market, order.reduce_only, *lots) {
                    return Err(Reject::Size);
                }
                if *lots == 0 || gone == 0 {
                    return Err(Reject::Amount);
                }
                self.shrink(*market, slot, gone);
                Ok(())
            }
            Tx::Request(Request::Until {
                order,
                height: until,
            }) => {
                if *until < height {
                    return Err(Reject::Expired);
                }
                let account = self.sender(sender)?;
                self.order(account, order, *until, fills)
            }
            Tx::Request(Request::Replace {
                market,
                cloid,
                price_ticks,
                lots,
                tif,
            }) => {
                let account = self.sender(sender)?;
                let slot = self.resting(account, *market, *cloid)?;
                let old = *self.books[*market as usize].order(slot);
                if self.is_too_small(*market, old.reduce_only, *lots) {
                    return Err(Reject::Size);
                }
                if old.ticks == *price_ticks && *lots < old.lots {
                    self.shrink(*market, slot, old.lots - lots);
                    return Ok(());
                }
                let placing = Placing {
                    account,
                    market: *market,
                    buy: old.buy,
                    ticks: *price_ticks,
                    lots: *lots,
                    tif: *tif,
                    reduce_only: old.reduce_only,
                    cloid: *cloid,
                    until: old.until,
                };
                self.atomically(|house| {
                    house.take_out(placing.market, slot);
                    house.place(placing, fills)
                })
            }
            Tx::Request(Request::Commit {
                market,
                side,
                limit_ticks,
                lots,
                slices,
                number,
            }) => {
                let account = self.sender(sender)?;
                self.commit_large(Large {
                    account,
                    market: *market,
                    number: *number,
                    buy: *side == Side::Buy,
                    limit: *limit_ticks,
                    left: *lots,
                    slices: *slices,
                    at: height,
                    due: 0,
                    ends: height,
                    prices: Vec::new(),
                    profit: 0,
                    matures: 0,
                })
            }
            Tx::Request(Request::TakeBack { market, number }) => {
                let account = self.sender(sender)?;
                self.cancel_large(account, *market, *number)
            }
            Tx::Request(Request::Batch { orders }) => {
                let account = self.sender(sender)?;
                let before = fills.len();
                let result = self.atomically(|house| {
                    orders
                        .iter()
                        .try_for_each(|action| house.order(account, action, 0, fills))
                });
                if result.is_err() {
                    fills.truncate(before);
                }
                result
            }
            Tx::Order(action) => {
                let account = self.sender(sender)?;
                self.order(account, action, 0, fills)
            }
        }
    }

    /// Slot of an account's resting order.
    fn resting(&self, account: u32, market: u32, cloid: u64) -> Result<u32, Reject> {
        if market as usize >= self.books.len() {
            return Err(Reject::UnknownMarket);
        }
        let held = self.held(account, market);
        let slot = held.and_then(|position| position.order(cloid));
        slot.ok_or(Reject::NotFound)
    }

    fn sender(&mut self, key: &PublicKey) -> Result<u32, Reject> {
        let place = ByPrefix(*key).place();
        let last = self.recent[place];
        if self
            .accounts
            .get(last as usize)
            .is_some_and(|a| a.key == *key)
        {
            return Ok(last);
        }
        let found = self.keys.get(&ByPrefix(*key));
        let id = *found.ok_or(Reject::UnknownAccount)?;
        self.recent[place] = id;
        Ok(id)
    }

    fn order(
        &mut self,
        account: u32,
        action: &OrderAction,
        until: u64,
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
                    until,
                };
                self.place(placing, fills)
            }
            OrderAction::Cancel { market, cloid } => {
                let slot = self.resting(account, market, cloid)?;
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
}
