//! What the blocks of the model carry.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus::Payload;

/// A payload: one of two twins, which reveals the one ciphertext of the model or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Load {
    /// Tells twins apart.
    pub twin: u8,
    /// The cut holds the ciphertext; D(B) does, too, unless an ancestor's did.
    pub holds: bool,
}

impl Payload for Load {}
