//! Scenario files from reading to report: the shipped ones in small, sweeps, shards,
//! resuming, and that nothing written is beyond what the code says.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Mutex;

use fairlane_simnet::report;
use fairlane_simnet::research::runner::many;
use fairlane_simnet::research::settings::Entry;
use fairlane_simnet::research::verbs::{MergeArgs, ResearchVerb, RunArgs, reference, run};
use fairlane_simnet::research::{METRICS, Plan, Row, Value, file, keys, place::Matrix, shipped};
use proptest::prelude::*;

fn plan(name: &str) -> Plan {
    let text = shipped::scenario(name).unwrap();
    file::parse(name, text).unwrap()
}

fn rows(plan: &Plan, jobs: usize) -> Vec<Row> {
    let runs: Vec<_> = plan.runs().collect();
    let rows = Mutex::new(Vec::new());
    many(plan, &runs, jobs, &shipped::matrix, |outcome| {
        let text = report::perfetto(&outcome.record, &outcome.row);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        rows.lock().unwrap().push(outcome.row);
        Ok(())
    })
    .unwrap();
    rows.into_inner().unwrap()
}

/// Times of faults, four times as early.
fn sooner(entries: &mut [Entry]) {
    for entry in entries {
        for name in ["at", "until"] {
            if let Some(ns) = entry.span_ns(name) {
                let text = format!("{}ms", ns / 4_000_000);
                entry.fields.insert(name.into(), Value::Text(text));
            }
        }
    }
}

#[test]
fn shipped_scenarios_run_in_small() {
    for (name, _) in shipped::SCENARIOS {
        let mut plan = plan(name);
        assert!(!plan.claims.is_empty(), "{name} claims nothing");
        for set in ["workload.duration=600ms", "workload.rate=60"] {
            file::set(&mut plan, set).unwrap();
        }
        if name.starts_with("healthy") || name.starts_with("wan-") {
            file::set(&mut plan, "committee.n=[4, 7]").unwrap();
        }
        plan.seeds = 1;
        for (_, values) in &mut plan.sweep {
            values.truncate(2);
        }
        sooner(&mut plan.settings.faults);
        let rows = rows(&plan, 2);
        assert_eq!(rows.len() as u64, plan.count().unwrap());
        for row in &rows {
            assert_eq!(row.violations, [""; 0], "{name} {}", row.id);
            assert_eq!(row.metric("lost"), Some(0.0), "{name}");
            assert!(row.metric("opened").unwrap() > 5.0, "{name}");
            assert!(row.metric("p50_ms").unwrap() > 10.0, "{name}");
            let faults = plan.settings.faults.len();
            assert!(row.faults.len() >= faults, "{name}: {:?}", row.faults);
        }
        match name {
            "leader-crash" => assert!(rows[0].metric("skips").unwrap() > 0.0),
            "partition" => assert!(rows[0].metric("gap_max_ms").unwrap() > 200.0),
            "fairness" => assert!(rows[0].metric("attack_first").unwrap() > 0.1),
            "front-running" => {
                let first = |when: &str| {
                    let of = |row: &&Row| row.point.iter().any(|(_, value)| value == when);
                    rows.iter()
                        .find(of)
                        .unwrap()
                        .metric("attack_first")
                        .unwrap()
                };
                assert!(first("arrival") > 0.1);
                assert_eq!(first("opening"), 0.0);
            }
            _ => {}
        }
        let figures = report::figures(&rows);
        assert!(figures.len() >= 5, "{name}");
        let table = report::table(&plan, &rows);
        assert!(table.lines().count() > 1, "{name}");
    }
}

#[test]
fn hops_are_what_the_protocol_says() {
    // Nothing costs time but the network, and that does not vary: what grows with the delay
    // are hops. Proposal, vote, commit: three to finality. One more for the shares.
    let figures = |delay_ms: u64| {
        let mut plan = plan("first");
        for set in [
            "net.jitter=0".to_owned(),
            "crypto.costs=zero".to_owned(),
            "workload.arrival=constant".to_owned(),
            "workload.rate=20".to_owned(),
            format!("net.delay={delay_ms}ms"),
        ] {
            file::set(&mut plan, &set).unwrap();
        }
        plan.seeds = 1;
        let row = rows(&plan, 1).remove(0);
        let span = |view: &fairlane_simnet::research::row::ViewRow| {
            Some(view.final_ms? - view.proposed_ms?)
        };
        let mut spans: Vec<f64> = row.views.iter().filter_map(span).collect();
        spans.sort_by(f64::total_cmp);
        let opened = row.metric("p50_ms").unwrap() - row.metric("final_p50_ms").unwrap();
        (spans[spans.len() / 2], opened)
    };
    let (near, far) = (figures(20), figures(80));
    let hops = (far.0 - near.0) / 60.0;
    assert!((hops / 3.0 - 1.0).abs() < 0.02, "{hops} hops to finality");
    let hops = (far.1 - near.1) / 60.0;
    assert!((hops - 1.0).abs() < 0.02, "{hops} hops to plaintext");
}

