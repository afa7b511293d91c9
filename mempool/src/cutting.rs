//! Cuts: building and judging them, fetching what they need, and what a final one adds
//! ("Payload validity" in PROTOCOL §2, C10, C13).

use fairlane_types::{BlockId, MemberId, Micros, Millis, Seq, SignerSet};

use crate::lanes::{Lanes, WANTED_MAX, WantedCut};
use crate::{
    AdmissionError, BuiltCut, Cut, CutDelta, CutFault, FinalCut, FinalEntry, Head, LaneDelta,
    LaneFault, Output, Verdict,
};

/// What one lane of a proposed cut looks like.
enum Look {
    /// Held and acknowledged; the stamp of its head.
    Good(Micros),
    Missing,
    Bad(CutFault),
}

impl Lanes {
    /// A cut to propose on `parent`; lanes in `certified_only`, and forked ones, advance
    /// only to heads that q members acknowledged.
    #[must_use]
    pub fn build_cut(
        &self,
        parent: &Cut,
        parent_time: Millis,
        certified_only: &[MemberId],
    ) -> BuiltCut {
        let mut cut = parent.clone();
        for id in self.config.committee.ids() {
            let from = parent.head(id);
            let to = self.proposable(id, from, certified_only.contains(&id));
            if let Some((digest, _)) = self.lanes[id.index()].at(to).filter(|_| to > from.seq)
                && let Some(head) = cut.heads.get_mut(id.index())
            {
                *head = Head { seq: to, digest };
            }
        }
        let advances = cut != *parent;
        match self.time_of(parent_time, &cut) {
            Some(time) => BuiltCut {
                cut,
                time,
                advances,
            },
            // C13: who lacks heads of the parent cannot tell the time of another cut.
            None => BuiltCut {
                cut: parent.clone(),
                time: parent_time,
                advances: false,
            },
        }
    }

    /// Whether a cut built now on `parent` would advance (C10).
    #[must_use]
    pub fn advances(&self, parent: &Cut) -> bool {
        self.extends(parent) && self.has_heads(parent)
    }

    /// [`advances`](Self::advances) on the parent that was set last. It is asked at the
    /// end of every step, so what was found once is kept.
    pub(crate) fn advances_parent(&mut self) -> bool {
        if !self.extends_at(&self.parent, self.ahead) {
            let mut unasked = self.unasked.iter();
            match unasked.find(|id| self.extends_at(&self.parent, *id)) {
                Some(id) => self.ahead = id,
                None => {
                    debug_assert!(!self.extends(&self.parent), "a lane moved untold");
                    self.unasked = SignerSet::default();
                    return false;
                }
            }
        }
        if !self.parent_held {
            self.parent_held = self.has_heads(&self.parent);
        }
        self.parent_held
    }

    /// Whether some lane may advance from a cut's head.
    fn extends(&self, parent: &Cut) -> bool {
        (self.config.committee.ids()).any(|id| self.extends_at(parent, id))
    }

    fn extends_at(&self, parent: &Cut, id: MemberId) -> bool {
        let from = parent.head(id);
        let lane = &self.lanes[id.index()];
        // Cheap first: most of the time nothing is above the parent.
        parent.heads.len() == self.lanes.len()
            && lane.tip.seq > from.seq
            && self.proposable(id, from, false) > from.seq
    }

    /// Whether every head of a cut is on our chains (C13).
    fn has_heads(&self, cut: &Cut) -> bool {
        (self.lanes.iter().zip(&cut.heads)).all(|(lane, head)| lane.has(*head))
    }

