//! `fairlane exec follow`: the clearing house in a process of its own, fed by the members'
//! resumable feed, as far as the committee has attested it.
//!
//! - What it keeps is one file: where it is in the sequence, and the state there.
//! - After a kill it goes on from there. The blocks since come again and give the same roots;
//!   a member that was killed is another member's turn, or the same one's when it is back.
//! - A slow consumer holds nobody up: members drop its stream and it asks again.

use std::fs;

use fairlane_client::{Cursor, FeedEvent, Kept};
use fairlane_execution::{Clearing, Execution};
use fairlane_node::executor::{digest_of, read_genesis};
use fairlane_types::Height;
use tokio::signal::unix::{SignalKind, signal};

use crate::exec_args::ExecFollowArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Runs it until a height, or until it is stopped.
pub async fn run(args: ExecFollowArgs, term: Term) -> Outcome {
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let (pin, members) = (committee.pin().clone(), committee.members().to_vec());
    let genesis = read_genesis(&args.execution).map_err(Problem::preflight)?;
    let missing = || Problem::preflight(format!("{} is missing", args.execution.display()));
    let genesis = genesis.ok_or_else(missing)?;
    fs::create_dir_all(&args.home)?;
    let fresh = Clearing::new(&genesis, Cursor::start(&pin).root()).map_err(Problem::preflight)?;
    let path = args.home.join("execution.state");
    let mut kept = Kept::open(&path, &pin, digest_of(&genesis), fresh)?;
    let (height, root) = kept.execution().head();
    term.result(
        &serde_json::json!({ "from": { "height": height.to_string(), "state_root": root } }),
        || format!("executing from height {height}, state root {}", short(root)),
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let until = Height(args.until.unwrap_or(u64::MAX));
    let start = kept.cursor().clone().into();
    let mut feed = super::follow::feed(&pin, &members, start, args.unattested, term)?;
    while feed.height() < until {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        match event {
            FeedEvent::Heartbeat(_) => {}
            FeedEvent::Attested(attestation) => kept.finalize(attestation.height),
            FeedEvent::Moved { from, error } => super::follow::moved(&from, &error, term),
            FeedEvent::Block(block) => {
                let done = kept.apply(&block);
                let done = done.map_err(|e| Problem::new(Exit::Verification, e.to_string()))?;
                let fills: usize = done.receipts.iter().map(|r| r.fills.len()).sum();
                let value = serde_json::json!({ "executed": {
                    "height": done.height.to_string(), "state_root": done.state_root,
                    "receipts_root": done.receipts_root, "items": done.receipts.len(),
                    "fills": fills, "events": done.events.len(),
                }});
                term.result(&value, || {
                    format!(
                        "height {}  {} items, {fills} fills  state root {}",
                        done.height,
                        done.receipts.len(),
                        short(done.state_root)
                    )
                });
                if done.height.0.is_multiple_of(args.save_every) {
                    kept.save()?;
                }
            }
        }
    }
    Ok(kept.save()?)
}
