//! False shares (A6): wrong ones, none, those of somebody else, too many, or silence.

use std::sync::Arc;

use fairlane_encryption::{KeyBatch, SuiteBatch, SuiteKey};
use fairlane_replica::{Effect, KeyMessage, Message, Peers, ShareMessage};
use fairlane_types::MemberId;

use super::{Act, Behaviour, Scene, broadcast};

/// Shares of a set that is too long.
const LONG: usize = 4_096;

/// How to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Shares that are other points than they should be, well signed.
    Wrong,
    /// A well-signed set without any share, and an empty word as a combiner of every slice.
    Empty,
    /// A well-signed set of more shares than there are orders.
    Long,
    /// Somebody else's shares under the own signature.
    Foreign,
    /// The true set, twice, and once more with a wrong share.
    Duplicate,
    /// No shares at all.
    Nothing,
}

/// Sends false shares.
#[derive(Debug)]
pub struct FalseShares {
    lie: Lie,
}

impl FalseShares {
    /// With one kind of lie.
    #[must_use]
    pub const fn new(lie: Lie) -> Self {
        Self { lie }
    }
}

impl Behaviour for FalseShares {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let shares = match message.as_ref() {
            Message::Shares(shares) => shares,
            // The same lies about attestations and beacons, where they differ.
            Message::Attested(attestation) => {
                scene.lied();
                let mut false_one = **attestation;
                false_one.certificate.0[95] ^= 1;
                let message = Arc::new(Message::Attested(Box::new(false_one)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            Message::AttestedState(attestation) => {
                scene.lied();
                let mut false_one = **attestation;
                false_one.certificate.0[95] ^= 1;
                let message = Arc::new(Message::AttestedState(Box::new(false_one)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            Message::AttestState(share) => {
                scene.lied();
                let mut share = share.as_ref().clone();
                match self.lie {
                    Lie::Nothing => return Vec::new(),
                    Lie::Foreign => share.share.member.0 ^= 1,
                    _ => share.share.signature[95] ^= 1,
                }
                let message = Arc::new(Message::AttestState(Arc::new(share)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            Message::Beaconed(beacon) => {
                scene.lied();
                let mut false_one = **beacon;
                false_one.certificate.0[95] ^= 1;
                let message = Arc::new(Message::Beaconed(Box::new(false_one)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            Message::Beacon(share) => {
                scene.lied();
                let mut share = share.as_ref().clone();
                match self.lie {
                    Lie::Nothing => return Vec::new(),
                    Lie::Foreign => share.share.member.0 ^= 1,
                    _ => share.share.signature[95] ^= 1,
                }
                let message = Arc::new(Message::Beacon(Arc::new(share)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            // And about what it combined for the others.
            Message::Keys(told) => {
                scene.lied();
                let mut told = told.as_ref().clone();
                let points = &mut told.batch.points;
                match self.lie {
                    Lie::Nothing => return Vec::new(),
                    Lie::Empty => points.clear(),
                    Lie::Long => match points.first().copied() {
                        Some(first) => points.resize(LONG, first),
                        None => return vec![Act::Effect(effect)],
                    },
                    Lie::Foreign => told.batch.member.0 ^= 1,
                    // A valid point, but not this order's.
                    Lie::Wrong | Lie::Duplicate => {
                        match (points.first_mut(), scene.keys.key().map(AsRef::as_ref)) {
                            (Some(first), Some(SuiteKey::Tdh2(key))) => first.point = *key.y(),
                            _ => return vec![Act::Effect(effect)],
                        }
                    }
                }
                let message = Arc::new(Message::Keys(Arc::new(told)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            Message::Attest(share) => {
                let mut share = share.as_ref().clone();
                match self.lie {
                    Lie::Nothing => return Vec::new(),
                    Lie::Foreign => share.share.member.0 ^= 1,
                    _ => share.share.signature[95] ^= 1,
                }
                let message = Arc::new(Message::Attest(Arc::new(share)));
                return vec![Act::Effect(Effect::Send { to: *to, message })];
            }
            _ => return vec![Act::Effect(effect)],
        };
        scene.lied();
        let resend = |batch| {
            let keys = scene.keys;
            let message = ShareMessage::sign(
                shares.height,
                shares.slice,
                shares.list,
                batch,
                &keys.identity,
                keys.chain,
                keys.epoch,
            );
            Act::Effect(Effect::Send {
                to: *to,
                message: Arc::new(Message::Shares(Arc::new(message))),
            })
        };
        // Simulated committees run on the default suite.
        let SuiteBatch::Tdh2(mut batch) = shares.batch.clone() else {
            return vec![Act::Effect(effect)];
        };
        match self.lie {
            Lie::Nothing => Vec::new(),
            Lie::Wrong => {
                // A valid point, but not this order's: the list turned by one, or the proof's
                // own nonce spoilt when there is only one.
                match (&mut batch.shares[..], scene.keys.key().map(AsRef::as_ref)) {
                    ([only], Some(SuiteKey::Tdh2(key))) => *only = *key.y(),
                    (shares, _) => shares.rotate_left(shares.len().min(1)),
                }
                vec![resend(SuiteBatch::Tdh2(batch))]
            }
            Lie::Empty => {
                let nothing = KeyMessage {
                    height: shares.height,
                    slice: shares.slice,
                    batch: KeyBatch {
                        key: batch.key,
                        block: batch.block,
                        member: batch.member,
                        points: Vec::new(),
                    },
                };
                batch.shares.clear();
                let nothing = broadcast(Message::Keys(Arc::new(nothing)));
                vec![nothing, resend(SuiteBatch::Tdh2(batch))]
            }
            Lie::Long => {
                if let Some(first) = batch.shares.first().copied() {
                    batch.shares.resize(LONG, first);
                }
                vec![resend(SuiteBatch::Tdh2(batch))]
            }
            Lie::Foreign => {
                let n = scene.keys.committee.n() as u8;
                batch.member = MemberId((batch.member.0 + 1) % n);
                vec![resend(SuiteBatch::Tdh2(batch))]
            }
            Lie::Duplicate => {
                if let Some(first) = batch.shares.first_mut() {
                    first[0] ^= 1;
                }
                let lie = resend(SuiteBatch::Tdh2(batch));
                let again = Message::Shares(Arc::clone(shares));
                let mut acts = vec![
                    Act::Effect(Effect::Send {
                        to: *to,
                        message: Arc::new(again),
                    }),
                    lie,
                ];
                if matches!(to, Peers::All) {
                    acts.rotate_left(usize::from(scene.rng.chance(500)));
                }
                acts.push(Act::Effect(effect));
                acts
            }
        }
    }
}
