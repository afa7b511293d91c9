//! Liquidation: accounts below their maintenance margin are closed against the book, a
//! quarter of a position at a time until they are above it, the worst first.
//!
//! - No fill is worse than the bankruptcy price unless the insurance fund pays for what it
//!   is worse. At that price equity / maintenance does not fall (dYdX v4; the lemma
//!   `close_never_hurts`), so that a liquidation never makes an account's ratio worse. That
//!   holds down to −100 %; below, equity itself does not fall.
//! - The price accepted slides from the mark to where the whole margin is used up as the
//!   account's equity does (dYdX v4, fillable price).
//! - A block closes at most a share of the open interest, and tries so many accounts. One
//!   that is left is tried again in the next block, first sweep or not. Half of the tries are
//!   for the worst, the others for all by turns.
//! - Below zero with nothing to close against, the insurance fund pays; what it cannot is
//!   for the others' profits, and what those cannot is written off as bad debt, which the
//!   fund repays before it pays for anything else.

use std::collections::BTreeSet;

use fairlane_types::TimeInForce;

use crate::account::Health;
use crate::event::Event;
use crate::house::House;
use crate::matching::Placing;
use crate::units::{PPM, TICKS_MAX, fee, notional};

/// Accounts that a block tries to liquidate.
pub const LIQUIDATIONS_PER_BLOCK: usize = 1_024;
/// Those of them that are the worst. The others take turns by height, so that accounts whose
/// books are empty keep nobody waiting for ever, however many they are and however bad.
const WORST_PER_BLOCK: usize = LIQUIDATIONS_PER_BLOCK / 2;
/// Times a block takes a quarter off an account's positions; a tenth is left after eight.
const ROUNDS: usize = 8;

/// A health as equity over maintenance, in ppm, rounded down and cut to ±100 %.
pub(crate) fn ratio_ppm(health: &Health) -> i128 {
    let whole = health.maintenance_micro.max(1);
    let equity = health.equity.clamp(-whole / PPM - 1, whole / PPM + 1);
    (equity * PPM * PPM).div_euclid(whole).clamp(-PPM, PPM)
}

/// What a lot may lose against the mark, in ticks: a share of the margin that closing frees,
/// rounded towards the account. At equity's share it is the bankruptcy price; negative for
/// an account below zero.
pub(crate) fn ticks_given(share_ppm: i128, freed_micro: i128, lots: u64) -> i128 {
    (share_ppm * freed_micro).div_euclid(i128::from(lots) * PPM * PPM)
}

impl House {
    /// Liquidates what is below its maintenance margin, among all accounts or those that
    /// this block changed. Sorted by (equity / maintenance, number).
    pub fn sweep(&mut self, all: bool, height: u64, events: &mut Vec<Event>) {
        let repaid = self.core.bad_debt.min(self.core.insurance);
        self.core.bad_debt -= repaid;
        self.core.insurance -= repaid;
        let mut found: Vec<(i128, u32)> = Vec::new();
        let mut shut = false;
        let mut look = |account: u32| {
            let at = &self.accounts[account as usize];
            if at.positions.is_empty() && at.collateral >= 0 {
                return;
            }
            // One that closed its last lots below zero by itself has no margin to miss.
            let health = self.health(account);
            if health.liquidatable() || health.equity < 0 {
                let mut held = at.positions.iter().filter(|p| p.lots != 0);
                let bankrupt = health.equity < 0 && self.is_priced(account);
                if bankrupt || held.any(|p| self.closes(p.market)) {
                    found.push((ratio_ppm(&health), account));
                } else {
                    // Nothing can be done about it, and others are not to wait for it.
                    shut = true;
                }
            }
        };
        if all || self.core.unsafe_left {
            (0..self.accounts.len() as u32).for_each(&mut look);
        } else {
            self.dirty.iter().copied().for_each(&mut look);
        }
        self.core.unsafe_left = shut;
        if found.is_empty() {
            return;
        }
        found.sort_unstable();
        if found.len() > LIQUIDATIONS_PER_BLOCK {
            let others = &mut found[WORST_PER_BLOCK..];
            let (all, each) = (
                others.len() as u64,
                LIQUIDATIONS_PER_BLOCK - WORST_PER_BLOCK,
            );
            others.rotate_left((height % all * each as u64 % all) as usize);
            found.truncate(LIQUIDATIONS_PER_BLOCK);
            found.sort_unstable();
            self.core.unsafe_left = true;
        }
        let share = |m: &crate::Market| {
            let part = u64::from(m.params.liquidation_block_ppm);
            let lots = u128::from(m.open_interest) * u128::from(part) / PPM as u128;
            (lots as u64).max(1)
        };
        let mut budget: Vec<u64> = self.core.markets.iter().map(share).collect();
        let mut bankrupt = Vec::new();
        for (_, account) in found {
            self.liquidate(account, &mut budget, events);
            let health = self.health(account);
            if health.equity < 0 && self.is_priced(account) {
                bankrupt.push(account);
            } else if health.liquidatable() || health.equity < 0 {
                self.core.unsafe_left = true;
            }
        }
        if !bankrupt.is_empty() {
            self.resolve(&bankrupt, height, events);
        }
        // Those who were closed against may be short of margin now: the next block looks.
        let short = |account: &u32| {
            let health = self.health(*account);
            health.liquidatable() || health.equity < 0
        };
        let short = self.dirty.iter().any(short);
        self.core.unsafe_left |= short;
    }

