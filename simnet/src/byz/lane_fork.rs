//! A forked lane (M1): two batches with one number, each for half of the committee.

use std::sync::Arc;

use fairlane_mempool::LaneMessage;
use fairlane_replica::{Effect, Message, Peers};

use super::{Act, Behaviour, Scene};

/// Forks its lane once in a while.
#[derive(Debug, Default)]
pub struct LaneFork {
    forks: u32,
}

impl Behaviour for LaneFork {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send {
            to: Peers::All,
            message,
        } = &effect
        else {
            return vec![Act::Effect(effect)];
        };
        let Message::Lane(LaneMessage::Batch(batch)) = message.as_ref() else {
            return vec![Act::Effect(effect)];
        };
        if batch.lane != scene.keys.me || self.forks >= 3 || !scene.rng.chance(150) {
            return vec![Act::Effect(effect)];
        }
        scene.lied();
        self.forks += 1;
        let mut other = batch.as_ref().clone();
        if other.entries.len() > 1 && other.payloads.is_empty() {
            // The same orders the other way round.
            let stamps: Vec<_> = other.entries.iter().map(|entry| entry.back_us).collect();
            other.entries.reverse();
            for (entry, back_us) in other.entries.iter_mut().zip(stamps) {
                entry.back_us = back_us;
            }
        }
        other.stamp = other.stamp.plus(1);
        other.signature = other.header().sign(&scene.keys.identity, scene.keys.chain);
        let other = Arc::new(Message::Lane(LaneMessage::Batch(Arc::new(other))));
        let first = Arc::clone(message);
        scene.split(&first, &other)
    }
}
