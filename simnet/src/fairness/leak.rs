//! What sealed orders tell: an observer that sees size, times and entry member of every order at
//! once, learns from those that were opened before, and guesses the side of the next.
//!
//! It sees all lanes, which no single member does, and knows its own orders. The classifier is
//! naive Bayes; a better one may find more. How much there is to find is the flow's affair:
//! [`Flow`] has one without habits and two with.

use std::collections::BTreeMap;

use fairlane_encryption::SIZE_CLASSES;
use fairlane_types::{Order, OrderAction, Side, TimeInForce};

use super::market::Deal;
use super::traffic::Traffic;
use crate::engine::Stream;

/// An order is open to all by then, µs after it was first recorded; in `eu-us` nearly all are
/// after 400 ms.
const OPEN_US: u64 = 500_000;
/// A desk trades to its usual side in so many of 1,000 orders.
const DESK: u64 = 800;
/// Of 1,000 orders so many follow another one; and so many of these buy, and of the others, which
/// makes as many buyers as sellers.
const FOLLOWERS: u64 = 400;
const FOLLOWERS_BUY: u64 = 800;
const OTHERS_BUY: u64 = 300;
/// A follower is no later than this, µs.
const FOLLOW_US: u64 = 2_000;

/// What makes traders buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nothing: a coin for each order.
    Coin,
    /// Every place is home to a desk with a usual side.
    Desks,
    /// Who follows others within moments mostly buys.
    Crowds,
}

impl Flow {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Coin, Self::Desks, Self::Crowds];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coin => "no habits",
            Self::Desks => "desks",
            Self::Crowds => "crowds",
        }
    }

    /// Side of an order, and how long after another one it comes, if it follows one.
    pub(super) fn draw(self, place: usize, rng: &mut Stream) -> (f64, Option<u64>) {
        let side = |buys| if buys { 1.0 } else { -1.0 };
        match self {
            Self::Coin => (side(rng.chance(500)), None),
            Self::Desks => {
                let usual = rng.chance(DESK);
                (side(usual == place.is_multiple_of(2)), None)
            }
            Self::Crowds => {
                let follows = rng.chance(FOLLOWERS);
                let buys = rng.chance(if follows { FOLLOWERS_BUY } else { OTHERS_BUY });
                (side(buys), follows.then(|| rng.below(FOLLOW_US)))
            }
        }
    }
}

/// What the observer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// How often each side was right so far.
    Nothing,
    /// The padded size.
    Size,
    /// Times since the last order, and since the last one with the same entry member.
    Times,
    /// The member that hears it first.
    Entry,
    /// All of that.
    All,
}

impl Seen {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Size,
        Self::Times,
        Self::Entry,
        Self::All,
    ];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Size => "padded size",
            Self::Times => "times",
            Self::Entry => "entry member",
            Self::All => "all of that",
        }
    }
}

/// An order as the observer sees it, and what it learns later.
#[derive(Clone, Copy, Debug)]
struct Observed {
    /// Number of the order.
    order: usize,
    at_us: u64,
    size: u64,
    entry: u64,
    /// Logarithms of the times since the last order, and since the last with this entry member.
    gaps: [u64; 2],
    buys: bool,
}

impl Observed {
    fn features(&self, seen: Seen) -> Vec<u64> {
        match seen {
            Seen::Nothing => vec![],
            Seen::Size => vec![self.size],
            Seen::Times => self.gaps.to_vec(),
            Seen::Entry => vec![self.entry],
            Seen::All => vec![self.size, self.gaps[0], self.gaps[1], self.entry],
        }
    }
}

/// The size class of a market order of so many lots, as the sample codec and the padding make it.
fn size_class(lots: f64) -> u64 {
    let order = Order::new(OrderAction::Place {
        market: 1,
        side: if lots > 0.0 { Side::Buy } else { Side::Sell },
        price_ticks: 1,
        lots: lots.abs() as u64,
        tif: TimeInForce::Ioc,
        reduce_only: false,
        cloid: 0,
    });
    let bytes = order.to_bytes().len();
    let class = SIZE_CLASSES.into_iter().find(|class| bytes < *class);
    class.unwrap_or(bytes) as u64
}

