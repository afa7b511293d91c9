//! From final order to plaintext (PROTOCOL §4): one [`Opening`] per final height, worked
//! on in parallel, handed out strictly in height order (D7).
//!
//! State is keyed by our own final blocks, never by what a peer says first (A7). A peer
//! can make us hold one share set per height of a bounded window, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::{Beacon, Opened, SuiteParsed};
use fairlane_mempool::fair::{Emission, Ordered};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CtId, Digest, Height, MemberId, Micros, Millis, Mutant,
    Planted, SignerSet,
};

use crate::demotion::Demotions;
use crate::job::{BeaconJob, CombineJob, Combined, SharesJob};
use crate::share_message::{ShareFault, ShareMessage};

/// Share sets are kept for so many heights above the last emitted one.
pub const STASH_HEIGHTS: u64 = 1_024;
/// Bytes of shares kept per member for heights whose order is not known here yet.
pub const EARLY_BYTES_PER_MEMBER: usize = 16 << 20;
/// Missing sets of an opening are asked for after this. Links are reliable and say again
/// what was lost with them, so that a set is rarely lost and often merely late: asking
/// early would keep busy members from making it.
const RETRY_FIRST: Micros = Micros(1_000_000);
/// The pause doubles at most this many times: 8 s.
const RETRY_DOUBLINGS_MAX: u32 = 3;
/// Openings that are re-requested at a time (D7).
pub const RETRY_HEIGHTS: usize = 16;

/// A final block whose order is known, on its way to plaintext.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// The final block.
    pub block: BlockId,
    /// Finalized time.
    pub time: Millis,
    /// What the fair order emitted for it.
    pub emission: Emission,
    /// Digest of the order state, at heights that commit to it.
    pub state: Option<Digest>,
    /// The order state itself, to be stored with the emitted block.
    pub snapshot: Option<Vec<u8>>,
    /// Proof of finality: a certificate and the headers down to this block's child.
    pub certificate: Certificate,
    /// See [`SharesJob::path`].
    pub path: Vec<BlockHeader>,
    /// What decides its ties, once it is known.
    pub beacon: Option<Beacon>,
    /// This member's share of the beacon was asked for.
    beacon_asked: bool,
    /// The final block is synced to disk here (D2, "final before revealed").
    durable: bool,
    /// D(c) parsed, once every payload is here.
    list: Option<Vec<Arc<SuiteParsed>>>,
    own: Own,
    /// At most one per member, in order of arrival.
    sets: Vec<(MemberId, Arc<ShareMessage>)>,
    liars: SignerSet,
    combining: bool,
    /// Members whose sets were combined first, last time.
    combined: Vec<MemberId>,
    /// When missing sets are asked for, and how often they were (D7).
    retry: Option<(Micros, u32)>,
    /// So many sets were tried in vain, without a liar among them.
    tried: usize,
    outcomes: Option<Vec<Opened>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    Missing,
    Computing,
    Ready(Arc<ShareMessage>),
}

/// What an opening asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Make this member's shares.
    Shares(Box<SharesJob>),
    /// Make this member's share of the beacon.
    Beacon(Box<BeaconJob>),
    /// Combine share sets.
    Combine(Box<CombineJob>),
}

/// A false share set and the list it should have been for: what blame needs.
#[derive(Clone, Debug)]
pub(crate) struct Liar {
    /// Who sent it.
    pub member: MemberId,
    /// What is wrong with it.
    pub fault: ShareFault,
    /// The set.
    pub message: Arc<ShareMessage>,
    /// The list U_k.
    pub points: Vec<Vec<u8>>,
}

impl Opening {
    /// An opening that waits for payloads and for its block to be durable.
    #[must_use]
    pub fn new(
        block: BlockId,
        time: Millis,
        emission: Emission,
        certificate: Certificate,
        path: Vec<BlockHeader>,
    ) -> Self {
        let empty = emission.ordered.is_empty();
        Self {
            block,
            time,
            emission,
            state: None,
            snapshot: None,
            certificate,
            path,
            beacon: None,
            beacon_asked: false,
            durable: false,
            list: empty.then(Vec::new),
            own: Own::Missing,
            sets: Vec::new(),
            liars: SignerSet::default(),
            combining: false,
            combined: Vec::new(),
            retry: None,
            tried: 0,
            outcomes: empty.then(Vec::new),
        }
    }

    /// Adds the order state that this height commits to.
    #[must_use]
    pub fn with_state(mut self, state: Option<Digest>, snapshot: Option<Vec<u8>>) -> Self {
        (self.state, self.snapshot) = (state, snapshot);
        self
    }

