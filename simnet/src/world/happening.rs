//! Events of a run.

use std::sync::Arc;

use fairlane_encryption::StateRoots;
use fairlane_replica::{Class, JobId, JobResult, LoadId, Message, Row, WriteId};
use fairlane_types::{Height, MemberId};

use crate::machine::Slot;
use crate::net::Sent;

use super::frame::Frame;

/// An event of the run; whatever belongs to a member names the life it belongs to.
#[derive(Debug)]
pub(super) enum Happening {
    Fault(usize),
    Boot(usize),
    Connect(usize, usize),
    Frame {
        from: usize,
        to: usize,
        class: Class,
        sent: Sent,
        frame: Frame,
    },
    /// The earliest timer of a member.
    Timer {
        node: usize,
        life: u32,
    },
    Stored {
        node: usize,
        life: u32,
    },
    Early {
        node: usize,
        life: u32,
        id: WriteId,
    },
    Loaded {
        node: usize,
        life: u32,
        id: LoadId,
        rows: Vec<Row>,
    },
    Computed {
        node: usize,
        life: u32,
        id: JobId,
        result: Box<JobResult>,
    },
    Late {
        node: usize,
        life: u32,
        to: MemberId,
        message: Arc<Message>,
    },
    /// What executes beside a member came to a state.
    Executed {
        node: usize,
        life: u32,
        height: Height,
        roots: StateRoots,
    },
    Submit {
        trade: usize,
        node: usize,
    },
    /// A thread of a machine is done with what it did.
    Done {
        at: usize,
        slot: Slot,
        busy_ns: u64,
    },
    Impatient {
        trade: usize,
    },
}

impl Happening {
    /// The member that handles it, and the life it belongs to.
    pub(super) const fn owner(&self) -> Option<(usize, Option<u32>)> {
        match self {
            Self::Timer { node, life, .. }
            | Self::Stored { node, life }
            | Self::Early { node, life, .. }
            | Self::Late { node, life, .. }
            | Self::Executed { node, life, .. }
            | Self::Loaded { node, life, .. }
            | Self::Computed { node, life, .. } => Some((*node, Some(*life))),
            Self::Frame { to, .. } => Some((*to, None)),
            Self::Submit { node, .. } => Some((*node, None)),
            Self::Fault(_)
            | Self::Boot(_)
            | Self::Connect(..)
            | Self::Impatient { .. }
            | Self::Done { .. } => None,
        }
    }

    /// Where, what kind, and a word of its content, for the trace.
    pub(super) fn digest(&self) -> (usize, u32, u64) {
        match self {
            Self::Fault(index) => (0, 1, *index as u64),
            Self::Boot(node) => (*node, 2, 0),
            Self::Connect(a, b) => (*a, 3, *b as u64),
            Self::Frame {
                from,
                to,
                class,
                frame,
                ..
            } => (
                *to,
                4 + (u32::from(class.code()) << 8),
                frame.head() ^ ((*from as u64) << 56),
            ),
            Self::Timer { node, .. } => (*node, 5, 0),
            Self::Stored { node, .. } => (*node, 6, 0),
            Self::Early { node, id, .. } => (*node, 7, id.0),
            Self::Loaded { node, id, rows, .. } => (*node, 8, id.0 ^ ((rows.len() as u64) << 32)),
            Self::Computed { node, id, .. } => (*node, 9, id.0),
            Self::Submit { trade, node } => (*node, 10, *trade as u64),
            Self::Impatient { trade } => (0, 11, *trade as u64),
            Self::Done { slot, .. } => (slot.0, 13, slot.1.code()),
            Self::Late { node, to, .. } => (*node, 12, u64::from(to.0)),
            Self::Executed { node, height, .. } => (*node, 14, height.0),
        }
    }
}
