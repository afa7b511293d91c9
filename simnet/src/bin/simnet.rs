//! `simnet`: whole committees on virtual time.

use std::process::ExitCode;

use clap::Parser;
use fairlane_simnet::cli::{SimVerb, run};

/// A run is millions of small allocations by one thread: an eighth of its time with many members.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whole committees of real replicas in one thread, on virtual time, with seeded faults.
#[derive(Debug, Parser)]
#[command(
    name = "simnet",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Exit codes: 0 nothing found, 1 a rule is broken, 2 usage.")]
struct Cli {
    #[command(subcommand)]
    verb: SimVerb,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.verb, concat!("simnet ", env!("CARGO_PKG_VERSION"))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("simnet: {error}");
            ExitCode::from(2)
        }
    }
}
