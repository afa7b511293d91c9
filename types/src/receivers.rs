//! Members' keys for dealings: each serves for one epoch (PROTOCOL §6, THREATS A21). What was
//! dealt to a member is sealed to such a key for ever, so that erasing its secret is worth
//! something only if no other epoch has the same key.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{Epoch, Genesis, NextCommittee, PublicKey};

/// A member's public key for dealings: a canonical ristretto255 point, as hex.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct ReceiverBytes(#[serde(with = "hex::serde")] pub [u8; 32]);

/// The keys for dealings of the epochs so far, and the first epoch of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UsedReceivers(BTreeMap<ReceiverBytes, Epoch>);

/// Why a committee cannot follow: a key for dealings in it is not a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverReuse {
    /// An epoch had it.
    #[error(
        "the receiver key of {identity} was used in epoch {epoch} already: its secret is erased, or \
         opens what was dealt then; make the card again with `fairlane committee card`"
    )]
    Earlier {
        /// Whose key it is to be.
        identity: PublicKey,
        /// The epoch that had it.
        epoch: Epoch,
    },
    /// Two members have it.
    #[error("{identity} has the receiver key of another member of the same committee")]
    Twice {
        /// The second of them.
        identity: PublicKey,
    },
}

impl UsedReceivers {
    /// Adds the keys of an epoch, by its genesis; a dealer's epoch has none.
    pub fn add(&mut self, genesis: &Genesis) {
        let epoch = genesis.epoch();
        for receiver in &genesis.encryption.receivers {
            self.0.entry(*receiver).or_insert(epoch);
        }
    }

    /// Whether all keys of a committee that is to follow are fresh.
    ///
    /// # Errors
    /// [`ReceiverReuse`] names the first one that is not.
    pub fn check(&self, next: &NextCommittee) -> Result<(), ReceiverReuse> {
        let mut seen = BTreeSet::new();
        for member in &next.members {
            let identity = member.identity;
            if let Some(epoch) = self.0.get(&member.receiver) {
                let epoch = *epoch;
                return Err(ReceiverReuse::Earlier { identity, epoch });
            }
            if !seen.insert(member.receiver) {
                return Err(ReceiverReuse::Twice { identity });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn one_encoding_alone_is_read() {
        let key = |first| (ReceiverBytes([first; 32]), Epoch(u64::from(first)));
        let read = |keys: &[(ReceiverBytes, Epoch)]| {
            let bytes = encode(keys);
            let used = decode::<UsedReceivers>(&bytes, bytes.len()).ok()?;
            assert_eq!(encode(&used), bytes, "a second encoding was accepted");
            Some(used)
        };
        let sorted = UsedReceivers(BTreeMap::from([key(1), key(2)]));
        assert_eq!(read(&[key(1), key(2)]), Some(sorted));
        assert_eq!(read(&[key(2), key(1)]), None);
        assert_eq!(read(&[key(1), key(1)]), None);
    }
}