    /// D(c) in order.
    #[must_use]
    pub fn ordered(&self) -> &[Ordered] {
        &self.emission.ordered
    }

    /// Whether something in it is tied, and the beacon that decides is not known.
    fn awaits_beacon(&self) -> bool {
        !self.emission.ties.is_empty() && self.beacon.is_none()
    }

    /// Whether it can be emitted, in its turn.
    fn is_open(&self) -> bool {
        self.durable && self.outcomes.is_some() && !self.awaits_beacon()
    }

    /// Whatever it emits.
    fn ids(&self) -> impl Iterator<Item = CtId> {
        let Emission {
            expired,
            duplicates,
            ordered,
            ..
        } = &self.emission;
        let lists = [expired, duplicates, ordered];
        lists.into_iter().flatten().map(|order| order.ct_id)
    }

    fn points(&self) -> Vec<Vec<u8>> {
        self.list
            .iter()
            .flatten()
            .map(|ct| ct.statement())
            .collect()
    }

    fn add(&mut self, from: MemberId, message: Arc<ShareMessage>) -> Result<(), ShareFault> {
        if message.batch.block() != self.block {
            return Err(ShareFault::Block);
        }
        let known = self.sets.iter().any(|(member, _)| *member == from);
        if !known && !self.liars.contains(from) && self.outcomes.is_none() {
            self.sets.push((from, message));
        }
        Ok(())
    }

    /// The sets to combine, those of demoted members last, and only once others were asked
    /// for in vain.
    fn usable(&self, height: Height, demoted: &Demotions) -> Vec<(MemberId, Arc<ShareMessage>)> {
        let waited = self.retry.is_some_and(|(_, tries)| tries > 0);
        let of_liars = |(member, _): &&_| demoted.is_demoted(*member, height);
        let (last, mut first): (Vec<_>, Vec<_>) = self.sets.iter().partition(of_liars);
        if waited {
            first.extend(last);
        }
        first.into_iter().cloned().collect()
    }

    fn next(
        &mut self,
        height: Height,
        t: usize,
        demoted: &Demotions,
        planted: Planted,
    ) -> Option<Ask> {
        let durable = self.durable || planted.is(Mutant::SharesFirst);
        if durable && self.awaits_beacon() && !self.beacon_asked {
            self.beacon_asked = true;
            return Some(Ask::Beacon(Box::new(BeaconJob {
                height,
                block: self.block,
                certificate: self.certificate.clone(),
                path: self.path.clone(),
            })));
        }
        let list = self.list.as_ref()?;
        if self.outcomes.is_some() {
            return None;
        }
        if self.own == Own::Missing && durable {
            self.own = Own::Computing;
            return Some(Ask::Shares(Box::new(SharesJob {
                height,
                block: self.block,
                list: list.clone(),
                certificate: self.certificate.clone(),
                path: self.path.clone(),
            })));
        }
        let need = t.max(self.tried + 1);
        if self.combining || self.sets.len() < need || !self.durable {
            return None;
        }
        let mut sets = self.usable(height, demoted);
        if sets.len() < need {
            return None;
        }
        self.combining = true;
        // Exactly t while nobody lied here; everything at hand afterwards.
        if self.liars.is_empty() {
            sets.truncate(t);
        }
        self.combined = sets.iter().take(t).map(|(member, _)| *member).collect();
        Some(Ask::Combine(Box::new(CombineJob {
            height,
            block: self.block,
            list: list.clone(),
            sets,
        })))
    }
}

/// All openings above the last emitted height.
#[derive(Clone, Debug)]
pub(crate) struct Openings {
    me: MemberId,
    threshold: usize,
    planted: Planted,
    /// Next height to hand out.
    next: Height,
    openings: BTreeMap<Height, Opening>,
    /// Those of which something changed since they were last asked what they need.
    changed: BTreeSet<Height>,
    /// Those whose payloads are not all parsed.
    unparsed: BTreeSet<Height>,
    /// Where every order that is to be emitted is.
    heights: BTreeMap<CtId, Height>,
    /// Sets for heights whose order is not known here yet.
    early: BTreeMap<Height, BTreeMap<MemberId, Arc<ShareMessage>>>,
    early_bytes: BTreeMap<MemberId, usize>,
    demoted: Demotions,
}

impl Openings {
    /// Starts after the last emitted height.
    #[must_use]
    pub fn new(me: MemberId, threshold: usize, emitted: Height, planted: Planted) -> Self {
        Self {
            me,
            threshold,
            planted,
            next: emitted.next(),
            openings: BTreeMap::new(),
            changed: BTreeSet::new(),
            unparsed: BTreeSet::new(),
            heights: BTreeMap::new(),
            early: BTreeMap::new(),
            early_bytes: BTreeMap::new(),
            demoted: Demotions::default(),
        }
    }

