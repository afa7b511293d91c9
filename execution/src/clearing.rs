//! The reference execution: blocks in, receipts and roots out.

use std::sync::Arc;

use fairlane_types::{
    Digest, Height, Inputs, Item, OrderAction, Outcome, PublicKey, Root, SequencedBlock,
    TimeInForce, append, decode, decode_first, encode,
};

use crate::account::{AccountLeaf, PositionLeaf};
use crate::book::Resting;
use crate::changes::Proposal;
use crate::funding::FUNDING_MAX;
use crate::gate::{DAY_MS, HOUR_MS};
use crate::house::{ByPrefix, Core, House};
use crate::interface::{AccountProof, Executed, Execution, ExecutionError, Receipt, state_root};
use crate::large::LARGE_MAX;
use crate::merkle::{DenseTree, leaf, leaves};
use crate::params::{
    ACCOUNTS_MAX, ExecutionGenesis, FUNDING_HEIGHTS_MAX, MARKETS_MAX, MatchingRule, ORACLES_MAX,
    ORDERS_PER_ACCOUNT_MAX,
};
use crate::results::Results;
use crate::tx::{Request, Tx};
use crate::units::{LOTS_MAX, PPM, QUOTE_MAX, TICKS_MAX, notional};
use crate::{Fill, Reject, Status};

/// Largest count of a snapshot, far from what can come about and from the end of its type.
const COUNT_MAX: u64 = 1 << 62;
/// Largest snapshot that is read.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 32;

/// The clearing house as an [`Execution`].
#[derive(Clone)]
pub struct Clearing {
    pub(crate) house: House,
    tree: DenseTree,
    height: Height,
    sequence: Root,
    root: Digest,
    finalized: Height,
    results: Results,
}

impl Clearing {
    /// A clearing house at height 0, before the first block of the sequence that starts
    /// from `sequence`.
    ///
    /// # Errors
    /// [`ExecutionError::Params`].
    pub fn new(genesis: &ExecutionGenesis, sequence: Root) -> Result<Self, ExecutionError> {
        Ok(Self::at(House::new(genesis)?, Height(0), sequence))
    }

    pub(crate) fn at(house: House, height: Height, sequence: Root) -> Self {
        let mut clearing = Self {
            house,
            tree: DenseTree::default(),
            height,
            sequence,
            root: Digest::default(),
            finalized: height,
            results: Results::default(),
        };
        clearing.commit();
        clearing
    }

    /// The state.
    #[must_use]
    pub const fn house(&self) -> &House {
        &self.house
    }

