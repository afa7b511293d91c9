//! The engine under every simulated run: a queue with a total order, random streams that
//! depend on nothing but their key, clocks that drift, and a rolling hash over the trace.
//!
//! Nothing here knows what is simulated. No wall clock, no globals, no hash maps.

mod clock;
mod queue;
mod rng;
mod time;
mod trace;

pub use clock::Clock;
pub use queue::{Key, Queue};
pub use rng::{Owner, Purpose, Stream};
pub use time::{MICROSECOND, MILLISECOND, Nanos, SECOND};
pub use trace::Trace;
