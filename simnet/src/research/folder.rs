//! The folder of a sweep: one file per run as soon as it ends, and the tables made of them.
//!
//! ```text
//! OUT/scenario.toml     what was run
//!     runs/ID.json      a run: figures and what the report draws
//!     runs/ID.orders.csv, ID.events.jsonl, ID.trace.json
//!     runs.csv  orders.csv  summary.json  report.html  report.svg  *.svg
//!     runs.parquet  orders.parquet  report.png  *.png    if asked for
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::keys::keys;
use super::metrics::METRICS;
use super::row::{FORMAT, ORDER_TITLES, Row};
use super::settings::Plan;
use crate::costs::CostTable;

/// Largest file of a run that is read back, in bytes.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// A folder of results.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

impl Folder {
    /// Opens or makes one. Without `resume`, the runs of an earlier sweep are taken out.
    ///
    /// # Errors
    /// The path and what the system says; or that the folder holds something else.
    pub fn open(root: &Path, resume: bool) -> Result<Self, String> {
        let runs = root.join("runs");
        let ours = root.join("scenario.toml").exists() || !root.exists() || is_empty(root);
        if !ours {
            let root = root.display();
            return Err(format!(
                "{root} holds something else; choose another with --out"
            ));
        }
        if runs.exists() && !resume {
            fs::remove_dir_all(&runs).map_err(failed(&runs))?;
        }
        fs::create_dir_all(&runs).map_err(failed(&runs))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn write(&self, name: &str, text: &str) -> Result<(), String> {
        self.write_bytes(name, text.as_bytes())
    }

    /// The same with bytes.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.root.join(name);
        let part = self.root.join(format!("{name}.part"));
        fs::write(&part, bytes).map_err(failed(&part))?;
        fs::rename(&part, &path).map_err(failed(&path))
    }

