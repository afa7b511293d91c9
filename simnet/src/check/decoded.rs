//! Rows that many members store, decoded once: batches and blocks are the same everywhere,
//! and their bytes are shared.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlane_replica::Table;

use crate::disk::Change;

use super::facts::{Durable, durable};

/// Rows that are remembered: members store the same ones within a second or two.
const KNOWN_MAX: usize = 4_096;

/// Bytes by their address, which is theirs as long as they are kept here.
type Place = (Table, usize);

#[derive(Debug, Default)]
pub struct Decoded {
    known: BTreeMap<Place, (Arc<[u8]>, Option<Durable>)>,
    order: VecDeque<Place>,
}

impl Decoded {
    /// What a change records, as [`durable`] says.
    pub fn read(&mut self, change: &Change) -> Option<Durable> {
        let (table, key, value) = match change {
            Change::Put { table, key, value } => (*table, key, value),
            _ => return durable(change),
        };
        let common = match table {
            Table::Lanes => key.first() == Some(&b'b'),
            Table::Blocks | Table::Sequence => true,
            _ => false,
        };
        if !common {
            return durable(change);
        }
        let place = (table, value.as_ptr().addr());
        if let Some((known, durable)) = self.known.get(&place)
            && Arc::ptr_eq(known, value)
        {
            return durable.clone();
        }
        let durable = durable(change);
        let entry = (Arc::clone(value), durable.clone());
        if self.known.insert(place, entry).is_none() {
            self.order.push_back(place);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        durable
    }
}
