//! `fairlane devnet`: a committee on this machine, and sample orders through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlane_client::sample::{self, Sample};
use fairlane_client::wire::OrderWord;
use fairlane_client::{
    ClientError, Committee, Cursor, FanOut, Feed, FeedEvent, Pin, SealOptions, Sealer,
    check_opening, dev,
};
use fairlane_types::{CtId, Envelope, Height, Millis, Outcome as OrderOutcome, SequencedBlock};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand_core::Rng;
use tokio::sync::mpsc;

use crate::args::DevnetArgs;
use crate::dev_markets;
use crate::exit::{Exit, Outcome, Problem};
use crate::local::{Agreement, Chain, Folder, Kind, LocalNet};
use crate::measure::{percentiles, round};
use crate::seed;
use crate::term::{Term, short};

/// Orders that are acknowledged must come out within this after the last was sent.
const OUT_MAX: Duration = Duration::from_secs(60);

/// What happens to a sample order, told by its task.
enum Told {
    Sealed {
        index: usize,
        due: Instant,
        envelope: Arc<Envelope>,
    },
    Acknowledged,
    Refused {
        index: usize,
        error: String,
    },
}

struct Order {
    index: usize,
    due: Instant,
    envelope: Arc<Envelope>,
}

#[derive(Default)]
struct Counts {
    sealed: usize,
    acknowledged: usize,
    refused: usize,
    ordered: usize,
    opened: usize,
    undecryptable: usize,
    doubled: usize,
    last_height: Height,
}

/// Runs it.
pub async fn run(args: DevnetArgs, term: Term) -> Outcome {
    let samples = match &args.orders {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))?;
            sample::parse(&text)
                .map_err(|error| Problem::usage(format!("{}: {error}", path.display())))?
        }
        None => Vec::new(),
    };
    let start = Instant::now();
    let folder = Folder::new(args.home.clone(), args.keep)?;
    term.note(term.dim(&format!("starting {} members …", args.members)));
    let kind = if args.in_process {
        Kind::InProcess
    } else {
        Kind::Children {
            liars: 0,
            lie: None,
        }
    };
    let execution = dev_markets::genesis(&samples);
    let net = LocalNet::start(
        args.members,
        Chain {
            scheme: args.scheme,
            rule: args.order.rule,
            tie: args.order.tie,
            snapshot_interval: args.snapshot_interval,
            combining: args.order.combining,
            dealer: args.dealer,
        },
        folder,
        kind,
        Some(execution),
    )
    .await?;
    banner(&net, &args, &samples, start, term);
    // From here on the members are stopped whatever happens.
    let traded = tokio::select! {
        result = async {
            // Before that markets take only what cannot fill.
            net.priced().await?;
            trade(&args, &net, &samples, term).await
        } => result,
        _ = tokio::signal::ctrl_c() => Err(Problem::failed("interrupted before every order came out")),
    };
    let reached = traded
        .as_ref()
        .map_or(Height(0), |(counts, _)| counts.last_height);
    // At once: a member keeps the results of its last heights only.
    let executed = match reached {
        Height(0) => Ok(None),
        height => net.executed(height).await.map(Some),
    };
    let agreed = net.agreement(reached).await;
    if !args.exit && traded.is_ok() {
        term.note(term.dim("running; Ctrl-C stops it"));
        let _ = tokio::signal::ctrl_c().await;
    }
    let (on_disk, stopped) = net.stop().await;
    let (counts, latencies_ms) = traded?;
    let (agreed, on_disk) = (agreed?, on_disk?);
    let executed = executed?;
    let same_root = agreed.same && on_disk.same && executed.is_none_or(|e| e.same);
    let p = percentiles(latencies_ms);
    let out = counts.opened + counts.undecryptable;
    let mut value = serde_json::json!({ "summary": {
        "members": args.members, "orders_in": samples.len(), "orders_out": counts.ordered,
        "undecryptable": counts.undecryptable, "same_root": same_root, "root": agreed.root,
        "height": agreed.height, "p50_ms": p.p50_ms, "p99_ms": p.p99_ms,
        "wall_s": round(start.elapsed().as_secs_f64()),
        "refused": counts.refused, "doubled": counts.doubled, "opened": counts.opened,
        "disk_height": on_disk.height, "disk_root": on_disk.root,
    }});
    if let Some(executed) = executed {
        value["summary"]["executed"] = serde_json::json!({
            "height": executed.height, "state_root": executed.state_root, "same": executed.same,
            "fills": executed.fills, "positions": executed.positions,
        });
    }
    term.result(&value, || {
        let mut text = summary(
            &samples, &counts, p.p50_ms, p.p99_ms, &agreed, same_root, term,
        );
        if let Some(executed) = executed {
            text.push_str(&format!(
                "\n  executed: {} fills, {} open positions, state root {} at height {}",
                executed.fills,
                executed.positions,
                short(executed.state_root),
                executed.height,
            ));
        }
        text
    });
    if !same_root {
        return Err(Problem::new(
            Exit::Verification,
            "the members do not have the same root",
        ));
    }
    if counts.ordered != samples.len() || counts.doubled > 0 || out != counts.ordered {
        return Err(Problem::failed("not every order came out once, opened"));
    }
    stopped
}

