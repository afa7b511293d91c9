//! Speed of the clearing house on one core, in processor time, beside two plain order
//! books on the same stream of orders in the same run. The others check no margin and
//! write no receipts. Fills must agree. The last line is JSON.
//!
//! `cargo run --release -p fairlane-execution --example exec_bench`

#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;

use fairlane_execution::account::AccountLeaf;
use fairlane_execution::merkle::{DenseTree, leaf};
use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_execution::{Clearing, Execution, House, Tx};
use fairlane_types::{
    ChainId, Height, Item, Label, Micros, OrderAction, Outcome, Position, PublicKey, Root,
    SequencedBlock, Side, TimeInForce, encode,
};
use rustix::time::{ClockId, clock_gettime};

/// Orders of the stream.
const OPS: usize = 1_000_000;
/// Items in a block.
const BLOCK: usize = 5_000;
/// Accounts that trade; even ones sell and odd ones buy, so that none meets itself.
const TRADERS: u64 = 1_000;
/// Accounts under the tree whose root is timed.
const LEAVES: u64 = 1_000_000;
/// Runs of each figure; the best counts, since other load only slows.
const RUNS: usize = 3;
const MID: u64 = 10_000;

fn seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn best(mut run: impl FnMut() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(f64::MAX, f64::min)
}

fn key(n: u64) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PublicKey(bytes)
}

/// One order of the stream; its number is its place.
#[derive(Clone, Copy)]
enum Op {
    Limit { buy: bool, ticks: u64, lots: u64 },
    Market { buy: bool, lots: u64 },
    Cancel { target: usize },
}

/// 70 % limit orders around a fixed middle, 20 % cancels of recent ones, 10 % market.
fn stream() -> Vec<(u64, Op)> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let mut ops: Vec<(u64, Op)> = Vec::with_capacity(OPS);
    for n in 0..OPS {
        let buy = random(2) == 1;
        let account = random(TRADERS / 2) * 2 + u64::from(buy);
        let op = match random(10) {
            0..7 => {
                let away = random(40);
                let ticks = if buy { MID + 6 - away } else { MID - 6 + away };
                Op::Limit {
                    buy,
                    ticks,
                    lots: 1 + random(50),
                }
            }
            7 => Op::Market {
                buy,
                lots: 1 + random(300),
            },
            _ if n > 0 => Op::Cancel {
                target: n - 1 - random(n.min(1_000) as u64) as usize,
            },
            _ => continue,
        };
        let account = match op {
            Op::Cancel { target } => ops.get(target).map_or(account, |(owner, _)| *owner),
            _ => account,
        };
        ops.push((account, op));
    }
    ops
}

fn action(n: usize, op: &Op) -> OrderAction {
    let place = |buy, price_ticks, lots, tif| OrderAction::Place {
        market: 0,
        side: if buy { Side::Buy } else { Side::Sell },
        price_ticks,
        lots,
        tif,
        reduce_only: false,
        cloid: n as u64,
    };
    match *op {
        Op::Limit { buy, ticks, lots } => place(buy, ticks, lots, TimeInForce::Gtc),
        Op::Market { buy, lots } => {
            let ticks = if buy { MID + MID / 10 } else { MID - MID / 10 };
            place(buy, ticks, lots, TimeInForce::Ioc)
        }
        Op::Cancel { target } => OrderAction::Cancel {
            market: 0,
            cloid: target as u64,
        },
    }
}

fn genesis() -> ExecutionGenesis {
    let market = MarketParams {
        mark_ticks: MID,
        rule: MatchingRule::PriceTime,
        initial_ppm: 100_000,
        maintenance_ppm: 50_000,
        step_ppm: 20_000,
        band_ppm: 200_000,
        taker_fee_ppm: 500,
        maker_fee_ppm: 100,
    };
    ExecutionGenesis {
        markets: vec![market],
        accounts: (0..TRADERS).map(|n| (key(n), 1 << 50)).collect(),
        oracles: Vec::new(),
        bridge: None,
    }
}

/// Number of fills and sum of their lots, to be compared.
type Fills = (u64, u64);

