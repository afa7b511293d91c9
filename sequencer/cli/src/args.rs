//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fairlane_client::wire::Wait;
use fairlane_encryption::CERTIFICATE_KEY_BYTES;
use fairlane_simnet::cli::SimVerb;
use fairlane_types::{Combining, CtId, Digest, OrderParams, OrderRule, Scheme, TieSource};

use crate::ceremony_args::CeremonyVerb;
use crate::committee_args::CommitteeVerb;
use crate::exec_args::{AccountArgs, ExecVerb};
use crate::follow_args::{FollowArgs, VerifyArgs};

/// Fair-ordering sequencer: encrypted orders, ordered by when they arrived, opened only
/// once their place is final.
#[derive(Debug, Parser)]
#[command(
    name = "fairlane",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 preflight, 4 unreachable, 5 verification failed."
)]
pub struct Cli {
    /// Results as JSON lines on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// Log filter, such as `info` or `warn,fairlane_node::net=debug`.
    #[arg(long, global = true, env = "FAIRLANE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a committee on this machine and, with --orders, trade on it.
    Devnet(DevnetArgs),
    /// Make the folders of a test committee.
    #[command(subcommand)]
    Testnet(TestnetVerb),
    /// Run a member.
    Node(NodeArgs),
    /// Make, show, back up and restore a member's keys.
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Found a committee: every operator makes its own keys, and shows nobody a secret.
    #[command(subcommand)]
    Ceremony(CeremonyVerb),
    /// Change the committee: who joins, who leaves, and new shares for who stays.
    #[command(subcommand)]
    Committee(CommitteeVerb),
    /// Encrypt an order and submit it.
    Submit(SubmitArgs),
    /// Follow the sequence, verified.
    Follow(FollowArgs),
    /// What members say of themselves.
    Status(StatusArgs),
    /// Show an account, proven under a state that f+1 members signed.
    Account(AccountArgs),
    /// Compute the order again from a member's lanes, and hold the sequence against it.
    Audit(AuditArgs),
    /// Fetch and check the proof that an order's place was final before anybody could read it.
    Blind(BlindArgs),
    /// Verify a sequence file offline: roots, links, openings.
    Verify(VerifyArgs),
    /// Measure a committee of child processes under load.
    Bench(BenchArgs),
    /// The clearing house, without a committee.
    #[command(subcommand)]
    Exec(ExecVerb),
    /// Check or show a member's configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Check this machine and, with --home, a member's folder.
    Doctor(DoctorArgs),
    /// Simulate committees: scenario files, swarms of seeds, replays. The `simnet` binary.
    #[command(subcommand)]
    Sim(SimVerb),
    /// Version and formats.
    Version,
    /// Completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Tables of the documentation.
    #[command(hide = true)]
    Docs {
        /// Which one.
        table: DocsTable,
    },
}

/// A scheme by the name it has in genesis.
pub(crate) fn scheme(name: &str) -> Result<Scheme, String> {
    Scheme::from_name(name).ok_or_else(|| "schemes are tdh2 and baek-zheng".to_owned())
}

/// A rule by the name it has in genesis; baselines are for simulations.
fn rule(name: &str) -> Result<OrderRule, String> {
    let baseline = |rule: &OrderRule| matches!(rule, OrderRule::Leader | OrderRule::RoundRobin);
    let rule = OrderRule::from_name(name).filter(|rule| !baseline(rule));
    rule.ok_or_else(|| "rules are strong, arrival, majority and shuffle".to_owned())
}

/// A tie source by the name it has in genesis.
fn tie(name: &str) -> Result<TieSource, String> {
    let sources = [TieSource::BlockId, TieSource::Beacon];
    let found = sources.into_iter().find(|tie| tie.name() == name);
    found.ok_or_else(|| "tie sources are block-id and beacon".to_owned())
}

