//! What is missing is asked for, from who should have it, then from the others, with
//! growing patience (L6, D6, M4); and what others miss is served (M6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{BatchDigest, CtId, Envelope, MemberId, Micros, Seq};

use crate::lanes::{Check, Lanes, earliest, fault};
use crate::{
    ANSWER_BYTES, BATCHES_MAX, Batch, LaneFault, LaneMessage, LoadId, Output, PAYLOADS_MAX, To,
    Wanted,
};

/// A heard-of batch usually comes by itself within this.
const PATIENCE_US: u64 = 10_000;
/// First retry; doubled up to RETRY_DOUBLINGS times.
const RETRY_US: u64 = 50_000;
const RETRY_DOUBLINGS: u32 = 5;
/// After so many requests without progress what was heard of a lane is forgotten.
const TRIES_MAX: u32 = 32;
/// Requests for another version of a lane, unless it is final, before it is given up.
const SIDE_TRIES_MAX: u32 = 6;
/// A payload that nobody gave after so many requests keeps nobody awake any more (L4);
/// it is still asked for.
const HOPEFUL_TRIES: u32 = 8;
/// Disk reads under way for one peer.
const LOADS_MAX: usize = 4;

/// Payloads to be asked for; bounded by the entries of the lanes' windows.
#[derive(Debug, Default)]
pub(crate) struct PayloadWants {
    wants: BTreeMap<CtId, Want>,
    due: BTreeSet<(Micros, CtId)>,
    /// Those with fewer than HOPEFUL_TRIES requests.
    hopeful: usize,
}

#[derive(Debug)]
struct Want {
    at: Micros,
    tries: u32,
    lane: MemberId,
}

impl PayloadWants {
    /// Wants an order that `lane` recorded, from `at` on.
    pub fn want(&mut self, ct_id: CtId, lane: MemberId, at: Micros) {
        self.wants.entry(ct_id).or_insert_with(|| {
            self.due.insert((at, ct_id));
            self.hopeful += 1;
            Want { at, tries: 0, lane }
        });
    }

    pub fn remove(&mut self, ct_id: &CtId) {
        if let Some(want) = self.wants.remove(ct_id) {
            self.due.remove(&(want.at, *ct_id));
            self.hopeful -= usize::from(want.tries < HOPEFUL_TRIES);
        }
    }

    /// Whether a payload is expected soon.
    pub fn hopeful(&self) -> bool {
        self.hopeful > 0
    }

    /// Asks the next one at once.
    pub fn hurry(&mut self, ct_id: &CtId, now: Micros) {
        if let Some(want) = self.wants.get_mut(ct_id) {
            self.due.remove(&(want.at, *ct_id));
            want.at = want.at.min(now);
            self.due.insert((want.at, *ct_id));
        }
    }

    /// Takes one that is due and schedules its retry.
    fn next_due(&mut self, now: Micros) -> Option<(CtId, MemberId, u32)> {
        let &(at, ct_id) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let want = self.wants.get_mut(&ct_id)?;
        let tries = want.tries;
        want.tries = tries.saturating_add(1);
        self.hopeful -= usize::from(want.tries == HOPEFUL_TRIES);
        want.at = now.plus(retry(tries));
        self.due.insert((want.at, ct_id));
        Some((ct_id, want.lane, tries))
    }
}

impl Lanes {
    pub(crate) fn payload_due(&self, now: Micros) -> Micros {
        // The primary's batch usually brings the bytes (L6).
        now.plus(PATIENCE_US.max(self.config.lanes.batch_interval_ms * 2_000))
    }

    /// Someone has, or claims to have, a lane up to `seq`.
    pub(crate) fn hear(&mut self, now: Micros, id: MemberId, seq: Seq, from: MemberId) {
        if id == self.config.me && !self.config.observer {
            return;
        }
        let fetch = &mut self.lane(id).fetch;
        if seq > fetch.target {
            fetch.target = seq;
            fetch.source = from;
            fetch.at.get_or_insert(now.plus(PATIENCE_US));
            self.seeking.insert(id);
        }
    }

    /// Asks at the next occasion.
    pub(crate) fn hasten(&mut self, now: Micros, id: MemberId, from: MemberId) {
        let fetch = &mut self.lane(id).fetch;
        fetch.at = Some(now);
        fetch.source = from;
        fetch.tries = 0;
        self.seeking.insert(id);
    }

    /// Sends the requests that are due; says when the next ones are.
    pub(crate) fn fetch_due(&mut self, now: Micros, out: &mut Vec<Output>) -> Option<Micros> {
        let mut wake = None;
        for id in self.seeking.iter() {
            wake = earliest(wake, self.range_due(now, id, out));
            wake = earliest(wake, self.side_due(now, id, out));
            if !self.lanes[id.index()].incomplete() {
                self.seeking.remove(id);
            }
        }
        let mut asks: BTreeMap<MemberId, Vec<CtId>> = BTreeMap::new();
        while let Some((ct_id, lane, tries)) = self.payloads.next_due(now) {
            if !self.pool.awaited(&ct_id) {
                self.payloads.remove(&ct_id);
                continue;
            }
            let peer = self.whom(lane, lane, tries);
            asks.entry(peer).or_default().push(ct_id);
        }
        for (peer, ids) in asks {
            for ids in ids.chunks(PAYLOADS_MAX) {
                send(peer, LaneMessage::GetPayloads(ids.to_vec()), out);
            }
        }
        earliest(wake, self.payloads.due.first().map(|(at, _)| *at))
    }

