//! A machine: its keys for every epoch, and its member while it is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_encryption::{Ceremony, ReceiverSecret};
use fairlane_replica::{
    CeremonyKeys, Covered, CryptoContext, EpochBase, Row, Sharing, Store as _, StoreError, Table,
    Write, current_epoch, entering, has_left, height_key, importing, leaving, meta,
};
use fairlane_types::{
    Committee, CtId, Epoch, Genesis, Handover, Height, MemberId, NextMember, ReceiverBytes,
    SecretKey, SequencedBlock, Signer as _, decode,
};

use crate::disk::{Change, DiskModel};
use crate::engine::{Nanos, Owner, Purpose, Stream};
use crate::member::Member;
use crate::scenario::start;

/// Largest row read.
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;

/// A machine of a run.
pub(super) struct Machine {
    pub identity: Arc<SecretKey>,
    /// Its key files, beside the database: secrets for dealings, by epoch.
    pub receivers: BTreeMap<Epoch, Arc<ReceiverSecret>>,
    /// Likewise: shares of the keys of an epoch that began with a fresh one.
    pub shares: BTreeMap<Epoch, Vec<u8>>,
    /// What new ones are drawn from.
    secrets: Stream,
    pub member: Member,
    /// The genesis of the epoch that it takes part in.
    pub genesis: Genesis,
    /// Its place in that epoch's committee.
    pub me: Option<MemberId>,
    /// Links work.
    pub linked: bool,
    /// Orders that came along when it entered its epoch.
    pub carried: Vec<CtId>,
    /// It does not come back.
    pub dead: bool,
    /// Its shell has seen the word for this epoch while it ran in the one before.
    pub shown: Option<Epoch>,
}

