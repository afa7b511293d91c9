//! What a restart finds on disk (C7, PROTOCOL §7), and the first write of a new identity.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_mempool::fair::{self, FairOrder};
use fairlane_mempool::{self as mempool, Ack, Batch, Cut};
use fairlane_types::{
    Certificate, CtId, Digest, Envelope, Genesis, GenesisError, Height, Item, KeyActivation,
    MemberId, Micros, Millis, Outcome, Seq, SequencedBlock, UsedReceivers, decode, encode,
};

use crate::crossing::used_receivers;
use crate::epoch_base::EpochBase;
use crate::epoch_change::FinalChange;
use crate::key_making::FinalDealing;
use crate::keys::{
    ack_key, batch_key, change_height, dealing_verdict_key, epoch_key, height_key, height_of,
    index_key, late_key, meta, payload_key,
};
use crate::payload::{FinalBlock, SafetyRecord};
use crate::{Evidence, Row, Store, StoreError, Table, Write};

/// Rows read at a time.
pub(crate) const SCAN_ROWS: usize = 1_024;
/// Bytes read at a time.
pub(crate) const SCAN_BYTES: usize = 16 << 20;
/// Largest row that is taken from disk.
pub(crate) const ROW_BYTES_MAX: usize = 64 << 20;

/// The order rule's state after a height, kept so that a restart replays only what came
/// later.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Snapshot {
    /// After the final block of this height, which is emitted.
    pub height: Height,
    /// [`fairlane_mempool::fair::FairOrder::snapshot`].
    pub order: Vec<u8>,
}

/// Why a folder cannot be started from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The database itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The folder belongs to something else.
    #[error("the data folder belongs to another {what}: it says {got}, the configuration {want}")]
    Foreign {
        /// "chain" or "member".
        what: &'static str,
        /// On disk.
        got: String,
        /// In the configuration.
        want: String,
    },
    /// A row that was written cannot be read back, or rows contradict each other.
    #[error(
        "table {table} is corrupt at key {key}: {reason}; this member must not vote again from an older copy: start it with an empty data folder, as an observer"
    )]
    Corrupt {
        /// Name of the table.
        table: &'static str,
        /// The key, in hex.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// Everything a replica starts from.
#[derive(Debug)]
pub struct Recovered {
    /// The identity may speak: it was born in this folder and its safety record is here.
    pub voting: bool,
    /// Height of the last snapshot.
    pub snapshot: Option<Height>,
    /// The order rule there, or at genesis.
    pub order: Box<dyn FairOrder + Send>,
    /// The lowest emitted height on disk; the next one if there is none.
    pub first: Height,
    /// The block of the snapshot, if there is one, then every final block above it.
    pub blocks: Vec<FinalBlock>,
    /// Safety records above the last final block.
    pub records: Vec<SafetyRecord>,
    /// The last emitted block.
    pub emitted: Option<SequencedBlock>,
    /// Emitted blocks above the snapshot, in order.
    pub replayed: Vec<SequencedBlock>,
    /// For the lanes.
    pub lanes: mempool::Recovered,
    /// Of the key ceremony.
    pub key: RecoveredKey,
}

/// What the disk knows of a key ceremony.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredKey {
    /// Dealings of final blocks, in order, that count or have no verdict yet.
    pub dealings: Vec<FinalDealing>,
    /// Changes of committee in final blocks, in order, that count or have no verdict yet.
    pub changes: Vec<FinalChange>,
    /// The committee's word for the key.
    pub activation: Option<KeyActivation>,
    /// Keys for dealings of this epoch and those before it.
    pub used: UsedReceivers,
}

/// What the birth record says until the identity has run for the first time.
pub const BORN: &[u8] = b"born";

/// The writes with which an identity is born (C7): made once by `keys init`, before the
/// first start. Without them a folder can only be an observer's.
#[must_use]
pub fn birth(genesis: &Genesis, me: MemberId) -> Vec<Write> {
    let mut writes = birth_of_joiner(genesis);
    writes.push(Write::meta(meta::MEMBER, encode(&me)));
    writes
}

/// The writes with which the identity of a founder is born, when its keys are made: it belongs to no
/// chain yet.
#[must_use]
pub fn birth_of_founder() -> Vec<Write> {
    vec![Write::meta(meta::BIRTH, BORN.to_vec())]
}