    /// Next height to be handed out.
    #[must_use]
    pub const fn next_height(&self) -> Height {
        self.next
    }

    /// Openings at work.
    #[must_use]
    pub fn len(&self) -> usize {
        self.openings.len()
    }

    /// Whether an order is waiting to be opened, and at which height.
    #[must_use]
    pub fn height_of(&self, id: &CtId) -> Option<Height> {
        self.heights.get(id).copied()
    }

    /// Adds the opening of a final height, with whatever came early for it.
    pub fn begin(&mut self, height: Height, mut opening: Opening) -> Vec<(MemberId, ShareFault)> {
        let mut faults = Vec::new();
        for (from, message) in self.take_early(height) {
            if let Err(fault) = opening.add(from, message) {
                faults.push((from, fault));
            }
        }
        for id in opening.ids() {
            self.heights.insert(id, height);
        }
        if opening.list.is_none() {
            self.unparsed.insert(height);
        }
        self.changed.insert(height);
        self.openings.insert(height, opening);
        faults
    }

    /// The block of `height`, and all below, are synced to disk.
    pub fn durable(&mut self, height: Height) {
        for (height, opening) in self.openings.range_mut(..=height) {
            if !std::mem::replace(&mut opening.durable, true) {
                self.changed.insert(*height);
            }
        }
    }

    /// Openings whose payloads are not all parsed, with their lists.
    pub fn unparsed(&self) -> impl Iterator<Item = (Height, &[Ordered])> {
        let opening = |height: &Height| Some((*height, self.openings.get(height)?.ordered()));
        self.unparsed.iter().filter_map(opening)
    }

    /// Every payload of `height` is here.
    pub fn parsed(&mut self, height: Height, list: Vec<Arc<SuiteParsed>>) {
        if let Some(opening) = self.openings.get_mut(&height) {
            opening.list = Some(list);
            self.unparsed.remove(&height);
            self.changed.insert(height);
        }
    }

    /// A peer's share set.
    ///
    /// # Errors
    /// [`ShareFault::Block`] when it is for a block that is not final here.
    pub fn receive(
        &mut self,
        from: MemberId,
        message: Arc<ShareMessage>,
    ) -> Result<(), ShareFault> {
        let height = message.height;
        if height < self.next || height.0 - self.next.0 > STASH_HEIGHTS {
            return Ok(());
        }
        if let Some(opening) = self.openings.get_mut(&height) {
            self.changed.insert(height);
            return opening.add(from, message);
        }
        let bytes = self.early_bytes.entry(from).or_default();
        let sets = self.early.entry(height).or_default();
        let size = message.batch.bytes();
        if !sets.contains_key(&from) && *bytes + size <= EARLY_BYTES_PER_MEMBER {
            *bytes += size;
            sets.insert(from, message);
        }
        Ok(())
    }

    fn take_early(&mut self, height: Height) -> BTreeMap<MemberId, Arc<ShareMessage>> {
        let sets = self.early.remove(&height).unwrap_or_default();
        for (from, message) in &sets {
            if let Some(bytes) = self.early_bytes.get_mut(from) {
                *bytes = bytes.saturating_sub(message.batch.bytes());
            }
        }
        sets
    }

    /// Work that can start now.
    pub fn asks(&mut self) -> Vec<Ask> {
        let (t, planted) = (self.threshold, self.planted);
        let mut asks = Vec::new();
        for height in std::mem::take(&mut self.changed) {
            let opening = self.openings.get_mut(&height);
            let demoted = &self.demoted;
            if let Some(ask) = opening.and_then(|o| o.next(height, t, demoted, planted)) {
                // It may need another thing at the same time.
                self.changed.insert(height);
                asks.push(ask);
            }
        }
        asks
    }

    /// What decides the ties of a height is known.
    pub fn beacon(&mut self, height: Height, beacon: Beacon) {
        if let Some(opening) = self.openings.get_mut(&height) {
            opening.beacon = Some(beacon);
        }
    }

    /// This member's shares are made.
    pub fn made(&mut self, height: Height, message: Option<Arc<ShareMessage>>) {
        let me = self.me;
        let Some(opening) = self.openings.get_mut(&height) else {
            return;
        };
        self.changed.insert(height);
        let Some(message) = message else { return };
        opening.own = Own::Ready(Arc::clone(&message));
        opening.sets.retain(|(member, _)| *member != me);
        opening.sets.insert(0, (me, message));
    }

