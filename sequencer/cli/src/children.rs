//! Members as child processes of this one. Each child holds the read end of a pipe; when
//! this process ends in whatever way, the pipe closes and the child drains and stops.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fairlane_client::Member;
use tokio::process::{Child, ChildStdin, Command};

use crate::args::Lie;
use crate::exit::{Exit, Outcome, Problem};

/// A child has this long to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// A child has this long to stop.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Where a member's ports are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its folder.
    pub home: PathBuf,
    /// Ops address, `host:port`.
    pub ops: String,
    /// What runs there.
    pub program: Program,
}

/// What runs a member.
#[derive(Clone, Debug)]
pub enum Program {
    /// This program's `node`.
    Node,
    /// A test program that lies about decryption shares, in one way or all by turns.
    Liar(PathBuf, Option<Lie>),
}

impl Program {
    /// The liar, which is built beside this program and never shipped with it.
    pub fn liar(lie: Option<Lie>) -> Outcome<Self> {
        let path = std::env::current_exe()?.with_file_name("fairlane-liar");
        if path.exists() {
            return Ok(Self::Liar(path, lie));
        }
        let what = format!("{} is not there", path.display());
        Err(Problem::preflight(what).next("build it: cargo build -p fairlane-trials"))
    }

    fn command(&self) -> Outcome<Command> {
        Ok(match self {
            Self::Node => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("node");
                command
            }
            Self::Liar(path, lie) => {
                let mut command = Command::new(path);
                if let Some(lie) = lie {
                    command.arg("--lie").arg(lie.word());
                }
                command
            }
        })
    }
}

/// A running member.
pub struct Running {
    /// Where it is.
    pub place: Place,
    child: Child,
    /// Closing it stops the child.
    pipe: Option<ChildStdin>,
}

/// All members of a devnet.
pub struct Children(Vec<Running>);

impl Running {
    /// Starts `fairlane node --home …` with its log in the folder.
    pub fn start(place: Place) -> Outcome<Self> {
        let log = place.home.join("node.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| Problem::preflight(format!("{}: {error}", log.display())))?;
        let mut command = place.program.command()?;
        let mut child = command
            .arg("--home")
            .arg(&place.home)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            // Ctrl-C is for the parent alone; it stops the children when it is done.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            pipe: child.stdin.take(),
            place,
            child,
        })
    }

    /// Process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the member says that it is ready.
    async fn ready(&mut self, until: Instant) -> Outcome {
        let ops = Member::new(&self.place.ops)?.with_limit(Duration::from_secs(2));
        let mut reasons = String::from("no answer");
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                let home = &self.place.home;
                let what = format!("the member of {} ended: {status}", home.display());
                return Err(Problem::failed(what).next(tail(&home.join("node.log"))));
            }
            match ops.status().await {
                Ok(status) if status.ready => return Ok(()),
                Ok(status) => reasons = status.reasons.join(", "),
                Err(error) => reasons = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let home = self.place.home.display();
        let what = format!("the member of {home} is not ready: {reasons}");
        Err(Problem::new(Exit::Unreachable, what).next(format!("see {home}/node.log")))
    }

    /// Asks the member to stop and waits for it; kills it if it does not.
    async fn stop(mut self) -> Outcome {
        drop(self.pipe.take());
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let home = self.place.home;
                let what = format!("the member of {} ended: {status}", home.display());
                Err(Problem::failed(what).next(tail(&home.join("node.log"))))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                self.child.kill().await?;
                let home = self.place.home.display();
                Err(Problem::failed(format!(
                    "the member of {home} did not stop in time"
                )))
            }
        }
    }
}

impl Children {
    /// Starts one child per place and waits until all are ready.
    pub async fn start(places: Vec<Place>) -> Outcome<Self> {
        let mut all = Self(Vec::new());
        for place in places {
            all.0.push(Running::start(place)?);
        }
        let until = Instant::now() + READY_MAX;
        for child in &mut all.0 {
            child.ready(until).await?;
        }
        Ok(all)
    }

    /// Process ids in the order of members.
    pub fn pids(&self) -> Vec<Option<u32>> {
        self.0.iter().map(Running::pid).collect()
    }

    /// Stops all of them; the first problem met, after all have ended.
    pub async fn stop(mut self) -> Outcome {
        // Every pipe first, so that they drain at the same time.
        for child in &mut self.0 {
            drop(child.pipe.take());
        }
        let mut result = Ok(());
        for child in self.0 {
            result = result.and(child.stop().await);
        }
        result
    }
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n    ");
    format!("the end of {}:\n    {last}", log.display())
}
