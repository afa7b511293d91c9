//! `fairlane follow`.

use fairlane_client::sequence_file::Record;
use fairlane_client::wire::BlockBody;
use fairlane_client::{
    ClientError, Cursor, Feed, FeedEvent, Member, Pin, Start, VerifyError, check_opening, sample,
};
use fairlane_types::{
    Envelope, Epoch, Handover, Height, Item, Order, Outcome as OrderOutcome, SequencedBlock,
};
use tokio::signal::unix::{SignalKind, signal};

use super::sequence_out::SequenceOut;
use crate::exit::{Outcome, Problem};
use crate::follow_args::FollowArgs;
use crate::term::{Term, short};

/// Prints blocks until the end asked for or Ctrl-C.
pub async fn run(args: FollowArgs, term: Term) -> Outcome {
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let (mut pin, members) = (committee.pin().clone(), committee.members().to_vec());
    let (start, known) = start(&args, &pin)?;
    let mut out = out(&args, &pin, &start, known)?;
    if let Some(out) = &mut out {
        // Whoever reads the file begins with the first genesis.
        for epoch in out.epoch().0 + 1..=pin.genesis().epoch().0 {
            out.hand_over(handover(&members, Epoch(epoch)).await?)?;
        }
    }
    let mut feed = feed(&pin, &members, start, args.unattested, term)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let until = Height(args.until.unwrap_or(u64::MAX));
    // Orders in the file whose envelopes no member has any more.
    let mut bare = 0;
    // Whether the file ends with blocks that nothing in it covers yet.
    let mut open = false;
    while feed.height() < until || open {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        match event {
            FeedEvent::Heartbeat(_) => {}
            FeedEvent::Moved { from, error } => moved(&from, &error, term),
            FeedEvent::Attested(attestation) => {
                if let Some(out) = &mut out {
                    out.write(&Record::Attestation(attestation))?;
                }
                open = false;
                keep(&args, &feed, &mut out)?;
            }
            FeedEvent::Block(block) => {
                while pin.genesis().epoch() < block.epoch {
                    let next = pin.genesis().epoch().next();
                    let handover = handover(&members, next).await?;
                    pin = pin.handed_over(handover.clone())?;
                    feed.go_on(pin.clone());
                    if let Some(out) = &mut out {
                        out.hand_over(handover)?;
                    }
                }
                if let Some(out) = &mut out {
                    bare += record(out, &pin, &members, &block).await?;
                    open = !args.unattested;
                }
                if block.height <= until && (args.all || !block.items.is_empty()) {
                    show(&block, !args.unattested, term);
                }
                if args.unattested {
                    keep(&args, &feed, &mut out)?;
                }
            }
        }
    }
    if bare > 0 {
        term.note(format!(
            "{bare} orders are in the file without their envelopes: no member has them, and \
             `fairlane verify` cannot check what those orders opened to"
        ));
    }
    keep(&args, &feed, &mut out)
}

/// A feed of what the committee has attested; of what members serve, if that is asked for.
pub fn feed(
    pin: &Pin,
    members: &[Member],
    start: Start,
    unattested: bool,
    term: Term,
) -> Outcome<Feed> {
    if unattested {
        term.note("unattested: blocks are shown on the members' word");
        return Ok(Feed::unattested(pin.clone(), members.to_vec(), start));
    }
    Ok(Feed::new(pin.clone(), members.to_vec(), start)?)
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

/// Says that another member is asked.
pub fn moved(from: &str, error: &ClientError, term: Term) {
    term.note(term.dim(&format!("{error}; going on at another member than {from}")));
}

/// Remembers where to go on; the file is on the disk before that.
fn keep(args: &FollowArgs, feed: &Feed, out: &mut Option<SequenceOut>) -> Outcome {
    if let Some(out) = out {
        out.sync()?;
    }
    if let (Some(path), Some(cursor)) = (&args.cursor, feed.cursor()) {
        cursor.store(path).map_err(Problem::failed)?;
    }
    Ok(())
}

/// The sequence file that is asked for. With a cursor, which is stored first, it goes on where
/// that is.
fn out(args: &FollowArgs, pin: &Pin, start: &Start, known: bool) -> Outcome<Option<SequenceOut>> {
    let Some(path) = &args.out else {
        return Ok(None);
    };
    if let (Start::After(cursor), Some(file)) = (start, &args.cursor) {
        if known && let Some(out) = SequenceOut::resume(path, pin.hash(), cursor.height())? {
            return Ok(Some(out));
        }
        cursor.store(file).map_err(Problem::failed)?;
    }
    let mut out = SequenceOut::create(path, pin.hash())?;
    if let Some(activation) = pin.activation() {
        out.write(&Record::Activation(activation.clone()))?;
        out.sync()?;
    }
    Ok(Some(out))
}

/// Where to begin: the cursor file, or a height; and whether there was such a file.
fn start(args: &FollowArgs, pin: &Pin) -> Outcome<(Start, bool)> {
    if let Some(path) = &args.cursor
        && let Some(cursor) = Cursor::load(path, pin).map_err(Problem::preflight)?
    {
        return Ok((cursor.into(), true));
    }
    let start = match args.from {
        Some(1) => Cursor::start(pin).into(),
        Some(height) => Start::At(Height(height)),
        // Whoever keeps a cursor wants everything: nothing is left out unasked.
        None if args.cursor.is_some() => Cursor::start(pin).into(),
        None => Start::First,
    };
    Ok((start, false))
}

/// Writes a block and the envelopes of its orders, each checked; gives how many opened orders
/// no member has the envelope of.
async fn record(
    out: &mut SequenceOut,
    pin: &Pin,
    members: &[Member],
    block: &SequencedBlock,
) -> Outcome<u64> {
    out.write(&Record::Block(block.clone()))?;
    let mut bare = 0;
    for item in &block.items {
        let mut found = false;
        for member in members {
            let Ok(proof) = member.proof(item.ct_id).await else {
                continue;
            };
            let Some(envelope) = proof.envelope.map(Envelope::from) else {
                continue;
            };
            match check_opening(pin, item, &envelope) {
                // Not what was asked for: somebody else may have it.
                Err(VerifyError::OtherEnvelope { .. }) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) if envelope.signature_check().verify().is_err() => continue,
                Ok(_) => {}
            }
            out.write(&Record::Envelope(envelope))?;
            found = true;
            break;
        }
        let opened = matches!(item.outcome, OrderOutcome::Opened { .. });
        bare += u64::from(opened && !found);
    }
    Ok(bare)
}

/// A block and its items.
pub fn show(block: &SequencedBlock, attested: bool, term: Term) {
    if term.json() {
        let block = BlockBody::from(block);
        return term.line(serde_json::json!({ "block": block, "attested": attested }));
    }
    term.line(format!(
        "{} {}  {} orders  root {}{}",
        term.bold("height"),
        block.height,
        block.items.len(),
        short(block.root),
        if attested { "" } else { "  unattested" },
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
