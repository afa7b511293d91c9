//! The key ceremony of a replica: dealings into blocks, verdicts and the keys out of final
//! ones (PROTOCOL §6). Until they are there, the log runs for the ceremony alone, orders are
//! refused and nothing is attested.

use std::sync::Arc;

use fairlane_encryption::{Ceremony, Deal, SuiteKey};
use fairlane_mempool::LaneMessage;
use fairlane_types::{
    ActiveKeys, Height, KeyActivation, KeySource, MEMBERS_MAX, MemberId, Scheme, Signature, View,
    encode,
};

use crate::boundary::{Effect, Peers};
use crate::composing::ReplicaError;
use crate::dealing::Dealing;
use crate::job::{ConcludeJob, MadeKeys};
use crate::key_making::{Judged, KeyMaking, Signatures, Terms};
use crate::keys::{carried_key, dealing_verdict_key, height_key, meta};
use crate::payload::{CutPayload, FinalBlock};
use crate::recovery::RecoveredKey;
use crate::replica::Replica;
use crate::under_way::{Purpose, Written};
use crate::{Fault, Job, Message, Table, Write};

/// Longest dealing, in bytes: of all keys, to the largest committee, in the larger group.
const DEALING_BYTES_MAX: usize = Deal::encoded_len(Scheme::BaekZheng, MEMBERS_MAX, true, true);

/// Jobs that need the encryption key, kept until it is made.
#[derive(Debug, Default)]
pub(crate) struct Keyless {
    jobs: Vec<(Job, Purpose)>,
}

/// The ceremony of a genesis that asks for one, as far as the disk knows it.
///
/// # Errors
/// [`ReplicaError::Ceremony`].
pub(crate) fn key_making(
    genesis: &fairlane_types::Genesis,
    quorum: usize,
    recovered: RecoveredKey,
) -> Result<Option<KeyMaking>, ReplicaError> {
    let ceremony = Ceremony::of_genesis(genesis);
    let ceremony = ceremony.map_err(|error| ReplicaError::Ceremony(error.to_string()))?;
    let RecoveredKey {
        dealings,
        activation,
        ..
    } = recovered;
    let making = |ceremony: Ceremony| {
        let terms = Terms {
            needed: ceremony.needed(),
            dealing_bytes: ceremony.encoded_len(),
            quorum,
        };
        KeyMaking::new(terms, dealings, activation)
    };
    Ok(ceremony.map(making))
}

impl Replica {
    /// Whether the committee's keys are at hand.
    pub(crate) fn keyed(&self) -> bool {
        self.ceremony.as_ref().is_none_or(|c| c.keys().is_some())
    }

    /// The committee's word for its keys, on a chain that had a ceremony.
    #[must_use]
    pub fn activation(&self) -> Option<&KeyActivation> {
        self.ceremony.as_ref()?.activation()
    }

    /// Keeps a job back while there is no key to do it with.
    pub(crate) fn keep_back(&mut self, job: Job, purpose: Purpose) -> Option<(Job, Purpose)> {
        let needs_key = match &job {
            Job::Envelopes(_)
            | Job::Shares(_)
            | Job::Combine(_)
            | Job::OpenKeys(_)
            | Job::Attest { .. }
            | Job::AttestState { .. }
            | Job::Certify(_)
            | Job::CheckAttestation(_)
            | Job::CheckState(_)
            | Job::Beacon(_)
            | Job::CheckBeacon(_)
            | Job::Open(_) => true,
            Job::Verify(_) | Job::Deal(_) | Job::Judge(..) | Job::Conclude(_) => false,
        };
        if !needs_key || self.keyed() {
            return Some((job, purpose));
        }
        self.keyless.jobs.push((job, purpose));
        None
    }

    /// Goes on where the disk says.
    pub(crate) fn start_ceremony(&mut self, out: &mut Vec<Effect>) {
        let Some(ceremony) = &self.ceremony else {
            return;
        };
        let deals = self.voting && !ceremony.complete() && !ceremony.counts(self.me);
        for (height, dealing) in ceremony.unjudged() {
            self.judge(height, dealing, out);
        }
        if deals {
            self.compute(Job::Deal(None), Purpose::Deal, out);
        }
        self.conclude(out);
    }

    pub(crate) fn judge(&mut self, height: Height, dealing: Arc<Dealing>, out: &mut Vec<Effect>) {
        let job = Job::Judge(dealing, self.next_ceremony());
        self.compute(job, Purpose::Judge(height), out);
    }

    /// This member's dealing is made.
    pub(crate) fn dealt(&mut self, dealing: Option<Arc<Dealing>>, out: &mut Vec<Effect>) {
        let (Some(dealing), Some(making)) = (dealing, self.making()) else {
            return;
        };
        if making.offer(Arc::clone(&dealing)) {
            self.send(Peers::All, Message::Dealing(dealing), out);
        }
    }

