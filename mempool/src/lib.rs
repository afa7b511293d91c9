//! The mempool of one member: admission, lanes, holdings, cuts, and fair ordering.
//!
//! Two pure machines. [`Lanes`] turns inputs into outputs (`step`) and knows nothing of
//! sockets, disks, clocks, keys or threads; [`fair::FairOrder`] turns final cuts into the
//! sequence. Whoever drives them does the I/O, signs, and runs the verification jobs.
//!
//! ```text
//! Submit ──► admission ──► pool ──► own lane: queue ─ Sign ─ Store ─ Send, Accepted
//!                            ▲                              (M1: durable before said)
//! Batch ──► owner's signature ──► chain ──► payloads ──► Store (batch, Ack) ──► holdings
//!                                                  in the next own batch, synced with it (M2)
//! build_cut / check_cut / want_cut ◄── consensus ──► Finalized ──► take_final ──► on_cut
//! ```
//!
//! # Driving it
//! - Inputs are taken one at a time with the local time. `Sign` is answered by `Signed`
//!   right away (ed25519 is deterministic); a durable `Store` by `Stored` once it and all
//!   writes before it are synced; jobs and loads in any order.
//! - For every final block, in height order: `Finalized`, then [`Lanes::take_final`]; if
//!   that gives `None`, again on `CutReady` with the block's id. Then `on_cut`, and when
//!   the outcomes are emitted, `Emitted` with all of them and with the stale ones.
//! - `Parent` tells on which cut this member would build; `Advancing` is relative to it
//!   (a final cut replaces it when it lags behind).
//! - Restart: [`Lanes::restore`] at the order rule's snapshot, replay the final blocks
//!   above it (`Finalized`, `take_final`, `on_cut`, `Emitted`), then `Start`. Nothing is
//!   said before `Start`.
//!
//! # Where the rules live
//! | rule | file |
//! |---|---|
//! | M1 durable before said; L3 echo; L4 heads; M3 sealing; M4 growth | `own` |
//! | M1 forks: evidence, mute, adoption of a certified or final version | `receive`, `fork` |
//! | M2 acknowledgements, holdings, certified heads | `receive`, `acks` |
//! | M4 windows; L1 stamps; L2 future stamps | `lane`, `receive` |
//! | M5 stateless facts, edge | `admission`, `edge`, `quota` |
//! | L6, D6, M6 fetching and serving | `fetch` |
//! | payload validity, C10, C13, what a final cut adds | `cutting` |
//! | C7 restart | `restore` |
//! | ORDERING.md, rule `arrival` | `fair` |
//!
//! # Settled here
//! - **Far expiries.** A batch with an order that expires later than now + 2·TTL_max is
//!   held back like one stamped in the future (L2), and the order is not echoed until
//!   then. So nothing final ever expires further ahead than that by the clock of f+1
//!   honest members, and the order rule need not measure age by a finalized time that
//!   rests when the lanes do (see [`fair::LaneOrder`]).
//! - **Batch size.** No batch is larger than what one cut may add to its lane, also when
//!   it grows (M4), or the lane could never advance again.
//! - **Empty batches** use at most half of a lane's window, so that a stall of consensus
//!   leaves room for entries. Payloads that nobody provides after several rounds of asking
//!   keep nobody awake (L4), but are still asked for.
//! - **Holdings and forks.** One hash over all heads does not fit the lanes of those who
//!   follow another version of a forked lane. Whoever finds that a hash does not fit asks
//!   its author for the digests ([`LaneMessage::GetHeads`]); that credits the other lanes,
//!   brings the fork to light and names the version to fetch.
//! - **Signatures are not in the id.** A payload with a bad sender signature inside a batch
//!   is the owner's fault (the header commits to it); one that was sent on request is its
//!   bearer's fault, and the next member is asked.
//! - **An own lane that is final beyond what this member remembers** (C7) makes it an
//!   observer for good; it follows its lane like any other.
//! - **Lack of history.** Who does not hold the heads of the parent cannot tell a cut's
//!   time (C13): it proposes the parent's cut, and votes for an unchanged cut only.
//! - Per-lane limits of a cut are entries (`cut_entries_max`), batches and bytes (one
//!   window); the cut's own limit is n times that.

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
mod line;
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
    Ack, CheckId, Emitted, Flaw, Input, LaneFault, LoadId, Output, Pressure, Record, Recovered,
    Stage, Ticket, Timer, To, Wanted, WriteId,
};
pub use cut::{BuiltCut, Cut, CutDelta, CutFault, FinalCut, FinalEntry, Head, LaneDelta, Verdict};
pub use holdings::Holdings;
pub use lanes::Lanes;
pub use message::{ANSWER_BYTES, BATCHES_MAX, LaneMessage, PAYLOADS_MAX};
