//! Changes of what the genesis fixed, by the oracles: each says the whole change, and one that
//! 2f+1 of them have said holds from its height on.
//!
//! - It is known [`NOTICE_HEIGHTS`] before that, so that nobody is liquidated by margins that
//!   could not be seen coming.
//! - Parameters that the genesis could not have are refused: those that break the solvency
//!   envelope among them.
//! - It takes hold after a block's transactions and before its liquidations. What it leaves
//!   below its margin is liquidated at once, before a mark moves by a new step.
//! - An oracle has one voice for what is not agreed yet; another change takes it away from the
//!   one before. So there are never more of these than oracles.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::PublicKey;
use serde::{Deserialize, Serialize};

use crate::Reject;
use crate::event::Event;
use crate::house::House;
use crate::oracle::{OracleParams, OracleState};
use crate::params::{Deleveraging, MarketParams, ORACLES_MAX};
use crate::predictive::Predictor;
use crate::units::PPM;
use crate::watch::Watch;

/// Heights between the last voice for a change and its taking hold, at least.
pub const NOTICE_HEIGHTS: u64 = 64;
/// Farthest height that a change may name, from now.
pub const AHEAD_HEIGHTS_MAX: u64 = 1 << 20;

/// What is to be different.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// All parameters of a market. Its first mark stays; a breaker and large orders, once it
    /// has them, may be set otherwise and not taken away.
    Market {
        /// Market.
        market: u32,
        /// The new ones.
        params: Box<MarketParams>,
    },
    /// Who makes the marks, and says changes. What those who stay have observed counts on;
    /// changes that are not agreed are forgotten.
    Oracles {
        /// The new ones, ascending.
        oracles: Vec<PublicKey>,
    },
    /// What is not of one market.
    General {
        /// How marks are made.
        oracle: OracleParams,
        /// Who closes against an account below zero.
        deleveraging: Deleveraging,
        /// Most withdrawn in an hour, ppm of what is held.
        withdraw_hour_ppm: u32,
        /// Most withdrawn in a day, ppm of what is held.
        withdraw_day_ppm: u32,
    },
}

/// What a change is about; one replaces an agreed one about the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum About {
    /// A market.
    Market(u32),
    /// The oracles.
    Oracles,
    /// What is not of one market.
    General,
}

impl Change {
    /// What it is about.
    #[must_use]
    pub const fn about(&self) -> About {
        match self {
            Self::Market { market, .. } => About::Market(*market),
            Self::Oracles { .. } => About::Oracles,
            Self::General { .. } => About::General,
        }
    }
}

/// A change on its way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// Height at whose end it takes hold.
    pub height: u64,
    /// What.
    pub change: Change,
    /// Numbers of the oracles that said it, as they came.
    pub by: Vec<u32>,
    /// A quorum has said it.
    pub agreed: bool,
}

/// Where a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// A quorum has said it.
    Agreed,
    /// It holds.
    Done,
    /// Its height came without a quorum, or it does not fit what has changed meanwhile.
    Lapsed,
}

impl House {
    /// Changes on their way, as they came.
    #[must_use]
    pub fn changes(&self) -> &[Proposal] {
        &self.changes
    }

    /// An oracle's voice for a change at the end of a height.
    pub(crate) fn say_change(
        &mut self,
        sender: &PublicKey,
        height: u64,
        change: &Change,
    ) -> Result<(), Reject> {
        let who = self.core.oracles.iter().position(|key| key == sender);
        let who = who.ok_or(Reject::Forbidden)? as u32;
        let ahead = height.saturating_sub(self.height);
        if !(NOTICE_HEIGHTS..=AHEAD_HEIGHTS_MAX).contains(&ahead) {
            return Err(Reject::Notice);
        }
        if !self.may_change(change) {
            return Err(Reject::Params);
        }
        let same = |p: &Proposal| p.height == height && p.change == *change;
        if self.changes.iter().any(|p| same(p) && p.by.contains(&who)) {
            return Ok(());
        }
        for proposal in self.changes.iter_mut().filter(|p| !p.agreed) {
            proposal.by.retain(|other| *other != who);
        }
        self.changes.retain(|p| !p.by.is_empty());
        match self.changes.iter_mut().find(|p| same(p)) {
            Some(proposal) => proposal.by.push(who),
            None => self.changes.push(Proposal {
                height,
                change: change.clone(),
                by: vec![who],
                agreed: false,
            }),
        }
        self.agree();
        Ok(())
    }

