//! A run as a trace in Chrome's JSON form, which ui.perfetto.dev opens: a process per
//! member, a thread per kind of thing. And the same as lines of JSON.

use serde_json::json;

use crate::research::{Recorder, Row, Span, Track};

const TRACKS: [Track; 5] = [
    Track::Consensus,
    Track::Net,
    Track::Crypto,
    Track::Disk,
    Track::Fault,
];

const fn name(track: Track) -> &'static str {
    match track {
        Track::Consensus => "consensus",
        Track::Net => "net",
        Track::Crypto => "crypto",
        Track::Disk => "disk",
        Track::Fault => "faults",
    }
}

/// Process of a span: members from 1, the run as a whole is 0.
fn process(span: &Span) -> usize {
    span.node.map_or(0, |node| node + 1)
}

/// The trace of a run.
#[must_use]
pub fn perfetto(record: &Recorder, row: &Row) -> String {
    let mut events = Vec::new();
    let meta = |what: &str, pid: usize, tid: usize, name: &str| json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}});
    events.push(meta("process_name", 0, 0, "run"));
    events.push(meta(
        "thread_name",
        0,
        Track::Fault as usize,
        name(Track::Fault),
    ));
    for (member, region) in row.placement.iter().enumerate() {
        let title = format!("member {member} ({region})");
        events.push(meta("process_name", member + 1, 0, &title));
        for track in TRACKS.into_iter().filter(|track| *track != Track::Fault) {
            events.push(meta("thread_name", member + 1, track as usize, name(track)));
        }
    }
    // Jobs overlap when a member has several cores: a thread per core.
    let mut free: Vec<Vec<u64>> = vec![Vec::new(); row.members + 1];
    for span in &record.spans {
        let pid = process(span);
        let at_us = span.start.0 as f64 / 1e3;
        let mut tid = span.track as usize;
        if span.track == Track::Crypto
            && let Some(cores) = free.get_mut(pid)
        {
            let core = cores.iter().position(|free| *free <= span.start.0);
            let core = core.unwrap_or_else(|| {
                cores.push(0);
                cores.len() - 1
            });
            cores[core] = span.start.0 + span.length_ns;
            if core > 0 {
                tid = 100 + core;
            }
        }
        let event = if span.length_ns > 0 {
            let length_us = span.length_ns as f64 / 1e3;
            json!({"ph": "X", "name": span.name, "cat": name(span.track), "pid": pid,
                "tid": tid, "ts": at_us, "dur": length_us})
        } else {
            let scope = if span.node.is_none() { "g" } else { "t" };
            json!({"ph": "i", "s": scope, "name": span.name, "cat": name(span.track),
                "pid": pid, "tid": tid, "ts": at_us})
        };
        events.push(event);
    }
    let trace = json!({
        "displayTimeUnit": "ms",
        "otherData": {"run": row.id, "seed": row.seed, "dropped": record.spans_dropped},
        "traceEvents": events,
    });
    trace.to_string()
}

/// A line of JSON per event.
#[must_use]
pub fn events(record: &Recorder) -> String {
    let mut lines = String::new();
    for span in &record.spans {
        let line = json!({
            "at_us": span.start.0 / 1_000,
            "member": span.node,
            "kind": name(span.track),
            "what": span.name,
            "took_us": span.length_ns / 1_000,
        });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lines
}