fn summary(
    samples: &[Sample],
    counts: &Counts,
    p50_ms: f64,
    p99_ms: f64,
    agreed: &Agreement,
    same_root: bool,
    term: Term,
) -> String {
    let verdict = if same_root {
        term.green("the same on every member")
    } else {
        term.red("NOT the same on every member")
    };
    format!(
        "{} {} orders in, {} out, {} opened, {} undecryptable, {} refused\n  submit → verified opening: p50 {p50_ms} ms, p99 {p99_ms} ms\n  height {}, root {} {verdict}",
        term.bold("summary"),
        samples.len(),
        counts.ordered,
        counts.opened,
        counts.undecryptable,
        counts.refused,
        agreed.height,
        short(agreed.root),
    )
}

fn banner(net: &LocalNet, args: &DevnetArgs, samples: &[Sample], start: Instant, term: Term) {
    let pin = net.committee.pin();
    let mut traders: Vec<_> = samples
        .iter()
        .map(|sample| sample.trader.as_str())
        .collect();
    traders.sort_unstable();
    traders.dedup();
    if term.json() {
        return term.line(serde_json::json!({ "devnet": {
            "members": args.members, "chain": pin.genesis().chain.to_string(),
            "genesis": pin.hash(), "genesis_file": net.genesis_path, "key_id": pin.key().id(),
            "committee_key": pin.certificate_key().map(hex::encode),
            "experiment": pin.genesis().experiment, "api": net.addresses, "ops": net.ops_addresses,
            "traders": traders, "ready_s": round(start.elapsed().as_secs_f64()),
        }}));
    }
    let addresses: Vec<_> = net.addresses.iter().map(ToString::to_string).collect();
    let all = addresses.join(",");
    term.line(format!(
        "{} {} members · chain {} · threshold {} · EXPERIMENT: {}",
        term.bold("fairlane devnet"),
        args.members,
        pin.genesis().chain,
        pin.key().t(),
        match pin.activation() {
            Some(_) => "keys by the members",
            None => "keys by a dealer",
        },
    ));
    for (id, (api, ops)) in net.addresses.iter().zip(&net.ops_addresses).enumerate() {
        term.line(format!(
            "  member {id}  http://{api}/v1/info  ops http://{ops}/v1/status"
        ));
    }
    let scheme = pin.genesis().encryption.scheme.name();
    term.line(format!("  key      {} ({scheme})", short(pin.key().id())));
    if let Some(key) = pin.certificate_key() {
        term.line(format!("  attests  {}", hex::encode(key)));
    }
    term.line(format!("  genesis  {}", net.genesis_path.display()));
    if !traders.is_empty() {
        term.line(format!(
            "  traders  {} (development keys)",
            traders.join(", ")
        ));
    }
    term.line(format!("  folder   {}", net.folder().display()));
    if !args.exit {
        term.line(format!(
            "  try      fairlane submit --wait opened --trader alice --to {all} '{{\"op\":\"place\",\"market\":0,\"side\":\"buy\",\"price_ticks\":643250,\"lots\":1,\"cloid\":1}}'"
        ));
        term.line(format!("           fairlane follow --to {all}"));
    }
}

