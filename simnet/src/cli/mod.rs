//! The simulator's command line, as a library: the `simnet` binary and `fairlane sim` take
//! the same verbs and run the same code.
//!
//! Results go to stdout, progress and failures to stderr. Exit codes: 0 nothing was found,
//! 1 a rule is broken, 2 usage.

mod costs;
mod epochs;
mod fairness;
mod loopback;
mod market;
mod mutants;
mod replay;
mod speed;
mod swarm;

use clap::{Args, Subcommand, ValueEnum};
use fairlane_types::{OrderRule, Scheme};
use std::path::PathBuf;

use self::costs::CostsArgs;
use self::loopback::CompareArgs;
use crate::crypto::Tier;
use crate::faults::{FileError, parse_seed};
use crate::net::MatrixError;
use crate::research::verbs::{self, ResearchVerb};
use crate::scenario::Profile;

/// What the simulator can do.
#[derive(Clone, Debug, Subcommand)]
pub enum SimVerb {
    /// Run seed after seed and judge every run.
    ///
    /// Each seed is one committee of real replicas on virtual time, with its own delays,
    /// faults and liars. Every broken rule is printed with the line that runs it again, and
    /// its plan and trace are written to a folder. The last line is JSON. Ctrl-C ends it
    /// with what was found.
    Swarm(SwarmArgs),
    /// Run one seed, or one plan, and show what happens.
    ///
    /// A plan (plan.toml) says everything that the seed would draw: the committee, the
    /// events, who lies. Every failure leaves one; it can be edited.
    Replay(ReplayArgs),
    /// Make a failing plan small.
    ///
    /// Leaves out events, liars, members and orders while the same rule still breaks first,
    /// and writes what is left.
    Shrink(ShrinkArgs),
    /// Change committees under load, seed after seed, and judge every run.
    ///
    /// Three committees of 4 and 7 machines, overlapping or not, one after the other, while
    /// traders go on; machines crash, are cut off, and lie. One sequence goes through all of
    /// it. The last line is JSON.
    Epochs(EpochsArgs),
    /// Measure a rule of fair order: inversions, attacks, delays.
    ///
    /// Lanes and cuts of a committee with liars go through the real rule. Attacks: none,
    /// predate, lag, reverse, delay, omit, predate-omit, stall, leave-out, clock-behind,
    /// clock-ahead, condorcet; search takes the worst of these, climb looks for a worse one, both
    /// with other seeds than those they report. Delays are
    /// those of the matrix aws-2026, those of metro are assumed.
    Fairness(FairnessArgs),
    /// Measure what fair order and blindness are worth: sandwiches, front-runners, snipers.
    ///
    /// A perpetual order book behind the real rules, in the clear and encrypted, with 0, 1, 2
    /// and f lanes that lie. Tables on stdout, plots with --out. Takes a few minutes.
    Market(MarketArgs),
    /// Break every rule of the protocol in turn and see that something notices.
    ///
    /// Needs a build with the feature `mutants`, which no shipped binary has.
    Mutants(MutantsArgs),
    /// Scenario files.
    #[command(flatten)]
    Research(ResearchVerb),
    /// Measure how fast a committee runs: virtual time over processor time.
    ///
    /// One thread, ideal cryptography, no faults, members in ten regions, the whole path of
    /// every order. The last line is JSON.
    Speed(SpeedArgs),
    /// Write a cost table for this machine.
    ///
    /// Times jobs and steps of the replica in simulated committees. With --bench it also
    /// fits what the threads of a node take, from real processes at two rates or more.
    Costs(CostsArgs),
    /// Compare real processes on one machine with the same load simulated.
    ///
    /// A table on stdout. Exit code 1: a median is off by more than --within.
    Compare(CompareArgs),
}

