//! Another version of a lane (M1): collected downwards by digest until it meets our
//! chain; proof of the fork; and adopted when it is certified or final. A fork is never a
//! reason to refuse a certified or final head.

use std::collections::BTreeMap;

use fairlane_types::{BatchDigest, MemberId, Micros, Seq};

use crate::lane::{Early, Side, WINDOWS_MAX};
use crate::lanes::{Check, Lanes};
use crate::{Head, Output};

impl Lanes {
    /// Looks for the version of a lane that ends in `target`. `firm`: it is final.
    pub(crate) fn side_start(
        &mut self,
        now: Micros,
        id: MemberId,
        target: Head,
        firm: bool,
        source: MemberId,
    ) {
        let lane = self.lane(id);
        if lane.has(target) || target.seq <= lane.taken.seq {
            return;
        }
        self.seeking.insert(id);
        let lane = self.lane(id);
        match &mut lane.side {
            Some(side) if side.target == target => side.source = source,
            // Anybody can name digests that do not exist; one at a time, until it is
            // given up. What is final goes first.
            Some(side) if !firm && (!side.linked || side.target == lane.final_head) => {}
            side => {
                *side = Some(Side {
                    target,
                    need: target,
                    batches: BTreeMap::new(),
                    linked: false,
                    source,
                    at: now,
                    tries: 0,
                });
            }
        }
    }

    /// Whether a batch is the next one that is looked for.
    pub(crate) fn side_wants(&self, id: MemberId, seq: Seq, digest: BatchDigest) -> bool {
        let side = self.lanes[id.index()].side.as_ref();
        side.is_some_and(|side| !side.linked && side.need == Head { seq, digest })
    }

    /// Takes the batch that was looked for. Its digest is what was asked for, so its
    /// signature matters only as evidence.
    pub(crate) fn side_take(
        &mut self,
        now: Micros,
        id: MemberId,
        from: MemberId,
        early: Early,
        out: &mut Vec<Output>,
    ) {
        let most = (WINDOWS_MAX * self.limits.window_batches) as usize;
        let lane = self.lane(id);
        let (seq, parent) = (early.header.seq, early.header.parent);
        let need = Head {
            seq: seq.prev(),
            digest: parent,
        };
        let linked = lane
            .at(need.seq)
            .is_some_and(|(digest, _)| digest == need.digest);
        let Some(side) = lane.side.as_mut() else {
            return;
        };
        (side.need, side.linked, side.source) = (need, linked, from);
        (side.at, side.tries) = (now, 0);
        side.batches.insert(seq, early);
        let hopeless = side.batches.len() > most || (!linked && need.seq <= lane.taken.seq);
        if hopeless {
            lane.side = None;
            return;
        }
        if !linked {
            return;
        }
        if need.seq < lane.tip.seq {
            self.check_fork(id, seq, out);
        } else if lane.tip.seq >= lane.final_head.seq {
            // It only extends our chain, and nothing vouches for it but its signature.
            let side = lane.side.take();
            for (_, early) in side.map(|side| side.batches).unwrap_or_default() {
                self.verify(from, early, out);
            }
            return;
        }
        self.adopt(now, id, out);
    }

    /// The lowest batch of the other version contradicts ours: evidence if it is signed.
    fn check_fork(&mut self, id: MemberId, seq: Seq, out: &mut Vec<Output>) {
        let lane = &self.lanes[id.index()];
        let (Some(side), Some(key)) = (&lane.side, self.config.committee.key(id)) else {
            return;
        };
        let early = side.batches.get(&seq).filter(|_| !lane.told);
        let Some(fork) = early.and_then(|early| lane.contradiction(early)) else {
            return;
        };
        let second = &fork.second;
        let signature = second
            .header
            .check(key, self.config.chain, second.signature);
        if let Some(check) = self.begin_check(id, Check::Fork(Box::new(fork))) {
            out.push(Output::VerifyBatch { check, signature });
        }
    }

    /// After acknowledgements changed: other versions that are certified now.
    pub(crate) fn adopt_certified(&mut self, now: Micros, out: &mut Vec<Output>) {
        for id in self.config.committee.ids() {
            if self.lanes[id.index()].side.is_some() {
                self.adopt(now, id, out);
            }
        }
    }

    /// Whether the other version of a lane is final up to its target, or q members
    /// acknowledged the target.
    fn side_stands(&self, id: MemberId) -> bool {
        let lane = &self.lanes[id.index()];
        let Some(side) = lane.side.as_ref().filter(|side| side.linked) else {
            return false;
        };
        let on_side = |head: Head| {
            side.batches
                .get(&head.seq)
                .is_some_and(|early| early.digest == head.digest)
        };
        if on_side(lane.final_head) {
            return true;
        }
        let acks =
            self.config.committee.ids().filter(|member| {
                *member == id || self.acks[member.index()][id.index()] == side.target
            });
        acks.count() >= self.config.committee.quorum()
    }

    /// Replaces our version by the other one if that is certified or final.
    pub(crate) fn adopt(&mut self, now: Micros, id: MemberId, out: &mut Vec<Output>) {
        if !self.side_stands(id) {
            return;
        }
        let lane = &mut self.lanes[id.index()];
        let Some(side) = lane.side.take() else {
            return;
        };
        let (root, forked) = (side.need, side.need.seq < lane.tip.seq);
        // Never below what is final on our version.
        let final_here = lane.final_head.seq > root.seq && lane.has(lane.final_head);
        let Some((_, stamp)) = lane.at(root.seq).filter(|_| !final_here) else {
            return;
        };
        self.parent_held = false;
        self.seeking.insert(id);
        self.unasked.insert(id);
        let lane = &mut self.lanes[id.index()];
        let ours = lane.slots.split_off(&root.seq.next());
        for (seq, slot) in ours {
            for ct_id in &slot.missing {
                self.pool.stop_waiting(ct_id, id, seq);
            }
        }
        let lane = &mut self.lanes[id.index()];
        lane.early.clear();
        (lane.tip, lane.tip_stamp) = (root, stamp);
        lane.storing = lane.storing.min(root.seq);
        lane.whole = lane.whole.min(root.seq);
        lane.line.cut(root.seq);
        // Our own acknowledgement of the other version stays the only one for its seq.
        lane.muted |= forked;
        for (_, early) in side.batches {
            self.append(now, early, out);
        }
        self.progress = true;
    }
}
