//! Withheld data: batches reach only f+1 members at first, and requests for batches and
//! payloads are mostly ignored.

use std::sync::Arc;

use fairlane_mempool::LaneMessage;
use fairlane_replica::{Effect, Message, Peers};

use super::{Act, Behaviour, Scene, send};

/// Withholds what others need.
#[derive(Debug)]
pub struct Withhold;

impl Behaviour for Withhold {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        match (to, message.as_ref()) {
            (Peers::All, Message::Lane(LaneMessage::Batch(_))) => {
                scene.lied();
                let few = scene.keys.committee.f() + 1;
                let message = Arc::clone(message);
                let others = scene.others();
                others
                    .into_iter()
                    .take(few)
                    .map(|to| send(to, &message))
                    .collect()
            }
            (_, Message::Lane(LaneMessage::Batches(_) | LaneMessage::Payloads(_)))
                if scene.rng.chance(800) =>
            {
                scene.lied();
                Vec::new()
            }
            _ => vec![Act::Effect(effect)],
        }
    }
}
