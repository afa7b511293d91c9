//! EVM blocks out of heights. EVM time is whole seconds and must grow from block to block;
//! the sequence has many heights a second. So all heights whose finalized time falls into one
//! slot are one EVM block, and whoever has the sequence makes the same ones.

use fairlane_types::{Height, Outcome, Root, SequencedBlock};

use crate::EngineError;

/// Largest transaction, in bytes, as execution clients have it.
pub const TRANSACTION_BYTES_MAX: usize = 128 << 10;
/// Most bytes of transactions in a slot.
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Whether a payload can be a transaction: a raw one (EIP-2718) of a kind that its sender
/// signs. Deposits of the OP stack (0x7e) mint money and are nobody's to send; blobs (0x03)
/// have no place in a rollup.
#[must_use]
pub fn is_transaction(payload: &[u8]) -> bool {
    let known = matches!(payload.first(), Some(0x01 | 0x02 | 0x04 | 0xc0..=0xfe));
    known && payload.len() > 1 && payload.len() <= TRANSACTION_BYTES_MAX
}

/// What one EVM block is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Start of the slot, in seconds since 1970: the EVM block's timestamp.
    pub timestamp: u64,
    /// Last height in it.
    pub height: Height,
    /// Root of the sequence at that height.
    pub root: Root,
    /// Raw transactions in the order of the sequence.
    pub transactions: Vec<Vec<u8>>,
}

/// Collects heights into slots.
#[derive(Clone, Debug)]
pub struct Slots {
    seconds: u64,
    open: Option<Batch>,
    bytes: usize,
}

impl Slots {
    /// With slots of so many seconds, at least one.
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            seconds: seconds.max(1),
            open: None,
            bytes: 0,
        }
    }

    /// Takes the next height; gives the slot before if this one is in a later. A time before
    /// the open slot counts as in it: finalized time does not go back.
    ///
    /// # Errors
    /// [`EngineError::TooMuch`]; nothing changed.
    pub fn push(&mut self, block: &SequencedBlock) -> Result<Option<Batch>, EngineError> {
        let payloads = block.items.iter().filter_map(|item| match &item.outcome {
            Outcome::Opened { payload, .. } if is_transaction(payload) => Some(payload),
            _ => None,
        });
        let size: usize = payloads.clone().map(Vec::len).sum();
        let start = block.time.0 / 1_000 / self.seconds * self.seconds;
        let same = self
            .open
            .as_ref()
            .is_some_and(|open| start <= open.timestamp);
        let bytes = if same { self.bytes + size } else { size };
        if bytes > BATCH_BYTES_MAX {
            return Err(EngineError::TooMuch(block.height));
        }
        self.bytes = bytes;
        let closed = if same { None } else { self.open.take() };
        let open = self.open.get_or_insert_with(|| Batch {
            timestamp: start,
            height: block.height,
            root: block.root,
            transactions: Vec::new(),
        });
        (open.height, open.root) = (block.height, block.root);
        open.transactions.extend(payloads.cloned());
        Ok(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_that_a_sender_signs_are_transactions() {
        for kind in 0..=255u8 {
            let signed = matches!(kind, 1 | 2 | 4 | 0xc0..=0xfe);
            assert_eq!(is_transaction(&[kind, 0]), signed, "{kind}");
            assert!(!is_transaction(&[kind]));
        }
        let mut large = vec![2; TRANSACTION_BYTES_MAX];
        assert!(is_transaction(&large));
        large.push(0);
        assert!(!is_transaction(&large) && !is_transaction(&[]));
    }
}