    /// What combining gave; returns whoever lied.
    pub fn combined(&mut self, height: Height, result: Combined) -> Vec<Liar> {
        let Some(opening) = self.openings.get_mut(&height) else {
            return Vec::new();
        };
        self.changed.insert(height);
        opening.combining = false;
        let points = if result.liars.is_empty() {
            Vec::new()
        } else {
            opening.points()
        };
        if result.liars.is_empty() && result.missing == 0 {
            for member in &opening.combined {
                self.demoted.restore(*member);
            }
        }
        let mut liars = Vec::new();
        for (member, fault) in result.liars {
            self.demoted.demote(member, height);
            opening.liars.insert(member);
            let Some(at) = opening.sets.iter().position(|(m, _)| *m == member) else {
                continue;
            };
            let (_, message) = opening.sets.remove(at);
            liars.push(Liar {
                member,
                fault,
                message,
                points: points.clone(),
            });
        }
        if result.missing > 0 && liars.is_empty() {
            opening.tried = opening.sets.len();
        }
        if result.missing == 0 {
            opening.outcomes = result.outcomes.into_iter().collect();
        } else if self.planted.is(Mutant::GiveUp) {
            let given_up = |outcome: Option<Opened>| outcome.unwrap_or(Opened::Malformed);
            opening.outcomes = Some(result.outcomes.into_iter().map(given_up).collect());
        }
        liars
    }

    /// The next height in order, if it is done.
    pub fn take(&mut self) -> Option<(Height, Opening, Vec<Opened>)> {
        if self.planted.is(Mutant::EmitAnyOrder) {
            let done = |(_, o): &(&Height, &Opening)| o.is_open();
            let last = self.openings.iter().rev().find(done);
            self.next = last.map_or(self.next, |(height, _)| *height);
        }
        let opening = self.openings.get(&self.next)?;
        if !opening.is_open() {
            return None;
        }
        let outcomes = opening.outcomes.clone()?;
        let height = self.next;
        let opening = self.openings.remove(&height)?;
        for id in opening.ids() {
            self.heights.remove(&id);
        }
        self.next = height.next();
        Some((height, opening, outcomes))
    }

    /// D7: heights that have waited for shares for a while, lowest first, with the members
    /// not heard from. Each is asked for ever more rarely, so that asking does not keep
    /// busy members from answering.
    #[must_use]
    pub fn missing(&mut self, now: Micros, committee: usize) -> Vec<(Height, Vec<MemberId>)> {
        let me = self.me;
        let waiting = self
            .openings
            .iter_mut()
            .filter(|(_, o)| o.outcomes.is_none() || o.awaits_beacon());
        let mut ask = Vec::new();
        for (height, opening) in waiting.take(RETRY_HEIGHTS) {
            let (due, tries) = *opening.retry.get_or_insert((now.plus(RETRY_FIRST.0), 0));
            if now < due {
                continue;
            }
            let pause = RETRY_FIRST.0 << (tries + 1).min(RETRY_DOUBLINGS_MAX);
            opening.retry = Some((now.plus(pause), tries + 1));
            self.changed.insert(*height);
            let opened = opening.outcomes.is_some();
            let heard = |m: &MemberId| {
                let of_it = |(member, _): &(MemberId, _)| member == m;
                !opened && (opening.liars.contains(*m) || opening.sets.iter().any(of_it))
            };
            let members = (0..committee as u8).map(MemberId);
            ask.push((*height, members.filter(|m| *m != me && !heard(m)).collect()));
        }
        ask
    }

    /// This member's own shares for a height that is not emitted, if they are made.
    #[must_use]
    pub fn own(&self, height: Height) -> Option<Arc<ShareMessage>> {
        match &self.openings.get(&height)?.own {
            Own::Ready(message) => Some(Arc::clone(message)),
            _ => None,
        }
    }

    /// Whether anything waits for shares.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.openings
            .values()
            .any(|opening| opening.outcomes.is_none() || opening.awaits_beacon())
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{ShareBatch, SuiteBatch};
    use fairlane_types::{
        CertificateKind, ChainId, Epoch, KeyId, LANE_NONE, Label, PublicKey, SecretKey, View,
    };

    use super::*;

    const ME: MemberId = MemberId(0);
    const T: usize = 3;

