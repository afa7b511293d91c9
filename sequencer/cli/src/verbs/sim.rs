//! `fairlane sim`: the simulator, the same code as the `simnet` binary.

use fairlane_simnet::cli::{self, SimVerb};

use crate::exit::{Exit, Outcome, Problem};

/// Runs a verb of the simulator.
pub fn run(verb: &SimVerb) -> Outcome {
    match cli::run(verb, concat!("fairlane sim ", env!("CARGO_PKG_VERSION"))) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::new(
            Exit::Failed,
            "a claim does not hold, or a rule is broken",
        )),
        Err(error) => Err(Problem::new(Exit::Usage, error.to_string())),
    }
}
