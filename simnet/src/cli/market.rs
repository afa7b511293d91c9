//! `market`: the market experiment as tables, plots and lines of JSON.

use std::path::Path;

use super::{MarketArgs, MarketPart, SimError};
use crate::fairness::leak::{Flow, Seen};
use crate::fairness::market::{Market, Sight, Snipers, Strategy, Trades, mean, quantile};
use crate::fairness::{Attack, Experiment, FanOut, Matrix, Rule};
use crate::report::{Bars, Plot, Series, Style, picture};

/// Rules compared, and their names in tables.
const RULES: [(&str, &str); 3] = [
    ("leader", "leader FIFO"),
    ("arrival", "arrival"),
    ("strong", "strong"),
];
/// Copies of the attacker's order when it spams.
const COPIES: [usize; 3] = [1, 2, 4];
/// Delays of takers, ms.
const DELAYS_MS: [u64; 7] = [0, 1, 2, 5, 10, 20, 50];
/// Places of takers; the maker is in the first.
const TAKERS: [usize; 3] = [0, 1, 2];
/// The maker reacts so much later than the taker, µs.
const SLOWER_US: u64 = 2_000;

/// Runs all of it.
pub(super) fn run(args: &MarketArgs) -> Result<bool, SimError> {
    let matrix = Matrix::from_name(&args.matrix);
    let matrix = matrix.ok_or_else(|| SimError::Unknown(args.matrix.clone()))?;
    let lab = Lab {
        experiment: Experiment {
            members: args.members,
            bad: 0,
            matrix,
            rule: Rule::from_name("strong").ok_or_else(|| SimError::Unknown("strong".into()))?,
            fan_out: FanOut::All,
            attack: Attack::None,
            skew_us: 500,
            rate: args.rate,
            seconds: args.seconds,
        },
        seeds: args.first..args.first.saturating_add(args.seeds),
    };
    let wanted = |part| args.part.is_none_or(|only| only == part);
    let mut plots = Vec::new();
    if wanted(MarketPart::Attacks) {
        let attacks = lab.attacks();
        println!("{attacks}");
        plots.push(("market-profit.svg", attacks.profit_plot().panel()));
        plots.push(("market-slippage.svg", attacks.slippage_bars().panel()));
    }
    if wanted(MarketPart::Spam) {
        println!("{}", lab.spam());
    }
    if wanted(MarketPart::Leak) {
        let learners = lab.learners();
        println!("{}\n{learners}", lab.told());
        plots.push(("market-leak.svg", learners.plot().panel()));
    }
    if wanted(MarketPart::Snipers) {
        let snipers = lab.snipers();
        println!("{snipers}");
        plots.push(("market-snipers.svg", snipers.plot().panel()));
    }
    if let Some(folder) = &args.out {
        for (name, panel) in plots {
            write(folder, name, &picture(&[panel]))?;
        }
    }
    Ok(true)
}

fn write(folder: &Path, name: &str, svg: &str) -> Result<(), SimError> {
    let path = folder.join(name);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, svg));
    written.map_err(|error| SimError::File { path, error })
}

/// What is the same in all runs.
struct Lab {
    experiment: Experiment,
    seeds: std::ops::Range<u64>,
}

/// A row of the table of attacks.
struct Row {
    sight: Sight,
    rule: &'static str,
    bad: usize,
    strategy: Option<Strategy>,
    trades: Trades,
}

