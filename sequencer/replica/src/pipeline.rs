//! From final blocks to emitted ones: lanes → fair order → openings → sequence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_encryption::{Opened, Plain, ShareError, SuiteParsed};
use fairlane_mempool::fair::Emission;
use fairlane_mempool::{self as mempool, FinalCut};
use fairlane_types::{
    BlockHeader, Certificate, CtId, Height, Item, MemberId, Micros, Mutant, Outcome,
    SequencedBlock, encode,
};

use crate::boundary::{Effect, Peers, TimerId};
use crate::fault::FalseShares;
use crate::job::EnvelopeFault;
use crate::keys::{
    Emitted, beacon_key, height_key, height_of, index_key, late_key, meta, stale_key,
};
use crate::message::SHARE_HEIGHTS_MAX;
use crate::opening::{Ask, Opening, RETRY_PAUSE, Said};
use crate::payload::FinalBlock;
use crate::recovery::{Snapshot, emitted, state_digest};
use crate::replica::{Last, Replica};
use crate::share_job::Combined;
use crate::share_message::{KeyMessage, ShareFault, ShareMessage};
use crate::under_way::{Purpose, Reading, Written};
use crate::{Evidence, Fault, Job, Message, Row, Table, Write};

/// Final heights whose opening may be under way at once; later ones wait in the queue.
const OPENINGS_MAX: usize = 256;
/// How often it is looked whether shares are missing (D7).
const SHARES_RETRY: Micros = Micros(150_000);
/// Combiners of slices are waited for so many measured delays before everybody is asked:
/// shares to them, what they opened back, and as much again for their work.
const PATIENCE_DELAYS: u64 = 4;
/// But no less than this: a busy member is slower than its links.
const PATIENCE_MIN: Micros = Micros(300_000);
/// Bytes of share sets sent for one request.
const SHARES_BYTES: usize = 4 << 20;
/// Largest stored share set.
const SHARE_ROW_BYTES_MAX: usize = 1 << 20;
/// Verified ciphertexts kept beyond those that lanes hold, before the rest is swept.
const PARSED_SLACK: usize = 4_096;

/// Final blocks whose lanes are being gathered, in height order.
#[derive(Debug)]
pub(crate) struct FinalQueue {
    /// The last block whose order is known.
    ordered: FinalBlock,
    waiting: VecDeque<FinalBlock>,
    /// Blocks of the sequence that were emitted before the restart and are replayed.
    replayed: BTreeMap<Height, SequencedBlock>,
    /// Blocks in `waiting` that were read from disk at start: lanes are told of them once.
    restored: usize,
}

impl FinalQueue {
    pub(crate) fn restored(
        base: FinalBlock,
        above: Vec<FinalBlock>,
        replayed: Vec<SequencedBlock>,
    ) -> Self {
        let replayed = replayed
            .into_iter()
            .map(|block| (block.height, block))
            .collect();
        Self {
            ordered: base,
            restored: above.len(),
            waiting: above.into(),
            replayed,
        }
    }

    pub(crate) fn push(&mut self, blocks: Vec<FinalBlock>) {
        self.waiting.extend(blocks);
    }

    pub(crate) const fn ordered_block(&self) -> &FinalBlock {
        &self.ordered
    }

    /// The last block that was final here.
    pub(crate) fn tip(&self) -> &FinalBlock {
        self.waiting.back().unwrap_or(&self.ordered)
    }

    /// Whether every waiting block has a certificate, or a descendant that has one.
    pub(crate) fn is_proven(&self) -> bool {
        self.waiting
            .back()
            .is_none_or(|last| last.certificate.is_some())
    }

    pub(crate) fn ordered(&self) -> Height {
        self.ordered.header.height
    }

    /// The certificate that makes the first waiting block final, and the headers from the
    /// certified block down to the child of the first one.
    fn proof(&self) -> Option<(Certificate, Vec<BlockHeader>)> {
        let mut path = Vec::new();
        for block in &self.waiting {
            if path.is_empty() || block.certificate.is_none() {
                path.push(block.header.clone());
            }
            if let Some(certificate) = &block.certificate {
                if path.last() != Some(&block.header) {
                    path.push(block.header.clone());
                }
                path.reverse();
                path.pop();
                return Some((certificate.clone(), path));
            }
        }
        None
    }
}

impl Replica {
    /// Restart: the lanes learn of the final blocks that were stored, in order, before any
    /// of them is taken: their windows are counted from there (M4).
    pub(crate) fn replay(&mut self) {
        let blocks = self.finals.waiting.iter().take(self.finals.restored);
        let told: Vec<_> = blocks
            .map(|b| mempool::Input::Finalized {
                cut: b.payload.cut.clone(),
                time: b.header.time,
            })
            .collect();
        for input in told {
            self.tell_lanes(input);
        }
    }

