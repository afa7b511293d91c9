//! False history: blocks that were never final to whoever asks and to whoever does not,
//! and heights that it has not emitted (M6).

use std::sync::Arc;

use fairlane_consensus::{self as consensus, Blocks};
use fairlane_mempool::Cut;
use fairlane_replica::{CutPayload, Effect, Message};
use fairlane_types::Height;

use super::{Act, Behaviour, Scene, broadcast, consensus_of};

/// Serves blocks that were never final.
#[derive(Debug, Default)]
pub struct FalseHistory;

impl Behaviour for FalseHistory {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        match consensus_of(message) {
            Some(consensus::Message::Blocks(blocks)) => {
                scene.lied();
                let mut blocks = blocks.clone();
                spoil(scene, &mut blocks);
                let blocks = consensus::Message::Blocks(blocks);
                vec![Act::Effect(Effect::Send {
                    to: *to,
                    message: Arc::new(Message::Consensus(Box::new(blocks))),
                })]
            }
            // A proposal, as if it were history.
            Some(consensus::Message::Proposal(proposal)) => {
                scene.lied();
                let block = consensus::FinalBlock {
                    header: proposal.block.header.clone(),
                    payload: proposal.block.payload.clone(),
                    certificate: proposal.justify.parent.clone(),
                };
                let blocks = consensus::Message::Blocks(Blocks {
                    blocks: vec![block],
                    tail: Vec::new(),
                    proof: None,
                });
                let history = broadcast(Message::Consensus(Box::new(blocks)));
                vec![history, Act::Effect(effect)]
            }
            _ => vec![Act::Effect(effect)],
        }
    }
}

fn spoil(scene: &mut Scene<'_>, blocks: &mut Blocks<CutPayload>) {
    let n = scene.keys.committee.n();
    let at = scene.rng.below(blocks.blocks.len() as u64) as usize;
    let Some(block) = blocks.blocks.get_mut(at) else {
        return;
    };
    match scene.rng.below(4) {
        0 => block.payload = CutPayload::of(Cut::genesis(n)),
        1 => {
            block.payload = CutPayload::of(Cut::genesis(n));
            block.header.payload = block.payload.cut.digest();
        }
        2 => block.header.height = block.header.height.next(),
        _ => {
            blocks.proof = None;
            for block in &mut blocks.blocks {
                block.certificate = None;
            }
        }
    }
}

/// Says that it has emitted what does not exist yet.
#[derive(Debug)]
pub struct FalseEmitted;

impl Behaviour for FalseEmitted {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let height = match message.as_ref() {
            Message::Emitted(_) if scene.rng.chance(500) => Height(u64::MAX),
            Message::Emitted(height) => Height(height.0 + 1_000),
            _ => return vec![Act::Effect(effect)],
        };
        scene.lied();
        vec![Act::Effect(Effect::Send {
            to: *to,
            message: Arc::new(Message::Emitted(height)),
        })]
    }
}
