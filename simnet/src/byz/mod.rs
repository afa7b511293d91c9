//! Misbehaving members: a real replica whose effects are changed on their way out. One
//! file per behaviour; a behaviour never touches what honest members do.

mod early_shares;
mod equivocate;
mod garbage;
mod lane_fork;
mod shares;
mod two_faced;
mod withhold;

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_replica::{Class, CryptoContext, CutPayload, Effect, Message, Peers};
use fairlane_types::MemberId;

use crate::engine::Stream;

pub use early_shares::EarlyShares;
pub use equivocate::Equivocate;
pub use garbage::Garbage;
pub use lane_fork::LaneFork;
pub use shares::{FalseShares, Lie};
pub use two_faced::TwoFaced;
pub use withhold::Withhold;

/// What leaves a misbehaving member.
#[derive(Debug)]
pub enum Act {
    /// An effect, carried out as any other.
    Effect(Effect),
    /// Bytes on the wire that may be no message at all.
    Raw {
        /// Receiver.
        to: MemberId,
        /// Stream.
        class: Class,
        /// The frame.
        frame: Vec<u8>,
    },
}

/// What a behaviour may use.
pub struct Scene<'a> {
    /// The member's keys.
    pub keys: &'a CryptoContext,
    /// Keys of the whole committee, for behaviours that stand for a coalition.
    pub all: &'a [CryptoContext],
    /// Choices.
    pub rng: &'a mut Stream,
}

impl Scene<'_> {
    /// The other members, in random order.
    fn others(&mut self) -> Vec<MemberId> {
        let me = self.keys.me;
        let mut others: Vec<_> = self.keys.committee.ids().filter(|id| *id != me).collect();
        self.rng.shuffle(&mut others);
        others
    }

    /// One message for half of the others, another one for the rest.
    fn split(&mut self, one: &Arc<Message>, two: &Arc<Message>) -> Vec<Act> {
        let others = self.others();
        let half = others.len() / 2;
        others
            .into_iter()
            .enumerate()
            .map(|(index, to)| send(to, if index < half { one } else { two }))
            .collect()
    }
}

/// A way to misbehave.
pub trait Behaviour: core::fmt::Debug {
    /// What leaves instead of an effect.
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act>;
}

/// Every behaviour by name.
pub const NAMES: [&str; 10] = [
    "wrong-shares",
    "empty-shares",
    "foreign-shares",
    "duplicate-shares",
    "no-shares",
    "lane-fork",
    "withhold",
    "garbage",
    "two-faced",
    "equivocate",
];

/// The behaviour of a name.
#[must_use]
pub fn behaviour(name: &str) -> Option<Box<dyn Behaviour>> {
    Some(match name {
        "wrong-shares" => Box::new(FalseShares::new(Lie::Wrong)),
        "empty-shares" => Box::new(FalseShares::new(Lie::Empty)),
        "foreign-shares" => Box::new(FalseShares::new(Lie::Foreign)),
        "duplicate-shares" => Box::new(FalseShares::new(Lie::Duplicate)),
        "no-shares" => Box::new(FalseShares::new(Lie::Nothing)),
        "lane-fork" => Box::new(LaneFork::default()),
        "withhold" => Box::new(Withhold),
        "garbage" => Box::new(Garbage),
        "two-faced" => Box::new(TwoFaced),
        "equivocate" => Box::new(Equivocate::default()),
        "early-shares" => Box::new(EarlyShares::default()),
        _ => return None,
    })
}

/// A message of consensus, if it is one.
fn consensus_of(message: &Message) -> Option<&consensus::Message<CutPayload>> {
    match message {
        Message::Consensus(message) => Some(message),
        _ => None,
    }
}

/// One message to one member.
fn send(to: MemberId, message: &Arc<Message>) -> Act {
    Act::Effect(Effect::Send {
        to: Peers::One(to),
        message: Arc::clone(message),
    })
}

/// One message to all.
fn broadcast(message: Message) -> Act {
    Act::Effect(Effect::Send {
        to: Peers::All,
        message: Arc::new(message),
    })
}
