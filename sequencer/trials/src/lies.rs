//! The lies themselves: share sets under the liar's own valid signature.

use std::sync::{Arc, Mutex, PoisonError};

use fairlane_encryption::ShareBatch;
use fairlane_node::tamper::Tamper;
use fairlane_replica::{
    Effect, Event, Job, Message, Peers, ShareMessage, SharesJob, Table, Write, list_digest_of,
};
use fairlane_types::{ChainId, Epoch, Genesis, Height, MemberId, SecretKey};

/// Encoding of the ristretto255 generator (RFC 9496, A.1): a point, and nobody's share.
const GENERATOR: [u8; 32] = [
    0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f,
    0x58, 0xe3, 0x0b, 0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
];

/// Which lie a height gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Points that are no shares.
    Wrong,
    /// No shares at all.
    Empty,
    /// The same set again and again, and another one after it.
    Duplicate,
    /// Another member's shares as its own.
    Foreign,
}

impl Lie {
    const fn at(height: Height) -> Self {
        match height.0 % 4 {
            0 => Self::Wrong,
            1 => Self::Empty,
            2 => Self::Duplicate,
            _ => Self::Foreign,
        }
    }
}

/// A member's lies.
pub struct Liar {
    chain: ChainId,
    epoch: Epoch,
    me: MemberId,
    identity: SecretKey,
    /// What others sent, to be passed off as its own.
    heard: Mutex<Vec<Arc<ShareMessage>>>,
}

impl Liar {
    /// A liar with a member's keys.
    pub fn new(genesis: &Genesis, me: MemberId, identity: SecretKey) -> Self {
        let (chain, epoch) = (genesis.chain, genesis.epoch());
        Self {
            chain,
            epoch,
            me,
            identity,
            heard: Mutex::new(Vec::new()),
        }
    }

    fn sign(&self, like: &ShareMessage, shares: Vec<[u8; 32]>) -> Arc<ShareMessage> {
        let batch = ShareBatch {
            member: self.me,
            shares,
            ..like.batch.clone()
        };
        let (height, list) = (like.height, like.list);
        let (chain, epoch) = (self.chain, self.epoch);
        Arc::new(ShareMessage::sign(
            height,
            list,
            batch,
            &self.identity,
            chain,
            epoch,
        ))
    }

    /// A set for a block made up from nothing but the list.
    fn made_up(&self, job: &SharesJob, shares: Vec<[u8; 32]>) -> Option<Arc<ShareMessage>> {
        let key = job.list.first()?.key_id();
        let mut bytes = borsh::to_vec(&(key, job.block, self.me, &shares)).ok()?;
        bytes.extend([0; 64]); // a proof of nothing
        let batch: ShareBatch = borsh::from_slice(&bytes).ok()?;
        let list = list_digest_of(job.list.iter().map(|ct| *ct.u()));
        let (chain, epoch) = (self.chain, self.epoch);
        let (height, key) = (job.height, &self.identity);
        Some(Arc::new(ShareMessage::sign(
            height, list, batch, key, chain, epoch,
        )))
    }

    fn lie(&self, job: &SharesJob) -> Vec<Arc<ShareMessage>> {
        let n = job.list.len();
        let wrong = || self.made_up(job, vec![GENERATOR; n]);
        let sets = match Lie::at(job.height) {
            Lie::Wrong => vec![wrong()],
            Lie::Empty => vec![self.made_up(job, Vec::new())],
            Lie::Duplicate => {
                let longer = self.made_up(job, vec![GENERATOR; n + 1]);
                vec![wrong(), wrong(), longer]
            }
            Lie::Foreign => {
                let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let other = heard.iter().find(|set| set.height == job.height);
                let foreign = other.map(|set| self.sign(set, set.batch.shares.clone()));
                vec![foreign.or_else(wrong)]
            }
        };
        sets.into_iter().flatten().collect()
    }
}

impl Tamper for Liar {
    fn before(&self, event: &Event) {
        if let Event::Message {
            message: Message::Shares(set),
            ..
        } = event
        {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(Arc::clone(set));
            if heard.len() > 256 {
                heard.drain(..128);
            }
        }
    }

    fn after(&self, effects: &mut Vec<Effect>) {
        // Its own true shares never leave, nor are they kept to be asked for.
        effects.retain(|effect| match effect {
            Effect::Send { message, .. } => !matches!(**message, Message::Shares(_)),
            _ => true,
        });
        let mut lies = Vec::new();
        for effect in effects.iter_mut() {
            match effect {
                Effect::Compute {
                    job: Job::Shares(job),
                    ..
                } => lies.extend(self.lie(job)),
                Effect::Store { writes, .. } => writes.retain(|write| {
                    !matches!(
                        write,
                        Write::Put {
                            table: Table::Shares,
                            ..
                        }
                    )
                }),
                _ => {}
            }
        }
        // First of all, before anything that is slower to make.
        let sends = lies.into_iter().map(|set| Effect::Send {
            to: Peers::All,
            message: Arc::new(Message::Shares(set)),
        });
        effects.splice(0..0, sends);
    }
}
