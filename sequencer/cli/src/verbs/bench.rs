//! `fairlane bench`: child processes under open-loop load, measured from outside.
//!
//! Every order is sealed; sealing happens before the clock starts, so that the client
//! takes little of the machine that it measures. An order's latency runs from the moment it was
//! due, not from when the client got round to sending it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fairlane_client::{Committee, Cursor, Feed, Pin, SealOptions, Sealer, dev};
use fairlane_types::{
    Combining, CtId, Envelope, Height, MemberId, Millis, Order, OrderAction, OrderParams,
    Outcome as OrderOutcome, Side, TimeInForce,
};
use rand_core::Rng;

use crate::args::{BenchArgs, Lie};
use crate::exit::{Exit, Outcome, Problem};
use crate::local::{Chain, Folder, Kind, LocalNet};
use crate::measure::{cpu_by_thread, cpu_seconds, percentiles, round};
use crate::seed;
use crate::term::Term;

/// Traders that share the load, each far below its quota.
const TRADERS: usize = 64;
/// Orders due within this are sent together.
const TICK: Duration = Duration::from_millis(5);
/// Delays with which the members hear an order, ms.
const PATHS_MS: [u64; 4] = [0, 3, 7, 12];
/// Orders before the measurement, so that connections and caches are there.
const WARM_UP_S: u32 = 1;
/// What is acknowledged must come out within this after the last was sent.
const OUT_MAX: Duration = Duration::from_secs(30);

struct Prepared {
    envelope: Envelope,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Tally {
    /// Orders with a receipt of at least one member.
    acknowledged: BTreeSet<CtId>,
    /// Answers without a receipt, by code; another member may have taken the order.
    refused: BTreeMap<String, usize>,
}

impl Tally {
    fn refuse(&mut self, code: &str, orders: usize) {
        *self.refused.entry(code.to_owned()).or_default() += orders;
    }
}

/// What the feed saw of one order.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    /// Opened, to the payload that was sealed.
    right: bool,
}

/// What the feed saw so far, by the number of the order.
#[derive(Default)]
struct Log {
    orders: Vec<Option<Seen>>,
    count: usize,
    doubled: usize,
    height: Height,
}

/// Runs it.
pub async fn run(args: BenchArgs, term: Term) -> Outcome {
    let f = (args.members - 1) / 3;
    if args.liar > f {
        let what = format!(
            "--liar {}: of {} members at most {f} may lie",
            args.liar, args.members
        );
        return Err(Problem::new(Exit::Usage, what));
    }
    if let Some(runs) = args.against_clean {
        return super::bench_liar::run(&args, runs, term).await;
    }
    let value = once(&args, args.liar, term).await?;
    let line = serde_json::json!({ "bench": value });
    term.result(&line, || human(&value, term));
    Ok(())
}

/// One committee under load, of which the last `liars` members lie: its figures, after
/// everything that must hold was found to hold.
pub async fn once(args: &BenchArgs, liars: u8, term: Term) -> Outcome<serde_json::Value> {
    let folder = Folder::new(args.home.clone(), false)?;
    term.note(term.dim(&format!("starting {} members …", args.members)));
    let kind = Kind::Children {
        liars: liars.into(),
        lie: args.lie,
    };
    // Where the key comes from changes nothing that is measured.
    let chain = Chain {
        scheme: args.scheme,
        rule: args.order.rule,
        tie: args.order.tie,
        snapshot_interval: OrderParams::default().snapshot_interval,
        combining: args.order.combining,
        dealer: true,
    };
    let net = LocalNet::start(args.members, chain, folder, kind, None).await?;
    let measured = tokio::select! {
        result = measure(args, liars, &net, term) => result,
        _ = tokio::signal::ctrl_c() => Err(Problem::failed("interrupted")),
    };
    let reached = measured.as_ref().map_or(Height(0), |(_, height)| *height);
    let agreed = net.agreement(reached).await;
    let convicted = convicted(&net).await;
    let (on_disk, stopped) = net.stop().await;
    let (mut value, _) = measured?;
    let same_root = agreed?.same && on_disk?.same;
    let lost = value["lost"].as_u64().unwrap_or(0);
    let doubled = value["doubled"].as_u64().unwrap_or(0);
    value["same_root"] = same_root.into();
    let convicted = convicted?;
    value["convicted"] = convicted.iter().map(|member| member.0).collect();
    if !same_root {
        return Err(Problem::new(
            Exit::Verification,
            "the members do not have the same root",
        ));
    }
    if lost + doubled > 0 {
        return Err(Problem::failed(format!(
            "{lost} orders were lost, {doubled} came out twice"
        )));
    }
    let lying = args.lie.is_none_or(Lie::convicts);
    let want = (args.members - liars..args.members).map(MemberId);
    let want: BTreeSet<MemberId> = want.filter(|_| lying).collect();
    if convicted != want {
        let what = format!("convicted are {convicted:?}, the liars are {want:?}");
        return Err(Problem::new(Exit::Verification, what));
    }
    stopped?;
    Ok(value)
}

