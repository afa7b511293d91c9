//! The own lane: what is queued, when a batch is sealed, and what follows once it is
//! durable (M1, M3, M4, L2–L5).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_types::{
    BatchDigest, CtId, Envelope, MemberId, Micros, Mutant, Receipt, Seq, Signature,
};

use crate::lane::Slot;
use crate::lanes::{Lanes, earliest};
use crate::pool::Place;
use crate::{Batch, BatchHeader, Entry, Head, Holdings, LaneMessage, Output, Record, To, WriteId};

/// Own batches whose acknowledged heads can still be asked for.
pub(crate) const HEADS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Recorded, not yet in a batch; bounded by the orders that are held.
    pending: VecDeque<Queued>,
    pending_bytes: usize,
    /// Local time at which the first of `pending` came.
    pending_since: Option<Micros>,
    /// Last stamp given; L1, L2: stamps never decrease, whatever the clock does.
    pub clock: Micros,
    /// Waits for its signature.
    signing: Option<Sealed>,
    last_seal: Option<Micros>,
    /// Since when there is a reason to let heads advance (L4).
    restless_since: Option<Micros>,
    /// The window was full when a batch was due: the next one may grow (M4).
    blocked: bool,
    /// An acknowledgement of entries waits to be published.
    ack_due: bool,
    /// Acknowledged heads as last published.
    published: Vec<Head>,
    /// At most HEADS_MAX.
    heads: BTreeMap<Seq, Vec<BatchDigest>>,
}

/// A batch without its signature.
#[derive(Debug)]
struct Sealed {
    batch: Batch,
    header: BatchHeader,
    /// Ids of the payloads it carries.
    ids: Vec<CtId>,
}

/// An order in the queue of the own lane.
#[derive(Clone, Copy, Debug)]
struct Queued {
    ct_id: CtId,
    stamp: Micros,
    /// Payload bytes that the own lane carries for it (L6).
    bytes: usize,
}

impl Own {
    fn push(&mut self, queued: Queued) {
        self.pending_bytes += queued.bytes;
        self.pending.push_back(queued);
    }

    fn pop(&mut self) {
        if let Some(queued) = self.pending.pop_front() {
            self.pending_bytes -= queued.bytes;
        }
    }

    /// An acknowledgement is to be published with the next batch; it makes one due only if
    /// there were entries (M2).
    pub fn acknowledge(&mut self, entries: bool) {
        self.ack_due |= entries;
    }
}

impl Lanes {
    pub(crate) fn start(&mut self, now: Micros, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        // L3: what a restart found and the own lane lacks.
        for ct_id in std::mem::take(&mut self.found) {
            self.pool.unpark(&ct_id);
            self.echo(now, &ct_id);
        }
        if self.config.observer {
            return;
        }
        // A batch may have been durable, but not sent, before the restart.
        let lane = &self.lanes[self.config.me.index()];
        if let Some(slot) = lane.slots.get(&lane.acked.seq)
            && lane.acked.seq > lane.final_head.seq
        {
            let message = LaneMessage::Batch(slot.batch.clone());
            out.push(Output::Send {
                to: To::All,
                message,
            });
        }
    }

    /// L3: records a held order in the own lane, once. One that everybody has forgotten, or
    /// will have when the record is final, gets no outcome (decision 4) and is not recorded:
    /// it may be in this lane already.
    pub(crate) fn echo(&mut self, now: Micros, ct_id: &CtId) {
        if self.config.observer {
            return;
        }
        let (me, n) = (self.config.me, self.lanes.len());
        let floor = self.lanes[me.index()].tip_stamp;
        let (final_time, ttl_max) = (self.final_time, self.config.ttl_max);
        let Some(held) = self.pool.get_mut(ct_id) else {
            return;
        };
        if held.envelope.label.expiry.plus(ttl_max.0) < final_time {
            return;
        }
        if held.parked || std::mem::replace(&mut held.queued, true) {
            return;
        }
        let carried = primary(&held.envelope, ct_id, n) == me;
        let own = &mut self.own;
        own.clock = own.clock.max(now).max(floor);
        own.pending_since.get_or_insert(now);
        own.push(Queued {
            ct_id: *ct_id,
            stamp: own.clock,
            bytes: if carried {
                held.envelope.encoded_len()
            } else {
                0
            },
        });
    }

    /// Entries and bytes that the own lane holds beyond its last final head, queue
    /// included (M4).
    pub(crate) fn own_load(&self) -> (usize, usize) {
        let (_, entries, bytes) = self.lanes[self.config.me.index()].beyond_final();
        (
            entries + self.own.pending.len(),
            bytes + self.own.pending_bytes,
        )
    }

