//! Circuit breakers, one a market and all in the state: Normal → Guarded → Auction →
//! Halted. A halted market comes back through an auction only, and one in trouble stops no
//! other.
//!
//! - **Normal**: everything.
//! - **Guarded**: post-only and reduce-only orders, liquidation.
//! - **Auction**: orders rest and may cross, at a multiple of the initial margin; cleared at one
//!   price at the end, if the oracles are fresh and the price is near the mark, else prolonged.
//! - **Halted**: the book is emptied; cancels and withdrawals only.
//! - **Frozen**: an invariant does not hold (`audit`); cancels only, with a breaker or without.
//!
//! [`Trouble`] says what trips. In an auction and after it only prices count: a book that was
//! just emptied is thin, and nothing is liquidated there. A market comes back by itself so many
//! times in a window of heights, and no more: it does not flap.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::Root;
use serde::{Deserialize, Serialize};

use crate::audit::Broken;
use crate::event::Event;
use crate::house::House;
use crate::params::MatchingRule;
use crate::units::{LOTS_MAX, PPM};

/// When a market trips and how it comes back. Times are heights.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct BreakerParams {
    /// Largest distance of the mark from the oracles' median, ppm of the mark.
    pub lag_ppm: u32,
    /// How far the best bid may be over the mark, or the best ask under it, ppm.
    pub edge_ppm: u32,
    /// For so many heights in a row, it may be farther; 0 for ever.
    pub edge_heights: u32,
    /// Fewest lots within 1 % of the mark on each side, while somebody holds any; 0 for none.
    pub depth_min: u64,
    /// Window over which liquidations and draws count: over it and the one before.
    pub window_heights: u32,
    /// Most notional liquidated in the window, ppm of that of the open interest.
    pub liquidated_ppm: u32,
    /// Most that the insurance fund pays in the window for this market, or should, ppm of what
    /// it would have without that.
    pub drawn_ppm: u32,
    /// Guarded for so long with trouble all the time, it goes to auction.
    pub guard_heights: u32,
    /// Without trouble for so long, a guarded market is normal again.
    pub calm_heights: u32,
    /// Length of an auction.
    pub auction_heights: u32,
    /// Largest distance of an auction's price from the mark, ppm of the mark.
    pub auction_ppm: u32,
    /// Initial margin in an auction, ppm of the ordinary one.
    pub auction_initial_ppm: u32,
    /// Times an auction is prolonged before the market is halted.
    pub prolong: u32,
    /// Without trouble for so long, a halted market goes to auction.
    pub halt_heights: u32,
    /// Window over which returns to normal count: over it and the one before.
    pub resume_heights: u32,
    /// Most returns to normal in the window.
    pub resumes: u32,
}

/// Most heights of a breaker's times.
const HEIGHTS_MAX: u32 = 1 << 20;
/// Largest multiple of the initial margin, ppm.
const INITIAL_PPM_MAX: u32 = 4_000_000;

impl BreakerParams {
    /// Checks the bounds, in a market whose orders may be so far from its mark.
    ///
    /// # Errors
    /// What does not hold.
    pub fn validate(&self, band_ppm: u32) -> Result<(), &'static str> {
        let rates = [
            self.lag_ppm,
            self.liquidated_ppm,
            self.drawn_ppm,
            self.auction_ppm,
        ];
        let times = [
            self.edge_heights,
            self.window_heights,
            self.guard_heights,
            self.calm_heights,
            self.auction_heights,
            self.halt_heights,
            self.resume_heights,
        ];
        if rates.iter().any(|rate| i128::from(*rate) > PPM)
            || times.iter().any(|heights| *heights > HEIGHTS_MAX)
            || self.depth_min > LOTS_MAX
        {
            return Err(
                "a breaker's rates must be at most 100 %, its times 2^20 heights, its depth 2^30 lots",
            );
        }
        // Beyond the band is nothing to watch, and at the mark every book leans.
        if self.edge_heights > 0 && !(1..=band_ppm).contains(&self.edge_ppm) {
            return Err("a breaker's edge must be in the band");
        }
        let windows = [
            self.auction_heights,
            self.window_heights,
            self.resume_heights,
            self.resumes,
        ];
        if windows.contains(&0)
            || !(PPM as u32..=INITIAL_PPM_MAX).contains(&self.auction_initial_ppm)
        {
            return Err(
                "a breaker's auction and windows must not be empty, its resumes not none, \
                 its initial margin from 100 % to 400 % of the ordinary one",
            );
        }
        Ok(())
    }
}