    /// Asks for the next range of a lane if it is time.
    fn range_due(&mut self, now: Micros, id: MemberId, out: &mut Vec<Output>) -> Option<Micros> {
        let range = self.range_wanted(id);
        let fetch = &mut self.lane(id).fetch;
        let Some((from, to)) = range else {
            (fetch.at, fetch.tries) = (None, 0);
            return None;
        };
        let at = *fetch.at.get_or_insert(now);
        if at > now {
            return Some(at);
        }
        let (tries, source) = (fetch.tries, fetch.source);
        let next = now.plus(retry(tries));
        (fetch.at, fetch.tries, fetch.asked_to) = (Some(next), tries + 1, to);
        if tries >= TRIES_MAX {
            // It may never have existed; whoever has it will say so again.
            (fetch.target, fetch.tries) = (Seq(0), 0);
        }
        let message = LaneMessage::GetBatches {
            lane: id,
            from,
            to,
            head: BatchDigest::default(),
        };
        send(self.whom(id, source, tries), message, out);
        Some(next)
    }

    /// Asks for the next part of another version of a lane if it is time.
    fn side_due(&mut self, now: Micros, id: MemberId, out: &mut Vec<Output>) -> Option<Micros> {
        let lane = self.lane(id);
        let (taken, final_head) = (lane.taken.seq, lane.final_head);
        let side = lane.side.as_mut().filter(|side| !side.linked)?;
        if side.at > now {
            return Some(side.at);
        }
        // What would have to replace batches that are consumed is false: those are final.
        let refuted = side.need.seq <= taken;
        if refuted || side.tries >= SIDE_TRIES_MAX && side.target != final_head {
            lane.side = None;
            return None;
        }
        let (tries, source) = (side.tries, side.source);
        let next = now.plus(retry(tries));
        (side.at, side.tries) = (next, tries.saturating_add(1));
        let span = BATCHES_MAX as u64 - 1;
        let message = LaneMessage::GetBatches {
            lane: id,
            from: side.need.seq.minus(span).max(taken.next()),
            to: side.need.seq,
            head: side.need.digest,
        };
        send(self.whom(id, source, tries), message, out);
        Some(next)
    }

    /// The next range of a lane to ask for.
    fn range_wanted(&self, id: MemberId) -> Option<(Seq, Seq)> {
        let lane = &self.lanes[id.index()];
        let span = BATCHES_MAX as u64 - 1;
        let next = lane.tip.seq.next();
        let mut to = lane.fetch.target.max(lane.final_head.seq);
        to = to.min(lane.limit(&self.limits)).min(next.plus(span));
        if let Some((early, _)) = lane.early.first_key_value() {
            to = to.min(early.prev());
        }
        if to < next {
            return None;
        }
        // Asking for what there is no room for would be a waste; finality makes room.
        let (_, entries, bytes) = lane.beyond_final();
        let crowded =
            entries * 2 > self.limits.window_entries || bytes * 2 > self.limits.window_bytes;
        let needed = !crowded || lane.tip.seq < lane.final_head.seq;
        needed.then_some((next, to))
    }

    /// Whom to ask on the `tries`-th attempt: who mentioned it, the owner, those who
    /// acknowledged the lane, everybody.
    fn whom(&self, id: MemberId, source: MemberId, tries: u32) -> MemberId {
        let n = self.lanes.len();
        let lane = &self.lanes[id.index()];
        let mut order = Vec::with_capacity(2 * n + 2);
        order.extend([source, id]);
        let rotated = || (1..n).map(|step| MemberId(((id.index() + step) % n) as u8));
        order.extend(
            rotated().filter(|m| self.acks[m.index()][id.index()].seq > lane.tip.seq.prev()),
        );
        order.extend(rotated());
        order.dedup();
        order.retain(|m| *m != self.config.me);
        order
            .get(tries as usize % order.len().max(1))
            .copied()
            .unwrap_or(source)
    }

    /// After a lane's tip moved: what was asked for is there, or more is wanted at once.
    pub(crate) fn tip_moved(&mut self, now: Micros, id: MemberId, out: &mut Vec<Output>) {
        let lane = self.lane(id);
        lane.fetch.tries = 0;
        if lane.tip.seq >= lane.fetch.asked_to && lane.fetch.at.is_some() {
            lane.fetch.at = Some(now);
        }
        self.understand_all(now, id, out);
    }

