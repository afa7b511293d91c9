//! The verbs for scenarios, the same under `simnet` and `fairlane sim`.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest as _, Sha256};

use super::file::{self, FILE_BYTES_MAX};
use super::folder::{Folder, Maker};
use super::keys;
use super::lab::Lab;
use super::metrics::METRICS;
use super::outputs;
use super::row::{Row, order_lines};
use super::runner::{Outcome, Shard, many};
use super::settings::{Plan, Run};
use super::shipped;
use crate::report;

/// What to do with scenarios.
#[derive(Clone, Debug, Subcommand)]
pub enum ResearchVerb {
    /// Run a scenario: every point of its sweep with every seed.
    Run(RunArgs),
    /// Check scenario files without running them.
    Check {
        /// Files, or names of shipped scenarios.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Print the JSON schema of scenario files.
    Schema,
    /// List the shipped scenarios, or print one to start from.
    Scenarios {
        /// Which one to print.
        name: Option<String>,
    },
    /// Print the reference of keys and metrics as Markdown.
    Reference,
    /// Put the results of shards together.
    Merge(MergeArgs),
}

/// `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Runs are named by their settings and seed. With --resume, runs that the folder holds from the
same program are not run again. In an array job the shard is taken from SLURM_ARRAY_TASK_ID and
SLURM_ARRAY_TASK_COUNT, or JOB_COMPLETION_INDEX and JOB_COMPLETIONS.
Exit code 1: a claim of [expect] does not hold, or a rule was broken.")]
pub struct RunArgs {
    /// Scenario file, or the name of a shipped scenario.
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Seeds per point, instead of the file's.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first seed, instead of the file's.
    #[arg(long)]
    pub first_seed: Option<u64>,
    /// Sets a key, or sweeps through a list: --set workload.rate=500, --set committee.n=[4,7].
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Runs at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Only this part of the runs, for example 1/4.
    #[arg(long, value_name = "I/K")]
    pub shard: Option<String>,
    /// Folder of the results; sim-out/NAME by default.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep the runs that the folder holds already.
    #[arg(long)]
    pub resume: bool,
    /// Print summary.json instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// `merge`.
#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// Folders of the shards.
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Folder of the whole.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print summary.json instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Runs a verb; false if what was asked for does not hold.
///
/// # Errors
/// What is wrong with what was asked for, in words.
pub fn run(verb: &ResearchVerb) -> Result<bool, String> {
    match verb {
        ResearchVerb::Run(args) => run_scenario(args),
        ResearchVerb::Check { files } => check(files),
        ResearchVerb::Schema => {
            println!("{:#}", keys::schema(METRICS));
            Ok(true)
        }
        ResearchVerb::Scenarios { name } => scenarios(name.as_deref()),
        ResearchVerb::Reference => {
            print!("{}", reference());
            Ok(true)
        }
        ResearchVerb::Merge(args) => merge(args),
    }
}

/// Keys and metrics as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = keys::reference();
    text.push_str("\n| metric | meaning |\n|---|---|\n");
    for (name, doc) in METRICS {
        text.push_str(&format!("| `{name}` | {doc} |\n"));
    }
    text
}

/// Name and text of a scenario.
fn source(name: &str) -> Result<(String, String), String> {
    if let Some(text) = shipped::scenario(name) {
        return Ok((format!("{name}.toml"), text.to_owned()));
    }
    let told = |error: &dyn core::fmt::Display| {
        let names: Vec<_> = shipped::SCENARIOS.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        format!("{name}: {error}\n  shipped scenarios: {names}")
    };
    let meta = fs::metadata(name).map_err(|error| told(&error))?;
    if meta.len() > FILE_BYTES_MAX as u64 {
        return Err(told(&format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(name).map_err(|error| told(&error))?;
    Ok((name.to_owned(), text))
}

fn parse(name: &str, text: &str) -> Result<Plan, String> {
    file::parse(name, text).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// Every point is made ready, so that nothing is found wrong in the middle of a sweep.
fn rehearse(plan: &Plan) -> Result<(), String> {
    outputs::possible(plan)?;
    let seeds = plan.seeds.max(1);
    for point in 0..plan.count().unwrap_or(0) / seeds {
        let run = plan.run(point * seeds);
        Lab::new(&run.settings, run.seed, &shipped::matrix)?;
    }
    Ok(())
}

fn check(files: &[String]) -> Result<bool, String> {
    let mut good = true;
    for name in files {
        let checked = source(name)
            .and_then(|(name, text)| parse(&name, &text))
            .and_then(|plan| {
                let told = |what| format!("{name}: {what}");
                rehearse(&plan).map_err(told).map(|()| plan)
            });
        match checked {
            Ok(plan) => {
                let (runs, claims) = (plan.count().unwrap_or(0), plan.claims.len());
                println!("{name}: good, {runs} runs, {claims} claims");
            }
            Err(what) => {
                good = false;
                println!("{what}");
            }
        }
    }
    Ok(good)
}

fn scenarios(name: Option<&str>) -> Result<bool, String> {
    if let Some(name) = name {
        let text = shipped::scenario(name).ok_or_else(|| format!("no shipped scenario {name}"))?;
        print!("{text}");
        return Ok(true);
    }
    for (name, text) in shipped::SCENARIOS {
        let plan = parse(name, text)?;
        println!("{name:15} {}", plan.settings.text("about"));
    }
    Ok(true)
}

fn run_scenario(args: &RunArgs) -> Result<bool, String> {
    let (name, text) = source(&args.file)?;
    let mut plan = parse(&name, &text)?;
    for set in &args.set {
        file::set(&mut plan, set)?;
    }
    plan.seeds = args.seeds.unwrap_or(plan.seeds);
    plan.first_seed = args.first_seed.unwrap_or(plan.first_seed);
    plan.count().ok_or("too many runs")?;
    rehearse(&plan).map_err(|what| format!("{name}: {what}"))?;
    let shard = match &args.shard {
        Some(text) => Shard::parse(text)?,
        None => Shard::from_env(|name| std::env::var(name).ok())?.unwrap_or_default(),
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| Path::new("sim-out").join(&plan.name));
    let folder = Folder::open(&out, args.resume)?;
    folder.write("scenario.toml", &written(&text, args))?;
    let maker = maker();
    let mut kept = folder.rows()?;
    kept.retain(|_, row| row.build == maker.build);
    let mine: Vec<Run> = plan.runs().filter(|run| shard.has(run)).collect();
    let todo: Vec<Run> = mine
        .iter()
        .filter(|run| !kept.contains_key(&run.id))
        .cloned()
        .collect();
    let bar = progress(todo.len());
    let began = Instant::now();
    many(
        &plan,
        &todo,
        args.jobs.into(),
        &shipped::matrix,
        |outcome| {
            let row = keep(&folder, &plan, outcome, &maker)?;
            bar.set_message(format!("{} {}", label(&row), verdict(&row, &plan)));
            bar.inc(1);
            kept.insert(row.id.clone(), row);
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let mut rows: Vec<Row> = mine.iter().filter_map(|run| kept.remove(&run.id)).collect();
    // A file that was resumed may have been named under another scenario.
    for (row, run) in rows.iter_mut().zip(&mine) {
        row.index = run.index;
    }
    let good = finish(&folder, &plan, &rows, &maker, args.json)?;
    eprintln!(
        "{} runs, {} of them new, {:.1} s; {}",
        rows.len(),
        todo.len(),
        began.elapsed().as_secs_f64(),
        folder.root().join("report.html").display()
    );
    Ok(good)
}

/// The scenario with what the command line changed, as comments.
fn written(text: &str, args: &RunArgs) -> String {
    let mut head = String::new();
    for set in &args.set {
        head.push_str(&format!("# --set {set}\n"));
    }
    if let Some(seeds) = args.seeds {
        head.push_str(&format!("# --seeds {seeds}\n"));
    }
    if let Some(seed) = args.first_seed {
        head.push_str(&format!("# --first-seed {seed}\n"));
    }
    head + text
}

fn merge(args: &MergeArgs) -> Result<bool, String> {
    let mut plan: Option<(Plan, String)> = None;
    for dir in &args.dirs {
        let path = dir.join("scenario.toml");
        let told = |error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(told)?;
        match &plan {
            None => {
                let mut parsed = parse(&path.display().to_string(), &text)?;
                for line in text.lines().take_while(|line| line.starts_with("# --")) {
                    again(&mut parsed, line)?;
                }
                plan = Some((parsed, text));
            }
            Some((_, first)) if *first != text => {
                return Err(format!("{} is of another scenario", path.display()));
            }
            Some(_) => {}
        }
    }
    let (plan, text) = plan.ok_or("no folder")?;
    let folder = Folder::open(&args.out, false)?;
    folder.write("scenario.toml", &text)?;
    for dir in &args.dirs {
        folder.take(dir)?;
    }
    let maker = maker();
    let mut kept = folder.rows()?;
    let rows: Vec<Row> = plan.runs().filter_map(|run| kept.remove(&run.id)).collect();
    let planned = plan.count().unwrap_or(0);
    if (rows.len() as u64) < planned {
        eprintln!(
            "{} of {planned} runs are missing",
            planned - rows.len() as u64
        );
    }
    let mut builds: Vec<_> = rows.iter().map(|row| &row.build).collect();
    builds.sort();
    builds.dedup();
    if builds.len() > 1 {
        eprintln!(
            "warning: the runs are of {} different programs",
            builds.len()
        );
    }
    let good = finish(&folder, &plan, &rows, &maker, args.json)?;
    Ok(good && rows.len() as u64 == planned)
}

/// Does again what the command line of a run did.
fn again(plan: &mut Plan, line: &str) -> Result<(), String> {
    let number = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| format!("{line}: no number"))
    };
    if let Some(set) = line.strip_prefix("# --set ") {
        file::set(plan, set)?;
    } else if let Some(seeds) = line.strip_prefix("# --seeds ") {
        plan.seeds = number(seeds)?;
    } else if let Some(seed) = line.strip_prefix("# --first-seed ") {
        plan.first_seed = number(seed)?;
    }
    Ok(())
}

/// Writes the files of one run.
fn keep(folder: &Folder, plan: &Plan, outcome: Outcome, maker: &Maker) -> Result<Row, String> {
    let Outcome {
        mut row,
        record,
        lab,
    } = outcome;
    row.build.clone_from(&maker.build);
    if plan.settings.bool("report.orders") {
        let lines = order_lines(&row.id, &lab, &record);
        folder.write(&format!("runs/{}.orders.csv", row.id), &lines)?;
    }
    if plan.settings.bool("report.trace") {
        let text = report::perfetto(&record, &row);
        folder.write(&format!("runs/{}.trace.json", row.id), &text)?;
    }
    if plan.settings.bool("report.events") {
        let text = report::events(&record);
        folder.write(&format!("runs/{}.events.jsonl", row.id), &text)?;
    }
    // Last, so that a run counts as done only when all its files are there.
    folder.keep(&row)?;
    Ok(row)
}

/// Tables, report and verdict of all runs.
fn finish(
    folder: &Folder,
    plan: &Plan,
    rows: &[Row],
    maker: &Maker,
    json: bool,
) -> Result<bool, String> {
    if rows.is_empty() {
        return Err("no run belongs to this shard".into());
    }
    let summary = outputs::write(folder, plan, rows, maker)?;
    if json {
        println!("{summary}");
    } else {
        print!("{}", report::table(plan, rows));
    }
    for row in rows.iter().filter(|row| !row.passed(plan)) {
        eprintln!("{} {}", row.id, verdict(row, plan));
        for what in row.failed.iter().chain(&row.violations).take(5) {
            eprintln!("  {what}");
        }
    }
    Ok(rows.iter().all(|row| row.passed(plan)))
}

fn label(row: &Row) -> String {
    let mut words: Vec<_> = row
        .point
        .iter()
        .map(|(path, value)| format!("{}={value}", path.rsplit('.').next().unwrap_or(path)))
        .collect();
    words.push(format!("seed={}", row.seed));
    words.join(" ")
}

fn verdict(row: &Row, plan: &Plan) -> &'static str {
    if row.passed(plan) { "pass" } else { "FAIL" }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(runs: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(runs as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// What this program is.
fn maker() -> Maker {
    let program = std::env::current_exe().and_then(fs::read);
    let build = match program {
        Ok(bytes) => {
            let digest = Sha256::digest(&bytes);
            digest[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        }
        Err(_) => "unknown".to_owned(),
    };
    Maker {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("FAIRLANE_COMMIT").unwrap_or("unknown"),
        build,
    }
}
