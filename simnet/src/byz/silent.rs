//! Silence: nothing is ever said, or nothing is ever proposed (C9).

use fairlane_consensus as consensus;
use fairlane_replica::Effect;

use super::{Act, Behaviour, Scene, consensus_of};

/// Says nothing.
#[derive(Debug)]
pub struct Silent {
    /// Only proposals are left out.
    pub proposals: bool,
}

impl Behaviour for Silent {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { message, .. } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let proposal = matches!(consensus_of(message), Some(consensus::Message::Proposal(_)));
        if self.proposals && !proposal {
            return vec![Act::Effect(effect)];
        }
        scene.lied();
        Vec::new()
    }
}
