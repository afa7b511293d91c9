//! What fair order and blindness are worth in money: a sandwich and a front-runner against a
//! perpetual order book, and makers that cancel against takers that snipe.
//!
//! **The book.** Every level has the same depth, so a market order of s lots moves the price by
//! s·[`IMPACT`] and fills at the average of the way, half a spread off the middle. Half of what
//! it moves stays (it told something), the rest comes back with time constant [`REFILL_US`].
//! There is no margin and no funding in it: orders fill whatever they cost. Prices are in basis
//! points of the fair value, profits in basis points times lots.
//!
//! **The attack.** The attacker is near the victim and sees a victim's order when the nearest
//! member has it. In the clear it knows the side; sealed it sees that there is an order and
//! guesses, by a coin or by what it learned from orders that were opened before (see `leak`). It
//! always sends at once. Bad lanes are those nearest to both: they give the attacker
//! the earliest stamp that they still can, and the victim one 100 ms late. Under rule `leader`
//! lane 0 is the first of the bad ones.

use std::collections::BTreeMap;

use super::leak::{Flow, Seen, guesses};
use super::traffic::{Plan, Role, START, Traffic};
use super::{Attack, Experiment, lanes};
use crate::engine::{Owner, Purpose, Stream};

/// Basis points that a lot moves the price.
const IMPACT: f64 = 0.05;
/// Half the spread, basis points.
const HALF_SPREAD: f64 = 0.1;
/// Share of a move that stays.
const STAYS: f64 = 0.5;
/// Time constant of what comes back, µs.
const REFILL_US: f64 = 500_000.0;
/// Lots of a victim.
const VICTIM_LOTS: f64 = 20.0;
/// Lots of the attacker's orders in a sandwich.
const SANDWICH_LOTS: f64 = 20.0;
/// Lots of a front-runner.
const FRONT_LOTS: f64 = 5.0;
/// A victim comes so often, µs: what one attack moved is gone before the next.
const VICTIM_US: u64 = 3_000_000;
/// The second order of a sandwich follows the first by this, µs.
const BACK_US: u64 = 150_000;
/// A front-runner closes after this, µs.
const EXIT_US: u64 = 1_200_000;

/// How the attacker means to earn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One order before the victim's, the opposite one behind it.
    Sandwich,
    /// One order before the victim's, closed once the price has settled.
    FrontRun,
}

impl Strategy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sandwich, Self::FrontRun];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sandwich => "sandwich",
            Self::FrontRun => "front-run",
        }
    }

    const fn lots(self) -> f64 {
        match self {
            Self::Sandwich => SANDWICH_LOTS,
            Self::FrontRun => FRONT_LOTS,
        }
    }

    const fn close_us(self) -> u64 {
        match self {
            Self::Sandwich => BACK_US,
            Self::FrontRun => EXIT_US,
        }
    }
}

/// What the attacker knows of an order that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It reads it.
    Reads,
    /// It tosses a coin.
    Guesses,
    /// It guesses by what it learned.
    Learns,
}

/// What an order does in the market.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Deal {
    /// The attack it belongs to, if any.
    pair: Option<usize>,
    /// Lots, negative for a sale.
    pub lots: f64,
    victim: bool,
}

impl Deal {
    /// Whether it is the attacker's.
    pub const fn attacks(&self) -> bool {
        self.pair.is_some() && !self.victim
    }
}

/// A run of the market.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// Committee, network, rule, bad lanes. Its attack is set by the run.
    pub experiment: Experiment,
    /// How the attacker means to earn; nobody attacks without.
    pub strategy: Option<Strategy>,
    /// What makes traders buy or sell.
    pub flow: Flow,
    /// What the attacker knows of what it sees.
    pub sight: Sight,
    /// Orders that the attacker sends before the victim.
    pub copies: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trades {
    /// How much worse than fair value each victim filled, basis points.
    pub slippage: Vec<f64>,
    /// Attacker's profit per victim, basis points times lots.
    pub profit: Vec<f64>,
    /// Attacks in which an order of the attacker came before the victim's.
    pub first: usize,
    /// Attacks in which it had the victim's side right.
    pub right: usize,
    /// Orders that the attacker sent.
    pub sent: usize,
}

