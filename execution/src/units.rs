//! Units and their bounds. Prices are ticks, sizes lots, money is quote quanta; a market's
//! tick is chosen so that ticks × lots *is* the notional: a fill moves it exactly, without
//! a division (EXECUTION §2.1). The bounds make every product below fit its type.

use std::cmp::Ordering;

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

/// `value · part / whole` towards 0, for a `whole` that is not 0; likewise.
pub(crate) const fn part_of(value: i128, part: u64, whole: u64) -> i128 {
    let product = times(value, part);
    let small = product as i64;
    if small as i128 == product && whole <= i64::MAX as u64 {
        (small / whole as i64) as i128
    } else {
        product / whole as i128
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

/// `value · part / whole` rounded down, for 0 <= value, 0 <= part <= whole < 2^72 and a value
/// under 2^100, without a product that does not fit.
pub(crate) const fn share_of(value: i128, part: i128, whole: i128) -> i128 {
    const HALF: u32 = 31;
    let (high, low) = (part >> HALF, part & ((1 << HALF) - 1));
    let rest = value % whole;
    let upper = rest * high;
    let lower = ((upper % whole) << HALF) + rest * low;
    value / whole * part + ((upper / whole) << HALF) + lower / whole
}

/// How `a · b` compares with `c · d`, exactly, whatever their size.
pub(crate) fn compare_products(a: i128, b: u128, c: i128, d: u128) -> Ordering {
    let size = |x: i128, y: u128| wide(x.unsigned_abs(), y);
    let sign = |x: i128, y: u128| if y == 0 { 0 } else { x.signum() };
    match (sign(a, b), sign(c, d)) {
        (0, 0) => Ordering::Equal,
        (1, 1) => size(a, b).cmp(&size(c, d)),
        (-1, -1) => size(c, d).cmp(&size(a, b)),
        (left, right) => left.cmp(&right),
    }
}

/// A product of 256 bits: high and low half.
const fn wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, high) = (a0 * b0, a1 * b1);
    let middle = a1 * b0 + (low >> 64);
    let carry = a0 * b1 + (middle & LOW);
    (
        high + (middle >> 64) + (carry >> 64),
        (carry << 64) | (low & LOW),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fees_round_against_the_payer() {
        assert_eq!(fee(1, 1), 1);
        assert_eq!(fee(0, 500), 0);
        assert_eq!(fee(2_000_000, 500), 1_000);
        assert_eq!(fee(2_000_001, 500), 1_001);
    }

    proptest! {
        #[test]
        fn wide_products_compare_as_narrow_ones_and_scale(
            a in -1i128 << 62..1 << 62, b in 0u128..1 << 62,
            c in -1i128 << 62..1 << 62, d in 0u128..1 << 62,
            up in 0u32..64, over in 0u32..64,
        ) {
            let want = (a * b as i128).cmp(&(c * d as i128));
            prop_assert_eq!(compare_products(a, b, c, d), want);
            let (a, c) = (a << up, c << up);
            prop_assert_eq!(compare_products(a, b << over, c, d << over), want);
            prop_assert_eq!(compare_products(a, b, a, b), Ordering::Equal);
            if b > 0 {
                prop_assert_eq!(compare_products(a + 1, b << over, a, b << over), Ordering::Greater);
            }
        }
    }

    proptest! {
        #[test]
        fn narrow_arithmetic_is_that_of_wide_numbers(
            value in any::<i128>(), down in 0u32..128, by in any::<u64>(), low in 0u32..64,
            whole in 1..=u64::MAX,
        ) {
            let (value, by) = (value >> down, by >> low);
            if let Some(product) = value.checked_mul(i128::from(by)) {
                prop_assert_eq!(times(value, by), product);
                for whole in [whole, whole >> low | 1] {
                    prop_assert_eq!(part_of(value, by, whole), product / i128::from(whole));
                }
            }
        }
    }

    #[test]
    fn the_bounds_leave_room() {
        let most = notional(TICKS_MAX, LOTS_MAX as i64);
        assert!(most < 1 << 62);
        assert!((QUOTE_MAX + most).checked_mul(PPM * 256).is_some());
    }
}
