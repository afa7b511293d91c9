//! M6: what is emitted, old enough and emitted by every member leaves the disk.
//!
//! Until sequences are attested, "old enough" has two ages. From `retention_ms` on a
//! height may go once every member has reported that it emitted it too: nobody needs its
//! lanes, shares or blocks to go on. From `retention_max_ms` on it goes whatever others
//! report, so that one silent member cannot fill the disks of all. Ages are measured in
//! finalized time. The first age also waits for what executes here, which after a kill goes
//! on from its last snapshot; the second does not, so that an execution that has stopped
//! fills no disk either: it then needs a snapshot from elsewhere. A height goes as a whole, in one write, and never above the snapshot
//! that a restart begins from.

use fairlane_types::{
    ConsensusParams, CtId, Height, MemberId, Millis, Seq, SequencedBlock, decode,
};

use crate::boundary::{Effect, Peers};
use crate::keys::{ack_key, batch_key, height_key, index_key, late_key, payload_key, stale_key};
use crate::payload::FinalBlock;
use crate::recovery::{ROW_BYTES_MAX, Recovered};
use crate::replica::Replica;
use crate::under_way::{Reading, Written};
use crate::{Message, Row, Table, Write};

/// A member reports the height it has emitted every so many heights.
const REPORT_HEIGHTS: u64 = 32;
/// Heights that leave in one write.
const PRUNE_HEIGHTS: usize = 256;
/// Bytes of emitted blocks read to find what else leaves with them.
const PRUNE_BYTES: usize = 4 << 20;

/// What may leave the disk, and what has left.
#[derive(Clone, Debug)]
pub(crate) struct Retention {
    /// Nothing leaves: this member keeps the whole history.
    archive: bool,
    keep: Millis,
    keep_max: Millis,
    /// Last height that each member says it has emitted, durably. The last word counts,
    /// not the highest: a member may have lost its disk.
    reported: Vec<Height>,
    /// Last height that execution here no longer needs, if anything executes here.
    executed: Option<Height>,
    /// First height that is kept.
    first: Height,
    /// First batch of each lane that is kept, as far as this run knows.
    lanes: Vec<Seq>,
    /// A restart begins here; everything from it on is needed.
    snapshot: Height,
    /// Finalized time of the last emitted block.
    now: Millis,
    /// Rows are being read.
    reading: bool,
}

/// What is being read before heights leave.
#[derive(Debug)]
pub(crate) enum Pruning {
    /// Emitted blocks, to find out which leave.
    Sequence,
    /// The final block of the last height that leaves: lanes are kept from its cut on.
    Cut(Leaving),
    /// Orders without an outcome, whose bytes leave too.
    Stale(Leaving, Vec<Write>),
}

/// Heights that leave, with the orders emitted there.
#[derive(Debug)]
pub(crate) struct Leaving {
    last: Height,
    orders: Vec<CtId>,
}

impl Retention {
    /// Goes on from what is on disk.
    pub fn new(
        params: &ConsensusParams,
        archive: bool,
        me: MemberId,
        n: usize,
        recovered: &Recovered,
    ) -> Self {
        let emitted = recovered.emitted.as_ref();
        let mut reported = vec![Height(0); n];
        if let (Some(own), Some(block)) = (reported.get_mut(me.index()), emitted) {
            *own = block.height;
        }
        Self {
            archive,
            keep: Millis(params.retention_ms),
            keep_max: Millis(params.retention_max_ms),
            reported,
            executed: None,
            first: recovered.first,
            lanes: vec![Seq(0); n],
            snapshot: recovered.snapshot.unwrap_or_default(),
            now: emitted.map_or(Millis(0), |block| block.time),
            reading: false,
        }
    }

    /// First height that is kept.
    pub const fn first(&self) -> Height {
        self.first
    }

    /// The lowest height that some member says it has emitted last.
    pub fn reported_by_all(&self) -> Height {
        self.reported.iter().copied().min().unwrap_or_default()
    }

    /// The last height that this member has emitted, durably.
    pub fn emitted_by(&self, member: MemberId) -> Height {
        let reported = self.reported.get(member.index());
        reported.copied().unwrap_or_default()
    }

