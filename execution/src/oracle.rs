//! What the members' observations make of a market's price (EXECUTION §3).
//!
//! - A *report* is made when 2f+1 members have observed since the last one. Its price is
//!   the lower median of all fresh observations, its confidence the distance from there to
//!   the observations that have f others, or a quarter if that is more, outside of them:
//!   both lie between honest observations whatever f liars say.
//! - A leader of the consensus cannot choose among the members: all observations of the
//!   last `fresh_ms` count, and leaving a lane out makes one older, not absent.
//! - A price that jumps counts when the next report confirms it.
//! - Without reports the oracle gets stale, then dead. It comes back after a number of
//!   reports in a row: after a gap nothing trades or is liquidated on the first price.
//! - Times are the sequence's finalized times; no clock is read.
//!
//! None of this helps against a source that all honest members read and that is wrong. The
//! mark's steps and the open interest bound what that costs.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::PublicKey;
use serde::{Deserialize, Serialize};

use crate::Reject;
use crate::breaker::Status;
use crate::event::Event;
use crate::gate::DAY_MS;
use crate::house::{House, Market};
use crate::units::{PPM, TICKS_MAX};

/// Most prices of one observation: with their market numbers they fit a payload.
pub const QUOTES_MAX: usize = 128;
/// Most reports that a recovery may ask for.
pub const RECOVERY_MAX: u32 = 1_000;

/// When observations count, and when the oracle is trusted. Times are finalized ones.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields, default)]
pub struct OracleParams {
    /// How long an observation counts, in milliseconds.
    pub fresh_ms: u64,
    /// Age of the last report from which the oracle is stale, in milliseconds.
    pub stale_ms: u64,
    /// Age of the last report from which it is dead, in milliseconds.
    pub dead_ms: u64,
    /// Distance of the honest observations from the median over which the price is
    /// uncertain, ppm of it. An observation whose own spread is larger is not used.
    pub uncertain_ppm: u32,
    /// A report farther from the last price must be confirmed by the next, ppm of it.
    pub jump_ppm: u32,
    /// Reports in a row after which a stale oracle is fresh again.
    pub recovery_reports: u32,
}

impl Default for OracleParams {
    fn default() -> Self {
        Self {
            fresh_ms: 4_000,
            stale_ms: 5_000,
            dead_ms: 30_000,
            uncertain_ppm: 20_000,
            jump_ppm: 50_000,
            recovery_reports: 2,
        }
    }
}

impl OracleParams {
    /// Checks the bounds.
    ///
    /// # Errors
    /// What does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        let times = [self.fresh_ms, self.stale_ms, self.dead_ms];
        if self.fresh_ms == 0 || times.iter().any(|ms| *ms > DAY_MS) || self.stale_ms > self.dead_ms
        {
            return Err("the oracle's times must be in order and at most a day");
        }
        if i128::from(self.uncertain_ppm.max(self.jump_ppm)) > PPM
            || self.recovery_reports > RECOVERY_MAX
        {
            return Err("the oracle's rates must be at most 100 %, its recovery 1,000 reports");
        }
        Ok(())
    }
}

/// One price of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quote {
    /// Market.
    pub market: u32,
    /// Price in ticks; not 0.
    pub ticks: u64,
    /// How far the observer's own sources are apart, in ticks.
    pub spread: u64,
}

/// A member's last word on a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Observation {
    /// Price in ticks; 0 if it never said one.
    pub ticks: u64,
    /// See [`Quote::spread`].
    pub spread: u64,
    /// Finalized time of the block that carried it, in milliseconds.
    pub at_ms: u64,
    /// No report was made since.
    pub new: bool,
}

/// How far a market's price is to be trusted, and what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Validity {
    /// Everything goes.
    #[default]
    Fresh,
    /// The observations are far apart: no new risk, no liquidation.
    Uncertain,
    /// No report for a while, or not enough since: the same, and the mark stays.
    Stale,
    /// No report for long: cancels only.
    Dead,
}

/// A market's oracle.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OracleState {
    /// By oracle, in the order of the genesis.
    pub observed: Vec<Observation>,
    /// What the mark goes to: the last price that was accepted; 0 before the first.
    pub price: u64,
    /// Confidence of the last report, in ticks.
    pub spread: u64,
    /// When the oldest observation that the last report needed was made; 0 before the first.
    pub reported_ms: u64,
    /// A jump that is to be confirmed; 0 for none.
    pub pending: u64,
    /// Reports in a row, counted up to what a recovery needs.
    pub streak: u32,
    /// Where it stands.
    pub validity: Validity,
}

/// A median and how far from it the honest may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Lower median.
    pub ticks: u64,
    /// Confidence.
    pub spread: u64,
}

