//! What a sweep ends with: tables, pictures and the report, made from its kept rows.

use super::folder::{Folder, Maker, runs_csv, summary};
use super::row::Row;
use super::settings::Plan;
use crate::report::{self, Figure};

/// Whether this program can write what the plan asks for.
///
/// # Errors
/// The feature that it was built without.
pub fn possible(plan: &Plan) -> Result<(), String> {
    for (key, there) in [
        ("report.png", cfg!(feature = "png")),
        ("report.parquet", cfg!(feature = "parquet")),
    ] {
        if plan.settings.bool(key) && !there {
            let feature = key.trim_start_matches("report.");
            return Err(format!(
                "{key}: this program was built without the feature `{feature}`"
            ));
        }
    }
    Ok(())
}

/// Writes all files of the sweep, and gives what `summary.json` says.
///
/// # Errors
/// A path and what the system says, or what could not be drawn.
pub fn write(
    folder: &Folder,
    plan: &Plan,
    rows: &[Row],
    maker: &Maker,
) -> Result<serde_json::Value, String> {
    let mut tables = vec!["runs"];
    folder.write("runs.csv", &runs_csv(rows))?;
    if plan.settings.bool("report.orders") {
        folder.join_orders(rows)?;
        tables.push("orders");
    }
    if plan.settings.bool("report.parquet") {
        parquet(folder, &tables)?;
    }
    let summary = summary(plan, rows, maker);
    folder.write("summary.json", &format!("{summary:#}\n"))?;
    let figures = report::figures(rows);
    let mut pictures: Vec<_> = figures
        .iter()
        .map(|figure| (figure.name, figure.to_svg()))
        .collect();
    let panels: Vec<_> = figures.iter().map(Figure::panel).collect();
    pictures.push(("report", report::picture(&panels)));
    for (name, svg) in &pictures {
        folder.write(&format!("{name}.svg"), svg)?;
    }
    if plan.settings.bool("report.png") {
        png(folder, &pictures)?;
    }
    folder.write("report.html", &report::html(plan, rows, &figures, maker))?;
    Ok(summary)
}

#[cfg(feature = "png")]
fn png(folder: &Folder, pictures: &[(&str, String)]) -> Result<(), String> {
    let painter = report::Painter::new();
    for (name, svg) in pictures {
        let told = |what| format!("{name}.png: {what}");
        folder.write_bytes(&format!("{name}.png"), &painter.paint(svg).map_err(told)?)?;
    }
    Ok(())
}

#[cfg(not(feature = "png"))]
const fn png(_: &Folder, _: &[(&str, String)]) -> Result<(), String> {
    Ok(())
}

#[cfg(feature = "parquet")]
fn parquet(folder: &Folder, tables: &[&str]) -> Result<(), String> {
    for table in tables {
        let at = |kind| folder.root().join(format!("{table}.{kind}"));
        super::parquet::from_csv(&at("csv"), &at("parquet"))?;
    }
    Ok(())
}

#[cfg(not(feature = "parquet"))]
const fn parquet(_: &Folder, _: &[&str]) -> Result<(), String> {
    Ok(())
}
