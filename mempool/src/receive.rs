//! Batches of other members: checked, chained, filled with payloads, stored and
//! acknowledged (M1, M2, M4, M5, L2, L3).

use std::sync::Arc;

use fairlane_types::{CtId, Envelope, MemberId, Micros, Seq};

use crate::lane::{Early, Slot};
use crate::lanes::{Check, Lanes, fault};
use crate::{
    Ack, Batch, BatchFault, CheckId, Flaw, Head, LaneFault, LaneFork, Output, Record, WriteId,
};

impl Lanes {
    /// A batch, fresh from its owner or sent on request.
    pub(crate) fn on_batch(
        &mut self,
        now: Micros,
        from: MemberId,
        batch: Arc<Batch>,
        out: &mut Vec<Output>,
    ) {
        let n = self.lanes.len();
        if let Err(error) = batch.check_shape(self.config.epoch, n, &self.limits) {
            return fault(from, LaneFault::Batch(error), out);
        }
        let (id, seq) = (batch.lane, batch.seq);
        if id == self.config.me && !self.config.observer {
            return;
        }
        let lane = &self.lanes[id.index()];
        let sided = lane.side.as_ref().is_some_and(|side| side.need.seq == seq);
        let known = match lane.slots.get(&seq) {
            Some(slot) => slot.batch.signature == batch.signature || lane.muted,
            None => seq <= lane.tip.seq || lane.early.contains_key(&seq),
        };
        if known && !sided {
            return;
        }
        if seq > lane.limit(&self.limits)
            || (seq > lane.tip.seq && !lane.room(&batch, &self.limits))
        {
            // M4: refused now, pulled by range later.
            return self.hear(now, id, seq, from);
        }
        let ids = match batch.payload_ids() {
            Ok(ids) => ids,
            Err(error) => return fault(from, LaneFault::Batch(error), out),
        };
        let header = batch.header_with(&ids);
        let digest = header.digest();
        let early = Early {
            batch,
            header,
            digest,
            ids,
            signed: false,
        };
        if sided && self.side_wants(id, seq, digest) {
            return self.side_take(now, id, from, early, out);
        }
        let lane = &self.lanes[id.index()];
        let same = lane
            .slots
            .get(&seq)
            .is_some_and(|slot| slot.digest == digest);
        if known || same {
            return;
        }
        self.verify(from, early, out);
    }

    /// Asks for the owner's signature to be checked.
    pub(crate) fn verify(&mut self, from: MemberId, early: Early, out: &mut Vec<Output>) {
        let Some(key) = self.config.committee.key(early.header.lane) else {
            return;
        };
        let (header, chain) = (&early.header, self.config.chain);
        let signature = header.check_with(&early.digest, key, chain, early.batch.signature);
        let early = Box::new(early);
        if let Some(check) = self.begin_check(from, Check::Batch { from, early }) {
            out.push(Output::VerifyBatch { check, signature });
        }
    }

    pub(crate) fn verified(
        &mut self,
        now: Micros,
        check: CheckId,
        bad: &[(usize, Flaw)],
        out: &mut Vec<Output>,
    ) {
        let Some(check) = self.checks.remove(&check) else {
            return;
        };
        match check {
            Check::Batch { from, early } => {
                self.end_check(from);
                if bad.is_empty() {
                    let signed = true;
                    self.chain(now, from, Early { signed, ..*early }, out);
                } else {
                    fault(from, LaneFault::BatchSignature, out);
                }
            }
            Check::Fork(fork) => {
                self.end_check(fork.first.header.lane);
                if bad.is_empty() {
                    self.forked(*fork, out);
                }
            }
            Check::Carried {
                lane,
                seq,
                digest,
                orders,
            } => {
                self.end_check(lane);
                let slot = self.lane(lane).slots.get_mut(&seq);
                if let Some(slot) = slot.filter(|slot| slot.digest == digest) {
                    slot.checking = false;
                    if !bad.is_empty() {
                        // M5: the header commits to these bytes, so the owner is faulty.
                        slot.bad = true;
                        fault(lane, LaneFault::Order, out);
                    }
                }
                self.admit_good(now, orders, bad, out);
                self.spoil(lane, seq);
                self.ask_for_missing(now, lane, seq);
                self.try_complete(now, lane, seq, out);
            }
            Check::Fetched { from, orders } => {
                self.end_check(from);
                if !bad.is_empty() {
                    fault(from, LaneFault::Payload, out);
                }
                for (index, _) in bad {
                    if let Some((ct_id, _)) = orders.get(*index) {
                        self.payloads.hurry(ct_id, now);
                    }
                }
                self.admit_good(now, orders, bad, out);
            }
            Check::Submitted(orders) => self.submissions_verified(now, orders, bad, out),
        }
    }

