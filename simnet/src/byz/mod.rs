//! Misbehaving members: a real replica whose effects are changed on their way out. One
//! file per behaviour; a behaviour never touches what honest members do.

mod censor;
mod dealer;
mod early_shares;
mod equivocate;
mod false_answers;
mod false_history;
mod false_lane;
mod false_states;
mod forge;
mod fork_voter;
mod garbage;
mod lane_fork;
mod replay;
mod shares;
mod silent;
mod slow;
mod stale;
mod twins;
mod two_faced;
mod withhold;

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_replica::{Class, CryptoContext, CutPayload, Effect, Message, Peers, STATE_HEIGHTS};
use fairlane_types::{Genesis, Height, MemberId, Micros};

use crate::crypto::Crypto;
use crate::engine::Stream;

pub use censor::Censor;
pub use dealer::FalseDealer;
pub use early_shares::EarlyShares;
pub use equivocate::Equivocate;
pub use false_answers::{FalseAnswers, Flood};
pub use false_history::{FalseEmitted, FalseHistory};
pub use false_lane::{FalseLane, LaneLie, TwoFacedAcks};
pub use false_states::FalseStates;
pub use forge::Forge;
pub use fork_voter::ForkVoter;
pub use garbage::Garbage;
pub use lane_fork::LaneFork;
pub use replay::Replay;
pub use shares::{FalseShares, Lie};
pub use silent::Silent;
pub use slow::{Late, Slow};
pub use stale::Stale;
pub use twins::Twins;
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
    /// A message that leaves later.
    Later {
        /// Receiver.
        to: MemberId,
        /// The message.
        message: Arc<Message>,
        /// How much later, ms.
        after_ms: u64,
    },
}

/// Something that a misbehaving member hears.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// From whom.
    pub from: MemberId,
    /// What.
    pub message: &'a Message,
}

/// What a behaviour may use.
pub struct Scene<'a> {
    /// The member's keys.
    pub keys: &'a CryptoContext,
    /// Keys of the whole committee, for behaviours that stand for a coalition.
    pub all: &'a [CryptoContext],
    /// Cryptography of the run.
    pub crypto: &'a mut Crypto,
    /// Choices.
    pub rng: &'a mut Stream,
    /// The member's clock.
    pub now: Micros,
    /// What the committee agreed on before.
    pub genesis: &'a Genesis,
    /// How often it lied, for those who doubt that it does.
    pub lies: &'a mut u64,
}

impl Scene<'_> {
    /// Counts a lie.
    const fn lied(&mut self) {
        *self.lies += 1;
    }

    /// The same message, later.
    fn later(&mut self, to: Peers, message: &Arc<Message>, after_ms: u64) -> Vec<Act> {
        let receivers = match to {
            Peers::One(to) => vec![to],
            Peers::All => self.others(),
        };
        receivers
            .into_iter()
            .map(|to| Act::Later {
                to,
                message: Arc::clone(message),
                after_ms,
            })
            .collect()
    }

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
    fn act(&mut self, _: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        vec![Act::Effect(effect)]
    }

    /// A message arrives: what leaves at once, and whether the replica hears it as well.
    fn hear(&mut self, _: &mut Scene<'_>, _: &Heard<'_>, _: &mut Vec<Act>) -> bool {
        true
    }

    /// Whether the state of a height that it says to its replica is a false one. All sign the
    /// same false one, and of those who lie about other things every second.
    fn falsifies_state(&mut self, _: &mut Scene<'_>, height: Height) -> bool {
        !(height.0 / STATE_HEIGHTS).is_multiple_of(2)
    }
}

/// So many of [`NAMES`] may be drawn by any seed; the rest is for runs of a kind.
pub const DRAWN: usize = 34;

/// Every behaviour by name; where members make their key, one is a `false-dealer`. A
/// `false-states` lies where the committee makes certificates, and about nothing else.
pub const NAMES: [&str; DRAWN + 2] = [
    "wrong-shares",
    "empty-shares",
    "foreign-shares",
    "duplicate-shares",
    "no-shares",
    "early-shares",
    "late-shares",
    "lane-fork",
    "withhold",
    "false-holdings",
    "early-stamps",
    "late-stamps",
    "copied-orders",
    "two-faced-acks",
    "equivocate",
    "censor",
    "reorder",
    "tardy-leader",
    "silent-leader",
    "stale-parent",
    "stale-certificates",
    "forged-certificates",
    "two-faced",
    "fork-voter",
    "twins",
    "false-history",
    "false-emitted",
    "false-answers",
    "flood",
    "replay",
    "slow",
    "silent",
    "garbage",
    "long-shares",
    "false-dealer",
    "false-states",
];

/// The behaviour of a name.
#[must_use]
pub fn behaviour(name: &str) -> Option<Box<dyn Behaviour>> {
    Some(match name {
        "wrong-shares" => Box::new(FalseShares::new(Lie::Wrong)),
        "empty-shares" => Box::new(FalseShares::new(Lie::Empty)),
        "long-shares" => Box::new(FalseShares::new(Lie::Long)),
        "foreign-shares" => Box::new(FalseShares::new(Lie::Foreign)),
        "duplicate-shares" => Box::new(FalseShares::new(Lie::Duplicate)),
        "no-shares" => Box::new(FalseShares::new(Lie::Nothing)),
        "early-shares" => Box::new(EarlyShares::default()),
        "late-shares" => Box::new(Slow(Late::Shares)),
        "lane-fork" => Box::new(LaneFork::default()),
        "withhold" => Box::new(Withhold),
        "false-holdings" => Box::new(FalseLane::new(LaneLie::Holdings)),
        "early-stamps" => Box::new(FalseLane::new(LaneLie::Early)),
        "late-stamps" => Box::new(FalseLane::new(LaneLie::Late)),
        "copied-orders" => Box::new(FalseLane::new(LaneLie::Copies)),
        "two-faced-acks" => Box::new(TwoFacedAcks),
        "equivocate" => Box::new(Equivocate::default()),
        "censor" => Box::new(Censor::of_one()),
        "reorder" => Box::new(Censor::of_some()),
        "tardy-leader" => Box::new(Slow(Late::Proposals)),
        "silent-leader" => Box::new(Silent { proposals: true }),
        "stale-parent" => Box::new(Stale::parents()),
        "stale-certificates" => Box::new(Stale::certificates()),
        "forged-certificates" => Box::new(Forge),
        "two-faced" => Box::new(TwoFaced),
        "fork-voter" => Box::new(ForkVoter),
        "twins" => Box::new(Twins::default()),
        "false-history" => Box::new(FalseHistory),
        "false-emitted" => Box::new(FalseEmitted),
        "false-answers" => Box::new(FalseAnswers),
        "flood" => Box::new(Flood),
        "replay" => Box::new(Replay::default()),
        "slow" => Box::new(Slow(Late::All)),
        "silent" => Box::new(Silent { proposals: false }),
        "garbage" => Box::new(Garbage),
        "false-dealer" => Box::new(FalseDealer),
        "false-states" => Box::new(FalseStates),
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
