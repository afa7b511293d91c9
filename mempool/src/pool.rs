//! Orders that are held: payload bytes, their place in the own lane, who waits for them;
//! and what is remembered of those that have their outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_types::{CtId, Envelope, Label, MemberId, Micros, Millis, PublicKey, Seq};

use crate::{Emitted, Ticket};

/// Most submissions that may wait for one order's receipt.
pub(crate) const TICKETS_MAX: usize = 16;

/// Where the own lane holds an order; what a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub seq: Seq,
    pub entry: u32,
    pub stamp: Micros,
}

/// An order that is held and was found statelessly valid.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub envelope: Arc<Envelope>,
    /// In the own lane's queue or in a batch.
    pub queued: bool,
    /// In an own batch that is durable.
    pub place: Option<Place>,
    /// Written to disk, in a batch or beside it.
    pub stored: bool,
    /// In the final part of some lane.
    pub is_final: bool,
    /// Expires too far ahead to be recorded yet (see `receive`).
    pub parked: bool,
    /// Its sender sent it here.
    direct: bool,
    /// Submissions that wait for the receipt; at most [`TICKETS_MAX`].
    pub tickets: Vec<Ticket>,
}

#[derive(Clone, Debug)]
struct Done {
    expiry: Millis,
    nonce: (PublicKey, u64),
    place: Option<Place>,
}

/// Bounds: `held` by the lanes' windows (an order is held because some lane or the own
/// queue has it, each limited to E entries and B bytes, M4), `done` and `nonces` by what
/// they take in within 3·TTL_max, `waiters` by the windows' entries.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    held: BTreeMap<CtId, Held>,
    parked: usize,
    direct: usize,
    /// The same by sender; no zeros.
    direct_of: BTreeMap<PublicKey, usize>,
    done: BTreeMap<CtId, Done>,
    done_until: BTreeSet<(Millis, CtId)>,
    nonces: BTreeMap<(PublicKey, u64), CtId>,
    waiters: BTreeMap<CtId, BTreeSet<(MemberId, Seq)>>,
}

impl Pool {
    pub fn get(&self, ct_id: &CtId) -> Option<&Held> {
        self.held.get(ct_id)
    }

    pub fn get_mut(&mut self, ct_id: &CtId) -> Option<&mut Held> {
        self.held.get_mut(ct_id)
    }

    /// Number of orders held, those that are not recorded yet not counted.
    pub fn held(&self) -> usize {
        self.held.len() - self.parked
    }

    /// Number of orders held whose senders sent them here.
    pub const fn direct(&self) -> usize {
        self.direct
    }

    /// How many of them are of one sender.
    pub fn direct_of(&self, sender: &PublicKey) -> usize {
        self.direct_of.get(sender).copied().unwrap_or(0)
    }

    /// The sender of an order sent it here.
    pub fn sent_here(&mut self, ct_id: &CtId) {
        if let Some(held) = self.held.get_mut(ct_id)
            && !std::mem::replace(&mut held.direct, true)
        {
            self.direct += 1;
            let sender = held.envelope.label.sender;
            *self.direct_of.entry(sender).or_default() += 1;
        }
    }

    fn no_longer_direct(&mut self, sender: &PublicKey) {
        self.direct -= 1;
        if let Some(count) = self.direct_of.get_mut(sender) {
            *count -= 1;
            if *count == 0 {
                self.direct_of.remove(sender);
            }
        }
    }

    /// Whether anything that may be emitted soon is held (L4).
    pub fn restless(&self) -> bool {
        self.held.len() > self.parked
    }

    /// Takes all submissions that wait for a receipt.
    pub fn take_tickets(&mut self) -> Vec<Ticket> {
        (self.held.values_mut())
            .flat_map(|held| std::mem::take(&mut held.tickets))
            .collect()
    }

    /// Adds a valid order; does nothing to one that is held or has its outcome.
    pub fn insert(
        &mut self,
        ct_id: CtId,
        envelope: Arc<Envelope>,
        parked: bool,
        time: Millis,
    ) -> bool {
        if self.held.contains_key(&ct_id) || self.done.contains_key(&ct_id) {
            return false;
        }
        let label = &envelope.label;
        if self.nonce_holder(label, time).is_none() {
            self.nonces.insert((label.sender, label.nonce), ct_id);
        }
        self.parked += usize::from(parked);
        self.held.insert(
            ct_id,
            Held {
                envelope,
                queued: false,
                place: None,
                stored: false,
                is_final: false,
                parked,
                direct: false,
                tickets: Vec::new(),
            },
        );
        true
    }