/// Whom the evidence of the first member convicts, checked as `verify --evidence` does.
async fn convicted(net: &LocalNet) -> Outcome<BTreeSet<MemberId>> {
    let Some(member) = net.committee.members().first() else {
        return Ok(BTreeSet::new());
    };
    let body = member.evidence().await?;
    let convictions = super::verify::convictions(&body, net.committee.pin().genesis())?;
    Ok(convictions.into_iter().map(|(member, _)| member).collect())
}

fn human(value: &serde_json::Value, term: Term) -> String {
    let number = |key: &str| value[key].to_string();
    format!(
        "{} {} members · offered {}/s, achieved {}/s · submit → plaintext p50 {} ms, p99 {} ms\n  {} CPU s per 1,000 orders and member · breakdown {}\n  lost {}, doubled {}, same root {}",
        term.bold("bench"),
        number("members"),
        number("offered_per_s"),
        number("achieved_per_s"),
        number("p50_ms"),
        number("p99_ms"),
        number("cpu_s_per_1k_orders_per_member"),
        number("cpu_breakdown"),
        number("lost"),
        number("doubled"),
        number("same_root"),
    )
}

async fn measure(
    args: &BenchArgs,
    liars: u8,
    net: &LocalNet,
    term: Term,
) -> Outcome<(serde_json::Value, Height)> {
    let rate = args.rate as usize;
    let (warm, total) = (
        rate * WARM_UP_S as usize,
        rate * (args.seconds + WARM_UP_S) as usize,
    );
    term.note(term.dim(&format!("sealing {total} orders …")));
    let pin = net.committee.pin().clone();
    let ttl_ms = pin.genesis().order.ttl_max_ms.saturating_sub(5_000);
    let sealed = tokio::task::spawn_blocking(move || seal_all(&pin, total, ttl_ms));
    let prepared = Arc::new(sealed.await.map_err(Problem::failed)??);
    let ids: Arc<BTreeMap<CtId, usize>> = Arc::new(
        prepared
            .iter()
            .enumerate()
            .map(|(at, p)| (p.envelope.id(), at))
            .collect(),
    );

    let start = Instant::now() + Duration::from_millis(200);
    let due = move |index: usize| start + Duration::from_secs_f64(index as f64 / rate as f64);
    let log = Arc::new(Mutex::new(Log {
        orders: vec![None; total],
        ..Log::default()
    }));
    let following = tokio::spawn(follow(
        net.committee.clone(),
        ids,
        prepared.clone(),
        log.clone(),
    ));
    let tally = Arc::new(Mutex::new(Tally::default()));
    term.note(term.dim(&format!(
        "offering {rate} orders/s for {} s …",
        args.seconds
    )));

    let sending = tokio::spawn(send_all(
        net.committee.clone(),
        prepared.clone(),
        tally.clone(),
        rate,
        start,
    ));
    tokio::time::sleep_until(due(warm).into()).await;
    let client_before = own_cpu();
    let (cpu_before, threads_before, jobs_before) = (cpu(net), threads(net), jobs(net).await);
    sending.await.map_err(Problem::failed)??;
    let sent_by = Instant::now();
    // Everything acknowledged is out, or it is lost.
    let until = sent_by + OUT_MAX;
    while lock(&log).count < lock(&tally).acknowledged.len() && Instant::now() < until {
        if following.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (cpu_after, threads_after, jobs_after) = (cpu(net), threads(net), jobs(net).await);
    let client_cpu = own_cpu() - client_before;
    following.abort();
    if let Ok(Err(problem)) = following.await {
        return Err(problem);
    }
    let seen = lock(&log);

    let mut latencies_ms = Vec::with_capacity(total);
    let (mut wrong, mut last) = (0_usize, start);
    for (index, seen) in seen.orders.iter().enumerate() {
        let Some(seen) = seen else { continue };
        wrong += usize::from(!seen.right);
        if index >= warm {
            last = last.max(seen.at);
            latencies_ms.push((seen.at.max(due(index)) - due(index)).as_secs_f64() * 1_000.0);
        }
    }
    let out = latencies_ms.len();
    let window = (last.max(due(total)) - due(warm)).as_secs_f64();
    let p = percentiles(latencies_ms);
    let tally = lock(&tally);
    let came_out = seen.count;
    let per_1k =
        |seconds: f64| round_4(seconds * 1_000.0 / out.max(1) as f64 / f64::from(args.members));
    let shares = |after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>| {
        let share = |(part, after): (&String, &f64)| {
            let seconds = after - before.get(part).copied().unwrap_or(0.0);
            (part.clone(), per_1k(seconds).into())
        };
        after.iter().map(share).collect::<serde_json::Map<_, _>>()
    };
    if let (Some(first), true) = (tally.refused.iter().next(), !term.json()) {
        term.note(format!(
            "{} answers were refusals, such as {}",
            first.1, first.0
        ));
    }
    let value = serde_json::json!({
        "members": args.members, "liars": liars, "scheme": args.scheme.name(),
        "rule": args.order.rule.name(), "tie": args.order.tie.name(),
        "combining": args.order.combining.map(Combining::name), "offered_per_s": args.rate,
        "achieved_per_s": round(out as f64 / window),
        "p50_ms": p.p50_ms, "p99_ms": p.p99_ms, "max_ms": p.max_ms,
        "cpu_s_per_1k_orders_per_member": per_1k(cpu_after - cpu_before),
        "client_cpu_s_per_1k_orders": round_4(client_cpu * 1_000.0 / out.max(1) as f64),
        "cpu_breakdown": shares(&threads_after, &threads_before),
        "job_breakdown": shares(&jobs_after, &jobs_before),
        "lost": tally.acknowledged.len().saturating_sub(came_out) + wrong,
        "doubled": seen.doubled,
        "acknowledged": tally.acknowledged.len(), "refused": tally.refused,
        "orders": out, "seconds": round(window), "encrypted_share": 1.0, "fsync": true,
        "send_lag_ms": round((sent_by.max(due(total)) - due(total)).as_secs_f64() * 1_000.0),
    });
    Ok((value, seen.height))
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the members' feed and logs what comes out when.
async fn follow(
    committee: Committee,
    ids: Arc<BTreeMap<CtId, usize>>,
    prepared: Arc<Vec<Prepared>>,
    log: Arc<Mutex<Log>>,
) -> Outcome {
    let pin = committee.pin().clone();
    // Measured is when orders come out, not when the committee has signed that they did.
    let mut feed = Feed::unattested(
        pin.clone(),
        committee.members().to_vec(),
        Cursor::start(&pin),
    );
    loop {
        let block = feed.next_block().await?;
        let at = Instant::now();
        let mut log = lock(&log);
        log.height = block.height;
        for item in &block.items {
            let Some(index) = ids.get(&item.ct_id).copied() else {
                continue;
            };
            let right = matches!(&item.outcome,
                OrderOutcome::Opened { payload, .. } if *payload == prepared[index].payload);
            if log.orders[index].replace(Seen { at, right }).is_some() {
                log.doubled += 1;
            } else {
                log.count += 1;
            }
        }
    }
}

/// Seconds of processor time of this process: what the client takes of the machine.
fn own_cpu() -> f64 {
    cpu_seconds(std::process::id()).unwrap_or(0.0)
}

fn round_4(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Seals on every core, before the clock starts.
fn seal_all(pin: &Pin, total: usize, ttl_ms: u64) -> Outcome<Vec<Prepared>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let expiry = Millis(seed::now_ms().saturating_add(ttl_ms));
    let part = |part: usize| -> Outcome<Vec<(usize, Prepared)>> {
        let mut rng = seed::rng(&format!("bench {part}"))?;
        let sealers: Vec<_> = (0..TRADERS)
            .map(|k| Sealer::new(pin, dev::trader_key(&format!("bench-{k}"))))
            .collect();
        (part..total)
            .step_by(cores)
            .map(|index| {
                let order = order(index, rng.next_u32());
                let payload = order.to_bytes();
                let options = SealOptions {
                    nonce: index as u64,
                    expiry,
                    lane: None,
                };
                let envelope = sealers[index % TRADERS]
                    .seal_bytes(&payload, options, &mut rng)
                    .map_err(Problem::failed)?;
                Ok((index, Prepared { envelope, payload }))
            })
            .collect()
    };
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|at| scope.spawn(move || part(at))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| Problem::failed("a sealing thread panicked"))?
            })
            .collect::<Outcome<Vec<_>>>()
    })?;
    let mut all: Vec<_> = parts.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, prepared)| prepared).collect())
}

