//! The figures of a run.

use super::record::{OrderRecord, Recorder};
use super::traffic::Role;
use crate::engine::{MILLISECOND, Nanos, SECOND};
use crate::scenario::Report;

/// Every metric by name, in the order of the columns.
pub const METRICS: &[(&str, &str)] = &[
    ("violations", "Rules that the checkers saw broken."),
    ("orders", "Orders sent by traders, victims among them."),
    ("opened", "Of these, opened."),
    ("refused", "Of these, refused by whoever got them."),
    (
        "lost",
        "Of these, acknowledged and nowhere in the sequence at the end.",
    ),
    (
        "acknowledged_p50_ms",
        "From sending an order to the first receipt, median.",
    ),
    ("acknowledged_p99_ms", "The same, 99th percentile."),
    (
        "laned_p50_ms",
        "From sending an order to a quorum of lanes that have it, median.",
    ),
    (
        "final_p50_ms",
        "From sending an order to the final block at the member nearest to the sender, or the earliest of the f+1 nearest with its longer way, median.",
    ),
    ("final_p99_ms", "The same, 99th percentile."),
    (
        "p50_ms",
        "From sending an order to its plaintext at the member nearest to the sender, or the earliest of the f+1 nearest with its longer way, median.",
    ),
    ("p90_ms", "The same, 90th percentile."),
    ("p99_ms", "The same, 99th percentile."),
    ("max_ms", "The same, largest."),
    (
        "client_p50_ms",
        "From when an order was due to its plaintext at a client that follows the first member, median; only where a cost table has threads.",
    ),
    ("client_p99_ms", "The same, 99th percentile."),
    (
        "opened_per_s",
        "Orders of all senders opened a second, from the first sent to the last opened.",
    ),
    (
        "flood_opened",
        "Orders of the flooding sender that were opened.",
    ),
    (
        "flood_refused",
        "Orders of the flooding sender that were refused.",
    ),
    ("heights", "Final blocks."),
    ("views", "Views with a proposal."),
    ("skips", "Views that an honest member gave up."),
    (
        "block_interval_ms",
        "Between two final blocks, mean while orders were under way.",
    ),
    (
        "gap_max_ms",
        "Longest time without an emitted block while orders were under way.",
    ),
    (
        "bytes_per_order",
        "Bytes sent between members, per order in the sequence.",
    ),
    (
        "mbit_max",
        "Sent by the busiest member, Mbit/s over the run.",
    ),
    (
        "core_use_max",
        "Share of its cores that the busiest member used over the run, 0 to 1.",
    ),
    (
        "kendall_tau",
        "Order of sending against the sequence: 1 the same, −1 reversed.",
    ),
    (
        "inversions_0_1",
        "Share of pairs sent less than 1 ms apart that came out the other way round.",
    ),
    ("inversions_1_5", "The same, 1 to 5 ms apart."),
    ("inversions_5_10", "The same, 5 to 10 ms apart."),
    ("inversions_10_20", "The same, 10 to 20 ms apart."),
    ("inversions_20_50", "The same, 20 to 50 ms apart."),
    ("inversions_50_100", "The same, 50 to 100 ms apart."),
    (
        "attacks",
        "Victims whose attacker's order came out as well.",
    ),
    (
        "attack_first",
        "Share of them in which the attacker came first.",
    ),
    (
        "attack_gain",
        "Came first on the victim's side less came first on the other, per attack.",
    ),
    (
        "honest_faults",
        "Faults that honest members reported about honest ones.",
    ),
    ("virtual_ms", "Virtual time of the run."),
    ("events", "Events of the engine."),
];

/// Buckets of the gap between two sendings, in ms.
pub const GAPS_MS: [(u64, u64); 6] = [(0, 1), (1, 5), (5, 10), (10, 20), (20, 50), (50, 100)];

/// Names of the metrics of [`GAPS_MS`].
pub const GAP_METRICS: [&str; 6] = [
    "inversions_0_1",
    "inversions_1_5",
    "inversions_5_10",
    "inversions_10_20",
    "inversions_20_50",
    "inversions_50_100",
];

/// The figures of a run, in the order of [`METRICS`]; what a run has none of is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Option<f64>>);

