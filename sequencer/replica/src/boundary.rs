//! The replica's boundary: what goes in and what comes out (ARCHITECTURE, "The replica
//! boundary"). A shell carries out effects and feeds back what came of them; all that
//! the protocol decides is decided in between.

use std::sync::Arc;

use fairlane_encryption::StateRoots;
use fairlane_mempool::AdmissionError;
use fairlane_types::{
    CommitteeChange, CtId, Envelope, Height, MemberId, Micros, Position, QuorumWord, Receipt,
    SequencedBlock,
};

use crate::{EpochBase, Evidence, Fault, Job, JobResult, Message, Row, Table, Write};

/// A client request waiting for its [`Reply`]; made by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A store effect waiting for [`Event::Stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// A read waiting for [`Event::Loaded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// A job waiting for [`Event::Computed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A timer; setting one again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerId {
    /// Of consensus (C9, C10).
    Consensus(fairlane_consensus::Timer),
    /// Of the lanes (M3, L4, retries).
    Lanes(fairlane_mempool::Timer),
    /// Shares that are missing are asked for again (D7).
    Shares,
}

impl TimerId {
    /// Number of slots.
    pub const SLOTS: usize = 8;

    /// The slot of this timer, below [`SLOTS`](Self::SLOTS). A shell may keep one timer per
    /// slot, the one set last: consensus sets timers of its present view, and those of an
    /// earlier view mean nothing to it any more.
    #[must_use]
    pub const fn slot(&self) -> usize {
        use fairlane_consensus::Timer;
        match self {
            Self::Consensus(Timer::Pace(_)) => 0,
            Self::Consensus(Timer::Propose(_)) => 1,
            Self::Consensus(Timer::View(_)) => 2,
            Self::Consensus(Timer::Rebroadcast(_)) => 3,
            Self::Consensus(Timer::Fetch) => 4,
            Self::Lanes(fairlane_mempool::Timer::Wake) => 5,
            Self::Shares => 6,
            Self::Consensus(Timer::Tell) => 7,
        }
    }
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// First event after construction; replays what restart demands (C7).
    Start,
    /// A message from a member over its authenticated link.
    Message {
        /// The member at the other end of the link.
        from: MemberId,
        /// The message.
        message: Message,
    },
    /// The link to a member came up; what it may have missed is said again.
    Connected(MemberId),
    /// A client submits an order.
    Submit {
        /// Answered by exactly one [`Effect::Reply`].
        ticket: Ticket,
        /// The order.
        envelope: Arc<Envelope>,
    },
    /// A client asks for an order that is not in [`Table::Index`].
    Query {
        /// Answered by exactly one [`Effect::Reply`].
        ticket: Ticket,
        /// The order.
        ct_id: CtId,
    },
    /// A timer fired; late or twice does no harm.
    Timer(TimerId),
    /// The writes of this durable effect, and of every effect before it, are synced.
    /// Reported in the order of the effects.
    Stored(WriteId),
    /// An operator hands in a change of committee that a quorum approved.
    Change(Arc<CommitteeChange>),
    /// Somebody outside has shown the word of this epoch's committee for the next one, which
    /// the shell has verified.
    Handed(Arc<QuorumWord>),
    /// What executes here no longer needs the sequence up to this height. Said before the
    /// first block by a shell that executes, and never by another.
    Executed(Height),
    /// What executes here came to this state; said of every
    /// [`STATE_HEIGHTS`](crate::STATE_HEIGHTS)-th height.
    StateReached {
        /// The height.
        height: Height,
        /// The state after it.
        roots: StateRoots,
    },
    /// The rows asked for.
    Loaded {
        /// The read.
        id: LoadId,
        /// Rows in key order.
        rows: Vec<Row>,
    },
    /// A job is done.
    Computed {
        /// The job.
        id: JobId,
        /// Its result.
        result: JobResult,
    },
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Every member but this one.
    All,
    /// One member.
    One(MemberId),
}

/// What is to be done outside. Effects are carried out in order; a `Send` may go out at
/// once, since whatever must be durable first is only sent after its `Stored`.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a message; it may be lost with the link.
    Send {
        /// Receivers.
        to: Peers,
        /// The message, shared between receivers.
        message: Arc<Message>,
    },
    /// Stop for good: finality is broken, and going on could only hide it. An operator
    /// must look; the reason is to be shown.
    Halt(String),
    /// Fire a timer at or after a time; setting the same id again moves it.
    SetTimer {
        /// The timer.
        id: TimerId,
        /// When, on the clock that `step` is given.
        at: Micros,
    },
    /// Apply writes, in the order of these effects; a crash leaves a prefix of them.
    Store {
        /// Reported by [`Event::Stored`], if it is durable.
        id: WriteId,
        /// Applied together or not at all.
        writes: Vec<Write>,
        /// Sync it, with everything before it, and report. Nobody waits for what is not.
        durable: bool,
    },
    /// Read a range.
    Load {
        /// Reported by [`Event::Loaded`].
        id: LoadId,
        /// Table.
        table: Table,
        /// First key.
        from: Vec<u8>,
        /// First key not read.
        to: Vec<u8>,
        /// Most rows.
        rows_max: usize,
        /// Stops once so many bytes are reached.
        bytes_max: usize,
    },
    /// Compute something costly.
    Compute {
        /// Reported by [`Event::Computed`].
        id: JobId,
        /// The work.
        job: Job,
    },
    /// A block of the sequence, durable already; each height exactly once per run, in
    /// order. What was emitted before a restart is in [`Table::Sequence`].
    Emit(Arc<SequencedBlock>),
    /// Answer a client.
    Reply {
        /// The request.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// The epoch is over, and what the next one begins with is durable here. The replica goes
    /// on serving this epoch to those that are not so far; the shell starts the next one.
    EpochEnded(Arc<EpochBase>),
    /// The key of the epoch before opens nothing any more: all that was sealed to it and final
    /// in time is emitted here, durably. The shell erases this member's share of it.
    KeyOver,
    /// A proof of misbehaviour, stored already.
    Evidence(Arc<Evidence>),
    /// A member sent something that no honest member sends: count it.
    Fault {
        /// The member.
        peer: MemberId,
        /// What it did.
        fault: Fault,
    },
}

/// Answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The order is acknowledged: this receipt is durable.
    Receipt(Receipt),
    /// The order is refused; nothing of it is kept.
    Refused(AdmissionError),
    /// Where the order is; `None` when this member has never seen it.
    Status(Option<Stage>),
}

/// Where a live order is (`received → laned → final → opened | …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Held by this member, not yet in a durable batch of its lane.
    Received,
    /// In this member's lane.
    Laned,
    /// Its place in the order is final; it is being opened.
    Final {
        /// Height whose block it came out of.
        height: Height,
    },
    /// Emitted.
    Emitted {
        /// Height.
        height: Height,
        /// Position.
        position: Position,
    },
}
