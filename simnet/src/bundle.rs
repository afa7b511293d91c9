//! What is kept of a failure: a folder with the plan that repeats it, its report, the last
//! things that members did, and the same as a trace that Perfetto shows.

use std::fmt::Write as _;
use std::path::Path;

use crate::faults::to_toml;
use crate::scenario::{Line, Report, Scenario};

/// Lines of the trace that are kept.
pub const TAIL_LINES: usize = 4_000;
/// Characters of a line that a trace event shows.
const NAME_CHARS: usize = 60;

/// Runs the scenario again with its last lines kept, and writes the folder: `plan.toml`,
/// `report.txt`, `tail.txt`, `trace.json`.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, scenario: &Scenario, version: &str) -> std::io::Result<Report> {
    let mut explicit = scenario.clone();
    let options = scenario.options();
    explicit.plan = Some(options.plan.clone());
    explicit.liars = Some(options.liars.clone());
    explicit.log = true;
    explicit.log_tail = TAIL_LINES;
    let report = explicit.run();
    std::fs::create_dir_all(folder)?;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    let plan = format!(
        "# {version}\n# {}\n{}",
        scenario.replay(),
        to_toml(&explicit)
    );
    write("plan.toml", &plan)?;
    let mut text = format!("{version}\n{}\n{report}\n{options:#?}\n", scenario.replay());
    for line in &report.suspicious {
        let _ = writeln!(text, "suspicious: {line}");
    }
    for (member, name, times) in &report.lies {
        let _ = writeln!(text, "member {member} lied {times} times: {name}");
    }
    for (mark, count) in report.marks.hits() {
        let _ = writeln!(text, "mark {} {count}", mark.name());
    }
    write("report.txt", &text)?;
    let mut tail = String::new();
    for line in &report.log {
        let _ = writeln!(tail, "{line}");
    }
    write("tail.txt", &tail)?;
    write("trace.json", &perfetto(scenario.n, &report.log))?;
    Ok(report)
}

/// Chrome's trace event format (which Perfetto reads): one process a member, one instant
/// event a line.
#[must_use]
pub fn perfetto(members: usize, lines: &[Line]) -> String {
    let mut events: Vec<String> = (0..members)
        .map(|member| {
            format!(
                "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{member},\"args\":{{\"name\":\"member {member}\"}}}}"
            )
        })
        .collect();
    for line in lines {
        let (ns, node) = (line.at.0, line.node);
        let name: String = line.what.chars().take(NAME_CHARS).collect();
        events.push(format!(
            "{{\"ph\":\"i\",\"s\":\"t\",\"pid\":{node},\"tid\":0,\"ts\":{}.{:03},\"name\":{},\"args\":{{\"what\":{}}}}}",
            ns / 1_000,
            ns % 1_000,
            quoted(&name),
            quoted(&line.what)
        ));
    }
    format!("{{\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Nanos;

    #[test]
    fn a_trace_is_json_with_every_line() {
        let line = Line {
            at: Nanos(1_234_567),
            node: 2,
            what: "says \"x\\y\"\n".into(),
        };
        assert_eq!(
            perfetto(1, &[line]),
            "{\"traceEvents\":[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":\"member 0\"}},\n\
             {\"ph\":\"i\",\"s\":\"t\",\"pid\":2,\"tid\":0,\"ts\":1234.567,\"name\":\"says \\\"x\\\\y\\\"\\u000a\",\
             \"args\":{\"what\":\"says \\\"x\\\\y\\\"\\u000a\"}}\n]}\n"
        );
    }
}