    /// The state, for faults to be planted in.
    #[cfg(test)]
    pub(crate) const fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }

    /// Orders that rest before the first block of a bench.
    #[cfg(feature = "bench")]
    pub(crate) fn rest_for_bench(&mut self, rest: fn(&mut House)) {
        rest(&mut self.house);
        self.commit();
    }

    /// Root of the sequence at the head.
    #[must_use]
    pub const fn sequence(&self) -> Root {
        self.sequence
    }

    /// The result of a height, if it is one of the last that are kept.
    #[must_use]
    pub fn executed(&self, height: Height) -> Option<Arc<Executed>> {
        self.results.at(height)
    }

    fn leaf(&self, account: usize) -> AccountLeaf {
        let account = &self.house.accounts[account];
        let position = |p: &crate::account::Position| {
            let book = &self.house.books[p.market as usize];
            let mut orders: Vec<_> = p.orders.iter().map(|(_, s)| *book.order(*s)).collect();
            orders.sort_unstable_by_key(|order| order.seq);
            PositionLeaf {
                market: p.market,
                lots: p.lots,
                cost: p.cost,
                funding: p.funding,
                orders,
            }
        };
        let held = account.positions.iter().filter(|p| !p.is_flat());
        AccountLeaf {
            key: account.key,
            collateral: account.collateral,
            positions: held.map(position).collect(),
        }
    }

    /// Appends the encoding of [`Self::leaf`], without building it: thousands a block.
    fn encode_leaf(&self, account: usize, orders: &mut Vec<Resting>, bytes: &mut Vec<u8>) {
        let account = &self.house.accounts[account];
        let held = || account.positions.iter().filter(|p| !p.is_flat());
        let count = held().count() as u32;
        append(&(account.key, account.collateral, count), bytes);
        for p in held() {
            let book = &self.house.books[p.market as usize];
            orders.clear();
            orders.extend(p.orders.iter().map(|(_, slot)| *book.order(*slot)));
            orders.sort_unstable_by_key(|order| order.seq);
            append(&(p.market, p.lots, p.cost, p.funding), bytes);
            append(orders, bytes);
        }
    }

    fn header(&self) -> (Height, Root, u64, Digest) {
        let accounts = self.house.accounts.len() as u64;
        let mut core = encode(&self.house.core);
        append_changes(&self.house.changes, &mut core);
        (self.height, self.sequence, accounts, leaf(&core))
    }

    pub(crate) fn commit(&mut self) {
        let mut dirty = std::mem::take(&mut self.house.dirty);
        dirty.sort_unstable();
        let (mut leaves, mut orders) = (Inputs::new(leaves()), Vec::new());
        for account in &dirty {
            let at = *account as usize;
            leaves.push(|bytes| self.encode_leaf(at, &mut orders, bytes));
            self.house.is_dirty[at] = false;
            self.house.accounts[at].positions.retain(|p| !p.is_flat());
        }
        let changes = dirty.iter().map(|at| *at as usize).zip(leaves.finish());
        self.tree.update(&changes.collect::<Vec<_>>());
        dirty.clear();
        self.house.dirty = dirty;
        self.root = state_root(self.header(), self.tree.root());
    }

    /// The class in which a transaction meets the markets. Those of `CancelFirst` take cancels
    /// before all else and post-only orders next. A cancel of all markets comes first where all
    /// are of that rule; a batch is never taken apart.
    fn class(&self, tx: &Result<(PublicKey, Tx), Reject>) -> u8 {
        const CANCEL: u8 = 0;
        const POST_ONLY: u8 = 1;
        const REST: u8 = 2;
        let Ok((_, tx)) = tx else {
            return REST;
        };
        let by_tif = |tif: &TimeInForce| {
            if *tif == TimeInForce::PostOnly {
                POST_ONLY
            } else {
                REST
            }
        };
        let markets = &self.house.core.markets;
        let is_of = |m: &crate::Market| m.params.rule == MatchingRule::CancelFirst;
        let (market, class) = match tx {
            Tx::Order(OrderAction::Cancel { market, .. })
            | Tx::Order(OrderAction::CancelAll {
                market: Some(market),
            })
            | Tx::Request(Request::Shrink { market, .. }) => (*market, CANCEL),
            Tx::Order(OrderAction::CancelAll { market: None }) if markets.iter().all(is_of) => {
                (0, CANCEL)
            }
            Tx::Order(OrderAction::Place { market, tif, .. })
            | Tx::Request(Request::Until {
                order: OrderAction::Place { market, tif, .. },
                ..
            })
            | Tx::Request(Request::Replace { market, tif, .. }) => (*market, by_tif(tif)),
            _ => return REST,
        };
        match markets.get(market as usize) {
            Some(found) if is_of(found) => class,
            _ => REST,
        }
    }
}

/// Changes follow the rest of the core if there are any: a clearing house in which nobody ever
/// said one has the roots that it had before there were changes.
fn append_changes(changes: &[Proposal], bytes: &mut Vec<u8>) {
    if !changes.is_empty() {
        append(changes, bytes);
    }
}

fn read_changes(bytes: &[u8]) -> Option<Vec<Proposal>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let changes: Vec<Proposal> = decode(bytes, SNAPSHOT_BYTES_MAX).ok()?;
    (!changes.is_empty()).then_some(changes)
}

