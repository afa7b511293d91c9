//! EVM blocks out of heights. EVM time is whole seconds and must grow from block to block;
//! the sequence has many heights a second. So all heights whose finalized time falls into one
//! slot are one EVM block, and whoever has the sequence makes the same ones.

use fairlane_types::{Height, Outcome, Root, SequencedBlock};

/// Largest transaction, in bytes, as execution clients have it.
pub const TRANSACTION_BYTES_MAX: usize = 128 << 10;
/// Most bytes of transactions in a slot. What does not fit any more is left out, by all operators
/// alike; what comes after it and fits counts.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// Longest slot, in seconds.
pub const SLOT_SECONDS_MAX: u64 = 60;

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
    /// Further ones, for which the slot had no room.
    pub surplus: u64,
}

/// Collects heights into slots.
#[derive(Clone, Debug)]
pub struct Slots {
    seconds: u64,
    open: Option<Batch>,
    bytes: usize,
}

impl Slots {
    /// With slots of so many seconds, from one to [`SLOT_SECONDS_MAX`].
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            seconds: seconds.clamp(1, SLOT_SECONDS_MAX),
            open: None,
            bytes: 0,
        }
    }

    /// Takes the next height; gives the slot before if this one is in a later. A time before
    /// the open slot counts as in it: finalized time does not go back.
    pub fn push(&mut self, block: &SequencedBlock) -> Option<Batch> {
        let start = block.time.0 / 1_000 / self.seconds * self.seconds;
        let closed = self.open.take_if(|open| start > open.timestamp);
        if closed.is_some() {
            self.bytes = 0;
        }
        let open = self.open.get_or_insert_with(|| Batch {
            timestamp: start,
            height: block.height,
            root: block.root,
            transactions: Vec::new(),
            surplus: 0,
        });
        (open.height, open.root) = (block.height, block.root);
        for item in &block.items {
            let Outcome::Opened { payload, .. } = &item.outcome else {
                continue;
            };
            if !is_transaction(payload) {
                continue;
            }
            let bytes = self.bytes + payload.len();
            if bytes > BATCH_BYTES_MAX {
                open.surplus += 1;
                continue;
            }
            self.bytes = bytes;
            open.transactions.push(payload.clone());
        }
        closed
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
