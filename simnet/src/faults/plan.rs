//! The plan: timed events, one a line, in a text form that is read back.

use crate::engine::Nanos;

/// Most requests in a burst.
pub const BURST_MAX: u64 = 10_000;

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
    /// Ends the block of one direction of one link.
    Unblock(usize, usize),
    /// Cuts one member off from all others, both ways.
    Isolate(usize),
    /// Members of the two groups do not reach each other; the rest reach everybody.
    Split(Vec<usize>, Vec<usize>),
    /// These members hear nobody but each other; what they say arrives.
    Deaf(Vec<usize>),
    /// Blocks all links of a member, both ways, until `Unclog`.
    Clog(usize),
    /// Ends `Clog`.
    Unclog(usize),
    /// Ends every partition and block, and sets every link, disk and core back.
    Heal,
    /// Breaks the connection of a pair: what is in flight is lost.
    Reset(usize, usize),
    /// Sets the loss on every link, per mille.
    Loss(u64),
    /// Sets the loss of one directed link, per mille.
    LinkLoss(usize, usize, u64),
    /// Multiplies the latency of every link.
    Spike(u64),
    /// Sets latency, loss and bandwidth of every link back.
    Restore,
    /// Lets so many bytes a second leave a member on each link.
    Bandwidth(usize, u64),
    /// Multiplies the latency of all links from and to a member.
    Slow(usize, u64),
    /// Multiplies what jobs take on a member's cores.
    SlowCpu(usize, u64),
    /// Multiplies the disk latency of a member.
    SlowDisk(usize, u64),
    /// Stops a member's process for a time, ms (SIGSTOP): nothing is lost, all is late.
    Pause(usize, u64),
    /// Steps a member's clock, ms.
    ClockStep(usize, i64),
    /// Lets a member's clock run fast from now on, or slow if negative, parts per million.
    Drift(usize, i64),
    /// The disk of a member answers nothing for so long, ms.
    DiskStall(usize, u64),
    /// The next sync of a member's disk fails: it must not go on as if it had not.
    SyncError(usize),
    /// Clients: so many requests of a kind to a member at once.
    Burst(Burst, usize, u64),
    /// Leaves a member so much room on disk, bytes; it stops when that is used up.
    DiskBudget(usize, u64),
    /// A member loses its disk: it goes on as an observer. Ignored beyond f such faults.
    LoseDisk(usize),
    /// A row on a member's disk rots: it stops for good when it reads it. Ignored beyond f
    /// such faults.
    Rot(usize),
}

/// What a client sends in a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    /// Orders of one sender, each with its own nonce.
    Flood,
    /// Orders of one sender with one nonce, to one member after the other.
    OneNonce,
    /// Cancellations of one sender.
    Cancels,
    /// Orders that have expired.
    Expired,
    /// Orders of the run that were sent already, again.
    Duplicates,
    /// Questions about orders of the run.
    Queries,
}

impl Burst {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Flood,
        Self::OneNonce,
        Self::Cancels,
        Self::Expired,
        Self::Duplicates,
        Self::Queries,
    ];

    /// Name in plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::OneNonce => "one-nonce",
            Self::Cancels => "cancels",
            Self::Expired => "expired",
            Self::Duplicates => "duplicates",
            Self::Queries => "queries",
        }
    }
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

/// Members with commas between them.
fn group(members: &[usize]) -> String {
    let words: Vec<_> = members.iter().map(usize::to_string).collect();
    words.join(",")
}