    /// How far a lane may advance from a head, within the limits of one cut.
    fn proposable(&self, id: MemberId, from: Head, certified_only: bool) -> Seq {
        let lane = &self.lanes[id.index()];
        if !lane.has(from) {
            return from.seq;
        }
        let acked = if lane.muted || certified_only {
            Seq(0)
        } else {
            lane.acked_to()
        };
        let top = if acked >= lane.tip.seq {
            acked
        } else {
            let floor = acked.max(from.seq);
            self.certified_above(id, floor).unwrap_or(floor)
        };
        let (mut to, mut entries, mut bytes) = (from.seq, 0, 0);
        for (seq, slot) in lane.slots.range(from.seq.next()..) {
            entries += slot.batch.entries.len();
            bytes += slot.bytes;
            let over = entries > self.limits.cut_entries
                || bytes > self.limits.window_bytes
                || seq.0 - from.seq.0 > self.limits.window_batches;
            if *seq > top || *seq != to.next() || over {
                break;
            }
            to = *seq;
        }
        to
    }

    /// C13: max(parent's, (f+1)-th largest head).
    fn time_of(&self, parent_time: Millis, cut: &Cut) -> Option<Millis> {
        let mut stamps = Vec::with_capacity(cut.heads.len());
        for (lane, head) in self.lanes.iter().zip(&cut.heads) {
            stamps.push(lane.at(head.seq).filter(|(d, _)| *d == head.digest)?.1);
        }
        Some(time_of_stamps(
            parent_time,
            stamps,
            self.config.committee.f(),
        ))
    }

    /// What to think of a proposed cut.
    #[must_use]
    pub fn check_cut(&self, parent: &Cut, parent_time: Millis, cut: &Cut, time: Millis) -> Verdict {
        let n = self.lanes.len();
        if cut.heads.len() != n || parent.heads.len() != n {
            return Verdict::Invalid(CutFault::Width);
        }
        if cut == parent {
            // The parent's time was checked against the same heads.
            let want = parent_time;
            return match time {
                got if got != want => Verdict::Invalid(CutFault::Time { got, want }),
                _ => Verdict::Valid,
            };
        }
        let (mut missing, mut stamps) = (Vec::new(), Vec::with_capacity(n));
        for id in self.config.committee.ids() {
            match self.look(id, parent.head(id), cut.head(id)) {
                Look::Good(stamp) => stamps.push(stamp),
                Look::Missing => missing.push(id),
                Look::Bad(fault) => return Verdict::Invalid(fault),
            }
        }
        if !missing.is_empty() {
            return Verdict::Missing(missing);
        }
        let want = time_of_stamps(parent_time, stamps, self.config.committee.f());
        if want == time {
            Verdict::Valid
        } else {
            Verdict::Invalid(CutFault::Time { got: time, want })
        }
    }

    fn look(&self, id: MemberId, from: Head, to: Head) -> Look {
        let lane = &self.lanes[id.index()];
        if to == from {
            // Voted for before; only the stamp is needed.
            return match lane.at(to.seq).filter(|(digest, _)| *digest == to.digest) {
                Some((_, stamp)) => Look::Good(stamp),
                None => Look::Missing,
            };
        }
        if to.seq <= from.seq {
            return Look::Bad(CutFault::MovesBack(id));
        }
        if to.seq.0 - from.seq.0 > self.limits.window_batches {
            return Look::Bad(CutFault::OverLimit(id));
        }
        if !lane.has(from) || !lane.holds(to) {
            return Look::Missing;
        }
        let (entries, bytes) = lane.load(from.seq, to.seq);
        if entries > self.limits.cut_entries || bytes > self.limits.window_bytes {
            return Look::Bad(CutFault::OverLimit(id));
        }
        let final_here = lane.final_head.seq >= to.seq && lane.has(lane.final_head);
        let vouched = final_here
            || to.seq <= lane.acked_to()
            || self.certified_above(id, to.seq.prev()).is_some();
        match lane.at(to.seq) {
            Some((_, stamp)) if vouched => Look::Good(stamp),
            _ => Look::Missing,
        }
    }

