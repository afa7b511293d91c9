//! The pure replica: lanes → consensus → fair order → decryption → emission, composed
//! into one state machine without I/O, clock, threads or randomness.
//!
//! A shell feeds [`Event`]s to [`Replica::step`] and carries out the [`Effect`]s; costly
//! cryptography leaves as a [`Job`] that [`run_job`] computes anywhere. The same replica
//! runs in the node and in the simulator. Three promises are kept here:
//!
//! - *Durable before said*: every vote, commit, skip, proposal, batch, acknowledgement
//!   and receipt is stored and synced before it is sent (C7, M1, M2).
//! - *Final before revealed*: shares are made with a [`Finalized`](fairlane_types::Finalized)
//!   token, for D(c) alone, and leave when the final block is synced (D1, D2).
//! - *Emitted exactly once*: a block of the sequence is synced before it is offered, and
//!   after a restart emission goes on after the last synced one (PROTOCOL §5).

mod attest_schedule;
mod attesting;
pub mod audit;
mod beacons;
mod boundary;
mod capacity;
mod ceremony;
mod class;
mod combiners;
mod composing;
mod consensus_work;
mod covered;
mod crossing;
mod dealing;
mod demotion;
mod ending;
mod envelope_checks;
mod epoch_base;
mod epoch_change;
mod fault;
mod former_key;
mod job;
mod kept_shares;
mod key_making;
mod keys;
mod lane_work;
mod message;
mod opening;
mod openings;
mod payload;
mod pipeline;
mod recovery;
mod replica;
mod retention;
mod serving;
mod share_job;
mod share_message;
mod slice;
mod state_attesting;
mod status;
mod store;
mod stripping;
mod under_way;

pub use attesting::AttestShare;
pub use beacons::BeaconShare;
pub use boundary::{Effect, Event, JobId, LoadId, Peers, Reply, Stage, Ticket, TimerId, WriteId};
pub use class::Class;
pub use composing::ReplicaError;
pub use covered::{Covered, STRETCH_BLOCKS_MAX, STRETCH_BYTES_MAX};
pub use crossing::{
    activated_certificate_key, carried_over, current_epoch, entering, has_left, importing, leaving,
    next_base, used_receivers,
};
pub use dealing::Dealing;
pub use epoch_base::{BaseError, EPOCH_BASE_BYTES_MAX, EpochBase};
pub use epoch_change::{ChangeStatus, FinalChange};
pub use fairlane_mempool::AdmissionError;
pub use fault::{Evidence, EvidenceFault, FalseShares, Fault};
pub use job::{
    BeaconJob, CeremonyKeys, CertifyJob, ConcludeJob, CryptoContext, EnvelopeFault, FormerSharing,
    Job, JobResult, MadeKeys, OpenJob, Sharing, run_job,
};
pub use key_making::FinalDealing;
pub use keys::{
    Emitted, ack_key, batch_key, beacon_key, carried_key, change_key, dealing_verdict_key,
    epoch_key, height_key, height_of, index_key, late_key, meta, payload_key,
};
pub use message::{Message, MessageError, SHARE_HEIGHTS_MAX};
pub use payload::{CutPayload, EpochStep, FinalBlock, SafetyRecord};
pub use recovery::{
    BORN, RecoverError, Recovered, RecoveredKey, Snapshot, birth, birth_of_founder, birth_of_joiner,
};
pub use replica::{Replica, ReplicaConfig};
pub use share_job::{CombineJob, Combined, OpenKeysJob, ShareSlice, SharesJob};
pub use share_message::{KeyMessage, ShareFault, ShareMessage, list_digest_of};
pub use state_attesting::STATE_HEIGHTS;
pub use status::{Counters, ReplicaStatus};
pub use store::{Row, Store, StoreError, Table, Write};
