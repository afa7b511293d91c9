//! What fills of engines are compared by.

/// Fills in the order they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fills {
    /// How many.
    pub count: u64,
    /// Sum of their lots.
    pub lots: u64,
    /// A hash over taker's order, maker's order, price and lots of each; none if the engine does
    /// not say who met whom. Four multiplications a fill: it is timed with the rest.
    pub who: Option<u64>,
}

/// From the golden ratio: an odd number with bits everywhere.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Fills {
    /// Adds one of an engine that says all of it.
    pub(super) fn add(&mut self, taker: u64, maker: u64, ticks: u64, lots: u64) {
        self.count += 1;
        self.lots += lots;
        let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(ODD).rotate_left(29);
        let all = [taker, maker, ticks, lots];
        self.who = Some(all.into_iter().fold(self.who.unwrap_or(0), mix));
    }

    /// So many, of which nothing else is said.
    pub(super) const fn counted(count: u64) -> Self {
        Self {
            count,
            lots: 0,
            who: None,
        }
    }

    /// Whether two engines made the same, as far as both say.
    pub(super) fn agree(&self, other: &Self) -> bool {
        let said = self.who.zip(other.who);
        (self.count, self.lots) == (other.count, other.lots) && said.is_none_or(|(a, b)| a == b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_makers_prices_or_an_other_order_are_other_fills() {
        let of = |fills: &[(u64, u64, u64, u64)]| {
            let mut sum = Fills::default();
            for (taker, maker, ticks, lots) in fills {
                sum.add(*taker, *maker, *ticks, *lots);
            }
            sum
        };
        let one = of(&[(3, 1, 100, 5), (3, 2, 101, 5)]);
        assert!(one.agree(&of(&[(3, 1, 100, 5), (3, 2, 101, 5)])));
        for other in [
            [(3, 2, 100, 5), (3, 1, 101, 5)],
            [(3, 2, 101, 5), (3, 1, 100, 5)],
            [(3, 1, 101, 5), (3, 2, 100, 5)],
            [(4, 1, 100, 5), (3, 2, 101, 5)],
            [(3, 1, 100, 6), (3, 2, 101, 4)],
        ] {
            assert!(!one.agree(&of(&other)), "{other:?}");
        }
        assert!(one.agree(&Fills { who: None, ..one }));
        assert!(!one.agree(&Fills::counted(2)));
    }
}