impl Metrics {
    /// A figure.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let at = METRICS.iter().position(|(known, _)| *known == name)?;
        self.0.get(at).copied().flatten()
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> + '_ {
        METRICS
            .iter()
            .map(|(name, _)| *name)
            .zip(self.0.iter().copied())
    }

    /// From names and figures; unknown names are left out.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, Option<f64>)>) -> Self {
        let mut figures = vec![None; METRICS.len()];
        for (name, figure) in pairs {
            if let Some(at) = METRICS.iter().position(|(known, _)| *known == name) {
                figures[at] = figure;
            }
        }
        Self(figures)
    }

    /// Of a run.
    #[must_use]
    pub fn of(report: &Report, record: &Recorder, cores: usize) -> Self {
        let ours = |order: &&OrderRecord| matches!(order.role, Role::Trader | Role::Victim);
        let orders: Vec<_> = record.orders.iter().filter(ours).collect();
        let count = |of: &dyn Fn(&OrderRecord) -> bool| {
            Some(orders.iter().filter(|order| of(order)).count() as f64)
        };
        let flood = |outcome: &str| {
            let of = |o: &&OrderRecord| o.role == Role::Flood && o.outcome == outcome;
            let any = record.orders.iter().any(|o| o.role == Role::Flood);
            any.then(|| record.orders.iter().filter(of).count() as f64)
        };
        let stage = |of: fn(&OrderRecord) -> Option<Nanos>| latencies(&orders, of);
        let (acknowledged, laned) = (stage(|o| o.acknowledged), stage(|o| o.laned));
        let (finals, opened) = (stage(|o| o.final_near), stage(|o| o.opened_near));
        let delivered = stage(|o| o.delivered);
        let (attacks, first, gain) = attacks(&record.orders);
        let inversions = inversions(&orders);
        let virtual_s = report.stats.virtual_ms as f64 / 1e3;
        let all_opened = record
            .orders
            .iter()
            .filter(|o| o.outcome == "opened")
            .count() as f64;
        let (interval, gap) = pace(record);
        let bytes: u64 = record.sent_bytes.iter().sum();
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let most = |values: &[u64]| values.iter().max().copied().unwrap_or(0) as f64;
        let figure = |name: &str| match name {
            "violations" => Some(report.violations.len() as f64),
            "orders" => Some(orders.len() as f64),
            "opened" => count(&|o| o.outcome == "opened"),
            "refused" => count(&|o| o.outcome == "refused"),
            "lost" => count(&|o| o.acknowledged.is_some() && o.position.is_none()),
            "acknowledged_p50_ms" => quantile(&acknowledged, 0.5),
            "acknowledged_p99_ms" => quantile(&acknowledged, 0.99),
            "laned_p50_ms" => quantile(&laned, 0.5),
            "final_p50_ms" => quantile(&finals, 0.5),
            "final_p99_ms" => quantile(&finals, 0.99),
            "p50_ms" => quantile(&opened, 0.5),
            "p90_ms" => quantile(&opened, 0.9),
            "p99_ms" => quantile(&opened, 0.99),
            "client_p50_ms" => quantile(&delivered, 0.5),
            "client_p99_ms" => quantile(&delivered, 0.99),
            "max_ms" => opened.last().copied(),
            "opened_per_s" => share(all_opened, record.active_s()),
            "flood_opened" => flood("opened"),
            "flood_refused" => flood("refused"),
            "heights" => Some(report.stats.heights as f64),
            "views" => Some(
                record
                    .views
                    .values()
                    .filter(|v| v.proposed.is_some())
                    .count() as f64,
            ),
            "skips" => Some(record.views.values().filter(|v| v.skips > 0).count() as f64),
            "block_interval_ms" => interval,
            "gap_max_ms" => gap,
            "bytes_per_order" => share(bytes as f64, report.stats.items as f64),
            "mbit_max" => share(most(&record.sent_bytes) * 8.0 / 1e6, virtual_s),
            "core_use_max" => share(
                most(&record.busy_ns) / SECOND as f64,
                virtual_s * cores as f64,
            ),
            "kendall_tau" => kendall_tau(&orders),
            "attacks" => Some(attacks),
            "attack_first" => share(first, attacks),
            "attack_gain" => share(gain, attacks),
            "honest_faults" => Some(report.stats.honest_faults as f64),
            "virtual_ms" => Some(report.stats.virtual_ms as f64),
            "events" => Some(report.stats.events as f64),
            name => {
                let bucket = GAP_METRICS.iter().position(|metric| *metric == name);
                bucket.and_then(|i| share(inversions[i].1 as f64, inversions[i].0 as f64))
            }
        };
        Self(METRICS.iter().map(|(name, _)| figure(name)).collect())
    }
}

/// From sending to a stage, in ms, ascending.
#[must_use]
pub fn latencies(
    orders: &[&OrderRecord],
    stage: impl Fn(&OrderRecord) -> Option<Nanos>,
) -> Vec<f64> {
    let span = |order: &&OrderRecord| {
        let opened = order.outcome == "opened";
        let (from, to) = (order.sent?, stage(order)?);
        opened.then(|| to.since(from) as f64 / MILLISECOND as f64)
    };
    let mut spans: Vec<f64> = orders.iter().filter_map(span).collect();
    spans.sort_by(f64::total_cmp);
    spans
}

