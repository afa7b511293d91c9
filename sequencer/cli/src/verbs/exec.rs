//! `fairlane exec bench`: the clearing house on one core, beside two order books.

use fairlane_execution::bench::measure;
use rustix::time::{ClockId, clock_gettime};

use crate::args::ExecVerb;
use crate::exit::{Outcome, Problem};
use crate::term::Term;

/// Runs it.
pub fn run(verb: ExecVerb, term: Term) -> Outcome {
    match verb {
        ExecVerb::Bench => bench(term),
    }
}

/// Processor time of this thread, in nanoseconds.
fn nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn bench(term: Term) -> Outcome {
    let figures = measure(&nanos).map_err(Problem::failed)?;
    for line in figures.lines() {
        if term.json() {
            term.note(line);
        } else {
            term.line(line);
        }
    }
    if term.json() {
        term.line(figures.json());
    }
    Ok(())
}