impl Trades {
    /// Adds another run.
    pub fn merge(&mut self, other: Self) {
        self.slippage.extend(other.slippage);
        self.profit.extend(other.profit);
        self.first += other.first;
        self.right += other.right;
        self.sent += other.sent;
    }
}

impl Market {
    /// Runs one seed.
    #[must_use]
    pub fn run(&self, seed: u64) -> Trades {
        let mut experiment = self.experiment;
        experiment.attack = Attack::Predate;
        let (plan, mut deals) = self.plan(seed);
        let traffic = Traffic::of(&experiment, plan, seed);
        if self.sight == Sight::Learns {
            let guesses = guesses(&traffic, &deals, Seen::All);
            act_on(&guesses, &mut deals, &traffic);
        }
        let order = sequence(&experiment, &traffic, seed);
        let mut trades = self.settle(&deals, &order, &traffic);
        trades.sent = deals.iter().filter(|deal| deal.attacks()).count();
        trades
    }

    /// Right guesses of an observer of one seed, and all: without an attack.
    #[must_use]
    pub fn told(&self, seen: Seen, seed: u64) -> (u64, u64) {
        let quiet = Self {
            strategy: None,
            ..*self
        };
        let (plan, deals) = quiet.plan(seed);
        let traffic = Traffic::of(&self.experiment, plan, seed);
        let guesses = guesses(&traffic, &deals, seen);
        let right = guesses
            .iter()
            .filter(|(at, buys)| (deals[*at].lots > 0.0) == *buys);
        (right.count() as u64, guesses.len() as u64)
    }

    /// Who sends what when, and what it does; both by time of sending.
    fn plan(&self, seed: u64) -> (Plan, Vec<Deal>) {
        let experiment = &self.experiment;
        let mut rng = Stream::new(seed, Owner::World, Purpose::Market);
        let end_us = START + experiment.seconds * 1_000_000;
        let places = experiment.matrix.places() as u64;
        let side = |rng: &mut Stream| if rng.chance(500) { 1.0 } else { -1.0 };
        let other = |lots| Deal {
            pair: None,
            lots,
            victim: false,
        };
        let mut all: Vec<(u64, Role, usize, Deal)> = Vec::new();
        for _ in 0..experiment.rate * experiment.seconds {
            let at = START + rng.below(end_us - START);
            let place = rng.below(places) as usize;
            let (lots, follows) = self.flow.draw(place, &mut rng);
            let at = match (all.last(), follows) {
                (Some((last, ..)), Some(after)) => last + after,
                _ => at,
            };
            all.push((at, Role::Trader, place, other(lots)));
        }
        let sees_us = experiment.matrix.one_way_us(0, 0);
        for (pair, at) in (START..end_us).step_by(VICTIM_US as usize).enumerate() {
            let at = at + rng.below(VICTIM_US / 4);
            let (wants, follows) = self.flow.draw(0, &mut rng);
            if let Some(after) = follows {
                all.push((at - after, Role::Trader, 0, other(side(&mut rng))));
            }
            let guess = side(&mut rng);
            let deal = |lots, victim| Deal {
                pair: Some(pair),
                lots,
                victim,
            };
            all.push((at, Role::Victim(pair), 0, deal(wants * VICTIM_LOTS, true)));
            let Some(strategy) = self.strategy else {
                continue;
            };
            let side = match self.sight {
                Sight::Reads => wants,
                Sight::Guesses | Sight::Learns => guess,
            };
            let lots = side * strategy.lots() / self.copies as f64;
            for _ in 0..self.copies {
                let front = at + sees_us;
                all.push((front, Role::Attacker(pair, 0), 0, deal(lots, false)));
                let close = front + strategy.close_us();
                all.push((close, Role::Trader, 0, deal(-lots, false)));
            }
        }
        all.sort_by_key(|(at, ..)| *at);
        let plan = all
            .iter()
            .map(|(at, role, place, _)| (*at, *role, *place))
            .collect();
        (plan, all.into_iter().map(|(.., deal)| deal).collect())
    }

