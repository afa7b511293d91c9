//! `fairlane completions`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Outcome;

/// Prints the script.
pub fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fairlane", &mut script);
    crate::term::Term::new(false).line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