    pub(crate) fn on_batches(
        &mut self,
        now: Micros,
        from: MemberId,
        mut batches: Vec<Arc<Batch>>,
        out: &mut Vec<Output>,
    ) {
        let sided = |batch: &Arc<Batch>| {
            (self.lanes.get(batch.lane.index())).is_some_and(|lane| lane.side.is_some())
        };
        // Another version is collected downwards from the digest that is known.
        if batches.first().is_some_and(sided) {
            batches.reverse();
        }
        for batch in batches {
            self.on_batch(now, from, batch, out);
        }
    }

    pub(crate) fn on_payloads(
        &mut self,
        from: MemberId,
        payloads: Vec<Arc<Envelope>>,
        out: &mut Vec<Output>,
    ) {
        let mut orders = Vec::new();
        for envelope in payloads {
            if self.config.check_envelope(&envelope).is_err() {
                return fault(from, LaneFault::Payload, out);
            }
            let ct_id = envelope.id();
            if self.pool.awaited(&ct_id) {
                orders.push((ct_id, envelope));
            }
        }
        if orders.is_empty() {
            return;
        }
        let envelopes = orders.clone();
        if let Some(check) = self.begin_check(from, Check::Fetched { from, orders }) {
            out.push(Output::VerifyEnvelopes { check, envelopes });
        }
    }

    pub(crate) fn serve_batches(
        &mut self,
        peer: MemberId,
        id: MemberId,
        first: Seq,
        to: Seq,
        head: BatchDigest,
        out: &mut Vec<Output>,
    ) {
        let Some(lane) = self.lanes.get(id.index()) else {
            return;
        };
        // M1: own batches are said only when they are durable.
        let last = if id == self.config.me {
            lane.acked.seq
        } else {
            lane.tip.seq
        };
        let to = to.min(last);
        let other =
            head != BatchDigest::default() && lane.at(to).is_some_and(|(digest, _)| digest != head);
        if first > to || other {
            return;
        }
        let memory = lane
            .slots
            .first_key_value()
            .map_or(lane.tip.seq.next(), |(seq, _)| *seq);
        if first < memory {
            let to = to.min(memory.prev());
            let wanted = Wanted::Batches {
                lane: id,
                from: first,
                to,
            };
            return self.load(peer, wanted, out);
        }
        let slots = lane.slots.range(first..=to).map(|(_, slot)| &slot.batch);
        let batches = prefix(slots, BATCHES_MAX, batch_bytes);
        send(peer, LaneMessage::Batches(batches), out);
    }

    pub(crate) fn serve_payloads(&mut self, peer: MemberId, ids: Vec<CtId>, out: &mut Vec<Output>) {
        let (mut held, mut rest) = (Vec::new(), Vec::new());
        for ct_id in ids {
            match self.pool.get(&ct_id) {
                Some(order) => held.push(order.envelope.clone()),
                None => rest.push(ct_id),
            }
        }
        if !held.is_empty() {
            let held = prefix(held.iter(), PAYLOADS_MAX, Envelope::encoded_len);
            send(peer, LaneMessage::Payloads(held), out);
        }
        if !rest.is_empty() {
            self.load(peer, Wanted::Payloads(rest), out);
        }
    }

    fn load(&mut self, peer: MemberId, wanted: Wanted, out: &mut Vec<Output>) {
        if self.loads.values().filter(|p| **p == peer).count() >= LOADS_MAX {
            return;
        }
        let id = LoadId(self.fresh_id());
        self.loads.insert(id, peer);
        out.push(Output::Load { id, wanted });
    }

    pub(crate) fn loaded(
        &mut self,
        load: LoadId,
        batches: Vec<Arc<Batch>>,
        payloads: Vec<Arc<Envelope>>,
        out: &mut Vec<Output>,
    ) {
        let Some(peer) = self.loads.remove(&load) else {
            return;
        };
        if !batches.is_empty() {
            let batches = prefix(batches.iter(), BATCHES_MAX, batch_bytes);
            send(peer, LaneMessage::Batches(batches), out);
        }
        if !payloads.is_empty() {
            let payloads = prefix(payloads.iter(), PAYLOADS_MAX, Envelope::encoded_len);
            send(peer, LaneMessage::Payloads(payloads), out);
        }
    }
}

fn batch_bytes(batch: &Batch) -> usize {
    batch.payload_bytes() + 36 * batch.entries.len()
}

/// As many as an answer may carry, at least one.
fn prefix<'a, T: 'a>(
    items: impl Iterator<Item = &'a Arc<T>>,
    count: usize,
    size: impl Fn(&T) -> usize,
) -> Vec<Arc<T>> {
    let mut bytes = 0;
    (items.take(count))
        .take_while(|item| {
            let before = bytes;
            bytes += size(item);
            before < ANSWER_BYTES
        })
        .cloned()
        .collect()
}

pub(crate) fn send(to: MemberId, message: LaneMessage, out: &mut Vec<Output>) {
    out.push(Output::Send {
        to: To::One(to),
        message,
    });
}

const fn retry(tries: u32) -> u64 {
    let doublings = if tries < RETRY_DOUBLINGS {
        tries
    } else {
        RETRY_DOUBLINGS
    };
    RETRY_US << doublings
}