    /// Runs the order rule on every final block whose lanes are complete.
    pub(crate) fn advance_order(&mut self, now: Micros, out: &mut Vec<Effect>) {
        self.answer_ready(now, out);
        while self.openings.len() < OPENINGS_MAX {
            let Some(front) = self.finals.waiting.front() else {
                return;
            };
            let (height, leader) = (front.header.height, front.header.proposer);
            // Above the boundary nothing is emitted.
            if self.ending.boundary().is_some_and(|last| height > last) {
                return;
            }
            let cut = FinalCut {
                block: front.header.id(),
                time: front.header.time,
                parent: self.finals.ordered.payload.cut.clone(),
                cut: front.payload.cut.clone(),
            };
            let mut outputs = Vec::new();
            let delta = self.lanes.take_final(now, &cut, &mut outputs);
            self.carry_out(&mut outputs, out);
            let Some(delta) = delta else { return };
            let Some((certificate, path)) = self.finals.proof() else {
                return;
            };
            let ends = self.ending.boundary() == Some(height);
            let emission = if ends {
                self.order.on_last_cut(&delta)
            } else {
                self.order.on_cut(&delta)
            };
            if ends {
                self.ending.remember(self.order.memory());
            }
            self.receive_order.observe(leader, &delta, &emission);
            self.backlog = emission.backlog;
            let snapshot = self
                .genesis
                .order
                .commits_at(height)
                .then(|| self.order.snapshot());
            let Some(block) = self.finals.waiting.pop_front() else {
                return;
            };
            self.finals.ordered = block;
            if let Some(block) = self.finals.replayed.remove(&height) {
                let outcomes = block.items.iter().map(emitted);
                let outcomes = outcomes.chain(left_out(&emission)).collect();
                self.tell_lanes(mempool::Input::Emitted(outcomes));
                continue;
            }
            let state = snapshot.as_ref().map(|order| state_digest(order, &cut.cut));
            if !emission.ties.is_empty() {
                self.begin_beacon(height, cut.block, out);
            }
            let slices = self.combiners.slices(emission.ordered.len());
            let opening = Opening::new(cut.block, cut.time, emission, certificate, path)
                .with_state(state, snapshot);
            let opening = match self.combiners.sharded() {
                true => opening.sharded(slices),
                false => opening,
            };
            for (peer, fault) in self.openings.begin(height, opening) {
                out.push(Effect::Fault {
                    peer,
                    fault: Fault::Share(fault),
                });
            }
        }
    }

    /// Cuts that became decidable: proposals first, then whatever waits in the queue.
    fn answer_ready(&mut self, now: Micros, out: &mut Vec<Effect>) {
        for block in std::mem::take(&mut self.ready) {
            self.check_payload(now, block, false, out);
        }
    }

    /// Pushes every opening as far as it goes, and emits what is done in height order.
    pub(crate) fn advance_openings(&mut self, now: Micros, out: &mut Vec<Effect>) {
        self.gather_payloads(out);
        for ask in self.openings.asks() {
            match ask {
                Ask::Shares(job) => {
                    let purpose = Purpose::Shares(job.height);
                    self.compute(Job::Shares(job), purpose, out);
                }
                Ask::Beacon(job) => {
                    let purpose = Purpose::BeaconShare(job.height);
                    self.compute(Job::Beacon(job), purpose, out);
                }
                Ask::Combine(job) => {
                    let purpose = Purpose::Combine(job.height, job.slice);
                    self.compute(Job::Combine(job), purpose, out);
                }
                Ask::OpenKeys(job) => {
                    let KeyMessage { height, slice, .. } = *job.message;
                    let purpose = Purpose::OpenKeys(height, slice, job.from);
                    self.compute(Job::OpenKeys(job), purpose, out);
                }
            }
        }
        // A combiner left an order out. Everybody's shares of it are asked for: nothing but t
        // proven sets says that an order does not open.
        if self.openings.is_stuck() {
            self.request_shares(now, out);
        }
        while let Some((height, opening, outcomes)) = self.openings.take() {
            self.emit(now, height, opening, outcomes, out);
        }
        if !self.shares_timer && self.openings.waiting() {
            self.shares_timer = true;
            let at = now.plus(SHARES_RETRY.0);
            out.push(Effect::SetTimer {
                id: TimerId::Shares,
                at,
            });
        }
    }

