//! A dealer that lies: a dealing that does not verify, another one for every receiver, or
//! another member's; as a leader, one made up in another member's name; and a false word for
//! the key (PROTOCOL §6, THREATS A18).

use std::sync::Arc;

use fairlane_consensus as consensus;
use fairlane_replica::{CutPayload, Dealing, Effect, Message, Peers};
use fairlane_types::Signature;

use super::{Act, Behaviour, Scene, send};

type Proposal = consensus::Proposal<CutPayload>;

/// Lies in the key ceremony.
#[derive(Debug)]
pub struct FalseDealer;

impl Behaviour for FalseDealer {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        match message.as_ref() {
            Message::Dealing(_) => self.deal(scene, *to),
            Message::Consensus(said) => match said.as_ref() {
                consensus::Message::Proposal(proposal) if scene.rng.chance(700) => {
                    let message = self.carry(scene, proposal);
                    vec![Act::Effect(Effect::Send { to: *to, message })]
                }
                _ => vec![Act::Effect(effect)],
            },
            Message::KeyMade(Signature(bytes)) => {
                scene.lied();
                let mut other = *bytes;
                other[0] ^= 1;
                let message = Arc::new(Message::KeyMade(Signature(other)));
                vec![Act::Effect(Effect::Send { to: *to, message })]
            }
            _ => vec![Act::Effect(effect)],
        }
    }
}

impl FalseDealer {
    /// Its block with bytes that another member never dealt.
    fn carry(&self, scene: &mut Scene<'_>, proposal: &Proposal) -> Arc<Message> {
        let mut other = proposal.clone();
        let block = &mut other.block;
        if let Some(mut dealing) = self.fresh(scene)
            && let Some(dealer) = scene.others().first()
        {
            scene.lied();
            dealing.dealer = *dealer;
            let at = scene.rng.below(dealing.deal.len() as u64) as usize;
            dealing.deal[at] ^= 1;
            block.payload.dealing = Some(Arc::new(dealing));
            block.header.payload = consensus::Payload::digest(&block.payload);
            other.signature = block.header.sign(&scene.keys.identity, scene.keys.chain);
        }
        Arc::new(Message::Consensus(Box::new(consensus::Message::Proposal(
            other,
        ))))
    }

    fn deal(&mut self, scene: &mut Scene<'_>, to: Peers) -> Vec<Act> {
        scene.lied();
        let receivers = match to {
            Peers::One(to) => vec![to],
            Peers::All => scene.others(),
        };
        let mut acts = Vec::new();
        for to in receivers {
            let Some(mut dealing) = self.fresh(scene) else {
                continue;
            };
            match scene.rng.below(4) {
                // Its own, but false behind a right signature: it uses up its place.
                0 => {
                    let at = scene.rng.below(dealing.deal.len() as u64) as usize;
                    dealing.deal[at] ^= 1;
                    let keys = scene.keys;
                    if let Ok(deal) = fairlane_types::decode(&dealing.deal, dealing.deal.len()) {
                        let key = keys.identity.as_ref();
                        dealing = Dealing::sign(&deal, key, keys.chain, keys.epoch);
                    }
                }
                1 => dealing.signature.0[5] ^= 1,
                2 => dealing.dealer.0 ^= 1,
                // A valid one, and another one for the next receiver.
                _ => {}
            }
            acts.push(send(to, &Arc::new(Message::Dealing(Arc::new(dealing)))));
        }
        acts
    }

    fn fresh(&self, scene: &mut Scene<'_>) -> Option<Dealing> {
        let keys = scene.keys;
        let ceremony = keys.ceremony.as_ref()?;
        let deal = ceremony.ceremony.deal(keys.me, scene.rng).ok()?;
        let key = keys.identity.as_ref();
        Some(Dealing::sign(&deal, key, keys.chain, keys.epoch))
    }
}