    fn liquidate(&mut self, account: u32, budget: &mut [u64], events: &mut Vec<Event>) {
        self.drop_large(account, events);
        let positions = &self.accounts[account as usize].positions;
        let open = positions
            .iter()
            .flat_map(|p| p.orders.iter().map(|(_, slot)| (p.market, *slot)));
        for (market, slot) in open.collect::<Vec<_>>() {
            self.take_out(market, slot);
        }
        let mut markets: Vec<(i128, u32)> = self.accounts[account as usize]
            .positions
            .iter()
            .filter(|p| p.lots != 0)
            .map(|p| (-self.maintenance_of(p.market, p.lots), p.market))
            .collect();
        markets.sort_unstable();
        for _ in 0..ROUNDS {
            let mut closed = 0;
            for (_, market) in &markets {
                let health = self.health(account);
                if !health.liquidatable() {
                    return;
                }
                let held = self.held(account, *market).map_or(0, |p| p.lots);
                let quarter = held.unsigned_abs().div_ceil(4);
                let left = &mut budget[*market as usize];
                let lots = quarter.min(*left);
                if lots == 0 || !self.closes(*market) {
                    continue;
                }
                let done = self.close(account, *market, held > 0, lots, &health, events);
                *left -= done;
                closed += done;
            }
            if closed == 0 {
                return;
            }
        }
    }

    /// Maintenance margin × ppm of lots at the mark.
    pub(crate) fn maintenance_of(&self, market: u32, lots: i64) -> i128 {
        let market = &self.core.markets[market as usize];
        market.maintenance(market.margin_size(lots.unsigned_abs()))
    }

    /// Closes up to `lots` of a position against the book; gives how many.
    fn close(
        &mut self,
        account: u32,
        market: u32,
        long: bool,
        lots: u64,
        health: &Health,
        events: &mut Vec<Event>,
    ) -> u64 {
        let held = self.held(account, market).map_or(0, |p| p.lots);
        let after = if long {
            held - lots as i64
        } else {
            held + lots as i64
        };
        let freed = self.maintenance_of(market, held) - self.maintenance_of(market, after);
        let ratio = ratio_ppm(health);
        let bankruptcy = ticks_given(ratio, freed, lots);
        let most = bankruptcy.max(ticks_given(PPM - ratio.max(0), freed, lots));
        let params = &self.core.markets[market as usize].params;
        let (fee_ppm, maker_ppm) = (params.liquidation_fee_ppm, params.maker_fee_ppm);
        let mark = i128::from(self.core.markets[market as usize].mark);
        let limit = if long { mark - most } else { mark + most };
        let order = Placing {
            account,
            market,
            buy: !long,
            ticks: limit.clamp(1, i128::from(TICKS_MAX)) as u64,
            lots,
            tif: TimeInForce::Ioc,
            reduce_only: true,
            cloid: 0,
            until: 0,
        };
        let mut plan = std::mem::take(&mut self.plan);
        // An IOC order's plan is never refused.
        let planned = self.plan(&order, &mut plan).is_ok();
        let (mut done, mut taken, mut paid, mut fills) = (0, 0, 0, Vec::new());
        for (slot, lots) in plan.fills.iter().filter(|_| planned) {
            let maker = *self.books[market as usize].order(*slot);
            let price = i128::from(maker.ticks);
            let loss = if long { mark - price } else { price - mark };
            // Per lot: what the fill is worse than the bankruptcy price.
            let worse = loss - bankruptcy;
            let mut lots = *lots;
            if worse > 0 {
                let paid_for = self.core.insurance / worse;
                lots = lots.min(u64::try_from(paid_for).unwrap_or(u64::MAX));
            }
            if lots == 0 {
                break;
            }
            self.shrink(market, *slot, lots);
            self.match_with(&order, &maker, lots, (0, maker_ppm), &mut fills);
            let better = -worse * i128::from(lots);
            let due = if better > 0 {
                fee(notional(maker.ticks, lots as i64), fee_ppm).min(better)
            } else {
                better
            };
            self.accounts[account as usize].collateral -= due;
            self.core.insurance += due;
            taken += due;
            paid += (-due).max(0);
            done += lots;
        }
        // One that a smaller fill than planned left in place still has something to reduce: it
        // is met again, or dropped, by the next order.
        let mut kept = BTreeSet::new();
        if done < lots {
            kept.extend(plan.fills.iter().map(|(slot, _)| *slot));
        }
        for slot in plan.dropped.iter().filter(|_| planned) {
            if !kept.contains(slot) {
                self.take_out(market, *slot);
            }
        }
        self.plan = plan;
        if done > 0 {
            self.note_liquidated(market, done);
            self.note_drawn(market, paid);
            self.touch(account);
            events.push(Event::Liquidated {
                account,
                fills,
                fee: taken,
            });
        }
        done
    }
}
