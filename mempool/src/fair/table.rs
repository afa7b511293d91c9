//! The live table: one row of stamps per order that is in some lane and has no outcome.
//! Struct of arrays, `u32` microseconds since a base, one row of n per order; no pair
//! matrix and no graph.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{CtId, Label, Micros, Millis};

use super::SnapshotError;
use super::index::Index;

/// "Not in this lane." Larger than every stamp, so that absent counts as later.
pub(super) const ABSENT: u32 = u32::MAX;
/// When stamps outgrow `u32`, the base moves to this far behind the newest (35 minutes).
/// What is older counts as old as the base.
pub(super) const SPAN_US: u64 = 1 << 31;

/// Rows are dense: removal moves the last row into the gap.
#[derive(Clone, Debug)]
pub(super) struct Table {
    n: usize,
    base: u64,
    stamps: Vec<u32>,
    /// Lanes that have each row. Apart from the rows: every entry of a lane asks for it.
    counts: Vec<u8>,
    rows: Vec<Row>,
    index: Index,
}

/// What is known of an order besides its stamps.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub ct_id: CtId,
    pub label: Label,
    /// Finalized time at which it became solid.
    pub solid: Option<Millis>,
    /// Its key, once frozen.
    pub key: Option<Micros>,
}

/// A row in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct SavedRow {
    ct_id: CtId,
    label: Label,
    stamps: Vec<u32>,
    solid: Option<Millis>,
    key: Option<Micros>,
}