fn parse(item: &Item) -> Result<(PublicKey, Tx), Reject> {
    match &item.outcome {
        Outcome::Opened { payload, .. } => {
            Tx::from_bytes(payload).map(|tx| (item.label.sender, tx))
        }
        _ => Err(Reject::NotOpened),
    }
}

impl Execution for Clearing {
    fn head(&self) -> (Height, Digest) {
        (self.height, self.root)
    }

    fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError> {
        if let Some(stored) = self.results.of(block, self.height, self.sequence)? {
            return Ok(stored);
        }
        let got = block.height;
        let mut events = Vec::new();
        self.house.clock(block.time.0, got.0, &mut events);
        self.house.step_oracles(got.0, &mut events);
        let moved = self.house.move_marks();
        let moved = self.house.predict(got.0) || moved;
        let before = events.len();
        self.house.fund(got.0, &mut events);
        let revalued = moved || events.len() > before;
        self.house.step_breakers(got.0, &mut events);
        let since = self.house.core.next_seq;
        let txs: Vec<_> = block.items.iter().map(parse).collect();
        let mut order: Vec<(u8, usize)> =
            (0..txs.len()).map(|i| (self.class(&txs[i]), i)).collect();
        order.sort_unstable();
        let receipt = |item: &Item| Receipt {
            position: item.position,
            code: 0,
            fills: Vec::new(),
        };
        let mut receipts: Vec<Receipt> = block.items.iter().map(receipt).collect();
        for (_, at) in order {
            let mut fills: Vec<Fill> = Vec::new();
            let result = match &txs[at] {
                Ok((sender, tx)) => self.house.execute(sender, tx, got.0, &mut fills),
                Err(reject) => Err(*reject),
            };
            receipts[at].code = result.err().map_or(0, Reject::code);
            receipts[at].fills = fills;
        }
        self.house.tell_two_prices(&mut events);
        self.house.settle_large(got.0, &mut events);
        self.house.clear(got.0, &block.root, since, &mut events);
        self.house.expire(got.0, &mut events);
        let revalued = self.house.change(got.0, &mut events) || revalued;
        self.house.sweep(revalued, got.0, &mut events);
        self.house.audit(got.0, &mut events);
        (self.height, self.sequence) = (got, block.root);
        self.commit();
        let executed = Executed {
            height: got,
            state_root: self.root,
            receipts_root: Executed::receipts_root(&receipts, &events),
            receipts,
            events,
        };
        Ok(self.results.keep(executed))
    }

    fn finalize(&mut self, height: Height) {
        self.finalized = self.finalized.max(height.min(self.height));
    }

    fn finalized(&self) -> Height {
        self.finalized
    }

    fn prove(&self, key: &PublicKey, height: Height) -> Result<AccountProof, ExecutionError> {
        let none = || ExecutionError::NoProof(*key);
        let at = *self.house.keys.get(&ByPrefix(*key)).ok_or_else(none)? as usize;
        if height != self.height {
            return Err(none());
        }
        Ok(AccountProof {
            account: self.leaf(at),
            index: at as u64,
            path: self.tree.path(at).ok_or_else(none)?,
            head: self.header(),
        })
    }