/// Who combines by the name it has in genesis.
fn combining(name: &str) -> Result<Combining, String> {
    let ways = [Combining::AllToAll, Combining::Sharded];
    let found = ways.into_iter().find(|way| way.name() == name);
    found.ok_or_else(|| "combining is all-to-all or sharded".to_owned())
}

/// A bound of a ratio.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let good = ratio.is_finite() && ratio >= 1.0;
    good.then_some(ratio)
        .ok_or_else(|| "a ratio is 1 or more".to_owned())
}

/// What a genesis says of orders, for as long as the chain lives.
#[derive(Clone, Copy, Debug, Args)]
pub struct OrderArgs {
    /// Order rule: strong, arrival, majority or shuffle.
    #[arg(long, default_value = OrderParams::default().rule.name(), value_parser = rule)]
    pub rule: OrderRule,
    /// What breaks ties: block-id or beacon.
    #[arg(long, default_value = OrderParams::default().tie.name(), value_parser = tie)]
    pub tie: TieSource,
    /// Who combines decryption shares: all-to-all or sharded. If it is not said, committees of
    /// 16 members and more do it sharded.
    #[arg(long, value_parser = combining)]
    pub combining: Option<Combining>,
}

/// Generated tables.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DocsTable {
    /// Error codes of the API.
    ErrorCodes,
}

/// `devnet`.
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// Sample orders, one JSON object a line; submitted at their times.
    #[arg(long, value_name = "FILE")]
    pub orders: Option<PathBuf>,
    /// Members.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=100))]
    pub members: u8,
    /// End after the orders instead of waiting for Ctrl-C.
    #[arg(long)]
    pub exit: bool,
    /// Keep the members' folders.
    #[arg(long, conflicts_with = "home")]
    pub keep: bool,
    /// Put the members' folders here, and keep them. Must not exist yet.
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Members as threads of this process.
    #[arg(long)]
    pub in_process: bool,
    /// Extra delay in ms with which the 1st, 2nd, … member of an order's fan-out hears it.
    #[arg(long, value_name = "MS,…", value_delimiter = ',', default_values_t = [0, 4, 9, 15])]
    pub delays: Vec<u64>,
    /// Time an order lives, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub ttl_s: u64,
    /// Encryption scheme: tdh2 or baek-zheng.
    #[arg(long, default_value = "tdh2", value_parser = scheme)]
    pub scheme: Scheme,
    /// A dealer makes the encryption key, instead of the members themselves.
    #[arg(long)]
    pub dealer: bool,
    /// How orders are ordered and opened.
    #[command(flatten)]
    pub order: OrderArgs,
    /// Blocks between two commitments to the order state; audits and members that join begin at one.
    #[arg(long, default_value_t = OrderParams::default().snapshot_interval,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub snapshot_interval: u32,
}

/// `testnet`.
#[derive(Debug, Subcommand)]
pub enum TestnetVerb {
    /// Make genesis, keys and configurations of members on one machine: for tests only.
    Init {
        /// Members.
        #[arg(short = 'n', long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=100))]
        members: u8,
        /// Folder to make.
        #[arg(short = 'o', long, value_name = "DIR")]
        out: PathBuf,
        /// First port; every member takes three.
        #[arg(long, default_value_t = 7700)]
        base_port: u16,
        /// Encryption scheme: tdh2 or baek-zheng.
        #[arg(long, default_value = "tdh2", value_parser = scheme)]
        scheme: Scheme,
        /// Who combines decryption shares: all-to-all or sharded. If it is not said, committees
        /// of 16 members and more do it sharded.
        #[arg(long, value_parser = combining)]
        combining: Option<Combining>,
        /// A dealer makes the encryption key, and could keep it. Without this the members make
        /// it when they first run.
        #[arg(long)]
        dealer: bool,
        /// Encrypt the key files under the passphrase in this file; plain without it.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Members order only: no execution.toml, no prices. Without it they run development
        /// markets on made-up prices.
        #[arg(long)]
        no_execution: bool,
    },
}