    /// Fills the orders in their final order.
    fn settle(&self, deals: &[Deal], order: &[usize], traffic: &Traffic) -> Trades {
        let mut book = Book::default();
        let mut trades = Trades::default();
        let mut attacks: BTreeMap<usize, Account> = BTreeMap::new();
        for &at in order {
            let deal = deals[at];
            let quoted = book.quote(traffic.orders[at].at_us);
            let price = book.fill(deal.lots);
            let Some(pair) = deal.pair else { continue };
            let account = attacks.entry(pair).or_default();
            // What the price was before anybody acted on this victim.
            let before = *account.before.get_or_insert(quoted);
            if deal.victim {
                account.wants = deal.lots.signum();
                trades.slippage.push((price - before) * deal.lots.signum());
                trades.first += usize::from(account.sent > 0);
            } else {
                account.sent += 1;
                if matches!(traffic.orders[at].role, Role::Attacker(..)) {
                    account.bets = deal.lots.signum();
                }
                account.lots += deal.lots;
                account.cash -= price * deal.lots;
            }
        }
        let right = |account: &&Account| account.bets == account.wants;
        trades.right = attacks.values().filter(right).count();
        // What is still open counts at the last price.
        let profit = |account: Account| account.cash + account.lots * book.stays;
        trades.profit = attacks.into_values().map(profit).collect();
        trades
    }
}

/// Turns the attacker's orders to the side that it guesses of each victim.
fn act_on(guesses: &[(usize, bool)], deals: &mut [Deal], traffic: &Traffic) {
    let mut sides = BTreeMap::new();
    for (order, buys) in guesses {
        if let Role::Victim(pair) = traffic.orders[*order].role {
            sides.insert(pair, if *buys { 1.0 } else { -1.0 });
        }
    }
    for (deal, sent) in deals.iter_mut().zip(&traffic.orders) {
        let side = deal.pair.and_then(|pair| sides.get(&pair));
        if let (true, Some(side)) = (deal.attacks(), side) {
            let opens = matches!(sent.role, Role::Attacker(..));
            deal.lots = deal.lots.abs() * if opens { *side } else { -side };
        }
    }
}

/// The attacker's account of one attack.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    before: Option<f64>,
    /// Sides of the victim and of the attacker.
    wants: f64,
    bets: f64,
    sent: usize,
    lots: f64,
    cash: f64,
}

/// The order book: where its middle is, basis points from where it began.
#[derive(Clone, Copy, Debug, Default)]
struct Book {
    /// Fair value.
    stays: f64,
    /// What comes back.
    passes: f64,
    at_us: u64,
}

impl Book {
    /// The middle at a time; times that go back count as the latest.
    fn quote(&mut self, at_us: u64) -> f64 {
        let elapsed = at_us.saturating_sub(self.at_us) as f64;
        self.passes *= (-elapsed / REFILL_US).exp();
        self.at_us = self.at_us.max(at_us);
        self.stays + self.passes
    }

    /// Fills a market order; its average price.
    fn fill(&mut self, lots: f64) -> f64 {
        let moved = lots * IMPACT;
        let price = self.stays + self.passes + moved / 2.0 + HALF_SPREAD * lots.signum();
        self.stays += moved * STAYS;
        self.passes += moved * (1.0 - STAYS);
        price
    }
}