/// `swarm`.
#[derive(Clone, Debug, Args)]
pub struct SwarmArgs {
    /// How long, such as 90s, 10m or 4h. Not given and no --seeds: 60s.
    #[arg(long, value_name = "SPAN", value_parser = span_ms)]
    pub budget: Option<u64>,
    /// How many seeds.
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// First seed, decimal or 0x….
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    pub first: u64,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// What may go wrong.
    #[arg(long, value_enum, default_value_t = ProfileArg::Swarm)]
    pub profile: ProfileArg,
    /// The order rule; not given: each seed draws one.
    #[arg(long, value_enum)]
    pub rule: Option<RuleArg>,
    /// Committee sizes, in turn.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "4,7", value_parser = members)]
    pub members: Vec<usize>,
    /// Virtual seconds of a seed, with orders and faults all along. Not given: a few.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=600))]
    pub seconds_per_seed: Option<u64>,
    /// Ideal cryptography: faster, and nothing is encoded.
    #[arg(long)]
    pub ideal: bool,
    /// Share of the seeds that run twice, for equal traces.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = per_mille)]
    pub recheck: u64,
    /// Fail if some rare event was met by no seed.
    #[arg(long)]
    pub require_marks: bool,
    /// Folder for what is kept of failures.
    #[arg(long, value_name = "DIR", default_value = "simnet-failures")]
    pub out: PathBuf,
    /// Nothing on stdout but the last line.
    #[arg(long)]
    pub json: bool,
}

/// `epochs`.
#[derive(Clone, Debug, Args)]
pub struct EpochsArgs {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub seeds: u64,
    /// First seed, decimal or 0x….
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    pub first: u64,
    /// Encryption scheme of the chains: tdh2 or baek-zheng. With the latter traders send fewer
    /// orders, as each costs every member pairings.
    #[arg(long, default_value = "tdh2", value_parser = scheme)]
    pub scheme: Scheme,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Nothing on stdout but the last line.
    #[arg(long)]
    pub json: bool,
}

/// `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A plan; without one, --seed and what else follows say what to run.
    #[arg(value_name = "PLAN", conflicts_with_all = ["seed", "members", "orders", "profile", "seconds", "ideal", "rule"])]
    pub plan: Option<PathBuf>,
    /// The seed, decimal or 0x….
    #[arg(long, value_parser = seed, required_unless_present = "plan")]
    pub seed: Option<u64>,
    /// Members.
    #[arg(long, value_name = "N", default_value = "4", value_parser = members)]
    pub members: usize,
    /// Orders.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub orders: usize,
    /// Virtual seconds, as in `swarm --seconds-per-seed`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=600))]
    pub seconds: Option<u64>,
    /// Ideal cryptography.
    #[arg(long)]
    pub ideal: bool,
    /// The order rule; not given: the seed draws one.
    #[arg(long, value_enum)]
    pub rule: Option<RuleArg>,
    /// What may go wrong.
    #[arg(long, value_enum, default_value_t = ProfileArg::Swarm)]
    pub profile: ProfileArg,
    /// Print what every member does.
    #[arg(long)]
    pub log: bool,
    /// Write the run, with everything that its seed decides, to this plan.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write plan, report, trace tail and Perfetto trace to this folder.
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
}

/// `shrink`.
#[derive(Clone, Debug, Args)]
pub struct ShrinkArgs {
    /// The plan of a run that fails.
    pub plan: PathBuf,
    /// Where to write what is left; not given: next to it, as NAME.min.toml.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Most runs to try.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub runs: u64,
}

/// `fairness`.
#[derive(Clone, Debug, Args)]
pub struct FairnessArgs {
    /// Members.
    #[arg(long, value_name = "N", default_value = "16", value_parser = members)]
    pub members: usize,
    /// Lanes that lie, the nearest to the victims.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub bad: usize,
    /// Where members and traders are: metro, eu-us, global.
    #[arg(long, default_value = "eu-us")]
    pub matrix: String,
    /// strong, dissent, strict, hybrid, arrival, majority, shuffle, leader, round-robin.
    #[arg(long, default_value = "strong")]
    pub rule: String,
    /// What liars do.
    #[arg(long, default_value = "predate")]
    pub attack: String,
    /// Behaviours that climb tries.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub tries: u64,
    /// Members that an order is sent to: all, some (f + 1), f, quorum, one.
    #[arg(long, default_value = "all")]
    pub fan_out: String,
    /// Honest clocks are off by up to this, microseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub skew_us: u64,
    /// Orders per second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub rate: u64,
    /// Seconds of traffic per seed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// First seed.
    #[arg(long, value_name = "SEED", default_value = "1000", value_parser = seed)]
    pub first: u64,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The result is a line of JSON in any case.
    #[arg(long)]
    pub json: bool,
}