/// All orders but the observer's own, by when some member had them first.
fn observe(traffic: &Traffic, deals: &[Deal]) -> Vec<Observed> {
    let mut all: Vec<(u64, usize, usize)> = (traffic.orders.iter().enumerate())
        .filter(|(order, _)| !deals[*order].attacks())
        .filter_map(|(order, sent)| {
            let arrivals = sent.arrivals.iter().enumerate();
            let arrivals = arrivals.filter_map(|(member, at)| Some(((*at)?, member)));
            let (at, entry) = arrivals.min()?;
            Some((at, order, entry))
        })
        .collect();
    all.sort_unstable();
    let gap = |from: Option<u64>, to: u64| {
        from.map_or(0, |from| u64::from(((to - from) / 100 + 1).ilog2()))
    };
    let (mut last, mut last_at) = (None, BTreeMap::new());
    let mut out = Vec::with_capacity(all.len());
    for (at_us, order, entry) in all {
        let lots = deals[order].lots;
        out.push(Observed {
            order,
            at_us,
            size: size_class(lots),
            entry: entry as u64,
            gaps: [
                gap(last.replace(at_us), at_us),
                gap(last_at.insert(entry, at_us), at_us),
            ],
            buys: lots > 0.0,
        });
    }
    out
}

/// Counts of both answers, and by value of each feature.
#[derive(Debug, Default)]
struct Bayes {
    answers: [f64; 2],
    values: BTreeMap<(usize, u64), [f64; 2]>,
}

impl Bayes {
    fn learn(&mut self, features: &[u64], answer: bool) {
        self.answers[usize::from(answer)] += 1.0;
        for value in features.iter().copied().enumerate() {
            self.values.entry(value).or_default()[usize::from(answer)] += 1.0;
        }
    }

    /// The likelier answer (Laplace's rule).
    fn guess(&self, features: &[u64]) -> bool {
        let score = |answer: usize| {
            let all = self.answers[answer];
            let given = features.iter().copied().enumerate().map(|value| {
                let found = self.values.get(&value).map_or(0.0, |counts| counts[answer]);
                let kinds = self
                    .values
                    .range((value.0, 0)..=(value.0, u64::MAX))
                    .count();
                ((found + 1.0) / (all + kinds as f64 + 1.0)).ln()
            });
            (all + 1.0).ln() + given.sum::<f64>()
        };
        score(1) >= score(0)
    }
}

/// Per order that is not the observer's own: its number, and whether it is guessed to buy.
pub(super) fn guesses(traffic: &Traffic, deals: &[Deal], seen: Seen) -> Vec<(usize, bool)> {
    let observed = observe(traffic, deals);
    let mut bayes = Bayes::default();
    let mut opened = observed.iter().peekable();
    (observed.iter())
        .map(|now| {
            while let Some(past) = opened.next_if(|past| past.at_us + OPEN_US <= now.at_us) {
                bayes.learn(&past.features(seen), past.buys);
            }
            (now.order, bayes.guess(&now.features(seen)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: a value that only buyers have, and one that nobody had.
    #[test]
    fn what_was_seen_with_one_answer_gives_it() {
        let mut bayes = Bayes::default();
        for (value, buys) in [(1, true), (1, true), (2, false), (2, false), (2, false)] {
            bayes.learn(&[value], buys);
        }
        assert!(bayes.guess(&[1]));
        assert!(!bayes.guess(&[2]));
        // Sellers are more frequent.
        assert!(!bayes.guess(&[3]));
        assert!(!bayes.guess(&[]));
    }

    #[test]
    fn all_orders_of_the_market_are_of_one_class() {
        assert_eq!(size_class(1.0), size_class(-20.0));
        assert_eq!(size_class(1.0), 256);
    }
}
