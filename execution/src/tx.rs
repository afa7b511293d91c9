//! What a payload asks of the clearing house. Version 1 is the order of `fairlane-types`;
//! version 2 is what moves money and prices.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    Order, OrderAction, PAYLOAD_BYTES_MAX, PublicKey, Side, TimeInForce, decode, encode,
};

use crate::Reject;
use crate::changes::Change;
use crate::oracle::{QUOTES_MAX, Quote};

/// First byte of a [`Request`].
pub const REQUEST_VERSION: u8 = 2;

/// A transaction. The account is the sender of the envelope; its signature and its nonce
/// were settled by the sequence (decision 35).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tx {
    /// Version 1.
    Order(OrderAction),
    /// Version 2.
    Request(Request),
}

/// A transaction of version 2.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Free collateral leaves the clearing house.
    Withdraw {
        /// Quote quanta.
        amount: u64,
    },
    /// Free collateral goes to another key; an account is opened for it if it has none.
    Transfer {
        /// Receiver.
        to: PublicKey,
        /// Quote quanta.
        amount: u64,
    },
    /// The bridge credits what was deposited outside; only for the genesis' bridge key.
    Deposit {
        /// Receiver.
        to: PublicKey,
        /// Quote quanta.
        amount: u64,
        /// Counts from 0 without a gap, so that no deposit is credited twice.
        number: u64,
    },
    /// A member's view of prices; only for the genesis' oracle keys.
    Observe {
        /// One to [`QUOTES_MAX`], by market, ascending.
        quotes: Vec<Quote>,
    },
    /// Fewer lots for an open order, which keeps its place in the queue. An order that was
    /// filled below that meanwhile is left as it is.
    Shrink {
        /// Market.
        market: u32,
        /// The trader's own number of the order.
        cloid: u64,
        /// Lots to leave open: not 0, and fewer than are.
        lots: u64,
    },
    /// An order that rests up to a height at most.
    Until {
        /// A `Place`.
        order: OrderAction,
        /// Last height it rests at; not 0.
        height: u64,
    },
    /// Another price or size for an open order, whole or not at all. At the same price and
    /// with fewer lots it keeps its place in the queue, else it loses it. Its last height
    /// stays.
    Replace {
        /// Market.
        market: u32,
        /// The trader's own number of the order, before and after.
        cloid: u64,
        /// New price in ticks; not 0.
        price_ticks: u64,
        /// New lots; not 0.
        lots: u64,
        /// What happens to what does not fill at once.
        tif: TimeInForce,
    },
    /// Orders that are all done, one after the other, or none.
    Batch {
        /// One to [`BATCH_MAX`].
        orders: Vec<OrderAction>,
    },
    /// A large order, traded later in slices; see [`large`](crate::large).
    Commit {
        /// Market.
        market: u32,
        /// Side.
        side: Side,
        /// Worst price in ticks; not 0.
        limit_ticks: u64,
        /// Lots; not 0.
        lots: u64,
        /// Slices; not 0.
        slices: u32,
        /// The trader's own number for it.
        number: u64,
    },
    /// Ends a large order, after it was held for a while.
    TakeBack {
        /// Market.
        market: u32,
        /// Its number.
        number: u64,
    },
    /// A member's voice for other parameters; only for the oracle keys.
    Change {
        /// Height at whose end they take hold, if 2f+1 members say the same.
        height: u64,
        /// Which.
        change: Box<Change>,
    },
}

/// Most orders of a batch.
pub const BATCH_MAX: usize = 16;

impl Request {
    /// What the encoding cannot say by itself.
    fn is_sound(&self) -> bool {
        let sound = |order: &OrderAction| {
            !matches!(
                order,
                OrderAction::Place { price_ticks: 0, .. } | OrderAction::Place { lots: 0, .. }
            )
        };
        match self {
            Self::Until { order, height } => {
                matches!(order, OrderAction::Place { .. }) && sound(order) && *height > 0
            }
            Self::Replace {
                price_ticks, lots, ..
            } => *price_ticks > 0 && *lots > 0,
            Self::Batch { orders } => {
                (1..=BATCH_MAX).contains(&orders.len()) && orders.iter().all(sound)
            }
            Self::Commit {
                limit_ticks,
                lots,
                slices,
                ..
            } => *limit_ticks > 0 && *lots > 0 && *slices > 0,
            Self::Observe { quotes } => {
                (1..=QUOTES_MAX).contains(&quotes.len())
                    && quotes
                        .windows(2)
                        .all(|pair| pair[0].market < pair[1].market)
            }
            _ => true,
        }
    }
}