fn house(ops: &[(u64, Op)]) -> (f64, Fills) {
    let txs: Vec<_> = ops
        .iter()
        .enumerate()
        .map(|(n, (who, op))| (key(*who), Tx::Order(action(n, op))))
        .collect();
    let (mut sum, mut resting) = ((0, 0), 0);
    let time = best(|| {
        let mut house = House::new(&genesis()).unwrap();
        sum = (0, 0);
        let mut fills = Vec::new();
        let start = seconds();
        for (sender, tx) in &txs {
            fills.clear();
            black_box(house.execute(sender, tx, 1, &mut fills)).ok();
            sum.0 += fills.len() as u64;
            sum.1 += fills.iter().map(|f| f.lots).sum::<u64>();
        }
        let time = seconds() - start;
        resting = house.market(0).map_or(0, |(_, book)| book.len());
        time
    });
    println!("{resting} orders rest at the end");
    (time, sum)
}

fn lobster(ops: &[(u64, Op)]) -> (f64, Fills) {
    use lobster::{OrderBook, OrderEvent, OrderType, Side};
    let side = |buy| if buy { Side::Bid } else { Side::Ask };
    let mut sum = (0, 0);
    let time = best(|| {
        let mut book = OrderBook::default();
        sum = (0, 0);
        let start = seconds();
        for (n, (_, op)) in ops.iter().enumerate() {
            let id = n as u128;
            let event = book.execute(match *op {
                Op::Limit { buy, ticks, lots } => OrderType::Limit {
                    id,
                    side: side(buy),
                    qty: lots,
                    price: ticks,
                },
                Op::Market { buy, lots } => OrderType::Market {
                    id,
                    side: side(buy),
                    qty: lots,
                },
                Op::Cancel { target } => OrderType::Cancel { id: target as u128 },
            });
            if let OrderEvent::PartiallyFilled { fills, .. } | OrderEvent::Filled { fills, .. } =
                event
            {
                sum.0 += fills.len() as u64;
                sum.1 += fills.iter().map(|f| f.qty).sum::<u64>();
            }
        }
        seconds() - start
    });
    (time, sum)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Theirs {
    id: u64,
    buy: bool,
    price: u64,
    quantity: u64,
    remaining: u64,
}

impl obcore::OrderInterface for Theirs {
    type I = u64;
    type N = u64;
    type O = u64;
    fn id(&self) -> &u64 {
        &self.id
    }
    fn price(&self) -> u64 {
        self.price
    }
    fn is_buy(&self) -> bool {
        self.buy
    }
    fn quantity(&self) -> u64 {
        self.quantity
    }
    fn remaining(&self) -> u64 {
        self.remaining
    }
    fn fill(&mut self, quantity: u64) {
        self.remaining -= quantity;
    }
    fn owner(&self) -> &u64 {
        &self.id
    }
}

/// It has no market orders: a limit at the band's edge, whose rest is deleted.
fn obcore(ops: &[(u64, Op)]) -> (f64, Fills) {
    let mut sum = (0, 0);
    let time = best(|| {
        let mut book = obcore::OrderBook::<Theirs>::default();
        let mut eval = obcore::Evaluator::default();
        sum = (0, 0);
        let start = seconds();
        for (n, (_, op)) in ops.iter().enumerate() {
            let id = n as u64;
            let insert = |buy, price, lots| {
                obcore::Op::Insert(Theirs {
                    id,
                    buy,
                    price,
                    quantity: lots,
                    remaining: lots,
                })
            };
            let mut market = 0;
            let op = match *op {
                Op::Limit { buy, ticks, lots } => insert(buy, ticks, lots),
                Op::Market { buy, lots } => {
                    market = lots;
                    insert(buy, if buy { MID + MID / 10 } else { MID - MID / 10 }, lots)
                }
                Op::Cancel { target } => obcore::Op::Delete(target as u64),
            };
            eval.reset();
            for step in eval.eval(&book, op) {
                if let obcore::Instruction::Fill(_, _, _, lots, false) = &step {
                    sum.0 += 1;
                    sum.1 += *lots;
                    market = market.saturating_sub(*lots);
                }
                book.apply(step);
            }
            if market > 0 {
                eval.reset();
                for step in eval.eval(&book, obcore::Op::Delete(id)) {
                    book.apply(step);
                }
            }
        }
        seconds() - start
    });
    (time, sum)
}

fn blocks(ops: &[(u64, Op)]) -> Vec<SequencedBlock> {
    let mut parent = Root::default();
    let item = |n: usize, who: u64, op: &Op| Item {
        position: Position(n as u64),
        label: Label {
            suite: 1,
            chain: ChainId(1),
            key_id: Default::default(),
            sender: key(who),
            nonce: n as u64,
            expiry: Default::default(),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        },
        ct_id: Default::default(),
        stamp: Micros(0),
        outcome: Outcome::Opened {
            payload: Tx::Order(action(n, op)).to_bytes(),
            opening: [0; 32],
        },
    };
    let mut all = Vec::new();
    for (at, chunk) in ops.chunks(BLOCK).enumerate() {
        let first = at * BLOCK;
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Default::default(),
            height: Height(at as u64 + 1),
            block: Default::default(),
            time: Default::default(),
            parent_root: parent,
            first_position: Position(first as u64),
            items: chunk
                .iter()
                .enumerate()
                .map(|(n, (who, op))| item(first + n, *who, op))
                .collect(),
            state: None,
            root: Root::default(),
        }
        .sealed();
        parent = block.root;
        all.push(block);
    }
    all
}