    /// Finds the parsed ciphertexts of new openings; after a restart they are parsed anew.
    fn gather_payloads(&mut self, out: &mut Vec<Effect>) {
        let mut complete = Vec::new();
        let mut unknown: Vec<CtId> = Vec::new();
        for (height, ordered) in self.openings.unparsed() {
            let found: Option<Vec<_>> = ordered
                .iter()
                .map(|order| self.parsed.get(&order.ct_id).cloned())
                .collect();
            match found {
                Some(list) => complete.push((height, list)),
                None => {
                    let missing = ordered.iter().map(|order| order.ct_id);
                    unknown.extend(missing.filter(|id| !self.parsed.contains_key(id)));
                }
            }
        }
        for (height, list) in complete {
            self.openings.parsed(height, list);
        }
        if unknown.is_empty() || self.reparsing {
            return;
        }
        let envelopes: Vec<_> = unknown
            .iter()
            .filter_map(|id| Some((*id, self.lanes.envelope(id)?)))
            .collect();
        if !envelopes.is_empty() {
            self.reparsing = true;
            let ids = envelopes.iter().map(|(id, _)| *id).collect();
            self.compute(Job::Envelopes(envelopes), Purpose::Reparse(ids), out);
        }
    }

    pub(crate) fn reparsed(
        &mut self,
        ids: &[CtId],
        results: Vec<Result<Arc<SuiteParsed>, EnvelopeFault>>,
    ) {
        self.reparsing = false;
        for (id, result) in ids.iter().zip(results) {
            // q members found every final entry valid, so this cannot fail; if it does,
            // the opening waits and nothing wrong is emitted.
            if let Ok(parsed) = result {
                self.parsed.insert(*id, parsed);
            }
        }
    }

    pub(crate) fn shares_made(
        &mut self,
        height: Height,
        messages: Option<Vec<Arc<ShareMessage>>>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(messages) = &messages {
            let row: Vec<&ShareMessage> = messages.iter().map(AsRef::as_ref).collect();
            let write = Write::put(Table::Shares, height_key(height), encode(&row));
            self.store(vec![write], false, Written::Nothing, out);
            for message in messages {
                self.send_shares(message, out);
            }
        }
        self.openings.made(height, messages);
        self.tell_key_over(out);
    }

    /// Shares go to whoever combines them.
    fn send_shares(&mut self, message: &Arc<ShareMessage>, out: &mut Vec<Effect>) {
        let combiners = self.combiners.of(message.height, message.slice.into());
        let said = || Message::Shares(Arc::clone(message));
        match combiners {
            None => self.send(Peers::All, said(), out),
            Some(combiners) => {
                for member in combiners.into_iter().filter(|member| *member != self.me) {
                    self.send(Peers::One(member), said(), out);
                }
            }
        }
    }

    /// A peer's shares, or what it combined.
    pub(crate) fn receive_shares(&mut self, from: MemberId, said: Said, out: &mut Vec<Effect>) {
        // What comes second is not looked at, so it may be anything: who is slower than another
        // combiner is no slower than this member needs.
        if let Said::Keys(message) = &said
            && self.openings.is_settled(message.height, message.slice)
        {
            self.combiners.heard(from, message.height);
        }
        if let Err(fault) = self.openings.receive(from, said) {
            out.push(Effect::Fault {
                peer: from,
                fault: Fault::Share(fault),
            });
        }
    }

    pub(crate) fn combined(
        &mut self,
        height: Height,
        slice: u16,
        mut result: Combined,
        out: &mut Vec<Effect>,
    ) {
        if let Some(batch) = result.told.take() {
            let batch = *batch;
            let message = KeyMessage {
                height,
                slice,
                batch,
            };
            self.send(Peers::All, Message::Keys(Arc::new(message)), out);
        }
        let (liars, false_tellers) = self.openings.combined(height, slice, result);
        for liar in liars {
            self.counters.false_shares += 1;
            out.push(Effect::Fault {
                peer: liar.member,
                fault: Fault::Share(liar.fault),
            });
            // Without its signature nothing convicts it; for another list or key, only the log
            // of the chain does.
            let convicts = |error| error != ShareError::WrongKey;
            if matches!(liar.fault, ShareFault::False(error) if convicts(error)) {
                let message = Arc::unwrap_or_clone(liar.message);
                let shares = FalseShares {
                    member: liar.member,
                    message,
                    points: liar.points,
                };
                self.convict(Evidence::FalseShares(Box::new(shares)), out);
            }
        }
        for (member, fault) in false_tellers {
            self.false_keys(member, height, fault, out);
        }
    }