/// The passphrase of key files.
#[derive(Clone, Debug, Args)]
pub struct PassphraseArgs {
    /// File with the passphrase of the key files [env: FAIRLANE_PASSPHRASE_FILE, or the
    /// passphrase itself in FAIRLANE_PASSPHRASE].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// A member's folder and the passphrase of its keys.
#[derive(Clone, Debug, Args)]
pub struct KeysHome {
    /// The member's folder.
    #[arg(long, value_name = "DIR", env = "FAIRLANE_HOME")]
    pub home: PathBuf,
    /// Their passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Make an identity alone, and print its public key.
    Generate {
        /// Folder to make.
        #[arg(short = 'o', long, value_name = "DIR")]
        out: PathBuf,
        /// The passphrase.
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Do not encrypt it: for tests only.
        #[arg(long, conflicts_with = "passphrase_file")]
        plain: bool,
    },
    /// Show the public side of a member's keys, and how they lie on the disk.
    Show(KeysHome),
    /// Write identity and shares into one encrypted file.
    Backup {
        /// The member.
        #[command(flatten)]
        home: KeysHome,
        /// File to write. Must not exist yet.
        #[arg(short = 'o', long, value_name = "FILE")]
        out: PathBuf,
        /// File with the backup's passphrase, if it is another one.
        #[arg(long, value_name = "FILE")]
        backup_passphrase_file: Option<PathBuf>,
    },
    /// Write the keys of a backup into a folder that has none. The member comes back as an
    /// observer: it does not vote.
    Restore {
        /// The backup.
        #[arg(long, value_name = "FILE")]
        backup: PathBuf,
        /// The member.
        #[command(flatten)]
        home: KeysHome,
        /// Genesis to put there, if the folder has none.
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
        /// File with the backup's passphrase, if it is another one.
        #[arg(long, value_name = "FILE")]
        backup_passphrase_file: Option<PathBuf>,
        /// Do not encrypt the restored key files: for tests only.
        #[arg(long)]
        plain: bool,
    },
    /// Open the keys of a folder or a backup and check them against the genesis.
    Verify {
        /// The member's folder.
        #[arg(
            long,
            value_name = "DIR",
            env = "FAIRLANE_HOME",
            required_unless_present = "backup"
        )]
        home: Option<PathBuf>,
        /// A backup instead.
        #[arg(long, value_name = "FILE", requires = "genesis")]
        backup: Option<PathBuf>,
        /// The genesis that the backup should fit.
        #[arg(long, value_name = "FILE", env = "FAIRLANE_GENESIS")]
        genesis: Option<PathBuf>,
        /// The passphrase.
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Encrypt the key files under a new passphrase.
    Passphrase {
        /// The member and its passphrase until now, if it has one.
        #[command(flatten)]
        home: KeysHome,
        /// File with the new passphrase.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: PathBuf,
    },
}

/// `node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The member's folder.
    #[arg(long, value_name = "DIR", env = "FAIRLANE_HOME")]
    pub home: PathBuf,
    /// The passphrase of its keys.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Stop when stdin closes: a parent that ends takes this member with it.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// What is trusted.
#[derive(Clone, Debug, Args)]
pub struct TrustArgs {
    /// The chain's genesis file.
    #[arg(long, value_name = "FILE", env = "FAIRLANE_GENESIS")]
    pub genesis: Option<PathBuf>,
    /// Hash of the genesis; the file is fetched from a member and must have it.
    #[arg(long, value_name = "HEX", conflicts_with = "genesis")]
    pub genesis_hash: Option<Digest>,
}