    pub(crate) fn end_check(&mut self, from: MemberId) {
        let count = &mut self.checks_of[from.index()];
        *count = count.saturating_sub(1);
    }

    fn admit_good(
        &mut self,
        now: Micros,
        orders: Vec<(CtId, Arc<Envelope>)>,
        bad: &[(usize, Flaw)],
        out: &mut Vec<Output>,
    ) {
        for (index, (ct_id, envelope)) in orders.into_iter().enumerate() {
            if bad.iter().all(|(at, _)| *at != index) {
                self.admit(now, ct_id, envelope, out);
            }
        }
    }

    /// A batch whose owner's signature is good: appended, kept for later, or the proof of
    /// a fork.
    pub(crate) fn chain(
        &mut self,
        now: Micros,
        from: MemberId,
        early: Early,
        out: &mut Vec<Output>,
    ) {
        let id = early.header.lane;
        let mut next = Some(early);
        while let Some(early) = next.take() {
            let lane = &self.lanes[id.index()];
            let seq = early.header.seq;
            if seq <= lane.tip.seq {
                if let Some(fork) = lane.contradiction(&early) {
                    self.forked(fork, out);
                }
                return;
            }
            if seq > lane.limit(&self.limits) || !lane.room(&early.batch, &self.limits) {
                return self.hear(now, id, seq, from);
            }
            if seq > lane.tip.seq.next() {
                self.lane(id).early.insert(seq, early);
                return self.hear(now, id, seq, from);
            }
            if early.header.parent != lane.tip.digest {
                // The owner signed another batch before this one.
                let (head, firm) = match lane.final_head {
                    head if head.seq > lane.tip.seq => (head, true),
                    _ => (
                        Head {
                            seq: lane.tip.seq,
                            digest: early.header.parent,
                        },
                        false,
                    ),
                };
                return self.side_start(now, id, head, firm, from);
            }
            // L1: stamps do not decrease in a lane.
            if early.header.stamp < lane.tip_stamp || early.batch.stamp_of(0) < lane.tip_stamp {
                return fault(id, LaneFault::Batch(BatchFault::Stamps), out);
            }
            self.append(now, early, out);
            next = self.lane(id).early.remove(&seq.next());
        }
    }

    /// Appends to the chain; the caller has checked that it fits.
    pub(crate) fn append(&mut self, now: Micros, early: Early, out: &mut Vec<Output>) {
        let (id, seq) = (early.header.lane, early.header.seq);
        let holdings = early.batch.holdings.clone();
        let slot = Slot {
            signed: early.signed,
            bytes: early.batch.payload_bytes(),
            sums: (0, 0),
            batch: early.batch,
            header: early.header,
            digest: early.digest,
            ids: early.ids,
            orders: Vec::new(),
            missing: std::collections::BTreeSet::new(),
            checking: false,
            not_before: Micros(0),
            complete: false,
            bad: false,
        };
        self.lane(id).push(slot);
        self.fill(now, id, seq, out);
        self.try_complete(now, id, seq, out);
        self.take_holdings(now, id, seq, holdings, out);
        self.tip_moved(now, id, out);
        let lane = &self.lanes[id.index()];
        if seq == lane.final_head.seq && lane.tip != lane.final_head {
            let head = lane.final_head;
            self.side_start(now, id, head, true, id);
        }
    }

