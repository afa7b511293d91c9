//! A restart: lanes rebuilt from what this member wrote (C7, M1, M2). Batches, payloads
//! and acknowledgements on disk were checked before they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{Envelope, Micros, Mutant, Seq};

use crate::lane::Slot;
use crate::lanes::Lanes;
use crate::pool::Place;
use crate::{Batch, Config, Head, Recovered};

impl Lanes {
    /// Lanes as a restart finds them; everything in `recovered` was written by this
    /// member and is trusted. Nothing is said before [`crate::Input::Start`].
    #[must_use]
    pub fn restore(config: Config, recovered: Recovered) -> Self {
        let mut lanes = Self::new(config);
        let n = lanes.lanes.len();
        if recovered.cut.heads.len() == n {
            lanes.parent = recovered.cut.clone();
        }
        lanes.final_time = lanes.final_time.max(recovered.time);
        lanes.taken_time = lanes.final_time;
        for (index, lane) in lanes.lanes.iter_mut().enumerate() {
            let head = recovered.cut.heads.get(index).copied().unwrap_or_default();
            let stamp = recovered.stamps.get(index).copied().unwrap_or(Micros(0));
            (lane.taken, lane.taken_stamp) = (head, stamp);
            (lane.tip, lane.tip_stamp) = (head, stamp);
            (lane.final_head, lane.storing) = (head, head.seq);
        }
        for ack in &recovered.acks {
            if let Some(lane) = lanes.lanes.get_mut(ack.lane.index())
                && ack.seq >= lane.acked.seq
            {
                lane.acked = Head {
                    seq: ack.seq,
                    digest: ack.digest,
                };
            }
        }
        for emitted in &recovered.emitted {
            let _ = lanes.pool.finish(emitted, lanes.config.ttl_max);
        }
        for payload in recovered.payloads {
            lanes.hold_again(payload);
        }
        let mut batches: BTreeMap<(usize, Seq), Arc<Batch>> = BTreeMap::new();
        for batch in recovered.batches {
            if batch.lane == lanes.config.me && lanes.config.planted.is(Mutant::ForgetBatches) {
                continue;
            }
            for payload in &batch.payloads {
                lanes.hold_again(payload.clone());
            }
            if batch.lane.index() < n {
                batches.insert((batch.lane.index(), batch.seq), batch);
            }
        }
        for ((index, seq), batch) in batches {
            lanes.chain_again(index, seq, batch);
        }
        for forked in recovered.forked {
            if let Some(lane) = lanes.lanes.get_mut(forked.index()) {
                lane.muted = true;
            }
        }
        // Every own batch on disk is durable; L2: stamps go on from the last one.
        let me = lanes.config.me;
        let own = lanes.lane(me);
        (own.acked, own.storing) = (own.tip, own.tip.seq);
        lanes.own.clock = lanes.lanes[me.index()].tip_stamp;
        lanes
    }

    /// Parked until `Start`, when what the own lane lacks is echoed, in this order.
    fn hold_again(&mut self, envelope: Arc<Envelope>) {
        let ct_id = envelope.id();
        self.found.push(ct_id);
        self.pool.insert(ct_id, envelope, true, self.final_time);
        if let Some(held) = self.pool.get_mut(&ct_id) {
            held.stored = true;
        }
    }

    fn chain_again(&mut self, index: usize, seq: Seq, batch: Arc<Batch>) {
        let ids: Vec<_> = batch.payloads.iter().map(|order| order.id()).collect();
        let header = batch.header_with(&ids);
        let digest = header.digest();
        let id = header.lane;
        if id == self.config.me {
            self.receipts_again(&batch);
        }
        let lane = &mut self.lanes[index];
        if seq <= lane.taken.seq {
            lane.line.push(seq, digest, header.stamp);
        }
        if seq != lane.tip.seq.next() || header.parent != lane.tip.digest {
            // Consumed, a gap, or the remains of another version: fetched if needed.
            return;
        }
        let mut slot = Slot {
            signed: true,
            bytes: batch.payload_bytes(),
            sums: (0, 0),
            batch,
            header,
            digest,
            ids,
            orders: Vec::new(),
            missing: BTreeSet::new(),
            checking: false,
            not_before: Micros(0),
            complete: false,
            bad: false,
        };
        for entry in &slot.batch.entries {
            let held = self
                .pool
                .get(&entry.ct_id)
                .map(|held| held.envelope.clone());
            if held.is_none() && !self.pool.is_done(&entry.ct_id) {
                slot.missing.insert(entry.ct_id);
                self.pool.wait(entry.ct_id, id, seq);
                self.payloads.want(entry.ct_id, id, Micros(0));
            }
            slot.orders.push(held);
        }
        slot.complete = slot.missing.is_empty();
        if slot.complete && lane.storing == seq.prev() {
            lane.storing = seq;
        }
        lane.push(slot);
    }

    /// The same order submitted again gives the same receipt, also after a restart.
    fn receipts_again(&mut self, batch: &Batch) {
        for (index, entry) in batch.entries.iter().enumerate() {
            let place = Place {
                seq: batch.seq,
                entry: index as u32,
                stamp: batch.stamp_of(index),
            };
            match self.pool.get_mut(&entry.ct_id) {
                Some(held) => {
                    held.queued = true;
                    held.place.get_or_insert(place);
                }
                None => self.pool.set_done_place(&entry.ct_id, place),
            }
        }
    }
}
