//! One final block whose order is known, on its way to plaintext.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_encryption::{Beacon, Opened, SuiteParsed};
use fairlane_mempool::fair::{Emission, Ordered};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CtId, Digest, Height, KeyId, MemberId, Micros, Millis,
    Mutant, Planted,
};

use crate::demotion::Demotions;
use crate::job::BeaconJob;
use crate::share_job::{CombineJob, OpenKeysJob, ShareSlice, SharesJob};
use crate::share_message::{KeyMessage, ShareFault, ShareMessage};
use crate::slice::{Setting, Slice, SliceAsk};

/// The pause between requests doubles at most this many times: 8 s.
const RETRY_DOUBLINGS_MAX: u32 = 3;

/// A final block whose order is known.
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
    certificate: Certificate,
    /// See [`SharesJob::path`].
    path: Vec<BlockHeader>,
    /// What decides its ties, once it is known.
    pub beacon: Option<Beacon>,
    /// This member's share of the beacon was asked for.
    beacon_asked: bool,
    /// The final block is synced to disk here (D2, "final before revealed").
    pub durable: bool,
    /// D(c) parsed, once every payload is here.
    list: Option<Vec<Arc<SuiteParsed>>>,
    own: Own,
    /// Slices are combined by some for all.
    sharded: bool,
    /// What D(c) is dealt into, none without an order: each is of one key.
    slices: Vec<Slice>,
    /// The places in D(c) of each slice's orders, ascending.
    places: Vec<Vec<usize>>,
    /// When missing sets are asked for, and how often they were (D7).
    retry: Option<(Micros, u32)>,
}

/// This member's shares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    Missing,
    Computing,
    Ready(Vec<Arc<ShareMessage>>),
    /// It has none to give.
    None,
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
    /// Open what a combiner told.
    OpenKeys(Box<OpenKeysJob>),
}

/// What a peer says of an opening.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Its shares of a slice.
    Shares(Arc<ShareMessage>),
    /// What it combined of a slice.
    Keys(Arc<KeyMessage>),
}

impl Said {
    /// The height that it is of.
    pub fn height(&self) -> Height {
        match self {
            Self::Shares(message) => message.height,
            Self::Keys(message) => message.height,
        }
    }

