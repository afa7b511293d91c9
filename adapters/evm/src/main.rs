//! Follows a committee's attested sequence and has an execution client build it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use fairlane_client::{AttestedEvent, AttestedFeed, ClientError, Member};
use fairlane_encryption::CERTIFICATE_KEY_BYTES;
use fairlane_evm::{Driver, Engine, EngineError, Fork, JwtSecret, Rules, SLOT_SECONDS_MAX};
use fairlane_types::{ChainId, Height, Root};

/// Pause before an engine that cannot be reached, or is syncing, is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Builds a rollup's blocks out of a fairlane sequence, over the Engine API.
///
/// Keeps no state that matters: the execution client's head says where to go on.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Member to follow; more than one for more certainty of an answer.
    #[arg(long = "to", required = true)]
    to: Vec<String>,
    /// The committee's key, 96 hexadecimal digits; blocks count once it attests them.
    #[arg(long)]
    committee_key: String,
    /// The execution client's engine port.
    #[arg(long, default_value = "http://127.0.0.1:8551")]
    engine: String,
    /// File with the secret that the execution client has, too.
    #[arg(long)]
    jwt_secret: PathBuf,
    /// File that remembers a height to ask from. It may be deleted.
    #[arg(long)]
    cursor: Option<PathBuf>,
    /// Seconds in a slot.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=SLOT_SECONDS_MAX))]
    slot_seconds: u64,
    /// Gas in a block.
    #[arg(long, default_value_t = 30_000_000)]
    gas_limit: u64,
    /// Who gets the fees, 40 hexadecimal digits.
    #[arg(long)]
    fee_recipient: String,
    /// Fork that the chain is on.
    #[arg(long, value_enum, default_value_t = ForkArg::Prague)]
    fork: ForkArg,
    /// Stop after this height is in the client's chain.
    #[arg(long)]
    until: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ForkArg {
    Cancun,
    Prague,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("--{0} is not {1} hexadecimal digits")]
    Digits(&'static str, usize),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("--cursor {0}: {1}")]
    Cursor(PathBuf, std::io::Error),
}

fn digits<const N: usize>(name: &'static str, text: &str) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let text = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(text, &mut bytes).map_err(|_| Problem::Digits(name, 2 * N))?;
    Ok(bytes)
}

/// The height in a cursor file; the first one if there is no file or it says nothing.
fn remembered(path: Option<&Path>) -> Height {
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    Height(text.and_then(|text| text.trim().parse().ok()).unwrap_or(1))
}

/// Has every complete slot built, whatever it takes.
async fn build(driver: &mut Driver, cursor: Option<&Path>) -> Result<Option<Height>, Problem> {
    let mut last = None;
    while driver.is_due() {
        let left_out = driver.left_out();
        match driver.advance().await {
            Ok(Some(batch)) => {
                let (number, hash) = driver.head();
                println!(
                    "block {number}  0x{}  to height {}  {} transactions, {} invalid, {} without room",
                    hex::encode(hash),
                    batch.height,
                    batch.transactions.len(),
                    driver.left_out() - left_out,
                    batch.surplus,
                );
                if let Some(path) = cursor {
                    let wrong = |error| Problem::Cursor(path.into(), error);
                    std::fs::write(path, batch.height.to_string()).map_err(wrong)?;
                }
                last = Some(batch.height);
            }
            Ok(None) => break,
            Err(error) if error.is_retryable() => {
                eprintln!("fairlane-engine: {error}; trying again");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(last)
}

async fn run(args: &Args) -> Result<(), Problem> {
    let key: [u8; CERTIFICATE_KEY_BYTES] = digits("committee-key", &args.committee_key)?;
    let rules = Rules {
        slot_seconds: args.slot_seconds,
        gas_limit: args.gas_limit,
        fee_recipient: digits("fee-recipient", &args.fee_recipient)?,
        fork: match args.fork {
            ForkArg::Cancun => Fork::Cancun,
            ForkArg::Prague => Fork::Prague,
        },
    };
    let engine = Engine::new(&args.engine, JwtSecret::read(&args.jwt_secret)?)?;
    let mut driver = Driver::connect(engine, rules, Root::default()).await?;
    let members: Vec<Member> = args
        .to
        .iter()
        .map(|to| Member::new(to))
        .collect::<Result<_, _>>()?;
    let mut chain = None;
    for member in &members {
        match member.info().await {
            Ok(info) => chain = Some(ChainId(info.chain)),
            Err(error) => eprintln!("fairlane-engine: {error}"),
        }
    }
    let chain = chain.ok_or_else(|| ClientError::Address(args.to.join(", ")))?;
    let cursor = args.cursor.as_deref();
    let mut from = remembered(cursor);
    let mut feed = AttestedFeed::new(members.clone(), key, chain, Some(from));
    loop {
        let blocks = match feed.next().await? {
            AttestedEvent::Blocks { blocks, .. } => blocks,
            AttestedEvent::Heartbeat(_) => continue,
            AttestedEvent::Moved { from, error } => {
                eprintln!("fairlane-engine: {error}; going on at another member than {from}");
                continue;
            }
        };
        for block in blocks {
            driver.push(&block)?;
            if !driver.is_following() && block.height == from && from > Height(1) {
                // The cursor is of another state of the client: from the start, then.
                from = Height(1);
                feed = AttestedFeed::new(members.clone(), key, chain, Some(from));
                break;
            }
            let built = build(&mut driver, cursor).await?;
            if built.is_some_and(|at| args.until.is_some_and(|until| at.0 >= until)) {
                return Ok(());
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("fairlane-engine: {problem}");
            if let Problem::Client(ClientError::Api(error)) = &problem
                && let Some(first) = error.first_available()
            {
                eprintln!(
                    "fairlane-engine: the members keep heights from {first} on; name one with --to \
                     that keeps everything (store.archive = true)"
                );
            }
            ExitCode::FAILURE
        }
    }
}
