//! From final order to plaintext (PROTOCOL §4): one [`Opening`] per final height, worked
//! on in parallel, handed out strictly in height order (D7).
//!
//! State is keyed by our own final blocks, never by what a peer says first (A7). What a
//! peer can make us hold of a bounded window of heights is bounded in bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_encryption::{Beacon, Opened, Plain, ShareError, SuiteParsed};
use fairlane_mempool::fair::Ordered;
use fairlane_types::{CtId, Height, MemberId, Micros, Mutant, Planted};

use crate::demotion::Demotions;
use crate::message::SHARE_HEIGHTS_MAX;
use crate::opening::{Ask, Opening, Said};
use crate::share_job::Combined;
use crate::share_message::{ShareFault, ShareMessage};

/// Share sets are kept for so many heights above the last emitted one.
pub const STASH_HEIGHTS: u64 = 1_024;
/// Bytes of shares kept per member for heights whose order is not known here yet.
pub const EARLY_BYTES_PER_MEMBER: usize = 16 << 20;
/// Openings that are re-requested at a time (D7): as many as one request may name.
pub const RETRY_HEIGHTS: usize = SHARE_HEIGHTS_MAX as usize;

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

/// What came early for a height, by sender and what it is.
type Early = BTreeMap<(MemberId, (bool, u16)), Said>;

