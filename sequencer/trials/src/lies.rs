//! The lies themselves: share sets under the liar's own valid signature.

use std::sync::{Arc, Mutex, PoisonError};

use fairlane_encryption::{BaekZhengBatch, ShareBatch, SuiteBatch, SuiteKey};
use fairlane_node::tamper::Tamper;
use fairlane_replica::{
    Effect, Event, Job, Message, Peers, ShareMessage, SharesJob, Table, Write, list_digest_of,
};
use fairlane_types::{ChainId, Epoch, Genesis, Height, KeyId, MemberId, SecretKey};

/// Encoding of the ristretto255 generator (RFC 9496, A.1): a point, and nobody's share.
const GENERATOR: [u8; 32] = [
    0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f,
    0x58, 0xe3, 0x0b, 0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
];

/// Encoding of the generator of G1 of BLS12-381.
const GENERATOR_G1: [u8; 48] = [
    0x97, 0xf1, 0xd3, 0xa7, 0x31, 0x97, 0xd7, 0x94, 0x26, 0x95, 0x63, 0x8c, 0x4f, 0xa9, 0xac, 0x0f,
    0xc3, 0x68, 0x8c, 0x4f, 0x97, 0x74, 0xb9, 0x05, 0xa1, 0x4e, 0x3a, 0x3f, 0x17, 0x1b, 0xac, 0x58,
    0x6c, 0x55, 0xe8, 0x3f, 0xf9, 0x7a, 0x1a, 0xef, 0xfb, 0x3a, 0xf0, 0x0a, 0xdb, 0x22, 0xc6, 0xbb,
];

/// A true set that is late comes with the shares of so many heights later.
const LATE_HEIGHTS: u64 = 16;
/// True sets held back at most.
const LATE_MAX: usize = 256;

/// Which lie a height gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Points that are no shares.
    Wrong,
    /// No shares at all.
    Empty,
    /// The same set again and again, and another one after it.
    Duplicate,
    /// Another member's shares as its own.
    Foreign,
    /// The true shares, many blocks later.
    Late,
}

impl Lie {
    const ALL: [(&str, Self); 5] = [
        ("wrong", Self::Wrong),
        ("empty", Self::Empty),
        ("duplicate", Self::Duplicate),
        ("foreign", Self::Foreign),
        ("late", Self::Late),
    ];

    /// By its word on the command line.
    pub fn named(word: &str) -> Option<Self> {
        let named = Self::ALL.iter().find(|(name, _)| *name == word);
        named.map(|(_, lie)| *lie)
    }

    const fn in_turn(height: Height) -> Self {
        Self::ALL[height.0 as usize % Self::ALL.len()].1
    }
}

/// What a share set says of the key that it is under.
#[derive(Clone, Copy)]
enum Form {
    Tdh2(KeyId),
    BaekZheng(KeyId),
}

impl Form {
    fn of_key(key: &SuiteKey) -> Self {
        match key {
            SuiteKey::Tdh2(key) => Self::Tdh2(key.sharing()),
            SuiteKey::BaekZheng(key) => Self::BaekZheng(key.sharing()),
        }
    }

    const fn of_set(set: &SuiteBatch) -> Self {
        match set {
            SuiteBatch::Tdh2(set) => Self::Tdh2(set.key),
            SuiteBatch::BaekZheng(set) => Self::BaekZheng(set.key),
        }
    }
}

/// A member's lies.
pub struct Liar {
    chain: ChainId,
    epoch: Epoch,
    me: MemberId,
    identity: SecretKey,
    /// How share sets of the committee's key look; unknown until the members have made it.
    form: Mutex<Option<Form>>,
    /// The same lie always; all by turns if none is named.
    lie: Option<Lie>,
    /// What others sent, to be passed off as its own.
    heard: Mutex<Vec<Arc<ShareMessage>>>,
    /// Own true sets that are held back.
    late: Mutex<Vec<Arc<ShareMessage>>>,
}