    /// Seals what is due; says when to look again.
    pub(crate) fn seal_due(&mut self, now: Micros, out: &mut Vec<Output>) -> Option<Micros> {
        if !self.started || self.config.observer || self.own.signing.is_some() {
            return None;
        }
        // What has its outcome already need not be recorded.
        while (self.own.pending.front()).is_some_and(|q| self.pool.get(&q.ct_id).is_none()) {
            self.own.pop();
        }
        if self.own.pending.is_empty() {
            self.own.pending_since = None;
        }
        let lane = &self.lanes[self.config.me.index()];
        let batches = lane.batches_beyond_final();
        let pending = !self.own.pending.is_empty();
        if batches >= self.limits.window_batches {
            self.own.blocked |= pending;
            return None;
        }
        let mut wake = None;
        if let Some(since) = self.own.pending_since {
            let due = since.plus(self.config.lanes.batch_interval_ms * 1_000);
            let full = self.own.pending.len() >= self.limits.seal_entries
                || self.own.pending_bytes >= self.limits.seal_bytes;
            if full || now >= due || now < since {
                if self.seal(now, true, out) {
                    return None;
                }
            } else {
                wake = Some(due);
            }
        }
        // L4: heads advance while anything known has no outcome. Empty batches use only
        // half of the window, so that a stall leaves room for entries.
        // And a former key is to be erased on a chain that rests: time must show that it may.
        let overdue = self.former_overdue(now);
        let heads = self.pool.restless() || self.payloads.hopeful() || self.own.ack_due || overdue;
        if !heads {
            self.own.restless_since = None;
        }
        if heads && batches < (self.limits.window_batches / 2).max(1) {
            let since = *self.own.restless_since.get_or_insert(now);
            let last = self.own.last_seal.map_or(since, |last| last.max(since));
            let due = last.plus(self.config.lanes.head_interval_ms * 1_000);
            if now >= due || now < last {
                self.seal(now, false, out);
                return None;
            }
            wake = earliest(wake, Some(due));
        }
        match self.config.former {
            Some((_, until)) if self.final_time <= until && !overdue => {
                earliest(wake, Some(Micros::from_millis(until.0.saturating_add(1))))
            }
            _ => wake,
        }
    }

    /// Whether the clock is past the time of a former key, and finalized time is not.
    fn former_overdue(&self, now: Micros) -> bool {
        let overdue = |(_, until)| self.final_time <= until && now.as_millis() > until;
        self.config.former.is_some_and(overdue)
    }

    /// Seals one batch. With `entries`, only if at least one fits.
    fn seal(&mut self, now: Micros, with_entries: bool, out: &mut Vec<Output>) -> bool {
        let me = self.config.me;
        let lane = &self.lanes[me.index()];
        let (_, used_entries, used_bytes) = lane.beyond_final();
        let limits = &self.limits;
        let (most_entries, most_bytes) = if self.own.blocked {
            (limits.batch_entries, limits.batch_bytes)
        } else {
            (limits.seal_entries, limits.seal_bytes)
        };
        let most_entries = most_entries.min(limits.window_entries.saturating_sub(used_entries));
        let most_bytes = most_bytes.min(limits.window_bytes.saturating_sub(used_bytes));

        let (mut taken, mut bytes) = (Vec::new(), 0);
        let (mut payloads, mut ids) = (Vec::new(), Vec::new());
        while let Some(&queued) = self.own.pending.front() {
            if let Some(held) = self.pool.get(&queued.ct_id) {
                if taken.len() >= most_entries || bytes + queued.bytes > most_bytes {
                    break;
                }
                if queued.bytes > 0 {
                    payloads.push(held.envelope.clone());
                    ids.push(queued.ct_id);
                }
                bytes += queued.bytes;
                taken.push(queued);
            }
            self.own.pop();
        }
        if with_entries && taken.is_empty() {
            self.own.blocked = !self.own.pending.is_empty();
            return false;
        }
        self.own.blocked = false;
        // L1: the stamp promises that nothing below it follows, so it stops at what is
        // left in the queue.
        let lane = &self.lanes[me.index()];
        let stamp = match self.own.pending.front() {
            Some(first) => first.stamp,
            None => self.own.clock.max(now).max(lane.tip_stamp),
        };
        self.own.clock = self.own.clock.max(stamp);
        self.own.pending_since = self.own.pending.front().map(|_| now);
        let entries = (taken.iter())
            .map(|queued| Entry {
                ct_id: queued.ct_id,
                back_us: u32::try_from(stamp.0.saturating_sub(queued.stamp.0)).unwrap_or(u32::MAX),
            })
            .collect();
        let batch = Batch {
            epoch: self.config.epoch,
            lane: me,
            seq: lane.tip.seq.next(),
            parent: lane.tip.digest,
            stamp,
            entries,
            payloads,
            holdings: Holdings::default(),
            signature: Signature::default(),
        };
        let batch = self.publish_holdings(batch);
        let header = batch.header_with(&ids);
        self.own.last_seal = Some(now);
        self.own.signing = Some(Sealed { batch, header, ids });
        out.push(Output::Sign(header));
        true
    }