impl Table {
    pub fn new(n: usize) -> Self {
        Self {
            n,
            base: 0,
            stamps: Vec::new(),
            counts: Vec::new(),
            rows: Vec::new(),
            index: Index::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub const fn base(&self) -> u64 {
        self.base
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn row_mut(&mut self, slot: usize) -> &mut Row {
        &mut self.rows[slot]
    }

    pub fn slot(&self, ct_id: &CtId) -> Option<usize> {
        self.index.get(ct_id)
    }

    pub fn stamps(&self, slot: usize) -> &[u32] {
        &self.stamps[slot * self.n..(slot + 1) * self.n]
    }

    /// Microseconds since the base; what is older than the base counts as the base, and
    /// nothing is as late as [`ABSENT`] because [`Table::reach`] came first.
    pub fn offset(&self, at: u64) -> u32 {
        u32::try_from(at.saturating_sub(self.base)).map_or(ABSENT - 1, |o| o.min(ABSENT - 1))
    }

    pub fn absolute(&self, offset: u32) -> Micros {
        Micros(self.base.saturating_add(u64::from(offset)))
    }

    /// Makes room for stamps up to `newest`; moves the base only when it must.
    pub fn reach(&mut self, newest: u64) {
        if newest.saturating_sub(self.base) < u64::from(ABSENT) {
            return;
        }
        let base = newest.saturating_sub(SPAN_US);
        let by = u32::try_from(base - self.base).unwrap_or(u32::MAX);
        for stamp in &mut self.stamps {
            if *stamp != ABSENT {
                *stamp = stamp.saturating_sub(by);
            }
        }
        self.base = base;
    }

    pub fn insert(&mut self, ct_id: CtId, label: Label) -> usize {
        let slot = self.rows.len();
        self.stamps.resize((slot + 1) * self.n, ABSENT);
        self.counts.push(0);
        self.rows.push(Row {
            ct_id,
            label,
            solid: None,
            key: None,
        });
        self.index.insert(ct_id, slot);
        slot
    }

    /// Records a lane's stamp; the first one counts (L1). Returns the number of lanes
    /// if it was the first.
    pub fn record(&mut self, slot: usize, lane: usize, at: u64) -> Option<usize> {
        let offset = self.offset(at);
        let cell = &mut self.stamps[slot * self.n + lane];
        if *cell != ABSENT {
            return None;
        }
        *cell = offset;
        self.counts[slot] += 1;
        Some(usize::from(self.counts[slot]))
    }

    pub fn remove(&mut self, ct_id: &CtId) -> Option<Row> {
        let slot = self.index.remove(ct_id)?;
        let last = self.rows.len() - 1;
        if slot != last {
            let (n, moved) = (self.n, self.rows[last].ct_id);
            self.stamps.copy_within(last * n..(last + 1) * n, slot * n);
            self.index.insert(moved, slot);
        }
        self.stamps.truncate(last * self.n);
        self.counts.swap_remove(slot);
        Some(self.rows.swap_remove(slot))
    }

    /// Ids of all rows, ascending.
    pub fn ids(&self) -> Vec<CtId> {
        self.index.iter().map(|(ct_id, _)| ct_id).collect()
    }

    /// All rows by id.
    pub fn save(&self) -> Vec<SavedRow> {
        self.index
            .iter()
            .map(|(_, slot)| {
                let row = &self.rows[slot];
                SavedRow {
                    ct_id: row.ct_id,
                    label: row.label.clone(),
                    stamps: self.stamps(slot).to_vec(),
                    solid: row.solid,
                    key: row.key,
                }
            })
            .collect()
    }

    pub fn load(
        n: usize,
        quorum: usize,
        base: u64,
        saved: Vec<SavedRow>,
    ) -> Result<Self, SnapshotError> {
        let ascending = saved
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.ct_id < b.ct_id));
        if !ascending {
            return Err(SnapshotError::Inconsistent("live orders are not in order"));
        }
        let mut table = Self::new(n);
        table.base = base;
        for row in saved {
            let count = row.stamps.iter().filter(|s| **s != ABSENT).count();
            let solid = count >= quorum;
            if row.stamps.len() != n || count == 0 {
                return Err(SnapshotError::Inconsistent("a row does not fit the lanes"));
            }
            if row.solid.is_some() != solid || (row.key.is_some() && !solid) {
                return Err(SnapshotError::Inconsistent(
                    "an order is frozen but not solid",
                ));
            }
            let slot = table.insert(row.ct_id, row.label);
            table.stamps[slot * n..].copy_from_slice(&row.stamps);
            let into = &mut table.rows[slot];
            (into.solid, into.key) = (row.solid, row.key);
            table.counts[slot] = u8::try_from(count)
                .map_err(|_| SnapshotError::Inconsistent("a row does not fit the lanes"))?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{ChainId, Digest, KeyId, PublicKey};

    use super::*;

    fn label() -> Label {
        Label {
            suite: 1,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey([1; 32]),
            nonce: 0,
            expiry: Millis(0),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        }
    }

    fn id(i: u8) -> CtId {
        CtId(Digest([i; 32]))
    }

    #[test]
    fn removal_keeps_the_other_rows() {
        let mut table = Table::new(3);
        for i in 0..4 {
            let slot = table.insert(id(i), label());
            table.record(slot, usize::from(i) % 3, 100 + u64::from(i));
        }
        table.remove(&id(1));
        table.remove(&id(3));
        assert_eq!(table.len(), 2);
        for i in [0u8, 2] {
            let slot = table.slot(&id(i)).unwrap();
            assert_eq!(table.rows()[slot].ct_id, id(i));
            assert_eq!(table.stamps(slot)[usize::from(i) % 3], 100 + u32::from(i));
        }
        assert!(table.remove(&id(1)).is_none());
    }

    #[test]
    fn the_base_moves_only_when_it_must() {
        let mut table = Table::new(2);
        let t0 = 1_700_000_000_000_000;
        table.reach(t0);
        assert_eq!(table.base(), t0 - SPAN_US);
        let slot = table.insert(id(1), label());
        table.record(slot, 0, t0);
        table.reach(t0 + SPAN_US - 2);
        assert_eq!(table.base(), t0 - SPAN_US);
        table.reach(t0 + SPAN_US);
        assert_eq!(table.base(), t0);
        assert_eq!(table.absolute(table.stamps(slot)[0]), Micros(t0));
        table.reach(t0 + 10 * SPAN_US);
        assert_eq!(table.stamps(slot), [0, ABSENT]);
    }
}
