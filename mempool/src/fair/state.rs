//! What every rule shares: the live table, heads, seen ids and nonces, and the steps
//! before extraction. Numbers in the comments are the steps of ORDERING.md. What that
//! text leaves open, or what had to be settled more carefully, is this:
//!
//! - **Heads.** Every lane's effective head is raised to H − L_max at every cut, also of a
//!   lane that did not move. What a lane adds counts as at least one microsecond *after*
//!   its effective head of the cut before: absence from a final head is evidence of being
//!   later in that lane, equal stamps or not (F3).
//! - **Time to live.** An order leaves as `Expired` by its own label, or with the key of the
//!   epoch before if it is sealed to that: both are in labels and genesis. "Older than
//!   TTL_max since first ingest" is not asked: after an idle spell finalized time lags, so
//!   one lane could make a fresh order look old. Instead the lanes hold back a batch with
//!   an order that expires later than now + 2·TTL_max, which bounds the same thing (F5).
//! - **Memory.** An id is remembered until TTL_max after its expiry; one that is first
//!   recorded later than that (by the finalized time of the cut before) gets no outcome:
//!   nobody can know any more whether it had one. It is reported as stale.
//! - **One nonce, equal keys.** Which of two such orders wins goes by id, not by tie: the
//!   set D(c) must not depend on what breaks ties.
//! - **Duplicates** leave in the cut in which the nonce is used, solid or not.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    CtId, KeyId, Label, Micros, Millis, Mutant, OrderParams, Planted, PublicKey, TieSource,
};

use super::memory::{Memory, SavedMemory};
use super::table::{ABSENT, SavedRow, Table};
use super::tie::Tied;
use super::{Emission, Ordered, SnapshotError};
use crate::CutDelta;

/// Largest snapshot that is decoded, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// State of a rule before extraction.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub f: usize,
    pub quorum: usize,
    /// The key is the stamp of this rank, counted from 0.
    rank: usize,
    ttl_max: u64,
    back_dating_max: u64,
    pub grace: u64,
    pub decrypt_max: usize,
    /// Ties are left to the beacon.
    beacon: bool,
    /// Finalized time of the last cut.
    time: Millis,
    /// Effective heads.
    pub heads: Vec<u64>,
    pub table: Table,
    memory: Memory,
    /// No nonce in the table is used: whoever uses one takes its rows along. Not known of
    /// a table from a snapshot.
    nonces_free: bool,
    /// The key of the epoch before, and the last finalized time at which it opens orders.
    pub former: Option<(KeyId, Millis)>,
    pub planted: Planted,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Saved {
    time: Millis,
    base: u64,
    heads: Vec<u64>,
    live: Vec<SavedRow>,
    memory: SavedMemory,
}

/// What steps 1 to 3 say of a cut.
pub(super) struct Taken {
    expired: Vec<Ordered>,
    duplicates: Vec<Ordered>,
    stale: BTreeMap<CtId, Ordered>,
    /// W: at or below every key that is still to come.
    pub watermark: Micros,
    /// Entries that the cut added to lanes.
    pub entries: usize,
}

/// What a rule extracts.
#[derive(Debug, Default)]
pub(super) struct Extracted {
    /// D(c) in order, with keys.
    pub order: Vec<(Micros, CtId)>,
    /// Their senders and nonces.
    pub used: BTreeSet<(PublicKey, u64)>,
    /// Whether D_max alone kept others back.
    pub backlog: bool,
    /// Most orders in one strong cycle.
    pub cycle_max: usize,
    /// What is left to the beacon.
    pub ties: Vec<Tied>,
}

impl State {
    /// An empty state; keys are the stamps of rank `rank`.
    pub fn new(n: usize, f: usize, rank: usize, params: &OrderParams) -> Self {
        Self {
            f,
            quorum: n - f,
            rank,
            ttl_max: params.ttl_max_ms,
            back_dating_max: Micros::from_millis(params.back_dating_max_ms).0,
            grace: params.grace_ms,
            decrypt_max: params.decrypt_max.max(1) as usize,
            beacon: params.tie == TieSource::Beacon,
            time: Millis(0),
            heads: vec![0; n],
            table: Table::new(n),
            memory: Memory::default(),
            nonces_free: true,
            former: None,
            planted: Planted::NONE,
        }
    }

    /// Whether ties are left to the beacon.
    pub fn leaves_ties(&self) -> bool {
        self.beacon && !self.planted.is(Mutant::TieById)
    }

    pub fn snapshot(&self) -> Vec<u8> {
        fairlane_types::encode(&Saved {
            time: self.time,
            base: self.table.base(),
            heads: self.heads.clone(),
            live: self.table.save(),
            memory: self.memory.save(),
        })
    }

    /// What outlives an epoch: finalized time, seen ids, used nonces.
    pub fn memory(&self) -> Vec<u8> {
        fairlane_types::encode(&(self.time, self.memory.save()))
    }

