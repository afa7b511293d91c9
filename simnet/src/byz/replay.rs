//! Replayed words: what it said and heard long ago is said again, own and others' words
//! alike, on its own links.

use std::sync::Arc;

use fairlane_replica::{Effect, Message};

use super::{Act, Behaviour, Heard, Scene, send};

/// Messages that are remembered.
const REMEMBERED_MAX: usize = 512;

/// Replays old messages.
#[derive(Debug, Default)]
pub struct Replay {
    old: Vec<Arc<Message>>,
}

impl Replay {
    fn learn(&mut self, scene: &mut Scene<'_>, message: &Message) {
        let message = || Arc::new(message.clone());
        if self.old.len() < REMEMBERED_MAX {
            self.old.push(message());
        } else if scene.rng.chance(50) {
            let at = scene.rng.below(REMEMBERED_MAX as u64) as usize;
            self.old[at] = message();
        }
    }
}

impl Behaviour for Replay {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { message, .. } = &effect else {
            return vec![Act::Effect(effect)];
        };
        self.learn(scene, message);
        let mut acts = Vec::new();
        if scene.rng.chance(150)
            && let Some(old) = scene.rng.pick(&self.old).cloned()
            && let Some(to) = scene.others().first()
        {
            scene.lied();
            acts.push(send(*to, &old));
        }
        acts.push(Act::Effect(effect));
        acts
    }

    fn hear(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_>, _: &mut Vec<Act>) -> bool {
        self.learn(scene, heard.message);
        true
    }
}
