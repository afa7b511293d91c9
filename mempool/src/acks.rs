//! What the others acknowledge (M2): holdings are understood once their hash fits our
//! lanes; if it does not, their author is asked for the digests, which also brings forks
//! to light.

use fairlane_types::{BatchDigest, MemberId, Micros, Seq, SignerSet};

use crate::fetch::send;
use crate::lane::HOLDINGS_MAX;
use crate::lanes::{Lanes, fault};
use crate::{Head, Holdings, LaneFault, LaneMessage, Output};

enum Reading {
    /// One head per lane, each found on our chains, now or when it was first understood.
    Heads(Vec<Head>),
    /// Batches up to there are not here yet.
    Lacking(MemberId, Seq),
    /// The hash fits other digests than ours.
    Differs,
    /// About batches that are long forgotten.
    Old,
}

impl Lanes {
    /// A batch of `author` brought holdings.
    pub(crate) fn take_holdings(
        &mut self,
        now: Micros,
        author: MemberId,
        seq: Seq,
        holdings: Holdings,
        out: &mut Vec<Output>,
    ) {
        if holdings.seqs.len() != self.lanes.len() {
            return;
        }
        let lane = self.lane(author);
        lane.holdings.push((seq, holdings));
        if lane.holdings.len() > HOLDINGS_MAX {
            lane.holdings.remove(0);
            lane.lacking = None;
        }
        self.understand(now, author, out);
    }

    /// After the tip of `id` moved: holdings that waited for it.
    pub(crate) fn understand_all(&mut self, now: Micros, id: MemberId, out: &mut Vec<Output>) {
        let waiting = std::mem::take(&mut self.lane(id).awaited_by).0;
        let authors = SignerSet(waiting | std::mem::take(&mut self.puzzled).0);
        for author in authors.iter() {
            let lane = &self.lanes[author.index()];
            if !lane.holdings.is_empty() && lane.lacking.is_none_or(|lacking| lacking == id) {
                self.understand(now, author, out);
            }
        }
    }

    fn understand(&mut self, now: Micros, author: MemberId, out: &mut Vec<Output>) {
        while let Some((seq, holdings)) = self.lanes[author.index()].holdings.first() {
            let seq = *seq;
            let reading = self.read(author, holdings);
            let lane = self.lane(author);
            lane.lacking = None;
            match reading {
                Reading::Heads(heads) => self.acknowledged(author, &heads),
                Reading::Lacking(id, to) => {
                    lane.lacking = Some(id);
                    self.lane(id).awaited_by.insert(author);
                    return self.hear(now, id, to, author);
                }
                Reading::Differs => {
                    if lane.asked_heads < Some(seq) {
                        lane.asked_heads = Some(seq);
                        send(author, LaneMessage::GetHeads(seq), out);
                    }
                    self.puzzled.insert(author);
                    return;
                }
                Reading::Old => {}
            }
            self.lane(author).holdings.remove(0);
        }
    }

    /// What `author` means by its holdings.
    fn read(&self, author: MemberId, holdings: &Holdings) -> Reading {
        // The lane for which they wait; those before it were there.
        if let Some(first) = self.lanes[author.index()].lacking {
            // Most of the time the same one, or the next, is still missing.
            for (index, seq) in holdings.seqs.iter().enumerate().skip(first.index()) {
                let lane = &self.lanes[index];
                match lane.at(*seq) {
                    Some(_) => {}
                    None if *seq > lane.tip.seq => {
                        return Reading::Lacking(MemberId(index as u8), *seq);
                    }
                    None => return Reading::Old,
                }
            }
        }
        // Most lanes stand where they did in the author's last word, so that most of the
        // heads are known. The hash tells whether they still are what it means.
        let known = &self.acks[author.index()];
        for known in [known.as_slice(), &[]] {
            let mut heads = Vec::with_capacity(self.lanes.len());
            for (index, seq) in holdings.seqs.iter().enumerate() {
                if let Some(head) = known.get(index).filter(|head| head.seq == *seq) {
                    heads.push(*head);
                    continue;
                }
                let lane = &self.lanes[index];
                match lane.at(*seq) {
                    Some((digest, _)) => heads.push(Head { seq: *seq, digest }),
                    None if *seq > lane.tip.seq => {
                        return Reading::Lacking(MemberId(index as u8), *seq);
                    }
                    None => return Reading::Old,
                }
            }
            if Holdings::hash(heads.iter().map(|head| &head.digest)) == holdings.heads {
                return Reading::Heads(heads);
            }
        }
        Reading::Differs
    }

    fn acknowledged(&mut self, author: MemberId, heads: &[Head]) {
        for (index, (known, head)) in (self.acks[author.index()].iter_mut())
            .zip(heads)
            .enumerate()
        {
            if head.seq >= known.seq && known != head {
                *known = *head;
                self.unasked.insert(MemberId(index as u8));
            }
        }
        self.progress = true;
    }

    /// The digests behind holdings that did not fit.
    pub(crate) fn on_heads(
        &mut self,
        now: Micros,
        author: MemberId,
        seq: Seq,
        digests: &[BatchDigest],
        out: &mut Vec<Output>,
    ) {
        let lane = self.lane(author);
        let Some(at) = lane.holdings.iter().position(|(s, _)| *s == seq) else {
            return;
        };
        let holdings = lane.holdings[at].1.clone();
        if digests.len() != holdings.seqs.len() || Holdings::hash(digests) != holdings.heads {
            return fault(author, LaneFault::Heads, out);
        }
        lane.holdings.drain(..=at);
        lane.lacking = None;
        let heads: Vec<_> = (holdings.seqs.iter().zip(digests))
            .map(|(seq, digest)| Head {
                seq: *seq,
                digest: *digest,
            })
            .collect();
        self.acknowledged(author, &heads);
        for (index, head) in heads.iter().enumerate() {
            let lane = &self.lanes[index];
            if lane
                .at(head.seq)
                .is_some_and(|(digest, _)| digest != head.digest)
            {
                self.side_start(now, MemberId(index as u8), *head, false, author);
            }
        }
        self.adopt_certified(now, out);
        self.understand(now, author, out);
    }

    /// Highest head of our chain that q members acknowledged and that we hold, if it is
    /// above `floor`. The owner acknowledges what it signs.
    pub(crate) fn certified_above(&self, id: MemberId, floor: Seq) -> Option<Seq> {
        let lane = &self.lanes[id.index()];
        let quorum = self.config.committee.quorum();
        // Most of the time too few speak of anything above. The owner's own entry, and
        // ours, may say less than what counts for them.
        let above = self
            .acks
            .iter()
            .filter(|heads| heads[id.index()].seq > floor);
        let above = above.count();
        if above + 2 < quorum {
            return None;
        }
        let mut acked: Vec<Seq> = (self.config.committee.ids())
            .map(|member| match self.acks[member.index()][id.index()] {
                _ if member == id => Seq(u64::MAX),
                _ if member == self.config.me => lane.acked_to(),
                head if lane.has(head) => head.seq,
                _ => Seq(0),
            })
            .collect();
        acked.sort_unstable();
        // q of them are at or above this one.
        let at = acked.len() - quorum;
        let to = acked[at].min(lane.complete_to());
        (to > floor).then_some(to)
    }
}
