//! `fairlane status`.

use std::time::Duration;

use crate::args::StatusArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Asks every member; unreachable ones are shown and make the exit code 4.
pub async fn run(args: StatusArgs, term: Term) -> Outcome {
    let mut missing = 0;
    for member in super::trust::members(&args.to)? {
        let member = member.with_limit(Duration::from_secs(3));
        match member.info().await {
            Ok(info) => term.result(
                &serde_json::json!({ "address": member.address(), "info": info }),
                || {
                    format!(
                        "{}  member {}  height {}  root {}  chain {}{}  v{}",
                        member.address(),
                        info.member,
                        info.head.height,
                        short(info.head.root),
                        info.chain,
                        if info.experiment { " (experiment)" } else { "" },
                        info.version,
                    )
                },
            ),
            Err(error) => {
                missing += 1;
                let value =
                    serde_json::json!({ "address": member.address(), "error": error.to_string() });
                term.result(&value, || {
                    format!("{}  {} {error}", member.address(), term.red("✖"))
                });
            }
        }
    }
    for member in super::trust::members(&args.ops)? {
        let member = member.with_limit(Duration::from_secs(3));
        match member.status().await {
            Ok(status) => term.result(
                &serde_json::json!({ "address": member.address(), "status": status }),
                || {
                    format!(
                        "{}  member {}  {}  height {} (final {})  view {}  peers {:?}",
                        member.address(),
                        status.member,
                        if status.ready {
                            term.green("✔ ready")
                        } else {
                            term.red(&format!("✖ {}", status.reasons.join(", ")))
                        },
                        status.head.height,
                        status.final_height,
                        status.view,
                        status.peers,
                    )
                },
            ),
            Err(error) => {
                missing += 1;
                let value =
                    serde_json::json!({ "address": member.address(), "error": error.to_string() });
                term.result(&value, || {
                    format!("{}  {} {error}", member.address(), term.red("✖"))
                });
            }
        }
    }
    match missing {
        0 => Ok(()),
        n => Err(Problem::new(
            Exit::Unreachable,
            format!("{n} members cannot be reached"),
        )),
    }
}
