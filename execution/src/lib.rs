//! The clearing house that consumes the sequence: a deterministic state machine from
//! [`SequencedBlock`](fairlane_types::SequencedBlock)s to receipts and a state root, and
//! the interface by which a rollup plugs in its own.
//!
//! - One thread, integers only; no clock, no randomness, no hash map.
//! - Any payload gives a receipt. A refused one leaves the state root unchanged.
//! - Fills move ticks × lots exactly; what rounds, rounds against the user.
//! - Margins are checked in the same transition that matches.
//! - What a block's marks leave below its maintenance margin is liquidated in that block.

#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::float_cmp,
        clippy::iter_over_hash_type
    )
)]
// Tests compare with the real numbers.
#![cfg_attr(test, allow(clippy::disallowed_types))]

pub mod account;
mod auction;
mod audit;
#[cfg(feature = "bench")]
pub mod bench;
pub mod book;
mod breaker;
mod changes;
mod clearing;
mod deleveraging;
mod event;
mod expiry;
mod funding;
mod gate;
mod house;
mod interface;
mod journal;
pub mod large;
#[cfg(test)]
mod lemmas;
mod liquidation;
mod makers;
mod margin;
mod mark;
mod matching;
pub mod merkle;
mod money;
pub mod oracle;
pub mod params;
pub mod predictive;
mod reject;
mod results;
mod tx;
pub mod units;
mod watch;

pub use auction::clearing_price;
pub use audit::{AUDIT_HEIGHTS, Broken};
pub use breaker::{BreakerParams, Status, Trouble};
pub use changes::{AHEAD_HEIGHTS_MAX, About, Change, NOTICE_HEIGHTS, Proposal, Step};
pub use clearing::{Clearing, SNAPSHOT_BYTES_MAX};
pub use event::Event;
pub use gate::{Bucket, DAY_MS, GATE_HEIGHTS, HOUR_MS, OUTAGE_MS};
pub use house::{Core, Fill, House, Market};
pub use interface::{AccountProof, Executed, Execution, ExecutionError, Receipt};
pub use liquidation::LIQUIDATIONS_PER_BLOCK;
pub use mark::next_mark;
pub use reject::Reject;
pub use results::{RESULTS_KEPT, Results};
pub use tx::{BATCH_MAX, REQUEST_VERSION, Request, Tx};
pub use watch::{Watch, Window};
