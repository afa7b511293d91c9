//! `fairlane`: the one binary. A file per verb.

mod addresses;
mod args;
mod cards;
mod ceremony_args;
mod children;
mod committee_args;
mod dev_markets;
mod exec_args;
mod exit;
mod follow_args;
mod handing;
mod local;
mod measure;
mod seed;
mod seeking;
mod term;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::exit::Exit;
use crate::term::Term;

fn main() -> ExitCode {
    // Usage errors end here with code 2; --help and --version with 0.
    let cli = Cli::parse();
    let term = Term::new(cli.json);
    match verbs::run(cli, term) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            term.note(format!("{} {}", term.red("error:"), problem.what));
            if let Some(next) = &problem.next {
                term.note(format!("  {next}"));
            }
            if term.json() && problem.exit != Exit::Usage {
                term.line(problem.to_json());
            }
            ExitCode::from(problem.exit as u8)
        }
    }
}