    /// Keeps a run.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn keep(&self, row: &Row) -> Result<(), String> {
        let text = serde_json::to_string(row).map_err(|error| error.to_string())?;
        self.write(&format!("runs/{}.json", row.id), &text)
    }

    /// Every run that was kept, by name. Files of another form are left out.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn rows(&self) -> Result<BTreeMap<String, Row>, String> {
        let runs = self.root.join("runs");
        let mut rows = BTreeMap::new();
        for entry in fs::read_dir(&runs).map_err(failed(&runs))? {
            let path = entry.map_err(failed(&runs))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("");
            let is_row = name.ends_with(".json") && !name.ends_with(".trace.json");
            if !is_row {
                continue;
            }
            let meta = fs::metadata(&path).map_err(failed(&path))?;
            if meta.len() > ROW_BYTES_MAX {
                return Err(format!("{}: too large for a run", path.display()));
            }
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            if let Ok(row) = serde_json::from_str::<Row>(&text)
                && row.format == FORMAT
                && name == format!("{}.json", row.id)
            {
                rows.insert(row.id.clone(), row);
            }
        }
        Ok(rows)
    }

    /// Copies the files of the runs of another folder into this one.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn take(&self, other: &Path) -> Result<(), String> {
        let runs = other.join("runs");
        for entry in fs::read_dir(&runs).map_err(failed(&runs))? {
            let path = entry.map_err(failed(&runs))?.path();
            if let Some(name) = path.file_name()
                && path.extension().is_some_and(|ext| ext != "part")
            {
                let target = self.root.join("runs").join(name);
                fs::copy(&path, &target).map_err(failed(&target))?;
            }
        }
        Ok(())
    }

    /// Joins the lines of the runs' `orders.csv` in the order of the rows.
    ///
    /// # Errors
    /// The path and what the system says.
    pub fn join_orders(&self, rows: &[Row]) -> Result<(), String> {
        let path = self.root.join("orders.csv");
        let file = fs::File::create(&path).map_err(failed(&path))?;
        let mut out = BufWriter::new(file);
        writeln!(out, "{ORDER_TITLES}").map_err(failed(&path))?;
        for row in rows {
            let part = self.root.join(format!("runs/{}.orders.csv", row.id));
            if part.exists() {
                let text = fs::read(&part).map_err(failed(&part))?;
                out.write_all(&text).map_err(failed(&path))?;
            }
        }
        out.flush().map_err(failed(&path))
    }
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// `runs.csv`: a line per run.
#[must_use]
pub fn runs_csv(rows: &[Row]) -> String {
    let mut swept: Vec<&str> = Vec::new();
    for (path, _) in rows.iter().flat_map(|row| &row.point) {
        if !swept.contains(&path.as_str()) {
            swept.push(path);
        }
    }
    let mut titles = vec!["run", "scenario", "seed", "members", "matrix", "tier"];
    titles.extend(&swept);
    titles.extend(METRICS.iter().map(|(name, _)| *name));
    titles.extend(["failed_claims", "trace_hash", "root"]);
    let mut text = titles.join(",");
    text.push('\n');
    for row in rows {
        let mut cells = vec![
            row.id.clone(),
            cell(&row.scenario),
            row.seed.to_string(),
            row.members.to_string(),
            cell(&row.matrix.0),
            row.tier.clone(),
        ];
        for path in &swept {
            let value = row.point.iter().find(|(known, _)| known == path);
            cells.push(value.map_or(String::new(), |(_, value)| cell(value)));
        }
        for (name, _) in METRICS {
            cells.push(
                row.metric(name)
                    .map_or(String::new(), |figure| format!("{figure}")),
            );
        }
        cells.push(row.failed.len().to_string());
        cells.push(row.trace_hash.clone());
        cells.push(row.root.clone());
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A cell of CSV (RFC 4180).
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// What made the results.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Version of the package.
    pub version: &'static str,
    /// Commit it was built from, if the build knew.
    pub commit: &'static str,
    /// Hash of the program file.
    pub build: String,
}

/// `summary.json`.
#[must_use]
pub fn summary(plan: &Plan, rows: &[Row], maker: &Maker) -> serde_json::Value {
    let mut points: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        // Seeds of a point are neighbours.
        points
            .entry(row.index / plan.seeds.max(1))
            .or_default()
            .push(row);
    }
    let points: Vec<_> = points
        .values()
        .map(|rows| {
            let mut metrics = serde_json::Map::new();
            for (name, _) in METRICS {
                let figures: Vec<f64> = rows.iter().filter_map(|row| row.metric(name)).collect();
                if !figures.is_empty() {
                    let mean = figures.iter().sum::<f64>() / figures.len() as f64;
                    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
                    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let of = json!({"mean": mean, "min": low, "max": high});
                    metrics.insert((*name).to_owned(), of);
                }
            }
            let point: serde_json::Map<_, _> = rows
                .first()
                .map(|row| row.point.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|(path, value)| (path.clone(), value.clone().into()))
                .collect();
            let seeds: Vec<_> = rows.iter().map(|row| row.seed).collect();
            json!({"point": point, "seeds": seeds, "metrics": metrics})
        })
        .collect();
    let settings: serde_json::Map<_, _> = keys()
        .into_iter()
        .filter_map(|key| {
            let value = plan.settings.get(&key.path)?.to_json();
            Some((key.path, value))
        })
        .collect();
    let mut matrices: Vec<_> = rows.iter().map(|row| &row.matrix).collect();
    matrices.sort();
    matrices.dedup();
    let matrices: Vec<_> = matrices
        .iter()
        .map(|(name, hash)| json!({"name": name, "hash": hash}))
        .collect();
    // A table that was read when the runs began; a sweep over tables names each in its point.
    let name = plan.settings.text("crypto.costs");
    let table = CostTable::named(name).unwrap_or_default();
    let failed: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.failed
                .iter()
                .map(|what| json!({"run": row.id, "claim": what}))
        })
        .collect();
    let broken: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.violations
                .iter()
                .map(|what| json!({"run": row.id, "what": what}))
        })
        .collect();
    json!({
        "scenario": plan.name,
        "about": plan.settings.text("about"),
        "version": maker.version,
        "commit": maker.commit,
        "build": maker.build,
        "tier": plan.settings.text("crypto.tier"),
        "costs": {
            "table": name,
            "hash": table.digest(),
            "about": table.about,
            "factor": plan.settings.float("crypto.cost_factor"),
            "jobs": table.jobs,
            "steps": table.steps,
            "threads": table.threads,
            "disk": table.disk,
        },
        "matrices": matrices,
        "runs": rows.len(),
        "runs_planned": plan.count(),
        "passed": rows.iter().all(|row| row.passed(plan)),
        "claims": plan.claims.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failed_claims": failed,
        "violations": broken,
        "settings": settings,
        "points": points,
    })
}
