//! The report: one file that needs no other.

use core::fmt::Write as _;

use super::figures::{Figure, points};
use super::plot::escape;
use super::table::{cells, columns};
use crate::research::Row;
use crate::research::folder::Maker;
use crate::research::row::short;
use crate::research::settings::Plan;

const STYLE: &str = "
body{font:15px/1.5 Helvetica,Arial,sans-serif;color:#111;background:#f6f6f4;margin:0}
main{max-width:860px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:8px 0 4px}h2{font-size:18px;margin:34px 0 8px}
.about{color:#444;margin:0 0 18px}.good{color:#00734f}.bad{color:#b00020}
.badge{display:inline-block;border:1px solid;border-radius:4px;padding:1px 9px;font-weight:600}
.wide{overflow-x:auto}table{border-collapse:collapse;background:#fff;font-size:13px}
th,td{border:1px solid #ddd;padding:4px 9px;text-align:right;white-space:nowrap}
th{background:#efefec}td:first-child,th:first-child{text-align:left}
figure{background:#fff;border:1px solid #ddd;margin:0 0 22px;padding:10px}
figure svg{display:block;max-width:100%;height:auto}
figcaption{font-size:13px;color:#444;padding:2px 12px 8px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;font-size:13px}
dt{color:#555}dd{margin:0;font-family:monospace;overflow-wrap:anywhere}
li{font-size:14px}code{font-size:13px}";

/// The report of all runs.
#[must_use]
pub fn html(plan: &Plan, rows: &[Row], figures: &[Figure], maker: &Maker) -> String {
    let title = match plan.settings.text("report.title") {
        "" => plan.name.as_str(),
        title => title,
    };
    let mut page = format!(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width'><title>{0}</title>\
         <style>{STYLE}</style></head><body><main><h1>{0}</h1>",
        escape(title)
    );
    let passed = rows.iter().all(|row| row.passed(plan));
    let (class, word) = if passed {
        ("good", "pass")
    } else {
        ("bad", "FAIL")
    };
    let _ = write!(
        page,
        "<p class='about'><span class='badge {class}'>{word}</span> {}</p>",
        escape(plan.settings.text("about"))
    );
    claims(&mut page, plan, rows);
    page.push_str("<h2>Figures by point</h2><div class='wide'><table><tr>");
    let points = points(rows);
    for column in columns(plan) {
        let _ = write!(page, "<th>{}</th>", escape(&column));
    }
    page.push_str("</tr>");
    for point in &points {
        page.push_str("<tr>");
        for cell in cells(plan, point) {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div><h2>Plots</h2>");
    for figure in figures {
        let _ = write!(
            page,
            "<figure id='{}'>{}<figcaption>{}</figcaption></figure>",
            figure.name,
            figure.to_svg(),
            escape(figure.caption)
        );
    }
    broken(&mut page, rows);
    provenance(&mut page, plan, rows, maker);
    page + "</main></body></html>\n"
}

/// Each claim, whether it holds, and where not.
fn claims(page: &mut String, plan: &Plan, rows: &[Row]) {
    if plan.claims.is_empty() {
        return;
    }
    page.push_str("<h2>Claims</h2><ul>");
    for claim in &plan.claims {
        let text = claim.to_string();
        let against: Vec<_> = rows
            .iter()
            .flat_map(|row| &row.failed)
            .filter(|failed| failed.starts_with(&format!("{text}:")))
            .collect();
        let (class, word) = match against.first() {
            None => ("good", "holds".to_owned()),
            Some(first) => {
                let seen = first.get(text.len()..).unwrap_or("");
                (
                    "bad",
                    format!("fails in {} of {} runs{seen}", against.len(), rows.len()),
                )
            }
        };
        let _ = write!(
            page,
            "<li><code>{}</code> <span class='{class}'>{}</span></li>",
            escape(&text),
            escape(&word)
        );
    }
    page.push_str("</ul>");
}

fn broken(page: &mut String, rows: &[Row]) {
    let mut lines = rows
        .iter()
        .flat_map(|row| {
            row.violations
                .iter()
                .map(|what| format!("{}: {what}", row.id))
        })
        .take(20)
        .peekable();
    if lines.peek().is_none() {
        return;
    }
    page.push_str("<h2 class='bad'>Broken rules</h2><ul>");
    for line in lines {
        let _ = write!(page, "<li><code>{}</code></li>", escape(&line));
    }
    page.push_str("</ul>");
}

fn provenance(page: &mut String, plan: &Plan, rows: &[Row], maker: &Maker) {
    let seeds: Vec<u64> = rows.iter().map(|row| row.seed).collect();
    let ends = (seeds.iter().min(), seeds.iter().max());
    let mut matrices: Vec<_> = rows
        .iter()
        .map(|row| format!("{} ({})", row.matrix.0, row.matrix.1))
        .collect();
    matrices.sort();
    matrices.dedup();
    let costs = plan.settings.text("crypto.costs");
    let factor = plan.settings.float("crypto.cost_factor");
    let wall: u64 = rows.iter().map(|row| row.wall_ms).sum();
    let simulated: f64 = rows.iter().filter_map(|row| row.metric("virtual_ms")).sum();
    let facts = [
        ("scenario", plan.name.clone()),
        ("version", maker.version.to_owned()),
        ("commit", maker.commit.to_owned()),
        ("program", maker.build.clone()),
        ("tier", plan.settings.text("crypto.tier").to_owned()),
        ("costs", format!("{costs}, times {}", short(factor))),
        ("latency", matrices.join("; ")),
        ("runs", rows.len().to_string()),
        (
            "seeds",
            match ends {
                (Some(low), Some(high)) => format!("{low} to {high}"),
                _ => String::new(),
            },
        ),
        ("simulated", format!("{} s", short(simulated / 1e3))),
        (
            "computed in",
            format!("{} s on one core", short(wall as f64 / 1e3)),
        ),
    ];
    page.push_str("<h2>Made from</h2><dl>");
    for (name, value) in facts {
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    page.push_str("</dl>");
}
