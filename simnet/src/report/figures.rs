//! Which plots a report has, and what they show.

use super::plot::{Bars, Panel, Plot, Series, Style, picture};
use crate::research::Row;
use crate::research::metrics::{GAP_METRICS, GAPS_MS};
use crate::research::row::{CDF_STEPS, Cdf};

/// Most points of a sweep in one plot.
const POINTS_MAX: usize = 8;

/// What a figure is drawn from.
#[derive(Clone, Debug, PartialEq)]
enum Drawing {
    Plot(Plot),
    Bars(Bars),
}

/// A plot with its place and its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of its file.
    pub name: &'static str,
    /// How to read it.
    pub caption: &'static str,
    drawing: Drawing,
}

impl Figure {
    /// As SVG.
    #[must_use]
    pub fn to_svg(&self) -> String {
        picture(&[self.panel()])
    }

    /// As a part of a picture.
    #[must_use]
    pub fn panel(&self) -> Panel {
        match &self.drawing {
            Drawing::Plot(plot) => plot.panel(),
            Drawing::Bars(bars) => bars.panel(),
        }
    }

    fn plot(name: &'static str, caption: &'static str, plot: Plot) -> Self {
        let drawing = Drawing::Plot(plot);
        Self {
            name,
            caption,
            drawing,
        }
    }

    fn bars(name: &'static str, caption: &'static str, bars: Bars) -> Self {
        let drawing = Drawing::Bars(bars);
        Self {
            name,
            caption,
            drawing,
        }
    }
}

/// Runs of one point of the sweep.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// Its values, in words.
    pub label: String,
    /// Its runs.
    pub rows: Vec<&'a Row>,
}

impl Point<'_> {
    /// Mean of a metric over the runs that have it.
    #[must_use]
    pub fn mean(&self, metric: &str) -> Option<f64> {
        let figures: Vec<f64> = self
            .rows
            .iter()
            .filter_map(|row| row.metric(metric))
            .collect();
        (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
    }
}

/// The points of the runs, in their order.
#[must_use]
pub fn points(rows: &[Row]) -> Vec<Point<'_>> {
    let mut points: Vec<Point<'_>> = Vec::new();
    for row in rows {
        let words: Vec<_> = row
            .point
            .iter()
            .map(|(path, value)| format!("{} {value}", path.rsplit('.').next().unwrap_or(path)))
            .collect();
        let label = if words.is_empty() {
            "all seeds".to_owned()
        } else {
            words.join(", ")
        };
        match points.iter_mut().find(|point| point.label == label) {
            Some(point) => point.rows.push(row),
            None => points.push(Point {
                label,
                rows: vec![row],
            }),
        }
    }
    points
}

/// Every figure that the runs have something for.
#[must_use]
pub fn figures(rows: &[Row]) -> Vec<Figure> {
    let points = points(rows);
    let some = [
        Some(stages(&points)),
        by_point(&points),
        regions(&points),
        latency(&points),
        throughput(&points),
        timeline(rows),
        Some(messages(&points)),
        Some(jobs(&points)),
        inversions(&points),
        attacks(&points),
    ];
    some.into_iter().flatten().collect()
}

/// The distribution of all runs of a point: quantiles count as equal parts of each run.
fn pooled(point: &Point<'_>, of: impl Fn(&Cdf) -> bool) -> Vec<(f64, f64)> {
    let mut parts: Vec<(f64, f64)> = Vec::new();
    for cdf in point
        .rows
        .iter()
        .flat_map(|row| &row.cdfs)
        .filter(|cdf| of(cdf))
    {
        let weight = cdf.count as f64 / cdf.ms.len().max(1) as f64;
        parts.extend(cdf.ms.iter().map(|ms| (*ms, weight)));
    }
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let whole: f64 = parts.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    let mut line: Vec<(f64, f64)> = parts
        .into_iter()
        .map(|(ms, weight)| {
            sum += weight;
            (ms, sum / whole)
        })
        .collect();
    let step = (line.len() / (2 * CDF_STEPS)).max(1);
    let last = line.last().copied();
    line = line.into_iter().step_by(step).collect();
    line.extend(last);
    line
}