/// All openings above the last emitted height.
#[derive(Clone, Debug)]
pub(crate) struct Openings {
    me: MemberId,
    threshold: usize,
    planted: Planted,
    /// Next height to hand out.
    next: Height,
    /// Final blocks up to this height are synced to disk.
    durable_to: Height,
    openings: BTreeMap<Height, Opening>,
    /// Those of which something changed since they were last asked what they need.
    changed: BTreeSet<Height>,
    /// Those whose payloads are not all parsed.
    unparsed: BTreeSet<Height>,
    /// Where every order that is to be emitted is.
    heights: BTreeMap<CtId, Height>,
    /// What came for heights whose order is not known here yet.
    early: BTreeMap<Height, Early>,
    early_bytes: BTreeMap<MemberId, usize>,
    demoted: Demotions,
    /// An opening became stuck.
    stuck: bool,
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
            durable_to: emitted,
            openings: BTreeMap::new(),
            changed: BTreeSet::new(),
            unparsed: BTreeSet::new(),
            heights: BTreeMap::new(),
            early: BTreeMap::new(),
            early_bytes: BTreeMap::new(),
            demoted: Demotions::default(),
            stuck: false,
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
        // The block may be synced before its last batch is here.
        opening.durable = height <= self.durable_to;
        for ((from, _), said) in self.take_early(height) {
            if let Err(fault) = opening.say(from, said) {
                faults.push((from, fault));
            }
        }
        for id in opening.ids() {
            self.heights.insert(id, height);
        }
        if !opening.ordered().is_empty() {
            self.unparsed.insert(height);
        }
        self.changed.insert(height);
        self.openings.insert(height, opening);
        faults
    }

    /// The block of `height`, and all below, are synced to disk.
    pub fn durable(&mut self, height: Height) {
        self.durable_to = self.durable_to.max(height);
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
            opening.parsed(list);
            self.unparsed.remove(&height);
            self.changed.insert(height);
        }
    }

    /// What a peer says of a height.
    ///
    /// # Errors
    /// [`ShareFault::Block`] when it is for a block that is not final here,
    /// [`ShareFault::List`] when the block has no such slice.
    pub fn receive(&mut self, from: MemberId, said: Said) -> Result<(), ShareFault> {
        let height = said.height();
        if height < self.next || height.0 - self.next.0 > STASH_HEIGHTS {
            return Ok(());
        }
        if let Some(opening) = self.openings.get_mut(&height) {
            self.changed.insert(height);
            return opening.say(from, said);
        }
        let bytes = self.early_bytes.entry(from).or_default();
        let early = self.early.entry(height).or_default();
        let (size, slot) = (said.bytes(), (from, said.slot()));
        if !early.contains_key(&slot) && *bytes + size <= EARLY_BYTES_PER_MEMBER {
            *bytes += size;
            early.insert(slot, said);
        }
        Ok(())
    }

    fn take_early(&mut self, height: Height) -> Early {
        let early = self.early.remove(&height).unwrap_or_default();
        for ((from, _), said) in &early {
            if let Some(bytes) = self.early_bytes.get_mut(from) {
                *bytes = bytes.saturating_sub(said.bytes());
            }
        }
        early
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

    /// This member's shares are made, or it has none to give.
    pub fn made(&mut self, height: Height, messages: Option<Vec<Arc<ShareMessage>>>) {
        let me = self.me;
        if let Some(opening) = self.openings.get_mut(&height) {
            self.changed.insert(height);
            opening.made(me, messages);
        }
    }

    /// What combining a slice gave; returns whoever lied, with shares or as a combiner.
    pub fn combined(
        &mut self,
        height: Height,
        slice: u16,
        result: Combined,
    ) -> (Vec<Liar>, Vec<(MemberId, ShareFault)>) {
        let nobody = (Vec::new(), Vec::new());
        let Some(opening) = self.openings.get_mut(&height) else {
            return nobody;
        };
        self.changed.insert(height);
        let points = if result.liars.is_empty() {
            Vec::new()
        } else {
            opening.points(slice)
        };
        let Some(at_work) = opening.slice_mut(slice) else {
            return nobody;
        };
        let settled = at_work.combined(result, self.planted);
        for member in settled.trusted {
            self.demoted.restore(member);
        }
        let liars = settled.liars.into_iter().map(|(member, fault, message)| {
            self.demoted.demote(member, height);
            Liar {
                member,
                fault,
                message,
                points: points.clone(),
            }
        });
        (liars.collect(), settled.false_tellers)
    }

    /// What a combiner told is opened; returns whoever did wrong as a combiner. `chosen` says
    /// that this member would have had it combine the slice.
    pub fn keys_opened(
        &mut self,
        height: Height,
        slice: u16,
        (from, chosen): (MemberId, bool),
        result: Result<Vec<(usize, Option<Plain>)>, ShareError>,
    ) -> Vec<(MemberId, ShareFault)> {
        let Some(opening) = self.openings.get_mut(&height) else {
            return Vec::new();
        };
        self.changed.insert(height);
        let Some(slice) = opening.slice_mut(slice) else {
            return Vec::new();
        };
        let false_tellers = slice.opened((from, chosen), result);
        self.stuck |= opening.is_stuck();
        false_tellers
    }

    /// Whether the orders of a slice are settled, so that what is told of it is not looked at.
    pub fn is_settled(&self, height: Height, slice: u16) -> bool {
        let opening = self.openings.get(&height);
        opening.map_or(height < self.next, |opening| {
            opening.is_slice_settled(slice)
        })
    }

    /// Whether a combiner left out an order since this was asked last.
    pub fn is_stuck(&mut self) -> bool {
        std::mem::take(&mut self.stuck)
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
        let outcomes = opening.outcomes();
        let height = self.next;
        let opening = self.openings.remove(&height)?;
        for id in opening.ids() {
            self.heights.remove(&id);
        }
        self.next = height.next();
        Some((height, opening, outcomes))
    }

    /// D7: heights that have waited for shares for a while, lowest first, with the members
    /// to ask. The first request is made after `first`, or at once for heights up to `emitted`,
    /// where others have been for long.
    #[must_use]
    pub fn missing(
        &mut self,
        now: Micros,
        first: Micros,
        emitted: Height,
        committee: usize,
    ) -> Vec<(Height, Vec<MemberId>)> {
        let me = self.me;
        let waiting = self
            .openings
            .iter_mut()
            .filter(|(_, o)| !o.is_settled() || o.awaits_beacon());
        let mut ask = Vec::new();
        for (height, opening) in waiting.take(RETRY_HEIGHTS) {
            let others = (0..committee as u8).map(MemberId).filter(|m| *m != me);
            let members = opening.missing(now, first, *height <= emitted, others);
            if !members.is_empty() {
                self.changed.insert(*height);
                ask.push((*height, members));
            }
        }
        ask
    }

    /// This member's own shares for a height that is not emitted, if they are made.
    #[must_use]
    pub fn own(&self, height: Height) -> Vec<Arc<ShareMessage>> {
        let opening = self.openings.get(&height);
        opening.map_or_else(Vec::new, |opening| opening.own().to_vec())
    }

    /// Whether anything waits for shares.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.openings
            .values()
            .any(|opening| !opening.is_settled() || opening.awaits_beacon())
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{KeyBatch, KeyPoint, ShareBatch, SuiteBatch};
    use fairlane_mempool::fair::Emission;
    use fairlane_types::{
        BlockId, Certificate, CertificateKind, ChainId, Digest, Epoch, KeyId, LANE_NONE, Label,
        Millis, PublicKey, SecretKey, SignerSet, View,
    };

    use super::*;
    use crate::opening::RETRY_PAUSE;
    use crate::share_message::KeyMessage;

    const ME: MemberId = MemberId(0);
    const T: usize = 3;

    fn set(member: u8, height: u64) -> Arc<ShareMessage> {
        set_of(member, height, 1)
    }

    fn set_of(member: u8, height: u64, shares: usize) -> Arc<ShareMessage> {
        let head = (KeyId::default(), BlockId::default(), MemberId(member));
        let mut bytes = borsh::to_vec(&(head, vec![[0u8; 32]; shares])).unwrap();
        bytes.extend([0; 64]);
        let batch = borsh::from_slice::<ShareBatch>(&bytes).unwrap();
        let key = SecretKey::from_seed([member; 32]);
        let batch = SuiteBatch::Tdh2(batch);
        let (list, chain) = (Digest::default(), ChainId(1));
        Arc::new(ShareMessage::sign(
            Height(height),
            0,
            list,
            batch,
            &key,
            chain,
            Epoch(0),
        ))
    }

    /// An opening of one order.
    fn of_one_order(height: u64) -> Opening {
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
        Opening::new(BlockId::default(), time, emission, certificate, Vec::new())
    }

    /// An order to open, with this member's own set.
    fn opening(openings: &mut Openings, height: u64) {
        let opening = of_one_order(height);
        assert!(openings.begin(Height(height), opening).is_empty());
        openings.durable(Height(height));
        openings.parsed(Height(height), Vec::new());
        openings.made(Height(height), Some(vec![set(ME.0, height)]));
    }

    /// Whose sets are combined now, if any are.
    fn combining(openings: &mut Openings) -> Option<Vec<u8>> {
        openings.asks().into_iter().find_map(|ask| match ask {
            Ask::Combine(job) => Some(job.sets.iter().map(|(member, _)| member.0).collect()),
            Ask::Shares(_) | Ask::Beacon(_) | Ask::OpenKeys(_) => None,
        })
    }

    fn hear(openings: &mut Openings, height: u64, members: &[u8]) {
        for member in members {
            let message = set(*member, height);
            let said = Said::Shares(message);
            openings.receive(MemberId(*member), said).unwrap();
        }
    }

    fn result(liars: &[u8], missing: usize) -> Combined {
        let liar = |member: &u8| (MemberId(*member), ShareFault::List);
        Combined {
            outcomes: vec![(missing == 0).then_some(Opened::Malformed)],
            liars: liars.iter().map(liar).collect(),
            missing,
            told: None,
        }
    }

    /// A6: the lie of one block costs the next one nothing.
    #[test]
    fn a_liars_sets_are_not_used_while_others_come() {
        let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
        opening(&mut openings, 1);
        hear(&mut openings, 1, &[3, 1]);
        assert_eq!(combining(&mut openings), Some(vec![0, 3, 1]));
        assert_eq!(openings.combined(Height(1), 0, result(&[3], 1)).0.len(), 1);
        assert_eq!(combining(&mut openings), None);
        hear(&mut openings, 1, &[2]);
        assert_eq!(combining(&mut openings), Some(vec![0, 1, 2]));
        openings.combined(Height(1), 0, result(&[], 0));

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
        openings.combined(Height(1), 0, result(&[3], 0));

        opening(&mut openings, 2);
        hear(&mut openings, 2, &[3, 1]);
        assert_eq!(combining(&mut openings), None);
        let asked = openings.missing(Micros(1), RETRY_PAUSE, Height(0), 4);
        assert!(asked.is_empty(), "{asked:?}");
        let asked = openings.missing(Micros(1).plus(RETRY_PAUSE.0), RETRY_PAUSE, Height(0), 4);
        assert_eq!(asked, [(Height(2), vec![MemberId(2)])]);
        assert_eq!(combining(&mut openings), Some(vec![0, 1, 3]));
        openings.combined(Height(2), 0, result(&[], 0));

        opening(&mut openings, 3);
        hear(&mut openings, 3, &[3, 1]);
        assert_eq!(combining(&mut openings), Some(vec![0, 3, 1]));
    }

    /// The last block of an epoch may be synced before the last batch of its cut is here, and
    /// no later one says that it is.
    #[test]
    fn an_opening_that_begins_after_its_block_is_synced_makes_shares() {
        let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
        openings.durable(Height(1));
        let new = of_one_order(1);
        assert!(openings.begin(Height(1), new).is_empty());
        openings.parsed(Height(1), Vec::new());
        let asks = openings.asks();
        assert!(matches!(asks[..], [Ask::Shares(_)]), "{asks:?}");
        // And one above it waits.
        assert!(openings.begin(Height(2), of_one_order(2)).is_empty());
        openings.parsed(Height(2), Vec::new());
        assert!(openings.asks().is_empty());
    }

    /// Of an emitted height nobody makes shares any more, and a peer may need them (D7).
    #[test]
    fn nothing_is_emitted_before_the_own_shares_are_made() {
        let opened = || {
            let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
            openings.durable(Height(1));
            assert!(openings.begin(Height(1), of_one_order(1)).is_empty());
            openings.parsed(Height(1), Vec::new());
            assert!(matches!(openings.asks()[..], [Ask::Shares(_)]));
            hear(&mut openings, 1, &[1, 2, 3]);
            assert!(combining(&mut openings).is_some());
            openings.combined(Height(1), 0, result(&[], 0));
            assert!(openings.take().is_none());
            openings
        };
        let mut openings = opened();
        openings.made(Height(1), Some(vec![set(ME.0, 1)]));
        assert!(openings.take().is_some());
        // A member without a share of the key owes nobody any.
        let mut openings = opened();
        openings.made(Height(1), None);
        assert!(openings.take().is_some());
    }

    /// A11: a set is of as many orders as the slice, or nothing of it is kept.
    #[test]
    fn sets_of_another_length_are_refused() {
        let mut openings = Openings::new(ME, T, Height(0), Planted::NONE);
        assert!(openings.begin(Height(1), of_one_order(1)).is_empty());
        for shares in [0, 2, 1_000] {
            let said = Said::Shares(set_of(1, 1, shares));
            assert_eq!(openings.receive(MemberId(1), said), Err(ShareFault::List));
        }
        let told = |points| {
            let point = KeyPoint {
                order: 0,
                point: [0; 32],
            };
            Said::Keys(Arc::new(KeyMessage {
                height: Height(1),
                slice: 0,
                batch: KeyBatch {
                    key: KeyId::default(),
                    block: BlockId::default(),
                    member: MemberId(1),
                    points: vec![point; points],
                },
            }))
        };
        assert_eq!(
            openings.receive(MemberId(1), told(2)),
            Err(ShareFault::List)
        );
        assert_eq!(openings.receive(MemberId(1), told(1)), Ok(()));
    }
}
