//! The seam at which a Byzantine test member lies: between a real replica and its shell.
//! The shipped binary sets none; only `fairlane-liar`, a test program, does.

use fairlane_replica::{Effect, Event};

/// Sees what goes into a replica and changes what comes out.
pub trait Tamper: Send + Sync {
    /// Before the replica sees an event.
    fn before(&self, event: &Event);
    /// Before the shell carries out the effects of that event.
    fn after(&self, effects: &mut Vec<Effect>);
}
