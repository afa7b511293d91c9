//! Speed of the clearing house on one core, beside plain order books on the same
//! stream of orders in the same run; all must report the same fills. The caller brings the
//! clock, since this crate has none.

mod deep;
mod fills;
mod peers;
mod root;
mod stream;
mod sweep;

use std::hint::black_box;

use fairlane_types::{Root, SequencedBlock};

use crate::params::{Deleveraging, ExecutionGenesis, MarketParams, MatchingRule, ParamsError};
use crate::{Clearing, Execution, ExecutionError, House, Tx};
pub use deep::Deep;
pub use fills::Fills;
use stream::{BLOCK, MID, OPS, Op, TRADERS, action, key};

/// Runs of each figure; the best counts, since other load only slows.
const RUNS: usize = 3;

/// Processor time of this thread in nanoseconds, from any start.
pub type Clock<'a> = &'a dyn Fn() -> u64;

/// What was measured. Times are nanoseconds of processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Orders in the stream: 70 % limit, 20 % cancels, 10 % market.
    pub orders: u64,
    /// Fills they make, the same in all engines.
    pub fills: u64,
    /// Matching with margin, the whole stream.
    pub matching: u64,
    /// The same through blocks with receipts and roots.
    pub apply: u64,
    /// The state root after some of 1,000,000 accounts changed, each with a position.
    pub root: u64,
    /// How many changed.
    pub changed: u64,
    /// Sweep of 100,000 accounts.
    pub sweep: u64,
    /// Accounts that it liquidates.
    pub liquidated: u64,
    /// The stream through lobster 0.7.0, which checks no margin and writes no receipts.
    pub lobster: u64,
    /// The stream through obcore 0.1.6, likewise.
    pub obcore: u64,
    /// Over a deep book.
    pub deep: Deep,
    /// The stream through orderbook-rs 0.15.3, likewise; only with the feature `peers`.
    pub orderbook_rs: Option<u64>,
    /// The stream through matchcore 0.4.0, likewise, and the fills it makes, which are others
    /// (docs/decisions/0056).
    pub matchcore: Option<(u64, Fills)>,
}

impl Figures {
    fn per_second(&self, nanos: u64) -> u128 {
        u128::from(self.orders) * 1_000_000_000 / u128::from(nanos.max(1))
    }

