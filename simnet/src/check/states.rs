//! S16: what the committee certifies as a state is the state of the sequence, whatever f
//! members sign.

use fairlane_encryption::{StateAttestation, StateRoots};
use fairlane_types::{Digest, Domain, Root};

use crate::marks::Mark;

use super::{Notes, Rule};

fn roots(root: &Root, word: &str) -> StateRoots {
    let digest = |part: &str| {
        let bytes = fairlane_types::encode(&(word, part, root));
        Digest(Domain::MerkleLeaf.hash(&bytes).0)
    };
    StateRoots {
        genesis: Digest::default(),
        state_root: digest("state"),
        receipts_root: digest("receipts"),
    }
}

/// Stands for the state that an execution comes to from a sequence.
#[must_use]
pub fn state_of(root: &Root) -> StateRoots {
    roots(root, "true")
}

/// The one false state that liars agree on.
#[must_use]
pub fn false_state_of(root: &Root) -> StateRoots {
    roots(root, "false")
}

/// A certified state is kept by an honest member; `root` is the sequence's at its height, if
/// anyone has emitted it.
pub(super) fn kept(node: usize, made: &StateAttestation, root: Option<Root>, notes: &mut Notes) {
    notes.mark(Mark::StateAttested);
    let height = made.height;
    match root {
        None => {
            let what = format!("the state of height {height} is certified, and nobody emitted it");
            notes.break_rule(Rule::State, node, what);
        }
        Some(root) if made.roots != state_of(&root) => {
            let what = format!("a false state of height {height} is certified");
            notes.break_rule(Rule::State, node, what);
        }
        Some(_) => {}
    }
}