    /// Fetches what a `Missing` cut needs, from its proposer first; `CutReady` follows
    /// when it can be decided.
    pub fn want_cut(
        &mut self,
        now: Micros,
        block: BlockId,
        leader: MemberId,
        parent: &Cut,
        cut: &Cut,
        out: &mut Vec<Output>,
    ) {
        if cut.heads.len() != self.lanes.len() || parent.heads.len() != self.lanes.len() {
            return;
        }
        self.wanted.retain(|wanted| wanted.block != block);
        if self.wanted.len() >= WANTED_MAX {
            self.wanted.remove(0);
        }
        self.wanted.push(WantedCut {
            block,
            parent: parent.clone(),
            cut: cut.clone(),
        });
        self.fetch_cut(now, leader, cut);
        self.progress = true;
        self.settle(now, out);
    }

    /// Asks at once for everything a cut needs.
    fn fetch_cut(&mut self, now: Micros, source: MemberId, cut: &Cut) {
        for id in self.config.committee.ids() {
            let head = cut.head(id);
            let lane = &self.lanes[id.index()];
            if lane.holds(head) || head.seq <= lane.taken.seq {
                continue;
            }
            if head.seq > lane.tip.seq {
                self.hear(now, id, head.seq, source);
                self.hasten(now, id, source);
            } else if !lane.has(head) {
                let firm = head == lane.final_head;
                self.side_start(now, id, head, firm, source);
            }
            let missing: Vec<_> = (self.lanes[id.index()].slots.range(..=head.seq))
                .flat_map(|(_, slot)| slot.missing.iter().copied())
                .collect();
            for ct_id in missing {
                self.payloads.hurry(&ct_id, now);
            }
        }
    }

    /// `CutReady` for cuts that can be decided now.
    pub(crate) fn announce_ready(&mut self, out: &mut Vec<Output>) {
        let wanted = std::mem::take(&mut self.wanted);
        for wanted in wanted {
            let missing = wanted.cut != wanted.parent
                && self.config.committee.ids().any(|id| {
                    let look = self.look(id, wanted.parent.head(id), wanted.cut.head(id));
                    matches!(look, Look::Missing)
                });
            if missing {
                self.wanted.push(wanted);
            } else {
                let block = wanted.block;
                out.push(Output::CutReady { block });
            }
        }
        let ready = (self.final_wanted.as_ref())
            .is_some_and(|wanted| self.holds_cut(&wanted.parent, &wanted.cut));
        if ready && let Some(wanted) = self.final_wanted.take() {
            let block = wanted.block;
            out.push(Output::CutReady { block });
        }
    }

    fn holds_cut(&self, parent: &Cut, cut: &Cut) -> bool {
        (self.config.committee.ids()).all(|id| {
            let lane = &self.lanes[id.index()];
            lane.has(parent.head(id)) && lane.holds(cut.head(id))
        })
    }

    /// A block became final.
    pub(crate) fn finalized(
        &mut self,
        now: Micros,
        cut: &Cut,
        time: Millis,
        out: &mut Vec<Output>,
    ) {
        if cut.heads.len() != self.lanes.len() {
            return;
        }
        self.final_time = self.final_time.max(time);
        let me = self.config.me;
        for id in self.config.committee.ids() {
            let head = cut.head(id);
            let lane = self.lane(id);
            if head.seq <= lane.final_head.seq {
                continue;
            }
            lane.final_head = head;
            let beyond = head.seq > lane.tip.seq;
            if beyond {
                self.seeking.insert(id);
            }
            let lane = &self.lanes[id.index()];
            if head.seq <= lane.tip.seq && !lane.has(head) {
                self.side_start(now, id, head, true, id);
                self.adopt(now, id, out);
            }
            if id == me && !self.lanes[me.index()].has(head) && !self.config.observer {
                // C7: this identity signed more than it remembers; it must not write.
                self.config.observer = true;
                crate::lanes::fault(me, LaneFault::LostMemory, out);
                for ticket in self.pool.take_tickets() {
                    let error = AdmissionError::Observer;
                    out.push(Output::Refused { ticket, error });
                }
            }
            // L2 does not hold back what is final.
            let waiting: Vec<_> = (self.lanes[id.index()].slots.range(..=head.seq))
                .filter(|(_, slot)| !slot.complete && slot.not_before > now)
                .map(|(seq, _)| *seq)
                .collect();
            for seq in waiting {
                self.try_complete(now, id, seq, out);
            }
        }
        if (self.parent.heads.iter().zip(&cut.heads)).any(|(parent, head)| parent.seq < head.seq) {
            (self.parent, self.parent_held) = (cut.clone(), false);
        }
        self.progress = true;
    }

