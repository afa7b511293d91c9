//! Says the opposite as well: a skip with every commit and a commit with every vote,
//! whether or not anything allows it (C2, C3), and votes that half of the others miss.

use std::sync::Arc;

use fairlane_consensus::{self as consensus, Statement};
use fairlane_replica::{Effect, Message, Peers};
use fairlane_types::{Commit, SignerSet, Skip};

use super::{Act, Behaviour, Scene, broadcast, consensus_of, send};

/// Contradicts itself in every view.
#[derive(Debug)]
pub struct TwoFaced;

impl Behaviour for TwoFaced {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send {
            to: Peers::All,
            message,
        } = &effect
        else {
            return vec![Act::Effect(effect)];
        };
        let (key, chain) = (&scene.keys.identity, scene.keys.chain);
        match consensus_of(message) {
            Some(consensus::Message::Commit(signed)) => {
                scene.lied();
                let commit = &signed.statement;
                let skip = Statement::Skip {
                    skip: Skip {
                        epoch: commit.epoch,
                        view: commit.view,
                    },
                    missing: SignerSet::default(),
                };
                let skip = broadcast(Message::Consensus(Box::new(skip.sign(key, chain))));
                vec![skip, Act::Effect(effect)]
            }
            Some(consensus::Message::Vote(signed)) => {
                scene.lied();
                let vote = &signed.statement;
                let commit = Statement::Commit(Commit {
                    epoch: vote.epoch,
                    view: vote.view,
                    height: fairlane_types::Height(vote.view.0),
                    block: vote.block,
                });
                let mut acts = vec![broadcast(Message::Consensus(Box::new(
                    commit.sign(key, chain),
                )))];
                let message = Arc::clone(message);
                let others = scene.others();
                let half = others.len() / 2;
                acts.extend(others.into_iter().take(half).map(|to| send(to, &message)));
                acts
            }
            _ => vec![Act::Effect(effect)],
        }
    }
}
