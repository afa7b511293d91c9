//! `fairlane follow`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use fairlane_client::sequence_file::{Record, SequenceWriter};
use fairlane_client::wire::BlockBody;
use fairlane_client::{ChainVerifier, Cursor, Feed, FeedEvent, Member, Pin, check_proof, sample};
use fairlane_encryption::Attestation;
use fairlane_types::{
    Digest, Envelope, Epoch, Handover, Height, Item, Order, Outcome as OrderOutcome, SequencedBlock,
};

use crate::args::FollowArgs;
use crate::exit::{Outcome, Problem};
use crate::term::{Term, short};

/// The sequence file that `--out` writes.
pub type SequenceFile = SequenceWriter<BufWriter<File>>;

/// Prints verified blocks until the end asked for or Ctrl-C.
pub async fn run(args: FollowArgs, term: Term) -> Outcome {
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let (mut pin, members) = (committee.pin().clone(), committee.members().to_vec());
    let start = start(&args, &pin, &members, term).await?;
    let mut out = create(args.out.as_deref(), pin.hash())?;
    if let (Some(out), Some(activation)) = (&mut out, pin.activation()) {
        out.write(&Record::Activation(activation.clone()))?;
    }
    if let Some(out) = &mut out {
        // Whoever reads the file begins with the first genesis.
        for epoch in 1..=pin.genesis().epoch().0 {
            let handover = handover(&members, Epoch(epoch)).await?;
            out.write(&Record::Handover(Box::new(handover)))?;
        }
    }
    let mut feed = Feed::new(pin.clone(), members.clone(), start);
    let mut pending = None;
    let until = Height(args.until.unwrap_or(u64::MAX));
    while feed.cursor().height() < until {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match event {
            FeedEvent::Heartbeat(_) => {}
            FeedEvent::Moved { from, error } => {
                term.note(term.dim(&format!("{error}; going on at another member than {from}")));
            }
            FeedEvent::Block(block) => {
                while pin.genesis().epoch() < block.epoch {
                    let next = pin.genesis().epoch().next();
                    let handover = handover(&members, next).await?;
                    pin = pin.handed_over(handover.clone())?;
                    feed.go_on(pin.clone());
                    if let Some(out) = &mut out {
                        out.write(&Record::Handover(Box::new(handover)))?;
                    }
                }
                if let Some(out) = &mut out {
                    record(out, &pin, &members, &block, feed.verifier()).await?;
                    attested(out, &members, &block, &mut pending).await?;
                }
                if args.all || !block.items.is_empty() {
                    show(&block, term);
                }
                if let Some(path) = &args.cursor {
                    feed.cursor().store(path).map_err(Problem::failed)?;
                }
            }
        }
    }
    close(out)
}

/// What began an epoch, from the first member that has it.
async fn handover(members: &[Member], epoch: Epoch) -> Outcome<Handover> {
    let mut last = Problem::usage("no members");
    for member in members {
        match member.handover(epoch).await {
            Ok(handover) => return Ok(handover),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// A new sequence file, if one is asked for.
pub fn create(path: Option<&Path>, genesis: Digest) -> Outcome<Option<SequenceFile>> {
    let Some(path) = path else { return Ok(None) };
    let file = File::create_new(path)
        .map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))?;
    Ok(Some(SequenceWriter::new(BufWriter::new(file), genesis)?))
}

/// Ends it; it is on the disk then.
pub fn close(out: Option<SequenceFile>) -> Outcome {
    if let Some(out) = out {
        out.finish()?
            .into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
    }
    Ok(())
}

/// Where to go on: the cursor file, or a height.
async fn start(args: &FollowArgs, pin: &Pin, members: &[Member], term: Term) -> Outcome<Cursor> {
    if let Some(path) = &args.cursor {
        let found = Cursor::load(path, pin).map_err(Problem::preflight)?;
        return Ok(found.unwrap_or_else(|| Cursor::start(pin)));
    }
    if args.from == 1 {
        return Ok(Cursor::start(pin));
    }
    let before = Height(args.from).prev();
    let mut last = Problem::usage("no members");
    for member in members {
        match member.block_at(before).await {
            Ok(block) if block.height == before && block.root == block.compute_root() => {
                term.note(term.dim(&format!(
                    "block {before} with root {} is taken on a member's word",
                    short(block.root)
                )));
                return Ok(Cursor::after(pin, &block));
            }
            Ok(_) => last = Problem::failed(format!("{} served another block", member.address())),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Writes a block and the envelopes of its orders, each checked.
async fn record<W: std::io::Write>(
    out: &mut SequenceWriter<W>,
    pin: &Pin,
    members: &[Member],
    block: &SequencedBlock,
    verifier: &ChainVerifier,
) -> Outcome {
    out.write(&Record::Block(block.clone()))?;
    for item in &block.items {
        for member in members {
            let Ok(proof) = member.proof(item.ct_id).await else {
                continue;
            };
            check_proof(pin, item.ct_id, &proof)?;
            if let Some(envelope) = proof.envelope.map(Envelope::from) {
                verifier.check_opening(item, &envelope)?;
                out.write(&Record::Envelope(envelope))?;
                break;
            }
        }
    }
    Ok(())
}

/// Writes the attestation of this block's root, if it is the one that is attested. The next
/// attestation is asked for once, and written when its block comes; `verify` checks it.
async fn attested<W: std::io::Write>(
    out: &mut SequenceWriter<W>,
    members: &[Member],
    block: &SequencedBlock,
    pending: &mut Option<Attestation>,
) -> Outcome {
    if pending.is_none_or(|pending| pending.height < block.height) {
        *pending = None;
        for member in members {
            if let Ok(found) = member.attestation(Some(block.height)).await {
                *pending = Some(found);
                break;
            }
        }
    }
    if let Some(found) = pending.take_if(|found| found.height == block.height) {
        out.write(&Record::Attestation(found))?;
    }
    Ok(())
}

/// A block and its items.
pub fn show(block: &SequencedBlock, term: Term) {
    if term.json() {
        return term.line(serde_json::json!({ "block": BlockBody::from(block) }));
    }
    term.line(format!(
        "{} {}  {} orders  root {}",
        term.bold("height"),
        block.height,
        block.items.len(),
        short(block.root)
    ));
    for item in &block.items {
        term.line(format!("  {}", describe(item, None)));
    }
}

/// One line about an item.
pub fn describe(item: &Item, trader: Option<&str>) -> String {
    let sender = item.label.sender.to_string();
    let who = trader.map_or_else(|| short(&sender), str::to_owned);
    let what = match &item.outcome {
        OrderOutcome::Opened { payload, .. } => match Order::from_bytes(payload) {
            Ok(order) => describe_order(&order),
            Err(error) => format!("{} bytes that are no order: {error}", payload.len()),
        },
        other => format!("({})", other.word()),
    };
    format!("#{:<5} {who:<12} {what}", item.position.0)
}

fn describe_order(order: &Order) -> String {
    let json = sample::describe_order(order);
    let text = |key: &str| match &json[key] {
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match text("op").as_str() {
        "place" => format!(
            "{:<4} {:>6} @ {:<8} market {}  {}{}  cloid {}",
            text("side"),
            text("lots"),
            text("price_ticks"),
            text("market"),
            text("tif"),
            if json["reduce_only"] == true {
                " reduce-only"
            } else {
                ""
            },
            text("cloid"),
        ),
        "cancel" => format!(
            "cancel cloid {} in market {}",
            text("cloid"),
            text("market")
        ),
        _ if json["market"].is_null() => "cancel all".into(),
        _ => format!("cancel all in market {}", text("market")),
    }
}
