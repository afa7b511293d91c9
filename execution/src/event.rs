//! What a block does without being asked by one of its transactions. Events follow the
//! receipts under the receipts root.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::audit::Broken;
use crate::breaker::{Status, Trouble};
use crate::changes::{About, Step};
use crate::house::Fill;
use crate::large::Ended;
use crate::oracle::Validity;

/// One of them, in the order they happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// A market's funding index moved: longs pay shorts if the rate is positive.
    Funding {
        /// Market.
        market: u32,
        /// Rate of this funding, ppm of the mark.
        rate_ppm: i64,
    },
    /// An account below its maintenance margin was closed against the book.
    Liquidated {
        /// Number of the account, the taker of the fills.
        account: u32,
        /// What filled.
        fills: Vec<Fill>,
        /// What the insurance fund took, or paid if negative.
        fee: i128,
    },
    /// The insurance fund paid for what an account was below zero.
    Covered {
        /// Number of the account.
        account: u32,
        /// Quote quanta.
        amount: i128,
    },
    /// An account below zero was closed against another at the mark.
    Deleveraged {
        /// Number of the account.
        account: u32,
        /// Number of the other.
        against: u32,
        /// Market.
        market: u32,
        /// Lots.
        lots: u64,
    },
    /// What another paid of its real profit for an account below zero.
    Haircut {
        /// Number of the account that paid.
        account: u32,
        /// Quote quanta.
        amount: i128,
    },
    /// What an account is below zero, with nothing left to close, is written off.
    BadDebt {
        /// Number of the account.
        account: u32,
        /// Quote quanta that are missing.
        amount: i128,
    },
    /// A market was cleared at one price.
    Cleared {
        /// Market.
        market: u32,
        /// The price.
        ticks: u64,
        /// Lots.
        lots: u64,
        /// Who traded with whom.
        fills: Vec<Fill>,
    },
    /// A market's breaker changed.
    Breaker {
        /// Market.
        market: u32,
        /// Where it is now.
        now: Status,
        /// The trouble that made it so, if one did.
        why: Option<Trouble>,
    },
    /// A slice of a large order traded.
    Sliced {
        /// Number of the account.
        account: u32,
        /// Market.
        market: u32,
        /// The account's own number for it.
        number: u64,
        /// What filled.
        fills: Vec<Fill>,
        /// What it paid for its impact, to the insurance fund.
        fee: i128,
    },
    /// A large order is over.
    LargeEnded {
        /// Number of the account.
        account: u32,
        /// Market.
        market: u32,
        /// The account's own number for it.
        number: u64,
        /// Why.
        why: Ended,
    },
    /// How far a market's price is to be trusted changed.
    Oracle {
        /// Market.
        market: u32,
        /// From now on.
        now: Validity,
    },
    /// An order reached its last height.
    Expired {
        /// Number of the account.
        account: u32,
        /// Market.
        market: u32,
        /// The account's own number for it.
        cloid: u64,
    },
    /// An oracle said two prices of a market in one block, farther apart than a jump. Both
    /// are signed, and in the sequence: whoever shows the two convicts it. The last counts,
    /// as ever; what one oracle says moves no report out of what honest ones saw.
    TwoPrices {
        /// Market.
        market: u32,
        /// Number of the oracle, in the order of the genesis.
        oracle: u32,
        /// The first price, in ticks.
        first: u64,
        /// A later one, in ticks.
        then: u64,
    },
    /// Withdrawals are stopped.
    Gated {
        /// Last height they are stopped at.
        until: u64,
    },
    /// A change of parameters got on.
    Change {
        /// What it is about.
        about: About,
        /// Where it is.
        step: Step,
        /// Height at whose end it takes hold.
        height: u64,
    },
    /// An invariant does not hold in a market, which is isolated.
    Frozen {
        /// Market.
        market: u32,
        /// The invariant.
        why: Broken,
    },
}
