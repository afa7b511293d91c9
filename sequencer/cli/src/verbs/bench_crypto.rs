//! `fairlane bench crypto`: what a member pays for an order, in processor time of one
//! thread, for both schemes in one run ([`fairlane_encryption::bench`]).

use fairlane_encryption::bench::{Figure, backend, figures, ratio};
use serde_json::{Value, json};

use crate::exit::{Outcome, Problem};
use crate::measure::{round, thread_nanos};
use crate::seed;
use crate::term::Term;

/// Runs it.
pub fn run(term: Term) -> Outcome {
    let mut rng = seed::rng("bench crypto")?;
    let line = |figure: &Figure, of: &[Figure]| {
        term.note(format_args!(
            "{:>10} {:<10} n={:<3} batch={:<3} {:>10.1} µs per order and member, {:>6.1}× under threshold_crypto",
            figure.scheme,
            figure.mode,
            figure.n,
            figure.batch,
            figure.micros,
            ratio(figure, of).unwrap_or(f64::NAN)
        ));
    };
    let told = |of: &[Figure]| of.iter().for_each(|figure| line(figure, of));
    let figures = figures(&thread_nanos, &mut rng, told).map_err(Problem::failed)?;
    let rows: Vec<_> = figures.iter().map(|figure| row(figure, &figures)).collect();
    term.result(&json!({ "crypto": rows }), String::new);
    Ok(())
}

fn row(figure: &Figure, all: &[Figure]) -> Value {
    let backend = match figure.scheme {
        "tdh2" => backend(),
        _ => "threshold_crypto",
    };
    json!({
        "scheme": figure.scheme,
        "mode": figure.mode,
        "backend": backend,
        "n": figure.n,
        "batch": figure.batch,
        "us_per_order_member": round(figure.micros),
        "ratio_to_threshold_crypto": ratio(figure, all).map(round),
    })
}
