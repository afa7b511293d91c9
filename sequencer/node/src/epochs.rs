//! A home and its epochs: where it stands, and how it goes into the next one (PROTOCOL §6).
//!
//! While a node is between two epochs nothing of it runs; every step is one write that is
//! synced, and may be repeated after a crash.

use std::time::Duration;

use fairlane_encryption::{CERTIFICATE_KEY_BYTES, leads_on};
use fairlane_replica::{
    BaseError, Covered, EpochBase, RecoverError, Store as _, StoreError, Table,
    activated_certificate_key, current_epoch, entering, has_left, importing, leaving, next_base,
    used_receivers,
};
use fairlane_types::{Epoch, Genesis, Handover, MemberId, SequencedBlock, UsedReceivers};

use crate::claim::Claim;
use crate::config::Config;
use crate::home::{Home, HomeError, MemberKeys};
use crate::store::{RocksStore, StoreOptions, StoreReader};

/// Looks at the database of a running node before it counts as damaged.
const PEEKS_MAX: usize = 10;
/// Pause between them.
const PEEK_PAUSE: Duration = Duration::from_millis(50);

/// Why a home cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// What is on disk.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// What was fetched.
    #[error(transparent)]
    Base(#[from] BaseError),
}

impl From<StoreError> for EpochError {
    fn from(error: StoreError) -> Self {
        Self::Home(error.into())
    }
}

/// Where a home stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The genesis of the epoch that its folder is in.
    pub genesis: Genesis,
    /// What that epoch began with, after the first one.
    pub base: Option<EpochBase>,
    /// Its place in that epoch's committee.
    pub member: Option<MemberId>,
    /// It has left that epoch: only the next one can be started.
    pub left: bool,
    /// The file that its part of the epoch's keys is read with is there.
    pub keyed: bool,
    /// The key by which it knows the chain, where that came of a ceremony in this epoch: no
    /// hand-over to another one is followed.
    pub certificate_key: Option<[u8; CERTIFICATE_KEY_BYTES]>,
}

impl Standing {
    /// A node can run in this epoch.
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.member.is_some() && !self.left
    }

    /// Why no node runs in this epoch and the next one is waited for. Without a key for it a
    /// backup of a later epoch `asks` others where that is, if it knows any: they lead there.
    #[must_use]
    pub const fn waits(&self, asks: bool) -> Option<&'static str> {
        match (self.member, self.left, self.keyed) {
            (None, _, _) => Some("no member of this epoch"),
            (Some(_), true, _) => Some("this epoch is left"),
            (Some(_), false, false) if asks => Some("no key for this epoch here"),
            _ => None,
        }
    }

    /// Whether a hand-over leads on from here.
    ///
    /// # Errors
    /// [`EpochError::Base`] if not.
    pub fn follows(&self, word: &Handover) -> Result<(), EpochError> {
        let known = self.certificate_key.as_ref();
        Ok(leads_on(word, &self.genesis, known).map_err(BaseError::from)?)
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.genesis.epoch()
    }
}

/// The epoch that a home is in, as far as it shows from outside.
#[derive(Clone, Debug)]
pub struct Present {
    /// The genesis of the epoch.
    pub genesis: Genesis,
    /// What it began with, after the first one.
    pub base: Option<EpochBase>,
    /// Keys for dealings of this epoch and those before it.
    pub used: UsedReceivers,
    /// Its member has left it.
    pub left: bool,
    certificate_key: Option<[u8; CERTIFICATE_KEY_BYTES]>,
}

impl Present {
    /// Of a home whose node may run meanwhile. One without a database is in the first epoch.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn of(home: &Home) -> Result<Self, EpochError> {
        let origin = home.genesis()?;
        if !home.data_path().exists() {
            return Ok(Self::read(origin, |_, _| Ok(None))?);
        }
        let mut tries = PEEKS_MAX;
        let store = loop {
            tries -= 1;
            match RocksStore::read_only(&home.data_path()) {
                Ok(store) => break store,
                Err(error) if tries == 0 => return Err(error.into()),
                // A running node has replaced a file meanwhile: the next look is at later ones.
                Err(_) => std::thread::sleep(PEEK_PAUSE),
            }
        };
        Ok(Self::read(origin, |table, key| store.get(table, key))?)
    }

    fn read(
        origin: Genesis,
        get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Self, RecoverError> {
        let base = current_epoch(&get)?;
        let genesis = base.as_ref().map_or(origin, |base| base.genesis().clone());
        let used = used_receivers(&get, &genesis)?;
        Ok(Self {
            left: has_left(&get)?,
            certificate_key: activated_certificate_key(&get, &genesis)?,
            genesis,
            base,
            used,
        })
    }

    /// Where its home stands.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn standing(self, home: &Home) -> Result<Standing, HomeError> {
        let identity = home.identity()?.public();
        let place = self.genesis.members.iter().position(|key| *key == identity);
        Ok(Standing {
            member: place.and_then(|at| u8::try_from(at).ok()).map(MemberId),
            left: self.left,
            keyed: home.part_path(&self.genesis).exists(),
            certificate_key: self.certificate_key,
            genesis: self.genesis,
            base: self.base,
        })
    }

    /// All secrets of a member of the epoch.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keys(&self, home: &Home) -> Result<MemberKeys, HomeError> {
        match &self.base {
            Some(base) => home.keys_in(base),
            None => home.keys(&self.genesis),
        }
    }
}

/// A home whose database is open and whose node does not run; nobody else may have folder or
/// identity meanwhile.
pub struct Resting {
    home: Home,
    store: RocksStore,
    claim: Claim,
}