    /// Settles what a quorum has said; the later of two about the same counts.
    fn agree(&mut self) {
        let n = self.core.oracles.len();
        let quorum = 2 * (n.saturating_sub(1) / 3) + 1;
        let ripe = |p: &Proposal| !p.agreed && p.by.len() >= quorum;
        let Some(at) = self.changes.iter().position(ripe) else {
            return;
        };
        let mut proposal = self.changes.remove(at);
        let about = proposal.change.about();
        self.changes
            .retain(|other| !other.agreed || other.change.about() != about);
        proposal.agreed = true;
        self.agreed.push((about, proposal.height));
        self.changes.push(proposal);
    }

    /// Lets the changes of this height take hold; says whether margins may be others now.
    pub(crate) fn change(&mut self, height: u64, events: &mut Vec<Event>) -> bool {
        for (about, height) in self.agreed.drain(..) {
            let step = Step::Agreed;
            events.push(Event::Change {
                about,
                step,
                height,
            });
        }
        let mut changed = false;
        while let Some(at) = self.changes.iter().position(|p| p.height <= height) {
            let Proposal { change, agreed, .. } = self.changes.remove(at);
            let about = change.about();
            let done = agreed && self.may_change(&change);
            if done {
                self.make(change, events);
                changed = true;
            }
            let step = if done { Step::Done } else { Step::Lapsed };
            events.push(Event::Change {
                about,
                step,
                height,
            });
        }
        changed
    }

    /// Whether a change is one that the state can go on with.
    fn may_change(&self, change: &Change) -> bool {
        match change {
            Change::Market { market, params } => {
                let known = self.core.markets.get(*market as usize);
                known.is_some_and(|known| {
                    let now = &known.params;
                    params.validate().is_ok()
                        && params.mark_ticks == now.mark_ticks
                        && (params.breaker.is_some() || now.breaker.is_none())
                        && (params.large.is_some() || now.large.is_none())
                })
            }
            Change::Oracles { oracles } => {
                (1..=ORACLES_MAX).contains(&oracles.len())
                    && oracles.windows(2).all(|pair| pair[0] < pair[1])
            }
            Change::General {
                oracle,
                withdraw_hour_ppm,
                withdraw_day_ppm,
                ..
            } => {
                let most = *withdraw_hour_ppm.max(withdraw_day_ppm);
                oracle.validate().is_ok() && i128::from(most) <= PPM
            }
        }
    }

    fn make(&mut self, change: Change, events: &mut Vec<Event>) {
        match change {
            Change::Market { market, params } => {
                let large = params.large;
                let at = &mut self.core.markets[market as usize];
                let was = std::mem::replace(&mut at.params, *params);
                // What was gathered under other rules is not mixed with what comes.
                if was.breaker != at.params.breaker {
                    at.watch = Watch::default();
                }
                if was.predictive != at.params.predictive {
                    at.predictor = Predictor::default();
                }
                let funding = |p: &MarketParams| (p.funding_heights, p.funding_cap_ppm);
                if funding(&was) != funding(&at.params) {
                    (at.premium_ppm, at.premiums) = (0, 0);
                }
                let commitments = self.core.large.iter_mut();
                for (commitment, large) in commitments.filter(|l| l.market == market).zip(large) {
                    commitment.prices.truncate(large.reports as usize);
                }
                self.thaw(market, events);
            }
            Change::Oracles { oracles } => {
                let was = std::mem::replace(&mut self.core.oracles, oracles);
                for market in &mut self.core.markets {
                    let mut now = OracleState::new(self.core.oracles.len());
                    std::mem::swap(&mut now.observed, &mut market.oracle.observed);
                    for (key, seen) in was.iter().zip(now.observed) {
                        if let Ok(at) = self.core.oracles.binary_search(key) {
                            market.oracle.observed[at] = seen;
                        }
                    }
                }
                // Voices are numbers of the oracles that were.
                self.changes.retain(|p| p.agreed);
            }
            Change::General {
                oracle,
                deleveraging,
                withdraw_hour_ppm,
                withdraw_day_ppm,
            } => {
                self.core.oracle = oracle;
                self.core.deleveraging = deleveraging;
                self.core.limits[0].ppm = withdraw_hour_ppm;
                self.core.limits[1].ppm = withdraw_day_ppm;
            }
        }
    }

    /// Whether a snapshot's changes can have come about.
    pub(crate) fn changes_are_sane(&self) -> bool {
        let n = self.core.oracles.len();
        let voices = |p: &Proposal| {
            let known = p.by.iter().all(|who| (*who as usize) < n || p.agreed);
            known && !p.by.is_empty() && p.by.len() <= ORACLES_MAX
        };
        let open = self.changes.iter().filter(|p| !p.agreed).count();
        let agreed = self.changes.len() - open;
        open <= n && agreed <= self.core.markets.len() + 2 && self.changes.iter().all(voices)
    }
}