impl Liar {
    /// A liar with a member's keys.
    pub fn new(
        genesis: &Genesis,
        key: Option<&SuiteKey>,
        me: MemberId,
        identity: SecretKey,
        lie: Option<Lie>,
    ) -> Self {
        let (chain, epoch) = (genesis.chain, genesis.epoch());
        Self {
            chain,
            epoch,
            me,
            identity,
            form: Mutex::new(key.map(Form::of_key)),
            lie,
            heard: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// Another member's set under the liar's name and signature.
    fn pass_off(&self, like: &ShareMessage) -> Arc<ShareMessage> {
        let mut batch = like.batch.clone();
        match &mut batch {
            SuiteBatch::Tdh2(batch) => batch.member = self.me,
            SuiteBatch::BaekZheng(batch) => batch.member = self.me,
        }
        let (height, slice, list) = (like.height, like.slice, like.list);
        let (chain, epoch) = (self.chain, self.epoch);
        Arc::new(ShareMessage::sign(
            height,
            slice,
            list,
            batch,
            &self.identity,
            chain,
            epoch,
        ))
    }

    /// Sets for every slice of a block, of as many points as `count` says of the orders in it,
    /// made up from nothing but the list.
    fn made_up(&self, job: &SharesJob, count: fn(usize) -> usize) -> Vec<Arc<ShareMessage>> {
        let sets = job.slices.iter().enumerate().map(|(slice, of)| {
            let statements = of.list.iter().map(|ct| ct.statement());
            self.made_up_of(job, slice as u16, &statements.collect::<Vec<_>>(), count)
        });
        sets.flatten().collect()
    }

    fn made_up_of(
        &self,
        job: &SharesJob,
        slice: u16,
        statements: &[Vec<u8>],
        count: fn(usize) -> usize,
    ) -> Option<Arc<ShareMessage>> {
        let count = count(statements.len());
        let form = *self.form.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match form? {
            Form::Tdh2(key) => {
                let shares = vec![GENERATOR; count];
                let mut bytes = borsh::to_vec(&(key, job.block, self.me, &shares)).ok()?;
                bytes.extend([0; 64]); // a proof of nothing
                SuiteBatch::Tdh2(borsh::from_slice::<ShareBatch>(&bytes).ok()?)
            }
            Form::BaekZheng(key) => SuiteBatch::BaekZheng(BaekZhengBatch {
                key,
                block: job.block,
                member: self.me,
                shares: vec![GENERATOR_G1; count],
            }),
        };
        let list = list_digest_of(statements.iter().cloned());
        let (chain, epoch) = (self.chain, self.epoch);
        let (height, key) = (job.height, &self.identity);
        Some(Arc::new(ShareMessage::sign(
            height, slice, list, batch, key, chain, epoch,
        )))
    }

    fn lie_at(&self, height: Height) -> Lie {
        self.lie.unwrap_or_else(|| Lie::in_turn(height))
    }

    /// Keeps a true set that is to be late, and learns from any how they look.
    fn hold_back(&self, message: &Message) {
        let Message::Shares(set) = message else {
            return;
        };
        let mut form = self.form.lock().unwrap_or_else(PoisonError::into_inner);
        form.get_or_insert_with(|| Form::of_set(&set.batch));
        drop(form);
        if self.lie_at(set.height) == Lie::Late {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            if late.len() < LATE_MAX
                && late
                    .iter()
                    .all(|held| (held.height, held.slice) != (set.height, set.slice))
            {
                late.push(Arc::clone(set));
            }
        }
    }

    /// Takes the sets whose time has come when the shares of `height` are due.
    fn release(&self, height: Height) -> Vec<Arc<ShareMessage>> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |set: &Arc<ShareMessage>| set.height.0 + LATE_HEIGHTS <= height.0;
        let (due, kept) = late.drain(..).partition(due);
        *late = kept;
        due
    }

    fn lie(&self, job: &SharesJob) -> Vec<Arc<ShareMessage>> {
        let wrong = || self.made_up(job, |orders| orders);
        match self.lie_at(job.height) {
            Lie::Late => Vec::new(),
            Lie::Wrong => wrong(),
            Lie::Empty => self.made_up(job, |_| 0),
            Lie::Duplicate => {
                let longer = self.made_up(job, |orders| orders + 1);
                [wrong(), wrong(), longer].concat()
            }
            Lie::Foreign => {
                let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let others = heard.iter().filter(|set| set.height == job.height);
                let foreign: Vec<_> = others.map(|set| self.pass_off(set)).collect();
                if foreign.is_empty() { wrong() } else { foreign }
            }
        }
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
        // Its own true shares never leave in time, nor are they kept to be asked for.
        effects.retain(|effect| match effect {
            Effect::Send { message, .. } => {
                self.hold_back(message);
                !matches!(**message, Message::Shares(_))
            }
            _ => true,
        });
        let mut lies = Vec::new();
        for effect in effects.iter_mut() {
            match effect {
                Effect::Compute {
                    job: Job::Shares(job),
                    ..
                } => {
                    lies.extend(self.lie(job));
                    lies.extend(self.release(job.height));
                }
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
