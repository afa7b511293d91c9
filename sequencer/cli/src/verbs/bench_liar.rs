//! `fairlane bench --liar F --against-clean RUNS`: what liars cost at load (THREATS A6).
//!
//! Committees with and without them run in alternation under the same load, so that both
//! meet the same machine; medians are compared. Every run must hold what a single one must:
//! nothing lost or doubled, one root, and exactly the liars convicted.

use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::measure::{percentiles, round};
use crate::term::Term;

/// Figures that are compared.
const FIGURES: [&str; 4] = [
    "p50_ms",
    "p99_ms",
    "achieved_per_s",
    "cpu_s_per_1k_orders_per_member",
];

/// Runs it.
pub async fn run(args: &BenchArgs, runs: u8, term: Term) -> Outcome {
    let (mut clean, mut lied) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        clean.push(super::bench::once(args, 0, term).await?);
        lied.push(super::bench::once(args, args.liar, term).await?);
    }
    let compared = compare(&clean, &lied);
    let value = json!({ "bench_liar": {
        "members": args.members, "liars": args.liar,
        "lie": args.lie.map_or("by turns", |lie| lie.word()),
        "scheme": args.scheme.name(), "rule": args.order.rule.name(),
        "offered_per_s": args.rate, "runs": runs, "same_root": true, "lost": 0,
        "figures": compared, "clean": clean, "lied": lied,
    }});
    term.result(&value, || {
        let row = |name: &str| {
            let figure = &compared[name];
            format!(
                "\n  {name}: clean {}, with liars {}, ratio {}, median of pairs {}",
                figure["clean"], figure["lied"], figure["ratio"], figure["pairs"]["median"]
            )
        };
        let rows: String = FIGURES.iter().map(|name| row(name)).collect();
        format!(
            "{} {} of {} members lie at {}/s · medians of {runs} runs each{rows}",
            term.bold("bench"),
            args.liar,
            args.members,
            args.rate
        )
    });
    let ratio = compared["p50_ms"]["pairs"]["median"].as_f64();
    match (args.ratio_max, ratio) {
        (None, _) => Ok(()),
        (Some(most), Some(ratio)) if ratio > 0.0 && ratio <= most => Ok(()),
        (Some(most), ratio) => {
            let ratio = ratio.unwrap_or_default();
            let what = format!("p50 with liars is {ratio} times that without; {most} was allowed");
            Err(Problem::new(Exit::Failed, what))
        }
    }
}

/// The medians of each figure, and with liars over without.
fn compare(clean: &[Value], lied: &[Value]) -> Value {
    let figures = FIGURES.iter().map(|name| {
        let pairs = pairs(clean, lied, name);
        let (clean, lied) = (median(clean, name), median(lied, name));
        let figure = json!({
            "clean": clean, "lied": lied, "ratio": ratio(clean, lied), "pairs": pairs,
        });
        ((*name).to_owned(), figure)
    });
    Value::Object(figures.collect())
}

/// Of runs that follow each other, which meet the same machine more than others do.
fn pairs(clean: &[Value], lied: &[Value], name: &str) -> Value {
    let both = clean.iter().zip(lied);
    let ratios = both.filter_map(|(clean, lied)| {
        let (clean, lied) = (clean[name].as_f64()?, lied[name].as_f64()?);
        Some(ratio(clean, lied))
    });
    let ratios: Vec<f64> = ratios.collect();
    let median = percentiles(ratios.clone()).p50_ms;
    json!({ "ratios": ratios, "median": median })
}

fn ratio(clean: f64, lied: f64) -> f64 {
    if clean > 0.0 {
        round(lied / clean)
    } else {
        0.0
    }
}

fn median(runs: &[Value], name: &str) -> f64 {
    percentiles(runs.iter().filter_map(|run| run[name].as_f64()).collect()).p50_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared() {
        let runs = |values: [f64; 3]| values.map(|ms| json!({ "p50_ms": ms }));
        let compared = compare(&runs([9.0, 50.0, 10.0]), &runs([12.0, 11.0, 90.0]));
        let figure = &compared["p50_ms"];
        assert_eq!(figure["clean"], 10.0);
        assert_eq!(figure["lied"], 12.0);
        assert_eq!(figure["ratio"], 1.2);
        assert_eq!(figure["pairs"]["ratios"], json!([1.33, 0.22, 9.0]));
        assert_eq!(figure["pairs"]["median"], 1.33);
        assert_eq!(compared["p99_ms"]["ratio"], 0.0);
    }
}
