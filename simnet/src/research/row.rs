//! What is kept of a run: its figures and what the report draws, as one JSON file. Sweeps
//! resume, shards merge and reports are made from these files alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lab::Lab;
use super::metrics::{Metrics, latencies};
use super::record::{OrderRecord, Recorder};
use super::settings::{Plan, Run};
use super::traffic::Role;
use crate::engine::Nanos;
use crate::scenario::Report;

/// Version of the form of these files.
pub const FORMAT: u32 = 1;
/// Most views that are kept for the timeline.
const VIEWS_MAX: usize = 4_000;
/// Points of a distribution, from the smallest value to the largest.
pub const CDF_STEPS: usize = 100;

/// A stage of an order, and how its time is found.
type Stage = (&'static str, fn(&OrderRecord) -> Option<Nanos>);

/// Stages in the words of the API, in their order.
const STAGES: [Stage; 4] = [
    ("acknowledged", |order| order.acknowledged),
    ("laned", |order| order.laned),
    ("final", |order| order.final_near),
    ("opened", |order| order.opened_near),
];

/// A distribution of latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cdf {
    /// Stage.
    pub stage: String,
    /// Region of the sender; empty for all together.
    pub region: String,
    /// Number of orders.
    pub count: usize,
    /// Quantiles 0, 1/100 … 1 in ms.
    pub ms: Vec<f64>,
}

/// A view in the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRow {
    /// Number.
    pub view: u64,
    /// Who proposed, if anybody did.
    pub leader: Option<usize>,
    /// When the proposal left, ms.
    pub proposed_ms: Option<f64>,
    /// When the first disk had its block final, ms.
    pub final_ms: Option<f64>,
    /// When the first member gave it up, ms.
    pub skipped_ms: Option<f64>,
}

/// Messages of one type, or jobs of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Amount {
    /// Type.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Bytes, or nanoseconds on a core.
    pub amount: u64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// [`FORMAT`].
    pub format: u32,
    /// Hash of the program that made it.
    pub build: String,
    /// Scenario.
    pub scenario: String,
    /// Name of the run.
    pub id: String,
    /// Number in the scenario.
    pub index: u64,
    /// Seed.
    pub seed: u64,
    /// Values of what is swept.
    pub point: Vec<(String, String)>,
    /// Members.
    pub members: usize,
    /// Region per member.
    pub placement: Vec<String>,
    /// Latency matrix and its hash.
    pub matrix: (String, String),
    /// Backend of cryptography.
    pub tier: String,
    /// Figures.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Rules that were broken.
    pub violations: Vec<String>,
    /// Claims that do not hold.
    pub failed: Vec<String>,
    /// Hash of the trace.
    pub trace_hash: String,
    /// Root of the sequence at the end.
    pub root: String,
    /// Distributions.
    pub cdfs: Vec<Cdf>,
    /// Timeline.
    pub views: Vec<ViewRow>,
    /// Bytes by type of message.
    pub messages: Vec<Amount>,
    /// Nanoseconds by kind of job.
    pub jobs: Vec<Amount>,
    /// Faults and their times, ms.
    pub faults: Vec<(f64, String)>,
    /// Why orders were refused, and how often.
    pub refusals: Vec<(String, u64)>,
    /// Wall time, ms. The only figure that differs between machines.
    pub wall_ms: u64,
}

impl Row {
    /// Of a run that ended.
    #[must_use]
    pub fn new(plan: &Plan, run: &Run, lab: &Lab, report: &Report, record: &Recorder) -> Self {
        let metrics = Metrics::of(report, record, lab.cpu.cores);
        let failed = plan
            .claims
            .iter()
            .filter(|claim| claim.applies(&run.settings))
            .filter(|claim| !claim.holds(metrics.get(claim.metric)))
            .map(|claim| match metrics.get(claim.metric) {
                Some(figure) => format!("{claim}: it is {}", short(figure)),
                None => format!("{claim}: there is none"),
            })
            .collect();
        let plain = |(path, value): &(String, super::Value)| (path.clone(), value.plain());
        Self {
            format: FORMAT,
            build: String::new(),
            scenario: plan.name.clone(),
            id: run.id.clone(),
            index: run.index,
            seed: run.seed,
            point: run.point.iter().map(plain).collect(),
            members: lab.n,
            placement: lab
                .regions
                .iter()
                .map(|region| lab.region_name(*region).to_owned())
                .collect(),
            matrix: (lab.matrix.name.clone(), lab.matrix.hash.clone()),
            tier: lab.tier().name().to_owned(),
            metrics: metrics
                .iter()
                .map(|(name, figure)| (name.to_owned(), figure))
                .collect(),
            violations: report.violations.iter().map(ToString::to_string).collect(),
            failed,
            trace_hash: format!("{:032x}", report.trace_hash),
            root: report
                .root
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            cdfs: cdfs(lab, record),
            views: views(record),
            messages: record
                .spoken
                .iter()
                .map(|(name, spoken)| Amount {
                    name: (*name).to_owned(),
                    count: spoken.messages,
                    amount: spoken.bytes,
                })
                .collect(),
            jobs: record
                .worked
                .iter()
                .map(|(name, worked)| Amount {
                    name: (*name).to_owned(),
                    count: worked.jobs,
                    amount: worked.busy_ns,
                })
                .collect(),
            faults: record
                .faults
                .iter()
                .map(|(at, text)| (ms(*at), text.clone()))
                .collect(),
            refusals: record.refusals.clone().into_iter().collect(),
            wall_ms: 0,
        }
    }