fn stages(points: &[Point<'_>]) -> Figure {
    let first = points.first();
    let series = ["acknowledged", "laned", "final", "opened"]
        .into_iter()
        .filter_map(|stage| {
            let points = pooled(first?, |cdf| cdf.stage == stage && cdf.region.is_empty());
            Some(Series {
                name: stage.to_owned(),
                points,
                style: Style::Line,
            })
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    let label = first.map_or(String::new(), |point| point.label.clone());
    Figure::plot(
        "stages",
        "Share of the orders that had reached each stage so long after they were sent. \
         Acknowledged: first receipt. Laned: in a quorum of lanes. Final and opened: at the \
         member nearest to the sender.",
        distribution(format!("Latency by stage ({label})"), series),
    )
}

/// Share of the orders by the time since each was sent.
fn distribution(title: impl Into<String>, series: Vec<Series>) -> Plot {
    Plot {
        title: title.into(),
        x: "ms since the order was sent".into(),
        y: "share of orders".into(),
        series,
        from_zero: true,
        y_range: Some((0.0, 1.0)),
        ..Plot::default()
    }
}

fn by_point(points: &[Point<'_>]) -> Option<Figure> {
    if points.len() < 2 {
        return None;
    }
    let series = points
        .iter()
        .take(POINTS_MAX)
        .map(|point| Series {
            name: point.label.clone(),
            points: pooled(point, |cdf| cdf.stage == "opened" && cdf.region.is_empty()),
            style: Style::Line,
        })
        .collect();
    Some(Figure::plot(
        "opened",
        "From sending an order to its plaintext at the member nearest to the sender, one line \
         per point of the sweep.",
        distribution("Latency to plaintext by point", series),
    ))
}

fn regions(points: &[Point<'_>]) -> Option<Figure> {
    let of = |cdf: &&Cdf| !cdf.region.is_empty();
    let point = points.iter().find(|point| {
        point
            .rows
            .iter()
            .flat_map(|row| &row.cdfs)
            .any(|cdf| of(&cdf))
    })?;
    let mut names: Vec<&str> = point
        .rows
        .iter()
        .flat_map(|row| &row.cdfs)
        .filter(of)
        .map(|cdf| cdf.region.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let series = names
        .into_iter()
        .take(POINTS_MAX)
        .map(|name| Series {
            name: name.to_owned(),
            points: pooled(point, |cdf| cdf.stage == "opened" && cdf.region == name),
            style: Style::Line,
        })
        .collect();
    Some(Figure::plot(
        "regions",
        "The same by the region of the sender.",
        distribution(
            format!("Latency to plaintext by region ({})", point.label),
            series,
        ),
    ))
}

fn latency(points: &[Point<'_>]) -> Option<Figure> {
    if points.len() < 2 {
        return None;
    }
    let shown: Vec<_> = points.iter().take(16).collect();
    let series = ["p50_ms", "p90_ms", "p99_ms"]
        .into_iter()
        .map(|metric| Series {
            name: metric.trim_end_matches("_ms").to_owned(),
            points: shown
                .iter()
                .enumerate()
                .filter_map(|(at, point)| Some((at as f64, point.mean(metric)?)))
                .collect(),
            style: Style::Dots,
        })
        .collect();
    Some(Figure::plot(
        "latency",
        "Quantiles of the latency to plaintext, mean over the seeds.",
        Plot {
            title: "Latency to plaintext".into(),
            x: "point of the sweep".into(),
            y: "ms".into(),
            x_names: shown.iter().map(|point| point.label.clone()).collect(),
            series,
            from_zero: true,
            ..Plot::default()
        },
    ))
}

fn throughput(points: &[Point<'_>]) -> Option<Figure> {
    let swept = |key: &str| {
        let rows = points.iter().flat_map(|point| &point.rows);
        rows.flat_map(|row| &row.point).any(|(path, _)| path == key)
    };
    if !swept("workload.rate") && !swept("workload.flood_rate") {
        return None;
    }
    let series = ["p50_ms", "p99_ms"]
        .into_iter()
        .map(|metric| {
            let mut line: Vec<_> = points
                .iter()
                .filter_map(|point| Some((point.mean("opened_per_s")?, point.mean(metric)?)))
                .collect();
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series {
                name: metric.trim_end_matches("_ms").to_owned(),
                points: line,
                style: Style::Dots,
            }
        })
        .collect();
    Some(Figure::plot(
        "throughput",
        "Orders of all senders that came out a second, and what it does to the latency of the \
         traders' orders. Where the line turns upwards the committee is saturated.",
        Plot {
            title: "Throughput and latency".into(),
            x: "orders opened a second".into(),
            y: "ms to plaintext".into(),
            series,
            from_zero: true,
            ..Plot::default()
        },
    ))
}

/// Views of the run with the most to see: faults, then skips.
fn timeline(rows: &[Row]) -> Option<Figure> {
    let row = rows
        .iter()
        .filter(|row| !row.views.is_empty())
        .max_by_key(|row| {
            let skips = row
                .views
                .iter()
                .filter(|view| view.skipped_ms.is_some())
                .count();
            (row.faults.len().min(1), skips, u64::MAX - row.index)
        })?;
    let (mut done, mut skipped) = (Vec::new(), Vec::new());
    for view in &row.views {
        let y = view.leader.map_or(-1.0, |leader| leader as f64);
        if let (Some(from), Some(to)) = (view.proposed_ms, view.final_ms) {
            done.extend([(from, y), (to, y)]);
        }
        if let Some(at) = view.skipped_ms {
            skipped.push((at, y));
        }
    }
    let mut series = vec![Series {
        name: "proposed to final".into(),
        points: done,
        style: Style::Spans,
    }];
    if !skipped.is_empty() {
        series.push(Series {
            name: "given up (at −1: nobody proposed)".into(),
            points: skipped,
            style: Style::Crosses,
        });
    }
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (at, word) in &row.faults {
        match marks.last_mut() {
            // Faults at one time share a line.
            Some((last, words)) if (*last - at).abs() < 1.0 => {
                if words.len() < 24 {
                    words.push_str(", ");
                    words.push_str(word);
                }
            }
            _ => marks.push((*at, word.clone())),
        }
    }
    marks.truncate(12);
    let members = row.members as f64 - 1.0;
    let low = if series.len() > 1 { -1.0 } else { 0.0 };
    Some(Figure::plot(
        "timeline",
        "A bar per view, from the leader's proposal to the first disk that has its block \
         final; a cross where a member gave a view up; dashed lines are faults.",
        Plot {
            title: format!("Views of one run (seed {})", row.seed),
            x: "ms".into(),
            y: "leader".into(),
            series,
            marks,
            from_zero: true,
            y_range: Some((low, members)),
            ..Plot::default()
        },
    ))
}

/// Mean of an amount per order in the sequence.
fn per_order(point: &Point<'_>, of: impl Fn(&Row) -> f64) -> f64 {
    let orders: f64 = point
        .rows
        .iter()
        .filter_map(|row| row.metric("opened"))
        .sum();
    let amount: f64 = point.rows.iter().map(|row| of(row)).sum();
    if orders > 0.0 { amount / orders } else { 0.0 }
}

fn grouped(
    points: &[Point<'_>],
    list: impl Fn(&Row) -> &Vec<crate::research::row::Amount>,
    scale: f64,
) -> (Vec<String>, Vec<(String, Vec<f64>)>) {
    let shown: Vec<_> = points.iter().take(4).collect();
    let mut names: Vec<(String, f64)> = Vec::new();
    for amount in shown.iter().flat_map(|p| &p.rows).flat_map(|row| list(row)) {
        match names.iter_mut().find(|(name, _)| *name == amount.name) {
            Some((_, sum)) => *sum += amount.amount as f64,
            None => names.push((amount.name.clone(), amount.amount as f64)),
        }
    }
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names.truncate(12);
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    let series = shown
        .iter()
        .map(|point| {
            let of = |name: &String| {
                per_order(point, |row| {
                    let found = list(row).iter().find(|amount| amount.name == *name);
                    found.map_or(0.0, |amount| amount.amount as f64 * scale)
                })
            };
            (point.label.clone(), names.iter().map(of).collect())
        })
        .collect();
    (names, series)
}

fn messages(points: &[Point<'_>]) -> Figure {
    let (groups, series) = grouped(points, |row| &row.messages, 1.0);
    Figure::bars(
        "bytes",
        "Bytes between members by type of message, all copies counted, divided by the traders' \
         orders that were opened.",
        Bars {
            title: "Bytes per order and type of message".into(),
            x: "bytes per order".into(),
            groups,
            series,
        },
    )
}

fn jobs(points: &[Point<'_>]) -> Figure {
    let (groups, series) = grouped(points, |row| &row.jobs, 1e-3);
    Figure::bars(
        "cpu",
        "Time on a core by kind of job, all members together, divided by the traders' orders \
         that were opened.",
        Bars {
            title: "Cryptography per order".into(),
            x: "µs on a core per order, all members".into(),
            groups,
            series,
        },
    )
}

fn inversions(points: &[Point<'_>]) -> Option<Figure> {
    let series: Vec<_> = points
        .iter()
        .take(POINTS_MAX)
        .map(|point| Series {
            name: match point.mean("kendall_tau") {
                Some(tau) => format!("{} (τ {tau:.4})", point.label),
                None => point.label.clone(),
            },
            points: GAP_METRICS
                .iter()
                .enumerate()
                .filter_map(|(at, metric)| Some((at as f64, point.mean(metric)?)))
                .collect(),
            style: Style::Dots,
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    if series.is_empty() {
        return None;
    }
    let names = GAPS_MS.iter().map(|(from, to)| format!("{from}–{to} ms"));
    Some(Figure::plot(
        "fairness",
        "Of two orders sent so long one after the other, how often the later came out first. \
         Traders' ways differ, so the shortest gaps are open to chance. τ is Kendall's: 1 means \
         the sequence is the order of sending.",
        Plot {
            title: "Inversions by gap of sending".into(),
            x: "gap between the two".into(),
            y: "share of pairs turned round".into(),
            x_names: names.collect(),
            series,
            from_zero: true,
            y_range: Some((0.0, 0.01)),
            ..Plot::default()
        },
    ))
}

fn attacks(points: &[Point<'_>]) -> Option<Figure> {
    let attacked: Vec<_> = points
        .iter()
        .filter(|point| point.mean("attacks").is_some_and(|attacks| attacks > 0.0))
        .take(16)
        .collect();
    if attacked.is_empty() {
        return None;
    }
    let of = |metric: &str| {
        attacked
            .iter()
            .map(|point| point.mean(metric).unwrap_or(0.0).max(0.0))
            .collect()
    };
    Some(Figure::bars(
        "attack",
        "Share of the victims that the attacker's order came before, and what that is worth: \
         first on the victim's side less first on the other side, per attack.",
        Bars {
            title: "Attacker before victim".into(),
            x: "per attack".into(),
            groups: attacked.iter().map(|point| point.label.clone()).collect(),
            series: vec![
                ("first".into(), of("attack_first")),
                ("gain".into(), of("attack_gain")),
            ],
        },
    ))
}
