//! Units and their bounds. Prices are ticks, sizes lots, money is quote quanta; a market's
//! tick is chosen so that ticks × lots *is* the notional: a fill moves it exactly, without
//! a division (EXECUTION §2.1). The bounds make every product below fit its type.

/// Parts per million, the unit of every rate.
pub const PPM: i128 = 1_000_000;
/// Largest price, in ticks: with [`LOTS_MAX`] a notional stays under 2^62.
pub const TICKS_MAX: u64 = (1 << 32) - 1;
/// Largest size of an order, and of a position with all open orders filled, in lots.
pub const LOTS_MAX: u64 = 1 << 30;
/// Largest sum of everything deposited, in quote quanta: sums times [`PPM`] fit an i128.
pub const QUOTE_MAX: i128 = 1 << 90;

/// `ticks × lots` with the sign of `lots`. Exact inside the bounds above.
#[must_use]
pub const fn notional(ticks: u64, lots: i64) -> i128 {
    ticks as i128 * lots as i128
}

/// A fee: rounded up, against the payer.
#[must_use]
pub const fn fee(notional: i128, ppm: u32) -> i128 {
    (notional * ppm as i128 + (PPM - 1)) / PPM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_round_against_the_payer() {
        assert_eq!(fee(1, 1), 1);
        assert_eq!(fee(0, 500), 0);
        assert_eq!(fee(2_000_000, 500), 1_000);
        assert_eq!(fee(2_000_001, 500), 1_001);
    }

    #[test]
    fn the_bounds_leave_room() {
        let most = notional(TICKS_MAX, LOTS_MAX as i64);
        assert!(most < 1 << 62);
        assert!((QUOTE_MAX + most).checked_mul(PPM * 256).is_some());
    }
}