fn parse_line(line: &str) -> Option<(u64, Fault)> {
    let mut words = line.split_whitespace();
    let at = words.next()?.strip_suffix("ms")?.parse().ok()?;
    let name = words.next()?;
    let args: Vec<&str> = words.collect();
    let int = |i: usize| args.get(i).and_then(|w| w.parse::<u64>().ok());
    let node = |i: usize| int(i).and_then(|v| usize::try_from(v).ok());
    let signed = |i: usize| args.get(i).and_then(|w| w.parse::<i64>().ok());
    let group = |i: usize| {
        let words = args.get(i)?.split(',');
        words
            .map(|w| w.parse().ok())
            .collect::<Option<Vec<usize>>>()
    };
    let burst = Burst::ALL.into_iter().find(|burst| burst.name() == name);
    if let Some(burst) = burst {
        return Some((at, Fault::Burst(burst, node(0)?, int(1)?.min(BURST_MAX))));
    }
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
        "unblock" => Fault::Unblock(node(0)?, node(1)?),
        "isolate" => Fault::Isolate(node(0)?),
        "split" => Fault::Split(group(0)?, group(1)?),
        "deaf" => Fault::Deaf(group(0)?),
        "clog" => Fault::Clog(node(0)?),
        "unclog" => Fault::Unclog(node(0)?),
        "heal" => Fault::Heal,
        "reset" => Fault::Reset(node(0)?, node(1)?),
        "loss" => Fault::Loss(int(0)?),
        "link-loss" => Fault::LinkLoss(node(0)?, node(1)?, int(2)?),
        "spike" => Fault::Spike(int(0)?),
        "restore" => Fault::Restore,
        "bandwidth" => Fault::Bandwidth(node(0)?, int(1)?),
        "slow" => Fault::Slow(node(0)?, int(1)?),
        "slow-cpu" => Fault::SlowCpu(node(0)?, int(1)?),
        "drift" => Fault::Drift(node(0)?, signed(1)?),
        "disk-stall" => Fault::DiskStall(node(0)?, int(1)?),
        "sync-error" => Fault::SyncError(node(0)?),
        "slow-disk" => Fault::SlowDisk(node(0)?, int(1)?),
        "pause" => Fault::Pause(node(0)?, int(1)?),
        "clock-step" => Fault::ClockStep(node(0)?, signed(1)?),
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
            | Self::Rot(a)
            | Self::Isolate(a)
            | Self::Clog(a)
            | Self::Unclog(a)
            | Self::Bandwidth(a, _)
            | Self::SlowCpu(a, _)
            | Self::Drift(a, _)
            | Self::DiskStall(a, _)
            | Self::SyncError(a)
            | Self::Burst(_, a, _) => *a < n,
            Self::Partition(side) | Self::Deaf(side) => side.iter().all(|a| *a < n),
            Self::Split(one, two) => one.iter().chain(two).all(|a| *a < n),
            Self::Block(a, b)
            | Self::Unblock(a, b)
            | Self::Reset(a, b)
            | Self::LinkLoss(a, b, _) => *a < n && *b < n && a != b,
            Self::CrashAll
            | Self::RestartAll
            | Self::Heal
            | Self::Loss(_)
            | Self::Spike(_)
            | Self::Restore => true,
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
            Self::Unblock(from, to) => write!(f, "unblock {from} {to}"),
            Self::Isolate(node) => write!(f, "isolate {node}"),
            Self::Split(one, two) => write!(f, "split {} {}", group(one), group(two)),
            Self::Deaf(side) => write!(f, "deaf {}", group(side)),
            Self::Clog(node) => write!(f, "clog {node}"),
            Self::Unclog(node) => write!(f, "unclog {node}"),
            Self::LinkLoss(from, to, loss) => write!(f, "link-loss {from} {to} {loss}"),
            Self::Spike(factor) => write!(f, "spike {factor}"),
            Self::Restore => f.write_str("restore"),
            Self::Bandwidth(node, rate) => write!(f, "bandwidth {node} {rate}"),
            Self::SlowCpu(node, factor) => write!(f, "slow-cpu {node} {factor}"),
            Self::Drift(node, ppm) => write!(f, "drift {node} {ppm}"),
            Self::DiskStall(node, ms) => write!(f, "disk-stall {node} {ms}"),
            Self::SyncError(node) => write!(f, "sync-error {node}"),
            Self::Burst(burst, node, count) => write!(f, "{} {node} {count}", burst.name()),
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
