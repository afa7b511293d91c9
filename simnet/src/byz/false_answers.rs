//! False answers: what others ask for comes back as something else, and a flood of
//! questions that nobody needs answered (C11).

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_mempool::LaneMessage;
use fairlane_replica::{Effect, Message};
use fairlane_types::{BatchDigest, CtId, Digest, Height, MemberId, Micros, Seq, View};

use super::{Act, Behaviour, Scene, consensus_of, send};

/// Answers falsely, also where nobody asked.
#[derive(Debug)]
pub struct FalseAnswers;

impl Behaviour for FalseAnswers {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let answer = match message.as_ref() {
            Message::Lane(LaneMessage::Heads { seq, digests }) => {
                let mut digests = digests.clone();
                digests.fill(BatchDigest(Digest(scene.rng.bytes32())));
                LaneMessage::Heads { seq: *seq, digests }
            }
            Message::Lane(LaneMessage::Batches(batches)) => {
                let change = |batch: &Arc<fairlane_mempool::Batch>| {
                    let mut batch = batch.as_ref().clone();
                    batch.stamp = Micros(batch.stamp.0 + 1);
                    Arc::new(batch)
                };
                LaneMessage::Batches(batches.iter().map(change).collect())
            }
            Message::Lane(LaneMessage::Payloads(payloads)) => {
                let change = |envelope: &Arc<fairlane_types::Envelope>| {
                    let mut envelope = envelope.as_ref().clone();
                    envelope.label.nonce ^= 1;
                    Arc::new(envelope)
                };
                LaneMessage::Payloads(payloads.iter().map(change).collect())
            }
            // With every batch, heads that nobody asked for.
            Message::Lane(LaneMessage::Batch(batch)) => {
                scene.lied();
                let n = scene.keys.committee.n();
                let digests = vec![BatchDigest(Digest(scene.rng.bytes32())); n];
                let seq = batch.seq;
                let heads = Arc::new(Message::Lane(LaneMessage::Heads { seq, digests }));
                let mut acts = vec![Act::Effect(effect)];
                acts.extend(scene.others().first().map(|to| send(*to, &heads)));
                return acts;
            }
            _ => return vec![Act::Effect(effect)],
        };
        scene.lied();
        vec![Act::Effect(Effect::Send {
            to: *to,
            message: Arc::new(Message::Lane(answer)),
        })]
    }
}

/// Asks for everything, all the time.
#[derive(Debug)]
pub struct Flood;

impl Behaviour for Flood {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let vote = match &effect {
            Effect::Send { message, .. } => {
                matches!(consensus_of(message), Some(consensus::Message::Vote(_)))
            }
            _ => false,
        };
        let mut acts = vec![Act::Effect(effect)];
        if vote && let Some(to) = scene.others().first().copied() {
            scene.lied();
            acts.extend(questions(scene).map(|question| send(to, &Arc::new(question))));
        }
        acts
    }
}

fn questions(scene: &mut Scene<'_>) -> impl Iterator<Item = Message> + use<> {
    let n = scene.keys.committee.n() as u64;
    let lane = MemberId(scene.rng.below(n) as u8);
    let wanted = CtId(Digest(scene.rng.bytes32()));
    let consensus = [
        consensus::Message::GetBlocks {
            from: Height(1),
            count: u16::MAX,
        },
        consensus::Message::GetCerts {
            from: View(1),
            to: View(64),
        },
    ];
    let consensus = consensus
        .into_iter()
        .map(|message| Message::Consensus(Box::new(message)));
    let others = [
        Message::Lane(LaneMessage::GetBatches {
            lane,
            from: Seq(1),
            to: Seq(32),
            head: BatchDigest::default(),
        }),
        Message::Lane(LaneMessage::GetPayloads(vec![wanted; 64])),
        Message::Lane(LaneMessage::GetHeads(Seq(1))),
        Message::GetShares {
            from: Height(1),
            count: 32,
        },
    ];
    consensus.chain(others)
}