/// `submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The order as JSON, such as {"op":"cancel","market":0,"cloid":7}.
    #[arg(conflicts_with_all = ["op", "market", "side", "price_ticks", "lots", "tif", "cloid", "reduce_only"])]
    pub order: Option<String>,
    /// place, cancel or cancel_all.
    #[arg(long)]
    pub op: Option<String>,
    /// Market number.
    #[arg(long)]
    pub market: Option<u32>,
    /// buy or sell.
    #[arg(long)]
    pub side: Option<String>,
    /// Price in ticks.
    #[arg(long)]
    pub price_ticks: Option<u64>,
    /// Size in lots.
    #[arg(long)]
    pub lots: Option<u64>,
    /// gtc, ioc, fok or post_only.
    #[arg(long)]
    pub tif: Option<String>,
    /// Your own number for the order.
    #[arg(long)]
    pub cloid: Option<u64>,
    /// May only shrink a position.
    #[arg(long)]
    pub reduce_only: bool,
    /// Members' public addresses in the order of their ids.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        required = true,
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
    /// What is trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Development trader by name (experiment chains only).
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "key",
        required_unless_present = "key"
    )]
    pub trader: Option<String>,
    /// File with the trader's 32-byte secret seed in hex.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long to wait.
    #[arg(long, default_value = "accepted")]
    pub wait: Wait,
    /// Longest wait, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
    /// Members of `--to` to send it to at once, all if not given; with 1, further ones are asked only when it fails.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub fan_out: Option<u8>,
    /// Any unused number; random if not given.
    #[arg(long)]
    pub nonce: Option<u64>,
    /// Time the order lives, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub ttl_s: u64,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Members' public addresses.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        required_unless_present = "ops",
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
    /// Members' ops addresses: more detail.
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    pub ops: Vec<String>,
}

/// Public key of certificates.
pub type CommitteeKey = [u8; CERTIFICATE_KEY_BYTES];

pub fn committee_key(text: &str) -> Result<CommitteeKey, String> {
    let bytes = hex::decode(text).map_err(|error| error.to_string())?;
    let got = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("a committee key has {CERTIFICATE_KEY_BYTES} bytes, not {got}"))
}

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// A member's folder, whether the member runs or not; nothing in it is changed.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["to", "case"])]
    pub home: Option<PathBuf>,
    /// Folders of members in the epochs after that one, in their order: the audit goes on in them.
    #[arg(
        long,
        value_name = "FOLDER,…",
        value_delimiter = ',',
        requires = "home"
    )]
    pub then: Vec<PathBuf>,
    /// A member's public address.
    #[arg(long, value_name = "ADDR", conflicts_with = "case")]
    pub to: Option<String>,
    /// What is trusted; with --home the folder's own genesis if not given.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Receipts to hold against the lanes: JSON lines as `fairlane submit --json` prints.
    #[arg(long, value_name = "FILE", conflicts_with = "case")]
    pub receipts: Option<PathBuf>,
    /// Blind-order receipts to hold against what the lanes give, as `fairlane blind --out`
    /// writes them.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        conflicts_with = "case"
    )]
    pub blind: Vec<PathBuf>,
    /// End after this height.
    #[arg(long, value_name = "HEIGHT")]
    pub until: Option<u64>,
    /// If a rule is broken, write all that shows it here, for others. Must not exist yet.
    #[arg(long, value_name = "FILE", conflicts_with = "case")]
    pub case_out: Option<PathBuf>,
    /// Show such a case again.
    #[arg(long, value_name = "FILE")]
    pub case: Option<PathBuf>,
}

/// `blind`.
#[derive(Debug, Args)]
pub struct BlindArgs {
    /// The order's id.
    pub order: CtId,
    /// A member's public address.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "home",
        required_unless_present = "home"
    )]
    pub to: Option<String>,
    /// A member's folder, whether the member runs or not.
    #[arg(long, value_name = "FOLDER")]
    pub home: Option<PathBuf>,
    /// The chain's genesis file; with --home the folder's own if not given.
    #[arg(
        long,
        value_name = "FILE",
        env = "FAIRLANE_GENESIS",
        required_unless_present = "home"
    )]
    pub genesis: Option<PathBuf>,
    /// Write the receipt here. Must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