    /// A parked order may be recorded now.
    pub fn unpark(&mut self, ct_id: &CtId) {
        if let Some(held) = self.held.get_mut(ct_id)
            && held.parked
        {
            held.parked = false;
            self.parked -= 1;
        }
    }

    /// Another order that has the nonce, if there is one: a nonce is remembered until the
    /// expiry of the order that used it.
    pub fn nonce_holder(&self, label: &Label, time: Millis) -> Option<CtId> {
        let holder = self.nonces.get(&(label.sender, label.nonce)).copied()?;
        let over = self
            .done
            .get(&holder)
            .is_some_and(|done| done.expiry < time);
        (!over).then_some(holder)
    }

    /// Whether the order has its outcome.
    pub fn is_done(&self, ct_id: &CtId) -> bool {
        self.done.contains_key(ct_id)
    }

    /// Where the own lane held an order that has its outcome.
    pub fn done_place(&self, ct_id: &CtId) -> Option<Place> {
        self.done.get(ct_id)?.place
    }

    /// Restores the place of an order whose own batch is on disk.
    pub fn set_done_place(&mut self, ct_id: &CtId, place: Place) {
        if let Some(done) = self.done.get_mut(ct_id) {
            done.place.get_or_insert(place);
        }
    }

    /// The order has its outcome: it leaves, and is remembered until TTL_max after its
    /// expiry, as the order rule remembers it. Returns who waited for its bytes and whose
    /// submissions are still unanswered.
    pub fn finish(
        &mut self,
        emitted: &Emitted,
        ttl_max: Millis,
    ) -> (Vec<(MemberId, Seq)>, Option<Held>) {
        let (ct_id, label) = (emitted.ct_id, &emitted.label);
        let held = self.held.remove(&ct_id);
        self.parked -= usize::from(held.as_ref().is_some_and(|h| h.parked));
        if held.as_ref().is_some_and(|h| h.direct) {
            self.no_longer_direct(&label.sender);
        }
        let until = label.expiry.plus(ttl_max.0);
        let place = held.as_ref().and_then(|h| h.place);
        let nonce = (label.sender, label.nonce);
        // Told twice: what was known of its place stays.
        let place = place.or_else(|| self.done_place(&ct_id));
        let done = Done {
            expiry: label.expiry,
            nonce,
            place,
        };
        if self.done.insert(ct_id, done).is_none() {
            self.done_until.insert((until, ct_id));
        }
        if emitted.burned {
            self.nonces.insert(nonce, ct_id);
        } else if self.nonces.get(&nonce) == Some(&ct_id) {
            self.nonces.remove(&nonce);
        }
        let waiters = self.waiters.remove(&ct_id).unwrap_or_default();
        (waiters.into_iter().collect(), held)
    }

    /// Forgets orders that the order rule has forgotten.
    pub fn forget(&mut self, before: Millis) {
        while let Some(&(until, ct_id)) = self.done_until.first() {
            if until >= before {
                return;
            }
            self.done_until.pop_first();
            if let Some(done) = self.done.remove(&ct_id)
                && self.nonces.get(&done.nonce) == Some(&ct_id)
            {
                self.nonces.remove(&done.nonce);
            }
        }
    }

    /// Registers a batch that waits for the bytes of an order.
    pub fn wait(&mut self, ct_id: CtId, lane: MemberId, seq: Seq) {
        self.waiters.entry(ct_id).or_default().insert((lane, seq));
    }

    /// Whether any batch waits for it.
    pub fn awaited(&self, ct_id: &CtId) -> bool {
        self.waiters.contains_key(ct_id)
    }

    /// Takes the batches that wait for it.
    pub fn waiters(&mut self, ct_id: &CtId) -> Vec<(MemberId, Seq)> {
        let waiters = self.waiters.remove(ct_id).unwrap_or_default();
        waiters.into_iter().collect()
    }

    /// A batch does not wait any more.
    pub fn stop_waiting(&mut self, ct_id: &CtId, lane: MemberId, seq: Seq) {
        if let Some(waiters) = self.waiters.get_mut(ct_id) {
            waiters.remove(&(lane, seq));
            if waiters.is_empty() {
                self.waiters.remove(ct_id);
            }
        }
    }
}