    /// Execution here needs nothing up to this height any more.
    pub fn executed(&mut self, height: Height) {
        self.executed = self.executed.max(Some(height));
    }

    fn releases(&self, block: &SequencedBlock) -> bool {
        let age = self.now.0.saturating_sub(block.time.0);
        let by_all = block.height <= self.reported_by_all();
        let here = self.executed.is_none_or(|done| block.height <= done);
        let may = age >= self.keep.0 && by_all && here || age >= self.keep_max.0;
        block.height < self.snapshot && may && age >= self.keep.0
    }
}

impl Replica {
    /// A peer reports how far it has emitted.
    pub(crate) fn emitted_report(&mut self, from: MemberId, height: Height) {
        if let Some(reported) = self.retention.reported.get_mut(from.index()) {
            *reported = height;
        }
    }

    /// Up to here an honest member has emitted, and more since: who lacks that was away. What others
    /// have just emitted is on its way.
    pub(crate) fn emitted_for_long(&self) -> Height {
        let reported = self.retention.reported.iter().enumerate();
        let others = reported.filter(|(member, _)| *member != self.me.index());
        let mut others: Vec<Height> = others.map(|(_, height)| *height).collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        let honest = others.get(self.committee.f()).copied().unwrap_or_default();
        Height(honest.0.saturating_sub(REPORT_HEIGHTS))
    }

    /// Says how far this member has emitted.
    pub(crate) fn report_emitted(&self, to: Peers, out: &mut Vec<Effect>) {
        if let Some(height) = self.retention.reported.get(self.me.index()) {
            self.send(to, Message::Emitted(*height), out);
        }
    }

    /// A block of the sequence is durable here, with its snapshot if it has one.
    pub(crate) fn retain_from(&mut self, block: &SequencedBlock, out: &mut Vec<Effect>) {
        self.emitted_report(self.me, block.height);
        self.retention.now = block.time;
        if block.height.0.is_multiple_of(REPORT_HEIGHTS) {
            self.report_emitted(Peers::All, out);
        }
        if self.genesis.order.commits_at(block.height) {
            self.retention.snapshot = block.height;
            self.prune(out);
        }
    }

    fn prune(&mut self, out: &mut Vec<Effect>) {
        let Retention {
            archive,
            reading,
            first,
            snapshot,
            ..
        } = self.retention;
        if archive || reading || first >= snapshot {
            return;
        }
        self.retention.reading = true;
        let range = (Table::Sequence, height_key(first), height_key(snapshot));
        let limits = (PRUNE_HEIGHTS, PRUNE_BYTES);
        self.load(range, limits, Reading::Prune(Pruning::Sequence), out);
    }

    /// Rows of what may leave are read. A row that does not decode ends it: nothing
    /// leaves that is not understood, and a restart names the damage.
    pub(crate) fn pruning(&mut self, step: Pruning, rows: &[Row], out: &mut Vec<Effect>) {
        match step {
            Pruning::Sequence => {
                // Heights of one epoch at a time: the lanes of earlier ones are gone.
                let base = self.genesis.base();
                let before = self.retention.first <= base;
                let blocks = rows
                    .iter()
                    .map_while(|(_, row)| decode::<SequencedBlock>(row, ROW_BYTES_MAX).ok())
                    .take_while(|block| self.retention.releases(block))
                    .take_while(|block| (block.height <= base) == before);
                let mut leaving = None;
                for block in blocks {
                    let Leaving { last, orders } = leaving.get_or_insert(Leaving {
                        last: block.height,
                        orders: Vec::new(),
                    });
                    *last = block.height;
                    orders.extend(block.items.iter().map(|item| item.ct_id));
                }
                let Some(leaving) = leaving else {
                    self.retention.reading = false;
                    return;
                };
                if before {
                    return self.find_stale(leaving, Vec::new(), out);
                }
                let (from, to) = (height_key(leaving.last), height_key(leaving.last.next()));
                let range = (Table::Blocks, from, to);
                let step = Pruning::Cut(leaving);
                self.load(range, (1, PRUNE_BYTES), Reading::Prune(step), out);
            }
            Pruning::Cut(leaving) => {
                let block = rows.first();
                let block =
                    block.and_then(|(_, row)| decode::<FinalBlock>(row, ROW_BYTES_MAX).ok());
                let Some(block) = block else {
                    self.retention.reading = false;
                    return;
                };
                let mut writes = Vec::new();
                let lanes = self.committee.ids().zip(&mut self.retention.lanes);
                for (lane, first) in lanes {
                    // The head itself stays: its stamp is where the lane goes on.
                    let from = std::mem::replace(first, block.payload.cut.head(lane).seq);
                    for key in [batch_key, ack_key] {
                        writes.push(Write::DeleteRange {
                            table: Table::Lanes,
                            from: key(lane, from),
                            to: key(lane, *first),
                        });
                    }
                }
                self.find_stale(leaving, writes, out);
            }
            Pruning::Stale(leaving, writes) => self.let_go(leaving, writes, rows, out),
        }
    }

