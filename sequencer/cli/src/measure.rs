//! Percentiles, and processor time.

use std::collections::BTreeMap;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// Nearest-rank percentiles of durations in milliseconds.
pub fn percentiles(mut samples_ms: Vec<f64>) -> Percentiles {
    samples_ms.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * samples_ms.len() as f64).ceil() as usize;
        samples_ms
            .get(rank.saturating_sub(1))
            .copied()
            .map_or(0.0, round)
    };
    Percentiles {
        p50_ms: at(0.50),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    }
}

/// Two digits after the point.
pub fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Processor time of this thread, in nanoseconds.
pub fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Seconds of processor time (user and system, all threads) a process has used; none if
/// there is no such process or no `/proc`.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Seconds of processor time by kind of thread, out of the threads' names.
pub fn cpu_by_thread(pid: u32) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return parts;
    };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    for thread in threads.flatten() {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else {
            continue;
        };
        if let (Some(name), Some(ticks)) = (thread_kind(&stat), cpu_ticks(&stat)) {
            *parts.entry(name).or_default() += ticks as f64 / per_second;
        }
    }
    parts
}

/// A thread's name without its number.
fn thread_kind(stat: &str) -> Option<String> {
    let name = &stat[stat.find('(')? + 1..stat.rfind(')')?];
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == ':');
    Some(name.strip_prefix("fairlane-").unwrap_or(name).to_owned())
}

/// utime + stime, fields 14 and 15. The name in field 2 may hold blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let p = percentiles(hundred);
        assert_eq!((p.p50_ms, p.p99_ms, p.max_ms), (50.0, 99.0, 100.0));
        assert_eq!(percentiles(vec![]), Percentiles::default());
        assert_eq!(percentiles(vec![7.0]).p50_ms, 7.0);
    }

    #[test]
    fn cpu_time_is_read_whatever_the_process_is_called() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("nonsense"), None);
        assert_eq!(thread_kind(stat).as_deref(), Some("a) b (c)"));
        let named = |name: &str| thread_kind(&format!("1 ({name}) S"));
        assert_eq!(named("fairlane-core").as_deref(), Some("core"));
        assert_eq!(named("fairlane-crypto-1").as_deref(), Some("crypto"));
        assert!(!cpu_by_thread(std::process::id()).is_empty());
        assert!(cpu_seconds(std::process::id()).is_some());
        assert!(cpu_seconds(u32::MAX).is_none());
    }
}