impl Tx {
    /// Parses a payload; refuses every encoding but the canonical one.
    ///
    /// # Errors
    /// [`Reject::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reject> {
        match bytes.split_first() {
            Some((&REQUEST_VERSION, rest)) => {
                let request = decode::<Request>(rest, PAYLOAD_BYTES_MAX).ok();
                request.filter(Request::is_sound).map(Self::Request)
            }
            _ => Order::from_bytes(bytes).map(|o| Self::Order(o.action)).ok(),
        }
        .ok_or(Reject::Malformed)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Order(action) => Order::new(action.clone()).to_bytes(),
            Self::Request(request) => {
                let mut bytes = vec![REQUEST_VERSION];
                bytes.extend(encode(request));
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::OracleParams;
    use crate::params::{Deleveraging, MarketParams, MatchingRule, Tier};

    fn tif() -> impl Strategy<Value = TimeInForce> {
        prop_oneof![
            Just(TimeInForce::Gtc),
            Just(TimeInForce::Ioc),
            Just(TimeInForce::Fok),
            Just(TimeInForce::PostOnly),
        ]
    }

    fn place() -> impl Strategy<Value = OrderAction> {
        let numbers = (any::<u32>(), 1..=u64::MAX, 1..=u64::MAX, any::<u64>());
        (numbers, any::<(bool, bool)>(), tif()).prop_map(
            |((market, price_ticks, lots, cloid), (buy, reduce_only), tif)| OrderAction::Place {
                market,
                side: if buy { Side::Buy } else { Side::Sell },
                price_ticks,
                lots,
                tif,
                reduce_only,
                cloid,
            },
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        let market =
            any::<(u32, u32, u64, bool)>().prop_map(|(market, step_ppm, above, tiered)| {
                let tier = Tier {
                    above,
                    initial_ppm: step_ppm,
                    maintenance_ppm: 1,
                };
                let params = Box::new(MarketParams {
                    step_ppm,
                    tiers: vec![tier; usize::from(tiered)],
                    ..MarketParams::plain(above, MatchingRule::CancelFirst)
                });
                Change::Market { market, params }
            });
        let oracles = proptest::collection::vec(any::<[u8; 32]>(), 0..70).prop_map(|keys| {
            let oracles = keys.into_iter().map(PublicKey).collect();
            Change::Oracles { oracles }
        });
        let general = any::<(u64, u32, u32)>().prop_map(|(fresh_ms, hour, day)| Change::General {
            oracle: OracleParams {
                fresh_ms,
                ..OracleParams::default()
            },
            deleveraging: Deleveraging::Queue,
            withdraw_hour_ppm: hour,
            withdraw_day_ppm: day,
        });
        prop_oneof![market, oracles, general]
    }

    fn tx() -> impl Strategy<Value = Tx> {
        let key = any::<[u8; 32]>().prop_map(PublicKey);
        prop_oneof![
            place().prop_map(Tx::Order),
            (place(), 1..=u64::MAX)
                .prop_map(|(order, height)| Tx::Request(Request::Until { order, height })),
            proptest::collection::vec(place(), 1..=BATCH_MAX)
                .prop_map(|orders| Tx::Request(Request::Batch { orders })),
            (any::<(u32, u64)>(), 1..=u64::MAX, 1..=u64::MAX, tif()).prop_map(
                |((market, cloid), price_ticks, lots, tif)| Tx::Request(Request::Replace {
                    market,
                    cloid,
                    price_ticks,
                    lots,
                    tif,
                })
            ),
            any::<(u32, u64)>()
                .prop_map(|(market, cloid)| Tx::Order(OrderAction::Cancel { market, cloid })),
            any::<Option<u32>>().prop_map(|market| Tx::Order(OrderAction::CancelAll { market })),
            any::<u64>().prop_map(|amount| Tx::Request(Request::Withdraw { amount })),
            (
                (any::<u32>(), any::<bool>()),
                (1..=u64::MAX, 1..=u64::MAX),
                1..=u32::MAX,
                any::<u64>()
            )
                .prop_map(|((market, buy), (limit_ticks, lots), slices, number)| {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    Tx::Request(Request::Commit {
                        market,
                        side,
                        limit_ticks,
                        lots,
                        slices,
                        number,
                    })
                }),
            any::<(u32, u64)>()
                .prop_map(|(market, number)| Tx::Request(Request::TakeBack { market, number })),
            (any::<u64>(), change()).prop_map(|(height, change)| {
                let change = Box::new(change);
                Tx::Request(Request::Change { height, change })
            }),
            (key.clone(), any::<u64>())
                .prop_map(|(to, amount)| Tx::Request(Request::Transfer { to, amount })),
            (key, any::<(u64, u64)>()).prop_map(|(to, (amount, number))| {
                Tx::Request(Request::Deposit { to, amount, number })
            }),
            proptest::collection::btree_map(any::<u32>(), any::<(u64, u64)>(), 1..QUOTES_MAX)
                .prop_map(|quotes| {
                    let quote = |(market, (ticks, spread))| Quote {
                        market,
                        ticks,
                        spread,
                    };
                    let quotes = quotes.into_iter().map(quote).collect();
                    Tx::Request(Request::Observe { quotes })
                }),
            any::<(u32, u64, u64)>().prop_map(|(market, cloid, lots)| {
                Tx::Request(Request::Shrink {
                    market,
                    cloid,
                    lots,
                })
            }),
        ]
    }

    proptest! {
        // Canonical: bytes that are read are those that are written, and a changed,
        // shortened or lengthened encoding is refused or is another transaction's own.
        #[test]
        fn mutated_encodings_are_refused_or_canonical(
            tx in tx(),
            at in any::<prop::sample::Index>(),
            flip in 1..=255u8,
            tail in proptest::collection::vec(any::<u8>(), 1..4),
        ) {
            let good = tx.to_bytes();
            prop_assert_eq!(Tx::from_bytes(&good), Ok(tx.clone()));
            let mut changed = good.clone();
            changed[at.index(good.len())] ^= flip;
            if let Ok(other) = Tx::from_bytes(&changed) {
                prop_assert_ne!(&other, &tx);
                prop_assert_eq!(other.to_bytes(), changed);
            }
            prop_assert_eq!(Tx::from_bytes(&good[..at.index(good.len())]), Err(Reject::Malformed));
            let longer = [good, tail].concat();
            prop_assert_eq!(Tx::from_bytes(&longer), Err(Reject::Malformed));
        }
    }
}