fn order(index: usize, dice: u32) -> Order {
    Order::new(OrderAction::Place {
        market: (index % 3) as u32,
        side: if dice & 1 == 0 { Side::Buy } else { Side::Sell },
        price_ticks: 640_000 + u64::from(dice >> 16) % 5_000,
        lots: 1 + u64::from(dice >> 8) % 100,
        tif: TimeInForce::Ioc,
        reduce_only: false,
        cloid: index as u64,
    })
}

/// Sends what is due every few milliseconds to every member, each over a path of another
/// length that changes from tick to tick: lanes record the orders in unlike orders.
async fn send_all(
    committee: Committee,
    prepared: Arc<Vec<Prepared>>,
    tally: Arc<Mutex<Tally>>,
    rate: usize,
    start: Instant,
) -> Outcome {
    let n = committee.members().len();
    let mut ticks = tokio::time::interval_at(start.into(), TICK);
    let mut requests = tokio::task::JoinSet::new();
    let (mut next, mut round) = (0, 0_usize);
    while next < prepared.len() {
        ticks.tick().await;
        // Order i is due i/rate after the start.
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize + 1;
        let due = due.min(prepared.len());
        let orders: Vec<Envelope> = prepared[next..due]
            .iter()
            .map(|order| order.envelope.clone())
            .collect();
        next = due;
        round += 1;
        for batch in orders.chunks(fairlane_client::wire::BATCH_MAX) {
            let batch = Arc::new(batch.to_vec());
            for (index, member) in committee.members().iter().enumerate() {
                let place = (index + round) % n;
                let delay = PATHS_MS
                    .get(place)
                    .or(PATHS_MS.last())
                    .copied()
                    .unwrap_or(0);
                let (member, batch) = (member.clone(), Arc::clone(&batch));
                let tally = Arc::clone(&tally);
                requests.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    let result = member.submit_batch(&batch).await;
                    let mut tally = lock(&tally);
                    match result {
                        Ok(results) => {
                            for (order, result) in batch.iter().zip(results) {
                                match result {
                                    Ok(_) => {
                                        tally.acknowledged.insert(order.id());
                                    }
                                    Err(error) => tally.refuse(error.code.word(), 1),
                                }
                            }
                        }
                        Err(error) => {
                            let code = error.code().map_or("unreachable", |code| code.word());
                            tally.refuse(code, batch.len());
                        }
                    }
                });
            }
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    Ok(())
}

