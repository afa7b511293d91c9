//! The computation itself; see the module's documentation for what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlane_consensus::{self as consensus, Payload as _};
use fairlane_encryption::{CertificateKey, Suite, SuiteKey, ThresholdScheme, certificate_key};
use fairlane_mempool::fair::{self, Emission, FairOrder, Ordered};
use fairlane_mempool::{Batch, BatchHeader, Cut, CutDelta, FinalEntry, LaneDelta, Limits};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateKind, ChainId, Committee, CtId, Digest, Envelope,
    Epoch, Genesis, Height, Item, KeyActivation, Micros, Millis, Outcome, Position, Root, Seq,
    SequencedBlock,
};

use super::{Checkpoint, ReceiptBook, Start, StartError, Step, Violation};
use crate::recovery::state_digest;
use crate::{CutPayload, EpochBase, FinalBlock};

/// Envelopes kept beyond those of live orders before the rest is swept.
const ENVELOPES_SLACK: usize = 4_096;

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Heights that hold.
    pub heights: u64,
    /// Orders at their places.
    pub orders: u64,
    /// Orders whose opening is the one of their ciphertext.
    pub opened: u64,
    /// Opened orders whose envelope the records lack.
    pub openings_unchecked: u64,
    /// Orders called undecryptable: what proves that is not part of the records.
    pub undecryptable: u64,
    /// Orders that expired.
    pub expired: u64,
    /// Orders whose nonce was taken.
    pub duplicates: u64,
}

/// Follows the lanes and holds the sequence against them.
#[derive(Debug)]
pub struct Auditor {
    genesis: Genesis,
    committee: Committee,
    key: SuiteKey,
    /// The key of the epoch before, where that of this one is fresh.
    former: Option<SuiteKey>,
    /// What beacons are checked with, where the chain has a key for it.
    certificates: Option<CertificateKey>,
    limits: Limits,
    order: Box<dyn FairOrder + Send>,
    /// The last final block that holds.
    tip: FinalBlock,
    /// The block of the sequence there; none where an epoch begins.
    sequenced: Option<SequencedBlock>,
    /// Root and next position where the epoch begins.
    origin: (Root, Position),
    heads: Vec<Option<BatchHeader>>,
    /// Of orders without an outcome.
    envelopes: BTreeMap<CtId, Arc<Envelope>>,
    findings: Findings,
    /// Receipts that are held against the lanes on the way.
    pub receipts: ReceiptBook,
}

