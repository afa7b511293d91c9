//! What of the traders' orders lies in the clear on the disks of machines that were killed.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fairlane_node::epochs::Present;
use fairlane_node::home::Home;
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_replica::{Store, Table};
use fairlane_types::{Height, Outcome, SequencedBlock, decode};

use crate::Machine;

pub const RESERVE_MB: u64 = 64;
/// Largest row of the sequence here, in bytes.
const ROW_BYTES_MAX: usize = 16 << 20;
/// How every payload of the trader begins.
const PAYLOAD: &[u8] = b"order ";

impl Machine {
    /// What lies on its disk. Nobody runs it.
    pub fn disk(&self) -> Disk {
        let mut clear = BTreeSet::new();
        in_the_clear(&self.home, &mut clear);
        let home = Home::open(&self.home).unwrap();
        let present = Present::of(&home).unwrap();
        // Its epoch began above what the committee before signed.
        let base = present.genesis.base();
        // Where its keys are under a passphrase, members are killed and nobody else.
        let runs = present
            .standing(&home)
            .map_or(true, |standing| standing.runs());
        let store = RocksStore::open(&StoreOptions {
            path: home.data_path(),
            reserve_bytes: RESERVE_MB << 20,
        });
        let store = store.unwrap();
        let rows = |table| store.scan(table, &[], &[0xff; 64], usize::MAX, usize::MAX);
        let blocks = rows(Table::Sequence).unwrap().into_iter();
        let blocks = blocks.map(|(_, row)| decode::<SequencedBlock>(&row, ROW_BYTES_MAX).unwrap());
        let last = rows(Table::Blocks).unwrap().pop();
        let height = last.map_or(0, |(key, _)| u64::from_be_bytes(key.try_into().unwrap()));
        Disk {
            port: self.port,
            clear,
            emitted: heights(blocks).into_keys().collect(),
            last_final: base.max(Height(height)),
            runs,
        }
    }
}

/// What lies on a machine's disk.
pub struct Disk {
    port: u16,
    /// Orders in the clear, anywhere.
    clear: BTreeSet<u64>,
    /// Those in its sequence.
    pub emitted: BTreeSet<u64>,
    /// Up to here it knew durably what is final.
    last_final: Height,
    /// Its member runs: what it holds of the sequence it made itself.
    runs: bool,
}

/// The disks of machines that were killed at once. Who runs no member takes blocks from others, under a
/// hand-over that it writes after them: they were final, durably, where they came from.
pub fn disks_of(machines: &[Machine]) -> Vec<Disk> {
    let mut disks: Vec<Disk> = machines.iter().map(Machine::disk).collect();
    let last = disks.iter().map(|disk| disk.last_final).max();
    for disk in disks.iter_mut().filter(|disk| !disk.runs) {
        disk.last_final = last.unwrap();
    }
    disks
}

/// At which height each order came out.
pub fn heights<B: Borrow<SequencedBlock>>(
    blocks: impl IntoIterator<Item = B>,
) -> BTreeMap<u64, Height> {
    let mut heights = BTreeMap::new();
    for block in blocks {
        let block = block.borrow();
        for item in &block.items {
            if let Outcome::Opened { payload, .. } = &item.outcome {
                heights.insert(number(payload).unwrap(), block.height);
            }
        }
    }
    heights
}

/// The number of an order from its payload.
fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(PAYLOAD)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Orders of the trader that lie in the clear in any file below a folder.
fn in_the_clear(folder: &Path, found: &mut BTreeSet<u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_the_clear(&path, found);
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(PAYLOAD.len()).enumerate();
        let at = at.filter(|(_, window)| *window == PAYLOAD);
        found.extend(at.filter_map(|(at, _)| {
            // As it is encoded: behind its length.
            let length = content.get(at.checked_sub(4)?..at)?.try_into().ok()?;
            let end = at.checked_add(u32::from_le_bytes(length) as usize)?;
            number(content.get(at..end)?)
        }));
    }
}

/// What lay in the clear was final before, durably.
pub fn nothing_was_shown_early(disks: &[Disk], heights: &BTreeMap<u64, Height>) {
    let (mut found, mut there) = (0, 0);
    for disk in disks {
        let early = disk.clear.iter().filter(|order| {
            let height = heights.get(order);
            height.is_none_or(|height| *height > disk.last_final)
        });
        let early: Vec<_> = early.collect();
        assert!(early.is_empty(), "{} has {early:?}", disk.port);
        // The log of the database cuts some in two: the search finds most of what is there.
        found += disk.clear.intersection(&disk.emitted).count();
        there += disk.emitted.len();
    }
    assert!(
        there > 0 && found * 4 > there * 3,
        "the search is blind: {found} of {there}"
    );
}
