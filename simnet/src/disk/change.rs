//! What a store is told: writes whose values are shared. Members of a committee store the
//! same batches and blocks, and keeping each of them once is what lets a hundred members
//! fit into memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_replica::{Table, Write};

/// Smaller values are cheaper to keep than to look for.
const SHARED_MIN: usize = 64;
/// Values that are known before the first sweep of those that nobody stores any more.
const SWEEP_MIN: usize = 4_096;

/// A write with a shared value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a value.
    Put {
        /// Table.
        table: Table,
        /// Key.
        key: Vec<u8>,
        /// Value.
        value: Arc<[u8]>,
    },
    /// Removes a key.
    Delete {
        /// Table.
        table: Table,
        /// Key.
        key: Vec<u8>,
    },
    /// Removes all keys of a range.
    DeleteRange {
        /// Table.
        table: Table,
        /// First key.
        from: Vec<u8>,
        /// First key that stays.
        to: Vec<u8>,
    },
}

impl From<Write> for Change {
    fn from(write: Write) -> Self {
        match write {
            Write::Put { table, key, value } => Self::Put {
                table,
                key,
                value: value.into(),
            },
            Write::Delete { table, key } => Self::Delete { table, key },
            Write::DeleteRange { table, from, to } => Self::DeleteRange { table, from, to },
        }
    }
}

/// The values that the members of a run store, each once.
#[derive(Debug)]
pub struct Values {
    known: BTreeMap<u64, Arc<[u8]>>,
    sweep_at: usize,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Values {
    /// The change that a write makes; its value is the one that is known, if it is.
    pub fn change(&mut self, write: Write) -> Change {
        match write {
            Write::Put { table, key, value } if value.len() >= SHARED_MIN => {
                let value = self.share(value);
                Change::Put { table, key, value }
            }
            other => other.into(),
        }
    }

    fn share(&mut self, value: Vec<u8>) -> Arc<[u8]> {
        let hash = hash(&value);
        match self.known.get(&hash) {
            Some(known) if **known == *value => Arc::clone(known),
            // Another value with this hash: it stays alone.
            Some(_) => value.into(),
            None => {
                if self.known.len() >= self.sweep_at {
                    self.known.retain(|_, value| Arc::strong_count(value) > 1);
                    self.sweep_at = (2 * self.known.len()).max(SWEEP_MIN);
                }
                let value: Arc<[u8]> = value.into();
                self.known.insert(hash, Arc::clone(&value));
                value
            }
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c061);
        (product >> 64) as u64 ^ product as u64
    };
    let mut words = bytes.chunks_exact(8);
    let mut all = bytes.len() as u64;
    for word in &mut words {
        let word = word.first_chunk().expect("invariant: chunks of eight");
        all = fold(all, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(all, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(change: &Change) -> Arc<[u8]> {
        match change {
            Change::Put { value, .. } => Arc::clone(value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let mut values = Values::default();
        let mut put = |byte: u8, len: usize| {
            let write = Write::put(Table::Lanes, vec![byte], vec![byte; len]);
            value(&values.change(write))
        };
        let (a, b) = (put(1, 200), put(1, 200));
        assert!(Arc::ptr_eq(&a, &b));
        let (c, d) = (put(2, 200), put(1, 201));
        assert!(!Arc::ptr_eq(&a, &c) && *c == [2; 200] && d.len() == 201);
        let (e, f) = (put(1, 8), put(1, 8));
        assert!(!Arc::ptr_eq(&e, &f) && e == f);
    }

    #[test]
    fn what_nobody_stores_is_forgotten() {
        let mut values = Values::default();
        let mut kept = Vec::new();
        for number in 0..3 * SWEEP_MIN as u64 {
            let mut bytes = vec![7; 80];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            let change = values.change(Write::put(Table::Lanes, Vec::new(), bytes));
            if number % 64 == 0 {
                kept.push(value(&change));
            }
        }
        assert!(values.known.len() <= SWEEP_MIN, "{}", values.known.len());
        let first = kept[0].to_vec();
        let again = values.change(Write::put(Table::Lanes, Vec::new(), first));
        assert!(Arc::ptr_eq(&value(&again), &kept[0]));
    }
}
