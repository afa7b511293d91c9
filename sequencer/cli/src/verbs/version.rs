//! `fairlane version`.

use crate::exit::Outcome;
use crate::term::Term;

/// Prints the version.
pub fn run(term: Term) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let format = fairlane_node::store::FORMAT_VERSION;
    let value = serde_json::json!({ "version": version, "api": 1, "database_format": format });
    term.result(&value, || {
        format!("fairlane {version} (api 1, database format {format})")
    });
    Ok(())
}
