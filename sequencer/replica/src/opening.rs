//! One final block whose order is known, on its way to plaintext.

use std::sync::Arc;

use fairlane_encryption::{Beacon, Opened, SuiteParsed};
use fairlane_mempool::fair::{Emission, Ordered};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CtId, Digest, Height, MemberId, Micros, Millis, Mutant,
    Planted,
};

use crate::demotion::Demotions;
use crate::job::BeaconJob;
use crate::share_job::{CombineJob, OpenKeysJob, SharesJob, slice_of};
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
    /// Into so many slices D(c) is dealt: order k is in slice k mod this.
    dealt: usize,
    /// Those that hold an order.
    slices: Vec<Slice>,
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
            dealt: 1,
            slices: Vec::new(),
            retry: None,
            emission,
        };
        opening.dealt(1)
    }

    /// Combined in so many slices, by some members for all.
    #[must_use]
    pub fn sharded(self, slices: usize) -> Self {
        Self {
            sharded: true,
            ..self.dealt(slices)
        }
    }

    fn dealt(mut self, slices: usize) -> Self {
        let orders = self.ordered().len();
        let of_slice = |slice| Slice::new((slice..orders).step_by(slices).len());
        self.slices = (0..slices.min(orders)).map(of_slice).collect();
        self.dealt = slices;
        self
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
        let place = |k: usize| {
            let slice = self.slices.get(k % self.dealt)?;
            slice.outcomes().get(k / self.dealt)?.clone()
        };
        (0..self.ordered().len()).filter_map(place).collect()
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
        for (at, slice) in self.slices.iter_mut().enumerate() {
            slice.list = Some(slice_of(&list, at, self.dealt));
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
        let list = self.list.as_ref()?;
        if self.ordered().is_empty() {
            return None;
        }
        if self.own == Own::Missing && durable {
            self.own = Own::Computing;
            return Some(Ask::Shares(Box::new(SharesJob {
                height,
                block: self.block,
                list: list.clone(),
                slices: self.dealt,
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
    /// at once where a combiner cannot open an order, and then ever more rarely, so that
    /// asking does not keep busy members from answering.
    pub fn missing(
        &mut self,
        now: Micros,
        first: Micros,
        members: impl Iterator<Item = MemberId>,
    ) -> Vec<MemberId> {
        let (due, tries) = *self.retry.get_or_insert((now.plus(first.0), 0));
        let stuck = tries == 0 && self.slices.iter().any(Slice::is_stuck);
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
