//! Late words (A8): everything, the shares alone, or the proposals alone.

use fairlane_consensus as consensus;
use fairlane_replica::{Effect, Message};

use super::{Act, Behaviour, Scene, consensus_of};

/// What is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Everything, by a constant time.
    All,
    /// Decryption shares, by so much that others must do without.
    Shares,
    /// Proposals, so late that views run out now and then.
    Proposals,
}

/// Says things late.
#[derive(Debug)]
pub struct Slow(pub Late);

impl Behaviour for Slow {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let proposal = matches!(consensus_of(message), Some(consensus::Message::Proposal(_)));
        let shares = matches!(message.as_ref(), Message::Shares(_));
        let after_ms = match self.0 {
            Late::All => 120,
            Late::Shares if shares => scene.rng.between(200, 900),
            Late::Proposals if proposal => scene.rng.between(50, 600),
            Late::Shares | Late::Proposals => return vec![Act::Effect(effect)],
        };
        scene.lied();
        scene.later(*to, message, after_ms)
    }
}
