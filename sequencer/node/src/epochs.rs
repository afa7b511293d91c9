//! A home and its epochs: where it stands, and how it goes into the next one (PROTOCOL §6).
//!
//! While a node is between two epochs nothing of it runs; every step is one write that is
//! synced, and may be repeated after a crash.

use std::time::Duration;

use fairlane_replica::{
    BaseError, EpochBase, RecoverError, Store as _, StoreError, current_epoch, entering, has_left,
    importing, leaving,
};
use fairlane_types::{Epoch, Genesis, MemberId, SequencedBlock};

use crate::claim::Claim;
use crate::config::Config;
use crate::home::{Home, HomeError};
use crate::store::{RocksStore, StoreOptions};

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
}

impl Standing {
    /// A node can run in this epoch.
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.member.is_some() && !self.left
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.genesis.epoch()
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
        Ok(Self { home, store, claim })
    }

    /// What the epoch began with that a home is in, after the first one; its node may run
    /// meanwhile.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn peek(home: &Home) -> Result<Option<EpochBase>, EpochError> {
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
        Ok(current_epoch(|table, key| store.get(table, key))?)
    }

    /// Store and claim, for a node that is to run on them.
    pub(crate) fn into_parts(self) -> (RocksStore, Claim) {
        (self.store, self.claim)
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn standing(&self) -> Result<Standing, EpochError> {
        let base = current_epoch(|table, key| self.store.get(table, key))?;
        let genesis = match &base {
            Some(base) => base.genesis().clone(),
            None => self.home.genesis()?,
        };
        let identity = self.home.identity()?.public();
        let place = genesis.members.iter().position(|key| *key == identity);
        Ok(Standing {
            member: place.and_then(|at| u8::try_from(at).ok()).map(MemberId),
            left: has_left(&self.store)?,
            genesis,
            base,
        })
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
    /// it acknowledged is put aside.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn leave(&mut self) -> Result<(), EpochError> {
        let standing = self.standing()?;
        if let Some(me) = standing.member
            && !standing.left
        {
            let writes = leaving(&self.store, &standing.genesis, me)?;
            self.store.commit(&writes, true)?;
        }
        Ok(())
    }

    /// Takes blocks of the sequence from elsewhere, above what is here.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn import(&mut self, blocks: &[SequencedBlock]) -> Result<(), EpochError> {
        let last = self.last_block()?;
        let writes = importing(last.as_ref(), blocks)?;
        Ok(self.store.commit(&writes, true)?)
    }

    /// Enters the epoch that begins with `base`, which must follow the one it is in.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn enter(&mut self, base: &EpochBase) -> Result<(), EpochError> {
        let before = self.standing()?;
        base.verify(&before.genesis)?;
        let identity = self.home.identity()?.public();
        let members = &base.genesis().members;
        let me = members.iter().position(|key| *key == identity);
        let me = me.and_then(|at| u8::try_from(at).ok()).map(MemberId);
        let writes = entering(&self.store, base, me.unwrap_or_default())?;
        self.store.commit(&writes, true)?;
        tracing::info!(epoch = %base.epoch(), member = ?me, "entered");
        Ok(())
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
