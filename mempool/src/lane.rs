//! One lane as this member sees it: the chain it follows, what is final, what it and the
//! others acknowledge, and what it still has to fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{BatchDigest, CtId, Envelope, MemberId, Micros, Seq, SignerSet};

use crate::line::Line;
use crate::{Batch, BatchHeader, Head, Holdings, LaneFork, Limits, SignedHeader};

/// Batches kept in memory below what the order rule has consumed, to serve others.
pub(crate) const KEPT_MAX: usize = 64;
/// Digests and stamps kept of batches that left memory, to understand late holdings.
pub(crate) const OLD_MAX: usize = 512;
/// A lane is stored at most this many windows beyond what the order rule has consumed.
pub(crate) const WINDOWS_MAX: u64 = 16;
/// Holdings of one member that wait for batches which this member lacks.
pub(crate) const HOLDINGS_MAX: usize = 16;

/// A batch in the chain.
#[derive(Debug)]
pub(crate) struct Slot {
    pub batch: Arc<Batch>,
    pub header: BatchHeader,
    pub digest: BatchDigest,
    /// Ids of the payloads it carries, until they are stored.
    pub ids: Vec<CtId>,
    pub bytes: usize,
    /// Entries and payload bytes of all batches in `slots` up to this one, counted from
    /// whatever was first when it was added: only differences mean something.
    pub sums: (usize, usize),
    /// As in [`Early`].
    pub signed: bool,
    /// Per entry its order, resolved when complete; cleared when consumed.
    pub orders: Vec<Option<Arc<Envelope>>>,
    /// Orders whose bytes are missing.
    pub missing: BTreeSet<CtId>,
    /// Whether a verification of its own payloads is under way.
    pub checking: bool,
    /// L2: complete but stamped in the future, or holding an order that expires too far
    /// ahead: held back until then.
    pub not_before: Micros,
    /// Held in full and statelessly valid.
    pub complete: bool,
    /// Never valid: its owner is faulty.
    pub bad: bool,
}

/// A batch whose signature verified, but whose parent is not there yet.
#[derive(Debug)]
pub(crate) struct Early {
    pub batch: Arc<Batch>,
    pub header: BatchHeader,
    pub digest: BatchDigest,
    pub ids: Vec<CtId>,
    /// The owner's signature was checked; what is chained by a final or certified digest
    /// does not need it.
    pub signed: bool,
}

/// Another version of a forked lane, collected downwards from a digest that is final or
/// proposed.
#[derive(Debug)]
pub(crate) struct Side {
    pub target: Head,
    /// Next batch to get, by digest.
    pub need: Head,
    pub batches: BTreeMap<Seq, Early>,
    /// The batch below the lowest collected one is on our chain.
    pub linked: bool,
    /// Who is likely to have it.
    pub source: MemberId,
    /// When to ask next, and how often it was asked without an answer.
    pub at: Micros,
    pub tries: u32,
}

/// What is to be fetched of a lane.
#[derive(Debug, Default)]
pub(crate) struct Fetch {
    /// Highest batch known to exist.
    pub target: Seq,
    /// Who mentioned it.
    pub source: MemberId,
    /// When to ask next.
    pub at: Option<Micros>,
    pub tries: u32,
    /// End of the last range asked for.
    pub asked_to: Seq,
}

#[derive(Debug)]
pub(crate) struct Lane {
    /// Consumed by the order rule, with its stamp.
    pub taken: Head,
    pub taken_stamp: Micros,
    /// Last final head.
    pub final_head: Head,
    /// Contiguous up to `tip`; at most WINDOWS_MAX windows above `taken`, KEPT_MAX below.
    pub slots: BTreeMap<Seq, Slot>,
    pub tip: Head,
    pub tip_stamp: Micros,
    /// This member's durable acknowledgement; it may lie on another version of a fork.
    pub acked: Head,
    /// Stored, or being stored, up to here.
    pub storing: Seq,
    /// Everything above `taken` is complete at least up to here.
    pub whole: Seq,
    /// Above the tip; within the window.
    pub early: BTreeMap<Seq, Early>,
    /// Holdings of the lane's owner that are not understood yet; at most HOLDINGS_MAX.
    pub holdings: Vec<(Seq, Holdings)>,
    /// The lane for which the first of them waits.
    pub lacking: Option<MemberId>,
    /// Members whose holdings wait for a batch of this lane; some may have moved on.
    pub awaited_by: SignerSet,
    /// Owner's batch whose heads were asked for.
    pub asked_heads: Option<Seq>,
    /// M1: forked; nothing more is acknowledged.
    pub muted: bool,
    /// Evidence was given, once.
    pub told: bool,
    /// Those in `slots`, and at most OLD_MAX before them.
    pub line: Line,
    pub fetch: Fetch,
    pub side: Option<Side>,
}

impl Lane {
    pub fn new() -> Self {
        Self {
            taken: Head::default(),
            taken_stamp: Micros(0),
            final_head: Head::default(),
            slots: BTreeMap::new(),
            tip: Head::default(),
            tip_stamp: Micros(0),
            acked: Head::default(),
            storing: Seq(0),
            whole: Seq(0),
            early: BTreeMap::new(),
            holdings: Vec::new(),
            lacking: None,
            awaited_by: SignerSet::default(),
            asked_heads: None,
            muted: false,
            told: false,
            line: Line::default(),
            fetch: Fetch::default(),
            side: None,
        }
    }

