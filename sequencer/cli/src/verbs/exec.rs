//! `fairlane exec`: the clearing house without a committee. `bench` measures it on one core,
//! beside two order books; `diff` holds those of two members against each other.

use std::path::Path;

use fairlane_execution::bench::measure;
use fairlane_node::exec_diff::{self, Difference};
use fairlane_node::home::Home;
use fairlane_node::store::{RocksStore, StoreOptions};

use crate::exit::{Exit, Outcome, Problem};
use crate::measure::thread_nanos;
use crate::term::Term;

/// Measures it.
pub fn bench(term: Term) -> Outcome {
    let figures = measure(&thread_nanos).map_err(Problem::failed)?;
    for line in figures.lines() {
        if term.json() {
            term.note(line);
        } else {
            term.line(line);
        }
    }
    if term.json() {
        term.line(figures.json());
    }
    Ok(())
}

/// Compares two folders.
pub fn diff(a: &Path, b: &Path, term: Term) -> Outcome {
    let open = |path: &Path| -> Outcome<(Home, RocksStore)> {
        let home = Home::open(path).map_err(Problem::preflight)?;
        // It would be made, and be the same as anything.
        if !home.data_path().is_dir() {
            let what = format!("{}: no data in this folder", path.display());
            return Err(Problem::preflight(what));
        }
        let mut options = StoreOptions::new(home.data_path());
        options.reserve_bytes = 0;
        let store = RocksStore::open(&options).map_err(Problem::preflight)?;
        Ok((home, store))
    };
    let (a, b) = (open(a)?, open(b)?);
    let compared = exec_diff::diff((&a.0, a.1.reader()), (&b.0, b.1.reader()));
    let compared = compared.map_err(Problem::failed)?;
    let (kind, height, sides) = match &compared.first {
        None => ("none", None, Vec::new()),
        Some(Difference::Block(height, sides)) => ("block", Some(height), shown(sides)),
        Some(Difference::Receipt(height, sides)) => ("receipt", Some(height), shown(sides)),
        Some(Difference::Event(height, sides)) => ("event", Some(height), shown(sides)),
    };
    let value = serde_json::json!({ "diff": {
        "same": compared.same(), "height": compared.height.0, "genesis_same": compared.genesis_same,
        "state": compared.state.map(|height| height.0), "kind": kind,
        "first": height.map(|height| height.0), "sides": sides, "snapshots": compared.snapshots,
    }});
    term.result(&value, || {
        let snapshots = compared.snapshots.map(|fits| match fits {
            None => "not compared",
            Some(true) => "fits",
            Some(false) => "DOES NOT FIT",
        });
        let mut text = format!(
            "compared to height {}; snapshots: {}, {}",
            compared.height, snapshots[0], snapshots[1]
        );
        if !compared.genesis_same {
            text.push_str("\nthe two have different execution.toml");
        }
        if let Some(height) = compared.state {
            text.push_str(&format!("\nthe state roots differ from height {height} on"));
        }
        if let Some(height) = height {
            text.push_str(&format!("\nfirst {kind} that differs, at height {height}:"));
            for side in &sides {
                text.push_str(&format!("\n  {side}"));
            }
        }
        text
    });
    if compared.same() {
        return Ok(());
    }
    Err(Problem::new(Exit::Verification, "the two folders differ"))
}

fn shown(sides: &[impl std::fmt::Debug]) -> Vec<String> {
    sides.iter().map(|side| format!("{side:?}")).collect()
}
