//! Accounts below zero that the book did not close: the insurance fund pays what it has,
//! then their positions are closed against others at the mark, and those pay what is still
//! missing out of the profit that this made real for them. Nobody pays more than that
//! profit, or so much that it falls below its own margin, and in all no more is taken than is missing (no overshoot): an account without
//! a position pays nothing (invariant 9).
//!
//! Who closes is a rule of the genesis: by lots, by lots × leverage, or a queue. One pass a
//! market and side for all such accounts of a block, after all liquidations.

use crate::event::Event;
use crate::house::House;
use crate::params::Deleveraging;
use crate::units::{PPM, micro, notional, share_of};

/// Leverage counts up to this, as a multiple.
const LEVERAGE_MAX: i128 = 1_000;

/// One that may have to close.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) account: u32,
    pub(crate) lots: u64,
    pub(crate) weight: u128,
}

/// Shares `need` among candidates by weight; none gets more than its lots. Rounded down,
/// and what is left goes by one lot each in the order of the candidates. The sum is `need`
/// or all lots there are.
pub(crate) fn allot(need: u64, candidates: &[Candidate]) -> Vec<u64> {
    let mut given = vec![0; candidates.len()];
    let mut left = need;
    // Every round but the last fills a candidate up or gives all but a lot each away.
    loop {
        let open = |n: &usize| given[*n] < candidates[*n].lots;
        let open: Vec<usize> = (0..candidates.len()).filter(open).collect();
        if open.is_empty() || left == 0 {
            return given;
        }
        let sum: u128 = open.iter().map(|n| candidates[*n].weight).sum();
        let start = left;
        for n in &open {
            let product = u128::from(start) * candidates[*n].weight;
            let share = product.checked_div(sum).unwrap_or(0);
            let share = (share as u64).min(candidates[*n].lots - given[*n]);
            given[*n] += share;
            left -= share;
        }
        if left < open.len() as u64 || left == start {
            for n in open {
                let one = u64::from(left > 0 && given[n] < candidates[n].lots);
                given[n] += one;
                left -= one;
            }
        }
    }
}

impl House {
    /// Closes what accounts below zero hold. They have no open orders any more.
    pub(crate) fn resolve(&mut self, bankrupt: &[u32], height: u64, events: &mut Vec<Event>) {
        let margins: Vec<_> = bankrupt.iter().map(|a| self.margins_of(*a)).collect();
        for (account, margins) in bankrupt.iter().zip(&margins) {
            self.cover(*account, margins, events);
        }
        for market in 0..self.core.markets.len() as u32 {
            for long in [true, false] {
                let holds = |account: &&u32| {
                    let lots = self.held(**account, market).map_or(0, |p| p.lots);
                    if long { lots > 0 } else { lots < 0 }
                };
                let side: Vec<u32> = bankrupt.iter().filter(holds).copied().collect();
                if !side.is_empty() {
                    self.deleverage(&side, market, long, events);
                }
            }
        }
        let mut short = false;
        for (account, margins) in bankrupt.iter().zip(&margins) {
            // What rounding and the caps left; also a fund that was filled meanwhile.
            self.cover(*account, margins, events);
            let equity = self.health(*account).equity;
            if equity < 0 {
                short = true;
                let (account, amount) = (*account, -equity);
                self.accounts[account as usize].collateral += amount;
                self.core.bad_debt += amount;
                self.note_paid(margins, amount);
                self.touch(account);
                events.push(Event::BadDebt { account, amount });
            }
        }
        if short {
            self.gate(height, events);
        }
    }

    fn cover(&mut self, account: u32, margins: &[(u32, i128)], events: &mut Vec<Event>) {
        let missing = -self.health(account).equity;
        let amount = missing.min(self.core.insurance);
        if amount > 0 {
            self.core.insurance -= amount;
            self.accounts[account as usize].collateral += amount;
            self.note_paid(margins, amount);
            self.touch(account);
            events.push(Event::Covered { account, amount });
        }
    }

    /// Closes one side of a market for all accounts of `side`, at the mark.
    fn deleverage(&mut self, side: &[u32], market: u32, long: bool, events: &mut Vec<Event>) {
        let mark = self.core.markets[market as usize].mark;
        let mut missing = Vec::with_capacity(side.len());
        let mut need = 0;
        for account in side {
            let lots = self.held(*account, market).map_or(0, |p| p.lots);
            let health = self.health(*account);
            // This market's share of what is missing, by margin; the last one has it all.
            let (part, whole) = (
                self.maintenance_of(market, lots) / PPM + 1,
                health.maintenance_micro / PPM + 1,
            );
            let owed = (-health.equity).max(0);
            missing.push(share_of(owed, part.min(whole), whole));
            need += lots.unsigned_abs();
        }
        self.note_liquidated(market, need);
        let closers = self.closers(market, long, need);
        let mut profits: Vec<(u32, u64, i128)> = Vec::with_capacity(closers.len());
        let mut queue = closers.into_iter();
        let mut other = queue.next();
        for account in side {
            let mut lots = self
                .held(*account, market)
                .map_or(0, |p| p.lots)
                .unsigned_abs();
            while let (true, Some((against, most))) = (lots > 0, other) {
                let part = lots.min(most);
                let pair = if long {
                    [against, *account]
                } else {
                    [*account, against]
                };
                let real = self.exchange(market, pair, part, mark)[usize::from(!long)];
                self.touch(*account);
                self.touch(against);
                match profits.last_mut() {
                    Some(last) if last.0 == against => {
                        last.1 += part;
                        last.2 += real;
                    }
                    _ => profits.push((against, part, real)),
                }
                events.push(Event::Deleveraged {
                    account: *account,
                    against,
                    market,
                    lots: part,
                });
                lots -= part;
                other = if part == most {
                    queue.next()
                } else {
                    Some((against, most - part))
                };
            }
        }
        self.haircut(side, &missing, &profits, events);
    }