    /// Digest and stamp of a batch on the chain, as long as they are remembered.
    pub fn at(&self, seq: Seq) -> Option<(BatchDigest, Micros)> {
        if seq == Seq(0) {
            return Some((BatchDigest::default(), Micros(0)));
        }
        if seq == self.taken.seq {
            return Some((self.taken.digest, self.taken_stamp));
        }
        self.line.at(seq)
    }

    /// Whether batches are known to exist beyond the chain, or in another version of it.
    pub fn incomplete(&self) -> bool {
        self.fetch.target.max(self.final_head.seq) > self.tip.seq || self.side.is_some()
    }

    /// Whether a head is on the chain.
    pub fn has(&self, head: Head) -> bool {
        self.at(head.seq)
            .is_some_and(|(digest, _)| digest == head.digest)
    }

    /// Whether a head is on the chain and everything of it above `taken` is complete.
    pub fn holds(&self, head: Head) -> bool {
        self.has(head) && (head.seq <= self.taken.seq || self.complete_to() >= head.seq)
    }

    /// Highest batch up to which everything above `taken` is complete.
    pub fn complete_to(&self) -> Seq {
        let mut to = self.taken.seq.max(self.whole);
        while self.slots.get(&to.next()).is_some_and(|slot| slot.complete) {
            to = to.next();
        }
        to
    }

    /// Adds the batch that follows the tip.
    pub fn push(&mut self, mut slot: Slot) {
        let seq = slot.header.seq;
        let before = self.slots.get(&seq.prev()).map_or((0, 0), |s| s.sums);
        slot.sums = (before.0 + slot.batch.entries.len(), before.1 + slot.bytes);
        self.tip = Head {
            seq,
            digest: slot.digest,
        };
        self.tip_stamp = slot.header.stamp;
        let complete = slot.complete;
        self.line.push(seq, slot.digest, slot.header.stamp);
        self.slots.insert(seq, slot);
        if complete {
            self.completed();
        }
    }

    /// A batch became complete.
    pub fn completed(&mut self) {
        self.whole = self.complete_to();
    }

    /// Entries and payload bytes in (`from`, `to`], as far as they are on the chain.
    pub fn load(&self, from: Seq, to: Seq) -> (usize, usize) {
        if from >= to {
            return (0, 0);
        }
        let first = self.slots.range(from.next()..=to).next();
        let last = self.slots.range(from.next()..=to).next_back();
        let (Some((_, first)), Some((_, last))) = (first, last) else {
            return (0, 0);
        };
        (
            last.sums.0 - first.sums.0 + first.batch.entries.len(),
            last.sums.1 - first.sums.1 + first.bytes,
        )
    }

    /// The proof that `other` forks the lane, if it contradicts the chain.
    pub fn contradiction(&self, other: &Early) -> Option<LaneFork> {
        let slot = self.slots.get(&other.header.seq)?;
        (slot.signed && slot.digest != other.digest).then(|| LaneFork {
            first: SignedHeader {
                header: slot.header,
                signature: slot.batch.signature,
            },
            second: SignedHeader {
                header: other.header,
                signature: other.batch.signature,
            },
        })
    }

    /// Highest batch acknowledged by this member that is on the chain.
    pub fn acked_to(&self) -> Seq {
        if self.has(self.acked) {
            self.acked.seq
        } else {
            Seq(0)
        }
    }

    /// Batches, entries and payload bytes beyond the last final head (M4).
    pub fn beyond_final(&self) -> (u64, usize, usize) {
        let (mut entries, mut bytes) = self.load(self.final_head.seq, self.tip.seq);
        for early in self
            .early
            .range(self.final_head.seq.next()..)
            .map(|(_, e)| e)
        {
            entries += early.batch.entries.len();
            bytes += early.batch.payload_bytes();
        }
        (self.batches_beyond_final(), entries, bytes)
    }

    /// Batches beyond the last final head (M4).
    pub const fn batches_beyond_final(&self) -> u64 {
        self.tip.seq.0.saturating_sub(self.final_head.seq.0)
    }

    /// Highest batch that may be stored now (M4). A lane that lags behind finality fills
    /// up from its tip.
    pub fn limit(&self, limits: &Limits) -> Seq {
        let base = self.final_head.seq.min(self.tip.seq);
        let most = self.taken.seq.plus(WINDOWS_MAX * limits.window_batches);
        base.plus(limits.window_batches).min(most)
    }

    /// Whether a batch of this size may be stored now (M4). What is final is always
    /// taken; it is bounded by the limits of cuts.
    pub fn room(&self, batch: &Batch, limits: &Limits) -> bool {
        if batch.seq <= self.final_head.seq {
            return true;
        }
        let (_, entries, bytes) = self.beyond_final();
        entries + batch.entries.len() <= limits.window_entries
            && bytes + batch.payload_bytes() <= limits.window_bytes
    }

    /// Drops what the order rule consumed, but for a few batches to serve.
    pub fn prune(&mut self) {
        let keep_from = self.taken.seq.minus(KEPT_MAX as u64);
        while let Some(entry) = self.slots.first_entry() {
            if *entry.key() > keep_from {
                break;
            }
            entry.remove();
        }
        self.line.trim(self.slots.len() + OLD_MAX);
        self.early.retain(|seq, _| *seq > self.taken.seq);
    }
}