    /// A member's dealing came.
    pub(crate) fn receive_dealing(
        &mut self,
        from: MemberId,
        dealing: Arc<Dealing>,
        out: &mut Vec<Effect>,
    ) {
        let dealers = self.committee.n();
        let fault = Fault::Dealing;
        if dealing.dealer != from || dealing.deal.len() > DEALING_BYTES_MAX {
            out.push(Effect::Fault { peer: from, fault });
            return;
        }
        let first = self.ceremony.as_mut();
        let for_first = first.filter(|making| making.fits(&dealing, dealers));
        match (self.ending.approved_mut(), for_first) {
            (Some(next), _) if next.making.fits(&dealing, dealers) => {
                next.making.offer(dealing);
            }
            // For the first keys, from who does not know yet that there are others.
            (Some(_), Some(_)) => {}
            (Some(_), None) => out.push(Effect::Fault { peer: from, fault }),
            (None, Some(making)) if !making.complete() => {
                making.offer(dealing);
            }
            // A change may have its verdict there and not here yet.
            (None, _) => self.ending.early_offer(dealing),
        }
    }

    /// A link came up: what the peer may have missed of the ceremony.
    pub(crate) fn say_ceremony_again(&mut self, peer: MemberId, out: &mut Vec<Effect>) {
        let Some(ceremony) = &self.ceremony else {
            return;
        };
        if let Some(dealing) = ceremony.offered(self.me) {
            let message = Message::Dealing(Arc::clone(dealing));
            self.send(Peers::One(peer), message, out);
        }
        if let Some(keys) = ceremony.keys()
            && self.voting
        {
            let signature = self.sign_keys(keys);
            self.send(Peers::One(peer), Message::KeyMade(signature), out);
        }
    }

    fn sign_keys(&self, keys: &ActiveKeys) -> Signature {
        KeyActivation::sign(self.identity.as_ref(), self.chain(), self.epoch(), keys)
    }

    /// The payload of a block of `view`.
    pub(crate) fn payload_with(&mut self, view: View, mut payload: CutPayload) -> CutPayload {
        if let Some(making) = self.making() {
            payload.dealing = making.carry(view);
        }
        payload
    }

    /// What a member says to the dealing in a proposal: that it is none (`Some(false)`), or
    /// nothing (`None`) when it is not wanted any more, which a leader may not know yet.
    pub(crate) fn check_dealing(&mut self, view: View, dealing: Option<&Dealing>) -> Option<bool> {
        let Some(dealing) = dealing else {
            return Some(true);
        };
        let dealers = self.committee.n();
        // Where none is known here, a change may be final elsewhere already.
        let known = self.next_ceremony().is_some();
        let making = self.making()?;
        if !making.fits(dealing, dealers) {
            return known.then_some(false);
        }
        making.seen(view, dealing);
        (!making.complete()).then_some(true)
    }

