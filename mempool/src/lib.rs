//! Lanes, admission, cuts and fair order.

mod acks;
mod admission;
mod batch;
mod boundary;
mod cut;
mod cutting;
mod edge;
pub mod fair;
mod fetch;
mod fork;
mod holdings;
mod lane;
mod lanes;
mod message;
mod own;
mod pool;
mod quota;
mod receive;
mod restore;

pub use admission::{AdmissionError, Config, Quota};
pub use batch::{
    Batch, BatchFault, BatchHeader, Entry, ForkError, GROWTH_MAX, LaneFork, Limits, SignedHeader,
};
pub use boundary::{
    Ack, CheckId, Emitted, Flaw, Input, LaneFault, LoadId, Output, Record, Recovered, Stage,
    Ticket, Timer, To, Wanted, WriteId,
};
pub use cut::{BuiltCut, Cut, CutDelta, CutFault, FinalCut, FinalEntry, Head, LaneDelta, Verdict};
pub use holdings::Holdings;
pub use lanes::Lanes;
pub use message::{ANSWER_BYTES, BATCHES_MAX, LaneMessage, PAYLOADS_MAX};