impl Auditor {
    /// Begins, with the encryption key that the genesis or the committee vouches for, and the
    /// committee's word, where it made its keys.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        genesis: &Genesis,
        key: SuiteKey,
        activation: Option<&KeyActivation>,
        start: Start,
    ) -> Result<Self, StartError> {
        let committee = genesis.validate()?;
        let (n, f) = (committee.n(), committee.f());
        let begun = genesis.start.as_ref();
        let root = consensus::genesis(
            genesis.chain,
            genesis.epoch(),
            genesis.base(),
            begun.map(|start| start.block).unwrap_or_default(),
            genesis.time,
            CutPayload::of(Cut::genesis(n)),
        );
        let former = genesis.encryption.former.as_ref();
        let former = former.map(|f| SuiteKey::from_bytes(key.scheme(), &f.public_key));
        let mut auditor = Self {
            former: former.transpose()?,
            genesis: genesis.clone(),
            committee,
            key,
            certificates: certificate_key(genesis, activation)?,
            limits: Limits::new(&genesis.lanes),
            order: fair::rule(n, f, &genesis.order),
            tip: root,
            sequenced: None,
            origin: begun.map_or_else(Default::default, |start| (start.root, start.position)),
            heads: vec![None; n],
            envelopes: BTreeMap::new(),
            findings: Findings::default(),
            receipts: ReceiptBook::default(),
        };
        match start {
            Start::Genesis if genesis.start.is_some() => return Err(StartError::Later),
            Start::Genesis => {}
            Start::At(checkpoint) => auditor.enter(*checkpoint).map_err(StartError::Checkpoint)?,
            Start::Epoch(base) => auditor.begin(&base)?,
        }
        Ok(auditor)
    }

    /// At the first height of a later epoch, with what was handed over.
    fn begin(&mut self, base: &EpochBase) -> Result<(), StartError> {
        if base.genesis() != &self.genesis {
            return Err(StartError::OtherEpoch(base.epoch()));
        }
        base.is_covered()?;
        let (n, f, params) = (self.committee.n(), self.committee.f(), &self.genesis.order);
        let order = fair::rule_after(n, f, params, self.genesis.time, &base.memory);
        self.order = order.map_err(|error| StartError::Memory(error.to_string()))?;
        self.order.expire_key(self.genesis.former_key());
        Ok(())
    }

    /// Goes on in the next epoch, whose beginning must be what this one's lanes lead to, under a
    /// quorum of its committee; with the keys of the next epoch's genesis. Receipts of this epoch
    /// stay behind.
    ///
    /// # Errors
    /// [`Violation::Boundary`] where a quorum signed something else, and where none did.
    pub fn cross(&self, base: &EpochBase, key: SuiteKey) -> Result<Self, Violation> {
        let height = self.height();
        let wrong = |why: String| Violation::Boundary { height, why };
        base.verify(&self.genesis, None)
            .map_err(|error| wrong(error.to_string()))?;
        let start = base
            .genesis()
            .start
            .ok_or_else(|| wrong("it begins no epoch".to_owned()))?;
        let held = [
            ("height", start.height == height),
            ("block", start.block == self.tip.header.id()),
            ("root", start.root == self.root()),
            ("position", start.position == self.next_position()),
            ("remembered orders", base.memory == self.order.memory()),
        ];
        if let Some((what, _)) = held.into_iter().find(|(_, holds)| !holds) {
            return Err(wrong(format!("another {what} than the lanes lead to")));
        }
        let begun = Start::Epoch(Box::new(base.clone()));
        let next = Self::new(base.genesis(), key, None, begun);
        let mut next = next.map_err(|error| wrong(error.to_string()))?;
        next.findings = self.findings;
        Ok(next)
    }

    fn enter(&mut self, at: Checkpoint) -> Result<(), String> {
        let (n, f) = (self.committee.n(), self.committee.f());
        let (cut, sequenced) = (&at.block.payload.cut, &at.sequenced);
        if at.block.header.chain != self.genesis.chain || sequenced.chain != self.genesis.chain {
            return Err("it is of another chain".to_owned());
        }
        if at.block.header.payload != at.block.payload.digest() || cut.heads.len() != n {
            return Err("the block does not commit to its cut".to_owned());
        }
        if sequenced.block != at.block.id() || sequenced.height != at.block.header.height {
            return Err("its blocks are not of one height".to_owned());
        }
        if sequenced.root != sequenced.compute_root() {
            return Err("its root does not fit its content".to_owned());
        }
        if sequenced.state != Some(state_digest(&at.order, cut)) {
            return Err("the order state is not the one that was committed to".to_owned());
        }
        let header_digest = |header: &Option<BatchHeader>| header.map(|h| (h.seq, h.digest()));
        let named =
            |head: &fairlane_mempool::Head| (head.seq > Seq(0)).then_some((head.seq, head.digest));
        if at.heads.len() != n
            || !at
                .heads
                .iter()
                .map(header_digest)
                .eq(cut.heads.iter().map(named))
        {
            return Err("the lanes' heads are not those of the cut".to_owned());
        }
        self.order = fair::restore(n, f, &self.genesis.order, &at.order)
            .map_err(|error| error.to_string())?;
        self.order.expire_key(self.genesis.former_key());
        let height = at.block.header.height;
        self.tip = at.block;
        self.heads = at.heads;
        self.learn(height, at.envelopes.iter().map(|e| Arc::new(e.clone())))
            .map_err(|violation| violation.to_string())?;
        self.sequenced = Some(at.sequenced);
        Ok(())
    }

    /// Holds the next height; after an error nothing more can be said.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn step(&mut self, step: &Step) -> Result<(), Violation> {
        let height = self.height().next();
        self.chain(height, step)?;
        let delta = self.lanes(height, step)?;
        let missing = delta.lanes.iter().flat_map(|lane| &lane.entries);
        let missing = missing.filter(|entry| entry.order.is_none()).count();
        let mut emission = if step.block.payload.ends() {
            self.order.on_last_cut(&delta)
        } else {
            self.order.on_cut(&delta)
        };
        if !emission.ties.is_empty() {
            emission.settle(&self.beacon(height, step)?);
        }
        let state = self
            .genesis
            .order
            .commits_at(height)
            .then(|| self.order.snapshot());
        let state = state.map(|order| state_digest(&order, &step.block.payload.cut));
        self.block(height, step, state)?;
        self.items(height, &emission, &step.sequenced, missing)?;
        let want = step.sequenced.compute_root();
        if step.sequenced.root != want {
            return Err(Violation::Root {
                height,
                got: step.sequenced.root,
                want,
            });
        }
        for order in (emission.ordered.iter())
            .chain(&emission.expired)
            .chain(&emission.duplicates)
            .chain(&emission.stale)
        {
            self.envelopes.remove(&order.ct_id);
        }
        // Entries of orders that had their outcome long ago bring envelopes back.
        if self.envelopes.len() > self.order.live() + ENVELOPES_SLACK {
            let live: BTreeSet<CtId> = self.order.live_orders().into_iter().collect();
            self.envelopes.retain(|id, _| live.contains(id));
        }
        self.tip = step.block.clone();
        self.sequenced = Some(step.sequenced.clone());
        self.findings.heights += 1;
        Ok(())
    }

    /// What breaks the ties of a height: there is one valid signature on its block.
    fn beacon(&self, height: Height, step: &Step) -> Result<Digest, Violation> {
        let wrong = |why| Violation::Beacon { height, why };
        let beacon = step.beacon.as_ref();
        let beacon = beacon.ok_or(wrong("orders are tied, and its beacon is not there"))?;
        let (epoch, block) = (self.genesis.epoch(), step.block.header.id());
        if (beacon.epoch, beacon.height, beacon.block) != (epoch, height, block) {
            return Err(wrong("its beacon is of another block"));
        }
        let key = self.certificates.as_ref().map(CertificateKey::public_key);
        if !key.is_some_and(|key| beacon.verify(key, self.genesis.chain)) {
            return Err(wrong("its beacon is not the committee's"));
        }
        Ok(beacon.value())
    }

    /// The epoch whose lanes it follows.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.genesis.epoch()
    }

    /// The last height that holds.
    #[must_use]
    pub fn height(&self) -> Height {
        self.tip.header.height
    }

    /// Its cut.
    #[must_use]
    pub fn cut(&self) -> &Cut {
        &self.tip.payload.cut
    }

    /// Root of the sequence there.
    #[must_use]
    pub fn root(&self) -> Root {
        self.sequenced.as_ref().map_or(self.origin.0, |b| b.root)
    }

    fn next_position(&self) -> Position {
        let last = self.sequenced.as_ref();
        last.map_or(self.origin.1, SequencedBlock::next_position)
    }

    /// Counts.
    #[must_use]
    pub const fn findings(&self) -> Findings {
        self.findings
    }

    /// Orders in final lanes without an outcome.
    #[must_use]
    pub fn live(&self) -> usize {
        self.order.live()
    }

    /// The committee.
    #[must_use]
    pub const fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The state here as the beginning of another audit, where the sequence commits to it.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Start> {
        let sequenced = self.sequenced.as_ref().filter(|b| b.state.is_some())?;
        Some(Start::At(Box::new(Checkpoint {
            block: self.tip.clone(),
            sequenced: sequenced.clone(),
            order: self.order.snapshot(),
            heads: self.heads.clone(),
            envelopes: self.envelopes.values().map(|e| (**e).clone()).collect(),
        })))
    }

    /// 1: links and certificate.
    fn chain(&self, height: Height, step: &Step) -> Result<(), Violation> {
        let (header, parent) = (&step.block.header, &self.tip.header);
        let broken = |why: &str| Violation::Chain {
            height,
            why: why.to_owned(),
        };
        if header.chain != self.genesis.chain || header.epoch != self.genesis.epoch() {
            return Err(broken("the block is of another chain or epoch"));
        }
        if header.height != height || header.parent != parent.id() {
            return Err(broken("the block does not follow the one below"));
        }
        let cut = &step.block.payload.cut;
        if header.payload != step.block.payload.digest() || cut.heads.len() != self.committee.n() {
            return Err(broken("the block does not commit to this cut"));
        }
        let id = header.id();
        let (certificate, headers): (&Certificate, &[_]) =
            match (&step.block.certificate, &step.proof) {
                (Some(certificate), _) => (certificate, &[]),
                (None, Some(proof)) => (&proof.certificate, &proof.headers),
                (None, None) => return Err(broken("nothing proves the block final")),
            };
        prove_final(
            self.genesis.chain,
            &self.committee,
            id,
            certificate,
            headers,
        )
        .map_err(|why| Violation::Certificate { height, why })
    }

    /// 2, 3 and 4: the batches between the cuts, their envelopes, and the time.
    fn lanes(&mut self, height: Height, step: &Step) -> Result<CutDelta, Violation> {
        let cut = step.block.payload.cut.clone();
        // Only what lanes name is taken in: the rest is none of this height's.
        let entries = step.batches.iter().flat_map(|batch| &batch.entries);
        let named: BTreeSet<CtId> = entries.map(|entry| entry.ct_id).collect();
        let carried = step.batches.iter().flat_map(|batch| &batch.payloads);
        let others = step.envelopes.iter().cloned().map(Arc::new);
        let envelopes = carried.cloned().chain(others);
        self.learn(height, envelopes.filter(|e| named.contains(&e.id())))?;
        let mut lanes = Vec::new();
        let mut batches = step.batches.iter();
        for lane in self.committee.ids().collect::<Vec<_>>() {
            let broken = |why: &str| Violation::Lane {
                height,
                lane,
                why: why.to_owned(),
            };
            let (from, to) = (self.tip.payload.cut.head(lane), cut.head(lane));
            if to.seq < from.seq || (to.seq == from.seq && to.digest != from.digest) {
                return Err(broken("the cut moves the lane back"));
            }
            let mut delta = LaneDelta {
                lane,
                head: Micros(0),
                entries: Vec::new(),
            };
            let mut parent = from.digest;
            for seq in from.seq.next().0..=to.seq.0 {
                let batch = batches
                    .next()
                    .filter(|batch| batch.lane == lane && batch.seq == Seq(seq))
                    .ok_or_else(|| broken("a batch is missing"))?;
                let header = self.batch(batch, parent).map_err(|why| broken(&why))?;
                parent = header.digest();
                self.heads[lane.index()] = Some(header);
                self.receipts
                    .batch(batch, self.genesis.chain, &self.committee);
                delta.head = batch.stamp;
                let entries = batch.entries.iter().enumerate();
                delta
                    .entries
                    .extend(entries.map(|(index, entry)| FinalEntry {
                        ct_id: entry.ct_id,
                        stamp: batch.stamp_of(index),
                        order: self.envelopes.get(&entry.ct_id).cloned(),
                    }));
            }
            if parent != to.digest {
                return Err(broken("the batches are not those that the cut names"));
            }
            if to.seq > from.seq {
                lanes.push(delta);
            }
        }
        if batches.next().is_some() {
            return Err(Violation::Chain {
                height,
                why: "batches beyond the cut".to_owned(),
            });
        }
        let want = self.time();
        let got = step.block.header.time;
        if got != want {
            return Err(Violation::Time { height, got, want });
        }
        Ok(CutDelta {
            block: step.block.header.id(),
            time: got,
            lanes,
        })
    }

    /// A batch, given the digest of the one before it.
    fn batch(
        &self,
        batch: &Batch,
        parent: fairlane_types::BatchDigest,
    ) -> Result<BatchHeader, String> {
        let (epoch, n) = (self.genesis.epoch(), self.committee.n());
        batch
            .check_shape(epoch, n, &self.limits)
            .map_err(|fault| fault.to_string())?;
        batch.payload_ids().map_err(|fault| fault.to_string())?;
        if batch.parent != parent {
            return Err(format!(
                "batch {} does not follow the one before",
                batch.seq
            ));
        }
        let before = self.heads[batch.lane.index()].map_or(Micros(0), |header| header.stamp);
        let first = if batch.entries.is_empty() {
            batch.stamp
        } else {
            batch.stamp_of(0)
        };
        if first < before {
            return Err(format!("stamps decrease in batch {} (L1)", batch.seq));
        }
        Ok(batch.header())
    }

    /// C13: max(parent's, (f+1)-th largest finalized head).
    fn time(&self) -> Millis {
        let mut stamps: Vec<Micros> = self
            .heads
            .iter()
            .map(|header| header.map_or(Micros(0), |header| header.stamp))
            .collect();
        stamps.sort_unstable();
        stamps.reverse();
        let heads = stamps.get(self.committee.f()).copied().unwrap_or_default();
        self.tip.header.time.max(heads.as_millis())
    }

    /// M5: takes in envelopes that are statelessly valid.
    fn learn(
        &mut self,
        height: Height,
        envelopes: impl Iterator<Item = Arc<Envelope>>,
    ) -> Result<(), Violation> {
        let mut new: Vec<(CtId, Arc<Envelope>)> = Vec::new();
        for envelope in envelopes {
            let id = envelope.id();
            if !self.envelopes.contains_key(&id) {
                new.push((id, envelope));
            }
        }
        let bad = |id: CtId, why: String| Violation::Envelope { height, id, why };
        for (id, envelope) in new {
            let signed = envelope.signature_check().verify();
            signed.map_err(|error| bad(id, format!("its sender's signature: {error}")))?;
            let label = envelope.label.to_bytes();
            Suite::check(self.key_of(&envelope.label), &label, &envelope.ciphertext)
                .map_err(|error| bad(id, error.to_string()))?;
            self.envelopes.insert(id, envelope);
        }
        Ok(())
    }

    /// The key that an order is sealed to; under a wrong one nothing verifies.
    fn key_of(&self, label: &fairlane_types::Label) -> &SuiteKey {
        let former = self.former.as_ref();
        let former = former.filter(|former| former.id() == label.key_id);
        former.unwrap_or(&self.key)
    }

    /// 6, but for items and root.
    fn block(
        &self,
        height: Height,
        step: &Step,
        state: Option<fairlane_types::Digest>,
    ) -> Result<(), Violation> {
        let (block, header) = (&step.sequenced, &step.block.header);
        let next = self.next_position();
        let fields = [
            ("chain", block.chain == self.genesis.chain),
            ("epoch", block.epoch == self.genesis.epoch()),
            ("height", block.height == height),
            ("block id", block.block == header.id()),
            ("time", block.time == header.time),
            ("parent root", block.parent_root == self.root()),
            ("first position", block.first_position == next),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, holds)| !holds) {
            return Err(Violation::Block { height, field });
        }
        if block.state != state {
            return Err(Violation::State {
                height,
                got: block.state,
                want: state,
            });
        }
        Ok(())
    }

    /// 5: every item at its place.
    fn items(
        &mut self,
        height: Height,
        emission: &Emission,
        block: &SequencedBlock,
        missing: usize,
    ) -> Result<(), Violation> {
        let sealed = emission.without_shares();
        let mut wanted = sealed
            .into_iter()
            .map(|(order, outcome)| (order, Some(outcome)))
            .chain(emission.ordered.iter().map(|order| (order, None)));
        let mut items = block.items.iter();
        for offset in 0.. {
            let position = block.first_position.plus(offset);
            let (want, item) = match (wanted.next(), items.next()) {
                (None, None) => break,
                (Some((order, outcome)), Some(item))
                    if fits(order, outcome.as_ref(), item, position) =>
                {
                    (order, item)
                }
                (want, got) => {
                    return Err(Violation::Order {
                        height,
                        position,
                        want: want.map_or("no more orders".to_owned(), |(order, outcome)| {
                            describe(
                                order.ct_id,
                                order.key,
                                outcome.as_ref().map_or("decrypted", Outcome::word),
                            )
                        }),
                        got: got.map_or("no more orders".to_owned(), |item| {
                            describe(item.ct_id, item.stamp, item.outcome.word())
                        }),
                        missing,
                    });
                }
            };
            self.outcome(height, want, item)?;
        }
        Ok(())
    }

    fn outcome(&mut self, height: Height, order: &Ordered, item: &Item) -> Result<(), Violation> {
        self.findings.orders += 1;
        let (payload, opening) = match &item.outcome {
            Outcome::Opened { payload, opening } => (payload, opening),
            Outcome::Undecryptable => {
                self.findings.undecryptable += 1;
                return Ok(());
            }
            Outcome::Expired => {
                self.findings.expired += 1;
                return Ok(());
            }
            Outcome::DuplicateNonce => {
                self.findings.duplicates += 1;
                return Ok(());
            }
        };
        self.findings.opened += 1;
        let Some(envelope) = self.envelopes.get(&order.ct_id) else {
            self.findings.openings_unchecked += 1;
            return Ok(());
        };
        let label = envelope.label.to_bytes();
        let key = self.key_of(&envelope.label);
        Suite::verify_opening(key, &label, &envelope.ciphertext, opening, payload).map_err(
            |error| Violation::Opening {
                height,
                position: item.position,
                id: item.ct_id,
                why: error.to_string(),
            },
        )
    }
}