/// What trips a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Trouble {
    /// The oracle is not fresh.
    Unpriced,
    /// The mark lags the oracles.
    Lag,
    /// The book leans on the edge of its band.
    Edge,
    /// The book is thin.
    Thin,
    /// Too much was liquidated.
    Liquidated,
    /// Too much was drawn from the insurance fund.
    Drawn,
}

/// Where a market is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Status {
    /// Open.
    #[default]
    Normal,
    /// Only what does not add exposure by taking.
    Guarded {
        /// Heights with trouble since it was calm.
        troubled: u32,
        /// Heights without.
        calm: u32,
    },
    /// Collecting orders for one price.
    Auction {
        /// Height at whose end it is cleared.
        ends: u64,
        /// Times it was prolonged.
        prolonged: u32,
    },
    /// Closed.
    Halted {
        /// Heights without trouble.
        calm: u32,
    },
    /// Isolated: cancels only, until the parameters are changed and it holds together again.
    Frozen,
}

impl Status {
    /// As interfaces name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Guarded { .. } => "guarded",
            Self::Auction { .. } => "auction",
            Self::Halted { .. } => "halted",
            Self::Frozen => "frozen",
        }
    }
}

impl House {
    /// Whether orders of a market rest without matching until it is cleared.
    pub(crate) fn batches(&self, market: u32) -> bool {
        let market = &self.core.markets[market as usize];
        market.params.rule == MatchingRule::UniformBatch
            || matches!(market.status, Status::Auction { .. })
    }

    /// Whether liquidation may meet a market's book.
    pub(crate) fn closes(&self, market: u32) -> bool {
        let status = self.core.markets[market as usize].status;
        let open = matches!(status, Status::Normal | Status::Guarded { .. });
        open && self.core.markets[market as usize].is_priced()
    }

    /// Trouble with the price.
    fn mispriced(&self, market: u32, breaker: &BreakerParams) -> Option<Trouble> {
        let market = &self.core.markets[market as usize];
        let price = market.oracle.price;
        if price == 0 || !market.is_priced() {
            return Some(Trouble::Unpriced);
        }
        let mark = i128::from(market.mark);
        let lag = (i128::from(price) - mark).abs() * PPM > mark * i128::from(breaker.lag_ppm);
        lag.then_some(Trouble::Lag)
    }

    /// Trouble of a market that trades.
    fn troubled(&self, market: u32, breaker: &BreakerParams) -> Option<Trouble> {
        let leaning = self.core.markets[market as usize].watch.leaning;
        let edge = || breaker.edge_heights > 0 && leaning >= breaker.edge_heights;
        let all: [(Trouble, &dyn Fn() -> bool); 4] = [
            (Trouble::Drawn, &|| self.is_drawn(market, breaker)),
            (Trouble::Liquidated, &|| self.is_liquidated(market, breaker)),
            (Trouble::Edge, &edge),
            (Trouble::Thin, &|| self.is_thin(market, breaker)),
        ];
        let found = || all.iter().find(|(_, holds)| holds()).map(|(why, _)| *why);
        self.mispriced(market, breaker).or_else(found)
    }

    /// Whether a market may come back to normal once more in this window.
    fn may_resume(&self, market: u32, breaker: &BreakerParams) -> bool {
        let resumed = self.core.markets[market as usize].watch.resumed.sum();
        resumed < u128::from(breaker.resumes)
    }