    /// Finds out which payloads of a new batch are held, which it carries, and which are
    /// missing.
    fn fill(&mut self, now: Micros, id: MemberId, seq: Seq, out: &mut Vec<Output>) {
        let Some(slot) = self.lanes[id.index()].slots.get_mut(&seq) else {
            return;
        };
        let mut check = Vec::new();
        for (ct_id, envelope) in slot.ids.iter().zip(&slot.batch.payloads) {
            let held = self.pool.get(ct_id);
            if held.is_some_and(|held| held.envelope.signature == envelope.signature) {
                continue;
            }
            if self.config.check_envelope(envelope).is_err() {
                slot.bad = true;
            } else {
                check.push((*ct_id, envelope.clone()));
            }
        }
        for entry in &slot.batch.entries {
            let ct_id = &entry.ct_id;
            if self.pool.get(ct_id).is_none() && !self.pool.is_done(ct_id) {
                slot.missing.insert(*ct_id);
                self.pool.wait(*ct_id, id, seq);
            }
        }
        if slot.bad {
            fault(id, LaneFault::Order, out);
        }
        let digest = slot.digest;
        if check.is_empty() || slot.bad {
            self.spoil(id, seq);
            return self.ask_for_missing(now, id, seq);
        }
        slot.checking = true;
        let envelopes = check.clone();
        let check = Check::Carried {
            lane: id,
            seq,
            digest,
            orders: check,
        };
        // One per batch, so the window bounds them; not counted against anyone.
        let check_id = CheckId(self.fresh_id());
        self.checks_of[id.index()] += 1;
        self.checks.insert(check_id, check);
        out.push(Output::VerifyEnvelopes {
            check: check_id,
            envelopes,
        });
        // What the batch does not carry is asked for meanwhile.
        let at = self.payload_due(now);
        let Some(slot) = self.lanes[id.index()].slots.get(&seq) else {
            return;
        };
        let carried: std::collections::BTreeSet<_> = slot.ids.iter().collect();
        for ct_id in (slot.missing.iter()).filter(|ct_id| !carried.contains(ct_id)) {
            self.payloads.want(*ct_id, id, at);
        }
    }

    /// A batch that is never valid waits for nothing.
    fn spoil(&mut self, id: MemberId, seq: Seq) {
        if let Some(slot) = self.lanes[id.index()].slots.get_mut(&seq)
            && slot.bad
        {
            for ct_id in std::mem::take(&mut slot.missing) {
                self.pool.stop_waiting(&ct_id, id, seq);
            }
        }
    }

    fn ask_for_missing(&mut self, now: Micros, id: MemberId, seq: Seq) {
        let at = self.payload_due(now);
        if let Some(slot) = self.lanes[id.index()].slots.get(&seq) {
            for ct_id in &slot.missing {
                self.payloads.want(*ct_id, id, at);
            }
        }
    }

    /// A valid order that was not held: echo it (L3) and tell who waits for it.
    pub(crate) fn admit(
        &mut self,
        now: Micros,
        ct_id: CtId,
        envelope: Arc<Envelope>,
        out: &mut Vec<Output>,
    ) {
        // An order that expires beyond now + 2·TTL_max is not recorded yet, see `fair`.
        let parked = self.not_before(&envelope) > now;
        let time = self.final_time;
        if self.pool.insert(ct_id, envelope, parked, time) && !parked {
            self.echo(now, &ct_id);
        }
        self.payloads.remove(&ct_id);
        for (lane, seq) in self.pool.waiters(&ct_id) {
            self.no_longer_missing(now, lane, seq, &ct_id, out);
        }
    }

    pub(crate) fn no_longer_missing(
        &mut self,
        now: Micros,
        lane: MemberId,
        seq: Seq,
        ct_id: &CtId,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.lane(lane).slots.get_mut(&seq) {
            slot.missing.remove(ct_id);
            self.try_complete(now, lane, seq, out);
        }
    }

    /// When an order may be recorded in lanes: bounds how long the order rule has to
    /// remember it, by the clocks of honest members instead of a lagging finalized time.
    pub(crate) fn not_before(&self, envelope: &Envelope) -> Micros {
        let ahead = self.config.ttl_max.0.saturating_mul(2);
        Micros::from_millis(envelope.label.expiry.0.saturating_sub(ahead))
    }

