//! The states of attested heights: what this member came to, held against what the
//! committee signed, and proofs of accounts for those who trust the committee's key alone.
//!
//! A certificate over another state holds 2f+1 members' shares, so that it is this member
//! whose execution went another way. It stops executing; the sequence goes on.
//!
//! Only the head's state is held, so a proof under an attested state is made when that
//! height is executed, for the keys that somebody waits for then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlane_encryption::{StateAttestation, StateRoots};
use fairlane_execution::{AccountProof, Clearing, Execution};
use fairlane_replica::StoreError;
use fairlane_types::{Height, PublicKey};

use crate::store::StoreReader;

/// Own states kept while the committee has not signed their heights.
const OWN_STATES_MAX: usize = 1_024;
/// Keys that are waited for at a time.
const WAITING_KEYS_MAX: usize = 1_024;
/// Attested heights for which proofs are kept.
const PROOF_HEIGHTS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Inner {
    own: BTreeMap<Height, StateRoots>,
    /// Up to here the committee's states were held against the own ones.
    compared: Height,
    /// How many wait for a key's proof.
    waiting: BTreeMap<PublicKey, usize>,
    proofs: BTreeMap<Height, BTreeMap<PublicKey, AccountProof>>,
}

/// Shared between the executor and those who wait for proofs.
#[derive(Clone, Debug, Default)]
pub struct AttestedStates {
    inner: Arc<Mutex<Inner>>,
}

/// Somebody waits for proofs of an account, until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    states: AttestedStates,
    key: PublicKey,
}

impl AttestedStates {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clearing house has just come to this state, of a height that will be attested.
    pub(super) fn reached(&self, height: Height, roots: StateRoots, clearing: &Clearing) {
        let mut inner = self.inner();
        inner.own.insert(height, roots);
        if inner.own.len() > OWN_STATES_MAX {
            inner.own.pop_first();
        }
        let prove = |key: &PublicKey| Some((*key, clearing.prove(key, height).ok()?));
        let proofs: BTreeMap<_, _> = inner.waiting.keys().filter_map(prove).collect();
        if !proofs.is_empty() {
            inner.proofs.insert(height, proofs);
        }
        if inner.proofs.len() > PROOF_HEIGHTS_MAX {
            inner.proofs.pop_first();
        }
    }

    /// Holds what the committee has signed meanwhile against the own states.
    ///
    /// # Errors
    /// The attestation of another state, and the own one.
    pub(super) fn compare(
        &self,
        reader: &StoreReader,
    ) -> Result<Result<(), (StateAttestation, StateRoots)>, StoreError> {
        let mut inner = self.inner();
        loop {
            let Some((last, _)) = inner.own.last_key_value().map(|(h, r)| (*h, *r)) else {
                return Ok(Ok(()));
            };
            let found = reader.state_attestation_from(inner.compared.next())?;
            let Some(found) = found.filter(|found| found.height <= last) else {
                return Ok(Ok(()));
            };
            let own = inner.own.get(&found.height).copied();
            if let Some(own) = own.filter(|own| *own != found.roots) {
                return Ok(Err((found, own)));
            }
            inner.compared = found.height;
            inner.own = inner.own.split_off(&found.height.next());
        }
    }

    /// Has proofs made for a key at attested heights from now on; none if too many wait.
    #[must_use]
    pub fn wait_for(&self, key: PublicKey) -> Option<Waiting> {
        let mut inner = self.inner();
        if inner.waiting.len() >= WAITING_KEYS_MAX && !inner.waiting.contains_key(&key) {
            return None;
        }
        *inner.waiting.entry(key).or_default() += 1;
        let states = self.clone();
        Some(Waiting { states, key })
    }
}

impl Waiting {
    /// The latest proof whose height the committee has attested, and its word.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn proven(
        &self,
        reader: &StoreReader,
    ) -> Result<Option<(AccountProof, StateAttestation)>, StoreError> {
        let heights: Vec<Height> = self.states.inner().proofs.keys().copied().collect();
        for height in heights.into_iter().rev() {
            let attested = reader.state_attestation_from(height)?;
            let Some(attested) = attested.filter(|found| found.height == height) else {
                continue;
            };
            let inner = self.states.inner();
            let proof = inner.proofs.get(&height).and_then(|of| of.get(&self.key));
            if let Some(proof) = proof {
                return Ok(Some((proof.clone(), attested)));
            }
        }
        Ok(None)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.states.inner();
        if let Some(count) = inner.waiting.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inner.waiting.remove(&self.key);
            }
        }
    }
}