    /// What a combiner told is opened.
    pub(crate) fn keys_opened(
        &mut self,
        height: Height,
        slice: u16,
        from: MemberId,
        result: Result<Vec<(usize, Option<Plain>)>, ShareError>,
        out: &mut Vec<Effect>,
    ) {
        let opened = |found: &Vec<(usize, Option<Plain>)>| found.iter().any(|(_, p)| p.is_some());
        if result.as_ref().is_ok_and(opened) {
            self.combiners.heard(from, height);
        }
        let combiners = self.combiners.of(height, slice.into());
        let chosen = combiners.is_some_and(|chosen| chosen.contains(&from));
        let told = self
            .openings
            .keys_opened(height, slice, (from, chosen), result);
        for (member, fault) in told {
            self.false_keys(member, height, fault, out);
        }
    }

    fn false_keys(
        &mut self,
        peer: MemberId,
        height: Height,
        fault: ShareFault,
        out: &mut Vec<Effect>,
    ) {
        self.counters.false_keys += 1;
        self.combiners.distrust(peer, height);
        let fault = Fault::Share(fault);
        out.push(Effect::Fault { peer, fault });
    }

    /// D7: asks again for what is missing.
    pub(crate) fn ask_for_shares(&mut self, now: Micros, out: &mut Vec<Effect>) {
        self.shares_timer = false;
        self.request_shares(now, out);
    }

    fn request_shares(&mut self, now: Micros, out: &mut Vec<Effect>) {
        let first = if self.combiners.sharded() {
            let patience = PATIENCE_DELAYS * self.core.delay().0;
            Micros(patience.clamp(PATIENCE_MIN.0, RETRY_PAUSE.0))
        } else {
            RETRY_PAUSE
        };
        let mut wanted: BTreeMap<MemberId, (Height, Height)> = BTreeMap::new();
        let (emitted, n) = (self.emitted_for_long(), self.committee.n());
        for (height, members) in self.openings.missing(now, first, emitted, n) {
            for member in members {
                wanted.entry(member).or_insert((height, height)).1 = height;
            }
        }
        for (member, (from, to)) in wanted {
            self.counters.share_requests += 1;
            let count = (to.0 - from.0 + 1).min(u64::from(SHARE_HEIGHTS_MAX)) as u16;
            self.send(Peers::One(member), Message::GetShares { from, count }, out);
        }
    }

    pub(crate) fn serve_shares(
        &mut self,
        to: MemberId,
        from: Height,
        count: u16,
        out: &mut Vec<Effect>,
    ) {
        if count == 0 || count > SHARE_HEIGHTS_MAX {
            out.push(Effect::Fault {
                peer: to,
                fault: Fault::Request,
            });
            return;
        }
        let end = from.plus(count.into());
        let next = self.openings.next_height();
        for height in (from.max(next).0..end.0).map(Height) {
            for message in self.openings.own(height) {
                self.send(Peers::One(to), Message::Shares(message), out);
            }
            self.serve_beacon(to, height, out);
        }
        if from < next {
            let range = (Table::Shares, height_key(from), height_key(end.min(next)));
            // Shares and a beacon of each.
            let limits = (2 * usize::from(count), SHARES_BYTES);
            self.load(range, limits, Reading::Shares { to }, out);
        }
    }

    pub(crate) fn served_shares(&mut self, to: MemberId, rows: &[Row], out: &mut Vec<Effect>) {
        for (key, row) in rows {
            if height_of(key).is_some() {
                let decoded = fairlane_types::decode::<Vec<ShareMessage>>(row, SHARE_ROW_BYTES_MAX);
                for shares in decoded.into_iter().flatten() {
                    self.send(Peers::One(to), Message::Shares(Arc::new(shares)), out);
                }
            } else if let Ok(beacon) = fairlane_types::decode(row, SHARE_ROW_BYTES_MAX) {
                self.send(Peers::One(to), Message::Beaconed(Box::new(beacon)), out);
            }
        }
    }

    /// A link came up: shares that the peer may have missed are sent again.
    pub(crate) fn say_shares_again(&mut self, peer: MemberId, out: &mut Vec<Effect>) {
        let next = self.openings.next_height();
        self.serve_shares(peer, next, SHARE_HEIGHTS_MAX, out);
    }