/// `market`.
#[derive(Clone, Debug, Args)]
pub struct MarketArgs {
    /// Members.
    #[arg(long, value_name = "N", default_value = "16", value_parser = members)]
    pub members: usize,
    /// Where members and traders are: metro, eu-us, global.
    #[arg(long, default_value = "eu-us")]
    pub matrix: String,
    /// Orders per second besides victims and attackers.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub rate: u64,
    /// Seconds of traffic per seed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=600))]
    pub seconds: u64,
    /// First seed.
    #[arg(long, value_name = "SEED", default_value = "3000", value_parser = seed)]
    pub first: u64,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// One part alone.
    #[arg(long)]
    pub part: Option<MarketPart>,
    /// Write the plots to this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A part of the market experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MarketPart {
    /// Sandwiches and front-runners.
    Attacks,
    /// Copies of an order that cannot be read.
    Spam,
    /// What sealed orders tell, and what that is worth.
    Leak,
    /// Makers that cancel against takers.
    Snipers,
}

/// `mutants`.
#[derive(Clone, Debug, Args)]
pub struct MutantsArgs {
    /// Seeds of each kind of run before a mutant counts as a survivor.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub seeds: u64,
    /// One mutant by name.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// One witness a mutant is enough: whole runs first, the model for the rest.
    #[arg(long)]
    pub quick: bool,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// The matrix as lines of JSON.
    #[arg(long)]
    pub json: bool,
}

/// `speed`.
#[derive(Clone, Debug, Args)]
pub struct SpeedArgs {
    /// Members.
    #[arg(long, value_name = "N", default_value = "4", value_parser = members)]
    pub members: usize,
    /// Virtual time in which orders are sent.
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = steady_ms)]
    pub span: u64,
    /// Orders per second of virtual time.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub rate: u64,
    /// How often heads of lanes advance, such as 200ms, instead of the 20 ms of a genesis
    /// that says nothing.
    #[arg(long, value_name = "SPAN", value_parser = lane_ms)]
    pub heads: Option<u64>,
    /// How long a batch of a lane waits for more orders, such as 200ms, instead of 5 ms.
    #[arg(long, value_name = "SPAN", value_parser = lane_ms)]
    pub batches: Option<u64>,
    /// The seed, decimal or 0x….
    #[arg(long, default_value = "1", value_parser = seed)]
    pub seed: u64,
    /// Nothing on stdout but the last line.
    #[arg(long)]
    pub json: bool,
}

/// Profiles, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Nothing.
    Calm,
    /// Crashes and restarts.
    Crash,
    /// Every fault, but nobody lies.
    Faults,
    /// Every fault, and up to f liars.
    Swarm,
    /// No fault, and f liars.
    Liars,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::Calm => Self::Calm,
            ProfileArg::Crash => Self::Crash,
            ProfileArg::Faults => Self::Faults,
            ProfileArg::Swarm => Self::Swarm,
            ProfileArg::Liars => Self::Liars,
        }
    }
}

/// Order rules that have a checker, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuleArg {
    /// By strong precedence.
    Strong,
    /// By assigned order indicator.
    Arrival,
    /// By median and majority.
    Majority,
    /// By coarse time and tie.
    Shuffle,
}

impl From<RuleArg> for OrderRule {
    fn from(rule: RuleArg) -> Self {
        match rule {
            RuleArg::Strong => Self::Strong,
            RuleArg::Arrival => Self::Arrival,
            RuleArg::Majority => Self::Majority,
            RuleArg::Shuffle => Self::Shuffle,
        }
    }
}

/// Why a verb cannot do what it was asked for; exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file that cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file that is no plan.
    #[error("{path}: {error}")]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        error: FileError,
    },
    /// The shipped matrix lacks a region.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A plan that does not fail cannot shrink.
    #[error("this plan breaks no rule: nothing to shrink")]
    Passes,
    /// A build without mutants.
    #[error(
        "built without mutants: cargo run --release -p fairlane-simnet --features mutants -- mutants"
    )]
    NoMutants,
    /// A word that names nothing.
    #[error("{0}: unknown, see --help")]
    Unknown(String),
    /// A mutant that does not exist.
    #[error("--only: one of {0}")]
    UnknownMutant(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Input(String),
}