#[test]
fn results_do_not_depend_on_threads_or_repetition() {
    let mut plan = plan("fairness");
    file::set(&mut plan, "workload.duration=300ms").unwrap();
    file::set(&mut plan, "attack.gap=[500us, 2ms]").unwrap_err();
    file::set(&mut plan, "attack.gap=[\"500us\", \"2ms\"]").unwrap();
    plan.seeds = 2;
    let plain = |rows: Vec<Row>| -> Vec<Row> {
        let still = |row: Row| Row { wall_ms: 0, ..row };
        rows.into_iter().map(still).collect()
    };
    let one = plain(rows(&plan, 1));
    assert_eq!(one, plain(rows(&plan, 3)));
    assert_eq!(one.len(), 4);
    // A kept row reads back as it was.
    for row in &one {
        let text = serde_json::to_string(row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), *row);
    }
}

fn args(out: &Path, shard: Option<&str>, resume: bool) -> RunArgs {
    RunArgs {
        file: "first".into(),
        seeds: Some(3),
        first_seed: None,
        set: vec![
            "workload.duration=200ms".into(),
            "workload.arrival=[\"poisson\", \"hawkes\"]".into(),
        ],
        jobs: 2,
        shard: shard.map(str::to_owned),
        out: Some(out.to_owned()),
        resume,
        json: true,
    }
}

#[test]
fn shards_merge_to_the_whole_and_a_sweep_resumes() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let read = |name: &str, file: &str| std::fs::read_to_string(at(name).join(file)).unwrap();
    assert_eq!(
        run(&ResearchVerb::Run(args(&at("whole"), None, false))),
        Ok(true)
    );
    for (name, shard) in [("a", "1/2"), ("b", "2/2")] {
        let shard = ResearchVerb::Run(args(&at(name), Some(shard), false));
        assert_eq!(run(&shard), Ok(true));
    }
    let merge = |dirs: &[&str]| {
        run(&ResearchVerb::Merge(MergeArgs {
            dirs: dirs.iter().map(|name| at(name)).collect(),
            out: at("merged"),
            json: true,
        }))
    };
    assert_eq!(merge(&["a", "b"]), Ok(true));
    for file in ["runs.csv", "orders.csv"] {
        assert_eq!(read("whole", file), read("merged", file), "{file}");
        assert!(read("whole", file).lines().count() > 6, "{file}");
    }
    // A part is missing: said, and no success.
    assert_eq!(merge(&["b"]), Ok(false));

    // One run is lost; resuming makes that one again and no other.
    let runs = at("whole").join("runs");
    let mut rows: Vec<_> = std::fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.to_str()
                .is_some_and(|p| p.ends_with(".json") && !p.contains(".trace"))
        })
        .collect();
    rows.sort();
    assert_eq!(rows.len(), 6);
    let changed = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let before: Vec<_> = rows.iter().map(|path| changed(path)).collect();
    std::fs::remove_file(&rows[2]).unwrap();
    let csv = read("whole", "runs.csv");
    assert_eq!(
        run(&ResearchVerb::Run(args(&at("whole"), None, true))),
        Ok(true)
    );
    let after: Vec<_> = rows.iter().map(|path| changed(path)).collect();
    for at in 0..6 {
        assert_eq!(before[at] == after[at], at != 2, "{at}");
    }
    assert_eq!(read("whole", "runs.csv"), csv);
    let html = read("whole", "report.html");
    for part in ["<svg", "Latency by stage", "Views of one run", "Inversions"] {
        assert!(html.contains(part), "{part}");
    }
    // It needs nothing from elsewhere.
    for part in ["<script", "<link", "src=", "url("] {
        assert!(!html.contains(part), "{part}");
    }
    let summary: serde_json::Value = serde_json::from_str(&read("whole", "summary.json")).unwrap();
    for key in [
        "version", "commit", "build", "tier", "costs", "matrices", "points",
    ] {
        assert!(!summary[key].is_null(), "{key}");
    }
}