/// What `bench` measures besides a committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum BenchWhat {
    /// Cost of the encryption schemes per order and member, against `threshold_crypto`.
    Crypto,
}

/// What a lying member sends for its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// Points that are no shares.
    Wrong,
    /// A set without shares.
    Empty,
    /// The same wrong set again and again.
    Duplicate,
    /// Another member's shares as its own.
    Foreign,
    /// Its true shares, many blocks later.
    Late,
}

impl Lie {
    /// Its word on the liar's command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Empty => "empty",
            Self::Duplicate => "duplicate",
            Self::Foreign => "foreign",
            Self::Late => "late",
        }
    }

    /// Whether its maker is convicted by what it signed; being late is no contradiction.
    pub const fn convicts(self) -> bool {
        !matches!(self, Self::Late)
    }
}

/// `bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// Something else than a committee.
    #[command(subcommand)]
    pub what: Option<BenchWhat>,
    /// Members.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=100))]
    pub members: u8,
    /// Orders per second, offered whatever the committee answers.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Length of the measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub seconds: u32,
    /// So many members, at most f, lie about their decryption shares (needs the test
    /// program `fairlane-liar` beside this one).
    #[arg(long, value_name = "MEMBERS", default_value_t = 0)]
    pub liar: u8,
    /// How they lie; in all these ways by turns if it is not said.
    #[arg(long, value_name = "KIND", requires = "liar")]
    pub lie: Option<Lie>,
    /// Run so many times with the liars and as often without, in alternation, and give the
    /// medians and their ratios.
    #[arg(long, value_name = "RUNS", requires = "liar", conflicts_with = "home",
        value_parser = clap::value_parser!(u8).range(1..=15))]
    pub against_clean: Option<u8>,
    /// Fail if p50 with the liars is more than so many times that without: the median over
    /// pairs of runs that follow each other.
    #[arg(long, value_name = "RATIO", requires = "against_clean", value_parser = ratio)]
    pub ratio_max: Option<f64>,
    /// Encryption scheme: tdh2 or baek-zheng.
    #[arg(long, default_value = "tdh2", value_parser = scheme)]
    pub scheme: Scheme,
    /// How orders are ordered and opened.
    #[command(flatten)]
    pub order: OrderArgs,
    /// Put the members' folders here, and keep them. Must not exist yet.
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Read everything a member would read; start nothing.
    Check(KeysHome),
    /// Show the configuration in effect.
    Show(HomeArgs),
}

/// A member's folder.
#[derive(Debug, Args)]
pub struct HomeArgs {
    /// The member's folder.
    #[arg(long, value_name = "DIR", env = "FAIRLANE_HOME")]
    pub home: PathBuf,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The member's folder.
    #[arg(long, value_name = "DIR", env = "FAIRLANE_HOME")]
    pub home: Option<PathBuf>,
    /// The passphrase of its keys.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Members' public addresses, to compare clocks and genesis with.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        let wrong: [&[&str]; 13] = [
            &["fairlane"],
            &["fairlane", "nonsense"],
            &["fairlane", "devnet", "--members", "3"],
            &["fairlane", "devnet", "--keep", "--home", "x"],
            &[
                "fairlane", "submit", "--to", "x", "--wait", "forever", "--trader", "a",
            ],
            &["fairlane", "submit", "--to", "x"],
            &["fairlane", "verify", "x"],
            &["fairlane", "bench", "--rate", "0"],
            &["fairlane", "bench", "--scheme", "none"],
            &["fairlane", "bench", "--rule", "leader"],
            &["fairlane", "bench", "--lie", "wrong"],
            &["fairlane", "bench", "--against-clean", "3"],
            &["fairlane", "bench", "--liar", "1", "--lie", "white"],
        ];
        for line in wrong {
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