impl Resting {
    /// Opens a home's database; no node may run on it.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn open(home: &Home, config: &Config) -> Result<Self, EpochError> {
        let claim = Claim::take(home, &home.genesis()?, &home.identity()?.public())?;
        let store = RocksStore::open(&StoreOptions {
            path: home.data_path(),
            reserve_bytes: config.reserve_bytes(),
        })?;
        let home = home.clone();
        let resting = Self { home, store, claim };
        // A stop may have come between entering an epoch and this.
        if let Some(base) = current_epoch(|table, key| resting.store.get(table, key))? {
            resting.erase_before(base.epoch())?;
        }
        Ok(resting)
    }

    /// Erases secrets of epochs before the one that the folder is in, durably (A21).
    fn erase_before(&self, epoch: Epoch) -> Result<(), EpochError> {
        let gone = self.home.erase_before(epoch)?;
        if gone > 0 {
            tracing::info!(%epoch, files = gone, "secrets of earlier epochs erased");
        }
        Ok(())
    }

    /// Store and claim, for a node that is to run on them.
    pub(crate) fn into_parts(self) -> (RocksStore, Claim) {
        (self.store, self.claim)
    }

    pub(crate) const fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn reader(&self) -> StoreReader {
        self.store.reader()
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn standing(&self) -> Result<Standing, EpochError> {
        let origin = self.home.genesis()?;
        let present = Present::read(origin, |table, key| self.store.get(table, key))?;
        Ok(present.standing(&self.home)?)
    }

    /// The last block of the sequence here.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn last_block(&self) -> Result<Option<SequencedBlock>, EpochError> {
        let reader = self.store.reader();
        let Some((_, last)) = reader.emitted_range()? else {
            return Ok(None);
        };
        Ok(reader.block(last)?)
    }

    /// Leaves the epoch, if this is a member of it: its node never runs in it again, and what
    /// it acknowledged is put aside. Only the word of the epoch's own committee ends it.
    ///
    /// # Errors
    /// [`EpochError`]; nothing is written when the hand-over is not that committee's.
    pub fn leave(&mut self, word: &Handover) -> Result<(), EpochError> {
        let standing = self.standing()?;
        standing.follows(word)?;
        if let Some(me) = standing.member
            && !standing.left
        {
            let writes = leaving(&self.store, &standing.genesis, me, word)?;
            self.store.commit(&writes, true)?;
        }
        Ok(())
    }

    /// Takes blocks of the sequence from elsewhere, above what is here: those that a hand-over
    /// covers.
    ///
    /// # Errors
    /// [`EpochError`]; nothing is written of blocks that are not covered.
    pub fn import(
        &mut self,
        blocks: &[SequencedBlock],
        covered: &Covered,
    ) -> Result<(), EpochError> {
        let last = self.last_block()?;
        let writes = importing(last.as_ref(), blocks, covered)?;
        Ok(self.store.commit(&writes, true)?)
    }

    /// Goes on into the next epoch if this member came to the end of its own before it was
    /// stopped: what the next one begins with is here then, and nobody need be asked.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn go_on(&mut self) -> Result<bool, EpochError> {
        let genesis = self.standing()?.genesis;
        let Some(base) = next_base(|table, key| self.store.get(table, key), &genesis)? else {
            return Ok(false);
        };
        self.leave(&base.handover)?;
        self.enter(&base)?;
        Ok(true)
    }

    /// Whether a base that somebody handed out gives this home its part of the keys, where it
    /// has what reads that: not everything in it is under the signatures.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn reads(&self, base: &EpochBase) -> Result<(), EpochError> {
        let identity = self.home.identity()?.public();
        let member = base.genesis().members.contains(&identity);
        if member && self.home.part_path(base.genesis()).exists() {
            self.home.keys_in(base)?;
        }
        Ok(())
    }

    /// Enters the epoch that begins with `base`, which must follow the one it is in. Its
    /// member's parts of the keys are durable then: the dealings in the database, and beside
    /// it the secret that was made for them. Those of earlier epochs are erased.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn enter(&mut self, base: &EpochBase) -> Result<(), EpochError> {
        if !base.is_whole() {
            return Err(BaseError::Stripped(base.epoch()).into());
        }
        self.go_into(base)
    }

    /// Goes into an epoch that is over, as `onward` shows, the hand-over of its committee to
    /// the next one: it is never run here.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn pass(&mut self, base: &EpochBase, onward: &Handover) -> Result<(), EpochError> {
        leads_on(onward, base.genesis(), None).map_err(BaseError::from)?;
        self.go_into(&base.clone().stripped())
    }

    fn go_into(&mut self, base: &EpochBase) -> Result<(), EpochError> {
        let before = self.standing()?;
        base.verify(&before.genesis, before.certificate_key.as_ref())?;
        let identity = self.home.identity()?.public();
        let members = &base.genesis().members;
        let me = members.iter().position(|key| *key == identity);
        let me = me.and_then(|at| u8::try_from(at).ok()).map(MemberId);
        let writes = entering(&self.store, &before.genesis, base, me.unwrap_or_default())?;
        self.store.commit(&writes, true)?;
        tracing::info!(epoch = %base.epoch(), member = ?me, "entered");
        self.erase_before(base.epoch())
    }

    /// Orders that came along into the epoch it is in, without an outcome: who is no member
    /// of it hands them on.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn carried(&self) -> Result<Vec<fairlane_types::Envelope>, EpochError> {
        Ok(fairlane_replica::carried_over(&self.store)?)
    }
}
