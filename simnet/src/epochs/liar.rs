//! How a machine lies while committees change.

use std::sync::Arc;

use fairlane_encryption::Deal;
use fairlane_mempool::LaneMessage;
use fairlane_replica::{Dealing, Message};
use fairlane_types::{ChainId, Epoch, SecretKey, Signature, decode};

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Deals bytes that are no dealing.
    FalseDealing,
    /// Signs a dealing whose last part, the contribution to a fresh key if there is one, does
    /// not verify.
    FalseContribution,
    /// Deals nothing.
    NoDealing,
    /// Signs another start of the next epoch.
    FalseWord,
    /// Says nothing of the next epoch at all.
    NoWord,
    /// Says nothing of the next epoch, but ends its own with its true word beside those of the
    /// others, shows that to one of them, and is gone: what is left may be no quorum.
    LastWord,
    /// Keeps its lane from most others, and answers nobody who asks for what is in lanes: at the
    /// boundary some of it is solid and some is not, and not everybody has either.
    Withhold,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Self; 7] = [
        Self::FalseDealing,
        Self::NoDealing,
        Self::FalseWord,
        Self::NoWord,
        Self::FalseContribution,
        Self::Withhold,
        Self::LastWord,
    ];

    /// What goes out instead of a message; nothing, maybe.
    pub(super) fn instead(
        self,
        message: &Arc<Message>,
        (key, chain, epoch): (&SecretKey, ChainId, Epoch),
    ) -> Option<Arc<Message>> {
        match (self, message.as_ref()) {
            (Self::FalseDealing, Message::Dealing(dealing)) => {
                let mut other = dealing.as_ref().clone();
                let middle = other.deal.len() / 2;
                if let Some(byte) = other.deal.get_mut(middle) {
                    *byte ^= 1;
                }
                Some(Arc::new(Message::Dealing(Arc::new(other))))
            }
            (Self::FalseContribution, Message::Dealing(dealing)) => {
                // The lowest byte of the last scalar: another one, and still a scalar.
                let mut bytes = dealing.deal.clone();
                let last = bytes.len().checked_sub(32)?;
                bytes[last] ^= 1;
                let deal: Deal = decode(&bytes, bytes.len()).ok()?;
                let dealing = Dealing::sign(&deal, key, chain, epoch);
                Some(Arc::new(Message::Dealing(Arc::new(dealing))))
            }
            (Self::NoDealing, Message::Dealing(_))
            | (Self::NoWord | Self::LastWord, Message::Handover(_) | Message::Handed(_)) => None,
            (Self::FalseWord, Message::Handover(Signature(bytes))) => {
                let mut other = *bytes;
                other[7] ^= 1;
                Some(Arc::new(Message::Handover(Signature(other))))
            }
            (Self::FalseWord, Message::Handed(word)) => {
                let mut other = word.as_ref().clone();
                if let Some(signed) = other.signatures.last_mut() {
                    signed.signature.0[7] ^= 1;
                }
                Some(Arc::new(Message::Handed(Arc::new(other))))
            }
            (Self::Withhold, Message::Lane(LaneMessage::Batches(_) | LaneMessage::Payloads(_))) => {
                None
            }
            _ => Some(Arc::clone(message)),
        }
    }

    /// To how many of those that a message goes to it is sent, if not to all: of every other
    /// batch just as many hear as make it solid with the liar's own word, of the rest one.
    pub(super) fn few(self, message: &Message, n: usize) -> Option<usize> {
        match (self, message) {
            (Self::Withhold, Message::Lane(LaneMessage::Batch(batch))) => {
                let quorum = n - (n - 1) / 3;
                Some(if batch.seq.0.is_multiple_of(2) {
                    quorum - 1
                } else {
                    1
                })
            }
            _ => None,
        }
    }
}