    fn find_stale(&mut self, leaving: Leaving, writes: Vec<Write>, out: &mut Vec<Effect>) {
        let (from, to) = (Height(0), leaving.last.next());
        let range = (Table::Meta, stale_key(from), stale_key(to));
        let step = Reading::Prune(Pruning::Stale(leaving, writes));
        self.load(range, (PRUNE_HEIGHTS, PRUNE_BYTES), step, out);
    }

    fn let_go(
        &mut self,
        leaving: Leaving,
        mut writes: Vec<Write>,
        stale: &[Row],
        out: &mut Vec<Effect>,
    ) {
        let Leaving { last, orders } = leaving;
        for id in &orders {
            writes.push(Write::delete(Table::Payloads, payload_key(id)));
            writes.push(Write::delete(Table::Index, index_key(id)));
        }
        for (key, row) in stale {
            let ids: Vec<CtId> = decode(row, ROW_BYTES_MAX).unwrap_or_default();
            for id in &ids {
                writes.push(Write::delete(Table::Payloads, payload_key(id)));
                writes.push(Write::delete(Table::Index, late_key(id)));
            }
            writes.push(Write::delete(Table::Meta, key.clone()));
        }
        let (from, to) = (height_key(self.retention.first), height_key(last.next()));
        for table in [
            Table::Sequence,
            Table::Blocks,
            Table::Shares,
            Table::Attestations,
            Table::StateAttestations,
        ] {
            writes.push(Write::DeleteRange {
                table,
                from: from.clone(),
                to: to.clone(),
            });
        }
        // Not synced: after a crash it is there or it is done again.
        self.store(writes, false, Written::Nothing, out);
        self.counters.pruned += last.next().0 - self.retention.first.0;
        self.retention.first = last.next();
        self.retention.reading = false;
        self.prune(out);
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{ChainId, Epoch, Position, Root};

    use super::*;

    #[test]
    fn a_height_waits_for_all_members_and_for_execution_but_not_for_ever() {
        let block = |height: u64| SequencedBlock {
            chain: ChainId(1),
            epoch: Epoch(0),
            height: Height(height),
            block: Default::default(),
            time: Millis(1_000),
            parent_root: Root::default(),
            first_position: Position(0),
            items: Vec::new(),
            state: None,
            root: Root::default(),
        };
        let mut kept = Retention {
            archive: false,
            keep: Millis(100),
            keep_max: Millis(500),
            reported: vec![Height(7), Height(9)],
            executed: None,
            first: Height(1),
            lanes: Vec::new(),
            snapshot: Height(20),
            now: Millis(1_200),
            reading: false,
        };
        let upto = |kept: &Retention| (1..=30).take_while(|h| kept.releases(&block(*h))).count();
        assert_eq!(upto(&kept), 7);
        kept.executed(Height(0));
        assert_eq!(upto(&kept), 0);
        kept.executed(Height(5));
        kept.executed(Height(3));
        assert_eq!(upto(&kept), 5);
        kept.executed(Height(12));
        assert_eq!(upto(&kept), 7);
        kept.now = Millis(1_099);
        assert_eq!(upto(&kept), 0);
        kept.executed = Some(Height(2));
        kept.now = Millis(1_500);
        assert_eq!(upto(&kept), 19);
    }
}