/// Runs a verb; `version` names the program in what it keeps. True: nothing was found.
///
/// # Errors
/// [`SimError`]: it could not be run as asked.
pub fn run(verb: &SimVerb, version: &str) -> Result<bool, SimError> {
    match verb {
        SimVerb::Swarm(args) => swarm::run(args, version),
        SimVerb::Replay(args) => replay::replay(args, version),
        SimVerb::Shrink(args) => replay::shrink(args),
        SimVerb::Fairness(args) => fairness::run(args),
        SimVerb::Market(args) => market::run(args),
        SimVerb::Epochs(args) => Ok(epochs::run(args)),
        SimVerb::Mutants(args) => mutants::run(args),
        SimVerb::Research(verb) => verbs::run(verb).map_err(SimError::Input),
        SimVerb::Speed(args) => speed::run(args),
        SimVerb::Costs(args) => costs::run(args, speed::thread_ns).map_err(SimError::Input),
        SimVerb::Compare(args) => loopback::run(args).map_err(SimError::Input),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    parse_seed(text).ok_or_else(|| "a number, decimal or 0x…".to_owned())
}

fn scheme(name: &str) -> Result<Scheme, String> {
    Scheme::from_name(name).ok_or_else(|| "schemes are tdh2 and baek-zheng".to_owned())
}

fn members(text: &str) -> Result<usize, String> {
    let max = fairlane_types::MEMBERS_MAX;
    let parsed = text.parse().ok().filter(|n| (4..=max).contains(n));
    parsed.ok_or_else(|| format!("4 to {max} members"))
}

/// A span such as `90s`.
fn span_ms(text: &str) -> Result<u64, String> {
    let parse = || {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(scale)
    };
    parse().ok_or_else(|| "a span, such as 90s, 10m or 4h".to_owned())
}

/// A span of a steady run: at most ten minutes, and long enough for an order.
fn steady_ms(text: &str) -> Result<u64, String> {
    let span = span_ms(text)?;
    let fits = (1_000..=600_000).contains(&span);
    fits.then_some(span).ok_or_else(|| "1s to 10m".to_owned())
}

/// How often a lane does something, as a genesis allows it.
fn lane_ms(text: &str) -> Result<u64, String> {
    let span = span_ms(text)?;
    let fits = (1..=1_000).contains(&span);
    fits.then_some(span).ok_or_else(|| "1ms to 1s".to_owned())
}

const fn tier(ideal: bool) -> Tier {
    if ideal { Tier::Ideal } else { Tier::Real }
}

/// A share such as `5%`, per mille.
fn per_mille(text: &str) -> Result<u64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text);
    let parsed = percent.parse::<u64>().ok().filter(|p| *p <= 100);
    parsed
        .map(|percent| percent * 10)
        .ok_or_else(|| "a share from 0% to 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: SimVerb,
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let parse = |line: &str| Cli::try_parse_from(["simnet"].into_iter().chain(line.split(' ')));
        let Ok(Cli {
            verb: SimVerb::Swarm(args),
        }) = parse("swarm --budget 10m --jobs 2 --recheck 7% --first 0x10 --members 4,7,10")
        else {
            panic!("a swarm");
        };
        assert_eq!(
            (args.budget, args.recheck, args.first),
            (Some(600_000), 70, 16)
        );
        assert_eq!(args.members, [4, 7, 10]);
        assert!(parse("replay --seed 0x2a").is_ok());
        assert!(parse("replay plan.toml").is_ok());
        for wrong in [
            "swarm --budget 10",
            "swarm --recheck 101%",
            "swarm --members 3",
            "swarm --jobs 0",
            "swarm --profile wild",
            "swarm --rule leader",
            "replay",
            "replay plan.toml --seed 3",
            "replay --seed x",
            "shrink",
            "speed --members 3",
            "speed --span 10ms",
            "speed --rate 0",
            "nothing",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn every_profile_has_its_argument() {
        for profile in Profile::ALL {
            let arg = ProfileArg::from_str(profile.name(), false).unwrap();
            assert_eq!(Profile::from(arg), profile);
        }
    }
}