/// CPU seconds of all members so far; this process is not among them.
fn cpu(net: &LocalNet) -> f64 {
    net.pids()
        .into_iter()
        .flatten()
        .filter_map(cpu_seconds)
        .sum()
}

/// CPU seconds by kind of thread, summed over members.
fn threads(net: &LocalNet) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    for (name, seconds) in net.pids().into_iter().flatten().flat_map(cpu_by_thread) {
        *parts.entry(name).or_default() += seconds;
    }
    parts
}

/// Seconds on the clock spent in jobs, turns and syncs, summed over members, out of their
/// metrics. On a busy machine that is more than their CPU time.
async fn jobs(net: &LocalNet) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    for member in &net.ops {
        let Ok(text) = member.metrics().await else {
            continue;
        };
        for (name, seconds) in text.lines().filter_map(part_of) {
            *parts.entry(name).or_default() += seconds;
        }
    }
    parts
}

/// A part's name and seconds out of a line of metrics.
fn part_of(line: &str) -> Option<(String, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let label = |name: &str| {
        let at = series.find(&format!("{name}=\""))? + name.len() + 2;
        series[at..].split('"').next().map(str::to_owned)
    };
    let name = if series.starts_with("fairlane_pool_job_seconds_sum") {
        label("job")?
    } else if series.starts_with("fairlane_core_turn_seconds_sum") {
        "core_turns".into()
    } else if series.starts_with("fairlane_store_commit_seconds_sum") {
        "store_commits".into()
    } else {
        return None;
    };
    Some((name, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_of_metrics() {
        let line = "fairlane_pool_job_seconds_sum{job=\"check\",x=\"y\"} 1.5";
        assert_eq!(part_of(line), Some(("check".into(), 1.5)));
        assert_eq!(
            part_of("fairlane_core_turn_seconds_sum 2"),
            Some(("core_turns".into(), 2.0))
        );
        assert_eq!(part_of("# HELP something"), None);
        assert_eq!(part_of("fairlane_view 7"), None);
    }
}