    fn snapshot(&self) -> Vec<u8> {
        let accounts: Vec<_> = (0..self.house.accounts.len())
            .map(|at| self.leaf(at))
            .collect();
        let head = (self.height, self.sequence, self.root);
        let mut bytes = encode(&(head, &self.house.core, accounts));
        append_changes(&self.house.changes, &mut bytes);
        bytes
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<Digest, ExecutionError> {
        type Body = ((Height, Root, Digest), Core, Vec<AccountLeaf>);
        let bad = |why: &str| ExecutionError::Snapshot(why.into());
        let (body, rest) = decode_first::<Body>(bytes, SNAPSHOT_BYTES_MAX)
            .map_err(|error| bad(&error.to_string()))?;
        let (head, core, accounts) = body;
        let changes = read_changes(rest).ok_or_else(|| bad("its changes do not parse"))?;
        // The root over exactly what was read comes first: what follows may then rely on
        // the state having been one.
        let digests = leaves().each(&accounts);
        let mut committed = encode(&core);
        append_changes(&changes, &mut committed);
        let header = (head.0, head.1, accounts.len() as u64, leaf(&committed));
        if state_root(header, DenseTree::new(digests).root()) != head.2 {
            return Err(bad("its root does not fit its content"));
        }
        // The root is the snapshot's own word until the caller has compared it, so that
        // every bound the arithmetic rests on is checked as well.
        let sane = |m: &crate::Market| {
            m.params.validate().is_ok()
                && (1..=TICKS_MAX).contains(&m.mark)
                && m.oracle.is_sane(core.oracles.len())
                && (m.params.breaker.is_some()
                    || matches!(m.status, Status::Normal | Status::Frozen))
                && m.predictor.is_sane(m.params.predictive.as_ref())
                && m.funding.abs() <= FUNDING_MAX
                && m.premiums <= FUNDING_HEIGHTS_MAX
                && m.watch.is_sane()
                && m.premium_ppm.unsigned_abs() <= u64::from(m.premiums) * PPM as u64
        };
        let levels = core.limits.iter().map(|bucket| bucket.level);
        let mut money = vec![core.deposited, core.withdrawn, core.fees, core.insurance];
        money.extend(levels.chain([core.funding.saturating_abs(), core.bad_debt]));
        let periods = [HOUR_MS, DAY_MS];
        let counts = [head.0.0, core.deposits, core.fills, core.next_seq];
        if core.markets.len() > MARKETS_MAX
            || core.oracles.len() > ORACLES_MAX
            || !core.markets.iter().all(sane)
            || counts.iter().any(|count| *count > COUNT_MAX)
            || core.oracle.validate().is_err()
            || core
                .limits
                .iter()
                .zip(periods)
                .any(|(bucket, period)| !bucket.is_sane(period))
            || money.iter().any(|sum| !(0..=QUOTE_MAX).contains(sum))
            || accounts.len() > ACCOUNTS_MAX
        {
            return Err(bad("a value is out of its bounds"));
        }
        let next_seq = core.next_seq;
        let mut house = House::with(core);
        house.changes = changes;
        if !house.changes_are_sane() {
            return Err(bad("a change is out of its bounds"));
        }
        let mut resting = Vec::new();
        for account in accounts {
            if house.keys.contains_key(&ByPrefix(account.key)) {
                return Err(bad("a key comes twice"));
            }
            if account.collateral.unsigned_abs() > QUOTE_MAX.unsigned_abs() {
                return Err(bad("a collateral is out of its bounds"));
            }
            let id = house.open_account(account.key);
            let mut least = 0;
            house.accounts[id as usize].collateral = account.collateral;
            for held in account.positions {
                if held.market < least || held.market as usize >= house.books.len() {
                    return Err(bad("a position in no market, or out of order"));
                }
                least = held.market + 1;
                let value = notional(TICKS_MAX, LOTS_MAX as i64);
                if held.lots.unsigned_abs() > LOTS_MAX
                    || held.cost.unsigned_abs() > value.unsigned_abs()
                    || held.funding.unsigned_abs() > FUNDING_MAX.unsigned_abs()
                    || held.orders.len() > ORDERS_PER_ACCOUNT_MAX
                {
                    return Err(bad("a position is out of its bounds"));
                }
                let mut position = crate::account::Position::flat(held.market);
                (position.lots, position.cost) = (held.lots, held.cost);
                position.funding = held.funding;
                house.accounts[id as usize].positions.push(position);
                for order in held.orders {
                    let fits = order.account == id
                        && (1..=LOTS_MAX).contains(&order.lots)
                        && (1..=TICKS_MAX).contains(&order.ticks)
                        && order.seq < next_seq;
                    if !fits {
                        return Err(bad("an order is out of its bounds"));
                    }
                    resting.push((held.market, order));
                }
            }
        }
        if house.core.large.len() > LARGE_MAX {
            return Err(bad("too many large orders"));
        }
        for at in 0..house.core.large.len() {
            let large = house.core.large[at].clone();
            if !large.is_sane(house.accounts.len(), &house.core.markets) {
                return Err(bad("a large order is out of its bounds"));
            }
            house.reserve(&large, large.left as i64);
        }
        resting.sort_unstable_by_key(|(_, order)| order.seq);
        if resting
            .windows(2)
            .any(|pair| pair[0].1.seq == pair[1].1.seq)
        {
            return Err(bad("a priority comes twice"));
        }
        for (market, order) in resting {
            let held = house.held(order.account, market);
            if held.is_some_and(|position| position.order(order.cloid).is_some()) {
                return Err(bad("an order's number comes twice"));
            }
            house.rest(market, order);
        }
        for number in 0..house.books.len() as u32 {
            let held = |id| house.held(id, number).map_or(0, |p| p.lots);
            let all = || (0..house.accounts.len() as u32).map(held);
            let long: u64 = all().filter(|lots| *lots > 0).map(i64::unsigned_abs).sum();
            let short: u64 = all().filter(|lots| *lots < 0).map(i64::unsigned_abs).sum();
            let interest = house.core.markets[number as usize].open_interest;
            // Where they do not fit, it was frozen for that.
            let frozen = house.core.markets[number as usize].status == Status::Frozen;
            if (long, short) != (interest, interest) && !frozen {
                return Err(bad("positions do not fit the open interest"));
            }
        }
        let finalized = self.finalized.min(head.0);
        *self = Self::at(house, head.0, head.1);
        self.finalized = finalized;
        Ok(self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::MarketParams;

    // Its root fits: whoever makes a snapshot makes that, too.
    #[test]
    fn counts_at_the_end_of_their_type_are_refused() {
        let market = MarketParams::plain(1_000, MatchingRule::PriceTime);
        let genesis = ExecutionGenesis::plain(vec![market], vec![(PublicKey([1; 32]), 9)]);
        let changes: [fn(&mut Clearing); 7] = [
            |_| {},
            |c| c.height = Height(u64::MAX),
            |c| c.house.core.deposits = u64::MAX,
            |c| c.house.core.fills = u64::MAX,
            |c| c.house.core.next_seq = u64::MAX,
            |c| c.house.core.limits[1].rest = i128::from(DAY_MS),
            |c| c.house.core.limits[0].rest = -1,
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut clearing = Clearing::new(&genesis, Root::default()).unwrap();
            change(&mut clearing);
            clearing.commit();
            let mut other = Clearing::new(&genesis, Root::default()).unwrap();
            let restored = other.restore(&clearing.snapshot());
            assert_eq!(restored.is_ok(), n == 0, "{n}: {restored:?}");
        }
    }

    // GMX v1, July 2025: a sum that is kept beside the positions went out of step with them.
    #[test]
    fn a_sum_that_its_positions_do_not_come_to_is_refused_whatever_the_root_says() {
        let market = MarketParams::plain(1_000, MatchingRule::PriceTime);
        let keys = [1, 2].map(|n| (PublicKey([n; 32]), 1 << 30));
        let genesis = ExecutionGenesis::plain(vec![market], keys.to_vec());
        let new = || Clearing::new(&genesis, Root::default()).unwrap();
        for (sum, fits) in [(7, true), (6, false), (8, false)] {
            let mut clearing = new();
            clearing.house.exchange(0, [0, 1], 7, 1_000);
            (0..2).for_each(|account| clearing.house.touch(account));
            clearing.house.core.markets[0].open_interest = sum;
            clearing.commit();
            let restored = new().restore(&clearing.snapshot());
            let why = "positions do not fit the open interest".to_owned();
            let want = if fits {
                Ok(clearing.root)
            } else {
                Err(ExecutionError::Snapshot(why))
            };
            assert_eq!(restored, want, "{sum}");
        }
    }
}
