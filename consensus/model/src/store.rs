//! What is computed once for a whole exploration: blocks, and local steps.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fairlane_consensus::Block;
use fairlane_types::{BlockId, View};

use crate::load::Load;
use crate::member::{Input, Member};
use crate::said::Known;

/// Locks of the table of steps: threads rarely meet.
const SHARDS: usize = 64;

/// All blocks that anyone has proposed.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    blocks: RwLock<HashMap<BlockId, Arc<Known>>>,
    /// The liar's blocks by parent, view and payload.
    forks: RwLock<HashMap<(BlockId, View, Load), Arc<Known>>>,
}

impl Registry {
    pub(crate) fn get(&self, id: BlockId) -> Option<Arc<Known>> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        blocks.get(&id).cloned()
    }

    /// The liar's block in a view on a parent, made by `make` if it is new.
    pub(crate) fn fork(
        &self,
        parent: BlockId,
        view: View,
        load: &Load,
        make: impl FnOnce() -> Block<Load>,
    ) -> Arc<Known> {
        let key = (parent, view, load.clone());
        let forks = self.forks.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = forks.get(&key) {
            return Arc::clone(known);
        }
        drop(forks);
        let known = self.add(make());
        let mut forks = self.forks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(forks.entry(key).or_insert(known))
    }

    /// The block under its id; its parent, if it has one, was added before.
    pub(crate) fn add(&self, block: Block<Load>) -> Arc<Known> {
        let id = block.id();
        if let Some(known) = self.get(id) {
            return known;
        }
        let parent = self.get(block.header.parent);
        let known = Known::new(block, parent);
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(blocks.entry(id).or_insert(known))
    }
}

/// A quick hasher for keys that are digests for the most part.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64); // the other half of a digest adds nothing
    }
}

/// Inputs that lead one after the other to a member state.
pub(crate) type Path = Vec<Input>;

/// What a member can come to on its own while nobody else says anything.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// States in which it has said nothing more.
    pub(crate) silent: HashSet<u128>,
    /// States right after it said more.
    pub(crate) spoken: Vec<(Path, Arc<Member>)>,
}

/// A table in shards.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    shards: Vec<Mutex<HashMap<K, V, BuildHasherDefault<Mix>>>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Table<K, V> {
    /// The value, computed if it is new; two threads may compute it at the same time.
    pub(crate) fn get(&self, shard: u128, key: K, value: impl FnOnce() -> V) -> V {
        if let Some(known) = lock(&self.shards, shard).get(&key) {
            return known.clone();
        }
        let value = value();
        lock(&self.shards, shard)
            .entry(key)
            .or_insert(value)
            .clone()
    }

    /// Values known.
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS)
            .map(|s| lock(&self.shards, s as u128).len())
            .sum()
    }
}

/// Local steps by member and input; `None` where nothing changes.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    steps: Table<(u128, Input), Option<Arc<Member>>>,
    members: Table<u128, Arc<Member>>,
}

impl Steps {
    /// The step, computed by `step` if it is new.
    pub(crate) fn get(
        &self,
        from: &Member,
        input: Input,
        step: impl FnOnce() -> Member,
    ) -> Option<Arc<Member>> {
        self.steps.get(from.digest, (from.digest, input), || {
            let next = step();
            (next.digest != from.digest).then(|| self.only(next))
        })
    }

    /// One copy of each member state.
    pub(crate) fn only(&self, member: Member) -> Arc<Member> {
        let digest = member.digest;
        self.members.get(digest, digest, || Arc::new(member))
    }

    /// Distinct member states, and steps that the core computed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.members.len(), self.steps.len())
    }
}

fn lock<T>(shards: &[Mutex<T>], digest: u128) -> MutexGuard<'_, T> {
    let shard = &shards[digest as usize % SHARDS];
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