/// Submits at the samples' times and follows the sequence until all are out.
async fn trade(
    args: &DevnetArgs,
    net: &LocalNet,
    samples: &[Sample],
    term: Term,
) -> Outcome<(Counts, Vec<f64>)> {
    let mut counts = Counts::default();
    let mut latencies_ms = Vec::with_capacity(samples.len());
    if samples.is_empty() {
        return Ok((counts, latencies_ms));
    }
    let pin = net.committee.pin().clone();
    // These are our own processes, and what is shown is when orders come out of them.
    let mut feed = Feed::unattested(
        pin.clone(),
        net.committee.members().to_vec(),
        Cursor::start(&pin),
    );
    let (tell, mut told) = mpsc::unbounded_channel();
    let submitting = tokio::spawn(submit_all(
        args.clone_for_load(),
        net.committee.clone(),
        samples.to_vec(),
        tell,
    ));
    let bar = progress(samples.len(), term);
    let mut orders: BTreeMap<CtId, Order> = BTreeMap::new();
    let mut early: BTreeMap<CtId, (SequencedBlock, usize, Instant)> = BTreeMap::new();
    let mut seen_ids = BTreeSet::new();
    let last_due = samples.last().map_or(0, |sample| sample.at_ms);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(last_due) + OUT_MAX;
    while counts.ordered + counts.refused < samples.len() {
        tokio::select! {
            biased;
            Some(told) = told.recv() => match told {
                Told::Sealed { index, due, envelope } => {
                    counts.sealed += 1;
                    let id = envelope.id();
                    orders.insert(id, Order { index, due, envelope });
                    // Emitted before we were told what it is.
                    if let Some((block, at, seen)) = early.remove(&id) {
                        let shown = Shown { samples, pin: &pin, term, bar: &bar };
                        take(&shown, &block, at, seen, &mut orders, &mut counts, &mut latencies_ms)?;
                    }
                }
                Told::Acknowledged => counts.acknowledged += 1,
                Told::Refused { index, error } => {
                    counts.refused += 1;
                    bar.suspend(|| term.note(format!("order {index} was refused: {error}")));
                }
            },
            event = feed.next() => match event? {
                FeedEvent::Heartbeat(_) | FeedEvent::Attested(_) => {}
                FeedEvent::Moved { from, error } => {
                    bar.suspend(|| term.note(format!("{error}; following another member than {from}")));
                }
                FeedEvent::Block(block) => {
                    let seen = Instant::now();
                    let shown = Shown { samples, pin: &pin, term, bar: &bar };
                    for (at, item) in block.items.iter().enumerate() {
                        if !seen_ids.insert(item.ct_id) {
                            counts.doubled += 1;
                        } else if orders.contains_key(&item.ct_id) {
                            take(&shown, &block, at, seen, &mut orders, &mut counts, &mut latencies_ms)?;
                        } else {
                            early.insert(item.ct_id, (block.clone(), at, seen));
                        }
                    }
                }
            },
            () = tokio::time::sleep_until(deadline) => {
                submitting.abort();
                bar.finish_and_clear();
                let missing = samples.len() - counts.ordered - counts.refused;
                return Err(Problem::failed(format!("{missing} orders did not come out in time"))
                    .next(format!("see node.log in {} (run with --keep)", net.folder().display())));
            }
        }
        bar.set_position(counts.opened as u64);
        bar.set_message(format!(
            "sealed {} → laned {} → ordered {} → opened {}",
            counts.sealed, counts.acknowledged, counts.ordered, counts.opened
        ));
    }
    // Every receipt is in before the summary.
    submitting.await.map_err(Problem::failed)??;
    while let Ok(told) = told.try_recv() {
        if let Told::Acknowledged = told {
            counts.acknowledged += 1;
        }
    }
    // What is left in `early` was submitted by somebody else.
    bar.finish_and_clear();
    Ok((counts, latencies_ms))
}

struct Shown<'a> {
    samples: &'a [Sample],
    pin: &'a Pin,
    term: Term,
    bar: &'a ProgressBar,
}