    /// For people: each figure, and the peers' beside it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let ratio = |peer: u64| {
            let percent = u128::from(peer) * 100 / u128::from(self.matching.max(1));
            format!("x{}.{:02}", percent / 100, percent % 100)
        };
        let peer =
            |name: &str, time| format!("{name} {:>9}/s  ({})", self.per_second(time), ratio(time));
        let mut lines = vec![
            format!(
                "{} orders, {} fills, the same in all",
                self.orders, self.fills
            ),
            format!(
                "matching with margin  {:>9}/s",
                self.per_second(self.matching)
            ),
            peer("lobster 0.7.0        ", self.lobster),
            peer("obcore 0.1.6         ", self.obcore),
            format!(
                "apply, blocks of {BLOCK} {:>9}/s",
                self.per_second(self.apply)
            ),
            format!(
                "root, {} of {} accounts with a position changed: {} µs",
                self.changed,
                root::ACCOUNTS,
                self.root / 1_000
            ),
            format!(
                "apply over a book of {} orders {:>9}/s",
                deep::ORDERS,
                self.per_second(self.deep.apply)
            ),
            format!(
                "audit of that book and its accounts: {} µs; one order that takes half of it: {} µs",
                self.deep.audit / 1_000,
                self.deep.taken / 1_000
            ),
            format!(
                "sweep of {} accounts, {} liquidated: {} µs",
                sweep::ACCOUNTS,
                self.liquidated,
                self.sweep / 1_000
            ),
        ];
        if let Some(time) = self.orderbook_rs {
            lines.insert(4, peer("orderbook-rs 0.15.3  ", time));
        }
        if let Some((time, fills)) = self.matchcore {
            let line = peer("matchcore 0.4.0      ", time);
            let fills = format!("{} fills of {} lots", fills.count, fills.lots);
            lines.insert(5, format!("{line}, no peer: it makes {fills}"));
        }
        lines
    }

    /// For machines: one line.
    #[must_use]
    pub fn json(&self) -> String {
        let millis = |nanos: u64| format!("{}.{:03}", nanos / 1_000_000, nanos / 1_000 % 1_000);
        let orderbook_rs = self.orderbook_rs.map_or_else(String::new, |time| {
            format!(",\"orderbook-rs\":{}", self.per_second(time))
        });
        let other_fills = self.matchcore.map_or_else(String::new, |(time, _)| {
            let speed = self.per_second(time);
            format!(",\"other_fills\":{{\"matchcore\":{speed}}}")
        });
        format!(
            "{{\"exec\":{{\"match_ops_per_core_s\":{},\"apply_ops_per_s\":{},\"root_ms\":{},\"liquidation_sweep_ms\":{},\"deep\":{{\"orders\":{},\"apply_ops_per_s\":{},\"audit_ms\":{},\"taken_ms\":{}}},\"peers\":{{\"lobster\":{},\"obcore\":{}{orderbook_rs}}}{other_fills}}}}}",
            self.per_second(self.matching),
            self.per_second(self.apply),
            millis(self.root),
            millis(self.sweep),
            deep::ORDERS,
            self.per_second(self.deep.apply),
            millis(self.deep.audit),
            millis(self.deep.taken),
            self.per_second(self.lobster),
            self.per_second(self.obcore),
        )
    }
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchError {
    /// The genesis is refused.
    #[error(transparent)]
    Genesis(#[from] ParamsError),
    /// A block is refused.
    #[error(transparent)]
    Block(#[from] ExecutionError),
    /// An engine made other fills.
    #[error("{engine} makes {got:?}, matching makes {want:?}")]
    Fills {
        /// The engine.
        engine: &'static str,
        /// Its fills.
        got: Fills,
        /// Those of the clearing house.
        want: Fills,
    },
}

/// Measures everything, for some seconds.
///
/// # Errors
/// [`BenchError`].
pub fn measure(clock: Clock<'_>) -> Result<Figures, BenchError> {
    let ops = stream::stream();
    let (matching, fills) = matching(&ops, clock)?;
    let agree = |engine, (time, got): (u64, Fills)| {
        if got.agree(&fills) {
            Ok(time)
        } else {
            let want = fills;
            Err(BenchError::Fills { engine, got, want })
        }
    };
    let lobster = agree("lobster", peers::lobster(&ops, clock))?;
    let obcore = agree("obcore", peers::obcore(&ops, clock))?;
    #[cfg(feature = "peers")]
    let (orderbook_rs, matchcore) = (
        Some(agree("orderbook-rs", peers::orderbook_rs(&ops, clock))?),
        Some(peers::matchcore(&ops, clock)),
    );
    #[cfg(not(feature = "peers"))]
    let (orderbook_rs, matchcore) = (None, None);
    let blocks = stream::blocks(&ops);
    let apply = agree("apply", apply(&blocks, clock)?)?;
    let deep = deep::deep(&blocks, clock)?;
    let (root, changed) = root::root(clock)?;
    let (sweep, liquidated) = sweep::sweep(clock)?;
    Ok(Figures {
        orders: OPS as u64,
        fills: fills.count,
        matching,
        apply,
        root,
        changed,
        sweep,
        liquidated,
        deep,
        lobster,
        obcore,
        orderbook_rs,
        matchcore,
    })
}

fn best(mut run: impl FnMut() -> u64) -> u64 {
    (0..RUNS).map(|_| run()).fold(u64::MAX, u64::min)
}

fn genesis() -> ExecutionGenesis {
    let market = MarketParams {
        initial_ppm: 100_000,
        maintenance_ppm: 50_000,
        step_ppm: 20_000,
        band_ppm: 200_000,
        liquidation_fee_ppm: 500,
        liquidation_block_ppm: 1_000_000,
        funding_heights: 0,
        funding_cap_ppm: 0,
        ..MarketParams::plain(MID, MatchingRule::PriceTime)
    };
    ExecutionGenesis {
        markets: vec![market],
        accounts: (0..TRADERS).map(|n| (key(n), 1 << 50)).collect(),
        oracles: Vec::new(),
        oracle: Default::default(),
        bridge: None,
        insurance: 0,
        deleveraging: Deleveraging::ProRata,
        withdraw_hour_ppm: 1_000_000,
        withdraw_day_ppm: 1_000_000,
    }
}

fn matching(ops: &[(u64, Op)], clock: Clock<'_>) -> Result<(u64, Fills), BenchError> {
    let txs: Vec<_> = ops
        .iter()
        .enumerate()
        .map(|(n, (who, op))| (key(*who), Tx::Order(action(n, op))))
        .collect();
    let fresh = House::new(&genesis())?;
    let mut sum = Fills::default();
    let time = best(|| {
        let mut house = fresh.clone();
        sum = Fills::default();
        let mut fills = Vec::new();
        let start = clock();
        for (sender, tx) in &txs {
            fills.clear();
            black_box(house.execute(sender, tx, 1, &mut fills)).ok();
            for f in &fills {
                sum.add(f.taker_cloid, f.maker_cloid, f.ticks, f.lots);
            }
        }
        clock() - start
    });
    Ok((time, sum))
}

fn apply(blocks: &[SequencedBlock], clock: Clock<'_>) -> Result<(u64, Fills), BenchError> {
    let (mut least, mut sum) = (u64::MAX, Fills::default());
    for _ in 0..RUNS {
        let mut clearing = Clearing::new(&genesis(), Root::default())?;
        sum = Fills::default();
        let start = clock();
        for block in blocks {
            let done = clearing.apply(block)?;
            for f in done.receipts.iter().flat_map(|r| &r.fills) {
                sum.add(f.taker_cloid, f.maker_cloid, f.ticks, f.lots);
            }
        }
        least = least.min(clock() - start);
    }
    Ok((least, sum))
}
