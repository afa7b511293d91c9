//! Members that do not keep the rules.

use fairlane_types::{BlockId, Commit, MemberId, Signature, SignerSet, Skip};

use super::net::Net;
use super::{Cut, EPOCH};
use crate::{Block, Message, Payload, Statement, To};

/// How a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liar {
    /// Says nothing at all.
    Silent,
    /// Two copies with one key, each half-deaf.
    Twins,
    /// As a leader, shows one block to some and another to others, and votes for both.
    Equivocator,
    /// Votes for what it sees and for something else; commits and skips every view.
    DoubleTalker,
    /// Statements and certificates with broken signatures, and other garbage.
    Forger,
    /// Sends everything to a random part of the members only.
    Selective,
    /// As a leader, builds on the final tip and pretends to know nothing above it.
    Forker,
}

impl Liar {
    pub(crate) const ALL: [Self; 7] = [
        Self::Silent,
        Self::Twins,
        Self::Equivocator,
        Self::DoubleTalker,
        Self::Forger,
        Self::Selective,
        Self::Forker,
    ];

    /// Sends what the honest core wanted to say, in its own way.
    pub(crate) fn speak(
        self,
        net: &mut Net,
        index: usize,
        statement: Statement<Cut>,
        message: Message<Cut>,
    ) {
        let me = net.processes[index].id;
        match (self, statement) {
            (Self::Silent, _) => {}
            (Self::Twins | Self::Selective, _) => scatter(net, index, &message),
            (Self::Equivocator, Statement::Proposal { block, justify }) => {
                let other = another(&block);
                net.oracle.header(&other.header);
                let second = Statement::Proposal {
                    block: other.clone(),
                    justify,
                };
                let second = net.sign(me, second);
                split(net, index, message, second);
                for id in [block.id(), other.id()] {
                    let vote = Statement::Vote(vote(&block, id));
                    let vote = net.sign(me, vote);
                    net.send(index, To::All, vote);
                }
            }
            (Self::Forker, Statement::Proposal { block, justify }) => {
                let tip = net.core(index).finalized().clone();
                let mut fork = block;
                fork.header.height = tip.header.height.next();
                fork.header.parent = tip.id();
                fork.header.parent_view = tip.header.view;
                net.oracle.header(&fork.header);
                let justify = crate::Justify {
                    parent: tip.certificate,
                    skips: justify.skips,
                };
                let forked = Statement::Proposal {
                    block: fork,
                    justify,
                };
                let forked = net.sign(me, forked);
                net.send(index, To::All, forked);
            }
            (Self::DoubleTalker, Statement::Vote(first)) => {
                let mut second = first.clone();
                second.dirty = !second.dirty;
                let second = net.sign(me, Statement::Vote(second));
                split(net, index, message.clone(), second);
                net.send(index, To::All, message);
                let (epoch, view) = (first.epoch, first.view);
                let commit = Commit {
                    epoch,
                    view,
                    height: fairlane_types::Height(view.0),
                    block: first.block,
                };
                let skip = Statement::Skip {
                    skip: Skip { epoch, view },
                    missing: SignerSet::default(),
                };
                let commit = net.sign(me, Statement::Commit(commit));
                let skip = net.sign(me, skip);
                net.send(index, To::All, commit);
                net.send(index, To::All, skip);
            }
            (Self::DoubleTalker, Statement::Commit(commit)) => {
                let skip = Statement::Skip {
                    skip: Skip {
                        epoch: commit.epoch,
                        view: commit.view,
                    },
                    missing: SignerSet::default(),
                };
                let skip = net.sign(me, skip);
                split(net, index, message, skip);
            }
            (Self::Forger, _) => {
                let garbage = forged(net, me, &message);
                net.send(index, To::All, garbage);
                if net.rng.percent(30) {
                    net.send(index, To::All, message);
                }
            }
            _ => net.send(index, To::All, message),
        }
    }
}

fn vote(of: &Block<Cut>, block: BlockId) -> fairlane_types::Vote {
    fairlane_types::Vote {
        epoch: EPOCH,
        view: of.header.view,
        block,
        dirty: true,
    }
}

/// The same block with another payload.
pub(crate) fn another(block: &Block<Cut>) -> Block<Cut> {
    let mut other = block.clone();
    other.payload.nonce = !other.payload.nonce;
    other.header.payload = other.payload.digest();
    other
}

fn split(net: &mut Net, index: usize, a: Message<Cut>, b: Message<Cut>) {
    for to in 0..net.processes.len() {
        if to != index {
            let message = if net.rng.percent(50) { &a } else { &b };
            net.transmit(index, to, message.clone());
        }
    }
}

fn scatter(net: &mut Net, index: usize, message: &Message<Cut>) {
    for to in 0..net.processes.len() {
        if net.processes[to].id != net.processes[index].id && net.rng.percent(60) {
            net.transmit(index, to, message.clone());
        }
    }
}

/// Something with a signature that does not verify, or that makes no sense at all.
fn forged(net: &mut Net, me: MemberId, message: &Message<Cut>) -> Message<Cut> {
    let broken = Signature([net.rng.next() as u8; 64]);
    let mut message = message.clone();
    match &mut message {
        Message::Proposal(p) => match net.rng.below(3) {
            0 => p.signature = broken,
            1 => p.block.payload.nonce ^= 1,
            _ => p.justify.skips.clear(),
        },
        Message::Vote(v) => v.signature = broken,
        Message::Commit(c) => c.signature = broken,
        Message::Skip(s) => {
            s.skip.signature = broken;
            s.missing = SignerSet(u128::from(net.rng.next()));
        }
        _ => {}
    }
    if net.rng.percent(30) {
        let core = net.processes.iter().find(|p| p.id == me);
        if let Some(mut c) = core
            .and_then(|p| p.core.as_ref())
            .and_then(|c| c.finalized().certificate.clone())
        {
            c.view = c.view.plus(1 + net.rng.below(3));
            return Message::Certificate(c);
        }
    }
    message
}
