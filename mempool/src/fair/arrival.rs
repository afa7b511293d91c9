//! Rule `arrival`: by assigned order indicator (AOI, the (f+1)-th smallest stamp) alone.
//!
//! Numbers in the comments are the steps of ORDERING.md. What that text leaves open, or
//! what had to be settled more carefully, is this:
//!
//! - **Heads.** Every lane's effective head is raised to H − L_max at every cut, also of a
//!   lane that did not move: whatever it adds later counts as at least that.
//! - **Time to live.** An order leaves as `Expired` by its own label only. "Older than
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
    BlockId, CtId, Digest, Domain, Label, Micros, Millis, Mutant, OrderParams, Planted, PublicKey,
};

use super::memory::{Memory, SavedMemory};
use super::table::{ABSENT, SavedRow, Table};
use super::{Emission, FairOrder, Ordered, SnapshotError};
use crate::CutDelta;

/// Largest snapshot that is decoded, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// Orders of one block at the most, equal keys or not: what one set of decryption shares
/// can hold. Clamped stamps can make any number of keys equal; a group that would go
/// beyond is cut by id, so that the set still does not depend on ties.
pub const ORDERS_PER_BLOCK_MAX: usize = 8_192;

/// Rule `arrival`.
#[derive(Clone, Debug)]
pub struct Arrival {
    f: usize,
    quorum: usize,
    ttl_max: u64,
    back_dating_max: u64,
    grace: u64,
    decrypt_max: usize,
    /// Finalized time of the last cut.
    time: Millis,
    /// Effective heads.
    heads: Vec<u64>,
    table: Table,
    memory: Memory,
    planted: Planted,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Saved {
    time: Millis,
    base: u64,
    heads: Vec<u64>,
    live: Vec<SavedRow>,
    memory: SavedMemory,
}

impl Arrival {
    /// An empty state for the lanes of `n` members of which `f` may be faulty.
    #[must_use]
    pub fn new(n: usize, f: usize, params: &OrderParams) -> Self {
        Self {
            f,
            quorum: n - f,
            ttl_max: params.ttl_max_ms,
            back_dating_max: Micros::from_millis(params.back_dating_max_ms).0,
            grace: params.grace_ms,
            decrypt_max: params.decrypt_max.max(1) as usize,
            time: Millis(0),
            heads: vec![0; n],
            table: Table::new(n),
            memory: Memory::default(),
            planted: Planted::NONE,
        }
    }

    /// From [`FairOrder::snapshot`].
    ///
    /// # Errors
    /// [`SnapshotError`] if the bytes are none for this many lanes.
    pub fn restore(
        n: usize,
        f: usize,
        params: &OrderParams,
        bytes: &[u8],
    ) -> Result<Self, SnapshotError> {
        let saved: Saved = fairlane_types::decode(bytes, SNAPSHOT_BYTES_MAX)?;
        if saved.heads.len() != n {
            return Err(SnapshotError::Inconsistent("heads do not fit the lanes"));
        }
        let empty = Self::new(n, f, params);
        Ok(Self {
            time: saved.time,
            heads: saved.heads,
            table: Table::load(n, empty.quorum, saved.base, saved.live)?,
            memory: Memory::load(saved.memory)?,
            ..empty
        })
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
            let Some(head) = self.heads.get_mut(index) else {
                continue;
            };
            *head = lane.head.0.max(*head);
            for entry in &lane.entries {
                let back_dated = self.planted.is(Mutant::BackDated);
                let floor = if back_dated { self.table.base() } else { floor };
                let stamp = entry.stamp.0.max(floor);
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
        }
        for head in &mut self.heads {
            *head = (*head).max(floor);
        }
        stale
    }

    fn forgettable(&self, label: &Label, before: Millis) -> bool {
        label.expiry.plus(self.ttl_max) < before
    }

    /// Heads as offsets, for the two passes over the table.
    fn head_offsets(&self) -> Vec<u32> {
        self.heads.iter().map(|h| self.table.offset(*h)).collect()
    }

    /// The least key that the row can still get: absent lanes may add it at their head.
    fn bound(&self, slot: usize, heads: &[u32], scratch: &mut Vec<u32>) -> Micros {
        scratch.clear();
        let row = self.table.stamps(slot).iter().zip(heads);
        scratch.extend(row.map(|(t, head)| if *t == ABSENT { *head } else { *t }));
        self.table.absolute(kth(scratch, self.f))
    }

