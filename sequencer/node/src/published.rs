//! What the core tells the metrics. The recorder outlives the node: a member that goes into
//! its next epoch counts from 0 again, and what is published must go on from where it was.

use std::collections::BTreeMap;

use fairlane_mempool::fair::{GAP_MS, ReceiveCounts};
use fairlane_replica::ReplicaStatus;
use metrics::{Counter, Gauge, Label};

use crate::handle::NodeStatus;

/// The buckets of [`GAP_MS`] as labels.
const GAP_NAMES: [&str; GAP_MS.len() + 1] =
    ["0-1", "1-5", "5-10", "10-20", "20-50", "50-100", "100-"];

/// A count of one replica, published as what it adds to those before it.
enum Total {
    Count(Counter, u64),
    /// Microseconds, as seconds; a counter holds whole numbers only.
    Seconds(Gauge, u64),
}

impl Total {
    fn reach(&mut self, value: u64) {
        match self {
            Self::Count(counter, last) => {
                counter.increment(value.saturating_sub(*last));
                *last = value;
            }
            Self::Seconds(gauge, last) => {
                gauge.increment(value.saturating_sub(*last) as f64 / 1e6);
                *last = value;
            }
        }
    }
}

/// The counts of one replica that are published already, by name and label.
#[derive(Default)]
pub(crate) struct Published {
    totals: BTreeMap<(&'static str, String), Total>,
}

impl Published {
    /// Publishes what has changed.
    pub(crate) fn publish(&mut self, status: &NodeStatus, replica: &ReplicaStatus) {
        publish_gauges(status, replica);
        for (mark, count) in &replica.consensus_marks {
            self.labelled("fairlane_consensus_marks_total", ("mark", *mark), *count);
        }
        let counters = &replica.counters;
        self.count("fairlane_false_shares_total", counters.false_shares);
        self.count("fairlane_false_keys_total", counters.false_keys);
        self.count("fairlane_dealings_refused_total", counters.dealings_refused);
        self.count("fairlane_share_requests_total", counters.share_requests);
        self.count("fairlane_submissions_busy_total", counters.busy);
        self.count("fairlane_heights_pruned_total", counters.pruned);
        self.receive_order(&replica.receive_order);
    }

    fn receive_order(&mut self, counts: &ReceiveCounts) {
        for (gap, pairs) in GAP_NAMES.iter().zip(&counts.pairs) {
            let label = ("gap_ms", *gap);
            self.labelled("fairlane_receive_pairs_total", label, pairs.seen);
            self.labelled(
                "fairlane_receive_pairs_inverted_total",
                label,
                pairs.inverted,
            );
        }
        self.count("fairlane_receive_orders_total", counts.compared);
        self.count("fairlane_receive_orders_unknown_total", counts.unknown);
        self.count("fairlane_receive_displaced_total", counts.displaced);
        let displaced = counts.displaced_us;
        self.seconds("fairlane_receive_displaced_seconds_total", None, displaced);
        self.count("fairlane_strong_cycles_total", counts.cycles);
        metrics::gauge!("fairlane_strong_cycle_orders_max").set(counts.cycle_max as f64);
        for (leader, lag) in counts.leaders.iter().enumerate() {
            let leader = leader.to_string();
            let label = ("leader", leader.as_str());
            self.labelled("fairlane_lane_lag_blocks_total", label, lag.blocks);
            self.seconds("fairlane_lane_lag_seconds_total", Some(label), lag.lag_us);
        }
    }

    fn count(&mut self, name: &'static str, value: u64) {
        let key = (name, String::new());
        let total = self.totals.entry(key);
        total
            .or_insert_with(|| Total::Count(metrics::counter!(name), 0))
            .reach(value);
    }

    fn labelled(&mut self, name: &'static str, (key, of): (&'static str, &str), value: u64) {
        let total = self.totals.entry((name, of.to_owned()));
        let labels = || vec![Label::new(key, of.to_owned())];
        total
            .or_insert_with(|| Total::Count(metrics::counter!(name, labels()), 0))
            .reach(value);
    }

    fn seconds(&mut self, name: &'static str, label: Option<(&'static str, &str)>, us: u64) {
        let of = label.map(|(_, of)| of.to_owned()).unwrap_or_default();
        let labels = || -> Vec<Label> {
            let label = label.map(|(key, of)| Label::new(key, of.to_owned()));
            label.into_iter().collect()
        };
        let total = self.totals.entry((name, of));
        total
            .or_insert_with(|| Total::Seconds(metrics::gauge!(name, labels()), 0))
            .reach(us);
    }
}

