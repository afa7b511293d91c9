//! `fairlane doctor`: a table of checks, each with what to do.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use fairlane_node::key_files::AtRest;
use fairlane_node::store::{DISK_RESERVE_BYTES, free_bytes};

use crate::args::{DoctorArgs, PassphraseArgs};
use crate::exit::{Exit, Outcome, Problem};
use crate::measure::percentiles;
use crate::seed::now_ms;
use crate::term::Term;

/// Open files that a member with many clients needs.
const FILES_MIN: u64 = 65_536;
/// Socket buffers that keep QUIC from dropping bursts.
const UDP_BUFFER_MIN: u64 = 2_500_000;
/// A sync slower than this shows in every order's latency.
const FSYNC_MS_MAX: f64 = 10.0;
/// Clocks further apart than this distort the order of arrival.
const CLOCK_MS_MAX: u64 = 200;

/// What a check found.
enum Finding {
    Good(String),
    /// Works, but not well.
    Warn(String, &'static str),
    /// Must be put right first.
    Bad(String, String),
}

/// Runs every check that applies.
pub async fn run(args: DoctorArgs, term: Term) -> Outcome {
    let disk = args.home.clone().unwrap_or_else(std::env::temp_dir);
    let mut findings = vec![
        ("open files", open_files()),
        ("udp buffers", udp_buffers()),
        ("disk space", disk_space(&disk)),
        ("fsync", fsync(&disk)),
    ];
    if let Some(home) = &args.home {
        findings.push(("home", home_files(home, &args.passphrase)));
    }
    let mut genesis = None;
    for member in super::trust::members(&args.to)? {
        let member = member.with_limit(Duration::from_secs(3));
        let asked = now_ms();
        match member.info().await {
            Ok(info) => {
                let middle = asked.midpoint(now_ms());
                findings.push((
                    "clock",
                    clock(member.address(), info.now_ms.abs_diff(middle)),
                ));
                findings.push((
                    "genesis",
                    same_genesis(member.address(), info.genesis, &mut genesis),
                ));
            }
            Err(error) => findings.push((
                "reach",
                Finding::Bad(
                    error.to_string(),
                    "start the member, or open its port".into(),
                ),
            )),
        }
    }
    let mut bad = 0;
    for (name, finding) in findings {
        let (word, mark, what, fix) = match finding {
            Finding::Good(what) => ("ok", term.green("✔"), what, None),
            Finding::Warn(what, fix) => ("warning", term.bold("!"), what, Some(fix.to_owned())),
            Finding::Bad(what, fix) => {
                bad += 1;
                ("bad", term.red("✖"), what, Some(fix))
            }
        };
        let value = serde_json::json!({ "check": name, "result": word, "found": what, "fix": fix });
        term.result(&value, || match &fix {
            None => format!("{mark} {name:<12} {what}"),
            Some(fix) => format!("{mark} {name:<12} {what}\n    → {fix}"),
        });
    }
    match bad {
        0 => Ok(()),
        n => Err(Problem::new(
            Exit::Preflight,
            format!("{n} checks say that a member must not start"),
        )),
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let what = format!("limit {current}");
    if current >= FILES_MIN {
        Finding::Good(what)
    } else if current >= 1_024 {
        Finding::Warn(what, "ulimit -n 65536, or LimitNOFILE=65536 in the unit")
    } else {
        Finding::Bad(
            what,
            "ulimit -n 65536, or LimitNOFILE=65536 in the unit".into(),
        )
    }
}

fn udp_buffers() -> Finding {
    let read = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
        text.trim().parse().ok()
    };
    match (read("rmem_max"), read("wmem_max")) {
        (Some(receive), Some(send)) => {
            let what = format!("receive {receive}, send {send} bytes");
            if receive.min(send) >= UDP_BUFFER_MIN {
                Finding::Good(what)
            } else {
                Finding::Warn(
                    what,
                    "sysctl -w net.core.rmem_max=2500000 net.core.wmem_max=2500000",
                )
            }
        }
        _ => Finding::Good("not known on this system".into()),
    }
}

fn disk_space(path: &Path) -> Finding {
    match free_bytes(path) {
        Ok(free) => {
            let what = format!("{} MiB free at {}", free >> 20, path.display());
            if free > 4 * DISK_RESERVE_BYTES {
                Finding::Good(what)
            } else if free > DISK_RESERVE_BYTES {
                Finding::Warn(what, "make room: a member stops before the disk is full")
            } else {
                Finding::Bad(
                    what,
                    "make room, or lower store.reserve_mb in config.toml".into(),
                )
            }
        }
        Err(error) => Finding::Bad(
            format!("{}: {error}", path.display()),
            "check the path".into(),
        ),
    }
}

fn fsync(folder: &Path) -> Finding {
    let measure = || -> std::io::Result<Vec<f64>> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        (0..100)
            .map(|_| {
                file.write_all(&[7; 512])?;
                let start = Instant::now();
                file.as_file().sync_data()?;
                Ok(start.elapsed().as_secs_f64() * 1_000.0)
            })
            .collect()
    };
    match measure() {
        Ok(samples) => {
            let p = percentiles(samples);
            let what = format!("p50 {} ms, p99 {} ms", p.p50_ms, p.p99_ms);
            if p.p99_ms <= FSYNC_MS_MAX {
                Finding::Good(what)
            } else {
                Finding::Warn(
                    what,
                    "use a disk of its own: every acknowledgement waits for a sync",
                )
            }
        }
        Err(error) => Finding::Bad(
            format!("{}: {error}", folder.display()),
            "check the path".into(),
        ),
    }
}

fn home_files(home: &Path, passphrase: &PassphraseArgs) -> Finding {
    match super::config::check(home, passphrase) {
        Ok(checked) => {
            let at_rest = checked.at_rest;
            let what = format!("{}, key files {}", checked.who(), at_rest.word());
            match at_rest {
                AtRest::Encrypted => Finding::Good(what),
                AtRest::Plain => Finding::Warn(what, "fairlane keys passphrase encrypts them"),
            }
        }
        Err(problem) => Finding::Bad(
            problem.what,
            problem.next.unwrap_or_else(|| "see the message".into()),
        ),
    }
}

fn clock(address: &str, offset_ms: u64) -> Finding {
    let what = format!("{address} is {offset_ms} ms off");
    if offset_ms <= CLOCK_MS_MAX {
        Finding::Good(what)
    } else {
        Finding::Warn(
            what,
            "synchronise both clocks (chrony or systemd-timesyncd)",
        )
    }
}

fn same_genesis(
    address: &str,
    found: fairlane_types::Digest,
    first: &mut Option<fairlane_types::Digest>,
) -> Finding {
    let want = *first.get_or_insert(found);
    if want == found {
        Finding::Good(format!("{address} runs {}", crate::term::short(found)))
    } else {
        let what = format!("{address} runs {found}, the first one {want}");
        Finding::Bad(what, "they are members of different chains".into())
    }
}