    /// 2 freeze: the key of a solid row, if it is settled.
    fn settled(&self, slot: usize, heads: &[u32], scratch: &mut Vec<u32>) -> Option<Micros> {
        let solid = self.table.rows()[slot].solid?;
        scratch.clear();
        scratch.extend_from_slice(self.table.stamps(slot));
        let lowest = self.planted.is(Mutant::LowestStamp);
        let key = kth(scratch, if lowest { 0 } else { self.f });
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
}

impl FairOrder for Arrival {
    fn on_cut(&mut self, delta: &CutDelta) -> Emission {
        let before = self.time;
        self.time = before.max(delta.time);
        self.memory.forget_seen(before);
        self.memory.forget_nonces(self.time);
        let stale = self.ingest(delta, before);
        let heads = self.head_offsets();
        let mut scratch = Vec::with_capacity(heads.len());

        // 1 expire: by label, and what cannot win its nonce any more.
        let (mut expired, mut duplicates) = (Vec::new(), Vec::new());
        for slot in 0..self.table.len() {
            let row = &self.table.rows()[slot];
            let lives = self.time <= row.label.expiry || self.planted.is(Mutant::NeverExpire);
            let leaving = if !lives {
                &mut expired
            } else if self.memory.nonce_used(&row.label) {
                &mut duplicates
            } else {
                continue;
            };
            let key = row
                .key
                .unwrap_or_else(|| self.bound(slot, &heads, &mut scratch));
            leaving.push((key, self.table.rows()[slot].ct_id));
        }
        let expired = self.leave_all(expired);
        let mut duplicates = self.leave_all(duplicates);

        // 2 freeze and 3 bound: W lies at or below every key that is still to come.
        let mut watermark = Micros(kth(&mut self.heads.clone(), self.f));
        for slot in 0..self.table.len() {
            if self.table.rows()[slot].key.is_some() {
                continue;
            }
            match self.settled(slot, &heads, &mut scratch) {
                Some(key) => self.table.row_mut(slot).key = Some(key),
                None => watermark = watermark.min(self.bound(slot, &heads, &mut scratch)),
            }
        }

        if self.planted.is(Mutant::EarlyExtract) {
            watermark = Micros(u64::MAX);
        }

        // 4 extract: by (key, tie), equal keys together, none begun beyond D_max.
        let mut ready: Vec<(Micros, CtId, usize)> = (self.table.rows().iter().enumerate())
            .filter_map(|(slot, row)| Some((row.key.filter(|k| *k < watermark)?, row.ct_id, slot)))
            .collect();
        ready.sort_unstable();
        let mut used: BTreeSet<(PublicKey, u64)> = BTreeSet::new();
        let mut order: Vec<(Micros, CtId)> = Vec::new();
        for group in ready.chunk_by(|a, b| a.0 == b.0) {
            if order.len() >= self.decrypt_max {
                break;
            }
            let mut ties: Vec<(Digest, CtId)> = Vec::with_capacity(group.len());
            for (_, ct_id, slot) in group {
                if order.len() + ties.len() >= ORDERS_PER_BLOCK_MAX {
                    break; // the rest of the group is backlog, picked by id, not by tie
                }
                let label = &self.table.rows()[*slot].label;
                let fresh = used.insert((label.sender, label.nonce));
                if fresh || self.planted.is(Mutant::ReuseNonce) {
                    ties.push((tie(delta.block, *ct_id), *ct_id));
                }
            }
            ties.sort_unstable();
            if self.planted.is(Mutant::TieById) {
                ties.sort_unstable_by_key(|(_, ct_id)| *ct_id);
            }
            order.extend(ties.iter().map(|(_, ct_id)| (group[0].0, *ct_id)));
        }
        let ordered: Vec<Ordered> = (order.iter())
            .filter_map(|(key, ct_id)| self.leave(ct_id, *key))
            .collect();
        for order in &ordered {
            self.memory.use_nonce(&order.label);
        }

        // Once one ciphertext of a nonce is out, the others leave.
        if !used.is_empty() {
            let mut leaving = Vec::new();
            for (slot, row) in self.table.rows().iter().enumerate() {
                if used.contains(&(row.label.sender, row.label.nonce)) {
                    let key = row
                        .key
                        .unwrap_or_else(|| self.bound(slot, &heads, &mut scratch));
                    leaving.push((key, row.ct_id));
                }
            }
            duplicates.extend(self.leave_all(leaving));
            duplicates.sort_by_key(|order| (order.key, order.ct_id));
        }
        let backlog = (self.table.rows().iter()).any(|row| row.key.is_some_and(|k| k < watermark));
        Emission {
            expired,
            duplicates,
            ordered,
            stale: stale.into_values().collect(),
            backlog,
        }
    }

    fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    fn live(&self) -> usize {
        self.table.len()
    }

    fn live_orders(&self) -> Vec<CtId> {
        self.table.ids()
    }

    fn snapshot(&self) -> Vec<u8> {
        fairlane_types::encode(&Saved {
            time: self.time,
            base: self.table.base(),
            heads: self.heads.clone(),
            live: self.table.save(),
            memory: self.memory.save(),
        })
    }
}

/// The `k`-th smallest, counted from 0.
fn kth<T: Ord + Copy>(values: &mut [T], k: usize) -> T {
    *values.select_nth_unstable(k).1
}

/// Settled: H(block ‖ id) until the beacon lands.
fn tie(block: BlockId, ct_id: CtId) -> Digest {
    let mut hasher = Domain::Tie.hasher();
    hasher.update(block.as_bytes()).update(ct_id.as_bytes());
    Digest(*hasher.finalize().as_bytes())
}