    /// Writes that belong to final blocks, and the verdicts they ask for.
    pub(crate) fn dealings_final(
        &mut self,
        blocks: &[FinalBlock],
        out: &mut Vec<Effect>,
    ) -> Vec<Write> {
        let (mut wanted, mut early, mut carried) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            let height = block.header.height;
            let Some(dealing) = &block.payload.dealing else {
                continue;
            };
            carried.push(height);
            if self.ending.early(height, dealing) {
                early.push((height, Arc::clone(dealing)));
            } else if let Some(making) = self.making()
                && making.finalized(height, dealing)
            {
                wanted.push((height, Arc::clone(dealing)));
            }
        }
        let row = |(height, dealing): &(Height, Arc<Dealing>)| {
            Write::put(Table::Dealings, height_key(*height), encode(dealing))
        };
        let mut writes: Vec<Write> = wanted.iter().chain(&early).map(row).collect();
        let mark = |height| Write::put(Table::Dealings, carried_key(height), Vec::new());
        writes.extend(carried.into_iter().map(mark));
        for (height, dealing) in wanted {
            self.judge(height, dealing, out);
        }
        writes
    }

    /// A verdict on a final dealing.
    pub(crate) fn dealing_judged(&mut self, height: Height, valid: bool, out: &mut Vec<Effect>) {
        let Some(making) = self.making() else {
            return;
        };
        if let Judged::Settled { counted, refused } = making.judged(height, valid) {
            self.counters.dealings_refused += refused.len() as u64;
            let valid = counted
                .into_iter()
                .map(|height| Write::put(Table::Dealings, dealing_verdict_key(height), Vec::new()));
            let gone = refused
                .into_iter()
                .map(|height| Write::delete(Table::Dealings, height_key(height)));
            let writes = valid.chain(gone).collect();
            self.store(writes, false, Written::Nothing, out);
        }
        self.conclude(out);
    }

    pub(crate) fn conclude(&mut self, out: &mut Vec<Effect>) {
        self.conclude_next(out);
        if let Some(ceremony) = &mut self.ceremony
            && let Some(dealings) = ceremony.conclude()
        {
            let job = Job::Conclude(Box::new(ConcludeJob {
                dealings,
                next: None,
            }));
            self.compute(job, Purpose::Conclude, out);
        }
    }

    /// The keys are made: what waited for them goes on, and this member says which they are.
    pub(crate) fn concluded(&mut self, made: Option<MadeKeys>, out: &mut Vec<Effect>) {
        let keys = made.map(|made| made.keys);
        let scheme = self.genesis.encryption.scheme;
        let id = keys
            .as_ref()
            .and_then(|keys| SuiteKey::from_bytes(scheme, &keys.encryption).ok())
            .map(|key| key.id());
        let (Some(keys), Some(id), Some(ceremony)) = (keys, id, &mut self.ceremony) else {
            // A secret that is not this member's: everybody else can go on.
            out.push(Effect::Halt(
                "this member cannot read its part of the committee's keys: its receiver key is not \
                 the one in the genesis"
                    .to_owned(),
            ));
            return;
        };
        ceremony.made(keys.clone());
        self.lanes.admit_key(id);
        for (job, purpose) in std::mem::take(&mut self.keyless.jobs) {
            self.compute(job, purpose, out);
        }
        if self.voting {
            let signature = self.sign_keys(&keys);
            self.send(Peers::All, Message::KeyMade(signature), out);
            self.key_said(self.me, signature, out);
        } else {
            self.verify_key_signatures(out);
        }
    }

    /// A member says which key was made.
    pub(crate) fn key_said(&mut self, from: MemberId, signature: Signature, out: &mut Vec<Effect>) {
        if let Some(ceremony) = &mut self.ceremony {
            ceremony.say(from, signature);
        }
        self.verify_key_signatures(out);
    }

    fn verify_key_signatures(&mut self, out: &mut Vec<Effect>) {
        let Some((keys, said)) = self.ceremony.as_mut().and_then(KeyMaking::unverified) else {
            return;
        };
        let check = |(member, signature): (&MemberId, &Signature)| {
            let identity = self.committee.key(*member)?;
            let (chain, epoch) = (self.chain(), self.epoch());
            Some(KeyActivation::check(
                identity, chain, epoch, &keys, *signature,
            ))
        };
        let checks: Vec<_> = said.iter().filter_map(check).collect();
        self.compute(Job::Verify(checks), Purpose::KeyMade(said), out);
    }

    /// Signatures over the key were verified.
    pub(crate) fn key_signatures(
        &mut self,
        said: Signatures,
        bad: &[usize],
        out: &mut Vec<Effect>,
    ) {
        let epoch = self.epoch();
        let good = said.into_iter().enumerate();
        let (bad_ones, good): (Vec<_>, Vec<_>) = good.partition(|(at, _)| bad.contains(at));
        for (_, (peer, _)) in bad_ones {
            out.push(Effect::Fault {
                peer,
                fault: Fault::KeyMade,
            });
        }
        let good = good.into_iter().map(|(_, signature)| signature);
        let Some(ceremony) = &mut self.ceremony else {
            return;
        };
        if let Some(activation) = ceremony.verified(good, epoch) {
            let write = Write::put(Table::Meta, meta::ACTIVATION.to_vec(), encode(activation));
            self.store(vec![write], true, Written::Nothing, out);
        }
    }

    /// Whether a lane's message cannot be judged yet: it carries orders, and no key is known
    /// here. It is asked for again like one that was lost.
    pub(crate) fn too_early(&self, message: &LaneMessage) -> bool {
        if !self.lanes.keyless() {
            return false;
        }
        match message {
            LaneMessage::Batch(batch) => !batch.entries.is_empty(),
            LaneMessage::Batches(batches) => batches.iter().any(|b| !b.entries.is_empty()),
            LaneMessage::Payloads(_) => true,
            _ => false,
        }
    }

    /// Whether blocks are wanted for the ceremony.
    pub(crate) fn ceremony_waits(&self) -> bool {
        let waits = self.ceremony.as_ref().map(KeyMaking::wants_a_block);
        waits.unwrap_or(false) || self.ending.wants_a_block()
    }

    /// The key ids that orders may name from the start.
    pub(crate) fn first_keys(
        genesis: &fairlane_types::Genesis,
        ceremony: Option<&KeyMaking>,
    ) -> Vec<fairlane_types::KeyId> {
        if genesis.encryption.source != KeySource::Ceremony {
            // Dealt in the first epoch, dealt on in later ones.
            return genesis.encryption.key_id.into_iter().collect();
        }
        let known = ceremony.and_then(KeyMaking::activation);
        let scheme = genesis.encryption.scheme;
        let key = known.and_then(|a| SuiteKey::from_bytes(scheme, &a.keys.encryption).ok());
        key.map(|key| key.id()).into_iter().collect()
    }
}
