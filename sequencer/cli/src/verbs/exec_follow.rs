//! `fairlane exec follow`: the clearing house in a process of its own, fed by the members'
//! resumable feed, as far as the committee has attested it.
//!
//! - What it keeps is one file: where it is in the sequence, and the state there. The file is
//!   replaced whole, so that the two always belong together.
//! - After a kill it goes on from there. The blocks since come again and give the same roots;
//!   a member that was killed is another member's turn, or the same one's when it is back.
//! - A slow consumer holds nobody up: members drop its stream and it asks again.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fairlane_client::{Cursor, Feed, FeedEvent, Pin};
use fairlane_execution::params::ExecutionGenesis;
use fairlane_execution::{Clearing, Execution, SNAPSHOT_BYTES_MAX};
use fairlane_node::executor::{digest_of, read_genesis};
use fairlane_types::{Digest, Height, decode, encode};
use tokio::signal::unix::{SignalKind, signal};

use crate::exec_args::ExecFollowArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Room for what stands beside the snapshot.
const AROUND_BYTES_MAX: usize = 4 << 10;

/// What is kept: the chain, the execution's genesis, the place in the sequence, the state.
type Kept = (Digest, Digest, String, Vec<u8>);

struct Follower {
    path: PathBuf,
    pin: Pin,
    genesis: Digest,
    clearing: Clearing,
}

impl Follower {
    /// Goes on from the file, or starts; gives the place in the sequence.
    fn open(folder: &Path, pin: &Pin, genesis: &ExecutionGenesis) -> Outcome<(Self, Cursor)> {
        fs::create_dir_all(folder)?;
        let start = Cursor::start(pin);
        let mut clearing = Clearing::new(genesis, start.root()).map_err(Problem::preflight)?;
        let path = folder.join("execution.state");
        let digest = digest_of(genesis);
        let cursor = match read(&path)? {
            Some((chain, of, cursor, snapshot)) => {
                if (chain, of) != (pin.hash(), digest) {
                    let what = format!(
                        "{} is of another chain or another execution.toml",
                        path.display()
                    );
                    return Err(Problem::preflight(what).next("choose another folder"));
                }
                let damaged = |what: String| {
                    Problem::preflight(format!("{} is damaged: {what}", path.display()))
                        .next("remove it to begin again")
                };
                clearing
                    .restore(&snapshot)
                    .map_err(|e| damaged(e.to_string()))?;
                let cursor: Cursor =
                    serde_json::from_str(&cursor).map_err(|e| damaged(e.to_string()))?;
                let here = (clearing.head().0, clearing.sequence());
                if here != (cursor.height(), cursor.root()) {
                    return Err(damaged("state and place do not belong together".to_owned()));
                }
                cursor
            }
            None => start,
        };
        let follower = Self {
            path,
            pin: pin.clone(),
            genesis: digest,
            clearing,
        };
        Ok((follower, cursor))
    }

    /// Replaces the file, whole or not at all.
    fn save(&self, feed: &Feed) -> Outcome {
        let Some(cursor) = feed.cursor() else {
            return Ok(());
        };
        let cursor = serde_json::to_string(cursor).map_err(Problem::failed)?;
        let kept: Kept = (
            self.pin.hash(),
            self.genesis,
            cursor,
            self.clearing.snapshot(),
        );
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&encode(&kept))?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()?;
        Ok(())
    }
}

fn read(path: &Path) -> Outcome<Option<Kept>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let most = SNAPSHOT_BYTES_MAX + AROUND_BYTES_MAX;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    let kept = decode(&bytes, most);
    let what = |error| Problem::preflight(format!("{} is damaged: {error}", path.display()));
    kept.map(Some)
        .map_err(|error| what(error).next("remove it to begin again"))
}

/// Runs it until a height, or until it is stopped.
pub async fn run(args: ExecFollowArgs, term: Term) -> Outcome {
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let (pin, members) = (committee.pin().clone(), committee.members().to_vec());
    let genesis = read_genesis(&args.execution).map_err(Problem::preflight)?;
    let missing = || Problem::preflight(format!("{} is missing", args.execution.display()));
    let genesis = genesis.ok_or_else(missing)?;
    let (mut follower, cursor) = Follower::open(&args.home, &pin, &genesis)?;
    let (height, root) = follower.clearing.head();
    term.result(
        &serde_json::json!({ "from": { "height": height.to_string(), "state_root": root } }),
        || format!("executing from height {height}, state root {}", short(root)),
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let until = Height(args.until.unwrap_or(u64::MAX));
    let mut feed = super::follow::feed(&pin, &members, cursor.into(), args.unattested, term)?;
    while feed.height() < until {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        match event {
            FeedEvent::Heartbeat(_) | FeedEvent::Attested(_) => {}
            FeedEvent::Moved { from, error } => super::follow::moved(&from, &error, term),
            FeedEvent::Block(block) => {
                let done = follower.clearing.apply(&block);
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
                    follower.save(&feed)?;
                }
            }
        }
    }
    follower.save(&feed)
}