    /// M2: acknowledgements ride in the next own batch, which is synced after them.
    fn publish_holdings(&mut self, mut batch: Batch) -> Batch {
        let me = self.config.me.index();
        let heads: Vec<Head> = self.lanes.iter().map(|lane| lane.acked).collect();
        self.own.published.resize(heads.len(), Head::default());
        let others = |heads: &[Head]| {
            let mut heads = heads.to_vec();
            if let Some(own) = heads.get_mut(me) {
                *own = Head::default();
            }
            heads
        };
        self.own.ack_due = false;
        if others(&heads) == others(&self.own.published) {
            return batch;
        }
        let pairs: Vec<_> = heads.iter().map(|head| (head.seq, head.digest)).collect();
        batch.holdings = Holdings::of(&pairs);
        let digests = heads.iter().map(|head| head.digest).collect();
        self.own.heads.insert(batch.seq, digests);
        while self.own.heads.len() > HEADS_MAX {
            self.own.heads.pop_first();
        }
        self.own.published = heads;
        batch
    }

    /// The signature came: the batch joins the own chain and is written (M1).
    pub(crate) fn signed(&mut self, seq: Seq, signature: Signature, out: &mut Vec<Output>) {
        let sealed = self.own.signing.take_if(|sealed| sealed.batch.seq == seq);
        let Some(Sealed {
            mut batch,
            header,
            ids,
        }) = sealed
        else {
            return;
        };
        batch.signature = signature;
        let batch = Arc::new(batch);
        let digest = header.digest();
        let mut records = Vec::new();
        let n = self.lanes.len();
        let mut orders = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let held = self.pool.get_mut(&entry.ct_id);
            orders.push(held.as_ref().map(|held| held.envelope.clone()));
            let Some(held) = held else { continue };
            // What this lane says it holds must survive with it (D6).
            let beside = primary(&held.envelope, &entry.ct_id, n) != self.config.me;
            if !std::mem::replace(&mut held.stored, true) && beside {
                records.push(Record::Payload {
                    ct_id: entry.ct_id,
                    envelope: held.envelope.clone(),
                });
            }
        }
        let slot = Slot {
            signed: true,
            bytes: batch.payload_bytes(),
            sums: (0, 0),
            batch: batch.clone(),
            header,
            digest,
            ids: Vec::new(),
            orders,
            missing: std::collections::BTreeSet::new(),
            checking: false,
            not_before: Micros(0),
            complete: true,
            bad: false,
        };
        let lane = self.lane(self.config.me);
        lane.storing = seq;
        lane.push(slot);
        records.push(Record::Batch { digest, batch, ids });
        let id = WriteId(self.fresh_id());
        self.writes.insert(id, seq);
        if self.config.planted.is(Mutant::BatchFirst) {
            self.own_stored(seq, out);
        }
        out.push(Output::Store {
            id,
            records,
            durable: true,
        });
    }

    /// The own batch is durable: it is said, and its orders are acknowledged.
    pub(crate) fn own_stored(&mut self, seq: Seq, out: &mut Vec<Output>) {
        let me = self.config.me;
        let lane = self.lane(me);
        let Some(slot) = lane.slots.get(&seq) else {
            return;
        };
        let (batch, digest) = (slot.batch.clone(), slot.digest);
        if seq > lane.acked.seq {
            lane.acked = Head { seq, digest };
        }
        let message = LaneMessage::Batch(batch.clone());
        out.push(Output::Send {
            to: To::All,
            message,
        });
        for (index, entry) in batch.entries.iter().enumerate() {
            let place = Place {
                seq,
                entry: index as u32,
                stamp: batch.stamp_of(index),
            };
            let Some(held) = self.pool.get_mut(&entry.ct_id) else {
                self.pool.set_done_place(&entry.ct_id, place);
                continue;
            };
            held.place = Some(place);
            for ticket in std::mem::take(&mut held.tickets) {
                let receipt = self.receipt(entry.ct_id, place);
                out.push(Output::Accepted { ticket, receipt });
            }
        }
        self.progress = true;
    }

    /// What this member signs for an order in its lane; the signature is left out.
    pub(crate) fn receipt(&self, ct_id: CtId, place: Place) -> Receipt {
        Receipt {
            chain: self.config.chain,
            epoch: self.config.epoch,
            ct_id,
            lane: self.config.me,
            seq: place.seq,
            entry: place.entry,
            stamp: place.stamp,
            signature: Signature::default(),
        }
    }

    /// The digests behind the holdings of an own batch.
    pub(crate) fn serve_heads(&self, from: MemberId, seq: Seq, out: &mut Vec<Output>) {
        // C7: of a batch that is durable; before it is, nothing may be said of it.
        let durable = self.lanes[self.config.me.index()].acked.seq;
        if let Some(digests) = self.own.heads.get(&seq).filter(|_| seq <= durable) {
            let digests = digests.clone();
            out.push(Output::Send {
                to: To::One(from),
                message: LaneMessage::Heads { seq, digests },
            });
        }
    }
}

/// [`Envelope::primary`] without hashing the order again.
pub(crate) fn primary(envelope: &Envelope, ct_id: &CtId, n: usize) -> MemberId {
    if usize::from(envelope.label.lane) < n {
        return MemberId(envelope.label.lane);
    }
    let mut head = [0; 8];
    head.copy_from_slice(&ct_id.as_bytes()[..8]);
    MemberId((u64::from_le_bytes(head) % n.max(1) as u64) as u8)
}