fn apply(blocks: &[SequencedBlock]) -> (f64, Fills) {
    let mut sum = (0, 0);
    let time = best(|| {
        let mut clearing = Clearing::new(&genesis(), Root::default()).unwrap();
        sum = (0, 0);
        let start = seconds();
        for block in blocks {
            let done = clearing.apply(block).unwrap();
            let fills = done.receipts.iter().flat_map(|r| &r.fills);
            sum = fills.fold(sum, |(n, lots), fill| (n + 1, lots + fill.lots));
        }
        seconds() - start
    });
    (time, sum)
}

/// Hashing what a block of 5,000 changed accounts changes, of 1,000,000.
fn root() -> f64 {
    let account = |n: u64| AccountLeaf {
        key: key(n),
        collateral: i128::from(n),
        positions: Vec::new(),
    };
    let mut tree = DenseTree::new((0..LEAVES).map(|n| leaf(&encode(&account(n)))).collect());
    best(|| {
        let start = seconds();
        let changes: Vec<_> = (0..BLOCK as u64)
            .map(|n| n * (LEAVES / BLOCK as u64) + n % 100)
            .map(|n| (n as usize, leaf(&encode(&account(n + 1)))))
            .collect();
        tree.update(&changes);
        black_box(tree.root());
        seconds() - start
    })
}

fn main() {
    let ops = stream();
    let rate = |time: f64| (OPS as f64 / time) as u64;
    let (ours, fills) = house(&ops);
    let (theirs, same) = lobster(&ops);
    assert_eq!(fills, same, "fills differ from lobster's");
    let (others, same) = obcore(&ops);
    assert_eq!(fills, same, "fills differ from obcore's");
    let blocks = blocks(&ops);
    let (applied, same) = apply(&blocks);
    assert_eq!(fills, same, "fills differ between matching and blocks");
    let root = root() * 1e3;
    println!(
        "{OPS} orders, {} fills of {} lots, the same in all",
        fills.0, fills.1
    );
    println!("matching with margin  {:>9}/s", rate(ours));
    println!(
        "lobster 0.7.0         {:>9}/s  (x{:.2})",
        rate(theirs),
        theirs / ours
    );
    println!(
        "obcore 0.1.6          {:>9}/s  (x{:.2})",
        rate(others),
        others / ours
    );
    println!("apply, blocks of {BLOCK} {:>9}/s", rate(applied));
    println!("root, {BLOCK} of {LEAVES} accounts changed: {root:.2} ms");
    println!(
        "{{\"exec\":{{\"match_ops_per_core_s\":{},\"apply_ops_per_s\":{},\"root_ms\":{root:.3},\"peers\":{{\"lobster\":{},\"obcore\":{}}}}}}}",
        rate(ours),
        rate(applied),
        rate(theirs),
        rate(others)
    );
}