    /// What a final block adds; `None` while something is missing (it is being fetched,
    /// and `CutReady` follows), and for a block that is not the next one. After
    /// `Finalized`, in height order.
    pub fn take_final(
        &mut self,
        now: Micros,
        block: &FinalCut,
        out: &mut Vec<Output>,
    ) -> Option<CutDelta> {
        let n = self.lanes.len();
        if block.cut.heads.len() != n || block.parent.heads.len() != n {
            return None;
        }
        // Every block once, in height order: anything else is a mistake of the driver.
        let next = self.lanes.iter().zip(&block.parent.heads);
        if next.into_iter().any(|(lane, head)| lane.taken != *head) {
            return None;
        }
        if !self.holds_cut(&block.parent, &block.cut) {
            // Once per block: the driver asks at every occasion, and each new start of the
            // requests would forget how often and when they were sent.
            let known = self.final_wanted.as_ref().map(|wanted| wanted.block);
            if known != Some(block.block) {
                self.final_wanted = Some(WantedCut {
                    block: block.block,
                    parent: block.parent.clone(),
                    cut: block.cut.clone(),
                });
                let source = self.config.me;
                self.fetch_cut(now, source, &block.cut);
            }
            self.settle(now, out);
            return None;
        }
        self.final_wanted = None;
        let mut lanes = Vec::new();
        for id in self.config.committee.ids() {
            let (from, to) = (block.parent.head(id), block.cut.head(id));
            if to.seq > from.seq {
                lanes.push(self.take_lane(id, from, to));
            }
        }
        // The order rule forgets by the same clock.
        self.pool.forget(self.taken_time);
        self.taken_time = self.taken_time.max(block.time);
        Some(CutDelta {
            block: block.block,
            time: block.time,
            lanes,
        })
    }

    fn take_lane(&mut self, id: MemberId, from: Head, to: Head) -> LaneDelta {
        self.unasked.insert(id);
        let lane = &mut self.lanes[id.index()];
        let mut entries = Vec::new();
        for (_, slot) in lane.slots.range_mut(from.seq.next()..=to.seq) {
            let orders = std::mem::take(&mut slot.orders);
            for (index, order) in orders.into_iter().enumerate() {
                let Some(entry) = slot.batch.entries.get(index) else {
                    continue;
                };
                if let Some(held) = self.pool.get_mut(&entry.ct_id) {
                    held.is_final = true;
                }
                entries.push(FinalEntry {
                    ct_id: entry.ct_id,
                    stamp: slot.batch.stamp_of(index),
                    order,
                });
            }
        }
        let head = lane.at(to.seq).map_or(Micros(0), |(_, stamp)| stamp);
        (lane.taken, lane.taken_stamp) = (to, head);
        lane.prune();
        self.parent_held = false;
        LaneDelta {
            lane: id,
            head,
            entries,
        }
    }
}

fn time_of_stamps(parent_time: Millis, mut stamps: Vec<Micros>, f: usize) -> Millis {
    stamps.sort_unstable_by(|a, b| b.cmp(a));
    let heads = stamps.get(f).map_or(Millis(0), |stamp| stamp.as_millis());
    parent_time.max(heads)
}
