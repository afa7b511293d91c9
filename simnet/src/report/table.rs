//! The table at the end of a sweep: a line per point.

use super::figures::{Point, points};
use crate::research::Row;
use crate::research::row::short;
use crate::research::settings::Plan;

/// Metrics that every table has.
const ALWAYS: [&str; 6] = [
    "opened",
    "p50_ms",
    "p99_ms",
    "opened_per_s",
    "skips",
    "violations",
];

/// Metrics of the table: those above, and those that are claimed.
fn shown(plan: &Plan) -> Vec<&'static str> {
    let mut shown = ALWAYS.to_vec();
    for claim in &plan.claims {
        if !shown.contains(&claim.metric) {
            shown.push(claim.metric);
        }
    }
    shown
}

/// Titles of the columns.
#[must_use]
pub fn columns(plan: &Plan) -> Vec<String> {
    let mut columns = vec!["point".to_owned(), "runs".to_owned()];
    columns.extend(shown(plan).into_iter().map(str::to_owned));
    columns.push("verdict".to_owned());
    columns
}

/// The cells of a point, means over its runs.
#[must_use]
pub fn cells(plan: &Plan, point: &Point<'_>) -> Vec<String> {
    let mut cells = vec![point.label.clone(), point.rows.len().to_string()];
    for metric in shown(plan) {
        cells.push(point.mean(metric).map_or("–".to_owned(), short));
    }
    let failed = point.rows.iter().filter(|row| !row.passed(plan)).count();
    cells.push(match failed {
        0 => "pass".to_owned(),
        failed => format!("FAIL {failed}"),
    });
    cells
}

/// As text with aligned columns.
#[must_use]
pub fn table(plan: &Plan, rows: &[Row]) -> String {
    let mut lines = vec![columns(plan)];
    lines.extend(points(rows).iter().map(|point| cells(plan, point)));
    let width = |column: usize| {
        let of = lines.iter().filter_map(|line| line.get(column));
        of.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            // Words to the left, figures to the right.
            let padded = if index == 0 {
                format!("{cell}{pad}")
            } else {
                format!("  {pad}{cell}")
            };
            text.push_str(&padded);
        }
        text.push('\n');
    }
    text
}
