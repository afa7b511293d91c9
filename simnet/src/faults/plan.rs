//! The plan: timed events, one a line, in a text form that is read back.

use crate::engine::Nanos;

/// One thing that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill −9 and power cut of a member: unsynced writes may be lost.
    Crash(usize),
    /// The same for every member at once.
    CrashAll,
    /// Starts a crashed member again.
    Restart(usize),
    /// Starts every crashed member again.
    RestartAll,
    /// Cuts the members in `side` off from the others, both ways.
    Partition(Vec<usize>),
    /// Cuts one direction of one link.
    Block(usize, usize),
    /// Ends every partition and block, and sets every link back.
    Heal,
    /// Breaks the connection of a pair: what is in flight is lost.
    Reset(usize, usize),
    /// Sets the loss on every link, per mille.
    Loss(u64),
    /// Multiplies the latency of all links from and to a member.
    Slow(usize, u64),
    /// Multiplies the disk latency of a member.
    SlowDisk(usize, u64),
    /// Stops a member's process for a time, ms (SIGSTOP): nothing is lost, all is late.
    Pause(usize, u64),
    /// Steps a member's clock, ms.
    ClockStep(usize, i64),
    /// Leaves a member so much room on disk, bytes; it stops when that is used up.
    DiskBudget(usize, u64),
    /// A member loses its disk: it goes on as an observer. Ignored beyond f such faults.
    LoseDisk(usize),
    /// A row on a member's disk rots: it stops for good when it reads it. Ignored beyond f
    /// such faults.
    Rot(usize),
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When.
    pub at: Nanos,
    /// What.
    pub fault: Fault,
}

/// All faults of a run, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The faults.
    pub faults: Vec<Timed>,
}

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no fault: {text}")]
pub struct PlanError {
    /// Line, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl Plan {
    /// Adds a fault, in whatever order; [`sorted`](Self::sorted) puts them right.
    pub fn push(&mut self, at_ms: u64, fault: Fault) {
        self.faults.push(Timed {
            at: Nanos::from_millis(at_ms),
            fault,
        });
    }

    /// Whether some member loses its disk.
    #[must_use]
    pub fn loses_disk(&self) -> bool {
        let lost = |timed: &Timed| matches!(timed.fault, Fault::LoseDisk(_));
        self.faults.iter().any(lost)
    }

    /// In order of time; equal times keep their order.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.faults.sort_by_key(|timed| timed.at);
        self
    }

    /// Reads what [`Display`](core::fmt::Display) wrote; `#` starts a comment.
    ///
    /// # Errors
    /// [`PlanError`] names the first line that says nothing known.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let (at, fault) = parse_line(line).ok_or_else(|| PlanError {
                line: index + 1,
                text: line.into(),
            })?;
            plan.push(at, fault);
        }
        Ok(plan.sorted())
    }
}

fn parse_line(line: &str) -> Option<(u64, Fault)> {
    let mut words = line.split_whitespace();
    let at = words.next()?.strip_suffix("ms")?.parse().ok()?;
    let name = words.next()?;
    let args: Vec<&str> = words.collect();
    let int = |i: usize| args.get(i).and_then(|w| w.parse::<u64>().ok());
    let node = |i: usize| int(i).and_then(|v| usize::try_from(v).ok());
    let fault = match name {
        "crash" => Fault::Crash(node(0)?),
        "crash-all" => Fault::CrashAll,
        "restart" => Fault::Restart(node(0)?),
        "restart-all" => Fault::RestartAll,
        "partition" => {
            let side: Option<Vec<_>> = args.iter().map(|w| w.parse().ok()).collect();
            Fault::Partition(side?)
        }
        "block" => Fault::Block(node(0)?, node(1)?),
        "heal" => Fault::Heal,
        "reset" => Fault::Reset(node(0)?, node(1)?),
        "loss" => Fault::Loss(int(0)?),
        "slow" => Fault::Slow(node(0)?, int(1)?),
        "slow-disk" => Fault::SlowDisk(node(0)?, int(1)?),
        "pause" => Fault::Pause(node(0)?, int(1)?),
        "clock-step" => Fault::ClockStep(node(0)?, args.get(1)?.parse().ok()?),
        "lose-disk" => Fault::LoseDisk(node(0)?),
        "rot" => Fault::Rot(node(0)?),
        "disk-budget" => Fault::DiskBudget(node(0)?, int(1)?),
        _ => return None,
    };
    Some((at, fault))
}

impl Fault {
    /// Whether every member that it names exists in a committee of `n`.
    #[must_use]
    pub fn fits(&self, n: usize) -> bool {
        match self {
            Self::Crash(a)
            | Self::Restart(a)
            | Self::Slow(a, _)
            | Self::SlowDisk(a, _)
            | Self::Pause(a, _)
            | Self::ClockStep(a, _)
            | Self::DiskBudget(a, _)
            | Self::LoseDisk(a)
            | Self::Rot(a) => *a < n,
            Self::Partition(side) => side.iter().all(|a| *a < n),
            Self::Block(a, b) | Self::Reset(a, b) => *a < n && *b < n && a != b,
            Self::CrashAll | Self::RestartAll | Self::Heal | Self::Loss(_) => true,
        }
    }

    /// Whether it stops or starts a member.
    #[must_use]
    pub const fn is_crash(&self) -> bool {
        matches!(
            self,
            Self::Crash(_) | Self::CrashAll | Self::Restart(_) | Self::RestartAll
        )
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Crash(node) => write!(f, "crash {node}"),
            Self::CrashAll => f.write_str("crash-all"),
            Self::Restart(node) => write!(f, "restart {node}"),
            Self::RestartAll => f.write_str("restart-all"),
            Self::Partition(side) => {
                f.write_str("partition")?;
                side.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Self::Block(from, to) => write!(f, "block {from} {to}"),
            Self::Heal => f.write_str("heal"),
            Self::Reset(a, b) => write!(f, "reset {a} {b}"),
            Self::Loss(per_mille) => write!(f, "loss {per_mille}"),
            Self::Slow(node, factor) => write!(f, "slow {node} {factor}"),
            Self::SlowDisk(node, factor) => write!(f, "slow-disk {node} {factor}"),
            Self::Pause(node, ms) => write!(f, "pause {node} {ms}"),
            Self::ClockStep(node, ms) => write!(f, "clock-step {node} {ms}"),
            Self::LoseDisk(node) => write!(f, "lose-disk {node}"),
            Self::Rot(node) => write!(f, "rot {node}"),
            Self::DiskBudget(node, bytes) => write!(f, "disk-budget {node} {bytes}"),
        }
    }
}

impl core::fmt::Display for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.faults
            .iter()
            .try_for_each(|timed| writeln!(f, "{}ms {}", timed.at.as_millis(), timed.fault))
    }
}