/// Takes one of our items out of a block: verified, counted, shown.
fn take(
    shown: &Shown<'_>,
    block: &SequencedBlock,
    at: usize,
    seen: Instant,
    orders: &mut BTreeMap<CtId, Order>,
    counts: &mut Counts,
    latencies_ms: &mut Vec<f64>,
) -> Outcome {
    let item = &block.items[at];
    let Some(order) = orders.remove(&item.ct_id) else {
        return Ok(());
    };
    counts.ordered += 1;
    counts.last_height = counts.last_height.max(block.height);
    let proven = check_opening(shown.pin, item, &order.envelope)?;
    let ms = (seen.max(order.due) - order.due).as_secs_f64() * 1_000.0;
    let sample = &shown.samples[order.index];
    match &item.outcome {
        OrderOutcome::Opened { payload, .. } if proven => {
            if *payload != sample.order.to_bytes() {
                return Err(Problem::new(
                    Exit::Verification,
                    format!("order {} came out with another payload", item.ct_id),
                ));
            }
            counts.opened += 1;
            latencies_ms.push((Instant::now().max(order.due) - order.due).as_secs_f64() * 1_000.0);
        }
        OrderOutcome::Undecryptable => counts.undecryptable += 1,
        _ => {}
    }
    if shown.term.json() {
        shown.term.line(serde_json::json!({ "item": {
            "position": item.position.to_string(), "height": block.height.to_string(),
            "id": item.ct_id, "trader": sample.trader, "line": order.index + 1,
            "outcome": OrderWord::from(&item.outcome), "order": sample::describe_order(&sample.order),
            "ms": round(ms),
        }}));
    } else {
        let line = super::follow::describe(item, Some(&sample.trader));
        let line = format!(
            "{line}  {}",
            shown.term.dim(&format!("h {} · {ms:.1} ms", block.height))
        );
        shown.bar.suspend(|| shown.term.line(line));
    }
    Ok(())
}

fn progress(orders: usize, term: Term) -> ProgressBar {
    let bar = ProgressBar::new(orders as u64);
    let target = if term.watched() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    bar.set_draw_target(target);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:24} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// What the submitting task needs of the arguments.
struct Load {
    delays: Vec<Duration>,
    ttl_ms: u64,
}

impl DevnetArgs {
    fn clone_for_load(&self) -> Load {
        Load {
            delays: self
                .delays
                .iter()
                .copied()
                .map(Duration::from_millis)
                .collect(),
            ttl_ms: self.ttl_s.saturating_mul(1_000),
        }
    }
}

/// Open loop: each order at its time, whatever became of those before.
async fn submit_all(
    load: Load,
    committee: Committee,
    samples: Vec<Sample>,
    tell: mpsc::UnboundedSender<Told>,
) -> Outcome {
    let (pin, n) = (committee.pin().clone(), committee.members().len());
    let mut sealers: BTreeMap<String, Sealer> = BTreeMap::new();
    let mut rng = seed::rng("devnet")?;
    let start = tokio::time::Instant::now() + Duration::from_millis(100);
    let mut tasks = tokio::task::JoinSet::new();
    for (index, sample) in samples.into_iter().enumerate() {
        let due = start + Duration::from_millis(sample.at_ms);
        tokio::time::sleep_until(due).await;
        let sealer = sealers
            .entry(sample.trader.clone())
            .or_insert_with(|| Sealer::new(&pin, dev::trader_key(&sample.trader)));
        let options = SealOptions {
            nonce: rng.next_u64(),
            expiry: Millis(seed::now_ms().saturating_add(load.ttl_ms)),
            lane: None,
        };
        let envelope = sealer
            .seal(&sample.order, options, &mut rng)
            .map_err(Problem::failed)?;
        let envelope = Arc::new(envelope);
        let told = Told::Sealed {
            index,
            due: due.into(),
            envelope: envelope.clone(),
        };
        // The receiver is gone only when the devnet stops.
        let _ = tell.send(told);
        let count = sample.fan_out.map_or(n, usize::from);
        let plan = FanOut::around(rng.next_u32() as usize % n, count, n, &load.delays);
        let (committee, tell) = (committee.clone(), tell.clone());
        tasks.spawn(async move {
            let told = match deliver(&committee, &envelope, &plan).await {
                Ok(()) => Told::Acknowledged,
                Err(error) => Told::Refused {
                    index,
                    error: error.to_string(),
                },
            };
            let _ = tell.send(told);
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// One receipt is enough; if nobody of the plan gives one, anybody may.
async fn deliver(
    committee: &Committee,
    envelope: &Envelope,
    plan: &FanOut,
) -> Result<(), ClientError> {
    let mut last = None;
    for delivery in committee.submit(envelope, plan).await {
        match delivery.result {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if !error.is_retryable() => Err(error),
        _ => as_told(committee, envelope).await,
    }
}

/// Comes again when members say so, as long as the order lives: a slow scheme carries less than the
/// sample sends at once.
async fn as_told(committee: &Committee, envelope: &Envelope) -> Result<(), ClientError> {
    loop {
        let error = match committee.submit_to_any(envelope, 0).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let pause = error.retry_after().unwrap_or_default();
        let then =
            seed::now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        if pause.is_zero() || then >= envelope.label.expiry.0 {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
    }
}
