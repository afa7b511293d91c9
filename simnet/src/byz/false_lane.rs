//! A lane that chains and is signed, and lies: about what its owner holds (M2), about the
//! time (A17), or with orders copied from others under another name (A4).

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_mempool::{Batch, Entry, LaneMessage};
use fairlane_replica::{Effect, Message};
use fairlane_types::{BatchDigest, Digest, Envelope, SecretKey, Seq};

use super::{Act, Behaviour, Scene};

/// Own clock against the true one, µs: beyond what anybody's clock is off.
const CLOCK_LIE_US: u64 = 10_000_000;

/// What the lane lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneLie {
    /// It acknowledges heads that do not exist.
    Holdings,
    /// Every stamp is ten seconds early.
    Early,
    /// Every stamp is ten seconds late.
    Late,
    /// Orders of others, with another sender.
    Copies,
}

/// Sends its batches changed, each standing on the changed one before it.
#[derive(Debug)]
pub struct FalseLane {
    lie: LaneLie,
    /// What was sent for each number.
    sent: BTreeMap<Seq, Arc<Batch>>,
    /// An order of somebody else.
    copied: Option<Arc<Envelope>>,
}

impl FalseLane {
    /// With one kind of lie.
    #[must_use]
    pub const fn new(lie: LaneLie) -> Self {
        Self {
            lie,
            sent: BTreeMap::new(),
            copied: None,
        }
    }

    fn lied(&mut self, scene: &mut Scene<'_>, batch: &Arc<Batch>) -> Arc<Batch> {
        if batch.lane != scene.keys.me {
            return Arc::clone(batch);
        }
        if let Some(sent) = self.sent.get(&batch.seq) {
            return Arc::clone(sent);
        }
        let mut other = batch.as_ref().clone();
        let before = self.sent.get(&batch.seq.prev());
        other.parent = before.map_or(other.parent, |before| before.digest());
        self.change(scene, &mut other);
        other.signature = other.header().sign(&scene.keys.identity, scene.keys.chain);
        scene.lied();
        let other = Arc::new(other);
        self.sent.insert(batch.seq, Arc::clone(&other));
        other
    }

    fn change(&self, scene: &mut Scene<'_>, batch: &mut Batch) {
        match self.lie {
            LaneLie::Holdings => {
                for seq in &mut batch.holdings.seqs {
                    *seq = Seq(seq.0 + 3);
                }
                if !batch.holdings.seqs.is_empty() {
                    batch.holdings.heads = Digest(scene.rng.bytes32());
                }
            }
            LaneLie::Early => batch.stamp = batch.stamp.minus(CLOCK_LIE_US),
            LaneLie::Late => batch.stamp = batch.stamp.plus(CLOCK_LIE_US),
            LaneLie::Copies => {
                let Some(copied) = &self.copied else { return };
                let thief = SecretKey::from_seed(scene.rng.bytes32());
                let mut label = copied.label.clone();
                label.sender = thief.public();
                let stolen = Envelope::sign(label, copied.ciphertext.clone(), &thief);
                batch.entries.push(Entry {
                    ct_id: stolen.id(),
                    back_us: 0,
                });
                batch.payloads.push(Arc::new(stolen));
            }
        }
    }
}

impl Behaviour for FalseLane {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let message = match message.as_ref() {
            Message::Lane(LaneMessage::Batch(batch)) => {
                Message::Lane(LaneMessage::Batch(self.lied(scene, batch)))
            }
            Message::Lane(LaneMessage::Batches(batches)) => {
                let batches = batches.iter().map(|batch| self.lied(scene, batch));
                Message::Lane(LaneMessage::Batches(batches.collect()))
            }
            _ => return vec![Act::Effect(effect)],
        };
        vec![Act::Effect(Effect::Send {
            to: *to,
            message: Arc::new(message),
        })]
    }

    fn hear(&mut self, scene: &mut Scene<'_>, heard: &super::Heard<'_>, _: &mut Vec<Act>) -> bool {
        if let Message::Lane(LaneMessage::Batch(batch)) = heard.message
            && batch.lane != scene.keys.me
            && let Some(envelope) = batch.payloads.first()
        {
            self.copied = Some(Arc::clone(envelope));
        }
        true
    }
}

/// Two acknowledgements (M2): half of the committee is told that less is held.
#[derive(Debug)]
pub struct TwoFacedAcks;

impl Behaviour for TwoFacedAcks {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send {
            to: fairlane_replica::Peers::All,
            message,
        } = &effect
        else {
            return vec![Act::Effect(effect)];
        };
        let Message::Lane(LaneMessage::Batch(batch)) = message.as_ref() else {
            return vec![Act::Effect(effect)];
        };
        if batch.lane != scene.keys.me || batch.holdings.seqs.is_empty() || !scene.rng.chance(300) {
            return vec![Act::Effect(effect)];
        }
        scene.lied();
        let mut other = batch.as_ref().clone();
        let nothing = vec![BatchDigest::default(); other.holdings.seqs.len()];
        other.holdings.seqs.fill(Seq(0));
        other.holdings.heads = fairlane_mempool::Holdings::hash(&nothing);
        other.signature = other.header().sign(&scene.keys.identity, scene.keys.chain);
        let other = Arc::new(Message::Lane(LaneMessage::Batch(Arc::new(other))));
        let first = Arc::clone(message);
        scene.split(&first, &other)
    }
}
