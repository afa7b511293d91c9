//! None readable early (PROTOCOL D1, THREATS A2, A3): an honest machine sends shares of a block
//! that is final on its own disk and of no other, of what comes out in that block and of nothing
//! else. What waits at a boundary, or is carried over it, keeps all its shares.

use std::collections::BTreeMap;

use fairlane_replica::{FinalBlock, Message, Table, height_key};
use fairlane_types::{BlockId, Digest, Epoch, Height, Outcome, decode};

use super::machine::ROW_BYTES_MAX;
use super::run::Run;

/// What honest machines sent shares of, by height and slice: the epoch and block, the list, and
/// how many orders are on it.
#[derive(Debug, Default)]
pub(super) struct Released(BTreeMap<(Height, u16), Slice>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    epoch: Epoch,
    block: BlockId,
    list: Digest,
    orders: usize,
}

impl Run<'_> {
    /// An honest machine sends something that opens orders, maybe.
    pub(super) fn revealed(&mut self, machine: usize, message: &Message) {
        let (height, block) = match message {
            Message::Shares(set) => (set.height, set.batch.block()),
            Message::Keys(told) => (told.height, told.batch.block),
            _ => return,
        };
        let m = &self.machines[machine];
        let rows = m.rows(
            Table::Blocks,
            &height_key(height),
            &height_key(height.next()),
        );
        let row = rows.first().map(|(_, row)| decode(row, ROW_BYTES_MAX));
        let on_disk: Option<FinalBlock> = row.and_then(Result::ok);
        if on_disk.map(|on_disk| on_disk.id()) != Some(block) {
            self.breach(format!(
                "machine {machine} opens height {height}, whose block is not final on its disk"
            ));
        }
        let Message::Shares(set) = message else {
            return;
        };
        let slice = Slice {
            epoch: self.machines[machine].genesis.epoch(),
            block,
            list: set.list,
            orders: set.batch.len(),
        };
        let first = self.released.0.entry((height, set.slice)).or_insert(slice);
        if *first != slice {
            self.breach(format!(
                "machine {machine} has shares of another list at {height} than others"
            ));
        }
    }

    /// Every list was of the block that came out, and as long as what came out of it by shares.
    pub(super) fn judge_released(&mut self) {
        let mut orders: BTreeMap<Height, usize> = BTreeMap::new();
        let mut wrong = Vec::new();
        for ((height, slice), of) in &self.released.0 {
            *orders.entry(*height).or_default() += of.orders;
            let out = self.sequence.get(height.0 as usize - 1);
            // The last ones may not have come out yet.
            if out.is_some_and(|out| (out.epoch, out.block) != (of.epoch, of.block)) {
                wrong.push(format!(
                    "slice {slice} of {height} is of a block that is not there"
                ));
            }
        }
        for (height, count) in orders {
            let Some(out) = self.sequence.get(height.0 as usize - 1) else {
                continue;
            };
            let opened = out.items.iter().filter(|item| {
                matches!(
                    item.outcome,
                    Outcome::Opened { .. } | Outcome::Undecryptable
                )
            });
            let opened = opened.count();
            if count != opened {
                wrong.push(format!(
                    "shares of {count} orders at {height}, {opened} came out"
                ));
            }
        }
        self.report.released = self.released.0.len();
        for what in wrong {
            self.breach(what);
        }
    }
}