    /// This empty state at the start of an epoch. No lane can go back before it: its heads
    /// count from the time of the boundary.
    pub fn begin(self, time: Millis, memory: &[u8]) -> Result<Self, SnapshotError> {
        let (last, memory): (Millis, SavedMemory) =
            fairlane_types::decode(memory, SNAPSHOT_BYTES_MAX)?;
        if last != time {
            return Err(SnapshotError::Inconsistent("another time"));
        }
        let n = self.heads.len();
        Ok(Self {
            time,
            heads: vec![Micros::from_millis(time.0).0; n],
            memory: Memory::load(memory)?,
            ..self
        })
    }

    /// This empty state, filled from [`State::snapshot`].
    pub fn load(self, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let saved: Saved = fairlane_types::decode(bytes, SNAPSHOT_BYTES_MAX)?;
        let n = self.heads.len();
        if saved.heads.len() != n {
            return Err(SnapshotError::Inconsistent("heads do not fit the lanes"));
        }
        Ok(Self {
            time: saved.time,
            heads: saved.heads,
            table: Table::load(n, self.quorum, saved.base, saved.live)?,
            memory: Memory::load(saved.memory)?,
            nonces_free: false,
            ..self
        })
    }

    /// Steps 1 to 3.
    pub fn take_in(&mut self, delta: &CutDelta) -> Taken {
        let before = self.time;
        self.time = before.max(delta.time);
        self.memory.forget_seen(before);
        self.memory.forget_nonces(self.time);
        let known = if self.nonces_free {
            self.table.len()
        } else {
            0
        };
        let stale = self.ingest(delta, before);
        let heads = self.head_offsets();
        let (expired, duplicates) = self.expire(&heads, known);
        self.nonces_free = true;
        let watermark = self.freeze(&heads);
        Taken {
            expired,
            duplicates,
            stale,
            watermark,
            entries: delta.lanes.iter().map(|lane| lane.entries.len()).sum(),
        }
    }

    /// 1 ingest.
    fn ingest(&mut self, delta: &CutDelta, before: Millis) -> BTreeMap<CtId, Ordered> {
        let newest = delta.lanes.iter().map(|lane| lane.head.0).max();
        self.table.reach(newest.unwrap_or(0));
        // L2: back-dating is bounded by what was final before this cut.
        let h = kth(&mut self.heads.clone(), self.heads.len() - 1 - self.f);
        let floor = h
            .saturating_sub(self.back_dating_max)
            .max(self.table.base());
        let mut stale = BTreeMap::new();
        for lane in &delta.lanes {
            let index = lane.lane.index();
            let Some(head) = self.heads.get(index).copied() else {
                continue;
            };
            let back_dated = self.planted.is(Mutant::BackDated);
            let least = if back_dated {
                self.table.base()
            } else {
                floor.max(head.saturating_add(1))
            };
            let mut head = head.max(lane.head.0);
            for entry in &lane.entries {
                let stamp = entry.stamp.0.max(least);
                head = head.max(stamp);
                let slot = match (self.table.slot(&entry.ct_id), &entry.order) {
                    // First: the live table is small, and nothing in it is seen.
                    (Some(slot), _) => slot,
                    _ if self.memory.seen(&entry.ct_id) => continue,
                    // It had its outcome, long ago.
                    (None, None) => continue,
                    (None, Some(order)) if self.forgettable(&order.label, before) => {
                        stale.entry(entry.ct_id).or_insert_with(|| Ordered {
                            ct_id: entry.ct_id,
                            label: order.label.clone(),
                            key: Micros(stamp),
                        });
                        continue;
                    }
                    (None, Some(order)) => self.table.insert(entry.ct_id, order.label.clone()),
                };
                if self.table.record(slot, index, stamp) == Some(self.quorum) {
                    self.table.row_mut(slot).solid = Some(self.time);
                }
            }
            self.heads[index] = head;
        }
        for head in &mut self.heads {
            *head = (*head).max(floor);
        }
        stale
    }

    fn forgettable(&self, label: &Label, before: Millis) -> bool {
        label.expiry.plus(self.ttl_max) < before
    }

    /// Whether an order may be decrypted: neither it nor its key has expired.
    fn lives(&self, label: &Label) -> bool {
        let keyed = match self.former {
            Some((key, until)) if key == label.key_id => self.time <= until,
            _ => true,
        };
        keyed && self.time <= label.expiry
    }

    /// 1 expire: by label, and what cannot win its nonce any more. The nonces of the first
    /// `known` rows are free.
    fn expire(&mut self, heads: &[u32], known: usize) -> (Vec<Ordered>, Vec<Ordered>) {
        let mut scratch = Vec::with_capacity(heads.len());
        let (mut expired, mut duplicates) = (Vec::new(), Vec::new());
        for slot in 0..self.table.len() {
            let row = &self.table.rows()[slot];
            let lives = self.lives(&row.label) || self.planted.is(Mutant::NeverExpire);
            let leaving = if !lives {
                &mut expired
            } else if slot >= known && self.memory.nonce_used(&row.label) {
                &mut duplicates
            } else {
                continue;
            };
            leaving.push((self.key_or_bound(slot, heads, &mut scratch), row.ct_id));
        }
        (self.leave_all(expired), self.leave_all(duplicates))
    }