    /// Completes a batch that lacks nothing any more, unless it must be held back (L2).
    pub(crate) fn try_complete(
        &mut self,
        now: Micros,
        id: MemberId,
        seq: Seq,
        out: &mut Vec<Output>,
    ) {
        let Some(slot) = self.lanes[id.index()].slots.get(&seq) else {
            return;
        };
        if slot.complete || slot.bad || slot.checking || !slot.missing.is_empty() {
            return;
        }
        let mut orders = Vec::with_capacity(slot.batch.entries.len());
        let mut gone = Vec::new();
        let mut not_before = slot.header.stamp.minus(self.config.lanes.future_ms * 1_000);
        for entry in &slot.batch.entries {
            let held = self.pool.get(&entry.ct_id);
            if let Some(held) = held {
                not_before = not_before.max(self.not_before(&held.envelope));
            } else if !self.pool.is_done(&entry.ct_id) {
                gone.push(entry.ct_id);
            }
            orders.push(held.map(|held| held.envelope.clone()));
        }
        if !gone.is_empty() {
            // Forgotten between two checks; it is fetched again.
            let at = self.payload_due(now);
            for ct_id in gone {
                self.pool.wait(ct_id, id, seq);
                self.payloads.want(ct_id, id, at);
                if let Some(slot) = self.lane(id).slots.get_mut(&seq) {
                    slot.missing.insert(ct_id);
                }
            }
            return;
        }
        let is_final = seq <= self.lanes[id.index()].final_head.seq;
        let Some(slot) = self.lanes[id.index()].slots.get_mut(&seq) else {
            return;
        };
        if not_before > now && !is_final {
            slot.not_before = not_before;
            self.held_back.insert((not_before, id, seq));
            return;
        }
        slot.complete = true;
        slot.orders = orders;
        let ids: Vec<_> = slot.batch.entries.iter().map(|e| e.ct_id).collect();
        for ct_id in &ids {
            self.pool.unpark(ct_id);
            self.echo(now, ct_id);
        }
        self.lane(id).completed();
        self.progress = true;
        self.store_run(id, out);
    }

    /// Writes what became complete in a row, with its payloads and one acknowledgement.
    ///
    /// M2, C7: no sync of its own. Whatever is said on the strength of an acknowledgement
    /// (an own batch that publishes it, a vote, a proposal) has a record that is synced
    /// first, and a sync covers every write before it. So it counts from here on.
    pub(crate) fn store_run(&mut self, id: MemberId, out: &mut Vec<Output>) {
        self.unasked.insert(id);
        let lane = &mut self.lanes[id.index()];
        let (mut records, mut entries) = (Vec::new(), false);
        let mut head = None;
        while let Some(slot) = lane.slots.get_mut(&lane.storing.next()) {
            if !slot.complete {
                break;
            }
            let ids = std::mem::take(&mut slot.ids);
            for ct_id in &ids {
                if let Some(held) = self.pool.get_mut(ct_id) {
                    held.stored = true;
                }
            }
            for entry in &slot.batch.entries {
                if let Some(held) = self.pool.get_mut(&entry.ct_id)
                    && !std::mem::replace(&mut held.stored, true)
                {
                    records.push(Record::Payload {
                        ct_id: entry.ct_id,
                        envelope: held.envelope.clone(),
                    });
                }
            }
            entries |= !slot.batch.entries.is_empty();
            records.push(Record::Batch {
                digest: slot.digest,
                batch: slot.batch.clone(),
                ids,
            });
            lane.storing = slot.header.seq;
            head = Some(Head {
                seq: slot.header.seq,
                digest: slot.digest,
            });
        }
        let Some(head) = head else {
            return;
        };
        // M1: nothing more of a muted lane is acknowledged. Never two digests for one seq.
        let ack = !lane.muted && lane.has(lane.acked);
        if ack {
            records.push(Record::Ack(Ack {
                lane: id,
                seq: head.seq,
                digest: head.digest,
            }));
        }
        if ack && head.seq > lane.acked.seq {
            lane.acked = head;
            self.own.acknowledge(entries);
        }
        self.progress = true;
        let id = WriteId(self.fresh_id());
        out.push(Output::Store {
            id,
            records,
            durable: false,
        });
    }

    /// An own batch is durable: what rests on it may be said now.
    pub(crate) fn stored(&mut self, id: WriteId, out: &mut Vec<Output>) {
        if let Some(seq) = self.writes.remove(&id) {
            self.own_stored(seq, out);
        }
    }

    /// Two signed versions of one batch (M1): evidence, and the lane is muted.
    pub(crate) fn forked(&mut self, fork: LaneFork, out: &mut Vec<Output>) {
        let id = fork.first.header.lane;
        let lane = self.lane(id);
        if !std::mem::replace(&mut lane.told, true) {
            lane.muted = true;
            out.push(Output::Evidence(Box::new(fork)));
            fault(id, LaneFault::Fork, out);
        }
    }
}
