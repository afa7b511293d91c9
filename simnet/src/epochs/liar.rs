//! How a machine lies while committees change.

use std::sync::Arc;

use fairlane_replica::Message;
use fairlane_types::Signature;

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Deals bytes that are no dealing.
    FalseDealing,
    /// Deals nothing.
    NoDealing,
    /// Signs another start of the next epoch.
    FalseWord,
    /// Says nothing of the next epoch at all.
    NoWord,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Self; 4] = [
        Self::FalseDealing,
        Self::NoDealing,
        Self::FalseWord,
        Self::NoWord,
    ];

    /// What goes out instead of a message; nothing, maybe.
    pub(super) fn instead(self, message: &Arc<Message>) -> Option<Arc<Message>> {
        match (self, message.as_ref()) {
            (Self::FalseDealing, Message::Dealing(dealing)) => {
                let mut other = dealing.as_ref().clone();
                let middle = other.deal.len() / 2;
                if let Some(byte) = other.deal.get_mut(middle) {
                    *byte ^= 1;
                }
                Some(Arc::new(Message::Dealing(Arc::new(other))))
            }
            (Self::NoDealing, Message::Dealing(_)) | (Self::NoWord, Message::Handover(_)) => None,
            (Self::FalseWord, Message::Handover(Signature(bytes))) => {
                let mut other = *bytes;
                other[7] ^= 1;
                Some(Arc::new(Message::Handover(Signature(other))))
            }
            _ => Some(Arc::clone(message)),
        }
    }
}
