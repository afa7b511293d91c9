//! fairlane-consensus: two-phase chained HotStuff with explicit commit votes and skip
//! certificates, as a pure state machine (PROTOCOL §2).

// Messages are moved a few times at most, and derived decoding has no boxes over generics.
#![allow(clippy::large_enum_variant)]

mod boundary;
mod certs;
mod chain;
pub mod config;
mod core;
mod evidence;
mod fetch;
mod finality;
mod jobs;
mod lanes;
mod leader;
mod marks;
mod message;
mod pacemaker;
mod quorum;
mod records;
mod tally;
mod voting;

#[cfg(test)]
mod tests;

pub use crate::boundary::{CheckId, Halt, Input, Output, PeerFault, RecordId, Timer, To, Verdict};
pub use crate::config::{Config, ConfigError, Params};
pub use crate::core::{Core, RestoreError};
pub use crate::evidence::{Evidence, EvidenceError, Offence};
pub use crate::leader::LeaderSchedule;
pub use crate::marks::Marks;
pub use crate::message::{
    Block, Blocks, FinalBlock, HintedSkip, Justify, Message, Payload, Proposal, Signed, Statement,
    genesis,
};
pub use crate::records::{Recovered, SafetyRecord};
