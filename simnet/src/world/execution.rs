//! What executes beside each member, where the committee makes certificates: it says the state
//! of every sixteenth height to the replica, as the shell of a node does. The states themselves
//! are [stood for](state_of): what a replica does with them depends on nothing else.

use fairlane_replica::STATE_HEIGHTS;
use fairlane_types::SequencedBlock;

use crate::check::{false_state_of, state_of};
use crate::engine::MILLISECOND;
use crate::scenario::Planted;

use super::World;
use super::happening::Happening;

/// From a block's emission until its state is there.
const EXECUTION_NS: u64 = 2 * MILLISECOND;

impl World {
    /// Executes a block that a member emitted. Labs measure the sequencer alone.
    pub(super) fn execute(&mut self, node: usize, block: &SequencedBlock) {
        let certificates = self.genesis.certificates.is_some();
        let due = block.height.0.is_multiple_of(STATE_HEIGHTS);
        if !certificates || !due || self.recorder.is_some() {
            return;
        }
        let false_state = self.misbehave(node, |behaviour, scene| {
            behaviour.falsifies_state(scene, block.height)
        });
        let planted = self.scenario.planted == Some(Planted::FalseStates) && node > 0;
        let roots = if false_state == Some(true) || planted {
            false_state_of(&block.root)
        } else {
            state_of(&block.root)
        };
        let (life, height) = (self.members[node].life, block.height);
        let executed = Happening::Executed {
            node,
            life,
            height,
            roots,
        };
        self.queue.push(self.now.plus(EXECUTION_NS), 5, executed);
    }
}