    /// Steps every breaker, after the marks moved and before the transactions.
    pub(crate) fn step_breakers(&mut self, height: u64, events: &mut Vec<Event>) {
        for market in 0..self.core.markets.len() as u32 {
            let at = &mut self.core.markets[market as usize];
            let (was, breaker) = (at.status, at.params.breaker);
            let Some(breaker) = breaker else { continue };
            at.watch.go_to(height, &breaker);
            let why = match was {
                Status::Normal | Status::Guarded { .. } => {
                    self.count_leaning(market, &breaker);
                    self.troubled(market, &breaker)
                }
                _ => self.mispriced(market, &breaker),
            };
            let trouble = why.is_some();
            let auction = Status::Auction {
                ends: height.saturating_add(u64::from(breaker.auction_heights)),
                prolonged: 0,
            };
            let now = match was {
                Status::Normal if trouble => Status::Guarded {
                    troubled: 1,
                    calm: 0,
                },
                Status::Guarded { troubled, .. } if trouble => {
                    if troubled >= breaker.guard_heights {
                        auction
                    } else {
                        Status::Guarded {
                            troubled: troubled + 1,
                            calm: 0,
                        }
                    }
                }
                Status::Guarded { calm, .. }
                    if calm >= breaker.calm_heights && self.may_resume(market, &breaker) =>
                {
                    self.core.markets[market as usize].watch.resume(false);
                    Status::Normal
                }
                Status::Guarded { troubled, calm } => Status::Guarded {
                    troubled,
                    calm: calm.saturating_add(1),
                },
                Status::Halted { .. } if trouble => Status::Halted { calm: 0 },
                Status::Halted { calm } if calm >= breaker.halt_heights => auction,
                Status::Halted { calm } => Status::Halted { calm: calm + 1 },
                other @ (Status::Normal | Status::Auction { .. } | Status::Frozen) => other,
            };
            self.set_status(market, now, why, events);
        }
    }

    /// Clears the markets that are due, after the transactions of a block.
    pub(crate) fn clear(&mut self, height: u64, root: &Root, since: u64, events: &mut Vec<Event>) {
        for market in 0..self.core.markets.len() as u32 {
            let at = &self.core.markets[market as usize];
            match (at.status, at.params.breaker) {
                (Status::Auction { ends, prolonged }, Some(breaker)) if height >= ends => {
                    let most = Some(breaker.auction_ppm);
                    let why = self.mispriced(market, &breaker);
                    let now = if why.is_none()
                        && self.may_resume(market, &breaker)
                        && self.uncross(market, root, since, most, events)
                    {
                        self.core.markets[market as usize].watch.resume(true);
                        Status::Normal
                    } else if prolonged >= breaker.prolong {
                        Status::Halted { calm: 0 }
                    } else {
                        let ends = height.saturating_add(u64::from(breaker.auction_heights));
                        let prolonged = prolonged + 1;
                        Status::Auction { ends, prolonged }
                    };
                    self.set_status(market, now, why, events);
                }
                (Status::Auction { .. } | Status::Halted { .. } | Status::Frozen, _) => {}
                _ if at.params.rule == MatchingRule::UniformBatch => {
                    self.uncross(market, root, since, None, events);
                }
                _ => {}
            }
        }
    }

    /// Isolates a market; says whether it was not already.
    pub(crate) fn freeze(&mut self, market: u32, why: Broken, events: &mut Vec<Event>) -> bool {
        let status = &mut self.core.markets[market as usize].status;
        let was = std::mem::replace(status, Status::Frozen);
        if was != Status::Frozen {
            events.push(Event::Frozen { market, why });
        }
        was != Status::Frozen
    }

    /// Lets a frozen market whose parameters were changed come back, through a halt, if it holds
    /// together again.
    pub(crate) fn thaw(&mut self, market: u32, events: &mut Vec<Event>) {
        let at = &self.core.markets[market as usize];
        let may = at.status == Status::Frozen && at.params.breaker.is_some();
        if may && self.broken().iter().all(|(other, _)| *other != market) {
            self.set_status(market, Status::Halted { calm: 0 }, None, events);
        }
    }

    fn set_status(
        &mut self,
        market: u32,
        now: Status,
        why: Option<Trouble>,
        events: &mut Vec<Event>,
    ) {
        let was = std::mem::replace(&mut self.core.markets[market as usize].status, now);
        if std::mem::discriminant(&was) != std::mem::discriminant(&now) {
            events.push(Event::Breaker { market, now, why });
        }
        if matches!(now, Status::Halted { .. }) {
            let mut open = Vec::new();
            for buy in [true, false] {
                let all = if buy { 0 } else { u64::MAX };
                self.books[market as usize].walk(buy, all, |slot, _| {
                    open.push(slot);
                    true
                });
            }
            for slot in open {
                self.take_out(market, slot);
            }
        }
    }
}
