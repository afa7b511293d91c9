//! Why a transaction is refused. A refusal is a receipt, never a failure of the block.

/// A refusal with a stable code; the numbers are part of the receipts root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u16)]
pub enum Reject {
    /// The sequence holds no plaintext for it.
    #[error("the sequence opened no payload")]
    NotOpened = 1,
    /// The payload is no transaction.
    #[error("the payload is no transaction")]
    Malformed = 2,
    /// The sender has no account.
    #[error("the sender has no account")]
    UnknownAccount = 3,
    /// No such market.
    #[error("no such market")]
    UnknownMarket = 4,
    /// Price above the bound or outside the market's band around its mark.
    #[error("the price is outside the band")]
    PriceBand = 5,
    /// Size over the bound, or under the market's least.
    #[error("the size is out of its bounds")]
    Size = 6,
    /// The sender has an open order of this number in the market.
    #[error("the number is in use by an open order")]
    CloidInUse = 7,
    /// Too many open orders of the sender, or in the market.
    #[error("too many open orders")]
    OpenOrders = 8,
    /// A post-only order would fill at once.
    #[error("a post-only order would fill")]
    PostOnlyWouldFill = 9,
    /// A fill-or-kill order cannot be filled.
    #[error("the order cannot be filled whole")]
    FokUnfilled = 10,
    /// A reduce-only order has nothing to reduce.
    #[error("there is nothing to reduce")]
    ReduceOnly = 11,
    /// Equity would not cover the initial margin.
    #[error("equity does not cover the initial margin")]
    Margin = 12,
    /// No such open order.
    #[error("no such open order")]
    NotFound = 13,
    /// Amount of zero, or more than there is to give.
    #[error("the amount cannot be given")]
    Amount = 14,
    /// No account can be added, or the deposits are at their bound.
    #[error("the clearing house is full")]
    Full = 15,
    /// Not the sender's to do.
    #[error("the sender may not do this")]
    Forbidden = 16,
    /// Withdrawals are stopped for some heights, or at their limit for the hour or the day.
    #[error("withdrawals are gated or at their limit")]
    Gated = 17,
    /// The last height of the order is over.
    #[error("the order's last height is over")]
    Expired = 18,
    /// The market is guarded: only post-only and reduce-only orders.
    #[error("the market is guarded")]
    Guarded = 19,
    /// The market is halted.
    #[error("the market is halted")]
    Halted = 20,
    /// Fill-or-kill, where orders are cleared at one price.
    #[error("orders are cleared at one price, and may be filled in part")]
    NotInBatch = 21,
    /// The sender's own orders would meet in a clearing.
    #[error("the order meets the sender's own")]
    SelfTrade = 22,
    /// The market has no price that is good enough for this.
    #[error("the market has no price that is good enough for this")]
    Unpriced = 23,
    /// The order is so large that it must be committed first.
    #[error("the order is so large that it must be committed")]
    TooLarge = 24,
    /// The market has no large orders.
    #[error("the market has no large orders")]
    NotLarge = 25,
    /// The large order cannot be taken back yet.
    #[error("the large order cannot be taken back yet")]
    Held = 26,
    /// The market's open interest is at its bound: only what reduces a position.
    #[error("the market's open interest is at its bound")]
    Interest = 27,
    /// Parameters that the clearing house cannot have: they would break the solvency envelope,
    /// or another bound.
    #[error("the clearing house cannot have these parameters")]
    Params = 28,
    /// The height of a change is too near or too far.
    #[error("the height of the change is too near or too far")]
    Notice = 29,
    /// The market is frozen, because an invariant does not hold in it: cancels only.
    #[error("the market is frozen")]
    Frozen = 30,
}

impl Reject {
    /// All, by code from 1 on.
    pub const ALL: [Self; 30] = [
        Self::NotOpened,
        Self::Malformed,
        Self::UnknownAccount,
        Self::UnknownMarket,
        Self::PriceBand,
        Self::Size,
        Self::CloidInUse,
        Self::OpenOrders,
        Self::PostOnlyWouldFill,
        Self::FokUnfilled,
        Self::ReduceOnly,
        Self::Margin,
        Self::NotFound,
        Self::Amount,
        Self::Full,
        Self::Forbidden,
        Self::Gated,
        Self::Expired,
        Self::Guarded,
        Self::Halted,
        Self::NotInBatch,
        Self::SelfTrade,
        Self::Unpriced,
        Self::TooLarge,
        Self::NotLarge,
        Self::Held,
        Self::Interest,
        Self::Params,
        Self::Notice,
        Self::Frozen,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The refusal with a code.
    #[must_use]
    pub fn of(code: u16) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_count_from_one_and_name_their_refusal() {
        for (reject, code) in Reject::ALL.into_iter().zip(1..) {
            assert_eq!((reject.code(), Reject::of(code)), (code, Some(reject)));
        }
        assert_eq!((Reject::of(0), Reject::of(31)), (None, None));
    }
}
