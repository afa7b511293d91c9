//! From final order to plaintext (PROTOCOL §4): one [`Opening`] per final height, worked
//! on in parallel, handed out strictly in height order (D7).
//!
//! State is keyed by our own final blocks, never by what a peer says first (A7). A peer
//! can make us hold one share set per height of a bounded window, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::{Opened, SuiteParsed};
use fairlane_mempool::fair::{Emission, Ordered};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CtId, Digest, Height, MemberId, Micros, Millis, Mutant,
    Planted, SignerSet,
};

use crate::job::{CombineJob, Combined, SharesJob};
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
    /// The final block is synced to disk here (D2, "final before revealed").
    durable: bool,
    /// D(c) parsed, once every payload is here.
    list: Option<Vec<Arc<SuiteParsed>>>,
    own: Own,
    /// At most one per member, in order of arrival.
    sets: Vec<(MemberId, Arc<ShareMessage>)>,
    liars: SignerSet,
    combining: bool,
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
            durable: false,
            list: empty.then(Vec::new),
            own: Own::Missing,
            sets: Vec::new(),
            liars: SignerSet::default(),
            combining: false,
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

    fn next(&mut self, height: Height, t: usize, planted: Planted) -> Option<Ask> {
        let list = self.list.as_ref()?;
        if self.outcomes.is_some() {
            return None;
        }
        let durable = self.durable || planted.is(Mutant::SharesFirst);
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
        if self.combining || self.sets.len() < t.max(self.tried + 1) || !self.durable {
            return None;
        }
        self.combining = true;
        // Exactly t while nobody lied here; everything at hand afterwards.
        let take = if self.liars.is_empty() {
            t
        } else {
            self.sets.len()
        };
        Some(Ask::Combine(Box::new(CombineJob {
            height,
            block: self.block,
            list: list.clone(),
            sets: self.sets.iter().take(take).cloned().collect(),
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
}

impl Openings {
    /// Starts after the last emitted height.
    #[must_use]
    pub const fn new(me: MemberId, threshold: usize, emitted: Height, planted: Planted) -> Self {
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
            if let Some(ask) = opening.and_then(|o| o.next(height, t, planted)) {
                // It may need another thing at the same time.
                self.changed.insert(height);
                asks.push(ask);
            }
        }
        asks
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
        let mut liars = Vec::new();
        for (member, fault) in result.liars {
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
            let done = |(_, o): &(&Height, &Opening)| o.durable && o.outcomes.is_some();
            let last = self.openings.iter().rev().find(done);
            self.next = last.map_or(self.next, |(height, _)| *height);
        }
        let opening = self.openings.get(&self.next)?;
        if !opening.durable {
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
            .filter(|(_, o)| o.outcomes.is_none());
        let mut ask = Vec::new();
        for (height, opening) in waiting.take(RETRY_HEIGHTS) {
            let (due, tries) = *opening.retry.get_or_insert((now.plus(RETRY_FIRST.0), 0));
            if now < due {
                continue;
            }
            let pause = RETRY_FIRST.0 << (tries + 1).min(RETRY_DOUBLINGS_MAX);
            opening.retry = Some((now.plus(pause), tries + 1));
            let heard = |m: &MemberId| {
                opening.liars.contains(*m) || opening.sets.iter().any(|(member, _)| member == m)
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
            .any(|opening| opening.outcomes.is_none())
    }
}