    /// 2 freeze and 3 bound: returns W.
    fn freeze(&mut self, heads: &[u32]) -> Micros {
        let mut scratch = Vec::with_capacity(heads.len());
        let mut watermark = Micros(kth(&mut self.heads.clone(), self.rank));
        for slot in 0..self.table.len() {
            if self.table.rows()[slot].key.is_some() {
                continue;
            }
            match self.settled(slot, heads, &mut scratch) {
                Some(key) => self.table.row_mut(slot).key = Some(key),
                // Counting is cheaper than finding the bound, and most rows are not the least.
                None if self.is_bound_below(slot, heads, watermark) => {
                    watermark = self.bound(slot, heads, &mut scratch);
                }
                None => {}
            }
        }
        if self.planted.is(Mutant::EarlyExtract) {
            watermark = Micros(u64::MAX);
        }
        watermark
    }

    /// Heads as offsets, for the passes over the table.
    pub fn head_offsets(&self) -> Vec<u32> {
        self.heads.iter().map(|h| self.table.offset(*h)).collect()
    }

    /// The least key that the row can still get: absent lanes may add it at their head.
    fn bound(&self, slot: usize, heads: &[u32], scratch: &mut Vec<u32>) -> Micros {
        scratch.clear();
        let row = self.table.stamps(slot).iter().zip(heads);
        scratch.extend(row.map(|(t, head)| if *t == ABSENT { *head } else { *t }));
        self.table.absolute(kth(scratch, self.rank))
    }

    /// Whether [`State::bound`] is below a time that is no later than the newest head.
    fn is_bound_below(&self, slot: usize, heads: &[u32], at: Micros) -> bool {
        let at = self.table.offset(at.0);
        let row = self.table.stamps(slot).iter().zip(heads);
        let below = row.fold(0u32, |sum, (t, head)| {
            let known = if *t == ABSENT { *head } else { *t };
            sum.wrapping_add(u32::from(known < at))
        });
        below as usize > self.rank
    }

    pub fn key_or_bound(&self, slot: usize, heads: &[u32], scratch: &mut Vec<u32>) -> Micros {
        let key = self.table.rows()[slot].key;
        key.unwrap_or_else(|| self.bound(slot, heads, scratch))
    }

    /// The key of a solid row, if it is settled.
    fn settled(&self, slot: usize, heads: &[u32], scratch: &mut Vec<u32>) -> Option<Micros> {
        let solid = self.table.rows()[slot].solid?;
        scratch.clear();
        scratch.extend_from_slice(self.table.stamps(slot));
        let lowest = self.planted.is(Mutant::LowestStamp);
        let key = kth(scratch, if lowest { 0 } else { self.rank });
        let open = (self.table.stamps(slot).iter().zip(heads))
            .any(|(t, head)| *t == ABSENT && *head < key);
        let patient = self.time.0 < solid.0.saturating_add(self.grace);
        let early = self.planted.is(Mutant::EarlyFreeze);
        (!open || !patient || early).then(|| self.table.absolute(key))
    }

    /// Takes an order out of the table; it is seen from now on.
    fn leave(&mut self, ct_id: &CtId, key: Micros) -> Option<Ordered> {
        let row = self.table.remove(ct_id)?;
        let until = row.label.expiry.plus(self.ttl_max);
        self.memory.see(*ct_id, until);
        Some(Ordered {
            ct_id: *ct_id,
            label: row.label,
            key,
        })
    }

    fn leave_all(&mut self, mut leaving: Vec<(Micros, CtId)>) -> Vec<Ordered> {
        leaving.sort_unstable();
        (leaving.iter())
            .filter_map(|(key, ct_id)| self.leave(ct_id, *key))
            .collect()
    }

    /// Takes out what was extracted, and what shares a nonce with it.
    pub fn finish(&mut self, taken: Taken, extracted: Extracted) -> Emission {
        let heads = self.head_offsets();
        let ordered: Vec<Ordered> = (extracted.order.iter())
            .filter_map(|(key, ct_id)| self.leave(ct_id, *key))
            .collect();
        for order in &ordered {
            self.memory.use_nonce(&order.label);
        }
        let mut duplicates = taken.duplicates;
        if !extracted.used.is_empty() {
            let mut scratch = Vec::with_capacity(heads.len());
            let mut leaving = Vec::new();
            for (slot, row) in self.table.rows().iter().enumerate() {
                if extracted
                    .used
                    .contains(&(row.label.sender, row.label.nonce))
                {
                    leaving.push((self.key_or_bound(slot, &heads, &mut scratch), row.ct_id));
                }
            }
            duplicates.extend(self.leave_all(leaving));
            duplicates.sort_by_key(|order| (order.key, order.ct_id));
        }
        Emission {
            expired: taken.expired,
            duplicates,
            ordered,
            stale: taken.stale.into_values().collect(),
            backlog: extracted.backlog,
            cycle_max: extracted.cycle_max,
            ties: extracted.ties,
        }
    }
}

/// The `k`-th smallest, counted from 0.
pub(super) fn kth<T: Ord + Copy>(values: &mut [T], k: usize) -> T {
    *values.select_nth_unstable(k).1
}
