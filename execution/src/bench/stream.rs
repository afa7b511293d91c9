//! The stream of orders that is measured: the same for every engine.

use fairlane_types::{
    ChainId, Height, Item, Label, Micros, OrderAction, Outcome, Position, PublicKey, Root,
    SequencedBlock, Side, TimeInForce,
};

use crate::Tx;

/// Orders of the stream.
pub(super) const OPS: usize = 1_000_000;
/// Items in a block.
pub(super) const BLOCK: usize = 5_000;
/// Accounts that trade; even ones sell and odd ones buy, so that none meets itself.
pub(super) const TRADERS: u64 = 1_000;
/// Price around which it trades.
pub(super) const MID: u64 = 10_000;

pub(super) fn key(n: u64) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PublicKey(bytes)
}

/// One order of the stream; its number is its place.
#[derive(Clone, Copy)]
pub(super) enum Op {
    Limit { buy: bool, ticks: u64, lots: u64 },
    Market { buy: bool, lots: u64 },
    Cancel { target: usize },
}

/// 70 % limit orders around a fixed middle, 20 % cancels of recent ones, 10 % market.
pub(super) fn stream() -> Vec<(u64, Op)> {
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

/// What an operation is to the clearing house.
pub(super) fn action(n: usize, op: &Op) -> OrderAction {
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

/// The stream in blocks.
pub(super) fn blocks(ops: &[(u64, Op)]) -> Vec<SequencedBlock> {
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
