//! The figures of `fairlane exec bench`, without the rest of the program. The last line is
//! JSON.
//!
//! `cargo run --release -p fairlane-execution --features bench --example exec_bench`

#![allow(clippy::unwrap_used)]

use fairlane_execution::bench::measure;
use rustix::time::{ClockId, clock_gettime};

fn nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn main() {
    let figures = measure(&nanos).unwrap();
    for line in figures.lines() {
        println!("{line}");
    }
    println!("{}", figures.json());
}