/// The writes with which the identity of a future member is born: it belongs to the chain
/// and to no committee yet.
#[must_use]
pub fn birth_of_joiner(genesis: &Genesis) -> Vec<Write> {
    let mut writes = birth_of_founder();
    writes.push(Write::meta(meta::GENESIS, encode(&genesis.hash())));
    writes
}

impl Recovered {
    /// Reads a folder. An empty one gives an observer at genesis.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is guessed.
    pub fn read(store: &dyn Store, genesis: &Genesis, me: MemberId) -> Result<Self, RecoverError> {
        let reader = Reader { store };
        reader.same("chain", meta::GENESIS, &genesis.hash())?;
        reader.same("member", meta::MEMBER, &me)?;
        let voting = store.get(Table::Meta, meta::BIRTH)?.is_some();
        let snapshot: Option<Snapshot> = reader.get(Table::Meta, meta::SNAPSHOT)?;
        let start = genesis.base();
        let base = snapshot.as_ref().map_or(start, |s| s.height);
        // The block that an epoch starts from is the last one of another.
        let lowest = if snapshot.is_some() {
            base
        } else {
            base.next()
        };
        let blocks: Vec<FinalBlock> = reader.rows(
            Table::Blocks,
            &height_key(lowest),
            &height_key(Height(u64::MAX)),
        )?;
        for (block, height) in blocks.iter().zip(lowest.0..) {
            if block.header.height != Height(height) {
                return Err(corrupt(
                    Table::Blocks,
                    &height_key(Height(height)),
                    "missing",
                ));
            }
        }
        if snapshot.is_some() && blocks.first().is_none_or(|b| b.header.height != base) {
            return Err(corrupt(
                Table::Blocks,
                &height_key(base),
                "missing below the snapshot",
            ));
        }
        let records = reader.rows(Table::Safety, &[], &[0xff; 32])?;
        let sequence: Vec<SequencedBlock> = reader.rows(
            Table::Sequence,
            &height_key(base),
            &height_key(Height(u64::MAX)),
        )?;
        for pair in sequence.windows(2) {
            if let [a, b] = pair
                && !b.follows(a)
            {
                let key = height_key(b.height);
                return Err(corrupt(
                    Table::Sequence,
                    &key,
                    "does not follow the block below",
                ));
            }
        }
        let tip = blocks.last().map_or(start, |b| b.header.height);
        let emitted = sequence.last().cloned();
        let emitted_height = emitted.as_ref().map_or(start, |e| e.height);
        if emitted_height > tip {
            return Err(corrupt(
                Table::Sequence,
                &height_key(tip.next()),
                "emitted, not final",
            ));
        }
        let committee = genesis.validate()?;
        let (n, f) = (committee.n(), committee.f());
        let mut order = match &snapshot {
            Some(snapshot) => fair::restore(n, f, &genesis.order, &snapshot.order)
                .map_err(|error| corrupt(Table::Meta, meta::SNAPSHOT, &error.to_string()))?,
            None => reader.first_order(genesis, n, f)?,
        };
        order.expire_key(genesis.former_key());
        let at = snapshot.as_ref().and(blocks.first());
        let lanes = reader.lanes(genesis, me, at, order.as_ref())?;
        let (start, end) = (height_key(Height(0)), height_key(Height(u64::MAX)));
        let lowest = store.scan(Table::Sequence, &start, &end, 1, SCAN_BYTES)?;
        let lowest = lowest.first().and_then(|(key, _)| height_of(key));
        let first = lowest.unwrap_or_else(|| emitted_height.next());
        let replayed = sequence.into_iter().filter(|b| b.height > base).collect();
        Ok(Self {
            voting,
            snapshot: snapshot.map(|snapshot| snapshot.height),
            order,
            first,
            blocks,
            records,
            emitted,
            replayed,
            lanes,
            key: reader.key(genesis)?,
        })
    }

    /// The last final block and its certificate.
    #[must_use]
    pub fn tip(&self) -> Option<(&FinalBlock, &Certificate)> {
        let block = self.blocks.last()?;
        block
            .certificate
            .as_ref()
            .map(|certificate| (block, certificate))
    }
}

struct Reader<'a> {
    store: &'a dyn Store,
}

