//! The metrics recorder of the process, with the buckets of its histograms.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from a quiet sync to what an operator calls down.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.175, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 60.0,
];
/// Counts of effects, inputs and the like.
const COUNTS: [f64; 13] = [
    0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0,
];
/// Bytes.
const BYTES: [f64; 9] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// Installs the recorder; once per process, before the first node starts. Whoever holds
/// the handle must call `run_upkeep` now and then ([`Node`](crate::node::Node) does).
///
/// # Errors
/// What the exporter says, such as that there is a recorder already.
pub fn install_metrics() -> Result<PrometheusHandle, String> {
    let suffix = |suffix: &str| Matcher::Suffix(suffix.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), &SECONDS)
        .and_then(|b| b.set_buckets_for_metric(suffix("_bytes"), &BYTES))
        .and_then(|b| b.set_buckets_for_metric(suffix("_effects"), &COUNTS))
        .and_then(|b| b.set_buckets_for_metric(suffix("_inputs"), &COUNTS))
        .and_then(PrometheusBuilder::install_recorder)
        .inspect(|_| {
            let version = env!("CARGO_PKG_VERSION");
            metrics::gauge!("fairlane_build_info", "version" => version).set(1.0);
        })
        .map_err(|e| e.to_string())
}
