//! What the rule remembers of orders that have their outcome: ids (the seen filter) and
//! used nonces.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{CtId, Label, Millis, PublicKey};

use super::SnapshotError;

/// Seen ids and used nonces with the time at which each may be forgotten. Both are
/// bounded by what the lanes take in within the life of an order: a batch that holds an
/// order expiring later than now + 2·TTL_max is not acknowledged (see `lanes`), so
/// nothing is remembered for longer than 3·TTL_max.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    seen: BTreeSet<CtId>,
    seen_until: BTreeSet<(Millis, CtId)>,
    nonces: BTreeMap<(PublicKey, u64), Millis>,
    nonces_until: BTreeSet<(Millis, PublicKey, u64)>,
}

/// [`Memory`] in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct SavedMemory {
    seen: Vec<(Millis, CtId)>,
    nonces: Vec<(Millis, PublicKey, u64)>,
}

impl Memory {
    pub fn seen(&self, ct_id: &CtId) -> bool {
        self.seen.contains(ct_id)
    }

    pub fn see(&mut self, ct_id: CtId, until: Millis) {
        if self.seen.insert(ct_id) {
            self.seen_until.insert((until, ct_id));
        }
    }

    pub fn nonce_used(&self, label: &Label) -> bool {
        self.nonces.contains_key(&(label.sender, label.nonce))
    }

    pub fn use_nonce(&mut self, label: &Label) {
        let key = (label.sender, label.nonce);
        if self.nonces.insert(key, label.expiry).is_none() {
            self.nonces_until.insert((label.expiry, key.0, key.1));
        }
    }

    /// Forgets ids whose time lies before `before`.
    pub fn forget_seen(&mut self, before: Millis) {
        while let Some(&(until, ct_id)) = self.seen_until.first() {
            if until >= before {
                return;
            }
            self.seen_until.pop_first();
            self.seen.remove(&ct_id);
        }
    }

    /// Forgets nonces of orders that expired before `time`.
    pub fn forget_nonces(&mut self, time: Millis) {
        while let Some(&(until, sender, nonce)) = self.nonces_until.first() {
            if until >= time {
                return;
            }
            self.nonces_until.pop_first();
            self.nonces.remove(&(sender, nonce));
        }
    }

    pub fn save(&self) -> SavedMemory {
        SavedMemory {
            seen: self.seen_until.iter().copied().collect(),
            nonces: self.nonces_until.iter().copied().collect(),
        }
    }

    pub fn load(saved: SavedMemory) -> Result<Self, SnapshotError> {
        let SavedMemory { seen, nonces } = saved;
        let in_order = seen.is_sorted_by(|a, b| a < b) && nonces.is_sorted_by(|a, b| a < b);
        let memory = Self {
            seen: seen.iter().map(|(_, id)| *id).collect(),
            nonces: nonces
                .iter()
                .map(|&(t, key, nonce)| ((key, nonce), t))
                .collect(),
            seen_until: seen.iter().copied().collect(),
            nonces_until: nonces.iter().copied().collect(),
        };
        if in_order && memory.seen.len() == seen.len() && memory.nonces.len() == nonces.len() {
            Ok(memory)
        } else {
            Err(SnapshotError::Inconsistent("seen ids or nonces repeat"))
        }
    }
}
