//! `fairlane exec change`: a member's voice for other parameters of the clearing house.

use std::path::Path;
use std::time::{Duration, Instant};

use fairlane_client::wire::Wait;
use fairlane_client::{Member, SealOptions, Sealer, check_receipt};
use fairlane_execution::{Change, Reject, Request, Tx};
use fairlane_node::home::Home;
use fairlane_types::{Height, Millis};
use rand_core::Rng;

use crate::exec_args::ExecChangeArgs;
use crate::exit::{Outcome, Problem};
use crate::seed;
use crate::term::Term;

/// Largest change that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 16;
/// How long it may take until it is opened, and then until it is executed.
const WAIT: Duration = Duration::from_secs(20);
/// Pause before a member is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Seals it, sends it, and waits for what becomes of it.
pub async fn run(args: ExecChangeArgs, term: Term) -> Outcome {
    let change = read(&args.file)?;
    let passphrase = super::keys::passphrase(&args.home.passphrase)?;
    let home = Home::open(&args.home.home)?.with_passphrase(passphrase.map(Into::into));
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let pin = committee.pin();
    let (height, boxed) = (args.height, Box::new(change.clone()));
    let payload = Tx::Request(Request::Change {
        height,
        change: boxed,
    })
    .to_bytes();
    let mut rng = seed::rng("exec change")?;
    let options = SealOptions {
        nonce: rng.next_u64(),
        expiry: Millis(seed::now_ms().saturating_add(WAIT.as_millis() as u64)),
        lane: None,
    };
    let envelope = Sealer::new(pin, home.identity()?)
        .seal_bytes(&payload, options, &mut rng)
        .map_err(Problem::usage)?;
    let n = committee.members().len().max(1);
    let first = usize::from(envelope.id().as_bytes()[0]) % n;
    let delivery = committee.submit_to_any(&envelope, first).await?;
    let receipt = delivery.result?;
    let member = &committee.members()[receipt.lane.index() % n];
    let answer = member
        .submit_and_wait(&envelope, Wait::Opened, WAIT)
        .await?;
    check_receipt(pin, envelope.id(), &answer.receipt.into())?;
    let order = answer.order;
    let (Some(at), Some(position)) = (order.height, order.position) else {
        let word = order.status.word();
        return Err(Problem::failed(format!("it is not opened, but {word}")));
    };
    let code = code(member, Height(at), position).await?;
    if code != 0 {
        let why = Reject::of(code).map_or_else(|| "refused".to_owned(), |why| why.to_string());
        return Err(Problem::failed(format!("refused at height {at}: {why}")));
    }
    let voices = member.changes().await?.into_iter().find(|proposal| {
        proposal.height == height && proposal.change().is_ok_and(|said| said == change)
    });
    let (by, agreed) = voices.map_or((Vec::new(), false), |p| (p.by, p.agreed));
    let value = serde_json::json!({ "change": {
        "said_at": at.to_string(), "height": height.to_string(), "by": by, "agreed": agreed,
    }});
    term.result(&value, || {
        let state = if agreed {
            "a quorum has said it"
        } else {
            "it is not agreed yet"
        };
        format!(
            "{} said at height {at} for height {height}; {} oracles have, {state}",
            term.green("✔"),
            by.len()
        )
    });
    Ok(())
}

fn read(path: &Path) -> Outcome<Change> {
    let refuse = |reason: String| Problem::preflight(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|e| refuse(e.to_string()))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    toml::from_str(&text).map_err(|error| refuse(error.to_string()))
}

/// What the clearing house of a member made of an item, once it has come to its height.
async fn code(member: &Member, height: Height, position: u64) -> Outcome<u16> {
    let deadline = Instant::now() + WAIT;
    loop {
        match member.executed(height).await {
            Ok(done) => {
                let mut receipts = done.receipts.iter();
                let found = receipts.find(|receipt| receipt.position == position);
                let missing = || Problem::failed("the member's block has no such item");
                return Ok(found.ok_or_else(missing)?.code);
            }
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
