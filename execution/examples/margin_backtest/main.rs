//! Back-test of the predicted margin on price series, against simpler models on the same days.
//!
//! `cargo run -p fairlane-execution --example margin_backtest -- [--svg FILE] NAME.csv…`
//!
//! A file has one `date,price` a line, oldest first. Each model says after every price how far
//! the next may be, at 99 %, both ways; what counts is how often it is further. Prints a table
//! for the documents. Exit code 1 if the clearing house's model misses a bar of EXECUTION §4 on
//! a series: exceeded 0.7 to 1.3 %, Kupiec p > 0.05, Christoffersen p > 0.01.

#![allow(clippy::unwrap_used)]
// Statistics, not the clearing house.
#![allow(clippy::disallowed_types)]

mod models;
mod plot;
mod score;

use std::process::ExitCode;

use models::{Constant, Ewma, Integer, Model};
use score::Score;

/// Prices that no model is judged on: windows fill, variances settle.
const WARM_UP: usize = 1_300;
/// One move in a hundred may be further than a margin.
const LEVEL: f64 = 0.01;
/// What is counted in: a price has at most six digits after its point.
const UNITS: u64 = 1_000_000;

/// A series: name and prices in [`UNITS`].
struct Series {
    name: String,
    prices: Vec<u64>,
}

fn price(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 6 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole
        .checked_mul(UNITS)?
        .checked_add(part)
        .filter(|p| *p > 0)
}

fn read(path: &str) -> Result<Series, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let line = |(at, line): (usize, &str)| {
        let price = line.rsplit_once(',').and_then(|(_, text)| price(text));
        price.ok_or_else(|| format!("{path}:{}: no price in {line:?}", at + 1))
    };
    let prices: Vec<u64> = text
        .lines()
        .enumerate()
        .map(line)
        .collect::<Result<_, _>>()?;
    if prices.len() < WARM_UP + 500 {
        return Err(format!("{path}: fewer than {} prices", WARM_UP + 500));
    }
    let file = std::path::Path::new(path).file_stem();
    let name = file.map_or_else(|| path.into(), |stem| stem.to_string_lossy().into_owned());
    Ok(Series { name, prices })
}

/// Moves after the warm-up and the margins said before them, as parts of the price.
fn run(series: &Series, model: &mut dyn Model) -> (Vec<f64>, Vec<f64>) {
    let (mut moves, mut margins) = (Vec::new(), Vec::new());
    for (at, pair) in series.prices.windows(2).enumerate() {
        model.see(pair[0]);
        if at >= WARM_UP {
            margins.push(model.margin());
            moves.push(pair[1].abs_diff(pair[0]) as f64 / pair[0] as f64);
        }
    }
    (moves, margins)
}

fn models() -> Vec<Box<dyn Model>> {
    vec![
        Box::new(Constant::default()),
        Box::new(Ewma::new("EWMA 0.94, Gaussian", false)),
        Box::new(Ewma::new("EWMA 0.94, filtered history", true)),
        Box::new(Integer::new("**integer, shift 4, filtered history**", 4)),
        Box::new(Integer::new("integer, shift 5, filtered history", 5)),
        Box::new(Integer::limited(
            "integer, shift 4, +1 % and −0.2 % a day at most",
        )),
    ]
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let svg = args.iter().position(|arg| arg == "--svg").map(|at| {
        let taken: Vec<String> = args.drain(at..(at + 2).min(args.len())).collect();
        taken.get(1).cloned().unwrap_or_default()
    });
    if args.is_empty() || svg.as_deref() == Some("") {
        eprintln!("usage: margin_backtest [--svg FILE] NAME.csv…");
        return ExitCode::from(2);
    }
    let mut missed = Vec::new();
    println!("{}", Score::HEAD);
    for (at, path) in args.iter().enumerate() {
        let series = match read(path) {
            Ok(series) => series,
            Err(error) => {
                eprintln!("margin_backtest: {error}");
                return ExitCode::from(2);
            }
        };
        let mut plotted: Vec<(String, Vec<f64>)> = Vec::new();
        for mut model in models() {
            let (moves, margins) = run(&series, &mut *model);
            let score = Score::of(&moves, &margins, LEVEL);
            println!("{}", score.row(&series.name, model.name()));
            if model.is_ours() {
                let bars = score.missed();
                missed.extend(bars.iter().map(|bar| format!("{}: {bar}", series.name)));
            }
            if model.is_ours() || plotted.is_empty() {
                plotted.push((model.name().replace('*', ""), margins));
            }
            if let (Some(file), true, true) = (&svg, at == 0, model.is_ours()) {
                std::fs::write(file, plot::draw(&series.name, &moves, &plotted)).unwrap();
            }
        }
    }
    for bar in &missed {
        eprintln!("margin_backtest: {bar}");
    }
    ExitCode::from(u8::from(!missed.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly_and_nothing_else_is_one() {
        assert_eq!(price("1228.099976"), Some(1_228_099_976));
        assert_eq!(price("25.5"), Some(25_500_000));
        assert_eq!(price("7"), Some(7_000_000));
        for bad in [
            "",
            ".",
            "0",
            "-1",
            "1.2345678",
            "1.-5",
            "1e5",
            "99999999999999999999",
        ] {
            assert_eq!(price(bad), None, "{bad}");
        }
    }
}
