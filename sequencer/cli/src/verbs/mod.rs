//! One file per verb.

mod account;
mod attested;
mod audit;
mod bench;
mod bench_crypto;
mod bench_liar;
mod blind;
mod ceremony;
mod committee;
mod completions;
mod config;
mod devnet;
mod docs;
mod doctor;
mod exec;
mod exec_change;
mod exec_follow;
mod follow;
mod input;
mod keys;
mod node;
mod sequence_out;
mod sim;
mod status;
mod submit;
mod testnet;
mod trust;
mod verify;
mod version;

use std::future::Future;

use crate::args::{BenchWhat, Cli, Verb};
use crate::exec_args::ExecVerb;
use crate::exit::{Outcome, Problem};
use crate::term::Term;

/// Runs a command line. Any verb may hold keys, passphrases, or orders in plain.
pub fn run(cli: Cli, term: Term) -> Outcome {
    fairlane_node::process::keep_secrets_in()?;
    let log = cli.log.as_deref();
    match cli.verb {
        Verb::Node(args) => node::run(args, log),
        Verb::Devnet(args) => {
            quiet_log(log)?;
            blocking(devnet::run(args, term))
        }
        Verb::Bench(args) if args.what == Some(BenchWhat::Crypto) => bench_crypto::run(term),
        Verb::Bench(args) => {
            quiet_log(log)?;
            blocking(bench::run(args, term))
        }
        Verb::Submit(args) => {
            quiet_log(log)?;
            blocking(submit::run(args, term))
        }
        Verb::Follow(args) => {
            quiet_log(log)?;
            match args.committee_key {
                Some(key) => blocking(async move { attested::follow(&args, key, term).await }),
                None => blocking(follow::run(args, term)),
            }
        }
        Verb::Ceremony(verb) => ceremony::run(verb, term),
        Verb::Committee(verb) => blocking(committee::run(verb, term)),
        Verb::Status(args) => blocking(status::run(args, term)),
        Verb::Doctor(args) => blocking(doctor::run(args, term)),
        Verb::Account(args) => blocking(account::run(args, term)),
        Verb::Audit(args) => blocking(audit::run(args, term)),
        Verb::Blind(args) => blocking(blind::run(args, term)),
        Verb::Exec(ExecVerb::Change(args)) => {
            quiet_log(log)?;
            blocking(exec_change::run(args, term))
        }
        Verb::Exec(ExecVerb::Follow(args)) => {
            quiet_log(log)?;
            blocking(exec_follow::run(args, term))
        }
        Verb::Exec(ExecVerb::Bench) => exec::bench(term),
        Verb::Exec(ExecVerb::Diff { a, b }) => exec::diff(&a, &b, term),
        Verb::Testnet(verb) => testnet::run(verb, term),
        Verb::Keys(verb) => keys::run(verb, term),
        Verb::Verify(args) => verify::run(&args, term),
        Verb::Config(verb) => config::run(verb, term),
        Verb::Sim(verb) => sim::run(&verb),
        Verb::Version => version::run(term),
        Verb::Completions { shell } => completions::run(shell),
        Verb::Docs { table } => docs::run(table, term),
    }
}

/// Runs a client verb on a runtime of its own.
fn blocking<F: Future<Output = Outcome>>(verb: F) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(verb);
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// Whether log lines on stderr are coloured.
fn log_colour() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What the client verbs log unless asked: the banner says already what an experiment is.
const QUIET: &str = "warn,fairlane_node::node=error";

/// Warnings on stderr unless asked for more.
fn quiet_log(filter: Option<&str>) -> Outcome {
    let filter = tracing_subscriber::EnvFilter::try_new(filter.unwrap_or(QUIET))
        .map_err(|error| Problem::usage(format!("--log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(log_colour())
        .init();
    Ok(())
}
