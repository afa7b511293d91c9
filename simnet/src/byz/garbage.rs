//! Garbage: frames that are no message, messages on the wrong stream, and true messages
//! with a byte changed.

use fairlane_replica::{Class, Effect, Peers};

use super::{Act, Behaviour, Scene};

/// Sends garbage along with what it should send.
#[derive(Debug)]
pub struct Garbage;

impl Behaviour for Garbage {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        if !scene.rng.chance(40) {
            return vec![Act::Effect(effect)];
        }
        let to = match to {
            Peers::One(to) => *to,
            Peers::All => match scene.others().first() {
                Some(first) => *first,
                None => return vec![Act::Effect(effect)],
            },
        };
        let mut class = message.class();
        let mut frame = message.to_frame();
        match scene.rng.below(4) {
            0 => frame = scene.rng.bytes32().to_vec(),
            1 => frame.truncate(frame.len() / 2),
            2 => class = *scene.rng.pick(&Class::ALL).unwrap_or(&class),
            _ => {
                let at = scene.rng.below(frame.len() as u64) as usize;
                frame[at] ^= 1 << scene.rng.below(8);
            }
        }
        scene.lied();
        vec![Act::Raw { to, class, frame }, Act::Effect(effect)]
    }
}