/// Orders as they come out, by their numbers.
fn sequence(experiment: &Experiment, traffic: &Traffic, seed: u64) -> Vec<usize> {
    let f = (experiment.members - 1) / 3;
    let mut rule = experiment.rule.start(experiment.members, f);
    let mut out = Vec::with_capacity(traffic.orders.len());
    for (_, delta) in lanes::cuts(experiment, traffic, seed) {
        let emission = rule.on_cut(&delta);
        out.extend(
            emission
                .ordered
                .iter()
                .map(|order| traffic.index[&order.ct_id]),
        );
    }
    out
}

/// Makers that cancel on public news against takers that act on the same news.
#[derive(Clone, Copy, Debug)]
pub struct Snipers {
    /// Committee, network and rule; nobody lies.
    pub experiment: Experiment,
    /// Takers' orders count as so much later in every lane, µs.
    pub taker_delay_us: u64,
    /// The maker is slower by this, µs.
    pub slower_us: u64,
    /// Where the taker is; the maker is in place 0.
    pub place: usize,
}

impl Snipers {
    /// Runs one seed: cancels that came first, and all.
    #[must_use]
    pub fn run(&self, seed: u64) -> (u64, u64) {
        let mut experiment = self.experiment;
        experiment.attack = Attack::None;
        let mut rng = Stream::new(seed, Owner::World, Purpose::Market);
        let end_us = START + experiment.seconds * 1_000_000;
        let mut plan: Plan = Vec::new();
        for (pair, at) in (START..end_us).step_by(NEWS_US as usize).enumerate() {
            // Both react within a tenth of a millisecond of their usual time.
            let (cancel, take) = (rng.below(100), rng.below(100));
            plan.push((at + self.slower_us + cancel, Role::Victim(pair), 0));
            plan.push((at + take, Role::Attacker(pair, 0), self.place));
        }
        plan.sort_by_key(|(at, ..)| *at);
        let mut traffic = Traffic::of(&experiment, plan, seed);
        for order in &mut traffic.orders {
            if matches!(order.role, Role::Attacker(..)) {
                order
                    .arrivals
                    .iter_mut()
                    .flatten()
                    .for_each(|at| *at += self.taker_delay_us);
            }
        }
        let mut first: BTreeMap<usize, bool> = BTreeMap::new();
        for at in sequence(&experiment, &traffic, seed) {
            match traffic.orders[at].role {
                Role::Victim(pair) => drop(first.entry(pair).or_insert(true)),
                Role::Attacker(pair, _) => drop(first.entry(pair).or_insert(false)),
                Role::Trader | Role::Chain => {}
            }
        }
        let survived = first.values().filter(|cancel| **cancel).count();
        (survived as u64, first.len() as u64)
    }
}

/// News comes so often, µs.
const NEWS_US: u64 = 50_000;

/// Mean and half of its 95 % confidence interval (normal).
#[must_use]
pub fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>();
    (mean, 1.96 * (spread / (n - 1.0).max(1.0) / n).sqrt())
}

/// A quantile, per mille; 0 of nothing.
#[must_use]
pub fn quantile(values: &[f64], per_mille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = sorted.len().saturating_sub(1) * per_mille / 1_000;
    sorted.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: the book of one sandwich around one victim.
    #[test]
    fn a_sandwich_around_a_victim_costs_it_what_the_attacker_moved() {
        let mut book = Book::default();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(book.fill(20.0), 0.6));
        assert!(near(book.quote(0), 1.0));
        assert!(near(book.fill(20.0), 1.6));
        assert!(near(book.fill(-20.0), 1.4));
        assert!(near(book.stays, 0.5) && near(book.passes, 0.5));
        book.quote(500_000);
        assert!(near(book.passes, 0.5 / std::f64::consts::E));
        // Time does not go back.
        assert!(near(book.quote(0), book.stays + book.passes));
    }

    #[test]
    fn figures_of_few_values() {
        assert_eq!(mean(&[]), (0.0, 0.0));
        assert_eq!(mean(&[2.0]), (2.0, 0.0));
        let (at, half) = mean(&[1.0, 3.0]);
        assert!(at == 2.0 && (half - 1.96).abs() < 1e-9);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 500), 2.0);
    }
}