    fn set(member: u8, height: u64) -> Arc<ShareMessage> {
        let no_shares: Vec<[u8; 32]> = Vec::new();
        let head = (KeyId::default(), BlockId::default(), MemberId(member));
        let mut bytes = borsh::to_vec(&(head, no_shares)).unwrap();
        bytes.extend([0; 64]);
        let batch = borsh::from_slice::<ShareBatch>(&bytes).unwrap();
        let key = SecretKey::from_seed([member; 32]);
        let batch = SuiteBatch::Tdh2(batch);
        let (list, chain) = (Digest::default(), ChainId(1));
        Arc::new(ShareMessage::sign(
            Height(height),
            list,
            batch,
            &key,
            chain,
            Epoch(0),
        ))
    }

    /// An order to open, with this member's own set.
    fn opening(openings: &mut Openings, height: u64) {
        let label = Label {
            suite: 1,
            chain: ChainId(1),
            key_id: KeyId::default(),
            sender: PublicKey([0; 32]),
            nonce: height,
            expiry: Millis(1),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let order = Ordered {
            ct_id: CtId(Digest([height as u8; 32])),
            label,
            key: Micros(0),
        };
        let emission = Emission {
            ordered: vec![order],
            ..Emission::default()
        };
        let certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: Epoch(0),
            view: View(1),
            height: Height(height),
            block: BlockId::default(),
            signers: SignerSet::default(),
            dirty: SignerSet::default(),
            signatures: Vec::new(),
        };
        let time = Millis(height);
        let opening = Opening::new(BlockId::default(), time, emission, certificate, Vec::new());
        assert!(openings.begin(Height(height), opening).is_empty());
        openings.durable(Height(height));
        openings.parsed(Height(height), Vec::new());
        openings.made(Height(height), Some(set(ME.0, height)));
    }

    /// Whose sets are combined now, if any are.
    fn combining(openings: &mut Openings) -> Option<Vec<u8>> {
        openings.asks().into_iter().find_map(|ask| match ask {
            Ask::Combine(job) => Some(job.sets.iter().map(|(member, _)| member.0).collect()),
            Ask::Shares(_) | Ask::Beacon(_) => None,
        })
    }

    fn hear(openings: &mut Openings, height: u64, members: &[u8]) {
        for member in members {
            let message = set(*member, height);
            openings.receive(MemberId(*member), message).unwrap();
        }
    }

    fn result(liars: &[u8], missing: usize) -> Combined {
        let liar = |member: &u8| (MemberId(*member), ShareFault::List);
        Combined {
            outcomes: vec![(missing == 0).then_some(Opened::Malformed)],
            liars: liars.iter().map(liar).collect(),
            missing,
        }
    }

    /// A6: the lie of one block costs the next one nothing.
    #[test]
    fn a_liars_sets_are_not_used_while_others_come() {
        let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
        opening(&mut openings, 1);
        hear(&mut openings, 1, &[3, 1]);
        assert_eq!(combining(&mut openings), Some(vec![0, 3, 1]));
        assert_eq!(openings.combined(Height(1), result(&[3], 1)).len(), 1);
        assert_eq!(combining(&mut openings), None);
        hear(&mut openings, 1, &[2]);
        assert_eq!(combining(&mut openings), Some(vec![0, 1, 2]));
        openings.combined(Height(1), result(&[], 0));

        opening(&mut openings, 2);
        hear(&mut openings, 2, &[3, 1]);
        assert_eq!(combining(&mut openings), None, "the liar's is not counted");
        hear(&mut openings, 2, &[2]);
        assert_eq!(combining(&mut openings), Some(vec![0, 1, 2]));
    }

    /// More than f may be faulty: then a former liar's true set opens the block, late, and
    /// it is trusted again.
    #[test]
    fn a_former_liars_set_is_tried_where_nobody_elses_comes() {
        let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
        opening(&mut openings, 1);
        hear(&mut openings, 1, &[3, 1, 2]);
        assert!(combining(&mut openings).is_some());
        openings.combined(Height(1), result(&[3], 0));

        opening(&mut openings, 2);
        hear(&mut openings, 2, &[3, 1]);
        assert_eq!(combining(&mut openings), None);
        let asked = openings.missing(Micros(1), 4);
        assert!(asked.is_empty(), "{asked:?}");
        let asked = openings.missing(Micros(1).plus(RETRY_FIRST.0), 4);
        assert_eq!(asked, [(Height(2), vec![MemberId(2)])]);
        assert_eq!(combining(&mut openings), Some(vec![0, 1, 3]));
        openings.combined(Height(2), result(&[], 0));

        opening(&mut openings, 3);
        hear(&mut openings, 3, &[3, 1]);
        assert_eq!(combining(&mut openings), Some(vec![0, 3, 1]));
    }
}