fn publish_gauges(status: &NodeStatus, replica: &ReplicaStatus) {
    metrics::gauge!("fairlane_view").set(status.view as f64);
    metrics::gauge!("fairlane_final_height").set(status.final_height.0 as f64);
    metrics::gauge!("fairlane_emitted_height").set(status.emitted_height.0 as f64);
    metrics::gauge!("fairlane_attested_height").set(status.attested_height.0 as f64);
    metrics::gauge!("fairlane_state_attested_height").set(replica.state_attested_height.0 as f64);
    let former = f64::from(u8::from(replica.former_until.is_some()));
    metrics::gauge!("fairlane_former_key").set(former);
    metrics::gauge!("fairlane_encryption_key").set(f64::from(u8::from(!status.keyless)));
    metrics::gauge!("fairlane_first_height").set(replica.first_height.0 as f64);
    metrics::gauge!("fairlane_emitted_by_all_height").set(replica.emitted_by_all.0 as f64);
    metrics::gauge!("fairlane_orders_live").set(status.orders_live as f64);
    metrics::gauge!("fairlane_orders_held").set(status.orders_held as f64);
    metrics::gauge!("fairlane_orders_held_max").set(status.orders_held_max as f64);
    metrics::gauge!("fairlane_heights_opening").set(status.heights_opening as f64);
    metrics::gauge!("fairlane_peers_connected").set(status.peers_connected.len() as f64);
    metrics::gauge!("fairlane_requests_open").set(status.requests_open as f64);
    metrics::gauge!("fairlane_catching_up").set(f64::from(u8::from(status.catching_up)));
    metrics::gauge!("fairlane_observer").set(f64::from(u8::from(status.observer)));
    let (found, needed) = status.change.map_or((0, 0), |change| change.dealings);
    metrics::gauge!("fairlane_next_key_dealings").set(found as f64);
    metrics::gauge!("fairlane_next_key_dealings_needed").set(needed as f64);
}

#[cfg(test)]
pub(crate) mod tests {
    use fairlane_mempool::fair::{HeadLag, Pairs};
    use fairlane_replica::{ChangeStatus, Counters};
    use fairlane_types::Height;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    /// The value of a series in the text that is scraped.
    pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
        let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(of)
    }

    /// A replica that has counted up to `n` in everything.
    fn counted(n: u64) -> ReplicaStatus {
        let mut receive_order = ReceiveCounts {
            compared: n,
            displaced_us: n * 1_000_000,
            leaders: vec![HeadLag::default(); 2],
            ..ReceiveCounts::default()
        };
        receive_order.pairs[6] = Pairs {
            seen: n,
            inverted: 1,
        };
        receive_order.leaders[1].lag_us = n * 500_000;
        receive_order.leaders[1].blocks = n;
        ReplicaStatus {
            final_height: Height(n),
            consensus_marks: vec![("views_entered", n), ("extensions", 2)],
            counters: Counters {
                share_requests: n,
                dealings_refused: n,
                ..Counters::default()
            },
            receive_order,
            ..ReplicaStatus::default()
        }
    }

    fn publish(published: &mut Published, replica: &ReplicaStatus) {
        let status = NodeStatus {
            change: replica.change,
            ..NodeStatus::default()
        };
        published.publish(&status, replica);
    }

    #[test]
    fn counts_of_a_replica_go_on_from_those_of_the_epoch_before() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut first = Published::default();
            for n in [70, 100, 100] {
                publish(&mut first, &counted(n));
            }
            // Its next epoch: another replica, which has counted little.
            let mut second = Published::default();
            publish(&mut second, &counted(0));
            publish(&mut second, &counted(5));
        });
        let text = recorder.handle().render();
        let all = [
            ("fairlane_share_requests_total", 105.0),
            ("fairlane_dealings_refused_total", 105.0),
            (
                "fairlane_consensus_marks_total{mark=\"views_entered\"}",
                105.0,
            ),
            ("fairlane_consensus_marks_total{mark=\"extensions\"}", 4.0),
            ("fairlane_receive_orders_total", 105.0),
            ("fairlane_receive_pairs_total{gap_ms=\"100-\"}", 105.0),
            ("fairlane_receive_displaced_seconds_total", 105.0),
            ("fairlane_lane_lag_blocks_total{leader=\"1\"}", 105.0),
            ("fairlane_lane_lag_seconds_total{leader=\"1\"}", 52.5),
            // Nothing of it, and still there from the start.
            ("fairlane_false_shares_total", 0.0),
            ("fairlane_lane_lag_blocks_total{leader=\"0\"}", 0.0),
        ];
        for (series, expected) in all {
            assert_eq!(value(&text, series), Some(expected), "{series} in {text}");
        }
    }

    #[test]
    fn dealings_of_the_next_key_are_there_while_it_is_being_made() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let seen = || {
            let text = recorder.handle().render();
            ["", "_needed"].map(|end| value(&text, &format!("fairlane_next_key_dealings{end}")))
        };
        metrics::with_local_recorder(&recorder, || {
            let mut published = Published::default();
            let change = ChangeStatus {
                members: 7,
                dealings: (2, 3),
                boundary: None,
            };
            let pending = ReplicaStatus {
                change: Some(change),
                ..counted(1)
            };
            publish(&mut published, &pending);
            assert_eq!(seen(), [Some(2.0), Some(3.0)]);
            publish(&mut published, &counted(2));
            assert_eq!(seen(), [Some(0.0), Some(0.0)]);
        });
    }
}