/// Aggregates the prices of some of `n` members; none below 2f+1 of them.
#[must_use]
pub fn aggregate(prices: &mut [u64], n: usize) -> Option<Aggregate> {
    let f = n.saturating_sub(1) / 3;
    let last = prices.len().checked_sub(1)?;
    if prices.len() < 2 * f + 1 {
        return None;
    }
    prices.sort_unstable();
    let outside = f.max(last / 4);
    let ticks = prices[last / 2];
    let (low, high) = (prices[outside], prices[last - outside]);
    let spread = ticks.abs_diff(low).max(ticks.abs_diff(high));
    Some(Aggregate { ticks, spread })
}

fn apart(a: u64, b: u64, ppm: u32) -> bool {
    i128::from(a.abs_diff(b)) * PPM > i128::from(b) * i128::from(ppm)
}

impl OracleState {
    /// Before the first observation.
    #[must_use]
    pub fn new(oracles: usize) -> Self {
        Self {
            observed: vec![Observation::default(); oracles],
            price: 0,
            spread: 0,
            reported_ms: 0,
            pending: 0,
            streak: 0,
            validity: Validity::default(),
        }
    }

    /// Whether a snapshot's state is in its bounds.
    pub(crate) fn is_sane(&self, oracles: usize) -> bool {
        let observed = |seen: &Observation| seen.ticks <= TICKS_MAX && seen.spread <= TICKS_MAX;
        self.observed.len() == oracles
            && self.observed.iter().all(observed)
            && self.price.max(self.spread).max(self.pending) <= TICKS_MAX
            && self.streak <= RECOVERY_MAX
    }

    /// The report of `now_ms`, if there is one.
    fn report(&mut self, params: &OracleParams, now_ms: u64) -> Option<Aggregate> {
        let n = self.observed.len();
        let quorum = 2 * (n.saturating_sub(1) / 3) + 1;
        let usable = |seen: &Observation| {
            let young = now_ms.saturating_sub(seen.at_ms) <= params.fresh_ms;
            seen.ticks > 0
                && young
                && !apart(seen.ticks + seen.spread, seen.ticks, params.uncertain_ppm)
        };
        let fresh = || self.observed.iter().filter(|seen| usable(seen));
        let mut new: Vec<u64> = fresh().filter(|s| s.new).map(|s| s.at_ms).collect();
        new.sort_unstable();
        // With the newest 2f+1 there was a quorum.
        let oldest = new.len().checked_sub(quorum)?;
        let mut prices: Vec<u64> = fresh().map(|seen| seen.ticks).collect();
        let found = aggregate(&mut prices, n)?;
        self.reported_ms = new[oldest];
        for seen in &mut self.observed {
            seen.new = false;
        }
        Some(found)
    }

    /// Makes a report if one is due, and says how far the price is to be trusted. Without
    /// oracles nothing moves and everything goes. Says whether there was a report.
    pub(crate) fn step(&mut self, params: &OracleParams, now_ms: u64) -> bool {
        if self.observed.is_empty() {
            return false;
        }
        if now_ms.saturating_sub(self.reported_ms) > params.stale_ms {
            self.streak = 0;
        }
        let found = self.report(params, now_ms);
        if let Some(found) = found {
            self.streak = (self.streak + 1).min(params.recovery_reports);
            self.spread = found.spread;
            let jumps = |from: u64| from > 0 && apart(found.ticks, from, params.jump_ppm);
            if jumps(self.price) && (self.pending == 0 || jumps(self.pending)) {
                self.pending = found.ticks;
            } else {
                (self.price, self.pending) = (found.ticks, 0);
            }
        }
        let age = now_ms.saturating_sub(self.reported_ms);
        self.validity = if age > params.dead_ms {
            Validity::Dead
        } else if age > params.stale_ms || self.streak < params.recovery_reports {
            Validity::Stale
        } else if self.price > 0
            && apart(self.price + self.spread, self.price, params.uncertain_ppm)
        {
            Validity::Uncertain
        } else {
            Validity::Fresh
        };
        found.is_some()
    }
}

impl Market {
    /// Whether its price may make somebody lose a position.
    #[must_use]
    pub fn is_priced(&self) -> bool {
        self.oracle.validity == Validity::Fresh && self.status != Status::Frozen
    }
}

impl House {
    /// Steps every market's oracle, before the marks move.
    pub(crate) fn step_oracles(&mut self, height: u64, events: &mut Vec<Event>) {
        let (params, now_ms) = (self.core.oracle, self.core.time_ms);
        for number in 0..self.core.markets.len() as u32 {
            let market = &mut self.core.markets[number as usize];
            let was = market.oracle.validity;
            let reported = market.oracle.step(&params, now_ms);
            let now = market.oracle.validity;
            if was != now {
                let market = number;
                events.push(Event::Oracle { market, now });
            }
            // A jump that is not confirmed is no price yet.
            if reported && self.core.markets[number as usize].oracle.pending == 0 {
                self.price_large(number, height);
            }
        }
    }

