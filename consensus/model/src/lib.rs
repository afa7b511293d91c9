//! Model check of the real consensus core: [stateright] explores every behaviour of three
//! honest [`Core`](fairlane_consensus::Core)s and one Byzantine member up to a number of
//! views, and compares each state with rules that are restated here ([`rules`]).
//!
//! # What is explored
//!
//! n = 4, f = 1, q = t = 3. A state is the three honest members, each with its core, its
//! disk and what it has said. There is no network in it: what was said can arrive at anyone,
//! any time, any number of times or never, so the messages on their way are a function of
//! what was said. An action is one [`Input`] at one member, run to the end by the real core.
//!
//! The Byzantine member is a closure, not a program: its vote, commit vote and skip exist
//! for everything, and where it leads it can propose any block that known signatures carry,
//! two different ones on every parent. With [`Scope::forgeries`] it also shows certificates
//! whose signatures do not verify.
//!
//! # Reductions
//!
//! - *Signatures are ideal*: a hash that only the model computes. Verification is answered
//!   at once, and so are questions about payloads: a late answer is a late proposal.
//! - *Statements arrive a quorum at a time*: an input delivers all statements on one subject
//!   that exist. Those short of a quorum change nothing that a rule looks at, but for skips
//!   (C9: f + 1 make a member join). These arrive in the view that the member is in, while
//!   its writes are durable at once, and what they make it say its timer can as well. A skip
//!   certificate arrives alone, so that a view also ends for who has not skipped it.
//! - *Essence*: states are told apart by [`Core::essence`](fairlane_consensus::Core::essence),
//!   which leaves out signers, tallies, timers and counters. The test `essence_decides`
//!   compares the futures of states that it takes for one.
//! - *Local steps once*: what an input does to a member depends on that member alone. It is
//!   computed once by the core and remembered, whatever the others do meanwhile.
//! - *Orders*: beyond two views fewer orders of events are explored ([`order`]).
//! - *Timers* fire whenever the core would act on them; time itself is not part of the state.
//! - Of two equal payloads the second exists only after the first was used.
//!
//! Not explored: catching up by ranges of final blocks, pruning windows, committees of other
//! sizes. The seeded swarms do that.

mod adversary;
mod check;
mod crypto;
mod guise;
mod load;
mod member;
pub mod order;
pub mod rules;
mod said;
mod scope;
mod store;
mod system;

pub use check::{Found, Report, explore, wander};
pub use guise::Guise;
pub use load::Load;
pub use member::{Input, Member};
pub use said::{Known, Said};
pub use scope::{Order, Reveal, Scope};
pub use system::{Action, State, System};
