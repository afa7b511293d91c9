//! Plain order books on the same stream. They check no margin and write no receipts.

use super::stream::{MID, Op};
use super::{Clock, Fills, best};

/// lobster 0.7.0.
pub(super) fn lobster(ops: &[(u64, Op)], clock: Clock<'_>) -> (u64, Fills) {
    use lobster::{OrderBook, OrderEvent, OrderType, Side};
    let side = |buy| if buy { Side::Bid } else { Side::Ask };
    let mut sum = Fills::default();
    let time = best(|| {
        let mut book = OrderBook::default();
        sum = Fills::default();
        let start = clock();
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
                for f in &fills {
                    sum.add(n as u64, f.order_2 as u64, f.price, f.qty);
                }
            }
        }
        clock() - start
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

/// obcore 0.1.6. It has no market orders: a limit at the band's edge, whose rest is deleted.
pub(super) fn obcore(ops: &[(u64, Op)], clock: Clock<'_>) -> (u64, Fills) {
    let mut sum = Fills::default();
    let time = best(|| {
        let mut book = obcore::OrderBook::<Theirs>::default();
        let mut eval = obcore::Evaluator::default();
        sum = Fills::default();
        let start = clock();
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
                if let obcore::Instruction::Fill(maker, _, price, lots, false) = &step {
                    sum.add(id, *maker, *price, *lots);
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
        clock() - start
    });
    (time, sum)
}

/// orderbook-rs 0.15.3: a concurrent book, used by one thread. Its fills are compared by number
/// and lots.
#[cfg(feature = "peers")]
pub(super) fn orderbook_rs(ops: &[(u64, Op)], clock: Clock<'_>) -> (u64, Fills) {
    use orderbook_rs::{Id, OrderBook, Side, TimeInForce};
    let side = |buy| if buy { Side::Buy } else { Side::Sell };
    let mut sum = Fills::default();
    let time = best(|| {
        let book = OrderBook::<()>::new("ONE");
        sum = Fills::default();
        let start = clock();
        for (n, (_, op)) in ops.iter().enumerate() {
            let id = Id::Sequential(n as u64);
            let trades = match *op {
                Op::Limit { buy, ticks, lots } => {
                    let (price, tif) = (u128::from(ticks), TimeInForce::Gtc);
                    let placed =
                        book.add_limit_order_with_result(id, price, lots, side(buy), tif, None);
                    placed
                        .ok()
                        .and_then(|(_, result)| result)
                        .map(|r| r.match_result)
                }
                Op::Market { buy, lots } => book.submit_market_order(id, lots, side(buy)).ok(),
                Op::Cancel { target } => {
                    book.cancel_order(Id::Sequential(target as u64)).ok();
                    None
                }
            };
            for trade in trades.iter().flat_map(|result| result.trades().as_vec()) {
                sum.count += 1;
                sum.lots += trade.quantity().as_u64();
            }
        }
        clock() - start
    });
    (time, sum)
}

/// matchcore 0.4.0. Its fills are others: a limit order that crosses trades on beyond its limit
/// (docs/decisions/0056). Its orders are numbered as they come, cancels with them.
#[cfg(feature = "peers")]
pub(super) fn matchcore(ops: &[(u64, Op)], clock: Clock<'_>) -> (u64, Fills) {
    use matchcore::{
        CancelCmd, Command, CommandKind, CommandMeta, CommandOutcome, CommandReport, LimitOrder,
        MarketOrder, NewOrder, OrderBook, OrderFlags, OrderId, OrderKind, Price, Quantity,
        QuantityPolicy, SequenceNumber, Side, SubmitCmd, TimeInForce, Timestamp,
    };
    let side = |buy| if buy { Side::Buy } else { Side::Sell };
    let submit = |order| CommandKind::Submit(SubmitCmd { order });
    let mut sum = Fills::default();
    let time = best(|| {
        let mut book = OrderBook::new("ONE");
        sum = Fills::default();
        let start = clock();
        for (n, (_, op)) in ops.iter().enumerate() {
            let kind = match *op {
                Op::Limit { buy, ticks, lots } => {
                    let quantity = Quantity(lots);
                    submit(NewOrder::Limit(LimitOrder::new(
                        Price(ticks),
                        QuantityPolicy::Standard { quantity },
                        OrderFlags::new(side(buy), false, TimeInForce::Gtc),
                    )))
                }
                Op::Market { buy, lots } => {
                    let order = MarketOrder::new(Quantity(lots), side(buy), false);
                    submit(NewOrder::Market(order))
                }
                Op::Cancel { target } => CommandKind::Cancel(CancelCmd {
                    order_id: OrderId(target as u64),
                    order_kind: OrderKind::Limit,
                }),
            };
            let meta = CommandMeta {
                sequence_number: SequenceNumber(n as u64),
                timestamp: Timestamp(n as u64),
            };
            let CommandOutcome::Applied(CommandReport::Submit(effects)) =
                book.execute(&Command { meta, kind })
            else {
                continue;
            };
            let matched = effects.target_order().match_result();
            for trade in matched.iter().flat_map(|result| result.trades()) {
                let maker = trade.maker_order_id().0;
                sum.add(n as u64, maker, trade.price().0, trade.quantity().0);
            }
        }
        clock() - start
    });
    (time, sum)
}

#[cfg(all(test, feature = "peers"))]
mod tests {
    use super::super::{matching, stream};
    use super::*;

    /// Taker, maker, price and lots of each.
    fn fills(all: &[(u64, u64, u64, u64)]) -> Fills {
        let mut sum = Fills::default();
        for (taker, maker, ticks, lots) in all {
            sum.add(*taker, *maker, *ticks, *lots);
        }
        sum
    }

    #[test]
    fn a_limit_order_trades_beyond_its_limit_in_matchcore_alone() {
        let limit = |buy, ticks, lots| Op::Limit { buy, ticks, lots };
        let ops = [
            (1, limit(true, 9_976, 21)),
            (1, limit(true, 10_004, 22)),
            (2, limit(false, 9_998, 45)),
        ];
        let within = fills(&[(2, 1, 10_004, 22)]);
        let beyond = fills(&[(2, 1, 10_004, 22), (2, 0, 9_976, 21)]);
        assert_eq!(matching(&ops, &|| 0).unwrap().1, within);
        assert_eq!(lobster(&ops, &|| 0).1, within);
        assert_eq!(obcore(&ops, &|| 0).1, within);
        assert_eq!(matchcore(&ops, &|| 0).1, beyond);
    }

    #[test]
    fn the_stream_differs_from_the_order_named() {
        let ops = stream::stream();
        let both = |until: usize| {
            let ours = matching(&ops[..until], &|| 0).unwrap().1;
            (ours, matchcore(&ops[..until], &|| 0).1)
        };
        let (ours, theirs) = both(55);
        assert_eq!(ours, theirs);
        let (ours, theirs) = both(56);
        assert_eq!(theirs.count, ours.count + 2);
    }
}