struct Attacks(Vec<Row>);
struct Spam(Vec<(&'static str, usize, Trades)>);
/// Right guesses and all, by flow and by what is seen.
struct Told(Vec<(Flow, Vec<(u64, u64)>)>);
/// Sandwiches with f bad lanes whose side is guessed, by flow, guess and rule.
struct Learners(Vec<(Flow, Sight, &'static str, Trades)>);
struct Sniped {
    rows: Vec<(&'static str, usize, Vec<f64>)>,
}

impl Lab {
    fn market(
        &self,
        rule: &str,
        bad: usize,
        strategy: Option<Strategy>,
        sight: Sight,
        copies: usize,
    ) -> Trades {
        self.sum(rule, bad, strategy, (Flow::Coin, sight), copies)
    }

    fn sum(
        &self,
        rule: &str,
        bad: usize,
        strategy: Option<Strategy>,
        (flow, sight): (Flow, Sight),
        copies: usize,
    ) -> Trades {
        let mut experiment = Experiment {
            bad,
            ..self.experiment
        };
        if let Some(rule) = Rule::from_name(rule) {
            experiment.rule = rule;
        }
        let market = Market {
            experiment,
            strategy,
            flow,
            sight,
            copies,
        };
        let mut sum = Trades::default();
        for seed in self.seeds.clone() {
            sum.merge(market.run(seed));
        }
        sum
    }

    /// Lanes that lie: 0, 1, 2 and f.
    fn bad(&self) -> Vec<usize> {
        let mut bad = vec![0, 1, 2, (self.experiment.members - 1) / 3];
        bad.sort_unstable();
        bad.dedup();
        bad
    }

    fn attacks(&self) -> Attacks {
        let mut rows = Vec::new();
        for (rule, name) in RULES {
            let trades = self.market(rule, 0, None, Sight::Guesses, 1);
            rows.push(Row {
                sight: Sight::Guesses,
                rule: name,
                bad: 0,
                strategy: None,
                trades,
            });
        }
        for strategy in Strategy::ALL {
            for sight in [Sight::Reads, Sight::Guesses] {
                for (rule, name) in RULES {
                    for bad in self.bad() {
                        let trades = self.market(rule, bad, Some(strategy), sight, 1);
                        let strategy = Some(strategy);
                        rows.push(Row {
                            sight,
                            rule: name,
                            bad,
                            strategy,
                            trades,
                        });
                    }
                }
            }
        }
        Attacks(rows)
    }

    /// Blind front-runners with several copies, one bad lane.
    fn spam(&self) -> Spam {
        let mut rows = Vec::new();
        for (rule, name) in RULES {
            for copies in COPIES {
                let strategy = Some(Strategy::FrontRun);
                rows.push((
                    name,
                    copies,
                    self.market(rule, 1, strategy, Sight::Guesses, copies),
                ));
            }
        }
        Spam(rows)
    }

    fn told(&self) -> Told {
        let counts = |flow, seen| {
            let market = Market {
                experiment: self.experiment,
                strategy: None,
                flow,
                sight: Sight::Learns,
                copies: 1,
            };
            let counts = self.seeds.clone().map(|seed| market.told(seen, seed));
            counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        };
        let row = |flow| (flow, Seen::ALL.map(|seen| counts(flow, seen)).to_vec());
        Told(Flow::ALL.map(row).to_vec())
    }

    fn learners(&self) -> Learners {
        let mut rows = Vec::new();
        let f = (self.experiment.members - 1) / 3;
        for flow in Flow::ALL {
            for sight in [Sight::Guesses, Sight::Learns] {
                for (rule, name) in RULES {
                    let sandwich = Some(Strategy::Sandwich);
                    let trades = self.sum(rule, f, sandwich, (flow, sight), 1);
                    rows.push((flow, sight, name, trades));
                }
            }
        }
        Learners(rows)
    }

    fn snipers(&self) -> Sniped {
        let mut rows = Vec::new();
        for (rule, name) in &RULES[1..] {
            let mut experiment = self.experiment;
            if let Some(rule) = Rule::from_name(rule) {
                experiment.rule = rule;
            }
            for place in TAKERS {
                let survived = DELAYS_MS.map(|delay| {
                    let snipers = Snipers {
                        experiment,
                        taker_delay_us: delay * 1_000,
                        slower_us: SLOWER_US,
                        place,
                    };
                    let counts = self.seeds.clone().map(|seed| snipers.run(seed));
                    let (hit, all) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                    100.0 * hit as f64 / f64::max(all as f64, 1.0)
                });
                rows.push((*name, place, survived.to_vec()));
            }
        }
        Sniped { rows }
    }
}

const fn sees(sight: Sight) -> &'static str {
    match sight {
        Sight::Reads => "plaintext",
        Sight::Guesses | Sight::Learns => "encrypted",
    }
}

const fn guesses_by(sight: Sight) -> &'static str {
    match sight {
        Sight::Reads => "reading",
        Sight::Guesses => "a coin",
        Sight::Learns => "what it learned",
    }
}

/// A share in per cent, and half of its 95 % confidence interval (normal).
fn share(right: u64, all: u64) -> String {
    let all = f64::max(all as f64, 1.0);
    let share = right as f64 / all;
    let half = 1.96 * (share * (1.0 - share) / all).sqrt();
    format!("{:.1} ± {:.1}", 100.0 * share, 100.0 * half)
}

impl Attacks {
    fn sandwiches(&self) -> impl Iterator<Item = &Row> {
        let sandwich = Some(Strategy::Sandwich);
        self.0.iter().filter(move |row| row.strategy == sandwich)
    }

    fn profit_plot(&self) -> Plot {
        let mut bad: Vec<usize> = self.sandwiches().map(|row| row.bad).collect();
        bad.sort_unstable();
        bad.dedup();
        let mut series: Vec<Series> = Vec::new();
        for row in self.sandwiches() {
            let name = format!("{}, {}", row.rule, sees(row.sight));
            let x = bad.iter().position(|b| *b == row.bad).unwrap_or(0) as f64;
            let point = (x, mean(&row.trades.profit).0);
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series {
                    name,
                    points: vec![point],
                    style: Style::Dots,
                }),
            }
        }
        Plot {
            title: "Attacker's profit per sandwich".to_owned(),
            x: "bad lanes".to_owned(),
            y: "basis points × lots".to_owned(),
            x_names: bad.iter().map(usize::to_string).collect(),
            series,
            from_zero: true,
            ..Plot::default()
        }
    }

    fn slippage_bars(&self) -> Bars {
        let of = |sight: Sight| self.sandwiches().filter(move |row| row.sight == sight);
        let values = |sight: Sight| {
            let slippage = of(sight).map(|row| quantile(&row.trades.slippage, 950));
            (sees(sight).to_owned(), slippage.collect())
        };
        Bars {
            title: "Victims' slippage under sandwiches, 95th percentile".to_owned(),
            x: "basis points".to_owned(),
            groups: of(Sight::Reads)
                .map(|row| format!("{}, {} bad", row.rule, row.bad))
                .collect(),
            series: vec![values(Sight::Reads), values(Sight::Guesses)],
        }
    }
}

impl std::fmt::Display for Attacks {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            out,
            "| attack | orders are | rule | bad lanes | victims | attacker first, % | slippage p50 / p95 | profit per attack |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.0 {
            let trades = &row.trades;
            let (profit, half) = mean(&trades.profit);
            let attack = row.strategy.map_or("none", Strategy::name);
            let profit = match row.strategy {
                None => "–".to_owned(),
                Some(_) => format!("{profit:.2} ± {half:.2}"),
            };
            writeln!(
                out,
                "| {attack} | {} | {} | {} | {} | {:.1} | {:.2} / {:.2} | {profit} |",
                row.strategy.map_or("–", |_| sees(row.sight)),
                row.rule,
                row.bad,
                trades.slippage.len(),
                100.0 * trades.first as f64 / f64::max(trades.slippage.len() as f64, 1.0),
                quantile(&trades.slippage, 500),
                quantile(&trades.slippage, 950),
            )?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Spam {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            out,
            "| rule | copies | one of them first, % | return per attack |"
        )?;
        writeln!(out, "|---|---|---|---|")?;
        for (rule, copies, trades) in &self.0 {
            let (profit, half) = mean(&trades.profit);
            let first = 100.0 * trades.first as f64 / f64::max(trades.slippage.len() as f64, 1.0);
            writeln!(
                out,
                "| {rule} | {copies} | {first:.1} | {profit:.2} ± {half:.2} |"
            )?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "| right guesses of the side, % |")?;
        for seen in Seen::ALL {
            write!(out, " {} |", seen.name())?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(Seen::ALL.len()))?;
        for (flow, counts) in &self.0 {
            write!(out, "| {} |", flow.name())?;
            for (right, all) in counts {
                write!(out, " {} |", share(*right, *all))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Learners {
    fn plot(&self) -> Plot {
        let mut series: Vec<Series> = Vec::new();
        for (flow, sight, rule, trades) in &self.0 {
            let name = format!("{rule}, by {}", guesses_by(*sight));
            let x = Flow::ALL.iter().position(|other| other == flow);
            let point = (x.unwrap_or(0) as f64, mean(&trades.profit).0);
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series {
                    name,
                    points: vec![point],
                    style: Style::Dots,
                }),
            }
        }
        Plot {
            title: "Attacker's profit per sandwich around sealed orders, f bad lanes".to_owned(),
            x: "what traders have".to_owned(),
            y: "basis points × lots".to_owned(),
            x_names: Flow::ALL
                .iter()
                .map(|flow| flow.name().to_owned())
                .collect(),
            series,
            from_zero: true,
            ..Plot::default()
        }
    }
}

impl std::fmt::Display for Learners {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            out,
            "| traders have | the attacker goes by | rule | right, % | attacker first, % | profit per attack |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for (flow, sight, rule, trades) in &self.0 {
            let all = trades.slippage.len() as u64;
            let (profit, half) = mean(&trades.profit);
            writeln!(
                out,
                "| {} | {} | {rule} | {} | {:.1} | {profit:.2} ± {half:.2} |",
                flow.name(),
                guesses_by(*sight),
                share(trades.right as u64, all),
                100.0 * trades.first as f64 / f64::max(all as f64, 1.0),
            )?;
        }
        Ok(())
    }
}

impl Sniped {
    fn plot(&self) -> Plot {
        let series = self.rows.iter().map(|(rule, place, shares)| Series {
            name: format!("{rule}, taker in place {place}"),
            points: (0..).map(f64::from).zip(shares.iter().copied()).collect(),
            style: Style::Dots,
        });
        Plot {
            title: "Cancels that come before the sniper, maker 2 ms slower".to_owned(),
            x: "taker delay, ms".to_owned(),
            y: "per cent".to_owned(),
            x_names: DELAYS_MS.iter().map(u64::to_string).collect(),
            series: series.collect(),
            from_zero: true,
            y_range: Some((0.0, 100.0)),
            ..Plot::default()
        }
    }
}

impl std::fmt::Display for Sniped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "| rule | taker in place |")?;
        for delay in DELAYS_MS {
            write!(out, " {delay} ms |")?;
        }
        writeln!(out, "\n|---|---|{}", "---|".repeat(DELAYS_MS.len()))?;
        for (rule, place, shares) in &self.rows {
            write!(out, "| {rule} | {place} |")?;
            for share in shares {
                write!(out, " {share:.0} |")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