impl Reader<'_> {
    fn get<T: BorshDeserialize>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, RecoverError> {
        let value = self.store.get(table, key)?;
        value.map(|value| parse(table, key, &value)).transpose()
    }

    fn same<T>(&self, what: &'static str, key: &[u8], want: &T) -> Result<(), RecoverError>
    where
        T: BorshDeserialize + PartialEq + ToString,
    {
        match self.get::<T>(Table::Meta, key)? {
            Some(got) if got != *want => {
                let (got, want) = (got.to_string(), want.to_string());
                Err(RecoverError::Foreign { what, got, want })
            }
            _ => Ok(()),
        }
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Vec<Row>, RecoverError> {
        let (mut all, mut from) = (Vec::new(), from.to_vec());
        loop {
            let rows = self.store.scan(table, &from, to, SCAN_ROWS, SCAN_BYTES)?;
            let Some((last, _)) = rows.last() else {
                return Ok(all);
            };
            from = [last.as_slice(), &[0]].concat();
            all.extend(rows);
        }
    }

    fn rows<T>(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Vec<T>, RecoverError>
    where
        T: BorshDeserialize,
    {
        let rows = self.scan(table, from, to)?;
        rows.iter()
            .map(|(key, value)| parse(table, key, value))
            .collect()
    }

    fn lanes(
        &self,
        genesis: &Genesis,
        me: MemberId,
        base: Option<&FinalBlock>,
        order: &dyn FairOrder,
    ) -> Result<mempool::Recovered, RecoverError> {
        let n = genesis.members.len();
        let cut = base.map_or_else(|| Cut::genesis(n), |block| block.payload.cut.clone());
        let time = base.map_or(genesis.time, |block| block.header.time);
        let ttl = genesis.order.ttl_max_ms;
        let mut recovered = mempool::Recovered {
            time,
            ..Default::default()
        };
        for lane in (0..n as u8).map(MemberId) {
            let head = cut.head(lane);
            let stamp = match head.seq {
                Seq(0) => Micros(0),
                seq => {
                    self.get::<Batch>(Table::Lanes, &batch_key(lane, seq))?
                        .ok_or_else(|| {
                            corrupt(Table::Lanes, &batch_key(lane, seq), "final, missing")
                        })?
                        .stamp
                }
            };
            recovered.stamps.push(stamp);
            let (from, to) = (
                batch_key(lane, head.seq.next()),
                batch_key(lane, Seq(u64::MAX)),
            );
            recovered
                .batches
                .extend(self.rows(Table::Lanes, &from, &to)?);
            let (from, to) = (ack_key(lane, head.seq), ack_key(lane, Seq(u64::MAX)));
            recovered
                .acks
                .extend(self.rows::<Ack>(Table::Lanes, &from, &to)?);
        }
        // Own batches below the cut, for the receipts that may be asked for again.
        let oldest = Micros::from_millis(time.0.saturating_sub(ttl));
        let mut seq = cut.head(me).seq;
        while seq > Seq(0) {
            let Some(batch) = self.get::<Batch>(Table::Lanes, &batch_key(me, seq))? else {
                break;
            };
            if batch.stamp < oldest {
                break;
            }
            recovered.batches.push(batch.into());
            seq = seq.prev();
        }
        // M1: a lane that forked stays muted.
        for evidence in self.rows::<Evidence>(Table::Evidence, &[], &[0xff; 64])? {
            // Of this epoch: in another one its lane is another's.
            if let Evidence::LaneFork(fork) = evidence
                && fork.first.header.epoch == genesis.epoch()
            {
                recovered.forked.push(fork.first.header.lane);
            }
        }
        let base = base.map_or(genesis.base(), |block| block.header.height);
        recovered.emitted = self.outcomes(base, time.minus(2 * ttl))?;
        // Payloads of what has no outcome yet, also of what lanes have given to the order
        // rule already: it will be opened, and its place must survive in the own lane's
        // receipts.
        // What came along from the epoch before stands first: its order is the old lane's.
        let carried: Option<Vec<CtId>> = self.get(Table::Meta, meta::CARRIED)?;
        let mut ids = Vec::new();
        for id in carried.unwrap_or_default() {
            // With an outcome it is only wanted if it is in what is replayed, as any other.
            if self.store.get(Table::Index, &index_key(&id))?.is_none() {
                ids.push(id);
            }
        }
        ids.extend(order.live_orders());
        for batch in &recovered.batches {
            ids.extend(batch.entries.iter().map(|entry| entry.ct_id));
        }
        let mut gone: BTreeSet<CtId> = recovered.emitted.iter().map(|e| e.ct_id).collect();
        for id in ids {
            // Once; and not what was left out as stale: nothing will come of it.
            if !gone.insert(id) || self.store.get(Table::Index, &late_key(&id))?.is_some() {
                continue;
            }
            let payload: Option<Envelope> = self.get(Table::Payloads, &payload_key(&id))?;
            recovered.payloads.extend(payload.map(Into::into));
        }
        recovered.cut = cut;
        Ok(recovered)
    }

    /// The rule where an epoch begins.
    fn first_order(
        &self,
        genesis: &Genesis,
        n: usize,
        f: usize,
    ) -> Result<Box<dyn FairOrder + Send>, RecoverError> {
        if genesis.start.is_none() {
            return Ok(fair::rule(n, f, &genesis.order));
        }
        let key = epoch_key(genesis.epoch());
        let base: Option<EpochBase> = self.get(Table::Epochs, &key)?;
        let base = base.ok_or_else(|| corrupt(Table::Epochs, &key, "missing"))?;
        fair::rule_after(n, f, &genesis.order, genesis.time, &base.memory)
            .map_err(|error| corrupt(Table::Epochs, &key, &error.to_string()))
    }

    fn key(&self, genesis: &Genesis) -> Result<RecoveredKey, RecoverError> {
        let (start, end) = (height_key(Height(0)), height_key(Height(u64::MAX)));
        let mut dealings: Vec<FinalDealing> = Vec::new();
        let mut changes = Vec::new();
        for (key, value) in self.scan(Table::Dealings, &start, &end)? {
            if let Some(height) = height_of(&key) {
                dealings.push(FinalDealing {
                    height,
                    dealing: parse(Table::Dealings, &key, &value)?,
                    valid: false,
                });
            } else if let Some(height) = change_height(&key) {
                changes.push(FinalChange {
                    height,
                    change: parse(Table::Dealings, &key, &value)?,
                });
            } else if let Some(last) = dealings.last_mut()
                && dealing_verdict_key(last.height) == key
            {
                last.valid = true;
            }
        }
        Ok(RecoveredKey {
            dealings,
            changes,
            activation: self.get(Table::Meta, meta::ACTIVATION)?,
            used: used_receivers(|table, key| self.store.get(table, key), genesis)?,
        })
    }

    /// Outcomes of the emitted blocks up to `until` whose time is not below `oldest`.
    fn outcomes(
        &self,
        until: Height,
        oldest: Millis,
    ) -> Result<Vec<mempool::Emitted>, RecoverError> {
        let mut outcomes = Vec::new();
        let mut height = until;
        while height > Height(0) {
            let block: Option<SequencedBlock> = self.get(Table::Sequence, &height_key(height))?;
            let Some(block) = block else { break };
            if block.time < oldest {
                break;
            }
            outcomes.extend(block.items.iter().map(emitted));
            height = height.prev();
        }
        Ok(outcomes)
    }
}

/// What the lanes are told of an item that has its outcome.
pub(crate) fn emitted(item: &Item) -> mempool::Emitted {
    let burned = matches!(
        item.outcome,
        Outcome::Opened { .. } | Outcome::Undecryptable
    );
    mempool::Emitted {
        ct_id: item.ct_id,
        label: item.label.clone(),
        burned,
    }
}

fn parse<T: BorshDeserialize>(table: Table, key: &[u8], value: &[u8]) -> Result<T, RecoverError> {
    decode(value, ROW_BYTES_MAX).map_err(|error| corrupt(table, key, &error.to_string()))
}

pub(crate) fn corrupt(table: Table, key: &[u8], reason: &str) -> RecoverError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    RecoverError::Corrupt {
        table: table.name(),
        key,
        reason: reason.to_owned(),
    }
}

/// Digest that a snapshot of the order state commits to (PROTOCOL §5).
pub(crate) fn state_digest(order: &[u8], cut: &Cut) -> Digest {
    fairlane_types::Domain::Snapshot.hash_of(&(order, cut))
}
