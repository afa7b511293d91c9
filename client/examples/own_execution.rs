//! A rollup's own execution over a committee's feed, in a process of its own: it counts each
//! sender's orders and remembers the last payload of each. Take it as a pattern.
//!
//! `own_execution GENESIS STATE UNTIL MEMBER…`: the committee's `genesis.json`; the file to go on
//! from; the height to end at and print the table (0: never); members' public addresses. Each
//! block gives a line of JSON.
//!
//! It may be killed at any time: the next start goes on after the last save.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use fairlane_client::{Cursor, Feed, FeedEvent, Kept, Member, Pin};
use fairlane_execution::{
    AccountProof, Executed, Execution, ExecutionError, Receipt, Reject, Results, SNAPSHOT_BYTES_MAX,
};
use fairlane_types::{
    Digest, Height, Item, Outcome, PublicKey, Root, SequencedBlock, decode, encode,
};

/// Orders of a sender, and the payload of its last one.
type Row = (u64, Vec<u8>);
/// The state as it is hashed and saved: height, root of the sequence there, rows by sender.
type State = (Height, Root, Vec<(PublicKey, Row)>);

/// The execution.
struct Tally {
    height: Height,
    sequence: Root,
    rows: BTreeMap<PublicKey, Row>,
    finalized: Height,
    results: Results,
}

impl Tally {
    /// Before the first block of the sequence that starts from `sequence`.
    fn new(sequence: Root) -> Self {
        Self {
            height: Height(0),
            sequence,
            rows: BTreeMap::new(),
            finalized: Height(0),
            results: Results::default(),
        }
    }

    fn state(&self) -> State {
        let rows = self.rows.iter().map(|(key, row)| (*key, row.clone()));
        (self.height, self.sequence, rows.collect())
    }

    /// Hash over the whole state: enough for a table that is small.
    fn root(&self) -> Digest {
        Digest(blake3::derive_key(
            "example tally state",
            &encode(&self.state()),
        ))
    }

    fn take(&mut self, item: &Item) -> Receipt {
        let code = match &item.outcome {
            Outcome::Opened { payload, .. } => {
                let row = self.rows.entry(item.label.sender).or_default();
                row.0 += 1;
                row.1.clone_from(payload);
                0
            }
            // Its place is kept, and nothing done.
            _ => Reject::NotOpened.code(),
        };
        Receipt {
            position: item.position,
            code,
            fills: Vec::new(),
        }
    }
}

impl Execution for Tally {
    fn head(&self) -> (Height, Digest) {
        (self.height, self.root())
    }

    fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError> {
        if let Some(stored) = self.results.of(block, self.height, self.sequence)? {
            return Ok(stored);
        }
        let got = block.height;
        let receipts: Vec<_> = block.items.iter().map(|item| self.take(item)).collect();
        (self.height, self.sequence) = (got, block.root);
        let executed = Executed {
            height: got,
            state_root: self.root(),
            receipts_root: Executed::receipts_root(&receipts, &[]),
            receipts,
            events: Vec::new(),
        };
        Ok(self.results.keep(executed))
    }

    fn finalize(&mut self, height: Height) {
        self.finalized = self.finalized.max(height.min(self.height));
    }

    fn finalized(&self) -> Height {
        self.finalized
    }

    /// There is no tree to prove in.
    fn prove(&self, key: &PublicKey, _: Height) -> Result<AccountProof, ExecutionError> {
        Err(ExecutionError::NoProof(*key))
    }

    fn snapshot(&self) -> Vec<u8> {
        encode(&(self.state(), self.root()))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<Digest, ExecutionError> {
        let bad = |why: &str| ExecutionError::Snapshot(why.to_owned());
        let (state, root): (State, Digest) =
            decode(bytes, SNAPSHOT_BYTES_MAX).map_err(|error| bad(&error.to_string()))?;
        let mut restored = Self::new(state.1);
        (restored.height, restored.finalized) = (state.0, self.finalized.min(state.0));
        restored.rows = state.2.into_iter().collect();
        if restored.root() != root {
            return Err(bad("its root does not fit its content"));
        }
        *self = restored;
        Ok(root)
    }
}

/// The committee's keys. Where its members made them, the genesis has none: the first member
/// that answers tells them, with the signatures of a quorum of those in the genesis.
async fn trusted(genesis: &Path, members: &[Member]) -> Result<Pin, Box<dyn Error>> {
    let genesis = Pin::read_genesis(genesis)?;
    let mut last = None;
    for member in members {
        match member.pin(genesis.clone()).await {
            Ok(pin) => return Ok(pin),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| "no member's address was given".into(), Into::into))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [genesis, state, until, members @ ..] = arguments.as_slice() else {
        return Err("own_execution GENESIS STATE UNTIL MEMBER…".into());
    };
    let members = members.iter().map(|to| Member::new(to));
    let members: Vec<_> = members.collect::<Result<_, _>>()?;
    let pin = trusted(Path::new(genesis), &members).await?;
    let until = match until.parse()? {
        0 => Height(u64::MAX),
        height => Height(height),
    };
    // What a tally begins with is the same for all; a rollup hashes its own genesis here.
    let begins = Digest(blake3::derive_key("example tally genesis", &[]));
    let tally = Tally::new(Cursor::start(&pin).root());
    let mut kept = Kept::open(Path::new(state), &pin, begins, tally)?;
    let (height, root) = kept.execution().head();
    println!(r#"{{"from":{{"height":"{height}","state_root":"{root}"}}}}"#);
    let mut feed = Feed::new(pin, members, kept.cursor().clone())?;
    while kept.cursor().height() < until {
        match feed.next().await? {
            FeedEvent::Block(block) => {
                let done = kept.apply(&block)?;
                let (height, root) = (done.height, done.state_root);
                println!(r#"{{"executed":{{"height":"{height}","state_root":"{root}"}}}}"#);
            }
            // It covers all blocks since the one before.
            FeedEvent::Attested(attestation) => {
                kept.finalize(attestation.height);
                kept.save()?;
            }
            FeedEvent::Heartbeat(_) => {}
            FeedEvent::Moved { from, error } => eprintln!("{error}; going on, not at {from}"),
        }
    }
    kept.save()?;
    for (sender, (orders, last)) in &kept.execution().rows {
        let last = hex::encode(last);
        println!(r#"{{"sender":"{sender}","orders":{orders},"last":"{last}"}}"#);
    }
    Ok(())
}