/// The quantile of ascending values (nearest rank).
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// Mean distance and longest gap between emitted blocks while orders were under way, ms.
fn pace(record: &Recorder) -> (Option<f64>, Option<f64>) {
    let first = record.orders.iter().filter_map(|o| o.sent).min();
    let last = record.orders.iter().filter_map(|o| o.opened_first).max();
    let (Some(first), Some(last)) = (first, last) else {
        return (None, None);
    };
    let mut times: Vec<_> = record.emitted.values().map(|(at, _)| *at).collect();
    times.retain(|at| (first..=last).contains(at));
    times.sort_unstable();
    let gap = |pair: &[Nanos]| pair[1].since(pair[0]);
    let gaps: Vec<u64> = times.windows(2).map(gap).collect();
    let mean = |sum: u64| sum as f64 / gaps.len() as f64 / MILLISECOND as f64;
    let longest = gaps
        .iter()
        .max()
        .map(|gap| *gap as f64 / MILLISECOND as f64);
    ((!gaps.is_empty()).then(|| mean(gaps.iter().sum())), longest)
}

/// Sending time and place of what came out, in order of sending.
fn sent_and_place(orders: &[&OrderRecord]) -> Vec<(Nanos, u64)> {
    let both = |order: &&OrderRecord| Some((order.sent?, order.position?));
    let mut places: Vec<_> = orders.iter().filter_map(both).collect();
    places.sort_unstable();
    places
}

/// Pairs, and inverted pairs, per bucket of [`GAPS_MS`].
fn inversions(orders: &[&OrderRecord]) -> [(u64, u64); 6] {
    let places = sent_and_place(orders);
    let mut buckets = [(0, 0); 6];
    for (index, (sent, place)) in places.iter().enumerate() {
        for (later, their_place) in places.iter().skip(index + 1) {
            let gap = later.since(*sent);
            if gap == 0 {
                continue;
            }
            let within =
                |(from, to): &(u64, u64)| (from * MILLISECOND..to * MILLISECOND).contains(&gap);
            let Some(bucket) = GAPS_MS.iter().position(within) else {
                break;
            };
            buckets[bucket].0 += 1;
            buckets[bucket].1 += u64::from(their_place < place);
        }
    }
    buckets
}

/// Kendall's tau of sending against place: 1 − 4·inversions / (m·(m−1)).
fn kendall_tau(orders: &[&OrderRecord]) -> Option<f64> {
    let mut places: Vec<u64> = sent_and_place(orders).into_iter().map(|(_, p)| p).collect();
    let m = places.len() as f64;
    if places.len() < 2 {
        return None;
    }
    let mut scratch = places.clone();
    let inverted = sort_count(&mut places, &mut scratch);
    Some(1.0 - 4.0 * inverted as f64 / (m * (m - 1.0)))
}

/// Merge sort that counts inversions.
fn sort_count(values: &mut [u64], scratch: &mut [u64]) -> u64 {
    let mid = values.len() / 2;
    if mid == 0 {
        return 0;
    }
    let (left, right) = values.split_at_mut(mid);
    let mut count = sort_count(left, &mut scratch[..mid]) + sort_count(right, &mut scratch[mid..]);
    let (mut i, mut j) = (0, 0);
    for slot in scratch.iter_mut() {
        if j >= right.len() || (i < left.len() && left[i] <= right[j]) {
            *slot = left[i];
            i += 1;
        } else {
            *slot = right[j];
            j += 1;
            count += (left.len() - i) as u64;
        }
    }
    values.copy_from_slice(scratch);
    count
}

/// Attacks in which both came out, those in which the attacker was first, and its gain.
fn attacks(orders: &[OrderRecord]) -> (f64, f64, f64) {
    let (mut all, mut first, mut gain) = (0.0, 0.0, 0.0);
    for attack in orders {
        let victim = attack.victim.and_then(|victim| orders.get(victim));
        let Some((mine, theirs)) = attack.position.zip(victim.and_then(|v| v.position)) else {
            continue;
        };
        all += 1.0;
        if mine < theirs {
            first += 1.0;
            gain += if attack.right_side { 1.0 } else { -1.0 };
        }
    }
    (all, first, gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.01), Some(7.0));
    }

    #[test]
    fn inversions_are_counted() {
        let mut values = [3, 1, 2, 5, 4, 0];
        let naive = (0..6)
            .flat_map(|i| (i + 1..6).map(move |j| (i, j)))
            .filter(|(i, j)| values[*i] > values[*j])
            .count() as u64;
        let mut scratch = values;
        assert_eq!(sort_count(&mut values, &mut scratch), naive);
        assert_eq!(values, [0, 1, 2, 3, 4, 5]);
    }
}