    /// Who closes how many lots, by the rule: those in profit first, then the others.
    fn closers(&self, market: u32, long: bool, need: u64) -> Vec<(u32, u64)> {
        let at = &self.core.markets[market as usize];
        let rule = self.core.deleveraging;
        let mut classes = [Vec::new(), Vec::new()];
        for account in 0..self.accounts.len() as u32 {
            let Some(held) = self.held(account, market) else {
                continue;
            };
            if held.lots == 0 || (held.lots > 0) == long {
                continue;
            }
            let value = notional(at.mark, held.lots);
            let profit = value - held.cost;
            let lots = held.lots.unsigned_abs();
            let equity = self.health(account).equity.max(1);
            let leverage = (value.abs() / equity).clamp(1, LEVERAGE_MAX) as u128;
            let weight = match rule {
                Deleveraging::ProRata => u128::from(lots),
                Deleveraging::RiskAware => u128::from(lots) * leverage,
                // Profit in ppm of the value, times leverage.
                Deleveraging::Queue => {
                    (profit.max(0) * PPM / value.abs().max(1)) as u128 * leverage
                }
            };
            let candidate = Candidate {
                account,
                lots,
                weight,
            };
            classes[usize::from(profit <= 0)].push(candidate);
        }
        let mut left = need;
        let mut all = Vec::new();
        for mut class in classes {
            let given = if rule == Deleveraging::Queue {
                class.sort_by(|a, b| b.weight.cmp(&a.weight).then(a.account.cmp(&b.account)));
                let mut rest = left;
                let take = |c: &Candidate| {
                    let lots = c.lots.min(rest);
                    rest -= lots;
                    lots
                };
                class.iter().map(take).collect()
            } else {
                allot(left, &class)
            };
            for (candidate, lots) in class.iter().zip(given).filter(|(_, lots)| *lots > 0) {
                left -= lots;
                all.push((candidate.account, lots));
            }
        }
        all
    }

    /// Takes what is missing out of profits, by lots, and gives it to `side`.
    fn haircut(
        &mut self,
        side: &[u32],
        missing: &[i128],
        profits: &[(u32, u64, i128)],
        events: &mut Vec<Event>,
    ) {
        let total: i128 = missing.iter().sum();
        let lots: i128 = profits.iter().map(|(_, lots, _)| i128::from(*lots)).sum();
        if total == 0 || lots == 0 {
            return;
        }
        // At most its profit, and nothing that its own margin needs.
        let most = |(account, _, real): &(u32, u64, i128)| {
            let health = self.health(*account);
            let free = (micro(health.equity) - health.maintenance_micro).div_euclid(PPM);
            (*real).min(free).max(0)
        };
        let most: Vec<i128> = profits.iter().map(most).collect();
        let mut left = total;
        let mut paid: Vec<i128> = Vec::with_capacity(profits.len());
        for ((_, part, _), most) in profits.iter().zip(&most) {
            let part = i128::from(*part);
            let share = share_of(total, part, lots).min(*most).min(left);
            left -= share;
            paid.push(share);
        }
        for (most, paid) in most.iter().zip(&mut paid) {
            let more = (most - *paid).min(left);
            left -= more;
            *paid += more;
        }
        for ((account, _, _), amount) in profits.iter().zip(&paid).filter(|(_, p)| **p > 0) {
            self.accounts[*account as usize].collateral -= amount;
            let (account, amount) = (*account, *amount);
            events.push(Event::Haircut { account, amount });
        }
        let mut pool = total - left;
        for (account, owed) in side.iter().zip(missing) {
            let amount = pool.min(*owed);
            self.accounts[*account as usize].collateral += amount;
            pool -= amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn allotments_fill_the_need_and_no_one_beyond_its_lots(
            all in proptest::collection::vec((1..1u64 << 30, 0..1u128 << 40), 0..40),
            need in 0..1u64 << 31,
        ) {
            let candidate = |(n, (lots, weight)): (usize, &(u64, u128))| Candidate {
                account: n as u32,
                lots: *lots,
                weight: *weight,
            };
            let candidates: Vec<_> = all.iter().enumerate().map(candidate).collect();
            let given = allot(need, &candidates);
            let most: u64 = all.iter().map(|(lots, _)| lots).sum();
            prop_assert_eq!(given.iter().sum::<u64>(), need.min(most));
            for (candidate, given) in candidates.iter().zip(&given) {
                prop_assert!(*given <= candidate.lots);
            }
            // By lots, all have the same share up to one lot.
            let by_lots: Vec<_> = candidates
                .iter()
                .map(|c| Candidate { weight: c.lots.into(), ..*c })
                .collect();
            if need <= most {
                for (candidate, given) in by_lots.iter().zip(allot(need, &by_lots)) {
                    let fair = u128::from(need) * u128::from(candidate.lots) / u128::from(most);
                    prop_assert!(u128::from(given).abs_diff(fair) <= 1);
                }
            }
        }
    }
}