    /// Builds the block of the sequence and makes it durable; it is offered after that.
    fn emit(
        &mut self,
        now: Micros,
        height: Height,
        opening: Opening,
        outcomes: Vec<Opened>,
        out: &mut Vec<Effect>,
    ) {
        let slices = opening.slices();
        let Opening {
            block,
            time,
            mut emission,
            state,
            snapshot,
            beacon,
            ..
        } = opening;
        let mut outcomes = outcomes;
        if let Some(beacon) = &beacon {
            let places = emission.settle(&beacon.value());
            let opened = |at: &usize| outcomes.get(*at).cloned();
            outcomes = places.iter().filter_map(opened).collect();
        }
        self.end_beacon(height);
        let opened = emission
            .ordered
            .iter()
            .zip(outcomes.into_iter().map(outcome));
        let places = emission.without_shares().into_iter().chain(opened);
        let first = self.last.next;
        let items = places.enumerate().map(|(i, (order, outcome))| Item {
            position: first.plus(i as u64),
            label: order.label.clone(),
            ct_id: order.ct_id,
            stamp: order.key,
            outcome,
        });
        let sequenced = SequencedBlock {
            chain: self.chain(),
            epoch: self.epoch(),
            height,
            block,
            time,
            parent_root: self.last.root,
            first_position: first,
            items: items.collect(),
            state,
            root: self.last.root,
        }
        .sealed();
        self.last = Last {
            height,
            root: sequenced.root,
            next: sequenced.next_position(),
        };
        self.combiners.emitted(height, sequenced.root, slices);
        self.capacity
            .emitted(now, sequenced.items.len(), self.lanes.held());
        let mut writes = vec![Write::put(
            Table::Sequence,
            height_key(height),
            encode(&sequenced),
        )];
        if let Some(beacon) = &beacon {
            writes.push(Write::put(
                Table::Shares,
                beacon_key(height),
                encode(beacon),
            ));
        }
        for item in &sequenced.items {
            let place = Emitted {
                height,
                position: item.position,
            };
            writes.push(Write::put(
                Table::Index,
                index_key(&item.ct_id),
                encode(&place),
            ));
            self.remember_emitted(item.ct_id, place);
            self.count(&item.outcome);
        }
        if !emission.stale.is_empty() {
            let stale: Vec<CtId> = emission.stale.iter().map(|order| order.ct_id).collect();
            let late = |id| Write::put(Table::Index, late_key(id), encode(&height));
            writes.extend(stale.iter().map(late));
            writes.push(Write::put(Table::Meta, stale_key(height), encode(&stale)));
        }
        if let Some(order) = snapshot {
            let snapshot = Snapshot { height, order };
            writes.push(Write::put(
                Table::Meta,
                meta::SNAPSHOT.to_vec(),
                encode(&snapshot),
            ));
        }
        let sequenced = Arc::new(sequenced);
        if self.planted.is(Mutant::EmitFirst) {
            out.push(Effect::Emit(Arc::clone(&sequenced)));
        }
        let then = Written::Emit(sequenced, left_out(&emission).collect());
        self.store(writes, true, then, out);
    }

    /// A block of the sequence is durable: it is offered, and its orders leave the pool.
    pub(crate) fn emitted(
        &mut self,
        block: Arc<SequencedBlock>,
        stale: Vec<mempool::Emitted>,
        out: &mut Vec<Effect>,
    ) {
        let mut outcomes = stale;
        outcomes.extend(block.items.iter().map(emitted));
        for order in &outcomes {
            self.parsed.remove(&order.ct_id);
        }
        if !outcomes.is_empty() {
            self.tell_lanes(mempool::Input::Emitted(outcomes));
        }
        if self.parsed.len() > self.order.live() + PARSED_SLACK {
            let lanes = &self.lanes;
            self.parsed.retain(|id, _| lanes.envelope(id).is_some());
        }
        self.retain_from(&block, out);
        self.attest(&block, out);
        self.state_emitted(block.height, out);
        self.former_at(block.height, block.time, out);
        if self.planted.is(Mutant::EmitAgain) {
            out.push(Effect::Emit(Arc::clone(&block)));
        }
        out.push(Effect::Emit(block));
        self.hand_over(out);
    }

    fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Opened { .. } => &mut self.counters.opened,
            Outcome::Undecryptable => &mut self.counters.undecryptable,
            Outcome::Expired => &mut self.counters.expired,
            Outcome::DuplicateNonce => &mut self.counters.duplicates,
        };
        *counter += 1;
    }
}

/// What the lanes are told of orders that the rule left out as stale.
fn left_out(emission: &Emission) -> impl Iterator<Item = mempool::Emitted> {
    emission.stale.iter().map(|order| mempool::Emitted {
        ct_id: order.ct_id,
        label: order.label.clone(),
        burned: false,
    })
}

fn outcome(opened: Opened) -> Outcome {
    match opened {
        Opened::Plain(plain) => Outcome::Opened {
            payload: plain.payload,
            opening: plain.opening,
        },
        Opened::Malformed => Outcome::Undecryptable,
    }
}