#[test]
fn a_claim_that_fails_fails_the_sweep() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("claim.toml");
    let text = "[workload]\nduration = \"200ms\"\n[expect]\np50_ms = \"< 1\"\n";
    std::fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap().to_owned();
    let mut args = args(&home.path().join("out"), None, false);
    args.file.clone_from(&file);
    assert_eq!(run(&ResearchVerb::Run(args)), Ok(false));
    let check = ResearchVerb::Check {
        files: vec![file, "healthy".into()],
    };
    assert_eq!(run(&check), Ok(true));
    std::fs::write(&path, "[committee]\nplacement = [\"nowhere\"]\n").unwrap();
    assert_eq!(run(&check), Ok(false));
}

#[test]
fn what_cannot_be_is_refused_before_anything_runs() {
    for (text, want) in [
        ("[committee]\nf = 2\nn = 10", "f is"),
        ("[protocol.order]\ndecrypt_max = 0", "decrypt_max"),
        (
            "[[fault]]\nat = \"1s\"\nkind = \"crash\"\nmember = 9",
            "no member 9",
        ),
        ("[[fault]]\nat = \"1s\"\nkind = \"crash\"", "needs `member`"),
        (
            "[[fault]]\nat = \"1s\"\nuntil = \"1s\"\nkind = \"crash_all\"",
            "before it begins",
        ),
        (
            "[[fault]]\nat = \"1s\"\nkind = \"region_cut\"\nregion = \"mars\"",
            "no region",
        ),
        (
            "[[byzantine]]\nmember = 7\nbehaviour = \"garbage\"",
            "no such member",
        ),
        ("[net]\nmatrix = \"nowhere\"", "no shipped matrix"),
        ("[attack]\nmembers = [4]", "no member 4"),
        ("[workload]\nrate = 0.1\nduration = \"1ms\"", "no order"),
    ] {
        let plan = file::parse("x.toml", text).unwrap();
        let run = plan.run(0);
        let made = fairlane_simnet::research::Lab::new(&run.settings, 1, &shipped::matrix);
        let error = made.map(|_| ()).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
}

/// The text of a file of the tree.
fn tree(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_published_schema_is_the_code() {
    let published: serde_json::Value =
        serde_json::from_str(&tree("scenarios/schema.json")).unwrap();
    let hint = "simnet schema > simnet/scenarios/schema.json";
    assert_eq!(published, keys::schema(METRICS), "{hint}");
}

#[test]
fn the_published_reference_is_the_code() {
    let page = tree("../docs/scenarios.md");
    let hint = "simnet reference, into docs/scenarios.md";
    assert!(page.contains(&reference()), "{hint}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a file says, it is read or refused.
    #[test]
    fn any_file_is_read_or_refused(
        which in 0..shipped::SCENARIOS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = shipped::SCENARIOS[which].1.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            let end = cut.index(bytes.len());
            bytes.truncate(end);
        }
        let text = String::from_utf8_lossy(&bytes);
        match file::parse("x.toml", &text) {
            Ok(plan) => prop_assert!(plan.count().is_some()),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    /// Whatever a matrix says, it is read or refused.
    #[test]
    fn any_matrix_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in ".{0,200}",
    ) {
        let mut bytes = shipped::THREE_REGIONS.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(matrix) = Matrix::parse("m", &String::from_utf8_lossy(&bytes)) {
            prop_assert!(!matrix.regions.is_empty());
        }
        prop_assert!(Matrix::parse("m", &noise).is_err());
    }

    /// Whatever the command line sets, it is taken or refused.
    #[test]
    fn any_setting_is_taken_or_refused(text in ".{0,60}", key in 0usize..40, value in ".{0,20}") {
        let mut plan = file::parse("x.toml", "").unwrap();
        let _ = file::set(&mut plan, &text);
        let path = &keys::keys()[key].path;
        let _ = file::set(&mut plan, &format!("{path}={value}"));
        prop_assert!(plan.count().is_some());
    }
}
