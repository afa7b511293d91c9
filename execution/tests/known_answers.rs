//! Roots of fixed streams, as they were when these lines were written: whatever is made faster
//! or put elsewhere, a member with an older build must come to the same.

#![allow(clippy::unwrap_used)]

use fairlane_execution::params::MatchingRule;
use fairlane_execution::{Event, Execution, Request, Tx};
use fairlane_types::{Digest, OrderAction, Side, TimeInForce};

mod common;
use common::run::Run;
use common::{TRADERS, breaker, genesis, key, seen};

/// Root of the sequence, which no rule of a market changes.
const SEQUENCE: &str = "c04b743c578bc78ce203a5c36a5f17e0888c90a422559d279d99dcf08cbec393";
/// Blocks of a stream.
const BLOCKS: u64 = 120;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn chance(&mut self, of_ten: u64) -> bool {
        self.below(10) < of_ten
    }

    fn order(&mut self, around: u64) -> OrderAction {
        let market = self.below(2) as u32;
        let cloid = self.below(40);
        match self.below(10) {
            0 => OrderAction::Cancel { market, cloid },
            1 if self.chance(2) => OrderAction::CancelAll { market: None },
            _ => OrderAction::Place {
                market,
                side: if self.chance(5) {
                    Side::Buy
                } else {
                    Side::Sell
                },
                price_ticks: around - 25 + self.below(50),
                lots: 1 + self.below(30),
                tif: match self.below(6) {
                    0 => TimeInForce::Ioc,
                    1 => TimeInForce::Fok,
                    2 => TimeInForce::PostOnly,
                    _ => TimeInForce::Gtc,
                },
                reduce_only: self.chance(1),
                cloid,
            },
        }
    }

    fn request(&mut self, around: u64, height: u64) -> Request {
        let (market, cloid, number) = (self.below(2) as u32, self.below(40), self.below(3));
        match self.below(8) {
            0 => Request::Withdraw {
                amount: self.below(900),
            },
            1 => Request::Transfer {
                to: key(self.below(40) as u8),
                amount: 1 + self.below(300),
            },
            2 => Request::Shrink {
                market,
                cloid,
                lots: self.below(10),
            },
            3 => loop {
                let order = self.order(around);
                if matches!(order, OrderAction::Place { .. }) {
                    let height = height + self.below(5);
                    break Request::Until { order, height };
                }
            },
            4 => Request::Replace {
                market,
                cloid,
                price_ticks: around - 25 + self.below(50),
                lots: 1 + self.below(30),
                tif: TimeInForce::Gtc,
            },
            5 => Request::Batch {
                orders: (0..=self.below(16))
                    .take(16)
                    .map(|_| self.order(around))
                    .collect(),
            },
            6 => Request::Commit {
                market: 1,
                side: if self.chance(5) {
                    Side::Buy
                } else {
                    Side::Sell
                },
                limit_ticks: around,
                lots: 1 + self.below(60),
                slices: 1 + self.below(4) as u32,
                number,
            },
            _ => Request::TakeBack { market: 1, number },
        }
    }
}

/// What came of the stream: the sequence's root, the state's, and one over the receipts' roots.
fn roots(rule: MatchingRule, tripping: bool) -> [String; 3] {
    let mut genesis = genesis(4_000, rule);
    if tripping {
        genesis.markets[0].breaker = Some(breaker());
    }
    let mut run = Run::new(&genesis);
    let (mut random, mut around) = (Random(0x0123_4567_89ab_cdef), 1_000);
    let mut receipts = Vec::new();
    let (mut fills, mut liquidated, mut refused) = (0, 0, 0);
    for height in 1..=BLOCKS {
        around = around + random.below(41) - 20;
        if height % 17 == 0 {
            around = around * 9 / 10;
        }
        let mut payloads = Vec::new();
        for oracle in 100..104 {
            let ticks = around + random.below(3);
            payloads.extend([seen(oracle, 0, ticks), seen(oracle, 1, ticks)]);
        }
        let to = key(random.below(40) as u8);
        let (amount, number) = (1 + random.below(2_000), height - 1);
        let deposit = Request::Deposit { to, amount, number };
        payloads.push((200, Tx::Request(deposit).to_bytes()));
        for _ in 0..random.below(60) {
            let who = random.below(u64::from(TRADERS) + 1) as u8;
            let tx = if random.chance(7) {
                Tx::Order(random.order(around))
            } else {
                Tx::Request(random.request(around, height))
            };
            payloads.push((who, tx.to_bytes()));
        }
        // No transaction at all, of many lengths.
        payloads.push((3, vec![9; random.below(1_500) as usize]));
        let (codes, events) = run.block(&payloads);
        refused += codes.iter().filter(|code| **code != 0).count();
        let done = run.clearing.executed(run.clearing.head().0).unwrap();
        fills += done.receipts.iter().map(|r| r.fills.len()).sum::<usize>();
        let closed = |event: &&Event| matches!(event, Event::Liquidated { .. });
        liquidated += events.iter().filter(closed).count();
        receipts.extend(done.receipts_root.0);
    }
    // The stream is worth something.
    assert!(
        refused > 100 && liquidated > 0,
        "{refused} {liquidated} {fills}"
    );
    assert!(fills > 100 || rule == MatchingRule::UniformBatch, "{fills}");
    let receipts = Digest(*blake3::hash(&receipts).as_bytes());
    [run.parent.0, run.clearing.head().1, receipts].map(|digest| digest.to_string())
}

#[test]
fn price_time() {
    assert_eq!(
        roots(MatchingRule::PriceTime, false),
        [
            SEQUENCE,
            "f4effbde1cbca07dfd3153558567d96210832110be09eeaf3096bc34860fc8a8",
            "45e7733dc6007a8d54c45e6d3c50efba8cee86f1ee4427df55a70b18b24e217e"
        ]
    );
}

#[test]
fn cancel_first_with_a_breaker() {
    assert_eq!(
        roots(MatchingRule::CancelFirst, true),
        [
            SEQUENCE,
            "b38434f4a6cb30c075fe9a94d0f25b0302548c289578208ac677322125f31f8d",
            "8e0eae3eca88bb0ad09536223fa2ae300352bb7aff0c8c9ec661a34f64400d3a"
        ]
    );
}

#[test]
fn uniform_batch() {
    assert_eq!(
        roots(MatchingRule::UniformBatch, false),
        [
            SEQUENCE,
            "896fcc752cbe1d6fe63944d21bab8a1475a39fdf373ad4ea7c04bed953afaaa8",
            "3a540c889d54819e37582740047027f155c7669b7172063332843953ee9da92c"
        ]
    );
}
