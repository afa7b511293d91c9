//! Signs a false state, the same as all others of its kind, whenever one is due.

use fairlane_types::Height;

use super::{Behaviour, Scene};

/// Says false states to its replica.
#[derive(Debug)]
pub struct FalseStates;

impl Behaviour for FalseStates {
    fn falsifies_state(&mut self, scene: &mut Scene<'_>, _: Height) -> bool {
        scene.lied();
        true
    }
}
