//! What a sweep writes beside its CSV files: pictures as PNG, tables as Parquet.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use fairlane_simnet::research::verbs::{ResearchVerb, RunArgs, run};

fn sweep(out: &Path, set: &str) -> Result<bool, String> {
    run(&ResearchVerb::Run(RunArgs {
        file: "first".into(),
        seeds: Some(2),
        first_seed: None,
        set: vec!["workload.duration=200ms".into(), set.into()],
        jobs: 2,
        shard: None,
        out: Some(out.to_owned()),
        resume: false,
        json: true,
    }))
}

/// Names of the files that end so, without that end.
fn stems(out: &Path, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(out).unwrap();
    let mut stems: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(end).map(str::to_owned))
        .collect();
    stems.sort();
    stems
}

#[cfg(feature = "png")]
#[test]
fn every_plot_is_there_as_png() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    assert_eq!(sweep(&out, "report.png=true"), Ok(true));
    let names = stems(&out, ".svg");
    assert!(names.contains(&"report".to_owned()) && names.len() > 4);
    assert_eq!(names, stems(&out, ".png"));
    let mut heights = Vec::new();
    for name in &names {
        let bytes = std::fs::read(out.join(format!("{name}.png"))).unwrap();
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        // Width and height in the first chunk (PNG, section 11.2.1): two pixels per unit.
        assert_eq!(word(16), 1_520, "{name}");
        heights.push((word(20), name.as_str()));
    }
    let (tallest, name) = heights.iter().max().unwrap();
    let others: u32 = heights.iter().map(|(height, _)| height).sum::<u32>() - tallest;
    assert_eq!(*name, "report");
    assert!(
        tallest.abs_diff(others) < 2 * names.len() as u32,
        "{heights:?}"
    );
}

#[cfg(not(feature = "parquet"))]
#[test]
fn what_the_program_cannot_write_is_refused_before_anything_runs() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let error = sweep(&out, "report.parquet=true").unwrap_err();
    assert!(error.contains("without the feature `parquet`"), "{error}");
    assert!(!out.exists());
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_holds_what_the_csv_files_hold() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    assert_eq!(sweep(&out, "report.parquet=true"), Ok(true));
    assert_eq!(stems(&out, ".parquet"), ["orders", "runs"]);
    let (mut numbers, mut nulls) = (0, 0);
    for table in ["orders", "runs"] {
        let file = std::fs::File::open(out.join(format!("{table}.parquet"))).unwrap();
        let rows = SerializedFileReader::new(file).unwrap();
        let mut csv = csv::Reader::from_path(out.join(format!("{table}.csv"))).unwrap();
        let titles = csv.headers().unwrap().clone();
        let lines: Vec<_> = csv.records().map(Result::unwrap).collect();
        let rows: Vec<_> = rows
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), lines.len());
        assert!(rows.len() >= 2);
        for (row, line) in rows.iter().zip(&lines) {
            let columns: Vec<_> = row.get_column_iter().collect();
            assert_eq!(columns.len(), titles.len());
            for (((name, field), title), cell) in columns.into_iter().zip(&titles).zip(line) {
                assert_eq!(name, title);
                match field {
                    Field::Null => {
                        nulls += 1;
                        assert_eq!(cell, "", "{title}");
                    }
                    Field::Str(text) => assert_eq!(text, cell, "{title}"),
                    Field::Long(number) => {
                        numbers += 1;
                        assert_eq!(number.cast_unsigned().to_string(), cell, "{title}");
                    }
                    Field::Double(number) => {
                        numbers += 1;
                        assert_eq!(*number, cell.parse::<f64>().unwrap(), "{title}");
                    }
                    other => panic!("{title}: {other}"),
                }
            }
        }
    }
    assert!(
        numbers > 100 && nulls > 0,
        "{numbers} numbers, {nulls} nulls"
    );
}
