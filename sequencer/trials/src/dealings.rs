//! A member that lies while keys are made: it signs a dealing whose last part does not verify, and
//! words for other keys and for another next epoch than those that follow (THREATS A18, A27).

use std::sync::Arc;

use fairlane_encryption::Deal;
use fairlane_node::tamper::Tamper;
use fairlane_replica::{Dealing, Effect, Event, Message};
use fairlane_types::{ChainId, Epoch, Genesis, MemberId, SecretKey, Signature, decode};

/// The liar.
pub struct FalseDealer {
    chain: ChainId,
    epoch: Epoch,
    me: MemberId,
    identity: SecretKey,
}

impl FalseDealer {
    /// With a member's keys, in the epoch of this genesis.
    pub fn new(genesis: &Genesis, me: MemberId, identity: SecretKey) -> Self {
        Self {
            chain: genesis.chain,
            epoch: genesis.epoch(),
            me,
            identity,
        }
    }

    /// The dealing with another last scalar, signed: only its proof tells.
    fn spoilt(&self, dealing: &Dealing) -> Option<Dealing> {
        let end = dealing.deal.len();
        // Lowest byte or highest, as the group writes scalars.
        [end.checked_sub(32)?, end - 1].into_iter().find_map(|at| {
            let mut bytes = dealing.deal.clone();
            bytes[at] ^= 1;
            let deal: Deal = decode(&bytes, end).ok()?;
            Some(Dealing::sign(&deal, &self.identity, self.chain, self.epoch))
        })
    }

    fn other(&self, message: &Message) -> Option<Message> {
        let wrong = |Signature(bytes): &Signature| {
            let mut other = *bytes;
            other[7] ^= 1;
            Signature(other)
        };
        match message {
            Message::Dealing(dealing) if dealing.dealer == self.me => {
                let spoilt = self.spoilt(dealing)?;
                Some(Message::Dealing(Arc::new(spoilt)))
            }
            Message::KeyMade(word) => Some(Message::KeyMade(wrong(word))),
            Message::Handover(word) => Some(Message::Handover(wrong(word))),
            Message::Handed(word) => {
                let mut other = word.as_ref().clone();
                other.signatures[0].signature = wrong(&other.signatures[0].signature);
                Some(Message::Handed(Arc::new(other)))
            }
            _ => None,
        }
    }

    /// As a leader it would carry its own dealing, the true one.
    fn carries_its_own(&self, message: &Message) -> bool {
        let Message::Consensus(said) = message else {
            return false;
        };
        let fairlane_consensus::Message::Proposal(proposal) = said.as_ref() else {
            return false;
        };
        let dealing = &proposal.block.payload.dealing;
        dealing
            .as_ref()
            .is_some_and(|dealing| dealing.dealer == self.me)
    }
}

impl Tamper for FalseDealer {
    fn before(&self, _: &Event) {}

    fn after(&self, effects: &mut Vec<Effect>) {
        effects.retain(|effect| match effect {
            Effect::Send { message, .. } => !self.carries_its_own(message),
            _ => true,
        });
        for effect in effects {
            if let Effect::Send { message, .. } = effect
                && let Some(other) = self.other(message)
            {
                *message = Arc::new(other);
            }
        }
    }
}