    /// A figure.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied().flatten()
    }

    /// Whether every claim holds, and no rule was broken that nobody expected.
    #[must_use]
    pub fn passed(&self, plan: &Plan) -> bool {
        let expected = plan.claims.iter().any(|claim| claim.metric == "violations");
        self.failed.is_empty() && (expected || self.violations.is_empty())
    }
}

/// A figure with about four digits.
#[must_use]
pub fn short(figure: f64) -> String {
    let size = figure.abs();
    let text = if size >= 1_000.0 || figure.fract() == 0.0 {
        format!("{figure:.0}")
    } else if size >= 100.0 {
        format!("{figure:.1}")
    } else if size >= 10.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.3}")
    };
    if text == "-0" { "0".to_owned() } else { text }
}

/// As milliseconds, to the microsecond.
#[must_use]
pub fn ms(at: Nanos) -> f64 {
    (at.0 / 1_000) as f64 / 1e3
}

fn cdfs(lab: &Lab, record: &Recorder) -> Vec<Cdf> {
    let ours = |order: &&OrderRecord| matches!(order.role, Role::Trader | Role::Victim);
    let orders: Vec<_> = record.orders.iter().filter(ours).collect();
    let mut cdfs = Vec::new();
    for (stage, of) in STAGES {
        cdfs.push(cdf(stage, "", &latencies(&orders, of)));
    }
    let mut regions: Vec<_> = orders.iter().map(|order| order.region).collect();
    regions.sort_unstable();
    regions.dedup();
    if regions.len() > 1 {
        for region in regions {
            let there: Vec<_> = orders
                .iter()
                .copied()
                .filter(|order| order.region == region)
                .collect();
            let values = latencies(&there, |order| order.opened_near);
            cdfs.push(cdf("opened", lab.region_name(region), &values));
        }
    }
    cdfs.retain(|cdf| cdf.count > 0);
    cdfs
}

fn cdf(stage: &str, region: &str, values: &[f64]) -> Cdf {
    let last = values.len().saturating_sub(1);
    let at = |step: usize| values.get(step * last / CDF_STEPS).copied();
    let ms = |value: f64| (value * 1e3).round() / 1e3;
    Cdf {
        stage: stage.to_owned(),
        region: region.to_owned(),
        count: values.len(),
        ms: (0..=CDF_STEPS).filter_map(at).map(ms).collect(),
    }
}

fn views(record: &Recorder) -> Vec<ViewRow> {
    let mut first_final: BTreeMap<u64, Nanos> = BTreeMap::new();
    for finals in &record.finals {
        for (height, at) in finals {
            let first = first_final.entry(*height).or_insert(*at);
            *first = (*first).min(*at);
        }
    }
    // Of several views for one height, the last one with a proposal made it.
    let mut made: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, view) in &record.views {
        if view.proposed.is_some() {
            made.insert(view.height, *number);
        }
    }
    record
        .views
        .iter()
        .take(VIEWS_MAX)
        .map(|(number, view)| {
            let mine = made.get(&view.height) == Some(number);
            let done = first_final.get(&view.height).filter(|_| mine);
            ViewRow {
                view: *number,
                leader: view.leader,
                proposed_ms: view.proposed.map(ms),
                final_ms: done.map(|at| ms(*at)),
                skipped_ms: view.skipped.map(ms),
            }
        })
        .collect()
}

/// Titles of `orders.csv`.
pub const ORDER_TITLES: &str = "run,order,role,sender,region,nearest,outcome,position,sent_ms,\
    received_ms,acknowledged_ms,laned_ms,final_ms,opened_ms,final_first_ms,opened_first_ms,victim";

/// The lines of `orders.csv` of a run.
#[must_use]
pub fn order_lines(run: &str, lab: &Lab, record: &Recorder) -> String {
    let mut lines = String::new();
    for (index, order) in record.orders.iter().enumerate() {
        let at = |time: Option<Nanos>| time.map_or(String::new(), |at| format!("{:.3}", ms(at)));
        let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        let sender = match order.role {
            Role::Attacker => "attacker".to_owned(),
            _ => order.sender.to_string(),
        };
        let cells = [
            run.to_owned(),
            index.to_string(),
            order.role.name().to_owned(),
            sender,
            lab.region_name(order.region).to_owned(),
            order
                .near
                .first()
                .map_or(String::new(), |(member, _)| member.to_string()),
            order.outcome.to_owned(),
            number(order.position),
            at(order.sent),
            at(order.received),
            at(order.acknowledged),
            at(order.laned),
            at(order.final_near),
            at(order.opened_near),
            at(order.final_first),
            at(order.opened_first),
            number(order.victim.map(|victim| victim as u64)),
        ];
        lines.push_str(&cells.join(","));
        lines.push('\n');
    }
    lines
}
