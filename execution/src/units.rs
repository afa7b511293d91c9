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

/// A fee of a notional that is not negative: rounded up, against the payer.
#[must_use]
pub const fn fee(notional: i128, ppm: u32) -> i128 {
    div_up(times(notional, ppm as u64), PPM)
}

/// Quote quanta × ppm.
#[must_use]
pub const fn micro(quote: i128) -> i128 {
    times(quote, PPM as u64)
}

/// A product, without the slow multiplication of two wide numbers where one fits a word.
pub(crate) const fn times(value: i128, by: u64) -> i128 {
    let small = value as i64;
    if small as i128 == value && by <= i64::MAX as u64 {
        small as i128 * by as i64 as i128
    } else {
        value * by as i128
    }
}

/// A quotient rounded up, of a dividend that is not negative.
pub(crate) const fn div_up(value: i128, by: i128) -> i128 {
    let up = value + (by - 1);
    let (small, divisor) = (up as u64, by as u64);
    if small as i128 == up && divisor as i128 == by {
        (small / divisor) as i128
    } else {
        up / by
    }
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