    /// Whether every position of an account is in a market with a price.
    pub(crate) fn is_priced(&self, account: u32) -> bool {
        let positions = &self.accounts[account as usize].positions;
        let mut held = positions.iter().filter(|p| p.lots != 0);
        held.all(|p| self.core.markets[p.market as usize].is_priced())
    }

    /// Names the oracles that said two prices in this block.
    pub(crate) fn tell_two_prices(&mut self, events: &mut Vec<Event>) {
        for ((market, oracle), (first, then)) in std::mem::take(&mut self.said) {
            if let Some(then) = then {
                events.push(Event::TwoPrices {
                    market,
                    oracle,
                    first,
                    then,
                });
            }
        }
    }

    /// Notes an oracle's observation, all of it or nothing.
    pub(crate) fn observe(&mut self, sender: &PublicKey, quotes: &[Quote]) -> Result<(), Reject> {
        let who = self.core.oracles.iter().position(|key| key == sender);
        let who = who.ok_or(Reject::Forbidden)?;
        for quote in quotes {
            if quote.ticks == 0 || quote.ticks.max(quote.spread) > TICKS_MAX {
                return Err(Reject::PriceBand);
            }
            if quote.market as usize >= self.core.markets.len() {
                return Err(Reject::UnknownMarket);
            }
        }
        let at_ms = self.core.time_ms;
        for quote in quotes {
            let said = self.said.entry((quote.market, who as u32));
            let (first, then) = said.or_insert((quote.ticks, None));
            if apart(quote.ticks, *first, self.core.oracle.jump_ppm) {
                *then = Some(quote.ticks);
            }
            self.core.markets[quote.market as usize].oracle.observed[who] = Observation {
                ticks: quote.ticks,
                spread: quote.spread,
                at_ms,
                new: true,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod censoring;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(state: &mut OracleState, who: usize, ticks: u64, at_ms: u64) {
        state.observed[who] = Observation {
            ticks,
            spread: 0,
            at_ms,
            new: true,
        };
    }

    #[test]
    fn a_jump_waits_for_the_next_report() {
        let params = OracleParams::default();
        let mut state = OracleState::new(4);
        let mut now = 1_000;
        let mut report = |state: &mut OracleState, ticks: u64| {
            now += 1_000;
            (0..3).for_each(|who| say(state, who, ticks, now));
            state.step(&params, now);
            (state.price, state.pending, state.validity)
        };
        assert_eq!(report(&mut state, 1_000), (1_000, 0, Validity::Stale));
        assert_eq!(report(&mut state, 1_050), (1_050, 0, Validity::Fresh));
        assert_eq!(report(&mut state, 2_000), (1_050, 2_000, Validity::Fresh));
        // Another jump is no confirmation, and a price like the old one ends the wait.
        assert_eq!(report(&mut state, 3_000), (1_050, 3_000, Validity::Fresh));
        assert_eq!(report(&mut state, 1_060), (1_060, 0, Validity::Fresh));
        assert_eq!(report(&mut state, 2_000), (1_060, 2_000, Validity::Fresh));
        assert_eq!(report(&mut state, 2_010), (2_010, 0, Validity::Fresh));
    }

    #[test]
    fn it_gets_stale_then_dead_and_comes_back_after_two_reports() {
        let params = OracleParams::default();
        let mut state = OracleState::new(4);
        state.step(&params, 1 << 40);
        assert_eq!(state.validity, Validity::Dead);
        let mut now = 1 << 40;
        let report = |state: &mut OracleState, members: usize, now: u64| {
            (0..members).for_each(|who| say(state, who, 100, now));
            state.step(&params, now);
            state.validity
        };
        assert_eq!(report(&mut state, 3, now), Validity::Stale);
        // Nobody new: no second report.
        state.step(&params, now);
        assert_eq!(state.validity, Validity::Stale);
        now += 1_000;
        assert_eq!(report(&mut state, 3, now), Validity::Fresh);
        // 2f members do not make a report, however often they speak.
        for ms in 1..=params.dead_ms + 1 {
            let validity = report(&mut state, 2, now + ms);
            let want = match ms {
                0..=5_000 => Validity::Fresh,
                5_001..=30_000 => Validity::Stale,
                _ => Validity::Dead,
            };
            assert_eq!(validity, want, "{ms}");
        }
        now += params.dead_ms + 2;
        assert_eq!(report(&mut state, 3, now), Validity::Stale);
        assert_eq!(report(&mut state, 3, now + 1), Validity::Fresh);
    }

    #[test]
    fn observations_that_are_far_apart_are_uncertain_and_one_liar_does_not_make_them() {
        let params = OracleParams::default();
        let mut state = OracleState::new(4);
        let mut step = |prices: [u64; 4], now| {
            for (who, ticks) in prices.into_iter().enumerate() {
                say(&mut state, who, ticks, now);
            }
            state.step(&params, now);
            state.validity
        };
        step([1_000; 4], 1_000);
        assert_eq!(step([1_000; 4], 2_000), Validity::Fresh);
        assert_eq!(step([1_000, 1_000, 1_000, 9_000], 3_000), Validity::Fresh);
        assert_eq!(
            step([1_000, 1_000, 1_030, 1_030], 4_000),
            Validity::Uncertain
        );
        assert_eq!(step([1_000, 1_000, 1_010, 1_030], 5_000), Validity::Fresh);
    }

    /// f colluders who know what all others said shift the price by no more than the design
    /// has for a set that nobody chose (EXECUTION §3), in deviations of an honest observation;
    /// a leader cannot choose the set (decision 45).
    #[test]
    fn colluders_shift_the_price_by_what_the_design_says() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut normal = || {
            let mut uniform = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let (u, v) = (uniform().max(1e-12), uniform());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let (truth, deviation, rounds) = (1_000_000.0, 10_000.0, 8_000);
        for (n, f, bound) in [
            (4, 1, 0.85),
            (7, 2, 0.50),
            (13, 4, 0.58),
            (31, 10, 0.64),
            (64, 21, 0.68),
        ] {
            let mut sums = [0.0; 2];
            for _ in 0..rounds {
                let honest: Vec<u64> = (f..n)
                    .map(|_| (truth + deviation * normal()) as u64)
                    .collect();
                for (sum, lie) in sums.iter_mut().zip([1, TICKS_MAX]) {
                    let mut all = honest.clone();
                    all.resize(n, lie);
                    *sum += aggregate(&mut all, n).unwrap().ticks as f64 - truth;
                }
            }
            let shifts = sums.map(|sum| sum.abs() / f64::from(rounds) / deviation);
            let worst = shifts[0].max(shifts[1]);
            assert!(worst <= bound + 0.02, "n = {n}: {worst}");
            // The bound is met: the liars of this test are the worst.
            assert!(worst >= bound - 0.05, "n = {n}: {worst}");
        }
    }

    proptest! {
        // Liars say anything at any time; the honest say something near the truth, each
        // when it likes, and some late. A censoring leader is one that makes them late.
        #[test]
        fn f_liars_cannot_leave_the_honest_hull(
            f in 1..4usize,
            rounds in proptest::collection::vec(
                (
                    proptest::collection::vec((950..1_050u64, any::<bool>()), 9),
                    proptest::collection::vec((1..TICKS_MAX, 0..TICKS_MAX, any::<bool>()), 3),
                    0..3_000u64,
                ),
                1..40,
            ),
        ) {
            let params = OracleParams { jump_ppm: 1_000_000, ..OracleParams::default() };
            let n = 3 * f + 1;
            let mut state = OracleState::new(n);
            let mut now = 1_000;
            // What the honest said that a report may still use.
            let mut said: Vec<(u64, u64)> = Vec::new();
            for (honest, lies, passed) in rounds {
                now += passed;
                for (who, (ticks, speaks)) in honest.into_iter().take(n - f).enumerate() {
                    if speaks {
                        say(&mut state, who, ticks, now);
                        said.push((now, ticks));
                    }
                }
                for (who, (ticks, spread, speaks)) in lies.into_iter().take(f).enumerate() {
                    if speaks {
                        let who = n - f + who;
                        state.observed[who] = Observation { ticks, spread, at_ms: now, new: true };
                    }
                }
                let before = (state.price, state.spread);
                state.step(&params, now);
                said.retain(|(at, _)| now - at <= params.fresh_ms);
                if (state.price, state.spread) != before {
                    let prices = || said.iter().map(|(_, ticks)| *ticks);
                    let (low, high) = (prices().min().unwrap(), prices().max().unwrap());
                    prop_assert!((low..=high).contains(&state.price), "{state:?}");
                    prop_assert!(state.spread <= high - low, "{state:?}");
                }
            }
        }

        // Each of the honest n − f counts with what it said last, if it is fresh: whichever
        // of them a leader makes late, all of the others are in the median.
        #[test]
        fn all_that_is_fresh_counts(
            prices in proptest::collection::vec(1..TICKS_MAX, 1..40),
        ) {
            let n = prices.len();
            let mut state = OracleState::new(n);
            for (who, ticks) in prices.iter().enumerate() {
                say(&mut state, who, *ticks, 1_000);
            }
            state.step(&OracleParams::default(), 1_000);
            let mut sorted = prices;
            sorted.sort_unstable();
            prop_assert_eq!(state.price, sorted[(n - 1) / 2]);
        }
    }
}