/// Whether an item is the order at this place, with the outcome if the rule knows it, or
/// with one that only decryption can tell.
fn fits(order: &Ordered, outcome: Option<&Outcome>, item: &Item, position: Position) -> bool {
    let decrypted = matches!(
        item.outcome,
        Outcome::Opened { .. } | Outcome::Undecryptable
    );
    item.position == position
        && item.ct_id == order.ct_id
        && item.label == order.label
        && item.stamp == order.key
        && outcome.map_or(decrypted, |outcome| *outcome == item.outcome)
}

fn describe(id: CtId, key: Micros, outcome: &str) -> String {
    format!("order {id} with key {} µs, {outcome}", key.0)
}

/// Whether a final certificate proves a block final: of it, or of a descendant with the headers
/// from there down to the block's child. Says why not.
pub(super) fn prove_final(
    chain: ChainId,
    committee: &Committee,
    block: BlockId,
    certificate: &Certificate,
    headers: &[BlockHeader],
) -> Result<(), String> {
    let mut at = certificate.block;
    for above in headers {
        if above.id() != at {
            return Err("the headers do not link".to_owned());
        }
        at = above.parent;
    }
    if certificate.kind != CertificateKind::Final || at != block {
        return Err("it is of another block".to_owned());
    }
    let checks = certificate
        .checks(chain, committee)
        .map_err(|error| error.to_string())?;
    let all = checks.iter().try_for_each(|check| check.verify());
    all.map_err(|error| error.to_string())
}