impl core::fmt::Debug for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Machine")
            .field("me", &self.me)
            .field("epoch", &self.genesis.epoch().0)
            .field("up", &self.member.up())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine that was born and never started. `sharing` is its part of a dealt key.
    pub fn new(
        index: usize,
        seed: u64,
        genesis: &Genesis,
        (identity, receiver): (Arc<SecretKey>, Arc<ReceiverSecret>),
        sharing: Option<Arc<std::sync::OnceLock<Sharing>>>,
    ) -> Self {
        let committee = committee_of(genesis);
        let me = committee.member(&identity.public());
        let ceremony = Ceremony::of_genesis(genesis).ok().flatten();
        let keys = CryptoContext {
            chain: genesis.chain,
            epoch: genesis.epoch(),
            committee,
            me: me.unwrap_or_default(),
            identity: Arc::<SecretKey>::clone(&identity),
            sharing: sharing.unwrap_or_default(),
            ceremony: ceremony.map(|ceremony| CeremonyKeys {
                ceremony: Arc::new(ceremony),
                receiver: Arc::clone(&receiver),
            }),
        };
        let member = Member::new(index, seed, genesis, keys, DiskModel::default(), start());
        Self {
            identity,
            receivers: BTreeMap::from([(Epoch(0), receiver)]),
            shares: BTreeMap::new(),
            secrets: Stream::new(seed, Owner::Node(index), Purpose::Keys),
            member,
            genesis: genesis.clone(),
            me,
            linked: true,
            carried: Vec::new(),
            dead: false,
            shown: None,
        }
    }

    /// How it stands in a proposal: with a receiver key that is for this epoch alone.
    pub fn card(&mut self, epoch: Epoch) -> NextMember {
        let secrets = &mut self.secrets;
        let receiver = (self.receivers.entry(epoch))
            .or_insert_with(|| Arc::new(ReceiverSecret::generate(secrets)));
        NextMember {
            identity: self.identity.public(),
            receiver: ReceiverBytes(*receiver.key().bytes()),
            quic: String::new(),
            api: String::new(),
        }
    }

    /// The process ends, in order or not; unsynced writes may be lost.
    pub fn stop(&mut self) {
        self.member.crash();
    }

    /// Leaves its epoch by its committee's word, if it is a member of it.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub fn leave(&mut self, word: &Handover) -> Result<(), String> {
        if let Some(me) = self.me
            && !self.has_left()
        {
            let writes = leaving(&self.member.store, &self.genesis, me, word)
                .map_err(|error| error.to_string())?;
            self.apply(writes).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Its member runs.
    pub fn runs(&self) -> bool {
        self.member.up() && self.me.is_some() && !self.has_left()
    }

    /// It has left its epoch and not entered the next one.
    pub fn has_left(&self) -> bool {
        has_left(|table, key| self.member.store.get(table, key)).unwrap_or(false)
    }

    /// The word by which it left, while it has no more of the next epoch.
    pub fn left_by(&self) -> Option<Handover> {
        let row = self.member.store.get(Table::Meta, meta::WORD).ok()??;
        decode(&row, ROW_BYTES_MAX).ok()
    }

    /// Takes the blocks of the sequence that it lacks from another disk, as far as `base`
    /// covers them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn import(&mut self, base: &EpochBase, rows: &[Row]) -> Result<(), String> {
        let last = self.last_emitted();
        let blocks = rows.iter().map(|(_, row)| decode(row, ROW_BYTES_MAX));
        let blocks: Result<Vec<SequencedBlock>, _> = blocks.collect();
        let mut blocks = blocks.map_err(|error| error.to_string())?;
        blocks.retain(|block| last.as_ref().is_none_or(|last| block.height > last.height));
        let covered = Covered::by(&base.handover, &self.genesis);
        let mut covered = covered.map_err(|error| error.to_string())?;
        for block in blocks.iter().rev() {
            let known = covered.down(std::slice::from_ref(block));
            known.map_err(|error| error.to_string())?;
        }
        while let Some(first) = blocks.first() {
            let end = covered.end_of_stretch(first.height);
            let above = blocks.partition_point(|block| Some(block.height) <= end);
            let last = self.last_emitted();
            let writes = importing(last.as_ref(), &blocks[..above], &covered);
            let writes = writes.map_err(|error| error.to_string())?;
            self.apply(writes).map_err(|error| error.to_string())?;
            blocks.drain(..above);
        }
        Ok(())
    }

    /// The last block of the sequence on disk.
    pub fn last_emitted(&self) -> Option<SequencedBlock> {
        let (from, to) = (height_key(Height(0)), height_key(Height(u64::MAX)));
        let rows = self.rows(Table::Sequence, &from, &to);
        let (_, row) = rows.last()?;
        decode(row, ROW_BYTES_MAX).ok()
    }

    /// Rows on disk.
    pub fn rows(&self, table: Table, from: &[u8], to: &[u8]) -> Vec<Row> {
        let all = usize::MAX;
        let rows = self.member.store.scan(table, from, to, all, all);
        rows.unwrap_or_default()
    }

    /// Enters the epoch of `base` on disk.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub fn enter(&mut self, base: &EpochBase) -> Result<(), String> {
        base.verify(&self.genesis, None)
            .map_err(|e| e.to_string())?;
        let me = committee_of(base.genesis()).member(&self.identity.public());
        let me = me.unwrap_or_default();
        let writes = entering(&self.member.store, &self.genesis, base, me)
            .map_err(|error| error.to_string())?;
        self.apply(writes).map_err(|error| error.to_string())
    }

    /// The epoch that its disk is in.
    pub fn disk_epoch(&self) -> Epoch {
        let base = current_epoch(|table, key| self.member.store.get(table, key));
        let base = base.ok().flatten();
        base.map_or(Epoch(0), |base| base.epoch())
    }

    /// Erases the secrets of epochs before the one that its disk is in; how many went.
    pub fn erase(&mut self) -> usize {
        let (epoch, had) = (self.disk_epoch(), self.receivers.len());
        self.receivers.retain(|of, _| *of >= epoch);
        self.shares.retain(|of, _| *of >= epoch);
        had - self.receivers.len()
    }

    /// Whether its disk shows that the former key of its epoch opens nothing any more.
    pub fn former_is_over(&self) -> bool {
        let former = self.genesis.former_key();
        former.is_some_and(|(_, until)| self.last_emitted().is_some_and(|last| last.time > until))
    }

    /// Whether it holds a share of the former key in memory.
    pub fn has_former_share(&self) -> bool {
        let sharing = self.member.keys.sharing.get();
        let former = sharing.and_then(|sharing| sharing.former.as_ref());
        former.is_some_and(|former| former.share().is_some())
    }

    /// Erases what gives a share of the former key; whether there was anything.
    pub fn forget_former(&mut self) -> bool {
        let sharing = self.member.keys.sharing.get();
        if let Some(former) = sharing.and_then(|sharing| sharing.former.as_ref()) {
            former.forget();
        }
        self.receivers.remove(&self.genesis.epoch()).is_some()
    }

    /// Reads its shares of an epoch with a former key from its files, as a process does that
    /// starts; whether that key was over, and something of it left to erase.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub fn read_keys(&mut self) -> Result<bool, String> {
        let (Some(me), Some(_)) = (self.me, self.genesis.former_key()) else {
            return Ok(false);
        };
        let base = current_epoch(|table, key| self.member.store.get(table, key));
        let base = base.map_err(|error| error.to_string())?;
        let base = base.filter(EpochBase::is_whole);
        let Some(base) = base else {
            return Ok(false);
        };
        let sharing = self.sharing_in(&base, me)?;
        self.member.keys.sharing = Arc::new(std::sync::OnceLock::from(sharing));
        Ok(self.former_is_over() && self.forget_former())
    }

    /// Its shares, from the dealings; or from what it kept, once the secret for those is erased.
    fn sharing_in(&mut self, base: &EpochBase, me: MemberId) -> Result<Sharing, String> {
        let (epoch, genesis) = (base.epoch(), base.genesis());
        if let Some(receiver) = self.receivers.get(&epoch) {
            let sharing = base.sharing(me, receiver).map_err(|e| e.to_string())?;
            if sharing.former.is_some() {
                self.shares.entry(epoch).or_insert_with(|| sharing.kept());
            }
            return Ok(sharing);
        }
        let kept = self.shares.get(&epoch);
        let kept = kept.ok_or("its secret for this epoch is gone")?;
        Sharing::of_kept(genesis, me, kept).map_err(|e| e.to_string())
    }

    /// Takes part in the epoch that its disk is in, with what the disk and its key files say:
    /// returns how many orders came along.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub fn take_part(&mut self) -> Result<usize, String> {
        let base = current_epoch(|table, key| self.member.store.get(table, key))
            .map_err(|error| error.to_string())?;
        let Some(base) = base else {
            return Ok(0);
        };
        let genesis = base.genesis().clone();
        let committee = committee_of(&genesis);
        let me = committee.member(&self.identity.public());
        let row = self.member.store.get(Table::Meta, meta::CARRIED);
        let row = row.ok().flatten().unwrap_or_default();
        let carried: Vec<CtId> = decode(&row, ROW_BYTES_MAX).map_err(|e| e.to_string())?;
        let sharing = match me {
            // Of an epoch that is over nobody has a share.
            Some(me) if base.is_whole() => {
                let sharing = self.sharing_in(&base, me)?;
                Arc::new(std::sync::OnceLock::from(sharing))
            }
            _ => Arc::default(),
        };
        let keys = CryptoContext {
            chain: genesis.chain,
            epoch: genesis.epoch(),
            committee,
            me: me.unwrap_or_default(),
            identity: Arc::<SecretKey>::clone(&self.identity),
            sharing,
            ceremony: None,
        };
        self.member.enter(genesis.clone(), keys);
        (self.genesis, self.me) = (genesis, me);
        self.carried = carried;
        Ok(self.carried.len())
    }

    fn apply(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let changes = writes.into_iter().map(Change::from).collect();
        let commit = self.member.store.append(changes)?;
        self.member.store.sync(commit);
        Ok(())
    }

    /// Entropy for the machine's jobs.
    pub fn entropy(&mut self) -> &mut Stream {
        &mut self.member.entropy
    }

    /// When its earliest timer is due.
    pub fn wakes(&mut self, now: Nanos) -> Option<Nanos> {
        let (at, _) = self.member.next_timer()?;
        Some(self.member.clock.reach(now, at))
    }
}

pub(super) fn committee_of(genesis: &Genesis) -> Committee {
    genesis
        .validate()
        .expect("invariant: committees of a run are valid")
}
