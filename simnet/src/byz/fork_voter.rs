//! Votes for every block it hears of, commit-votes it at once, and skips its view too:
//! whatever fork another liar starts has this one's word (C1, C2, C3).

use fairlane_consensus::{self as consensus, Statement};
use fairlane_replica::Message;
use fairlane_types::{Commit, SignerSet, Skip, Vote};

use super::{Act, Behaviour, Heard, Scene, broadcast, consensus_of};

/// Votes on every fork.
#[derive(Debug)]
pub struct ForkVoter;

impl Behaviour for ForkVoter {
    fn hear(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_>, acts: &mut Vec<Act>) -> bool {
        let Some(consensus::Message::Proposal(proposal)) = consensus_of(heard.message) else {
            return true;
        };
        scene.lied();
        let header = &proposal.block.header;
        let (epoch, view, block) = (header.epoch, header.view, header.id());
        let statements = [
            Statement::Vote(Vote {
                epoch,
                view,
                block,
                dirty: false,
            }),
            Statement::Commit(Commit {
                epoch,
                view,
                height: header.height,
                block,
            }),
            Statement::Skip {
                skip: Skip { epoch, view },
                missing: SignerSet::default(),
            },
        ];
        let (key, chain) = (&scene.keys.identity, scene.keys.chain);
        acts.extend(statements.map(|statement| {
            let message = statement.sign(key, chain);
            broadcast(Message::Consensus(Box::new(message)))
        }));
        true
    }
}
