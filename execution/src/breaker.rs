//! Circuit breakers, one a market and all in the state: Normal → Guarded → Auction →
//! Halted. A halted market comes back through an auction only, and one in trouble stops no
//! other.
//!
//! - **Normal**: everything.
//! - **Guarded**: post-only and reduce-only orders, liquidation.
//! - **Auction**: orders rest and may cross; cleared at one price at the end, if the oracles
//!   are fresh and the price is near the mark, else prolonged.
//! - **Halted**: the book is emptied; cancels and withdrawals only.
//!
//! Trouble is: an oracle that is not fresh, a mark that lags the oracles by more
//! than a bound, or liquidations over a share of the open interest in the block before.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::Root;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::house::House;
use crate::params::MatchingRule;
use crate::units::PPM;

/// When a market trips and how it comes back. Times are heights.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct BreakerParams {
    /// Largest distance of the mark from the oracles' median, ppm of the mark.
    pub lag_ppm: u32,
    /// Most lots liquidated in a block, ppm of the open interest.
    pub liquidated_ppm: u32,
    /// Guarded for so long with trouble all the time, it goes to auction.
    pub guard_heights: u32,
    /// Without trouble for so long, a guarded market is normal again.
    pub calm_heights: u32,
    /// Length of an auction.
    pub auction_heights: u32,
    /// Largest distance of an auction's price from the mark, ppm of the mark.
    pub auction_ppm: u32,
    /// Times an auction is prolonged before the market is halted.
    pub prolong: u32,
    /// Without trouble for so long, a halted market goes to auction.
    pub halt_heights: u32,
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

    fn in_trouble(&self, market: u32, breaker: &BreakerParams) -> bool {
        let market = &self.core.markets[market as usize];
        let price = market.oracle.price;
        if price == 0 || !market.is_priced() {
            return true;
        }
        let mark = i128::from(market.mark);
        let lag = (i128::from(price) - mark).abs() * PPM > mark * i128::from(breaker.lag_ppm);
        let most = u128::from(market.open_interest) * u128::from(breaker.liquidated_ppm);
        lag || u128::from(market.liquidated) * PPM as u128 > most
    }

    /// Steps every breaker, after the marks moved and before the transactions.
    pub(crate) fn step_breakers(&mut self, height: u64, events: &mut Vec<Event>) {
        for market in 0..self.core.markets.len() as u32 {
            let at = &self.core.markets[market as usize];
            let (was, breaker) = (at.status, at.params.breaker);
            let trouble = breaker.is_some_and(|breaker| self.in_trouble(market, &breaker));
            self.core.markets[market as usize].liquidated = 0;
            let Some(breaker) = breaker else { continue };
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
                Status::Guarded { calm, .. } if calm >= breaker.calm_heights => Status::Normal,
                Status::Guarded { troubled, calm } => Status::Guarded {
                    troubled,
                    calm: calm + 1,
                },
                Status::Halted { .. } if trouble => Status::Halted { calm: 0 },
                Status::Halted { calm } if calm >= breaker.halt_heights => auction,
                Status::Halted { calm } => Status::Halted { calm: calm + 1 },
                other => other,
            };
            self.set_status(market, now, events);
        }
    }

    /// Clears the markets that are due, after the transactions of a block.
    pub(crate) fn clear(&mut self, height: u64, root: &Root, since: u64, events: &mut Vec<Event>) {
        for market in 0..self.core.markets.len() as u32 {
            let at = &self.core.markets[market as usize];
            match (at.status, at.params.breaker) {
                (Status::Auction { ends, prolonged }, Some(breaker)) if height >= ends => {
                    let most = Some(breaker.auction_ppm);
                    if !self.in_trouble(market, &breaker)
                        && self.uncross(market, root, since, most, events)
                    {
                        self.set_status(market, Status::Normal, events);
                    } else if prolonged >= breaker.prolong {
                        self.set_status(market, Status::Halted { calm: 0 }, events);
                    } else {
                        let ends = height.saturating_add(u64::from(breaker.auction_heights));
                        let prolonged = prolonged + 1;
                        self.set_status(market, Status::Auction { ends, prolonged }, events);
                    }
                }
                (Status::Auction { .. } | Status::Halted { .. }, _) => {}
                _ if at.params.rule == MatchingRule::UniformBatch => {
                    self.uncross(market, root, since, None, events);
                }
                _ => {}
            }
        }
    }

    fn set_status(&mut self, market: u32, now: Status, events: &mut Vec<Event>) {
        let was = std::mem::replace(&mut self.core.markets[market as usize].status, now);
        if std::mem::discriminant(&was) != std::mem::discriminant(&now) {
            events.push(Event::Breaker { market, now });
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