    /// Bytes that it takes to keep, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Shares(message) => message.batch.bytes() + size_of::<ShareMessage>(),
            Self::Keys(message) => size_of_val(&message.batch.points[..]) + size_of::<KeyMessage>(),
        }
    }

    /// Of each member one of these is kept.
    pub fn slot(&self) -> (bool, u16) {
        match self {
            Self::Shares(message) => (false, message.slice),
            Self::Keys(message) => (true, message.slice),
        }
    }
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
        let orders = emission.ordered.len();
        let opening = Self {
            block,
            time,
            state: None,
            snapshot: None,
            certificate,
            path,
            beacon: None,
            beacon_asked: false,
            durable: false,
            list: (orders == 0).then(Vec::new),
            own: Own::Missing,
            sharded: false,
            slices: Vec::new(),
            places: Vec::new(),
            retry: None,
            emission,
        };
        opening.dealt(1)
    }

    /// Combined in so many slices of each key, by some members for all.
    #[must_use]
    pub fn sharded(self, slices: usize) -> Self {
        Self {
            sharded: true,
            ..self.dealt(slices)
        }
    }

    /// A block may hold orders of two keys, and shares are of one: so is a slice. Within a key
    /// order k is in slice k mod `slices`.
    fn dealt(mut self, slices: usize) -> Self {
        let mut of_key: BTreeMap<KeyId, Vec<usize>> = BTreeMap::new();
        for (place, order) in self.ordered().iter().enumerate() {
            of_key.entry(order.label.key_id).or_default().push(place);
        }
        let (mut places, mut made) = (Vec::new(), Vec::new());
        for (key, orders) in of_key {
            for slice in 0..slices.min(orders.len()) {
                let of_slice = fairlane_encryption::places(slice, slices, orders.len());
                let of_slice: Vec<usize> = of_slice.map(|k| orders[k]).collect();
                made.push(Slice::new(key, of_slice.len()));
                places.push(of_slice);
            }
        }
        (self.slices, self.places) = (made, places);
        self
    }

    /// Number of slices.
    pub const fn slices(&self) -> usize {
        self.slices.len()
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

    /// A slice that holds an order.
    pub fn slice_mut(&mut self, slice: u16) -> Option<&mut Slice> {
        self.slices.get_mut(usize::from(slice))
    }

    /// Whether the orders of a slice are settled.
    pub fn is_slice_settled(&self, slice: u16) -> bool {
        let slice = self.slices.get(usize::from(slice));
        slice.is_none_or(Slice::is_done)
    }

    /// Whether every order is settled.
    pub fn is_settled(&self) -> bool {
        self.slices.iter().all(Slice::is_done)
    }

    /// Whether something in it is tied, and the beacon that decides is not known.
    pub fn awaits_beacon(&self) -> bool {
        !self.emission.ties.is_empty() && self.beacon.is_none()
    }

    /// Whether it can be emitted, in its turn. Not before this member's own shares are made and
    /// on their way to disk: of an emitted height nobody makes them again, and others may need
    /// them (D7).
    pub fn is_open(&self) -> bool {
        let given = self.ordered().is_empty() || matches!(self.own, Own::Ready(_) | Own::None);
        self.durable && self.is_settled() && !self.awaits_beacon() && given
    }

    /// What every order turned out to be, in order; those that are not settled are left out.
    pub fn outcomes(&self) -> Vec<Opened> {
        let mut found = vec![None; self.ordered().len()];
        for (places, slice) in self.places.iter().zip(&self.slices) {
            for (place, outcome) in places.iter().zip(slice.outcomes()) {
                found[*place].clone_from(outcome);
            }
        }
        found.into_iter().flatten().collect()
    }

    /// Whatever it emits.
    pub fn ids(&self) -> impl Iterator<Item = CtId> {
        let Emission {
            expired,
            duplicates,
            ordered,
            ..
        } = &self.emission;
        let lists = [expired, duplicates, ordered];
        lists.into_iter().flatten().map(|order| order.ct_id)
    }

    /// What shares of a slice are verified against: what blame needs.
    pub fn points(&self, slice: u16) -> Vec<Vec<u8>> {
        let slice = self.slices.get(usize::from(slice));
        let list = slice.and_then(|slice| slice.list.as_ref());
        list.into_iter()
            .flatten()
            .map(|ct| ct.statement())
            .collect()
    }

    /// Every payload is here.
    pub fn parsed(&mut self, list: Vec<Arc<SuiteParsed>>) {
        for (places, slice) in self.places.iter().zip(&mut self.slices) {
            let of_slice = places.iter().filter_map(|place| list.get(*place));
            slice.list = Some(of_slice.cloned().collect());
        }
        self.list = Some(list);
    }

    /// What a peer says.
    ///
    /// # Errors
    /// [`ShareFault`] when it is of another block, or of a slice that the block has not.
    pub fn say(&mut self, from: MemberId, said: Said) -> Result<(), ShareFault> {
        let block = match &said {
            Said::Shares(message) => message.batch.block(),
            Said::Keys(message) => message.batch.block,
        };
        if block != self.block {
            return Err(ShareFault::Block);
        }
        let (_, slice) = said.slot();
        match (self.slice_mut(slice), said) {
            (Some(slice), Said::Shares(message)) => slice.add(from, message),
            (Some(slice), Said::Keys(message)) => slice.add_told(from, message),
            (None, _) => Err(ShareFault::List),
        }
    }

    /// This member's shares are made, or it has none to give.
    pub fn made(&mut self, me: MemberId, messages: Option<Vec<Arc<ShareMessage>>>) {
        let Some(messages) = messages else {
            self.own = Own::None;
            return;
        };
        for message in &messages {
            if let Some(slice) = self.slice_mut(message.slice) {
                slice.made(me, Arc::clone(message));
            }
        }
        self.own = Own::Ready(messages);
    }

    /// This member's own shares, if they are made.
    pub fn own(&self) -> &[Arc<ShareMessage>] {
        match &self.own {
            Own::Ready(messages) => messages,
            Own::Missing | Own::Computing | Own::None => &[],
        }
    }

    /// Work that can start now.
    pub fn next(
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
        self.list.as_ref()?;
        if self.ordered().is_empty() {
            return None;
        }
        if self.own == Own::Missing && durable {
            self.own = Own::Computing;
            let slices = self.slices.iter().map(|slice| ShareSlice {
                key: slice.key(),
                list: slice.list.clone().unwrap_or_default(),
            });
            return Some(Ask::Shares(Box::new(SharesJob {
                height,
                block: self.block,
                slices: slices.collect(),
                certificate: self.certificate.clone(),
                path: self.path.clone(),
            })));
        }
        if !self.durable || self.is_settled() {
            return None;
        }
        let asked = self.retry.is_some_and(|(_, tries)| tries > 0);
        let setting = Setting {
            height,
            block: self.block,
            t,
            demoted,
            asked,
            // Whoever asked everybody was sent everything, and so were the others.
            tell: self.sharded && !asked,
        };
        let mut slices = self.slices.iter_mut().enumerate();
        slices.find_map(|(at, slice)| {
            Some(match slice.next(&setting, at as u16)? {
                SliceAsk::Combine(job) => Ask::Combine(job),
                SliceAsk::OpenKeys(job) => Ask::OpenKeys(job),
            })
        })
    }

    /// D7: the members to ask for what is missing, when it is time: first after `first`, or
    /// at once where a combiner cannot open an order or others are `past` it, and then ever more rarely, so that
    /// asking does not keep busy members from answering.
    pub fn missing(
        &mut self,
        now: Micros,
        first: Micros,
        past: bool,
        members: impl Iterator<Item = MemberId>,
    ) -> Vec<MemberId> {
        let (due, tries) = *self.retry.get_or_insert((now.plus(first.0), 0));
        let stuck = tries == 0 && (past || self.slices.iter().any(Slice::is_stuck));
        if now < due && !stuck {
            return Vec::new();
        }
        let pause = RETRY_PAUSE.0 << (tries + 1).min(RETRY_DOUBLINGS_MAX);
        self.retry = Some((now.plus(pause), tries + 1));
        let settled = self.is_settled();
        let heard = |member: &MemberId| {
            !settled && self.slices.iter().all(|slice| slice.has_heard(*member))
        };
        members.filter(|member| !heard(member)).collect()
    }

    /// Whether everybody should be asked at once.
    pub fn is_stuck(&self) -> bool {
        let asked = self.retry.is_some_and(|(_, tries)| tries > 0);
        !asked && self.slices.iter().any(Slice::is_stuck)
    }
}

/// Missing sets are asked for again after twice this, at first. Links are reliable and say
/// again what was lost with them, so that a set is rarely lost and often merely late: asking
/// early would keep busy members from making it.
pub(crate) const RETRY_PAUSE: Micros = Micros(1_000_000);
